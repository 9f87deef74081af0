use pintle_contract::{DriverError, ErrorKind as DriverKind};

/// What went wrong, in the only terms that callers may branch on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The request is malformed or asks for something meaningless.
    InvalidArgument,
    /// The named object does not exist.
    NotFound,
    /// The object is in a state, or held by somebody, that forbids it.
    Conflict,
    /// It is already so; nothing was changed. Not a failure.
    NotModified,
    /// Refused by policy.
    Forbidden,
    /// The caller is not who it should be.
    Unauthorized,
    /// Something that is needed cannot be reached now.
    Unavailable,
    /// The driver, the kernel or this engine does not do that.
    NotImplemented,
    /// The engine, the kernel or a driver failed.
    Internal,
}

/// A failed request. `message` is what a client reads; it is shown, never parsed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct EngineError {
    /// What callers may branch on.
    pub kind: ErrorKind,
    /// What people read.
    pub message: String,
}

impl EngineError {
    /// An error of `kind` that reads `message`.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// What callers may branch on.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The request is malformed or meaningless.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidArgument, message)
    }

    /// The named object does not exist.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, message)
    }

    /// The object's state or a holder forbids it.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Conflict, message)
    }

    /// The engine or the kernel failed.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }

    /// The same error, saying first what was being done.
    #[must_use]
    pub fn context(self, what: impl std::fmt::Display) -> Self {
        Self { kind: self.kind, message: format!("{what}: {}", self.message) }
    }
}

impl From<DriverError> for EngineError {
    fn from(error: DriverError) -> Self {
        let kind = match error.kind {
            DriverKind::NotFound => ErrorKind::NotFound,
            DriverKind::Conflict | DriverKind::InUse => ErrorKind::Conflict,
            DriverKind::InvalidArgument => ErrorKind::InvalidArgument,
            DriverKind::Unsupported => ErrorKind::NotImplemented,
            DriverKind::PermissionDenied => ErrorKind::Forbidden,
            DriverKind::Unavailable | DriverKind::Timeout => ErrorKind::Unavailable,
            _ => ErrorKind::Internal,
        };
        Self::new(kind, error.message)
    }
}

impl From<pintle_store::StoreError> for EngineError {
    fn from(error: pintle_store::StoreError) -> Self {
        Self::internal(error.to_string())
    }
}

impl From<std::io::Error> for EngineError {
    fn from(error: std::io::Error) -> Self {
        Self::internal(error.to_string())
    }
}

impl From<pintle_image::ImageError> for EngineError {
    fn from(error: pintle_image::ImageError) -> Self {
        use pintle_image::ErrorKind as Kind;
        let kind = match error.kind() {
            Kind::NotFound => ErrorKind::NotFound,
            Kind::Conflict => ErrorKind::Conflict,
            Kind::InvalidArgument | Kind::Corrupt => ErrorKind::InvalidArgument,
            Kind::Unauthorized => ErrorKind::Unauthorized,
            Kind::Forbidden => ErrorKind::Forbidden,
            Kind::Unavailable => ErrorKind::Unavailable,
            Kind::Unsupported => ErrorKind::NotImplemented,
            Kind::Internal => ErrorKind::Internal,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<pintle_runtime::RuntimeError> for EngineError {
    fn from(error: pintle_runtime::RuntimeError) -> Self {
        use pintle_runtime::ErrorKind as Kind;
        let kind = match error.kind() {
            Kind::NotFound => ErrorKind::NotFound,
            Kind::Conflict => ErrorKind::Conflict,
            Kind::InvalidArgument => ErrorKind::InvalidArgument,
            Kind::Unsupported => ErrorKind::NotImplemented,
            Kind::Unavailable => ErrorKind::Unavailable,
            _ => ErrorKind::Internal,
        };
        Self::new(kind, error.to_string())
    }
}
