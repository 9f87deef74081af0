//! Filling an empty volume with what the image has where it gets mounted.
//!
//! Containers may be writing to the volume meanwhile, so nothing here follows a path that they could bend:
//! every step is relative to an open directory and follows no link. The copy is staged in one directory inside
//! the volume and then renamed into place entry by entry; a stage that is still there tells of a copy that
//! was cut short, which the next one does again.

use std::{
    collections::HashMap,
    ffi::{CStr, CString, OsStr},
    fs::File,
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{
        AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, RenameFlags, Stat, Timespec, Timestamps, Uid,
        XattrFlags, chmodat, chownat, fgetxattr, flistxattr, fsetxattr, futimens, linkat, mkdirat, mknodat,
        openat, readlinkat, renameat_with, statat, symlinkat, utimensat,
    },
    io::Errno,
};

/// Where the copy grows, inside the volume.
const STAGE: &CStr = c".pintle-copy-up";
/// Deeper trees are hostile, and would run out of open files.
const DEEPEST: usize = 256;
/// No filesystem has longer lists or values of extended attributes.
const XATTR: usize = 64 * 1024;

/// Copies the content of the directory `source` into the directory `volume` if that is empty, with owners,
/// modes, times, extended attributes, links and special files, and gives `volume` the owner and mode of
/// `source`. Says whether it did: not if `source` is no directory or `volume` has content. Blocks on the disk.
pub fn copy_up(source: &Path, volume: &Path) -> io::Result<bool> {
    let source = match open_dir(CWD, source) {
        Ok(source) => source,
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(false),
        Err(error) => return Err(error.into()),
    };
    let target = open_dir(CWD, volume)?;
    let names = entries(target.as_fd())?;
    if !names.is_empty() && !names.iter().any(|name| name.as_c_str() == STAGE) {
        return Ok(false);
    }
    let stage_path = volume.join(OsStr::from_bytes(STAGE.to_bytes()));
    remove_stage(&stage_path)?;
    mkdirat(&target, STAGE, Mode::RWXU)?;
    let stage = open_dir(target.as_fd(), STAGE)?;
    let mut copy = Copy { stage: stage.as_fd(), linked: HashMap::new() };
    copy.content(source.as_fd(), stage.as_fd(), &mut PathBuf::new(), 0)?;
    for name in entries(stage.as_fd())? {
        match renameat_with(&stage, &name, &target, &name, RenameFlags::NOREPLACE) {
            // Put there by the copy that was cut short, or by a container: either is what should stay.
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
    }
    remove_stage(&stage_path)?;
    let stat = rustix::fs::fstat(&source)?;
    copy_xattrs(source.as_fd(), target.as_fd())?;
    rustix::fs::fchown(&target, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
    rustix::fs::fchmod(&target, Mode::from_raw_mode(stat.st_mode))?;
    Ok(true)
}

fn remove_stage(path: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn open_dir(at: BorrowedFd<'_>, name: impl rustix::path::Arg) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(at, name, flags, Mode::empty())
}

fn entries(dir: BorrowedFd<'_>) -> io::Result<Vec<CString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push(entry.file_name().to_owned());
        }
    }
    Ok(names)
}

struct Copy<'a> {
    stage: BorrowedFd<'a>,
    /// Files with several names, and the first of them in the stage.
    linked: HashMap<(u64, u64), PathBuf>,
}

impl Copy<'_> {
    fn content(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        path: &mut PathBuf,
        depth: usize,
    ) -> io::Result<()> {
        if depth > DEEPEST {
            return Err(io::Error::other("the image's directories are nested too deep"));
        }
        for name in entries(from)? {
            path.push(OsStr::from_bytes(name.to_bytes()));
            self.entry(from, to, &name, path, depth)?;
            path.pop();
        }
        Ok(())
    }

    fn entry(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        name: &CStr,
        path: &mut PathBuf,
        depth: usize,
    ) -> io::Result<()> {
        let stat = statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if stat.st_nlink > 1 && kind != FileType::Directory {
            if let Some(first) = self.linked.get(&(stat.st_dev, stat.st_ino)) {
                linkat(self.stage, first, to, name, AtFlags::empty())?;
                return Ok(());
            }
            self.linked.insert((stat.st_dev, stat.st_ino), path.clone());
        }
        match kind {
            FileType::Directory => {
                let source = open_dir(from, name)?;
                mkdirat(to, name, Mode::RWXU)?;
                let made = open_dir(to, name)?;
                self.content(source.as_fd(), made.as_fd(), path, depth + 1)?;
                dress(to, name, &stat)?;
                copy_xattrs(source.as_fd(), made.as_fd())?;
                futimens(&made, &times(&stat))?;
            }
            FileType::RegularFile => {
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
                let mut source = File::from(openat(from, name, flags, Mode::empty())?);
                let flags =
                    OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let mut made = File::from(openat(to, name, flags, Mode::RUSR | Mode::WUSR)?);
                io::copy(&mut source, &mut made)?;
                dress(to, name, &stat)?;
                copy_xattrs(source.as_fd(), made.as_fd())?;
                futimens(&made, &times(&stat))?;
            }
            FileType::Symlink => {
                symlinkat(readlinkat(from, name, Vec::new())?, to, name)?;
                dress(to, name, &stat)?;
                utimensat(to, name, &times(&stat), AtFlags::SYMLINK_NOFOLLOW)?;
            }
            FileType::Fifo | FileType::CharacterDevice | FileType::BlockDevice => {
                mknodat(to, name, kind, Mode::RUSR | Mode::WUSR, stat.st_rdev)?;
                dress(to, name, &stat)?;
                utimensat(to, name, &times(&stat), AtFlags::SYMLINK_NOFOLLOW)?;
            }
            // A socket is nothing without its process.
            _ => {}
        }
        Ok(())
    }
}

