//! Containers and images on pintle beside Docker's own engine, in one run, printed as ratios:
//! `cargo bench -p pintle --bench containers`. `-- NUMBER` says how many containers run meanwhile; 200, if nothing is
//! said.
//!
//! The measurements alternate. What needs a network has engines on hosts of their own, as in `networks`.

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

use std::{
    fs,
    net::TcpStream,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use harness::{Client, Engine, Kind, eventually, processes_naming, raw_http};
use host::Hosted;
use measure::{call, compare, create, heading, median, millis, remove, row, run_true, start};
use serde_json::{Value, json};

/// Bytes of one of the three layers of the image that is moved about: 300 MB in all, of which half can be packed.
const LAYER: usize = 100 << 20;

fn alone() -> Value {
    json!({"NetworkMode": "none"})
}

/// A registry that ends with the measurements.
struct Registry {
    address: String,
    child: Child,
}

impl Registry {
    fn open(dir: &std::path::Path) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("127.0.0.1:{port}");
        let file = dir.join("registry.yml");
        let root = dir.join("registry");
        let text = format!(
            "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: {address}\n",
            root.display()
        );
        fs::write(&file, text).unwrap();
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("apt-get install docker-registry");
        eventually("the registry", Duration::from_secs(20), || TcpStream::connect(&address).is_ok());
        Self { address, child }
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A whole exec of `true`, to the end of its output.
fn exec(engine: &Engine, _turn: usize) -> Duration {
    let begun = Instant::now();
    let body = json!({"Cmd": ["true"], "AttachStdout": true});
    let made = call(engine, "POST", "/containers/box/exec", Some(body));
    let path = format!("/exec/{}/start", made["Id"].as_str().unwrap());
    let (status, _) =
        raw_http(&engine.socket(), "POST", &path, "application/json", br#"{"Detach":false}"#).unwrap();
    assert_eq!(status, 200);
    begun.elapsed()
}

fn eighty(engine: &Engine) -> Duration {
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for lane in 0..8 {
            scope.spawn(move || {
                for turn in 0..10 {
                    run_true(engine, &format!("e{lane}-{turn}"), &alone());
                }
            });
        }
    });
    begun.elapsed()
}

/// Proportional memory of a process, in KiB.
fn pss(pid: u32) -> u64 {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"));
    line.and_then(|rest| rest.trim().trim_end_matches(" kB").trim().parse().ok()).unwrap_or(0)
}

/// What the shims of so many containers take, each.
fn per_container(engine: &Engine, running: usize) -> f64 {
    let shims = processes_naming(&engine.dir)
        .into_iter()
        .filter(|(pid, line)| *pid != engine.pid() && line.contains("shim"))
        .map(|(pid, _)| pss(pid));
    shims.sum::<u64>() as f64 / 1024.0 / running as f64
}

/// Starts so many that stay, four at a time.
fn fill(engine: &Engine, running: usize) {
    std::thread::scope(|scope| {
        for lane in 0..4 {
            scope.spawn(move || {
                for number in (lane..running).step_by(4) {
                    create(engine, &format!("r{number}"), &["sleep", "100000"], &alone());
                    start(engine, &format!("r{number}"));
                }
            });
        }
    });
}

fn drain(engine: &Engine, running: usize) {
    std::thread::scope(|scope| {
        for lane in 0..4 {
            scope.spawn(move || {
                for number in (lane..running).step_by(4) {
                    remove(engine, &format!("r{number}"));
                }
            });
        }
    });
}

/// Stops the engine and starts it again: to the first answer, and until it says that all of them run.
fn again(engine: &mut Engine, running: usize) -> (Duration, Duration) {
    engine.stop();
    let begun = Instant::now();
    engine.spawn(&[]);
    let until = |what: &str, probe: &dyn Fn() -> bool| {
        while !probe() {
            assert!(begun.elapsed() < Duration::from_secs(300), "waited in vain for {what}");
            std::thread::sleep(Duration::from_millis(1));
        }
        begun.elapsed()
    };
    let first = until("the first answer", &|| matches!(engine.try_http("GET", "/_ping", None), Ok((200, _))));
    let all = until("all containers", &|| match engine.try_http("GET", "/containers/json", None) {
        Ok((200, list)) => list.as_array().is_some_and(|list| list.len() >= running),
        _ => false,
    });
    (first, all)
}

/// The image that is moved about, in the registry and as an archive.
fn large(engine: &Engine, registry: &Registry) -> (String, std::path::PathBuf) {
    let name = format!("{}/bench/large:1", registry.address);
    let context = engine.dir.join("context");
    fs::create_dir_all(&context).unwrap();
    let mut dockerfile = "FROM scratch\n".to_owned();
    for layer in ["a", "b", "c"] {
        let half = LAYER / 2;
        engine
            .sh(&format!(
                "head -c {half} /dev/urandom >context/{layer} && yes 'something that is said again' | head -c {half} >>context/{layer}"
            ))
            .ok();
        dockerfile += &format!("COPY {layer} /{layer}\n");
    }
    fs::write(context.join("Dockerfile"), dockerfile).unwrap();
    engine
        .sh_within(600, &engine.dir, &format!("export DOCKER_BUILDKIT=0; docker build -q -t {name} context && docker push -q {name} && docker save -o large.tar {name} && docker rmi {name} && docker image prune -f"))
        .ok();
    (name, engine.dir.join("large.tar"))
}

fn with_network() {
    let ours = Hosted::start(Kind::Pintle, &[]);
    let theirs = Hosted::start(Kind::Dockerd, &["--iptables=true", "--bridge="]);
    let on = json!({"NetworkMode": "bridge"});
    for side in [&ours, &theirs] {
        side.busybox("alpine");
        run_true(side, "warm", &on);
    }
    compare("run of true on the default bridge", 20, 0.2, (&ours, &theirs), |side: &Hosted, turn| {
        run_true(side, &format!("t{turn}"), &on)
    });
}

fn main() {
    let running = std::env::args().filter_map(|word| word.parse().ok()).next().unwrap_or(200);
    let mut ours = Engine::start(Kind::Pintle, Client::Docker, &[]);
    let mut theirs = Engine::start(Kind::Dockerd, Client::Docker, &["--live-restore"]);
    heading();
    for engine in [&ours, &theirs] {
        engine.busybox("alpine");
        run_true(engine, "warm", &alone());
        create(engine, "box", &["sleep", "100000"], &alone());
        start(engine, "box");
        exec(engine, 0);
    }
    let both = (&ours, &theirs);
    compare("run of true, no network", 20, 0.15, both, |engine, turn| {
        run_true(engine, &format!("t{turn}"), &alone())
    });
    with_network();
    compare("exec of true", 20, 0.25, both, exec);
    let bursts: Vec<_> = (0..3).map(|_| (eighty(&ours), eighty(&theirs))).collect();
    let (mine, other): (Vec<_>, Vec<_>) = bursts.into_iter().unzip();
    row("80 containers, 8 at a time (with removal)", millis(median(mine)), millis(median(other)), "ms", 0.15);

    let registry = Registry::open(&ours.dir);
    let (name, archive) = large(&ours, &registry);
    let load = |engine: &Engine, _| {
        let begun = Instant::now();
        engine.sh_within(600, &engine.dir, &format!("docker load -q -i {}", archive.display())).ok();
        let took = begun.elapsed();
        engine.sh(&format!("docker rmi {name}")).ok();
        took
    };
    compare("load of an image of 300 MB", 3, 0.7, both, load);
    let pull = |engine: &Engine, _| {
        let begun = Instant::now();
        engine.sh_within(600, &engine.dir, &format!("docker pull -q {name}")).ok();
        let took = begun.elapsed();
        engine.sh(&format!("docker rmi {name}")).ok();
        took
    };
    compare("pull of an image of 300 MB from a registry here", 3, 0.7, both, pull);

    fill(&ours, running);
    fill(&theirs, running);
    let all = running + 1;
    row(
        "memory for each running container",
        per_container(&ours, all),
        per_container(&theirs, all),
        "MiB",
        0.5,
    );
    row(
        "  of the engine beside them",
        pss(ours.pid()) as f64 / 1024.0,
        pss(theirs.pid()) as f64 / 1024.0,
        "MiB",
        0.3,
    );
    compare(&format!("run of true under {running} running"), 10, 0.15, both, |engine, turn| {
        run_true(engine, &format!("u{turn}"), &alone())
    });
    let (other, mine) = (again(&mut theirs, all), again(&mut ours, all));
    row(
        &format!("engine start with {running} running, to the first answer"),
        millis(mine.0),
        millis(other.0),
        "ms",
        0.15,
    );
    row("  until it says that all of them run", millis(mine.1), millis(other.1), "ms", 0.15);
    for engine in [&ours, &theirs] {
        drain(engine, running);
        remove(engine, "box");
    }
}
