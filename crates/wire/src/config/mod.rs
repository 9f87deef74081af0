//! A managed plugin's `config.json`: what it is, what it needs, what its user may change.
//!
//! Decoding is in [`decode`](PluginConfig::parse), user settings in [`settings`], what an operator must grant
//! in [`privileges`](mod@privileges), advice for authors in [`validate`](mod@validate).

mod decode;
mod interface;
mod privileges;
mod settings;
mod validate;

use serde::{Serialize, Serializer};
use serde_json::Value;

pub use interface::{InterfaceType, VOLUME_DRIVER};
pub use privileges::{Privilege, decode_privileges, privileges, privileges_difference, privileges_match};
pub use settings::{SetError, Settings, apply_set, effective_config, merge_settings, overrides};
pub use validate::{Finding, Severity, validate, validate_text};

/// A plugin's configuration. It serialises to the JSON that Docker stores and shows, key for key; what pintle
/// adds is written only where the author wrote it. Absent lists are `null`, as Docker writes them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct PluginConfig {
    /// Arguments that a user may replace.
    pub args: Args,
    /// One line about the plugin.
    pub description: String,
    /// The engine that built it, where an old one did.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub docker_version: String,
    /// Where to read more.
    pub documentation: String,
    /// The argument vector; [`Settings::args`] are appended.
    #[serde(serialize_with = "or_null")]
    pub entrypoint: Vec<String>,
    /// Environment variables.
    #[serde(serialize_with = "or_null")]
    pub env: Vec<Env>,
    /// What it serves, and where.
    pub interface: Interface,
    /// Shares the host's IPC namespace.
    pub ipc_host: bool,
    /// Rights beyond a container's.
    pub linux: Linux,
    /// Host paths that it sees.
    #[serde(serialize_with = "or_null")]
    pub mounts: Vec<Mount>,
    /// Its network.
    pub network: Network,
    /// Shares the host's PID namespace.
    pub pid_host: bool,
    /// Where mounts made inside become visible outside; empty for nowhere.
    pub propagated_mount: String,
    /// Stored, and never applied: a plugin runs as 0:0.
    pub user: User,
    /// The working directory, `/` if empty.
    pub work_dir: String,
    /// Its layers; written by the engine, not by authors.
    #[serde(rename = "rootfs", skip_serializing_if = "Option::is_none")]
    pub rootfs: Option<Rootfs>,
}

/// See [`PluginConfig::interface`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Interface {
    /// Empty or `moby.plugins.http/v1`: the HTTP protocol. Anything else: the engine only dials the socket.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub protocol_scheme: String,
    /// The socket's file name inside the plugin's socket directory.
    pub socket: String,
    /// What it serves.
    #[serde(serialize_with = "or_null")]
    pub types: Vec<InterfaceType>,
}

/// See [`PluginConfig::args`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Args {
    /// For people.
    pub description: String,
    /// What `set` calls them.
    pub name: String,
    /// `value`, or nothing.
    #[serde(serialize_with = "or_null")]
    pub settable: Vec<String>,
    /// The default.
    #[serde(serialize_with = "or_null")]
    pub value: Vec<String>,
}

/// One environment variable.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Env {
    /// For people.
    pub description: String,
    /// The variable.
    pub name: String,
    /// `value`, or nothing.
    #[serde(serialize_with = "or_null")]
    pub settable: Vec<String>,
    /// The default; `None` leaves the variable unset.
    pub value: Option<String>,
}

/// One host path.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Mount {
    /// For people.
    pub description: String,
    /// Where the plugin sees it.
    pub destination: String,
    /// What `set` calls it.
    pub name: String,
    /// As of mount(8).
    #[serde(serialize_with = "or_null")]
    pub options: Vec<String>,
    /// `source`, or nothing.
    #[serde(serialize_with = "or_null")]
    pub settable: Vec<String>,
    /// On the host; `None` must be given before the plugin can be enabled.
    pub source: Option<String>,
    /// `bind`, or a file system.
    #[serde(rename = "Type")]
    pub kind: String,
}

