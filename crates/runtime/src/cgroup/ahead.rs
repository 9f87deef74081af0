//! Moving processes between groups without waiting for the kernel.

use std::{
    path::PathBuf,
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use super::{Hierarchies, Setup};

/// Says that a process is going to be moved to another control group soon. Returns at once.
///
/// The kernel moves a process only when every processor has heard that somebody wants to move one: an RCU grace period,
/// which takes 10 to 20 milliseconds on a machine at rest. Those that follow within about as long again need not wait.
/// So whoever says it early waits while other work is done. What is moved here is this process, to where it is.
pub fn expect_move() {
    static UNDER_WAY: AtomicBool = AtomicBool::new(false);
    let Some(file) = own_group() else { return };
    if UNDER_WAY.swap(true, Ordering::Relaxed) {
        return;
    }
    let moved = thread::Builder::new().name("cgroup".to_owned()).spawn(move || {
        // Whoever may not do this may not move others either, and says so then.
        let _ = std::fs::write(file, std::process::id().to_string());
        UNDER_WAY.store(false, Ordering::Relaxed);
    });
    if moved.is_err() {
        UNDER_WAY.store(false, Ordering::Relaxed);
    }
}

/// The list of processes of the group that this process is in, in any one of the hierarchies.
fn own_group() -> Option<&'static PathBuf> {
    static FOUND: OnceLock<Option<PathBuf>> = OnceLock::new();
    let find = || {
        let hierarchies = Hierarchies::detect();
        let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
        let root = *hierarchies.roots().first()?;
        let controllers = hierarchies.v1.first().map(|(controllers, _)| controllers.join(","));
        let unified = hierarchies.setup == Setup::Unified;
        place(&groups, controllers.as_deref().filter(|_| !unified))
            .map(|group| root.join(group).join("cgroup.procs"))
    };
    FOUND.get_or_init(find).as_ref()
}

/// The group in the hierarchy of these controllers, or in that of version 2, relative to its root.
fn place<'a>(groups: &'a str, controllers: Option<&str>) -> Option<&'a str> {
    groups.lines().find_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (names, group) = rest.split_once(':')?;
        (names == controllers.unwrap_or_default()).then(|| group.trim_start_matches('/'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_of_one_hierarchy() {
        let groups = "9:name=systemd:/x\n8:cpu,cpuacct:/a/b\n0::/user.slice/c\n";
        assert_eq!(place(groups, Some("cpu,cpuacct")), Some("a/b"));
        assert_eq!(place(groups, None), Some("user.slice/c"));
        assert_eq!(place(groups, Some("pids")), None);
    }

    #[test]
    fn this_process_stays_where_it_is() {
        let before = std::fs::read_to_string("/proc/self/cgroup").unwrap();
        let file = own_group().expect("a group of this process's own");
        std::fs::write(file, std::process::id().to_string()).unwrap();
        expect_move();
        assert_eq!(std::fs::read_to_string("/proc/self/cgroup").unwrap(), before);
        assert!(
            std::fs::read_to_string(file).unwrap().lines().any(|pid| pid == std::process::id().to_string())
        );
    }
}
