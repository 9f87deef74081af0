//! Plugins that hang, answer half a body, lie, or die after Mount: whoever did not ask for them notices nothing.

use std::{
    fs,
    time::{Duration, Instant},
};

use pintle_sdk::Server;
use pintle_testkit::{
    faulty::{Faulty, Script},
    volume::ReferenceDriver,
};
use serde_json::json;

use crate::{
    harness::{Engine, eventually, raw_http},
    package::{built, config, folder},
};

/// How long anything may take that does not need the faulty plugin.
const LIMIT: Duration = Duration::from_millis(500);

/// A socket plugin of this process whose misbehaviour is read from a file at every call.
struct Bad {
    _plugin: Faulty,
    _runtime: tokio::runtime::Runtime,
    script: std::path::PathBuf,
}

impl Bad {
    fn start(engine: &Engine) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let script = engine.dir.join("script");
        let driver = ReferenceDriver::open(engine.dir.join("bad-volumes")).unwrap();
        let socket = engine.dir.join("plugins/bad.sock");
        fs::create_dir_all(socket.parent().unwrap()).unwrap();
        let guard = runtime.enter();
        let plugin =
            Faulty::start_with(socket, Server::volume(driver), Script::new(), Some(script.clone())).unwrap();
        drop(guard);
        Self { _plugin: plugin, _runtime: runtime, script }
    }

    fn does(&self, script: &str) {
        fs::write(&self.script, script).unwrap();
    }
}

/// Asks everything that does not need the plugin, and names what took too long.
#[track_caller]
fn nobody_else_waits(engine: &Engine, during: &str) {
    for path in [
        "/containers/json?all=1",
        "/containers/bystander/json",
        "/info",
        "/volumes",
        "/images/json",
        "/plugins",
        "/volumes/mine",
    ] {
        let start = Instant::now();
        let (status, body) = engine.http("GET", path, None);
        let took = start.elapsed();
        assert_eq!(status, 200, "{during}: GET {path}: {body}");
        assert!(took < LIMIT, "{during}: GET {path} took {took:?}");
    }
}

#[test]
fn a_plugin_that_hangs_in_any_method_stalls_nobody_else() {
    let engine = Engine::pintle();
    engine.busybox("alpine");
    let bad = Bad::start(&engine);
    engine
        .sh("docker volume create mine && docker run -d --name bystander -v mine:/d alpine sleep 1000")
        .ok();
    engine.sh("docker volume create -d bad kept").ok();

    for fault in [
        "hang",
        "half-body-hang",
        "half-body",
        "wrong-json",
        "wrong-shape",
        "garbage",
        "close",
        "empty",
        "huge:300000000",
    ] {
        for method in ["list", "get", "create", "mount", "unmount", "remove", "path", "capabilities"] {
            let during = format!("{method}={fault}");
            bad.does(&during);
            // Somebody asks for it, and may wait.
            let (socket, name) =
                (engine.socket(), format!("v-{method}-{}", fault.split(':').next().unwrap()));
            std::thread::spawn(move || {
                let body = |value: serde_json::Value| value.to_string().into_bytes();
                let json_type = "application/json";
                let _ = raw_http(
                    &socket,
                    "POST",
                    "/volumes/create",
                    json_type,
                    &body(json!({"Name": name, "Driver": "bad"})),
                );
                let container = json!({"Image": "alpine", "Cmd": ["true"], "HostConfig": {"Binds": [format!("{name}:/d")]}});
                let _ = raw_http(
                    &socket,
                    "POST",
                    &format!("/containers/create?name=c-{name}"),
                    json_type,
                    &body(container),
                );
                let _ = raw_http(&socket, "POST", &format!("/containers/c-{name}/start"), "", b"");
                let _ = raw_http(&socket, "DELETE", &format!("/containers/c-{name}?force=1"), "", b"");
                let _ = raw_http(&socket, "DELETE", &format!("/volumes/{name}"), "", b"");
            });
            std::thread::sleep(Duration::from_millis(60));
            nobody_else_waits(&engine, &during);
        }
    }
    bad.does("");
    let (_, listed) = engine.http("GET", "/volumes", None);
    assert!(listed.to_string().contains("\"kept\""), "{listed}");
    eventually("the plugin to be used again", Duration::from_secs(70), || {
        engine.http("GET", "/volumes/kept", None).0 == 200
    });
    // Stopping and removing what does not hang is prompt, even with a client still waiting elsewhere.
    let start = Instant::now();
    engine.sh("docker rm -f bystander").ok();
    assert!(start.elapsed() < Duration::from_secs(3));
}

