//! The daemon itself: how it is told what to do, where it listens, and how it ends.

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::harness::{Client, Engine, Kind, PINTLE, Ran, signal};

/// A folder, and what a start in it says that must fail.
struct Refused {
    dir: tempfile::TempDir,
}

impl Refused {
    fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("pintle-story-").tempdir_in("/tmp").unwrap();
        // Whoever has no rights at all may look in.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        Self { dir }
    }

    fn file(&self, text: &str) -> String {
        let path = self.dir.path().join("daemon.json");
        fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    #[track_caller]
    fn says(&self, before: &[&str], flags: &[&str]) -> String {
        let dir = self.dir.path().display();
        let output = Command::new("timeout")
            .arg("20")
            .args(before)
            .args([PINTLE, "daemon", "--data-root", &format!("{dir}/data")])
            .args(["--exec-root", &format!("{dir}/exec"), "--plugin-sockets", &format!("{dir}/plugins")])
            .args(["--pidfile", &format!("{dir}/pid")])
            .args(flags)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{flags:?}: {said}");
        said
    }
}

/// A start that cannot be right says what is wrong and where, before anything is touched.
#[test]
fn a_start_that_is_refused_says_why() {
    let refused = Refused::new();
    let with = |text: &str, flags: &[&str]| {
        let file = refused.file(text);
        refused.says(&[], &[&["--config-file", &file], flags].concat())
    };
    let said = with("{\n  // comments are fine\n  \"debug\": maybe\n}", &[]);
    assert!(said.contains("daemon.json") && said.contains("line 3, column 12"), "{said}");
    let said = with("{\"registry-miror\": []}", &[]);
    assert!(said.contains("registry-miror (did you mean \"registry-mirrors\"?)"), "{said}");
    let said = with("{\"debug\": true}", &["--debug=false"]);
    assert!(
        said.contains(
            "the following directives are specified both as a flag and in the configuration file: debug: (from \
             flag: false, from file: true)"
        ),
        "{said}"
    );
    let said = with("{\"seccomp-profile\": \"/nowhere.json\"}", &[]);
    assert!(said.contains("opening seccomp profile (/nowhere.json) failed"), "{said}");
    let said = with("{\"log-opts\": {\"nonsense\": \"1\"}}", &[]);
    assert!(
        said.contains("failed to set log opts: unknown log opt 'nonsense' for json-file log driver"),
        "{said}"
    );
    assert!(!refused.dir.path().join("data").exists(), "a refused configuration made the data root");

    // One good file is good before it is used, too.
    let file = refused.file("/* all of it */ {\"debug\": true, /* on */ \"labels\": [\"a=b\",],}");
    let output =
        Command::new(PINTLE).args(["daemon", "--validate", "--config-file", &file]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "configuration OK\n");

    // Without the rights: who could give them.
    let nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    let said = refused.says(&nobody, &[]);
    assert!(said.contains("the engine must run as root") && said.contains("sudo pintle daemon"), "{said}");
    let bounded = ["setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin"];
    let said = refused.says(&bounded, &[]);
    assert!(said.contains("CAP_SYS_ADMIN") && !said.contains("CAP_CHOWN"), "{said}");
    assert!(!refused.dir.path().join("data").exists(), "an engine without rights made the data root");
}

