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
    if let Some(other) = std::fs::read_to_string(path).ok().and_then(|text| text.trim().parse::<u32>().ok())
        && other != pid
        && Path::new(&format!("/proc/{other}")).exists()
    {
        return Err(format!(
            "process with PID {other} is still running: stop it, remove {} or give another --pidfile",
            path.display()
        ));
    }
    std::fs::write(path, pid.to_string()).map_err(|error| format!("writing {}: {error}", path.display()))
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
    fn a_pidfile_of_a_living_process_is_respected_and_a_stale_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let pidfile = dir.path().join("pid");
        std::fs::write(&pidfile, "1").unwrap();
        let error = Claim::take(dir.path(), Some(&pidfile)).unwrap_err();
        assert!(error.contains("process with PID 1 is still running"), "{error}");
        std::fs::write(&pidfile, "4194999").unwrap();
        Claim::take(dir.path(), Some(&pidfile)).unwrap();
    }
}
