//! Who may do what: plugins that are asked first, in every state in which a plugin can be.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    harness::{Client, Engine, Kind, PINTLE, eventually, raw_http, signal},
    package,
    registry::Registry,
};

/// An authorization plugin in Python, as people write them: it denies what its file `deny`, a regular expression, finds
/// in method, target and body, and misbehaves as its file `mode` says. Every question becomes a line of `calls`.
const SERVER: &str = r#"
import base64, json, os, re, socketserver, sys, time
from http.server import BaseHTTPRequestHandler
folder, path = sys.argv[1:3]
def read(name):
    try: return open(folder + '/' + name).read().strip()
    except FileNotFoundError: return ''
class Handler(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def do_POST(self):
        call = json.loads(self.rfile.read(int(self.headers.get('Content-Length') or 0)) or b'{}')
        if self.path == '/Plugin.Activate': return self.answer(200, {'Implements': ['authz']})
        body = base64.b64decode(call.get('RequestBody', '')).decode()
        call['RequestBody'], call['ResponseBody'] = body, len(call.get('ResponseBody', ''))
        with open(folder + '/calls', 'a') as calls: calls.write(json.dumps([self.path, call]) + '\n')
        mode = read('mode')
        if mode == 'hang': time.sleep(3600)
        if mode == 'garbage': return self.answer(200, 'yes')
        if mode == 'error': return self.answer(500, {'Err': 'an error occurred'})
        if mode == 'die': os._exit(1)
        deny = read('deny')
        text = call['RequestMethod'] + ' ' + call['RequestUri'] + ' ' + body
        denied = self.path.endswith('Req') and deny and re.search(deny, text)
        self.answer(200, {'Allow': not denied, 'Msg': 'not allowed here' if denied else ''})
    def answer(self, status, value):
        data = json.dumps(value).encode()
        self.send_response(status); self.send_header('Content-Length', str(len(data))); self.end_headers()
        self.wfile.write(data)
    def address_string(self): return 'engine'
    def log_message(self, *_): pass
class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads, request_queue_size = True, 512
if os.path.exists(path): os.unlink(path)
os.umask(0o077)
Server(path, Handler).serve_forever()
"#;

/// The plugin, started by hand.
pub struct Plugin {
    child: Option<Child>,
    folder: PathBuf,
    socket: PathBuf,
}

impl Plugin {
    pub fn start(sockets: &Path, name: &str) -> Self {
        let folder = sockets.parent().unwrap().join(format!("judge-{name}"));
        fs::create_dir_all(&folder).unwrap();
        fs::create_dir_all(sockets).unwrap();
        let mut plugin = Self { child: None, folder, socket: sockets.join(format!("{name}.sock")) };
        plugin.again();
        plugin
    }

    fn again(&mut self) {
        let (folder, socket) = (self.folder.display().to_string(), self.socket.display().to_string());
        let mut command = Command::new("python3");
        let child = command.args(["-c", SERVER, &folder, &socket]).stdin(Stdio::null()).spawn();
        self.child = Some(child.expect("apt-get install python3"));
        let listens = || std::os::unix::net::UnixStream::connect(&self.socket).is_ok();
        eventually("the plugin to listen", Duration::from_secs(20), listens);
    }

    pub fn write(&self, file: &str, text: &str) {
        fs::write(self.folder.join(file), text).unwrap();
    }

    fn calls(&self) -> Vec<(String, Value)> {
        let calls = fs::read_to_string(self.folder.join("calls")).unwrap_or_default();
        calls.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Plugin {
    fn drop(&mut self) {
        self.kill();
    }
}

/// An engine that is to be asked for leave by plugins, which its configuration file names.
fn engine_with(plugins: &[&str]) -> (Engine, PathBuf) {
    let mut engine = Engine::prepared(Kind::Pintle, Client::Docker, &[]);
    let file = engine.dir.join("daemon.json");
    fs::write(&file, json!({"authorization-plugins": plugins}).to_string()).unwrap();
    engine.also(&["--config-file", &file.display().to_string()]);
    (engine, file)
}

/// The most that a request may take, whatever plugins do: two questions with their budgets, and some air.
const BUDGET: Duration = Duration::from_secs(35);

#[test]
fn a_plugin_that_is_asked_first_decides() {
    let (mut engine, file) = engine_with(&["first", "second"]);
    let sockets = engine.dir.join("plugins");
    let (mut first, second) = (Plugin::start(&sockets, "first"), Plugin::start(&sockets, "second"));
    engine.boot(&[]);
    engine.busybox("alpine");
    assert_eq!(engine.sh("docker info -f '{{.Plugins.Authorization}}'").ok(), "[first second]");
    assert_eq!(engine.sh("docker run --rm alpine echo through both").ok(), "through both");
    let (order, count) = (first.calls(), second.calls().len());
    assert_eq!(order.len(), count, "both are asked about everything");

    second.write("deny", r#""Privileged":true|DELETE /v[0-9.]+/volumes"#);
    let said = engine.sh("docker run --rm --privileged alpine true").fails();
    assert!(said.contains("authorization denied by plugin second: not allowed here"), "{said}");
    engine.sh("docker volume create kept").ok();
    let said = engine.sh("docker volume rm kept").fails();
    assert!(said.contains("authorization denied by plugin second: not allowed here"), "{said}");
    first.write("deny", "DELETE");
    let said = engine.sh("docker volume rm kept").fails();
    assert!(said.contains("authorization denied by plugin first"), "the first word counts: {said}");

    // Whatever goes wrong with a plugin, nothing is done and the client hears of it in time.
    first.write("deny", "");
    for (mode, why) in [
        ("error", "plugin first failed with error: AuthZPlugin.AuthZReq: an error occurred"),
        (
            "garbage",
            "plugin first failed with error: AuthZPlugin.AuthZReq: the plugin's answer cannot be read",
        ),
        ("hang", "plugin first failed with error: "),
    ] {
        first.write("mode", mode);
        let begun = Instant::now();
        let (status, said) =
            engine.http("POST", "/volumes/create", Some(&json!({"Name": format!("of-{mode}")})));
        assert!(begun.elapsed() < BUDGET, "{mode}: {:?}", begun.elapsed());
        let said = said["message"].as_str().unwrap_or_default().to_owned();
        assert!(status == 500 && said.starts_with(why), "{mode}: {status} {said}");
    }
    first.write("mode", "die");
    let (status, said) = engine.http("POST", "/volumes/create", Some(&json!({"Name": "of-die"})));
    assert_eq!(status, 500, "{said}");
    first.kill();
    let (status, said) = engine.http("POST", "/volumes/create", Some(&json!({"Name": "of-dead"})));
    let said = said["message"].as_str().unwrap_or_default().to_owned();
    assert!(status == 500 && said.starts_with("plugin first failed with error: "), "{status} {said}");

    // Nobody is asked anew by a reload that cannot be right, and the engine lives on.
    let reload = |engine: &Engine| signal(engine.pid(), "HUP");
    fs::write(&file, json!({"authorization-plugins": ["second", "nobody"]}).to_string()).unwrap();
    reload(&engine);
    let refused = "was not reloaded: failed to validate authorization plugin: nobody";
    eventually("the refusal", Duration::from_secs(20), || engine.daemon_log().contains(refused));
    assert!(engine.alive());
    // The first is still asked, and it is well again.
    first.write("mode", "");
    first.again();
    assert_eq!(engine.sh("docker info -f '{{.Plugins.Authorization}}'").ok(), "[first second]");
    assert_eq!(engine.sh("docker volume ls -q").ok(), "kept", "nothing was made while it was not");

    fs::write(&file, json!({"authorization-plugins": ["second"]}).to_string()).unwrap();
    reload(&engine);
    eventually("the new chain", Duration::from_secs(20), || {
        engine.sh("docker info -f '{{.Plugins.Authorization}}'").ok() == "[second]"
    });
    first.write("deny", ".");
    second.write("deny", "");
    engine.sh("docker volume rm kept").ok();
    // The file alone may say that nobody is asked any more, and that is not done in silence.
    fs::write(&file, "{}").unwrap();
    reload(&engine);
    eventually("no chain", Duration::from_secs(20), || {
        engine.sh("docker info -f '{{.Plugins.Authorization}}'").ok() == "[]"
    });
    eventually("what the log says of it", Duration::from_secs(20), || {
        engine.daemon_log().contains("requests are authorized by others from now on")
    });
}

/// Docker forgets a chain that was given by flags when it reloads its file, and still says that it has it.
#[test]
fn a_chain_given_by_flags_survives_a_reload() {
    let mut engine = Engine::prepared(Kind::Pintle, Client::Docker, &[]);
    let sockets = engine.dir.join("plugins");
    let judge = Plugin::start(&sockets, "judge");
    judge.write("deny", "volumes/create");
    let file = engine.dir.join("daemon.json");
    fs::write(&file, "{}").unwrap();
    engine.also(&["--config-file", &file.display().to_string()]);
    engine.also(&["--authorization-plugin", "judge", "--authorization-plugin=judge"]);
    engine.boot(&[]);
    let denied = |engine: &Engine| {
        let said = engine.sh("docker volume create v").fails();
        assert!(said.contains("authorization denied by plugin judge"), "{said}");
    };
    denied(&engine);
    let asked = judge.calls().len();
    engine.sh("docker version").ok();
    let calls = judge.calls();
    let versions = calls[asked..].iter().filter(|(path, call)| {
        path == "/AuthZPlugin.AuthZReq" && call["RequestUri"].as_str().unwrap().ends_with("/version")
    });
    assert_eq!(versions.count(), 1, "one that is named twice is asked once");
    fs::write(&file, json!({"debug": true}).to_string()).unwrap();
    signal(engine.pid(), "HUP");
    eventually("the reload", Duration::from_secs(20), || {
        engine.daemon_log().contains("the configuration was reloaded")
    });
    denied(&engine);
    assert_eq!(engine.sh("docker info -f '{{.Plugins.Authorization}}'").ok(), "[judge]");
}

#[test]
fn an_engine_without_its_authorizer_does_not_start() {
    let dir = tempfile::Builder::new().prefix("pintle-story-").tempdir_in("/tmp").unwrap();
    let path = dir.path().display();
    let output = Command::new("timeout")
        .args(["40", PINTLE, "daemon", "-H", &format!("unix://{path}/s"), "--authorization-plugin=nobody"])
        .args(["--data-root", &format!("{path}/data"), "--exec-root", &format!("{path}/exec")])
        .args(["--plugin-sockets", &format!("{path}/plugins"), "--pidfile", &format!("{path}/pid")])
        .args(["--bridge", "none"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("failed to validate authorization plugin: nobody: plugin \"nobody\" not found"),
        "{said}"
    );
}

/// The example as a managed plugin that lets clients of the unix socket do everything.
/// Puts two versions of the plugin into the registry, and installs the first as `roles`.
fn install_roles(engine: &Engine, registry: &Registry) {
    let config = json!({
        "description": "who may do what", "documentation": "", "entrypoint": ["/usr/bin/authz-roles"], "workdir": "/",
        "network": {"type": ""}, "interface": {"types": ["docker.authz/1.0"], "socket": "authz-roles.sock"},
        "linux": {"capabilities": []}, "mounts": [], "env": [], "args": {},
    });
    let folder = package::folder(engine, "authz-roles", &package::built("authz-roles"), &config);
    fs::create_dir_all(folder.join("rootfs/etc")).unwrap();
    fs::write(folder.join("rootfs/etc/authz-roles"), "- * *\n").unwrap();
    for version in 1..=2 {
        let name = format!("{}/roles:{version}", registry.address);
        fs::write(folder.join("rootfs/etc/version"), version.to_string()).unwrap();
        let folder = folder.display();
        let script = format!(
            "docker plugin create {name} {folder} && docker plugin push {name} && docker plugin rm {name}"
        );
        engine.sh(&script).ok();
    }
    let name = format!("{}/roles:1", registry.address);
    engine.sh(&format!("docker plugin install --alias roles --grant-all-permissions {name}")).ok();
}

#[test]
fn two_hundred_clients_and_plugins_in_every_trouble() {
    let (mut engine, file) = engine_with(&[]);
    let recovery = engine.dir.join("recovery.sock");
    let configure = |plugins: &[&str]| {
        let text = json!({"authorization-plugins": plugins, "authorization-recovery-socket": recovery});
        fs::write(&file, text.to_string()).unwrap();
    };
    configure(&[]);
    engine.boot(&[]);
    let registry = Registry::open(&engine.dir.join("registry"));
    install_roles(&engine, &registry);
    let mut judge = Plugin::start(&engine.dir.join("plugins"), "judge");
    judge.write("deny", "forbidden-");
    configure(&["roles", "judge"]);
    signal(engine.pid(), "HUP");
    eventually("the chain", Duration::from_secs(20), || {
        engine.http("GET", "/info", None).1["Plugins"]["Authorization"] == json!(["roles", "judge"])
    });
    // The chain's members are not for those whom they judge to switch off.
    for command in ["plugin disable -f roles", "plugin rm -f roles"] {
        let said = engine.sh(&format!("docker {command}")).fails();
        assert!(said.contains("authorizes requests"), "{said}");
    }

    let (done, longest, made, refused) =
        (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    let socket = engine.socket();
    let on_recovery =
        |script: &str| engine.sh(&format!("DOCKER_HOST=unix://{} docker {script}", recovery.display())).ok();
    std::thread::scope(|scope| {
        for client in 0..200 {
            let (done, longest, made, refused, socket) = (&done, &longest, &made, &refused, &socket);
            scope.spawn(move || {
                for round in 0.. {
                    if done.load(Ordering::Relaxed) {
                        return;
                    }
                    let kind = if (client + round) % 4 == 0 { "forbidden" } else { "fine" };
                    let body = json!({"Name": format!("{kind}-{client}-{round}")}).to_string();
                    let begun = Instant::now();
                    let (status, said) =
                        raw_http(socket, "POST", "/volumes/create", "application/json", body.as_bytes())
                            .unwrap();
                    let took = usize::try_from(begun.elapsed().as_millis()).unwrap();
                    longest.fetch_max(took, Ordering::Relaxed);
                    let said = String::from_utf8_lossy(&said).into_owned();
                    match (status, kind) {
                        (201, "fine") => made.fetch_add(1, Ordering::Relaxed),
                        (403 | 500, _) if said.contains("plugin") => refused.fetch_add(1, Ordering::Relaxed),
                        other => panic!("{other:?}: {said}"),
                    };
                    std::thread::sleep(Duration::from_millis(100));
                }
            });
        }
        let troubles = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let passes = |more: usize| {
                let before = made.load(Ordering::Relaxed);
                eventually("requests that pass", Duration::from_secs(60), || {
                    made.load(Ordering::Relaxed) >= before + more
                });
            };
            passes(100);
            for round in 0..2 {
                // A legacy plugin is killed and started again.
                judge.kill();
                std::thread::sleep(Duration::from_millis(300));
                judge.again();
                passes(50);
                // A managed one is killed, and started again by its engine.
                let (_, plugin) = raw_http(&recovery, "GET", "/plugins/roles/json", "", b"").unwrap();
                let pid = serde_json::from_slice::<Value>(&plugin).unwrap()["Pid"].as_u64().unwrap();
                signal(u32::try_from(pid).unwrap(), "KILL");
                passes(50);
                // Another chain, and the old one again.
                for plugins in [["judge", "roles"], ["roles", "judge"]] {
                    configure(&plugins);
                    signal(engine.pid(), "HUP");
                    passes(25);
                }
                // Root stops one that is named: nothing passes until it is back.
                on_recovery("plugin disable -f roles");
                std::thread::sleep(Duration::from_millis(300));
                if round == 0 {
                    // And another version takes its place.
                    let name = format!("{}/roles:2", registry.address);
                    on_recovery(&format!("plugin upgrade --grant-all-permissions roles {name}"));
                }
                on_recovery("plugin enable roles");
                passes(50);
            }
        }));
        done.store(true, Ordering::Relaxed);
        if let Err(panic) = troubles {
            std::panic::resume_unwind(panic);
        }
    });
    let longest = Duration::from_millis(longest.load(Ordering::Relaxed) as u64);
    assert!(longest < 2 * BUDGET, "a client waited for {longest:?}");
    assert!(refused.load(Ordering::Relaxed) > 0 && made.load(Ordering::Relaxed) > 0);

    let asked: BTreeSet<String> = judge
        .calls()
        .into_iter()
        .filter(|(path, _)| path == "/AuthZPlugin.AuthZReq")
        .filter_map(|(_, call)| serde_json::from_str::<Value>(call["RequestBody"].as_str()?).ok())
        .filter_map(|body| body["Name"].as_str().map(str::to_owned))
        .collect();
    let volumes = engine.http("GET", "/volumes", None).1;
    let exist: Vec<String> = volumes["Volumes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|volume| volume["Name"].as_str().unwrap().to_owned())
        .collect();
    assert!(exist.len() >= made.load(Ordering::Relaxed));
    for name in &exist {
        assert!(name.starts_with("fine-"), "{name} was made though its authorizer says no");
        assert!(asked.contains(name), "{name} was made and nobody was asked");
    }
}
