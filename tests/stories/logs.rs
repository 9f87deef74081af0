//! Containers' output, kept by log drivers.

use std::{
    fs,
    os::unix::net::UnixStream,
    process::{Child, Command, Stdio},
    time::Duration,
};

use crate::harness::{Client, Engine, Kind, eventually, signal};

/// 16 KiB lines, bytes that are no text, an end without a newline.
const SCRIPT: &str = r#"i=0; while [ $i -lt 300 ]; do echo "line $i"; i=$((i+1)); done
printf 'a\0b\377\n' >&2; head -c 40000 /dev/zero | tr '\0' x; echo; printf 'no newline'"#;

#[test]
fn the_local_driver_keeps_every_byte() {
    let engine = Engine::pintle();
    engine.busybox("bb");
    engine.sh(&format!(
        "docker run --name talk --log-driver local --log-opt max-size=8k --log-opt max-file=20 --label who=me \
         --log-opt labels=who bb sh -c '{}' >live.out 2>live.err",
        SCRIPT.replace('\'', "'\\''")
    ))
    .ok();
    engine.sh("docker logs talk >kept.out 2>kept.err && cmp live.out kept.out && cmp live.err kept.err").ok();
    let out = fs::read(engine.dir.join("kept.out")).unwrap();
    assert_eq!(out.iter().filter(|byte| **byte == b'\n').count(), 301);
    assert!(fs::read(engine.dir.join("kept.err")).unwrap().starts_with(b"a\0b\xff\n"));
    let id = engine.sh("docker inspect -f '{{.Id}}' talk").ok();
    let folder = engine.dir.join("data/containers").join(id.trim()).join("local-logs");
    assert!(folder.join("container.log.2.gz").exists(), "rotated and packed");
    assert_eq!(engine.sh("docker inspect -f '{{.LogPath}}' talk").ok().trim(), "");
    assert!(engine.sh("docker logs --details --tail 1 talk").ok().starts_with("who=me no newline"));
    engine.sh("docker run -d --name follow --log-driver local bb sh -c 'echo one; cat /dev/zero | head -c 1; sleep 600'").ok();
    engine.sh("timeout 10 docker logs -f follow | head -n 1 | grep -x one; docker rm -f follow").ok();
    let refused = engine.sh("docker run --log-driver local --log-opt nonsense=1 bb true").fails();
    assert!(refused.contains("unknown log opt 'nonsense' for log driver local"), "{refused}");
    assert!(engine.sh("docker info -f '{{.Plugins.Log}}'").ok().contains("local"));
    engine.sh("docker rm talk").ok();
}

#[test]
fn dockerd_reads_what_pintle_wrote() {
    let ours = Engine::pintle();
    let theirs = Engine::start(Kind::Dockerd, Client::Docker, &[]);
    for engine in [&ours, &theirs] {
        engine.busybox("bb");
    }
    let script = SCRIPT.replace('\'', "'\\''");
    let run = "docker run --name talk --log-driver local --log-opt max-size=4k --log-opt max-file=20 bb";
    ours.sh(&format!("{run} sh -c '{script}; sleep 1' >/dev/null 2>&1")).ok();
    theirs.sh(&format!("{run} true")).ok();
    let folder = |engine: &Engine| {
        let id = engine.sh("docker inspect -f '{{.Id}}' talk").ok();
        engine.dir.join("data/containers").join(id.trim()).join("local-logs")
    };
    assert!(folder(&ours).join("container.log.2.gz").exists(), "rotated and packed");
    ours.sh(&format!("cp {}/* {}", folder(&ours).display(), folder(&theirs).display())).ok();
    let read = |engine: &Engine| {
        engine.sh("docker logs talk >read.out 2>read.err").ok();
        (fs::read(engine.dir.join("read.out")).unwrap(), fs::read(engine.dir.join("read.err")).unwrap())
    };
    let ((out, err), (their_out, their_err)) = (read(&ours), read(&theirs));
    // Docker 20.10 forgets the newline behind a line that was cut; later versions and pintle do not.
    let long = format!("{}\nno newline", "x".repeat(40_000)).into_bytes();
    let out = out.strip_suffix(&long[..]).expect("the long line, whole");
    let their_out = their_out.strip_suffix(&[&long[..40_000], b"no newline"].concat()[..]).expect("the same");
    assert!(out == their_out && err == their_err, "the two engines read the same file alike");
}

