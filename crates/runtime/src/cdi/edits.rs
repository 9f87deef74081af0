//! What a file says a container needs, and putting it into a spec.

use std::collections::BTreeSet;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::PathBuf;

use libcontainer::oci_spec::runtime::{
    Hook, LinuxDevice, LinuxDeviceCgroup, LinuxDeviceType, LinuxIntelRdt, Spec,
};
use serde::Deserialize;

/// `containerEdits`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Edits {
    env: Option<Vec<String>>,
    device_nodes: Option<Vec<Node>>,
    hooks: Option<Vec<HookEntry>>,
    mounts: Option<Vec<Mount>>,
    intel_rdt: Option<LinuxIntelRdt>,
    additional_gids: Option<Vec<u32>>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Node {
    path: PathBuf,
    host_path: Option<PathBuf>,
    #[serde(rename = "type")]
    kind: Option<String>,
    major: Option<i64>,
    minor: Option<i64>,
    file_mode: Option<u32>,
    permissions: Option<String>,
    uid: Option<u32>,
    gid: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct HookEntry {
    hook_name: String,
    path: PathBuf,
    args: Option<Vec<String>>,
    env: Option<Vec<String>>,
    timeout: Option<i64>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Mount {
    host_path: PathBuf,
    container_path: PathBuf,
    options: Option<Vec<String>>,
    #[serde(rename = "type")]
    kind: Option<String>,
}

impl Edits {
    /// Puts them into a spec.
    ///
    /// # Errors
    /// Says what of the host is not there.
    pub(super) fn apply(&self, spec: &mut Spec) -> Result<(), String> {
        self.process(spec);
        for node in self.device_nodes.iter().flatten() {
            node.apply(spec)?;
        }
        let mut mounts = spec.mounts().clone().unwrap_or_default();
        for mount in self.mounts.iter().flatten() {
            let options = mount.options.clone().unwrap_or_default();
            let options: Vec<&str> = options.iter().map(String::as_str).collect();
            let kind = mount.kind.as_deref().filter(|kind| !kind.is_empty()).unwrap_or("bind");
            let options = match (kind, options.iter().any(|word| *word == "bind" || *word == "rbind")) {
                ("bind", false) => [&["bind"], options.as_slice()].concat(),
                _ => options,
            };
            let (from, to) = (mount.host_path.to_string_lossy(), mount.container_path.to_string_lossy());
            mounts.retain(|other| *other.destination() != mount.container_path);
            mounts.push(crate::spec::mount(&to, kind, &from, &options));
        }
        // A mount below another comes after it.
        mounts.sort_by_key(|mount| mount.destination().components().count());
        spec.set_mounts(Some(mounts));
        self.hooks(spec)?;
        if let (Some(rdt), Some(linux)) = (&self.intel_rdt, spec.linux_mut()) {
            linux.set_intel_rdt(Some(rdt.clone()));
        }
        Ok(())
    }

    fn process(&self, spec: &mut Spec) {
        let Some(process) = spec.process_mut() else { return };
        let mut env = process.env().clone().unwrap_or_default();
        for entry in self.env.iter().flatten() {
            let name = entry.split('=').next().unwrap_or_default();
            env.retain(|other| other.split('=').next() != Some(name));
            env.push(entry.clone());
        }
        process.set_env(Some(env));
        if let Some(wanted) = self.additional_gids.as_ref().filter(|gids| !gids.is_empty()) {
            let mut user = process.user().clone();
            let mut gids: BTreeSet<u32> = user.additional_gids().iter().flatten().copied().collect();
            // Zero is nobody's device group, and would be root's.
            gids.extend(wanted.iter().filter(|gid| **gid != 0));
            user.set_additional_gids(Some(gids.into_iter().collect()));
            process.set_user(user);
        }
    }

    fn hooks(&self, spec: &mut Spec) -> Result<(), String> {
        let mut hooks = spec.hooks().clone().unwrap_or_default();
        for entry in self.hooks.iter().flatten() {
            let mut hook = Hook::default();
            hook.set_path(entry.path.clone())
                .set_args(entry.args.clone())
                .set_env(entry.env.clone())
                .set_timeout(entry.timeout.filter(|seconds| *seconds > 0));
            let and = |list: &Option<Vec<Hook>>| {
                Some([list.as_deref().unwrap_or_default(), &[hook.clone()]].concat())
            };
            match entry.hook_name.as_str() {
                "createRuntime" => hooks.set_create_runtime(and(hooks.create_runtime())),
                "createContainer" => hooks.set_create_container(and(hooks.create_container())),
                "startContainer" => hooks.set_start_container(and(hooks.start_container())),
                "poststart" => hooks.set_poststart(and(hooks.poststart())),
                "poststop" => hooks.set_poststop(and(hooks.poststop())),
                // On its way out of the specification: the first of its successors runs at the same time.
                "prestart" => hooks.set_create_runtime(and(hooks.create_runtime())),
                other => return Err(format!("unknown hook {other:?}")),
            };
        }
        if self.hooks.as_ref().is_some_and(|hooks| !hooks.is_empty()) {
            spec.set_hooks(Some(hooks));
        }
        Ok(())
    }
}

impl Node {
    fn apply(&self, spec: &mut Spec) -> Result<(), String> {
        let host = self.host_path.as_ref().unwrap_or(&self.path);
        let (mut kind, mut major, mut minor, mut mode) = (None, self.major, self.minor, self.file_mode);
        if let Some(word) = &self.kind {
            kind = Some(match word.as_str() {
                "b" => LinuxDeviceType::B,
                "c" | "u" => LinuxDeviceType::C,
                "p" => LinuxDeviceType::P,
                other => {
                    return Err(format!("unknown type {other:?} of device node {}", self.path.display()));
                }
            });
        }
        if kind.is_none() || (major.is_none() && kind != Some(LinuxDeviceType::P)) {
            let meta = std::fs::metadata(host).map_err(|error| {
                format!("device node {}: {}", host.display(), crate::shim::reason(&error))
            })?;
            let found = match meta.file_type() {
                found if found.is_block_device() => LinuxDeviceType::B,
                found if found.is_char_device() => LinuxDeviceType::C,
                _ => return Err(format!("{} is not a device node", host.display())),
            };
            kind.get_or_insert(found);
            major.get_or_insert(i64::from(rustix::fs::major(meta.rdev())));
            minor.get_or_insert(i64::from(rustix::fs::minor(meta.rdev())));
            mode.get_or_insert(meta.mode() & 0o7777);
        }
        let (kind, major, minor) =
            (kind.unwrap_or(LinuxDeviceType::C), major.unwrap_or_default(), minor.unwrap_or_default());
        let user = spec.process().as_ref().map(|process| (process.user().uid(), process.user().gid()));
        let own = |id: Option<u32>, of: fn((u32, u32)) -> u32| id.or(user.map(of).filter(|id| *id != 0));
        let mut device = LinuxDevice::default();
        device
            .set_path(self.path.clone())
            .set_typ(kind)
            .set_major(major)
            .set_minor(minor)
            .set_file_mode(mode)
            .set_uid(own(self.uid, |(uid, _)| uid))
            .set_gid(own(self.gid, |(_, gid)| gid));
        let Some(linux) = spec.linux_mut() else { return Ok(()) };
        let mut devices = linux.devices().clone().unwrap_or_default();
        devices.retain(|other| *other.path() != self.path);
        devices.push(device);
        linux.set_devices(Some(devices));
        let mut rule = LinuxDeviceCgroup::default();
        rule.set_allow(true)
            .set_typ(Some(kind))
            .set_major(Some(major))
            .set_minor(Some(minor))
            .set_access(Some(self.permissions.clone().unwrap_or_else(|| "rwm".to_owned())));
        let mut resources = linux.resources().clone().unwrap_or_default();
        let mut rules = resources.devices().clone().unwrap_or_default();
        rules.push(rule);
        resources.set_devices(Some(rules));
        linux.set_resources(Some(resources));
        Ok(())
    }
}
