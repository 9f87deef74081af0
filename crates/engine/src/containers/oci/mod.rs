//! A container's specification as an OCI runtime specification.

mod cdi;
mod demands;
mod devices;
mod extras;
mod limits;
mod mounts;
mod security;

use std::path::PathBuf;

use pintle_runtime::{
    Seccomp,
    cgroup::Setup,
    oci_spec::runtime::{Capabilities, LinuxNamespace, LinuxNamespaceType, Process, Spec, User},
    spec::{
        self as defaults, ResolvedUser, adjust_capabilities, available_capabilities, capability_sets,
        default_capabilities,
    },
};

pub(super) use cdi::inject;
pub(super) use demands::demands;
pub(super) use limits::resources;
pub(super) use mounts::Source;

use super::{Container, ContainerSpec, ExecSpec, joins::Joins, merge};
use crate::{EngineError, networks::Place};

/// Refuses what cannot be expressed, before anything is made.
pub(super) fn check(spec: &ContainerSpec) -> Result<(), EngineError> {
    capabilities(spec)?;
    security::parse(spec)?;
    devices::rules(&spec.device_cgroup_rules)?;
    limits::rlimits(&spec.ulimits)?;
    extras::check(&spec.annotations)?;
    for request in &spec.device_requests {
        request.check()?;
    }
    for key in spec.sysctls.keys() {
        sysctl(spec, key)?;
    }
    if spec.uts_mode == "host" && !spec.hostname.is_empty() {
        return Err(EngineError::invalid("conflicting options: hostname and the UTS mode"));
    }
    Ok(())
}

/// What starting a container found out about its surroundings.
pub(super) struct Surroundings {
    /// Which control groups this machine has.
    pub setup: Setup,
    /// Who its process runs as.
    pub user: ResolvedUser,
    /// What to mount besides the defaults.
    pub sources: Vec<Source>,
    /// Where its network is.
    pub network: Place,
    /// What it takes from other containers.
    pub joins: Joins,
    /// The system call filter of containers that do not say.
    pub seccomp: Seccomp,
}

/// The OCI specification and system call filter of a container.
pub(super) fn build(container: &Container, around: &Surroundings) -> Result<(Spec, Seccomp), EngineError> {
    let spec = &*container.spec;
    let security = security::parse(spec)?;
    let mut oci = defaults::default_spec(around.setup);

    let mut process = Process::default();
    process
        .set_terminal(Some(spec.tty))
        .set_user(user(&around.user))
        .set_args(Some(std::iter::once(&container.path).chain(&container.args).cloned().collect()))
        .set_env(Some(environment(container, spec.tty, &around.user.home, &spec.env)))
        .set_cwd(cwd(&spec.working_dir))
        .set_capabilities(Some(capability_sets(&capabilities(spec)?)))
        .set_no_new_privileges(security.no_new_privileges.then_some(true))
        .set_rlimits(limits::rlimits(&spec.ulimits)?)
        .set_oom_score_adj(Some(spec.oom_score_adj))
        .set_apparmor_profile(security.apparmor)
        .set_selinux_label(None);
    oci.set_process(Some(process));
    if spec.uts_mode != "host" {
        oci.set_hostname(Some(container.hostname().to_owned()));
        if !spec.domainname.is_empty() {
            oci.set_domainname(Some(spec.domainname.clone()));
        }
    }
    if let Some(root) = oci.root_mut() {
        root.set_readonly(Some(spec.read_only));
    }
    let mut inherited = oci.mounts().clone().unwrap_or_default();
    if around.joins.pid.is_some() && around.setup != Setup::Unified {
        // For cgroup v1 libcontainer looks itself up in a /proc that counts processes differently.
        inherited.retain(|mount| mount.typ().as_deref() != Some("cgroup"));
    }
    let writable_cgroups = security.writable_cgroups.unwrap_or(spec.privileged);
    let shm = around.joins.shm.as_deref();
    let (mounts, propagation) = mounts::build(spec, inherited, &around.sources, shm, writable_cgroups);
    oci.set_mounts(Some(mounts));

    if let Some(linux) = oci.linux_mut() {
        linux.set_namespaces(Some(namespaces(spec, around.setup, around)));
        linux.set_rootfs_propagation(propagation);
        let (nodes, rules) = devices::build(spec)?;
        linux.set_devices((!nodes.is_empty()).then_some(nodes));
        let mut limits = limits::resources(&spec.resources)?;
        limits.set_devices(Some(rules));
        limits.set_hugepage_limits(extras::hugepages(&spec.annotations)?);
        linux.set_intel_rdt(extras::rdt(&spec.annotations)?);
        linux.set_resources(Some(limits));
        linux.set_sysctl(sysctls(spec, &around.network));
        let unmasked = spec.privileged || security.system_paths_unconfined;
        let masked = if unmasked { Some(Vec::new()) } else { spec.masked_paths.clone() };
        linux.set_masked_paths(Some(masked.unwrap_or_else(defaults::masked_paths)));
        let readonly = if unmasked { Some(Vec::new()) } else { spec.readonly_paths.clone() };
        linux.set_readonly_paths(Some(readonly.unwrap_or_else(defaults::readonly_paths)));
    }
    if !spec.annotations.is_empty() {
        oci.set_annotations(Some(spec.annotations.clone().into_iter().collect()));
    }
    let unsaid = || if spec.privileged { Seccomp::Unconfined } else { around.seccomp.clone() };
    Ok((oci, security.seccomp.unwrap_or_else(unsaid)))
}

