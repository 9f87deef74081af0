//! A plugin's OCI spec: Docker's defaults, what its configuration asks for, and not a right more.
//!
//! Unlike Docker: inheritable capabilities stay empty, and `linux.seccomp`, `apparmorProfile`,
//! `noNewPrivileges` and `devices[].cgroup_permissions` are honoured. A configuration that says nothing about
//! seccomp gets none, as in Docker: plugins mount and enter namespaces for a living.

use std::{
    fs,
    os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
};

use pintle_runtime::{
    LogFile, Seccomp, TaskConfig,
    cgroup::Setup,
    oci_spec::runtime::{LinuxDevice, LinuxDeviceCgroup, LinuxDeviceType, LinuxNamespaceType, Mount, Spec},
    spec::{
        capability_sets, default_capabilities, default_device_rules, default_path, default_spec,
        parse_capability,
    },
};
use pintle_wire::config::{Device, SeccompProfile};

use super::{failure::StartFailure, paths::Paths, record::Loaded};
use crate::Room;

/// Where a plugin finds its socket directory.
const SOCKETS_INSIDE: &str = "/run/docker/plugins";
/// Where one that collects metrics finds `metrics.sock`.
const METRICS_INSIDE: &str = "/run/docker";
const LOG_SIZE: u64 = 10 << 20;
const LOG_FILES: u32 = 3;

/// The task that runs a plugin on `rootfs`. Fails where the plugin's settings cannot work on this host.
pub(crate) fn task(
    id: &str,
    loaded: &Loaded,
    rootfs: PathBuf,
    paths: &Paths,
    room: Option<&Room>,
) -> Result<TaskConfig, StartFailure> {
    let config = &loaded.config;
    let mut spec = default_spec(cgroup_setup());
    process(&mut spec, loaded)?;
    spec.set_hostname(id.get(..12).map(str::to_owned));
    let mut mounts = config_mounts(loaded)?;
    let taken: Vec<PathBuf> = mounts.iter().map(|mount| mount.destination().clone()).collect();
    // A mount of the plugin's own on or below a default one in /dev replaces that (moby's TestPluginWithDevMounts).
    let mut all: Vec<Mount> = spec.mounts().clone().unwrap_or_default();
    all.retain(|mount| {
        let place = mount.destination();
        !taken.contains(place) || !(place.starts_with("/dev") || place.starts_with("/sys"))
    });
    if config.has_capability("metricscollector") {
        // The folder of sockets is mounted below it.
        make_metrics_dir(paths.metrics())
            .map_err(|error| StartFailure::Internal(format!("{}: {error}", paths.metrics().display())))?;
        all.push(bind(paths.metrics(), METRICS_INSIDE, &["rbind", "ro"]));
    }
    all.push(bind(&paths.sockets(id), SOCKETS_INSIDE, &["rbind", "rw", "rshared"]));
    if let Some(room) = room {
        for (file, inside) in room.files.iter().filter(|(_, inside)| !taken.contains(inside)) {
            all.push(bind(file, &inside.to_string_lossy(), &["rbind", "rw"]));
        }
    } else if !config.network.kind.is_empty() {
        for file in ["/etc/hosts", "/etc/resolv.conf"] {
            if Path::new(file).exists() && !taken.iter().any(|place| place == Path::new(file)) {
                all.push(bind(Path::new(file), file, &["rbind", "ro"]));
            }
        }
    }
    if !config.propagated_mount.is_empty() {
        all.push(bind(&paths.propagated(id), &config.propagated_mount, &["rbind", "rw", "rshared"]));
    }
    all.append(&mut mounts);
    spec.set_mounts(Some(all));
    linux(&mut spec, loaded, room)?;

    let mut task = TaskConfig::new(id, rootfs, spec);
    // Whatever the engine's is.
    task.oom_score_adj = Some(0);
    task.seccomp = match config.linux.seccomp.as_ref().map(|seccomp| &seccomp.profile) {
        None | Some(SeccompProfile::Unconfined) => Seccomp::Unconfined,
        Some(SeccompProfile::Default) => Seccomp::Default,
        Some(SeccompProfile::Inline(profile)) => Seccomp::Profile(profile.clone()),
    };
    task.log = Some(LogFile {
        path: paths.log(id),
        max_size: Some(LOG_SIZE),
        max_files: LOG_FILES,
        ..LogFile::default()
    });
    task.labels.insert("pintle.plugin".to_owned(), id.to_owned());
    Ok(task)
}

fn make_metrics_dir(dir: &Path) -> std::io::Result<()> {
    let plugins = dir.join(SOCKETS_INSIDE.rsplit('/').next().unwrap_or_default());
    fs::DirBuilder::new().recursive(true).mode(0o710).create(plugins)
}

fn process(spec: &mut Spec, loaded: &Loaded) -> Result<(), StartFailure> {
    let config = &loaded.config;
    let mut args = config.entrypoint.clone();
    args.extend(loaded.settings.args.iter().cloned());
    if args.is_empty() {
        return Err(StartFailure::Setting("the plugin's configuration has no entrypoint".into()));
    }
    let mut env = vec![format!("PATH={}", default_path())];
    for entry in &loaded.settings.env {
        // A PATH of the plugin's own takes the place of the default one.
        if entry.starts_with("PATH=") {
            env.retain(|known| !known.starts_with("PATH="));
        }
        env.push(entry.clone());
    }
    let mut capabilities = default_capabilities();
    for name in &config.linux.capabilities {
        let capability = parse_capability(name).ok_or_else(|| {
            StartFailure::Setting(format!("the plugin asks for an unknown capability: {name:?}"))
        })?;
        capabilities.insert(capability);
    }
    let work_dir = if config.work_dir.is_empty() { "/" } else { config.work_dir.as_str() };
    let Some(process) = spec.process_mut() else {
        return Err(StartFailure::Internal("the default spec has no process".into()));
    };
    process
        .set_args(Some(args))
        .set_env(Some(env))
        .set_cwd(PathBuf::from(work_dir))
        .set_capabilities(Some(capability_sets(&capabilities)))
        .set_no_new_privileges(config.linux.no_new_privileges.filter(|wanted| *wanted))
        .set_apparmor_profile(config.linux.apparmor_profile.clone());
    Ok(())
}

