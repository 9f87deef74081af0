//! The engine dies; the next one finds everything.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use pintle_engine::{
    containers::{
        ContainerSpec, ListOptions, LogOptions, RemoveOptions, RestartMode, StopOptions, WaitCondition,
    },
    networks::{EndpointSpec, NetworkSpec},
};

use crate::house::{House, copy_image, patience, text, until};

/// A child process: an engine that does one thing after another until a failpoint ends it.
pub fn doomed(words: &[String]) -> ExitCode {
    let (dir, for_ever) = match words {
        [dir] => (dir, false),
        [dir, word] if word == "for-ever" => (dir, true),
        _ => return ExitCode::from(2),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let house = House::open(Path::new(dir)).await;
        house.containers.restore().await.unwrap();
        house.containers.start_wanted();
        house.networks.reconcile();
        let say = |what: &str, id: &str| {
            use std::io::Write;
            let mut file =
                std::fs::OpenOptions::new().append(true).create(true).open(said(Path::new(dir))).unwrap();
            writeln!(file, "{what} {id}").unwrap();
        };
        for (name, ipam) in [("lan", "ledger"), ("own", "default")] {
            if house.networks.get(name).is_err() {
                let mut spec = NetworkSpec { name: name.into(), ..NetworkSpec::default() };
                spec.ipam.driver = ipam.into();
                house.networks.create(spec).await.unwrap();
            }
        }
        loop {
            let id = house.containers.create(Some("victim"), victim(&house)).await.unwrap().id;
            say("created", &id);
            house.containers.start(&id).await.unwrap();
            say("started", &id);
            // It may have ended by now.
            let _ = house.containers.connect(&id, "own", EndpointSpec::default()).await;
            let _ = house.containers.disconnect(&id, "lan", false).await;
            assert_eq!(house.wait(&id).await, 6);
            say("ended", &id);
            let brief = NetworkSpec { name: "brief".into(), ..NetworkSpec::default() };
            house.networks.create(brief).await.unwrap();
            house.networks.remove("brief").await.unwrap();
            say("removing", &id);
            house.containers.remove(&id, RemoveOptions { force: false, volumes: true }).await.unwrap();
            if !for_ever {
                break;
            }
        }
    });
    ExitCode::SUCCESS
}

fn victim(house: &House) -> ContainerSpec {
    let mut spec = house.shell("echo ran; exit 6");
    spec.network_mode = "lan".into();
    spec.volumes = vec!["/srv/data".into()];
    spec.binds = vec!["named:/named".into()];
    spec
}

/// What a doomed engine acknowledged.
fn said(dir: &Path) -> PathBuf {
    dir.join("said")
}

async fn doom(dir: &Path, failpoint: &str) -> bool {
    let mut child = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["doomed-engine", dir.to_str().unwrap()])
        .env("PINTLE_FAILPOINT", failpoint)
        .stderr(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let status = patience(child.wait()).await.unwrap();
    status.success()
}

pub async fn every_failpoint() {
    let owned = tempfile::Builder::new().prefix("pintle-engine-").tempdir().unwrap();
    copy_image(owned.path()).await;
    for failpoint in [
        "engine.create.after_intent",
        "engine.create.after_rootfs",
        "engine.create.after_volumes",
        "engine.start.after_intent",
        "engine.start.after_mount",
        "engine.start.after_create",
        "engine.start.after_start",
        "engine.exit.after_record",
        "engine.release.after_task",
        "engine.release.after_volumes",
        "engine.remove.after_intent",
        "engine.remove.after_rootfs",
        "engine.remove.after_volumes",
        "engine.network.create.after_intent",
        "engine.network.create.after_pools",
        "engine.network.create.after_driver",
        "engine.network.remove.after_intent",
        "engine.network.remove.after_pools",
        "engine.network.sandbox.after_make",
        "engine.network.connect.after_address",
        "engine.network.connect.after_address_noted",
        "engine.network.connect.after_endpoint",
        "engine.network.connect.after_join",
        "engine.network.connect.after_outside",
        "engine.network.sandbox.after_open",
        "engine.network.disconnect.after_call",
        "engine.network.disconnect.after_call@2",
        "engine.network.disconnect.after_call@3",
        "engine.network.disconnect.after_release",
        "engine.network.sandbox.before_remove",
    ] {
        assert!(!doom(owned.path(), failpoint).await, "{failpoint} was never reached");
        check(owned.path(), failpoint).await;
    }
    assert!(doom(owned.path(), "none").await, "without a failpoint it lives");
    end(owned.path()).await;
}