/// Two engines do not share what only one can have.
#[test]
fn another_engine_is_noticed() {
    let mut engine = Engine::pintle();
    let dir = engine.dir.clone();
    assert_eq!(fs::read_to_string(dir.join("engine.pid")).unwrap().trim(), engine.pid().to_string());
    let start = |flags: &[&str]| {
        let output = Command::new("timeout")
            .args(["20", PINTLE, "daemon", "--plugin-sockets"])
            .arg(dir.join("plugins-2"))
            .args(["--exec-root"])
            .arg(dir.join("exec-2"))
            .args(flags)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let path = |name: &str| dir.join(name).display().to_string();
    let (data, other) = (path("data"), path("data-2"));
    let socket = format!("unix://{}", path("engine.sock"));
    let other_socket = format!("unix://{}", path("other.sock"));
    let said = start(&["--data-root", &data, "-H", &other_socket, "--pidfile", &path("other.pid")]);
    assert!(said.contains(&format!("another engine (process {}) uses {data}", engine.pid())), "{said}");
    let said = start(&["--data-root", &other, "-H", &other_socket, "--pidfile", &path("engine.pid")]);
    assert!(said.contains(&format!("process with PID {} is still running", engine.pid())), "{said}");
    let said = start(&["--data-root", &other, "-H", &socket, "--pidfile", &path("other.pid")]);
    assert!(said.contains("another engine answers there"), "{said}");
    engine.sh("docker version").ok();

    // Neither a pid file that a killed engine left nor its socket stands in the way.
    engine.kill();
    assert!(dir.join("engine.pid").exists() && dir.join("engine.sock").exists());
    engine.boot(&[]);
    assert_eq!(fs::read_to_string(dir.join("engine.pid")).unwrap().trim(), engine.pid().to_string());
}

/// Told to end, by either signal, the engine ends well: streams end, containers live, its files go.
#[test]
fn an_end_is_an_end_and_containers_live_on() {
    let mut engine = Engine::pintle();
    engine.busybox("busybox");
    engine.sh("docker run -d --init --name on --network none busybox sleep 600").ok();
    let pid = engine.sh("docker inspect -f '{{.State.Pid}}' on").ok();
    for name in ["TERM", "INT"] {
        let mut streams: Vec<Child> = ["events", "logs -f on", "stats on", "wait on", "attach --no-stdin on"]
            .iter()
            .map(|command| {
                Command::new("docker")
                    .args(command.split(' '))
                    .env("DOCKER_HOST", format!("unix://{}", engine.socket().display()))
                    .stdin(Stdio::null())
                    .stdout(Stdio::null())
                    .stderr(Stdio::null())
                    .spawn()
                    .unwrap()
            })
            .collect();
        std::thread::sleep(Duration::from_millis(500));
        signal(engine.pid(), name);
        let deadline = Instant::now() + Duration::from_secs(40);
        while engine.alive() {
            assert!(Instant::now() < deadline, "SIG{name} did not end the engine");
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(engine.stop(), Some(0), "after SIG{name}");
        for stream in &mut streams {
            // The client's `stats` does not notice by itself that its engine has gone.
            stream.kill().unwrap();
            stream.wait().unwrap();
        }
        for file in ["engine.pid", "engine.sock"] {
            assert!(!engine.dir.join(file).exists(), "{file} stays after SIG{name}");
        }
        assert!(Path::new(&format!("/proc/{pid}")).exists(), "SIG{name} ended the container");
        engine.boot(&[]);
        assert_eq!(
            engine.sh("docker inspect -f '{{.State.Status}} {{.State.Pid}}' on").ok(),
            format!("running {pid}")
        );
    }
    engine.sh("docker rm -f on").ok();
}

/// SIGHUP changes what can be changed, all of it or nothing.
#[test]
fn a_reload_is_all_or_nothing() {
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    let file = folder.path().join("daemon.json");
    let write = |text: &str| fs::write(&file, text).unwrap();
    write(r#"{"labels": ["stage=one"]}"#);
    let engine = Engine::start(Kind::Pintle, Client::Docker, &["--config-file", file.to_str().unwrap()]);
    engine.busybox("busybox");
    let labels = || engine.sh("docker info -f '{{.Labels}} {{.Debug}}'").ok();
    assert_eq!(labels(), "[stage=one] false");
    let mut events = Command::new("docker")
        .args(["events", "--filter", "type=daemon", "--format", "{{.Action}} {{json .Actor.Attributes}}"])
        .env("DOCKER_HOST", format!("unix://{}", engine.socket().display()))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut told = BufReader::new(events.stdout.take().unwrap()).lines();
    std::thread::sleep(Duration::from_millis(500));

    // A file with one mistake at its end changes nothing of what stands before it.
    write("{\"labels\": [\"stage=two\"], \"debug\": true,\n \"max-concurrent-downloads\": 0}");
    signal(engine.pid(), "HUP");
    eventually(|| engine.daemon_log().contains("the configuration was not reloaded"));
    assert_eq!(labels(), "[stage=one] false");

    write(
        r#"{
            // What takes effect now,
            "labels": ["stage=three"], "debug": true, "default-shm-size": "8m",
            "default-ulimits": {"nofile": {"Name": "nofile", "Soft": 77, "Hard": 88}},
            "insecure-registries": ["registry.test:5000"],
            // and what does only in the next engine.
            "log-opts": {"max-size": "1m"}
        }"#,
    );
    signal(engine.pid(), "HUP");
    let line = told.next().unwrap().unwrap();
    assert!(line.starts_with("reload {"), "{line}");
    assert!(line.contains(r#""labels":"[\"stage=three\"]""#) && line.contains(r#""debug":"true""#), "{line}");
    assert_eq!(labels(), "[stage=three] true");
    let registries = engine.sh("docker info -f '{{json .RegistryConfig.IndexConfigs}}'").ok();
    assert!(registries.contains("registry.test:5000"), "{registries}");
    eventually(|| {
        let log = engine.daemon_log();
        log.contains("log-opts") && log.contains("when the engine is restarted")
    });
    let run = "docker run --name new --network none busybox sh -c 'df -k /dev/shm | tail -n 1; ulimit -Sn; ulimit -Hn'";
    let said = engine.sh(run).ok();
    assert!(said.contains(" 8192 ") && said.contains("77\n88"), "{said}");
    assert_eq!(engine.sh("docker inspect -f '{{.HostConfig.LogConfig.Config}}' new").ok(), "map[]");
    engine.sh("docker rm new").ok();
    let _ = events.kill();
    let _ = events.wait();
}

/// What the administrator says once holds for every container that does not say otherwise.
#[test]
fn what_the_file_says_holds_for_containers_that_do_not_say() {
    let folder = tempfile::tempdir().unwrap();
    let profile = folder.path().join("profile.json");
    fs::write(
        &profile,
        r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["sethostname"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}]}"#,
    )
    .unwrap();
    let file = folder.path().join("daemon.json");
    let text = serde_json::json!({
        "seccomp-profile": profile, "no-new-privileges": true, "init": true, "default-ipc-mode": "shareable",
        "default-shm-size": 8 << 20, "default-ulimits": {"nofile": {"Name": "nofile", "Soft": 77, "Hard": 88}},
        "cgroup-parent": "/pintle-story-parent", "default-cgroupns-mode": "host", "default-stop-timeout": 1,
    });
    fs::write(&file, text.to_string()).unwrap();
    let mut engine =
        Engine::prepared(Kind::Pintle, Client::Docker, &["--config-file", file.to_str().unwrap()]);
    engine.boot(&[]);
    engine.busybox("busybox");
    let path = profile.display();
    let info = engine.sh("docker info -f '{{.SecurityOptions}}'").ok();
    assert!(info.contains(&format!("name=seccomp,profile={path}")), "{info}");
    assert!(info.contains("name=no-new-privileges"), "{info}");
    let info = engine.sh("docker info 2>&1").ok();
    assert!(info.contains("WARNING: daemon is not using the default seccomp profile"), "{info}");

    let look = "hostname other 2>&1; grep -E \"NoNewPrivs|Seccomp:\" /proc/self/status; df -k /dev/shm | tail -n 1; \
                ulimit -Sn; cat /proc/1/comm; grep -c pintle-story-parent /proc/1/cgroup";
    let own = engine
        .sh(&format!("docker run --name own --cap-add SYS_ADMIN --network none busybox sh -c '{look}'"))
        .ok();
    for said in
        ["No space left on device", "NoNewPrivs:\t1", "Seccomp:\t2", " 8192 ", "\n77\n", "docker-init"]
    {
        assert!(own.contains(said), "{said}: {own}");
    }
    assert!(!own.ends_with("\n0"), "{own}");
    assert_eq!(engine.sh("docker inspect -f '{{.HostConfig.IpcMode}}' own").ok(), "shareable");
    // An exec is under the same filter.
    engine.sh("docker run -d --name up --cap-add SYS_ADMIN --network none busybox sleep 1000").ok();
    let inside = engine.sh("docker exec up hostname other").fails();
    assert!(inside.contains("No space left on device"), "{inside}");
    let started = Instant::now();
    engine.sh("docker stop up").ok();
    assert!(started.elapsed() < Duration::from_secs(9), "the default of ten seconds was waited for");

    let otherwise = "--security-opt seccomp=builtin --security-opt no-new-privileges=false --init=false --ipc private \
                     --shm-size 4m --ulimit nofile=99:99";
    let other = engine
        .sh(&format!(
            "docker run --name other --cap-add SYS_ADMIN --network none {otherwise} busybox sh -c '{look}'"
        ))
        .ok();
    for said in ["NoNewPrivs:\t0", "Seccomp:\t2", " 4096 ", "\n99\n"] {
        assert!(other.contains(said), "{said}: {other}");
    }
    assert!(!other.contains("No space") && !other.contains("docker-init"), "{other}");
    let free = engine
        .sh("docker run --rm --cap-add SYS_ADMIN --privileged --network none busybox sh -c 'hostname other && grep Seccomp: /proc/self/status'")
        .ok();
    assert_eq!(free, "Seccomp:\t0");
    engine.sh("docker rm -f own up other").ok();
    assert_eq!(engine.stop(), Some(0));
    engine.also(&["--seccomp-profile", "unconfined"]);
    fs::write(&file, "{}").unwrap();
    engine.boot(&[]);
    let none = engine.sh("docker run --rm --network none busybox grep Seccomp: /proc/self/status").ok();
    assert_eq!(none, "Seccomp:\t0");
    let info = engine.sh("docker info -f '{{.SecurityOptions}}'").ok();
    assert!(info.contains("name=seccomp,profile=unconfined"), "{info}");
}

/// The service manager's sockets are served, whatever kind they are, and are its own.
#[test]
fn sockets_of_the_service_manager_are_served() {
    let home = Refused::new();
    let dir = home.dir.path();
    let manager = "import os, socket, sys
a = socket.socket(socket.AF_UNIX); a.bind(sys.argv[1]); a.listen()
b = socket.socket(); b.bind(('127.0.0.1', 0)); b.listen()
open(sys.argv[2], 'w').write(str(b.getsockname()[1]))
os.dup2(a.fileno(), 13); os.dup2(b.fileno(), 14)
os.dup2(13, 3); os.dup2(14, 4)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='2')
os.execvp(sys.argv[3], sys.argv[3:])";
    let path = |name: &str| dir.join(name).display().to_string();
    let start = |log: &str, hosts: &[&str]| {
        let _ = fs::remove_file(dir.join("sock"));
        let _ = fs::remove_file(dir.join("port"));
        Command::new("python3")
            .args(["-c", manager, &path("sock"), &path("port"), PINTLE, "daemon"])
            .args(["--data-root", &path("data"), "--exec-root", &path("exec")])
            .args(["--plugin-sockets", &path("plugins"), "--pidfile", &path("pid"), "--bridge=none"])
            .args(hosts)
            .stderr(fs::File::create(dir.join(log)).unwrap())
            .spawn()
            .unwrap()
    };
    let docker = |host: &str, flags: &[&str]| {
        let output = Command::new("docker").args(["-H", host]).args(flags).arg("version").output().unwrap();
        Ran {
            script: format!("docker -H {host} version"),
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    };
    let tcp = || {
        eventually(|| fs::read_to_string(dir.join("port")).is_ok_and(|port| !port.is_empty()));
        format!("tcp://127.0.0.1:{}", fs::read_to_string(dir.join("port")).unwrap())
    };
    let unix = format!("unix://{}", path("sock"));

    let mut daemon = start("all.log", &["-H", "fd://"]);
    let at = tcp();
    eventually(|| docker(&unix, &[]).code == 0);
    docker(&at, &[]).ok();
    end(&mut daemon);
    assert!(dir.join("sock").exists(), "the service manager's socket was removed");

    // One of them only: nobody answers on the other.
    let mut daemon = start("one.log", &["-H", "fd://3"]);
    let _ = tcp();
    eventually(|| docker(&unix, &[]).code == 0);
    end(&mut daemon);
    let mut daemon = start("none.log", &["-H", "fd://9"]);
    assert_eq!(daemon.wait().unwrap().code(), Some(1));
    let said = fs::read_to_string(dir.join("none.log")).unwrap();
    assert!(said.contains("systemd passed no such socket"), "{said}");

    // What others reach is as closed as the sockets that the engine opens itself.
    let tls = Certificates::new(&dir.join("tls"));
    let mut daemon = start("tls.log", &[&["-H", "fd://"], &tls.server()[..]].concat());
    let at = tcp();
    eventually(|| docker(&unix, &[]).code == 0);
    docker(&at, &tls.client("client")).ok();
    docker(&at, &tls.client("stranger")).fails();
    docker(&at, &[]).fails();
    end(&mut daemon);
}

/// TCP with TLS lets in whom the certificate authority knows, and nobody else.
#[test]
fn tls_lets_in_whom_its_authority_knows() {
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    let tls = Certificates::new(folder.path());
    let engine = Engine::start(
        Kind::Pintle,
        Client::Docker,
        &[&["-H", "tcp://127.0.0.1:0"][..], &tls.server()].concat(),
    );
    // The engine answers on its first socket before it says that it listens on the second.
    let said = || Some(engine.daemon_log().split_once("listens on tcp://")?.1.split_once('\n')?.0.to_owned());
    eventually(|| said().is_some());
    let at = said().unwrap();
    let docker = |flags: &[&str]| {
        engine.sh(&format!(
            "DOCKER_HOST= docker -H tcp://{at} {} version -f '{{{{.Server.Os}}}}'",
            flags.join(" ")
        ))
    };
    assert_eq!(docker(&tls.client("client")).ok(), "linux");
    docker(&tls.client("stranger")).fails();
    docker(&[]).fails();
    // A client without any certificate, which speaks TLS and asks nothing of the server.
    let said = engine.sh(&format!("curl -sk https://{at}/_ping")).fails();
    assert!(!said.contains("OK"), "{said}");
    assert!(engine.sh(&format!("curl -s http://{at}/_ping")).code != 0);
    // A shake of hands that never comes holds up nobody.
    let idle = std::net::TcpStream::connect(&at).unwrap();
    assert_eq!(docker(&tls.client("client")).ok(), "linux");
    drop(idle);
}

fn end(daemon: &mut Child) {
    signal(daemon.id(), "TERM");
    assert_eq!(daemon.wait().unwrap().code(), Some(0));
}

#[track_caller]
fn eventually(mut what: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !what() {
        assert!(Instant::now() < deadline, "it did not happen");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// An authority, a server and a client that it knows, and a stranger that signed itself.
struct Certificates(String);

impl Certificates {
    fn new(dir: &Path) -> Self {
        fs::create_dir_all(dir).unwrap();
        let script = "set -e
            key='-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2'
            openssl req -x509 $key -keyout ca-key.pem -out ca.pem -subj /CN=authority
            for name in server client; do
                openssl req $key -keyout $name-key.pem -out $name.csr -subj /CN=$name
                printf 'subjectAltName=IP:127.0.0.1\\nextendedKeyUsage=%sAuth\\n' $name >$name.ext
                openssl x509 -req -in $name.csr -CA ca.pem -CAkey ca-key.pem -CAcreateserial -days 2 -extfile $name.ext -out $name.pem
            done
            openssl req -x509 $key -keyout stranger-key.pem -out stranger.pem -subj /CN=client";
        let output = Command::new("bash").args(["-c", script]).current_dir(dir).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Self(dir.display().to_string())
    }

    fn flags(&self, who: &str) -> Vec<&'static str> {
        let dir = &self.0;
        let text = format!(
            "--tlsverify --tlscacert {dir}/ca.pem --tlscert {dir}/{who}.pem --tlskey {dir}/{who}-key.pem"
        );
        // The few flags of a test live as long as it.
        Box::leak(text.into_boxed_str()).split(' ').collect()
    }

    fn server(&self) -> Vec<&'static str> {
        self.flags("server")
    }

    fn client(&self, who: &str) -> Vec<&'static str> {
        self.flags(who)
    }
}

/// A proxy that refuses, and remembers whom it was asked for.
fn refusing_proxy() -> (String, std::sync::mpsc::Receiver<String>) {
    use std::io::{BufRead, BufReader, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (send, asked) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = BufReader::new(client.unwrap());
            let mut line = String::new();
            while client.read_line(&mut line).is_ok_and(|count| count > 2) {}
            let _ = client.get_mut().write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n");
            if send.send(line).is_err() {
                return;
            }
        }
    });
    (address, asked)
}

