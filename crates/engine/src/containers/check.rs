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
        "" | "default" | "none" | "host" => {}
        "bridge" => warnings.push(
            "The bridge network is not there yet: the container has a private network with loopback only"
                .to_owned(),
        ),
        other if other.starts_with("container:") => {
            return Err(EngineError::new(
                ErrorKind::NotImplemented,
                "joining another container's network is not supported yet",
            ));
        }
        other => return Err(EngineError::not_found(format!("network {other} not found"))),
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
        assert_eq!(refused(|spec| spec.network_mode = "lan".into()).message, "network lan not found");
        assert_eq!(refused(|spec| spec.pid_mode = "container:x".into()).kind, ErrorKind::NotImplemented);
        refused(|spec| spec.ipc_mode = "nonsense".into());
        refused(|spec| spec.log.driver = "fluentd".into());
        refused(|spec| spec.env = vec!["=x".into()]);
        refused(|spec| spec.working_dir = "relative".into());
        assert!(check(&ContainerSpec::default()).unwrap().is_empty());
    }
}
