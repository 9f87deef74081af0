//! What a user may change about an installed plugin.

use serde::Serialize;

use super::{Device, Mount, PluginConfig};

/// The values in force. The configuration stays as it was installed; this is what the plugin runs with.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Settings {
    /// Appended to the entrypoint.
    pub args: Vec<String>,
    /// Devices, with the paths in force.
    pub devices: Vec<Device>,
    /// `NAME=value` for each variable that has a value.
    pub env: Vec<String>,
    /// Mounts, with the sources in force.
    pub mounts: Vec<Mount>,
}

impl Settings {
    /// The defaults of a configuration.
    pub fn initial(config: &PluginConfig) -> Self {
        let env = config.env.iter().filter_map(|env| Some(format!("{}={}", env.name, env.value.as_ref()?)));
        Self {
            args: config.args.value.clone(),
            devices: config.linux.devices.clone(),
            env: env.collect(),
            mounts: config.mounts.clone(),
        }
    }

    /// The value in force of an environment variable.
    pub fn env_value(&self, name: &str) -> Option<&str> {
        self.env.iter().find_map(|entry| entry.strip_prefix(name)?.strip_prefix('='))
    }
}

/// Why a `set` was refused. The texts begin as Docker's do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SetError {
    /// Not `name[.field][=value]`.
    #[error("invalid format, must be <name>[.<field>][=<value>]")]
    Format,
    /// The configuration has no such name.
    #[error("setting {name:?} not found in the plugin configuration{}", list_settable(settable))]
    NotFound {
        /// What was asked for.
        name: String,
        /// What could have been.
        settable: Vec<String>,
    },
    /// The configuration does not let it be set.
    #[error("{0:?} is not settable")]
    NotSettable(String),
    /// Which field, is open.
    #[error("multiple fields are settable, one must be specified")]
    Ambiguous,
    /// The mount's source is null.
    #[error("plugin config has no mount source")]
    NoMountSource,
    /// The device's path is null.
    #[error("plugin config has no device path")]
    NoDevicePath,
}

fn list_settable(settable: &[String]) -> String {
    if settable.is_empty() {
        "; it has no settings that can be changed".to_owned()
    } else {
        format!("; can be set: {}", settable.join(", "))
    }
}

/// Applies `name[.field][=value]` items, as `docker plugin set` takes them: all of them or, on an error, none.
///
/// The field may be left out where only one can be set. Arguments are split at single spaces, so two spaces
/// make an empty argument. No `=` sets the empty value, as in Docker.
pub fn apply_set(config: &PluginConfig, settings: &mut Settings, items: &[String]) -> Result<(), SetError> {
    let mut next = settings.clone();
    for item in items {
        apply_one(config, &mut next, item)?;
    }
    *settings = next;
    Ok(())
}

fn apply_one(config: &PluginConfig, settings: &mut Settings, item: &str) -> Result<(), SetError> {
    let (key, value) = item.split_once('=').unwrap_or((item, ""));
    if key.is_empty() {
        return Err(SetError::Format);
    }
    let (name, field) = match key.rsplit_once('.') {
        // A name may have a dot itself; Docker then needs the field to be written out, this does not.
        Some((name, field)) if !name.is_empty() && !is_name(config, key) => (name, field),
        _ => (key, ""),
    };
    // Docker looks in this order, and the first of a name counts.
    if let Some(env) = config.env.iter().find(|env| env.name == name) {
        check_field(name, field, "value", &env.settable)?;
        let entry = format!("{name}={value}");
        let old = settings
            .env
            .iter_mut()
            .find(|old| old.strip_prefix(name).is_some_and(|rest| rest.starts_with('=')));
        match old {
            Some(old) => *old = entry,
            None => settings.env.push(entry),
        }
        return Ok(());
    }
    if let Some(mount) = config.mounts.iter().find(|mount| mount.name == name) {
        check_field(name, field, "source", &mount.settable)?;
        let set = settings.mounts.iter_mut().find(|set| set.name == name);
        let source = set.and_then(|set| set.source.as_mut()).ok_or(SetError::NoMountSource)?;
        value.clone_into(source);
        return Ok(());
    }
    if let Some(device) = config.linux.devices.iter().find(|device| device.name == name) {
        check_field(name, field, "path", &device.settable)?;
        let set = settings.devices.iter_mut().find(|set| set.name == name);
        let path = set.and_then(|set| set.path.as_mut()).ok_or(SetError::NoDevicePath)?;
        value.clone_into(path);
        return Ok(());
    }
    if config.args.name == name {
        check_field(name, field, "value", &config.args.settable)?;
        settings.args = value.split(' ').map(str::to_owned).collect();
        return Ok(());
    }
    Err(SetError::NotFound { name: name.to_owned(), settable: settable_keys(config) })
}

