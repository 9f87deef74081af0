//! The `authz` interface: requests and replies, both ways.

use std::collections::BTreeMap;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use pintle_contract::{
    DriverError, ErrorKind,
    authorization::{Answer, Body, Request, Verdict},
};
use serde_json::{Map, Value, json};

use crate::{
    failure::{Dialect, unreadable},
    object::{DecodeError, Object, message},
    value::line,
};

/// An error beside `"Allow": true` is a plugin that contradicts itself, and no permission.
const DIALECT: Dialect = Dialect { keys: &["Err"], prefix: "", unnamed: |_, _| ErrorKind::Internal };

/// A method of the interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Method {
    /// Judges a request.
    Request,
    /// Judges an answer.
    Answer,
}

impl Method {
    /// Every method.
    pub const ALL: [Self; 2] = [Self::Request, Self::Answer];

    /// Where it is posted.
    pub fn path(self) -> &'static str {
        match self {
            Self::Request => "/AuthZPlugin.AuthZReq",
            Self::Answer => "/AuthZPlugin.AuthZRes",
        }
    }

    /// The method posted to `path`.
    pub fn from_path(path: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.path() == path)
    }

    /// Its name in error texts: `AuthZPlugin.AuthZReq`.
    pub fn name(self) -> &'static str {
        self.path().trim_start_matches('/')
    }
}

/// What an engine asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// Whether a request may be carried out.
    Request(Request),
    /// Whether an answer may be sent.
    Answer(Request, Answer),
}

impl Call {
    /// Which method this calls.
    pub fn method(&self) -> Method {
        match self {
            Self::Request(_) => Method::Request,
            Self::Answer(..) => Method::Answer,
        }
    }

    /// The body, as Docker sends it.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Request(request) => encode(request, None),
            Self::Answer(request, answer) => encode(request, Some(answer)),
        }
    }

    /// Reads a body. What was withheld was never on the wire, so it reads as empty.
    pub fn decode(method: Method, body: &[u8]) -> Result<Self, DecodeError> {
        let value = message(body)?;
        let root = Object::root(&value)?;
        let request = Request {
            user: root.string("User")?,
            authentication: root.string("UserAuthNMethod")?,
            method: root.string("RequestMethod")?,
            uri: root.string("RequestUri")?,
            headers: root.string_map("RequestHeaders")?,
            body: decode_body(&root, "RequestBody")?,
            peer_certificates: decode_certificates(&root)?,
            peer: None,
        };
        Ok(match method {
            Method::Request => Self::Request(request),
            Method::Answer => {
                let status = root.u32("ResponseStatusCode")?;
                let status = u16::try_from(status)
                    .map_err(|_| root.error("ResponseStatusCode", "no status is that large"))?;
                let answer = Answer {
                    status,
                    headers: root.string_map("ResponseHeaders")?,
                    body: decode_body(&root, "ResponseBody")?,
                };
                Self::Answer(request, answer)
            }
        })
    }
}

/// One call, as Docker sends it. Bodies may be long, so they are written where they belong and nowhere else.
pub fn encode(request: &Request, answer: Option<&Answer>) -> Vec<u8> {
    let shown = request.body.shown().len() + answer.map_or(0, |answer| answer.body.shown().len());
    let mut out = Fields(Vec::with_capacity(shown / 3 * 4 + 1024));
    out.text("User", &request.user);
    out.text("UserAuthNMethod", &request.authentication);
    out.text("RequestMethod", &request.method);
    out.text("RequestUri", &request.uri);
    out.bytes("RequestBody", request.body.shown());
    out.map("RequestHeaders", &request.headers);
    if !request.peer_certificates.is_empty() {
        let all: Vec<_> =
            request.peer_certificates.iter().map(|der| BASE64_STANDARD.encode(to_pem(der))).collect();
        out.value("RequestPeerCertificates", &json!(all));
    }
    if let Some(answer) = answer {
        if answer.status != 0 {
            out.value("ResponseStatusCode", &json!(answer.status));
        }
        out.bytes("ResponseBody", answer.body.shown());
        out.map("ResponseHeaders", &answer.headers);
    }
    out.end()
}

