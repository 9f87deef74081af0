//! What is remembered of an attachment, in the format of the specification's library, so that its tools read it.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Map, Value, json};

use super::{
    error::{CniError, code},
    invocation::Invocation,
    name,
};
use crate::object::{DecodeError, Object};

const KIND: &str = "cniCacheV1";

/// What an attachment was made with, and what came of it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct CacheRecord {
    /// The attachment's container.
    pub container: String,
    /// Its interface.
    pub interface: String,
    /// The network's name.
    pub network: String,
    /// The network's configuration, as a list.
    pub config: Vec<u8>,
    /// The path that opened the namespace.
    pub namespace: String,
    /// The user's own words for plugins.
    pub args: Vec<(String, String)>,
    /// What the runtime had to say, by capability.
    pub capabilities: Map<String, Value>,
    /// The result of the last plugin, as it answered; `None` while ADD is under way.
    pub result: Option<Value>,
    /// Whose it is; the library's own records say nothing.
    pub home: Option<Home>,
}

/// An attachment's place among the engine's networks; others overlook it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Home {
    /// The network's id.
    pub network: String,
    /// The endpoint's id.
    pub endpoint: String,
    /// Why it was last found other than it should be; empty if it was not.
    pub trouble: String,
}

impl CacheRecord {
    /// The file's name. Containers and interfaces may have dashes: it is to be found by, not to be read.
    pub fn file_name(network: &str, container: &str, interface: &str) -> Result<String, name::InvalidName> {
        name::network_name(network)?;
        name::container_id(container)?;
        name::interface_name(interface)?;
        Ok(format!("{network}-{container}-{interface}"))
    }

    /// Reads one. What is of another kind, such as the bare results of early versions, is refused.
    pub fn decode(value: &Value) -> Result<Self, DecodeError> {
        let root = Object::root(value)?;
        if root.string("kind")? != KIND {
            return Err(root.error("kind", format!("not {KIND}")));
        }
        let config = STANDARD.decode(root.string("config")?);
        let mut args = Vec::new();
        for pair in root.get("cniArgs").and_then(Value::as_array).into_iter().flatten() {
            match (pair.get(0).and_then(Value::as_str), pair.get(1).and_then(Value::as_str)) {
                (Some(key), Some(value)) => args.push((key.to_owned(), value.to_owned())),
                _ => return Err(root.error("cniArgs", "expected pairs of strings")),
            }
        }
        let home = root.object("pintle")?.map(|home| {
            Ok(Home {
                network: home.string("network")?,
                endpoint: home.string("endpoint")?,
                trouble: home.string("trouble")?,
            })
        });
        Ok(Self {
            container: root.string("containerId")?,
            interface: root.string("ifName")?,
            network: root.string("networkName")?,
            config: config.map_err(|_| root.error("config", "expected base64"))?,
            namespace: root.string("netns")?,
            args,
            capabilities: root
                .object("capabilityArgs")?
                .map(|object| object.fields().clone())
                .unwrap_or_default(),
            result: root.get("result").cloned(),
            home: home.transpose()?,
        })
    }

    /// As it is written.
    pub fn encode(&self) -> Value {
        let mut object = Map::new();
        object.insert("kind".into(), KIND.into());
        object.insert("containerId".into(), self.container.clone().into());
        object.insert("config".into(), STANDARD.encode(&self.config).into());
        object.insert("ifName".into(), self.interface.clone().into());
        object.insert("networkName".into(), self.network.clone().into());
        if !self.namespace.is_empty() {
            object.insert("netns".into(), self.namespace.clone().into());
        }
        if !self.args.is_empty() {
            let args: Vec<Value> = self.args.iter().map(|(key, value)| json!([key, value])).collect();
            object.insert("cniArgs".into(), args.into());
        }
        if !self.capabilities.is_empty() {
            object.insert("capabilityArgs".into(), Value::Object(self.capabilities.clone()));
        }
        if let Some(result) = &self.result {
            object.insert("result".into(), result.clone());
        }
        if let Some(home) = &self.home {
            let mut mine = json!({"network": home.network, "endpoint": home.endpoint});
            if !home.trouble.is_empty() {
                mine["trouble"] = home.trouble.clone().into();
            }
            object.insert("pintle".into(), mine);
        }
        Value::Object(object)
    }

    /// What it was made with, for a call about it.
    pub fn invocation(&self, command: super::Command, path: Vec<std::path::PathBuf>) -> Invocation {
        Invocation {
            command,
            container: self.container.clone(),
            namespace: (!self.namespace.is_empty()).then(|| self.namespace.clone().into()),
            interface: self.interface.clone(),
            args: self.args.clone(),
            path,
        }
    }
}

impl From<name::InvalidName> for CniError {
    fn from(error: name::InvalidName) -> Self {
        Self::new(code::CONFIG, error.to_string())
    }
}
