//! Limits that contradict themselves or that this machine cannot enforce, with Docker's words for both.

use std::{collections::BTreeSet, path::Path};

use pintle_runtime::cgroup::{Available, Hierarchies};

use super::Resources;
use crate::EngineError;

const SMALLEST_MEMORY: i64 = 6 << 20;
/// No machine has a CPU or memory node of a higher number.
const HIGHEST_NUMBER: u32 = 8192;

/// Refuses limits that contradict themselves, and takes away those that this machine cannot enforce; answers what it
/// took away. `new` are limits of a container that is being made: a change may name a part of them alone.
pub(super) fn settle(limits: &mut Resources, new: bool) -> Result<Vec<String>, EngineError> {
    let available = Hierarchies::detect().available();
    let mut warnings = Vec::new();
    memory(limits, new, available, &mut warnings)?;
    cpu(limits, available, &mut warnings)?;
    cpuset(limits, available, &mut warnings)?;
    block_io(limits, available, &mut warnings)?;
    if limits.pids_limit.is_some() && !available.pids {
        if limits.pids_limit > Some(0) {
            warnings.push(discarded("PIDs limit capabilities", "PIDs limit discarded."));
        }
        limits.pids_limit = None;
    }
    Ok(warnings)
}

fn discarded(what: &str, how: &str) -> String {
    format!("Your kernel does not support {what} or the cgroup is not mounted. {how}")
}

fn invalid<T>(text: impl Into<String>) -> Result<T, EngineError> {
    Err(EngineError::invalid(text))
}

fn memory(
    limits: &mut Resources,
    new: bool,
    available: Available,
    warnings: &mut Vec<String>,
) -> Result<(), EngineError> {
    if limits.memory != 0 && limits.memory < SMALLEST_MEMORY {
        return invalid("Minimum memory limit allowed is 6MB");
    }
    if limits.memory > 0 && !available.memory {
        warnings.push(discarded("memory limit capabilities", "Limitation discarded."));
        (limits.memory, limits.memory_swap) = (0, -1);
    }
    if limits.memory > 0 && limits.memory_swap != -1 && !available.swap {
        warnings.push(discarded("swap limit capabilities", "Memory limited without swap."));
        limits.memory_swap = -1;
    }
    if limits.memory > 0 && limits.memory_swap > 0 && limits.memory_swap < limits.memory {
        return invalid("Minimum memoryswap limit should be larger than memory limit, see usage");
    }
    if limits.memory == 0 && limits.memory_swap > 0 && new {
        return invalid("You should always set the Memory limit when using Memoryswap limit, see usage");
    }
    if let Some(value) = limits.memory_swappiness.filter(|value| !(0..=100).contains(value)) {
        return invalid(format!("Invalid value: {value}, valid memory swappiness range is 0-100"));
    }
    if limits.memory_reservation > 0 && !available.memory_reservation {
        warnings.push(discarded("memory soft limit capabilities", "Limitation discarded."));
        limits.memory_reservation = 0;
    }
    if limits.memory_reservation != 0 && limits.memory_reservation < SMALLEST_MEMORY {
        return invalid("Minimum memory reservation allowed is 6MB");
    }
    if limits.memory > 0 && limits.memory < limits.memory_reservation {
        return invalid("Minimum memory limit can not be less than memory reservation limit, see usage");
    }
    if limits.oom_kill_disable && !available.oom_kill_disable {
        warnings.push("Your kernel does not support OomKillDisable. OomKillDisable discarded.".to_owned());
        limits.oom_kill_disable = false;
    }
    if limits.oom_kill_disable && limits.memory == 0 {
        warnings.push(
            "OOM killer is disabled for the container, but no memory limit is set, this can result in the system running \
             out of resources."
                .to_owned(),
        );
    }
    Ok(())
}