/// Owner first: changing it takes away set-user-id bits.
fn dress(at: BorrowedFd<'_>, name: &CStr, stat: &Stat) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    chownat(at, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
        // The entry is in the stage, where it was made a moment ago as no link.
        chmodat(at, name, Mode::from_raw_mode(stat.st_mode), AtFlags::empty())?;
    }
    Ok(())
}

fn times(stat: &Stat) -> Timestamps {
    let time = |seconds, nanos| Timespec { tv_sec: seconds, tv_nsec: i64::try_from(nanos).unwrap_or(0) };
    Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    }
}

/// What the volume's filesystem cannot hold is left out, as Docker does.
fn copy_xattrs(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<()> {
    let mut names = vec![0_u8; XATTR];
    let length = match flistxattr(from, names.as_mut_slice()) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let mut value = vec![0_u8; if length == 0 { 0 } else { XATTR }];
    for name in names[..length].split_inclusive(|byte| *byte == 0) {
        let Ok(name) = CStr::from_bytes_with_nul(name) else { continue };
        if name.to_bytes().starts_with(b"trusted.overlay.") {
            continue;
        }
        match fgetxattr(from, name, value.as_mut_slice()) {
            Ok(length) => match fsetxattr(to, name, &value[..length], XattrFlags::empty()) {
                Ok(()) | Err(Errno::OPNOTSUPP) => {}
                Err(error) => return Err(error.into()),
            },
            Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink},
    };

    use super::*;

    fn trees() -> (tempfile::TempDir, PathBuf, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let (source, volume) = (dir.path().join("source"), dir.path().join("volume"));
        fs::create_dir(&source).unwrap();
        fs::create_dir(&volume).unwrap();
        (dir, source, volume)
    }

    #[test]
    fn everything_about_a_file_is_kept() {
        let (_dir, source, volume) = trees();
        fs::create_dir(source.join("sub")).unwrap();
        fs::write(source.join("sub/file"), "text").unwrap();
        fs::hard_link(source.join("sub/file"), source.join("again")).unwrap();
        symlink("/etc/passwd", source.join("link")).unwrap();
        mknodat(CWD, source.join("pipe"), FileType::Fifo, Mode::RUSR, 0).unwrap();
        std::os::unix::fs::chown(source.join("sub/file"), Some(12), Some(34)).unwrap();
        std::os::unix::fs::lchown(source.join("link"), Some(5), Some(6)).unwrap();
        fs::set_permissions(source.join("sub/file"), fs::Permissions::from_mode(0o4751)).unwrap();
        fs::set_permissions(source.join("sub"), fs::Permissions::from_mode(0o1777)).unwrap();
        fs::set_permissions(&source, fs::Permissions::from_mode(0o750)).unwrap();
        std::os::unix::fs::chown(&source, Some(99), Some(98)).unwrap();
        let file = File::open(source.join("sub/file")).unwrap();
        fsetxattr(&file, c"user.note", b"kept", XattrFlags::empty()).unwrap();

        assert!(copy_up(&source, &volume).unwrap());

        let meta = fs::symlink_metadata(volume.join("sub/file")).unwrap();
        assert_eq!((meta.uid(), meta.gid(), meta.mode() & 0o7777), (12, 34, 0o4751));
        assert_eq!(meta.mtime_nsec(), fs::symlink_metadata(source.join("sub/file")).unwrap().mtime_nsec());
        assert_eq!(meta.ino(), fs::symlink_metadata(volume.join("again")).unwrap().ino());
        assert_eq!(fs::symlink_metadata(volume.join("sub")).unwrap().mode() & 0o7777, 0o1777);
        assert_eq!(fs::read_link(volume.join("link")).unwrap(), Path::new("/etc/passwd"));
        assert_eq!(fs::symlink_metadata(volume.join("link")).unwrap().uid(), 5);
        assert!(fs::symlink_metadata(volume.join("pipe")).unwrap().file_type().is_fifo());
        let mut value = [0; 16];
        let length =
            fgetxattr(File::open(volume.join("sub/file")).unwrap(), c"user.note", &mut value[..]).unwrap();
        assert_eq!(&value[..length], b"kept");
        let root = fs::symlink_metadata(&volume).unwrap();
        assert_eq!((root.uid(), root.gid(), root.mode() & 0o7777), (99, 98, 0o750));
        assert_eq!(fs::read_dir(&volume).unwrap().count(), 4);
    }

    #[test]
    fn only_into_an_empty_volume_and_only_from_a_directory() {
        let (_dir, source, volume) = trees();
        fs::write(source.join("a"), "").unwrap();
        assert!(!copy_up(&source.join("a"), &volume).unwrap());
        assert!(!copy_up(&source.join("missing"), &volume).unwrap());
        fs::write(volume.join("mine"), "").unwrap();
        assert!(!copy_up(&source, &volume).unwrap());
        assert!(!volume.join("a").exists());
    }

    #[test]
    fn a_copy_that_was_cut_short_is_done_again() {
        let (_dir, source, volume) = trees();
        fs::write(source.join("a"), "new").unwrap();
        fs::write(source.join("b"), "new").unwrap();
        let stage = volume.join(".pintle-copy-up");
        fs::create_dir(&stage).unwrap();
        fs::write(stage.join("b"), "ha").unwrap();
        fs::write(volume.join("a"), "new").unwrap();
        assert!(copy_up(&source, &volume).unwrap());
        assert_eq!(fs::read_to_string(volume.join("b")).unwrap(), "new");
        assert!(!stage.exists());
        assert!(!copy_up(&source, &volume).unwrap());
    }
}
