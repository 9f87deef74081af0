//! The tunnels as the kernel has them: one VXLAN device for each network, and for each other host a route to its
//! subnet, the link-layer address of its end, and where that is.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use ipnet::{IpNet, Ipv4Net};
use pintle_contract::{DriverError, ErrorKind, network::MacAddress};
use pintle_netlink::{Handle, LinkKind, LinkName, Namespace, NewLink, Route, Vxlan};

use super::model::{Peer, Settings};

/// What a tunnel's headers take of each packet.
const HEADERS_V4: u32 = 50;
const HEADERS_V6: u32 = 70;

/// What carries the tunnels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Underlay {
    /// This host's end.
    pub(super) address: IpAddr,
    /// The link that the address is on.
    pub(super) link: LinkName,
    /// How long a packet of a container may be.
    pub(super) mtu: u32,
}

/// How the operator says what carries the tunnels.
#[derive(Debug, Clone, Default)]
pub(super) struct Wish<'a> {
    pub(super) address: Option<IpAddr>,
    pub(super) interface: Option<&'a LinkName>,
    pub(super) wireguard: Option<&'a LinkName>,
}

impl Underlay {
    /// Finds it: the WireGuard interface, the interface, the address, or else the way to everywhere. Blocks.
    pub(super) fn find(host: &Namespace, wish: &Wish<'_>) -> Result<Self, DriverError> {
        let handle = host.handle()?;
        let links = handle.links()?;
        let addresses = handle.all_addresses()?;
        let named = |name: &LinkName| links.iter().find(|link| link.name == name.as_str());
        let link = if let Some(name) = wish.wireguard {
            let link = named(name).ok_or_else(|| {
                let text = format!(
                    "encryption: there is no WireGuard interface {name} on this host; make one, with the other hosts as its \
                     peers (wg-quick up {name})"
                );
                DriverError::new(ErrorKind::Unsupported, text)
            })?;
            if link.kind != "wireguard" {
                let kind = if link.kind.is_empty() { "a plain interface" } else { &link.kind };
                let text =
                    format!("encryption: {name} is {kind}, not WireGuard: its traffic would be readable");
                return Err(DriverError::new(ErrorKind::Unsupported, text));
            }
            link
        } else if let Some(name) = wish.interface {
            named(name).ok_or_else(|| DriverError::not_found(format!("there is no interface {name}")))?
        } else if let Some(address) = wish.address {
            let owner = addresses.iter().find(|(_, net)| net.addr() == address).map(|(index, _)| *index);
            links.iter().find(|link| Some(link.index) == owner).ok_or_else(|| {
                DriverError::not_found(format!("no interface of this host has the address {address}"))
            })?
        } else {
            let routes = handle.routes()?;
            let mut ways: Vec<_> = routes.iter().filter(|route| route.is_default()).collect();
            ways.sort_by_key(|route| (route.destination.addr().is_ipv6(), route.metric.unwrap_or(0)));
            let index = ways.first().and_then(|route| route.link);
            links.iter().find(|link| Some(link.index) == index).ok_or_else(|| {
                DriverError::invalid(
                    "this host has no default route that would tell which interface carries the tunnels: name one",
                )
            })?
        };
        let usable = |net: &IpNet| match net.addr() {
            IpAddr::V4(_) => true,
            // Link-local addresses mean nothing to other links.
            IpAddr::V6(address) => !address.is_unicast_link_local(),
        };
        let address = match wish.address {
            Some(address) => address,
            None => {
                let mut own: Vec<IpNet> = addresses
                    .iter()
                    .filter(|(index, net)| *index == link.index && usable(net))
                    .map(|(_, net)| *net)
                    .collect();
                own.sort_by_key(|net| net.addr().is_ipv6());
                own.first().map(IpNet::addr).ok_or_else(|| {
                    DriverError::invalid(format!("the interface {} has no address to tunnel from", link.name))
                })?
            }
        };
        let headers = if address.is_ipv4() { HEADERS_V4 } else { HEADERS_V6 };
        Ok(Self { address, link: link.name.parse()?, mtu: link.mtu.saturating_sub(headers).max(576) })
    }
}

/// One network's device.
#[derive(Debug, Clone)]
pub(super) struct Fabric {
    host: Namespace,
    device: LinkName,
    own: Ipv4Net,
    pool: Ipv4Net,
}

impl Fabric {
    /// The device of a network on a host that has the subnet `own`. Nothing is made yet.
    pub(super) fn new(host: Namespace, settings: &Settings, own: Ipv4Net) -> Result<Self, DriverError> {
        Ok(Self { host, device: device(settings.vni)?, own, pool: settings.pool })
    }

