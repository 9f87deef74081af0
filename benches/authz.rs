//! What an authorization plugin costs, beside Docker's own engine in one run: `cargo bench -p pintle --bench authz`.
//!
//! Four engines run side by side, each kind with and without a chain of one plugin that allows everything, and take turns.
//! What counts is what the chain adds.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a measurement that cannot go on should stop"
)]

#[path = "../tests/stories/harness.rs"]
#[expect(dead_code, reason = "the stories use more of it")]
mod harness;
#[expect(dead_code, reason = "the other benchmarks use more of it")]
mod measure;
#[path = "../tests/stories/package.rs"]
#[expect(dead_code, reason = "the stories use more of it")]
mod package;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command},
    time::{Duration, Instant},
};

use harness::{Client, Engine, Kind, eventually, raw_http};
use measure::{call, create, example, heading, median, millis, remove, row};
use serde_json::json;

/// The example, letting everybody do everything.
struct Plugin {
    child: Child,
    socket: PathBuf,
}

impl Plugin {
    fn start(socket: PathBuf, roles: &Path) -> Self {
        fs::create_dir_all(socket.parent().unwrap()).unwrap();
        let mut command = Command::new(package::built("authz-roles"));
        let child = command.env("PLUGIN_NAME", &socket).env("ROLES", roles).spawn().unwrap();
        eventually("the plugin", Duration::from_secs(10), || socket.exists());
        Self { child, socket }
    }
}

impl Drop for Plugin {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_file(&self.socket);
    }
}

const NAME: &str = "pintle-bench-authz";
/// Without a chain, and with one.
type Pair = [Engine; 2];

/// What the chain adds to `measure`, in the median of so many turns: the plain time and the addition, in milliseconds.
fn added(
    engines: [&Pair; 2],
    turns: usize,
    mut measure: impl FnMut(&Engine, usize) -> Duration,
) -> [(f64, f64); 2] {
    let mut samples = [[Vec::new(), Vec::new()], [Vec::new(), Vec::new()]];
    for turn in 0..turns {
        for (kind, pair) in engines.iter().enumerate() {
            for (chain, engine) in pair.iter().enumerate() {
                samples[kind][chain].push(millis(measure(engine, turn)));
            }
        }
    }
    samples.map(|[plain, judged]| {
        let plain = median(plain);
        (plain, (median(judged) - plain).max(0.001))
    })
}

fn compare(what: &str, engines: [&Pair; 2], turns: usize, measure: impl FnMut(&Engine, usize) -> Duration) {
    let [ours, theirs] = added(engines, turns, measure);
    row(&format!("{what}, alone"), ours.0, theirs.0, "ms", 1.0);
    row(&format!("{what}, added by one plugin"), ours.1, theirs.1, "ms", 0.25);
}

/// Requests for each second, eight clients at a time.
fn throughput(engine: &Engine) -> f64 {
    const EACH: usize = 250;
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..EACH {
                    call(engine, "GET", "/version", None);
                }
            });
        }
    });
    (8 * EACH) as f64 / begun.elapsed().as_secs_f64()
}

/// How far the engine's memory goes up over a body of 4 MiB, in MiB.
fn body_memory(engine: &Engine) -> f64 {
    let status = format!("/proc/{}/status", engine.pid());
    let field = |name: &str| {
        let text = fs::read_to_string(&status).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().next().unwrap().parse::<f64>().unwrap() / 1024.0
    };
    let pad = "x".repeat((4 << 20) - 64);
    let body = format!("{{\"Name\":\"fat\",\"Pad\":\"{pad}\"}}");
    let mut rises = Vec::new();
    for _ in 0..5 {
        fs::write(format!("/proc/{}/clear_refs", engine.pid()), "5").unwrap();
        let before = field("VmRSS:");
        let (status, said) =
            raw_http(&engine.socket(), "POST", "/volumes/create", "application/json", body.as_bytes())
                .unwrap();
        assert_eq!(status, 201, "{}", String::from_utf8_lossy(&said));
        rises.push((field("VmHWM:") - before).max(0.01));
    }
    median(rises)
}

fn main() {
    example("pintle-example-authz-roles");
    let scratch = tempfile::tempdir().unwrap();
    let roles = scratch.path().join("roles");
    fs::write(&roles, "* * *\n").unwrap();
    let flag = format!("--authorization-plugin={NAME}");
    let docker = Plugin::start(format!("/run/docker/plugins/{NAME}.sock").into(), &roles);
    let mut judged = Engine::prepared(Kind::Pintle, Client::Docker, &[&flag]);
    let own = Plugin::start(judged.dir.join(format!("plugins/{NAME}.sock")), &roles);
    judged.boot(&[]);
    let ours: Pair = [Engine::start(Kind::Pintle, Client::Docker, &[]), judged];
    let theirs: Pair = [
        Engine::start(Kind::Dockerd, Client::Docker, &[]),
        Engine::start(Kind::Dockerd, Client::Docker, &[&flag]),
    ];
    for engine in ours.iter().chain(&theirs) {
        engine.busybox("alpine");
    }
    heading();
    let engines = [&ours, &theirs];
    compare("GET /version", engines, 400, |engine, _| {
        let begun = Instant::now();
        call(engine, "GET", "/version", None);
        begun.elapsed()
    });
    compare("POST /containers/create", engines, 40, |engine, turn| {
        let (name, host) = (format!("c{turn}"), json!({"NetworkMode": "none"}));
        let begun = Instant::now();
        create(engine, &name, &["true"], &host);
        let took = begun.elapsed();
        remove(engine, &name);
        took
    });
    let mut rates = [Vec::new(), Vec::new()];
    for _ in 0..5 {
        rates[0].push(throughput(&ours[1]));
        rates[1].push(throughput(&theirs[1]));
    }
    let [one, other] = rates.map(median);
    println!(
        "{:<58} {one:>10.0} {other:>10.0} /s   ratio {:>6.3}",
        "GET /version, 8 at a time, one plugin",
        one / other
    );
    let (one, other) = (body_memory(&ours[1]), body_memory(&theirs[1]));
    row("memory over a body of 4 MiB, one plugin", one, other, "MiB", 1.0);
    drop((docker, own));
}
