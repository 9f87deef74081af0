//! Bodies in both directions.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http_body::Frame;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::Value;
use tokio::sync::mpsc;

use super::ClientError;

/// Any request body.
pub type Outgoing = http_body_util::combinators::BoxBody<Bytes, io::Error>;

/// The most that a whole JSON answer may be, and one message of a stream.
const MAX_DOCUMENT: usize = 256 << 20;
const MAX_MESSAGE: usize = 16 << 20;

/// A body whose pieces are sent from elsewhere, such as a thread that packs an archive. An error sent into it breaks
/// the request off, so that the engine never takes half an archive for a whole one.
pub fn channel_body() -> (mpsc::Sender<io::Result<Bytes>>, Outgoing) {
    let (sender, receiver) = mpsc::channel(8);
    (sender, BodyExt::boxed(ChannelBody(receiver)))
}

struct ChannelBody(mpsc::Receiver<io::Result<Bytes>>);

impl http_body::Body for ChannelBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        self.0.poll_recv(context).map(|piece| piece.map(|result| result.map(Frame::data)))
    }
}

/// An answer whose status was a success.
pub struct Response {
    inner: http::Response<Incoming>,
}

impl Response {
    pub(super) fn new(inner: http::Response<Incoming>) -> Self {
        Self { inner }
    }

    /// A header, if it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.inner.headers().get(name).and_then(|value| value.to_str().ok())
    }

    /// The next piece of the body.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, ClientError> {
        while let Some(frame) = self.inner.body_mut().frame().await {
            if let Ok(data) = frame?.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }

    /// The whole body.
    pub async fn bytes(mut self) -> Result<Bytes, ClientError> {
        let mut out = BytesMut::new();
        while let Some(chunk) = self.chunk().await? {
            if out.len() + chunk.len() > MAX_DOCUMENT {
                return Err(ClientError::Protocol("the answer is larger than 256 MiB".into()));
            }
            out.extend_from_slice(&chunk);
        }
        Ok(out.freeze())
    }

    /// The whole body as JSON; null if empty.
    pub async fn value(self) -> Result<Value, ClientError> {
        let bytes = self.bytes().await?;
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&bytes).map_err(|e| ClientError::Protocol(e.to_string()))
    }

    /// The body as one JSON value after another.
    pub fn json_stream(self) -> JsonStream {
        JsonStream { response: self, buffer: BytesMut::new(), ended: false }
    }

    pub(super) fn into_inner(self) -> http::Response<Incoming> {
        self.inner
    }
}

/// JSON values, one after another, separated by white space or nothing.
pub struct JsonStream {
    response: Response,
    buffer: BytesMut,
    ended: bool,
}

impl JsonStream {
    /// The next value; `None` at a clean end.
    pub async fn next(&mut self) -> Result<Option<Value>, ClientError> {
        loop {
            if let Some(value) = take_value(&mut self.buffer, self.ended)? {
                return Ok(Some(value));
            }
            if self.ended {
                return Ok(None);
            }
            match self.response.chunk().await? {
                Some(chunk) => self.buffer.extend_from_slice(&chunk),
                None => self.ended = true,
            }
        }
    }
}

/// Takes one value off the front of `buffer`; `None` if it holds no whole value yet.
fn take_value(buffer: &mut BytesMut, ended: bool) -> Result<Option<Value>, ClientError> {
    let mut values = serde_json::Deserializer::from_slice(buffer).into_iter::<Value>();
    match values.next() {
        None => Ok(None),
        Some(Ok(value)) => {
            let used = values.byte_offset();
            let _ = buffer.split_to(used);
            Ok(Some(value))
        }
        Some(Err(error)) if error.is_eof() && !ended => {
            if buffer.len() > MAX_MESSAGE {
                return Err(ClientError::Protocol("a message is larger than 16 MiB".into()));
            }
            Ok(None)
        }
        Some(Err(error)) => Err(ClientError::Protocol(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_taken_whole() {
        let mut buffer = BytesMut::from("{\"a\":1}\r\n{\"b\":");
        assert_eq!(take_value(&mut buffer, false).unwrap().unwrap()["a"], 1);
        assert!(take_value(&mut buffer, false).unwrap().is_none());
        buffer.extend_from_slice(b"2}");
        assert_eq!(take_value(&mut buffer, false).unwrap().unwrap()["b"], 2);
        assert!(take_value(&mut buffer, true).unwrap().is_none());
    }

    #[test]
    fn half_a_value_at_the_end_is_an_error() {
        let mut buffer = BytesMut::from("{\"a\":");
        assert!(take_value(&mut buffer, true).is_err());
        let mut buffer = BytesMut::from("not json");
        assert!(take_value(&mut buffer, false).is_err());
    }
}
