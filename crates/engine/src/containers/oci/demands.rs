//! What a user asked for by name, as opposed to what is there by default: a runtime without it is refused.

use pintle_runtime::{Demand, Need, oci_spec::runtime::LinuxNamespaceType, spec::parse_capability};

use super::security;
use crate::{EngineError, containers::ContainerSpec};

/// What must not be left out of a container's specification.
pub(in crate::containers) fn demands(spec: &ContainerSpec) -> Result<Vec<Demand>, EngineError> {
    let mut all = Vec::new();
    let mut demand = |field: &str, need: Need| all.push(Demand { field: field.to_owned(), need });
    for name in &spec.cap_add {
        if let Some(capability) = parse_capability(name) {
            demand("HostConfig.CapAdd", Need::Capability(capability));
        }
    }
    if spec.cgroupns_mode == "private" {
        demand("HostConfig.CgroupnsMode", Need::Namespace(LinuxNamespaceType::Cgroup));
    }
    let chosen = |key: &str| {
        spec.security_opt
            .iter()
            .any(|option| option.strip_prefix(key).is_some_and(|rest| rest.starts_with(['=', ':'])))
    };
    if chosen("seccomp") {
        demand("HostConfig.SecurityOpt", Need::Seccomp);
    }
    if security::parse(spec)?.apparmor.is_some() {
        demand("HostConfig.SecurityOpt", Need::AppArmor);
    }
    if spec.annotations.keys().any(|key| key.starts_with("io.pintle.rdt.")) {
        demand("HostConfig.Annotations", Need::IntelRdt);
    }
    if spec.mounts.iter().any(|mount| mount.read_only_forced) {
        demand("HostConfig.Mounts", Need::MountOption("rro".to_owned()));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_named_is_demanded() {
        assert_eq!(demands(&ContainerSpec::default()).unwrap(), []);
        let spec = ContainerSpec {
            cap_add: vec!["ALL".into(), "net_admin".into()],
            security_opt: vec!["seccomp=unconfined".into(), "no-new-privileges".into()],
            cgroupns_mode: "private".into(),
            ..ContainerSpec::default()
        };
        let fields: Vec<String> = demands(&spec).unwrap().into_iter().map(|demand| demand.field).collect();
        assert_eq!(fields, ["HostConfig.CapAdd", "HostConfig.CgroupnsMode", "HostConfig.SecurityOpt"]);
    }
}
