use std::{collections::BTreeMap, path::PathBuf, time::Duration};

/// Where the host keeps things and how long it waits.
#[derive(Debug, Clone)]
pub struct HostConfig {
    /// The engine's data root: `plugins/<id>` lives below it.
    pub data_root: PathBuf,
    /// The engine's exec root, for what need not survive a reboot.
    pub exec_root: PathBuf,
    /// Where plugins listen: `<socket_dir>/<id>/<socket>` for managed ones, `<socket_dir>/<name>.sock` and
    /// `<socket_dir>/<name>/<name>.sock` for legacy ones. Docker's is `/run/docker/plugins`.
    pub socket_dir: PathBuf,
    /// Where `.spec` and `.json` files of legacy plugins are looked for, in this order.
    pub spec_dirs: Vec<PathBuf>,
    /// How long a starting plugin may take to listen when `enable` asks for no particular time.
    pub start_timeout: Duration,
    /// How long a stopping plugin has between SIGTERM and SIGKILL.
    pub stop_timeout: Duration,
    /// How often a running plugin's socket is probed.
    pub probe_interval: Duration,
    /// How long an unknown driver name is looked for before it is called unknown.
    pub lookup_timeout: Duration,
    /// The longest pause between two attempts to start a plugin.
    pub max_backoff: Duration,
    /// Plugins that are restarted when they leave their probes unanswered, by name, or `*` for all of them. Nobody by
    /// default: what a plugin has mounted may go with its process.
    pub restart_unhealthy: Vec<String>,
    /// OCI runtimes of managed plugins that do not run on the default one, by the plugin's name, with or without a tag.
    pub runtimes: BTreeMap<String, String>,
}

impl HostConfig {
    /// Where the engine serves its metrics for plugins that collect them, as `metrics.sock`: they see this folder in place
    /// of their `/run/docker`. The folder, and not the socket, since a socket that is made again is another one.
    pub fn metrics_dir(&self) -> PathBuf {
        self.exec_root.join("metrics")
    }

    /// Docker's paths and pintle's times, below these roots.
    pub fn new(data_root: impl Into<PathBuf>, exec_root: impl Into<PathBuf>) -> Self {
        Self {
            data_root: data_root.into(),
            exec_root: exec_root.into(),
            socket_dir: "/run/docker/plugins".into(),
            spec_dirs: vec!["/etc/docker/plugins".into(), "/usr/lib/docker/plugins".into()],
            start_timeout: Duration::from_secs(30),
            stop_timeout: Duration::from_secs(10),
            probe_interval: Duration::from_secs(10),
            lookup_timeout: Duration::from_secs(4),
            max_backoff: Duration::from_secs(60),
            restart_unhealthy: Vec::new(),
            runtimes: BTreeMap::new(),
        }
    }
}
