//! The audit trail: who asked for what, what was decided, and what came of it, and whether anybody touched that.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use serde_json::{Value, json};

use crate::{
    authorization::Plugin,
    harness::{Client, Engine, Kind, eventually, signal},
};

fn engine_with(settings: &Value) -> (Engine, PathBuf) {
    let mut engine = Engine::prepared(Kind::Pintle, Client::Docker, &[]);
    let file = engine.dir.join("daemon.json");
    fs::write(&file, settings.to_string()).unwrap();
    engine.also(&["--config-file", &file.display().to_string()]);
    (engine, file)
}

/// Every line of a trail's newest file.
fn lines(trail: &Path) -> Vec<Value> {
    let text = fs::read_to_string(trail).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The first line of these words in its `route` and `method`, as they come.
fn of<'a>(lines: &'a [Value], method: &str, route: &str) -> &'a Value {
    let found = lines.iter().find(|line| line["method"] == method && line["route"] == route);
    found.unwrap_or_else(|| panic!("no {method} {route} in {lines:#?}"))
}

#[test]
fn every_decision_is_a_line() {
    let (mut engine, file) = engine_with(&json!({
        "authorization-plugins": ["judge"],
        "audit": {"redact": ["pin"], "exclude": ["GET /_ping", "HEAD /_ping"]}
    }));
    let judge = Plugin::start(&engine.dir.join("plugins"), "judge");
    judge.write("deny", r#""Privileged":true"#);
    engine.boot(&[]);
    let trail = engine.dir.join("data/audit/audit.jsonl");
    engine.busybox("bb");
    engine.sh("docker create --name made -e SECRET=hunter2 -l pin=4711 bb true").ok();
    engine.sh("docker create --name never --privileged bb true").fails();
    engine.sh("docker login -u me -p hunter2 127.0.0.1:9").fails();
    engine.sh("docker rm nobody").fails();
    let verify = || engine.sh(&format!("pintle audit verify {}", trail.display()));
    eventually("the lines", Duration::from_secs(10), || {
        lines(&trail).iter().any(|line| line["event"] == "answer" && line["status"] == 404)
    });
    let all = lines(&trail);
    assert_eq!((&all[0]["event"], &all[0]["chain"]), (&json!("start"), &json!(["judge"])));
    assert!(all.iter().all(|line| line["route"] != "/_ping"));
    let creates: Vec<&Value> = all.iter().filter(|line| line["route"] == "/containers/create").collect();
    let made = creates[0];
    assert_eq!((&made["verdict"], &made["asked"]), (&json!("allow"), &json!(["judge"])));
    assert_eq!(made["body"]["Env"], json!(["SECRET=[redacted]"]));
    assert_eq!(made["body"]["Labels"]["pin"], "[redacted]");
    let who = &made["who"];
    assert_eq!((&who["uid"], &who["name"]), (&json!(0), &json!("root")));
    assert!(who["exe"].as_str().unwrap().ends_with("docker") && who["pid"].as_u64().unwrap() > 1, "{who}");
    let answer = all.iter().find(|line| line["event"] == "answer" && line["id"] == made["id"]).unwrap();
    assert_eq!(answer["status"], 201);
    let never = creates[1];
    assert_eq!(
        (&never["verdict"], &never["by"], &never["why"]),
        (&json!("deny"), &json!("judge"), &json!("not allowed here"))
    );
    assert!(!all.iter().any(|line| line["event"] == "answer" && line["id"] == never["id"]));
    let removed = of(&all, "DELETE", "/containers/{}");
    assert_eq!(removed["object"], "nobody");
    assert!(!fs::read_to_string(&trail).unwrap().contains("hunter2"), "a secret");
    assert!(verify().ok().starts_with("sound: "));

    // Who is asked is changed, and whoever cannot be asked has refused.
    judge.write("mode", "garbage");
    engine.sh("docker volume create one").fails();
    let refused = of(&lines(&trail), "POST", "/volumes/create").clone();
    assert_eq!((&refused["verdict"], &refused["by"]), (&json!("error"), &json!("judge")));
    fs::write(
        &file,
        json!({"audit": {"redact": ["pin"], "exclude": ["GET /_ping", "HEAD /_ping"]}}).to_string(),
    )
    .unwrap();
    signal(engine.pid(), "HUP");
    eventually("the change", Duration::from_secs(10), || {
        lines(&trail).iter().any(|line| line["event"] == "chain")
    });
    engine.sh("docker volume create two").ok();
    let two = lines(&trail).iter().rfind(|line| line["route"] == "/volumes/create").unwrap().clone();
    assert_eq!((&two["verdict"], &two["asked"]), (&json!("allow"), &json!([])));
    assert!(verify().ok().contains("last hash: "));

    // Somebody writes history.
    let text = fs::read_to_string(&trail).unwrap();
    fs::write(&trail, text.replace("\"object\":\"nobody\"", "\"object\":\"somebody\"")).unwrap();
    let said = verify().fails();
    assert!(said.contains("it was changed"), "{said}");
    drop(judge);
}

/// The engine is killed in the middle of writing again and again; every request that was answered is there, and the chain holds.
#[test]
fn a_trail_outlives_kills() {
    let (mut engine, _) = engine_with(&json!({"audit": {"max-size": "64k", "required": true}}));
    let trail = engine.dir.join("data/audit/audit.jsonl");
    let mut made = Vec::new();
    for round in 0..6 {
        engine.boot(&[]);
        let killed = std::thread::scope(|scope| {
            let engine = &engine;
            let clients: Vec<_> = (0..4)
                .map(|client| {
                    scope.spawn(move || {
                        let mut done = Vec::new();
                        for number in 0..1000 {
                            let name = format!("v-{round}-{client}-{number}");
                            match engine.try_http("POST", "/volumes/create", Some(&json!({"Name": name}))) {
                                Ok((201, _)) => done.push(name),
                                _ => break,
                            }
                        }
                        done
                    })
                })
                .collect();
            std::thread::sleep(Duration::from_millis(120 + 40 * round));
            signal(engine.pid(), "KILL");
            clients.into_iter().flat_map(|client| client.join().unwrap()).collect::<Vec<_>>()
        });
        engine.kill();
        made.extend(killed);
    }
    assert!(made.len() > 20, "only {} were made", made.len());
    let said = engine.sh(&format!("pintle audit verify --format json {}", trail.display())).ok();
    let sound: Value = serde_json::from_str(&said).unwrap();
    assert!(sound["Sound"] == true && sound["First"] == 1 && sound["Files"].as_u64() > Some(1), "{sound}");
    let dir = trail.parent().unwrap();
    let all: String =
        fs::read_dir(dir).unwrap().map(|file| fs::read_to_string(file.unwrap().path()).unwrap()).collect();
    for name in &made {
        assert!(all.contains(&format!("\"Name\":\"{name}\"")), "{name} was made and nobody wrote who did it");
    }
}

/// Takes lines by HTTP, and has them on the disk before it says so.
const TAKER: &str = r"
import json, os, sys
from http.server import BaseHTTPRequestHandler, HTTPServer
class Server(BaseHTTPRequestHandler):
    def do_POST(self):
        text = self.rfile.read(int(self.headers['Content-Length']))
        with open(sys.argv[2], 'ab') as out:
            out.write(text if text.endswith(b'\n') else text + b'\n'); out.flush(); os.fsync(out.fileno())
        self.send_response(200); self.send_header('Content-Length', '0'); self.end_headers()
    def log_message(self, *_): pass
HTTPServer(('127.0.0.1', int(sys.argv[1])), Server).serve_forever()
";

/// Every line arrives, in order, while the engine and who takes them are killed, and by a second way at once.
#[test]
fn a_trail_reaches_log_drivers() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (mut engine, file) = engine_with(&json!({}));
    let settings = json!({"audit": {"max-size": "16k", "log-drivers": {
        "siem": {"driver": "http", "options": {"http-url": format!("http://127.0.0.1:{port}/"), "http-format": "text", "http-batch-wait": "50ms"}},
        "copy": {"driver": "file", "options": {"file-path": "audit/copy"}},
    }}});
    fs::write(&file, settings.to_string()).unwrap();
    let taken = engine.dir.join("taken");
    let taker = || {
        let mut command = Command::new("python3");
        command.args(["-c", TAKER, &port.to_string()]).arg(&taken);
        Taker(command.spawn().unwrap())
    };
    let mut running = Some(taker());
    for round in 0..4 {
        engine.boot(&[]);
        std::thread::scope(|scope| {
            let (engine, port) = (&engine, port);
            let clients = scope.spawn(move || {
                for number in 0..40 {
                    let name = format!("v-{round}-{number}");
                    let _ = engine.try_http("POST", "/volumes/create", Some(&json!({"Name": name})));
                }
            });
            if round % 2 == 1 {
                running = None;
                assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err());
                std::thread::sleep(Duration::from_millis(300));
                running = Some(taker());
            }
            clients.join().unwrap();
            signal(engine.pid(), "KILL");
        });
        engine.kill();
    }
    engine.boot(&[]);
    let seqs = |path: &Path| -> Vec<u64> {
        let text = fs::read_to_string(path).unwrap_or_default();
        let seq = |line: &str| serde_json::from_str::<Value>(line).unwrap()["seq"].as_u64().unwrap();
        text.lines().map(seq).collect()
    };
    let last = || {
        let said = engine.sh(&format!("cat {}/data/audit/audit.jsonl.head", engine.dir.display())).ok();
        said.split(' ').next().unwrap().parse::<u64>().unwrap()
    };
    let copy = engine.dir.join("data/log-files/audit/copy");
    for path in [&taken, &copy] {
        eventually("the last line", Duration::from_secs(60), || seqs(path).last() == Some(&last()));
        let all = seqs(path);
        let unique: std::collections::BTreeSet<u64> = all.iter().copied().collect();
        assert_eq!((unique.first(), unique.len() as u64), (Some(&1), last()), "{}", path.display());
        // What comes again comes from where it was not acknowledged, and no further back than a batch.
        assert!(all.windows(2).all(|pair| pair[1] == pair[0] + 1 || pair[1] <= pair[0]), "{all:?}");
        println!("{}: {} lines, {} of them twice", path.display(), last(), all.len() as u64 - last());
    }
    // Options that make no sense are refused before anything runs.
    engine.kill();
    let wrong = json!({"audit": {"log-drivers": {"siem": {"driver": "syslog", "options": {"syslog-facility": "nope"}}}}});
    fs::write(&file, wrong.to_string()).unwrap();
    engine.spawn(&[]);
    eventually("the engine to give up", Duration::from_secs(20), || !engine.alive());
    assert!(engine.daemon_log().contains("invalid syslog facility"), "{}", engine.daemon_log());
    drop(running);
}

