use std::path::{Path, PathBuf};

use crate::HostConfig;

/// Where managed plugins' things are.
///
/// ```text
/// <data-root>/plugins/content/<layer digest>   unpacked layers, shared, never written after they appear
/// <data-root>/plugins/<id>/rw-<generation>/    what the plugin wrote over its content: {diff,work} or {copy}
/// <data-root>/plugins/<id>/rootfs              both together, mounted while it runs
/// <data-root>/plugins/<id>/propagated-mount    survives upgrades
/// <data-root>/plugins/<id>/log/json.log        what it said; rotated
/// <sockets>/<id>/                              its sockets; /run/docker/plugins inside
/// ```
#[derive(Debug, Clone)]
pub(crate) struct Paths {
    plugins: PathBuf,
    sockets: PathBuf,
    metrics: PathBuf,
}

impl Paths {
    pub(crate) fn new(config: &HostConfig) -> Self {
        Self {
            plugins: config.data_root.join("plugins"),
            sockets: config.socket_dir.clone(),
            metrics: config.metrics_dir(),
        }
    }

    pub(crate) fn plugins(&self) -> &Path {
        &self.plugins
    }

    pub(crate) fn contents(&self) -> PathBuf {
        self.plugins.join("content")
    }

    pub(crate) fn content(&self, hex: &str) -> PathBuf {
        self.contents().join(hex)
    }

    pub(crate) fn plugin(&self, id: &str) -> PathBuf {
        self.plugins.join(id)
    }

    pub(crate) fn rootfs(&self, id: &str) -> PathBuf {
        self.plugin(id).join("rootfs")
    }

    pub(crate) fn written(&self, id: &str, generation: u32) -> PathBuf {
        self.plugin(id).join(format!("rw-{generation}"))
    }

    pub(crate) fn propagated(&self, id: &str) -> PathBuf {
        self.plugin(id).join("propagated-mount")
    }

    pub(crate) fn log(&self, id: &str) -> PathBuf {
        self.plugin(id).join("log").join("json.log")
    }

    pub(crate) fn sockets(&self, id: &str) -> PathBuf {
        self.sockets.join(id)
    }

    pub(crate) fn metrics(&self) -> &Path {
        &self.metrics
    }

    pub(crate) fn all_sockets(&self) -> &Path {
        &self.sockets
    }

    /// Removals are renames first, so that half a plugin is never taken for a whole one.
    pub(crate) fn removing(&self, id: &str) -> PathBuf {
        self.plugins.join(format!("{id}-removing"))
    }
}

/// Whether `text` is a plugin's id.
pub(crate) fn is_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}
