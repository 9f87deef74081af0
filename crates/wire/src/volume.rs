//! The `VolumeDriver` interface: requests and replies, both ways.
//!
//! Errors travel as `{"Err": "…"}`. Beside it pintle's SDK sends `"Kind"`, which other engines ignore, so that
//! a driver behind a socket fails with the same kinds as one in process.

use std::path::PathBuf;

use pintle_contract::{
    CreateVolume, DriverError, ErrorKind, MountId, Scope, Value as Free, Volume, VolumeCapabilities,
};
use serde_json::{Map, Value, json};

use crate::object::{DecodeError, Object, message};

/// A method of the interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names are the wire's and the contract's; `VolumeDriver` documents them")]
pub enum Method {
    Create,
    Remove,
    Mount,
    Unmount,
    Path,
    Get,
    List,
    Capabilities,
}

impl Method {
    /// Every method.
    pub const ALL: [Self; 8] = [
        Self::Create,
        Self::Remove,
        Self::Mount,
        Self::Unmount,
        Self::Path,
        Self::Get,
        Self::List,
        Self::Capabilities,
    ];

    /// Where it is posted.
    pub fn path(self) -> &'static str {
        match self {
            Self::Create => "/VolumeDriver.Create",
            Self::Remove => "/VolumeDriver.Remove",
            Self::Mount => "/VolumeDriver.Mount",
            Self::Unmount => "/VolumeDriver.Unmount",
            Self::Path => "/VolumeDriver.Path",
            Self::Get => "/VolumeDriver.Get",
            Self::List => "/VolumeDriver.List",
            Self::Capabilities => "/VolumeDriver.Capabilities",
        }
    }

    /// The method that is posted there.
    pub fn from_path(path: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.path() == path)
    }

    /// Its name in error texts: `VolumeDriver.Create`.
    pub fn name(self) -> &'static str {
        self.path().trim_start_matches('/')
    }
}

/// What an engine asks.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "one variant for each method of the contract")]
pub enum Request {
    Create(CreateVolume),
    Remove { name: String },
    Mount { name: String, id: MountId },
    Unmount { name: String, id: MountId },
    Path { name: String },
    Get { name: String },
    List,
    Capabilities,
}

impl Request {
    /// Which method this calls.
    pub fn method(&self) -> Method {
        match self {
            Self::Create(_) => Method::Create,
            Self::Remove { .. } => Method::Remove,
            Self::Mount { .. } => Method::Mount,
            Self::Unmount { .. } => Method::Unmount,
            Self::Path { .. } => Method::Path,
            Self::Get { .. } => Method::Get,
            Self::List => Method::List,
            Self::Capabilities => Method::Capabilities,
        }
    }

    /// The body, as Docker sends it.
    pub fn encode(&self) -> Vec<u8> {
        let body = match self {
            Self::Create(CreateVolume { name, options }) => {
                let options = if options.is_empty() { Value::Null } else { json!(options) };
                json!({ "Name": name, "Opts": options })
            }
            Self::Remove { name } | Self::Path { name } | Self::Get { name } => json!({ "Name": name }),
            Self::Mount { name, id } | Self::Unmount { name, id } => json!({ "Name": name, "ID": id.0 }),
            Self::List | Self::Capabilities => json!({}),
        };
        line(&body)
    }

    /// Reads a body. A call without a mount ID, which only very old engines and `curl` make, counts as made
    /// by `unnamed`.
    pub fn decode(method: Method, body: &[u8]) -> Result<Self, DecodeError> {
        let value = message(body)?;
        let root = Object::root(&value)?;
        let name = || {
            let name = root.string("Name")?;
            if name.is_empty() { Err(root.error("Name", "a volume's name is missing")) } else { Ok(name) }
        };
        let id = || {
            let id = root.optional_string("ID")?.filter(|id| !id.is_empty());
            Ok(MountId(id.unwrap_or_else(|| "unnamed".to_owned())))
        };
        Ok(match method {
            Method::Create => Self::Create(CreateVolume { name: name()?, options: root.string_map("Opts")? }),
            Method::Remove => Self::Remove { name: name()? },
            Method::Mount => Self::Mount { name: name()?, id: id()? },
            Method::Unmount => Self::Unmount { name: name()?, id: id()? },
            Method::Path => Self::Path { name: name()? },
            Method::Get => Self::Get { name: name()? },
            Method::List => Self::List,
            Method::Capabilities => Self::Capabilities,
        })
    }
}

