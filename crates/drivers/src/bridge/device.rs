//! The bridge itself.

use ipnet::IpNet;
use pintle_contract::{DriverError, ErrorKind, network::MacAddress};
use pintle_netlink::{Handle, LinkChange, LinkKind, LinkName, Namespace, NewLink, Sysctl};

use super::options::Settings;

/// What the note on a bridge of ours begins with.
const MARK: &str = "pintle";

/// The smallest largest packet of a link that has IPv6 (RFC 8200, section 5).
const SMALLEST_V6: u32 = 1280;

/// Whose bridge one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// We made it, and remove it.
    Driver,
    /// It was there before.
    Administrator,
}

/// The note on the bridge of a network.
fn note(table: &str, network: &str) -> String {
    format!("{MARK} {table} {network}")
}

/// The network whose bridge a link with this note is, if it is one of this engine's.
pub(super) fn noted<'a>(alias: &'a str, table: &str) -> Option<&'a str> {
    alias.strip_prefix(MARK)?.strip_prefix(' ')?.strip_prefix(table)?.strip_prefix(' ')
}

/// Makes the bridge of a network, or makes one that exists as it should be.
pub(super) fn raise(
    host: &Namespace,
    table: &str,
    network: &str,
    settings: &Settings,
    loopback: bool,
) -> Result<Owner, DriverError> {
    let handle = host.handle()?;
    let name = &settings.bridge;
    let owner = match handle.link(name)? {
        None => {
            let mut link = NewLink::new(name.clone(), LinkKind::Bridge).mac(mac_of(network));
            link.with.mtu = settings.mtu;
            link.with.alias = Some(note(table, network));
            handle.add_link(&link)?;
            Owner::Driver
        }
        Some(link) if link.kind != "bridge" => {
            let text = format!("existing interface {name} is not a bridge");
            return Err(DriverError::new(ErrorKind::PermissionDenied, text));
        }
        Some(link) if noted(&link.alias, table).is_some() => {
            let change = LinkChange {
                mtu: settings.mtu.filter(|mtu| *mtu != link.mtu),
                alias: Some(note(table, network)),
                ..LinkChange::default()
            };
            handle.change_link(name, &change)?;
            Owner::Driver
        }
        Some(link) if link.alias.starts_with(&format!("{MARK} ")) => {
            let text = format!("bridge {name} belongs to another engine ({:.80})", link.alias);
            return Err(DriverError::new(ErrorKind::Conflict, text));
        }
        Some(_) => Owner::Administrator,
    };
    let set = dress(host, &handle, settings, owner, loopback);
    if set.is_err() && owner == Owner::Driver {
        let _ = host.remove_link(name);
    }
    set.map(|()| owner)
}

fn dress(
    host: &Namespace,
    handle: &Handle,
    settings: &Settings,
    owner: Owner,
    loopback: bool,
) -> Result<(), DriverError> {
    let name = &settings.bridge;
    let wanted = settings.bridge_addresses();
    // Before it comes up, so that nothing is set in motion that is not meant.
    if owner == Owner::Driver {
        let of = |family, key| Sysctl::of_link(family, "conf", name, key);
        let mut settled = Vec::new();
        let too_small = settings.mtu.is_some_and(|mtu| mtu < SMALLEST_V6);
        if too_small && settings.v6.is_none() {
            // The kernel has no IPv6 on such links, and no settings of it.
        } else if has_ipv6(host)? {
            let off = if settings.v6.is_some() { "0" } else { "1" };
            settled.push((of("ipv6", "disable_ipv6"), off.to_owned()));
            // A container must not tell the host where to route.
            settled.push((of("ipv6", "accept_ra"), "0".to_owned()));
        } else if settings.v6.is_some() {
            return Err(DriverError::new(ErrorKind::Unsupported, "this kernel has no IPv6"));
        }
        host.set_sysctls(&settled)?;
        let own = |address: &IpNet| matches!(address, IpNet::V6(net) if is_link_local(net));
        for stale in handle.addresses(name)?.into_iter().filter(|address| !wanted.contains(address)) {
            if !own(&stale) {
                handle.remove_address(name, stale)?;
            }
        }
    }
    if loopback && settings.v4.is_some() {
        let routed = Sysctl::of_link("ipv4", "conf", name, "route_localnet");
        host.set_sysctl(&routed, "1")?;
    }
    for address in wanted {
        handle.add_address(name, address)?;
    }
    handle.set_up(name)?;
    Ok(())
}

/// Removes the bridge of a network, if it is ours.
pub(super) fn raze(host: &Namespace, table: &str, settings: &Settings) -> Result<(), DriverError> {
    let handle = host.handle()?;
    if let Some(link) = handle.link(&settings.bridge)?
        && noted(&link.alias, table).is_some()
    {
        host.remove_link(&settings.bridge)?;
    }
    Ok(())
}

/// Lets packets through this host.
pub(super) fn forward(host: &Namespace, settings: &Settings) -> Result<(), DriverError> {
    let turn_on = |key: &str| -> Result<(), DriverError> {
        let key: Sysctl = key.parse()?;
        // It may be on in a place where it cannot be written.
        if host.sysctl(&key)? != "1" {
            host.set_sysctl(&key, "1")?;
        }
        Ok(())
    };
    if settings.v4.is_some() {
        turn_on("net.ipv4.ip_forward")?;
    }
    if settings.v6.is_some() {
        keep_router_advertisements(host)?;
        turn_on("net.ipv6.conf.default.forwarding")?;
        turn_on("net.ipv6.conf.all.forwarding")?;
    }
    Ok(())
}

/// A host that forwards no longer listens to its routers, unless told to; it would lose its own way out.
fn keep_router_advertisements(host: &Namespace) -> Result<(), DriverError> {
    if host.sysctl(&"net.ipv6.conf.all.forwarding".parse()?)? == "1" {
        return Ok(());
    }
    for link in host.handle()?.links()? {
        // Names that are not to our taste are left alone, as is what is not there any more.
        let Ok(name) = link.name.parse::<LinkName>() else { continue };
        let accept = Sysctl::of_link("ipv6", "conf", &name, "accept_ra");
        if link.kind != "bridge" && host.sysctl(&accept).is_ok_and(|value| value == "1") {
            let _ = host.set_sysctl(&accept, "2");
        }
    }
    Ok(())
}

fn has_ipv6(host: &Namespace) -> Result<bool, DriverError> {
    let there: Sysctl = "net.ipv6.conf.all.disable_ipv6".parse()?;
    Ok(host.sysctl(&there).is_ok())
}

fn is_link_local(net: &ipnet::Ipv6Net) -> bool {
    net.addr().segments()[0] & 0xffc0 == 0xfe80
}

/// An address that stays while ports come and go, and is the same after a restart.
fn mac_of(network: &str) -> MacAddress {
    let digit = |at: usize| network.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
    let byte = |at: usize| digit(at).unwrap_or_default();
    MacAddress([0x02, 0x42, byte(0), byte(2), byte(4), byte(6)])
}
