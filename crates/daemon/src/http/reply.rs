//! Answers.

use std::convert::Infallible;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use http::{HeaderName, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::{BodyExt, Empty, Full, StreamBody, combinators::UnsyncBoxBody};
use pintle_api::ErrorBody;
use serde::Serialize;
use tokio::io::AsyncRead;

use crate::status::Failure;

/// An answer's body. It fails only to break off a stream that cannot be finished.
pub(crate) type Body = UnsyncBoxBody<Bytes, std::io::Error>;
/// What a handler gives back.
pub(crate) type Answer = Response<Body>;

fn never(never: Infallible) -> std::io::Error {
    match never {}
}

/// A body that is there, whole.
pub(crate) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(never).boxed_unsync()
}

fn empty_body() -> Body {
    Empty::new().map_err(never).boxed_unsync()
}

fn with(status: StatusCode, content_type: Option<&'static str>, body: Body) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    if let Some(content_type) = content_type {
        answer.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
    }
    answer
}

/// No body.
pub(crate) fn empty(status: StatusCode) -> Answer {
    with(status, None, empty_body())
}

/// The refusal of somebody who does not say who it is (RFC 6750).
pub(crate) fn challenge(refusal: &Failure) -> Answer {
    let mut answer = failure(refusal);
    let scheme = header::HeaderValue::from_static("Bearer");
    answer.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
    answer
}

/// Plain text.
pub(crate) fn text(text: &'static str) -> Answer {
    with(StatusCode::OK, Some("text/plain; charset=utf-8"), full(text))
}

/// Text of some type, made for this answer.
pub(crate) fn plain(content_type: &'static str, text: String) -> Answer {
    with(StatusCode::OK, Some(content_type), full(text))
}

/// JSON and a newline, as Go's encoder writes it.
pub(crate) fn json(status: StatusCode, value: &impl Serialize) -> Answer {
    match serde_json::to_vec(value) {
        Ok(mut bytes) => {
            bytes.push(b'\n');
            with(status, Some("application/json"), full(bytes))
        }
        Err(error) => failure(&Failure::internal(format!("the answer cannot be written as JSON: {error}"))),
    }
}

/// JSON with status 200.
pub(crate) fn ok(value: &impl Serialize) -> Answer {
    json(StatusCode::OK, value)
}

/// A refusal.
pub(crate) fn failure(failure: &Failure) -> Answer {
    if failure.status == StatusCode::NOT_MODIFIED {
        return empty(failure.status);
    }
    json(failure.status, &ErrorBody { message: failure.message.clone() })
}

/// A refusal of a version from when errors were plain text: JSON would be shown to people as it is.
pub(crate) fn too_old(failure: &Failure) -> Answer {
    let answer =
        with(failure.status, Some("text/plain; charset=utf-8"), full(format!("{}\n", failure.message)));
    header(answer, "x-content-type-options", "nosniff")
}

/// The same request belongs at another path.
pub(crate) fn moved(path: &str, query: Option<&str>) -> Answer {
    let mut location = String::new();
    for byte in path.bytes() {
        match byte {
            b'/' | b'-' | b'.' | b'_' | b'~' | b':' | b'@' => location.push(char::from(byte)),
            byte if byte.is_ascii_alphanumeric() => location.push(char::from(byte)),
            byte => location.push_str(&format!("%{byte:02X}")),
        }
    }
    if let Some(query) = query {
        location.extend(["?", query]);
    }
    header(empty(StatusCode::MOVED_PERMANENTLY), "location", &location)
}

/// Bytes as they come.
pub(crate) fn stream(
    content_type: &'static str,
    pieces: impl Stream<Item = std::io::Result<Bytes>> + Send + 'static,
) -> Answer {
    with(
        StatusCode::OK,
        Some(content_type),
        StreamBody::new(pieces.map(|piece| piece.map(Frame::data))).boxed_unsync(),
    )
}

/// A reader's bytes.
pub(crate) fn reader(content_type: &'static str, reader: impl AsyncRead + Send + 'static) -> Answer {
    stream(content_type, tokio_util::io::ReaderStream::with_capacity(reader, 64 << 10))
}

/// One more header.
pub(crate) fn header(mut answer: Answer, name: &'static str, value: &str) -> Answer {
    if let Ok(value) = value.parse() {
        answer.headers_mut().insert(HeaderName::from_static(name), value);
    }
    answer
}
