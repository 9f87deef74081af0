//! The `bridge` driver: networks of this host, each a bridge, behind the host's addresses.
//!
//! A container is a port of the bridge by a pair of links, one end of which is made in its sandbox. What may pass is in
//! one nftables table ([`filter`]); a published port is an element of a map there, and a socket on the host that keeps
//! others from it ([`ports`]) and carries what cannot be translated ([`relay`]).
//!
//! Nothing is remembered across restarts: whoever owns the driver says everything again, which changes nothing that is
//! already so, and then [`retain`](NetworkDriver::retain)s. Containers are served all the while.

mod device;
mod filter;
mod firewalld;
mod options;
mod passage;
mod ports;
mod publish;
mod relay;
mod sandbox;
mod state;

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use pintle_contract::{
    DriverError, ErrorKind, NetworkDriver, Value,
    network::{
        CreateEndpoint, CreateNetwork, EndpointId, GatewayCheck, Interface, Join, Joined,
        NetworkCapabilities, Options, PortBinding,
    },
};
use pintle_netlink::{
    LinkName, Namespace,
    nft::{Nft, Table},
};

pub use options::label;

use filter::Families;
use firewalld::Firewalld;
use options::Settings;
use passage::Passage;
use ports::Ports;
use state::{Network, Networks};

/// How the driver works on this host.
#[derive(Debug, Clone)]
pub struct Config {
    /// The namespace that plays the host: the process's own, except in tests.
    pub host: Namespace,
    /// The name of the filter table, which is also the mark on bridges of this engine. Two engines on one host need
    /// two.
    pub table: String,
    /// The bridge of the default network, if that names none.
    pub default_bridge: String,
    /// Whether IPv4 is filtered and translated.
    pub iptables: bool,
    /// Whether IPv6 is.
    pub ip6tables: bool,
    /// Whether the host is told to forward packets.
    pub ip_forward: bool,
    /// Whether the engine itself carries what cannot be translated.
    pub userland_proxy: bool,
    /// Packets with this mark, under this mask, reach containers by their own addresses.
    pub accept_fwmark: Option<(u32, u32)>,
    /// Whether whoever has a route reaches published ports at containers' own addresses.
    pub direct_routing: bool,
    /// Whether published ports are kept from other programs by sockets. A process that only takes up what an earlier one
    /// published, and ends before its containers do, cannot.
    pub keep_ports: bool,
    /// How a firewalld is spoken to, where one runs.
    pub firewall_cmd: PathBuf,
}

impl Config {
    /// As an engine has it that was told nothing.
    pub fn standard(host: Namespace) -> Self {
        Self {
            host,
            table: "pintle".to_owned(),
            default_bridge: "pintle0".to_owned(),
            iptables: true,
            ip6tables: true,
            ip_forward: true,
            userland_proxy: true,
            accept_fwmark: None,
            direct_routing: false,
            keep_ports: true,
            firewall_cmd: "firewall-cmd".into(),
        }
    }
}

/// The driver. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Bridge {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: Config,
    default_bridge: LinkName,
    families: Families,
    table: Table,
    passage: Passage,
    firewalld: Firewalld,
    ports: Arc<Ports>,
    networks: Mutex<Networks>,
    /// Held while a network comes or goes, since networks look at each other.
    making: Mutex<()>,
}

impl Bridge {
    /// A driver that has done nothing yet.
    pub fn new(config: Config) -> Result<Self, DriverError> {
        let nft = Nft::new(Some(config.host.clone()));
        let families = Families { v4: config.iptables, v6: config.ip6tables };
        let inner = Inner {
            default_bridge: config.default_bridge.parse()?,
            families,
            passage: Passage::new(nft.clone(), &config.table, families)?,
            firewalld: Firewalld::new(nft.clone(), config.host.clone(), config.firewall_cmd.clone())?,
            table: Table::new(nft, config.table.parse()?, &filter::LAYOUT)?,
            ports: Arc::new(Ports::new(config.host.clone(), config.keep_ports)),
            networks: Mutex::default(),
            making: Mutex::default(),
            config,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Brings back what somebody else took out of the packet filter. Blocks.
    pub fn restore(&self) -> Result<(), DriverError> {
        let inner = &self.inner;
        if inner.filters() {
            inner.table.restore()?;
            inner.firewalld.forget();
            inner.open_passage()?;
        }
        Ok(())
    }

    async fn act<T: Send + 'static>(
        &self,
        act: impl FnOnce(&Inner) -> Result<T, DriverError> + Send + 'static,
    ) -> Result<T, DriverError> {
        let inner = Arc::clone(&self.inner);
        crate::blocking(move || act(&inner)).await
    }
}

impl Inner {
    fn networks(&self) -> MutexGuard<'_, Networks> {
        self.networks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there is a packet filter at all.
    fn filters(&self) -> bool {
        self.families.v4 || self.families.v6
    }

