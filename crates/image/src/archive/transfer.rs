//! `COPY`: files from one root into another, with no link in either leading out of it.

use std::{
    fs::File,
    io::{self, Read as _, Write},
    os::fd::AsRawFd as _,
    path::Path,
};

use rustix::{
    fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid, chownat, fstat, mkdirat, readlinkat},
    io::Errno,
};
use sha2::{Digest as _, Sha256};

use super::{
    Compression, Limits,
    compress::inflate,
    pack::Packer,
    tree::{Parts, Tree, components, path},
    unpack::{Policy, Unpacker},
};
use crate::ImageError;

/// What the kernel follows.
const MAX_LINKS: u32 = 40;

/// What a path of a root turned out to be, links followed as inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// A directory.
    Directory,
    /// Something else.
    File,
}

fn open(root: &Path) -> Result<Tree, ImageError> {
    Tree::open(root, true).map_err(|error| ImageError::io("opening", root, error))
}

fn parts(text: &str) -> Vec<u8> {
    components(text).join("/").into_bytes()
}

/// What is at a path of a root. `None`: nothing.
pub fn find(root: &Path, text: &str) -> Result<Option<Found>, ImageError> {
    let tree = open(root)?;
    let found = match tree.open_at(&parts(text), OFlags::PATH) {
        Ok(found) => found,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(ImageError::io("looking at", Path::new(text), error)),
    };
    let stat = fstat(&found).map_err(|error| ImageError::io("looking at", Path::new(text), error))?;
    let directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    Ok(Some(if directory { Found::Directory } else { Found::File }))
}

/// Every path below the root, sorted, links not followed: what patterns are matched with.
pub fn walk(root: &Path, visit: &mut dyn FnMut(&str)) -> Result<(), ImageError> {
    let mut left = vec![String::new()];
    while let Some(at) = left.pop() {
        let dir = root.join(&at);
        let failed = |error| ImageError::io("listing", &dir, error);
        let mut entries = Vec::new();
        for entry in std::fs::read_dir(&dir).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            // A name that is no text is matched by nothing that a Dockerfile can say.
            let Ok(name) = entry.file_name().into_string() else { continue };
            let whole = if at.is_empty() { name } else { format!("{at}/{name}") };
            entries.push((whole, entry.file_type().is_ok_and(|kind| kind.is_dir())));
        }
        entries.sort();
        for (name, directory) in &entries {
            visit(name);
            if *directory {
                left.push(name.clone());
            }
        }
    }
    Ok(())
}

/// The real place of a path inside the root, links followed.
fn real(tree: &Tree, text: &str) -> io::Result<Vec<u8>> {
    use std::os::unix::ffi::OsStrExt as _;
    let name = |fd: i32| std::fs::read_link(format!("/proc/self/fd/{fd}"));
    let found = tree.open_at(&parts(text), OFlags::PATH)?;
    let (root, found) = (name(tree.root().as_raw_fd())?, name(found.as_raw_fd())?);
    let inside = found.strip_prefix(&root).map_err(|_| io::Error::other("it was moved away"))?;
    Ok(inside.as_os_str().as_bytes().to_vec())
}

