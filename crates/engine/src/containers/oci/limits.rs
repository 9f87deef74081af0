use std::path::{Path, PathBuf};

use pintle_runtime::oci_spec::runtime::{
    LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxPids, LinuxResources, LinuxThrottleDevice,
    LinuxThrottleDeviceBuilder, LinuxWeightDevice, LinuxWeightDeviceBuilder, PosixRlimit, PosixRlimitBuilder,
    PosixRlimitType,
};

use crate::{
    EngineError,
    containers::{Resources, Ulimit},
};

/// Docker's period for `--cpus`.
const PERIOD: u64 = 100_000;

/// Limits for the control group; what is not set stays as the kernel has it.
pub(in crate::containers) fn resources(limits: &Resources) -> Result<LinuxResources, EngineError> {
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
    cpu.set_realtime_runtime(set(limits.cpu_realtime_runtime));
    cpu.set_realtime_period(u64::try_from(limits.cpu_realtime_period).ok().filter(|period| *period > 0));
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
    let mut block = LinuxBlockIo::default();
    block.set_weight((limits.blkio_weight > 0).then_some(limits.blkio_weight));
    let devices = &limits.blkio_devices;
    block.set_weight_device(weights(&devices.weight)?);
    block.set_throttle_read_bps_device(throttles(&devices.read_bps)?);
    block.set_throttle_write_bps_device(throttles(&devices.write_bps)?);
    block.set_throttle_read_iops_device(throttles(&devices.read_iops)?);
    block.set_throttle_write_iops_device(throttles(&devices.write_iops)?);
    if block != LinuxBlockIo::default() {
        all.set_block_io(Some(block));
    }
    Ok(all)
}

fn throttles(devices: &[(PathBuf, u64)]) -> Result<Option<Vec<LinuxThrottleDevice>>, EngineError> {
    let one = |(path, rate): &(PathBuf, u64)| {
        let (major, minor) = number(path)?;
        LinuxThrottleDeviceBuilder::default()
            .major(major)
            .minor(minor)
            .rate(*rate)
            .build()
            .map_err(|error| EngineError::internal(error.to_string()))
    };
    let all = devices.iter().map(one).collect::<Result<Vec<_>, _>>()?;
    Ok((!all.is_empty()).then_some(all))
}

fn weights(devices: &[(PathBuf, u64)]) -> Result<Option<Vec<LinuxWeightDevice>>, EngineError> {
    let one = |(path, weight): &(PathBuf, u64)| {
        let (major, minor) = number(path)?;
        LinuxWeightDeviceBuilder::default()
            .major(major)
            .minor(minor)
            .weight(u16::try_from(*weight).unwrap_or(u16::MAX))
            .build()
            .map_err(|error| EngineError::internal(error.to_string()))
    };
    let all = devices.iter().map(one).collect::<Result<Vec<_>, _>>()?;
    Ok((!all.is_empty()).then_some(all))
}

/// Major and minor number of a device of this host.
fn number(path: &Path) -> Result<(i64, i64), EngineError> {
    let failed = |why: String| EngineError::invalid(format!("stat {}: {why}", path.display()));
    let stat =
        rustix::fs::stat(path).map_err(|errno| failed(std::io::Error::from(errno).kind().to_string()))?;
    if rustix::fs::FileType::from_raw_mode(stat.st_mode) != rustix::fs::FileType::BlockDevice {
        return Err(failed("not a block device".to_owned()));
    }
    let (major, minor) = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
    Ok((i64::from(major), i64::from(minor)))
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
        let all = resources(&Resources { memory: 8 << 20, nano_cpus: 1_500_000_000, ..Resources::default() })
            .unwrap();
        assert_eq!(all.memory().unwrap().swap(), Some(16 << 20));
        let cpu = all.cpu().as_ref().unwrap();
        assert_eq!((cpu.quota(), cpu.period()), (Some(150_000), Some(100_000)));
        assert!(all.pids().is_none());
        assert_eq!(resources(&Resources::default()).unwrap(), LinuxResources::default());
    }

    #[test]
    fn only_block_devices_are_throttled() {
        for path in ["/no/such", "/dev/null", "/etc/passwd"] {
            let devices = crate::containers::BlkioDevices {
                read_bps: vec![(path.into(), 1)],
                ..crate::containers::BlkioDevices::default()
            };
            let limits = Resources { blkio_devices: devices, ..Resources::default() };
            let error = resources(&limits).unwrap_err().message;
            assert!(error.starts_with(&format!("stat {path}: ")), "{error}");
        }
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
