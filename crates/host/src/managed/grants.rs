//! Whether what a plugin is set to stays within what the operator granted.
//!
//! A plugin that was pulled was granted the paths of its configuration. A setting may name another path: one at or
//! below a granted one is granted with it, and a source that the configuration leaves empty is granted to whatever it
//! is first filled in with, since that is what it was left empty for. Every other path wants a word of the operator's,
//! which is recorded. A plugin that was made here was never asked about, so there is nothing to go beyond.

use std::{
    collections::BTreeMap,
    path::{Component, Path, PathBuf},
};

use pintle_wire::config::{PluginConfig, Privilege, Settings, merge_settings};

use super::record::{Loaded, Record};
use crate::HostError;

/// The paths that the operator granted beside the configuration's, by the setting that names them, such as
/// `data.source`.
pub(crate) type Grants = BTreeMap<String, Vec<String>>;

/// A setting that names a path of the host.
struct Named<'a> {
    setting: String,
    privilege: &'static str,
    default: Option<&'a str>,
    path: &'a str,
}

/// Those that differ from the configuration's own, which was granted as it is.
fn named<'a>(config: &'a PluginConfig, settings: &'a Settings) -> Vec<Named<'a>> {
    let mut all = Vec::new();
    for mount in &settings.mounts {
        let known = config.mounts.iter().find(|known| known.name == mount.name);
        all.push(Named {
            setting: format!("{}.source", mount.name),
            privilege: "mount",
            default: known.and_then(|known| known.source.as_deref()),
            path: mount.source.as_deref().unwrap_or_default(),
        });
    }
    for device in &settings.devices {
        let known = config.linux.devices.iter().find(|known| known.name == device.name);
        all.push(Named {
            setting: format!("{}.path", device.name),
            privilege: "device",
            default: known.and_then(|known| known.path.as_deref()),
            path: device.path.as_deref().unwrap_or_default(),
        });
    }
    all.retain(|named| !named.path.is_empty() && named.default != Some(named.path));
    all
}

/// What the operator's grants are with these settings; or an error that says which of the settings go beyond them and
/// what to do. With `anew` the operator has said that all of these are granted.
pub(crate) fn settle(record: &Record, loaded: &Loaded, anew: bool) -> Result<Grants, HostError> {
    let mut grants = record.grants.clone();
    if !record.package.prompted {
        return Ok(grants);
    }
    let privileges = &record.package.granted;
    let mut beyond = Vec::new();
    for named in named(&loaded.config, &loaded.settings) {
        let extra = grants.get(&named.setting);
        let blank = named.default == Some("") && extra.is_none();
        if anew || blank {
            let paths = grants.entry(named.setting).or_default();
            if !paths.iter().any(|path| path == named.path) {
                paths.push(named.path.to_owned());
            }
        } else if !is_granted(privileges, extra.map_or(&[], Vec::as_slice), &named) {
            beyond.push(named);
        }
    }
    if beyond.is_empty() { Ok(grants) } else { Err(refusal(&record.name, privileges, &grants, &beyond)) }
}

/// The same as privileges, to be shown.
pub(crate) fn privileges(grants: &Grants) -> Vec<Privilege> {
    let shown = |(setting, paths): (&String, &Vec<String>)| Privilege {
        name: if setting.ends_with(".path") { "device" } else { "mount" }.to_owned(),
        description: format!("granted to {setting}"),
        value: paths.clone(),
    };
    grants.iter().map(shown).collect()
}

/// Refuses a new version of a plugin, before anything of it is fetched, if settings that it would keep go beyond what
/// it was granted.
pub(crate) fn check_upgrade(
    record: &Record,
    loaded: &Loaded,
    config: &PluginConfig,
    granted: Vec<Privilege>,
) -> Result<(), HostError> {
    let mut next = record.clone();
    (next.package.granted, next.package.prompted) = (granted, true);
    let settings = merge_settings(&loaded.config, &loaded.settings, config);
    settle(&next, &Loaded { config: config.clone().into(), settings }, false).map(drop)
}