/// One device.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Device {
    /// For people.
    pub description: String,
    /// What `set` calls it.
    pub name: String,
    /// On the host and inside.
    pub path: Option<String>,
    /// `path`, or nothing.
    #[serde(serialize_with = "or_null")]
    pub settable: Vec<String>,
    /// pintle: some of `r`, `w` and `m`; all of them if absent.
    #[serde(rename = "cgroup_permissions", skip_serializing_if = "Option::is_none")]
    pub cgroup_permissions: Option<String>,
}

/// See [`PluginConfig::linux`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Linux {
    /// Every device, in every way.
    pub allow_all_devices: bool,
    /// Added to a container's 14.
    #[serde(serialize_with = "or_null")]
    pub capabilities: Vec<String>,
    /// Devices.
    #[serde(serialize_with = "or_null")]
    pub devices: Vec<Device>,
    /// pintle: which system calls are allowed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seccomp: Option<Seccomp>,
    /// pintle: an AppArmor profile by name, where the kernel has AppArmor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub apparmor_profile: Option<String>,
    /// pintle: no process of the plugin may gain rights by executing a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_new_privileges: Option<bool>,
}

/// See [`Linux::seccomp`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Seccomp {
    /// The profile.
    pub profile: SeccompProfile,
}

/// A set of system calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SeccompProfile {
    /// `"default"`: the containers' own.
    Default,
    /// `"unconfined"`: all.
    Unconfined,
    /// A profile in Docker's JSON, inside `config.json`. A path is not accepted: a package cannot know the
    /// host's files.
    Inline(Value),
}

impl Serialize for SeccompProfile {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Default => serializer.serialize_str("default"),
            Self::Unconfined => serializer.serialize_str("unconfined"),
            Self::Inline(profile) => profile.serialize(serializer),
        }
    }
}

/// See [`PluginConfig::network`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Network {
    /// `host`, or empty for loopback only.
    #[serde(rename = "Type")]
    pub kind: String,
}

/// See [`PluginConfig::user`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct User {
    /// The group.
    #[serde(rename = "GID", skip_serializing_if = "is_zero")]
    pub gid: u32,
    /// The user.
    #[serde(rename = "UID", skip_serializing_if = "is_zero")]
    pub uid: u32,
}

/// See [`PluginConfig::rootfs`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Rootfs {
    /// Digests of the layers **as compressed**, unlike an image's.
    #[serde(serialize_with = "or_null")]
    pub diff_ids: Vec<String>,
    /// `layers`
    #[serde(rename = "type")]
    pub kind: String,
}

impl PluginConfig {
    /// The bytes to store and to push.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// The configuration as JSON, with the empty lists that `written`, its author's own text, has. Docker keeps them
    /// apart from absent ones, and a client that was given a list goes on to walk through it.
    pub fn to_value(&self, written: &[u8]) -> Value {
        let mut shown = serde_json::to_value(self).unwrap_or_default();
        if let Ok(written) = crate::jsonc::decode(written, |value| Ok(value.clone())) {
            keep_empty_lists(&mut shown, &written);
        }
        shown
    }

    /// Whether it serves `capability` (lower case, such as `volumedriver`) in Docker's name space.
    pub fn has_capability(&self, capability: &str) -> bool {
        self.has_type("docker", capability)
    }

    /// Whether it serves `capability` in the name space `prefix`.
    pub fn has_type(&self, prefix: &str, capability: &str) -> bool {
        self.interface.types.iter().any(|kind| kind.prefix == prefix && kind.capability == capability)
    }
}

fn keep_empty_lists(shown: &mut Value, written: &Value) {
    match (shown, written) {
        (shown @ Value::Null, Value::Array(list)) if list.is_empty() => *shown = Value::Array(Vec::new()),
        (Value::Array(shown), Value::Array(written)) => {
            for (shown, written) in shown.iter_mut().zip(written) {
                keep_empty_lists(shown, written);
            }
        }
        (Value::Object(shown), Value::Object(written)) => {
            for (key, value) in shown {
                // The later of two keys counts, as in Go.
                let author = written.iter().rev().find(|(other, _)| other.eq_ignore_ascii_case(key));
                if let Some((_, author)) = author {
                    keep_empty_lists(value, author);
                }
            }
        }
        _ => {}
    }
}

fn or_null<T: Serialize, S: Serializer>(list: &[T], serializer: S) -> Result<S::Ok, S::Error> {
    if list.is_empty() { serializer.serialize_none() } else { list.serialize(serializer) }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}
