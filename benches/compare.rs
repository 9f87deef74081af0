//! Pintle beside Docker's own engine, in one run, printed as ratios: `cargo bench -p pintle`.
//!
//! Every measurement alternates between the two engines, so that whatever else the machine does falls on both.
//! Nothing here asserts a time: numbers are for reading, `tests/` is for passing.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a measurement that cannot go on should stop"
)]

#[path = "../tests/stories/harness.rs"]
#[expect(dead_code, reason = "the stories use more of it")]
mod harness;
mod measure;
#[path = "../tests/stories/package.rs"]
mod package;

use std::{
    fs,
    time::{Duration, Instant},
};

use harness::{Client, Engine, Kind, processes_naming, raw_http};
use measure::{call, compare, create, example, heading, median, millis, remove, row, run_true, start};
use serde_json::{Value, json};

const PLUGINS: usize = 20;
const CONTAINERS: usize = 200;
const VOLUMES: usize = 100;

/// What a container without a network says.
fn alone() -> Value {
    json!({"NetworkMode": "none"})
}

fn volume_cycle(engine: &Engine, round: usize) -> Duration {
    let start = Instant::now();
    call(engine, "POST", "/volumes/create", Some(json!({"Name": format!("b{round}"), "Driver": "dirs"})));
    call(engine, "GET", &format!("/volumes/b{round}"), None);
    call(engine, "DELETE", &format!("/volumes/b{round}"), None);
    start.elapsed()
}

fn eighty(engine: &Engine) -> Duration {
    let start = Instant::now();
    std::thread::scope(|scope| {
        for lane in 0..8 {
            scope.spawn(move || {
                for turn in 0..10 {
                    run_true(engine, &format!("e{lane}-{turn}"), &alone());
                }
            });
        }
    });
    start.elapsed()
}

/// Proportional memory of a process, in KiB.
fn pss(pid: u32) -> u64 {
    fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))
        .unwrap_or_default()
        .lines()
        .find_map(|line| line.strip_prefix("Pss:"))
        .and_then(|rest| rest.trim().trim_end_matches(" kB").trim().parse().ok())
        .unwrap_or(0)
}

/// All that the engine itself is made of: for dockerd its containerd too, never shims.
fn engine_memory(engine: &Engine) -> f64 {
    let mut total = pss(engine.pid());
    for (pid, line) in processes_naming(&engine.dir) {
        if pid != engine.pid() && line.contains("containerd --config") {
            total += pss(pid);
        }
    }
    total as f64 / 1024.0
}

fn shims(engine: &Engine) -> (usize, u64) {
    let found: Vec<u32> = processes_naming(&engine.dir)
        .into_iter()
        .filter(|(pid, line)| *pid != engine.pid() && line.contains("shim"))
        .map(|(pid, _)| pid)
        .collect();
    (found.len(), found.iter().map(|pid| pss(*pid)).sum())
}

fn per_container(engine: &Engine) -> f64 {
    let before = shims(engine);
    for number in 0..8 {
        create(engine, &format!("m{number}"), &["sleep", "1000"], &alone());
        start(engine, &format!("m{number}"));
    }
    std::thread::sleep(Duration::from_secs(1));
    let after = shims(engine);
    for number in 0..8 {
        remove(engine, &format!("m{number}"));
    }
    (after.1 - before.1) as f64 / 1024.0 / (after.0 - before.0).max(1) as f64
}