fn config_mounts(loaded: &Loaded) -> Result<Vec<Mount>, StartFailure> {
    let mut mounts = Vec::new();
    for wanted in &loaded.settings.mounts {
        let Some(source) = wanted.source.as_deref().filter(|source| !source.is_empty()) else {
            return Err(StartFailure::MountUnset {
                name: wanted.name.clone(),
                destination: wanted.destination.clone(),
            });
        };
        let mut options = wanted.options.clone();
        if wanted.kind == "bind" || wanted.kind.is_empty() {
            if !Path::new(source).exists() {
                return Err(StartFailure::MountMissing {
                    name: wanted.name.clone(),
                    path: source.to_owned(),
                });
            }
            if !options.iter().any(|option| option == "bind" || option == "rbind") {
                options.insert(0, "rbind".to_owned());
            }
        }
        let kind = if wanted.kind.is_empty() { "bind" } else { &wanted.kind };
        let mut mount = Mount::default();
        mount
            .set_destination(PathBuf::from(&wanted.destination))
            .set_source(Some(PathBuf::from(source)))
            .set_typ(Some(kind.to_owned()))
            .set_options(Some(options));
        mounts.push(mount);
    }
    Ok(mounts)
}

fn bind(source: &Path, destination: &str, options: &[&str]) -> Mount {
    let mut mount = Mount::default();
    mount
        .set_destination(PathBuf::from(destination))
        .set_source(Some(source.to_owned()))
        .set_typ(Some("bind".to_owned()))
        .set_options(Some(options.iter().map(|option| (*option).to_owned()).collect()));
    mount
}

fn linux(spec: &mut Spec, loaded: &Loaded, room: Option<&Room>) -> Result<(), StartFailure> {
    let config = &loaded.config;
    let mut rules = default_device_rules();
    let mut nodes = Vec::new();
    for device in &loaded.settings.devices {
        let (node, rule) = host_device(device)?;
        nodes.push(node);
        rules.push(rule);
    }
    if config.linux.allow_all_devices {
        let mut all = LinuxDeviceCgroup::default();
        all.set_allow(true).set_typ(None).set_major(None).set_minor(None).set_access(Some("rwm".to_owned()));
        rules = vec![all];
    }
    let Some(linux) = spec.linux_mut() else {
        return Err(StartFailure::Internal("the default spec has no linux part".into()));
    };
    let shared = |kind| match kind {
        LinuxNamespaceType::Network => config.network.kind == "host" && room.is_none(),
        LinuxNamespaceType::Ipc => config.ipc_host,
        LinuxNamespaceType::Pid => config.pid_host,
        _ => false,
    };
    let mut namespaces = linux.namespaces().clone().unwrap_or_default();
    namespaces.retain(|namespace| !shared(namespace.typ()));
    if let Some(room) = room {
        for namespace in namespaces.iter_mut().filter(|one| one.typ() == LinuxNamespaceType::Network) {
            namespace.set_path(Some(room.namespace.clone()));
        }
    }
    linux.set_namespaces(Some(namespaces)).set_devices((!nodes.is_empty()).then_some(nodes));
    if let Some(resources) = linux.resources_mut() {
        resources.set_devices(Some(rules));
    }
    if !config.propagated_mount.is_empty() {
        linux.set_rootfs_propagation(Some("rshared".to_owned()));
    }
    Ok(())
}

fn host_device(device: &Device) -> Result<(LinuxDevice, LinuxDeviceCgroup), StartFailure> {
    let Some(path) = device.path.as_deref().filter(|path| !path.is_empty()) else {
        return Err(StartFailure::Setting(format!("device {:?}: its path is not specified", device.name)));
    };
    let missing = |why: String| StartFailure::DeviceMissing { path: path.to_owned(), why };
    let meta = fs::metadata(path).map_err(|error| missing(error.to_string()))?;
    let kind = if meta.file_type().is_block_device() {
        LinuxDeviceType::B
    } else if meta.file_type().is_char_device() {
        LinuxDeviceType::C
    } else {
        return Err(missing("it is not a device".to_owned()));
    };
    let (major, minor) = (rustix::fs::major(meta.rdev()).into(), rustix::fs::minor(meta.rdev()).into());
    let mut node = LinuxDevice::default();
    node.set_path(PathBuf::from(path))
        .set_typ(kind)
        .set_major(major)
        .set_minor(minor)
        .set_file_mode(Some(meta.mode() & 0o7777))
        .set_uid(Some(meta.uid()))
        .set_gid(Some(meta.gid()));
    let mut rule = LinuxDeviceCgroup::default();
    rule.set_allow(true)
        .set_typ(Some(kind))
        .set_major(Some(major))
        .set_minor(Some(minor))
        .set_access(Some(device.cgroup_permissions.clone().unwrap_or_else(|| "rwm".to_owned())));
    Ok((node, rule))
}

/// Only whether v2 is alone matters to the default spec.
fn cgroup_setup() -> Setup {
    // CGROUP2_SUPER_MAGIC of linux/magic.h
    match rustix::fs::statfs("/sys/fs/cgroup") {
        Ok(stat) if stat.f_type as u64 == 0x6367_7270 => Setup::Unified,
        _ => Setup::Legacy,
    }
}
