//! Entries into files.

use std::{
    collections::HashSet,
    fs::File,
    io::{self, Read, Seek as _, SeekFrom, Write as _},
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::FileExt as _,
    },
    time::SystemTime,
};

use rustix::{
    fs::{
        AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags, fchmod, fchown,
        fsetxattr, futimens, makedev, mkdirat, openat, statat,
    },
    io::Errno,
};

use super::{
    Limits, Unpacked,
    entries::{Entries, Entry, What, shown},
    nodes::WHITEOUT,
    tree::{Parts, Tree, path},
};
use crate::{ImageError, removal::remove_tree_at};

const CHUNK: usize = 64 << 10;
const MAX_DEPTH: usize = 400;

/// What is done with the questionable.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Policy {
    /// `.wh.` names hide what lies below.
    pub whiteouts: bool,
    /// Device nodes are made, not refused.
    pub devices: bool,
    /// Duplicates, absolute names, `..` and ways through symlinks are refused.
    pub strict: bool,
    /// A directory is not replaced by something else, nor the other way round.
    pub keep_kinds: bool,
    /// Everything belongs to this user and group.
    pub owner: Option<(u32, u32)>,
}

pub(crate) struct Unpacker<'a> {
    pub(super) tree: Tree,
    limits: &'a Limits,
    pub(super) policy: Policy,
    seen: HashSet<Parts>,
    /// Directories get their times last, when nothing is put into them any more.
    directories: Vec<(Parts, SystemTime)>,
    /// The directory of the last entry: archives list a directory's entries together.
    parent: Option<(Vec<u8>, OwnedFd)>,
    buffer: Vec<u8>,
    done: Unpacked,
    logical: u64,
}

impl<'a> Unpacker<'a> {
    pub fn new(tree: Tree, limits: &'a Limits, policy: Policy) -> Self {
        Self {
            tree,
            limits,
            policy,
            seen: HashSet::new(),
            directories: Vec::new(),
            parent: None,
            buffer: vec![0; CHUNK],
            done: Unpacked::default(),
            logical: 0,
        }
    }

    pub fn run(mut self, reader: impl Read) -> Result<Unpacked, ImageError> {
        let mut entries = Entries::new(reader);
        while let Some(entry) = entries.advance()? {
            self.done.entries += 1;
            if self.done.entries > self.limits.max_entries {
                return Err(refused(format!("archive has more than {} entries", self.limits.max_entries)));
            }
            self.entry(&entry, &mut entries)?;
        }
        self.finish()
    }

    fn entry(&mut self, entry: &Entry, content: &mut Entries<impl Read>) -> Result<(), ImageError> {
        let parts = self.name(entry)?;
        if parts.is_root() {
            if entry.what != What::Directory {
                return Err(refused(format!("archive entry {} replaces the root", entry.shown())));
            }
            let root = self.tree.open_at(b"", OFlags::RDONLY | OFlags::DIRECTORY).map_err(failed(entry))?;
            self.dress(&root, entry).map_err(failed(entry))?;
            self.directories.push((parts, entry.mtime));
            return Ok(());
        }
        let (_, base) = parts.split();
        if self.policy.whiteouts && base.starts_with(WHITEOUT) {
            return self.whiteout(entry, &parts);
        }
        self.open_parent(entry, &parts)?;
        self.make_room(entry, &parts)?;
        match entry.what {
            What::Directory => self.directory(entry, parts),
            What::File => self.file(entry, &parts, content),
            What::HardLink => self.hard_link(entry, &parts),
            What::Symlink => self.symlink(entry, &parts),
            What::Fifo => self.node(entry, &parts, FileType::Fifo, 0),
            What::Char { major, minor } => {
                self.node(entry, &parts, FileType::CharacterDevice, makedev(major, minor))
            }
            What::Block { major, minor } => {
                self.node(entry, &parts, FileType::BlockDevice, makedev(major, minor))
            }
        }
    }

    fn name(&mut self, entry: &Entry) -> Result<Parts, ImageError> {
        let climbs = || refused(format!("archive entry {} leads out of the archive's root", entry.shown()));
        if entry.name.is_empty() {
            return Err(refused("archive entry without a name"));
        }
        if self.policy.strict {
            if entry.name.starts_with(b"/") {
                return Err(refused(format!("archive entry {} has an absolute name", entry.shown())));
            }
            if entry.name.split(|byte| *byte == b'/').any(|part| part == b"..") {
                return Err(climbs());
            }
        }
        let parts = Parts::clean(&entry.name).ok_or_else(climbs)?;
        if parts.0.iter().filter(|byte| **byte == b'/').count() > MAX_DEPTH {
            return Err(refused(format!(
                "archive entry {} is nested deeper than {MAX_DEPTH} directories",
                entry.shown()
            )));
        }
        if self.policy.strict && !self.seen.insert(parts.clone()) {
            return Err(refused(format!("archive entry {} appears twice", entry.shown())));
        }
        Ok(parts)
    }

