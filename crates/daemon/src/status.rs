//! Causes become HTTP statuses here and nowhere else.

use http::StatusCode;
use pintle_api::{DecodeError, FilterError, version::VersionError};
use pintle_engine::{EngineError, ErrorKind as Engine, authorization::Refusal};
use pintle_host::{ErrorKind as Host, HostError};
use pintle_image::{ErrorKind as Image, ImageError};
use pintle_runtime::{ErrorKind as Runtime, RuntimeError};

/// A refused or failed request: the status, and what the client reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) status: StatusCode,
    pub(crate) message: String,
}

impl Failure {
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }

    pub(crate) fn not_implemented(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_IMPLEMENTED, message)
    }

    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, message)
    }

    /// An archive that the client sent: what is wrong with it is the client's affair, unlike what is wrong with
    /// what was stored or came from a registry.
    pub(crate) fn of_archive(error: ImageError) -> Self {
        match error.kind() {
            Image::Corrupt => Self::invalid(error.to_string()),
            _ => error.into(),
        }
    }

    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, message)
    }

    /// The same failure, saying first what was being done.
    pub(crate) fn context(self, what: impl std::fmt::Display) -> Self {
        Self { message: format!("{what}: {}", self.message), ..self }
    }
}

fn of_engine(kind: Engine) -> StatusCode {
    match kind {
        Engine::InvalidArgument => StatusCode::BAD_REQUEST,
        Engine::NotFound => StatusCode::NOT_FOUND,
        Engine::Conflict => StatusCode::CONFLICT,
        Engine::NotModified => StatusCode::NOT_MODIFIED,
        Engine::Forbidden => StatusCode::FORBIDDEN,
        Engine::Unauthorized => StatusCode::UNAUTHORIZED,
        Engine::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Engine::NotImplemented => StatusCode::NOT_IMPLEMENTED,
        Engine::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn of_host(kind: Host) -> StatusCode {
    match kind {
        Host::InvalidArgument => StatusCode::BAD_REQUEST,
        Host::NotFound => StatusCode::NOT_FOUND,
        Host::Conflict => StatusCode::CONFLICT,
        Host::Forbidden => StatusCode::FORBIDDEN,
        Host::Unauthorized => StatusCode::UNAUTHORIZED,
        Host::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Host::NotImplemented => StatusCode::NOT_IMPLEMENTED,
        // `Internal`, and whatever kind is added before this file knows it.
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn of_image(kind: Image) -> StatusCode {
    match kind {
        Image::InvalidArgument => StatusCode::BAD_REQUEST,
        Image::NotFound => StatusCode::NOT_FOUND,
        Image::Conflict => StatusCode::CONFLICT,
        Image::Unauthorized => StatusCode::UNAUTHORIZED,
        Image::Forbidden => StatusCode::FORBIDDEN,
        Image::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Image::Unsupported => StatusCode::NOT_IMPLEMENTED,
        Image::Corrupt | Image::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn of_runtime(kind: Runtime) -> StatusCode {
    match kind {
        Runtime::InvalidArgument => StatusCode::BAD_REQUEST,
        Runtime::NotFound => StatusCode::NOT_FOUND,
        Runtime::Conflict => StatusCode::CONFLICT,
        Runtime::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Runtime::Unsupported => StatusCode::NOT_IMPLEMENTED,
        // `Internal`, and whatever kind is added before this file knows it.
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        Self::new(of_engine(error.kind()), error.message)
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let status = match refusal {
            Refusal::Denied { .. } => StatusCode::FORBIDDEN,
            Refusal::Failed { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, refusal.to_string())
    }
}

impl From<HostError> for Failure {
    fn from(error: HostError) -> Self {
        Self::new(of_host(error.kind()), error.to_string())
    }
}

impl From<ImageError> for Failure {
    fn from(error: ImageError) -> Self {
        Self::new(of_image(error.kind()), error.to_string())
    }
}

impl From<RuntimeError> for Failure {
    fn from(error: RuntimeError) -> Self {
        Self::new(of_runtime(error.kind()), error.to_string())
    }
}

impl From<DecodeError> for Failure {
    fn from(error: DecodeError) -> Self {
        Self::invalid(error.to_string())
    }
}

impl From<FilterError> for Failure {
    fn from(error: FilterError) -> Self {
        Self::invalid(error.to_string())
    }
}

impl From<VersionError> for Failure {
    fn from(error: VersionError) -> Self {
        Self::invalid(error.to_string())
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::internal(error.to_string())
    }
}
