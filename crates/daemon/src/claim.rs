//! One engine for each data root, and its process id where it was asked for.

use std::{
    fs::{File, OpenOptions},
    io::{Read, Seek, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, flock};

/// The exclusive use of a data root. Ends when dropped, or with the process, however that ends.
#[derive(Debug)]
pub(crate) struct Claim {
    _lock: File,
    pidfile: Option<PathBuf>,
}

impl Claim {
    /// Takes it, or says who has it.
    pub(crate) fn take(data_root: &Path, pidfile: Option<&Path>) -> Result<Self, String> {
        let path = data_root.join("pintle.lock");
        let failed = |error: std::io::Error| format!("locking {}: {error}", path.display());
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(failed)?;
        if let Err(error) = flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            let mut holder = String::new();
            let _ = lock.read_to_string(&mut holder);
            let holder = holder.trim();
            return Err(if error == rustix::io::Errno::WOULDBLOCK {
                format!(
                    "another engine{} uses {}: stop it, or give this one another --data-root and --exec-root",
                    if holder.is_empty() { String::new() } else { format!(" (process {holder})") },
                    data_root.display()
                )
            } else {
                failed(error.into())
            });
        }
        let pid = std::process::id();
        lock.set_len(0)
            .and_then(|()| lock.rewind())
            .and_then(|()| writeln!(lock, "{pid}"))
            .map_err(failed)?;
        if let Some(pidfile) = pidfile {
            write_pidfile(pidfile, pid)?;
        }
        Ok(Self { _lock: lock, pidfile: pidfile.map(Path::to_owned) })
    }
}

fn write_pidfile(path: &Path, pid: u32) -> Result<(), String> {
    let written = std::fs::read_to_string(path).unwrap_or_default();
    check_pidfile(&written, pid, path, is_engine)?;
    std::fs::write(path, pid.to_string()).map_err(|error| format!("writing {}: {error}", path.display()))
}

fn check_pidfile(
    written: &str,
    own: u32,
    path: &Path,
    is_engine: impl Fn(u32) -> bool,
) -> Result<(), String> {
    match written.trim().parse::<u32>() {
        Ok(other) if other != own && is_engine(other) => Err(format!(
            "process with PID {other} is still running: stop it, remove {} or give another --pidfile",
            path.display()
        )),
        _ => Ok(()),
    }
}

/// Whether that process runs this program. A number that went to somebody else, or whose owner was killed and is
/// not yet buried, hinders nobody.
fn is_engine(pid: u32) -> bool {
    let program =
        |pid: &str| std::fs::read_link(format!("/proc/{pid}/exe")).ok()?.file_name().map(ToOwned::to_owned);
    program(&pid.to_string()).is_some_and(|other| Some(other) == program("self"))
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some(pidfile) = &self.pidfile {
            // Nobody is left to tell.
            let _ = std::fs::remove_file(pidfile);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_root_has_one_engine() {
        let dir = tempfile::tempdir().unwrap();
        let pidfile = dir.path().join("pid");
        let claim = Claim::take(dir.path(), Some(&pidfile)).unwrap();
        assert_eq!(std::fs::read_to_string(&pidfile).unwrap(), std::process::id().to_string());
        let error = Claim::take(dir.path(), None).unwrap_err();
        assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
        drop(claim);
        assert!(!pidfile.exists());
        Claim::take(dir.path(), None).unwrap();
    }

    #[test]
    fn only_a_living_engine_s_pidfile_is_respected() {
        let dir = tempfile::tempdir().unwrap();
        let pidfile = dir.path().join("pid");
        // Nobody, and somebody else.
        for stale in ["4194999", "1", "rubbish", ""] {
            std::fs::write(&pidfile, stale).unwrap();
            Claim::take(dir.path(), Some(&pidfile)).unwrap();
        }
        assert!(is_engine(std::process::id()));
        let error = check_pidfile("7", 8, dir.path(), |pid| pid == 7).unwrap_err();
        assert!(error.contains("process with PID 7 is still running"), "{error}");
    }
}
