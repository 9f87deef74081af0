use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::Value;

use super::PluginConfig;
use crate::{
    jsonc,
    object::{DecodeError, Object},
};

/// Something that an operator must grant before a plugin is installed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Privilege {
    /// What it is; names repeat.
    pub name: String,
    /// For people; not compared.
    pub description: String,
    /// What exactly.
    pub value: Vec<String>,
}

impl Privilege {
    fn new(name: &str, description: &str, value: &[String]) -> Self {
        Self { name: name.to_owned(), description: description.to_owned(), value: value.to_vec() }
    }

    fn from_object(object: &Object<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            name: object.string("Name")?,
            description: object.string("Description")?,
            value: object.strings("Value")?,
        })
    }
}

impl<'de> Deserialize<'de> for Privilege {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        Object::root(&value).and_then(|object| Self::from_object(&object)).map_err(de::Error::custom)
    }
}

/// Reads the list that a client grants. Nothing and `null` are an empty list.
pub fn decode_privileges(body: &[u8]) -> Result<Vec<Privilege>, jsonc::Error> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(Vec::new());
    }
    jsonc::decode(body, |value| match value {
        Value::Null => Ok(Vec::new()),
        value => Vec::<Privilege>::deserialize(value)
            .map_err(|error| DecodeError { path: Vec::new(), message: error.to_string() }),
    })
}

/// What `config` asks for, in Docker's order and words.
pub fn privileges(config: &PluginConfig) -> Vec<Privilege> {
    let yes = ["true".to_owned()];
    let mut list = Vec::new();
    let network = &config.network.kind;
    if !matches!(network.as_str(), "" | "null" | "bridge") {
        list.push(Privilege::new(
            "network",
            "permissions to access a network",
            std::slice::from_ref(network),
        ));
    }
    if config.ipc_host {
        list.push(Privilege::new("host ipc namespace", "allow access to host ipc namespace", &yes));
    }
    if config.pid_host {
        list.push(Privilege::new("host pid namespace", "allow access to host pid namespace", &yes));
    }
    for source in config.mounts.iter().filter_map(|mount| mount.source.as_ref()) {
        list.push(Privilege::new("mount", "host path to mount", std::slice::from_ref(source)));
    }
    for path in config.linux.devices.iter().filter_map(|device| device.path.as_ref()) {
        list.push(Privilege::new("device", "host device to access", std::slice::from_ref(path)));
    }
    if config.linux.allow_all_devices {
        list.push(Privilege::new("allow-all-devices", "allow 'rwm' access to all devices", &yes));
    }
    if !config.linux.capabilities.is_empty() {
        let text = "list of additional capabilities required";
        list.push(Privilege::new("capabilities", text, &config.linux.capabilities));
    }
    list
}

/// Whether `granted` is exactly `required`: the same names with the same values, each as often, in any order.
/// One too many refuses as one too few does.
pub fn privileges_match(required: &[Privilege], granted: &[Privilege]) -> bool {
    counts(required, granted).values().all(|&count| count == 0)
}

/// What is missing from `granted` and what is too much in it, for people; `None` if they match.
pub fn privileges_difference(required: &[Privilege], granted: &[Privilege]) -> Option<String> {
    let counts = counts(required, granted);
    let list = |sign: i64| -> Vec<String> {
        let differing = counts.iter().filter(|(_, count)| count.signum() == sign);
        differing.map(|((name, value), _)| format!("{name}: [{}]", value.join(" "))).collect()
    };
    let (missing, surplus) = (list(1), list(-1));
    let mut parts = Vec::new();
    if !missing.is_empty() {
        parts.push(format!("not granted: {}", missing.join(", ")));
    }
    if !surplus.is_empty() {
        parts.push(format!("granted but not asked for: {}", surplus.join(", ")));
    }
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// How much oftener each privilege is required than granted.
fn counts<'a>(required: &'a [Privilege], granted: &'a [Privilege]) -> BTreeMap<(&'a str, Vec<&'a str>), i64> {
    let mut counts = BTreeMap::new();
    for (list, weight) in [(required, 1), (granted, -1)] {
        for privilege in list {
            let mut value: Vec<_> = privilege.value.iter().map(String::as_str).collect();
            value.sort_unstable();
            *counts.entry((privilege.name.as_str(), value)).or_insert(0) += weight;
        }
    }
    counts
}