/// What a plugin answers when it did not fail.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// To `Create`, `Remove` and `Unmount`.
    Done,
    /// To `Mount`, which always has one, and to `Path`.
    Mountpoint(Option<PathBuf>),
    /// To `Get`.
    Volume(Volume),
    /// To `List`.
    Volumes(Vec<Volume>),
    /// To `Capabilities`.
    Capabilities(VolumeCapabilities),
}

impl Reply {
    /// The body of a reply with status 200.
    pub fn encode(&self) -> Vec<u8> {
        line(&match self {
            Self::Done => json!({}),
            Self::Mountpoint(path) => {
                json!({ "Mountpoint": path.as_ref().map(|path| path.to_string_lossy()).unwrap_or_default() })
            }
            Self::Volume(volume) => json!({ "Volume": encode_volume(volume) }),
            Self::Volumes(volumes) => {
                json!({ "Volumes": volumes.iter().map(encode_volume).collect::<Vec<_>>() })
            }
            Self::Capabilities(VolumeCapabilities { scope }) => {
                json!({ "Capabilities": { "Scope": match scope { Scope::Local => "local", Scope::Global => "global" } } })
            }
        })
    }

    /// Reads the reply to `method`, whatever it is. Only status 200 without an `Err` is success.
    ///
    /// A failed `Get` that does not say otherwise means that there is no such volume. A scope that is missing
    /// or unknown is local.
    pub fn decode(method: Method, status: u16, body: &[u8]) -> Result<Self, DriverError> {
        if status != 200 {
            return Err(failure(method, body));
        }
        let malformed = |error: DecodeError| {
            DriverError::internal(format!("{}: the plugin's answer cannot be read: {error}", method.name()))
        };
        if body.iter().all(u8::is_ascii_whitespace) {
            let text = format!("{}: the plugin's answer is empty", method.name());
            return Err(DriverError::internal(text));
        }
        let value = message(body).map_err(malformed)?;
        let root = Object::root(&value).map_err(malformed)?;
        let text = root.string("Err").map_err(malformed)?;
        if !text.is_empty() {
            return Err(DriverError::new(error_kind(method, &root), text));
        }
        let mountpoint =
            || Ok(root.optional_string("Mountpoint")?.filter(|path| !path.is_empty()).map(PathBuf::from));
        Ok(match method {
            Method::Create | Method::Remove | Method::Unmount => Self::Done,
            Method::Path => Self::Mountpoint(mountpoint().map_err(malformed)?),
            Method::Mount => match mountpoint().map_err(malformed)? {
                Some(path) => Self::Mountpoint(Some(path)),
                None => {
                    let text = format!("{}: the plugin named no mountpoint", method.name());
                    return Err(DriverError::internal(text));
                }
            },
            Method::Get => match root.object("Volume").map_err(malformed)? {
                Some(object) => Self::Volume(decode_volume(&object).map_err(malformed)?),
                None => return Err(DriverError::not_found("no such volume")),
            },
            Method::List => {
                let objects = root.objects("Volumes").map_err(malformed)?;
                let volumes: Result<Vec<_>, _> = objects.iter().map(decode_volume).collect();
                Self::Volumes(volumes.map_err(malformed)?)
            }
            Method::Capabilities => {
                let scope = root.object("Capabilities").map_err(malformed)?;
                let scope = scope.map(|object| object.string("Scope")).transpose().map_err(malformed)?;
                let global = scope.is_some_and(|scope| scope.eq_ignore_ascii_case("global"));
                Self::Capabilities(VolumeCapabilities {
                    scope: if global { Scope::Global } else { Scope::Local },
                })
            }
        })
    }
}

/// The body that reports a failure, with status 500.
pub fn encode_error(error: &DriverError) -> Vec<u8> {
    line(&json!({ "Err": error.message, "Kind": kind_name(error.kind) }))
}

