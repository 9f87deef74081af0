//! One container (or plugin) as the engine holds it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use libcontainer::oci_spec::runtime::{LinuxResources, Process, Spec};
use serde::{Deserialize, Serialize};
use tokio::net::UnixStream;

use crate::bundle::TaskDir;
use crate::client;
use crate::control::{ExecRequest, Reply, Request};
use crate::error::RuntimeError;
use crate::external::Demand;

pub use crate::cgroup::Stats;

/// Everything needed to create a task. The spec's `root.path`, `linux.seccomp` and `linux.cgroupsPath` are set
/// from the other fields; every spec passes [`crate::spec::settle`].
#[derive(Debug, Clone)]
pub struct TaskConfig {
    /// Unique among the runtime's tasks: letters, digits, `_`, `+`, `-`, `.`.
    pub id: String,
    /// The mounted root file system.
    pub rootfs: PathBuf,
    /// What to run and how.
    pub spec: Spec,
    /// Give the process a terminal.
    pub terminal: bool,
    /// Keep a standard input for attached clients; otherwise it is `/dev/null`.
    pub stdin_open: bool,
    /// Close standard input when the first attached client closes its own.
    pub stdin_once: bool,
    /// Height and width of the terminal at the start.
    pub console_size: Option<(u16, u16)>,
    /// Where output is kept; `None` keeps nothing.
    pub log: Option<LogFile>,
    /// Which system calls are allowed.
    pub seccomp: Seccomp,
    /// `oom_score_adj` of the container's processes.
    pub oom_score_adj: Option<i32>,
    /// Absolute cgroup path below each hierarchy's root, for example `/pintle/<id>`.
    pub cgroup: String,
    /// Run pintle's own init as PID 1 (`--init`).
    pub init: bool,
    /// Kept with the task, not interpreted.
    pub labels: BTreeMap<String, String>,
    /// The runtime's name; empty: the default.
    pub runtime: String,
    /// What the user asked for by name and a runtime may lack.
    pub demands: Vec<Demand>,
}

impl TaskConfig {
    /// A task with every optional part at Docker's default: no terminal, no stdin, no log, default seccomp,
    /// cgroup `/pintle/<id>`.
    #[must_use]
    pub fn new(id: impl Into<String>, rootfs: impl Into<PathBuf>, spec: Spec) -> Self {
        let id = id.into();
        Self {
            cgroup: format!("/pintle/{id}"),
            id,
            rootfs: rootfs.into(),
            spec,
            terminal: false,
            stdin_open: false,
            stdin_once: false,
            console_size: None,
            log: None,
            seccomp: Seccomp::Default,
            oom_score_adj: None,
            init: false,
            labels: BTreeMap::new(),
            runtime: String::new(),
            demands: Vec::new(),
        }
    }
}

/// How the shim writes a log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogFormat {
    /// Docker's json-file.
    #[default]
    Json,
    /// Docker's `local`.
    Local,
}

/// The log that the shim writes.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct LogFile {
    /// The live file; rotated ones are `<path>.1`, `<path>.2` …
    pub path: PathBuf,
    /// Rotate at this size.
    pub max_size: Option<u64>,
    /// How many files to keep, the live one included; below 2 the one file is emptied instead.
    pub max_files: u32,
    /// Whether rotated files are packed: `<path>.1.gz`, `<path>.2.gz` …
    #[serde(default)]
    pub compress: bool,
    /// Docker's `attrs` object, written into each line when not empty.
    #[serde(default)]
    pub attrs: BTreeMap<String, String>,
    /// How.
    #[serde(default)]
    pub format: LogFormat,
}

/// The choice of `--security-opt seccomp=`.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Seccomp {
    /// Docker's default profile.
    #[default]
    Default,
    /// No filter.
    Unconfined,
    /// A profile in Docker's JSON format.
    Profile(serde_json::Value),
}

impl Seccomp {
    /// A profile's text.
    ///
    /// # Errors
    /// When it is no JSON, or no container could be started with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let json = serde_json::from_str(text).map_err(|error| error.to_string())?;
        crate::seccomp::Profile::parse(&json, &[]).map_err(|error| error.to_string())?;
        Ok(Self::Profile(json))
    }
}

/// Which streams a client attaches to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attach {
    /// Bytes written to the stream reach the process.
    pub stdin: bool,
    /// Standard output reaches the stream.
    pub stdout: bool,
    /// Standard error reaches the stream.
    pub stderr: bool,
}

impl Attach {
    /// All three streams.
    pub const ALL: Self = Self { stdin: true, stdout: true, stderr: true };

