//! `docker cp`: tar in and out of a container's root, which the container may be changing at that moment.

use std::{
    io::{self, Read, Write},
    path::Path,
    time::{Duration, SystemTime},
};

use rustix::fs::{AtFlags, FileType, OFlags, Stat, readlinkat, statat};

use super::{
    CopyOptions, Limits, PathStat,
    compress::inflate,
    pack::Packer,
    tree::{Parts, Tree, components, path},
    unpack::{Policy, Unpacker},
};
use crate::ImageError;

/// A path as Docker takes it apart: where it is, and what its entries are called.
struct Resource {
    parent: Vec<u8>,
    /// Empty if the path names a directory by a trailing `/` or `/.`, or is the root.
    base: Vec<u8>,
    /// Go's `filepath.Base` of the path with its trailing `/.` kept.
    name: String,
}

impl Resource {
    fn new(text: &str) -> Result<Self, ImageError> {
        let bad = || ImageError::invalid(format!("invalid path {text:?}"));
        if text.contains('\0') {
            return Err(bad());
        }
        let mut parts = components(text);
        let content_only = text.ends_with("/.") || text == ".";
        let directory = content_only || text.ends_with('/') || parts.is_empty();
        let last = parts.last().copied().unwrap_or("/").to_owned();
        let base = if directory { "" } else { parts.pop().unwrap_or_default() };
        Ok(Self {
            parent: parts.join("/").into_bytes(),
            base: base.as_bytes().to_vec(),
            name: if content_only && last != "/" { ".".to_owned() } else { last },
        })
    }

    fn stat(&self, tree: &Tree) -> io::Result<Stat> {
        let dir = tree.dir(&self.parent)?;
        Ok(if self.base.is_empty() {
            rustix::fs::fstat(&dir)?
        } else {
            statat(&dir, path(&self.base), AtFlags::SYMLINK_NOFOLLOW)?
        })
    }
}

fn open(root: &Path) -> Result<Tree, ImageError> {
    Tree::open(root, true).map_err(|error| ImageError::io("opening", root, error))
}

fn missing(text: &str) -> impl Fn(io::Error) -> ImageError {
    move |error| match error.kind() {
        io::ErrorKind::NotFound => ImageError::not_found(format!("lstat {text}: no such file or directory")),
        io::ErrorKind::NotADirectory => ImageError::internal(format!("lstat {text}: not a directory")),
        _ => ImageError::internal(format!("lstat {text}: {error}")).because(error),
    }
}

pub(super) fn stat(root: &Path, text: &str) -> Result<PathStat, ImageError> {
    let tree = open(root)?;
    let resource = Resource::new(text)?;
    let stat = resource.stat(&tree).map_err(missing(text))?;
    let link_target = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Symlink => link_target(&tree, &resource).map_err(missing(text))?,
        _ => String::new(),
    };
    let nanos = Duration::from_nanos(stat.st_mtime_nsec);
    let seconds = Duration::from_secs(stat.st_mtime.unsigned_abs());
    let mtime = if stat.st_mtime < 0 {
        SystemTime::UNIX_EPOCH.checked_sub(seconds)
    } else {
        SystemTime::UNIX_EPOCH.checked_add(seconds + nanos)
    };
    Ok(PathStat {
        name: resource.name,
        size: stat.st_size,
        mode: go_mode(stat.st_mode),
        mtime: mtime.unwrap_or(SystemTime::UNIX_EPOCH),
        link_target,
    })
}

/// Where a symlink ends up inside the root, as an absolute path there.
fn link_target(tree: &Tree, resource: &Resource) -> io::Result<String> {
    let whole = [resource.parent.as_slice(), &resource.base].join(&b'/');
    let whole = whole.strip_prefix(b"/").unwrap_or(&whole);
    let name =
        |fd: &dyn std::os::fd::AsRawFd| std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd()));
    if let Ok(target) = tree.open_at(whole, OFlags::PATH) {
        let (root, target) = (name(&tree.root())?, name(&target)?);
        if let Ok(inside) = target.strip_prefix(&root) {
            return Ok(format!("/{}", inside.display()));
        }
    }
    // It leads nowhere; say where that would be.
    let dir = tree.dir(&resource.parent)?;
    let target = readlinkat(&dir, path(&resource.base), Vec::new())?.into_bytes();
    let joined =
        if target.starts_with(b"/") { target } else { [resource.parent.as_slice(), &target].join(&b'/') };
    Ok(format!("/{}", String::from_utf8_lossy(&Parts::clean(&joined).unwrap_or_default().0)))
}

