//! For a container whose shim is gone: its runtime forgets it.

use super::binary::state;
use crate::bundle::TaskDir;

/// Lets the runtime of a task, if it has one of its own, remove what it holds. What fails is not fatal: the caller
/// kills processes and removes control groups itself.
pub(crate) fn sweep(dir: &TaskDir) {
    let Ok(manifest) = dir.manifest() else { return };
    let Some(binary) = manifest.runtime else { return };
    let holds = std::fs::read_dir(state(dir)).is_ok_and(|mut entries| entries.next().is_some());
    if holds && let Err(error) = binary.delete(dir, &manifest.id) {
        tracing::warn!(task = manifest.id, %error, "a runtime did not remove its container");
    }
}
