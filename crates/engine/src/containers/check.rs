//! What a specification may not ask for, with Docker's words.

use super::{ContainerSpec, Resources, RestartMode, signal};
use crate::{EngineError, ErrorKind};

const SMALLEST_MEMORY: i64 = 6 << 20;

/// Refuses what could never run. Returns warnings about what will not be as asked.
pub(super) fn check(spec: &ContainerSpec) -> Result<Vec<String>, EngineError> {
    let mut warnings = Vec::new();
    if !spec.working_dir.is_empty() && !spec.working_dir.starts_with('/') {
        return Err(EngineError::invalid(format!(
            "the working directory '{}' is invalid, it needs to be an absolute path",
            spec.working_dir
        )));
    }
    if let Some(signal) = &spec.stop_signal {
        signal::parse(signal)?;
    }
    for variable in &spec.env {
        if variable.is_empty() || variable.starts_with('=') || variable.contains('\0') {
            return Err(EngineError::invalid(format!("invalid environment variable: {variable}")));
        }
    }
    if spec.auto_remove && spec.restart.mode != RestartMode::No {
        return Err(EngineError::invalid("can't create 'AutoRemove' container with restart policy"));
    }
    check_restart(spec.restart)?;
    resources(&spec.resources)?;
    if !(-1000..=1000).contains(&spec.oom_score_adj) {
        return Err(EngineError::invalid(format!(
            "Invalid value {}, range for oom score adj is [-1000, 1000]",
            spec.oom_score_adj
        )));
    }
    if spec.shm_size < 0 {
        return Err(EngineError::invalid("SHM size can not be less than 0"));
    }
    match spec.network_mode.as_str() {
        "" | "default" | "bridge" if !spec.links.is_empty() => warnings.push(
            "Links on the default bridge network are deprecated and will be removed in a future release. Use a \
             custom network instead."
                .to_owned(),
        ),
        _ => {}
    }
    mode("IPC", &spec.ipc_mode, &["", "none", "private", "shareable", "host"])?;
    mode("PID", &spec.pid_mode, &["", "host"])?;
    mode("UTS", &spec.uts_mode, &["", "host"])?;
    mode("cgroup namespace", &spec.cgroupns_mode, &["", "private", "host"])?;
    mode("user namespace", &spec.userns_mode, &["", "host"])?;
    match spec.log.driver.as_str() {
        "" | "json-file" | "none" => {}
        other => {
            return Err(EngineError::invalid(format!("logger: no log driver named '{other}' is registered")));
        }
    }
    super::log_options::log_file(spec, "/".into())?;
    super::oci::check(spec)?;
    Ok(warnings)
}

/// What cannot go together with a network mode. Asked before the image has its say.
pub(super) fn network_mode(spec: &ContainerSpec) -> Result<(), EngineError> {
    let mode = spec.network_mode.as_str();
    let shared = mode.strip_prefix("container:").or((mode == "container").then_some(""));
    let conflict = |what: &str| Err(EngineError::invalid(format!("conflicting options: {what}")));
    if shared == Some("") {
        return Err(EngineError::invalid(
            "Invalid network mode: invalid container format container:<name|id>",
        ));
    }
    let linked = "can't be used with links. This would result in undefined behavior";
    if mode == "host" && !spec.links.is_empty() {
        return conflict(&format!("host type networking {linked}"));
    }
    if (shared.is_some() || mode == "host") && !spec.mac_address.is_empty() {
        return conflict("mac-address and the network mode");
    }
    if shared.is_none() {
        return Ok(());
    }
    if !spec.hostname.is_empty() {
        return conflict("hostname and the network mode");
    }
    if !spec.links.is_empty() {
        return conflict(&format!("container type network {linked}"));
    }
    if !spec.dns.is_empty() {
        return conflict("dns and the network mode");
    }
    if !spec.extra_hosts.is_empty() {
        return conflict("custom host-to-IP mapping and the network mode");
    }
    if !spec.publish.is_empty() || spec.publish_all {
        return conflict("port publishing and the container type network mode");
    }
    if !spec.exposed_ports.is_empty() {
        return conflict("port exposing and the container type network mode");
    }
    Ok(())
}

fn mode(what: &str, given: &str, known: &[&str]) -> Result<(), EngineError> {
    if known.contains(&given) {
        return Ok(());
    }
    if given.starts_with("container:") {
        return Err(EngineError::new(
            ErrorKind::NotImplemented,
            format!("joining another container's {what} namespace is not supported yet"),
        ));
    }
    Err(EngineError::invalid(format!("invalid {what} mode: {given}")))
}

/// A restart policy that means something.
pub(super) fn check_restart(policy: super::RestartPolicy) -> Result<(), EngineError> {
    if policy.max_retries > 0 && !matches!(policy.mode, RestartMode::OnFailure) {
        return Err(EngineError::invalid(
            "invalid restart policy: maximum retry count can only be used with 'on-failure'",
        ));
    }
    Ok(())
}

