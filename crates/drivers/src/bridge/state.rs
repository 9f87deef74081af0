//! What the driver knows of its networks and endpoints.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use pintle_contract::{
    DriverError, ErrorKind,
    network::{CreateEndpoint, EndpointId, Interface, MacAddress, PortBinding, Protocol},
};
use pintle_netlink::LinkName;
use tokio::task::JoinSet;

use crate::interface::mac_of;

use super::{filter::Opening, options::Settings, ports::Reservation};

/// Every network.
#[derive(Debug, Default)]
pub(super) struct Networks {
    pub(super) by_id: HashMap<String, Network>,
}

#[derive(Debug)]
pub(super) struct Network {
    pub(super) settings: Settings,
    pub(super) endpoints: HashMap<String, Endpoint>,
}

#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) v4: Option<Ipv4Addr>,
    pub(super) v6: Option<Ipv6Addr>,
    pub(super) mac: MacAddress,
    /// The end of its pair of links that stays on the host.
    pub(super) link: LinkName,
    /// The link ends with its sandbox, which is about to be removed.
    pub(super) ending: bool,
    pub(super) published: Option<Published>,
    /// What is open of it as long as it is in its sandbox: where containers are reached by their own addresses, it need
    /// not be their way out for that.
    pub(super) routed: Vec<Opening>,
}

/// The ports of an endpoint, as long as they are open.
#[derive(Debug, Default)]
pub(super) struct Published {
    /// As they were asked for.
    pub(super) wanted: Vec<PortBinding>,
    /// As they are.
    pub(super) bindings: Vec<PortBinding>,
    pub(super) openings: Vec<Opening>,
    pub(super) reservations: Vec<Reservation>,
    /// Ends with it.
    pub(super) relays: JoinSet<()>,
}

impl Networks {
    pub(super) fn network(&self, id: &str) -> Result<&Network, DriverError> {
        self.by_id.get(id).ok_or_else(|| no_network(id))
    }

    pub(super) fn endpoint(&self, id: &EndpointId) -> Result<(&Network, &Endpoint), DriverError> {
        let network = self.network(&id.network)?;
        let endpoint = network.endpoints.get(&id.endpoint).ok_or_else(|| no_endpoint(&id.endpoint))?;
        Ok((network, endpoint))
    }

    pub(super) fn endpoint_mut(&mut self, id: &EndpointId) -> Option<&mut Endpoint> {
        self.by_id.get_mut(&id.network)?.endpoints.get_mut(&id.endpoint)
    }

    /// Takes in an endpoint. Says what the request left open.
    pub(super) fn add_endpoint(&mut self, request: &CreateEndpoint) -> Result<Interface, DriverError> {
        let id = &request.id;
        let network = self.by_id.get_mut(&id.network).ok_or_else(|| no_network(&id.network))?;
        let wanted = &request.interface;
        let v4 = match wanted.address.map(|net| net.addr()) {
            Some(IpAddr::V4(address)) => Some(address),
            Some(IpAddr::V6(_)) => return Err(DriverError::invalid("the IPv4 address is an IPv6 address")),
            None => None,
        };
        let v6 = match wanted.address_v6.map(|net| net.addr()) {
            Some(IpAddr::V6(address)) => Some(address),
            Some(IpAddr::V4(_)) => return Err(DriverError::invalid("the IPv6 address is an IPv4 address")),
            None => None,
        };
        // A sandbox without IPv6 has no address of it, whatever the network has.
        if v4.is_none() && (network.settings.v4.is_some() || v6.is_none() && network.settings.v6.is_some()) {
            return Err(DriverError::invalid(format!("endpoint {:.12} has no address", id.endpoint)));
        }
        let mac = wanted.mac.unwrap_or_else(|| mac_of(v4, &id.endpoint));
        let link = link_of(&id.endpoint)?;
        match network.endpoints.get_mut(&id.endpoint) {
            // Told again: a port that is open stays open.
            Some(known) => (known.v4, known.v6, known.mac) = (v4, v6, mac),
            None => {
                let endpoint =
                    Endpoint { v4, v6, mac, link, ending: false, published: None, routed: Vec::new() };
                network.endpoints.insert(id.endpoint.clone(), endpoint);
            }
        }
        let mac = wanted.mac.is_none().then_some(mac);
        Ok(Interface { mac, ..Interface::default() })
    }
}

impl Endpoint {
    /// Its address of that family.
    pub(super) fn address(&self, v4: bool) -> Option<IpAddr> {
        if v4 { self.v4.map(IpAddr::V4) } else { self.v6.map(IpAddr::V6) }
    }

    /// Where a relay takes what came to an address of that family.
    pub(super) fn target(&self, v4: bool, port: u16) -> Option<SocketAddr> {
        self.address(v4).or_else(|| self.address(!v4)).map(|address| SocketAddr::new(address, port))
    }
}

impl Published {
    /// Whether a datagram protocol is among them, whose senders the kernel keeps sending where they once went.
    pub(super) fn has_datagrams(&self) -> bool {
        self.openings.iter().any(|opening| opening.protocol != Protocol::Tcp)
    }
}

pub(super) fn no_network(id: &str) -> DriverError {
    DriverError::not_found(format!("network {id:.64} not found"))
}

fn no_endpoint(id: &str) -> DriverError {
    DriverError::new(ErrorKind::NotFound, format!("endpoint {id:.64} not found"))
}

/// What the names of links on the host begin with: `veth`, as everywhere, but unlike Docker's or CNI's, which go on
/// with digits.
pub(super) const LINK_PREFIX: &str = "vethp";

fn link_of(endpoint: &str) -> Result<LinkName, DriverError> {
    let id = endpoint.get(..10).filter(|id| id.chars().all(|c| c.is_ascii_hexdigit()));
    let wrong = || DriverError::invalid(format!("invalid endpoint id {endpoint:.80?}"));
    Ok(format!("{LINK_PREFIX}{}", id.ok_or_else(wrong)?).parse()?)
}
