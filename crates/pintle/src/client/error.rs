//! What can go wrong between here and the engine, with the next step for the user.

use http::StatusCode;

/// A failed request.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No engine answered.
    #[error("Cannot connect to the engine at {endpoint}: {source}.{hint}")]
    Connect {
        /// Where.
        endpoint: String,
        /// Why.
        source: std::io::Error,
        /// What to do about it.
        hint: &'static str,
    },
    /// The engine refused.
    #[error("Error response from daemon: {message}")]
    Api {
        /// The HTTP status.
        status: StatusCode,
        /// The engine's words.
        message: String,
    },
    /// The engine gave up in the middle of a stream.
    #[error("{0}")]
    InStream(String),
    /// The engine's answer made no sense.
    #[error("unreadable answer from the engine: {0}")]
    Protocol(String),
    /// The connection broke.
    #[error("the connection to the engine broke: {0}")]
    Io(#[from] std::io::Error),
    /// HTTP went wrong.
    #[error("the connection to the engine broke: {0}")]
    Http(#[from] hyper::Error),
    /// The request cannot be made as asked.
    #[error("{0}")]
    Usage(String),
}

impl ClientError {
    /// A failed connect, with the step that usually helps.
    pub fn connect(endpoint: &super::Endpoint, source: std::io::Error) -> Self {
        use std::io::ErrorKind;
        let local = endpoint.is_unix();
        let hint = match source.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused if local => {
                " Is it running? Start one as root with 'pintle daemon', or name another with -H or DOCKER_HOST"
            }
            ErrorKind::PermissionDenied if local => {
                " The socket belongs to root and its group: use sudo, or join that group"
            }
            ErrorKind::ConnectionRefused => {
                " Nothing listens there: start the engine with 'pintle daemon -H …'"
            }
            _ => "",
        };
        Self::Connect { endpoint: endpoint.to_string(), source, hint }
    }

    /// The HTTP status, if the engine answered.
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Api { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Whether the engine says that there is no such thing.
    pub fn is_not_found(&self) -> bool {
        self.status() == Some(StatusCode::NOT_FOUND)
    }

    /// The engine's words without our introduction.
    pub fn message(&self) -> String {
        match self {
            Self::Api { message, .. } => message.clone(),
            other => other.to_string(),
        }
    }
}
