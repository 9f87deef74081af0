//! What a container uses.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::detect::Setup;
use super::group::Group;
use super::limits::number;
use crate::error::RuntimeError;

/// What a container uses.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Stats {
    /// Processor time.
    pub cpu: CpuStats,
    /// Memory, in bytes.
    pub memory: MemoryStats,
    /// Processes and threads.
    pub pids: PidsStats,
    /// Block I/O, one entry for each device and operation.
    pub blkio: Vec<BlkioEntry>,
}

/// Processor time, in nanoseconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CpuStats {
    /// All of it.
    pub total: u64,
    /// In the kernel.
    pub kernel: u64,
    /// In user space.
    pub user: u64,
    /// For each CPU; empty on v2.
    pub per_cpu: Vec<u64>,
    /// Periods in which a quota was in force.
    pub periods: u64,
    /// Periods in which it was used up.
    pub throttled_periods: u64,
    /// Time spent waiting for the next period.
    pub throttled_time: u64,
}

/// Memory, in bytes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct MemoryStats {
    /// In use, page cache included.
    pub usage: u64,
    /// The most ever in use (0 where the kernel does not say).
    pub max_usage: u64,
    /// The limit; `u64::MAX` without one.
    pub limit: u64,
    /// How often the limit was hit.
    pub failcnt: u64,
    /// `memory.stat`, as the kernel names its fields.
    pub stats: BTreeMap<String, u64>,
}

/// Processes and threads.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PidsStats {
    /// Now.
    pub current: u64,
    /// At most; `None` without a limit.
    pub limit: Option<u64>,
}

/// Bytes and operations of one device.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct BlkioEntry {
    /// Major number.
    pub major: u64,
    /// Minor number.
    pub minor: u64,
    /// `read`, `write`, `sync`, `async`, `discard` or `total`, as the kernel has it, in lower case.
    pub op: String,
    /// Bytes moved.
    pub bytes: u64,
    /// Operations done.
    pub operations: u64,
}

/// The kernel counts some v1 times in ticks of 1/100 s.
const TICK: u64 = 10_000_000;

impl Group {
    /// What its processes use. Controllers that this machine does not have count as zero.
    ///
    /// # Errors
    /// `NotFound` when the group is gone.
    pub fn stats(&self) -> Result<Stats, RuntimeError> {
        if !self.exists() {
            return Err(RuntimeError::NotFound("its control group is gone".into()));
        }
        Ok(if self.setup() == Setup::Unified { self.stats_v2() } else { self.stats_v1() })
    }

    fn stats_v1(&self) -> Stats {
        let mut stats = Stats::default();
        if let Some(dir) = self.dir("cpuacct") {
            stats.cpu.total = number(&dir.join("cpuacct.usage")).unwrap_or(0);
            stats.cpu.per_cpu = fs::read_to_string(dir.join("cpuacct.usage_percpu"))
                .unwrap_or_default()
                .split_whitespace()
                .filter_map(|n| n.parse().ok())
                .collect();
            let split = pairs(&dir.join("cpuacct.stat"));
            stats.cpu.user = split.get("user").map_or(0, |t| t * TICK);
            stats.cpu.kernel = split.get("system").map_or(0, |t| t * TICK);
        }
        if let Some(dir) = self.dir("cpu") {
            let throttle = pairs(&dir.join("cpu.stat"));
            stats.cpu.periods = get(&throttle, "nr_periods");
            stats.cpu.throttled_periods = get(&throttle, "nr_throttled");
            stats.cpu.throttled_time = get(&throttle, "throttled_time");
        }
        if let Some(dir) = self.dir("memory") {
            let read = |file: &str| number(&dir.join(file)).unwrap_or(0);
            // v1 says "no limit" with a number near 2^63.
            let limit = number(&dir.join("memory.limit_in_bytes")).filter(|l| *l < 1 << 62);
            stats.memory = MemoryStats {
                usage: read("memory.usage_in_bytes"),
                max_usage: read("memory.max_usage_in_bytes"),
                limit: limit.unwrap_or(u64::MAX),
                failcnt: read("memory.failcnt"),
                stats: pairs(&dir.join("memory.stat")),
            };
        }
        self.pids(&mut stats);
        if let Some(dir) = self.dir("blkio") {
            stats.blkio = blkio_v1(
                &fs::read_to_string(dir.join("blkio.throttle.io_service_bytes_recursive"))
                    .unwrap_or_default(),
                &fs::read_to_string(dir.join("blkio.throttle.io_serviced_recursive")).unwrap_or_default(),
            );
        }
        stats
    }

