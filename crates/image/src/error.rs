//! One error for the crate, and the kinds that callers tell apart.

use std::path::Path;

/// What a caller can do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// There is no such image, tag, blob, file or repository.
    NotFound,
    /// Something else uses or already has it.
    Conflict,
    /// What was asked for cannot be right.
    InvalidArgument,
    /// The registry wants other credentials.
    Unauthorized,
    /// The registry knows the user and says no.
    Forbidden,
    /// The registry cannot be reached or is overloaded; trying again may help.
    Unavailable,
    /// It is well formed and this engine does not do it.
    Unsupported,
    /// Content does not match its digest, or an archive is damaged or hostile.
    Corrupt,
    /// The disk, the kernel or this program failed.
    Internal,
}

/// An error with a text that Docker's clients may show as it is.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub struct ImageError {
    kind: ErrorKind,
    text: String,
    #[source]
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl ImageError {
    /// An error of `kind` that reads `text`.
    pub fn new(kind: ErrorKind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into(), source: None }
    }

    /// What a caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Whether there is no room for what was to be written.
    pub fn is_full(&self) -> bool {
        let mut cause = self.source.as_deref().map(|source| source as &(dyn std::error::Error + 'static));
        while let Some(error) = cause {
            if let Some(error) = error.downcast_ref::<std::io::Error>() {
                return is_full(error);
            }
            cause = error.source();
        }
        false
    }

    pub(crate) fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    pub(crate) fn not_found(text: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, text)
    }

    pub(crate) fn invalid(text: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidArgument, text)
    }

    pub(crate) fn conflict(text: impl Into<String>) -> Self {
        Self::new(ErrorKind::Conflict, text)
    }

    pub(crate) fn corrupt(text: impl Into<String>) -> Self {
        Self::new(ErrorKind::Corrupt, text)
    }

    pub(crate) fn unsupported(text: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unsupported, text)
    }

    pub(crate) fn unavailable(text: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unavailable, text)
    }

    pub(crate) fn internal(text: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, text)
    }

    /// A disk or kernel failure, with what was being done to what.
    pub(crate) fn io(doing: &str, path: &Path, error: impl Into<std::io::Error>) -> Self {
        let error = error.into();
        let kind = match error.kind() {
            std::io::ErrorKind::NotFound => ErrorKind::NotFound,
            _ => ErrorKind::Internal,
        };
        Self::new(kind, format!("{doing} {}: {error}", path.display())).because(error)
    }
}

/// Whether there is no room for what was to be written.
pub(crate) fn is_full(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)
}

impl From<pintle_store::StoreError> for ImageError {
    fn from(error: pintle_store::StoreError) -> Self {
        Self::internal(error.to_string()).because(error)
    }
}

impl From<tokio::task::JoinError> for ImageError {
    fn from(error: tokio::task::JoinError) -> Self {
        Self::internal(format!("a worker of the image store ended early: {error}"))
    }
}