/// Polls finer than the stories do: what is measured takes milliseconds.
fn until(what: &str, mut probe: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(120);
    while !probe() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Every plugin answers for one of its volumes; a last known answer does not count.
fn plugins_answer(engine: &Engine) -> bool {
    (0..PLUGINS).all(|number| match engine.try_http("GET", &format!("/volumes/p{number}-0"), None) {
        Ok((200, volume)) => volume["Status"]["error"].is_null(),
        _ => false,
    })
}

/// What an operator waits for, with all that is installed.
struct Boot {
    stop: Duration,
    first: Duration,
    ready: Duration,
}

/// Stops the engine, lets `meanwhile` happen, and starts it again: to the first answer, and to every plugin
/// answering for its volumes.
fn boot(engine: &mut Engine, meanwhile: impl Fn(&Engine)) -> Boot {
    let start = Instant::now();
    engine.stop();
    let stop = start.elapsed();
    meanwhile(engine);
    let start = Instant::now();
    engine.spawn(&[]);
    until("the first answer", || matches!(engine.try_http("GET", "/_ping", None), Ok((200, _))));
    let first = start.elapsed();
    until("all plugins", || plugins_answer(engine));
    Boot { stop, first, ready: start.elapsed() }
}

fn main() {
    example("pintle-example-volume-dirs");
    let mut ours = Engine::start(Kind::Pintle, Client::Docker, &[]);
    let mut theirs = Engine::start(Kind::Dockerd, Client::Docker, &[]);
    heading();

    std::thread::sleep(Duration::from_secs(2));
    row("engine memory at rest", engine_memory(&ours), engine_memory(&theirs), "MiB", 0.15);

    for engine in [&ours, &theirs] {
        engine.busybox("alpine");
        package::install(engine, "dirs");
        run_true(engine, "warm", &alone());
        volume_cycle(engine, 0);
    }
    let both = (&ours, &theirs);
    compare("volume create+inspect+remove through a plugin", 100, 0.4, both, volume_cycle);
    compare("create+start+wait of true, no network", 20, 0.3, both, |engine, turn| {
        run_true(engine, &format!("t{turn}"), &alone())
    });

    let samples = (eighty(&ours), eighty(&theirs));
    row("80 containers, 8 at a time (with removal)", millis(samples.0), millis(samples.1), "ms", 0.3);
    row("memory for each running container", per_container(&ours), per_container(&theirs), "MiB", 0.5);

    for engine in [&ours, &theirs] {
        for number in 0..PLUGINS {
            package::install(engine, &format!("p{number}"));
            for volume in 0..VOLUMES / PLUGINS {
                let body = json!({"Name": format!("p{number}-{volume}"), "Driver": format!("p{number}")});
                call(engine, "POST", "/volumes/create", Some(body));
            }
        }
        for number in 0..CONTAINERS {
            create(engine, &format!("s{number}"), &["true"], &alone());
        }
        std::thread::scope(|scope| {
            for lane in 0..4 {
                scope.spawn(move || {
                    for number in (lane..CONTAINERS).step_by(4) {
                        start(engine, &format!("s{number}"));
                        call(engine, "POST", &format!("/containers/s{number}/wait"), None);
                    }
                });
            }
        });
    }
    let list = |engine: &Engine| {
        median(
            (0..20)
                .map(|_| {
                    // The engine's time, not that of reading its JSON here.
                    let start = Instant::now();
                    let (status, _) =
                        raw_http(&engine.socket(), "GET", "/containers/json?all=1", "", b"").unwrap();
                    let took = start.elapsed();
                    assert_eq!(status, 200);
                    took
                })
                .collect(),
        )
    };
    row("GET /containers/json?all=1, 200 stopped", millis(list(&ours)), millis(list(&theirs)), "ms", 0.05);
    let theirs_at = boot(&mut theirs, |_| {});
    let ours_at = boot(&mut ours, |_| {});
    // Docker's plugins die with dockerd, so it starts them at every boot; pintle's live on, unless the machine went down.
    let after_power_cut = boot(&mut ours, Engine::sweep);
    let (theirs_first, theirs_ready) = (millis(theirs_at.first), millis(theirs_at.ready));
    row(
        "boot to the first answer (20 plugins, 200 stopped)",
        millis(ours_at.first),
        theirs_first,
        "ms",
        0.05,
    );
    row("boot to all plugins ready, after a restart", millis(ours_at.ready), theirs_ready, "ms", 0.05);
    row(
        "boot to the first answer, after a power cut",
        millis(after_power_cut.first),
        theirs_first,
        "ms",
        0.05,
    );
    row(
        "boot to all plugins ready, after a power cut",
        millis(after_power_cut.ready),
        theirs_ready,
        "ms",
        0.05,
    );
    row("stop", millis(ours_at.stop), millis(theirs_at.stop), "ms", 0.05);
    row("engine memory with all of that", engine_memory(&ours), engine_memory(&theirs), "MiB", 0.15);
}
