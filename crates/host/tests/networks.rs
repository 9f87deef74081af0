//! Plugins in networks, as the host sees it: where their processes are, who waits for whom, and what is refused.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod house;

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use house::{House, config, is_ready, until};
use pintle_host::{ErrorKind, Guest, Host, HostError, NetworkFacts, PluginNetworks, PluginState, Room};
use tokio_util::sync::CancellationToken;

const DEFAULT: Duration = Duration::ZERO;

/// A network namespace of the kernel's, gone with the test.
struct Namespace(String);

impl Namespace {
    fn new() -> Self {
        let name = format!("ph{:08x}", rand::random::<u32>());
        assert!(Command::new("ip").args(["netns", "add", &name]).status().unwrap().success());
        Self(name)
    }

    fn path(&self) -> PathBuf {
        Path::new("/run/netns").join(&self.0)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).status();
    }
}

/// Networks by name with the plugins that make them. Every plugin gets the same namespace and one file.
struct Networks {
    all: BTreeMap<&'static str, Vec<&'static str>>,
    room: Room,
    calls: Mutex<Vec<String>>,
    _namespace: Namespace,
}

impl Networks {
    fn of(house: &House, all: &[(&'static str, &[&'static str])]) -> Arc<Self> {
        let namespace = Namespace::new();
        let file = house.path().join("hosts");
        fs::write(&file, "192.0.2.1 loki\n").unwrap();
        let room = Room { namespace: namespace.path(), files: vec![(file, "/etc/hosts".into())] };
        let all = all.iter().map(|(name, plugins)| (*name, plugins.to_vec())).collect();
        Arc::new(Self { all, room, calls: Mutex::default(), _namespace: namespace })
    }

    fn calls(&self) -> Vec<String> {
        std::mem::take(&mut self.calls.lock().unwrap())
    }
}

#[async_trait]
impl PluginNetworks for Networks {
    fn look_up(&self, network: &str) -> Result<NetworkFacts, HostError> {
        let plugins = self.all.get(network);
        let plugins = plugins.ok_or_else(|| HostError::NoNetwork(format!("network {network} not found")))?;
        let plugins = plugins.iter().map(|plugin| (*plugin).to_owned()).collect();
        Ok(NetworkFacts { name: network.to_owned(), plugins })
    }

    async fn open(&self, guest: &Guest, _: &CancellationToken) -> Result<Room, HostError> {
        self.calls.lock().unwrap().push(format!("{} {}", guest.name, guest.networks.join(",")));
        match guest.networks.iter().any(|network| network == "broken") {
            true => Err(HostError::Unavailable("the wire is cut".into())),
            false => Ok(self.room.clone()),
        }
    }

    async fn close(&self, _: &str) {}
}

async fn set(host: &Host, plugin: &str, networks: &str) -> Result<(), HostError> {
    host.set(plugin, &[format!("pintle.networks={networks}")]).await
}