/// The process of an exec in a running container.
pub(super) fn exec_process(
    container: &Container,
    exec: &ExecSpec,
    user_found: &ResolvedUser,
) -> Result<Process, EngineError> {
    let spec = &*container.spec;
    let set = if exec.privileged { available_capabilities() } else { capabilities(spec)? };
    let directory = if exec.working_dir.is_empty() { &spec.working_dir } else { &exec.working_dir };
    let env = [spec.env.as_slice(), exec.env.as_slice()].concat();
    let security = security::parse(spec)?;
    let mut process = Process::default();
    process
        .set_terminal(Some(exec.tty))
        .set_user(user(user_found))
        .set_args(Some(exec.cmd.clone()))
        .set_env(Some(environment(container, exec.tty, &user_found.home, &env)))
        .set_cwd(cwd(directory))
        .set_capabilities(Some(capability_sets(&set)))
        .set_no_new_privileges(security.no_new_privileges.then_some(true))
        .set_rlimits(limits::rlimits(&spec.ulimits)?)
        .set_oom_score_adj(Some(spec.oom_score_adj))
        .set_apparmor_profile(security.apparmor)
        .set_selinux_label(None);
    Ok(process)
}

fn user(found: &ResolvedUser) -> User {
    let mut user = User::default();
    // Docker lists the primary group among the supplementary ones.
    let mut groups = vec![found.gid];
    groups.extend(found.additional_gids.iter().filter(|gid| **gid != found.gid));
    user.set_uid(found.uid).set_gid(found.gid).set_additional_gids(Some(groups));
    user
}

fn cwd(directory: &str) -> PathBuf {
    PathBuf::from(if directory.is_empty() { "/".to_owned() } else { super::mounts::clean(directory) })
}

fn environment(container: &Container, tty: bool, home: &str, own: &[String]) -> Vec<String> {
    let mut base =
        vec![format!("PATH={}", defaults::default_path()), format!("HOSTNAME={}", container.hostname())];
    if tty {
        base.push("TERM=xterm".to_owned());
    }
    let mut env = merge::environment(base, own);
    if !env.iter().any(|variable| variable.starts_with("HOME=")) {
        env.push(format!("HOME={home}"));
    }
    env
}

fn capabilities(spec: &ContainerSpec) -> Result<Capabilities, EngineError> {
    if spec.privileged {
        return Ok(available_capabilities());
    }
    Ok(adjust_capabilities(&default_capabilities(), &spec.cap_add, &spec.cap_drop)?)
}

fn namespaces(spec: &ContainerSpec, setup: Setup, around: &Surroundings) -> Vec<LinuxNamespace> {
    let network = &around.network;
    let mut all = defaults::default_namespaces(setup);
    let mut drop = |kind: LinuxNamespaceType| all.retain(|namespace| namespace.typ() != kind);
    if *network == Place::Host {
        drop(LinuxNamespaceType::Network);
    }
    if spec.pid_mode == "host" {
        drop(LinuxNamespaceType::Pid);
    }
    if spec.ipc_mode == "host" {
        drop(LinuxNamespaceType::Ipc);
    }
    if spec.uts_mode == "host" {
        drop(LinuxNamespaceType::Uts);
    }
    match spec.cgroupns_mode.as_str() {
        "host" => drop(LinuxNamespaceType::Cgroup),
        "private" if !all.iter().any(|namespace| namespace.typ() == LinuxNamespaceType::Cgroup) => {
            let mut namespace = LinuxNamespace::default();
            namespace.set_typ(LinuxNamespaceType::Cgroup).set_path(None);
            all.push(namespace);
        }
        _ => {}
    }
    if let Place::Namespace(path) = network {
        for namespace in all.iter_mut().filter(|one| one.typ() == LinuxNamespaceType::Network) {
            namespace.set_path(Some(path.clone()));
        }
    }
    for (kind, path) in
        [(LinuxNamespaceType::Pid, &around.joins.pid), (LinuxNamespaceType::Ipc, &around.joins.ipc)]
    {
        if let Some(path) = path {
            for namespace in all.iter_mut().filter(|one| one.typ() == kind) {
                namespace.set_path(Some(path.clone()));
            }
        }
    }
    all
}