fn is_granted(privileges: &[Privilege], extra: &[String], named: &Named<'_>) -> bool {
    let of = |name: &'static str| {
        let same = privileges.iter().filter(move |privilege| privilege.name == name);
        same.flat_map(|privilege| &privilege.value)
    };
    if named.privilege == "device" {
        return of("allow-all-devices").any(|value| value == "true")
            || of("device").chain(extra).any(|granted| granted == named.path);
    }
    let wanted = Path::new(named.path);
    of("mount").chain(extra).any(|granted| covers(Path::new(granted), wanted))
}

/// Whether `wanted` is `granted` or below it, links followed.
fn covers(granted: &Path, wanted: &Path) -> bool {
    if granted == wanted {
        return true;
    }
    match (real(granted), real(wanted)) {
        (Some(granted), Some(wanted)) => wanted.starts_with(granted),
        _ => false,
    }
}

/// Where an absolute path leads, as far as there is something; `None` if that cannot be told.
fn real(path: &Path) -> Option<PathBuf> {
    if !path.is_absolute() || path.components().any(|part| part == Component::ParentDir) {
        return None;
    }
    let known = path.ancestors().find(|known| known.symlink_metadata().is_ok())?;
    let rest = path.strip_prefix(known).ok()?;
    Some(known.canonicalize().ok()?.join(rest))
}

fn refusal(plugin: &str, privileges: &[Privilege], grants: &Grants, beyond: &[Named<'_>]) -> HostError {
    let list = |items: Vec<String>, word: &str| items.join(word);
    let wants = beyond.iter().map(|named| format!("{}: [{}]", named.privilege, named.path)).collect();
    let settings = beyond.iter().map(|named| format!("{}={}", named.setting, named.path)).collect::<Vec<_>>();
    let mut granted: Vec<String> = privileges
        .iter()
        .filter(|privilege| matches!(privilege.name.as_str(), "mount" | "device"))
        .map(|privilege| format!("{}: [{}]", privilege.name, privilege.value.join(" ")))
        .collect();
    granted.extend(grants.iter().map(|(setting, paths)| format!("{setting}: [{}]", paths.join(" "))));
    let granted = if granted.is_empty() { "nothing of the kind".to_owned() } else { granted.join(", ") };
    HostError::Forbidden(format!(
        "plugin {plugin} would get {}, which it was not granted (granted: {granted}); to grant it: pintle plugin set \
         --grant {plugin} {}",
        list(wants, ", "),
        list(settings, " "),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_covers_what_is_below_it_wherever_links_lead() {
        let dir = tempfile::tempdir().unwrap();
        let (data, other) = (dir.path().join("data"), dir.path().join("other"));
        std::fs::create_dir_all(data.join("a")).unwrap();
        std::fs::create_dir(&other).unwrap();
        std::os::unix::fs::symlink(&other, data.join("out")).unwrap();
        std::os::unix::fs::symlink("/no/where", data.join("nowhere")).unwrap();
        std::os::unix::fs::symlink(&data, dir.path().join("link")).unwrap();
        let path = |text: &str| dir.path().join(text);
        for inside in ["data", "data/", "data/a", "data/a/not/yet", "link", "link/a", "data/./a"] {
            assert!(covers(&data, &path(inside)), "{inside}");
            assert!(covers(Path::new("/"), &path(inside)), "{inside}");
        }
        for outside in [
            "",
            "other",
            "database",
            "data/out",
            "data/out/x",
            "data/../other",
            "data/a/../../other",
            "data/nowhere/x",
        ] {
            assert!(!covers(&data, &path(outside)), "{outside}");
        }
        assert!(!covers(&data, Path::new("data/a")) && !covers(Path::new(""), &data));
        assert!(covers(Path::new("relative"), Path::new("relative")));
    }
}