/// Ends engines at random moments of their work. `PINTLE_KILLS` says how many; a few by default.
pub async fn at_random() {
    let kills = std::env::var("PINTLE_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(12);
    let owned = tempfile::Builder::new().prefix("pintle-engine-").tempdir().unwrap();
    copy_image(owned.path()).await;
    for kill in 0..kills {
        let mut child = tokio::process::Command::new(std::env::current_exe().unwrap())
            .args(["doomed-engine", owned.path().to_str().unwrap(), "for-ever"])
            .stderr(std::process::Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        // Not before it is at work.
        until("it made something", || said(owned.path()).exists()).await;
        tokio::time::sleep(Duration::from_micros(rand::random_range(0..600_000))).await;
        child.start_kill().unwrap();
        patience(child.wait()).await.unwrap();
        check(owned.path(), &format!("kill {kill}")).await;
    }
    end(owned.path()).await;
}

/// Takes away what the doomed engines shared.
async fn end(dir: &Path) {
    let house = House::open(dir).await;
    house.containers.restore().await.unwrap();
    house.networks.reconcile();
    house.networks.prune(&Default::default()).await.unwrap();
    assert_eq!(house.ledger.out(), [].into(), "addresses are out of no pool");
    house.close().await;
}

/// The next engine: nothing acknowledged is lost, what is there can be used, and nothing is leaked.
async fn check(dir: &Path, when: &str) {
    let acknowledged = std::fs::read_to_string(said(dir)).unwrap_or_default();
    let _ = std::fs::remove_file(said(dir));
    let house = House::open(dir).await;
    house.containers.restore().await.unwrap();
    house.containers.start_wanted();
    house.networks.reconcile();
    let all = ListOptions { all: true, ..ListOptions::default() };
    let left = house.containers.list(all).await.unwrap();
    assert!(left.len() <= 1, "{when}");
    let last = acknowledged.lines().last().and_then(|line| line.split_once(' '));
    if let Some((what, id)) = last.filter(|(what, _)| *what != "removing") {
        let found = left.iter().find(|(container, _)| container.id == id);
        let (container, _) = found.unwrap_or_else(|| panic!("{when}: {what} {id} is lost"));
        match what {
            "started" => assert_ne!(container.life.status(), "created", "{when}"),
            "ended" => assert_eq!(container.life.status(), "exited", "{when}"),
            _ => {}
        }
    }
    for (container, _) in &left {
        // Whatever state it was found in, it can be used.
        let status = container.life.status();
        if status == "running" {
            assert_eq!(house.wait(&container.id).await, 6, "{when}");
            assert_eq!(house.output(&container.id).await, "ran\n", "{when}");
        } else if status == "exited" {
            assert_eq!(container.life.exit().unwrap().code, 6, "{when}");
            assert_eq!(house.output(&container.id).await, "ran\n", "{when}");
        } else {
            assert_eq!(status, "created", "{when}");
            let next = house.containers.wait(&container.id, WaitCondition::NextExit).unwrap();
            house.containers.start(&container.id).await.unwrap();
            assert_eq!(patience(next).await.code, 6, "{when}");
        }
        house.gone(&container.id).await;
    }
    // Acknowledged or not: it is there whole, or not at all.
    if house.networks.get("brief").is_ok() {
        house.networks.remove("brief").await.unwrap();
    }
    // What was requested and not released is what is used: the gateway's, if there is a network yet.
    let mut gateway = BTreeMap::new();
    if let Ok(network) = house.networks.get("lan") {
        gateway.insert(network.subnets[0].gateway.unwrap(), String::new());
    }
    until(&format!("{when}: addresses are out: {:?}", house.ledger.out()), || house.ledger.out() == gateway)
        .await;
    house.containers.shutdown().await;
    house.networks.shutdown().await;
    house.no_leaks();
    house.no_links();
    let links = house.host.handle().unwrap().links().unwrap();
    let bridges = links.iter().filter(|link| link.kind == "bridge").count();
    assert_eq!(bridges, house.networks.list(&Default::default()).len() - 2, "{when}: {links:#?}");
    let volumes: Vec<_> = std::fs::read_dir(dir.join("volumes"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "named")
        .collect();
    assert!(volumes.is_empty(), "{when}: anonymous volumes are left: {volumes:?}");
    house.volumes.shutdown().await;
}

pub async fn another_engine_takes_over() {
    let owned = tempfile::Builder::new().prefix("pintle-engine-").tempdir().unwrap();
    copy_image(owned.path()).await;
    let house = House::open(owned.path()).await;
    house.containers.restore().await.unwrap();
    let long =
        house.start(house.shell("for i in $(seq 1 30); do echo tick $i; sleep 0.1; done; exit 8")).await;
    let short = house.start(house.shell("sleep 0.4; echo bye; exit 9")).await;
    let mut always = house.shell("sleep 60");
    always.restart.mode = RestartMode::Always;
    let stopped = house.start(always.clone()).await;
    house.containers.stop(&stopped, StopOptions { timeout: Some(0), signal: None }).await.unwrap();
    always.restart.mode = RestartMode::UnlessStopped;
    let unless = house.start(always).await;
    house.containers.stop(&unless, StopOptions { timeout: Some(0), signal: None }).await.unwrap();
    let frozen = house.start(house.spec(&["sleep", "60"])).await;
    house.containers.pause(&frozen).await.unwrap();
    house.containers.shutdown().await;
    house.volumes.shutdown().await;
    drop(house);
    tokio::time::sleep(Duration::from_millis(800)).await;

    let house = House::open(owned.path()).await;
    house.containers.restore().await.unwrap();
    house.containers.start_wanted();
    let state = |id: &str| house.containers.inspect(id).unwrap();
    assert_eq!(state(&short).life.exit().unwrap().code, 9);
    assert_eq!(house.output(&short).await, "bye\n");
    assert_eq!(state(&long).life.status(), "running");
    assert_eq!(state(&frozen).life.status(), "paused");
    house.containers.unpause(&frozen).await.unwrap();
    let follow = LogOptions { stdout: true, follow: true, ..LogOptions::default() };
    let followed = text(house.containers.logs(&long, follow).await.unwrap()).await;
    assert_eq!(followed.lines().count(), 30, "{followed}");
    assert_eq!(house.wait(&long).await, 8);
    until("what shall always run does", || state(&stopped).life.status() == "running").await;
    assert_eq!(state(&unless).life.status(), "exited");
    house.close().await;
}