    pub(super) fn device(&self) -> &LinkName {
        &self.device
    }

    /// Makes the device, or keeps one that is as it should be, with all that it knows. Blocks.
    pub(super) fn raise(
        &self,
        settings: &Settings,
        underlay: &Underlay,
        mac: MacAddress,
    ) -> Result<(), DriverError> {
        let handle = self.host.handle()?;
        // What cannot be read back from the device is written on it.
        let note = format!("pintle overlay {} {} {}", settings.pool, underlay.address, settings.port);
        let there = handle.link(&self.device)?;
        let good = there
            .as_ref()
            .is_some_and(|link| link.alias == note && link.mac == Some(mac) && link.mtu == underlay.mtu);
        if !good {
            if there.is_some() {
                self.host.remove_link(&self.device)?;
            }
            let kind = LinkKind::Vxlan(Vxlan {
                id: settings.vni,
                local: Some(underlay.address),
                parent: Some(underlay.link.clone()),
                port: settings.port,
                learning: false,
                proxy: false,
            });
            let mut link = NewLink::new(self.device.clone(), kind).mac(mac).mtu(underlay.mtu);
            link.with.alias = Some(note);
            handle.add_link(&link)?;
        }
        handle.add_address(&self.device, IpNet::V4(host_net(self.own)))?;
        handle.set_up(&self.device)?;
        Ok(())
    }

    /// Makes the kernel know exactly these peers. Blocks.
    pub(super) fn know(&self, peers: &BTreeMap<Ipv4Net, Peer>) -> Result<(), DriverError> {
        let handle = self.host.handle()?;
        let mut failed = None;
        self.forget(&handle, peers)?;
        for (subnet, peer) in peers.iter().filter(|(subnet, _)| **subnet != self.own) {
            let end = IpAddr::V4(subnet.network());
            let told = handle
                .set_forwarding(&self.device, peer.mac, peer.address)
                .and_then(|()| handle.set_neighbour(&self.device, end, peer.mac))
                .and_then(|()| handle.set_route(&self.device, &Route::new(IpNet::V4(*subnet), Some(end))));
            // One host that cannot be reached is no reason to lose the others.
            if let Err(error) = told {
                tracing::warn!(%subnet, host = %peer.host, %error, "a host of an overlay network cannot be set up");
                failed = Some(error);
            }
        }
        failed.map_or(Ok(()), |error| Err(error.into()))
    }

    /// Takes away what is known of hosts that are none of `peers`.
    fn forget(&self, handle: &Handle, peers: &BTreeMap<Ipv4Net, Peer>) -> Result<(), DriverError> {
        let Some(link) = handle.link(&self.device)? else {
            return Err(DriverError::not_found(format!("the link {} is gone", self.device)));
        };
        let routes = handle.routes()?;
        for route in routes.iter().filter(|route| route.link == Some(link.index) && route.gateway.is_some()) {
            let stale = match route.destination {
                IpNet::V4(net) => self.pool.contains(&net) && !peers.contains_key(&net),
                IpNet::V6(_) => false,
            };
            if stale {
                handle.remove_route(&self.device, route)?;
            }
        }
        let ends: BTreeSet<IpAddr> = peers.keys().map(|subnet| IpAddr::V4(subnet.network())).collect();
        for neighbour in handle.neighbours(&self.device)? {
            if let Some(address) = neighbour.address.filter(|address| !ends.contains(address))
                && neighbour.permanent
            {
                handle.remove_neighbour(&self.device, address)?;
            }
        }
        let known: BTreeSet<_> = peers.values().map(|peer| (peer.mac, peer.address)).collect();
        for entry in handle.forwarding(&self.device)? {
            if let (Some(mac), Some(address)) = (entry.mac, entry.address)
                && !known.contains(&(mac, address))
            {
                handle.remove_forwarding(&self.device, mac, address)?;
            }
        }
        Ok(())
    }

    /// Takes the device away, and with it all that it knows. Blocks.
    pub(super) fn lower(&self) -> Result<(), DriverError> {
        self.host.remove_link(&self.device)?;
        Ok(())
    }
}

/// The device of the network with this identifier.
pub(super) fn device(vni: u32) -> Result<LinkName, DriverError> {
    Ok(format!("pvx{vni:06x}").parse()?)
}

/// A host's end of the tunnels: the first address of its subnet, which no container gets.
fn host_net(subnet: Ipv4Net) -> Ipv4Net {
    Ipv4Net::new(subnet.network(), 32).unwrap_or_default()
}
