//! Runtimes that are programs: Debian's runc, and stand-ins that fail or hang, behind the same shim.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod harness;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use harness::*;
use pintle_runtime::oci_spec::runtime::Capability;
use pintle_runtime::{Attach, Binary, Chosen, Demand, Known, Need, Runtime, RuntimeError, Status};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// The house's runtime knows this program as `x`.
fn knows(runtime: &Runtime, path: &Path) {
    let mut known = Known::default();
    let binary = Binary { name: "x".into(), path: path.into(), args: Vec::new() };
    known.add("x", Chosen::Binary(binary));
    runtime.set_known(known);
}

fn house(path: &Path) -> House {
    let house = House::new();
    knows(&house.runtime, path);
    house
}

fn runc() -> PathBuf {
    ["/usr/sbin/runc", "/usr/bin/runc"].map(PathBuf::from).into_iter().find(|path| path.exists()).unwrap()
}

/// A script in the house.
fn script(house: &House, text: &str) -> PathBuf {
    let path = house.dir.path().join("runtime");
    std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn x(mut config: pintle_runtime::TaskConfig) -> pintle_runtime::TaskConfig {
    config.runtime = "x".into();
    config
}

#[tokio::test]
async fn a_life_on_runc() {
    let house = house(&runc());
    let mut config = x(house.shell("echo out; echo err >&2; cat; exit 7"));
    config.stdin_open = true;
    config.stdin_once = true;
    let log = config.log.as_ref().unwrap().path.clone();
    let task = house.runtime.create(config).await.unwrap();
    assert_eq!(status(&task).await, Status::Created);
    let mut stream = task.attach(Attach::ALL).await.unwrap();
    task.start().await.unwrap();
    assert!(matches!(task.start().await.unwrap_err(), RuntimeError::Conflict(_)));
    stream.write_all(b"in\n").await.unwrap();
    until_logged(&log, "in").await;

    // In it: exec with its code, its streams, its missing command, and eight at once.
    let (code, out, err) =
        exec_run(&task, exec("e", &["sh", "-c", "echo o; echo e >&2; exit 3"])).await.unwrap();
    assert_eq!((code, out.as_str(), err.as_str()), (3, "o\n", "e\n"));
    let error = exec_run(&task, exec("m", &["no-such-command"])).await.unwrap_err();
    assert_eq!(error.exit_code(), 127, "{error}");
    assert!(error.to_string().starts_with("OCI runtime exec failed: "), "{error}");
    let many = futures_util::future::join_all(
        (0..8).map(|n| exec_run(&task, exec(Box::leak(format!("n{n}").into_boxed_str()), &["true"]))),
    );
    for ended in patience(many).await {
        assert_eq!(ended.unwrap().0, 0);
    }

    task.pause().await.unwrap();
    assert_eq!(status(&task).await, Status::Paused);
    assert!(matches!(task.pause().await.unwrap_err(), RuntimeError::Conflict(_)));
    task.resume().await.unwrap();
    assert!(task.stats().await.unwrap().memory.usage > 0);

    stream.shutdown().await.unwrap();
    let (out, err) = frames(&mut stream).await;
    assert_eq!((out.as_slice(), err.as_slice()), (&b"out\nin\n"[..], &b"err\n"[..]));
    assert_eq!(patience(task.wait()).await.unwrap().code, 7);
    task.delete().await.unwrap();
    assert!(house.runtime.attach_existing(task.id()).await.unwrap().is_none());
}

#[tokio::test]
async fn a_terminal_on_runc() {
    let house = house(&runc());
    let mut config = x(house.shell("stty size; exec sleep 1000"));
    config.terminal = true;
    config.stdin_open = true;
    config.console_size = Some((33, 77));
    let log = config.log.as_ref().unwrap().path.clone();
    let task = house.runtime.create(config).await.unwrap();
    task.start().await.unwrap();
    until_logged(&log, "33 77").await;
    let mut tty = exec("t", &["sh", "-c", "tty && read x && echo got $x && stty size"]);
    tty.terminal = true;
    tty.attach = Attach::ALL;
    tty.console_size = Some((20, 50));
    let exec = task.exec(tty).await.unwrap();
    let (_, mut stream) = exec.start().await.unwrap();
    exec.resize(21, 51).await.unwrap();
    stream.write_all(b"word\n").await.unwrap();
    let mut seen = String::new();
    patience(stream.read_to_string(&mut seen)).await.unwrap();
    assert!(seen.contains("/dev/pts/") && seen.contains("got word") && seen.contains("21 51"), "{seen}");
    assert_eq!(patience(exec.wait()).await.unwrap().code, 0);
    // A paused one can be killed.
    task.pause().await.unwrap();
    task.kill(9, false).await.unwrap();
    assert_eq!(patience(task.wait()).await.unwrap().code, 137);
    assert!(matches!(task.kill(15, false).await.unwrap_err(), RuntimeError::NotFound(_)));
    task.delete().await.unwrap();
}

#[tokio::test]
async fn another_engine_finds_it_and_a_dead_shim_leaves_nothing() {
    let house = house(&runc());
    let task = house.runtime.create(x(house.shell("exec sleep 1000"))).await.unwrap();
    task.start().await.unwrap();
    // The next engine need not know the runtime any more: the container does.
    let next = house.another();
    let found = next.attach_existing(task.id()).await.unwrap().unwrap();
    assert_eq!(found.pid(), task.pid());
    assert_eq!(exec_run(&found, exec("e", &["true"])).await.unwrap().0, 0);

    let dir = house.dir.path().join("tasks").join(task.id());
    let shim = std::fs::read_to_string(dir.join("shim.pid")).unwrap();
    let pid = rustix::process::Pid::from_raw(shim.trim().parse().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    let init = PathBuf::from(format!("/proc/{}/stat", task.pid().unwrap()));
    patience(async {
        while house.another().attach_existing(task.id()).await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await;
    assert_eq!(found.wait().await.unwrap().code, 255);
    found.delete().await.unwrap();
    // Its body may lie there until the machine's init comes by.
    let stat = std::fs::read_to_string(init).unwrap_or_default();
    assert!(!dir.exists() && (stat.is_empty() || stat.contains(") Z ")), "{stat}");
    let left: Vec<PathBuf> = walk(Path::new("/sys/fs/cgroup"), task.id());
    assert!(left.is_empty(), "{left:?}");
}

/// Directories of this name at most four levels down.
fn walk(root: &Path, name: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut pending = vec![(root.to_owned(), 0)];
    while let Some((dir, depth)) = pending.pop() {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                if entry.file_name() == name {
                    found.push(entry.path());
                } else if depth < 3 {
                    pending.push((entry.path(), depth + 1));
                }
            }
        }
    }
    found
}

#[tokio::test]
async fn confined_as_by_the_embedded_runtime() {
    let house = house(&runc());
    let look = "grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status; id; \
                unshare -m true; cat /proc/kcore | head -c1 | wc -c; mknod /tmp/x b 1 1 && cat /tmp/x";
    let own = house.run(house.shell(look)).await;
    let foreign = house.run(x(house.shell(look))).await;
    assert_eq!(own.1, foreign.1);
    assert!(
        foreign.1.contains("Seccomp:\t2") && foreign.1.contains("CapBnd:\t00000000a80425fb"),
        "{}",
        foreign.1
    );
    assert!(foreign.2.contains("not permitted"), "{}", foreign.2);
}

#[tokio::test]
async fn what_the_runtime_says_reaches_the_user() {
    let house = house(&runc());
    let error = house.runtime.create(x(house.config(&["no-such-command"]))).await.unwrap_err();
    assert_eq!(error.exit_code(), 127, "{error}");
    assert!(error.to_string().contains("executable file not found in $PATH: unknown"), "{error}");
    let error = house.runtime.create(x(house.config(&["/etc/passwd"]))).await.unwrap_err();
    assert_eq!(error.exit_code(), 126, "{error}");

    knows(&house.runtime, Path::new("/no/such/runtime"));
    let error = house.runtime.create(x(house.shell("true"))).await.unwrap_err();
    assert!(error.to_string().contains("fork/exec /no/such/runtime: no such file or directory"), "{error}");

    let wrapper = script(&house, "echo the driver is not loaded >&2; exit 4");
    knows(&house.runtime, &wrapper);
    let error = house.runtime.create(x(house.shell("true"))).await.unwrap_err();
    assert!(error.to_string().ends_with("exit status 4: the driver is not loaded: unknown"), "{error}");
    assert_eq!(house.runtime.list().await.unwrap(), [""; 0]);

    let mut config = house.shell("true");
    config.runtime = "unheard-of".into();
    let error = house.runtime.create(config).await.unwrap_err();
    assert_eq!(error.to_string(), "unknown or invalid runtime name: unheard-of");
}

#[tokio::test]
async fn a_call_that_hangs_stalls_nothing_else() {
    let house = House::new();
    let runc = runc().display().to_string();
    // It makes and starts containers, and hangs in everything later.
    let hanging = script(
        &house,
        &format!("for word; do case $word in pause|exec) exec sleep 1000;; esac; done; exec {runc} \"$@\""),
    );
    knows(&house.runtime, &hanging);
    let config = x(house.shell("while true; do date; sleep 1; done"));
    let log = config.log.as_ref().unwrap().path.clone();
    let task = house.runtime.create(config).await.unwrap();
    task.start().await.unwrap();
    let (paused, inside) = (task.clone(), task.clone());
    let paused = tokio::spawn(async move { paused.pause().await });
    let inside = tokio::spawn(async move { exec_run(&inside, exec("h", &["true"])).await });
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert_eq!(status(&task).await, Status::Running);
    let before = logged(&log, "stdout").lines().count();
    patience(async {
        while logged(&log, "stdout").lines().count() < before + 2 {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    })
    .await;
    assert!(!paused.is_finished() && !inside.is_finished());
    task.kill(9, false).await.unwrap();
    assert_eq!(patience(task.wait()).await.unwrap().code, 137);
    task.delete().await.unwrap();
    assert!(paused.await.unwrap().is_err() && inside.await.unwrap().is_err());
}

#[tokio::test]
async fn what_is_demanded_and_not_there_is_refused_by_its_field() {
    let house = House::new();
    let runc = runc().display().to_string();
    let features = r#"{"ociVersionMax":"1.0.2","linux":{"namespaces":["mount","pid","network","ipc","uts"],
        "capabilities":["CAP_CHOWN","CAP_KILL","CAP_SETUID","CAP_SETGID"],"seccomp":{"enabled":false}}}"#;
    let poor = script(
        &house,
        &format!("[ \"$1\" = features ] && {{ cat <<'END'\n{features}\nEND\nexit; }}; exec {runc} \"$@\""),
    );
    knows(&house.runtime, &poor);
    // Defaults that it lacks are left out.
    let (ended, out, _) = house.run(x(house.shell("grep -E 'CapBnd|Seccomp:' /proc/self/status"))).await;
    assert_eq!(ended.code, 0);
    assert!(out.contains("CapBnd:\t00000000000000e1") && out.contains("Seccomp:\t0"), "{out}");
    for (need, words) in [
        (
            Need::Capability(Capability::SysAdmin),
            "HostConfig.X: runtime \"x\" does not support the capability CAP_SYS_ADMIN",
        ),
        (Need::Seccomp, "HostConfig.X: runtime \"x\" does not support system call filters"),
    ] {
        let mut config = x(house.shell("true"));
        config.demands = vec![Demand { field: "HostConfig.X".into(), need }];
        let error = house.runtime.create(config).await.unwrap_err();
        assert!(matches!(error, RuntimeError::InvalidArgument(_)));
        assert_eq!(error.to_string(), words);
    }
}

#[tokio::test]
async fn every_runtime_can_be_checked() {
    let house = house(&runc());
    for name in ["x", "pintle"] {
        let found = house.runtime.check(name).await.unwrap();
        let bad: Vec<_> = found.iter().filter(|finding| finding.outcome.is_err()).collect();
        assert!(bad.is_empty(), "{name}: {bad:?}");
        assert_eq!(found.len(), 11);
    }
    let wrapper = script(&house, "exit 4");
    knows(&house.runtime, &wrapper);
    let found = house.runtime.check("x").await.unwrap();
    assert_eq!(found.len(), 2);
    assert!(found[1].outcome.as_ref().unwrap_err().contains("exit status 4"), "{found:?}");
    assert_eq!(std::fs::read_dir(house.dir.path().join("tasks")).unwrap().count(), 0);
}
