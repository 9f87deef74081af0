use std::{fmt, io};

use nix::errno::Errno;
use pintle_contract::DriverError;

/// What went wrong, in the terms that callers may branch on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The link, address, route, namespace or table does not exist.
    NotFound,
    /// It exists already.
    Exists,
    /// Somebody uses it.
    InUse,
    /// What was asked for makes no sense.
    Invalid,
    /// This kernel cannot do it.
    Unsupported,
    /// It takes more privileges.
    Denied,
    /// A program that is needed is not installed.
    ToolMissing,
    /// Anything else.
    Other,
}

/// A failure. It reads `add link veth0: File exists (a hint of the kernel's)`.
#[derive(Debug, thiserror::Error)]
#[error("{operation} {subject}: {cause}")]
pub struct Error {
    /// What was tried.
    pub operation: &'static str,
    /// With which link, address, route, path or table.
    pub subject: String,
    kind: ErrorKind,
    cause: Cause,
}

#[derive(Debug)]
enum Cause {
    Kernel { code: i32, hint: String },
    Io(io::Error),
    Text(String),
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kernel { code, hint } => {
                f.write_str(Errno::from_raw(*code).desc())?;
                if hint.is_empty() { Ok(()) } else { write!(f, " ({hint})") }
            }
            Self::Io(error) => error.fmt(f),
            Self::Text(text) => f.write_str(text),
        }
    }
}

impl Error {
    /// What callers may branch on.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The kernel's number for it, if it was the kernel that refused.
    pub fn errno(&self) -> Option<i32> {
        match &self.cause {
            Cause::Kernel { code, .. } => Some(*code),
            Cause::Io(error) => error.raw_os_error(),
            Cause::Text(_) => None,
        }
    }

    pub(crate) fn kernel(
        operation: &'static str,
        subject: impl fmt::Display,
        code: i32,
        hint: String,
    ) -> Self {
        Self {
            operation,
            subject: subject.to_string(),
            kind: kind_of(code),
            cause: Cause::Kernel { code, hint },
        }
    }

    pub(crate) fn io(operation: &'static str, subject: impl fmt::Display, error: io::Error) -> Self {
        let kind = error.raw_os_error().map_or(ErrorKind::Other, kind_of);
        Self { operation, subject: subject.to_string(), kind, cause: Cause::Io(error) }
    }

    pub(crate) fn of(
        kind: ErrorKind,
        operation: &'static str,
        subject: impl fmt::Display,
        text: impl Into<String>,
    ) -> Self {
        Self { operation, subject: subject.to_string(), kind, cause: Cause::Text(text.into()) }
    }
}

fn kind_of(code: i32) -> ErrorKind {
    match Errno::from_raw(code) {
        Errno::ENODEV | Errno::ENOENT | Errno::ESRCH | Errno::ENXIO => ErrorKind::NotFound,
        Errno::EEXIST => ErrorKind::Exists,
        Errno::EBUSY => ErrorKind::InUse,
        Errno::EINVAL | Errno::ERANGE | Errno::ENAMETOOLONG | Errno::EADDRNOTAVAIL | Errno::ENETUNREACH => {
            ErrorKind::Invalid
        }
        Errno::EOPNOTSUPP | Errno::EAFNOSUPPORT | Errno::EPROTONOSUPPORT | Errno::ENOSYS => {
            ErrorKind::Unsupported
        }
        Errno::EPERM | Errno::EACCES => ErrorKind::Denied,
        _ => ErrorKind::Other,
    }
}

impl From<Error> for DriverError {
    fn from(error: Error) -> Self {
        use pintle_contract::ErrorKind as Kind;
        let kind = match error.kind {
            ErrorKind::NotFound => Kind::NotFound,
            ErrorKind::Exists => Kind::Conflict,
            ErrorKind::InUse => Kind::InUse,
            ErrorKind::Invalid => Kind::InvalidArgument,
            ErrorKind::Unsupported => Kind::Unsupported,
            ErrorKind::Denied => Kind::PermissionDenied,
            ErrorKind::ToolMissing => Kind::Unavailable,
            ErrorKind::Other => Kind::Internal,
        };
        Self::new(kind, error.to_string())
    }
}