    fn create_network(&self, request: &CreateNetwork) -> Result<(), DriverError> {
        let mut settings = Settings::read(request, &self.default_bridge)?;
        settings.accept_fwmark = self.config.accept_fwmark;
        settings.direct_routing = self.config.direct_routing;
        let _making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        let id = &request.network;
        for (other, network) in self.networks().by_id.iter().filter(|(other, _)| *other != id) {
            if let Some(why) = settings.conflict(&network.settings) {
                let text = format!(
                    "cannot create network {id} ({}): conflicts with network {other} ({}): {why}",
                    settings.bridge, network.settings.bridge
                );
                return Err(DriverError::new(ErrorKind::PermissionDenied, text));
            }
        }
        let config = &self.config;
        if config.ip_forward && !settings.internal {
            device::forward(&config.host, &settings)?;
        }
        let known = self.networks().by_id.contains_key(id);
        device::raise(&config.host, &config.table, id, &settings, self.families.v4)?;
        if let Err(error) = self.raise_rules(id, &settings) {
            if !known {
                let _ = device::raze(&config.host, &config.table, &settings);
            }
            return Err(error);
        }
        {
            let mut networks = self.networks();
            match networks.by_id.get_mut(id) {
                Some(network) => network.settings = settings,
                None => {
                    networks.by_id.insert(id.clone(), Network { settings, endpoints: Default::default() });
                }
            }
        }
        self.open_passage()
    }

    /// Sees to it that what others filter lets our bridges through.
    fn open_passage(&self) -> Result<(), DriverError> {
        if !self.filters() {
            return Ok(());
        }
        let bridges: BTreeSet<LinkName> =
            self.networks().by_id.values().map(|network| network.settings.bridge.clone()).collect();
        let handle = self.config.host.handle()?;
        let ways_out: HashSet<u32> = handle
            .routes()?
            .iter()
            .filter(|route| route.is_default())
            .filter_map(|route| route.link)
            .collect();
        let links = handle.links()?.into_iter().filter(|link| ways_out.contains(&link.index));
        let uplinks: Vec<String> = links.map(|link| link.name).collect();
        let bridges = Vec::from_iter(bridges);
        self.passage.open(&bridges, &uplinks)?;
        self.firewalld.trust(&bridges)
    }

    /// Brings back what others took out of the packet filter, or have put in our way since. Costs next to nothing
    /// where there is nothing to do.
    fn look_after_rules(&self) -> Result<(), DriverError> {
        if self.filters() {
            self.table.look_after()?;
            if self.passage.is_missing()? {
                self.open_passage()?;
            }
        }
        Ok(())
    }

    fn raise_rules(&self, id: &str, settings: &Settings) -> Result<(), DriverError> {
        if !self.filters() {
            return Ok(());
        }
        let mut changes = filter::raise(id, settings, self.families)?;
        {
            let networks = self.networks();
            let others = networks.by_id.iter().filter(|(other, _)| *other != id);
            let others = others.map(|(other, network)| (other.as_str(), &network.settings));
            changes.push(filter::departures(others.chain([(id, settings)]), self.families)?);
        }
        Ok(self.table.commit(&changes)?)
    }

    fn delete_network(&self, id: &str) -> Result<(), DriverError> {
        let _making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        let settings = match self.networks().by_id.get(id) {
            Some(network) if !network.endpoints.is_empty() => {
                let text = format!("network {id} has active endpoints");
                return Err(DriverError::new(ErrorKind::InUse, text));
            }
            Some(network) => network.settings.clone(),
            None => return Ok(()),
        };
        if self.filters() {
            let mut changes = filter::raze(id, &settings)?;
            let last = {
                let networks = self.networks();
                let others = networks.by_id.iter().filter(|(other, _)| *other != id);
                let others = others.map(|(other, network)| (other.as_str(), &network.settings));
                changes.push(filter::departures(others, self.families)?);
                networks.by_id.len() == 1
            };
            if last { self.table.remove()? } else { self.table.commit(&changes)? }
        }
        device::raze(&self.config.host, &self.config.table, &settings)?;
        self.networks().by_id.remove(id);
        self.open_passage()
    }

    fn delete_endpoint(&self, id: &EndpointId) -> Result<(), DriverError> {
        self.revoke(id)?;
        self.close_routed(id)?;
        let (link, ending) = match self.networks().endpoint(id) {
            Ok((_, endpoint)) => (endpoint.link.clone(), endpoint.ending),
            Err(_) => return Ok(()),
        };
        if !ending {
            self.config.host.remove_link(&link)?;
        }
        if let Some(network) = self.networks().by_id.get_mut(&id.network) {
            network.endpoints.remove(&id.endpoint);
        }
        Ok(())
    }

