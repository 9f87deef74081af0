//! An engine in a scratch directory, with an image made on the fly and a volume driver that can be told to
//! misbehave.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use futures_util::StreamExt;
use pintle_contract::{CreateVolume, DriverError, IpamDriver, MountId, Volume, VolumeDriver};
use pintle_drivers::{Bridge, Ipam, bridge, ipam::AddressPools};
use pintle_engine::{
    EngineError, Journal,
    containers::{
        Config, ContainerSpec, Containers, ExecSpec, ExecStart, LogOptions, RemoveOptions, WaitCondition,
    },
    events::Events,
    networks::{self, Networks},
    resolver::EmbeddedDns,
    volumes::{Driver, Drivers, Volumes},
};
use pintle_host::remote;
use pintle_image::{Images, Progress, Reference};
use pintle_netlink::Namespace;
use pintle_runtime::{Options, Runtime};
use pintle_store::Store;
use pintle_testkit::recorder::{self, Recorder};
use pintle_wire::spec::Address;
use tokio::io::AsyncReadExt;

use crate::ledger::Ledger;

/// Longer than anything here takes on a loaded machine.
pub const PATIENCE: Duration = Duration::from_secs(60);
pub const IMAGE: &str = "box:latest";

/// Directories as volumes; counts mounts by id.
pub struct Dirs {
    root: PathBuf,
    pub mounts: Mutex<BTreeMap<String, i64>>,
    pub hang: AtomicBool,
}

#[async_trait]
impl VolumeDriver for Dirs {
    async fn create(&self, request: CreateVolume) -> Result<(), DriverError> {
        Ok(std::fs::create_dir_all(self.root.join(&request.name))?)
    }
    async fn remove(&self, name: &str) -> Result<(), DriverError> {
        Ok(std::fs::remove_dir_all(self.root.join(name))?)
    }
    async fn mount(&self, name: &str, id: &MountId) -> Result<PathBuf, DriverError> {
        while self.hang.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        *self.mounts.lock().unwrap().entry(format!("{name} {id}")).or_default() += 1;
        Ok(self.root.join(name))
    }
    async fn unmount(&self, name: &str, id: &MountId) -> Result<(), DriverError> {
        while self.hang.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        *self.mounts.lock().unwrap().entry(format!("{name} {id}")).or_default() -= 1;
        Ok(())
    }
    async fn get(&self, name: &str) -> Result<Volume, DriverError> {
        let path = self.root.join(name);
        if !path.is_dir() {
            return Err(DriverError::not_found("no such volume"));
        }
        Ok(Volume { name: name.to_owned(), mountpoint: Some(path), ..Volume::default() })
    }
    async fn list(&self) -> Result<Vec<Volume>, DriverError> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&self.root)? {
            found.push(self.get(&entry?.file_name().to_string_lossy()).await?);
        }
        Ok(found)
    }
}

impl Dirs {
    /// Mounts that were not unmounted.
    pub fn held(&self) -> Vec<(String, i64)> {
        self.mounts.lock().unwrap().iter().filter(|(_, n)| **n != 0).map(|(k, n)| (k.clone(), *n)).collect()
    }
}

struct Only(Arc<Dirs>);

#[async_trait]
impl Drivers for Only {
    async fn driver(&self, name: &str) -> Result<Driver, EngineError> {
        match name {
            "local" | "dirs" => Ok(Driver { name: name.to_owned(), driver: self.0.clone() }),
            _ => Err(EngineError::not_found(format!("plugin \"{name}\" not found"))),
        }
    }
    async fn drivers(&self) -> Vec<(String, Result<Driver, EngineError>)> {
        vec![("local".to_owned(), self.driver("local").await)]
    }
    fn hold(&self, _: &str, _: &str) {}
    fn release(&self, _: &str, _: &str) {}
}

/// The drivers that are linked in, with a host of their own; the plugin `ledger`, which gives addresses; and the plugin
/// `plug` at `plug.sock`, if somebody listens there.
struct Linked {
    bridge: Arc<Recorder<Bridge>>,
    plug: Arc<remote::Network>,
    ipam: Arc<Ipam>,
    ledger: Arc<Ledger>,
}

