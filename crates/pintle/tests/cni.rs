//! `pintle-cni` as runtimes call it: the program itself, a new process for each call, in a namespace that plays the host.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    os::fd::{AsFd, AsRawFd},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use pintle_contract::{
    NetworkDriver, Value,
    network::{CreateEndpoint, CreateNetwork, EndpointId, Join, label},
};
use pintle_drivers::cni::{Cni, Settings};
use pintle_netlink::Namespace;
use pintle_sdk::{Listen, Server};
use pintle_testkit::network::ReferenceDriver;
use serde_json::json;
use tempfile::TempDir;

struct House {
    dir: TempDir,
    host: Namespace,
}

struct Sandbox {
    namespace: Namespace,
    key: PathBuf,
}

impl Sandbox {
    fn new() -> Self {
        let namespace = Namespace::create().unwrap();
        let key = format!("/proc/{}/fd/{}", std::process::id(), namespace.as_fd().as_raw_fd());
        Self { namespace, key: key.into() }
    }

    fn sh(&self, script: &str) -> String {
        sh(&self.namespace, script).unwrap()
    }
}

fn sh(namespace: &Namespace, script: &str) -> Result<String, String> {
    let output = namespace.run(|| Command::new("sh").args(["-ec", script]).output().unwrap()).unwrap();
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if output.status.success() { Ok(text) } else { Err(format!("{text}{words}")) }
}

impl House {
    fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("pintle-cni-").tempdir().unwrap();
        for folder in ["bin", "net.d"] {
            fs::create_dir(dir.path().join(folder)).unwrap();
        }
        let program = dir.path().join("bin/pintle-cni");
        fs::hard_link(env!("CARGO_BIN_EXE_pintle"), &program)
            .or_else(|_| fs::copy(env!("CARGO_BIN_EXE_pintle"), &program).map(drop))
            .unwrap();
        Self { dir, host: Namespace::create().unwrap() }
    }

    fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    /// The network `front`, whose first plugin has these fields too.
    fn config(&self, version: &str, fields: serde_json::Value) {
        let mut plugin = json!({"type": "pintle-cni", "state": self.path("state")});
        for (key, value) in fields.as_object().unwrap() {
            plugin[key] = value.clone();
        }
        let list = json!({"cniVersion": version, "name": "front", "plugins": [plugin]});
        fs::write(self.path("net.d/front.conflist"), list.to_string()).unwrap();
    }

    /// CNI's own runtime for a shell. It keeps its records where they cannot collide with the host's.
    fn cnitool(&self, verb: &str, capabilities: &str, sandbox: &Sandbox) -> Result<String, String> {
        let script = format!(
            "mkdir -p /var/lib/cni {0}/tool && mount --bind {0}/tool /var/lib/cni && NETCONFPATH={0}/net.d CNI_PATH={0}/bin CAP_ARGS='{capabilities}' exec {1} {verb} front {2}",
            self.dir.path().display(),
            cnitool().display(),
            sandbox.key.display(),
        );
        let ran = self.host.run(|| Command::new("unshare").args(["-m", "sh", "-ec", &script]).output());
        let output = ran.unwrap().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    fn assert_empty(&self) {
        assert_eq!(fs::read_dir(self.path("state/networks")).unwrap().count(), 0);
        let left = sh(&self.host, "ip -br link | grep -v ^lo || true; nft list ruleset").unwrap();
        for part in ["veth", "pcni", "10.4"] {
            assert!(!left.contains(part), "{left}");
        }
    }
}

/// Builds `cnitool`, for which Go is needed.
fn cnitool() -> PathBuf {
    let program = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("cnitool-for-pintle-cni");
    static BUILT: std::sync::Once = std::sync::Once::new();
    BUILT.call_once(|| {
        let built = Command::new("go")
            .args(["build", "-o"])
            .arg(&program)
            .arg("github.com/containernetworking/cni/cnitool")
            .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/peers/cnitool"))
            .env("CGO_ENABLED", "0")
            .output()
            .unwrap();
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    });
    program
}

fn serve(sandbox: &Sandbox) -> std::thread::JoinHandle<()> {
    let listener = sandbox.namespace.run(|| TcpListener::bind("0.0.0.0:80").unwrap()).unwrap();
    std::thread::spawn(move || listener.accept().unwrap().0.write_all(b"hello").unwrap())
}

fn ask(from: &Namespace, address: &str) -> String {
    let address = address.parse().unwrap();
    let text = from.run(|| {
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(10)).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    });
    text.unwrap()
}

const PORT: &str = r#"{"portMappings": [{"hostPort": 18090, "containerPort": 80, "protocol": "tcp"}]}"#;

