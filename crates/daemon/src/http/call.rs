//! One request, as handlers see it.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::TryStreamExt;
use http::{HeaderMap, Method, Uri, header};
use http_body::Body as _;
use http_body_util::{BodyExt, BodyStream, combinators::UnsyncBoxBody};
use pintle_api::{ApiVersion, decode::Reading};
use pintle_contract::authorization::Bind;
use pintle_image::Auth;
use tokio::io::AsyncRead;

use super::{
    Query,
    input::{self, Input, Parsed},
};
use crate::{hijack::Offer, peer::Peer, status::Failure};

/// JSON bodies are bounded; whoever needs more sends a tar stream.
pub(crate) const MAX_JSON: usize = 4 << 20;

/// A request's body.
pub(crate) type Incoming = UnsyncBoxBody<Bytes, std::io::Error>;

/// The head of a request, and who sent it.
pub(crate) struct Head {
    pub(crate) method: Method,
    /// The target as it was sent.
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) peer: Arc<Peer>,
}

/// One request.
pub(crate) struct Call {
    /// The version that the answer must be of.
    pub(crate) version: ApiVersion,
    /// The variable part of the path, decoded.
    pub(crate) name: String,
    pub(crate) query: Query,
    pub(crate) head: Arc<Head>,
    /// How the connection can be taken over.
    pub(crate) offer: Offer,
    /// Host paths that were judged, and where they lead to.
    pub(crate) judged: Vec<Bind>,
    body: Incoming,
    /// The body, once it was read for a route that wants JSON.
    parsed: Option<Parsed>,
}

/// A body as it was sent, while it is not known what it says.
pub(crate) enum Sent {
    /// Read whole.
    Whole(Bytes),
    /// It is longer than [`MAX_JSON`].
    TooLong,
}

/// The refusal of a body that nobody is asked about.
pub(crate) fn too_long() -> Failure {
    Failure::invalid(format!("the request's body is too large: at most {MAX_JSON} bytes are read"))
}

impl Call {
    pub(crate) fn new(
        version: ApiVersion,
        name: String,
        head: Arc<Head>,
        offer: Offer,
        body: Incoming,
    ) -> Self {
        let query = Query::parse(head.uri.query().unwrap_or(""));
        Self { version, name, query, head, offer, judged: Vec::new(), body, parsed: None }
    }

    /// Whether the client speaks at least `1.minor`.
    pub(crate) fn since(&self, minor: u16) -> bool {
        self.version >= ApiVersion::minor(minor)
    }

    /// A header's text, empty if there is none.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.head.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("")
    }

    /// Whether there is a body, as far as can be known before it comes; and its length, if that can be known.
    pub(crate) fn announced(&self) -> (bool, Option<u64>) {
        (!self.body.is_end_stream(), self.body.size_hint().exact())
    }

    /// The whole body. It can be read once.
    pub(crate) async fn read(&mut self) -> Result<Sent, Failure> {
        if self.body.size_hint().lower() > MAX_JSON as u64 {
            return Ok(Sent::TooLong);
        }
        let mut bytes = BytesMut::new();
        while let Some(frame) = self.body.frame().await {
            let frame =
                frame.map_err(|error| Failure::invalid(format!("the request's body broke off: {error}")))?;
            if let Ok(data) = frame.into_data() {
                if bytes.len() + data.len() > MAX_JSON {
                    return Ok(Sent::TooLong);
                }
                bytes.extend_from_slice(&data);
            }
        }
        Ok(Sent::Whole(bytes.freeze()))
    }

    /// Reads what was sent as what the route wants.
    pub(crate) fn parse(&mut self, input: Input, sent: &[u8], reading: Reading) -> Result<(), Failure> {
        if let Input::Json(parse) = input {
            input::check_json(self.header(header::CONTENT_TYPE.as_str()), sent)?;
            self.parsed = Some(parse(sent, reading)?);
        }
        Ok(())
    }

    /// Reads the body of a route that wants JSON; others are left to their handlers.
    pub(crate) async fn receive(&mut self, input: Input) -> Result<(), Failure> {
        if !matches!(input, Input::Json(_)) {
            return Ok(());
        }
        match self.read().await? {
            Sent::Whole(sent) => self.parse(input, &sent, Reading::Lenient),
            Sent::TooLong => Err(too_long()),
        }
    }

    /// The body, of the type that the route declares.
    pub(crate) fn json<T: 'static>(&mut self) -> Result<T, Failure> {
        let parsed = self.parsed.take().and_then(|parsed| parsed.downcast().ok());
        parsed.map(|parsed| *parsed).ok_or_else(|| {
            Failure::internal("this route reads its body as something else than the table of routes says")
        })
    }

    /// The body as bytes to come, for archives.
    pub(crate) fn into_reader(self) -> impl AsyncRead + Send + Unpin + 'static {
        let pieces =
            BodyStream::new(self.body).try_filter_map(|frame| std::future::ready(Ok(frame.into_data().ok())));
        tokio_util::io::StreamReader::new(Box::pin(pieces))
    }

    /// `X-Registry-Auth`. As in Docker a value that cannot be read counts as none.
    pub(crate) fn auth(&self) -> Auth {
        Auth::from_header(self.header("x-registry-auth")).unwrap_or_default()
    }
}