#[async_trait]
impl networks::Drivers for Linked {
    async fn network(&self, name: &str) -> Result<networks::Driver, EngineError> {
        match name {
            "bridge" => Ok(networks::Driver {
                name: name.to_owned(),
                driver: self.bridge.clone(),
                builtin: true,
                life: 0,
            }),
            "plug" => Ok(networks::Driver {
                name: name.to_owned(),
                driver: self.plug.clone(),
                builtin: false,
                life: 1,
            }),
            _ => Err(EngineError::not_found(format!("plugin \"{name}\" not found"))),
        }
    }
    async fn ipam(&self, name: &str) -> Result<networks::Ipam, EngineError> {
        let driver: Arc<dyn IpamDriver> = match name {
            "default" => self.ipam.clone(),
            "ledger" => self.ledger.clone(),
            _ => return Err(EngineError::not_found(format!("plugin \"{name}\" not found"))),
        };
        Ok(networks::Ipam { name: name.to_owned(), driver, builtin: name == "default", life: 1 })
    }
    fn builtin(&self, name: &str) -> bool {
        name == "bridge"
    }
    fn builtin_ipam(&self, name: &str) -> bool {
        name == "default"
    }
    fn builtins(&self) -> Vec<networks::Driver> {
        let driver = self.bridge.clone();
        vec![networks::Driver { name: "bridge".to_owned(), driver, builtin: true, life: 0 }]
    }
    fn arrivals(&self) -> Option<pintle_host::Arrivals> {
        None
    }
    fn hold(&self, _: &str, _: &str) {}
    fn release(&self, _: &str, _: &str) {}
}

/// One engine.
pub struct House {
    pub dir: PathBuf,
    pub containers: Containers,
    pub volumes: Volumes,
    pub networks: Networks,
    pub events: Events,
    pub images: Images,
    pub driver: Arc<Dirs>,
    /// The namespace that plays the host.
    pub host: Namespace,
    pub ledger: Arc<Ledger>,
    /// What the bridge driver is asked.
    pub bridge_journal: recorder::Journal,
    _owned: Option<tempfile::TempDir>,
}

impl House {
    pub async fn new() -> Self {
        assert!(rustix::process::geteuid().is_root(), "these tests need root");
        let owned = tempfile::Builder::new().prefix("pintle-engine-").tempdir().unwrap();
        let mut house = Self::open(owned.path()).await;
        house._owned = Some(owned);
        house.import().await;
        house.containers.restore().await.unwrap();
        house.containers.start_wanted();
        house
    }

    /// Opens an engine over what is there.
    pub async fn open(dir: &Path) -> Self {
        let data = dir.join("data");
        std::fs::create_dir_all(&data).unwrap();
        std::fs::create_dir_all(dir.join("volumes")).unwrap();
        // The engine before may still be letting go of it.
        let mut store = Store::open(&data.join("pintle.redb"));
        for _ in 0..100 {
            if store.is_ok() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
            store = Store::open(&data.join("pintle.redb"));
        }
        let store = store.unwrap();
        let images = Images::open(&data, store.clone(), pintle_image::Options::default()).unwrap();
        let options = Options { root: dir.join("run/tasks"), shim: std::env::current_exe().unwrap() };
        let runtime = Runtime::new(options).unwrap();
        let events = Events::new();
        let driver = Arc::new(Dirs {
            root: dir.join("volumes"),
            mounts: Mutex::default(),
            hang: AtomicBool::new(false),
        });
        let volumes =
            Volumes::with_drivers(&data, store.clone(), Arc::new(Only(driver.clone())), events.clone())
                .unwrap();
        let journal = Journal::open(store).unwrap();
        let place = dir.join("host.ns");
        let host = Namespace::open(&place).or_else(|_| Namespace::create_at(&place)).unwrap();
        let ledger = Arc::new(Ledger::open(&dir.join("ledger")));
        let bridge_journal = recorder::Journal::default();
        let bridge = Bridge::new(bridge::Config::standard(host.clone())).unwrap();
        let at = Address::Unix(dir.join("plug.sock"));
        let linked = Linked {
            bridge: Arc::new(Recorder::new(bridge, bridge_journal.clone())),
            plug: Arc::new(remote::Network::new(Arc::new(remote::Client::new("plug", at)))),
            ipam: Arc::new(Ipam::new(AddressPools::standard("tests"))),
            ledger: ledger.clone(),
        };
        let networks = Networks::open(
            networks::Config {
                exec_root: dir.join("run"),
                default_bridge: Some(networks::NetworkSpec {
                    options: [("com.docker.network.bridge.name".to_owned(), "pintle0".to_owned())].into(),
                    ..networks::NetworkSpec::default()
                }),
                ..networks::Config::default()
            },
            journal.clone(),
            Arc::new(linked),
            Arc::new(EmbeddedDns::new()),
            events.clone(),
        )
        .unwrap();
        networks.prepare().await;
        let mut config = Config::new(&data, dir.join("run"));
        config.cgroup_parent = "/pintle-test".to_owned();
        let containers = Containers::open(
            config,
            journal,
            images.clone(),
            runtime,
            volumes.clone(),
            networks.clone(),
            events.clone(),
        )
        .unwrap();
        Self {
            dir: dir.to_owned(),
            containers,
            volumes,
            networks,
            events,
            images,
            driver,
            host,
            ledger,
            bridge_journal,
            _owned: None,
        }
    }

