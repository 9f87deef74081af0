use std::{collections::BTreeMap, path::PathBuf};

use pintle_runtime::cdi::DeviceRequest;
use serde::{Deserialize, Serialize};

use super::HealthSpec;
use crate::networks::{EndpointSpec, PublishSpec};

/// What a container shall be. At creation the fields are as the client gave them; in a stored container they
/// are *effective*: what the image says has been merged in as Docker does it (environment, command,
/// entrypoint, user, working directory, labels, volumes, exposed ports, stop signal).
///
/// Texts that have a grammar of their own in Docker (`binds`, `tmpfs`, `security_opt`, modes) are kept as
/// given and are parsed once, by [`Containers::create`](super::Containers::create), which refuses bad ones.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerSpec {
    /// The image, as the client named it.
    pub image: String,
    /// The platform that the client asked for, if it did (`os/arch[/variant]`).
    pub platform: Option<String>,
    /// `None`: the image's. `Some([])` or `Some([""])` resets the image's.
    pub entrypoint: Option<Vec<String>>,
    /// `None`: the image's, unless `entrypoint` is given.
    pub cmd: Option<Vec<String>>,
    /// `KEY=value`; a bare `KEY` removes the image's.
    pub env: Vec<String>,
    /// `user[:group]`, names or numbers.
    pub user: String,
    /// Supplementary groups, names or numbers.
    pub group_add: Vec<String>,
    /// An absolute path; made when missing.
    pub working_dir: String,
    /// Empty: the first twelve digits of the id.
    pub hostname: String,
    /// Appended to the host name in the hosts file.
    pub domainname: String,
    /// The process gets a pseudo terminal.
    pub tty: bool,
    /// The process gets a standard input.
    pub open_stdin: bool,
    /// Standard input ends with the first client that closes it.
    pub stdin_once: bool,
    /// Labels, the image's included once stored.
    pub labels: BTreeMap<String, String>,
    /// A name or a number; `None`: SIGTERM.
    pub stop_signal: Option<String>,
    /// Seconds that stop waits before it kills; negative: for ever; `None`: 10.
    pub stop_timeout: Option<i64>,
    /// Paths that get an anonymous volume (`Config.Volumes`).
    pub volumes: Vec<String>,
    /// `port/proto`.
    pub exposed_ports: Vec<String>,
    /// Ports to publish on the host.
    pub publish: Vec<PublishSpec>,
    /// Publish every exposed port that `publish` does not name, somewhere.
    pub publish_all: bool,
    /// `source:destination[:options]`, or a destination alone.
    pub binds: Vec<String>,
    /// Where sources of binds led to when authorizers judged them, by the source's text; not kept.
    #[serde(skip)]
    pub judged: BTreeMap<String, String>,
    /// The long form of mounts.
    pub mounts: Vec<MountSpec>,
    /// Destination to mount options.
    pub tmpfs: BTreeMap<String, String>,
    /// `container[:ro|rw]`.
    pub volumes_from: Vec<String>,
    /// The driver of named volumes in `binds` that do not exist yet.
    pub volume_driver: String,
    /// The root file system is read-only.
    pub read_only: bool,
    /// Read-only mounts are so at their top alone, as before API 1.44.
    pub read_only_shallow: bool,
    /// Everything allowed.
    pub privileged: bool,
    /// `CAP_X`, `X`, or `ALL`.
    pub cap_add: Vec<String>,
    /// `CAP_X`, `X`, or `ALL`.
    pub cap_drop: Vec<String>,
    /// `seccomp=unconfined|<profile JSON>`, `no-new-privileges[=bool]`, `apparmor=…`, `label=…`,
    /// `systempaths=unconfined`.
    pub security_opt: Vec<String>,
    /// `None`: the default list.
    pub masked_paths: Option<Vec<String>>,
    /// `None`: the default list.
    pub readonly_paths: Option<Vec<String>>,
    /// Resource limits of the process.
    pub ulimits: Vec<Ulimit>,
    /// Limits of the control group.
    pub resources: Resources,
    /// Device nodes of the host.
    pub devices: Vec<DeviceSpec>,
    /// Devices that files describe.
    pub device_requests: Vec<DeviceRequest>,
    /// `a|b|c major:minor rwm`.
    pub device_cgroup_rules: Vec<String>,
    /// PID 1 is a reaper of the engine's.
    pub init: bool,
    /// Bytes of `/dev/shm`; 0: 64 MiB.
    pub shm_size: i64,
    /// The most bytes that it may write into its root file system; 0: no limit.
    pub storage_size: u64,
    /// Kernel parameters of the container's namespaces.
    pub sysctls: BTreeMap<String, String>,
    /// `""`, `none`, `private`, `shareable`, `host`, `container:NAME`.
    pub ipc_mode: String,
    /// `""`, `host`, `container:ID`.
    pub pid_mode: String,
    /// `""`, `host`.
    pub uts_mode: String,
    /// `""`, `private`, `host`.
    pub cgroupns_mode: String,
    /// `""`, `host` (user namespaces are not remapped, so both mean the host's).
    pub userns_mode: String,
    /// `""` and `default` (the default bridge), `none`, `host`, `container:ID`, or a network's name or id.
    pub network_mode: String,
    /// What it wants of each network, by name or id; that of `network_mode` may be left out.
    pub networks: BTreeMap<String, EndpointSpec>,
    /// `networks` is complete: none in it means none at all. So it is in every container that was made.
    pub networks_settled: bool,
    /// The MAC address in the network of `network_mode`; empty: any.
    pub mac_address: String,
    /// `container:alias`: what it calls others on the default bridge.
    pub links: Vec<String>,
    /// The parent control group.
    pub cgroup_parent: String,
    /// -1000 to 1000.
    pub oom_score_adj: i32,
    /// Lines for the hosts file: `name:address`.
    pub extra_hosts: Vec<String>,
    /// Name servers; empty: the host's.
    pub dns: Vec<String>,
    /// Resolver options.
    pub dns_options: Vec<String>,
    /// Search domains.
    pub dns_search: Vec<String>,
    /// The container is removed when it ends.
    pub auto_remove: bool,
    /// What happens when it ends by itself.
    pub restart: RestartPolicy,
    /// Where its output is kept.
    pub log: LogConfig,
    /// More drivers that take its lines, by the name that the user gave each.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub more_logs: BTreeMap<String, LogConfig>,
    /// Initial size of the terminal: height, width.
    pub console_size: Option<(u16, u16)>,
    /// The name of the OCI runtime; empty in old records: the embedded one.
    pub runtime: String,
    /// Words for the OCI runtime.
    pub annotations: BTreeMap<String, String>,
    /// It belongs to a request that is being answered, such as a build: it does not outlive the engine.
    pub passing: bool,
    /// How to ask whether it is well; effective once stored. `None`: the image's.
    pub healthcheck: Option<HealthSpec>,
    /// The client's own document (`Config`, `HostConfig`, `NetworkingConfig`), returned as it came. The
    /// engine never reads it.
    pub document: serde_json::Value,
}