#[test]
fn rotated_files_are_packed_and_no_reader_misses_a_line() {
    let engine = Engine::pintle();
    engine.busybox("bb");
    let options = "--log-opt max-size=64k --log-opt max-file=50 --log-opt compress=true";
    let lines: String = (1..=20_000).map(|n| format!("line {n}\n")).collect();
    for driver in ["json-file", "local"] {
        let script = "while [ ! -e /go ]; do sleep 0.1; done; i=0; while [ $i -lt 20000 ]; do i=$((i+1)); echo line $i; done";
        engine
            .sh(&format!("docker run -d --name {driver} --log-driver {driver} {options} bb sh -c '{script}'"))
            .ok();
        // Who follows reads while files are rotated and packed.
        let seen = engine.dir.join(format!("{driver}.seen"));
        engine
            .sh(&format!(
                "docker logs -f {driver} >{} & docker exec {driver} touch /go && docker wait {driver} && wait $!",
                seen.display()
            ))
            .ok();
        assert!(fs::read_to_string(&seen).unwrap() == lines, "{driver}: who followed");
        assert!(
            engine.sh(&format!("docker logs {driver}")).stdout == lines,
            "{driver}: who reads afterwards"
        );
        assert_eq!(engine.sh(&format!("docker logs --tail 15000 {driver} | head -n 1")).ok(), "line 5001");
        let id = engine.sh(&format!("docker inspect -f '{{{{.Id}}}}' {driver}")).ok();
        let folder = engine.dir.join("data/containers").join(id.trim());
        let names =
            engine.sh(&format!("find {} -name '*log*' -type f -printf '%f\\n'", folder.display())).ok();
        assert!(names.lines().filter(|name| name.ends_with(".gz")).count() > 5, "{names}");
        engine.sh(&format!("docker rm {driver}")).ok();
    }
    for (option, why) in [
        (
            "json-file --log-opt compress=true",
            "compress cannot be true when max-file is less than 2 or max-size is not set",
        ),
        ("local --log-opt max-file=1", "compression cannot be enabled when max file count is 1"),
    ] {
        let refused = engine.sh(&format!("docker create --log-driver {option} bb true")).fails();
        assert!(refused.contains(why), "{refused}");
    }
}

/// A log plugin in Python: appends each line that it gets to `lines`. With a file `mute` it starts streams and never
/// reads them, with a file `hang` it never starts any; it refuses the option `bad`; `StopLogging` always fails.
const PLUGIN: &str = r#"
import json, os, socketserver, sys, threading
from http.server import BaseHTTPRequestHandler
folder, path = sys.argv[1], sys.argv[2]
def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]; at += 1; value |= (byte & 127) << shift; shift += 7
        if byte < 128: return value, at
def line(data):
    at = 0
    while at < len(data):
        key, at = varint(data, at); size, after = varint(data, at)
        if key & 7 == 0: at = after; continue
        if key >> 3 == 3: return data[after:after + size]
        at = after + size
    return b''
def take(path):
    with open(path, 'rb') as pipe, open(folder + '/lines', 'ab', buffering=0) as out:
        if os.path.exists(folder + '/mute'): threading.Event().wait()
        while True:
            head = pipe.read(4)
            if len(head) < 4: return
            out.write(line(pipe.read(int.from_bytes(head, 'big'))) + b'\n')
