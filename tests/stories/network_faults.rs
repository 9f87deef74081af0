//! Network and IPAM plugins that hang, lie, answer half a body or die, at each call; a host without `nft`; pools that
//! are used up; names that collide, and names that mean harm. Each engine has a host of its own, so that every link,
//! namespace, table and lease that stays behind is seen.

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use pintle_sdk::{DriverError, Listen, NetworkDriver, Server, async_trait, network::*};
use pintle_testkit::{
    faulty::{Faulty, Script},
    ipam, network,
};
use serde_json::{Value, json};

use crate::{
    harness::{Engine, Kind, eventually, raw_http},
    host::Hosted,
};

/// Every call that one life of a container in a network makes.
const CALLS: [&str; 16] = [
    "NetworkDriver.GetCapabilities",
    "NetworkDriver.CreateNetwork",
    "NetworkDriver.CreateEndpoint",
    "NetworkDriver.Join",
    "NetworkDriver.ProgramExternalConnectivity",
    "NetworkDriver.EndpointOperInfo",
    "NetworkDriver.RevokeExternalConnectivity",
    "NetworkDriver.Leave",
    "NetworkDriver.DeleteEndpoint",
    "NetworkDriver.DeleteNetwork",
    "IpamDriver.GetCapabilities",
    "IpamDriver.GetDefaultAddressSpaces",
    "IpamDriver.RequestPool",
    "IpamDriver.RequestAddress",
    "IpamDriver.ReleaseAddress",
    "IpamDriver.ReleasePool",
];

/// What ends a call soon.
const PROMPT: [&str; 14] = [
    "half-body",
    "wrong-json",
    "wrong-shape",
    "wrong-content",
    "garbage",
    "lie",
    "empty",
    "err500:no",
    "err200:no",
    "status:404",
    "close",
    "huge:300000000",
    "die",
    "die-after",
];

/// The calls by which something is given back.
const GIVES: [&str; 6] = [
    "NetworkDriver.RevokeExternalConnectivity",
    "NetworkDriver.Leave",
    "NetworkDriver.DeleteEndpoint",
    "NetworkDriver.DeleteNetwork",
    "IpamDriver.ReleaseAddress",
    "IpamDriver.ReleasePool",
];

/// Whether a plugin with this fault answers, and does nothing. What it does not take back then stays with it: as Docker
/// does, the engine believes the answer.
fn answers(fault: &str) -> bool {
    let word = fault.split(':').next().unwrap();
    ["wrong-json", "wrong-shape", "wrong-content", "lie", "empty", "err500", "err200", "status", "huge"]
        .contains(&word)
}

/// What uses up a whole budget.
const ENDLESS: [&str; 3] = ["hang", "hang-after", "half-body-hang"];

/// How long anything may take that needs no faulty plugin.
const LIMIT: Duration = Duration::from_millis(500);

/// A plugin of this process on a socket of an engine's, with drivers that can be looked at.
struct Bad {
    name: String,
    socket: PathBuf,
    runtime: tokio::runtime::Runtime,
    plugin: Option<Faulty>,
    networks: network::ReferenceDriver,
    addresses: ipam::ReferenceDriver,
}

