//! The `VolumeDriver` interface: requests and replies, both ways.

use std::path::PathBuf;

use pintle_contract::{CreateVolume, DriverError, ErrorKind, MountId, Scope, Volume, VolumeCapabilities};
use serde_json::{Map, Value, json};

use crate::{
    failure::{Dialect, unreadable},
    object::{DecodeError, Object, message},
    value::{from_json, line, to_json},
};

const DIALECT: Dialect = Dialect { keys: &["Err"], prefix: "", unnamed: |_, _| ErrorKind::Internal };
/// A failed `Get` that does not say otherwise means that there is no such volume.
const GET: Dialect = Dialect { unnamed: |_, _| ErrorKind::NotFound, ..DIALECT };

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
    /// A scope that is missing or unknown is local.
    pub fn decode(method: Method, status: u16, body: &[u8]) -> Result<Self, DriverError> {
        let dialect = if method == Method::Get { &GET } else { &DIALECT };
        let value = dialect.accept(method.name(), status, body)?;
        let malformed = |error: DecodeError| unreadable(method.name(), &error);
        let root = Object::root(&value).map_err(malformed)?;
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