    fn stats_v2(&self) -> Stats {
        let mut stats = Stats::default();
        let Some(dir) = self.dir("") else { return stats };
        let cpu = pairs(&dir.join("cpu.stat"));
        stats.cpu = CpuStats {
            total: get(&cpu, "usage_usec") * 1000,
            kernel: get(&cpu, "system_usec") * 1000,
            user: get(&cpu, "user_usec") * 1000,
            per_cpu: Vec::new(),
            periods: get(&cpu, "nr_periods"),
            throttled_periods: get(&cpu, "nr_throttled"),
            throttled_time: get(&cpu, "throttled_usec") * 1000,
        };
        stats.memory = MemoryStats {
            usage: number(&dir.join("memory.current")).unwrap_or(0),
            max_usage: number(&dir.join("memory.peak")).unwrap_or(0),
            limit: number(&dir.join("memory.max")).unwrap_or(u64::MAX),
            failcnt: get(&pairs(&dir.join("memory.events")), "max"),
            stats: pairs(&dir.join("memory.stat")),
        };
        self.pids(&mut stats);
        stats.blkio = blkio_v2(&fs::read_to_string(dir.join("io.stat")).unwrap_or_default());
        stats
    }

    fn pids(&self, stats: &mut Stats) {
        if let Some(dir) = self.dir("pids") {
            stats.pids.current = number(&dir.join("pids.current")).unwrap_or(0);
            stats.pids.limit = number(&dir.join("pids.max"));
        }
    }
}

fn get(map: &BTreeMap<String, u64>, key: &str) -> u64 {
    map.get(key).copied().unwrap_or(0)
}

fn pairs(path: &Path) -> BTreeMap<String, u64> {
    fs::read_to_string(path)
        .unwrap_or_default()
        .lines()
        .filter_map(|line| line.split_once(' '))
        .filter_map(|(key, value)| Some((key.to_owned(), value.trim().parse().ok()?)))
        .collect()
}

fn device(text: &str) -> Option<(u64, u64)> {
    let (major, minor) = text.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

fn blkio_v1(bytes: &str, operations: &str) -> Vec<BlkioEntry> {
    let mut entries: BTreeMap<(u64, u64, String), (u64, u64)> = BTreeMap::new();
    for (text, is_bytes) in [(bytes, true), (operations, false)] {
        for line in text.lines() {
            let mut fields = line.split_whitespace();
            let (Some(dev), Some(op), Some(value)) = (fields.next(), fields.next(), fields.next()) else {
                continue;
            };
            let (Some((major, minor)), Ok(value)) = (device(dev), value.parse::<u64>()) else { continue };
            let entry = entries.entry((major, minor, op.to_ascii_lowercase())).or_default();
            if is_bytes { entry.0 = value } else { entry.1 = value }
        }
    }
    entries
        .into_iter()
        .map(|((major, minor, op), (bytes, operations))| BlkioEntry { major, minor, op, bytes, operations })
        .collect()
}

fn blkio_v2(text: &str) -> Vec<BlkioEntry> {
    let mut entries = Vec::new();
    for line in text.lines() {
        let mut fields = line.split_whitespace();
        let Some((major, minor)) = fields.next().and_then(device) else { continue };
        let values: BTreeMap<&str, u64> = fields
            .filter_map(|f| f.split_once('='))
            .filter_map(|(k, v)| Some((k, v.parse().ok()?)))
            .collect();
        for (op, bytes, operations) in
            [("read", "rbytes", "rios"), ("write", "wbytes", "wios"), ("discard", "dbytes", "dios")]
        {
            if let (Some(&bytes), Some(&operations)) = (values.get(bytes), values.get(operations)) {
                entries.push(BlkioEntry { major, minor, op: op.to_owned(), bytes, operations });
            }
        }
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kernels_block_io_is_read() {
        let v1 = blkio_v1(
            "254:0 Read 4096\n254:0 Write 0\nTotal 4096\n",
            "254:0 Read 1\n254:0 Write 0\nTotal 1\n",
        );
        assert_eq!(v1.len(), 2);
        assert_eq!((v1[0].op.as_str(), v1[0].bytes, v1[0].operations), ("read", 4096, 1));
        let v2 = blkio_v2("254:0 rbytes=8192 wbytes=1 rios=2 wios=1 dbytes=0 dios=0\n7:1\n");
        assert_eq!(v2.len(), 3);
        assert_eq!((v2[0].major, v2[0].bytes, v2[0].operations), (254, 8192, 2));
    }
}
