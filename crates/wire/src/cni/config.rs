//! Network configurations as administrators write them, and the requests that are made of them.

use serde_json::{Map, Value, json};

use super::{
    error::{CniError, code},
    name::{self, InvalidName, PluginType},
    version::Version,
};
use crate::object::{DecodeError, Object};

/// A configuration that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Not JSON.
    #[error("invalid JSON: {0}")]
    Json(String),
    /// JSON of another shape.
    #[error(transparent)]
    Shape(#[from] DecodeError),
    /// A name that is refused.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// A version that is none.
    #[error("{}", .0.message)]
    Version(#[from] CniError),
    /// It names no plugin.
    #[error("it has no plugins")]
    NoPlugins,
}

/// A network: plugins that are called one after the other.
#[derive(Debug, Clone, PartialEq)]
pub struct NetworkConfig {
    /// Its name, unique on the host.
    pub name: String,
    /// The versions that it was written for, oldest first, never none.
    pub versions: Vec<Version>,
    /// CHECK must not be called.
    pub disable_check: bool,
    /// GC must not be called.
    pub disable_gc: bool,
    /// Plugins of the folder beside it are not its.
    pub only_inlined: bool,
    /// Its plugins, in order.
    pub plugins: Vec<PluginConfig>,
}

impl NetworkConfig {
    /// Reads a `.conflist`. It may have no plugins yet: they may lie in a folder beside it.
    pub fn parse_list(bytes: &[u8]) -> Result<Self, ConfigError> {
        let value = parse(bytes)?;
        let root = Object::root(&value)?;
        let mut network = Self::head(&root)?;
        if root.get("plugins").is_some() {
            for plugin in root.objects("plugins")? {
                network.plugins.push(PluginConfig::read(&plugin)?);
            }
            if network.plugins.is_empty() {
                return Err(ConfigError::NoPlugins);
            }
        } else if network.only_inlined {
            return Err(root.error("loadOnlyInlinedPlugins", "true, but there are no plugins").into());
        }
        Ok(network)
    }

    /// Reads a `.conf` or `.json` of before lists: one plugin, which names the network.
    pub fn parse_single(bytes: &[u8]) -> Result<Self, ConfigError> {
        let value = parse(bytes)?;
        let root = Object::root(&value)?;
        let plugin = PluginConfig::read(&root)?;
        Ok(Self { plugins: vec![plugin], only_inlined: true, ..Self::head(&root)? })
    }

    fn head(root: &Object<'_>) -> Result<Self, ConfigError> {
        let name = root.string("name")?;
        name::network_name(&name)?;
        let mut versions = Vec::new();
        for text in root.strings("cniVersions")? {
            versions.push(text.parse()?);
        }
        if let Some(text) = root.optional_string("cniVersion")? {
            versions.push(text.parse()?);
        }
        if versions.is_empty() {
            versions.push(Version::V0_1_0);
        }
        versions.sort_unstable();
        versions.dedup();
        Ok(Self {
            name,
            versions,
            disable_check: truth(root, "disableCheck")?,
            disable_gc: truth(root, "disableGC")?,
            only_inlined: truth(root, "loadOnlyInlinedPlugins")?,
            plugins: Vec::new(),
        })
    }

    /// All of it as one list, which [`parse_list`](Self::parse_list) reads.
    pub fn to_list(&self) -> Value {
        let versions: Vec<String> = self.versions.iter().map(Version::to_string).collect();
        let mut list = Map::new();
        list.insert("cniVersion".into(), versions.last().cloned().unwrap_or_default().into());
        if versions.len() > 1 {
            list.insert("cniVersions".into(), versions.into());
        }
        list.insert("name".into(), self.name.clone().into());
        for (key, truth) in [("disableCheck", self.disable_check), ("disableGC", self.disable_gc)] {
            if truth {
                list.insert(key.into(), true.into());
            }
        }
        // What lay beside it is in it now.
        list.insert("loadOnlyInlinedPlugins".into(), true.into());
        let plugins = self.plugins.iter().map(|plugin| Value::Object(plugin.fields.clone())).collect();
        list.insert("plugins".into(), Value::Array(plugins));
        Value::Object(list)
    }

    /// Whether any of its plugins takes the capability.
    pub fn takes(&self, capability: &str) -> bool {
        self.plugins.iter().any(|plugin| plugin.takes(capability))
    }
}

/// One plugin of a network.
#[derive(Debug, Clone, PartialEq)]
pub struct PluginConfig {
    /// Which program.
    pub plugin: PluginType,
    /// Programs that the plugin runs itself: its IPAM plugin, and those to which others delegate.
    pub delegates: Vec<PluginType>,
    fields: Map<String, Value>,
    capabilities: Vec<String>,
}

/// What a request adds to a plugin's configuration.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The network's name.
    pub network: &'a str,
    /// The version that is spoken.
    pub version: Version,
    /// What the runtime has to say, by capability; a plugin is told what it declares.
    pub capabilities: &'a Map<String, Value>,
    /// What was made before.
    pub previous: Option<&'a Value>,
    /// Every attachment that there is, for GC.
    pub valid: Option<&'a [Attachment]>,
}

