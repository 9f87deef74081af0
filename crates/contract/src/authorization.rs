//! Authorization: who may ask the engine for what, and who may see the answer.

use std::collections::BTreeMap;

use crate::DriverError;

/// What a request or an answer carries beside its head.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Body {
    /// Nothing.
    #[default]
    Empty,
    /// These bytes, all of them. Of a request they are the very bytes that it is carried out by.
    Shown(Vec<u8>),
    /// Bytes that are not shown: an archive, a connection that is taken over, a secret, an answer without an end.
    Withheld {
        /// What they are said to be, a media type or nothing.
        media_type: String,
        /// How many, where that is known before they come.
        length: Option<u64>,
    },
}

impl Body {
    /// The bytes that are shown; none if there are none or they are withheld.
    pub fn shown(&self) -> &[u8] {
        match self {
            Self::Shown(bytes) => bytes,
            Self::Empty | Self::Withheld { .. } => &[],
        }
    }
}

/// What somebody asks the engine for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Request {
    /// Who asks; empty where the engine does not know.
    pub user: String,
    /// How the engine knows it: `TLS` for the name in a client's certificate.
    pub authentication: String,
    /// The HTTP method.
    pub method: String,
    /// The request's target as it was sent, query and API version included.
    pub uri: String,
    /// Its headers in Go's spelling, the last value of each, without those that hold credentials.
    pub headers: BTreeMap<String, String>,
    /// What it carries.
    pub body: Body,
    /// The client's certificates, its own first, each as DER.
    pub peer_certificates: Vec<Vec<u8>>,
    /// The process that asks, on a unix socket. Docker's protocol has no place for it, so plugins are not told.
    pub peer: Option<Peer>,
}

/// A process at the other end of a unix socket, as the kernel knew it when it connected.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Peer {
    /// Its user.
    pub uid: u32,
    /// The user's name on this host; empty if it has none.
    pub name: String,
    /// Its group.
    pub gid: u32,
    /// Its number; 0 where it is in a PID name space that the engine cannot see.
    pub pid: u32,
}

/// What the engine is about to answer. Nothing of it has been sent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// Its headers, as in [`Request::headers`].
    pub headers: BTreeMap<String, String>,
    /// What it carries.
    pub body: Body,
}

/// What was decided.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verdict {
    /// Whether it goes on.
    pub allow: bool,
    /// What the client is told if it does not.
    pub message: String,
}

impl Verdict {
    /// It goes on.
    pub fn allow() -> Self {
        Self { allow: true, message: String::new() }
    }

    /// It ends here, and the client is told why.
    pub fn deny(message: impl Into<String>) -> Self {
        Self { allow: false, message: message.into() }
    }
}

/// The authorization contract. One suite (`pintle-testkit`) proves every implementation in both homes.
///
/// Callers set the budget of each call, ask several times if an answer is lost, and take an error for a refusal.
#[async_trait::async_trait]
pub trait Authorizer: Send + Sync + 'static {
    /// Judges a request before anything is done about it.
    async fn authorize_request(&self, request: &Request) -> Result<Verdict, DriverError>;

    /// Judges the answer to a request before a byte of it is sent.
    async fn authorize_answer(&self, request: &Request, answer: &Answer) -> Result<Verdict, DriverError> {
        let _ = (request, answer);
        Ok(Verdict::allow())
    }
}
