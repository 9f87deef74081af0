//! Publishing an endpoint's ports.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use pintle_contract::{
    DriverError,
    network::{EndpointId, PortBinding},
};
use pintle_netlink::{PortOptions, Sysctl, nft::Change};
use tokio::runtime::Handle;

use super::{
    Inner,
    filter::Opening,
    options::{GatewayMode, Settings},
    ports::Wish,
    relay,
    state::{Endpoint, Published},
};

impl Inner {
    /// Opens ports. What was open of the endpoint before and is not asked for now is closed. All or none.
    pub(super) fn publish(
        &self,
        id: &EndpointId,
        wanted: &[PortBinding],
        runtime: &Handle,
    ) -> Result<Vec<PortBinding>, DriverError> {
        if let Some(bindings) = self.published_so(id, wanted)? {
            return Ok(bindings);
        }
        self.revoke(id)?;
        let mut published = Published { wanted: wanted.to_vec(), ..Published::default() };
        let mut relayed = Vec::new();
        {
            let networks = self.networks();
            let (network, endpoint) = networks.endpoint(id)?;
            if network.settings.internal {
                return Ok(Vec::new());
            }
            let has_ipv6 = wanted.iter().any(|port| port.host_ip.is_none()) && self.ports.has_ipv6();
            for port in wanted {
                self.settle(&network.settings, endpoint, port, has_ipv6, &mut published, &mut relayed)?;
            }
        }
        let changes: Vec<Change> = published.openings.iter().map(Opening::open).collect::<Result<_, _>>()?;
        if !changes.is_empty() {
            self.table.commit(&changes)?;
        }
        // From here on something has to be undone.
        let finished = self.finish(id, &published, wanted);
        if let Err(error) = finished {
            let _ = self.close(&published);
            return Err(error);
        }
        for (at, target) in relayed {
            let held = published.reservations.get_mut(at).and_then(|reservation| reservation.socket.take());
            if let Some(held) = held {
                relay::start(&mut published.relays, runtime, &self.config.host, held, target);
            }
        }
        let bindings = published.bindings.clone();
        let mut published = Some(published);
        if let Some(endpoint) = self.networks().endpoint_mut(id) {
            endpoint.published = published.take();
        }
        // The endpoint went away meanwhile.
        if let Some(published) = published {
            self.close(&published)?;
            end(published);
        }
        Ok(bindings)
    }

    /// The ports of an endpoint, if they are just those that are wanted: to close them would cut off who uses them.
    fn published_so(
        &self,
        id: &EndpointId,
        wanted: &[PortBinding],
    ) -> Result<Option<Vec<PortBinding>>, DriverError> {
        let (changes, bindings) = {
            let networks = self.networks();
            let Some(published) = &networks.endpoint(id)?.1.published else { return Ok(None) };
            if published.wanted != wanted {
                return Ok(None);
            }
            let changes: Result<Vec<_>, _> = published.openings.iter().map(Opening::open).collect();
            (changes?, published.bindings.clone())
        };
        if !changes.is_empty() {
            self.table.commit(&changes)?;
        }
        Ok(Some(bindings))
    }

    /// Opens the ports that are reached by the container's own address.
    pub(super) fn open_routed(&self, id: &EndpointId, wanted: &[PortBinding]) -> Result<(), DriverError> {
        let routed = {
            let networks = self.networks();
            let (network, endpoint) = networks.endpoint(id)?;
            let settings = &network.settings;
            let families = [
                (self.families.v4, settings.mode_v4, endpoint.address(true)),
                (self.families.v6, settings.mode_v6, endpoint.address(false)),
            ];
            let own = families.into_iter().filter_map(|(filtered, mode, own)| {
                own.filter(|_| filtered && mode == GatewayMode::Routed && !settings.internal)
            });
            let opening = |own: IpAddr| {
                wanted
                    .iter()
                    .filter(move |port| port.host_ip.is_none_or(|at| at.is_ipv4() == own.is_ipv4()))
                    .map(move |port| Opening {
                        protocol: port.protocol,
                        host: None,
                        container: (own, port.port),
                    })
            };
            own.flat_map(opening).collect::<Vec<_>>()
        };
        self.commit_routed(&routed)?;
        if let Some(endpoint) = self.networks().endpoint_mut(id) {
            endpoint.routed = routed;
        }
        Ok(())
    }

    pub(super) fn close_routed(&self, id: &EndpointId) -> Result<(), DriverError> {
        let routed = self.networks().endpoint_mut(id).map(|endpoint| endpoint.routed.clone());
        let changes: Vec<Change> = routed.iter().flatten().map(Opening::close).collect::<Result<_, _>>()?;
        if !changes.is_empty() {
            self.table.commit(&changes)?;
            if let Some(endpoint) = self.networks().endpoint_mut(id) {
                endpoint.routed.clear();
            }
        }
        Ok(())
    }

    fn commit_routed(&self, routed: &[Opening]) -> Result<(), DriverError> {
        let changes: Vec<Change> = routed.iter().map(Opening::open).collect::<Result<_, _>>()?;
        if !changes.is_empty() {
            self.table.commit(&changes)?;
        }
        Ok(())
    }

    /// Closes the ports of an endpoint. When this is done others can have them.
    pub(super) fn revoke(&self, id: &EndpointId) -> Result<(), DriverError> {
        let published = self.networks().endpoint_mut(id).and_then(|endpoint| endpoint.published.take());
        let Some(published) = published else { return Ok(()) };
        let closed = self.close(&published);
        let routed = self.networks().endpoint(id).map(|(_, endpoint)| endpoint.routed.clone());
        // They are open as long as the endpoint is in its sandbox.
        self.commit_routed(&routed.unwrap_or_default())?;
        match closed {
            Ok(()) => end(published),
            // It can be tried again.
            Err(_) => {
                if let Some(endpoint) = self.networks().endpoint_mut(id) {
                    endpoint.published = Some(published);
                }
            }
        }
        closed
    }