    /// Whether there is anything to attach.
    #[must_use]
    pub fn any(self) -> bool {
        self.stdin || self.stdout || self.stderr
    }
}

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitStatus {
    /// The exit code, or 128 + signal; 255 when the shim died and nobody saw it.
    pub code: i32,
    /// The kernel's OOM killer struck in the container.
    pub oom_killed: bool,
    /// When the end was seen.
    pub finished_at: DateTime<Utc>,
    /// Why the status is not the process's own ("shim died"), if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Where a task is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// The container exists, its process waits.
    Created,
    /// The process runs.
    Running,
    /// The process is frozen.
    Paused,
    /// The process has ended.
    Stopped,
}

/// A task's state at one moment.
#[derive(Debug, Clone)]
pub struct TaskState {
    /// Where it is in its life.
    pub status: Status,
    /// The init process, unless stopped.
    pub pid: Option<u32>,
    /// How it ended, when stopped.
    pub exit: Option<ExitStatus>,
}

/// A process to run inside a running task.
#[derive(Debug, Clone)]
pub struct ExecConfig {
    /// Unique in the task.
    pub exec_id: String,
    /// What to run; without capabilities it gets the container's.
    pub process: Process,
    /// Give it a terminal of its own.
    pub terminal: bool,
    /// Which streams the caller wants; none = detached, output is discarded, stdin is `/dev/null`.
    pub attach: Attach,
    /// Height and width of the terminal at the start.
    pub console_size: Option<(u16, u16)>,
}

/// A task: a handle, cheap to clone, that stays valid over the shim's death.
#[derive(Debug, Clone)]
pub struct Task {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) id: String,
    pub(crate) dir: TaskDir,
    pub(crate) pid: Option<u32>,
    pub(crate) cgroup: String,
    pub(crate) labels: BTreeMap<String, String>,
}

impl Task {
    /// The id it was created with.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.inner.id
    }

    /// The init process's pid, when it was alive at creation or re-attachment.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.inner.pid
    }

    /// The labels it was created with.
    #[must_use]
    pub fn labels(&self) -> &BTreeMap<String, String> {
        &self.inner.labels
    }

    /// Runs the created process. An exec format error and its like show up as exit code 255 with the reason on
    /// stderr, as in Docker; a missing command already failed at create.
    ///
    /// # Errors
    /// `Conflict` when it was started before.
    pub async fn start(&self) -> Result<(), RuntimeError> {
        client::done(&self.inner.dir, &Request::Start).await
    }

    /// Sends a signal to the init process, or to every process of the container. A stopped task is `NotFound`.
    ///
    /// # Errors
    /// `NotFound` when there is no process to signal.
    pub async fn kill(&self, signal: i32, all: bool) -> Result<(), RuntimeError> {
        client::done(&self.inner.dir, &Request::Kill { exec_id: None, signal, all }).await
    }

    /// Waits until the process has ended, its output is in the log and its status is on disk.
    ///
    /// # Errors
    /// Only when neither the shim nor its records can be read.
    pub async fn wait(&self) -> Result<ExitStatus, RuntimeError> {
        client::wait(self).await
    }

    /// Where the task is in its life. A dead shim is settled first: leftovers are killed and the end is recorded
    /// with code 255.
    ///
    /// # Errors
    /// `NotFound` after `delete`.
    pub async fn state(&self) -> Result<TaskState, RuntimeError> {
        client::state(self).await
    }

    /// Sets the terminal's size.
    ///
    /// # Errors
    /// `InvalidArgument` without a terminal.
    pub async fn resize(&self, height: u16, width: u16) -> Result<(), RuntimeError> {
        client::done(&self.inner.dir, &Request::Resize { exec_id: None, height, width }).await
    }

    /// Closes the container's standard input once what is buffered has been delivered.
    ///
    /// # Errors
    /// When the shim does not answer.
    pub async fn close_stdin(&self) -> Result<(), RuntimeError> {
        client::done(&self.inner.dir, &Request::CloseStdin).await
    }

    /// A stream of the container's output from now on: raw with a terminal, otherwise in Docker's 8-byte stdcopy
    /// frames. What is written to it is standard input, `shutdown(Write)` is its end. The stream ends after the
    /// last byte of a process that ended. A client that leaves 8 MiB unread is dropped; the log never waits.
    ///
    /// # Errors
    /// When the shim does not answer.
    pub async fn attach(&self, attach: Attach) -> Result<UnixStream, RuntimeError> {
        let (stream, _) = client::open(&self.inner.dir, &Request::Attach { attach }).await?;
        Ok(stream)
    }

    /// Prepares a process inside the container; nothing runs until [`Exec::start`].
    ///
    /// # Errors
    /// `Conflict` unless the container runs.
    pub async fn exec(&self, config: ExecConfig) -> Result<Exec, RuntimeError> {
        match self.state().await?.status {
            Status::Running => Ok(Exec { task: self.clone(), config: Arc::new(config) }),
            Status::Paused => Err(RuntimeError::Conflict(format!(
                "Container {} is paused, unpause the container before exec",
                self.id()
            ))),
            _ => Err(RuntimeError::Conflict(format!("container {} is not running", self.id()))),
        }
    }

    /// Freezes every process.
    ///
    /// # Errors
    /// `Conflict` unless it runs.
    pub async fn pause(&self) -> Result<(), RuntimeError> {
        client::done(&self.inner.dir, &Request::Pause).await
    }

    /// Thaws every process.
    ///
    /// # Errors
    /// `Conflict` unless it is paused.
    pub async fn resume(&self) -> Result<(), RuntimeError> {
        client::done(&self.inner.dir, &Request::Resume).await
    }

    /// Changes limits; what is `None` stays.
    ///
    /// # Errors
    /// `InvalidArgument` with the kernel's reason when a limit is refused.
    pub async fn update(&self, resources: LinuxResources) -> Result<(), RuntimeError> {
        client::done(&self.inner.dir, &Request::Update { resources: Box::new(resources) }).await
    }

    /// Every process of the container, as host pids in ascending order.
    ///
    /// # Errors
    /// When the cgroup cannot be read; a container without a cgroup has no processes.
    pub async fn processes(&self) -> Result<Vec<u32>, RuntimeError> {
        let group = crate::cgroup::Group::new(&self.inner.cgroup);
        client::blocking(move || group.processes()).await
    }

    /// What the container uses now.
    ///
    /// # Errors
    /// `NotFound` when the cgroup is gone.
    pub async fn stats(&self) -> Result<Stats, RuntimeError> {
        let group = crate::cgroup::Group::new(&self.inner.cgroup);
        client::blocking(move || group.stats()).await
    }

    /// Kills what is left, removes the cgroup and the task's directory, and ends the shim. Idempotent.
    ///
    /// # Errors
    /// When something is left that cannot be removed.
    pub async fn delete(&self) -> Result<ExitStatus, RuntimeError> {
        client::delete(self).await
    }
}

