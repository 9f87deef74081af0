//! The host that the user's document is written for: one engine on it, called docker; its socket, its plugins' sockets
//! and its journal where they always are. A mount namespace gives a story such a host, with a real journald in it.

use std::{
    io::Write,
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use crate::harness::{Client, Engine, Kind, Ran, eventually};

/// A host with an engine.
pub struct Host {
    pub engine: Engine,
    journald: Child,
}

/// Becomes journald, on a fresh `/run` and a `/var/lib` whose changes are lost.
const JOURNALD: &str = r#"
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/journal /run/systemd/journald.conf.d /run/docker/plugins /run/upper /run/work
mount -t overlay overlay -o lowerdir=/var/lib,upperdir=/run/upper,workdir=/run/work /var/lib
printf '[Journal]\nStorage=volatile\nReadKMsg=no\nAudit=no\nForwardToSyslog=no\n' >/run/systemd/journald.conf.d/story.conf
exec /lib/systemd/systemd-journald
"#;

/// What systemd says on a service's behalf before its output: who it is, and how its lines are to be taken.
const SERVICE: &[u8] = b"pintle\ndocker.service\n6\n1\n0\n0\n0\n";

impl Host {
    /// A host with a fresh pintle, driven by `client`.
    pub fn new(client: Client, extra: &[&str], env: &[(&str, &str)]) -> Self {
        let journald = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "bash", "-ec", JOURNALD])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("apt-get install systemd");
        let root = PathBuf::from(format!("/proc/{}/root", journald.id()));
        let journal = root.join("run/systemd/journal/stdout");
        eventually("the journal", Duration::from_secs(30), || UnixStream::connect(&journal).is_ok());
        let mut engine = Engine::prepared(Kind::Pintle, client, extra);
        engine.speak_to(Box::new(move || {
            let mut stream = UnixStream::connect(&journal).unwrap();
            stream.write_all(SERVICE).unwrap();
            OwnedFd::from(stream)
        }));
        engine.boot(env);
        let host = Self { engine, journald };
        let dir = host.engine.dir.display();
        host.inside(&format!(
            "mkdir -p {dir}/plugins && mount --bind {dir}/plugins /run/docker/plugins && \
             touch /run/docker.sock && mount --bind {dir}/engine.sock /run/docker.sock"
        ));
        host
    }

    fn enter(&self) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--mount", "--target", &self.journald.id().to_string()]);
        command
    }

    fn inside(&self, script: &str) {
        let status = self.enter().args(["bash", "-ec", script]).status().expect("nsenter runs");
        assert!(status.success(), "{script}");
    }

    /// Runs a script as it is: no variable says where the engine is.
    pub fn sh(&self, script: &str) -> Ran {
        self.sh_in(&self.engine.dir, script)
    }

    /// The same, in a folder.
    pub fn sh_in(&self, folder: &Path, script: &str) -> Ran {
        let home = self.engine.dir.join("home");
        let path = format!("{}:{}", home.join("bin").display(), std::env::var("PATH").unwrap_or_default());
        let output = self
            .enter()
            .arg(format!("--wd={}", folder.display()))
            .args(["timeout", "180", "bash", "-c", script])
            .env("PATH", path)
            .env("HOME", &home)
            .env_remove("DOCKER_HOST")
            .env_remove("DOCKER_CONFIG")
            .stdin(Stdio::null())
            .output()
            .expect("nsenter runs");
        Ran::new(script, output)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.journald.kill();
        let _ = self.journald.wait();
    }
}
