//! The `authz` interface: requests and replies, both ways.
//!
//! A plugin that says `pintle.authz` beside `authz`, in its activation or as the type `pintle.authz/1.0` of its `config.json`, is told
//! more with each question (`Context`) and may answer with another body (`ModifiedBody`, as `RequestBody`). No other plugin sees
//! or is heeded in anything but [Docker's fields](Fields).

use std::collections::BTreeMap;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use pintle_contract::{
    DriverError, ErrorKind,
    authorization::{Answer, Bind, Body, Context, Image, Peer, Request, Touched, Usage, Verdict},
};
use serde_json::{Map, Value, json};

use crate::{
    failure::{Dialect, unreadable},
    object::{DecodeError, Object, message},
    value::line,
};

/// An error beside `"Allow": true` is a plugin that contradicts itself, and no permission.
const DIALECT: Dialect = Dialect { keys: &["Err"], prefix: "", unnamed: |_, _| ErrorKind::Internal };

/// What a plugin is told, and heeded in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fields {
    /// What Docker's protocol has.
    #[default]
    Docker,
    /// And `Context` and `ModifiedBody`.
    Extended,
}

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
            Self::Request(request) => encode(request, None, Fields::Docker),
            Self::Answer(request, answer) => encode(request, Some(answer), Fields::Docker),
        }
    }

    /// Reads a body. What was withheld was never on the wire, so it reads as empty.
    pub fn decode(method: Method, body: &[u8]) -> Result<Self, DecodeError> {
        let value = message(body)?;
        let root = Object::root(&value)?;
        let context = root.object("Context")?;
        let request = Request {
            user: root.string("User")?,
            authentication: root.string("UserAuthNMethod")?,
            method: root.string("RequestMethod")?,
            uri: root.string("RequestUri")?,
            headers: root.string_map("RequestHeaders")?,
            body: decode_body(&root, "RequestBody")?,
            peer_certificates: decode_certificates(&root)?,
            peer: context.as_ref().map(decode_peer).transpose()?.flatten(),
            context: context.as_ref().map(decode_context).transpose()?.map(Box::new),
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
pub fn encode(request: &Request, answer: Option<&Answer>, fields: Fields) -> Vec<u8> {
    let shown = request.body.shown().len() + answer.map_or(0, |answer| answer.body.shown().len());
    let mut out = Writer(Vec::with_capacity(shown / 3 * 4 + 1024));
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
    if fields == Fields::Extended
        && let Some(context) = context(request)
    {
        out.value("Context", &context);
    }
    out.end()
}

/// What the engine knows of a request beyond Docker's fields. `None` if it did not look.
///
/// | key | what |
/// |---|---|
/// | `Time`, `Route`, `Object`, `Parameters` | when it came; the path's pattern, what stands in its place, and the query's values, each a list |
/// | `Groups`, `Names`, `Address`, `Peer` | of who asks: groups, other names in a certificate, address, and the process (`Uid`, `Gid`, `Pid`, `Name`, `Executable`) |
/// | `Binds` | `Source`, `Resolved` and `ReadOnly` of each host path that a container would get |
/// | `Touches` | `Kind`, `Id`, `Name` and `Labels` of each object that the request names or joins |
/// | `Image` | `Id`, `Digests` and `Labels` of a new container's image, if it is here |
/// | `Usage` | `Containers`, `Running`, `Memory`, `NanoCpus`, `Volumes` and `Networks` that carry who asks in the label `pintle.owner` |
pub fn context(request: &Request) -> Option<Value> {
    let context = request.context.as_deref()?;
    let binds = context
        .binds
        .iter()
        .map(|bind| json!({ "Source": bind.source, "Resolved": bind.resolved, "ReadOnly": bind.read_only }));
    let touches = context
        .touches
        .iter()
        .map(|one| json!({ "Kind": one.kind, "Id": one.id, "Name": one.name, "Labels": one.labels }));
    let mut value = json!({
        "Time": context.time,
        "Route": context.route,
        "Object": context.object,
        "Parameters": context.parameters,
        "Groups": context.groups,
        "Names": context.names,
        "Binds": binds.collect::<Vec<_>>(),
        "Touches": touches.collect::<Vec<_>>(),
    });
    let mut put = |key: &str, found: Option<Value>| {
        if let (Value::Object(map), Some(found)) = (&mut value, found) {
            map.insert(key.to_owned(), found);
        }
    };
    put("Address", context.address.map(|address| address.to_string().into()));
    put("Peer", request.peer.as_ref().map(peer));
    put(
        "Image",
        context
            .image
            .as_ref()
            .map(|image| json!({ "Id": image.id, "Digests": image.digests, "Labels": image.labels })),
    );
    put("Usage", context.usage.map(usage));
    Some(value)
}

/// A process as policies and plugins see it.
pub fn peer(peer: &Peer) -> Value {
    json!({
        "Uid": peer.uid, "Gid": peer.gid, "Pid": peer.pid, "Name": peer.name, "Executable": peer.executable,
    })
}

fn usage(usage: Usage) -> Value {
    json!({
        "Containers": usage.containers,
        "Running": usage.running,
        "Memory": usage.memory,
        "NanoCpus": usage.nano_cpus,
        "Volumes": usage.volumes,
        "Networks": usage.networks,
    })
}

fn decode_peer(context: &Object<'_>) -> Result<Option<Peer>, DecodeError> {
    let Some(peer) = context.object("Peer")? else { return Ok(None) };
    Ok(Some(Peer {
        uid: peer.u32("Uid")?,
        gid: peer.u32("Gid")?,
        pid: peer.u32("Pid")?,
        name: peer.string("Name")?,
        executable: peer.string("Executable")?,
    }))
}

fn decode_context(context: &Object<'_>) -> Result<Context, DecodeError> {
    let texts = |list: &Value| {
        let texts = list.as_array().into_iter().flatten().filter_map(Value::as_str);
        texts.map(str::to_owned).collect::<Vec<_>>()
    };
    let parameters = context.object("Parameters")?.map_or_else(BTreeMap::new, |all| {
        all.fields().iter().map(|(key, list)| (key.clone(), texts(list))).collect()
    });
    let bind = |bind: Object<'_>| {
        Ok(Bind {
            source: bind.string("Source")?,
            resolved: bind.string("Resolved")?,
            read_only: bind.bool("ReadOnly")?,
        })
    };
    let touched = |one: Object<'_>| {
        Ok(Touched {
            kind: one.string("Kind")?,
            id: one.string("Id")?,
            name: one.string("Name")?,
            labels: one.string_map("Labels")?,
        })
    };
    let image = |image: Object<'_>| {
        Ok(Image {
            id: image.string("Id")?,
            digests: image.strings("Digests")?,
            labels: image.string_map("Labels")?,
        })
    };
    let usage = |usage: Object<'_>| {
        let count = |key: &str| usage.get(key).and_then(Value::as_u64).unwrap_or_default();
        Usage {
            containers: count("Containers"),
            running: count("Running"),
            memory: count("Memory"),
            nano_cpus: count("NanoCpus"),
            volumes: count("Volumes"),
            networks: count("Networks"),
        }
    };
    Ok(Context {
        time: context.string("Time")?,
        route: context.string("Route")?,
        object: context.string("Object")?,
        parameters,
        groups: context.strings("Groups")?,
        names: context.strings("Names")?,
        address: context.parsed("Address")?,
        binds: context.objects("Binds")?.into_iter().map(bind).collect::<Result<_, DecodeError>>()?,
        touches: context.objects("Touches")?.into_iter().map(touched).collect::<Result<_, DecodeError>>()?,
        image: context.object("Image")?.map(image).transpose()?,
        usage: context.object("Usage")?.map(usage),
    })
}

/// Fields of an object under writing; what is empty is left out.
struct Writer(Vec<u8>);

impl Writer {
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
    if let Some(body) = &verdict.body {
        map.insert("ModifiedBody".to_owned(), BASE64_STANDARD.encode(body).into());
    }
    line(&Value::Object(map))
}

/// Reads the reply to `method`, whatever it is. Only status 200 without an `Err` is a verdict, and only
/// `"Allow": true` in it is a permission.
pub fn decode_verdict(
    method: Method,
    status: u16,
    body: &[u8],
    fields: Fields,
) -> Result<Verdict, DriverError> {
    let value = DIALECT.accept(method.name(), status, body)?;
    let malformed = |error: DecodeError| unreadable(method.name(), &error);
    let root = Object::root(&value).map_err(malformed)?;
    let allow = root.bool("Allow").map_err(malformed)?;
    let changed = match (fields, root.get("ModifiedBody")) {
        (Fields::Docker, _) | (_, None) => None,
        (Fields::Extended, Some(_)) => match decode_body(&root, "ModifiedBody").map_err(malformed)? {
            Body::Shown(body) => Some(body),
            _ => None,
        },
    };
    Ok(Verdict { allow, message: root.string("Msg").map_err(malformed)?, body: changed })
}