    async fn import(&self) {
        let mut tar = tar::Builder::new(Vec::new());
        let mut add = |name: &str, mode: u32, kind: tar::EntryType, data: &[u8], link: &str| {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(kind);
            header.set_mode(mode);
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(1);
            header.set_size(data.len() as u64);
            if link.is_empty() {
                tar.append_data(&mut header, name, data).unwrap();
            } else {
                tar.append_link(&mut header, name, link).unwrap();
            }
        };
        use tar::EntryType as E;
        for name in ["bin", "etc", "proc", "sys", "dev", "tmp", "root", "srv/data/deep"] {
            add(name, 0o755, E::Directory, &[], "");
        }
        add("bin/busybox", 0o755, E::Regular, &std::fs::read("/bin/busybox").unwrap(), "");
        for name in "sh true false cat echo sleep id env mount ls kill touch pwd hostname seq head wc ip ping test trap df printf ps stty mkdir rm readlink nproc tail nslookup nc wget sysctl timeout".split(' ') {
            add(&format!("bin/{name}"), 0o777, E::Symlink, &[], "busybox");
        }
        add(
            "etc/passwd",
            0o644,
            E::Regular,
            b"root:x:0:0::/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n",
            "",
        );
        add("etc/group", 0o644, E::Regular, b"root:x:0:\napp:x:1000:\n", "");
        add("srv/data/file", 0o640, E::Regular, b"from the image\n", "");
        add("srv/data/deep/er", 0o644, E::Regular, b"deep\n", "");
        let bytes = tar.into_inner().unwrap();
        let name: Reference = IMAGE.parse().unwrap();
        let changes =
            ["ENV FROM_IMAGE=yes".to_owned(), "LABEL made=here".to_owned(), "CMD [\"true\"]".to_owned()];
        self.images
            .import(std::io::Cursor::new(bytes), Some(&name), &changes, "", None, &Progress::none())
            .await
            .unwrap();
    }

    pub fn spec(&self, words: &[&str]) -> ContainerSpec {
        ContainerSpec {
            image: IMAGE.to_owned(),
            cmd: Some(words.iter().map(|word| (*word).to_owned()).collect()),
            ..ContainerSpec::default()
        }
    }

    pub fn shell(&self, script: &str) -> ContainerSpec {
        self.spec(&["sh", "-c", script])
    }

    pub async fn create(&self, spec: ContainerSpec) -> String {
        self.containers.create(None, spec).await.unwrap().id
    }

    /// Made and started.
    pub async fn start(&self, spec: ContainerSpec) -> String {
        let id = self.create(spec).await;
        self.containers.start(&id).await.unwrap();
        id
    }

    /// Made, but it cannot be started; nothing of it stays.
    pub async fn start_err(&self, spec: ContainerSpec) -> EngineError {
        let id = self.create(spec).await;
        let error = self.containers.start(&id).await.unwrap_err();
        self.gone(&id).await;
        error
    }

    /// What a command prints that runs in a container beside its own process.
    pub async fn exec(&self, id: &str, words: &[&str]) -> String {
        let spec = ExecSpec {
            cmd: words.iter().map(|word| (*word).to_owned()).collect(),
            stdout: true,
            stderr: true,
            ..ExecSpec::default()
        };
        let exec = self.containers.exec_create(id, spec).await.unwrap();
        let started = self.containers.exec_start(&exec, ExecStart::default()).await.unwrap();
        let mut bytes = Vec::new();
        patience(started.stream.unwrap().read_to_end(&mut bytes)).await.unwrap();
        unframe(&bytes)
    }

