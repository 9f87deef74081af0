//! Requests and answers of [`Containers`](super::Containers) beyond the container itself.

use std::{collections::BTreeMap, path::PathBuf, pin::Pin};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::Stream;
use tokio::{io::AsyncRead, net::UnixStream, sync::oneshot};

use super::{Resources, RestartPolicy};
use crate::EngineError;

/// A container that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    /// Its id, 64 hex digits.
    pub id: String,
    /// What the client should know.
    pub warnings: Vec<String>,
}

/// What [`Containers::wait`](super::Containers::wait) waits for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WaitCondition {
    /// The container does not run; true at once if it does not.
    #[default]
    NotRunning,
    /// The container's next exit.
    NextExit,
    /// The container is gone.
    Removed,
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waited {
    /// Its exit code.
    pub code: i64,
    /// Why it could not be started or removed, if that is so.
    pub error: Option<String>,
}

/// How to end a container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StopOptions {
    /// The first signal; `None`: the container's own stop signal.
    pub signal: Option<String>,
    /// Seconds before SIGKILL; negative: for ever; `None`: the container's own, else 10.
    pub timeout: Option<i64>,
}

/// How to remove a container.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RemoveOptions {
    /// Kill it first if it runs; go on if something cannot be cleaned up.
    pub force: bool,
    /// Also remove its anonymous volumes.
    pub volumes: bool,
}

/// Which containers to list.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ListOptions {
    /// Also those that do not run.
    pub all: bool,
    /// The newest so many, running or not; 0: no limit.
    pub limit: usize,
    /// Measure what each wrote (slow).
    pub size: bool,
    /// Filter name to accepted values, as in Docker's `filters`.
    pub filters: BTreeMap<String, Vec<String>>,
}

/// How big a container is, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Size {
    /// What it wrote.
    pub rw: u64,
    /// What it wrote and its image.
    pub root: u64,
}

/// Which output to read, and how to write it down.
#[derive(Debug, Clone, Default)]
pub struct LogOptions {
    /// The container's standard output.
    pub stdout: bool,
    /// The container's standard error.
    pub stderr: bool,
    /// Go on as more is written, until the container ends.
    pub follow: bool,
    /// Not before.
    pub since: Option<DateTime<Utc>>,
    /// Not after.
    pub until: Option<DateTime<Utc>>,
    /// The last so many lines; `None`: all.
    pub tail: Option<usize>,
    /// Each line starts with its time.
    pub timestamps: bool,
    /// Each line starts with the extra attributes that were logged.
    pub details: bool,
    /// Only lines that it matches, the last `tail` of these. Of a long line each piece is looked at by itself.
    pub grep: Option<regex::bytes::Regex>,
}

/// A container's output. Each item is a piece of the raw stream as Docker's API sends it: plain bytes if the
/// container has a terminal, else frames of an eight-byte header and payload.
pub struct Logs {
    /// Whether the container has a terminal.
    pub tty: bool,
    /// The pieces.
    pub stream: Pin<Box<dyn Stream<Item = Result<Bytes, EngineError>> + Send>>,
}

/// What to attach.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AttachOptions {
    /// What was logged so far, first.
    pub logs: bool,
    /// Connect; without it, only `logs` are sent.
    pub stream: bool,
    /// Send input.
    pub stdin: bool,
    /// Receive standard output.
    pub stdout: bool,
    /// Receive standard error.
    pub stderr: bool,
}

/// A connection to a container's standard streams.
pub struct Attached {
    /// Raw bytes if true, else stdcopy frames.
    pub tty: bool,
    /// What was logged so far, if asked for. Send it first.
    pub backlog: Option<Logs>,
    /// The live connection, if asked for.
    pub connection: Option<Connection>,
}

/// A live connection to come: at once for a container that runs, when it starts for one that does not yet.
pub enum Connection {
    /// Here it is.
    Ready(UnixStream),
    /// It comes when the container starts.
    Pending(oneshot::Receiver<UnixStream>),
}

impl Connection {
    /// Waits for the connection. `None` if the container goes away, or cannot be started, first.
    pub async fn ready(self) -> Option<UnixStream> {
        match self {
            Self::Ready(stream) => Some(stream),
            Self::Pending(coming) => coming.await.ok(),
        }
    }
}

/// A process to run in a running container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExecSpec {
    /// The command and its arguments.
    pub cmd: Vec<String>,
    /// `KEY=value`.
    pub env: Vec<String>,
    /// `user[:group]`; empty: the container's.
    pub user: String,
    /// Empty: the container's.
    pub working_dir: String,
    /// With a pseudo terminal.
    pub tty: bool,
    /// With a standard input.
    pub stdin: bool,
    /// The client wants its standard output.
    pub stdout: bool,
    /// The client wants its standard error.
    pub stderr: bool,
    /// With all capabilities.
    pub privileged: bool,
    /// The keys that detach, for show.
    pub detach_keys: Option<String>,
    /// Initial size of the terminal: height, width.
    pub console_size: Option<(u16, u16)>,
}

