//! Plugins that somebody else started, found by their `.spec` and `.json` files, over TCP and TLS.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::json;

use crate::harness::{Client, Engine, Kind, eventually};

/// A volume plugin in Python that remembers names, over TLS if it is given a certificate, and then only for clients
/// that show one of `ca`'s.
const SERVER: &str = r#"
import json, os, ssl, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
folder, secure = sys.argv[1], len(sys.argv) > 2
volumes, calls = {}, open(folder + '/calls', 'a', buffering=1)
class Plugin(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def do_POST(self):
        body = self.rfile.read(int(self.headers.get('Content-Length') or 0))
        name = (json.loads(body) if body.strip() else {}).get('Name')
        calls.write(self.path + '\n')
        reply = {}
        if self.path == '/Plugin.Activate': reply = {'Implements': ['VolumeDriver']}
        elif self.path == '/VolumeDriver.Create': volumes[name] = 1
        elif self.path == '/VolumeDriver.Remove': volumes.pop(name, None)
        elif self.path == '/VolumeDriver.Get':
            reply = {'Volume': {'Name': name}} if name in volumes else {'Err': 'no such volume'}
        elif self.path == '/VolumeDriver.List': reply = {'Volumes': [{'Name': n} for n in volumes]}
        elif self.path == '/VolumeDriver.Capabilities': reply = {'Capabilities': {'Scope': 'global'}}
        data = json.dumps(reply).encode()
        self.send_response(200); self.send_header('Content-Length', str(len(data))); self.end_headers()
        self.wfile.write(data)
    def log_message(self, *_): pass
ThreadingHTTPServer.handle_error = lambda *_: None
server = ThreadingHTTPServer(('127.0.0.1', 0), Plugin)
if secure:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(folder + '/server.pem', folder + '/server.key')
    tls.verify_mode = ssl.CERT_REQUIRED
    tls.load_verify_locations(folder + '/ca.pem')
    server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
with open(folder + '/port.new', 'w') as port: port.write(str(server.server_address[1]))
os.rename(folder + '/port.new', folder + '/port')
server.serve_forever()
"#;

struct Plugin {
    child: Child,
    folder: PathBuf,
}

impl Plugin {
    fn start(folder: &Path, tls: bool) -> Self {
        let mut command = Command::new("python3");
        command.args(["-c", SERVER, &folder.display().to_string()]).args(tls.then_some("tls"));
        let child = command.stdin(Stdio::null()).spawn().expect("apt-get install python3");
        let plugin = Self { child, folder: folder.to_owned() };
        eventually("the plugin to listen", Duration::from_secs(20), || folder.join("port").exists());
        plugin
    }

    fn port(&self) -> String {
        fs::read_to_string(self.folder.join("port")).unwrap()
    }

    fn calls(&self, path: &str) -> usize {
        let calls = fs::read_to_string(self.folder.join("calls")).unwrap_or_default();
        calls.lines().filter(|call| *call == path).count()
    }
}

impl Drop for Plugin {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Two authorities, and of the first a server's and a client's certificate.
fn certificates(folder: &Path) {
    let made = Command::new("bash")
        .args(["-ec", r#"
        for ca in ca stranger; do
            openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj "/CN=$ca" \
                -keyout $ca.key -out $ca.pem
        done
        for leaf in server client; do
            openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$leaf" -keyout $leaf.key -out $leaf.csr
            echo "subjectAltName=IP:127.0.0.1" > $leaf.ext
            openssl x509 -req -in $leaf.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile $leaf.ext -out $leaf.pem
        done
        "#])
        .current_dir(folder)
        .output()
        .expect("apt-get install openssl");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

#[test]
fn plugins_are_found_by_their_files_and_spoken_to_over_tls() {
    let home = tempfile::Builder::new().prefix("pintle-legacy-").tempdir_in("/tmp").unwrap();
    let (etc, secure, plain) = (home.path().join("etc"), home.path().join("tls"), home.path().join("plain"));
    for dir in [&etc, &secure, &plain] {
        fs::create_dir(dir).unwrap();
    }
    certificates(&secure);
    let (secure, plain) = (Plugin::start(&secure, true), Plugin::start(&plain, false));
    let file = |name: &str| secure.folder.join(name).display().to_string();
    let address = format!("https://127.0.0.1:{}", secure.port());
    let write = |name: &str, tls: serde_json::Value| {
        let text = json!({"Name": "ignored", "Addr": address, "TLSConfig": tls}).to_string();
        fs::write(etc.join(name), text).unwrap();
    };
    let own = [("CertFile", file("client.pem")), ("KeyFile", file("client.key"))];
    let with = |more: &[(&str, serde_json::Value)]| {
        let own = own.iter().map(|(key, value)| ((*key).to_owned(), json!(value)));
        own.chain(more.iter().map(|(key, value)| ((*key).to_owned(), value.clone()))).collect()
    };
    write("good.json", with(&[("CAFile", json!(file("ca.pem")))]));
    write("strange.json", with(&[("CAFile", json!(file("stranger.pem")))]));
    write("careless.json", with(&[]));
    write("nobody.json", json!({"CAFile": file("ca.pem")}));
    fs::write(etc.join("plain.spec"), format!("tcp://127.0.0.1:{}\n", plain.port())).unwrap();
    fs::write(etc.join("odd.spec"), "gopher://127.0.0.1:1").unwrap();
    let config = home.path().join("daemon.json");
    fs::write(&config, json!({"plugin-spec-dirs": [etc]}).to_string()).unwrap();
    let engine =
        Engine::start(Kind::Pintle, Client::Docker, &["--config-file", &config.display().to_string()]);
    assert_eq!(plain.calls("/Plugin.Activate"), 0, "nobody is called before it is needed");

    for driver in ["good", "careless", "plain"] {
        engine.sh(&format!("docker volume create -d {driver} of-{driver}")).ok();
        let shown =
            engine.sh(&format!("docker volume inspect -f '{{{{.Driver}}}} {{{{.Scope}}}}' of-{driver}"));
        assert_eq!(shown.ok(), format!("{driver} global"));
    }
    assert_eq!(plain.calls("/Plugin.Activate"), 1);
    assert_eq!(plain.calls("/VolumeDriver.Capabilities"), 1);
    // An authority that did not sign, and a plugin that wants a certificate and is shown none.
    // It may hang up before it is heard to say why.
    let nobody = ["ertificate", "the connection to plugin \"nobody\" was lost"];
    for (driver, why) in
        [("strange", &["certificate"][..]), ("nobody", &nobody), ("odd", &["Unknown protocol"])]
    {
        let refused = engine.sh(&format!("docker volume create -d {driver} of-{driver}")).fails();
        assert!(why.iter().any(|why| refused.contains(why)), "{driver}: {refused}");
    }
    // A name is no path.
    fs::write(home.path().join("outside.spec"), format!("tcp://127.0.0.1:{}", plain.port())).unwrap();
    for driver in ["../outside", "x/../../outside"] {
        let refused = engine.sh(&format!("docker volume create -d {driver} of-outside")).fails();
        assert!(refused.contains(&format!("plugin \"{driver}\" not found")), "{refused}");
    }
    // One that is gone with its file is forgotten: nothing waits for it any more, and it can come back.
    fs::remove_file(etc.join("plain.spec")).unwrap();
    drop(plain);
    let start = Instant::now();
    let listed = engine.sh("docker volume ls -q").ok();
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    assert!(listed.contains("of-good") && listed.contains("of-plain"), "{listed}");
    engine.sh("docker volume rm of-good of-careless").ok();
}
