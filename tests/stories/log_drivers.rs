//! The built-in log drivers, each into its real counterpart, which is killed and started again in the middle.

use std::{
    collections::HashSet,
    fs,
    net::{TcpListener, TcpStream, UdpSocket},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use crate::harness::{Client, Engine, Kind, eventually};

const LINES: usize = 300;

/// Says numbers, a few at a time.
fn counting() -> String {
    format!(
        "i=0; while [ $i -lt {LINES} ]; do echo \"n $i\"; i=$((i+1)); [ $((i%10)) = 0 ] && sleep 0.1; done; echo oops >&2"
    )
}

/// A program that takes lines; it dies with this.
pub struct Peer(Child);

impl Peer {
    /// Starts it and waits until `ready`.
    pub fn start(command: &mut Command, log: &Path, ready: impl Fn() -> bool) -> Self {
        let log = fs::File::options().create(true).append(true).open(log).unwrap();
        let program = format!("{:?}", command.get_program());
        let child = command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn();
        let mut peer =
            Self(child.unwrap_or_else(|error| panic!("{program}: {error}: tests/run installs it")));
        eventually(&format!("{program} to listen"), Duration::from_secs(30), || {
            let ended = peer.0.try_wait().unwrap();
            assert!(ended.is_none(), "{program} ended: {ended:?}");
            ready()
        });
        peer
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What `tests/run` fetched from npm and PyPI.
pub fn tools() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../target/tools")
        .canonicalize()
        .expect("tests/run makes it")
}

fn port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

pub fn listens(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_ok()
}

/// A port of UDP is taken when nobody else can have it.
fn is_taken(port: u16) -> bool {
    UdpSocket::bind(("127.0.0.1", port)).is_err()
}

/// A way to the counterpart: the container's name, its options, and the texts that arrived, in order.
struct Way<'a> {
    name: &'a str,
    options: String,
    arrived: Box<dyn Fn() -> Vec<String> + 'a>,
}

/// Numbered lines through every way at once; the counterpart dies in the middle. Each must arrive, in order.
fn through(engine: &Engine, driver: &str, ways: &[Way<'_>], start: impl Fn() -> Peer) {
    engine.busybox("bb");
    let peer = start();
    for Way { name, options, .. } in ways {
        let script = counting().replace('\'', "'\\''");
        engine
            .sh(&format!("docker run -d --name {name} --log-driver {driver} {options} --label team=red -e STAGE=test bb sh -c '{script}'"))
            .ok();
    }
    let numbers = |way: &Way<'_>| -> Vec<usize> {
        (way.arrived)().iter().filter_map(|text| text.trim().strip_prefix("n ")?.parse().ok()).collect()
    };
    for way in ways {
        eventually(&format!("lines by {}", way.name), Duration::from_secs(30), || numbers(way).len() > 40);
    }
    drop(peer);
    std::thread::sleep(Duration::from_millis(500));
    let peer = start();
    for way in ways {
        let unique = || {
            let mut seen = HashSet::new();
            numbers(way).into_iter().filter(|number| seen.insert(*number)).collect::<Vec<_>>()
        };
        eventually(&format!("every line by {}", way.name), Duration::from_secs(60), || {
            unique().len() == LINES
        });
        eventually("the end", Duration::from_secs(30), || {
            (way.arrived)().iter().any(|text| text.trim() == "oops")
        });
        assert!(unique().is_sorted(), "{}: out of order: {:?}", way.name, unique());
        println!("{driver} {}: {LINES} lines, {} of them twice", way.name, numbers(way).len() - LINES);
        assert_eq!(
            engine.sh(&format!("docker logs {} 2>/dev/null | wc -l", way.name)).ok(),
            LINES.to_string()
        );
    }
    drop(peer);
}

fn lines(path: &Path) -> Vec<String> {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).lines().map(str::to_owned).collect()
}

