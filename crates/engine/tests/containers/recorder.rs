//! What the bridge driver is told and what a plugin is told, both written down by the same recorder: one in front of
//! the real bridge, one behind a socket.

use std::{collections::BTreeMap, sync::Mutex};

use async_trait::async_trait;
use pintle_contract::{
    DriverError, NetworkDriver,
    network::{
        CreateEndpoint, CreateNetwork, EndpointId, Interface, InterfaceName, Join, Joined,
        NetworkCapabilities, label,
    },
};
use pintle_engine::networks::{EndpointSpec, NetworkSpec, PublishSpec, SubnetSpec};
use pintle_netlink::{IpNet, LinkKind, Namespace, NewLink};
use pintle_sdk::{Listen, Server};
use pintle_testkit::recorder::{Call, Journal, Recorder, Request};
use pintle_wire::network::{Method, Request as Asked};

use crate::house::House;

/// A plugin whose containers have an interface that leads nowhere, with gateways behind it.
#[derive(Default)]
struct Nowhere(Mutex<BTreeMap<String, Joined>>);

#[async_trait]
impl NetworkDriver for Nowhere {
    async fn capabilities(&self) -> Result<NetworkCapabilities, DriverError> {
        Ok(NetworkCapabilities { gateway_check: true, ..NetworkCapabilities::default() })
    }
    async fn create_network(&self, request: CreateNetwork) -> Result<(), DriverError> {
        let mut joined = Joined::default();
        for pool in request.ipv4.iter().chain(&request.ipv6).filter(|_| !request.internal()) {
            match pool.gateway {
                Some(IpNet::V4(gateway)) => joined.gateway = Some(gateway.addr()),
                Some(IpNet::V6(gateway)) => joined.gateway_v6 = Some(gateway.addr()),
                None => {}
            }
        }
        self.0.lock().unwrap().insert(request.network, joined);
        Ok(())
    }
    async fn delete_network(&self, network: &str) -> Result<(), DriverError> {
        self.0.lock().unwrap().remove(network);
        Ok(())
    }
    async fn create_endpoint(&self, _: CreateEndpoint) -> Result<Interface, DriverError> {
        Ok(Interface::default())
    }
    async fn delete_endpoint(&self, _: &EndpointId) -> Result<(), DriverError> {
        Ok(())
    }
    async fn join(&self, request: Join) -> Result<Joined, DriverError> {
        let inside = Namespace::open(&request.sandbox_key)?;
        inside.handle()?.add_link(&NewLink::new("nowhere".parse()?, LinkKind::Bridge))?;
        let interface = InterfaceName {
            source: "nowhere".to_owned(),
            prefix: "eth".to_owned(),
            in_sandbox: true,
            ..InterfaceName::default()
        };
        let joined = self.0.lock().unwrap()[&request.id.network].clone();
        Ok(Joined { interface: Some(interface), ..joined })
    }
    async fn leave(&self, _: &EndpointId) -> Result<(), DriverError> {
        Ok(())
    }
}

/// What of a call can be the same for two drivers: as it travels, without the numbers that everything has of its own.
fn told(call: Call) -> Option<(Asked, bool)> {
    let Request::Network(asked) = call.request else { return None };
    // What drivers are asked about themselves depends on what they said before.
    if matches!(asked.method(), Method::GetCapabilities | Method::EndpointOperInfo) {
        return None;
    }
    let mut asked = Asked::decode(asked.method(), &asked.encode().unwrap()).unwrap();
    let anonymous = |id: &mut String| {
        assert_eq!(id.len(), 64);
        id.clear();
    };
    match &mut asked {
        Asked::CreateNetwork(request) => anonymous(&mut request.network),
        Asked::DeleteNetwork(id) => anonymous(id),
        Asked::CreateEndpoint(CreateEndpoint { id, .. })
        | Asked::Join(Join { id, .. })
        | Asked::ProgramExternalConnectivity { id, .. }
        | Asked::DeleteEndpoint(id)
        | Asked::Leave(id)
        | Asked::RevokeExternalConnectivity(id) => {
            anonymous(&mut id.network);
            anonymous(&mut id.endpoint);
        }
        _ => {}
    }
    if let Asked::Join(join) = &mut asked {
        assert!(
            join.sandbox_key.starts_with("/")
                && join.sandbox_key.ends_with(join.sandbox_key.file_name().unwrap())
        );
        join.sandbox_key.clear();
    }
    Some((asked, !call.answer.contains("\"Err\"")))
}

