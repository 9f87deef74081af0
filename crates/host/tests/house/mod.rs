//! A plugin host in a scratch directory, packages for it, and short ways to look at what it left.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
#![allow(dead_code, clippy::allow_attributes, reason = "each test binary uses its own part of the harness")]

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use pintle_host::{Host, HostConfig, Plugin, PluginEvent, PluginState};
use pintle_image::{Images, Options};
use pintle_runtime::Runtime;
use pintle_store::Store;
use serde_json::{Value, json};

pub struct House {
    pub dir: tempfile::TempDir,
    pub events: Arc<Mutex<Vec<PluginEvent>>>,
}

pub const ENGINE: &str = env!("CARGO_BIN_EXE_pintle-host-test-engine");
const PLUGIN: &str = env!("CARGO_BIN_EXE_pintle-host-test-plugin");

impl House {
    pub fn new() -> Self {
        assert!(rustix::process::geteuid().is_root(), "these tests need root");
        let dir = tempfile::Builder::new().prefix("host-").tempdir().unwrap();
        Self { dir, events: Arc::default() }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn config(&self) -> HostConfig {
        let mut config = HostConfig::new(self.path().join("data"), self.path());
        config.socket_dir = self.path().join("s");
        config.spec_dirs = Vec::new();
        config.start_timeout = Duration::from_secs(20);
        config.probe_interval = Duration::from_millis(200);
        config.max_backoff = Duration::from_secs(2);
        config
    }

    /// An engine's host. There can be one at a time.
    pub async fn host(&self) -> Host {
        let host = self.unreconciled().await;
        host.reconcile().await;
        host
    }

    /// One that has started nothing yet.
    pub async fn unreconciled(&self) -> Host {
        let store = Store::open(&self.path().join("pintle.redb")).unwrap();
        let images = Images::open(&self.path().join("data"), store.clone(), Options::default()).unwrap();
        let options = pintle_runtime::Options { root: self.path().join("tasks"), shim: ENGINE.into() };
        let runtime = Runtime::new(options).unwrap();
        let events = self.events.clone();
        let sink = Arc::new(move |event| events.lock().unwrap().push(event));
        Host::open(self.config(), store, images, runtime, sink).await.unwrap()
    }

    /// A content store of its own, for making what no engine makes.
    pub fn images(&self) -> Images {
        let root = self.path().join("other");
        fs::create_dir_all(&root).unwrap();
        Images::open(&root, Store::in_memory().unwrap(), Options::default()).unwrap()
    }

    /// The test plugin's root file system as a tar without compression.
    pub fn plain_layer(&self) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        append(&mut tar, "bin/plugin", 0o755, &fs::read(PLUGIN).unwrap());
        tar.into_inner().unwrap()
    }