    pub(super) fn open_parent(&mut self, entry: &Entry, parts: &Parts) -> Result<(), ImageError> {
        let (dir, _) = parts.split();
        if self.parent.as_ref().is_none_or(|(open, _)| open != dir) {
            let opened = self.tree.make_dir(dir).map_err(|error| match Errno::from_io_error(&error) {
                Some(Errno::LOOP) => {
                    refused(format!("archive entry {} leads through a symlink", entry.shown()))
                }
                _ => failed(entry)(error),
            })?;
            self.parent = Some((dir.to_vec(), opened));
        }
        Ok(())
    }

    pub(super) fn parent(&self) -> &OwnedFd {
        #[expect(
            clippy::expect_used,
            reason = "every caller comes after open_parent, which sets it or fails"
        )]
        let (_, parent) = self.parent.as_ref().expect("open_parent was called");
        parent
    }

    /// Takes away what an entry replaces.
    fn make_room(&mut self, entry: &Entry, parts: &Parts) -> Result<(), ImageError> {
        let (_, base) = parts.split();
        let there = match statat(self.parent(), path(base), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => FileType::from_raw_mode(stat.st_mode),
            Err(Errno::NOENT) => return Ok(()),
            Err(error) => return Err(failed(entry)(error.into())),
        };
        let is_directory = there == FileType::Directory;
        let becomes_directory = entry.what == What::Directory;
        if is_directory && becomes_directory {
            return Ok(());
        }
        if self.policy.strict {
            return Err(refused(format!("archive entry {} replaces another", entry.shown())));
        }
        if self.policy.keep_kinds && is_directory {
            return Err(ImageError::invalid(format!(
                "cannot overwrite directory {} with non-directory {}",
                shown(&parts.0),
                shown(&parts.0)
            )));
        }
        if self.policy.keep_kinds && becomes_directory {
            return Err(ImageError::invalid(format!(
                "cannot overwrite non-directory {} with directory {}",
                shown(&parts.0),
                shown(&parts.0)
            )));
        }
        if entry.what == What::HardLink && Parts::clean(&entry.link).as_ref() == Some(parts) {
            return Ok(());
        }
        let removed = remove_tree_at(self.parent(), path(base)).map_err(failed(entry));
        if is_directory {
            // A descriptor of something inside would write into what is gone.
            let dir = parts.split().0.to_vec();
            self.parent = None;
            let opened = self.tree.dir(&dir).map_err(failed(entry))?;
            self.parent = Some((dir, opened));
        }
        removed
    }

    fn directory(&mut self, entry: &Entry, parts: Parts) -> Result<(), ImageError> {
        let parent = self.parent();
        let (_, base) = parts.split();
        match mkdirat(parent, path(base), Mode::from_raw_mode(0o700)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(failed(entry)(error.into())),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let dir =
            openat(parent, path(base), flags, Mode::empty()).map_err(|error| failed(entry)(error.into()))?;
        self.dress(&dir, entry).map_err(failed(entry))?;
        self.directories.push((parts, entry.mtime));
        Ok(())
    }

    fn file(
        &mut self,
        entry: &Entry,
        parts: &Parts,
        content: &mut Entries<impl Read>,
    ) -> Result<(), ImageError> {
        if entry.size > self.limits.max_file {
            return Err(refused(format!(
                "archive entry {} is {} bytes, more than {}",
                entry.shown(),
                entry.size,
                self.limits.max_file
            )));
        }
        self.logical = self.logical.saturating_add(entry.size);
        if self.logical > self.limits.max_bytes {
            return Err(refused(format!("archive unpacks to more than {} bytes", self.limits.max_bytes)));
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let (_, base) = parts.split();
        let opened = openat(self.parent(), path(base), flags, Mode::from_raw_mode(0o600));
        let mut file = File::from(opened.map_err(|error| failed(entry)(error.into()))?);
        match &entry.sparse {
            None => self.copy(entry, content, &mut file, entry.size)?,
            Some(map) => {
                for (offset, length) in map {
                    file.seek(SeekFrom::Start(*offset)).map_err(failed(entry))?;
                    self.copy(entry, content, &mut file, *length)?;
                }
                file.set_len(entry.size).map_err(failed(entry))?;
            }
        }
        self.done.size += entry.size;
        self.dress(&file, entry).map_err(failed(entry))?;
        futimens(&file, &times(entry.mtime)).map_err(|error| failed(entry)(error.into()))
    }

    /// Copies `length` bytes, leaving holes where there are long runs of zeros.
    fn copy(
        &mut self,
        entry: &Entry,
        content: &mut impl Read,
        file: &mut File,
        length: u64,
    ) -> Result<(), ImageError> {
        let mut left = length;
        let mut hole = false;
        while left > 0 {
            let most = usize::try_from(left).map_or(CHUNK, |left| left.min(CHUNK));
            let chunk = &mut self.buffer[..most];
            content.read_exact(chunk).map_err(super::compress::read_error)?;
            left -= most as u64;
            hole = most == CHUNK && chunk.iter().all(|byte| *byte == 0);
            if hole {
                file.seek(SeekFrom::Current(CHUNK as i64)).map_err(failed(entry))?;
            } else {
                file.write_all(chunk).map_err(failed(entry))?;
            }
        }
        if hole {
            let end = file.stream_position().map_err(failed(entry))?;
            file.write_all_at(&[0], end - 1).map_err(failed(entry))?;
        }
        Ok(())
    }

    pub(super) fn owner(&self, entry: &Entry) -> (Option<Uid>, Option<Gid>) {
        let (uid, gid) = self.policy.owner.unwrap_or((entry.uid, entry.gid));
        (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
    }

    /// Owner first: changing it takes the set-uid bit and file capabilities away.
    fn dress(&self, file: impl AsFd, entry: &Entry) -> io::Result<()> {
        let (uid, gid) = self.owner(entry);
        fchown(&file, uid, gid)?;
        fchmod(&file, Mode::from_raw_mode(entry.mode))?;
        for (name, value) in kept_xattrs(entry) {
            tolerate(fsetxattr(&file, name, value, XattrFlags::empty()))?;
        }
        Ok(())
    }

    fn finish(self) -> Result<Unpacked, ImageError> {
        for (parts, mtime) in self.directories.iter().rev() {
            match self.tree.open_at(&parts.0, OFlags::RDONLY | OFlags::DIRECTORY) {
                Ok(dir) => futimens(&dir, &times(*mtime))
                    .map_err(|error| ImageError::io("setting the time of", path(&parts.0), error))?,
                // A later entry replaced it or something above it.
                Err(error) => tracing::debug!(%error, name = %shown(&parts.0), "a directory is gone again"),
            }
        }
        Ok(self.done)
    }
}

/// Overlay's own attributes would let an archive redirect lookups; no archive has a reason to bring them.
pub(super) fn kept_xattrs(entry: &Entry) -> impl Iterator<Item = (&str, &[u8])> {
    entry
        .xattrs
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_slice()))
        .filter(|(name, _)| !name.starts_with("trusted.overlay.") && !name.starts_with("user.overlay."))
}