/// Go's `os.FileMode`: permissions below, kinds in its own bits above.
pub(super) fn go_mode(mode: u32) -> u32 {
    let kind = match FileType::from_raw_mode(mode) {
        FileType::Directory => 1 << 31,
        FileType::Symlink => 1 << 27,
        FileType::BlockDevice => 1 << 26,
        FileType::CharacterDevice => 1 << 26 | 1 << 21,
        FileType::Fifo => 1 << 25,
        FileType::Socket => 1 << 24,
        _ => 0,
    };
    let special = [(0o4000, 1 << 23), (0o2000, 1 << 22), (0o1000, 1 << 20)]
        .into_iter()
        .filter(|(bit, _)| mode & bit != 0)
        .fold(0, |all, (_, go)| all | go);
    mode & 0o777 | kind | special
}

pub(super) fn copy_out(root: &Path, text: &str, writer: impl Write) -> Result<PathStat, ImageError> {
    let described = stat(root, text)?;
    let tree = open(root)?;
    let resource = Resource::new(text)?;
    let dir = tree.dir(&resource.parent).map_err(missing(text))?;
    let mut packer = Packer::new(writer, false);
    if resource.base.is_empty() {
        let name = if resource.name == "/" { "." } else { &resource.name };
        packer.add(&dir, b".", name.as_bytes())?;
    } else {
        packer.add(&dir, &resource.base, resource.name.as_bytes())?;
    }
    packer.finish()?;
    Ok(described)
}

pub(super) fn copy_in(
    root: &Path,
    text: &str,
    reader: impl Read + Send,
    options: CopyOptions,
) -> Result<(), ImageError> {
    let tree = open(root)?;
    let resource = Resource::new(text)?;
    let whole = [resource.parent.as_slice(), &resource.base].join(&b'/');
    let whole = whole.strip_prefix(b"/").unwrap_or(&whole).to_vec();
    let there = tree.open_at(&whole, OFlags::PATH).map_err(missing(text))?;
    let kind = rustix::fs::fstat(&there).map_err(|error| missing(text)(error.into()))?;
    if FileType::from_raw_mode(kind.st_mode) != FileType::Directory {
        return Err(match resource.base.is_empty() {
            // The path said that there is one.
            true => missing(text)(io::ErrorKind::NotADirectory.into()),
            false => ImageError::invalid("extraction point is not a directory"),
        });
    }
    let policy = Policy {
        whiteouts: false,
        devices: true,
        strict: false,
        keep_kinds: options.no_overwrite_dir_non_dir,
        owner: options.owner,
    };
    // Names are taken below the directory; symlinks are followed as whoever lives in the root sees them.
    let tree = tree.below(&whole);
    let limits = Limits::LAYER;
    let unpacker = Unpacker::new(tree, &limits, policy);
    inflate(reader, &limits, |reader| unpacker.run(reader)).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_taken_apart_as_docker_does() {
        for (text, parent, base, name) in [
            ("/etc/hosts", "etc", "hosts", "hosts"),
            ("etc", "", "etc", "etc"),
            ("/etc/", "etc", "", "etc"),
            ("/etc/.", "etc", "", "."),
            ("/", "", "", "/"),
            ("/../../x", "", "x", "x"),
            ("", "", "", "/"),
        ] {
            let resource = Resource::new(text).unwrap();
            assert_eq!(
                (resource.parent.as_slice(), resource.base.as_slice(), resource.name.as_str()),
                (parent.as_bytes(), base.as_bytes(), name),
                "{text}"
            );
        }
    }

    #[test]
    fn modes_are_gos() {
        assert_eq!(go_mode(0o040755), 1 << 31 | 0o755);
        assert_eq!(go_mode(0o104755), 1 << 23 | 0o755);
        assert_eq!(go_mode(0o120777), 1 << 27 | 0o777);
        assert_eq!(go_mode(0o020600), 1 << 26 | 1 << 21 | 0o600);
    }
}
