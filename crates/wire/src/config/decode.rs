use serde::{Deserialize, Deserializer, de};
use serde_json::Value;

use super::{
    Args, Device, Env, Interface, InterfaceType, Linux, Mount, Network, PluginConfig, Rootfs, Seccomp,
    SeccompProfile, Settings, User,
};
use crate::{
    jsonc,
    object::{DecodeError, Object},
};

impl PluginConfig {
    /// Reads `config.json` as its author wrote it: keys in any case, comments and trailing commas allowed.
    /// A mistake is reported with its line and column. Unknown keys are ignored; [`super::validate_text`]
    /// reports them.
    pub fn parse(text: &[u8]) -> Result<Self, jsonc::Error> {
        jsonc::decode(text, Self::from_value)
    }

    /// Reads a configuration that is JSON already.
    pub fn from_value(value: &Value) -> Result<Self, DecodeError> {
        let root = Object::root(value)?;
        Ok(Self {
            args: part(&root, "Args", args)?,
            description: root.string("Description")?,
            docker_version: root.string("DockerVersion")?,
            documentation: root.string("Documentation")?,
            entrypoint: root.strings("Entrypoint")?,
            env: root.objects("Env")?.iter().map(env).collect::<Result<_, _>>()?,
            interface: part(&root, "Interface", interface)?,
            ipc_host: root.bool("IpcHost")?,
            linux: part(&root, "Linux", linux)?,
            mounts: root.objects("Mounts")?.iter().map(mount).collect::<Result<_, _>>()?,
            network: part(&root, "Network", |object| Ok(Network { kind: object.string("Type")? }))?,
            pid_host: root.bool("PidHost")?,
            propagated_mount: root.string("PropagatedMount")?,
            user: part(&root, "User", |object| {
                Ok(User { gid: object.u32("GID")?, uid: object.u32("UID")? })
            })?,
            work_dir: root.string("WorkDir")?,
            rootfs: match root.object("rootfs")? {
                Some(object) => {
                    Some(Rootfs { diff_ids: object.strings("diff_ids")?, kind: object.string("type")? })
                }
                None => None,
            },
        })
    }
}

impl<'de> Deserialize<'de> for PluginConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_value(&Value::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Settings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let read = |value: &Value| -> Result<Self, DecodeError> {
            let root = Object::root(value)?;
            Ok(Self {
                args: root.strings("Args")?,
                devices: root.objects("Devices")?.iter().map(device).collect::<Result<_, _>>()?,
                env: root.strings("Env")?,
                mounts: root.objects("Mounts")?.iter().map(mount).collect::<Result<_, _>>()?,
            })
        };
        read(&Value::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

fn part<T: Default>(
    root: &Object<'_>,
    name: &str,
    read: impl FnOnce(&Object<'_>) -> Result<T, DecodeError>,
) -> Result<T, DecodeError> {
    root.object(name)?.map(|object| read(&object)).transpose().map(Option::unwrap_or_default)
}

fn args(object: &Object<'_>) -> Result<Args, DecodeError> {
    Ok(Args {
        description: object.string("Description")?,
        name: object.string("Name")?,
        settable: object.strings("Settable")?,
        value: object.strings("Value")?,
    })
}

fn env(object: &Object<'_>) -> Result<Env, DecodeError> {
    Ok(Env {
        description: object.string("Description")?,
        name: object.string("Name")?,
        settable: object.strings("Settable")?,
        value: object.optional_string("Value")?,
    })
}

fn mount(object: &Object<'_>) -> Result<Mount, DecodeError> {
    Ok(Mount {
        description: object.string("Description")?,
        destination: object.string("Destination")?,
        name: object.string("Name")?,
        options: object.strings("Options")?,
        settable: object.strings("Settable")?,
        source: object.optional_string("Source")?,
        kind: object.string("Type")?,
    })
}

fn device(object: &Object<'_>) -> Result<Device, DecodeError> {
    let cgroup_permissions = match object.optional_string("cgroup_permissions")? {
        Some(text) => Some(text),
        None => object.optional_string("CgroupPermissions")?,
    };
    if let Some(text) = &cgroup_permissions
        && !text.chars().all(|letter| "rwm".contains(letter))
    {
        return Err(object.error("cgroup_permissions", format!("{text:?} has other letters than r, w and m")));
    }
    Ok(Device {
        description: object.string("Description")?,
        name: object.string("Name")?,
        path: object.optional_string("Path")?,
        settable: object.strings("Settable")?,
        cgroup_permissions,
    })
}

fn interface(object: &Object<'_>) -> Result<Interface, DecodeError> {
    Ok(Interface {
        protocol_scheme: object.string("ProtocolScheme")?,
        socket: object.string("Socket")?,
        types: object.strings("Types")?.iter().map(|text| InterfaceType::parse(text)).collect(),
    })
}

fn linux(object: &Object<'_>) -> Result<Linux, DecodeError> {
    Ok(Linux {
        allow_all_devices: object.bool("AllowAllDevices")?,
        capabilities: object.strings("Capabilities")?,
        devices: object.objects("Devices")?.iter().map(device).collect::<Result<_, _>>()?,
        seccomp: object.object("Seccomp")?.map(|object| seccomp(&object)).transpose()?.flatten(),
        apparmor_profile: object.optional_string("ApparmorProfile")?.filter(|name| !name.is_empty()),
        no_new_privileges: object.optional_bool("NoNewPrivileges")?,
    })
}

fn seccomp(object: &Object<'_>) -> Result<Option<Seccomp>, DecodeError> {
    let profile = match object.get("Profile") {
        None => return Ok(None),
        Some(Value::String(name)) => match name.as_str() {
            "" => return Ok(None),
            "default" | "builtin" => SeccompProfile::Default,
            "unconfined" => SeccompProfile::Unconfined,
            _ => {
                let text = format!("{name:?} is neither \"default\", \"unconfined\" nor a profile object");
                return Err(object.error("Profile", text));
            }
        },
        Some(profile @ Value::Object(_)) => SeccompProfile::Inline(profile.clone()),
        Some(_) => return Err(object.error("Profile", "expected a name or a profile object")),
    };
    Ok(Some(Seccomp { profile }))
}