/// One mount in its long form.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct MountSpec {
    /// Which kind of source.
    pub kind: MountKind,
    /// A host path or a volume's name; empty: an anonymous volume.
    pub source: String,
    /// Where in the container.
    pub target: String,
    /// Not writable.
    pub read_only: bool,
    /// Bind: `private`, `rprivate`, `shared`, `rshared`, `slave`, `rslave`, or empty.
    pub propagation: String,
    /// Bind: without what is mounted below the source.
    pub non_recursive: bool,
    /// Bind: make the source when it is missing.
    pub create_mountpoint: bool,
    /// Bind: what is mounted below the source stays writable.
    pub read_only_shallow: bool,
    /// Bind: refuse where what is mounted below the source cannot be made read-only too.
    pub read_only_forced: bool,
    /// Volume: do not fill an empty volume from the image.
    pub no_copy: bool,
    /// Volume, image: a path inside it.
    pub subpath: String,
    /// Volume: labels of a volume made for this.
    pub labels: BTreeMap<String, String>,
    /// Volume: the driver of a volume made for this.
    pub driver: String,
    /// Volume: the driver's options.
    pub driver_options: BTreeMap<String, String>,
    /// Tmpfs: bytes, 0: no limit.
    pub tmpfs_size: i64,
    /// Tmpfs: mode bits, 0: 1777.
    pub tmpfs_mode: u32,
    /// Tmpfs: further mount options.
    pub tmpfs_options: Vec<String>,
}

