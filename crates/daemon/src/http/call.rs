//! One request, as handlers see it.

use bytes::{Bytes, BytesMut};
use futures_util::TryStreamExt;
use http::{HeaderMap, header};
use http_body_util::{BodyExt, BodyStream, combinators::UnsyncBoxBody};
use pintle_api::{ApiVersion, DecodeError};
use pintle_image::Auth;
use serde::de::DeserializeOwned;
use tokio::io::AsyncRead;

use super::Query;
use crate::{hijack::Offer, status::Failure};

/// JSON bodies are bounded; whoever needs more sends a tar stream.
const MAX_JSON: usize = 4 << 20;

/// A request's body.
pub(crate) type Incoming = UnsyncBoxBody<Bytes, std::io::Error>;

/// One request.
pub(crate) struct Call {
    /// The version that the answer must be of.
    pub(crate) version: ApiVersion,
    /// The variable part of the path, decoded.
    pub(crate) name: String,
    pub(crate) query: Query,
    pub(crate) headers: HeaderMap,
    /// How the connection can be taken over.
    pub(crate) offer: Offer,
    body: Incoming,
}

impl Call {
    pub(crate) fn new(
        version: ApiVersion,
        query: Query,
        headers: HeaderMap,
        offer: Offer,
        body: Incoming,
    ) -> Self {
        Self { version, name: String::new(), query, headers, offer, body }
    }

    /// Whether the client speaks at least `1.minor`.
    pub(crate) fn since(&self, minor: u16) -> bool {
        self.version >= ApiVersion::minor(minor)
    }

    /// A header's text, empty if there is none.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("")
    }

    async fn bytes(&mut self) -> Result<Bytes, Failure> {
        let mut bytes = BytesMut::new();
        while let Some(frame) = self.body.frame().await {
            let frame =
                frame.map_err(|error| Failure::invalid(format!("the request's body broke off: {error}")))?;
            if let Ok(data) = frame.into_data() {
                if bytes.len() + data.len() > MAX_JSON {
                    return Err(Failure::invalid(format!(
                        "the request's body is too large: at most {MAX_JSON} bytes are read"
                    )));
                }
                bytes.extend_from_slice(&data);
            }
        }
        Ok(bytes.freeze())
    }

    /// The body, which must be there.
    pub(crate) async fn json<T: DeserializeOwned>(&mut self) -> Result<T, Failure> {
        let bytes = self.bytes().await?;
        check_json(self.header(header::CONTENT_TYPE.as_str()), &bytes)?;
        Ok(pintle_api::decode(&bytes)?)
    }

    /// The body, or all defaults where there is none.
    pub(crate) async fn json_or_default<T: DeserializeOwned + Default>(&mut self) -> Result<T, Failure> {
        let bytes = self.bytes().await?;
        check_json(self.header(header::CONTENT_TYPE.as_str()), &bytes)?;
        match pintle_api::decode(&bytes) {
            Err(DecodeError::Empty) if bytes.is_empty() => Ok(T::default()),
            read => Ok(read?),
        }
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

/// Docker's rules: no type is fine without a body, anything else must be JSON.
fn check_json(content_type: &str, body: &[u8]) -> Result<(), Failure> {
    if content_type.is_empty() {
        if body.is_empty() {
            return Ok(());
        }
        return Err(Failure::invalid("malformed Content-Type header (): mime: no media type"));
    }
    let media_type = content_type.split(';').next().unwrap_or("").trim();
    if media_type.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    if media_type.is_empty() || media_type.contains(char::is_whitespace) {
        return Err(Failure::invalid(format!(
            "malformed Content-Type header ({content_type}): mime: no media type"
        )));
    }
    Err(Failure::invalid(format!(
        "unsupported Content-Type header ({content_type}): must be 'application/json'"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_types_follow_dockers_rules() {
        let check = |content_type, body: &str| {
            check_json(content_type, body.as_bytes()).map_err(|failure| failure.message)
        };
        assert_eq!(check("", ""), Ok(()));
        assert_eq!(check("application/json", ""), Ok(()));
        assert_eq!(check("Application/JSON; charset=utf-8", "{}"), Ok(()));
        assert_eq!(
            check("text/plain", "{}"),
            Err("unsupported Content-Type header (text/plain): must be 'application/json'".to_owned())
        );
        assert_eq!(
            check("text/plain", ""),
            Err("unsupported Content-Type header (text/plain): must be 'application/json'".to_owned())
        );
        assert_eq!(check("", "{}"), Err("malformed Content-Type header (): mime: no media type".to_owned()));
    }
}
