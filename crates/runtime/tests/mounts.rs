//! Mounts that could reach the host: on one whose mounts are shared, as systemd makes them, and over `/dev`.
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

#[test]
fn each_bind_hears_what_it_asked_to_hear() {
    on_a_shared_host(|| async {
        let house = House::new();
        let words = ["rprivate", "private", "rslave", "rshared"];
        let sources: Vec<PathBuf> = words
            .iter()
            .map(|word| {
                let path = house.dir.path().join(word);
                std::fs::create_dir_all(path.join("in")).unwrap();
                // A peer group of its own: the mount that the root is in is kept apart from the host's, as by runc.
                mount_bind_recursive(&path, &path).unwrap();
                mount_change(&path, MountPropagationFlags::PRIVATE).unwrap();
                mount_change(&path, MountPropagationFlags::SHARED).unwrap();
                path
            })
            .collect();
        // With a root that keeps mounts apart, and with one that shares them because of its last bind.
        for (root, count) in [(None, 3), (Some("rshared"), 4)] {
            let mut config = house.shell("exec sleep 1000");
            let spec = &mut config.spec;
            let mut all = spec.mounts().clone().unwrap();
            for (word, source) in words.iter().zip(&sources).take(count) {
                all.push(bind(source, &format!("/{word}"), &["rbind", word]));
            }
            spec.set_mounts(Some(all));
            spec.linux_mut().as_mut().unwrap().set_rootfs_propagation(root.map(str::to_owned));
            let task = house.runtime.create(config).await.unwrap();
            task.start().await.unwrap();
            for source in &sources {
                rustix::mount::mount(
                    "later",
                    source.join("in"),
                    "tmpfs",
                    rustix::mount::MountFlags::empty(),
                    None,
                )
                .unwrap();
            }
            let table = std::fs::read_to_string(format!("/proc/{}/mountinfo", task.pid().unwrap())).unwrap();
            let heard: Vec<&str> = table
                .lines()
                .filter_map(|line| line.split(' ').nth(4)?.strip_prefix('/')?.strip_suffix("/in"))
                .collect();
            for source in &sources {
                unmount(source.join("in"), UnmountFlags::DETACH).unwrap();
            }
            task.kill(9, true).await.unwrap();
            patience(task.wait()).await.unwrap();
            task.delete().await.unwrap();
            assert_eq!(heard, words.get(2..count).unwrap(), "root {root:?}");
        }
        for source in &sources {
            unmount(source, UnmountFlags::DETACH).unwrap();
        }
    });
}

#[tokio::test]
async fn a_dev_of_the_hosts_is_left_as_it_is() {
    let house = House::new();
    let dev = house.dir.path().join("dev");
    std::fs::create_dir_all(dev.join("pts")).unwrap();
    for name in ["ptmx", "fd", "late"] {
        std::fs::write(dev.join(name), name).unwrap();
    }
    let null = std::fs::metadata("/dev/null").unwrap();
    let mode = rustix::fs::Mode::from_bits_retain(0o666);
    rustix::fs::mknodat(
        rustix::fs::CWD,
        dev.join("null"),
        rustix::fs::FileType::CharacterDevice,
        mode,
        std::os::unix::fs::MetadataExt::rdev(&null),
    )
    .unwrap();
    let late = house.dir.path().join("late");
    std::fs::write(&late, "bound").unwrap();
    let mut config = house.shell("cat /dev/ptmx /dev/fd /dev/late; echo x 2>/no > /dev/fd || echo read-only");
    let mut all = config.spec.mounts().clone().unwrap();
    all.push(bind(&dev, "/dev", &["rbind", "ro", "rprivate"]));
    all.push(bind(&late, "/dev/late", &["bind"]));
    config.spec.set_mounts(Some(all));
    let (status, out, err) = house.run(config).await;
    assert_eq!((status.code, out.as_str()), (0, "ptmxfdboundread-only\n"), "{err}");
    let mut left: Vec<_> = std::fs::read_dir(&dev)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    assert_eq!(left, ["fd", "late", "null", "ptmx", "pts"]);
}

#[tokio::test]
async fn what_cannot_be_mounted_is_said() {
    let house = House::new();
    let mut config = house.shell("true");
    let mut mount = bind(Path::new("x"), "/mnt", &[]);
    mount.set_typ(Some("nosuchfs".into()));
    let mut all = config.spec.mounts().clone().unwrap();
    all.push(mount);
    config.spec.set_mounts(Some(all));
    let error = house.runtime.create(config).await.err().unwrap().to_string();
    assert!(error.contains("ENODEV"), "{error}");
}