/// How to start an exec.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ExecStart {
    /// Do not connect.
    pub detach: bool,
    /// Initial size of the terminal: height, width.
    pub console_size: Option<(u16, u16)>,
}

/// A started exec.
pub struct ExecStarted {
    /// Raw bytes if true, else stdcopy frames.
    pub tty: bool,
    /// The connection, unless detached.
    pub stream: Option<UnixStream>,
}

/// An exec as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecView {
    /// Its id, 64 hex digits.
    pub id: String,
    /// Its container.
    pub container: String,
    /// What was asked for, with the container's defaults filled in.
    pub spec: ExecSpec,
    /// Whether it runs.
    pub running: bool,
    /// Its exit code, once it has ended.
    pub exit_code: Option<i64>,
    /// Its process id on the host, 0 if it does not run.
    pub pid: u32,
}

/// The processes of a container, as `ps` prints them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Top {
    /// Column titles.
    pub titles: Vec<String>,
    /// One row for each process.
    pub processes: Vec<Vec<String>>,
}

/// What is at a path in a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathStat {
    /// The last part of the path.
    pub name: String,
    /// Bytes.
    pub size: i64,
    /// Go's `os.FileMode`, as Docker's header carries it.
    pub mode: u32,
    /// When it was last written.
    pub mtime: DateTime<Utc>,
    /// Where a symbolic link leads, inside the container.
    pub link_target: String,
}

/// A tar stream out of a container.
pub struct Archive {
    /// The stream.
    pub tar: Pin<Box<dyn AsyncRead + Send>>,
}

/// How to unpack into a container.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CopyIn {
    /// Refuse to replace a directory with something else, and the other way round.
    pub no_overwrite_dir_non_dir: bool,
    /// Give everything to the container's user; else each entry's own numbers count.
    pub copy_uid_gid: bool,
}

/// A change of limits. Fields that are not set stay as they are.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Update {
    /// New limits; zero, empty and `None` keep the old.
    pub resources: Resources,
    /// A new restart policy.
    pub restart: Option<RestartPolicy>,
}

/// What prune removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pruned {
    /// The ids.
    pub deleted: Vec<String>,
    /// Bytes.
    pub space_reclaimed: u64,
}

/// How many containers there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Running, not paused.
    pub running: usize,
    /// Paused.
    pub paused: usize,
    /// All others.
    pub stopped: usize,
}

/// What the containers of this engine share.
#[derive(Debug, Clone)]
pub struct Config {
    /// `<data-root>`; containers live in `containers/<id>` below it.
    pub data_root: PathBuf,
    /// `<exec-root>`, on a file system that is empty after boot.
    pub exec_root: PathBuf,
    /// The parent control group of containers that do not name one, such as `/docker` or `/pintle`.
    pub cgroup_parent: String,
    /// Where files are that describe devices.
    pub cdi_dirs: Vec<PathBuf>,
    /// What containers get that do not say.
    pub defaults: Defaults,
    /// Where their output can go.
    pub log_drivers: super::LogDrivers,
}

/// What containers get that do not say. Can be changed while the engine runs.
#[derive(Debug, Clone)]
pub struct Defaults {
    /// Seconds that stop waits when neither the request nor the container says.
    pub stop_timeout: i64,
    /// What a container without a log configuration gets.
    pub log: super::LogConfig,
    /// More drivers that take their lines, by name.
    pub more_logs: std::collections::BTreeMap<String, super::LogConfig>,
    /// Bytes of `/dev/shm`.
    pub shm_size: i64,
    /// Resource limits of processes, by name.
    pub ulimits: Vec<super::Ulimit>,
    /// The most bytes that a root file system may take; 0: no limit.
    pub storage_size: u64,
    /// The system call filter.
    pub seccomp: pintle_runtime::Seccomp,
}

impl Default for Defaults {
    fn default() -> Self {
        Self {
            stop_timeout: 10,
            more_logs: std::collections::BTreeMap::new(),
            log: super::LogConfig::default(),
            shm_size: 64 << 20,
            ulimits: Vec::new(),
            storage_size: 0,
            seccomp: pintle_runtime::Seccomp::Default,
        }
    }
}

impl Config {
    /// The usual configuration below these two directories.
    pub fn new(data_root: impl Into<PathBuf>, exec_root: impl Into<PathBuf>) -> Self {
        Self {
            data_root: data_root.into(),
            exec_root: exec_root.into(),
            cgroup_parent: "/docker".to_owned(),
            cdi_dirs: pintle_runtime::cdi::DIRS.map(PathBuf::from).to_vec(),
            defaults: Defaults::default(),
            log_drivers: super::LogDrivers::default(),
        }
    }
}
