//! Removing a tree that somebody hostile may have made.
//!
//! A container or an archive can nest directories far deeper than a process has descriptors or stack, so this
//! neither recurses nor keeps more than two directories open: whatever lies deep is first moved up.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use rustix::{
    fs::{AtFlags, CWD, Dir, Mode, OFlags, RenameFlags, openat, renameat_with, unlinkat},
    io::Errno,
};

/// Makes a directory that is empty. One that is there stays: on a full disk another one may not fit.
pub fn emptied(dir: &Path) -> io::Result<()> {
    match std::fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => std::fs::create_dir_all(dir),
        Err(error) => Err(error),
        Ok(entries) => entries.into_iter().try_for_each(|entry| remove_tree(&entry?.path())),
    }
}

/// Removes a file or a whole tree. What is not there is removed already. Symlinks are removed, never followed.
pub(crate) fn remove_tree(path: &Path) -> io::Result<()> {
    remove_tree_at(CWD, path)
}

/// The same for a name in an open directory.
pub(crate) fn remove_tree_at(parent: impl AsFd, name: &Path) -> io::Result<()> {
    match unlinkat(&parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        // Linux says the first, POSIX the second, of a directory.
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(error) => return Err(error.into()),
    }
    let top = open(&parent, name)?;
    let mut number = 0u64;
    loop {
        let below = clear_files(&top)?;
        if below.is_empty() {
            break;
        }
        for child in below {
            let dir = open(&top, Path::new(&child))?;
            for grandchild in clear_files(&dir)? {
                lift(&dir, &grandchild, &top, &mut number)?;
            }
            drop(dir);
            unlinkat(&top, Path::new(&child), AtFlags::REMOVEDIR)?;
        }
    }
    drop(top);
    match unlinkat(&parent, name, AtFlags::REMOVEDIR) {
        Err(Errno::NOENT) => Ok(()),
        result => Ok(result?),
    }
}

fn open(parent: impl AsFd, name: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(parent, name, flags, Mode::empty())?)
}

/// Removes everything but directories, whose names are returned.
fn clear_files(dir: &OwnedFd) -> io::Result<Vec<std::ffi::OsString>> {
    use std::os::unix::ffi::OsStringExt as _;
    let mut directories = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        match unlinkat(dir, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(Errno::ISDIR | Errno::PERM) => {
                directories.push(std::ffi::OsString::from_vec(name.to_bytes().to_vec()));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(directories)
}

/// Moves a directory up, under a name that nobody has.
fn lift(from: &OwnedFd, name: &std::ffi::OsStr, to: &OwnedFd, number: &mut u64) -> io::Result<()> {
    loop {
        *number += 1;
        let free = format!(".removing-{number}");
        match renameat_with(from, Path::new(name), to, Path::new(&free), RenameFlags::NOREPLACE) {
            Err(Errno::EXIST) => {}
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use rustix::fs::mkdirat;

    use super::*;

    #[test]
    fn a_tree_deeper_than_descriptors_and_stack_goes() {
        let scratch = tempfile::tempdir().unwrap();
        let top = scratch.path().join("top");
        std::fs::create_dir(&top).unwrap();
        std::fs::write(scratch.path().join("kept"), "").unwrap();
        let mut here = open(CWD, &top).unwrap();
        for depth in 0..2_500 {
            mkdirat(&here, "d", Mode::from_raw_mode(0o700)).unwrap();
            if depth % 100 == 0 {
                mkdirat(&here, ".removing-1", Mode::from_raw_mode(0o700)).unwrap();
                rustix::fs::symlinkat("../../../../kept", &here, "link").unwrap();
            }
            here = open(&here, Path::new("d")).unwrap();
        }
        drop(here);
        std::os::unix::fs::symlink(scratch.path().join("kept"), top.join("link-2")).unwrap();
        remove_tree(&top).unwrap();
        remove_tree(&top).unwrap();
        assert!(!top.exists() && scratch.path().join("kept").exists());
    }
}
