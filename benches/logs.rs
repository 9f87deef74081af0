//! What logging costs, beside Docker's own engine in one run: `cargo bench -p pintle --bench logs`. `-- NUMBER` says how many MB
//! a container writes; 100, if nothing is said.
//!
//! The measurements alternate. Lines have a hundred bytes. A run ends when the container has; how long a driver takes to have
//! everything is not counted, since pintle's containers do not wait for drivers.

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

use std::{
    fs,
    io::Read,
    net::TcpListener,
    process::Command,
    time::{Duration, Instant},
};

use harness::{Client, Engine, Kind, eventually};
use measure::{compare, heading, median, millis, row};

/// Lines of a hundred bytes with their newlines.
fn writing(megabytes: usize) -> String {
    format!("yes {} | head -c {}", "x".repeat(99), megabytes * 1_000_000)
}

/// A container that writes, to its end.
fn write(engine: &Engine, name: &str, log: &str, script: &str) -> Duration {
    let begun = Instant::now();
    engine
        .sh_within(
            600,
            &engine.dir,
            &format!(
                "docker run --network none -d --name {name} {log} bb sh -c '{script}' && docker wait {name}"
            ),
        )
        .ok();
    let took = begun.elapsed();
    engine.sh(&format!("docker rm -f {name}")).ok();
    took
}

/// Somebody who takes what comes by the forward protocol, and says nothing.
fn sink() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                let mut buffer = vec![0; 1 << 20];
                while let Ok(1..) = stream.read(&mut buffer) {}
            });
        }
    });
    address
}

/// A log plugin that reads and forgets, in Python: both engines find it by its socket.
const DISCARD: &str = r#"
import json, os, socketserver, sys, threading
from http.server import BaseHTTPRequestHandler
path = sys.argv[1]
def take(path):
    with open(path, 'rb', buffering=0) as pipe:
        while pipe.read(1 << 20): pass
class Plugin(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers.get('Content-Length') or 0))
        body, reply = json.loads(body) if body.strip() else {}, {'Err': ''}
        if self.path == '/Plugin.Activate': reply = {'Implements': ['LogDriver']}
        elif self.path == '/LogDriver.Capabilities': reply = {'Cap': {'ReadLogs': False}}
        elif self.path == '/LogDriver.StartLogging': threading.Thread(target=take, args=(body['File'],), daemon=True).start()
        data = json.dumps(reply).encode()
        self.send_response(200); self.send_header('Content-Length', str(len(data))); self.end_headers()
        self.wfile.write(data)
    def log_message(self, *_): pass
class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    def get_request(self): return self.socket.accept()[0], ('engine', 0)
if os.path.exists(path): os.unlink(path)
Server(path, Plugin).serve_forever()
"#;

struct Plugin(std::process::Child, std::path::PathBuf);

impl Plugin {
    fn start(socket: std::path::PathBuf) -> Self {
        fs::create_dir_all(socket.parent().unwrap()).unwrap();
        let child = Command::new("python3")
            .args(["-c", DISCARD])
            .arg(&socket)
            .spawn()
            .expect("apt-get install python3");
        eventually("the plugin", Duration::from_secs(10), || {
            std::os::unix::net::UnixStream::connect(&socket).is_ok()
        });
        Self(child, socket)
    }
}

impl Drop for Plugin {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
        let _ = fs::remove_file(&self.1);
    }
}

/// A container that writes a little, very often.
const OFTEN: &str = "n=0; while [ $n -lt 500 ]; do n=$((n+1)); echo a line of some length, number $n; done";

fn main() {
    let megabytes = std::env::args().find_map(|word| word.parse().ok()).unwrap_or(100);
    let ours = Engine::start(Kind::Pintle, Client::Docker, &[]);
    let theirs = Engine::start(Kind::Dockerd, Client::Docker, &[]);
    let name = format!("pintle-bench-{}", std::process::id());
    let _plugins = [
        Plugin::start(ours.dir.join("plugins").join(format!("{name}.sock"))),
        Plugin::start(format!("/run/docker/plugins/{name}.sock").into()),
    ];
    let address = sink();
    for engine in [&ours, &theirs] {
        engine.busybox("bb");
        write(engine, "warm", "", "echo warm");
    }
    heading();
    let both = (&ours, &theirs);
    let script = writing(megabytes);
    for (what, log) in [
        ("json-file", "--log-driver json-file".to_owned()),
        (
            "json-file, rotated",
            "--log-driver json-file --log-opt max-size=10m --log-opt max-file=3".to_owned(),
        ),
        ("local", "--log-driver local".to_owned()),
        ("fluentd", format!("--log-driver fluentd --log-opt fluentd-address={address}")),
        ("a plugin that discards", format!("--log-driver {name}")),
    ] {
        compare(&format!("{megabytes} MB in lines, {what}"), 3, 0.25, both, |engine, turn| {
            write(engine, &format!("w{turn}"), &log, &script)
        });
    }
    let large = writing(megabytes * 10);
    for engine in [&ours, &theirs] {
        let run = format!("docker run -d --network none --name big bb sh -c '{large}' && docker wait big");
        engine.sh_within(900, &engine.dir, &run).ok();
    }
    compare(&format!("logs --tail 100 of {} MB", megabytes * 10), 7, 0.1, both, |engine, _| {
        let begun = Instant::now();
        engine.sh("docker logs --tail 100 big >/dev/null").ok();
        begun.elapsed()
    });
    // Nobody listens there.
    let dead = "--log-driver fluentd --log-opt fluentd-address=127.0.0.1:9 --log-opt fluentd-async=true";
    let mut samples = [Vec::new(), Vec::new()];
    for turn in 0..7 {
        for (log, samples) in [dead, "--log-driver none"].into_iter().zip(&mut samples) {
            samples.push(millis(write(&ours, &format!("often-{turn}"), log, OFTEN)));
        }
    }
    let [with, without] = samples.map(median);
    row("500 lines while the driver is dead (the other is none)", with, without, "ms", 1.0);
}
