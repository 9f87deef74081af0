//! What a container may not do. Each test fails without its guard: see DESIGN, "Known traps of the embedded runtime".
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod harness;

use std::collections::HashSet;

use harness::{House, exec, exec_run, patience, process};
use pintle_runtime::oci_spec::runtime::{
    Capabilities, Capability, LinuxNamespace, LinuxNamespaceType, Mount, MountBuilder, User,
};
use pintle_runtime::{Seccomp, spec};

const LOOK: &str =
    "grep -E '^(Cap|Seccomp:|NoNewPrivs)' /proc/self/status; unshare -U true 2>&1; unshare -m true 2>&1";

fn field(text: &str, name: &str) -> u64 {
    let line = text
        .lines()
        .find_map(|l| l.strip_prefix(&format!("{name}:")))
        .unwrap_or_else(|| panic!("{name} in {text}"));
    u64::from_str_radix(line.trim(), 16).unwrap()
}

fn assert_confined(text: &str, caps: u64) {
    assert_eq!(field(text, "Seccomp"), 2, "{text}");
    for set in ["CapEff", "CapPrm", "CapBnd"] {
        assert_eq!(field(text, set), caps, "{set} in {text}");
    }
    assert_eq!(field(text, "CapInh"), 0, "{text}");
    assert_eq!(field(text, "CapAmb"), 0, "{text}");
    assert_eq!(text.matches("Operation not permitted").count(), 2, "{text}");
}

const DOCKER: u64 = 0xa804_25fb;

#[tokio::test]
async fn init_and_exec_have_the_filter_and_exactly_the_capabilities_asked_for() {
    let house = House::new();
    let config = house.shell(&format!("({LOOK}) > /tmp/look; sleep 1000"));
    let task = house.runtime.create(config).await.unwrap();
    task.start().await.unwrap();
    let (code, out, _) = exec_run(&task, exec("a", &["sh", "-c", LOOK])).await.unwrap();
    assert_ne!(code, 127);
    assert_confined(&out, DOCKER);
    patience(async {
        while std::fs::read_to_string(house.rootfs.join("tmp/look"))
            .unwrap_or_default()
            .matches("permitted")
            .count()
            < 2
        {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    })
    .await;
    assert_confined(&std::fs::read_to_string(house.rootfs.join("tmp/look")).unwrap(), DOCKER);

    // An exec may ask for fewer.
    let mut few = exec("few", &["sh", "-c", LOOK]);
    few.process.set_capabilities(Some(spec::capability_sets(&HashSet::from([Capability::Chown]))));
    assert_confined(&exec_run(&task, few).await.unwrap().1, 1);
    task.delete().await.unwrap();
}

#[tokio::test]
async fn with_no_new_privileges_too() {
    let house = House::new();
    let mut config = house.shell(&format!("{LOOK}; sleep 1000"));
    process(&mut config.spec).set_no_new_privileges(Some(true));
    let log = config.log.clone().unwrap().path;
    let task = house.runtime.create(config).await.unwrap();
    task.start().await.unwrap();
    let (_, out, _) = exec_run(&task, exec("a", &["sh", "-c", LOOK])).await.unwrap();
    assert_confined(&out, DOCKER);
    assert_eq!(field(&out, "NoNewPrivs"), 1);
    patience(async {
        while harness::logged(&log, "stdout").matches("permitted").count() < 2 {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    })
    .await;
    assert_confined(&harness::logged(&log, "stdout"), DOCKER);
    task.delete().await.unwrap();
}

#[tokio::test]
async fn no_new_privileges_false_is_no_obstacle() {
    let house = House::new();
    let mut config = house.shell(LOOK);
    process(&mut config.spec).set_no_new_privileges(Some(false));
    let (_, out, _) = house.run(config).await;
    assert_confined(&out, DOCKER);
    assert_eq!(field(&out, "NoNewPrivs"), 0);
}

#[tokio::test]
async fn no_capabilities_means_none() {
    let house = House::new();
    let mut config = house.shell(LOOK);
    process(&mut config.spec).set_capabilities(None);
    assert_confined(&house.run(config).await.1, 0);
    let mut config = house.shell(LOOK);
    process(&mut config.spec).set_capabilities(Some(spec::capability_sets(&Capabilities::new())));
    assert_confined(&house.run(config).await.1, 0);
}

#[tokio::test]
async fn a_user_loses_them_and_ambient_ones_stay() {
    let house = House::new();
    let mut user = User::default();
    user.set_uid(1000).set_gid(1000).set_additional_gids(None);
    let mut config = house.shell("id -G; grep -E '^(Cap|Seccomp:|Groups)' /proc/self/status");
    process(&mut config.spec).set_user(user.clone());
    let (_, out, err) = house.run(config).await;
    assert_eq!(
        (field(&out, "CapEff"), field(&out, "CapBnd"), field(&out, "Seccomp")),
        (0, DOCKER, 2),
        "{out}{err}"
    );
    assert!(out.starts_with("1000\n"), "root's groups do not come along: {out}");

    let mut config = house.shell("grep -E '^Cap' /proc/self/status");
    let one: Capabilities = HashSet::from([Capability::NetBindService]);
    let mut sets = spec::capability_sets(&spec::default_capabilities());
    sets.set_inheritable(Some(one.clone())).set_ambient(Some(one));
    process(&mut config.spec).set_user(user).set_capabilities(Some(sets));
    let (_, out, _) = house.run(config).await;
    assert_eq!((field(&out, "CapEff"), field(&out, "CapAmb")), (1 << 10, 1 << 10), "{out}");
}

#[tokio::test]
async fn unconfined_and_own_profiles() {
    let house = House::new();
    let mut config = house.shell("grep Seccomp: /proc/self/status; unshare -U true && echo could");
    config.seccomp = Seccomp::Unconfined;
    let (_, out, err) = house.run(config).await;
    assert_eq!(out, "Seccomp:\t0\ncould\n", "{err}");

    let mut config = house.shell("busybox mkdir /tmp/x; echo $?");
    config.seccomp = Seccomp::Profile(serde_json::json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}]
    }));
    let (_, out, err) = house.run(config).await;
    assert_eq!(out, "1\n");
    assert!(err.contains("No space left"), "{err}");

    // Dropping capabilities comes before the filter, so that a profile may forbid that too.
    let mut config = house.config(&["true"]);
    config.seccomp = Seccomp::Profile(serde_json::json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["capget", "capset", "setgroups", "socket"], "action": "SCMP_ACT_KILL_PROCESS"}]
    }));
    assert_eq!(house.run(config).await.0.code, 0);

    let mut config = house.config(&["true"]);
    config.seccomp = Seccomp::Profile(serde_json::json!({"defaultAction": "SCMP_ACT_PERHAPS"}));
    assert!(house.runtime.create(config).await.unwrap_err().to_string().contains("SCMP_ACT_PERHAPS"));
}

