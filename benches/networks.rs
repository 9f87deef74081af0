//! Pintle's networks beside Docker's, in one run, printed as ratios: `cargo bench -p pintle --bench networks`.
//!
//! Each engine has a host of its own: a network namespace with an uplink to a neighbour, so that neither pays for the
//! other's rules. The measurements alternate. `-- NUMBER` says how many containers to start on one network in the end;
//! 100, if nothing is said.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a measurement that cannot go on should stop"
)]

#[path = "../tests/stories/harness.rs"]
#[expect(dead_code, reason = "the stories use more of it")]
mod harness;
#[path = "../tests/stories/host.rs"]
#[expect(dead_code, reason = "the stories use more of it")]
mod host;
#[expect(dead_code, reason = "the other benchmarks use more of it")]
mod measure;
mod traffic;

use std::time::{Duration, Instant};

use harness::{Engine, Kind};
use host::{HOST, Hosted};
use measure::{call, compare, create, heading, median, millis, remove, row, run_true, start};
use pintle_netlink::Namespace;
use serde_json::{Value, json};

/// As many as are looked at where starts are compared with each other.
const FEW: usize = 20;

/// The network namespace of a running container.
fn inside(engine: &Engine, container: &str) -> Namespace {
    let container = call(engine, "GET", &format!("/containers/{container}/json"), None);
    Namespace::of_process(container["State"]["Pid"].as_u64().unwrap().try_into().unwrap()).unwrap()
}

fn address(engine: &Engine, container: &str, network: &str) -> String {
    let container = call(engine, "GET", &format!("/containers/{container}/json"), None);
    container["NetworkSettings"]["Networks"][network]["IPAddress"].as_str().unwrap().to_owned()
}

fn network_cycle(engine: &Hosted, turn: usize) -> Duration {
    let begun = Instant::now();
    call(engine, "POST", "/networks/create", Some(json!({"Name": format!("n{turn}")})));
    call(engine, "DELETE", &format!("/networks/n{turn}"), None);
    begun.elapsed()
}

fn joining(engine: &Hosted, _turn: usize) -> Duration {
    let who = || Some(json!({"Container": "box"}));
    let begun = Instant::now();
    call(engine, "POST", "/networks/two/connect", who());
    call(engine, "POST", "/networks/two/disconnect", who());
    begun.elapsed()
}

fn on(network: &str) -> Value {
    json!({"NetworkMode": network})
}

fn published() -> Value {
    json!({"PortBindings": {"80/tcp": [{"HostPort": "8080"}]}})
}

/// Prints a row of what should be much.
fn more(what: &str, ours: f64, theirs: f64, unit: &str, at_least: f64) {
    let ratio = ours / theirs;
    let verdict = if ratio >= at_least { "within" } else { "below" };
    println!(
        "{what:<58} {ours:>10.2} {theirs:>10.2} {unit:<4} ratio {ratio:>6.3}  at least {at_least:<4} {verdict}"
    );
}

fn names(ours: &Hosted, theirs: &Hosted) {
    for window in [1, 16] {
        let mut seen = (Vec::new(), Vec::new());
        for _ in 0..3 {
            seen.0.push(traffic::questions(&inside(ours, "box"), "peer", window));
            seen.1.push(traffic::questions(&inside(theirs, "box"), "peer", window));
        }
        let rate = |answers: &[traffic::Answers]| median(answers.iter().map(|one| one.rate).collect());
        let slow = |answers: &[traffic::Answers]| millis(median(answers.iter().map(|one| one.p99).collect()));
        let lost = |answers: &[traffic::Answers]| answers.iter().map(|one| one.lost).sum::<usize>();
        let what = format!("names answered, {window} at a time");
        more(&what, rate(&seen.0), rate(&seen.1), "/s", 3.0);
        row(&format!("{what}, 99th percentile"), slow(&seen.0), slow(&seen.1), "ms", 1.0);
        if lost(&seen.0) + lost(&seen.1) > 0 {
            println!("{:<58} {:>10} {:>10}", "  not answered", lost(&seen.0), lost(&seen.1));
        }
    }
}

/// What is measured, and how.
type Way<'a> = (&'a str, &'a dyn Fn(&Hosted) -> f64);