/// A process inside a task.
#[derive(Debug, Clone)]
pub struct Exec {
    task: Task,
    config: Arc<ExecConfig>,
}

impl Exec {
    /// The id it was prepared with.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.config.exec_id
    }

    /// Runs it. The stream is as for [`Task::attach`]; it ends when the process has ended (at once when detached).
    ///
    /// # Errors
    /// [`RuntimeError::Command`] when the command cannot be run; `Conflict` when the container no longer runs.
    pub async fn start(&self) -> Result<(u32, UnixStream), RuntimeError> {
        let request = Request::Exec(Box::new(ExecRequest {
            exec_id: self.config.exec_id.clone(),
            process: self.config.process.clone(),
            terminal: self.config.terminal,
            attach: self.config.attach,
            console_size: self.config.console_size,
        }));
        match client::open(&self.task.inner.dir, &request).await? {
            (stream, Reply::Started { pid }) => Ok((pid, stream)),
            (_, other) => Err(RuntimeError::Internal(format!("unexpected answer from the shim: {other:?}"))),
        }
    }

    /// Waits for its end. Also answers for one that already ended (the shim remembers the last 4096).
    ///
    /// # Errors
    /// `NotFound` when it was never started.
    pub async fn wait(&self) -> Result<ExitStatus, RuntimeError> {
        let request = Request::Wait { exec_id: Some(self.config.exec_id.clone()) };
        match client::call(&self.task.inner.dir, &request).await? {
            Reply::Exited(status) => Ok(status),
            other => Err(RuntimeError::Internal(format!("unexpected answer from the shim: {other:?}"))),
        }
    }

    /// Sets its terminal's size.
    ///
    /// # Errors
    /// `InvalidArgument` without a terminal, `NotFound` when it does not run.
    pub async fn resize(&self, height: u16, width: u16) -> Result<(), RuntimeError> {
        let exec_id = Some(self.config.exec_id.clone());
        client::done(&self.task.inner.dir, &Request::Resize { exec_id, height, width }).await
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// `NotFound` when it does not run.
    pub async fn kill(&self, signal: i32) -> Result<(), RuntimeError> {
        let exec_id = Some(self.config.exec_id.clone());
        client::done(&self.task.inner.dir, &Request::Kill { exec_id, signal, all: false }).await
    }
}