fn cpu(limits: &mut Resources, available: Available, warnings: &mut Vec<String>) -> Result<(), EngineError> {
    if limits.nano_cpus > 0 && limits.cpu_period > 0 {
        return invalid("Conflicting options: Nano CPUs and CPU Period cannot both be set");
    }
    if limits.nano_cpus > 0 && limits.cpu_quota > 0 {
        return invalid("Conflicting options: Nano CPUs and CPU Quota cannot both be set");
    }
    if limits.nano_cpus > 0 && !available.cpu_quota {
        return invalid(
            "NanoCPUs can not be set, as your kernel does not support CPU CFS scheduler or the cgroup is not mounted",
        );
    }
    let cpus =
        std::thread::available_parallelism().map_or(i64::MAX, |n| i64::try_from(n.get()).unwrap_or(i64::MAX));
    if limits.nano_cpus < 0 || limits.nano_cpus > cpus.saturating_mul(1_000_000_000) {
        return invalid(format!(
            "range of CPUs is from 0.01 to {cpus}.00, as there are only {cpus} CPUs available"
        ));
    }
    if limits.cpu_shares < 0 {
        return invalid(format!(
            "invalid CPU shares ({}): value must be a positive integer",
            limits.cpu_shares
        ));
    }
    if limits.cpu_shares > 0 && !available.cpu_shares {
        warnings.push(discarded("CPU shares", "Shares discarded."));
        limits.cpu_shares = 0;
    }
    if (limits.cpu_period != 0 || limits.cpu_quota != 0) && !available.cpu_quota {
        warnings
            .push("Your kernel does not support CPU CFS scheduler. CPU period/quota discarded.".to_owned());
        (limits.cpu_period, limits.cpu_quota) = (0, 0);
    }
    if limits.cpu_period != 0 && !(1_000..=1_000_000).contains(&limits.cpu_period) {
        return invalid(
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)",
        );
    }
    if limits.cpu_quota > 0 && limits.cpu_quota < 1_000 {
        return invalid("CPU cfs quota can not be less than 1ms (i.e. 1000)");
    }
    if (limits.cpu_realtime_period != 0 || limits.cpu_realtime_runtime != 0) && !available.cpu_realtime {
        return invalid("kernel does not support CPU real-time scheduler");
    }
    if limits.cpu_realtime_period > 0 && limits.cpu_realtime_runtime > limits.cpu_realtime_period {
        return invalid("cpu real-time runtime cannot be higher than cpu real-time period");
    }
    Ok(())
}

fn cpuset(
    limits: &mut Resources,
    available: Available,
    warnings: &mut Vec<String>,
) -> Result<(), EngineError> {
    if (!limits.cpuset_cpus.is_empty() || !limits.cpuset_mems.is_empty()) && !available.cpuset {
        warnings.push(discarded("cpuset", "Cpuset discarded."));
        limits.cpuset_cpus.clear();
        limits.cpuset_mems.clear();
    }
    for (list, what, called, online) in [
        (&limits.cpuset_cpus, "CPUs", "cpus", "/sys/devices/system/cpu/online"),
        (&limits.cpuset_mems, "memory nodes", "mems", "/sys/devices/system/node/online"),
    ] {
        if list.is_empty() {
            continue;
        }
        let wanted = numbers(list).map_err(|why| {
            EngineError::invalid(format!("Invalid value {list:.200} for cpuset {called}: {why}"))
        })?;
        let here = std::fs::read_to_string(Path::new(online)).unwrap_or_else(|_| "0".to_owned());
        let here = here.trim();
        let known = numbers(here).unwrap_or_default();
        if !wanted.is_subset(&known) {
            return invalid(format!(
                "Requested {what} are not available - requested {list:.200}, available: {here}"
            ));
        }
    }
    Ok(())
}

/// The numbers of a list such as `0-2,4`.
fn numbers(list: &str) -> Result<BTreeSet<u32>, String> {
    let bad = || format!("invalid format: {list:.200}");
    let number = |text: &str| {
        let number: u32 = text.parse().map_err(|_| bad())?;
        if text.starts_with('+') {
            return Err(bad());
        }
        if number > HIGHEST_NUMBER {
            return Err(format!("value out of range, maximum is {HIGHEST_NUMBER}"));
        }
        Ok(number)
    };
    let mut all = BTreeSet::new();
    for part in list.split(',') {
        match part.split_once('-') {
            None => drop(all.insert(number(part)?)),
            Some((first, last)) => {
                let (first, last) = (number(first)?, number(last)?);
                if first > last {
                    return Err(bad());
                }
                all.extend(first..=last);
            }
        }
    }
    Ok(all)
}

