//! Building, sending and judging one request.

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, HOST, UPGRADE, USER_AGENT};
use http::{Method, StatusCode};
use http_body_util::{BodyExt, Empty, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use serde_json::Value;

use super::body::{Outgoing, Response};
use super::connect::{Stream, connect};
use super::{Client, ClientError};
use crate::json::Fields;

/// A request that is not sent yet.
pub struct Request<'a> {
    client: &'a Client,
    method: Method,
    path: String,
    query: Vec<(String, String)>,
    headers: Vec<(String, String)>,
    body: Option<Outgoing>,
    versioned: bool,
}

impl<'a> Request<'a> {
    pub(super) fn new(client: &'a Client, method: Method, path: String) -> Self {
        let (query, headers) = (Vec::new(), Vec::new());
        Self { client, method, path, query, headers, body: None, versioned: true }
    }

    /// Leaves the version out of the path.
    #[must_use]
    pub fn unversioned(mut self) -> Self {
        self.versioned = false;
        self
    }

    /// Adds a parameter.
    #[must_use]
    pub fn query(mut self, name: &str, value: impl ToString) -> Self {
        self.query.push((name.to_owned(), value.to_string()));
        self
    }

    /// Adds a parameter if there is a value.
    #[must_use]
    pub fn query_some<T: ToString>(self, name: &str, value: Option<T>) -> Self {
        match value {
            Some(value) => self.query(name, value),
            None => self,
        }
    }

    /// Adds `name=1` if `on`.
    #[must_use]
    pub fn switch(self, name: &str, on: bool) -> Self {
        if on { self.query(name, "1") } else { self }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// Sets a JSON body.
    #[must_use]
    pub fn json(self, value: &Value) -> Self {
        let body = Full::new(Bytes::from(value.to_string())).map_err(|never| match never {}).boxed();
        self.body(body, "application/json")
    }

    /// Sets any body.
    #[must_use]
    pub fn body(mut self, body: Outgoing, content_type: &str) -> Self {
        self.body = Some(body);
        self.header(CONTENT_TYPE.as_str(), content_type)
    }

    /// Sends; an answer that is not a success is an error with the engine's words.
    pub async fn send(self) -> Result<Response, ClientError> {
        let client = self.client;
        let request = self.build(false)?;
        let mut sender = match client.take_idle() {
            Some(sender) => sender,
            None => client.open().await?,
        };
        let response = sender.send_request(request).await?;
        client.put_idle(sender);
        judge(response).await
    }

    /// Sends and reads JSON.
    pub async fn value(self) -> Result<Value, ClientError> {
        self.send().await?.value().await
    }

    /// Sends and expects nothing of interest.
    pub async fn done(self) -> Result<(), ClientError> {
        self.send().await?.bytes().await.map(|_| ())
    }

    /// Sends on a connection of its own and takes that connection over.
    pub async fn hijack(self) -> Result<TokioIo<Upgraded>, ClientError> {
        let client = self.client;
        let request = self.build(true)?;
        let mut sender = client.open().await?;
        let response = judge(sender.send_request(request).await?).await?.into_inner();
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(ClientError::Protocol(format!(
                "the engine did not hand over the connection (status {})",
                response.status().as_u16()
            )));
        }
        Ok(TokioIo::new(hyper::upgrade::on(response).await?))
    }

    fn build(self, hijack: bool) -> Result<http::Request<Outgoing>, ClientError> {
        let mut target = String::new();
        if self.versioned {
            target += &format!("/v{}", self.client.version);
        }
        target += &encode_path(&self.path);
        for (at, (name, value)) in self.query.iter().enumerate() {
            target.push(if at == 0 { '?' } else { '&' });
            target += &format!("{}={}", encode_query(name), encode_query(value));
        }
        let mut request = http::Request::builder()
            .method(self.method)
            .uri(target)
            .header(HOST, "docker")
            .header(USER_AGENT, concat!("pintle/", env!("CARGO_PKG_VERSION")));
        for (name, value) in self.client.headers.iter().chain(&self.headers) {
            request = request.header(name, value);
        }
        if hijack {
            request = request.header(CONNECTION, "Upgrade").header(UPGRADE, "tcp");
        }
        let body = self.body.unwrap_or_else(|| Empty::new().map_err(|never| match never {}).boxed());
        request.body(body).map_err(|e| ClientError::Usage(format!("the request cannot be made: {e}")))
    }
}

impl Client {
    fn take_idle(&self) -> Option<SendRequest<Outgoing>> {
        let mut idle = self.idle.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        idle.retain(|sender| !sender.is_closed());
        let at = idle.iter().position(SendRequest::is_ready)?;
        Some(idle.swap_remove(at))
    }

    fn put_idle(&self, sender: SendRequest<Outgoing>) {
        let mut idle = self.idle.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        idle.push(sender);
    }

    async fn open(&self) -> Result<SendRequest<Outgoing>, ClientError> {
        let stream: Box<dyn Stream> = connect(&self.endpoint).await?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // Owned by the runtime of this one command: it ends with the connection or the process, whichever is first,
        // and what it has to say reaches the caller through `sender`.
        tokio::spawn(async move {
            let _ = connection.with_upgrades().await;
        });
        Ok(sender)
    }
}

async fn judge(response: http::Response<hyper::body::Incoming>) -> Result<Response, ClientError> {
    let status = response.status();
    if status.is_success() || status == StatusCode::SWITCHING_PROTOCOLS || status == StatusCode::NOT_MODIFIED
    {
        return Ok(Response::new(response));
    }
    let bytes = Response::new(response).bytes().await?;
    let text = String::from_utf8_lossy(&bytes).trim().to_owned();
    let message = serde_json::from_slice::<Value>(&bytes).ok().map(|v| v.text("message").to_owned());
    let message = message.filter(|m| !m.is_empty()).unwrap_or(text);
    let message =
        if message.is_empty() { format!("status {} without a reason", status.as_u16()) } else { message };
    Err(ClientError::Api { status, message })
}

/// Escapes all that a path may not hold. Names keep their slashes, as the engine expects.
fn encode_path(text: &str) -> String {
    encode(text, |byte| matches!(byte, b'/' | b':' | b'@' | b',' | b'+' | b'=' | b'$' | b'&'))
}

/// Escapes a query value, a space as `+`.
pub fn encode_query(text: &str) -> String {
    encode(text, |byte| byte == b' ').replace(' ', "+")
}

fn encode(text: &str, keep: impl Fn(u8) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') || keep(byte) {
            out.push(char::from(byte));
        } else {
            out += &format!("%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_keep_slashes_and_nothing_that_ends_a_path() {
        assert_eq!(encode_path("/plugins/a/b:latest/json"), "/plugins/a/b:latest/json");
        assert_eq!(encode_path("/volumes/a?b#c d%"), "/volumes/a%3Fb%23c%20d%25");
        assert_eq!(encode_query("a b&c=d/é"), "a+b%26c%3Dd%2F%C3%A9");
    }
}