fn network(driver: &str, internal: bool) -> NetworkSpec {
    let pairs = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    let mut spec = NetworkSpec {
        name: "lan".into(),
        driver: driver.into(),
        internal,
        enable_ipv6: Some(true),
        options: pairs(&[("com.docker.network.driver.mtu", "1400"), ("somebody.else's", "option")]),
        labels: pairs(&[("tier", "web")]),
        ..NetworkSpec::default()
    };
    let subnet = |subnet: &str| SubnetSpec { subnet: subnet.into(), ..SubnetSpec::default() };
    spec.ipam.config = vec![
        SubnetSpec {
            ip_range: "10.86.0.128/25".into(),
            gateway: "10.86.0.254".into(),
            aux_addresses: pairs(&[("router", "10.86.0.130")]),
            ..subnet("10.86.0.0/24")
        },
        subnet("fd00:86::/64"),
    ];
    spec
}

/// A network, and a life of two containers on it; one of them comes later and goes before.
async fn live(house: &House, driver: &str, internal: bool) {
    house.networks.create(network(driver, internal)).await.unwrap();
    let mut spec = house.spec(&["sleep", "60"]);
    spec.network_mode = "lan".into();
    spec.hostname = "srv".into();
    spec.dns = vec!["9.9.9.9".into()];
    spec.exposed_ports = vec!["90/udp".into()];
    spec.publish =
        vec![PublishSpec { port: "80/tcp".into(), host_port: "18086".into(), ..PublishSpec::default() }];
    let mut wish = EndpointSpec {
        ipv4_address: "10.86.0.77".into(),
        mac_address: "02:42:0a:56:00:4d".into(),
        aliases: vec!["www".into()],
        ..EndpointSpec::default()
    };
    wish.driver_opts.insert("speed".into(), "10".into());
    wish.driver_opts.insert(label::IFNAME.into(), "lan0".into());
    spec.networks = [("lan".to_owned(), wish)].into();
    let server = house.containers.create(Some("server"), spec).await.unwrap().id;
    house.containers.start(&server).await.unwrap();
    let mut spec = house.spec(&["sleep", "60"]);
    spec.network_mode = "none".into();
    spec.networks_settled = true;
    let late = house.containers.create(Some("late"), spec).await.unwrap().id;
    house.containers.start(&late).await.unwrap();
    house.containers.connect(&late, "lan", EndpointSpec::default()).await.unwrap();
    house.containers.disconnect(&late, "lan", false).await.unwrap();
    house.gone(&late).await;
    house.gone(&server).await;
    house.networks.remove("lan").await.unwrap();
}

pub async fn a_plugin_is_told_what_the_bridge_is_told() {
    let house = House::new().await;
    house.networks.reconcile();
    let journal = Journal::default();
    let plugin = Server::network(Recorder::new(Nowhere::default(), journal.clone()));
    let running = plugin.start(Listen::unix(house.dir.join("plug.sock"))).unwrap();
    for internal in [false, true] {
        house.bridge_journal.take();
        live(&house, "bridge", internal).await;
        live(&house, "plug", internal).await;
        let told_by = |journal: &Journal| journal.take().into_iter().filter_map(told).collect::<Vec<_>>();
        let (bridge, plug) = (told_by(&house.bridge_journal), told_by(&journal));
        let methods: Vec<_> = bridge.iter().map(|(asked, _)| asked.method()).collect();
        for method in [
            Method::GwAllocCheck,
            Method::CreateNetwork,
            Method::CreateEndpoint,
            Method::Join,
            Method::Leave,
            Method::DeleteEndpoint,
            Method::DeleteNetwork,
        ] {
            assert!(methods.contains(&method), "{method:?} in {methods:?}");
        }
        assert_eq!(methods.contains(&Method::ProgramExternalConnectivity), !internal);
        assert_eq!(methods.contains(&Method::RevokeExternalConnectivity), !internal);
        assert!(bridge.len() >= if internal { 11 } else { 13 }, "{methods:?}");
        assert!(bridge.iter().all(|(_, done)| *done), "{bridge:#?}");
        assert_eq!(bridge, plug);
    }
    running.stop().await.unwrap();
    house.close().await;
}
