//! `kill -9` of the engine at every step of two lives, a plugin's and an image's, each with a container: first at
//! every failpoint that the code names, then at random times. After each restart the store, mounts, cgroups,
//! sockets, folders and leases agree; nothing acknowledged is lost, nothing is leaked.

mod images;
mod plugins;

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::json;

use crate::{
    harness::{Engine, raw_http},
    registry::Registry,
};

/// How many kills in all; the failpoints come first, random times fill up.
const KILLS: usize = 300;

/// How often one life may come by the same failpoint: a plugin that is enabled, tried out with its new version and
/// enabled again is started three times.
const PASSES: u32 = 3;

/// One request of a life. Answered with success, it must hold after a restart.
struct Step {
    name: &'static str,
    method: &'static str,
    /// `{}` stands for the `Id` that the step before was answered with.
    path: String,
    content: &'static str,
    body: Vec<u8>,
}

impl Step {
    fn new(name: &'static str, method: &'static str, path: impl Into<String>) -> Self {
        Self { name, method, path: path.into(), content: "", body: Vec::new() }
    }

    fn json(self, body: &serde_json::Value) -> Self {
        Self { content: "application/json", body: body.to_string().into_bytes(), ..self }
    }

    fn tar(self, body: Vec<u8>) -> Self {
        Self { content: "application/x-tar", body, ..self }
    }
}

/// How far a life came: `done` steps were acknowledged, and the next one may or may not have happened.
struct Reached<'a> {
    steps: &'a [Step],
    done: usize,
}

impl Reached<'_> {
    fn at(&self, step: &str) -> usize {
        self.steps.iter().position(|own| own.name == step).unwrap()
    }

    fn has(&self, step: &str) -> bool {
        self.done > self.at(step)
    }

    fn maybe(&self, step: &str) -> bool {
        self.done >= self.at(step)
    }

    /// Acknowledged, and nothing has begun to undo it.
    fn holds(&self, made: &str, gone: &str) -> bool {
        self.has(made) && !self.maybe(gone)
    }

    fn must(&self, what: &str, (made, gone): (&str, &str), found: bool) {
        if self.holds(made, gone) {
            assert!(found, "{what} was acknowledged after {} steps and is lost", self.done);
        }
        if !self.maybe(made) || self.has(gone) {
            assert!(!found, "{what} is there after {} steps", self.done);
        }
    }
}

/// A sequence of requests whose every step can be looked for afterwards.
trait Life: Send + Sync {
    fn steps(&self) -> &[Step];