    /// Runs one command in an engine of its own. `failpoint` kills it there.
    pub fn engine(&self, failpoint: Option<&str>, args: &[&str]) -> (bool, String) {
        let mut command = self.engine_command(args);
        if let Some(name) = failpoint {
            command.env("PINTLE_FAILPOINT", name);
        }
        let output = command.output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// Runs one command in an engine of its own and kills that after so long.
    pub fn engine_killed_after(&self, length: Duration, args: &[&str]) {
        let mut child =
            self.engine_command(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(length);
        child.kill().unwrap();
        child.wait().unwrap();
    }

    fn engine_command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(ENGINE);
        command.arg("engine").arg(self.path()).args(args).env_remove("PINTLE_FAILPOINT");
        command
    }

    /// An author's archive: this configuration and a root file system with the test plugin.
    pub fn archive(&self, config: &Value) -> PathBuf {
        let path = self.path().join(format!("{}.tar", rand::random::<u64>()));
        let mut tar = tar::Builder::new(fs::File::create(&path).unwrap());
        append(&mut tar, "config.json", 0o644, config.to_string().as_bytes());
        for dir in ["rootfs", "rootfs/bin", "rootfs/run/docker/plugins", "rootfs/mnt/volumes", "rootfs/etc"] {
            let mut header = header(0o755);
            header.set_entry_type(tar::EntryType::Directory);
            header.set_size(0);
            tar.append_data(&mut header, dir, std::io::empty()).unwrap();
        }
        append(&mut tar, "rootfs/bin/plugin", 0o755, &fs::read(PLUGIN).unwrap());
        append(
            &mut tar,
            "rootfs/version",
            0o644,
            config["description"].as_str().unwrap_or_default().as_bytes(),
        );
        tar.finish().unwrap();
        path
    }

    pub async fn create(&self, host: &Host, name: &str, config: &Value) -> String {
        let archive = tokio::fs::File::open(self.archive(config)).await.unwrap();
        host.create(name, archive).await.unwrap()
    }

    pub fn plugin_dirs(&self) -> Vec<String> {
        names(&self.path().join("data/plugins")).into_iter().filter(|name| name.len() == 64).collect()
    }

    pub fn contents(&self) -> Vec<String> {
        names(&self.path().join("data/plugins/content"))
    }

    pub fn tasks(&self) -> Vec<String> {
        names(&self.path().join("tasks"))
    }

    pub fn sockets(&self) -> Vec<String> {
        names(&self.path().join("s"))
    }

    pub fn mounts(&self) -> Vec<String> {
        let table = fs::read_to_string("/proc/self/mounts").unwrap();
        let dir = self.path().to_str().unwrap();
        table.lines().filter(|line| line.contains(dir)).map(str::to_owned).collect()
    }

    /// Whatever a plugin could leave is gone.
    pub fn assert_clean(&self) {
        assert_eq!(names(&self.path().join("data/plugins")), [""; 0]);
        assert_eq!(self.tasks(), [""; 0]);
        assert_eq!(self.sockets(), [""; 0]);
        assert_eq!(self.mounts(), [""; 0]);
        assert_eq!(names(&self.path().join("data/blobs/sha256")), [""; 0]);
    }
}

impl Drop for House {
    fn drop(&mut self) {
        // A failed test may leave mounts; the temporary directory cannot go before they do.
        for line in self.mounts().iter().rev() {
            if let Some(path) = line.split(' ').nth(1) {
                let _ = rustix::mount::unmount(path, rustix::mount::UnmountFlags::DETACH);
            }
        }
    }
}

fn names(dir: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let mut names: Vec<String> =
        entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// A header of root's.
pub fn header(mode: u32) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

pub fn append<W: std::io::Write>(tar: &mut tar::Builder<W>, path: &str, mode: u32, content: &[u8]) {
    let mut header = header(mode);
    header.set_size(content.len() as u64);
    tar.append_data(&mut header, path, content).unwrap();
}

/// A good plugin's configuration.
pub fn config() -> Value {
    json!({
        "description": "one",
        "entrypoint": ["/bin/plugin"],
        "interface": { "types": ["docker.volumedriver/1.0"], "socket": "v.sock" },
        "env": [
            { "name": "MODE", "settable": ["value"], "value": "" },
            { "name": "DELAY", "settable": ["value"], "value": "0" },
        ],
        "args": { "name": "args", "settable": ["value"], "value": ["one"] },
        "propagatedMount": "/mnt/volumes",
    })
}

/// Waits until the plugin's state is as wished, and answers the plugin.
pub async fn until(host: &Host, name: &str, wish: impl Fn(&Plugin) -> bool) -> Plugin {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let plugin = host.get(name).unwrap();
        if wish(&plugin) {
            return plugin;
        }
        assert!(Instant::now() < deadline, "{:?} {:?}", plugin.state, plugin.last_error);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub fn is_ready(plugin: &Plugin) -> bool {
    plugin.state == PluginState::Ready
}

/// Debian's docker-registry on a port of its own.
pub struct Registry {
    pub address: String,
    child: Child,
    _dir: tempfile::TempDir,
}

impl Registry {
    pub fn start() -> Self {
        let dir = tempfile::Builder::new().prefix("host-registry-").tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("127.0.0.1:{port}");
        let config = json!({
            "version": "0.1",
            "storage": { "filesystem": { "rootdirectory": dir.path() } },
            "http": { "addr": address },
        });
        let file = dir.path().join("config.yml");
        fs::write(&file, config.to_string()).unwrap();
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while std::net::TcpStream::connect(&address).is_err() {
            assert!(Instant::now() < deadline, "the registry does not come up");
            std::thread::sleep(Duration::from_millis(50));
        }
        Self { address, child, _dir: dir }
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