fn block_io(
    limits: &mut Resources,
    available: Available,
    warnings: &mut Vec<String>,
) -> Result<(), EngineError> {
    if limits.blkio_weight > 0 && !available.blkio_weight {
        warnings.push(discarded("Block I/O weight", "Weight discarded."));
        limits.blkio_weight = 0;
    }
    if limits.blkio_weight != 0 && !(10..=1000).contains(&limits.blkio_weight) {
        return invalid("Range of blkio weight is from 10 to 1000");
    }
    let devices = &mut limits.blkio_devices;
    if !devices.weight.is_empty() && !available.blkio_weight_device {
        warnings.push(discarded("Block I/O weight_device", "Weight-device discarded."));
        devices.weight.clear();
    }
    for (list, what, how) in [
        (&mut devices.read_bps, "BPS Block I/O read limit", "Block I/O BPS read limit discarded."),
        (&mut devices.write_bps, "BPS Block I/O write limit", "Block I/O BPS write limit discarded."),
        (&mut devices.read_iops, "IOPS Block read limit", "Block I/O IOPS read limit discarded."),
        (&mut devices.write_iops, "IOPS Block write limit", "Block I/O IOPS write limit discarded."),
    ] {
        if !list.is_empty() && !available.blkio_throttle {
            warnings.push(discarded(what, how));
            list.clear();
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled(mut limits: Resources) -> Result<Vec<String>, EngineError> {
        settle(&mut limits, true)
    }

    fn refused(limits: Resources) -> String {
        settled(limits).unwrap_err().message
    }

    #[test]
    fn contradictions_are_refused() {
        assert!(settled(Resources::default()).unwrap().is_empty());
        settled(Resources { memory: 64 << 20, memory_swap: -1, ..Resources::default() }).unwrap();
        let little = Resources { memory: 1024, ..Resources::default() };
        assert_eq!(refused(little), "Minimum memory limit allowed is 6MB");
        let swap = Resources { memory: 64 << 20, memory_swap: 32 << 20, ..Resources::default() };
        assert!(refused(swap).starts_with("Minimum memoryswap limit"));
        let mut alone = Resources { memory_swap: 32 << 20, ..Resources::default() };
        settle(&mut alone, true).unwrap_err();
        settle(&mut alone, false).unwrap();
        refused(Resources { nano_cpus: i64::MAX, ..Resources::default() });
        refused(Resources { memory_swappiness: Some(-2), ..Resources::default() });
    }

    #[test]
    fn sets_of_cpus_are_of_this_machine() {
        let cpus = |list: &str| Resources { cpuset_cpus: list.to_owned(), ..Resources::default() };
        settled(cpus("0")).unwrap();
        for list in ["0-1;rm", "abc", "1-0", "-1", "0,", "+0", "99999"] {
            assert!(refused(cpus(list)).starts_with("Invalid value"), "{list}");
        }
        assert!(refused(cpus("0-8192")).starts_with("Requested CPUs are not available - requested 0-8192"));
        let nodes = Resources { cpuset_mems: "77".to_owned(), ..Resources::default() };
        assert!(refused(nodes).starts_with("Requested memory nodes are not available"));
    }

    #[test]
    fn what_cannot_be_done_is_taken_away_and_said() {
        let mut limits = Resources {
            memory: 64 << 20,
            memory_reservation: 32 << 20,
            cpu_shares: 5,
            cpu_quota: 5000,
            cpuset_cpus: "7777".into(),
            pids_limit: Some(5),
            blkio_weight: 1,
            ..Resources::default()
        };
        let none = Available::default();
        let mut warnings = Vec::new();
        memory(&mut limits, true, none, &mut warnings).unwrap();
        cpu(&mut limits, none, &mut warnings).unwrap();
        cpuset(&mut limits, none, &mut warnings).unwrap();
        block_io(&mut limits, none, &mut warnings).unwrap();
        assert_eq!(warnings.len(), 6, "{warnings:#?}");
        assert_eq!(
            limits,
            Resources { memory_swap: -1, pids_limit: Some(5), ..Resources::default() },
            "{warnings:#?}"
        );
    }

    #[test]
    fn nobody_kills_what_may_not_be_killed() {
        let mut limits = Resources { oom_kill_disable: true, ..Resources::default() };
        let mut warnings = Vec::new();
        let v1 = Available { oom_kill_disable: true, ..Available::default() };
        memory(&mut limits, true, v1, &mut warnings).unwrap();
        assert!(warnings[0].starts_with("OOM killer is disabled"), "{warnings:?}");
        assert!(limits.oom_kill_disable);
        memory(&mut limits, true, Available::default(), &mut warnings).unwrap();
        assert!(!limits.oom_kill_disable);
    }
}
