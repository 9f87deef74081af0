//! The `macvlan` and `ipvlan` drivers: containers as neighbours of the host on a network that is there already.
//!
//! A container's link is a part of a parent, an interface of the host, with a link-layer address of its own (macvlan)
//! or the parent's (ipvlan). It is made directly in the sandbox.

mod options;
mod parent;

use std::{
    collections::HashMap,
    fmt,
    net::IpAddr,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use async_trait::async_trait;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use pintle_contract::{
    DriverError, ErrorKind, NetworkDriver,
    network::{
        CreateEndpoint, CreateNetwork, EndpointId, Interface, InterfaceName, Join, Joined, MacAddress,
        NetworkCapabilities, StaticRoute,
    },
};
use pintle_netlink::{LinkName, MacvlanMode, Namespace, NewLink};

use crate::interface::{free_name, mac_of};
use options::{Mode, Settings};

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Macvlan,
    Ipvlan,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Macvlan => "macvlan",
            Self::Ipvlan => "ipvlan",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The driver. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Sublink {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    kind: Kind,
    host: Namespace,
    mark: String,
    networks: Mutex<HashMap<String, Network>>,
    /// Why the kernel cannot, once somebody wanted to know.
    refusal: OnceLock<Option<String>>,
}

#[derive(Debug)]
struct Network {
    settings: Settings,
    endpoints: HashMap<String, Endpoint>,
}

#[derive(Debug, Clone)]
struct Endpoint {
    mac: Option<MacAddress>,
    /// Where its link is, and how it is called there.
    place: Option<(PathBuf, LinkName)>,
}

impl Sublink {
    /// The driver `macvlan`. `host` has the parents; those that the driver makes itself carry `mark`, the same word as
    /// the bridge driver's table.
    pub fn macvlan(host: Namespace, mark: &str) -> Self {
        Self::new(Kind::Macvlan, host, mark)
    }

    /// The driver `ipvlan`.
    pub fn ipvlan(host: Namespace, mark: &str) -> Self {
        Self::new(Kind::Ipvlan, host, mark)
    }

    fn new(kind: Kind, host: Namespace, mark: &str) -> Self {
        let mark = format!("{mark} {kind}");
        let inner = Inner { kind, host, mark, networks: Mutex::default(), refusal: OnceLock::new() };
        Self { inner: Arc::new(inner) }
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
    fn networks(&self) -> MutexGuard<'_, HashMap<String, Network>> {
        self.networks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn create_network(&self, request: &CreateNetwork) -> Result<(), DriverError> {
        let settings = Settings::read(request, self.kind)?;
        let id = &request.network;
        let mut networks = self.networks();
        let passthru = |settings: &Settings| settings.mode == Mode::Macvlan(MacvlanMode::Passthru);
        for (other, network) in networks.iter().filter(|(other, _)| *other != id) {
            let shares = network.settings.parent == settings.parent;
            if shares && (passthru(&settings) || passthru(&network.settings)) {
                let text = format!(
                    "cannot use mode passthru, macvlan network {other} is already using parent interface {}",
                    settings.parent
                );
                return Err(DriverError::new(ErrorKind::PermissionDenied, text));
            }
        }
        if let Some(why) = self.refusal()? {
            let text = format!("this kernel has no {} ({why})", self.kind);
            return Err(DriverError::new(ErrorKind::Unsupported, text));
        }
        parent::raise(&self.host.handle()?, &self.mark, id, &settings, self.kind)?;
        match networks.get_mut(id) {
            Some(network) => network.settings = settings,
            None => {
                networks.insert(id.clone(), Network { settings, endpoints: HashMap::new() });
            }
        }
        Ok(())
    }

    fn refusal(&self) -> Result<Option<String>, DriverError> {
        if let Some(known) = self.refusal.get() {
            return Ok(known.clone());
        }
        let found = parent::refusal(self.kind)?;
        Ok(self.refusal.get_or_init(|| found).clone())
    }

    fn delete_network(&self, id: &str) -> Result<(), DriverError> {
        let mut networks = self.networks();
        let Some(network) = networks.get(id) else { return Ok(()) };
        if !network.endpoints.is_empty() {
            return Err(DriverError::new(ErrorKind::InUse, format!("network {id} has active endpoints")));
        }
        let parent = network.settings.parent.clone();
        let shared = networks.iter().any(|(other, network)| other != id && network.settings.parent == parent);
        if !shared {
            let handle = self.host.handle()?;
            // It may be noted as a network's that shared it and went before.
            for other in
                handle.link(&parent)?.iter().filter_map(|link| parent::noted(&link.alias, &self.mark))
            {
                parent::raze(&handle, &self.mark, other, &parent)?;
            }
        }
        networks.remove(id);
        Ok(())
    }

    fn create_endpoint(&self, request: &CreateEndpoint) -> Result<Interface, DriverError> {
        let mut networks = self.networks();
        let network = networks.get_mut(&request.id.network).ok_or_else(|| missing(&request.id.network))?;
        let wanted = &request.interface;
        let has = &network.settings;
        // A sandbox without IPv6 has no address of it, whatever the network has.
        if wanted.address.is_none() && (has.v4 || wanted.address_v6.is_none() && has.v6) {
            return Err(DriverError::invalid(format!("endpoint {:.12} has no address", request.id.endpoint)));
        }
        let mac = match self.kind {
            Kind::Ipvlan if wanted.mac.is_some() => {
                return Err(DriverError::invalid(
                    "ipvlan interfaces do not support custom mac address assignment",
                ));
            }
            Kind::Ipvlan => None,
            Kind::Macvlan => {
                let v4 = wanted.address.and_then(|net| match net.addr() {
                    IpAddr::V4(address) => Some(address),
                    IpAddr::V6(_) => None,
                });
                Some(wanted.mac.unwrap_or_else(|| mac_of(v4, &request.id.endpoint)))
            }
        };
        let place = network.endpoints.get(&request.id.endpoint).and_then(|known| known.place.clone());
        network.endpoints.insert(request.id.endpoint.clone(), Endpoint { mac, place });
        Ok(Interface { mac: mac.filter(|_| wanted.mac.is_none()), ..Interface::default() })
    }

    fn join(&self, request: &Join) -> Result<Joined, DriverError> {
        let (settings, endpoint) = {
            let networks = self.networks();
            let network = networks.get(&request.id.network).ok_or_else(|| missing(&request.id.network))?;
            let endpoint = network.endpoints.get(&request.id.endpoint);
            let unknown =
                || DriverError::not_found(format!("endpoint {:.64} not found", request.id.endpoint));
            (network.settings.clone(), endpoint.cloned().ok_or_else(unknown)?)
        };
        let sandbox = Namespace::open(&request.sandbox_key)?;
        let name = match self.there(&sandbox, &settings, &endpoint, &request.id)? {
            Some(name) => name,
            None => {
                let name = match request.name.as_str() {
                    "" => free_name(&sandbox, &settings.prefix)?,
                    name => name.parse()?,
                };
                let mut link = NewLink::new(name.clone(), settings.link_kind()).inside(&sandbox);
                (link.with.mac, link.with.mtu) = (endpoint.mac, settings.mtu);
                self.host.handle()?.add_link(&link)?;
                let alias = Some(request.id.endpoint.clone());
                let note = pintle_netlink::LinkChange { alias, ..Default::default() };
                let inside = sandbox.handle()?;
                if let Err(error) = inside.change_link(&name, &note) {
                    let _ = sandbox.remove_link(&name);
                    return Err(error.into());
                }
                name
            }
        };
        if let Some(endpoint) = self
            .networks()
            .get_mut(&request.id.network)
            .and_then(|network| network.endpoints.get_mut(&request.id.endpoint))
        {
            endpoint.place = Some((request.sandbox_key.clone(), name.clone()));
        }
        Ok(joined(&settings, &name))
    }

    /// The endpoint's link, if it is in the sandbox already.
    fn there(
        &self,
        sandbox: &Namespace,
        settings: &Settings,
        endpoint: &Endpoint,
        id: &EndpointId,
    ) -> Result<Option<LinkName>, DriverError> {
        let ours = |link: &pintle_netlink::Link| {
            link.kind == self.kind.name()
                && link.alias == id.endpoint
                && (endpoint.mac.is_none() || link.mac == endpoint.mac)
        };
        let links = sandbox.handle()?.links()?;
        let Some(link) = links.into_iter().find(ours) else { return Ok(None) };
        let name: LinkName = link.name.parse()?;
        // One on a parent that has been replaced leads nowhere.
        let below = self.host.handle()?.link(&settings.parent)?.map(|parent| parent.index);
        if link.parent == below {
            return Ok(Some(name));
        }
        sandbox.remove_link(&name)?;
        Ok(None)
    }

    fn leave(&self, id: &EndpointId) -> Result<(), DriverError> {
        let mut networks = self.networks();
        let endpoint =
            networks.get_mut(&id.network).and_then(|network| network.endpoints.get_mut(&id.endpoint));
        let Some(endpoint) = endpoint else { return Ok(()) };
        let Some((path, name)) = endpoint.place.take() else { return Ok(()) };
        // A sandbox that is gone took the link along.
        let Ok(sandbox) = Namespace::open(&path) else { return Ok(()) };
        let inside = sandbox.handle()?;
        if inside.link(&name)?.is_some_and(|link| link.alias == id.endpoint) {
            sandbox.remove_link(&name)?;
        }
        Ok(())
    }

    fn delete_endpoint(&self, id: &EndpointId) -> Result<(), DriverError> {
        self.leave(id)?;
        if let Some(network) = self.networks().get_mut(&id.network) {
            network.endpoints.remove(&id.endpoint);
        }
        Ok(())
    }

    fn retain(&self, kept: &[String]) -> Result<(), DriverError> {
        let handle = self.host.handle()?;
        let networks = self.networks();
        for link in handle.links()? {
            let Some(network) = parent::noted(&link.alias, &self.mark) else { continue };
            let used = networks.values().any(|network| network.settings.parent.as_str() == link.name);
            if !used && !kept.iter().any(|id| id == network) {
                self.host.remove_link(&link.name.parse()?)?;
            }
        }
        Ok(())
    }
}

fn missing(network: &str) -> DriverError {
    DriverError::not_found(format!("network {network:.64} not found"))
}

fn joined(settings: &Settings, name: &LinkName) -> Joined {
    let mut joined = Joined {
        interface: Some(InterfaceName {
            source: name.to_string(),
            prefix: settings.prefix.clone(),
            name: name.to_string(),
            in_sandbox: true,
        }),
        ..Joined::default()
    };
    if settings.internal {
        joined.disable_gateway_service = true;
    } else if settings.routed() {
        let v4 = settings.v4.then(|| IpNet::V4(Ipv4Net::default()));
        let v6 = settings.v6.then(|| IpNet::V6(Ipv6Net::default()));
        let everywhere = v4.into_iter().chain(v6);
        joined.static_routes =
            everywhere.map(|destination| StaticRoute { destination, next_hop: None }).collect();
    } else {
        joined.gateway = settings.gateway.filter(|_| settings.v4);
        joined.gateway_v6 = settings.gateway_v6.filter(|_| settings.v6);
    }
    joined
}

#[async_trait]
impl NetworkDriver for Sublink {
    async fn capabilities(&self) -> Result<NetworkCapabilities, DriverError> {
        Ok(NetworkCapabilities {
            connectivity_scope: pintle_contract::Scope::Global,
            ..NetworkCapabilities::default()
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
        self.inner.create_endpoint(&request)
    }

    async fn delete_endpoint(&self, id: &EndpointId) -> Result<(), DriverError> {
        let id = id.clone();
        self.act(move |inner| inner.delete_endpoint(&id)).await
    }

    async fn join(&self, request: Join) -> Result<Joined, DriverError> {
        self.act(move |inner| inner.join(&request)).await
    }

    async fn leave(&self, id: &EndpointId) -> Result<(), DriverError> {
        let id = id.clone();
        self.act(move |inner| inner.leave(&id)).await
    }

    async fn retain(&self, networks: &[String], _endpoints: &[EndpointId]) -> Result<(), DriverError> {
        let networks = networks.to_vec();
        self.act(move |inner| inner.retain(&networks)).await
    }
}
