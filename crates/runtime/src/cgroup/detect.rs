//! Which hierarchies and controllers this machine has.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Which hierarchies this machine has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setup {
    /// v1 hierarchies only.
    Legacy,
    /// v1 hierarchies that hold the controllers, and a v2 one without.
    Hybrid,
    /// v2 only.
    Unified,
}

/// Where the hierarchies are mounted.
#[derive(Debug, Clone)]
pub struct Hierarchies {
    /// The kind.
    pub setup: Setup,
    /// v1: controller names and mount point.
    pub v1: Vec<(Vec<String>, PathBuf)>,
    /// v2's mount point.
    pub v2: Option<PathBuf>,
}

/// What can be limited and measured here; what is false, Docker warns about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "a checklist is what it is")]
pub struct Available {
    /// Memory limit.
    pub memory: bool,
    /// Swap limit.
    pub swap: bool,
    /// Memory reservation.
    pub memory_reservation: bool,
    /// Disabling the OOM killer (v1 only).
    pub oom_kill_disable: bool,
    /// CPU shares or weight.
    pub cpu_shares: bool,
    /// CPU quota and period.
    pub cpu_quota: bool,
    /// Pinning to CPUs and memory nodes.
    pub cpuset: bool,
    /// Limit of processes.
    pub pids: bool,
    /// Block I/O weight.
    pub blkio_weight: bool,
    /// Block I/O weight of a device.
    pub blkio_weight_device: bool,
    /// Block I/O throttling.
    pub blkio_throttle: bool,
    /// Real-time scheduling of CPUs (v1 only).
    pub cpu_realtime: bool,
    /// Freezing.
    pub freezer: bool,
}

impl Setup {
    /// This machine's.
    #[must_use]
    pub fn detect() -> Self {
        Hierarchies::detect().setup
    }

    /// `1` or `2`, as `docker info` says it.
    #[must_use]
    pub fn version(self) -> u8 {
        if self == Self::Unified { 2 } else { 1 }
    }
}

