//! What every story stands on: a real engine on roots of its own, the stock `docker` CLI, and a clean-up that
//! also happens when the story dies.

use std::{
    collections::BTreeSet,
    fs,
    io::{Read, Write},
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

/// The binary under test.
pub const PINTLE: &str = env!("CARGO_BIN_EXE_pintle");

/// Which engine a story runs on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Pintle,
    Dockerd,
}

/// A running engine with roots, sockets and a client home of its own.
pub struct Engine {
    pub kind: Kind,
    pub dir: PathBuf,
    child: Option<Child>,
    extra: Vec<String>,
    /// Where the daemon's output goes, if not into a file.
    listener: Option<Box<dyn Fn() -> OwnedFd + Send + Sync>>,
    /// A program that becomes the daemon, and its arguments before the daemon's command line.
    way_in: Vec<String>,
    /// Subnets that no other story's networks are in, held by a lock on this file.
    pool: (u8, fs::File),
}

/// Which program answers to the name `docker`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Client {
    Docker,
    Pintle,
}

/// What a command left behind.
#[derive(Debug)]
pub struct Ran {
    pub script: String,
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// What a script's process left behind.
    pub fn new(script: &str, output: Output) -> Self {
        Self {
            script: script.to_owned(),
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// The trimmed standard output of a command that must succeed.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(
            self.code, 0,
            "`{}` failed\nstdout: {}\nstderr: {}",
            self.script, self.stdout, self.stderr
        );
        self.stdout.trim().to_owned()
    }

    /// The trimmed standard error of a command that must fail.
    #[track_caller]
    pub fn fails(self) -> String {
        assert_ne!(self.code, 0, "`{}` should have failed\nstdout: {}", self.script, self.stdout);
        format!("{}{}", self.stderr, self.stdout).trim().to_owned()
    }
}

impl Engine {
    /// A fresh pintle.
    pub fn pintle() -> Self {
        Self::start(Kind::Pintle, Client::Docker, &[])
    }

    /// A fresh engine of `kind`, driven by `client`, with more daemon flags.
    pub fn start(kind: Kind, client: Client, extra: &[&str]) -> Self {
        let mut engine = Self::prepared(kind, client, extra);
        engine.boot(&[]);
        engine
    }

    /// The same, to be booted.
    pub fn prepared(kind: Kind, client: Client, extra: &[&str]) -> Self {
        let dir = tempfile::Builder::new().prefix("pintle-story-").tempdir_in("/tmp").unwrap().keep();
        fs::create_dir_all(dir.join("home/bin")).unwrap();
        let docker = match client {
            Client::Docker => {
                which("docker").expect("the stock docker CLI is needed: apt-get install docker.io")
            }
            Client::Pintle => PathBuf::from(PINTLE),
        };
        std::os::unix::fs::symlink(docker, dir.join("home/bin/docker")).unwrap();
        std::os::unix::fs::symlink(PINTLE, dir.join("home/bin/pintle")).unwrap();
        Self {
            kind,
            dir,
            child: None,
            extra: extra.iter().map(|flag| (*flag).to_owned()).collect(),
            listener: None,
            way_in: Vec::new(),
            pool: pool(),
        }
    }

    /// Sends the daemon's output somewhere else than into a file, from the next boot on.
    pub fn speak_to(&mut self, listener: Box<dyn Fn() -> OwnedFd + Send + Sync>) {
        self.listener = Some(listener);
    }

    /// Starts the daemon by way of a program that becomes it, from the next boot on; directly, if there are no words.
    pub fn go_by(&mut self, words: &[&str]) {
        self.way_in = words.iter().map(|word| (*word).to_owned()).collect();
    }

    /// Gives the daemon more flags, from the next boot on.
    pub fn also(&mut self, flags: &[&str]) {
        self.extra.extend(flags.iter().map(|flag| (*flag).to_owned()));
    }

