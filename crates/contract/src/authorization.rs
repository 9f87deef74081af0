//! Authorization: who may ask the engine for what, and who may see the answer.

use std::{collections::BTreeMap, net::SocketAddr};

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
    /// The process that asks, on a unix socket. Docker's protocol has no place for it: only who
    /// [is extended](Authorizer::is_extended) is told.
    pub peer: Option<Peer>,
    /// What the engine knows beyond Docker's fields; for who [is extended](Authorizer::is_extended).
    pub context: Option<Box<Context>>,
}

/// What the engine knows about a request beyond Docker's fields: it says what the request means, so that nobody has to take
/// paths and bodies apart once more.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Context {
    /// When it came, in RFC 3339.
    pub time: String,
    /// The path's pattern, without the API's version: `/containers/{}/start`.
    pub route: String,
    /// What stands in the pattern's place, decoded; empty if there is none.
    pub object: String,
    /// The query's parameters, decoded, each with its values in their order.
    pub parameters: BTreeMap<String, Vec<String>>,
    /// The groups of who asks.
    pub groups: Vec<String>,
    /// The other names in a client's certificate.
    pub names: Vec<String>,
    /// Where who asks is, on TCP.
    pub address: Option<SocketAddr>,
    /// The host's paths that a container to be created gets.
    pub binds: Vec<Bind>,
    /// What exists and the request touches: the object that it names, and those that a container to be created joins.
    pub touches: Vec<Touched>,
    /// The image of a container to be created, if it is here.
    pub image: Option<Image>,
    /// What is there of who asks already, where the request would make more of it.
    pub usage: Option<Usage>,
}

/// A host's path in a container.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Bind {
    /// As the request has it, without dotted and empty steps.
    pub source: String,
    /// Where links lead to on this host now. What does not exist is where its nearest parent that does would have it; empty if
    /// that cannot be known.
    pub resolved: String,
    /// Whether the container cannot write there.
    pub read_only: bool,
}

/// Something that exists.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Touched {
    /// `container`, `image`, `network` or `volume`.
    pub kind: String,
    /// Its id; of a volume its name.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

/// An image that is here.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Image {
    /// Its id: the digest of its configuration.
    pub id: String,
    /// The digests by which registries know it, with their repositories.
    pub digests: Vec<String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

/// The label that says whose a container, a volume or a network is.
pub const OWNER: &str = "pintle.owner";

/// How much carries somebody's name in the label [`OWNER`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Containers.
    pub containers: u64,
    /// Of these, running ones.
    pub running: u64,
    /// Bytes that these containers may have, as far as they are limited.
    pub memory: u64,
    /// Billionths of processors that they may have, as far as they are limited.
    pub nano_cpus: u64,
    /// Volumes.
    pub volumes: u64,
    /// Networks.
    pub networks: u64,
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
    /// The file of its program; empty if the engine cannot see it. A process can become another program.
    pub executable: String,
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
    /// The body that it goes on with in the place of the one that was shown. Heeded only of who
    /// [is extended](Authorizer::is_extended), and only where the engine's configuration lets it change anything; everybody else
    /// who is asked is asked about the changed one.
    pub body: Option<Vec<u8>>,
}

impl Verdict {
    /// It goes on.
    pub fn allow() -> Self {
        Self { allow: true, ..Self::default() }
    }

    /// It goes on with another body.
    pub fn change(body: impl Into<Vec<u8>>) -> Self {
        Self { allow: true, body: Some(body.into()), ..Self::default() }
    }

    /// It ends here, and the client is told why.
    pub fn deny(message: impl Into<String>) -> Self {
        Self { message: message.into(), ..Self::default() }
    }
}

/// The authorization contract. One suite (`pintle-testkit`) proves every implementation in both homes.
///
/// Callers set the budget of each call, ask several times if an answer is lost, and take an error for a refusal.
#[async_trait::async_trait]
pub trait Authorizer: Send + Sync + 'static {
    /// Whether it wants to know [what Docker does not tell](Request::context), and may want to change requests and answers.
    /// All others see exactly Docker's fields.
    fn is_extended(&self) -> bool {
        false
    }

    /// Judges a request before anything is done about it.
    async fn authorize_request(&self, request: &Request) -> Result<Verdict, DriverError>;

    /// Judges the answer to a request before a byte of it is sent.
    async fn authorize_answer(&self, request: &Request, answer: &Answer) -> Result<Verdict, DriverError> {
        let _ = (request, answer);
        Ok(Verdict::allow())
    }
}