#[test]
fn registries_are_reached_through_proxies() {
    let (proxy, asked) = refusing_proxy();
    let engine = Engine::start(
        Kind::Pintle,
        Client::Docker,
        &[&format!("--https-proxy=http://me:secret@{proxy}"), "--no-proxy=direct.invalid,10.0.0.0/8"],
    );
    let shown = engine.sh("docker info -f '{{.HTTPSProxy}} {{.NoProxy}}'").ok();
    assert_eq!(shown, format!("http://xxxxx:xxxxx@{proxy} direct.invalid,10.0.0.0/8"));
    let refused = engine.sh("docker pull registry.invalid/x/y:1").fails();
    assert!(!refused.contains("secret"), "{refused}");
    let request = asked.recv_timeout(Duration::from_secs(10)).unwrap();
    assert!(request.starts_with("CONNECT registry.invalid:443 HTTP/1.1"), "{request}");
    assert!(
        request.contains("authorization: Basic bWU6c2VjcmV0")
            || request.contains("Authorization: Basic bWU6c2VjcmV0"),
        "{request}"
    );
    while asked.try_recv().is_ok() {}
    engine.sh("docker pull direct.invalid/x/y:1").fails();
    engine.sh("docker pull 127.0.0.1:1/x/y:1").fails();
    assert_eq!(asked.try_recv().ok(), None);
    assert!(!engine.daemon_log().contains("secret"));
}