    /// Starts the daemon on the roots as they are and waits until it answers.
    pub fn boot(&mut self, env: &[(&str, &str)]) {
        self.spawn(env);
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            if let Ok((200, _)) = self.try_http("GET", "/_ping", None) {
                return;
            }
            let exited = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten());
            assert!(
                Instant::now() < deadline && exited.is_none(),
                "{:?} did not come up ({exited:?}):\n{}",
                self.kind,
                self.daemon_log()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Starts the daemon and does not wait.
    pub fn spawn(&mut self, env: &[(&str, &str)]) {
        let dir = self.dir.display();
        let log: OwnedFd = match &self.listener {
            Some(listener) => listener(),
            None => {
                let file = fs::File::options().create(true).append(true).open(self.dir.join("daemon.log"));
                file.unwrap().into()
            }
        };
        let mut command = match self.kind {
            Kind::Pintle => {
                let words =
                    self.way_in.iter().map(String::as_str).chain([PINTLE, "daemon"]).collect::<Vec<_>>();
                let mut command = Command::new(words[0]);
                command.args(&words[1..]).args(["--plugin-sockets", &format!("{dir}/plugins")]);
                if !self.extra.iter().any(|flag| flag.starts_with("--default-address-pool")) {
                    let base = format!("base=10.{}.0.0/16,size=24", self.pool.0);
                    command.args(["--default-address-pool", &base]);
                }
                command
            }
            Kind::Dockerd => {
                let mut command = Command::new("dockerd");
                command.args(["--iptables=false", "--bridge=none"]);
                command
            }
        };
        command
            .args(["-H", &format!("unix://{dir}/engine.sock")])
            .args(["--data-root", &format!("{dir}/data"), "--exec-root", &format!("{dir}/exec")])
            .args(["--pidfile", &format!("{dir}/engine.pid")])
            .args(&self.extra)
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        self.child = Some(command.spawn().expect("the daemon starts"));
    }

    /// Where the engine listens.
    pub fn socket(&self) -> PathBuf {
        self.dir.join("engine.sock")
    }

    /// What the daemon has said so far.
    pub fn daemon_log(&self) -> String {
        fs::read_to_string(self.dir.join("daemon.log")).unwrap_or_default()
    }

    /// The daemon's process.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("the engine runs").id()
    }