    fn close(&self, published: &Published) -> Result<(), DriverError> {
        let changes: Vec<Change> = published.openings.iter().map(Opening::close).collect::<Result<_, _>>()?;
        if !changes.is_empty() {
            self.table.commit(&changes)?;
        }
        self.forget(published)
    }

    /// Decides what one port comes to, and takes it.
    fn settle(
        &self,
        settings: &Settings,
        endpoint: &Endpoint,
        port: &PortBinding,
        has_ipv6: bool,
        published: &mut Published,
        relayed: &mut Vec<(usize, std::net::SocketAddr)>,
    ) -> Result<(), DriverError> {
        let addresses: Vec<IpAddr> = match port.host_ip.or(settings.host_binding) {
            Some(address) => vec![address],
            None if has_ipv6 => vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()],
            None => vec![Ipv4Addr::UNSPECIFIED.into()],
        };
        let mut on_host = Vec::new();
        for address in addresses {
            let v4 = address.is_ipv4();
            let own = endpoint.address(v4);
            let mode = if v4 { settings.mode_v4 } else { settings.mode_v6 };
            let filtered = if v4 { self.families.v4 } else { self.families.v6 };
            match own {
                Some(own) if mode == GatewayMode::Routed => {
                    if filtered {
                        let container = (own, port.port);
                        published.openings.push(Opening { protocol: port.protocol, host: None, container });
                    }
                    let any = if v4 { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
                    let settled =
                        PortBinding { host_ip: Some(any), host_port: 0, host_port_end: 0, ..port.clone() };
                    published.bindings.push(settled);
                }
                Some(own) => {
                    if filtered && settings.opens_containers() {
                        let container = (own, port.port);
                        let open = Opening { protocol: port.protocol, host: None, container };
                        if !published.openings.contains(&open) {
                            published.openings.push(open);
                        }
                    }
                    on_host.push((address, Some(own).filter(|_| filtered && mode.translates())));
                }
                // Only a relay gets from one family to the other.
                None if self.config.userland_proxy => on_host.push((address, None)),
                None if port.host_ip.is_none() => {}
                None => {
                    let text = format!(
                        "cannot publish port {}/{} on {address}: the container has no address of that family, and \
                         the userland proxy is disabled",
                        port.port,
                        port.protocol.name()
                    );
                    return Err(DriverError::invalid(text));
                }
            }
        }
        if on_host.is_empty() {
            return Ok(());
        }
        let wish = match (port.host_port, port.host_port_end) {
            (0, _) => Wish::Any,
            (first, last) => Wish::Range(first, last.max(first)),
        };
        let addresses: Vec<IpAddr> = on_host.iter().map(|(address, _)| *address).collect();
        let reservations = self.ports.reserve(port.protocol, &addresses, wish)?;
        for ((address, own), reservation) in on_host.into_iter().zip(reservations) {
            if let Some(own) = own {
                let (host, container) = (Some((address, reservation.port)), (own, port.port));
                published.openings.push(Opening { protocol: port.protocol, host, container });
            }
            if self.config.userland_proxy
                && let Some(target) = endpoint.target(address.is_ipv4(), port.port)
            {
                relayed.push((published.reservations.len(), target));
            }
            published.bindings.push(PortBinding {
                host_ip: Some(address),
                host_port: reservation.port,
                host_port_end: reservation.port,
                ..port.clone()
            });
            published.reservations.push(reservation);
        }
        Ok(())
    }

    fn finish(
        &self,
        id: &EndpointId,
        published: &Published,
        wanted: &[PortBinding],
    ) -> Result<(), DriverError> {
        if wanted.is_empty() {
            return Ok(());
        }
        // Where what is bridged is filtered too, a container's packet to a port of its own is turned around in the
        // bridge itself.
        let host = &self.config.host;
        let on = |key: &str| {
            key.parse::<Sysctl>().and_then(|key| host.sysctl(&key)).is_ok_and(|value| value == "1")
        };
        if on("net.bridge.bridge-nf-call-iptables") || on("net.bridge.bridge-nf-call-ip6tables") {
            let link = self.networks().endpoint(id)?.1.link.clone();
            let handle = self.config.host.handle()?;
            if handle.link(&link)?.is_some() {
                handle.change_port(&link, PortOptions { hairpin: Some(true), ..PortOptions::default() })?;
            }
        }
        self.forget(published)
    }

    /// Senders of datagrams go where the rules say now.
    fn forget(&self, published: &Published) -> Result<(), DriverError> {
        if !published.has_datagrams() {
            return Ok(());
        }
        let concerns = |flow: &pintle_netlink::Flow| {
            published.openings.iter().filter(|opening| opening.protocol.number() == flow.protocol).any(
                |opening| {
                    let asked = opening.host.is_some_and(|(address, port)| {
                        flow.to.port() == port
                            && flow.to.is_ipv4() == address.is_ipv4()
                            && (address.is_unspecified() || flow.to.ip() == address)
                    });
                    let (address, port) = opening.container;
                    asked || (flow.answered_by.ip() == address && flow.answered_by.port() == port)
                },
            )
        };
        self.config.host.forget_flows(concerns)?;
        Ok(())
    }
}

/// Ends relays and gives the ports back. Runs on a thread that may block.
fn end(mut published: Published) {
    if let Ok(runtime) = Handle::try_current() {
        runtime.block_on(published.relays.shutdown());
    }
}