    /// A running container's IPv4 address in a network.
    pub fn address(&self, id: &str, network: &str) -> String {
        let networks = self.containers.networks(&self.containers.inspect(id).unwrap());
        networks.networks[network].address.unwrap().addr().to_string()
    }

    pub async fn wait(&self, id: &str) -> i64 {
        let wait = self.containers.wait(id, WaitCondition::NotRunning).unwrap();
        patience(wait).await.code
    }

    /// Run to its end: exit code, and output of both streams together.
    pub async fn run(&self, spec: ContainerSpec) -> (i64, String) {
        let id = self.start(spec).await;
        let code = self.wait(&id).await;
        let output = self.output(&id).await;
        self.containers.remove(&id, RemoveOptions { force: false, volumes: true }).await.unwrap();
        (code, output)
    }

    pub async fn output(&self, id: &str) -> String {
        let options = LogOptions { stdout: true, stderr: true, ..LogOptions::default() };
        let logs = self.containers.logs(id, options).await.unwrap();
        text(logs).await
    }

    pub async fn gone(&self, id: &str) {
        let options = RemoveOptions { force: true, volumes: true };
        patience(self.containers.remove(id, options)).await.unwrap();
    }

    /// Nothing may be left in the world.
    pub async fn close(self) {
        for (container, _) in self
            .containers
            .list(pintle_engine::containers::ListOptions { all: true, ..Default::default() })
            .await
            .unwrap()
        {
            self.gone(&container.id).await;
        }
        self.containers.shutdown().await;
        self.networks.shutdown().await;
        assert_eq!(self.driver.held(), [], "volumes are mounted");
        self.no_links();
        self.remove_host();
        self.no_leaks();
    }

    /// Ends the namespace that plays the host.
    pub fn remove_host(&self) {
        Namespace::remove(&self.dir.join("host.ns")).unwrap();
    }

    /// No container's link may be left on the host. The kernel may still be at taking one apart.
    pub fn no_links(&self) {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        loop {
            let links = self.host.handle().unwrap().links().unwrap();
            let left: Vec<_> =
                links.iter().filter(|link| link.kind == "veth").map(|link| &link.name).collect();
            if left.is_empty() {
                return;
            }
            assert!(std::time::Instant::now() < deadline, "links are left: {left:?}");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }

    pub fn no_leaks(&self) {
        let dir = self.dir.to_str().unwrap();
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let left: Vec<&str> =
            mounts.lines().filter(|line| line.contains(dir) && !line.contains("host.ns")).collect();
        assert!(left.is_empty(), "mounts are left: {left:#?}");
        for sub in ["data/containers", "run/tasks"] {
            let left: BTreeSet<_> = std::fs::read_dir(self.dir.join(sub))
                .map(|entries| entries.map(|entry| entry.unwrap().file_name()).collect())
                .unwrap_or_default();
            assert!(left.is_empty(), "{sub} has {left:?}");
        }
    }
}

/// Puts the image where an engine with another directory finds it.
pub async fn copy_image(to: &Path) {
    let house = House::new().await;
    // Without what belongs to that engine alone.
    let to = to.join("data");
    std::fs::create_dir_all(to.parent().unwrap()).unwrap();
    let done =
        std::process::Command::new("cp").arg("-a").args([house.dir.join("data"), to]).status().unwrap();
    assert!(done.success());
    house.close().await;
}

/// The text of a log, frames undone.
pub async fn text(mut logs: pintle_engine::containers::Logs) -> String {
    let mut bytes = Vec::new();
    while let Some(piece) = patience(logs.stream.next()).await {
        bytes.extend_from_slice(&piece.unwrap());
    }
    if logs.tty { String::from_utf8(bytes).unwrap() } else { unframe(&bytes) }
}

pub fn unframe(mut bytes: &[u8]) -> String {
    let mut text = Vec::new();
    while bytes.len() >= 8 {
        let length = u32::from_be_bytes(bytes[4..8].try_into().unwrap()) as usize;
        text.extend_from_slice(&bytes[8..8 + length]);
        bytes = &bytes[8 + length..];
    }
    assert!(bytes.is_empty(), "half a frame");
    String::from_utf8(text).unwrap()
}

pub async fn patience<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.unwrap_or_else(|_| panic!("too slow"))
}

pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = std::time::Instant::now() + PATIENCE;
    while !holds() {
        assert!(std::time::Instant::now() < end, "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