    /// What must be true of an engine that came up after the life was cut short.
    fn agrees(&self, engine: &Engine, reached: &Reached<'_>);

    /// Takes everything down through the API.
    fn undo(&self, engine: &Engine, remembered: &str);
}

/// Lives until the engine dies or the end; how many steps were acknowledged.
fn live(life: &dyn Life, socket: &Path, acknowledged: &AtomicUsize) {
    let mut id = String::new();
    for (number, step) in life.steps().iter().enumerate() {
        let path = step.path.replace("{}", &id);
        match raw_http(socket, step.method, &path, step.content, &step.body) {
            Ok((200..=204, reply)) if !String::from_utf8_lossy(&reply).contains("errorDetail") => {
                let reply: serde_json::Value = serde_json::from_slice(&reply).unwrap_or_default();
                id = reply["Id"].as_str().unwrap_or_default().to_owned();
                acknowledged.store(number + 1, Ordering::SeqCst);
            }
            Ok((status, reply)) => {
                // An answer that is no success while the engine lives is a bug of its own.
                panic!("{}: {status} {}", step.name, String::from_utf8_lossy(&reply));
            }
            Err(_) => return,
        }
    }
}

/// Whether something is there.
fn exists(engine: &Engine, path: &str) -> bool {
    match engine.http("GET", path, None).0 {
        200 => true,
        404 => false,
        other => panic!("{path}: {other}"),
    }
}

/// Every failpoint that the sources name.
fn failpoints() -> BTreeSet<String> {
    fn scan(dir: &Path, found: &mut BTreeSet<String>) {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                scan(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                for part in text.split("failpoint!(\"").skip(1) {
                    found.insert(part.split('"').next().unwrap().to_owned());
                }
            }
        }
    }
    let mut found = BTreeSet::new();
    for part in ["host", "engine", "image"] {
        scan(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crates").join(part).join("src"), &mut found);
    }
    // These lives have no network; an engine dies at each of these in the engine's own tests (`crash`).
    found.retain(|point| !point.starts_with("engine.network."));
    assert!(found.len() >= 15, "the code names its steps: {found:?}");
    found
}

/// Takes everything down and demands that nothing is left.
fn clean(engine: &Engine, life: &dyn Life, files: Option<&BTreeSet<String>>, remembered: &str) {
    life.undo(engine, remembered);
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let mut left = engine.leftovers();
        left.extend(
            files.iter().flat_map(|files| kept(engine).difference(files).cloned().collect::<Vec<_>>()),
        );
        if left.is_empty() {
            break;
        }
        assert!(Instant::now() < deadline, "{remembered}: left behind: {left:#?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Asks for something to go, which may never have come.
fn away(engine: &Engine, method: &str, path: &str, remembered: &str) {
    let granted = path.contains("pull").then(|| json!([]));
    let (status, body) = engine.http(method, path, granted.as_ref());
    assert!(
        status < 300
            || status == 404
            || status == 409 && (path.contains("enable") || path.contains("name=q")),
        "{remembered}: {method} {path}: {status} {body}"
    );
}

/// Everything that the engine keeps in files, by name.
fn kept(engine: &Engine) -> BTreeSet<String> {
    let data = engine.dir.join("data");
    let mut found = BTreeSet::new();
    for sub in [
        "",
        "blobs/sha256",
        "blobs/partial",
        "blobs/tmp",
        "layers",
        "layers/tmp",
        "plugins",
        "volumes",
        "tmp",
    ] {
        for entry in fs::read_dir(data.join(sub)).into_iter().flatten().flatten() {
            found.insert(format!("{sub}/{}", entry.file_name().to_string_lossy()));
        }
    }
    found
}

#[test]
fn three_hundred_kills_lose_nothing_and_leak_nothing() {
    let mut engine = Engine::pintle();
    let registry = Registry::open(&engine.dir);
    engine.busybox("alpine");
    let lives: [Arc<dyn Life>; 2] =
        [Arc::new(plugins::life(&engine, &registry)), Arc::new(images::life(&engine))];

    // Each whole life without a kill: it works, leaves nothing, and says how long it takes.
    let whole = lives.each_ref().map(|life| {
        let start = Instant::now();
        let acknowledged = AtomicUsize::new(0);
        live(&**life, &engine.socket(), &acknowledged);
        assert_eq!(acknowledged.load(Ordering::SeqCst), life.steps().len());
        let whole = start.elapsed();
        clean(&engine, &**life, None, "without a kill");
        whole
    });
    let files = kept(&engine);

    let mut kills = 0;
    let points = failpoints();
    let mut missed = points.clone();
    for life in &lives {
        // What the first life comes by needs no second one.
        for point in missed.clone() {
            for pass in 1..=PASSES {
                let armed = format!("{point}@{pass}");
                engine.kill();
                engine.boot(&[("PINTLE_FAILPOINT", &armed)]);
                let acknowledged = AtomicUsize::new(0);
                live(&**life, &engine.socket(), &acknowledged);
                let done = acknowledged.load(Ordering::SeqCst);
                // A life that was cut short was cut by the failpoint, also while the kernel still buries the engine.
                let died = done < life.steps().len() || !engine.alive();
                engine.kill();
                engine.boot(&[]);
                if died {
                    missed.remove(&point);
                    kills += 1;
                    life.agrees(&engine, &Reached { steps: life.steps(), done });
                }
                clean(&engine, &**life, Some(&files), &format!("failpoint {armed} after {done} steps"));
                if !died {
                    break;
                }
            }
        }
    }
    assert!(missed.is_empty(), "no step of these lives comes by {missed:?}");
    println!("{kills} deaths at {} failpoints", points.len());

    let mut random = 0x9e37_79b9_7f4a_7c15_u64 ^ u64::from(std::process::id());
    println!("seed {random:#x}, the lives take {whole:?}");
    while kills < KILLS {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let (life, whole) = (&lives[kills % 2], whole[kills % 2]);
        let delay = whole.mul_f64((random % 10_000) as f64 / 9_000.0);
        let acknowledged = Arc::new(AtomicUsize::new(0));
        let living = {
            let (life, acknowledged, socket) = (Arc::clone(life), Arc::clone(&acknowledged), engine.socket());
            std::thread::spawn(move || live(&*life, &socket, &acknowledged))
        };
        std::thread::sleep(delay);
        engine.kill();
        living.join().unwrap();
        kills += 1;
        engine.boot(&[]);
        let done = acknowledged.load(Ordering::SeqCst);
        life.agrees(&engine, &Reached { steps: life.steps(), done });
        clean(&engine, &**life, Some(&files), &format!("killed after {delay:?}, {done} steps acknowledged"));
    }
}