/// What stands for the content of a file or tree, its owners and times apart: hex digits of a digest.
pub fn fingerprint(root: &Path, text: &str) -> Result<String, ImageError> {
    struct Hashed(Sha256);
    impl Write for Hashed {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.update(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let tree = open(root)?;
    let mut hashed = Hashed(Sha256::new());
    let mut packer = Packer::new(&mut hashed, false).timeless();
    add(&tree, text, &mut packer, None)?;
    packer.finish()?;
    Ok(hex::encode(hashed.0.finalize()))
}

/// Packs a directory's content, or a file under a name.
fn add(
    tree: &Tree,
    text: &str,
    packer: &mut Packer<impl Write>,
    name: Option<&[u8]>,
) -> Result<(), ImageError> {
    let failed = |error: io::Error| ImageError::io("reading", Path::new(text), error);
    let place = Parts(real(tree, text).map_err(failed)?);
    match tree.open_at(&place.0, OFlags::RDONLY | OFlags::DIRECTORY) {
        Ok(dir) => packer.add_content(dir, b""),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            let (parent, base) = place.split();
            let parent = tree.dir(parent).map_err(failed)?;
            packer.add(&parent, base, name.unwrap_or(base))
        }
        Err(error) => Err(failed(error)),
    }
}

/// Copies a directory's content into the directory `destination`, or a file to it: under the file's own name if
/// `destination` ends in a slash or is a directory. What is missing on the way is made. Everything new belongs to
/// `owner`.
pub fn transfer(
    from: &Path,
    source: &str,
    to: &Path,
    destination: &str,
    owner: (u32, u32),
) -> Result<(), ImageError> {
    let (from_tree, to_tree) = (open(from)?, open(to)?);
    let directory = match find(from, source)? {
        Some(found) => found == Found::Directory,
        None => return Err(ImageError::not_found(format!("{source}: file does not exist"))),
    };
    let (below, name) = if directory {
        (make_dirs(&to_tree, destination, owner)?, None)
    } else {
        let into = destination.ends_with('/') || find(to, destination)? == Some(Found::Directory);
        if into {
            let name = parts(source);
            let base = Parts(name).split().1.to_vec();
            (make_dirs(&to_tree, destination, owner)?, Some(base))
        } else {
            // A link at the end is written through, as whoever lives in the root would.
            let place = real(&to_tree, destination).unwrap_or_else(|_| parts(destination));
            let place = Parts(place);
            let (parent, base) = place.split();
            let base = base.to_vec();
            (make_dirs(&to_tree, &String::from_utf8_lossy(parent), owner)?, Some(base))
        }
    };
    let (reader, writer) = io::pipe().map_err(|error| ImageError::internal(error.to_string()))?;
    let limits = Limits::LAYER;
    let policy =
        Policy { whiteouts: false, devices: true, strict: false, keep_kinds: false, owner: Some(owner) };
    let unpacker = Unpacker::new(to_tree.below(&below), &limits, policy);
    std::thread::scope(|scope| {
        let packing = std::thread::Builder::new().name("copy".to_owned()).spawn_scoped(scope, || {
            let mut packer = Packer::new(io::BufWriter::with_capacity(64 << 10, writer), false);
            add(&from_tree, source, &mut packer, name.as_deref())?;
            packer.finish()
        });
        let packing = packing.map_err(|error| ImageError::internal(error.to_string()))?;
        let unpacked = unpacker.run(io::BufReader::with_capacity(64 << 10, reader));
        let packed = packing.join().map_err(|_| ImageError::internal("the copying thread panicked"))?;
        match (unpacked, packed) {
            // The packer then only says that nobody reads any more.
            (Err(error), _) => Err(error),
            (Ok(_), packed) => packed,
        }
    })
}

/// Makes a directory and what is missing above it, all new ones of `owner`; its place inside the root. A link that leads
/// nowhere yet leads to what is made for it, still inside.
pub(crate) fn make_dirs(tree: &Tree, text: &str, owner: (u32, u32)) -> Result<Vec<u8>, ImageError> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotADirectory => {
            ImageError::invalid(format!("{text}: a part of the path is not a directory"))
        }
        _ => ImageError::io("making", Path::new(text), error),
    };
    let mut whole = parts(text);
    let mut at = 0;
    let mut links = 0;
    while at < whole.len() {
        let end =
            whole[at + 1..].iter().position(|byte| *byte == b'/').map_or(whole.len(), |next| at + 1 + next);
        let name = Parts(whole[..end].to_vec());
        match tree.dir(&name.0) {
            Ok(_) => {
                at = end;
                continue;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        let (above, base) = name.split();
        let parent = tree.dir(above).map_err(failed)?;
        match mkdirat(&parent, path(base), Mode::from_raw_mode(0o755)) {
            Ok(()) => {
                let (uid, gid) = (Uid::from_raw(owner.0), Gid::from_raw(owner.1));
                chownat(&parent, path(base), Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
                    .map_err(|error| failed(error.into()))?;
                at = end;
            }
            Err(Errno::EXIST) => {
                links += 1;
                if links > MAX_LINKS {
                    return Err(failed(Errno::LOOP.into()));
                }
                let target =
                    readlinkat(&parent, path(base), Vec::new()).map_err(|error| failed(error.into()))?;
                let target = target.into_bytes();
                let start = if target.starts_with(b"/") { &b""[..] } else { above };
                let joined = [start, &target, &whole[end..]].join(&b'/');
                whole = parts(&String::from_utf8_lossy(&joined));
                at = 0;
            }
            Err(error) => return Err(failed(error.into())),
        }
    }
    real(tree, &String::from_utf8_lossy(&whole)).map_err(failed)
}

/// The same, for whoever has a root and not a tree.
pub fn make_directory(root: &Path, text: &str) -> Result<(), ImageError> {
    make_dirs(&open(root)?, text, (0, 0)).map(drop)
}

/// Whether a file is a tar, packed or not, that `ADD` unpacks.
pub fn is_archive(root: &Path, text: &str) -> Result<bool, ImageError> {
    if find(root, text)? != Some(Found::File) {
        return Ok(false);
    }
    let mut head = Vec::new();
    let failed = |error: io::Error| ImageError::io("reading", Path::new(text), error);
    read(root, text)?.take(512).read_to_end(&mut head).map_err(failed)?;
    if Compression::sniff(&head)? == Compression::None {
        return Ok(is_header(&head));
    }
    let limits = Limits::LAYER;
    let first = inflate(read(root, text)?, &limits, |reader| {
        let mut head = Vec::new();
        // What cannot be inflated is a file like any other.
        let _ = reader.take(512).read_to_end(&mut head);
        Ok(is_header(&head))
    });
    Ok(first.is_ok_and(|(found, _)| found))
}

fn read(root: &Path, text: &str) -> Result<File, ImageError> {
    let failed = |error: io::Error| ImageError::io("reading", Path::new(text), error);
    let flags = OFlags::RDONLY | OFlags::NONBLOCK;
    Ok(File::from(open(root)?.open_at(&parts(text), flags).map_err(failed)?))
}

/// Removes a file.
pub fn remove_file(root: &Path, text: &str) -> Result<(), ImageError> {
    let tree = open(root)?;
    let place = Parts(parts(text));
    let (parent, base) = place.split();
    let failed = |error: io::Error| ImageError::io("removing", Path::new(text), error);
    let parent = tree.dir(parent).map_err(failed)?;
    rustix::fs::unlinkat(&parent, path(base), AtFlags::empty()).map_err(|error| failed(error.into()))
}

/// A file's content, if it is there; at most `limit` bytes.
pub fn read_file(root: &Path, text: &str, limit: u64) -> Result<Option<Vec<u8>>, ImageError> {
    if find(root, text)? != Some(Found::File) {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    let failed = |error: io::Error| ImageError::io("reading", Path::new(text), error);
    read(root, text)?.take(limit + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > limit {
        return Err(ImageError::invalid(format!("{text} is larger than {limit} bytes")));
    }
    Ok(Some(bytes))
}

fn is_header(head: &[u8]) -> bool {
    let Ok(bytes) = <&[u8; 512]>::try_from(head) else { return false };
    let header = tar::Header::from_byte_slice(bytes);
    let sum: u32 = bytes
        .iter()
        .enumerate()
        .map(|(at, byte)| u32::from(if (148..156).contains(&at) { b' ' } else { *byte }))
        .sum();
    header.cksum().is_ok_and(|said| said == sum)
}

/// Unpacks an archive of one root into the directory `destination` of another, which is made if it is missing.
pub fn unpack_from(from: &Path, source: &str, to: &Path, destination: &str) -> Result<(), ImageError> {
    let tree = open(to)?;
    let below = make_dirs(&tree, destination, (0, 0))?;
    let policy = Policy { whiteouts: false, devices: true, strict: false, keep_kinds: false, owner: None };
    let limits = Limits::LAYER;
    let unpacker = Unpacker::new(tree.below(&below), &limits, policy);
    inflate(read(from, source)?, &limits, |reader| unpacker.run(reader)).map(drop)
}
