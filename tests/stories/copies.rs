//! `docker cp` where volumes of plugins and images are mounted.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use crate::harness::{Client, Engine, Kind, eventually};

/// A volume plugin of folders, on a socket. It writes down each mount and unmount with its id.
const SERVER: &str = r#"
import json, os, socketserver, sys
from http.server import BaseHTTPRequestHandler
folder, sock = sys.argv[1], sys.argv[2]
calls = open(folder + '/calls', 'a', buffering=1)
class Plugin(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def address_string(self): return 'engine'
    def do_POST(self):
        body = self.rfile.read(int(self.headers.get('Content-Length') or 0))
        asked = json.loads(body) if body.strip() else {}
        name, call = asked.get('Name', ''), self.path.split('.')[-1]
        path, reply = folder + '/volumes/' + name, {}
        if call == 'Activate': reply = {'Implements': ['VolumeDriver']}
        elif call == 'Create': os.makedirs(path, exist_ok=True)
        elif call == 'Mount': reply = {'Mountpoint': path}
        elif call == 'Get':
            reply = {'Volume': {'Name': name}} if os.path.isdir(path) else {'Err': 'no such volume'}
        elif call == 'List': reply = {'Volumes': [{'Name': n} for n in os.listdir(folder + '/volumes')]}
        elif call == 'Capabilities': reply = {'Capabilities': {'Scope': 'local'}}
        if call in ('Mount', 'Unmount'): calls.write(call + ' ' + asked['ID'] + '\n')
        data = json.dumps(reply).encode()
        self.send_response(200); self.send_header('Content-Length', str(len(data))); self.end_headers()
        self.wfile.write(data)
    def log_message(self, *_): pass
class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    def handle_error(self, *_): pass
os.makedirs(folder + '/volumes')
Server(sock, Plugin).serve_forever()
"#;

struct Plugin {
    child: Child,
    folder: PathBuf,
}

impl Plugin {
    fn start(folder: &Path, socket: &Path) -> Self {
        fs::create_dir_all(folder).unwrap();
        fs::create_dir_all(socket.parent().unwrap()).unwrap();
        let child = Command::new("python3")
            .args(["-c", SERVER])
            .args([folder, socket])
            .stdin(Stdio::null())
            .spawn()
            .expect("apt-get install python3");
        eventually("the plugin to listen", Duration::from_secs(20), || socket.exists());
        Self { child, folder: folder.to_owned() }
    }

    /// How often each was called.
    fn calls(&self) -> (usize, usize) {
        let calls = fs::read_to_string(self.folder.join("calls")).unwrap_or_default();
        let count = |call: &str| calls.lines().filter(|line| line.split(' ').next() == Some(call)).count();
        (count("Mount"), count("Unmount"))
    }

    /// How often each id is mounted, as the plugin counts.
    fn held(&self) -> Vec<i64> {
        let calls = fs::read_to_string(self.folder.join("calls")).unwrap_or_default();
        let mut held: BTreeMap<&str, i64> = BTreeMap::new();
        for (call, id) in calls.lines().filter_map(|line| line.split_once(' ')) {
            let times = held.entry(id).or_default();
            *times = if call == "Mount" { *times + 1 } else { (*times - 1).max(0) };
        }
        held.into_values().filter(|times| *times != 0).collect()
    }
}

impl Drop for Plugin {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whoever reads a plugin's volume is known to the plugin, and the engine that dies while it reads owes nothing.
#[test]
fn a_copy_out_of_a_running_container_is_a_mount_in_passing() {
    let mut engine = Engine::prepared(Kind::Pintle, Client::Docker, &[]);
    let plugin = Plugin::start(&engine.dir.join("plugin"), &engine.dir.join("plugins/folders.sock"));
    engine.boot(&[]);
    engine.busybox("base");
    engine
        .sh("docker volume create -d folders vol && \
             docker run -d --name box --network none -v vol:/v base sh -c 'echo hello > /v/f; sleep 1000' && \
             docker exec box dd if=/dev/zero of=/v/large bs=1M count=0 seek=2000")
        .ok();
    assert_eq!(plugin.calls(), (1, 0));
    engine.sh("docker cp box:/v/f out && grep hello out").ok();
    assert_eq!(plugin.calls(), (2, 1));
    // To copy in, the client looks first.
    engine.sh("docker cp out box:/v/in && docker exec box cat /v/in").ok();
    assert_eq!(plugin.calls(), (4, 3));
    assert_eq!(plugin.held(), [1]);

    // Into a pipe that nobody reads.
    let copy = "rm -f pipe && mkfifo pipe && \
                { docker cp box:/v/large - > pipe 2>/dev/null & echo $! > pid; sleep 1000 < pipe >/dev/null 2>&1 & echo $! >> pid; }";
    // Killed in the middle of a copy, the engine leaves the plugin no mount too many: not at once, not in the end.
    for round in 1..=3 {
        engine.sh(copy).ok();
        eventually("the copy to begin", Duration::from_secs(20), || plugin.calls().0 == 4 + round);
        engine.kill();
        engine.sh("kill $(cat pid); true").ok();
        assert_eq!(plugin.held(), [1, 1]);
        engine.boot(&[]);
        eventually("the copy's mount to end", Duration::from_secs(20), || plugin.held() == [1]);
        assert_eq!(engine.sh("docker exec box cat /v/f").ok(), "hello");
    }
    // A client that goes away ends it too.
    engine.sh(copy).ok();
    eventually("the copy to begin", Duration::from_secs(20), || plugin.held() == [1, 1]);
    engine.sh("kill $(cat pid)").ok();
    eventually("the copy's mount to end", Duration::from_secs(20), || plugin.held() == [1]);
    engine.sh("docker rm -f box && docker volume rm vol").ok();
    assert_eq!(plugin.held(), [0_i64; 0]);
}

#[test]
fn what_images_mount_can_be_copied_out_of_a_container_that_does_not_run() {
    let engine = Engine::pintle();
    engine.busybox("base");
    engine
        .sh("docker run --name maker base sh -c 'mkdir -p /deep/er; echo one > /deep/er/f' && docker commit maker files && docker rm maker")
        .ok();
    engine
        .sh("docker create --name box --mount type=image,src=files,dst=/img \
             --mount type=image,src=files,dst=/part,image-subpath=deep base true")
        .ok();
    for path in ["/img/deep/er/f", "/part/er/f"] {
        assert_eq!(engine.sh(&format!("docker cp box:{path} out && cat out")).ok(), "one", "{path}");
    }
    let refused = engine.sh("docker cp out box:/img/new").fails();
    assert!(refused.contains("read-only"), "{refused}");
    engine.sh("docker start -a box && docker cp box:/img/deep/er/f - | tar -xO | grep one").ok();
    engine.sh("docker rm box && docker rmi files").ok();
    eventually("the mounts to end", Duration::from_secs(20), || engine.leftovers().is_empty());
}
