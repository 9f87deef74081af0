//! What a container or plugin uses, in the API's shape.

use chrono::Utc;
use pintle_api::{
    stats::{Blkio, BlkioEntry, Cpu, CpuUsage, Memory, Pids, Stats, Throttling},
    time,
};
use pintle_runtime::cgroup::Setup;

/// One sample of this moment.
pub(crate) fn sample(id: &str, name: &str, stats: &pintle_runtime::Stats) -> Stats {
    let memory = &stats.memory;
    let version = Setup::detect().version();
    let total = machine_memory();
    let blkio = |value: fn(&pintle_runtime::cgroup::BlkioEntry) -> u64| {
        let entry = |entry: &pintle_runtime::cgroup::BlkioEntry| BlkioEntry {
            major: entry.major,
            minor: entry.minor,
            op: entry.op.clone(),
            value: value(entry),
        };
        Some(stats.blkio.iter().map(entry).collect())
    };
    Stats {
        name: name.to_owned(),
        id: id.to_owned(),
        read: time::rfc3339_nano(Utc::now()),
        preread: time::NEVER.to_owned(),
        pids_stats: Pids {
            current: Some(stats.pids.current),
            // Of no limit, control groups of version 1 say nothing and those of version 2 the largest number.
            limit: stats.pids.limit.or((version == 2).then_some(u64::MAX)),
        },
        blkio_stats: Blkio {
            io_service_bytes_recursive: blkio(|entry| entry.bytes),
            io_serviced_recursive: blkio(|entry| entry.operations),
            ..if version == 1 { Blkio::unused() } else { Blkio::default() }
        },
        cpu_stats: Cpu {
            cpu_usage: CpuUsage {
                total_usage: stats.cpu.total,
                percpu_usage: (!stats.cpu.per_cpu.is_empty()).then(|| stats.cpu.per_cpu.clone()),
                usage_in_kernelmode: stats.cpu.kernel,
                usage_in_usermode: stats.cpu.user,
            },
            system_cpu_usage: machine_cpu(),
            online_cpus: std::thread::available_parallelism()
                .ok()
                .and_then(|count| u32::try_from(count.get()).ok()),
            throttling_data: Throttling {
                periods: stats.cpu.periods,
                throttled_periods: stats.cpu.throttled_periods,
                throttled_time: stats.cpu.throttled_time,
            },
        },
        memory_stats: Memory {
            usage: Some(memory.usage),
            max_usage: (memory.max_usage > 0).then_some(memory.max_usage),
            stats: Some(memory.stats.clone()),
            failcnt: (memory.failcnt > 0).then_some(memory.failcnt),
            limit: Some(memory.limit.min(total)),
        },
        ..Stats::default()
    }
}

/// What uses nothing, as it does not run.
pub(crate) fn nothing(id: &str, name: &str) -> Stats {
    Stats {
        name: name.to_owned(),
        id: id.to_owned(),
        read: time::NEVER.to_owned(),
        preread: time::NEVER.to_owned(),
        ..Stats::default()
    }
}

/// The sample with the times of the one before, from which clients compute percentages.
pub(crate) fn after(mut now: Stats, before: &Stats) -> Stats {
    now.preread.clone_from(&before.read);
    now.precpu_stats = before.cpu_stats.clone();
    now
}

/// Bytes of memory of this machine.
pub(crate) fn machine_memory() -> u64 {
    let info = rustix::system::sysinfo();
    u64::from(info.mem_unit) * info.totalram
}

/// Nanoseconds of processor time of this machine.
fn machine_cpu() -> Option<u64> {
    let stat = std::fs::read_to_string("/proc/stat").ok()?;
    let ticks: u64 = stat
        .lines()
        .next()?
        .split_whitespace()
        .skip(1)
        .take(8)
        .filter_map(|tick| tick.parse::<u64>().ok())
        .sum();
    Some(ticks * (1_000_000_000 / rustix::param::clock_ticks_per_second().max(1)))
}
