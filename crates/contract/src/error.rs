use std::fmt;

/// What went wrong, in the only terms that callers may branch on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The named object does not exist.
    NotFound,
    /// An object of that name exists already and differs.
    Conflict,
    /// The object is held by somebody.
    InUse,
    /// The request is malformed or asks for something meaningless.
    InvalidArgument,
    /// The driver does not implement this call or option.
    Unsupported,
    /// The driver refuses.
    PermissionDenied,
    /// The driver cannot be reached: not running, not listening, connection lost.
    Unavailable,
    /// The driver did not answer within the call's budget.
    Timeout,
    /// The driver failed, or answered something that is not the protocol.
    Internal,
}

/// A driver's failure. `message` is opaque text for people: it is shown, never parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DriverError {
    /// What callers may branch on.
    pub kind: ErrorKind,
    /// What people read.
    pub message: String,
}

impl DriverError {
    /// An error of `kind` that reads `message`.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// The named object does not exist.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, message)
    }

    /// The request is malformed or meaningless.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidArgument, message)
    }

    /// The driver failed by itself.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }
}

impl fmt::Display for DriverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for DriverError {}

impl From<std::io::Error> for DriverError {
    fn from(error: std::io::Error) -> Self {
        let kind = match error.kind() {
            std::io::ErrorKind::NotFound => ErrorKind::NotFound,
            std::io::ErrorKind::AlreadyExists => ErrorKind::Conflict,
            std::io::ErrorKind::PermissionDenied => ErrorKind::PermissionDenied,
            std::io::ErrorKind::TimedOut => ErrorKind::Timeout,
            std::io::ErrorKind::InvalidInput => ErrorKind::InvalidArgument,
            _ => ErrorKind::Internal,
        };
        Self::new(kind, error.to_string())
    }
}
