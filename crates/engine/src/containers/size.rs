//! `--storage-opt size=`: how much a container may write into its root file system, kept by the file system below the
//! data root where that counts projects.

use std::{
    io,
    path::Path,
    sync::{Mutex, PoisonError},
};

use pintle_runtime::quota;

use super::{
    ContainerSpec,
    service::{Shared, blocking},
};
use crate::EngineError;

/// Above those of volumes, so that nobody takes a project at the same moment as a volume does.
const FIRST_PROJECT: u32 = 1 << 30;
const LAST_PROJECT: u32 = i32::MAX as u32;

/// Held while a project is chosen and taken: which one may be free next.
static NEXT: Mutex<u32> = Mutex::new(FIRST_PROJECT);

impl Shared {
    /// Refuses a size that nobody would keep.
    pub fn check_size(&self, spec: &ContainerSpec) -> Result<(), EngineError> {
        if spec.storage_size == 0 {
            return Ok(());
        }
        let root = &self.config.data_root;
        let why = match quota::is_enforced(root) {
            Ok(true) => return Ok(()),
            Ok(false) => {
                "it keeps no project quota (ext4 with the features quota and project will do, too)".to_owned()
            }
            Err(error) => error.to_string(),
        };
        Err(EngineError::internal(format!(
            "--storage-opt is supported only for overlay over xfs with 'pquota' mount option: the file system of {}: {why}",
            root.display()
        )))
    }

    /// Limits the writable layer of a container that is being made.
    pub async fn limit_size(&self, id: &str, spec: &ContainerSpec) -> Result<(), EngineError> {
        if spec.storage_size == 0 {
            return Ok(());
        }
        let (layer, bytes) = (self.dir(id).join("rw"), spec.storage_size);
        blocking(move || {
            let mut next = NEXT.lock().unwrap_or_else(PoisonError::into_inner);
            let project = free_project(&layer, *next)?;
            *next = if project == LAST_PROJECT { FIRST_PROJECT } else { project + 1 };
            // In this order: what a crash leaves of it is found by the directory.
            quota::assign(&layer, project)?;
            quota::set_limit(&layer, project, bytes)?;
            Ok(())
        })
        .await
        .map_err(|error| error.context("cannot limit the size of the root file system"))
    }

    /// Takes the limit from a container's directory that is about to go. None is fine.
    pub async fn release_size(&self, id: &str) {
        let layer = self.dir(id).join("rw");
        let released = blocking(move || Ok(release(&layer)?)).await;
        if let Err(error) = released {
            tracing::warn!(container = %id, %error, "the limit of its size stays");
        }
    }
}

fn free_project(dir: &Path, from: u32) -> io::Result<u32> {
    for project in (from..=LAST_PROJECT).chain(FIRST_PROJECT..from) {
        if quota::usage(dir, project)?.is_free() {
            return Ok(project);
        }
    }
    Err(io::Error::other("every project of the file system is in use"))
}

/// The number is free for others once the files are gone as well.
fn release(dir: &Path) -> io::Result<()> {
    // Where directories are in no projects there is nothing to be done.
    match quota::project(dir) {
        Ok(Some(project)) if project >= FIRST_PROJECT => quota::set_limit(dir, project, 0),
        _ => Ok(()),
    }
}