/// A reply other than 200: `{"Err": …}`, or else the body as it is.
fn failure(method: Method, body: &[u8]) -> DriverError {
    let value = message(body).ok();
    let root = value.as_ref().and_then(|value| Object::root(value).ok());
    let text = root.as_ref().and_then(|root| root.string("Err").ok()).filter(|text| !text.is_empty());
    let kind = root.as_ref().map_or(ErrorKind::Internal, |root| error_kind(method, root));
    match text {
        Some(text) => DriverError::new(kind, format!("{}: {text}", method.name())),
        None => {
            let body = String::from_utf8_lossy(body.get(..4096).unwrap_or(body)).trim().to_owned();
            let kind = if method == Method::Get { ErrorKind::NotFound } else { ErrorKind::Internal };
            DriverError::new(kind, format!("{}: {body}", method.name()))
        }
    }
}

fn error_kind(method: Method, root: &Object<'_>) -> ErrorKind {
    let named = root.string("Kind").ok().and_then(|name| KINDS.iter().find(|(_, known)| *known == name));
    match named {
        Some((kind, _)) => *kind,
        None if method == Method::Get => ErrorKind::NotFound,
        None => ErrorKind::Internal,
    }
}

const KINDS: [(ErrorKind, &str); 9] = [
    (ErrorKind::NotFound, "not-found"),
    (ErrorKind::Conflict, "conflict"),
    (ErrorKind::InUse, "in-use"),
    (ErrorKind::InvalidArgument, "invalid-argument"),
    (ErrorKind::Unsupported, "unsupported"),
    (ErrorKind::PermissionDenied, "permission-denied"),
    (ErrorKind::Unavailable, "unavailable"),
    (ErrorKind::Timeout, "timeout"),
    (ErrorKind::Internal, "internal"),
];

fn kind_name(kind: ErrorKind) -> &'static str {
    KINDS.iter().find(|(known, _)| *known == kind).map_or("internal", |(_, name)| name)
}

fn encode_volume(volume: &Volume) -> Value {
    let mut map = Map::new();
    map.insert("Name".to_owned(), volume.name.clone().into());
    if let Some(path) = &volume.mountpoint {
        map.insert("Mountpoint".to_owned(), path.to_string_lossy().into());
    }
    if let Some(time) = &volume.created_at {
        map.insert("CreatedAt".to_owned(), time.clone().into());
    }
    if !volume.status.is_empty() {
        let status = volume.status.iter().map(|(key, value)| (key.clone(), to_json(value))).collect();
        map.insert("Status".to_owned(), Value::Object(status));
    }
    Value::Object(map)
}

fn decode_volume(object: &Object<'_>) -> Result<Volume, DecodeError> {
    let text = |name| Ok(object.optional_string(name)?.filter(|text| !text.is_empty()));
    let status = match object.get("Status") {
        Some(Value::Object(map)) => map.iter().map(|(key, value)| (key.clone(), from_json(value))).collect(),
        Some(_) => return Err(object.error("Status", "expected an object")),
        None => Default::default(),
    };
    Ok(Volume {
        name: object.string("Name")?,
        mountpoint: text("Mountpoint")?.map(PathBuf::from),
        created_at: text("CreatedAt")?,
        status,
    })
}

/// A free-form value as JSON. A number that JSON cannot hold becomes `null`.
pub fn to_json(value: &Free) -> Value {
    match value {
        Free::Null => Value::Null,
        Free::Bool(truth) => (*truth).into(),
        Free::Int(number) => (*number).into(),
        Free::Float(number) => (*number).into(),
        Free::String(text) => text.clone().into(),
        Free::List(items) => items.iter().map(to_json).collect(),
        Free::Map(map) => {
            Value::Object(map.iter().map(|(key, value)| (key.clone(), to_json(value))).collect())
        }
    }
}

/// JSON as a free-form value.
pub fn from_json(value: &Value) -> Free {
    match value {
        Value::Null => Free::Null,
        Value::Bool(truth) => Free::Bool(*truth),
        Value::Number(number) => match number.as_i64() {
            Some(whole) => Free::Int(whole),
            None => Free::Float(number.as_f64().unwrap_or_default()),
        },
        Value::String(text) => Free::String(text.clone()),
        Value::Array(items) => Free::List(items.iter().map(from_json).collect()),
        Value::Object(map) => {
            Free::Map(map.iter().map(|(key, value)| (key.clone(), from_json(value))).collect())
        }
    }
}

fn line(value: &Value) -> Vec<u8> {
    let mut bytes = value.to_string().into_bytes();
    bytes.push(b'\n');
    bytes
}
