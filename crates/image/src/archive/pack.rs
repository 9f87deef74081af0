//! Files into entries.

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    io::{self, Read as _, Write},
    os::fd::{AsFd, OwnedFd},
};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, openat, readlinkat, statat};
use tar::{EntryType, Header};

use super::tree::{path, proc_path};
use crate::ImageError;

const OCTAL_SIZE: u64 = 0o77_777_777_777;
const OCTAL_ID: u32 = 0o7_777_777;
const NAME: usize = 100;
/// Deeper trees would need more open directories than a process may have.
const MAX_DEPTH: usize = 500;

pub(crate) struct Packer<W> {
    out: W,
    /// Overlay's whiteouts become tar's.
    whiteouts: bool,
    links: HashMap<(u64, u64), Vec<u8>>,
    /// Names that are left out, with all that is below them.
    without: HashSet<Vec<u8>>,
    /// Neither times nor owners are written.
    timeless: bool,
    buffer: Vec<u8>,
}

impl<W: Write> Packer<W> {
    pub fn new(out: W, whiteouts: bool) -> Self {
        Self {
            out,
            whiteouts,
            links: HashMap::new(),
            without: HashSet::new(),
            timeless: false,
            buffer: vec![0; 64 << 10],
        }
    }

    /// Writes neither times nor owners, so that content alone decides the bytes.
    pub fn timeless(mut self) -> Self {
        self.timeless = true;
        self
    }

    /// Leaves these names out.
    pub fn without(mut self, names: HashSet<Vec<u8>>) -> Self {
        self.without = names;
        self
    }

    /// Writes the end of the archive.
    pub fn finish(mut self) -> Result<(), ImageError> {
        let done = self.out.write_all(&[0; 1024]).and_then(|()| self.out.flush());
        done.map_err(write_error)
    }

    /// Writes `base` in `dir`, and what is below it, under `name`.
    pub fn add(&mut self, dir: impl AsFd, base: &[u8], name: &[u8]) -> Result<(), ImageError> {
        self.node(dir, base, name, 0)
    }

    /// Writes what is in `dir`, without the directory itself. `name` goes before each entry.
    pub fn add_content(&mut self, dir: OwnedFd, name: &[u8]) -> Result<(), ImageError> {
        self.content(dir, name, 0)
    }