#[tokio::test]
async fn a_plugin_runs_in_the_room_that_it_is_given() {
    let house = House::new();
    let host = house.host().await;
    house.create(&host, "vol", &config()).await;
    let none = set(&host, "vol", "logs").await.unwrap_err();
    assert_eq!(none.to_string(), "this engine has no networks for plugins");
    let networks = Networks::of(&house, &[("logs", &[]), ("broken", &[])]);
    host.join_networks(Arc::clone(&networks) as Arc<dyn PluginNetworks>);

    let unknown = set(&host, "vol", "logs,nope").await.unwrap_err();
    assert_eq!(
        (unknown.kind(), unknown.to_string().as_str()),
        (ErrorKind::NotFound, "network nope not found")
    );
    // All of a list or nothing.
    let mixed = host.set("vol", &["pintle.networks=logs".into(), "NOPE=1".into()]).await;
    assert_eq!(mixed.unwrap_err().kind(), ErrorKind::Internal);
    assert_eq!(host.get("vol").unwrap().networks, [""; 0]);

    set(&host, "vol", "logs").await.unwrap();
    host.enable("vol", DEFAULT).await.unwrap();
    assert_eq!(networks.calls(), ["vol:latest logs"]);
    let plugin = host.get("vol").unwrap();
    let root = PathBuf::from(format!("/proc/{}", plugin.pid.unwrap()));
    let inode = |path: &Path| fs::metadata(path).unwrap().ino();
    assert_eq!(inode(&root.join("ns/net")), inode(&networks.room.namespace));
    assert_eq!(fs::read_to_string(root.join("root/etc/hosts")).unwrap(), "192.0.2.1 loki\n");
    let active = set(&host, "vol", "").await.unwrap_err();
    assert!(active.to_string().contains("cannot set on an active plugin"), "{active}");

    // What is wrong with its networks is why it does not start, and it is told without its process.
    host.disable("vol", false).await.unwrap();
    set(&host, "vol", "broken").await.unwrap();
    let broken = host.enable("vol", DEFAULT).await.unwrap_err();
    assert!(broken.to_string().contains("did not start: its networks: the wire is cut"), "{broken}");
    host.remove("vol", true).await.unwrap();
    house.assert_clean();
    host.shutdown(true).await;
}

#[tokio::test]
async fn who_stands_on_another_waits_for_it_and_for_nobody_else() {
    let house = House::new();
    let host = house.host().await;
    let networks = Networks::of(&house, &[("one", &["maker"]), ("two", &["vol"]), ("free", &["nobody"])]);
    host.join_networks(Arc::clone(&networks) as Arc<dyn PluginNetworks>);
    for name in ["maker", "vol", "other"] {
        house.create(&host, name, &config()).await;
    }
    set(&host, "vol", "one").await.unwrap();
    set(&host, "other", "free").await.unwrap();

    // Each would wait for the other.
    let cycle = set(&host, "maker", "free,two").await.unwrap_err();
    assert_eq!(cycle.kind(), ErrorKind::Conflict);
    assert_eq!(
        cycle.to_string(),
        "plugin maker:latest would wait for itself: it is on network two, which is made by plugin vol:latest, which is \
         on network one, which is made by plugin maker:latest"
    );
    let own = set(&host, "maker", "one").await.unwrap_err();
    assert!(own.to_string().ends_with("it is on network one, which is made by plugin maker:latest"), "{own}");
    assert_eq!(host.get("maker").unwrap().networks, [""; 0]);

    host.set("maker", &["DELAY=2".into()]).await.unwrap();
    let begun = Instant::now();
    let (maker, vol, other) = tokio::join!(
        host.enable("maker", DEFAULT),
        async {
            // So that what it needs is on its way.
            until(&host, "maker", |plugin| plugin.state == PluginState::Starting).await;
            let enabled = host.enable("vol", DEFAULT).await;
            assert!(is_ready(&host.get("maker").unwrap()), "it came up before what it needs");
            enabled
        },
        async {
            let enabled = host.enable("other", DEFAULT).await;
            assert!(!is_ready(&host.get("maker").unwrap()), "it waited for a stranger");
            enabled
        },
    );
    for enabled in [maker, vol, other] {
        enabled.unwrap();
    }
    assert!(begun.elapsed() >= Duration::from_secs(2));

    // The next engine starts them in the same order, by itself.
    host.shutdown(true).await;
    drop(host);
    networks.calls();
    let host = house.unreconciled().await;
    host.join_networks(Arc::clone(&networks) as Arc<dyn PluginNetworks>);
    let watched = async {
        until(&host, "other", is_ready).await;
        assert!(!is_ready(&host.get("maker").unwrap()), "nobody waits for who needs nobody");
        until(&host, "vol", is_ready).await;
        assert!(is_ready(&host.get("maker").unwrap()));
    };
    tokio::join!(host.reconcile(), watched);
    assert_eq!(host.get("vol").unwrap().last_error, None);
    for name in ["maker", "vol", "other"] {
        host.remove(name, true).await.unwrap();
    }
    house.assert_clean();
    host.shutdown(true).await;
}
