//! The engine dies, the shim dies: what is lost (nothing; the end's code), what is left (nothing).
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod harness;

use std::time::Duration;

use harness::{House, frames, logged, patience, status, until_logged};
use pintle_runtime::{Attach, Status};

fn shim_pid(house: &House, id: &str) -> i32 {
    std::fs::read_to_string(house.dir.path().join("tasks").join(id).join("shim.pid"))
        .unwrap()
        .trim()
        .parse()
        .unwrap()
}

fn kill(pid: i32) {
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(pid).unwrap(),
        rustix::process::Signal::KILL,
    )
    .unwrap();
}

#[tokio::test]
async fn another_engine_takes_over() {
    let house = House::new();
    let mut config = house.shell("while read x; do echo $x; done; exit 6");
    config.stdin_open = true;
    let (id, log) = (config.id.clone(), config.log.clone().unwrap().path);
    let task = house.runtime.create(config).await.unwrap();
    task.start().await.unwrap();
    let old = task.attach(Attach::ALL).await.unwrap();
    let pid = task.pid();
    // All that the old engine held is gone, its connections included.
    drop((old, task));
    let engine = house.another();
    assert_eq!(engine.list().await.unwrap(), std::slice::from_ref(&id));
    let task = engine.attach_existing(&id).await.unwrap().unwrap();
    assert_eq!((task.pid(), status(&task).await), (pid, Status::Running));
    let mut stream = task.attach(Attach::ALL).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut stream, b"still here\n").await.unwrap();
    until_logged(&log, "still here").await;
    task.close_stdin().await.unwrap();
    assert_eq!(frames(&mut stream).await.0, b"still here\n");
    assert_eq!(patience(task.wait()).await.unwrap().code, 6);
    let ended = house.another().attach_existing(&id).await.unwrap().unwrap();
    assert_eq!(ended.state().await.unwrap().exit.unwrap().code, 6);
    assert_eq!(patience(ended.delete()).await.unwrap().code, 6);
    assert!(engine.attach_existing(&id).await.unwrap().is_none());
}

/// The engine proper is another process, killed with SIGKILL while the container writes.
#[test]
fn output_is_not_lost_when_the_engine_is_killed() {
    let house = House::new();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let config =
        house.shell("i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done; sleep 0.3; echo last");
    let (id, log) = (config.id.clone(), config.log.clone().unwrap().path);
    // This test's own binary is the engine: it creates, attaches, starts, and waits to be killed.
    let config_file = house.dir.path().join("engine.json");
    std::fs::write(
        &config_file,
        serde_json::to_vec(&serde_json::json!({
            "id": id, "root": house.dir.path(), "log": log, "args": config.spec.process().as_ref().unwrap().args(),
        }))
        .unwrap(),
    )
    .unwrap();
    let mut engine = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "engine_in_another_process", "--ignored", "--nocapture"])
        .env("PINTLE_TEST_ENGINE", &config_file)
        .spawn()
        .unwrap();
    runtime.block_on(until_logged(&log, "line 100\n"));
    engine.kill().unwrap();
    engine.wait().unwrap();
    runtime.block_on(async {
        let task = house.another().attach_existing(&id).await.unwrap().unwrap();
        assert_eq!(patience(task.wait()).await.unwrap().code, 0);
        let mut expected: String = (0..3000).map(|i| format!("line {i}\n")).collect();
        expected.push_str("last\n");
        assert_eq!(logged(&log, "stdout"), expected);
        task.delete().await.unwrap();
    });
}

#[test]
#[ignore = "run by output_is_not_lost_when_the_engine_is_killed, as the engine that is killed"]
fn engine_in_another_process() {
    let Some(file) = std::env::var_os("PINTLE_TEST_ENGINE") else { return };
    let value: serde_json::Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let root = std::path::PathBuf::from(value["root"].as_str().unwrap());
    let id = value["id"].as_str().unwrap();
    let mut spec = pintle_runtime::spec::default_spec(pintle_runtime::cgroup::Setup::detect());
    harness::process(&mut spec).set_args(serde_json::from_value(value["args"].clone()).unwrap());
    let mut config = pintle_runtime::TaskConfig::new(id, root.join("rootfs"), spec);
    config.cgroup = format!("/pintle-runtime-test/{id}");
    config.log =
        Some(pintle_runtime::LogFile { path: value["log"].as_str().unwrap().into(), ..Default::default() });
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let runtime = pintle_runtime::Runtime::new(pintle_runtime::Options {
            root: root.join("tasks"),
            shim: harness::shim(),
        })
        .unwrap();
        let task = runtime.create(config).await.unwrap();
        let _attached = task.attach(Attach::ALL).await.unwrap();
        task.start().await.unwrap();
        std::future::pending::<()>().await;
    });
}

#[tokio::test]
async fn a_dead_shim_is_found_and_its_container_ended() {
    let house = House::new();
    let config = house.shell("sleep 1000 & sleep 1000");
    let (id, cgroup) = (config.id.clone(), config.cgroup.clone());
    let task = house.runtime.create(config).await.unwrap();
    task.start().await.unwrap();
    let waiting = tokio::spawn({
        let task = task.clone();
        async move { task.wait().await }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    kill(shim_pid(&house, &id));
    let end = patience(waiting).await.unwrap().unwrap();
    assert_eq!((end.code, end.error.as_deref()), (255, Some("shim died")));
    assert!(pintle_runtime::cgroup::Group::new(&cgroup).processes().unwrap().is_empty());
    assert_eq!(status(&task).await, Status::Stopped);
    assert_eq!(patience(task.delete()).await.unwrap().code, 255);
    assert!(!pintle_runtime::cgroup::Group::new(&cgroup).exists());
}

#[tokio::test]
async fn a_shim_that_died_before_start_is_found_too() {
    let house = House::new();
    let config = house.config(&["sleep", "1000"]);
    let id = config.id.clone();
    let task = house.runtime.create(config).await.unwrap();
    kill(shim_pid(&house, &id));
    let again = patience(house.another().attach_existing(&id)).await.unwrap().unwrap();
    assert_eq!(again.state().await.unwrap().exit.unwrap().code, 255);
    patience(house.runtime.cleanup_orphan(&id)).await.unwrap();
    assert!(house.runtime.list().await.unwrap().is_empty());
    assert!(!std::path::Path::new(&format!("/proc/{}/exe", task.pid().unwrap())).exists());
}

#[tokio::test]
async fn an_empty_or_half_made_directory_is_cleared() {
    let house = House::new();
    std::fs::create_dir_all(house.dir.path().join("tasks/half")).unwrap();
    assert!(house.runtime.attach_existing("half").await.unwrap().is_none());
    assert!(house.runtime.list().await.unwrap().is_empty());
}

#[tokio::test]
async fn an_exit_that_nobody_saw_is_on_disk() {
    let house = House::new();
    let config = house.shell("exit 42");
    let id = config.id.clone();
    let task = house.runtime.create(config).await.unwrap();
    task.start().await.unwrap();
    patience(task.wait()).await.unwrap();
    kill(shim_pid(&house, &id));
    let task = patience(house.another().attach_existing(&id)).await.unwrap().unwrap();
    assert_eq!(task.wait().await.unwrap().code, 42);
    assert_eq!(patience(task.delete()).await.unwrap().code, 42);
}
