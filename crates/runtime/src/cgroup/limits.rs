//! Changing the limits of a group that exists.

use std::fs;
use std::path::Path;

use libcontainer::oci_spec::runtime::{LinuxCpu, LinuxMemory, LinuxResources};

use super::detect::Setup;
use super::group::Group;
use crate::error::RuntimeError;

impl Group {
    /// Applies what is set in `resources`: memory, swap, reservation, CPU, cpuset, pids and block I/O weight. The rest
    /// of `resources` is not changed after creation by Docker either.
    ///
    /// # Errors
    /// `InvalidArgument` with the kernel's reason, naming the file. Limits written before stay.
    pub fn update(&self, resources: &LinuxResources) -> Result<(), RuntimeError> {
        let v2 = self.setup() == Setup::Unified;
        if let Some(memory) = resources.memory() {
            if v2 { self.memory_v2(memory)? } else { self.memory_v1(memory)? }
        }
        if let Some(cpu) = resources.cpu() {
            if v2 {
                self.cpu_v2(cpu)?
            } else {
                self.cpu_v1(cpu)?
            }
            if let Some(cpus) = cpu.cpus() {
                self.set("cpuset", "cpuset.cpus", cpus)?;
            }
            if let Some(nodes) = cpu.mems() {
                self.set("cpuset", "cpuset.mems", nodes)?;
            }
        }
        if let Some(pids) = resources.pids() {
            let limit = pids.limit();
            self.set("pids", "pids.max", &if limit > 0 { limit.to_string() } else { "max".into() })?;
        }
        if let Some(weight) = resources.block_io().as_ref().and_then(|b| b.weight()).filter(|w| *w > 0) {
            if v2 {
                self.set("io", "io.weight", &io_weight(weight).to_string())?;
            } else if self.dir("blkio").is_some_and(|d| d.join("blkio.weight").exists()) {
                self.set("blkio", "blkio.weight", &weight.to_string())?;
            } else {
                self.set("blkio", "blkio.bfq.weight", &weight.to_string())?;
            }
        }
        Ok(())
    }

    fn memory_v1(&self, memory: &LinuxMemory) -> Result<(), RuntimeError> {
        let limit = memory.limit().map(|v| ("memory.limit_in_bytes", v));
        let swap = memory.swap().map(|v| ("memory.memsw.limit_in_bytes", v));
        // The kernel insists on memory <= memory+swap at every moment, so the order depends on the direction.
        let current = self.dir("memory").and_then(|d| number(&d.join("memory.memsw.limit_in_bytes")));
        let growing = match (limit, current) {
            (Some((_, limit)), Some(current)) => u64::try_from(limit).map_or(true, |limit| limit > current),
            _ => false,
        };
        let order = if growing { [swap, limit] } else { [limit, swap] };
        for (file, value) in order.into_iter().flatten() {
            self.set("memory", file, &value.to_string())?;
        }
        if let Some(reservation) = memory.reservation() {
            self.set("memory", "memory.soft_limit_in_bytes", &reservation.to_string())?;
        }
        Ok(())
    }

    fn memory_v2(&self, memory: &LinuxMemory) -> Result<(), RuntimeError> {
        let word = |value: i64| if value < 0 { "max".to_owned() } else { value.to_string() };
        if let Some(swap) = memory.swap() {
            let limit = memory.limit().or_else(|| {
                self.dir("memory")
                    .and_then(|d| number(&d.join("memory.max")))
                    .and_then(|v| i64::try_from(v).ok())
            });
            // OCI counts memory and swap together, v2 counts swap alone.
            let own = match limit {
                Some(limit) if swap > 0 && limit > 0 => (swap - limit).max(0),
                _ => swap,
            };
            self.set("memory", "memory.swap.max", &word(own))?;
        }
        if let Some(limit) = memory.limit() {
            self.set("memory", "memory.max", &word(limit))?;
        }
        if let Some(reservation) = memory.reservation() {
            self.set("memory", "memory.low", &word(reservation))?;
        }
        Ok(())
    }

    fn cpu_v1(&self, cpu: &LinuxCpu) -> Result<(), RuntimeError> {
        if let Some(shares) = cpu.shares().filter(|s| *s > 0) {
            self.set("cpu", "cpu.shares", &shares.to_string())?;
        }
        if let Some(period) = cpu.period().filter(|p| *p > 0) {
            self.set("cpu", "cpu.cfs_period_us", &period.to_string())?;
        }
        if let Some(quota) = cpu.quota().filter(|q| *q != 0) {
            self.set("cpu", "cpu.cfs_quota_us", &quota.to_string())?;
        }
        Ok(())
    }

    fn cpu_v2(&self, cpu: &LinuxCpu) -> Result<(), RuntimeError> {
        if let Some(shares) = cpu.shares().filter(|s| *s > 0) {
            self.set("cpu", "cpu.weight", &cpu_weight(shares).to_string())?;
        }
        let (quota, period) = (cpu.quota().filter(|q| *q != 0), cpu.period().filter(|p| *p > 0));
        if quota.is_some() || period.is_some() {
            let now = self.dir("cpu").map(|d| fs::read_to_string(d.join("cpu.max")).unwrap_or_default());
            let mut now = now.as_deref().unwrap_or("max 100000").split_whitespace();
            let (old_quota, old_period) = (now.next().unwrap_or("max"), now.next().unwrap_or("100000"));
            let quota = match quota {
                Some(quota) if quota > 0 => quota.to_string(),
                Some(_) => "max".to_owned(),
                None => old_quota.to_owned(),
            };
            let period = period.map_or_else(|| old_period.to_owned(), |p| p.to_string());
            self.set("cpu", "cpu.max", &format!("{quota} {period}"))?;
        }
        Ok(())
    }

    fn set(&self, controller: &str, file: &str, value: &str) -> Result<(), RuntimeError> {
        let Some(dir) = self.dir(controller) else {
            return Err(RuntimeError::Unsupported(format!("this machine has no {controller} control group")));
        };
        fs::write(dir.join(file), value)
            .map_err(|e| RuntimeError::InvalidArgument(format!("cannot set {file} to {value}: {e}")))
    }
}

/// v1 shares (2 to 262144) to v2 weight (1 to 10000), the OCI way.
fn cpu_weight(shares: u64) -> u64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142
}

/// Block I/O weight 10 to 1000 to 1 to 10000, the OCI way.
pub(crate) fn io_weight(weight: u16) -> u64 {
    1 + (u64::from(weight.clamp(10, 1000)) - 10) * 9999 / 990
}

pub(super) fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_span_the_range() {
        assert_eq!((cpu_weight(2), cpu_weight(1024), cpu_weight(262_144)), (1, 39, 10_000));
        assert_eq!((io_weight(10), io_weight(1000)), (1, 10_000));
    }
}
