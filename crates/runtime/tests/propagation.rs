//! On hosts whose mounts are shared, as systemd makes them.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod harness;

use std::path::{Path, PathBuf};

use harness::{House, patience};
use nix::sched::{CloneFlags, unshare};
use pintle_runtime::oci_spec::runtime::Mount;
use rustix::mount::{MountPropagationFlags, UnmountFlags, mount_bind_recursive, mount_change, unmount};

/// Runs `test` on a thread whose mounts are a host's of their own, all shared.
fn on_a_shared_host<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
    let thread = std::thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).unwrap();
        mount_change("/", MountPropagationFlags::SHARED | MountPropagationFlags::REC).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(test());
    });
    thread.join().unwrap();
}

/// Where something is mounted on this thread's host.
fn mounts() -> Vec<PathBuf> {
    let table = std::fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
    table.lines().map(|line| line.split(' ').nth(4).unwrap().into()).collect()
}

fn bind(source: &Path, target: &str, options: &[&str]) -> Mount {
    let mut mount = Mount::default();
    mount
        .set_source(Some(source.to_owned()))
        .set_destination(target.into())
        .set_typ(Some("bind".into()))
        .set_options(Some(options.iter().map(|option| (*option).to_owned()).collect()));
    mount
}

#[test]
fn a_shared_root_shares_what_it_was_asked_to_share_and_nothing_else() {
    on_a_shared_host(|| async {
        let house = House::new();
        let dir = |name: &str| {
            let path = house.dir.path().join(name);
            std::fs::create_dir(&path).unwrap();
            path
        };
        let (talks, hears) = (dir("talks"), dir("hears"));
        mount_bind_recursive(&talks, &talks).unwrap();
        // A peer of its own, not of the mount that it was made from.
        mount_change(&talks, MountPropagationFlags::PRIVATE).unwrap();
        mount_change(&talks, MountPropagationFlags::SHARED).unwrap();
        let before = mounts();
        let mut config = house.shell(
            "mkdir /talks/in /hears/in; mount -t tmpfs t /talks/in && mount -t tmpfs t /hears/in && echo up; \
             exec sleep 1000",
        );
        let spec = &mut config.spec;
        let mut all = spec.mounts().clone().unwrap();
        all.push(bind(&talks, "/talks", &["rbind", "rshared"]));
        all.push(bind(&hears, "/hears", &["rbind", "rslave"]));
        all.push(bind(Path::new("/"), "/host", &["rbind"]));
        spec.set_mounts(Some(all));
        spec.linux_mut().as_mut().unwrap().set_rootfs_propagation(Some("rshared".into()));
        let capabilities = pintle_runtime::spec::parse_capability("CAP_SYS_ADMIN").unwrap();
        let mut wanted = pintle_runtime::spec::default_capabilities();
        wanted.insert(capabilities);
        harness::process(spec).set_capabilities(Some(pintle_runtime::spec::capability_sets(&wanted)));
        let log = config.log.as_ref().unwrap().path.clone();
        let task = house.runtime.create(config).await.unwrap();
        task.start().await.unwrap();
        harness::until_logged(&log, "up").await;
        let new: Vec<PathBuf> = mounts().into_iter().filter(|mount| !before.contains(mount)).collect();
        assert_eq!(new, [talks.join("in")], "only what may talk is heard");
        assert_eq!(mounts().len(), before.len() + 1, "nothing was mounted over what there was");
        task.kill(9, true).await.unwrap();
        patience(task.wait()).await.unwrap();
        // A cgroup that something is mounted over cannot be removed.
        task.delete().await.unwrap();
        unmount(talks.join("in"), UnmountFlags::DETACH).unwrap();
        unmount(&talks, UnmountFlags::DETACH).unwrap();
    });
}
