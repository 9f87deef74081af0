//! Many containers at a time, all of which go again: what the engine holds afterwards is what it held before.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::json;

use crate::harness::{Engine, eventually, processes_naming};

/// How many live side by side.
const LANES: usize = 16;
/// What the allocator may keep between two rounds that are alike, in KiB for each container of a round and in all.
const KEPT_EACH: u64 = 8;
const KEPT: u64 = 4 << 10;

/// How many go by in one round; `PINTLE_MANY` says another number.
fn many() -> usize {
    std::env::var("PINTLE_MANY").map_or(96, |number| number.parse().unwrap())
}

/// What an engine holds that it could leak.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Holdings {
    descriptors: usize,
    mounts: usize,
    control_groups: usize,
    network_namespaces: usize,
    links: usize,
    processes: usize,
}

fn entries(dir: impl AsRef<Path>) -> usize {
    fs::read_dir(dir).map_or(0, |entries| entries.flatten().count())
}

/// Control groups that an engine of this story made, by the containers' ids.
fn control_groups(ids: &[String]) -> usize {
    let mut found = 0;
    let mut pending = vec![(PathBuf::from("/sys/fs/cgroup"), 0)];
    while let Some((dir, depth)) = pending.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            if ids.iter().any(|id| *entry.file_name() == **id) {
                found += 1;
            } else if depth < 2 {
                pending.push((entry.path(), depth + 1));
            }
        }
    }
    found
}

fn holdings(engine: &Engine, ids: &[String]) -> Holdings {
    let mounts = fs::read_to_string(format!("/proc/{}/mountinfo", engine.pid())).unwrap();
    let bridge =
        engine.sh("docker network inspect -f '{{index .Options \"com.docker.network.bridge.name\"}}' bridge");
    Holdings {
        descriptors: entries(format!("/proc/{}/fd", engine.pid())),
        mounts: mounts.lines().filter(|line| line.contains(&engine.dir.display().to_string())).count(),
        control_groups: control_groups(ids),
        network_namespaces: entries(engine.dir.join("exec/netns")),
        links: entries(format!("/sys/class/net/{}/brif", bridge.ok())),
        processes: processes_naming(&engine.dir.join("exec")).len(),
    }
}

/// Resident memory of the engine, in KiB.
fn memory(engine: &Engine) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", engine.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// So many whole lives, a few at a time, half of them on a network; the ids that they had.
fn round(engine: &Engine, number: usize) -> Vec<String> {
    std::thread::scope(|scope| {
        let lanes: Vec<_> = (0..LANES)
            .map(|lane| {
                scope.spawn(move || {
                    (lane..number).step_by(LANES).map(|turn| life(engine, turn)).collect::<Vec<_>>()
                })
            })
            .collect();
        lanes.into_iter().flat_map(|lane| lane.join().unwrap()).collect()
    })
}

fn life(engine: &Engine, turn: usize) -> String {
    let name = format!("many-{turn}");
    let network = if turn.is_multiple_of(2) { "none" } else { "bridge" };
    let body = json!({
        "Image": "alpine", "Cmd": ["sleep", "1000"],
        "HostConfig": {"NetworkMode": network, "Memory": 64 << 20}
    });
    let must = |method, path: &str, body: Option<&serde_json::Value>| {
        let (status, reply) = engine.http(method, path, body);
        assert!(status < 300, "{method} {path}: {status} {reply}");
        reply
    };
    let made = must("POST", &format!("/containers/create?name={name}"), Some(&body));
    must("POST", &format!("/containers/{name}/start"), None);
    must("POST", &format!("/containers/{name}/stop?t=0"), None);
    must("DELETE", &format!("/containers/{name}"), None);
    made["Id"].as_str().unwrap().to_owned()
}

#[test]
fn many_containers_leave_nothing_behind() {
    let engine = Engine::pintle();
    engine.busybox("alpine");
    let many = many();
    // What is made once and kept is made now.
    round(&engine, many);
    let before = holdings(&engine, &[]);
    let resident = memory(&engine);
    let ids = round(&engine, many);
    assert_eq!(ids.len(), many);
    eventually("what the engine holds to be what it held", std::time::Duration::from_secs(20), || {
        let now = holdings(&engine, &ids);
        now.descriptors <= before.descriptors
            && now == Holdings { descriptors: now.descriptors, ..before.clone() }
    });
    let grown = memory(&engine).saturating_sub(resident);
    println!(
        "{many} containers, {LANES} at a time: {before:?}, {resident} KiB, {grown} KiB more after a second round"
    );
    assert!(grown < KEPT + KEPT_EACH * many as u64, "{grown} KiB more than before {many} containers");
    assert_eq!(engine.leftovers(), Vec::<String>::new());
}
