//! What every spec passes before a runtime sees it. What only the embedded one would misread is said apart.

use std::path::Path;

use libcontainer::oci_spec::runtime::{Capabilities, LinuxNamespaceType, Spec};

use super::capability_sets;
use crate::cgroup::{Setup, io_weight};

/// Rewrites what any runtime would misread, without changing what the spec means:
///
/// - a process without `capabilities` would get them all: it gets none;
/// - `noNewPrivileges: false` counts as set to some: it is left out;
/// - an AppArmor profile on a kernel without AppArmor is an error: it is left out;
/// - a `time` namespace is not offered by Docker: it is left out.
pub fn settle(spec: &mut Spec) {
    settle_with(spec, Path::new("/sys/kernel/security/apparmor").exists());
}

/// [`settle`], and what the embedded runtime alone would misread:
///
/// - `rootfsPropagation: rshared` and its like are unknown words: the `r` goes;
/// - on v1 a read-only `/sys/fs/cgroup` is mounted writable: each controller becomes a read-only path;
/// - on v2 it reckons the block I/O weight in 16 bits, which do not hold it: the kernel's own number is given;
/// - seccomp is the shim's to load: it is left out here.
pub fn harden(spec: &mut Spec, setup: Setup) {
    settle(spec);
    if setup == Setup::Unified {
        weigh(spec);
    }
    let controllers = if setup == Setup::Unified { Vec::new() } else { v1_mount_points() };
    harden_with(spec, &controllers);
}

fn settle_with(spec: &mut Spec, apparmor: bool) {
    if let Some(process) = spec.process_mut() {
        if process.capabilities().is_none() {
            process.set_capabilities(Some(capability_sets(&Capabilities::new())));
        }
        if process.no_new_privileges() == Some(false) {
            process.set_no_new_privileges(None);
        }
        if !apparmor {
            process.set_apparmor_profile(None);
        }
    }
    if let Some(linux) = spec.linux_mut()
        && let Some(namespaces) = linux.namespaces()
    {
        let kept = namespaces.iter().filter(|n| n.typ() != LinuxNamespaceType::Time).cloned().collect();
        linux.set_namespaces(Some(kept));
    }
}

fn harden_with(spec: &mut Spec, v1_controllers: &[String]) {
    let cgroup_readonly = spec.mounts().iter().flatten().any(|mount| {
        mount.typ().as_deref() == Some("cgroup")
            && mount.options().iter().flatten().any(|option| option == "ro")
            && mount.destination() == Path::new("/sys/fs/cgroup")
    });
    let Some(linux) = spec.linux_mut() else { return };
    linux.set_seccomp(None);
    if let Some(word) = linux.rootfs_propagation().as_deref().and_then(|word| word.strip_prefix('r')) {
        let word = word.to_owned();
        linux.set_rootfs_propagation(Some(word));
    }
    if cgroup_readonly && !v1_controllers.is_empty() {
        let mut paths = linux.readonly_paths().clone().unwrap_or_default();
        paths.extend(
            v1_controllers
                .iter()
                .filter(|p| !linux.readonly_paths().iter().flatten().any(|q| q == *p))
                .cloned(),
        );
        linux.set_readonly_paths(Some(paths));
    }
}

/// Puts the weight in the words of the second version.
fn weigh(spec: &mut Spec) {
    let Some(resources) = spec.linux_mut().as_mut().and_then(|linux| linux.resources_mut().as_mut()) else {
        return;
    };
    let Some(mut block) = resources.block_io().clone() else { return };
    let Some(weight) = block.weight().filter(|weight| *weight > 0) else { return };
    block.set_weight(None);
    let mut unified = resources.unified().clone().unwrap_or_default();
    unified.entry("io.weight".to_owned()).or_insert_with(|| io_weight(weight).to_string());
    resources.set_block_io(Some(block)).set_unified(Some(unified));
}

/// Where this machine mounts each v1 hierarchy, as the container will see it.
fn v1_mount_points() -> Vec<String> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mut found: Vec<String> = mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ');
            let (_, target, kind) = (fields.next()?, fields.next()?, fields.next()?);
            (kind.starts_with("cgroup") && target.starts_with("/sys/fs/cgroup/")).then(|| target.to_owned())
        })
        .collect();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use libcontainer::oci_spec::runtime::LinuxBlockIo;

    use super::*;
    use crate::spec::default_spec;

    #[test]
    fn every_trap_is_defused() {
        let mut spec = default_spec(Setup::Hybrid);
        {
            let process = spec.process_mut().as_mut().unwrap();
            process.set_capabilities(None).set_no_new_privileges(Some(false));
            process.set_apparmor_profile(Some("docker-default".into()));
        }
        spec.linux_mut().as_mut().unwrap().set_rootfs_propagation(Some("rshared".into()));
        settle_with(&mut spec, false);
        harden_with(&mut spec, &["/sys/fs/cgroup/pids".into()]);
        let process = spec.process().as_ref().unwrap();
        let caps = process.capabilities().as_ref().unwrap();
        assert!(
            caps.effective().as_ref().unwrap().is_empty() && caps.bounding().as_ref().unwrap().is_empty()
        );
        assert_eq!(process.no_new_privileges(), None);
        assert_eq!(process.apparmor_profile(), &None);
        let linux = spec.linux().as_ref().unwrap();
        assert_eq!(linux.rootfs_propagation().as_deref(), Some("shared"));
        assert!(linux.readonly_paths().as_ref().unwrap().contains(&"/sys/fs/cgroup/pids".to_owned()));
    }

    #[test]
    fn a_weight_is_the_kernels_own_number() {
        let mut spec = default_spec(Setup::Unified);
        let mut block = LinuxBlockIo::default();
        block.set_weight(Some(300));
        let linux = spec.linux_mut().as_mut().unwrap();
        let mut resources = linux.resources().clone().unwrap_or_default();
        resources.set_block_io(Some(block));
        linux.set_resources(Some(resources));
        weigh(&mut spec);
        let resources = spec.linux().as_ref().unwrap().resources().as_ref().unwrap();
        assert_eq!(resources.block_io().as_ref().unwrap().weight(), None);
        assert_eq!(resources.unified().as_ref().unwrap()["io.weight"], "2930");
    }

    #[test]
    fn what_is_right_stays() {
        let mut spec = default_spec(Setup::Unified);
        spec.process_mut().as_mut().unwrap().set_no_new_privileges(Some(true));
        let before = spec.clone();
        settle_with(&mut spec, true);
        harden_with(&mut spec, &[]);
        assert_eq!(spec, before);
    }
}