/// Limits that contradict themselves or each other.
pub(super) fn resources(limits: &Resources) -> Result<(), EngineError> {
    let invalid = |text: &str| Err(EngineError::invalid(text));
    if limits.memory != 0 && limits.memory < SMALLEST_MEMORY {
        return invalid("Minimum memory limit allowed is 6MB");
    }
    if limits.memory > 0 && limits.memory_swap > 0 && limits.memory_swap < limits.memory {
        return invalid("Minimum memoryswap limit should be larger than memory limit, see usage");
    }
    if limits.memory == 0 && limits.memory_swap > 0 {
        return invalid("You should always set the Memory limit when using Memoryswap limit, see usage");
    }
    if limits.memory_reservation != 0 && limits.memory_reservation < SMALLEST_MEMORY {
        return invalid("Minimum memory reservation allowed is 6MB");
    }
    if limits.memory > 0 && limits.memory < limits.memory_reservation {
        return invalid("Minimum memory limit can not be less than memory reservation limit, see usage");
    }
    if limits.memory_swappiness.is_some_and(|value| value != -1 && !(0..=100).contains(&value)) {
        let value = limits.memory_swappiness.unwrap_or_default();
        return invalid(&format!("Invalid value: {value}, valid memory swappiness range is 0-100"));
    }
    if limits.nano_cpus > 0 && limits.cpu_period > 0 {
        return invalid("Conflicting options: Nano CPUs and CPU Period cannot both be set");
    }
    if limits.nano_cpus > 0 && limits.cpu_quota > 0 {
        return invalid("Conflicting options: Nano CPUs and CPU Quota cannot both be set");
    }
    let cpus =
        std::thread::available_parallelism().map_or(i64::MAX, |n| i64::try_from(n.get()).unwrap_or(i64::MAX));
    if limits.nano_cpus < 0 || limits.nano_cpus > cpus.saturating_mul(1_000_000_000) {
        return invalid(&format!(
            "range of CPUs is from 0.01 to {cpus}.00, as there are only {cpus} CPUs available"
        ));
    }
    if limits.cpu_period != 0 && !(1_000..=1_000_000).contains(&limits.cpu_period) {
        return invalid(
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)",
        );
    }
    if limits.cpu_quota > 0 && limits.cpu_quota < 1_000 {
        return invalid("CPU cfs quota can not be less than 1ms (i.e. 1000)");
    }
    if limits.cpu_shares < 0 {
        return invalid(&format!(
            "invalid CPU shares ({}): value must be a positive integer",
            limits.cpu_shares
        ));
    }
    for (what, list) in [("cpus", &limits.cpuset_cpus), ("mems", &limits.cpuset_mems)] {
        if !list.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b',' | b'-' | b'\n')) {
            return invalid(&format!("Invalid value {list} for cpuset {what}"));
        }
    }
    if limits.blkio_weight != 0 && !(10..=1000).contains(&limits.blkio_weight) {
        return invalid("Range of blkio weight is from 10 to 1000");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits() {
        resources(&Resources::default()).unwrap();
        resources(&Resources { memory: 64 << 20, memory_swap: -1, ..Resources::default() }).unwrap();
        let error = resources(&Resources { memory: 1024, ..Resources::default() }).unwrap_err();
        assert_eq!(error.message, "Minimum memory limit allowed is 6MB");
        let swap = Resources { memory: 64 << 20, memory_swap: 32 << 20, ..Resources::default() };
        assert!(resources(&swap).unwrap_err().message.starts_with("Minimum memoryswap limit"));
        resources(&Resources { nano_cpus: i64::MAX, ..Resources::default() }).unwrap_err();
        resources(&Resources { cpuset_cpus: "0-1;rm".into(), ..Resources::default() }).unwrap_err();
    }

    #[test]
    fn contradictions_and_unknown_modes() {
        let refused = |change: fn(&mut ContainerSpec)| {
            let mut spec = ContainerSpec::default();
            change(&mut spec);
            check(&spec).unwrap_err()
        };
        let error = refused(|spec| {
            spec.auto_remove = true;
            spec.restart.mode = RestartMode::Always;
        });
        assert_eq!(error.message, "can't create 'AutoRemove' container with restart policy");
        assert_eq!(refused(|spec| spec.pid_mode = "container:x".into()).kind, ErrorKind::NotImplemented);
        refused(|spec| spec.ipc_mode = "nonsense".into());
        refused(|spec| spec.log.driver = "fluentd".into());
        refused(|spec| spec.env = vec!["=x".into()]);
        refused(|spec| spec.working_dir = "relative".into());
        assert!(check(&ContainerSpec::default()).unwrap().is_empty());
    }

    #[test]
    fn a_shared_network_is_nobodys_own() {
        let with = |mode: &str, change: fn(&mut ContainerSpec)| {
            let mut spec = ContainerSpec { network_mode: mode.into(), ..ContainerSpec::default() };
            change(&mut spec);
            network_mode(&spec).map_err(|error| error.message)
        };
        with("container:x", |_| ()).unwrap();
        with("bridge", |spec| spec.hostname = "x".into()).unwrap();
        for (mode, message) in [
            ("container:", "Invalid network mode: invalid container format container:<name|id>"),
            ("container:x", "conflicting options: hostname and the network mode"),
        ] {
            assert_eq!(with(mode, |spec| spec.hostname = "x".into()).unwrap_err(), message);
        }
        with("container:x", |spec| spec.publish_all = true).unwrap_err();
        with("host", |spec| spec.mac_address = "02:00:00:00:00:01".into()).unwrap_err();
        with("host", |spec| spec.links = vec!["x".into()]).unwrap_err();
    }
}
