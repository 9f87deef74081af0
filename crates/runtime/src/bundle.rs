//! A task's directory, `<exec-root>/tasks/<id>`: what is where, and who writes it.
//!
//! | file | written by | holds |
//! |---|---|---|
//! | `config.json` | engine | the OCI spec, hardened |
//! | `task.json` | engine | [`Manifest`]: what the shim must know besides |
//! | `seccomp.bpf` | engine | the compiled filter, if any |
//! | `shim.sock`, `shim.pid`, `shim.log` | shim | its socket (0600), pid (locked while it lives), and last words |
//! | `exit.json` | shim, or the engine for a dead shim | how the task ended; never changed once written |
//! | `state/` | libcontainer | its own |
//! | `oci/` | a runtime that is a program | its own |

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

use crate::error::{IoContext, RuntimeError};
use crate::external::Binary;
use crate::task::{ExitStatus, LogFile};

/// A task's directory.
#[derive(Debug, Clone)]
pub(crate) struct TaskDir(PathBuf);

/// What the shim must know besides the spec. Fields are only ever added, with a default.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Manifest {
    pub id: String,
    pub terminal: bool,
    pub stdin_open: bool,
    pub stdin_once: bool,
    pub console_size: Option<(u16, u16)>,
    pub log: Option<LogFile>,
    pub oom_score_adj: Option<i32>,
    pub cgroup: String,
    /// The capabilities that the process really gets; the spec's sets are wider until the filter is in.
    pub capabilities: CapabilityMasks,
    pub no_new_privileges: bool,
    /// The container has a PID namespace of its own, so that its processes die with PID 1.
    pub private_pids: bool,
    #[serde(default)]
    pub labels: std::collections::BTreeMap<String, String>,
    /// The program that makes and runs it; none: the embedded runtime.
    #[serde(default)]
    pub runtime: Option<Binary>,
}

/// The five capability sets as the kernel's bit masks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CapabilityMasks {
    pub bounding: u64,
    pub effective: u64,
    pub permitted: u64,
    pub inheritable: u64,
    pub ambient: u64,
}

impl TaskDir {
    pub(crate) fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Makes the directory, readable by root only. An existing one is a conflict.
    pub(crate) fn create(&self, id: &str) -> Result<(), RuntimeError> {
        use std::os::unix::fs::DirBuilderExt;
        match fs::DirBuilder::new().mode(0o700).create(&self.0) {
            Ok(()) => Ok(()),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                Err(RuntimeError::Conflict(format!("task {id} exists already")))
            }
            Err(e) => Err(RuntimeError::io(format!("making {}", self.0.display()), e)),
        }
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> Result<(), RuntimeError> {
        let path = self.file(name);
        let write = || -> io::Result<()> {
            OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&path)?
                .write_all(bytes)
        };
        write().context(|| format!("writing {}", path.display()))
    }

    pub(crate) fn write_json(&self, name: &str, value: &impl Serialize) -> Result<(), RuntimeError> {
        let bytes =
            serde_json::to_vec(value).map_err(|e| RuntimeError::Internal(format!("encoding {name}: {e}")))?;
        self.write(name, &bytes)
    }

    pub(crate) fn manifest(&self) -> Result<Manifest, RuntimeError> {
        let path = self.file("task.json");
        let bytes = fs::read(&path).context(|| format!("reading {}", path.display()))?;
        serde_json::from_slice(&bytes)
            .map_err(|e| RuntimeError::Internal(format!("{} is damaged: {e}", path.display())))
    }

    /// How the task ended, if that is known.
    pub(crate) fn exit(&self) -> Option<ExitStatus> {
        let bytes = fs::read(self.file("exit.json")).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// Records the end, durably; the first record stays. Returns the record that stands.
    pub(crate) fn record_exit(&self, status: &ExitStatus) -> Result<ExitStatus, RuntimeError> {
        let context = || format!("recording the exit in {}", self.0.display());
        let bytes = serde_json::to_vec(status).map_err(|e| RuntimeError::Internal(e.to_string()))?;
        let temporary = self.file(&format!(".exit.{}", std::process::id()));
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)
            .context(context)?;
        file.write_all(&bytes).context(context)?;
        file.sync_all().context(context)?;
        // A link, not a rename: whoever records first wins.
        let linked = fs::hard_link(&temporary, self.file("exit.json"));
        let _ = fs::remove_file(&temporary);
        match linked {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(RuntimeError::io(context(), e)),
            _ => {}
        }
        if let Ok(dir) = File::open(&self.0) {
            let _ = dir.sync_all();
        }
        Ok(self.exit().unwrap_or_else(|| status.clone()))
    }

    /// Takes the lock that says "a shim lives here". The lock is the process's own: children do not inherit it and
    /// death releases it.
    pub(crate) fn lock(&self) -> io::Result<Option<File>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(self.file("shim.pid"))?;
        match rustix::fs::fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(file)),
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::ACCESS) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    pub(crate) fn remove(&self) -> Result<(), RuntimeError> {
        match fs::remove_dir_all(&self.0) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                Err(RuntimeError::io(format!("removing {}", self.0.display()), e))
            }
            _ => Ok(()),
        }
    }
}
