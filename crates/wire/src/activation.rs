//! What a plugin says it is when an engine first calls it.

use serde_json::{Value, json};

use crate::{
    config::PluginConfig,
    object::{DecodeError, Object, message},
};

/// The path of the first call to a legacy plugin. Managed plugins never receive it.
pub const ACTIVATE_PATH: &str = "/Plugin.Activate";

/// A plugin interface by its name on the wire (case matters).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Interface {
    /// `VolumeDriver`
    Volume,
    /// `NetworkDriver`
    Network,
    /// `IpamDriver`
    Ipam,
    /// `authz`
    Authorization,
    /// `pintle.authz`: beside `authz`, a plugin that wants more than Docker's fields.
    ExtendedAuthorization,
    /// `LogDriver`
    Log,
    /// `MetricsCollector`
    Metrics,
    /// Any other name.
    Other(String),
}

impl Interface {
    /// The name that [`Activation`] carries.
    pub fn name(&self) -> &str {
        match self {
            Self::Volume => "VolumeDriver",
            Self::Network => "NetworkDriver",
            Self::Ipam => "IpamDriver",
            Self::Authorization => "authz",
            Self::ExtendedAuthorization => "pintle.authz",
            Self::Log => "LogDriver",
            Self::Metrics => "MetricsCollector",
            Self::Other(name) => name,
        }
    }

    /// The interface of that name.
    pub fn from_name(name: &str) -> Self {
        match name {
            "VolumeDriver" => Self::Volume,
            "NetworkDriver" => Self::Network,
            "IpamDriver" => Self::Ipam,
            "authz" => Self::Authorization,
            "pintle.authz" => Self::ExtendedAuthorization,
            "LogDriver" => Self::Log,
            "MetricsCollector" => Self::Metrics,
            other => Self::Other(other.to_owned()),
        }
    }

    /// The capability that a managed plugin's `Interface.Types` names for it, lower case, in Docker's name space.
    pub fn capability(&self) -> String {
        self.name().to_ascii_lowercase()
    }

    /// Whether a managed plugin's `Interface.Types` name it.
    pub fn is_among(&self, types: &PluginConfig) -> bool {
        match self.name().split_once('.') {
            Some((prefix, capability)) => types.has_type(prefix, capability),
            None => types.has_capability(&self.capability()),
        }
    }
}

/// The answer to `/Plugin.Activate`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Activation {
    /// Every interface that the plugin serves.
    pub implements: Vec<Interface>,
}

impl Activation {
    /// The answer's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let names: Vec<Value> = self.implements.iter().map(|interface| interface.name().into()).collect();
        let mut bytes = json!({ "Implements": names }).to_string().into_bytes();
        bytes.push(b'\n');
        bytes
    }

    /// Reads an answer.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let value = message(bytes)?;
        let names = Object::root(&value)?.strings("Implements")?;
        Ok(Self { implements: names.iter().map(|name| Interface::from_name(name)).collect() })
    }
}
