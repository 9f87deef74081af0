//! What engine and shim say to each other on `shim.sock`: one JSON object on each line.
//!
//! Both ends are this crate, but not always the same build of it: after an upgrade a new engine speaks to old
//! shims. Fields are only ever added, with a default.

use libcontainer::oci_spec::runtime::{LinuxResources, Process};
use serde::{Deserialize, Serialize};

use crate::error::RuntimeError;
use crate::task::{Attach, ExitStatus, Status};

/// No request or answer is longer; a longer one ends the connection.
pub(crate) const MAX_LINE: usize = 4 << 20;

/// What the engine asks.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub(crate) enum Request {
    /// Let the created process run.
    Start,
    /// Answered at once.
    State,
    /// Answered when the process has ended and its output is drained and on disk.
    Wait {
        exec_id: Option<String>,
    },
    Kill {
        exec_id: Option<String>,
        signal: i32,
        all: bool,
    },
    Resize {
        exec_id: Option<String>,
        height: u16,
        width: u16,
    },
    CloseStdin,
    /// After the answer's line the connection is the raw stream.
    Attach {
        attach: Attach,
    },
    /// Starts a process; with any stream in `attach`, the connection then is its raw stream.
    Exec(Box<ExecRequest>),
    Pause,
    Resume,
    Update {
        resources: Box<LinuxResources>,
    },
    /// Kill what is left, remove the cgroup, answer, end.
    Delete,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ExecRequest {
    pub exec_id: String,
    pub process: Process,
    pub terminal: bool,
    pub attach: Attach,
    pub console_size: Option<(u16, u16)>,
}

/// What the shim answers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reply {
    Done,
    State { status: Status, pid: Option<u32>, exit: Option<ExitStatus> },
    Exited(ExitStatus),
    Started { pid: u32 },
    Failed(Failure),
}

/// A [`RuntimeError`] on the wire.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Failure {
    NotFound(String),
    Conflict(String),
    InvalidArgument(String),
    Unsupported(String),
    Command { code: i32, message: String },
    Internal(String),
}

impl From<RuntimeError> for Failure {
    fn from(error: RuntimeError) -> Self {
        match error {
            RuntimeError::NotFound(name) => Self::NotFound(name),
            RuntimeError::Conflict(text) => Self::Conflict(text),
            RuntimeError::InvalidArgument(text) => Self::InvalidArgument(text),
            RuntimeError::Unsupported(text) => Self::Unsupported(text),
            RuntimeError::Command { code, message } => Self::Command { code, message },
            other => Self::Internal(other.to_string()),
        }
    }
}

impl From<Failure> for RuntimeError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::NotFound(name) => Self::NotFound(name),
            Failure::Conflict(text) => Self::Conflict(text),
            Failure::InvalidArgument(text) => Self::InvalidArgument(text),
            Failure::Unsupported(text) => Self::Unsupported(text),
            Failure::Command { code, message } => Self::Command { code, message },
            Failure::Internal(text) => Self::Internal(text),
        }
    }
}
