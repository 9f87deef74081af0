//! Fields that some versions of the API have and others do not. The shapes in `pintle_api` are those of the newest
//! version; what older clients index is added here, and what newer ones no longer see is taken away.

use pintle_api::{
    ApiVersion,
    host_config::HostConfig,
    image::{Inspect, Summary},
    system::{DiskUsage, Info},
    time,
};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::status::Failure;

fn since(version: ApiVersion, minor: u16) -> bool {
    version >= ApiVersion::minor(minor)
}

fn object(value: &impl Serialize) -> Result<Map<String, Value>, Failure> {
    match serde_json::to_value(value).map_err(|error| Failure::internal(error.to_string()))? {
        Value::Object(object) => Ok(object),
        other => Err(Failure::internal(format!("an answer is no object but {other}"))),
    }
}

/// Adds what is not there yet, at any depth.
fn add(to: &mut Map<String, Value>, more: Value) {
    let Value::Object(more) = more else { return };
    for (key, value) in more {
        match (to.get_mut(&key), value) {
            (None, value) => drop(to.insert(key, value)),
            (Some(Value::Object(inner)), value @ Value::Object(_)) => add(inner, value),
            (Some(_), _) => {}
        }
    }
}

/// `GET /info`.
pub(crate) fn info(info: &Info, version: ApiVersion) -> Result<Value, Failure> {
    let mut all = object(info)?;
    if !since(version, 42) {
        add(&mut all, json!({ "KernelMemory": false, "KernelMemoryTCP": false }));
    }
    if !since(version, 47) {
        let none = json!({
            "AllowNondistributableArtifactsCIDRs": [], "AllowNondistributableArtifactsHostnames": [],
        });
        add(&mut all, json!({ "RegistryConfig": none }));
    }
    if !since(version, 49) {
        all.remove("FirewallBackend");
        for part in ["ContainerdCommit", "RuncCommit", "InitCommit"] {
            let expected = all.get(part).map_or(Value::Null, |commit| commit["ID"].clone());
            let part = [(part.to_owned(), json!({ "Expected": expected }))];
            add(&mut all, Value::Object(part.into_iter().collect()));
        }
    }
    if !since(version, 50) {
        add(&mut all, json!({ "BridgeNfIptables": false, "BridgeNfIp6tables": false }));
    }
    Ok(Value::Object(all))
}

/// `GET /system/df`.
pub(crate) fn disk_usage(usage: &DiskUsage, version: ApiVersion) -> Result<Value, Failure> {
    let mut all = object(usage)?;
    if !since(version, 42) {
        add(&mut all, json!({ "BuilderSize": 0 }));
    }
    Ok(Value::Object(all))
}

/// What an image of no name is called in lists.
pub(crate) fn unnamed(image: &mut Summary) {
    let none = |names: &Option<Vec<String>>| names.as_ref().is_none_or(Vec::is_empty);
    if none(&image.repo_tags) && none(&image.repo_digests) {
        image.repo_tags = Some(vec!["<none>:<none>".to_owned()]);
        image.repo_digests = Some(vec!["<none>@<none>".to_owned()]);
    }
}

/// `GET /images/{name}/json`.
pub(crate) fn image(mut image: Inspect, version: ApiVersion) -> Result<Value, Failure> {
    if !since(version, 44) && image.created.is_none() {
        image.created = Some(time::NEVER.to_owned());
    }
    let mut all = object(&image)?;
    if !since(version, 45) {
        let config = json!(pintle_api::container::Config::default());
        add(&mut all, json!({ "Container": "", "ContainerConfig": config }));
    }
    if since(version, 50)
        && let Some(Value::Object(config)) = all.get_mut("Config")
    {
        for key in [
            "AttachStderr",
            "AttachStdin",
            "AttachStdout",
            "Domainname",
            "Hostname",
            "Image",
            "OpenStdin",
            "StdinOnce",
            "Tty",
        ] {
            config.remove(key);
        }
    }
    Ok(Value::Object(all))
}

/// What older clients mean by the mounts that they ask for.
pub(crate) fn mounts(host: &mut HostConfig, version: ApiVersion) -> Result<(), Failure> {
    if !since(version, 42) {
        host.console_size = [0, 0];
    }
    for mount in host.mounts.iter_mut().flatten() {
        if !since(version, 42) {
            // These were not looked at where they mean nothing.
            if mount.kind != "volume" {
                mount.volume_options = None;
            }
            if mount.kind != "tmpfs" {
                mount.tmpfs_options = None;
            }
        }
        if let Some(bind) = &mut mount.bind_options {
            bind.non_recursive &= since(version, 40);
            bind.create_mountpoint &= since(version, 42);
            // Leaving this out would leave writable what the client thinks is not.
            if bind.read_only_force_recursive && !since(version, 44) {
                return Err(Failure::invalid("BindOptions.ReadOnlyForceRecursive needs API v1.44 or newer"));
            }
        }
        if !since(version, 45)
            && mount.volume_options.as_ref().is_some_and(|volume| !volume.subpath.is_empty())
        {
            return Err(Failure::invalid("VolumeOptions.Subpath needs API v1.45 or newer"));
        }
        if !since(version, 48) && mount.kind == "image" {
            return Err(Failure::invalid("Mount type \"Image\" needs API v1.48 or newer"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_not_overwritten() {
        let mut all = object(&json!({ "a": { "b": 1 }, "c": null })).unwrap();
        add(&mut all, json!({ "a": { "b": 2, "d": 3 }, "c": 4, "e": 5 }));
        assert_eq!(Value::Object(all), json!({ "a": { "b": 1, "d": 3 }, "c": null, "e": 5 }));
    }
}