#[test]
fn a_list_names_the_plugin_that_could_not_be_asked() {
    let engine = Engine::pintle();
    let bad = Bad::start(&engine);
    engine.sh("docker volume create -d bad kept && docker volume create mine").ok();
    bad.does("list=hang,get=hang");
    let start = Instant::now();
    let (status, listed) = engine.http("GET", "/volumes", None);
    assert_eq!(status, 200);
    assert!(start.elapsed() < LIMIT, "{:?}", start.elapsed());
    assert!(listed["Warnings"].to_string().contains("bad"), "{listed}");
    assert!(
        listed["Volumes"].to_string().contains("kept") && listed["Volumes"].to_string().contains("mine"),
        "{listed}"
    );
}

#[test]
fn a_plugin_that_dies_after_mount_is_back_for_the_next() {
    let engine = Engine::pintle();
    engine.busybox("alpine");
    let mut settings = config("faulty-volume");
    settings["interface"]["socket"] = json!("faulty.sock");
    settings["env"] = json!([{"name": "FAULTY", "value": "mount=die-after*1", "settable": ["value"]}]);
    let package = folder(&engine, "faulty-volume", &built("faulty-volume"), &settings);
    engine.sh(&format!("docker plugin create dies {} && docker plugin enable dies", package.display())).ok();
    engine.sh("docker volume create -d dies vol").ok();
    assert_eq!(engine.sh("docker run --rm -v vol:/d alpine sh -c 'echo x > /d/f; cat /d/f'").ok(), "x");
    eventually("the plugin to be back", Duration::from_secs(20), || {
        engine.sh("docker volume inspect vol").code == 0
    });
}

#[test]
fn hostile_packages_are_refused_and_leave_nothing() {
    let engine = Engine::pintle();
    let config = config("x").to_string();
    // (name, what the archive holds beside a good config.json, what the refusal names)
    let script = format!(
        r#"set -e
        mkdir -p good/rootfs && cat > good/config.json <<'EOF'
{config}
EOF
        python3 - <<'EOF'
import tarfile, io, json
good = open('good/config.json','rb').read()
def pack(name, more):
    with tarfile.open(name + '.tar', 'w') as tar:
        def add(path, data=b'', **fields):
            info = tarfile.TarInfo(path); info.size = len(data)
            for key, value in fields.items(): setattr(info, key, value)
            tar.addfile(info, io.BytesIO(data))
        more(add)
D = dict(type=tarfile.DIRTYPE, mode=0o755)
def base(add): add('config.json', good); add('rootfs', **D)
def traversal(add): base(add); add('rootfs/../../../../tmp/pintle-escape', b'x')
def absolute(add): base(add); add('/tmp/pintle-escape', b'x')
def symlink(add): base(add); add('rootfs/l', type=tarfile.SYMTYPE, linkname='/tmp'); add('rootfs/l/pintle-escape', b'x')
def device(add): base(add); add('rootfs/d', type=tarfile.CHRTYPE, devmajor=1, devminor=1)
def duplicate(add): base(add); add('config.json', good)
def hardlink(add): base(add); add('rootfs/h', type=tarfile.LNKTYPE, linkname='../../../../../etc/passwd')
for case in (traversal, absolute, symlink, device, duplicate, hardlink): pack(case.__name__, case)
EOF
        "#
    );
    engine.sh(&script).ok();
    for case in ["traversal", "absolute", "symlink", "device", "duplicate", "hardlink"] {
        let body = fs::read(engine.dir.join(format!("{case}.tar"))).unwrap();
        let (status, reply) = raw_http(
            &engine.socket(),
            "POST",
            &format!("/plugins/create?name={case}"),
            "application/x-tar",
            &body,
        )
        .unwrap();
        let reply = String::from_utf8_lossy(&reply).into_owned();
        // A symlink inside the root that is followed inside the root is harmless, and may be refused or confined.
        if case != "symlink" {
            assert!(status >= 400, "{case} was accepted: {status} {reply}");
            assert!(reply.contains("message"), "{case}: {reply}");
        }
        assert!(!std::path::Path::new("/tmp/pintle-escape").exists(), "{case} escaped");
        engine.http("DELETE", &format!("/plugins/{case}?force=1"), None);
    }
    // A config.json of two gigabytes of spaces, sent lazily, is cut off long before.
    let bomb = engine.sh(&format!(
        "python3 - <<'EOF' | curl -s --max-time 60 --unix-socket {} -X POST -H 'Content-Type: application/x-tar' --data-binary @- 'http://d/plugins/create?name=bomb'\n\
         import tarfile, sys\n\
         info = tarfile.TarInfo('config.json'); info.size = 2 << 30\n\
         sys.stdout.buffer.write(info.tobuf())\n\
         sys.stdout.buffer.write(b' ' * (8 << 20))\n\
         EOF",
        engine.socket().display()
    ));
    assert!(bomb.stdout.contains("config.json"), "{bomb:?}");
    assert_eq!(engine.sh("docker plugin ls -q").ok(), "");
    assert_eq!(engine.leftovers(), Vec::<String>::new());
}