impl Hierarchies {
    /// This machine's, read once.
    #[must_use]
    pub fn detect() -> &'static Self {
        static FOUND: OnceLock<Hierarchies> = OnceLock::new();
        FOUND
            .get_or_init(|| Self::parse(&std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default()))
    }

    fn parse(mountinfo: &str) -> Self {
        let mut v1: Vec<(Vec<String>, PathBuf)> = Vec::new();
        let mut v2 = None;
        for line in mountinfo.lines() {
            let Some((left, right)) = line.split_once(" - ") else { continue };
            let Some(target) = left.split(' ').nth(4) else { continue };
            let mut right = right.split(' ');
            let (kind, options) = (right.next().unwrap_or(""), right.nth(1).unwrap_or(""));
            if !target.starts_with("/sys/fs/cgroup") {
                continue;
            }
            if kind == "cgroup2" {
                v2.get_or_insert_with(|| PathBuf::from(target));
            } else if kind == "cgroup" {
                let names: Vec<String> =
                    options.split(',').filter(|o| CONTROLLERS.contains(o)).map(str::to_owned).collect();
                if !names.is_empty() && !v1.iter().any(|(known, _)| *known == names) {
                    v1.push((names, PathBuf::from(target)));
                }
            }
        }
        let setup = match (v1.is_empty(), &v2) {
            (false, None) => Setup::Legacy,
            (false, Some(_)) => Setup::Hybrid,
            (true, _) => Setup::Unified,
        };
        Self { setup, v1, v2 }
    }

    /// The v1 mount point of a controller.
    pub(super) fn v1_mount(&self, controller: &str) -> Option<&Path> {
        self.v1
            .iter()
            .find(|(names, _)| names.iter().any(|n| n == controller))
            .map(|(_, path)| path.as_path())
    }

    /// The mount points in which a container has a directory.
    pub(super) fn roots(&self) -> Vec<&Path> {
        if self.setup == Setup::Unified {
            self.v2.iter().map(PathBuf::as_path).collect()
        } else {
            self.v1.iter().map(|(_, path)| path.as_path()).collect()
        }
    }

    /// What can be limited here.
    #[must_use]
    pub fn available(&self) -> Available {
        if self.setup == Setup::Unified {
            let root = self.v2.clone().unwrap_or_default();
            let text = std::fs::read_to_string(root.join("cgroup.controllers")).unwrap_or_default();
            let has: BTreeSet<&str> = text.split_whitespace().collect();
            let swap = std::fs::read_to_string("/proc/swaps").is_ok_and(|t| !t.is_empty());
            return Available {
                memory: has.contains("memory"),
                swap: has.contains("memory") && swap,
                memory_reservation: has.contains("memory"),
                oom_kill_disable: false,
                cpu_shares: has.contains("cpu"),
                cpu_quota: has.contains("cpu"),
                cpuset: has.contains("cpuset"),
                pids: has.contains("pids"),
                blkio_weight: has.contains("io"),
                blkio_weight_device: has.contains("io"),
                blkio_throttle: has.contains("io"),
                cpu_realtime: false,
                freezer: true,
            };
        }
        let has = |controller: &str, file: &str| {
            self.v1_mount(controller).is_some_and(|root| file.is_empty() || root.join(file).exists())
        };
        Available {
            memory: has("memory", "memory.limit_in_bytes"),
            swap: has("memory", "memory.memsw.limit_in_bytes"),
            memory_reservation: has("memory", "memory.soft_limit_in_bytes"),
            oom_kill_disable: has("memory", "memory.oom_control"),
            cpu_shares: has("cpu", "cpu.shares"),
            cpu_quota: has("cpu", "cpu.cfs_quota_us"),
            cpuset: has("cpuset", "cpuset.cpus"),
            pids: has("pids", ""),
            blkio_weight: has("blkio", "blkio.weight") || has("blkio", "blkio.bfq.weight"),
            blkio_weight_device: has("blkio", "blkio.weight_device")
                || has("blkio", "blkio.bfq.weight_device"),
            cpu_realtime: has("cpu", "cpu.rt_runtime_us"),
            blkio_throttle: has("blkio", "blkio.throttle.read_bps_device"),
            freezer: has("freezer", ""),
        }
    }
}

const CONTROLLERS: [&str; 12] = [
    "cpu",
    "cpuacct",
    "cpuset",
    "memory",
    "devices",
    "freezer",
    "blkio",
    "pids",
    "net_cls",
    "net_prio",
    "hugetlb",
    "perf_event",
];

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
25 20 0:21 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
26 25 0:22 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
27 25 0:23 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd
28 25 0:24 / /sys/fs/cgroup/unified rw shared:3 - cgroup2 cgroup2 rw
29 25 0:22 / /elsewhere rw - cgroup cgroup rw,memory";
    const UNIFIED: &str = "28 25 0:24 / /sys/fs/cgroup rw shared:3 - cgroup2 cgroup2 rw,nsdelegate";

    #[test]
    fn hybrid_and_unified_are_told_apart() {
        let hybrid = Hierarchies::parse(HYBRID);
        assert_eq!(hybrid.setup, Setup::Hybrid);
        assert_eq!(hybrid.v1_mount("cpuacct"), Some(Path::new("/sys/fs/cgroup/cpu,cpuacct")));
        assert_eq!(hybrid.v1_mount("memory"), None);
        assert_eq!(hybrid.roots().len(), 1);
        let unified = Hierarchies::parse(UNIFIED);
        assert_eq!((unified.setup, unified.roots().len()), (Setup::Unified, 1));
        assert_eq!(unified.setup.version(), 2);
    }

    #[test]
    fn this_machine_has_some() {
        assert!(Hierarchies::detect().available().pids);
    }
}