/// A container's interface in a network.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Attachment {
    /// The container.
    pub container: String,
    /// The interface.
    pub interface: String,
}

impl PluginConfig {
    /// Reads one as it lies in a folder beside its network.
    pub fn parse(bytes: &[u8]) -> Result<Self, ConfigError> {
        Self::read(&Object::root(&parse(bytes)?)?)
    }

    fn read(object: &Object<'_>) -> Result<Self, ConfigError> {
        let plugin = PluginType::new(&object.string("type")?)?;
        // A plugin runs these itself, and old ones do not look at the name.
        let mut delegates = Vec::new();
        for inner in ["ipam", "delegate"] {
            if let Some(Value::Object(_)) = object.get(inner) {
                delegates.extend(object.object(inner)?.as_ref().map(delegated).transpose()?.flatten());
            }
        }
        if let Some(Value::Array(_)) = object.get("delegates") {
            for inner in object.objects("delegates")? {
                delegates.extend(delegated(&inner)?);
            }
        }
        let mut capabilities = Vec::new();
        if let Some(declared) = object.object("capabilities")? {
            for (name, _) in declared.keys() {
                if declared.bool(name)? {
                    capabilities.push(name.to_owned());
                }
            }
        }
        Ok(Self { plugin, delegates, fields: object.fields().clone(), capabilities })
    }

    /// Whether it takes the capability.
    pub fn takes(&self, capability: &str) -> bool {
        self.capabilities.iter().any(|declared| declared == capability)
    }

    /// What the plugin reads: its configuration as it was written, but for the keys that belong to the protocol.
    pub fn request(&self, request: &Request<'_>) -> Value {
        let mut object = Map::new();
        object.insert("cniVersion".into(), request.version.to_string().into());
        object.insert("name".into(), request.network.into());
        for (key, value) in &self.fields {
            let protocols = matches!(
                key.as_str(),
                "cniVersion" | "cniVersions" | "name" | "capabilities" | "runtimeConfig" | "prevResult"
            );
            if !protocols && !key.starts_with("cni.dev/") {
                object.insert(key.clone(), value.clone());
            }
        }
        let wanted: Map<String, Value> = request
            .capabilities
            .iter()
            .filter(|(name, _)| self.takes(name))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        if !wanted.is_empty() {
            object.insert("runtimeConfig".into(), Value::Object(wanted));
        }
        if let Some(previous) = request.previous {
            object.insert("prevResult".into(), previous.clone());
        }
        if let Some(valid) = request.valid {
            let valid: Vec<Value> = valid
                .iter()
                .map(|one| json!({"containerID": one.container, "ifname": one.interface}))
                .collect();
            // The second name is that of an early draft, which the specification's library still sends.
            object.insert("cni.dev/valid-attachments".into(), valid.clone().into());
            object.insert("cni.dev/attachments".into(), valid.into());
        }
        Value::Object(object)
    }
}

fn delegated(object: &Object<'_>) -> Result<Option<PluginType>, ConfigError> {
    match object.get("type") {
        Some(Value::String(name)) if !name.is_empty() => Ok(Some(PluginType::new(name)?)),
        _ => Ok(None),
    }
}

fn parse(bytes: &[u8]) -> Result<Value, ConfigError> {
    serde_json::from_slice(bytes).map_err(|error| ConfigError::Json(error.to_string()))
}

/// The specification's library takes the words too.
fn truth(object: &Object<'_>, name: &str) -> Result<bool, DecodeError> {
    match object.get(name) {
        Some(Value::String(text)) => {
            text.to_ascii_lowercase().parse().map_err(|_| object.error(name, "expected true or false"))
        }
        _ => object.bool(name),
    }
}

impl From<ConfigError> for CniError {
    fn from(error: ConfigError) -> Self {
        let code = match error {
            ConfigError::Json(_) | ConfigError::Shape(_) => code::DECODE,
            _ => code::CONFIG,
        };
        Self::new(code, error.to_string())
    }
}

#[cfg(test)]
mod tests;
