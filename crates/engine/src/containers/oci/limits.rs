use pintle_runtime::oci_spec::runtime::{
    LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxPids, LinuxResources, PosixRlimit, PosixRlimitBuilder,
    PosixRlimitType,
};

use crate::{
    EngineError,
    containers::{Resources, Ulimit},
};

/// Docker's period for `--cpus`.
const PERIOD: u64 = 100_000;

/// Limits for the control group; what is not set stays as the kernel has it.
pub(in crate::containers) fn resources(limits: &Resources) -> LinuxResources {
    let set = |value: i64| (value != 0).then_some(value);
    let mut memory = LinuxMemory::default();
    // Docker's rule: as much swap as memory, unless said otherwise.
    let swap = match (limits.memory, limits.memory_swap) {
        (0, swap) => set(swap),
        (memory, 0) => Some(memory.saturating_mul(2)),
        (_, swap) => Some(swap),
    };
    memory.set_limit(set(limits.memory)).set_swap(swap).set_reservation(set(limits.memory_reservation));
    memory.set_swappiness(limits.memory_swappiness.and_then(|value| u64::try_from(value).ok()));
    memory.set_disable_oom_killer(limits.oom_kill_disable.then_some(true));

    let mut cpu = LinuxCpu::default();
    cpu.set_shares(u64::try_from(limits.cpu_shares).ok().filter(|shares| *shares > 0));
    if limits.nano_cpus > 0 {
        cpu.set_period(Some(PERIOD));
        cpu.set_quota(Some(limits.nano_cpus.saturating_mul(100_000) / 1_000_000_000));
    } else {
        cpu.set_period(u64::try_from(limits.cpu_period).ok().filter(|period| *period > 0));
        cpu.set_quota(set(limits.cpu_quota));
    }
    let text = |text: &String| (!text.is_empty()).then(|| text.clone());
    cpu.set_cpus(text(&limits.cpuset_cpus)).set_mems(text(&limits.cpuset_mems));

    let mut all = LinuxResources::default();
    if memory != LinuxMemory::default() {
        all.set_memory(Some(memory));
    }
    if cpu != LinuxCpu::default() {
        all.set_cpu(Some(cpu));
    }
    if let Some(limit) = limits.pids_limit.filter(|limit| *limit != 0) {
        let mut pids = LinuxPids::default();
        pids.set_limit(limit.max(-1));
        all.set_pids(Some(pids));
    }
    if limits.blkio_weight > 0 {
        let mut block = LinuxBlockIo::default();
        block.set_weight(Some(limits.blkio_weight));
        all.set_block_io(Some(block));
    }
    all
}

/// Resource limits of the process.
pub(super) fn rlimits(limits: &[Ulimit]) -> Result<Option<Vec<PosixRlimit>>, EngineError> {
    let mut all = Vec::new();
    for limit in limits {
        let kind = match limit.name.as_str() {
            "as" => PosixRlimitType::RlimitAs,
            "core" => PosixRlimitType::RlimitCore,
            "cpu" => PosixRlimitType::RlimitCpu,
            "data" => PosixRlimitType::RlimitData,
            "fsize" => PosixRlimitType::RlimitFsize,
            "locks" => PosixRlimitType::RlimitLocks,
            "memlock" => PosixRlimitType::RlimitMemlock,
            "msgqueue" => PosixRlimitType::RlimitMsgqueue,
            "nice" => PosixRlimitType::RlimitNice,
            "nofile" => PosixRlimitType::RlimitNofile,
            "nproc" => PosixRlimitType::RlimitNproc,
            "rss" => PosixRlimitType::RlimitRss,
            "rtprio" => PosixRlimitType::RlimitRtprio,
            "rttime" => PosixRlimitType::RlimitRttime,
            "sigpending" => PosixRlimitType::RlimitSigpending,
            "stack" => PosixRlimitType::RlimitStack,
            other => return Err(EngineError::invalid(format!("invalid ulimit type: {other}"))),
        };
        let number = |value: i64| u64::try_from(value).unwrap_or(u64::MAX);
        if number(limit.soft) > number(limit.hard) {
            return Err(EngineError::invalid(format!(
                "ulimit soft limit must be less than or equal to hard limit: {} > {}",
                limit.soft, limit.hard
            )));
        }
        let rlimit = PosixRlimitBuilder::default()
            .typ(kind)
            .soft(number(limit.soft))
            .hard(number(limit.hard))
            .build()
            .map_err(|error| EngineError::internal(error.to_string()))?;
        all.push(rlimit);
    }
    Ok((!all.is_empty()).then_some(all))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dockers_arithmetic() {
        let all = resources(&Resources { memory: 8 << 20, nano_cpus: 1_500_000_000, ..Resources::default() });
        assert_eq!(all.memory().unwrap().swap(), Some(16 << 20));
        let cpu = all.cpu().as_ref().unwrap();
        assert_eq!((cpu.quota(), cpu.period()), (Some(150_000), Some(100_000)));
        assert!(all.pids().is_none());
        assert_eq!(resources(&Resources::default()), LinuxResources::default());
    }

    #[test]
    fn process_limits() {
        let limit = |name: &str, soft, hard| [Ulimit { name: name.to_owned(), soft, hard }];
        let found = rlimits(&limit("nofile", 10, -1)).unwrap().unwrap();
        assert_eq!(found[0].hard(), u64::MAX);
        rlimits(&limit("nofile", -1, 10)).unwrap_err();
        rlimits(&limit("bogus", 1, 1)).unwrap_err();
    }
}