/// Kinds of mounts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MountKind {
    /// A path of the host.
    #[default]
    Bind,
    /// A volume.
    Volume,
    /// Memory.
    Tmpfs,
    /// An image's files.
    Image,
}

impl MountKind {
    /// Docker's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bind => "bind",
            Self::Volume => "volume",
            Self::Tmpfs => "tmpfs",
            Self::Image => "image",
        }
    }
}

/// One resource limit of a process; -1 means none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    /// `nofile`, `core`, …
    pub name: String,
    /// The soft limit.
    pub soft: i64,
    /// The hard limit.
    pub hard: i64,
}

/// A device node of the host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceSpec {
    /// A device, or a directory of devices.
    pub host: PathBuf,
    /// Its path in the container; empty: the same.
    pub container: PathBuf,
    /// Some of `rwm`; empty: all.
    pub permissions: String,
}

/// Limits of a control group. Zero means "not set", as in Docker's API, unless said otherwise.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// Bytes.
    pub memory: i64,
    /// Bytes of memory plus swap; -1: no limit.
    pub memory_swap: i64,
    /// Bytes.
    pub memory_reservation: i64,
    /// 0 to 100.
    pub memory_swappiness: Option<i64>,
    /// Relative weight.
    pub cpu_shares: i64,
    /// Microseconds.
    pub cpu_period: i64,
    /// Microseconds in each period.
    pub cpu_quota: i64,
    /// Billionths of a CPU; excludes quota and period.
    pub nano_cpus: i64,
    /// Such as `0-2,4`.
    pub cpuset_cpus: String,
    /// Such as `0`.
    pub cpuset_mems: String,
    /// Processes; `None`, zero and negative mean no limit.
    pub pids_limit: Option<i64>,
    /// Microseconds of real-time scheduling in each period (cgroup v1).
    pub cpu_realtime_runtime: i64,
    /// Microseconds (cgroup v1).
    pub cpu_realtime_period: i64,
    /// 10 to 1000.
    pub blkio_weight: u16,
    /// Limits of single block devices.
    pub blkio_devices: BlkioDevices,
    /// Do not kill when memory runs out (cgroup v1).
    pub oom_kill_disable: bool,
}

/// Limits of single block devices: the device's path and its weight, bytes or operations per second.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BlkioDevices {
    /// 10 to 1000.
    pub weight: Vec<(PathBuf, u64)>,
    /// Bytes read per second.
    pub read_bps: Vec<(PathBuf, u64)>,
    /// Bytes written per second.
    pub write_bps: Vec<(PathBuf, u64)>,
    /// Reads per second.
    pub read_iops: Vec<(PathBuf, u64)>,
    /// Writes per second.
    pub write_iops: Vec<(PathBuf, u64)>,
}

/// What happens when a container ends by itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartMode {
    /// Nothing.
    #[default]
    No,
    /// Start it again.
    Always,
    /// Start it again, also after the engine started, unless somebody stopped it.
    UnlessStopped,
    /// Start it again if its exit code is not zero.
    OnFailure,
}

impl RestartMode {
    /// Docker's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::Always => "always",
            Self::UnlessStopped => "unless-stopped",
            Self::OnFailure => "on-failure",
        }
    }
}

/// When to start a container again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RestartPolicy {
    /// When.
    pub mode: RestartMode,
    /// With `on-failure`: how often at most; 0: no limit.
    pub max_retries: u32,
}

/// Where a container's output is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LogConfig {
    /// `json-file` (or empty), `local` or `none`.
    pub driver: String,
    /// The driver's options.
    pub options: BTreeMap<String, String>,
}