    fn node(&mut self, dir: impl AsFd, base: &[u8], name: &[u8], depth: usize) -> Result<(), ImageError> {
        let failed = |error: io::Error| ImageError::io("reading", path(name), error);
        let stat = match statat(&dir, path(base), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            // Whoever lives in the tree may remove things meanwhile.
            Err(rustix::io::Errno::NOENT) => return Ok(()),
            Err(error) => return Err(failed(error.into())),
        };
        let dir = dir.as_fd();
        let xattrs = || xattrs(dir, base).map_err(failed);
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                let mut with_slash = name.to_vec();
                with_slash.push(b'/');
                self.header(EntryType::Directory, &with_slash, b"", 0, &stat, &xattrs()?)?;
                if depth > MAX_DEPTH {
                    return Err(ImageError::unsupported(format!(
                        "directories are nested deeper than {MAX_DEPTH}"
                    )));
                }
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let below =
                    openat(dir, path(base), flags, Mode::empty()).map_err(|error| failed(error.into()))?;
                if self.whiteouts && is_opaque(dir, base) {
                    let hidden = [with_slash.as_slice(), b".wh..wh..opq"].concat();
                    self.header(EntryType::Regular, &hidden, b"", 0, &stat, &[])?;
                }
                self.content(below, &with_slash, depth + 1)
            }
            FileType::RegularFile => self.file(dir, base, name, &stat, &xattrs()?),
            FileType::Symlink => {
                let target = readlinkat(dir, path(base), Vec::new()).map_err(|error| failed(error.into()))?;
                self.header(EntryType::Symlink, name, target.as_bytes(), 0, &stat, &xattrs()?)
            }
            FileType::CharacterDevice if self.whiteouts && stat.st_rdev == 0 => {
                let start = name.len() - base.len();
                let hidden = [&name[..start], b".wh.", base].concat();
                self.header(EntryType::Regular, &hidden, b"", 0, &stat, &[])
            }
            FileType::CharacterDevice => self.header(EntryType::Char, name, b"", 0, &stat, &xattrs()?),
            FileType::BlockDevice => self.header(EntryType::Block, name, b"", 0, &stat, &xattrs()?),
            FileType::Fifo => self.header(EntryType::Fifo, name, b"", 0, &stat, &xattrs()?),
            // A socket means nothing without the process behind it.
            _ => Ok(()),
        }
    }

    fn content(&mut self, dir: OwnedFd, prefix: &[u8], depth: usize) -> Result<(), ImageError> {
        let failed = |error: rustix::io::Errno| ImageError::io("listing", path(prefix), error);
        let mut names = Vec::new();
        for entry in Dir::read_from(&dir).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(name.to_vec());
            }
        }
        names.sort_unstable();
        for base in names {
            let name = [prefix, &base].concat();
            if !self.without.contains(&name) {
                self.node(&dir, &base, &name, depth)?;
            }
        }
        Ok(())
    }

    fn file(
        &mut self,
        dir: impl AsFd,
        base: &[u8],
        name: &[u8],
        stat: &Stat,
        xattrs: &[(String, Vec<u8>)],
    ) -> Result<(), ImageError> {
        let failed = |error: io::Error| ImageError::io("reading", path(name), error);
        if stat.st_nlink > 1 {
            match self.links.get(&(stat.st_dev, stat.st_ino)) {
                Some(first) => {
                    let first = first.clone();
                    return self.header(EntryType::Link, name, &first, 0, stat, &[]);
                }
                None => drop(self.links.insert((stat.st_dev, stat.st_ino), name.to_vec())),
            }
        }
        // Not blocking, in case it has become a FIFO by now.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened = match openat(&dir, path(base), flags, Mode::empty()) {
            Ok(file) => file,
            Err(rustix::io::Errno::NOENT) => return Ok(()),
            Err(error) => return Err(failed(error.into())),
        };
        let stat = rustix::fs::fstat(&opened).map_err(|error| failed(error.into()))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Ok(());
        }
        let size = stat.st_size.cast_unsigned();
        self.header(EntryType::Regular, name, b"", size, &stat, xattrs)?;
        let mut file = File::from(opened);
        let mut left = size;
        while left > 0 {
            let most = usize::try_from(left).map_or(self.buffer.len(), |left| left.min(self.buffer.len()));
            let mut count = file.read(&mut self.buffer[..most]).map_err(failed)?;
            if count == 0 {
                // It shrank after its length was written. The archive must keep its shape.
                self.buffer[..most].fill(0);
                count = most;
            }
            self.out.write_all(&self.buffer[..count]).map_err(write_error)?;
            left -= count as u64;
        }
        self.pad(size)
    }

    fn pad(&mut self, size: u64) -> Result<(), ImageError> {
        let rest = usize::try_from((512 - size % 512) % 512).unwrap_or(0);
        self.out.write_all(&[0; 512][..rest]).map_err(write_error)
    }

    /// Writes one entry's header, with a PAX record before it for whatever the header cannot hold.
    pub fn header(
        &mut self,
        kind: EntryType,
        name: &[u8],
        link: &[u8],
        size: u64,
        stat: &Stat,
        xattrs: &[(String, Vec<u8>)],
    ) -> Result<(), ImageError> {
        let mut stat = *stat;
        if self.timeless {
            (stat.st_uid, stat.st_gid, stat.st_mtime) = (0, 0, 0);
        }
        let mut pax = Vec::new();
        let plain = |text: &[u8]| text.len() <= NAME && text.is_ascii();
        if !plain(name) {
            pax_record(&mut pax, "path", name);
        }
        if !plain(link) {
            pax_record(&mut pax, "linkpath", link);
        }
        if size > OCTAL_SIZE {
            pax_record(&mut pax, "size", size.to_string().as_bytes());
        }
        if stat.st_uid > OCTAL_ID {
            pax_record(&mut pax, "uid", stat.st_uid.to_string().as_bytes());
        }
        if stat.st_gid > OCTAL_ID {
            pax_record(&mut pax, "gid", stat.st_gid.to_string().as_bytes());
        }
        if stat.st_mtime < 0 || stat.st_mtime.cast_unsigned() > OCTAL_SIZE {
            pax_record(&mut pax, "mtime", stat.st_mtime.to_string().as_bytes());
        }
        for (key, value) in xattrs {
            pax_record(&mut pax, &format!("SCHILY.xattr.{key}"), value);
        }
        if !pax.is_empty() {
            let mut header = Header::new_ustar();
            header.set_entry_type(EntryType::XHeader);
            set_name(&mut header, b"PaxHeaders.0/x");
            header.set_mode(0o644);
            header.set_size(pax.len() as u64);
            header.set_cksum();
            self.out.write_all(header.as_bytes()).map_err(write_error)?;
            self.out.write_all(&pax).map_err(write_error)?;
            self.pad(pax.len() as u64)?;
        }
        let mut header = Header::new_ustar();
        header.set_entry_type(kind);
        set_name(&mut header, name);
        let old = header.as_old_mut();
        let length = link.len().min(NAME);
        old.linkname[..length].copy_from_slice(&link[..length]);
        header.set_mode(stat.st_mode & 0o7777);
        header.set_uid(u64::from(stat.st_uid.min(OCTAL_ID)));
        header.set_gid(u64::from(stat.st_gid.min(OCTAL_ID)));
        header.set_mtime(stat.st_mtime.max(0).cast_unsigned().min(OCTAL_SIZE));
        header.set_size(size.min(OCTAL_SIZE));
        if matches!(kind, EntryType::Char | EntryType::Block) {
            let too_big =
                |error| ImageError::unsupported(format!("device number of {:?}: {error}", path(name)));
            header.set_device_major(rustix::fs::major(stat.st_rdev)).map_err(too_big)?;
            header.set_device_minor(rustix::fs::minor(stat.st_rdev)).map_err(too_big)?;
        }
        header.set_cksum();
        self.out.write_all(header.as_bytes()).map_err(write_error)
    }
}