#[tokio::test]
async fn the_waiting_process_is_not_reachable_from_the_container() {
    // Between create and start the process holds CAP_SYS_ADMIN; nothing of the container runs until then.
    let house = House::new();
    let task = house.runtime.create(house.config(&["sleep", "1000"])).await.unwrap();
    assert_eq!(task.processes().await.unwrap(), [task.pid().unwrap()]);
    let (created, pid) = (
        std::fs::read_to_string(format!("/proc/{}/status", task.pid().unwrap())).unwrap(),
        task.pid().unwrap(),
    );
    assert_eq!(
        field(&created, "CapBnd"),
        DOCKER | 1 << 21 | 1 << 8,
        "no wider than the two that loading needs"
    );
    task.start().await.unwrap();
    patience(async {
        while field(&std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap(), "Seccomp") != 2
            || field(&std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap(), "CapEff") != DOCKER
        {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    })
    .await;
    task.delete().await.unwrap();
}

#[tokio::test]
async fn the_cgroup_tree_is_read_only() {
    let house = House::new();
    let (_, out, err) = house
        .run(house.shell(
            "ls /sys/fs/cgroup >&2; for f in $(busybox find /sys/fs/cgroup -name cgroup.procs); do echo 0 2>/dev/null > $f && echo wrote $f; done; echo looked",
        ))
        .await;
    assert_eq!(out, "looked\n", "{err}");
    assert!(!err.trim().is_empty());
}

#[tokio::test]
async fn devices_are_dockers_and_others_are_refused() {
    let house = House::new();
    let (_, out, err) = house
        .run(house.shell(
            "head -c 3 /dev/zero | wc -c; mknod /tmp/disk b 254 0 && (head -c 1 /tmp/disk >/dev/null || echo refused); ls /dev | busybox tr '\\n' ' '",
        ))
        .await;
    assert!(out.starts_with("3\nrefused\n"), "{out} {err}");
    for name in ["full", "null", "ptmx", "pts", "random", "tty", "urandom", "zero", "shm", "mqueue", "stdin"]
    {
        assert!(out.contains(name), "{name} in {out}");
    }
}

#[tokio::test]
async fn masked_and_read_only_paths_hold() {
    let house = House::new();
    let (_, out, _) = house
        .run(house.shell("cat /proc/kcore | wc -c; echo 1 2>/dev/null > /proc/sys/kernel/domainname || echo ro; ls /sys/firmware 2>/dev/null | wc -l"))
        .await;
    assert_eq!(out, "0\nro\n0\n");
}

fn bind(source: &std::path::Path, target: &str, options: &[&str]) -> Mount {
    MountBuilder::default()
        .destination(target)
        .typ("bind")
        .source(source)
        .options(options.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>())
        .build()
        .unwrap()
}

#[tokio::test]
async fn mounts_made_inside_a_shared_bind_appear_outside() {
    use rustix::mount::{MountPropagationFlags, mount_bind, mount_change, unmount};
    let house = House::new();
    let shared = house.dir.path().join("shared");
    std::fs::create_dir_all(shared.join("inner")).unwrap();
    mount_bind(&shared, &shared).unwrap();
    mount_change(&shared, MountPropagationFlags::SHARED).unwrap();
    let mut config =
        house.shell("mount -t tmpfs none /shared/inner && touch /shared/inner/seen && sleep 1000");
    config.seccomp = Seccomp::Default;
    let mut caps = spec::default_capabilities();
    caps.insert(Capability::SysAdmin);
    process(&mut config.spec).set_capabilities(Some(spec::capability_sets(&caps)));
    let mut mounts = config.spec.mounts().clone().unwrap();
    mounts.push(bind(&shared, "/shared", &["rbind", "rshared", "rw"]));
    config.spec.set_mounts(Some(mounts));
    config.spec.linux_mut().as_mut().unwrap().set_rootfs_propagation(Some("rshared".into()));
    let task = house.runtime.create(config).await.unwrap();
    task.start().await.unwrap();
    let seen = tokio::time::timeout(std::time::Duration::from_secs(10), async {
        while !shared.join("inner/seen").exists() {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    })
    .await;
    task.delete().await.unwrap();
    let _ = unmount(shared.join("inner"), rustix::mount::UnmountFlags::DETACH);
    unmount(&shared, rustix::mount::UnmountFlags::DETACH).unwrap();
    seen.unwrap();
}

/// A user namespace in which root is `100000` outside, held by a process that only waits.
fn user_namespace() -> (std::process::Child, String) {
    let mut command = std::process::Command::new("unshare");
    command.args(["-U", "sh", "-c", "echo; exec sleep 1000"]).stdout(std::process::Stdio::piped());
    let mut holder = command.spawn().unwrap();
    std::io::Read::read_exact(holder.stdout.as_mut().unwrap(), &mut [0]).unwrap();
    for map in ["uid_map", "gid_map"] {
        std::fs::write(format!("/proc/{}/{map}", holder.id()), "0 100000 65536").unwrap();
    }
    let path = format!("/proc/{}/ns/user", holder.id());
    (holder, path)
}

#[tokio::test]
async fn an_exec_is_in_the_containers_user_namespace() {
    let house = House::new();
    let (mut holder, path) = user_namespace();
    let mut config = house.shell("sleep 1000");
    let linux = config.spec.linux_mut().as_mut().unwrap();
    let mut namespaces = linux.namespaces().clone().unwrap();
    let mut user = LinuxNamespace::default();
    user.set_typ(LinuxNamespaceType::User).set_path(Some(path.into()));
    namespaces.push(user);
    linux.set_namespaces(Some(namespaces));
    let task = house.runtime.create(config).await.unwrap();
    task.start().await.unwrap();
    let look = format!("id; cat /proc/self/uid_map; {LOOK}");
    let (_, out, err) = exec_run(&task, exec("root", &["sh", "-c", &look])).await.unwrap();
    assert!(out.contains("uid=0(root) gid=0(root)") && out.contains(" 100000 "), "{out}{err}");
    assert_confined(&out, DOCKER);

    let mut plain =
        exec("app", &["sh", "-c", "id; echo again > /dev/stdout; grep -E '^(Uid|CapEff)' /proc/self/status"]);
    let mut app = User::default();
    app.set_uid(1000).set_gid(1000).set_additional_gids(Some(vec![1000, 7]));
    plain.process.set_user(app);
    plain.process.set_capabilities(Some(spec::capability_sets(&HashSet::new())));
    let (code, out, err) = exec_run(&task, plain).await.unwrap();
    assert!(out.contains("uid=1000(app) gid=1000(app) groups=7,1000(app)"), "{code} {out}{err}");
    assert!(out.contains("again") && field(&out, "CapEff") == 0, "{out}{err}");

    let mut terminal = exec("tty", &["sh", "-c", "echo again > /dev/stdout; ls -ln $(tty)"]);
    terminal.terminal = true;
    let mut app = User::default();
    app.set_uid(1000).set_gid(1000);
    terminal.process.set_user(app);
    let run = task.exec(terminal).await.unwrap();
    let (_, mut stream) = run.start().await.unwrap();
    let mut seen = Vec::new();
    let _ = patience(tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut seen)).await;
    let seen = String::from_utf8(seen).unwrap();
    assert!(seen.contains("again") && seen.contains(" 1000 "), "{seen}");

    // Somebody whom the namespace does not know cannot be had.
    let mut nobody = exec("nobody", &["true"]);
    let mut unknown = User::default();
    unknown.set_uid(70_000).set_gid(0);
    nobody.process.set_user(unknown);
    let error = exec_run(&task, nobody).await.unwrap_err().to_string();
    assert!(error.contains("entering the container's user namespace"), "{error}");
    task.delete().await.unwrap();
    holder.kill().unwrap();
    holder.wait().unwrap();
}