/// Kernel parameters that belong to System V IPC, and thus to the container alone.
const IPC_SYSCTLS: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shm_rmid_forced",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
];

/// A kernel parameter that is not the container's own is the host's, whoever writes it: runc's rules.
fn sysctl(spec: &ContainerSpec, key: &str) -> Result<(), EngineError> {
    let not_here = |what: &str| Err(EngineError::invalid(format!("sysctl {key:?} {what}")));
    let odd = key.is_empty()
        || key.contains("..")
        || !key.bytes().all(|byte| byte.is_ascii_graphic())
        || key.split(['.', '/']).any(str::is_empty);
    if odd {
        return not_here("is not a kernel parameter");
    }
    // Dots and slashes change roles when the first separator is a slash, as in sysctl(8).
    let plain = match key.find(['.', '/']) {
        Some(at) if key.as_bytes()[at] == b'/' => key.replace('.', "\0").replace('/', ".").replace('\0', "/"),
        _ => key.to_owned(),
    };
    if IPC_SYSCTLS.contains(&plain.as_str()) || plain.starts_with("fs.mqueue.") {
        return if spec.ipc_mode == "host" {
            not_here("is not allowed in the hosts ipc namespace")
        } else {
            Ok(())
        };
    }
    if plain.starts_with("net.") {
        return if spec.network_mode == "host" {
            not_here("not allowed in host network namespace")
        } else {
            Ok(())
        };
    }
    match plain.as_str() {
        "kernel.domainname" if spec.uts_mode != "host" => Ok(()),
        "kernel.hostname" => not_here("conflicts with the hostname of the container: use --hostname"),
        _ => not_here("is not in a separate kernel namespace"),
    }
}

fn sysctls(spec: &ContainerSpec, network: &Place) -> Option<std::collections::HashMap<String, String>> {
    let mut all: std::collections::HashMap<String, String> =
        spec.sysctls.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
    let shared = *network == Place::Host || spec.network_mode.starts_with("container:");
    if !shared && !spec.privileged {
        // As Docker: inside, neither ports below 1024 nor ping need a capability.
        for (key, value) in
            [("net.ipv4.ip_unprivileged_port_start", "0"), ("net.ipv4.ping_group_range", "0 2147483647")]
        {
            let file = format!("/proc/sys/{}", key.replace('.', "/"));
            if std::path::Path::new(&file).exists() {
                all.entry(key.to_owned()).or_insert_with(|| value.to_owned());
            }
        }
    }
    (!all.is_empty()).then_some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_containers_own_kernel_parameters_can_be_set() {
        let may = |key: &str, change: fn(&mut ContainerSpec)| {
            let mut spec = ContainerSpec::default();
            change(&mut spec);
            sysctl(&spec, key).is_ok()
        };
        let alone = |_: &mut ContainerSpec| {};
        for key in
            ["net.ipv4.ip_forward", "net/ipv4/conf/eth0.5/forwarding", "kernel.shmmax", "fs.mqueue.msg_max"]
        {
            assert!(may(key, alone), "{key}");
        }
        for key in [
            "kernel.panic",
            "kernel/panic",
            "vm.swappiness",
            "kernel.core_pattern",
            "fs.file-max",
            "kernel.hostname",
            "net..x",
            "",
            "bad",
            ".net.x",
            "net.../../kernel/panic",
            "net.x\n",
            "net/../kernel/panic",
        ] {
            assert!(!may(key, alone), "{key}");
        }
        assert!(!may("net.ipv4.ip_forward", |spec| spec.network_mode = "host".into()));
        assert!(!may("kernel.sem", |spec| spec.ipc_mode = "host".into()));
        assert!(!may("kernel.domainname", |spec| spec.uts_mode = "host".into()));
        // Being privileged does not make the host's kernel the container's own.
        assert!(!may("kernel.panic", |spec| spec.privileged = true));
    }
}