fn set_name(header: &mut Header, name: &[u8]) {
    let length = name.len().min(NAME);
    header.as_old_mut().name[..length].copy_from_slice(&name[..length]);
}

/// `"<length> <key>=<value>\n"`, where the length counts its own digits.
fn pax_record(out: &mut Vec<u8>, key: &str, value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    out.extend_from_slice(format!("{length} {key}=").as_bytes());
    out.extend_from_slice(value);
    out.push(b'\n');
}

fn write_error(error: io::Error) -> ImageError {
    ImageError::internal(format!("writing an archive: {error}")).because(error)
}

fn is_opaque(dir: impl AsFd, base: &[u8]) -> bool {
    let mut value = [0; 4];
    let found = rustix::fs::lgetxattr(proc_path(dir, base), "trusted.overlay.opaque", &mut value[..]);
    matches!(found, Ok(count) if &value[..count] == b"y")
}

/// What Docker keeps too: file capabilities and users' own.
fn xattrs(dir: impl AsFd, base: &[u8]) -> io::Result<Vec<(String, Vec<u8>)>> {
    let here = proc_path(dir, base);
    let mut list = vec![0; 64 << 10];
    let count = match rustix::fs::llistxattr(&here, &mut list[..]) {
        Ok(count) => count,
        Err(rustix::io::Errno::NOTSUP | rustix::io::Errno::NOENT) => 0,
        Err(error) => return Err(error.into()),
    };
    let mut found = Vec::new();
    for name in list[..count].split(|byte| *byte == 0) {
        let Ok(name) = std::str::from_utf8(name) else { continue };
        if name != "security.capability" && !name.starts_with("user.") {
            continue;
        }
        let mut value = vec![0; 64 << 10];
        // It may be gone by now.
        if let Ok(count) = rustix::fs::lgetxattr(&here, name, &mut value[..]) {
            value.truncate(count);
            found.push((name.to_owned(), value));
        }
    }
    found.sort();
    Ok(found)
}
