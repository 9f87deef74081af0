//! Looking at the lines of many containers, and at how far their drivers are.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    time::Duration,
};

use crate::harness::{Client, Engine, Kind, eventually};

/// Lines of several containers come in the order of their times, by name and by label, and the engine finds patterns.
#[test]
fn lines_of_many_containers_are_one_stream() {
    let engine = Engine::start(Kind::Pintle, Client::Docker, &[]);
    engine.busybox("bb");
    let says = |name: &str, label: &str, script: &str| {
        let run = format!("docker run --network none -l team={label} --name {name} bb sh -c '{script}'");
        engine.sh(&run).ok();
    };
    // The two outputs are two pipes: what is written a moment later may be read before.
    says("one", "red", "echo first; echo second >&2; sleep 1; seq 1 1000");
    says("twelve", "red", "printf %020000d 0; echo; echo last");
    says("other", "blue", "echo unseen");

    let both = engine.sh("pintle logs --tail 3 twelve one 2>&1").ok();
    let long = "0".repeat(20_000);
    assert_eq!(
        both.lines().collect::<Vec<_>>(),
        ["one    | 998", "one    | 999", "one    | 1000", &format!("twelve | {long}"), "twelve | last"],
        "a line in two pieces is three records of the engine's"
    );
    let labelled = engine.sh("pintle logs --filter label=team=red --grep '^(first|second|10.|last)$'").ok();
    assert!(!labelled.contains("unseen"), "{labelled}");
    let lines: Vec<&str> = labelled.lines().collect();
    assert_eq!(lines.first(), Some(&"one    | first"));
    assert!(lines.contains(&"one    | 109") && !lines.contains(&"one    | 110"), "{labelled}");
    assert_eq!(lines.last(), Some(&"twelve | last"));
    // The last so many of those that match.
    assert_eq!(engine.sh("pintle logs --grep 7 --tail 2 one").ok(), "987\n997");
    let stamped = engine.sh("pintle logs -t --tail 1 one twelve").ok();
    assert!(stamped.lines().all(|line| line.contains(" | 20") && line.contains("Z ")), "{stamped}");
    let refused = engine.sh("pintle logs --grep '(' one").fails();
    assert!(
        refused.contains("invalid value for \"grep\"") && refused.contains("unclosed group"),
        "{refused}"
    );
    let away = engine.sh("pintle logs one nobody").fails();
    assert!(away.contains("No such container: nobody"), "{away}");
}

/// Whoever matches and starts later joins; whoever starts again goes on where it was.
#[test]
fn those_that_start_later_join() {
    let engine = Engine::start(Kind::Pintle, Client::Docker, &[]);
    engine.busybox("bb");
    let run = |name: &str, script: &str| {
        engine.sh(&format!("docker run -d --network none -l seen --name {name} bb sh -c '{script}'")).ok();
    };
    run("old", "echo from old; sleep 1000");
    let mut follow = Command::new(engine.dir.join("home/bin/pintle"))
        .args(["logs", "-f", "--filter", "label=seen"])
        .env("DOCKER_HOST", format!("unix://{}", engine.socket().display()))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(follow.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert_eq!(lines.next().as_deref(), Some("old | from old"));
    run("younger", "echo again and again");
    assert_eq!(lines.next().as_deref(), Some("younger | again and again"));
    engine.sh("docker wait younger; docker start younger").ok();
    assert_eq!(lines.next().as_deref(), Some("younger | again and again"));
    follow.kill().unwrap();
    follow.wait().unwrap();
}

/// What a driver has not taken yet is seen, and why.
#[test]
fn how_far_drivers_are_is_seen() {
    let engine = Engine::start(Kind::Pintle, Client::Docker, &[]);
    engine.busybox("bb");
    let run = "docker run -d --network none --name talks --log-driver file -l pintle.log-driver.away=http -l pintle.log-opt.away.http-url=http://127.0.0.1:9/ \
         bb sh -c 'seq 1 500; sleep 1000'";
    engine.sh(run).ok();
    let shown = |container: &str| {
        let format =
            "{{.Name}} {{.Driver}} {{.Destination}} {{.State}} {{.Lag}} {{.Delivered}} {{.LastError}}";
        engine.sh(&format!("pintle log-drivers --format '{format}' {container}")).ok()
    };
    eventually("one has all and the other none", Duration::from_secs(30), || {
        let shown = shown("talks");
        let mut lines = shown.lines();
        let file = lines.next().unwrap_or_default();
        let http = lines.next().unwrap_or_default();
        file == "talks file - open 0B 500 -"
            && http.starts_with("talks http away waiting ")
            && http.contains("kB 0 ")
            && http.contains("127.0.0.1:9")
    });
    let table = engine.sh("pintle log-drivers").ok();
    assert!(
        table.starts_with("CONTAINER ") && table.contains("LAG") && table.lines().count() == 3,
        "{table}"
    );
    engine.sh("docker run -d --network none --name quiet bb sleep 1000").ok();
    assert_eq!(shown("quiet"), "");
}
