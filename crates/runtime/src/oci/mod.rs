//! The embedded runtime as a runtime for others: the verbs of the OCI command line, as runc has them.
//!
//! There is no shim here. Whoever calls keeps the standard streams and reaps the process, so every verb is a process of
//! its own, which must have one thread. `<root>/<id>` is a task's directory as [`crate::bundle`] tells, without what a
//! shim would write, and with `oci.json`, which remembers the bundle.

mod create;
mod exec;
mod features;

use std::path::{Path, PathBuf};

use libcontainer::container::{Container as Inner, ContainerStatus};
use libcontainer::oci_spec::runtime::LinuxResources;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub use create::CreateOptions;
pub use exec::ExecOptions;
pub use features::features;

use crate::bundle::{Manifest, TaskDir};
use crate::cgroup::Group;
use crate::error::{IoContext, RuntimeError};
use crate::shim::{Witness, chain, signal};

/// What is remembered besides the manifest.
#[derive(Debug, Serialize, Deserialize)]
struct Origin {
    bundle: PathBuf,
}

const ORIGIN: &str = "oci.json";

/// Containers below one directory.
#[derive(Debug)]
pub struct Containers {
    root: PathBuf,
}

/// One that exists.
struct Found {
    dir: TaskDir,
    manifest: Manifest,
    origin: Origin,
    inner: Inner,
}

impl Containers {
    /// Opens (and makes) the directory.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open(root: &Path) -> Result<Self, RuntimeError> {
        use std::os::unix::fs::DirBuilderExt;
        let _ = tracing::subscriber::set_global_default(Witness);
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(root);
        made.context(|| format!("making {}", root.display()))?;
        let root = root.canonicalize().context(|| format!("finding {}", root.display()))?;
        Ok(Self { root })
    }

    fn dir(&self, id: &str) -> Result<TaskDir, RuntimeError> {
        let fine = !id.is_empty()
            && id.len() <= 1024
            && !id.starts_with('.')
            && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"_+-.".contains(&b));
        if fine {
            Ok(TaskDir::new(self.root.join(id)))
        } else {
            Err(RuntimeError::InvalidArgument(format!("invalid container ID format: {id:?}")))
        }
    }

    fn find(&self, id: &str) -> Result<Found, RuntimeError> {
        let dir = self.dir(id)?;
        let missing = || RuntimeError::NotFound(format!("{id}: container does not exist"));
        if !dir.path().exists() {
            return Err(missing());
        }
        let manifest = dir.manifest().map_err(|_| missing())?;
        let origin = std::fs::read(dir.file(ORIGIN)).context(|| format!("reading {ORIGIN}"))?;
        let origin = serde_json::from_slice(&origin)
            .map_err(|error| RuntimeError::Internal(format!("{ORIGIN} is damaged: {error}")))?;
        let inner = Inner::load(dir.file("state").join(id)).map_err(|error| failed(&error))?;
        Ok(Found { dir, manifest, origin, inner })
    }

    /// Lets the process of a created container run.
    ///
    /// # Errors
    /// `Conflict` when it is not waiting for that.
    pub fn start(&self, id: &str) -> Result<(), RuntimeError> {
        let mut found = self.find(id)?;
        if found.inner.status() != ContainerStatus::Created {
            let status = word(found.inner.status());
            return Err(RuntimeError::Conflict(format!("cannot start a container in the {status} state")));
        }
        found.inner.start().map_err(|error| failed(&error))
    }

    /// What the specification calls its state.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn state(&self, id: &str) -> Result<Value, RuntimeError> {
        let found = self.find(id)?;
        Ok(found.state())
    }

    /// The state of each.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn list(&self) -> Result<Vec<Value>, RuntimeError> {
        let entries = std::fs::read_dir(&self.root).context(|| format!("reading {}", self.root.display()))?;
        let mut ids: Vec<String> =
            entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
        ids.sort();
        // One that goes away meanwhile is not there.
        Ok(ids.iter().filter_map(|id| self.state(id).ok()).collect())
    }

    /// Sends a signal to its first process, or to all.
    ///
    /// # Errors
    /// `Conflict` when it does not run.
    pub fn kill(&self, id: &str, number: i32, all: bool) -> Result<(), RuntimeError> {
        let found = self.find(id)?;
        let group = found.group();
        if found.inner.status() == ContainerStatus::Stopped && !all {
            return Err(RuntimeError::Conflict("container not running".into()));
        }
        let pids = if all { group.processes()? } else { found.pid().into_iter().collect() };
        for pid in pids {
            signal(pid, number);
        }
        // A frozen process of the first version dies when it is thawed.
        if number == libc::SIGKILL && found.inner.status() == ContainerStatus::Paused {
            group.freeze(false)?;
        }
        Ok(())
    }

    /// Removes what is left of a container that has ended, or, by force, of any.
    ///
    /// # Errors
    /// `Conflict` when it runs; `NotFound`, but not by force.
    pub fn delete(&self, id: &str, force: bool) -> Result<(), RuntimeError> {
        let mut found = match self.find(id) {
            Ok(found) => found,
            Err(RuntimeError::NotFound(_)) if force => {
                let dir = self.dir(id)?;
                return dir.remove();
            }
            Err(error) => return Err(error),
        };
        let status = found.inner.status();
        if !force && !matches!(status, ContainerStatus::Stopped | ContainerStatus::Created) {
            return Err(RuntimeError::Conflict(format!(
                "cannot delete container {id} that is not stopped: {}",
                word(status)
            )));
        }
        let group = found.group();
        if let Some(pid) = found.pid().filter(|_| status != ContainerStatus::Stopped) {
            signal(pid, libc::SIGKILL);
        }
        group.kill_all()?;
        found.inner.delete(true).map_err(|error| failed(&error))?;
        group.remove()?;
        found.dir.remove()
    }

    /// Freezes or thaws it.
    ///
    /// # Errors
    /// `Conflict` when it is not as it must be.
    pub fn freeze(&self, id: &str, frozen: bool) -> Result<(), RuntimeError> {
        let mut found = self.find(id)?;
        let (from, to) = match frozen {
            true => (ContainerStatus::Running, ContainerStatus::Paused),
            false => (ContainerStatus::Paused, ContainerStatus::Running),
        };
        if found.inner.status() != from {
            return Err(RuntimeError::Conflict(format!("container {id} is not {}", word(from))));
        }
        found.group().freeze(frozen)?;
        found.inner.set_status(to).save().map_err(|error| failed(&error))
    }

    /// Its processes, as the host counts them.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn processes(&self, id: &str) -> Result<Vec<u32>, RuntimeError> {
        self.find(id)?.group().processes()
    }

    /// Changes its limits.
    ///
    /// # Errors
    /// With the kernel's reason.
    pub fn update(&self, id: &str, resources: &LinuxResources) -> Result<(), RuntimeError> {
        self.find(id)?.group().update(resources)
    }
}

