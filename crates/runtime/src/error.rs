//! What can go wrong between the engine and a container's processes.

use std::io;

/// What sort of failure a [`RuntimeError`] is; the daemon turns kinds into HTTP statuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// No such task, exec or process.
    NotFound,
    /// The request does not fit the task's state (starting twice, exec in a paused container).
    Conflict,
    /// The request can never work: bad spec, bad profile, no such command.
    InvalidArgument,
    /// The kernel or this machine refuses something the request needs.
    Unsupported,
    /// The shim does not answer.
    Unavailable,
    /// Everything else.
    Internal,
}

/// A failure of the runtime. `Display` is fit for the user who asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RuntimeError {
    /// No task (or exec) of that name.
    #[error("no such task: {0}")]
    NotFound(String),
    /// The request does not fit the state.
    #[error("{0}")]
    Conflict(String),
    /// The request can never work.
    #[error("{0}")]
    InvalidArgument(String),
    /// The kernel or the machine refuses.
    #[error("{0}")]
    Unsupported(String),
    /// The container's command cannot be run; `code` is what a shell would answer (127 not found, 126 not
    /// permitted).
    #[error("{message}")]
    Command {
        /// 126 or 127.
        code: i32,
        /// Docker's words.
        message: String,
    },
    /// The shim does not answer, or died.
    #[error("{0}")]
    Unavailable(String),
    /// An operation on the file system or on a socket failed.
    #[error("{context}: {source}")]
    Io {
        /// What was being done.
        context: String,
        /// Why it failed.
        source: io::Error,
    },
    /// The embedded runtime failed.
    #[error("{0}")]
    Internal(String),
}

impl RuntimeError {
    /// The sort of failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound(_) => ErrorKind::NotFound,
            Self::Conflict(_) => ErrorKind::Conflict,
            Self::InvalidArgument(_) | Self::Command { .. } => ErrorKind::InvalidArgument,
            Self::Unsupported(_) => ErrorKind::Unsupported,
            Self::Unavailable(_) => ErrorKind::Unavailable,
            Self::Io { .. } | Self::Internal(_) => ErrorKind::Internal,
        }
    }

    /// The exit code that the container (or exec) gets when its command could not be run: 127 when it was not
    /// found, 126 when it may not be executed, 128 for every other failure to start, as Docker records it.
    #[must_use]
    pub fn exit_code(&self) -> i32 {
        match self {
            Self::Command { code, .. } => *code,
            _ => 128,
        }
    }

    pub(crate) fn io(context: impl Into<String>, source: io::Error) -> Self {
        Self::Io { context: context.into(), source }
    }
}

/// Adds what was being done to an I/O error.
pub(crate) trait IoContext<T> {
    fn context(self, what: impl FnOnce() -> String) -> Result<T, RuntimeError>;
}

impl<T, E: Into<io::Error>> IoContext<T> for Result<T, E> {
    fn context(self, what: impl FnOnce() -> String) -> Result<T, RuntimeError> {
        self.map_err(|e| RuntimeError::io(what(), e.into()))
    }
}