/// Each line is a document.
pub fn documents(path: &Path) -> Vec<serde_json::Value> {
    lines(path).iter().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// A certificate for 127.0.0.1, and its key.
fn certificate(dir: &Path) -> (PathBuf, PathBuf) {
    let (certificate, key) = (dir.join("peer.crt"), dir.join("peer.key"));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=peer"])
        .args(["-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    (certificate, key)
}

#[test]
fn what_options_mean_nothing_is_refused_in_dockers_words() {
    let engine = Engine::pintle();
    engine.busybox("bb");
    for (driver, options, text) in [
        ("syslog", "--log-opt syslog-facility=nope", "invalid syslog facility"),
        ("syslog", "--log-opt bogus=1", "unknown log opt 'bogus' for syslog log driver"),
        ("gelf", "", "gelf-address is a required parameter"),
        ("fluentd", "--log-opt fluentd-address=udp://h:1", "unsupported scheme: 'udp'"),
        ("fluentd", "--log-opt tag={{.Nope", "tag"),
    ] {
        let refused = engine.sh(&format!("docker create --log-driver {driver} {options} bb true")).fails();
        assert!(refused.contains(text), "{driver} {options}: {refused}");
    }
    let known = engine.sh("docker info -f '{{.Plugins.Log}}'").ok();
    for driver in ["syslog", "gelf", "fluentd", "json-file", "none"] {
        assert!(known.contains(driver), "{known}");
    }
}

#[test]
fn syslog_into_rsyslog() {
    let engine = Engine::pintle();
    let dir = engine.dir.join("peer");
    fs::create_dir(&dir).unwrap();
    let (certificate, key) = certificate(&dir);
    let (udp, tcp, tls) = (port(), port(), port());
    let (here, out, socket) = (dir.display(), dir.join("lines"), dir.join("log.sock"));
    let configuration = format!(
        r#"global(workDirectory="{here}" defaultNetstreamDriverCAFile="{crt}" defaultNetstreamDriverCertFile="{crt}" defaultNetstreamDriverKeyFile="{key}")
module(load="imudp") module(load="imuxsock" SysSock.Use="off") module(load="imtcp" KeepAlive="on")
input(type="imudp" port="{udp}" address="127.0.0.1")
input(type="imtcp" port="{tcp}" address="127.0.0.1")
input(type="imtcp" port="{tls}" address="127.0.0.1" StreamDriver.Name="ossl" StreamDriver.Mode="1" StreamDriver.AuthMode="anon")
input(type="imuxsock" Socket="{sock}" RateLimit.Interval="0")
template(name="t" type="string" string="%programname%|%syslogfacility-text%.%syslogseverity-text%|%msg%\n")
action(type="omfile" file="{out}" template="t")
"#,
        crt = certificate.display(),
        key = key.display(),
        sock = socket.display(),
        out = out.display(),
    );
    fs::write(dir.join("rsyslog.conf"), configuration).unwrap();
    let start = || {
        let mut command = Command::new("/usr/sbin/rsyslogd");
        command.args(["-n", "-iNONE", "-f"]).arg(dir.join("rsyslog.conf"));
        Peer::start(&mut command, &dir.join("log"), || {
            listens(tcp)
                && listens(tls)
                && is_taken(udp)
                && std::os::unix::net::UnixDatagram::unbound().unwrap().connect(&socket).is_ok()
        })
    };
    let way = |name: &'static str, options: String| Way {
        name,
        options: format!("{options} --log-opt tag={name} --log-opt syslog-facility=local3"),
        arrived: Box::new({
            let out = &out;
            move || {
                let mine = format!("{name}|local3.");
                let texts = lines(out).into_iter().filter(|line| line.starts_with(&mine));
                texts.filter_map(|line| Some(line.rsplit_once('|')?.1.to_owned())).collect()
            }
        }),
    };
    let ways = [
        way("udp", format!("--log-opt syslog-address=udp://127.0.0.1:{udp} --log-opt syslog-format=rfc3164")),
        way("tcp", format!("--log-opt syslog-address=tcp://127.0.0.1:{tcp} --log-opt syslog-format=rfc5424")),
        way(
            "tls",
            format!(
                "--log-opt syslog-address=tcp+tls://127.0.0.1:{tls} --log-opt syslog-format=rfc5424micro --log-opt syslog-tls-ca-cert={}",
                certificate.display()
            ),
        ),
        way("unixgram", format!("--log-opt syslog-address=unixgram://{}", socket.display())),
    ];
    through(&engine, "syslog", &ways, start);
    assert!(
        lines(&out)
            .iter()
            .any(|line| line.trim_end() == "tcp|local3.err| oops" || line == "tcp|local3.err|oops")
    );
}

#[test]
fn gelf_into_graygelf_and_rsyslog() {
    let engine = Engine::pintle();
    let dir = engine.dir.join("peer");
    fs::create_dir(&dir).unwrap();
    let (udp, tcp, out, tcp_out) = (port(), port(), dir.join("udp"), dir.join("tcp"));
    let script = format!(
        "const fs = require('fs'); const s = require('graygelf/server')();
         s.on('message', m => fs.appendFileSync({:?}, JSON.stringify(m) + '\\n')); s.listen({udp}, '127.0.0.1');",
        out.display().to_string(),
    );
    let configuration = format!(
        r#"global(workDirectory="{}") module(load="imtcp" AddtlFrameDelimiter="0")
input(type="imtcp" port="{tcp}" address="127.0.0.1")
template(name="t" type="string" string="%rawmsg%\n")
action(type="omfile" file="{}" template="t")
"#,
        dir.display(),
        tcp_out.display(),
    );
    fs::write(dir.join("rsyslog.conf"), configuration).unwrap();
    // Two programs that die together: the second is the first one's child in all but name.
    let second = std::cell::RefCell::new(None);
    let start = || {
        second.borrow_mut().take();
        let mut node = Command::new("node");
        node.args(["-e", &script]).env("NODE_PATH", tools().join("node/node_modules"));
        let graylog = Peer::start(&mut node, &dir.join("log"), || is_taken(udp));
        let mut command = Command::new("/usr/sbin/rsyslogd");
        command.args(["-n", "-iNONE", "-f"]).arg(dir.join("rsyslog.conf"));
        *second.borrow_mut() = Some(Peer::start(&mut command, &dir.join("log"), || listens(tcp)));
        graylog
    };
    let way = |name: &'static str, path: &'_ Path, options: String| Way {
        name,
        options: format!("{options} --log-opt tag={name} --log-opt labels=team --log-opt env=STAGE"),
        arrived: Box::new({
            let path = path.to_owned();
            move || {
                let mine = documents(&path).into_iter().filter(|document| document["_tag"] == name);
                mine.map(|document| document["short_message"].as_str().unwrap_or_default().to_owned())
                    .collect()
            }
        }),
    };
    let address = format!("--log-opt gelf-address=udp://127.0.0.1:{udp}");
    let ways = [
        // One alone: what bursts into a receiver's buffer, UDP may lose. Not compressed: this receiver inflates in several
        // threads, and tells of messages as they get ready.
        way("plain", &out, format!("{address} --log-opt gelf-compression-type=none")),
        way("tcp", &tcp_out, format!("--log-opt gelf-address=tcp://127.0.0.1:{tcp}")),
    ];
    through(&engine, "gelf", &ways, start);
    let document = documents(&tcp_out).pop().unwrap();
    assert_eq!(
        (&document["_team"], &document["_STAGE"], &document["version"]),
        (&"red".into(), &"test".into(), &"1.1".into())
    );
    assert_eq!(document["_container_name"], "tcp");
    // A line that no datagram holds goes in chunks.
    let peer = start();
    let noise = "head -c 9000 /dev/urandom | od -An -tx1 | tr -d ' \\n' | head -c 16000; echo; sleep 1";
    engine
        .sh(&format!(
            "docker run --name long --log-driver gelf {address} --log-opt tag=long bb sh -c \"{noise}\""
        ))
        .ok();
    let long = engine.sh("docker logs long").ok();
    for kind in ["zlib", "gzip"] {
        let options = format!("{address} --log-opt gelf-compression-type={kind} --log-opt tag={kind}");
        engine.sh(&format!("docker run --rm --log-driver gelf {options} bb echo short")).ok();
        eventually(kind, Duration::from_secs(20), || {
            documents(&out)
                .iter()
                .any(|document| document["_tag"] == kind && document["short_message"] == "short")
        });
    }
    eventually("the chunks", Duration::from_secs(20), || {
        documents(&out)
            .iter()
            .any(|document| document["_tag"] == "long" && document["short_message"] == long.trim())
    });
    drop(peer);
}

#[test]
fn fluentd_into_the_fluent_organisations_server() {
    let engine = Engine::pintle();
    let dir = engine.dir.join("peer");
    fs::create_dir(&dir).unwrap();
    let (certificate, key) = certificate(&dir);
    let (plain, keyed, out) = (port(), port(), dir.join("entries"));
    let script = format!(
        "const fs = require('fs'); const {{FluentServer}} = require('@fluent-org/logger');
         const serve = options => {{ const s = new FluentServer(options);
           s.on('entry', (tag, time, record) => fs.appendFileSync({out:?}, JSON.stringify({{tag, time, record}}) + '\\n'));
           s.listen(); }};
         serve({{listenOptions: {{port: {plain}, host: '127.0.0.1'}}}});
         serve({{listenOptions: {{port: {keyed}, host: '127.0.0.1'}},
           security: {{serverHostname: 'peer', sharedKey: 'secret', authorize: true, userDict: {{me: 'word'}}}},
           tlsOptions: {{cert: fs.readFileSync({crt:?}), key: fs.readFileSync({key:?})}}}});",
        out = out.display().to_string(),
        crt = certificate.display().to_string(),
        key = key.display().to_string(),
    );
    let start = || {
        let mut node = Command::new("node");
        node.args(["-e", &script]).env("NODE_PATH", tools().join("node/node_modules"));
        Peer::start(&mut node, &dir.join("log"), || listens(plain) && listens(keyed))
    };
    let way = |name: &'static str, options: &str| Way {
        name,
        options: format!(
            "{options} --log-opt tag={{{{.Name}}}} --log-opt labels-regex=^te --log-opt fluentd-retry-wait=200ms"
        ),
        arrived: Box::new({
            let out = &out;
            move || {
                let mine = documents(out).into_iter().filter(|document| document["tag"] == name);
                mine.map(|document| document["record"]["log"].as_str().unwrap_or_default().to_owned())
                    .collect()
            }
        }),
    };
    let to = format!("--log-opt fluentd-address=127.0.0.1:{plain}");
    let ways = [
        way("plain", &to),
        way("acknowledged", &format!("{to} --log-opt fluentd-request-ack=true --log-opt compress=true")),
        way(
            "precise",
            &format!("{to} --log-opt fluentd-async=true --log-opt fluentd-sub-second-precision=true"),
        ),
        way(
            "keyed",
            &format!(
                "--log-opt fluentd-address=tls://127.0.0.1:{keyed} --log-opt fluentd-tls-ca-cert={} --log-opt fluentd-shared-key=secret \
                 --log-opt fluentd-username=me --log-opt fluentd-password=word --log-opt fluentd-request-ack=true",
                certificate.display()
            ),
        ),
    ];
    through(&engine, "fluentd", &ways, start);
    let record =
        documents(&out).into_iter().find(|document| document["tag"] == "keyed").unwrap()["record"].take();
    assert_eq!(
        (&record["container_name"], &record["source"], &record["team"]),
        (&"/keyed".into(), &"stdout".into(), &"red".into())
    );
    let id = engine.sh("docker inspect -f '{{.Id}}' keyed").ok();
    assert_eq!(record["container_id"], id);
}

#[test]
fn journald_into_a_journal_of_its_own() {
    let engine = Engine::pintle();
    let dir = engine.dir.join("peer");
    fs::create_dir(&dir).unwrap();
    let namespace = format!("pintle{}", std::process::id());
    let configuration = PathBuf::from(format!("/etc/systemd/journald@{namespace}.conf"));
    fs::create_dir_all("/etc/systemd").unwrap();
    fs::write(
        &configuration,
        "[Journal]\nReadKMsg=no\nAudit=no\nStorage=persistent\nRateLimitIntervalSec=0\n",
    )
    .unwrap();
    let socket = format!("/run/systemd/journal.{namespace}/socket");
    let machine = fs::read_to_string("/etc/machine-id").unwrap();
    let kept = format!("/var/log/journal/{}.{namespace}", machine.trim());
    let _tidy = Tidy(vec![configuration, kept.into(), format!("/run/systemd/journal.{namespace}").into()]);
    let start = || {
        let mut command = Command::new("/lib/systemd/systemd-journald");
        command.arg(&namespace);
        Peer::start(&mut command, &dir.join("log"), || {
            std::os::unix::net::UnixDatagram::unbound().unwrap().connect(&socket).is_ok()
        })
    };
    let read = || {
        let output = Command::new("journalctl")
            .args([&format!("--namespace={namespace}"), "-o", "json", "--all", "--no-pager"])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect::<Vec<serde_json::Value>>()
    };
    // The socket must be there when the container is made.
    let first = start();
    let ways = [Way {
        name: "native",
        options: format!(
            "--log-opt journald-socket={socket} --log-opt tag={{{{.Name}}}}/x --log-opt labels=team"
        ),
        arrived: Box::new(|| {
            let mine = read().into_iter().filter(|entry| entry["CONTAINER_TAG"] == "native/x");
            mine.filter_map(|entry| Some(entry["MESSAGE"].as_str()?.to_owned())).collect()
        }),
    }];
    drop(first);
    through(&engine, "journald", &ways, start);
    let peer = start();
    let entry = read().into_iter().find(|entry| entry["MESSAGE"] == "oops").unwrap();
    assert_eq!(
        (&entry["PRIORITY"], &entry["TEAM"], &entry["CONTAINER_NAME"]),
        (&"3".into(), &"red".into(), &"native".into())
    );
    let id = engine.sh("docker inspect -f '{{.Id}}' native").ok();
    assert_eq!(
        (&entry["CONTAINER_ID_FULL"], &entry["CONTAINER_ID"]),
        (&id.as_str().into(), &id[..12].into())
    );
    // Pieces of a line that is longer than 16 KiB.
    let long = "head -c 20000 /dev/zero | tr '\\0' x; echo";
    engine
        .sh(&format!("docker run --name long --log-driver journald --log-opt journald-socket={socket} --log-opt tag=long bb sh -c \"{long}\""))
        .ok();
    eventually("both pieces", Duration::from_secs(20), || {
        let pieces: Vec<_> = read().into_iter().filter(|entry| entry["CONTAINER_TAG"] == "long").collect();
        pieces.len() == 2
            && pieces[0]["CONTAINER_PARTIAL_MESSAGE"] == "true"
            && pieces[1]["CONTAINER_PARTIAL_LAST"] == "true"
            && pieces[0]["CONTAINER_PARTIAL_ID"] == pieces[1]["CONTAINER_PARTIAL_ID"]
    });
    drop(peer);
}

/// Files and folders that go whatever happens.
struct Tidy(Vec<PathBuf>);

impl Drop for Tidy {
    fn drop(&mut self) {
        for path in &self.0 {
            let _ = fs::remove_file(path).or_else(|_| fs::remove_dir_all(path));
        }
    }
}

#[test]
fn opensearch_and_cloudwatch_and_a_collector() {
    let mut engine = Engine::prepared(Kind::Pintle, Client::Docker, &[]);
    engine.boot(&[
        ("AWS_ACCESS_KEY_ID", "key"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_REGION", "eu-west-1"),
    ]);
    let dir = engine.dir.join("peer");
    fs::create_dir(&dir).unwrap();
    let (search, cloud, collector) = (port(), port(), port());
    let python = tools().join("python");
    let run = |peer: &str| {
        let log = dir.join(peer);
        match peer {
            "search" => {
                let mut command = Command::new(python.join("osmem_server/bin/osmem-server"));
                command.args(["-addr", &format!("127.0.0.1:{search}"), "-no-stdin-watch"]);
                Peer::start(&mut command, &log, || listens(search))
            }
            "cloud" => {
                let mut command = Command::new("python3");
                command
                    .args(["-m", "moto.server", "-H", "127.0.0.1", "-p", &cloud.to_string()])
                    .env("PYTHONPATH", &python);
                Peer::start(&mut command, &log, || listens(cloud))
            }
            _ => {
                let mut command = Command::new(python.join("rotel/rotel-agent"));
                command.args([
                    "start",
                    "--exporter",
                    "blackhole",
                    "--debug-log",
                    "logs",
                    "--debug-log-verbosity",
                    "detailed",
                ]);
                command.args(["--otlp-grpc-endpoint", &format!("127.0.0.1:{}", port())]);
                command.args(["--otlp-http-endpoint", &format!("127.0.0.1:{collector}")]);
                Peer::start(&mut command, &log, || listens(collector))
            }
        }
    };
    engine.busybox("bb");
    // Nobody is there yet: the lines wait.
    let script = counting().replace('\'', "'\\''");
    let options = [
        (
            "opensearch",
            format!(
                "--log-opt opensearch-url=http://127.0.0.1:{search} --log-opt opensearch-index=logs --log-opt labels=team"
            ),
        ),
        (
            "awslogs",
            format!(
                "--log-opt awslogs-endpoint=http://127.0.0.1:{cloud} --log-opt awslogs-group=g --log-opt awslogs-create-group=true \
             --log-opt tag={{{{.Name}}}} --log-opt awslogs-force-flush-interval-seconds=1"
            ),
        ),
        (
            "otlp",
            format!("--log-opt otlp-endpoint=http://127.0.0.1:{collector} --log-opt otlp-batch-wait=200ms"),
        ),
    ];
    for (driver, options) in &options {
        engine.sh(&format!("docker run -d --name {driver} --log-driver {driver} {options} --label team=red bb sh -c '{script}'")).ok();
    }
    let peers = ["search", "cloud", "collector"].map(run);
    let get = |url: String, body: &str, target: &str| {
        let mut command = Command::new("curl");
        command.args([
            "-s",
            "-X",
            "POST",
            &url,
            "-d",
            body,
            "-H",
            &format!("X-Amz-Target: Logs_20140328.{target}"),
        ]);
        let kind = if target.is_empty() { "application/json" } else { "application/x-amz-json-1.1" };
        command.args(["-H", &format!("Content-Type: {kind}"), "-H"]);
        command.arg("Authorization: AWS4-HMAC-SHA256 Credential=key/20260101/eu-west-1/logs/aws4_request, SignedHeaders=host, Signature=0");
        let output = command.output().unwrap();
        serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap_or_default()
    };
    let numbers = |texts: Vec<&serde_json::Value>| -> Vec<usize> {
        texts.iter().filter_map(|text| text.as_str()?.strip_prefix("n ")?.parse().ok()).collect()
    };
    let all: Vec<usize> = (0..LINES).collect();
    eventually("every line to be searchable", Duration::from_secs(60), || {
        let answer = get(
            format!("http://127.0.0.1:{search}/logs/_search"),
            r#"{"size": 1000, "sort": [{"@timestamp": "asc"}], "query": {"match_all": {}}}"#,
            "",
        );
        let Some(hits) = answer["hits"]["hits"].as_array() else { return false };
        let mut found = numbers(hits.iter().map(|hit| &hit["_source"]["message"]).collect());
        found.sort_unstable();
        found == all && hits.iter().all(|hit| hit["_source"]["team"] == "red")
    });
    eventually("every line in the stream", Duration::from_secs(60), || {
        let answer = get(
            format!("http://127.0.0.1:{cloud}/"),
            r#"{"logGroupName": "g", "logStreamName": "awslogs", "startFromHead": true, "limit": 10000}"#,
            "GetLogEvents",
        );
        let Some(events) = answer["events"].as_array() else { return false };
        numbers(events.iter().map(|event| &event["message"]).collect()) == all
    });
    // Lines that belong together are one event.
    let (_, cloud_options) = &options[1];
    engine
        .sh(&format!(
            "docker run --name dated --log-driver awslogs {cloud_options} --log-opt awslogs-datetime-format=%Y-%m-%d \
             bb sh -c 'echo 2026-01-01 boom; echo \\ \\ at x; echo 2026-01-02 next'"
        ))
        .ok();
    eventually("both events", Duration::from_secs(30), || {
        let answer = get(
            format!("http://127.0.0.1:{cloud}/"),
            r#"{"logGroupName": "g", "logStreamName": "dated", "startFromHead": true}"#,
            "GetLogEvents",
        );
        let texts: Vec<&str> = answer["events"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|event| event["message"].as_str())
            .collect();
        texts == ["2026-01-01 boom\n  at x", "2026-01-02 next"]
    });
    eventually("every line at the collector", Duration::from_secs(60), || {
        let text = fs::read_to_string(dir.join("collector")).unwrap_or_default();
        let found: Vec<usize> = text
            .lines()
            .filter_map(|line| {
                let (_, rest) = line.split_once("n ")?;
                line.contains("Body").then(|| rest.trim_end_matches([')', '"']).parse().ok())?
            })
            .collect();
        found == all
    });
    drop(peers);
}

/// Splunk's collector, Loki and an address that takes JSON, as far as they answer: none of these servers can be had here. Each
/// refuses its first two requests, and Splunk indexes late.
const SERVERS: &str = r#"
import gzip, json, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
out, count, asked = open(sys.argv[2], 'a', buffering=1), {}, set()
def documents(text):
    at, decoder = 0, json.JSONDecoder()
    while at < len(text):
        document, at = decoder.raw_decode(text, at)
        while at < len(text) and text[at].isspace(): at += 1
        yield document
class Server(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def reply(self, code, body=''):
        self.send_response(code); self.send_header('Content-Length', str(len(body))); self.end_headers()
        self.wfile.write(body.encode())
    def do_OPTIONS(self): self.reply(200)
    def do_POST(self):
        body = self.rfile.read(int(self.headers.get('Content-Length') or 0))
        if self.headers.get('Content-Encoding') == 'gzip': body = gzip.decompress(body)
        text = body.decode()
        if self.path == '/services/collector/ack':
            ids = json.loads(text)['acks']
            acks = {str(i): i in asked for i in ids}; asked.update(ids)
            return self.reply(200, json.dumps({'acks': acks}))
        count[self.path] = count.get(self.path, 0) + 1
        if count[self.path] <= 2: return self.reply(503, 'not yet')
        if self.path == '/services/collector/event/1.0':
            if self.headers['Authorization'] != 'Splunk token': return self.reply(403)
            for event in documents(text): out.write(json.dumps(['splunk', event['event']['line'], event]) + '\n')
            return self.reply(200, json.dumps({'code': 0, 'ackId': count[self.path]}))
        if self.path == '/loki/api/v1/push':
            for stream in json.loads(text)['streams']:
                for _, line in stream['values']: out.write(json.dumps(['loki', line, stream['stream']]) + '\n')
            return self.reply(204)
        if 'n 7"' in text: return self.reply(400, 'seven is no number')
        if self.headers['X-Key'] != 'abc': return self.reply(401)
        for event in documents(text): out.write(json.dumps(['http', event['message'], event]) + '\n')
        self.reply(200)
    def log_message(self, *_): pass
ThreadingHTTPServer(('127.0.0.1', int(sys.argv[1])), Server).serve_forever()
"#;

#[test]
fn splunk_loki_and_an_address() {
    let engine = Engine::pintle();
    engine.busybox("bb");
    let dir = engine.dir.join("peer");
    fs::create_dir(&dir).unwrap();
    let (port, out) = (port(), dir.join("out"));
    let mut command = Command::new("python3");
    command.args(["-c", SERVERS, &port.to_string()]).arg(&out);
    let peer = Peer::start(&mut command, &dir.join("log"), || listens(port));
    let to = format!("http://127.0.0.1:{port}");
    let options = [
        (
            "splunk",
            format!(
                "--log-opt splunk-url={to} --log-opt splunk-token=token --log-opt splunk-gzip=true --log-opt splunk-index-acknowledgment=true"
            ),
        ),
        ("loki", format!("--log-opt loki-url={to} --log-opt loki-external-labels=app={{{{.Name}}}}")),
        (
            "http",
            format!(
                "--log-opt http-url={to}/take --log-opt http-header='X-Key: abc' --log-opt http-gzip=true"
            ),
        ),
    ];
    let script = counting().replace('\'', "'\\''");
    for (driver, options) in &options {
        let command = format!(
            "docker run -d --name {driver} --log-driver {driver} {options} --log-opt labels=team --label team=red bb sh -c '{script}'"
        );
        engine.sh(&command).ok();
    }
    let of = |driver: &str| -> Vec<serde_json::Value> {
        documents(&out).into_iter().filter(|document| document[0] == driver).collect()
    };
    for (driver, _) in &options {
        let numbers = || -> Vec<usize> {
            of(driver)
                .iter()
                .filter_map(|document| document[1].as_str()?.strip_prefix("n ")?.parse().ok())
                .collect()
        };
        // What this address refuses for what it is stops no other line.
        let wanted: Vec<usize> = (0..LINES).filter(|number| *driver != "http" || *number != 7).collect();
        eventually(driver, Duration::from_secs(60), || numbers() == wanted);
    }
    assert_eq!(of("splunk")[0][2]["event"]["attrs"]["team"], "red");
    let first = of("loki").into_iter().find(|document| document[1] == "n 0").unwrap();
    assert_eq!((&first[2]["app"], &first[2]["source"]), (&"loki".into(), &"stdout".into()));
    assert_eq!(of("http")[0][2]["container_name"], "http");
    drop(peer);
    // And to files.
    let script = "i=0; while [ $i -lt 500 ]; do echo \"n $i\"; i=$((i+1)); done";
    engine.sh(&format!("docker run --rm --name plain --log-driver file --log-opt file-path=a/{{{{.Name}}}} --log-opt file-max-size=2k bb sh -c '{script}'")).ok();
    let folder = engine.dir.join("data/log-files/a");
    let read = || -> Vec<String> {
        ["plain.1", "plain"].iter().flat_map(|name| lines(&folder.join(name))).collect()
    };
    eventually("the last line in the file", Duration::from_secs(20), || {
        read().last().is_some_and(|line| line == "n 499")
    });
    assert!(read().iter().skip(1).zip(read()).all(|(next, line)| {
        let number = |text: &str| text[2..].parse::<usize>().unwrap();
        number(next) == number(&line) + 1
    }));
    let refused = engine.sh("docker run --log-driver file --log-opt file-path=../../x bb true").fails();
    assert!(refused.contains("file-path"), "{refused}");
}

#[test]
fn several_drivers_for_one_container_each_with_its_own_lines() {
    let mut engine = Engine::prepared(Kind::Pintle, Client::Docker, &[]);
    let dir = engine.dir.join("peer");
    fs::create_dir(&dir).unwrap();
    let (tcp, dead) = (port(), port());
    let configuration = format!(
        r#"global(workDirectory="{}") module(load="imtcp")
input(type="imtcp" port="{tcp}" address="127.0.0.1")
template(name="t" type="string" string="%msg%\n")
action(type="omfile" file="{}" template="t")
"#,
        dir.display(),
        dir.join("lines").display(),
    );
    fs::write(dir.join("rsyslog.conf"), configuration).unwrap();
    let start = || {
        let mut command = Command::new("/usr/sbin/rsyslogd");
        command.args(["-n", "-iNONE", "-f"]).arg(dir.join("rsyslog.conf"));
        Peer::start(&mut command, &dir.join("log"), || listens(tcp))
    };
    // Every container's lines go to files, too; this is the administrator's.
    let file = engine.dir.join("daemon.json");
    fs::write(
        &file,
        r#"{"more-log-drivers": {"kept": {"driver": "file", "options": {"file-format": "json", "pintle-parse": "json"}}}}"#,
    )
    .unwrap();
    engine.also(&["--config-file", file.to_str().unwrap()]);
    engine.boot(&[]);
    engine.busybox("bb");
    let labels = format!(
        "--label pintle.log-driver.audit=syslog --label pintle.log-opt.audit.syslog-address=tcp://127.0.0.1:{tcp} \
         --label pintle.log-opt.audit.pintle-exclude-field=level=debug --label pintle.log-opt.audit.pintle-redact=pass[a-z]+ \
         --label pintle.log-driver.gone=fluentd --label pintle.log-opt.gone.fluentd-address=127.0.0.1:{dead}"
    );
    let script = r#"i=0; while [ $i -lt 200 ]; do l=info; [ $((i%2)) = 1 ] && l=debug; echo "{\"level\":\"$l\",\"n\":$i,\"s\":\"password\"}"; i=$((i+1)); [ $((i%10)) = 0 ] && sleep 0.1; done"#;
    let command = script.replace('\'', "'\\''");
    let peer = start();
    engine.sh(&format!("docker run -d --name many {labels} bb sh -c '{command}'")).ok();
    let audited = || -> Vec<u64> {
        let mut seen = HashSet::new();
        let documents =
            documents(&dir.join("lines")).into_iter().filter_map(|document| document["n"].as_u64());
        documents.filter(|number| seen.insert(*number)).collect()
    };
    let written = engine.dir.join("data/log-files/many.log");
    let kept = || documents(&written);
    eventually("some lines", Duration::from_secs(20), || audited().len() > 10);
    drop(peer);
    // The one that is away holds up nobody, and the engine dies.
    engine.kill();
    engine.boot(&[]);
    eventually("every line in the file", Duration::from_secs(30), || {
        kept().iter().any(|document| document["n"] == "199")
    });
    let peer = start();
    let wanted: Vec<u64> = (0..200).step_by(2).collect();
    eventually("every line but debug's", Duration::from_secs(30), || audited() == wanted);
    assert!(documents(&dir.join("lines")).iter().all(|document| document["s"] == "[redacted]"));
    let numbers: HashSet<String> =
        kept().iter().map(|document| document["n"].as_str().unwrap().to_owned()).collect();
    assert_eq!(numbers.len(), 200, "each driver has filters of its own");
    // Its own driver is json-file as ever.
    assert_eq!(engine.sh("docker logs many | wc -l").ok(), "200");
    // An image has no say in it.
    engine.sh("docker commit -c 'LABEL pintle.log-driver.x=nosuch' many sly && docker run --rm --entrypoint true sly").ok();
    let refused = engine.sh("docker create --label pintle.log-driver.x=nosuch bb true").fails();
    assert!(refused.contains("no log driver named 'nosuch'"), "{refused}");
    let refused = engine.sh("docker create --log-driver syslog --log-opt pintle-include='(' bb true").fails();
    assert!(refused.contains("pintle-include"), "{refused}");
    engine.sh_within(3, &engine.dir, "docker rm -f many").ok();
    // Events of several lines, from a container whose lines are kept nowhere else.
    engine
        .sh(
            "docker run -d --name stack --log-driver none --label pintle.log-driver.a=file --label pintle.log-opt.a.file-path=stack \
             --label pintle.log-opt.a.file-format=json --label pintle.log-opt.a.pintle-multiline=^E bb sh -c 'echo E one; echo \\ \\ at x; echo E two; sleep 600'",
        )
        .ok();
    let events = || -> Vec<String> {
        let documents = documents(&engine.dir.join("data/log-files/stack"));
        documents.iter().map(|document| document["message"].as_str().unwrap().to_owned()).collect()
    };
    eventually("the events", Duration::from_secs(20), || events() == ["E one\n  at x", "E two"]);
    assert!(engine.sh("docker logs stack").fails().contains("does not support reading"));
    engine.sh("docker rm -f stack").ok();
    drop(peer);
}

/// Google's token and logging services, as far as they answer; who signs is checked by another's cryptography.
const GOOGLE: &str = r#"
import base64, json, sys, urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding
port, out = int(sys.argv[1]), open(sys.argv[2], 'a', buffering=1)
key = serialization.load_pem_private_key(open(sys.argv[3], 'rb').read(), None).public_key()
decode = lambda text: base64.urlsafe_b64decode(text + '=' * (-len(text) % 4))
class Server(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def do_POST(self):
        body = self.rfile.read(int(self.headers.get('Content-Length') or 0)).decode()
        code, answer = 200, {}
        if self.path == '/token':
            text, _, signature = urllib.parse.parse_qs(body)['assertion'][0].rpartition('.')
            key.verify(decode(signature), text.encode(), padding.PKCS1v15(), hashes.SHA256())
            claims = json.loads(decode(text.split('.')[1]))
            assert claims['iss'] == 'me@example' and claims['scope'].endswith('logging.write')
            answer = {'access_token': 'given', 'expires_in': 3600}
        elif self.headers.get('Authorization') != 'Bearer given': code = 401
        else:
            assert self.path == '/v2/entries:write'
            request = json.loads(body)
            for entry in request['entries']: out.write(json.dumps([request['logName'], entry]) + '\n')
        answer = json.dumps(answer)
        self.send_response(code); self.send_header('Content-Length', str(len(answer))); self.end_headers()
        self.wfile.write(answer.encode())
    def log_message(self, *_): pass
ThreadingHTTPServer(('127.0.0.1', port), Server).serve_forever()
"#;

#[test]
fn gcplogs_with_a_key_of_its_own() {
    let mut engine = Engine::prepared(Kind::Pintle, Client::Docker, &[]);
    let dir = engine.dir.join("peer");
    fs::create_dir(&dir).unwrap();
    let (_, key) = certificate(&dir);
    let (port, out) = (port(), dir.join("out"));
    let account = serde_json::json!({
        "type": "service_account", "project_id": "shop", "client_email": "me@example",
        "private_key": fs::read_to_string(&key).unwrap(), "token_uri": format!("http://127.0.0.1:{port}/token"),
    });
    let file = dir.join("account.json");
    fs::write(&file, account.to_string()).unwrap();
    engine.boot(&[("GOOGLE_APPLICATION_CREDENTIALS", file.to_str().unwrap())]);
    let start = || {
        let mut command = Command::new("python3");
        command.args(["-c", GOOGLE, &port.to_string()]).arg(&out).arg(&key);
        command.env("PYTHONPATH", tools().join("python"));
        Peer::start(&mut command, &dir.join("log"), || listens(port))
    };
    let ways = [Way {
        name: "cloud",
        options: format!(
            "--log-opt gcp-endpoint=http://127.0.0.1:{port} --log-opt gcp-log-cmd=true --log-opt gcp-meta-name=here --log-opt labels=team"
        ),
        arrived: Box::new(|| {
            let message = |document: &serde_json::Value| {
                document[1]["jsonPayload"]["message"].as_str().unwrap_or_default().to_owned()
            };
            documents(&out).iter().map(message).collect()
        }),
    }];
    through(&engine, "gcplogs", &ways, start);
    let document = documents(&out).remove(0);
    assert_eq!(document[0], "projects/shop/logs/gcplogs-docker-driver");
    let payload = &document[1]["jsonPayload"];
    assert_eq!(
        (&payload["container"]["name"], &payload["instance"]["name"]),
        (&"cloud".into(), &"here".into())
    );
    assert_eq!(payload["container"]["metadata"]["team"], "red");
    // What arrives twice has one name.
    let names: HashSet<String> =
        documents(&out).iter().map(|document| document[1]["insertId"].to_string()).collect();
    assert_eq!(names.len(), LINES + 1);
}