impl Found {
    fn group(&self) -> Group {
        Group::new(&self.manifest.cgroup)
    }

    fn pid(&self) -> Option<u32> {
        self.inner.pid().and_then(|pid| u32::try_from(pid.as_raw()).ok())
    }

    fn state(&self) -> Value {
        let status = self.inner.status();
        let mut state = json!({
            "ociVersion": self.inner.state.oci_version,
            "id": self.manifest.id,
            "status": word(status),
            "bundle": self.origin.bundle,
            "created": self.inner.created().map(|at| at.to_rfc3339_opts(chrono::SecondsFormat::Nanos, true)),
            "annotations": self.inner.state.annotations,
        });
        if status != ContainerStatus::Stopped {
            state["pid"] = json!(self.pid());
        }
        state
    }
}

fn word(status: ContainerStatus) -> &'static str {
    match status {
        ContainerStatus::Creating => "creating",
        ContainerStatus::Created => "created",
        ContainerStatus::Running => "running",
        ContainerStatus::Stopped => "stopped",
        ContainerStatus::Paused => "paused",
    }
}

fn failed(error: &dyn std::error::Error) -> RuntimeError {
    RuntimeError::Internal(chain(error))
}

/// A signal by number or by name, with or without `SIG`.
///
/// # Errors
/// `InvalidArgument` for what is none.
pub fn signal_number(text: &str) -> Result<i32, RuntimeError> {
    if let Ok(number) = text.parse::<i32>() {
        return Ok(number);
    }
    let upper = text.to_ascii_uppercase();
    let name = format!("SIG{}", upper.trim_start_matches("SIG"));
    name.parse::<nix::sys::signal::Signal>()
        .map(|signal| signal as i32)
        .map_err(|_| RuntimeError::InvalidArgument(format!("unknown signal {text:?}")))
}