struct Taker(std::process::Child);

impl Drop for Taker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A trail that must be written and cannot be lets nothing be done, and says so; one that need not be counts what it lost.
#[test]
fn a_full_disk_stops_what_must_be_written() {
    for required in [true, false] {
        let (mut engine, file) = engine_with(&json!({}));
        let small = engine.dir.join("small");
        fs::create_dir(&small).unwrap();
        let trail = small.join("trail");
        let settings = json!({"audit": {"file": trail, "required": required}});
        fs::write(&file, settings.to_string()).unwrap();
        let mount =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=64k", "audit"]).arg(&small).status();
        assert!(mount.unwrap().success());
        engine.boot(&[]);
        engine.sh("docker volume create before").ok();
        let filler = small.join("filler");
        let _ = Command::new("dd").args(["if=/dev/zero", &format!("of={}", filler.display())]).output();
        let long = "x".repeat(8000);
        let create =
            || engine.http("POST", "/volumes/create", Some(&json!({"Name": "full", "Labels": {"l": long}})));
        let (status, said) = create();
        if required {
            let said = said["message"].as_str().unwrap();
            assert!(
                status == 503 && said.starts_with("nothing was done, since the audit trail"),
                "{status} {said}"
            );
            assert!(said.contains("No space left"), "{said}");
        } else {
            assert_eq!(status, 201);
            eventually("it is said", Duration::from_secs(10), || {
                engine.daemon_log().contains("the audit trail cannot be written")
            });
        }
        fs::remove_file(&filler).unwrap();
        engine.sh("docker volume create after").ok();
        assert_eq!(engine.sh("docker volume ls -q -f name=full").ok(), if required { "" } else { "full" });
        engine.sh(&format!("pintle audit verify {}", trail.display())).ok();
        let lost = lines(&trail).into_iter().find(|line| line["event"] == "lost");
        assert!(lost.is_some(), "what could not be written is counted");
        engine.stop();
    }
}
