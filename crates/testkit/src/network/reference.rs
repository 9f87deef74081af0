use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use ipnet::IpNet;
use pintle_contract::{
    DriverError, ErrorKind, NetworkDriver,
    network::{
        CreateEndpoint, CreateNetwork, EndpointId, Interface, InterfaceName, Join, Joined,
        NetworkCapabilities,
    },
};
use pintle_netlink::{Handle, LinkKind, LinkName, Namespace, NewLink};

/// The smallest driver that keeps every promise: a bridge for each network, a pair of links for each endpoint, with
/// names that are made of the ids, so that it need remember nothing but what exists.
#[derive(Debug, Clone)]
pub struct ReferenceDriver {
    host: Namespace,
    networks: Arc<Mutex<BTreeMap<String, Network>>>,
}

#[derive(Debug, Default)]
struct Network {
    gateways: Vec<IpNet>,
    endpoints: BTreeMap<String, Interface>,
}

fn link(kind: &str, id: &str) -> Result<LinkName, DriverError> {
    let start: String = id.chars().take(10).collect();
    format!("{kind}{start}").parse().map_err(|_| DriverError::invalid(format!("{id:?} is no id")))
}

fn failed(error: pintle_netlink::Error) -> DriverError {
    DriverError::internal(error.to_string())
}

impl ReferenceDriver {
    /// A driver that works in this namespace.
    pub fn new(host: Namespace) -> Self {
        Self { host, networks: Arc::default() }
    }

    /// Every endpoint that exists, by network.
    pub fn held(&self) -> BTreeMap<String, Vec<String>> {
        self.lock()
            .iter()
            .map(|(id, network)| (id.clone(), network.endpoints.keys().cloned().collect()))
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Network>> {
        self.networks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn handle(&self) -> Result<Handle, DriverError> {
        self.host.handle().map_err(failed)
    }
}

#[async_trait]
impl NetworkDriver for ReferenceDriver {
    async fn capabilities(&self) -> Result<NetworkCapabilities, DriverError> {
        Ok(NetworkCapabilities::default())
    }

    async fn create_network(&self, request: CreateNetwork) -> Result<(), DriverError> {
        let (handle, bridge) = (self.handle()?, link("tb-", &request.network)?);
        let gateways: Vec<IpNet> =
            request.ipv4.iter().chain(&request.ipv6).filter_map(|data| data.gateway).collect();
        let mut networks = self.lock();
        if handle.link(&bridge).map_err(failed)?.is_none() {
            handle.add_link(&NewLink::new(bridge.clone(), LinkKind::Bridge).up()).map_err(failed)?;
        }
        for gateway in &gateways {
            handle.add_address(&bridge, *gateway).map_err(failed)?;
        }
        networks.entry(request.network).or_default().gateways = gateways;
        Ok(())
    }

    async fn delete_network(&self, network: &str) -> Result<(), DriverError> {
        let mut networks = self.lock();
        if networks.get(network).is_some_and(|network| !network.endpoints.is_empty()) {
            return Err(DriverError::new(ErrorKind::InUse, format!("{network} has endpoints")));
        }
        self.handle()?.remove_link(&link("tb-", network)?).map_err(failed)?;
        networks.remove(network);
        Ok(())
    }

    async fn create_endpoint(&self, request: CreateEndpoint) -> Result<Interface, DriverError> {
        let mut networks = self.lock();
        let network = networks
            .get_mut(&request.id.network)
            .ok_or_else(|| DriverError::not_found(format!("no such network: {}", request.id.network)))?;
        network.endpoints.insert(request.id.endpoint, request.interface);
        Ok(Interface::default())
    }

    async fn delete_endpoint(&self, id: &EndpointId) -> Result<(), DriverError> {
        self.handle()?.remove_link(&link("tv-", &id.endpoint)?).map_err(failed)?;
        if let Some(network) = self.lock().get_mut(&id.network) {
            network.endpoints.remove(&id.endpoint);
        }
        Ok(())
    }

    async fn join(&self, request: Join) -> Result<Joined, DriverError> {
        let networks = self.lock();
        let network = networks
            .get(&request.id.network)
            .filter(|network| network.endpoints.contains_key(&request.id.endpoint))
            .ok_or_else(|| DriverError::not_found(format!("no such endpoint: {}", request.id.endpoint)))?;
        let (handle, id) = (self.handle()?, &request.id);
        let (bridge, outer, inner) =
            (link("tb-", &id.network)?, link("tv-", &id.endpoint)?, link("tc-", &id.endpoint)?);
        if handle.link(&inner).map_err(failed)?.is_none() {
            handle.remove_link(&outer).map_err(failed)?;
            let outer = NewLink::new(outer, LinkKind::Peer).master(bridge).up();
            handle
                .add_veth(&outer, &NewLink::new(inner.clone(), LinkKind::Peer), &self.host)
                .map_err(failed)?;
        }
        let interface = InterfaceName {
            source: inner.as_str().to_owned(),
            prefix: "eth".to_owned(),
            ..InterfaceName::default()
        };
        let gateway = network.gateways.iter().find_map(|gateway| match gateway {
            IpNet::V4(gateway) => Some(gateway.addr()),
            IpNet::V6(_) => None,
        });
        let gateway_v6 = network.gateways.iter().find_map(|gateway| match gateway {
            IpNet::V6(gateway) => Some(gateway.addr()),
            IpNet::V4(_) => None,
        });
        Ok(Joined { interface: Some(interface), gateway, gateway_v6, ..Joined::default() })
    }

    async fn leave(&self, _id: &EndpointId) -> Result<(), DriverError> {
        Ok(())
    }
}