#[test]
fn the_oldest_api_version_and_the_engines_score_can_be_set() {
    let mut engine = Engine::start(Kind::Pintle, Client::Docker, &["--oom-score-adjust=300"]);
    assert_eq!(engine.http("GET", "/v1.24/_ping", None).0, 200);
    assert_eq!(engine.sh("docker version -f '{{.Server.MinAPIVersion}}'").ok(), "1.24");
    engine.stop();
    engine.boot(&[("DOCKER_MIN_API_VERSION", "1.44")]);
    assert_eq!(engine.sh("docker version -f '{{.Server.MinAPIVersion}}'").ok(), "1.44");
    let (status, said) = engine.http("GET", "/v1.43/info", None);
    assert_eq!(status, 400);
    assert!(
        said.to_string().contains("client version 1.43 is too old. Minimum supported API version is 1.44"),
        "{said}"
    );
    assert_eq!(engine.http("GET", "/v1.44/info", None).0, 200);
    let score =
        |pid: &str| std::fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap().trim().to_owned();
    assert_eq!(score(&engine.pid().to_string()), "300");
    // Containers have their own.
    engine.busybox("base");
    engine.sh("docker run -d --name box --network none base sleep 1000").ok();
    assert_eq!(score(&engine.sh("docker inspect -f '{{.State.Pid}}' box").ok()), "0");
}
