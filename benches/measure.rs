//! How two engines are measured beside each other: calls, times, and rows of what came of it.

use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use crate::harness::Engine;

/// The middle one.
pub fn median<T: PartialOrd>(mut samples: Vec<T>) -> T {
    samples.sort_by(|one, other| one.partial_cmp(other).unwrap());
    samples.swap_remove(samples.len() / 2)
}

pub fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// The line above the rows.
pub fn heading() {
    println!("{:<58} {:>10} {:>10}", "", "pintle", "dockerd");
}

/// One printed row of what should be little: what, ours, theirs, the ratio and where it should go.
pub fn row(what: &str, ours: f64, theirs: f64, unit: &str, budget: f64) {
    let ratio = ours / theirs;
    let verdict = if ratio <= budget { "within" } else { "above" };
    println!(
        "{what:<58} {ours:>10.2} {theirs:>10.2} {unit:<4} ratio {ratio:>6.3}  budget {budget:<5} {verdict}"
    );
}

/// Makes `turns` samples of each engine, one after the other, and prints the medians.
pub fn compare<S>(
    what: &str,
    turns: usize,
    budget: f64,
    (ours, theirs): (&S, &S),
    mut measure: impl FnMut(&S, usize) -> Duration,
) {
    let mut samples = (Vec::new(), Vec::new());
    for turn in 0..turns {
        samples.0.push(millis(measure(ours, turn)));
        samples.1.push(millis(measure(theirs, turn)));
    }
    row(what, median(samples.0), median(samples.1), "ms", budget);
}

/// An API call that must succeed.
pub fn call(engine: &Engine, method: &str, path: &str, body: Option<Value>) -> Value {
    let (status, reply) = engine.http(method, path, body.as_ref());
    assert!(status < 300, "{:?} {method} {path}: {status} {reply}", engine.kind);
    reply
}

/// Makes a container of busybox with these host settings.
pub fn create(engine: &Engine, name: &str, command: &[&str], host: &Value) {
    // As clients do: what is published is exposed, or dockerd does not publish it.
    let ports = host["PortBindings"].as_object().into_iter().flatten();
    let exposed: Map<String, Value> = ports.map(|(port, _)| (port.clone(), json!({}))).collect();
    let body = json!({"Image": "alpine", "Cmd": command, "HostConfig": host, "ExposedPorts": exposed});
    call(engine, "POST", &format!("/containers/create?name={name}"), Some(body));
}

pub fn start(engine: &Engine, name: &str) {
    call(engine, "POST", &format!("/containers/{name}/start"), None);
}

pub fn remove(engine: &Engine, name: &str) {
    call(engine, "DELETE", &format!("/containers/{name}?force=1"), None);
}

/// From nothing to the end of `true`; its removal is not counted.
pub fn run_true(engine: &Engine, name: &str, host: &Value) -> Duration {
    let begun = Instant::now();
    create(engine, name, &["true"], host);
    start(engine, name);
    call(engine, "POST", &format!("/containers/{name}/wait"), None);
    let took = begun.elapsed();
    remove(engine, name);
    took
}

/// Builds an example plugin beside the pintle that is measured.
pub fn example(package: &str) {
    let built = std::process::Command::new(env!("CARGO"))
        .args(["build", "--release", "--locked", "--package", package])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .unwrap();
    assert!(built.success(), "{package} does not build");
}
