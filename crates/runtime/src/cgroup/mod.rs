//! Control groups, v1, hybrid and v2.
use crate::error::RuntimeError;
use serde::{Deserialize, Serialize};

/// Which hierarchies this machine has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setup {
    /// v1 hierarchies only.
    Legacy,
    /// v1 hierarchies that hold the controllers, and an empty v2 one.
    Hybrid,
    /// v2 only.
    Unified,
}

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
    pub stats: std::collections::BTreeMap<String, u64>,
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
    /// `read`, `write`, `sync`, `async`, `discard` or `total`.
    pub op: String,
    /// Bytes moved.
    pub bytes: u64,
    /// Operations done.
    pub operations: u64,
}

/// One container's place in every hierarchy.
#[derive(Debug, Clone)]
pub struct Group { path: String }
impl Group {
    /// The group at an absolute path below each hierarchy's root.
    #[must_use]
    pub fn new(path: &str) -> Self { Self { path: path.to_owned() } }
    /// Every process in it.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn processes(&self) -> Result<Vec<u32>, RuntimeError> { todo!("{}", self.path) }
    /// What it uses.
    ///
    /// # Errors
    /// When it is gone.
    pub fn stats(&self) -> Result<Stats, RuntimeError> { todo!() }
}