/// What a filesystem or a security module cannot keep is left out, as Docker does, but not capabilities' form.
pub(super) fn tolerate(result: Result<(), Errno>) -> io::Result<()> {
    match result {
        Err(Errno::NOTSUP | Errno::PERM) => Ok(()),
        result => Ok(result?),
    }
}

pub(super) fn times(mtime: SystemTime) -> Timestamps {
    let time = match mtime.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => {
            Timespec { tv_sec: since.as_secs().cast_signed(), tv_nsec: i64::from(since.subsec_nanos()) }
        }
        Err(error) => {
            let before = error.duration();
            let nanos = i64::from(before.subsec_nanos());
            let seconds = -before.as_secs().cast_signed();
            if nanos == 0 {
                Timespec { tv_sec: seconds, tv_nsec: 0 }
            } else {
                Timespec { tv_sec: seconds - 1, tv_nsec: 1_000_000_000 - nanos }
            }
        }
    };
    Timestamps { last_access: time, last_modification: time }
}

pub(super) fn refused(text: impl Into<String>) -> ImageError {
    ImageError::corrupt(text)
}

pub(super) fn failed(entry: &Entry) -> impl Fn(io::Error) -> ImageError {
    let name = entry.shown();
    move |error| match Errno::from_io_error(&error) {
        // The archive's fault: names too long, a file used as a directory, links in a circle.
        Some(Errno::NAMETOOLONG | Errno::NOTDIR | Errno::LOOP | Errno::INVAL | Errno::NOENT) => {
            ImageError::corrupt(format!("archive entry {name}: {error}"))
        }
        _ => ImageError::internal(format!("unpacking {name}: {error}")).because(error),
    }
}
