//! Docker's defaults, as data.

use std::path::PathBuf;

use libcontainer::oci_spec::runtime::{
    Linux, LinuxDevice, LinuxDeviceCgroup, LinuxDeviceType, LinuxNamespace, LinuxNamespaceType,
    LinuxResources, Mount, Process, Root, Spec, User,
};
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use super::{capability_sets, default_capabilities};
use crate::cgroup::Setup;

/// `PATH` of a container whose image sets none.
#[must_use]
pub fn default_path() -> &'static str {
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
}

/// Paths hidden from containers that are not privileged.
#[must_use]
pub fn masked_paths() -> Vec<String> {
    strings(&[
        "/proc/acpi",
        "/proc/asound",
        "/proc/interrupts",
        "/proc/kcore",
        "/proc/keys",
        "/proc/latency_stats",
        "/proc/sched_debug",
        "/proc/scsi",
        "/proc/timer_list",
        "/proc/timer_stats",
        "/sys/devices/virtual/powercap",
        "/sys/firmware",
    ])
}

/// Paths that containers that are not privileged only read.
#[must_use]
pub fn readonly_paths() -> Vec<String> {
    strings(&["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"])
}

/// `/proc`, `/dev` and its parts, `/sys` and the cgroups, both read-only. `shm_size` is in bytes (Docker: 64 MiB).
#[must_use]
pub fn default_mounts(shm_size: u64) -> Vec<Mount> {
    let shm = format!("size={shm_size}");
    vec![
        mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
        mount("/sys/fs/cgroup", "cgroup", "cgroup", &["ro", "nosuid", "noexec", "nodev"]),
        mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        mount("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", &shm]),
    ]
}

/// A mount entry.
pub(crate) fn mount(destination: &str, kind: &str, source: &str, options: &[&str]) -> Mount {
    let mut mount = Mount::default();
    mount
        .set_destination(PathBuf::from(destination))
        .set_typ(Some(kind.to_owned()))
        .set_source(Some(PathBuf::from(source)))
        .set_options(Some(strings(options)));
    mount
}

/// The size of a terminal: height and width.
pub(crate) fn rectangle((height, width): (u16, u16)) -> Option<libcontainer::oci_spec::runtime::Box> {
    libcontainer::oci_spec::runtime::BoxBuilder::default()
        .height(u64::from(height))
        .width(u64::from(width))
        .build()
        .ok()
}

/// Mount, PID, network, IPC and UTS of its own; on v2 a cgroup namespace too.
#[must_use]
pub fn default_namespaces(setup: Setup) -> Vec<LinuxNamespace> {
    let mut kinds = vec![
        LinuxNamespaceType::Mount,
        LinuxNamespaceType::Network,
        LinuxNamespaceType::Uts,
        LinuxNamespaceType::Pid,
        LinuxNamespaceType::Ipc,
    ];
    if setup == Setup::Unified {
        kinds.push(LinuxNamespaceType::Cgroup);
    }
    kinds
        .into_iter()
        .map(|kind| {
            let mut namespace = LinuxNamespace::default();
            namespace.set_typ(kind).set_path(None);
            namespace
        })
        .collect()
}

/// Device cgroup rules: everything denied, nodes may be made, and the usual character devices may be used.
#[must_use]
pub fn default_device_rules() -> Vec<LinuxDeviceCgroup> {
    let mut rules = vec![rule(false, LinuxDeviceType::A, None, None, "rwm")];
    rules.push(rule(true, LinuxDeviceType::C, None, None, "m"));
    rules.push(rule(true, LinuxDeviceType::B, None, None, "m"));
    // null, zero, full, random, urandom, tty, console, ptmx and the pseudo terminals
    for (major, minor) in [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1), (5, 2)]
        .map(|(a, b)| (a, Some(b)))
        .into_iter()
    {
        rules.push(rule(true, LinuxDeviceType::C, Some(major), minor, "rwm"));
    }
    rules.push(rule(true, LinuxDeviceType::C, Some(136), None, "rwm"));
    rules
}

