//! A log plugin as its author makes it: scaffolded, built, installed, killed, tested, and taken to dockerd.

use std::{fs, path::PathBuf, time::Duration};

use serde_json::Value;

use crate::harness::{Client, Engine, Kind, eventually, signal};

/// Scaffolds, builds and enables it; where its files are.
fn install(engine: &Engine) -> PathBuf {
    engine.sh("pintle plugin new --kind log --builtin lines && pintle plugin build -t lines lines").ok();
    engine.sh("docker plugin enable lines").ok();
    let id = engine.sh("docker plugin inspect -f '{{.Id}}' lines").ok();
    engine.dir.join("data/plugins").join(id.trim()).join("propagated-mount")
}

/// The lines of a container that arrived.
fn arrived(files: &std::path::Path, name: &str) -> Vec<String> {
    let text = fs::read_to_string(files.join(format!("{name}.jsonl"))).unwrap_or_default();
    // A plugin that dies in the middle of a line writes the rest of it nowhere.
    let entries = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    entries.map(|entry| entry["line"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_log_plugin_from_scaffold_to_a_containers_lines() {
    let engine = Engine::pintle();
    engine.busybox("bb");
    let files = install(&engine);
    let script = "n=0; while [ $n -lt 600 ]; do n=$((n+1)); echo line $n; [ $((n%20)) = 0 ] && sleep 0.1; done; echo oops >&2";
    engine
        .sh(&format!("docker run -d --network none --name talker --log-driver lines bb sh -c '{script}'"))
        .ok();
    let plugin = || -> u32 {
        let processes = engine.sh("pintle plugin top lines | awk 'NR == 2 {print $2}'").ok();
        processes.trim().parse().unwrap_or_else(|_| panic!("{processes}"))
    };
    for part in [100, 300] {
        eventually("some lines", Duration::from_secs(20), || arrived(&files, "talker").len() > part);
        let before = plugin();
        signal(before, "KILL");
        eventually("the plugin to be back", Duration::from_secs(20), || {
            engine
                .sh("pintle plugin top lines | awk 'NR == 2 {print $2}'")
                .stdout
                .trim()
                .parse()
                .is_ok_and(|now: u32| now != before)
        });
    }
    let said = engine.sh("docker plugin disable lines").fails();
    assert!(said.contains("lines") && said.contains("in use"), "{said}");
    assert_eq!(engine.sh("docker wait talker").ok(), "0");
    eventually("every line", Duration::from_secs(60), || {
        arrived(&files, "talker").iter().any(|line| line == "oops")
            && arrived(&files, "talker").iter().any(|line| line == "line 600")
    });
    let (mut first, mut twice) = (Vec::new(), 0);
    for line in arrived(&files, "talker") {
        if first.contains(&line) { twice += 1 } else { first.push(line) }
    }
    let numbers: Vec<String> = (1..=600).map(|number| format!("line {number}")).collect();
    first.retain(|line| line != "oops");
    assert_eq!(first, numbers, "each line, in order");
    println!("{twice} lines came twice");
    assert_eq!(engine.sh("docker logs talker 2>/dev/null | wc -l").ok(), "600");
    engine.sh("docker rm talker").ok();

    let report = engine.sh("pintle plugin test --restart lines").ok();
    assert!(report.ends_with("13 passed, 0 failed, 2 skipped"), "{report}");
    engine.sh("docker plugin disable lines && docker plugin rm lines").ok();
}

#[test]
fn dockerd_runs_the_same_log_plugin() {
    let engine = Engine::start(Kind::Dockerd, Client::Docker, &[]);
    engine.busybox("bb");
    let files = install(&engine);
    engine
        .sh("docker run --network none --name talker --log-driver lines bb sh -c 'seq 1 1000; echo end'")
        .ok();
    eventually("every line", Duration::from_secs(20), || {
        arrived(&files, "talker").last().is_some_and(|line| line == "end")
    });
    let numbers: Vec<String> =
        (1..=1000).map(|number| number.to_string()).chain(["end".to_owned()]).collect();
    assert_eq!(arrived(&files, "talker"), numbers);
    engine.sh("docker rm talker && docker plugin disable -f lines && docker plugin rm lines").ok();
}