/// Fields of an object under writing; what is empty is left out.
struct Fields(Vec<u8>);

impl Fields {
    fn key(&mut self, name: &str) {
        self.0.push(if self.0.is_empty() { b'{' } else { b',' });
        self.0.extend_from_slice(format!("\"{name}\":").as_bytes());
    }

    fn value(&mut self, name: &str, value: &Value) {
        self.key(name);
        self.0.extend_from_slice(value.to_string().as_bytes());
    }

    fn text(&mut self, name: &str, text: &str) {
        if !text.is_empty() {
            self.value(name, &json!(text));
        }
    }

    fn map(&mut self, name: &str, map: &BTreeMap<String, String>) {
        if !map.is_empty() {
            self.value(name, &json!(map));
        }
    }

    fn bytes(&mut self, name: &str, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.key(name);
        self.0.push(b'"');
        // Whole groups of three bytes at a time encode to the same as all at once.
        for piece in bytes.chunks(3 << 10) {
            self.0.extend_from_slice(BASE64_STANDARD.encode(piece).as_bytes());
        }
        self.0.push(b'"');
    }

    fn end(mut self) -> Vec<u8> {
        if self.0.is_empty() {
            self.0.push(b'{');
        }
        self.0.extend_from_slice(b"}\n");
        self.0
    }
}

fn decode_body(root: &Object<'_>, name: &str) -> Result<Body, DecodeError> {
    let text = root.string(name)?;
    if text.is_empty() {
        return Ok(Body::Empty);
    }
    let bytes = BASE64_STANDARD.decode(text).map_err(|error| root.error(name, error.to_string()))?;
    Ok(Body::Shown(bytes))
}

const BEGIN: &str = "-----BEGIN CERTIFICATE-----\n";
const END: &str = "-----END CERTIFICATE-----\n";

fn to_pem(der: &[u8]) -> String {
    let mut text = BEGIN.to_owned();
    // 48 bytes are the 64 letters of a line.
    for line in der.chunks(48) {
        BASE64_STANDARD.encode_string(line, &mut text);
        text.push('\n');
    }
    text + END
}

fn decode_certificates(root: &Object<'_>) -> Result<Vec<Vec<u8>>, DecodeError> {
    let one = |text: String| {
        let wrong = || root.error("RequestPeerCertificates", "this is no certificate");
        let pem = BASE64_STANDARD.decode(text).map_err(|_| wrong())?;
        let pem = String::from_utf8(pem).map_err(|_| wrong())?;
        let inner = pem.strip_prefix(BEGIN).and_then(|pem| pem.strip_suffix(END)).ok_or_else(wrong)?;
        BASE64_STANDARD.decode(inner.replace('\n', "")).map_err(|_| wrong())
    };
    root.strings("RequestPeerCertificates")?.into_iter().map(one).collect()
}

/// The body of a reply with status 200.
pub fn encode_verdict(verdict: &Verdict) -> Vec<u8> {
    let mut map = Map::new();
    map.insert("Allow".to_owned(), verdict.allow.into());
    if !verdict.message.is_empty() {
        map.insert("Msg".to_owned(), verdict.message.clone().into());
    }
    line(&Value::Object(map))
}

/// Reads the reply to `method`, whatever it is. Only status 200 without an `Err` is a verdict, and only
/// `"Allow": true` in it is a permission.
pub fn decode_verdict(method: Method, status: u16, body: &[u8]) -> Result<Verdict, DriverError> {
    let value = DIALECT.accept(method.name(), status, body)?;
    let malformed = |error: DecodeError| unreadable(method.name(), &error);
    let root = Object::root(&value).map_err(malformed)?;
    let allow = root.bool("Allow").map_err(malformed)?;
    Ok(Verdict { allow, message: root.string("Msg").map_err(malformed)? })
}