fn is_name(config: &PluginConfig, key: &str) -> bool {
    config.env.iter().any(|env| env.name == key)
        || config.mounts.iter().any(|mount| mount.name == key)
        || config.linux.devices.iter().any(|device| device.name == key)
        || config.args.name == key
}

/// Whether `field`, or the only one where none is named, is the one that can be set.
fn check_field(name: &str, field: &str, wanted: &str, settable: &[String]) -> Result<(), SetError> {
    let chosen = match (field, settable) {
        ("", [only]) => only.as_str(),
        ("", [_, _, ..]) => return Err(SetError::Ambiguous),
        (field, _) => field,
    };
    if chosen == wanted && settable.iter().any(|allowed| allowed == wanted) {
        return Ok(());
    }
    let shown = if chosen.is_empty() { name.to_owned() } else { format!("{name}.{chosen}") };
    Err(SetError::NotSettable(shown))
}

fn settable_keys(config: &PluginConfig) -> Vec<String> {
    let can = |settable: &[String], field: &str| settable.iter().any(|allowed| allowed == field);
    let env = config.env.iter().filter(|env| can(&env.settable, "value")).map(|env| &env.name);
    let mounts = config.mounts.iter().filter(|mount| can(&mount.settable, "source")).map(|mount| &mount.name);
    let devices = config.linux.devices.iter().filter(|device| can(&device.settable, "path"));
    let args = can(&config.args.settable, "value").then_some(&config.args.name);
    env.chain(mounts).chain(devices.map(|device| &device.name)).chain(args).cloned().collect()
}

/// What the user changed, as items for [`apply_set`].
pub fn overrides(config: &PluginConfig, settings: &Settings) -> Vec<String> {
    let mut items = Vec::new();
    for env in &config.env {
        if let Some(value) = settings.env_value(&env.name)
            && env.value.as_deref() != Some(value)
        {
            items.push(format!("{}.value={value}", env.name));
        }
    }
    for mount in &config.mounts {
        let set = settings.mounts.iter().find(|set| set.name == mount.name);
        if let Some(source) = set.and_then(|set| set.source.as_ref())
            && mount.source.as_ref() != Some(source)
        {
            items.push(format!("{}.source={source}", mount.name));
        }
    }
    for device in &config.linux.devices {
        let set = settings.devices.iter().find(|set| set.name == device.name);
        if let Some(path) = set.and_then(|set| set.path.as_ref())
            && device.path.as_ref() != Some(path)
        {
            items.push(format!("{}.path={path}", device.name));
        }
    }
    if settings.args != config.args.value {
        items.push(format!("{}.value={}", config.args.name, settings.args.join(" ")));
    }
    items
}

/// The settings after an upgrade: what the user changed stays changed where the new version lets it be set,
/// everything else takes the new version's defaults.
pub fn merge_settings(old: &PluginConfig, settings: &Settings, new: &PluginConfig) -> Settings {
    let mut merged = Settings::initial(new);
    for item in overrides(old, settings) {
        // An override whose setting is gone or fixed in the new version has nowhere to go.
        let _ = apply_one(new, &mut merged, &item);
    }
    merged
}

/// The configuration as it is in force, which is what Docker shows: mount sources and device paths replaced.
pub fn effective_config(config: &PluginConfig, settings: &Settings) -> PluginConfig {
    let mut shown = config.clone();
    shown.mounts.clone_from(&settings.mounts);
    shown.linux.devices.clone_from(&settings.devices);
    shown
}