/// Bytes from one namespace to an address in another, in GiB/s.
fn bytes(ours: &Hosted, theirs: &Hosted) {
    let between = |side: &Hosted| {
        let to = format!("{}:80", address(side, "peer", "one"));
        traffic::bytes(&inside(side, "peer"), &inside(side, "box"), &to)
    };
    let published =
        |side: &Hosted| traffic::bytes(&inside(side, "web"), &side.neighbour, &format!("{HOST}:8080"));
    let locally = |side: &Hosted| traffic::bytes(&inside(side, "web"), &side.host, "127.0.0.1:8080");
    let ways: [Way<'_>; 3] = [
        ("bytes from container to container", &between),
        ("bytes through a published port, from outside", &published),
        ("bytes through a published port, on loopback", &locally),
    ];
    for (what, way) in ways {
        let mut samples = (Vec::new(), Vec::new());
        for _ in 0..3 {
            samples.0.push(way(ours));
            samples.1.push(way(theirs));
        }
        more(what, median(samples.0), median(samples.1), "GiB/s", 1.0);
    }
}

/// Starts containers on one network, one after the other; what each took.
fn grow(side: &Hosted, from: usize, to: usize) -> Vec<f64> {
    let one = |number: usize| {
        let (name, begun) = (format!("g{number}"), Instant::now());
        create(side, &name, &["sleep", "10000"], &on("many"));
        start(side, &name);
        millis(begun.elapsed())
    };
    (from..to).map(one).collect()
}

fn growth(ours: &Hosted, theirs: &Hosted, to: usize) {
    for side in [ours, theirs] {
        let pool = json!({"Config": [{"Subnet": "198.18.0.0/16"}]});
        call(side, "POST", "/networks/create", Some(json!({"Name": "many", "IPAM": pool})));
    }
    let mut took = (Vec::new(), Vec::new());
    for from in (0..to).step_by(FEW) {
        took.0.extend(grow(ours, from, (from + FEW).min(to)));
        took.1.extend(grow(theirs, from, (from + FEW).min(to)));
        let there = took.0.len();
        if there == 100 || there == to {
            let sum = |samples: &[f64]| samples.iter().sum::<f64>();
            row(&format!("start of {there} on one network"), sum(&took.0), sum(&took.1), "ms", 0.3);
            let last = |samples: &[f64]| median(samples[samples.len() - FEW..].to_vec());
            let first = |samples: &[f64]| median(samples[..FEW].to_vec());
            row(&format!("  the last {FEW} of them, each"), last(&took.0), last(&took.1), "ms", 0.3);
            let grown = |samples: &[f64]| last(samples) / first(samples);
            println!(
                "{:<58} {:>10.2} {:>10.2} times",
                format!("  the last {FEW} to the first {FEW}"),
                grown(&took.0),
                grown(&took.1)
            );
        }
    }
}

fn main() {
    let to = std::env::args().filter_map(|word| word.parse().ok()).next().unwrap_or(100);
    let ours = Hosted::start(Kind::Pintle, &[]);
    let theirs = Hosted::start(Kind::Dockerd, &["--iptables=true", "--bridge="]);
    heading();
    for side in [&ours, &theirs] {
        side.busybox("alpine");
        run_true(side, "warm", &on("bridge"));
        for network in ["one", "two"] {
            call(side, "POST", "/networks/create", Some(json!({"Name": network})));
        }
        for (name, settings) in [("box", on("one")), ("peer", on("one")), ("web", published())] {
            create(side, name, &["sleep", "10000"], &settings);
            start(side, name);
        }
    }
    let both = (&ours, &theirs);
    names(&ours, &theirs);
    bytes(&ours, &theirs);
    for side in [&ours, &theirs] {
        remove(side, "web");
    }
    compare("run of true on the default bridge", 20, 0.2, both, |side: &Hosted, turn| {
        run_true(side, &format!("t{turn}"), &on("bridge"))
    });
    compare("run of true with a published port", 20, 0.25, both, |side: &Hosted, turn| {
        run_true(side, &format!("p{turn}"), &published())
    });
    compare("create+remove of a network", 20, 0.25, both, network_cycle);
    compare("connect+disconnect of a running container", 20, 0.25, both, joining);
    growth(&ours, &theirs, to);
}