fn rule(
    allow: bool,
    kind: LinuxDeviceType,
    major: Option<i64>,
    minor: Option<i64>,
    access: &str,
) -> LinuxDeviceCgroup {
    let mut rule = LinuxDeviceCgroup::default();
    rule.set_allow(allow)
        .set_typ(Some(kind))
        .set_major(major)
        .set_minor(minor)
        .set_access(Some(access.to_owned()));
    rule
}

/// The device nodes below `/dev` of this machine, for `--privileged` and `allowAllDevices`; pseudo terminals, shared
/// memory and message queues excepted, which every container has of its own.
#[must_use]
pub fn host_devices() -> Vec<LinuxDevice> {
    let mut found = Vec::new();
    let mut pending = vec![(PathBuf::from("/dev"), 0)];
    while let Some((dir, depth)) = pending.pop() {
        let Ok(entries) = std::fs::read_dir(&dir) else { continue };
        for entry in entries.flatten() {
            let path = entry.path();
            let Ok(meta) = entry.metadata() else { continue };
            let name = entry.file_name();
            let kind = meta.file_type();
            if kind.is_dir() {
                if depth < 8
                    && !["pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev"]
                        .iter()
                        .any(|s| name == **s)
                {
                    pending.push((path, depth + 1));
                }
            } else if (kind.is_char_device() || kind.is_block_device()) && name != "console" && name != "ptmx"
            {
                let rdev = meta.rdev();
                let mut device = LinuxDevice::default();
                device
                    .set_path(path)
                    .set_typ(if kind.is_block_device() { LinuxDeviceType::B } else { LinuxDeviceType::C })
                    .set_major(i64::from(rustix::fs::major(rdev)))
                    .set_minor(i64::from(rustix::fs::minor(rdev)))
                    .set_file_mode(Some(meta.mode() & 0o7777))
                    .set_uid(Some(meta.uid()))
                    .set_gid(Some(meta.gid()));
                found.push(device);
            }
        }
    }
    found
}

/// A spec with all of Docker's defaults for an unprivileged container; the caller fills in arguments, environment,
/// user, hostname and what else it knows. `root.path` is set at create.
#[must_use]
pub fn default_spec(setup: Setup) -> Spec {
    let mut user = User::default();
    user.set_uid(0).set_gid(0);
    let mut process = Process::default();
    process
        .set_terminal(Some(false))
        .set_user(user)
        .set_args(Some(vec!["sh".to_owned()]))
        .set_env(Some(vec![format!("PATH={}", default_path())]))
        .set_cwd(PathBuf::from("/"))
        .set_capabilities(Some(capability_sets(&default_capabilities())))
        .set_no_new_privileges(None)
        .set_rlimits(None)
        .set_oom_score_adj(None)
        .set_apparmor_profile(None)
        .set_selinux_label(None);
    let mut resources = LinuxResources::default();
    resources.set_devices(Some(default_device_rules()));
    let mut linux = Linux::default();
    linux
        .set_namespaces(Some(default_namespaces(setup)))
        .set_resources(Some(resources))
        .set_devices(None)
        .set_masked_paths(Some(masked_paths()))
        .set_readonly_paths(Some(readonly_paths()))
        .set_cgroups_path(None)
        .set_seccomp(None)
        .set_rootfs_propagation(None);
    let mut root = Root::default();
    root.set_path(PathBuf::from("rootfs")).set_readonly(Some(false));
    let mut spec = Spec::default();
    spec.set_version("1.1.0".to_owned())
        .set_root(Some(root))
        .set_mounts(Some(default_mounts(64 << 20)))
        .set_process(Some(process))
        .set_hostname(None)
        .set_linux(Some(linux))
        .set_hooks(None)
        .set_annotations(None);
    spec
}

fn strings(list: &[&str]) -> Vec<String> {
    list.iter().map(|s| (*s).to_owned()).collect()
}
