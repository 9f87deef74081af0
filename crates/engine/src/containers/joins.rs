//! Name spaces that a container takes from another, or lets others take.

use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use super::{
    Container, State,
    service::{Shared, blocking, refused},
};
use crate::EngineError;

/// What a container joins.
#[derive(Debug, Clone, Default)]
pub(super) struct Joins {
    /// Another container's process ids.
    pub pid: Option<PathBuf>,
    /// Another container's System V IPC.
    pub ipc: Option<PathBuf>,
    /// A `/dev/shm` of this host, of its own or of another.
    pub shm: Option<PathBuf>,
}

impl Shared {
    /// Finds what a container is to join, and makes what others may join of it.
    pub async fn joins(&self, container: &Container) -> Result<Joins, EngineError> {
        let spec = &container.spec;
        let mut joins = Joins::default();
        if let Some(name) = spec.pid_mode.strip_prefix("container:") {
            let (_, pid) = self.donor(name, "PID")?;
            joins.pid = Some(PathBuf::from(format!("/proc/{pid}/ns/pid")));
        }
        if let Some(name) = spec.ipc_mode.strip_prefix("container:") {
            let (donor, pid) = self.donor(name, "IPC")?;
            if donor.spec.ipc_mode != "shareable" {
                return Err(EngineError::conflict(format!(
                    "cannot join IPC of container {name}: non-shareable IPC (hint: use IpcMode:shareable for the donor \
                     container)"
                )));
            }
            joins.ipc = Some(PathBuf::from(format!("/proc/{pid}/ns/ipc")));
            joins.shm = Some(self.shm(&donor.id));
        } else if spec.ipc_mode == "shareable" {
            let (path, size) = (self.shm(&container.id), spec.shm_size);
            blocking(move || make_shm(&path, size)).await?;
            joins.shm = Some(self.shm(&container.id));
        }
        Ok(joins)
    }

    fn donor(&self, name: &str, what: &str) -> Result<(std::sync::Arc<Container>, u32), EngineError> {
        let donor = self.find(name)?.container();
        match (&donor.life.state, donor.life.run()) {
            (State::Restarting(_), _) => Err(refused(&donor, super::Refusal::Restarting)),
            (_, Some(run)) => {
                let pid = run.pid;
                Ok((donor, pid))
            }
            (_, None) => Err(EngineError::conflict(format!(
                "cannot join {what} of a non running container: {}",
                donor.id
            ))),
        }
    }

    fn shm(&self, id: &str) -> PathBuf {
        self.dir(id).join("shm")
    }

    /// Takes away the `/dev/shm` that others may have shared; whoever still does keeps it. None is fine.
    pub async fn drop_shm(&self, id: &str) {
        let path = self.shm(id);
        let dropped = blocking(move || {
            if path.exists() {
                while unmount(&path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW).is_ok() {}
                std::fs::remove_dir(&path)?;
            }
            Ok(())
        });
        if let Err(error) = dropped.await {
            tracing::warn!(container = %id, %error, "its shared memory could not be removed");
        }
    }
}

fn make_shm(path: &Path, size: i64) -> Result<(), EngineError> {
    std::fs::create_dir_all(path)?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    let options = std::ffi::CString::new(format!("mode=1777,size={size}"))
        .map_err(|error| EngineError::internal(error.to_string()))?;
    mount("shm", path, "tmpfs", flags, options.as_c_str())
        .map_err(|error| EngineError::internal(format!("mounting {}: {error}", path.display())))
}
