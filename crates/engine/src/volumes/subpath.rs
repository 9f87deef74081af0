//! A part of a volume as a mount source of its own (`volume-subpath`).
//!
//! What is inside a volume was written by containers, so a path into it may be a trap: it is resolved by the
//! kernel beneath the volume's root, where neither `..` nor a symbolic link leads out. The found file is then
//! bound to a private path, since a second look at its own path could be led elsewhere.

use std::{
    fs, io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    path::{Component, Path, PathBuf},
};

use rustix::{
    fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, openat, openat2},
    io::Errno,
    mount::{UnmountFlags, mount_bind_recursive, unmount},
};

use crate::EngineError;

/// How often a lookup is tried again that a concurrent rename disturbed.
const ATTEMPTS: usize = 16;

/// One file or directory of a volume at a path of its own, until dropped. A mount made from it stays.
#[derive(Debug)]
pub struct Subpath {
    at: PathBuf,
}

impl Subpath {
    /// Finds `inside` beneath `volume` and binds it to a new path in the directory `within`. Blocks on the disk.
    pub fn bind(volume: &Path, inside: &str, within: &Path) -> Result<Self, EngineError> {
        Self::of(open(volume, inside)?, &format!("subpath {inside} of a volume"), within)
    }

    /// The same of an absolute path that has no links in it: of one that has been put into it since, nothing is found.
    pub fn pinned(path: &Path, within: &Path) -> Result<Self, EngineError> {
        let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let mut found = Err(Errno::AGAIN);
        for _ in 0..ATTEMPTS {
            found = openat2(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve);
            if !matches!(found, Err(Errno::AGAIN | Errno::INTR)) {
                break;
            }
        }
        let found = found.map_err(|error| match error {
            Errno::LOOP => EngineError::conflict(format!(
                "the path {} was judged when the container was made, and a link was put into it since",
                path.display()
            )),
            error => no_access(path, error),
        })?;
        Self::of(found, &path.display().to_string(), within)
    }

    fn of(found: OwnedFd, what: &str, within: &Path) -> Result<Self, EngineError> {
        let failed = |error: io::Error| EngineError::internal(format!("cannot bind {what}: {error}"));
        let is_dir = fstat(&found).map(|stat| FileType::from_raw_mode(stat.st_mode).is_dir());
        fs::create_dir_all(within).map_err(failed)?;
        let at = within.join(hex::encode(rand::random::<[u8; 16]>()));
        let made = if is_dir.map_err(|error| failed(error.into()))? {
            fs::create_dir(&at)
        } else {
            fs::File::create_new(&at).map(drop)
        };
        made.map_err(failed)?;
        let bound = Self { at };
        mount_bind_recursive(format!("/proc/self/fd/{}", found.as_raw_fd()), &bound.at)
            .map_err(|error| failed(error.into()))?;
        Ok(bound)
    }

    /// Where it is. Only for as long as this lives.
    pub fn path(&self) -> &Path {
        &self.at
    }
}

impl Drop for Subpath {
    fn drop(&mut self) {
        release(&self.at);
    }
}

/// Takes a binding away. Never deletes what it shows: an unmount that failed makes both removals fail.
fn release(at: &Path) {
    match unmount(at, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
        // EINVAL: not a mount point.
        Ok(()) | Err(Errno::INVAL) => {
            let _ = fs::remove_dir(at).or_else(|_| match fs::symlink_metadata(at) {
                Ok(meta) if meta.is_file() && meta.len() == 0 => fs::remove_file(at),
                _ => Ok(()),
            });
        }
        Err(error) => tracing::warn!(path = %at.display(), %error, "could not take away a subpath's binding"),
    }
}

/// Takes away what a crash left in the directory `within`.
pub fn clean(within: &Path) {
    let Ok(entries) = fs::read_dir(within) else { return };
    for entry in entries.flatten() {
        release(&entry.path());
    }
}

/// Opens `inside` beneath `volume` as an `O_PATH` handle. 400 for a path that is not relative and inward or leads
/// out, 404 for one that is not there.
pub fn open(volume: &Path, inside: &str) -> Result<OwnedFd, EngineError> {
    let relative = Path::new(inside);
    let inward = relative.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if !inward || inside.is_empty() || inside.contains('\0') {
        return Err(EngineError::invalid("subpath must be a relative path within the volume"));
    }
    let root = openat(CWD, volume, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|error| no_access(volume, error))?;
    for _ in 0..ATTEMPTS {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        match openat2(root.as_fd(), relative, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve) {
            Ok(found) => return Ok(found),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(Errno::XDEV) => {
                return Err(EngineError::invalid(format!(
                    "path concatenation escapes the base directory, base: {}, subpath: {inside}",
                    volume.display()
                )));
            }
            Err(error) => return Err(no_access(&volume.join(relative), error)),
        }
    }
    Err(no_access(&volume.join(relative), Errno::AGAIN))
}