    /// Removes what a crash left: bridges and links of ours that nobody said again, and their rules.
    fn retain(&self, networks: &[String], endpoints: &[EndpointId]) -> Result<(), DriverError> {
        let _making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        let kept: HashSet<&str> = networks.iter().map(String::as_str).collect();
        let wanted: HashSet<LinkName> = {
            let known = self.networks();
            let links = endpoints.iter().filter_map(|id| known.endpoint(id).ok());
            links.map(|(_, endpoint)| endpoint.link.clone()).collect()
        };
        let handle = self.config.host.handle()?;
        let links = handle.links()?;
        for link in &links {
            let Ok(name) = link.name.parse::<LinkName>() else { continue };
            let bridge = link.master.and_then(|index| links.iter().find(|other| other.index == index));
            let ours = |alias: &str| device::noted(alias, &self.config.table).map(str::to_owned);
            let gone = match (ours(&link.alias), bridge) {
                (Some(network), _) => !kept.contains(network.as_str()),
                (None, Some(bridge)) => {
                    let of_ours = ours(&bridge.alias).is_some() || self.uses_bridge(&bridge.name);
                    of_ours && link.name.starts_with(state::LINK_PREFIX) && !wanted.contains(&name)
                }
                (None, None) => false,
            };
            if gone {
                self.config.host.remove_link(&name)?;
            }
        }
        if self.filters() {
            let none = self.networks().by_id.is_empty();
            if none { self.table.remove()? } else { self.table.settle()? }
        }
        self.open_passage()
    }

    fn uses_bridge(&self, name: &str) -> bool {
        self.networks().by_id.values().any(|network| network.settings.bridge.as_str() == name)
    }
}

#[async_trait]
impl NetworkDriver for Bridge {
    async fn capabilities(&self) -> Result<NetworkCapabilities, DriverError> {
        Ok(NetworkCapabilities { gateway_check: true, ..NetworkCapabilities::default() })
    }

    /// A network on which the host has no address needs no gateway; nor does an internal one whose bridge has none.
    async fn gateway_check(&self, options: &Options) -> Result<GatewayCheck, DriverError> {
        let request = CreateNetwork { options: options.clone(), ..CreateNetwork::default() };
        let generic = request.generic();
        let isolated = |label: &str| generic.get(label).is_some_and(|mode| mode == "isolated");
        let internal = request.internal();
        Ok(GatewayCheck {
            skip_ipv4: internal && (isolated(label::GATEWAY_MODE_V4) || options::inhibits_ipv4(&generic)?),
            skip_ipv6: internal && isolated(label::GATEWAY_MODE_V6),
        })
    }

    async fn create_network(&self, request: CreateNetwork) -> Result<(), DriverError> {
        self.act(move |inner| inner.create_network(&request)).await
    }

    async fn delete_network(&self, network: &str) -> Result<(), DriverError> {
        let network = network.to_owned();
        self.act(move |inner| inner.delete_network(&network)).await
    }

    async fn create_endpoint(&self, request: CreateEndpoint) -> Result<Interface, DriverError> {
        self.inner.networks().add_endpoint(&request)
    }

    async fn delete_endpoint(&self, id: &EndpointId) -> Result<(), DriverError> {
        let id = id.clone();
        self.act(move |inner| inner.delete_endpoint(&id)).await
    }

    async fn endpoint_info(&self, id: &EndpointId) -> Result<BTreeMap<String, Value>, DriverError> {
        let networks = self.inner.networks();
        let (_, endpoint) = networks.endpoint(id)?;
        let mut info = BTreeMap::new();
        info.insert(
            pintle_contract::network::label::MAC_ADDRESS.to_owned(),
            Value::String(endpoint.mac.to_string()),
        );
        if let Some(published) = &endpoint.published {
            let ports = published.bindings.iter().map(PortBinding::to_value).collect();
            info.insert(pintle_contract::network::label::PORT_MAP.to_owned(), Value::List(ports));
        }
        Ok(info)
    }

    async fn join(&self, request: Join) -> Result<Joined, DriverError> {
        self.act(move |inner| inner.join(&request)).await
    }

    async fn leave(&self, id: &EndpointId) -> Result<(), DriverError> {
        let id = id.clone();
        self.act(move |inner| inner.leave(&id)).await
    }

    async fn leave_ending(&self, id: &EndpointId) -> Result<(), DriverError> {
        let id = id.clone();
        self.act(move |inner| inner.leave_ending(&id)).await
    }

    async fn program_external_connectivity(
        &self,
        id: &EndpointId,
        options: &Options,
    ) -> Result<Vec<PortBinding>, DriverError> {
        let (id, ports) = (id.clone(), pintle_contract::network::port_map(options));
        let runtime = tokio::runtime::Handle::current();
        self.act(move |inner| inner.publish(&id, &ports, &runtime)).await
    }

    async fn revoke_external_connectivity(&self, id: &EndpointId) -> Result<(), DriverError> {
        let id = id.clone();
        self.act(move |inner| inner.revoke(&id)).await
    }

    async fn retain(&self, networks: &[String], endpoints: &[EndpointId]) -> Result<(), DriverError> {
        let (networks, endpoints) = (networks.to_vec(), endpoints.to_vec());
        self.act(move |inner| inner.retain(&networks, &endpoints)).await
    }
}