    /// Whether the daemon still runs.
    pub fn alive(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// `kill -9`, as a power cut would.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// SIGTERM; the exit code.
    pub fn stop(&mut self) -> Option<i32> {
        let mut child = self.child.take()?;
        signal(child.id(), "TERM");
        let deadline = Instant::now() + Duration::from_secs(40);
        while Instant::now() < deadline {
            if let Ok(Some(status)) = child.try_wait() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        let _ = child.kill();
        let _ = child.wait();
        None
    }

    /// Runs a shell script in which `docker` drives this engine.
    pub fn sh(&self, script: &str) -> Ran {
        self.sh_in(&self.dir, script)
    }

    /// The same, in a folder.
    pub fn sh_in(&self, folder: &Path, script: &str) -> Ran {
        self.sh_within(120, folder, script)
    }

    /// The same, with as many seconds as it may take.
    pub fn sh_within(&self, seconds: u32, folder: &Path, script: &str) -> Ran {
        let home = self.dir.join("home");
        let path = format!("{}:{}", home.join("bin").display(), std::env::var("PATH").unwrap_or_default());
        let output = Command::new("timeout")
            .args([&seconds.to_string(), "bash", "-c", script])
            .current_dir(folder)
            .env("PATH", path)
            .env("HOME", &home)
            .env("DOCKER_CONFIG", home.join(".docker"))
            .env("DOCKER_HOST", format!("unix://{}", self.socket().display()))
            .env("DOCKER_CLI_HINTS", "false")
            .stdin(Stdio::null())
            .output()
            .expect("bash runs");
        Ran::new(script, output)
    }

    /// A container image made of busybox alone, under `name`.
    pub fn busybox(&self, name: &str) {
        let root = self.dir.join("busybox");
        if !root.exists() {
            fs::create_dir_all(root.join("bin")).unwrap();
            fs::copy("/bin/busybox", root.join("bin/busybox")).expect("apt-get install busybox-static");
            for applet in APPLETS.split_whitespace() {
                std::os::unix::fs::symlink("busybox", root.join("bin").join(applet)).unwrap();
            }
            for folder in ["etc", "tmp", "root", "proc", "sys", "dev"] {
                fs::create_dir_all(root.join(folder)).unwrap();
            }
            fs::write(
                root.join("etc/passwd"),
                "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/tmp:/bin/sh\n",
            )
            .unwrap();
            fs::write(root.join("etc/group"), "root:x:0:\nuser:x:1000:\n").unwrap();
        }
        self.sh(&format!("tar -C busybox -c . | docker import -c 'CMD [\"sh\"]' - {name}")).ok();
    }

    /// One API call: status and body (JSON where it is, else a string).
    #[track_caller]
    pub fn http(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        self.try_http(method, path, body).unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    /// One API call that may find no engine.
    pub fn try_http(&self, method: &str, path: &str, body: Option<&Value>) -> std::io::Result<(u16, Value)> {
        let body = body.map(Value::to_string);
        let raw = raw_http(
            &self.socket(),
            method,
            path,
            "application/json",
            body.as_deref().unwrap_or("").as_bytes(),
        )?;
        let text = String::from_utf8_lossy(&raw.1).into_owned();
        Ok((raw.0, serde_json::from_str(&text).unwrap_or(Value::String(text))))
    }

    /// Everything of this engine that the kernel still holds: mounts, shims, cgroups, plugin sockets.
    pub fn leftovers(&self) -> Vec<String> {
        let mut found =
            mounts_below(&self.dir).into_iter().map(|mount| format!("mount {mount}")).collect::<Vec<_>>();
        for (pid, line) in processes_naming(&self.dir.join("exec")) {
            // What the engine just starts has its name until it has its own.
            let engine = self.child.as_ref().map(Child::id);
            if Some(pid) != engine && engine.is_none_or(|engine| parent(pid) != Some(engine)) {
                found.push(format!("process {pid} {line}"));
            }
        }
        for sub in ["exec/tasks", "exec/netns", "plugins", "data/containers", "data/plugins", "data/tmp"] {
            for entry in fs::read_dir(self.dir.join(sub)).into_iter().flatten().flatten() {
                found.push(format!("{sub}/{}", entry.file_name().to_string_lossy()));
            }
        }
        found
    }

    /// Ends every container and plugin of this engine by force, without asking the engine.
    pub fn sweep(&self) {
        for round in 0..20 {
            let ids: BTreeSet<String> = ["exec/tasks"]
                .iter()
                .flat_map(|sub| fs::read_dir(self.dir.join(sub)).into_iter().flatten().flatten())
                .map(|entry| entry.file_name().to_string_lossy().into_owned())
                .collect();
            for id in &ids {
                for controller in fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
                    for parent in ["pintle", "docker"] {
                        let cgroup = controller.path().join(parent).join(id);
                        for pid in fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default().lines()
                        {
                            pid.parse().map(|pid| signal(pid, "KILL")).unwrap_or_default();
                        }
                        let _ = fs::remove_dir(&cgroup);
                    }
                }
            }
            let left = processes_naming(&self.dir);
            for (pid, _) in &left {
                signal(*pid, "KILL");
            }
            if left.is_empty() && round > 0 {
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        for _ in 0..3 {
            for mount in mounts_below(&self.dir).iter().rev() {
                let _ = Command::new("umount").args(["-l", mount]).stderr(Stdio::null()).status();
            }
        }
        if self.kind == Kind::Pintle {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            if let Err(error) = runtime.block_on(pintle_daemon::clear_networks(&self.dir.join("exec"))) {
                eprintln!("the networks of {} stay: {error:#}", self.dir.display());
            }
        }
    }

    /// The second byte of the 10.x.0.0/16 that this engine takes its subnets from.
    pub fn pool(&self) -> u8 {
        self.pool.0
    }
}

/// Stories run side by side, and engines look at each other's routes only when they choose.
fn pool() -> (u8, fs::File) {
    for number in 100..=250 {
        let path = format!("/tmp/pintle-story-pool-{number}");
        let file = fs::File::options().create(true).append(true).open(path).unwrap();
        if file.try_lock().is_ok() {
            return (number, file);
        }
    }
    panic!("more than 150 stories at a time");
}

impl Drop for Engine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.daemon_log();
            let tail = log.lines().rev().take(40).collect::<Vec<_>>();
            eprintln!("--- the last lines of {:?} in {} ---", self.kind, self.dir.display());
            for line in tail.iter().rev() {
                eprintln!("{line}");
            }
        }
        if self.kind == Kind::Dockerd {
            // Docker's containers die with it; its containerd is its child.
            self.stop();
        } else {
            self.kill();
        }
        self.sweep();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

const APPLETS: &str = "sh cat echo ls mkdir rm sleep true false touch id env pwd head tail grep sed wc seq yes dd \
                       stat hostname ps kill mount umount cp mv ln chmod chown test tr sort date tar printf \
                       vi stty sync df expr basename dirname find mknod ip nc od cut uname nproc ulimit \
                       ping nslookup wget httpd";

fn which(name: &str) -> Option<PathBuf> {
    std::env::var("PATH").ok()?.split(':').map(|dir| Path::new(dir).join(name)).find(|path| path.is_file())
}

/// Sends a signal by name to a process of ours.
pub fn signal(pid: u32, name: &str) {
    let _ = Command::new("kill").args(["-s", name, &pid.to_string()]).stderr(Stdio::null()).status();
}

fn mounts_below(dir: &Path) -> Vec<String> {
    let prefix = format!("{}/", dir.display());
    fs::read_to_string("/proc/self/mountinfo")
        .unwrap_or_default()
        .lines()
        .filter_map(|line| line.split(' ').nth(4).map(ToOwned::to_owned))
        .filter(|mount| mount.starts_with(&prefix))
        .collect()
}

/// Processes whose command line names something below `dir`.
pub fn processes_naming(dir: &Path) -> Vec<(u32, String)> {
    let needle = format!("{}", dir.display());
    let own = std::process::id();
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()))
        .filter(|pid| *pid != own)
        .filter_map(|pid| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            line.contains(&needle).then_some((pid, line))
        })
        .collect()
}

fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

/// One HTTP/1.1 exchange over a unix socket, read to its end.
pub fn raw_http(
    socket: &Path,
    method: &str,
    path: &str,
    content_type: &str,
    body: &[u8],
) -> std::io::Result<(u16, Vec<u8>)> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(120)))?;
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n");
    if !body.is_empty() {
        head += &format!("Content-Type: {content_type}\r\n");
    }
    head += &format!("Content-Length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)?;
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply)?;
    let end =
        reply.windows(4).position(|window| window == b"\r\n\r\n").ok_or(std::io::ErrorKind::UnexpectedEof)?;
    let head = String::from_utf8_lossy(&reply[..end]).into_owned();
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    let mut body = reply.split_off(end + 4);
    // An answer that was cut off is none.
    let head = head.to_ascii_lowercase();
    if head.contains("transfer-encoding: chunked") {
        body = dechunk(&body).ok_or(std::io::ErrorKind::UnexpectedEof)?;
    } else if let Some(length) = head.split("content-length: ").nth(1) {
        let length = length.split("\r\n").next().and_then(|length| length.trim().parse().ok());
        if length.is_some_and(|length: usize| method != "HEAD" && body.len() < length) {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok((status, body))
}

/// What the chunks hold; none if the last one is missing.
fn dechunk(mut raw: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(end) = raw.windows(2).position(|window| window == b"\r\n") {
        let size = usize::from_str_radix(String::from_utf8_lossy(&raw[..end]).trim(), 16).ok()?;
        if size == 0 {
            return Some(body);
        }
        if raw.len() < end + 2 + size {
            break;
        }
        body.extend_from_slice(&raw[end + 2..end + 2 + size]);
        raw = &raw[(end + 4 + size).min(raw.len())..];
    }
    None
}

/// Waits until `probe` holds, and says what it waited for when it never does.
#[track_caller]
pub fn eventually(what: &str, limit: Duration, mut probe: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !probe() {
        assert!(Instant::now() < deadline, "waited {limit:?} in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
