//! The pipes that lines go through to log plugins, in the plugins' roots.
//!
//! A plugin may have put links there: every step is resolved in its root. Names are as long as Docker's and say which process
//! made the pipe, so that what an engine left that was killed is known from what others use: plugins that are not managed
//! share one folder, and so may several engines.

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
    path::{Path, PathBuf},
};

use pintle_wire::log::PIPES;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags};

/// What names begin with: `pintle`.
const MARK: &str = "70696e746c65";
/// More files than this are not looked at: a plugin may have made any number.
const MOST: usize = 10_000;

/// A pipe in a plugin's root, removed when dropped.
pub(super) struct Place {
    folder: OwnedFd,
    pub(super) name: String,
}

impl Place {
    pub(super) fn make(root: &Path) -> io::Result<Self> {
        let folder = folder(root, true)?;
        let name = format!("{}{}", Maker::this()?.name(), hex::encode(rand::random::<[u8; 12]>()));
        rustix::fs::mknodat(&folder, &name, FileType::Fifo, Mode::from_raw_mode(0o600), 0)?;
        Ok(Self { folder, name })
    }

    /// As this process can open it.
    pub(super) fn here(&self) -> PathBuf {
        Path::new("/proc/self/fd").join(self.folder.as_raw_fd().to_string()).join(&self.name)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = rustix::fs::unlinkat(&self.folder, &self.name, AtFlags::empty());
    }
}

/// The folder of pipes, below `root` whatever links are there.
fn folder(root: &Path, make: bool) -> io::Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::PATH | OFlags::CLOEXEC;
    let root = rustix::fs::open(root, flags, Mode::empty())?;
    let inside = |path: &Path| rustix::fs::openat2(&root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT);
    let mut folder = inside(Path::new("/"))?;
    let mut path = PathBuf::from("/");
    for part in Path::new(PIPES).components().skip(1) {
        if make {
            match rustix::fs::mkdirat(&folder, part.as_os_str(), Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
        path.push(part);
        folder = inside(&path)?;
    }
    Ok(folder)
}

/// Removes pipes whose makers are gone.
pub(super) fn sweep(root: &Path) -> io::Result<()> {
    let folder = match folder(root, false) {
        Ok(folder) => folder,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    let readable = rustix::fs::openat(
        &folder,
        ".",
        OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    for entry in Dir::new(readable)?.take(MOST) {
        let entry = entry?;
        let name = entry.file_name().to_str().unwrap_or_default();
        let is_stale = Maker::of(name).is_some_and(|maker| !maker.lives());
        if is_stale && entry.file_type() == FileType::Fifo {
            rustix::fs::unlinkat(&folder, name, AtFlags::empty())?;
        }
    }
    Ok(())
}

/// The process that made a pipe: its id, and when it began, since ids are used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Maker {
    pid: u32,
    since: u64,
}

impl Maker {
    fn this() -> io::Result<Self> {
        let pid = std::process::id();
        let since = since(pid).ok_or_else(|| io::Error::other("/proc/self/stat says nothing"))?;
        Ok(Self { pid, since })
    }

    fn name(self) -> String {
        format!("{MARK}{:08x}{:020x}", self.pid, self.since)
    }

    fn of(name: &str) -> Option<Self> {
        let rest = name.strip_prefix(MARK).filter(|_| name.len() == 64)?;
        let pid = u32::from_str_radix(rest.get(..8)?, 16).ok()?;
        let since = u64::from_str_radix(rest.get(8..28)?, 16).ok()?;
        Some(Self { pid, since })
    }

    fn lives(self) -> bool {
        since(self.pid) == Some(self.since)
    }
}

/// When a process began, in ticks since the machine did.
fn since(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // Its name, in parentheses, may be anything.
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn only_pipes_whose_maker_is_gone_are_removed() {
        let root = tempfile::tempdir().unwrap();
        sweep(root.path()).unwrap();
        let mine = Place::make(root.path()).unwrap();
        assert_eq!(mine.name.len(), 64);
        let pipes = root.path().join(PIPES.trim_start_matches('/'));
        let dead = |maker: Maker| format!("{}{}", maker.name(), "0".repeat(24));
        let this = Maker::this().unwrap();
        // Its id was used again; and it is not there at all.
        let stale = [dead(Maker { since: this.since + 1, ..this }), dead(Maker { pid: u32::MAX, since: 1 })];
        let others = ["f".repeat(64), format!("{MARK}x")];
        for name in stale.iter().chain(&others) {
            let at = rustix::fs::CWD;
            rustix::fs::mknodat(at, pipes.join(name), FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        }
        let file = dead(Maker { pid: u32::MAX, since: 2 });
        fs::write(pipes.join(&file), "no pipe").unwrap();
        sweep(root.path()).unwrap();
        let mut left: Vec<_> = fs::read_dir(&pipes)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        let mut wanted = [&others[..], &[mine.name.clone(), file]].concat();
        wanted.sort();
        assert_eq!(left, wanted);
    }

    #[test]
    fn a_link_in_a_plugins_root_leads_nowhere_else() {
        let (root, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let name = format!("{}{}", Maker { pid: u32::MAX, since: 1 }.name(), "0".repeat(24));
        let pipe = elsewhere.path().join(&name);
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        let pipes = root.path().join(PIPES.trim_start_matches('/'));
        fs::create_dir_all(pipes.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), &pipes).unwrap();
        sweep(root.path()).unwrap();
        assert!(pipe.exists());
    }
}
