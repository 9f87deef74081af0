//! A client of the Docker Engine API: pintle's engine and dockerd alike.

mod body;
mod connect;
mod endpoint;
mod error;
mod request;
mod stdcopy;
mod tls;

pub use body::{JsonStream, Response, channel_body};
pub use connect::connect as dial;
pub use endpoint::{Endpoint, Selection, TlsFiles};
pub use error::ClientError;
pub use request::Request;
pub use stdcopy::{Frame, Frames};

use std::sync::Mutex;

use http::Method;
use hyper::client::conn::http1::SendRequest;

use crate::json::Fields;
use body::Outgoing;

/// The newest API that this client speaks, and the oldest.
const NEWEST: ApiVersion = ApiVersion(1, 51);
const OLDEST: ApiVersion = ApiVersion(1, 24);

/// `1.47`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ApiVersion(pub u16, pub u16);

impl ApiVersion {
    /// Reads `1.47` and `v1.47`.
    pub fn parse(text: &str) -> Option<Self> {
        let (major, minor) = text.strip_prefix('v').unwrap_or(text).split_once('.')?;
        Some(Self(major.parse().ok()?, minor.parse().ok()?))
    }
}

impl std::fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// One engine, with its version agreed on. Connections are reused.
pub struct Client {
    endpoint: Endpoint,
    version: ApiVersion,
    is_pintle: bool,
    headers: Vec<(String, String)>,
    idle: Mutex<Vec<SendRequest<Outgoing>>>,
}

impl Client {
    /// Connects, and agrees on an API version: `DOCKER_API_VERSION` if set, else the newest that both speak.
    pub async fn connect(endpoint: Endpoint, headers: Vec<(String, String)>) -> Result<Self, ClientError> {
        let mut client =
            Self { endpoint, version: NEWEST, is_pintle: false, headers, idle: Mutex::new(Vec::new()) };
        let wanted = std::env::var("DOCKER_API_VERSION").ok().filter(|v| !v.is_empty());
        let answer = client.request(Method::HEAD, "/_ping").unversioned().send().await?;
        let header = |name: &str| answer.header(name).map(str::to_owned);
        client.is_pintle = header("server").is_some_and(|s| s.to_ascii_lowercase().starts_with("pintle"));
        client.version = match wanted {
            Some(text) => ApiVersion::parse(&text).ok_or_else(|| {
                ClientError::Usage(format!("DOCKER_API_VERSION={text} is not a version like 1.47"))
            })?,
            None => {
                let theirs = header("api-version").and_then(|v| ApiVersion::parse(&v)).unwrap_or(OLDEST);
                if theirs < OLDEST {
                    return Err(ClientError::Usage(format!(
                        "the engine at {} speaks API {theirs}; this client needs {OLDEST} or newer",
                        client.endpoint
                    )));
                }
                theirs.min(NEWEST)
            }
        };
        Ok(client)
    }

    /// The agreed version.
    pub fn version(&self) -> ApiVersion {
        self.version
    }

    /// The newest version that this client speaks.
    pub fn newest() -> ApiVersion {
        NEWEST
    }

    /// Whether the engine is ours: it then takes a `config.json` with comments.
    pub fn is_pintle(&self) -> bool {
        self.is_pintle
    }

    /// Where the engine is.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Starts a request to `path`, which begins with `/` and has no version.
    pub fn request(&self, method: Method, path: impl Into<String>) -> Request<'_> {
        Request::new(self, method, path.into())
    }

    /// `GET`.
    pub fn get(&self, path: impl Into<String>) -> Request<'_> {
        self.request(Method::GET, path)
    }

    /// `POST`.
    pub fn post(&self, path: impl Into<String>) -> Request<'_> {
        self.request(Method::POST, path)
    }

    /// `DELETE`.
    pub fn delete(&self, path: impl Into<String>) -> Request<'_> {
        self.request(Method::DELETE, path)
    }

    /// The registry that bare image names and `login` mean.
    pub async fn default_registry(&self) -> String {
        let info = self.get("/info").value().await.unwrap_or_default();
        let address = info.text("IndexServerAddress");
        if address.is_empty() { crate::credentials::DOCKER_HUB.to_owned() } else { address.to_owned() }
    }
}