#[test]
fn cnitool_adds_checks_and_deletes() {
    let house = House::new();
    house.config(
        "1.0.0",
        json!({
            "driver": "bridge", "options": {"com.docker.network.bridge.name": "pcni0"},
            "ipam": {"pools": [{"subnet": "10.40.0.0/24"}, {"subnet": "fd40::/64"}]},
            "capabilities": {"portMappings": true, "mac": true, "ips": true},
        }),
    );
    let (first, second) = (Sandbox::new(), Sandbox::new());
    let made: serde_json::Value = serde_json::from_str(&house.cnitool("add", PORT, &first).unwrap()).unwrap();
    assert_eq!(made["cniVersion"], "1.0.0");
    assert_eq!(made["ips"][0]["address"], "10.40.0.2/24");
    assert_eq!(made["ips"][1]["address"], "fd40::2/64");
    house.cnitool("add", "", &second).unwrap();
    assert!(first.sh("ip addr show eth0; ip route").contains("default via 10.40.0.1"));
    first.sh("ping -c1 -W5 10.40.0.3");
    let server = serve(&first);
    assert_eq!(ask(&house.host, "10.40.0.1:18090"), "hello");
    server.join().unwrap();
    house.cnitool("check", PORT, &first).unwrap();
    let error = house.cnitool("add", PORT, &Sandbox::new()).unwrap_err();
    assert!(error.contains("already"), "one port, one container: {error}");
    first.sh("ip addr flush dev eth0");
    let error = house.cnitool("check", PORT, &first).unwrap_err();
    assert!(error.contains("the interface eth0 has lost its address 10.40.0.2/24"), "{error}");
    for _ in 0..2 {
        house.cnitool("del", PORT, &first).unwrap();
    }
    assert_eq!(first.sh("ip -br link | grep -v ^lo || true"), "");
    house.cnitool("del", "", &second).unwrap();
    house.assert_empty();
}

#[test]
fn a_plugin_behind_a_socket_is_a_cni_plugin() {
    let house = House::new();
    let socket = house.path("reference.sock");
    house.config("0.4.0", json!({"driver": socket, "ipam": {"subnet": "10.41.0.0/24"}}));
    let reference = ReferenceDriver::new(house.host.clone());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let running =
        runtime.block_on(async { Server::network(reference.clone()).start(Listen::unix(&socket)).unwrap() });
    let (first, second) = (Sandbox::new(), Sandbox::new());
    for sandbox in [&first, &second] {
        let made: serde_json::Value =
            serde_json::from_str(&house.cnitool("add", "", sandbox).unwrap()).unwrap();
        assert_eq!(made["ips"][0]["version"], "4");
        house.cnitool("check", "", sandbox).unwrap();
    }
    let held: usize = reference.held().values().map(Vec::len).sum();
    assert_eq!((reference.held().len(), held), (1, 2));
    first.sh("ping -c1 -W5 10.41.0.3");
    house.cnitool("del", "", &first).unwrap();
    first.sh("! ip link show eth0");
    house.cnitool("del", "", &second).unwrap();
    assert!(reference.held().is_empty(), "the network goes with its last container");
    runtime.block_on(running.stop()).unwrap();
    let error = house.cnitool("add", "", &first).unwrap_err();
    assert!(error.contains("reference.sock"), "a plugin that is away is named: {error}");
    house.assert_empty();
}

/// The engine's driver `cni` calls the plugin that is in front of the engine's driver `bridge`.
#[test]
fn both_directions_meet() {
    let house = House::new();
    house.config(
        "1.1.0",
        json!({"ipam": {"subnet": "10.42.0.0/24"}, "capabilities": {"portMappings": true, "ips": true}}),
    );
    let settings = Settings {
        config_path: house.path("net.d"),
        binary_path: vec![house.path("bin")],
        ..Settings::new(house.path("engine"))
    };
    let driver = Cni::open(settings).unwrap();
    let network = "4e1c".repeat(16);
    let endpoint = |digit: &str| EndpointId { network: network.clone(), endpoint: digit.repeat(64) };
    let sandboxes = [Sandbox::new(), Sandbox::new()];
    let play = |act: &(dyn Fn(&tokio::runtime::Runtime) + Sync)| {
        house
            .host
            .run(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                act(&runtime);
            })
            .unwrap();
    };
    let (driver, sandboxes) = (&driver, &sandboxes);
    play(&|runtime| {
        runtime.block_on(async {
            let generic = Value::Map([("config".to_owned(), Value::from("front"))].into());
            let options = [(label::GENERIC.to_owned(), generic)].into();
            let request = CreateNetwork { network: network.clone(), options, ..CreateNetwork::default() };
            driver.create_network(request).await.unwrap();
            for (digit, sandbox) in ["a", "b"].iter().zip(sandboxes) {
                let id = endpoint(digit);
                let request = CreateEndpoint { id: id.clone(), ..CreateEndpoint::default() };
                driver.create_endpoint(request).await.unwrap();
                let joined = driver
                    .join(Join {
                        id,
                        sandbox_key: sandbox.key.clone(),
                        options: Default::default(),
                        name: "eth0".into(),
                    })
                    .await
                    .unwrap();
                assert!(joined.settled.unwrap().interface.address.is_some());
                assert_eq!(joined.gateway, Some("10.42.0.1".parse().unwrap()));
            }
        });
    });
    let server = serve(&sandboxes[0]);
    assert_eq!(ask(&house.host, "10.42.0.2:80"), "hello");
    server.join().unwrap();
    play(&|runtime| {
        runtime.block_on(async {
            // The engine starts again, and only one of the two is still there.
            driver.retain(std::slice::from_ref(&network), &[endpoint("b")]).await.unwrap();
            assert!(!sandboxes[0].sh("ip -br link").contains("eth0"));
            assert!(sandboxes[1].sh("ip -br link").contains("eth0"));
            driver.leave(&endpoint("b")).await.unwrap();
            driver.delete_endpoint(&endpoint("b")).await.unwrap();
        });
    });
    house.assert_empty();
}

#[test]
fn started_by_hand_it_says_what_it_is() {
    let house = House::new();
    let output = Command::new(house.path("bin/pintle-cni")).env_clear().output().unwrap();
    assert!(output.status.success() && output.stdout.is_empty());
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(words.contains("CNI protocol versions supported: 0.1.0, 0.2.0"), "{words}");
}
