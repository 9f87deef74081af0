//! What a result means to the engine.

use std::net::IpAddr;

use ipnet::IpNet;
use pintle_contract::{
    DriverError,
    network::{Dns, Interface, Joined, Settled, StaticRoute},
};
use pintle_wire::cni::Success;

/// Reads a result as the engine's `Joined`. `name` is the interface that was asked for.
pub(super) fn joined(result: &Success, name: &str) -> Joined {
    let inside = |index: usize| result.interfaces.get(index).is_some_and(|link| !link.sandbox.is_empty());
    let own = result
        .interfaces
        .iter()
        .position(|link| !link.sandbox.is_empty() && link.name == name)
        .or_else(|| (0..result.interfaces.len()).find(|index| inside(*index)));
    let addresses: Vec<_> = result.ips.iter().filter(|ip| ip.interface.is_none_or(inside)).collect();
    let mut settled = Settled { name: name.to_owned(), dns: dns(result), ..Settled::default() };
    if let Some(link) = own.and_then(|index| result.interfaces.get(index)) {
        settled.name.clone_from(&link.name);
        settled.interface.mac = link.mac.parse().ok();
    }
    for ip in &addresses {
        let place = match ip.address {
            IpNet::V4(_) => &mut settled.interface.address,
            IpNet::V6(_) => &mut settled.interface.address_v6,
        };
        match place {
            None => *place = Some(ip.address),
            Some(_) => settled.more_addresses.push(ip.address),
        }
    }
    let mut joined = Joined { disable_gateway_service: true, ..Joined::default() };
    for route in &result.routes {
        // A route in a table of its own is nobody's way out.
        if route.table.is_some_and(|table| table != 254 && table != 0) {
            continue;
        }
        let ipv4 = route.destination.addr().is_ipv4();
        let gateway = route.gateway.or_else(|| {
            addresses.iter().filter(|ip| ip.address.addr().is_ipv4() == ipv4).find_map(|ip| ip.gateway)
        });
        match (route.destination.prefix_len(), gateway) {
            (0, Some(IpAddr::V4(gateway))) if ipv4 => joined.gateway = joined.gateway.or(Some(gateway)),
            (0, Some(IpAddr::V6(gateway))) if !ipv4 => {
                joined.gateway_v6 = joined.gateway_v6.or(Some(gateway))
            }
            _ => joined.static_routes.push(StaticRoute { destination: route.destination, next_hop: gateway }),
        }
    }
    joined.settled = Some(Box::new(settled));
    joined
}

/// Whether the container got a way out: a default route, or one that is a part of it.
pub(super) fn leads_out(result: &Success) -> bool {
    result.routes.iter().any(|route| route.destination.prefix_len() == 0)
}

/// Whether the result gives what the user insisted on.
pub(super) fn obeys(result: &Success, wanted: &Interface, name: &str) -> Result<(), DriverError> {
    for address in [wanted.address, wanted.address_v6].into_iter().flatten() {
        if !result.ips.iter().any(|ip| ip.address.addr() == address.addr()) {
            return Err(DriverError::invalid(format!(
                "the CNI plugins did not give the address {}; does their IPAM plugin take the capability \"ips\"?",
                address.addr()
            )));
        }
    }
    let settled = joined(result, name).settled.unwrap_or_default();
    match wanted.mac {
        Some(mac) if settled.interface.mac != Some(mac) => Err(DriverError::invalid(format!(
            "the CNI plugins did not give the MAC address {mac}; add the plugin \"tuning\" with the capability \"mac\""
        ))),
        _ => Ok(()),
    }
}

fn dns(result: &Success) -> Dns {
    let mut search = result.dns.search.clone();
    if search.is_empty() && !result.dns.domain.is_empty() {
        search.push(result.dns.domain.clone());
    }
    let servers = result.dns.nameservers.iter().filter_map(|text| text.parse().ok()).collect();
    Dns { servers, search, options: result.dns.options.clone() }
}
