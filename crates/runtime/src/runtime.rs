//! Creating tasks and finding them again.

use std::path::PathBuf;

use crate::error::RuntimeError;
use crate::task::{Task, TaskConfig};

/// How a [`Runtime`] works.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where task directories live: `<exec-root>/tasks`.
    pub root: PathBuf,
    /// The executable run as `<shim> shim <task dir>`, and bound as init for `--init`: `/proc/self/exe`.
    pub shim: PathBuf,
}

/// Creates tasks and finds them again. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Runtime {
    options: std::sync::Arc<Options>,
}

impl Runtime {
    /// Opens (and makes) the directory of tasks.
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub fn new(options: Options) -> Result<Self, RuntimeError> {
        todo!("{options:?}")
    }

    /// Creates the container; its process waits for [`Task::start`].
    ///
    /// # Errors
    /// [`RuntimeError::Command`] when the command cannot be run; `Conflict` when the id is taken. Nothing is left.
    pub async fn create(&self, task: TaskConfig) -> Result<Task, RuntimeError> {
        todo!("{task:?} {:?}", self.options)
    }

    /// Finds a task again after the engine was restarted: with a live shim, or ended with its status on disk. A task
    /// whose shim died is settled first (see [`Task::state`]). `None` when nothing is known of it.
    ///
    /// # Errors
    /// When its records cannot be read.
    pub async fn attach_existing(&self, id: &str) -> Result<Option<Task>, RuntimeError> {
        todo!("{id}")
    }

    /// Every id that has a task directory.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub async fn list(&self) -> Result<Vec<String>, RuntimeError> {
        todo!()
    }

    /// Removes all that a task may have left, whatever state it is in: shim, processes, cgroup, directory.
    ///
    /// # Errors
    /// When something is left that cannot be removed.
    pub async fn cleanup_orphan(&self, id: &str) -> Result<(), RuntimeError> {
        todo!("{id}")
    }
}