fn no_access(path: &Path, error: Errno) -> EngineError {
    let text = format!("cannot access path {}: {}", path.display(), io::Error::from(error));
    match error {
        Errno::NOENT | Errno::NOTDIR | Errno::LOOP => EngineError::not_found(text),
        _ => EngineError::internal(text),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::ErrorKind;

    fn volume() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let volume = dir.path().join("volume");
        fs::create_dir_all(volume.join("a/b")).unwrap();
        fs::write(volume.join("a/file"), "inside").unwrap();
        fs::write(dir.path().join("secret"), "outside").unwrap();
        symlink("../../secret", volume.join("a/up")).unwrap();
        symlink("/etc", volume.join("a/absolute")).unwrap();
        symlink("b", volume.join("a/within")).unwrap();
        symlink("/proc/self/root", volume.join("a/magic")).unwrap();
        (dir, volume)
    }

    #[test]
    fn nothing_leads_out() {
        let (_dir, volume) = volume();
        for inside in ["a/up", "a/absolute", "a/absolute/passwd", "a/magic/etc"] {
            let error = open(&volume, inside).unwrap_err();
            let expected = format!(
                "path concatenation escapes the base directory, base: {}, subpath: {inside}",
                volume.display()
            );
            assert_eq!((error.kind(), error.message), (ErrorKind::InvalidArgument, expected));
        }
        for inside in ["../secret", "/etc", "a/../../secret", "", "a\0b"] {
            assert_eq!(open(&volume, inside).unwrap_err().kind(), ErrorKind::InvalidArgument, "{inside}");
        }
        assert_eq!(open(&volume, "a/missing").unwrap_err().kind(), ErrorKind::NotFound);
        open(&volume, "a/within").unwrap();
        open(&volume, "./a/b").unwrap();
    }

    /// T8: somebody swaps a directory for a link all the while.
    #[test]
    fn a_pinned_path_never_leads_elsewhere() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let (judged, within) = (root.join("judged"), root.join("subpaths"));
        fs::create_dir_all(judged.join("data")).unwrap();
        fs::write(judged.join("data/file"), "judged").unwrap();
        fs::create_dir_all(root.join("secret/data")).unwrap();
        fs::write(root.join("secret/data/file"), "secret").unwrap();
        symlink("secret", root.join("link")).unwrap();
        let done = std::sync::atomic::AtomicBool::new(false);
        let (mut shown, mut refused) = (0, 0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                use rustix::fs::{RenameFlags, renameat_with};
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    renameat_with(CWD, &judged, CWD, root.join("link"), RenameFlags::EXCHANGE).unwrap();
                    std::thread::yield_now();
                }
            });
            for _ in 0..10_000 {
                match Subpath::pinned(&judged.join("data"), &within) {
                    Ok(bound) => {
                        assert_eq!(fs::read_to_string(bound.path().join("file")).unwrap(), "judged");
                        shown += 1;
                    }
                    Err(error) => {
                        assert!(error.to_string().contains("a link was put into it"), "{error}");
                        refused += 1;
                    }
                }
            }
            done.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        assert!(shown > 0 && refused > 0, "both happen: {shown} and {refused}");
        assert_eq!(fs::read_dir(&within).unwrap().count(), 0, "nothing is left");
    }

    #[test]
    fn a_binding_shows_the_part_and_goes_without_it() {
        let (dir, volume) = volume();
        let within = dir.path().join("subpaths");
        let bound = Subpath::bind(&volume, "a", &within).unwrap();
        assert_eq!(fs::read_to_string(bound.path().join("file")).unwrap(), "inside");
        let file = Subpath::bind(&volume, "a/file", &within).unwrap();
        assert_eq!(fs::read_to_string(file.path()).unwrap(), "inside");
        // As after a crash: nothing dropped them.
        std::mem::forget(bound);
        std::mem::forget(file);
        clean(&within);
        assert_eq!(fs::read_dir(&within).unwrap().count(), 0);
        assert_eq!(fs::read_to_string(volume.join("a/file")).unwrap(), "inside");
    }
}