class Plugin(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def do_POST(self):
        body = self.rfile.read(int(self.headers.get('Content-Length') or 0))
        body, code, reply = json.loads(body) if body.strip() else {}, 200, {'Err': ''}
        if self.path == '/Plugin.Activate': reply = {'Implements': ['LogDriver']}
        elif self.path == '/LogDriver.Capabilities': reply = {'Cap': {'ReadLogs': False}}
        elif self.path == '/LogDriver.StartLogging' and 'bad' in body['Info']['Config']: reply = {'Err': 'bad is no option'}
        elif self.path == '/LogDriver.StartLogging':
            if os.path.exists(folder + '/hang'): threading.Event().wait()
            open(folder + '/started', 'a').write(json.dumps(body['Info']) + '\n')
            threading.Thread(target=take, args=(body['File'],), daemon=True).start()
        elif self.path == '/LogDriver.StopLogging': code, reply = 500, {'Err': 'it never stops'}
        data = json.dumps(reply).encode()
        self.send_response(code); self.send_header('Content-Length', str(len(data))); self.end_headers()
        self.wfile.write(data)
    def log_message(self, *_): pass
class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    def get_request(self): return self.socket.accept()[0], ('engine', 0)
if os.path.exists(path): os.unlink(path)
Server(path, Plugin).serve_forever()
"#;

struct Plugin(Child);

impl Plugin {
    fn start(engine: &Engine) -> Self {
        let socket = engine.dir.join("plugins/shipper.sock");
        fs::create_dir_all(engine.dir.join("plugins")).unwrap();
        let arguments = [PLUGIN, &engine.dir.display().to_string(), &socket.display().to_string()];
        let child = Command::new("python3").arg("-c").args(arguments).stdin(Stdio::null()).spawn();
        let plugin = Self(child.expect("apt-get install python3"));
        eventually("the plugin to listen", Duration::from_secs(20), || UnixStream::connect(&socket).is_ok());
        plugin
    }
}

impl Drop for Plugin {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The numbers of the lines that arrived, each once, in the order in which they came first.
fn arrived(engine: &Engine) -> Vec<u32> {
    let text = fs::read_to_string(engine.dir.join("lines")).unwrap_or_default();
    let mut seen = std::collections::HashSet::new();
    text.lines().filter_map(|line| line.parse().ok()).filter(|number| seen.insert(*number)).collect()
}

#[test]
fn a_log_plugin_that_dies_or_hangs_loses_no_line_and_stalls_nobody() {
    let mut engine = Engine::pintle();
    engine.busybox("bb");
    let refused = engine.sh("docker run --log-driver shipper bb true").fails();
    assert!(refused.contains("no log driver named 'shipper' is registered"), "{refused}");
    let plugin = Plugin::start(&engine);
    let counting = "i=0; while [ $i -lt 400 ]; do echo $i; i=$((i+1)); sleep 0.01; done; sleep 600";
    engine
        .sh(&format!(
            "docker run -d --name counting --log-driver shipper --log-opt any=thing bb sh -c '{counting}'"
        ))
        .ok();
    eventually("lines to arrive", Duration::from_secs(20), || arrived(&engine).len() > 20);
    drop(plugin);
    let plugin = Plugin::start(&engine);
    eventually("more to arrive", Duration::from_secs(30), || arrived(&engine).len() > 100);
    engine.kill();
    engine.boot(&[]);
    signal(plugin.0.id(), "STOP");
    for command in ["docker ps", "docker inspect counting", "docker logs --tail 5 counting"] {
        engine.sh_within(3, &engine.dir, command).ok();
    }
    signal(plugin.0.id(), "CONT");
    eventually("all of them", Duration::from_secs(60), || arrived(&engine).len() == 400);
    assert!(arrived(&engine).is_sorted(), "in order");
    assert_eq!(engine.sh("docker logs counting | wc -l").ok().trim(), "400");
    let info = fs::read_to_string(engine.dir.join("started")).unwrap();
    assert!(
        info.contains(r#""Config": {"any": "thing"}"#) && info.contains(r#""ContainerName": "/counting""#),
        "{info}"
    );
    // It accepts streams and never reads them: whatever the container writes, its end waits for nobody.
    fs::write(engine.dir.join("mute"), "").unwrap();
    engine
        .sh("docker run -d --name full --log-driver shipper bb sh -c 'yes | head -n 2000000; sleep 600'")
        .ok();
    engine.sh_within(3, &engine.dir, "docker stop -t 0 full").ok();
    engine.sh_within(3, &engine.dir, "docker rm full && docker rm -f counting").ok();
    drop(plugin);
}

#[test]
fn what_a_log_plugin_refuses_fails_the_start_and_what_it_does_not_answer_does_not() {
    let engine = Engine::pintle();
    engine.busybox("bb");
    let plugin = Plugin::start(&engine);
    let run = "docker run --network none --log-driver shipper";
    let said = engine.sh(&format!("{run} --name refused --log-opt bad=1 bb echo 1")).fails();
    let docker = "failed to create task for container: failed to initialize logging driver: error creating logger: \
                  bad is no option";
    assert!(said.contains(docker), "{said}");
    let shown =
        engine.sh("docker inspect -f '{{.State.Status}} {{.State.ExitCode}} {{.State.Error}}' refused").ok();
    assert_eq!(shown.trim(), format!("created 128 {docker}"));
    let status = "curl -s -o /dev/null -w '%{http_code}' -X POST --unix-socket";
    let status =
        engine.sh(&format!("{status} ${{DOCKER_HOST#unix://}} http://x/containers/refused/start")).ok();
    assert_eq!(status, "500");
    // A label's driver is one of the container's, too.
    let labels = "--label pintle.log-driver.more=shipper --label pintle.log-opt.more.bad=1";
    let said = engine.sh(&format!("docker run --network none {labels} bb true")).fails();
    assert!(said.contains(docker), "{said}");

    // One stream for a run, begun with it.
    let beside = "--name seven --label who=me --log-opt labels=who --log-opt tag={{.Name}}/{{.ImageName}}";
    engine.sh(&format!("{run} {beside} bb echo 7")).ok();
    assert_eq!(engine.sh("docker logs --details seven").ok(), "tag=seven%2Fbb,who=me 7");
    eventually("the line", Duration::from_secs(20), || arrived(&engine) == [7]);
    let started = fs::read_to_string(engine.dir.join("started")).unwrap();
    assert_eq!(started.lines().count(), 1, "{started}");

    fs::write(engine.dir.join("hang"), "").unwrap();
    engine.sh_within(6, &engine.dir, &format!("{run} -d --name waits bb sh -c 'echo 8; sleep 600'")).ok();
    fs::remove_file(engine.dir.join("hang")).unwrap();
    eventually("the next line", Duration::from_secs(60), || arrived(&engine) == [7, 8]);
    engine.sh("docker rm -f waits refused").ok();
    drop(plugin);
}

/// What the journal's limit took away before a slow driver came to it is counted, told, and marked where it was.
#[test]
fn lines_that_a_slow_driver_missed_are_counted_and_marked() {
    const ALL: u32 = 5000;
    let engine = Engine::pintle();
    engine.busybox("bb");
    let plugin = Plugin::start(&engine);
    let limits = "--log-opt cache-max-size=8k --log-opt cache-max-file=2";
    let script =
        format!("seq 1 10; until [ -e /go ]; do sleep 0.1; done; seq 11 {ALL}; touch /done; sleep 600");
    engine
        .sh(&format!(
            "docker run -d --name fast --network none --log-driver shipper {limits} bb sh -c '{script}'"
        ))
        .ok();
    eventually("the first lines", Duration::from_secs(20), || arrived(&engine).len() == 10);
    signal(plugin.0.id(), "STOP");
    engine.sh("docker exec fast sh -c 'touch /go; until [ -e /done ]; do sleep 0.1; done'").ok();
    signal(plugin.0.id(), "CONT");
    eventually("the last line", Duration::from_secs(30), || arrived(&engine).last() == Some(&ALL));

    let text = fs::read_to_string(engine.dir.join("lines")).unwrap();
    let (mut next, mut dropped) = (1, 0);
    for line in text.lines() {
        let gap = line.strip_prefix("pintle: ").and_then(|rest| {
            rest.strip_suffix(" lines were dropped here: the log driver was too far behind")
        });
        match gap {
            Some(gap) => {
                let gap: u32 = gap.parse().unwrap();
                dropped += gap;
                next += gap;
            }
            None => {
                assert_eq!(line, next.to_string(), "each line, or a mark for it");
                next += 1;
            }
        }
    }
    assert_eq!(next, ALL + 1);
    assert!(dropped > 0, "none were dropped");
    let (status, page) = engine.http("GET", "/metrics", None);
    assert_eq!(status, 200);
    let counted =
        page.as_str().unwrap().lines().find(|line| line.starts_with("pintle_log_lines_dropped_total{"));
    assert!(
        counted.is_some_and(|line| line.contains("\"fast\"") && line.ends_with(&format!(" {dropped}.0"))),
        "{counted:?}"
    );
    let told = engine
        .sh("docker events --since 0 --until $(($(date +%s)+1)) --filter event=log_dropped --format '{{.Actor.Attributes.lines}}'")
        .ok();
    assert_eq!(told.lines().map(|lines| lines.parse::<u32>().unwrap()).sum::<u32>(), dropped);
    engine.sh("docker rm -f fast").ok();
    drop(plugin);
}