impl Bad {
    fn start(engine: &Hosted, name: &str) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let socket = engine.dir.join(format!("plugins/{name}.sock"));
        fs::create_dir_all(socket.parent().unwrap()).unwrap();
        let mut bad = Self {
            name: name.to_owned(),
            socket,
            runtime,
            plugin: None,
            networks: network::ReferenceDriver::new(engine.host.clone()),
            addresses: ipam::ReferenceDriver::default(),
        };
        bad.does("");
        bad
    }

    /// Misbehaves like that from now on. Its drivers and what they hold stay.
    fn does(&mut self, script: &str) {
        let script: Script = script.parse().unwrap();
        let dead = |plugin: &Faulty| {
            self.runtime
                .block_on(async { tokio::time::timeout(Duration::ZERO, plugin.ended()).await.is_ok() })
        };
        match self.plugin.as_ref().filter(|plugin| !dead(plugin)) {
            Some(plugin) => plugin.script(script),
            None => {
                self.plugin = None;
                let _guard = self.runtime.enter();
                let drivers = Server::network(self.networks.clone()).and_ipam(self.addresses.clone());
                self.plugin = Some(Faulty::start(self.socket.clone(), drivers, script).unwrap());
            }
        }
    }

    /// One life of a container in a network of this plugin, as far as it comes. Nothing may be worse than refused.
    fn live(&self, engine: &Engine, during: &str) {
        let (name, container) = (&self.name, format!("c-{}", self.name));
        let ask = |method: &str, path: &str, body: Value| {
            let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
            let answer = raw_http(&engine.socket(), method, path, "application/json", &body);
            let (status, reply) = answer.unwrap_or_else(|error| panic!("{during}: {method} {path}: {error}"));
            let reply = String::from_utf8_lossy(&reply).into_owned();
            assert!(status < 300 || reply.contains("message"), "{during}: {method} {path}: {status} {reply}");
            status
        };
        let network = json!({"Name": name, "Driver": name, "IPAM": {"Driver": name}});
        ask("POST", "/networks/create", network);
        let body = json!({
            "Image": "alpine", "Cmd": ["sleep", "1000"], "HostConfig": {"NetworkMode": name, "PortBindings": {"80/tcp": [{}]}}
        });
        assert_eq!(ask("POST", &format!("/containers/create?name={container}"), body), 201, "{during}");
        ask("POST", &format!("/containers/{container}/start"), Value::Null);
        assert_eq!(ask("DELETE", &format!("/containers/{container}?force=1"), Value::Null), 204, "{during}");
        ask("DELETE", &format!("/networks/{name}"), Value::Null);
    }

    /// Forgets what it holds, for its own reasons.
    fn forgets(&mut self) {
        self.runtime.block_on(async {
            for (network, endpoints) in self.networks.held() {
                for endpoint in endpoints {
                    let id = EndpointId { network: network.clone(), endpoint };
                    self.networks.delete_endpoint(&id).await.unwrap();
                }
                self.networks.delete_network(&network).await.unwrap();
            }
        });
        self.plugin = None;
        self.addresses = ipam::ReferenceDriver::default();
        self.does("");
    }

    /// The network is gone, whatever the plugin says.
    fn is_forgotten(&self, engine: &Engine, during: &str) {
        eventually(during, Duration::from_secs(90), || {
            engine.http("DELETE", &format!("/networks/{}", self.name), None).0 == 404
        });
    }

    /// Once it is well again, everything is given back.
    fn is_given_back(&self, engine: &Engine, during: &str) {
        let left = || {
            let (status, _) = engine.http("DELETE", &format!("/networks/{}", self.name), None);
            let networks = self.networks.held();
            // Where the engine never learnt the pool's name it cannot give it back, and nor can Docker.
            let addresses: BTreeMap<_, _> =
                self.addresses.held().into_iter().filter(|(_, held)| !held.is_empty()).collect();
            (status == 404 && networks.is_empty() && addresses.is_empty())
                .then_some(())
                .ok_or(format!("{status} {networks:?} {addresses:?}"))
        };
        let deadline = Instant::now() + Duration::from_secs(90);
        while let Err(left) = left() {
            assert!(
                Instant::now() < deadline,
                "{during}: left with the plugin: {left}\n{}",
                engine.daemon_log()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// Asks, over and over, what needs no faulty plugin.
fn bystander(engine: &Engine, over: &AtomicBool) {
    engine
        .sh("docker network create mine && docker run -d --name bystander --network mine alpine sleep 1000")
        .ok();
    while !over.load(Ordering::SeqCst) {
        for path in
            ["/networks", "/networks/mine", "/containers/json?all=1", "/containers/bystander/json", "/info"]
        {
            let begun = Instant::now();
            let (status, body) = engine.http("GET", path, None);
            assert_eq!(status, 200, "{path}: {body}");
            assert!(begun.elapsed() < LIMIT, "{path} took {:?}", begun.elapsed());
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    engine.sh("docker run --rm --network mine alpine ping -c 1 -W 5 bystander").ok();
    engine.sh("docker rm -f bystander && docker network rm mine").ok();
}

/// Nothing of this world may be the engine's that was not before, but the bridge that is its own way out for
/// containers that no driver leads out.
#[track_caller]
fn nothing_is_left(engine: &Hosted, before: &BTreeMap<String, String>) {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let mut world = engine.world();
        world.retain(|name, _| !name.starts_with("pintgw-"));
        let mut left = engine.leftovers();
        // The plugins are this story's own.
        left.retain(|one| !one.starts_with("plugins/"));
        if world == *before && left.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "{left:?} and\n{world:?}, which was\n{before:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A thread for each call lives one life after the other, with one fault each.
fn sweep(faults: &'static [&'static str], side_by_side: bool) {
    let engine = Hosted::start(Kind::Pintle, &[]);
    engine.busybox("alpine");
    engine.sh("docker run --rm alpine true").ok();
    let before = engine.world_at_rest();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watching = scope.spawn(|| bystander(&engine, &over));
        let mut lives = Vec::new();
        for (number, call) in CALLS.iter().enumerate() {
            let of_one: Vec<Vec<&str>> = if side_by_side {
                faults.iter().map(|fault| vec![*fault]).collect()
            } else {
                vec![faults.to_vec()]
            };
            for (lane, faults) in of_one.into_iter().enumerate() {
                let mut bad = Bad::start(&engine, &format!("bad{number}x{lane}"));
                let engine = &engine;
                lives.push(scope.spawn(move || {
                    for fault in faults {
                        let during = format!("{call}={fault}");
                        bad.does(&during);
                        bad.live(engine, &during);
                        bad.does("");
                        if answers(fault) && GIVES.contains(call) {
                            bad.is_forgotten(engine, &during);
                            bad.forgets();
                        }
                        bad.is_given_back(engine, &during);
                    }
                }));
            }
        }
        let failed = lives.into_iter().filter_map(|life| life.join().err()).count();
        over.store(true, Ordering::SeqCst);
        watching.join().unwrap();
        assert_eq!(failed, 0);
    });
    nothing_is_left(&engine, &before);
}

#[test]
fn plugins_that_lie_or_die_in_any_call_leave_nothing() {
    sweep(&PROMPT, false);
}

#[test]
fn plugins_that_hang_in_any_call_stall_nobody_and_leave_nothing() {
    sweep(&ENDLESS, true);
}

/// A driver that names somebody else's link as its own.
#[derive(Clone)]
struct Grabs(network::ReferenceDriver, Arc<Mutex<String>>);

#[async_trait]
impl NetworkDriver for Grabs {
    async fn capabilities(&self) -> Result<NetworkCapabilities, DriverError> {
        self.0.capabilities().await
    }
    async fn create_network(&self, request: CreateNetwork) -> Result<(), DriverError> {
        self.0.create_network(request).await
    }
    async fn delete_network(&self, network: &str) -> Result<(), DriverError> {
        self.0.delete_network(network).await
    }
    async fn create_endpoint(&self, request: CreateEndpoint) -> Result<Interface, DriverError> {
        self.0.create_endpoint(request).await
    }
    async fn delete_endpoint(&self, id: &EndpointId) -> Result<(), DriverError> {
        self.0.delete_endpoint(id).await
    }
    async fn join(&self, request: Join) -> Result<Joined, DriverError> {
        let mut joined = self.0.join(request).await?;
        joined.interface.as_mut().unwrap().source.clone_from(&self.1.lock().unwrap());
        Ok(joined)
    }
    async fn leave(&self, id: &EndpointId) -> Result<(), DriverError> {
        self.0.leave(id).await
    }
}

#[test]
fn a_plugin_that_names_somebody_elses_link() {
    let engine = Hosted::start(Kind::Pintle, &[]);
    engine.busybox("alpine");
    engine.sh("docker run -d --name victim alpine sleep 1000").ok();
    let before = engine.world();
    let victim = before.iter().find(|(name, kind)| *kind == "veth" && *name != "uplink").unwrap().0.clone();
    let bridge = before.iter().find(|(_, kind)| *kind == "bridge").unwrap().0.clone();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let _guard = runtime.enter();
    let grabs = Grabs(network::ReferenceDriver::new(engine.host.clone()), Arc::default());
    fs::create_dir_all(engine.dir.join("plugins")).unwrap();
    let socket = engine.dir.join("plugins/grabs.sock");
    let _plugin = Server::network(grabs.clone()).start(Listen::unix(socket)).unwrap();
    engine.sh("docker network create -d grabs net").ok();
    for (name, why) in [
        ("uplink", "uplink is in use on the host: it has the address 192.0.2.1/24"),
        (&victim, "is in use on the host: it is a port of a bridge"),
        (&bridge, "is in use on the host: it has the address"),
        ("lo", "lo is in use on the host"),
        ("../lo", "interface name"),
        ("a b", "interface name"),
        ("a-name-of-more-than-fifteen", "interface name"),
        ("nobody0", "nobody0"),
    ] {
        name.clone_into(&mut grabs.1.lock().unwrap());
        let refused = engine.sh("docker run --rm --network net alpine true").fails();
        assert!(refused.contains(why), "{name}: {refused}");
    }
    engine.sh("docker network rm net").ok();
    engine.sh("docker exec victim ping -c 1 -W 5 192.0.2.1").ok();
    eventually("the world to be as before", Duration::from_secs(10), || engine.world() == before);
}
