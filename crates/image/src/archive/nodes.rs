//! Entries that are neither files nor directories: links, devices, and what stands for an absence.

use std::io;

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, XattrFlags, chownat, fsetxattr, linkat, lsetxattr, mknodat, openat,
    setxattr, statat, symlinkat, utimensat,
};

use super::{
    entries::{Entry, shown},
    tree::{Parts, path, proc_path},
    unpack::{Unpacker, failed, kept_xattrs, refused, times, tolerate},
};
use crate::{ImageError, removal::remove_tree_at};

pub(super) const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
const AUFS: &[u8] = b".wh..wh.";

impl Unpacker<'_> {
    pub(super) fn hard_link(&mut self, entry: &Entry, parts: &Parts) -> Result<(), ImageError> {
        let target = (!self.policy.strict || !entry.link.starts_with(b"/"))
            .then(|| Parts::clean(&entry.link))
            .flatten()
            .filter(|target| !target.is_root());
        let Some(target) = target else {
            return Err(refused(format!(
                "archive entry {} is a hard link out of the archive's root, to {}",
                entry.shown(),
                shown(&entry.link)
            )));
        };
        if target == *parts {
            return Ok(());
        }
        let (target_dir, target_base) = target.split();
        let no_target = |error: io::Error| {
            ImageError::corrupt(format!(
                "archive entry {} is a hard link to {}: {error}",
                entry.shown(),
                shown(&entry.link)
            ))
        };
        let dir = self.tree.dir(target_dir).map_err(no_target)?;
        let stat = statat(&dir, path(target_base), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|error| no_target(error.into()))?;
        if self.policy.strict && FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(refused(format!(
                "archive entry {} is a hard link to {}, which is no file",
                entry.shown(),
                shown(&entry.link)
            )));
        }
        let (_, base) = parts.split();
        linkat(&dir, path(target_base), self.parent(), path(base), AtFlags::empty())
            .map_err(|error| no_target(error.into()))
    }

    pub(super) fn symlink(&mut self, entry: &Entry, parts: &Parts) -> Result<(), ImageError> {
        let (dir, base) = parts.split();
        if entry.link.is_empty() || entry.link.contains(&0) {
            return Err(refused(format!("archive entry {} is a symlink to nothing", entry.shown())));
        }
        // An absolute target means the archive's root to whoever lives in it; one that climbs above is an attack
        // on whoever does not. What is copied into a container's root lies deeper than its own names tell.
        let whole = [dir, entry.link.as_slice()].join(&b'/');
        let rooted = self.policy.strict || self.policy.whiteouts;
        if rooted && !entry.link.starts_with(b"/") && Parts::clean(&whole).is_none() {
            return Err(refused(format!(
                "archive entry {} is a symlink out of the archive's root, to {}",
                entry.shown(),
                shown(&entry.link)
            )));
        }
        let parent = self.parent();
        let make = || -> io::Result<()> {
            symlinkat(path(&entry.link), parent, path(base))?;
            let (uid, gid) = self.owner(entry);
            chownat(parent, path(base), uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
            for (name, value) in kept_xattrs(entry) {
                tolerate(lsetxattr(proc_path(parent, base), name, value, XattrFlags::empty()))?;
            }
            Ok(utimensat(parent, path(base), &times(entry.mtime), AtFlags::SYMLINK_NOFOLLOW)?)
        };
        make().map_err(failed(entry))
    }

    pub(super) fn node(
        &mut self,
        entry: &Entry,
        parts: &Parts,
        kind: FileType,
        device: u64,
    ) -> Result<(), ImageError> {
        if kind != FileType::Fifo && !self.policy.devices {
            return Err(refused(format!("archive entry {} is a device node", entry.shown())));
        }
        let parent = self.parent();
        let (_, base) = parts.split();
        let make = || -> io::Result<()> {
            mknodat(parent, path(base), kind, Mode::from_raw_mode(0o600), device)?;
            // Opened without following, so that what is changed is what was made.
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let node = openat(parent, path(base), flags, Mode::empty())?;
            if FileType::from_raw_mode(rustix::fs::fstat(&node)?.st_mode) != kind {
                return Err(io::Error::other("replaced while it was being made"));
            }
            let here = proc_path(&node, b"");
            let (uid, gid) = self.owner(entry);
            chownat(&node, "", uid, gid, AtFlags::EMPTY_PATH)?;
            rustix::fs::chmod(&here, Mode::from_raw_mode(entry.mode))?;
            for (name, value) in kept_xattrs(entry) {
                tolerate(setxattr(&here, name, value, XattrFlags::empty()))?;
            }
            Ok(utimensat(parent, path(base), &times(entry.mtime), AtFlags::SYMLINK_NOFOLLOW)?)
        };
        make().map_err(failed(entry))
    }

    pub(super) fn whiteout(&mut self, entry: &Entry, parts: &Parts) -> Result<(), ImageError> {
        let (dir, base) = parts.split();
        if base == OPAQUE {
            let dir = self
                .tree
                .make_dir(dir)
                .and_then(|_| self.tree.open_at(dir, OFlags::RDONLY | OFlags::DIRECTORY))
                .map_err(failed(entry))?;
            return fsetxattr(&dir, "trusted.overlay.opaque", b"y", XattrFlags::empty())
                .map_err(|error| failed(entry)(error.into()));
        }
        if base.starts_with(AUFS) {
            // Bookkeeping of a filesystem that no kernel has any more.
            return Ok(());
        }
        let hidden = &base[WHITEOUT.len()..];
        if matches!(hidden, b"" | b"." | b"..") {
            return Err(refused(format!("archive entry {} hides no name", entry.shown())));
        }
        self.open_parent(entry, parts)?;
        let parent = self.parent();
        let make = || -> io::Result<()> {
            remove_tree_at(parent, path(hidden))?;
            Ok(mknodat(parent, path(hidden), FileType::CharacterDevice, Mode::empty(), 0)?)
        };
        make().map_err(failed(entry))
    }
}
