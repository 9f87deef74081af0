//! The engine's numbers, for Prometheus and for plugins that collect them.

use std::{process::Command, time::Duration};

use serde_json::json;

use crate::{
    foreign::go,
    harness::{Client, Engine, Kind, eventually},
    log_drivers::tools,
    package::{self, folder},
};

/// Every sample of an exposition, as Prometheus' own parser reads it: `name{label=value,…} value`.
fn parsed(text: &str) -> Vec<String> {
    const SCRIPT: &str = "
import sys
from prometheus_client.parser import text_string_to_metric_families
for family in text_string_to_metric_families(sys.stdin.read()):
    assert family.documentation, family.name
    for sample in family.samples:
        labels = ','.join(f'{k}={v}' for k, v in sorted(sample.labels.items()))
        print(f'{sample.name}{{{labels}}} {sample.value}')
";
    let mut python = Command::new("python3")
        .args(["-c", SCRIPT])
        .env("PYTHONPATH", tools().join("python"))
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut python.stdin.take().unwrap(), text.as_bytes()).unwrap();
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success(), "it cannot be read:\n{text}");
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// Prometheus can read what `metrics-addr` serves, and finds there what happened.
#[test]
fn prometheus_reads_what_happened() {
    let engine = Engine::start(Kind::Pintle, Client::Docker, &["--metrics-addr", "127.0.0.1:0"]);
    let log = || engine.daemon_log();
    eventually("the address", Duration::from_secs(10), || log().contains("/metrics"));
    let at = log().split_once("metrics are at ").unwrap().1.split_whitespace().next().unwrap().to_owned();
    engine.busybox("bb");
    package::install(&engine, "vols");
    engine.sh("docker volume create -d vols vol && docker run --rm --network none -v vol:/d bb true").ok();
    engine
        .sh("docker run -d --network none --name 'up' --log-driver file bb sh -c 'echo one; sleep 1000'")
        .ok();
    engine.sh("docker create --name waits bb && docker rm waits").ok();
    engine.sh("docker rm nobody").fails();
    let samples = || parsed(&engine.sh(&format!("curl -sS --fail {at}")).ok());
    let value = |samples: &[String], name: &str| -> f64 {
        let found = samples.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
        found.unwrap_or_else(|| panic!("no {name} in {samples:#?}"))
    };
    let delivered = "pintle_log_lines_delivered_total{container=up,destination=,driver=file}";
    eventually("the line to be delivered", Duration::from_secs(20), || value(&samples(), delivered) == 1.0);
    let samples = samples();
    let value = |name: &str| value(&samples, name);
    assert_eq!(value("engine_daemon_container_states_containers{state=running}"), 1.0);
    assert_eq!(value("engine_daemon_container_actions_seconds_count{action=create}"), 3.0);
    // By hand, and not by --rm.
    assert_eq!(value("engine_daemon_container_actions_seconds_count{action=delete}"), 1.0);
    assert!(value("engine_daemon_events_total{}") > 5.0);
    assert_eq!(value("pintle_plugin_up{plugin=vols:latest}"), 1.0);
    assert_eq!(value("pintle_plugin_calls_total{call=VolumeDriver.Mount,plugin=vols:latest}"), 1.0);
    assert_eq!(value("pintle_plugin_call_failures_total{call=VolumeDriver.Mount,plugin=vols:latest}"), 0.0);
    assert_eq!(value("pintle_log_lag_bytes{container=up,destination=,driver=file}"), 0.0);
    let refused = "pintle_api_request_duration_seconds_count{code=404,method=DELETE,route=/containers/{}}";
    assert_eq!(value(refused), 1.0);
    assert!(value("process_resident_memory_bytes{}") > 1e6 && value("process_cpu_seconds_total{}") > 0.0);
    let (status, same) = engine.http("GET", "/metrics", None);
    assert!(status == 200 && same.as_str().unwrap().contains("engine_daemon_engine_info{"), "{same}");
    assert!(
        engine.sh(&format!("curl -sS -o /dev/null -w '%{{http_code}}' {at}/more")).ok().starts_with("404")
    );
}

/// A metrics plugin with Docker's own helpers finds the numbers where Docker puts them, and still does when the engine was
/// killed and started again.
#[test]
fn a_metrics_plugin_collects() {
    let mut engine = Engine::start(Kind::Pintle, Client::Docker, &[]);
    let binary = go(&engine, "go-metrics");
    let config = json!({
        "description": "collects metrics",
        "documentation": "",
        "entrypoint": ["/usr/bin/gometrics"],
        "network": {"type": ""},
        "interface": {"types": ["docker.metricscollector/1.0"], "socket": "gometrics.sock"}
    });
    let package = folder(&engine, "gometrics", &binary, &config);
    engine
        .sh(&format!(
            "docker plugin create collector {0} && docker plugin enable collector",
            package.display()
        ))
        .ok();
    engine.busybox("bb");
    let said = |engine: &Engine, what: &str| {
        engine.sh("pintle plugin logs collector 2>&1").ok().lines().filter(|line| line.contains(what)).count()
    };
    eventually("it collects", Duration::from_secs(20), || said(&engine, "{state=\"running\"} 0") > 0);
    engine.sh("docker run -d --network none --name 'up' bb sleep 1000").ok();
    eventually("it sees the container", Duration::from_secs(20), || {
        said(&engine, "{state=\"running\"} 1") > 0
    });
    engine.kill();
    engine.boot(&[]);
    let before = said(&engine, "{state=\"running\"} 1");
    eventually("it sees the engine that came after", Duration::from_secs(20), || {
        said(&engine, "{state=\"running\"} 1") > before && said(&engine, "started") == 2
    });
    assert_eq!(engine.stop(), Some(0));
    let log = engine.dir.join("data/plugins");
    let log = std::fs::read_dir(log).unwrap().flatten().map(|dir| dir.path().join("log/json.log"));
    let log: String = log.filter_map(|path| std::fs::read_to_string(path).ok()).collect();
    assert!(log.contains("stopped"), "{log}");
}
