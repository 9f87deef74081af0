//! A directory tree that nothing leads out of: every path is resolved by the kernel inside its root.

use std::{
    ffi::OsStr,
    io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{CWD, Mode, OFlags, ResolveFlags, mkdirat, openat2},
    io::Errno,
};

/// How many times a lookup is tried again while others rename things in the tree.
const TRIES: u32 = 64;

/// An open root.
pub(crate) struct Tree {
    root: OwnedFd,
    /// Symlinks on the way to an entry: followed inside the root, or refused.
    resolve: ResolveFlags,
    /// What all names are below, inside the root.
    base: Vec<u8>,
}

/// A name as its components, with `.` left out and `..` applied.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct Parts(pub Vec<u8>);

impl Parts {
    /// Cleans a name. `None` if it climbs out of where it starts, or cannot be a name at all.
    pub fn clean(name: &[u8]) -> Option<Self> {
        let mut parts: Vec<&[u8]> = Vec::new();
        for part in name.split(|byte| *byte == b'/') {
            match part {
                b"" | b"." => {}
                b".." => {
                    parts.pop()?;
                }
                part if part.contains(&0) => return None,
                part => parts.push(part),
            }
        }
        Some(Self(parts.join(&b'/')))
    }

    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The directory and the last component.
    pub fn split(&self) -> (&[u8], &[u8]) {
        match self.0.iter().rposition(|byte| *byte == b'/') {
            Some(at) => (&self.0[..at], &self.0[at + 1..]),
            None => (b"", &self.0),
        }
    }
}

/// A path's components; what climbs above the root stays at the root, as `cd /..` does.
pub(super) fn components(text: &str) -> Vec<&str> {
    let mut parts: Vec<&str> = Vec::new();
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts
}

/// Bytes as a path.
pub(crate) fn path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

impl Tree {
    /// Opens `root`. With `follow` false, a symlink on the way to an entry is an error (`ELOOP`).
    pub fn open(root: &Path, follow: bool) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::openat(CWD, root, flags, Mode::empty())?;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let resolve = if follow { resolve } else { resolve | ResolveFlags::NO_SYMLINKS };
        Ok(Self { root, resolve, base: Vec::new() })
    }

    /// The same tree with names taken below one of its directories. Symlinks still see the whole tree.
    pub fn below(mut self, base: &[u8]) -> Self {
        self.base = base.to_vec();
        self
    }

    pub fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Opens something in the tree.
    pub fn open_at(&self, name: &[u8], flags: OFlags) -> io::Result<OwnedFd> {
        let whole = [self.base.as_slice(), name].join(&b'/');
        let name = whole.strip_prefix(b"/").unwrap_or(&whole);
        let name = if name.is_empty() { b"." } else { name };
        for _ in 0..TRIES {
            match openat2(&self.root, path(name), flags | OFlags::CLOEXEC, Mode::empty(), self.resolve) {
                Err(Errno::AGAIN | Errno::INTR) => {}
                result => return Ok(result?),
            }
        }
        Err(Errno::AGAIN.into())
    }

    /// Opens a directory in the tree for work on its entries.
    pub fn dir(&self, name: &[u8]) -> io::Result<OwnedFd> {
        self.open_at(name, OFlags::PATH | OFlags::DIRECTORY)
    }

    /// The same, making what is missing on the way.
    pub fn make_dir(&self, name: &[u8]) -> io::Result<OwnedFd> {
        let missing = match self.dir(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => error,
            result => return result,
        };
        // Go up to what is there, then down again, without recursion: names may be 2000 components deep.
        let ends: Vec<usize> =
            (0..name.len()).filter(|at| name[*at] == b'/').chain(std::iter::once(name.len())).collect();
        let there = ends.iter().rposition(|end| self.dir(&name[..*end]).is_ok()).map_or(0, |at| at + 1);
        let mut above = self.dir(if there == 0 { b"" } else { &name[..ends[there - 1]] })?;
        for end in &ends[there..] {
            let start = name[..*end].iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1);
            match mkdirat(&above, path(&name[start..*end]), Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
            above = self.dir(&name[..*end]).map_err(|error| match error.kind() {
                // It is there and it is not: a symlink to nowhere.
                io::ErrorKind::NotFound => {
                    io::Error::new(missing.kind(), "a symlink on the way leads nowhere")
                }
                _ => error,
            })?;
        }
        Ok(above)
    }
}

/// A name in an open directory as a path for the calls that have no descriptor form. The directory part
/// cannot be swapped; the last component must not be followed by the call.
pub(crate) fn proc_path(dir: impl AsFd, name: &[u8]) -> PathBuf {
    let mut whole = PathBuf::from(format!("/proc/self/fd/{}", dir.as_fd().as_raw_fd()));
    if !name.is_empty() {
        whole.push(path(name));
    }
    whole
}
