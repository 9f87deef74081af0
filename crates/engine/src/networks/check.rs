//! Understanding what clients send about networks, and refusing it in Docker's words.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use chrono::Utc;
use ipnet::IpNet;
use pintle_contract::{
    DriverError,
    network::{MacAddress, PortBinding, Protocol, label},
};

use super::{
    EndpointSpec, NetworkSpec, PublishSpec, SubnetSpec,
    record::{self, NetworkRecord},
};
use crate::{EngineError, ErrorKind};

/// The longest name of a network.
const LONGEST_NAME: usize = 1024;

fn forbidden(message: impl Into<String>) -> EngineError {
    EngineError::new(ErrorKind::Forbidden, message)
}

/// The record of a network that is asked for, nothing of it made yet. `defaults` are the options that networks of
/// its driver get.
pub(super) fn network(
    spec: &NetworkSpec,
    id: String,
    defaults: Option<&BTreeMap<String, String>>,
) -> Result<NetworkRecord, EngineError> {
    let mut options = spec.options.clone();
    for (key, value) in defaults.into_iter().flatten().filter(|_| spec.config_from.is_empty()) {
        options.entry(key.clone()).or_insert_with(|| value.clone());
    }
    let enable_ipv4 = family(&mut options, label::ENABLE_IPV4, spec.enable_ipv4)?.unwrap_or(true);
    let enable_ipv6 = family(&mut options, label::ENABLE_IPV6, spec.enable_ipv6)?.unwrap_or(false);
    subnets(&spec.ipam.config, enable_ipv6)?;
    if spec.name.trim().is_empty() {
        return Err(EngineError::invalid("invalid name: name is empty"));
    }
    if spec.name.len() > LONGEST_NAME || spec.name.chars().any(char::is_control) {
        return Err(EngineError::invalid("invalid name: it is too long or has control characters"));
    }
    swarm(spec)?;
    if spec.config_only && (spec.internal || spec.attachable || spec.ingress || !spec.scope.is_empty()) {
        return Err(forbidden(
            "configuration network can only contain network specific fields. Network operator fields like \
             [ ingress | internal | attachable | scope ] are not supported.",
        ));
    }
    if !spec.config_from.is_empty() {
        if spec.config_only {
            return Err(forbidden("a configuration network cannot depend on another configuration network"));
        }
        let ipam = &spec.ipam;
        if !matches!(ipam.driver.as_str(), "" | record::DEFAULT_IPAM)
            || !enable_ipv4
            || enable_ipv6
            || !spec.labels.is_empty()
            || !ipam.options.is_empty()
            || !ipam.config.is_empty()
        {
            return Err(forbidden(
                "user-specified configurations are not supported if the network depends on a configuration network",
            ));
        }
        if !spec.options.is_empty() {
            return Err(forbidden(
                "network driver options are not supported if the network depends on a configuration network",
            ));
        }
    }
    let driver = match spec.driver.as_str() {
        _ if spec.config_only => "null",
        "" => record::BRIDGE,
        driver => driver,
    };
    Ok(NetworkRecord {
        id,
        name: spec.name.clone(),
        created: Utc::now(),
        driver: driver.to_owned(),
        enable_ipv4,
        enable_ipv6,
        internal: spec.internal,
        attachable: spec.attachable,
        config_only: spec.config_only,
        config_from: spec.config_from.clone(),
        options,
        labels: spec.labels.clone(),
        ipam: spec.ipam.clone(),
        ..NetworkRecord::default()
    })
}

/// What only a swarm has.
fn swarm(spec: &NetworkSpec) -> Result<(), EngineError> {
    match spec.scope.as_str() {
        "" | "local" => {}
        "swarm" => return Err(forbidden("cannot create a swarm scoped network when swarm is not active")),
        "global" => {}
        other => return Err(EngineError::invalid(format!("invalid network scope: {other:.32}"))),
    }
    if spec.ingress {
        return Err(forbidden("Ingress network can only be global scope network"));
    }
    Ok(())
}

/// Whether a family is wanted: what the request says, else what an option says. An option that the request overrules
/// is dropped, so that nobody is misled by it.
fn family(
    options: &mut BTreeMap<String, String>,
    key: &str,
    asked: Option<bool>,
) -> Result<Option<bool>, EngineError> {
    if asked.is_some() {
        options.remove(key);
        return Ok(asked);
    }
    match options.get(key).map(String::as_str) {
        None => Ok(None),
        Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(Some(true)),
        Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(Some(false)),
        Some(_) => Err(EngineError::invalid(format!("driver-opt \"{key}\" is not a valid bool"))),
    }
}

/// A subnet, or an address in its place, as the API takes it.
pub(super) fn cidr(text: &str) -> Option<IpNet> {
    text.parse().ok()
}

fn family_of(net: &IpNet) -> &'static str {
    if matches!(net, IpNet::V6(_)) { "IPv6" } else { "IPv4" }
}

fn subnets(config: &[SubnetSpec], enable_ipv6: bool) -> Result<(), EngineError> {
    let mut wrong = Vec::new();
    for one in config {
        if one.subnet.is_empty() {
            if !one.ip_range.is_empty() || !one.gateway.is_empty() || !one.aux_addresses.is_empty() {
                wrong.push("invalid subnet : invalid CIDR block notation".to_owned());
            }
            continue;
        }
        let Some(subnet) = cidr(&one.subnet) else {
            wrong.push(format!("invalid subnet {:.64}: invalid CIDR block notation", one.subnet));
            continue;
        };
        if matches!(subnet, IpNet::V6(_)) && !enable_ipv6 {
            continue;
        }
        if subnet != subnet.trunc() {
            wrong.push(format!("invalid subnet {subnet}: it should be {}", subnet.trunc()));
        }
        range(&one.ip_range, &subnet, &mut wrong);
        if let Some(reason) = outside(&one.gateway, &subnet) {
            wrong.push(format!("invalid gateway {:.64}: {reason}", one.gateway));
        }
        for (name, address) in &one.aux_addresses {
            if let Some(reason) = outside(address, &subnet) {
                wrong.push(format!("invalid auxiliary address {name:.64}: {reason}"));
            }
        }
    }
    joined("invalid network config:", wrong)
}

fn range(text: &str, subnet: &IpNet, wrong: &mut Vec<String>) {
    if text.is_empty() {
        return;
    }
    let Some(range) = cidr(text) else {
        return wrong.push(format!("invalid ip-range {text:.64}: invalid CIDR block notation"));
    };
    if family_of(&range) != family_of(subnet) {
        let family = family_of(subnet);
        return wrong.push(format!("invalid ip-range {range}: parent subnet is an {family} block"));
    }
    if range.prefix_len() < subnet.prefix_len() {
        wrong.push(format!("invalid ip-range {range}: CIDR block is bigger than its parent subnet {subnet}"));
    }
    if range != range.trunc() {
        wrong.push(format!("invalid ip-range {range}: it should be {}", range.trunc()));
    }
    if !subnet.contains(&range.network()) && !range.contains(&subnet.network()) {
        wrong.push(format!("invalid ip-range {range}: parent subnet {subnet} doesn't contain ip-range"));
    }
}

/// Why an address is not one of the subnet's.
fn outside(text: &str, subnet: &IpNet) -> Option<String> {
    if text.is_empty() {
        return None;
    }
    let Ok(address) = text.parse::<IpAddr>() else { return Some("invalid address".to_owned()) };
    if address.is_ipv4() != matches!(subnet, IpNet::V4(_)) {
        return Some(format!("parent subnet is an {} block", family_of(subnet)));
    }
    (!subnet.contains(&address)).then(|| format!("parent subnet {subnet} doesn't contain this address"))
}

/// Several complaints as Docker writes them.
fn joined(what: &str, mut wrong: Vec<String>) -> Result<(), EngineError> {
    match wrong.len() {
        0 => Ok(()),
        1 => Err(EngineError::invalid(format!("{what}\n{}", wrong.remove(0)))),
        _ => {
            let list: Vec<String> = wrong.iter().map(|one| format!("* {one}")).collect();
            Err(EngineError::invalid(format!("{what}\n{}", list.join("\n"))))
        }
    }
}

/// What an endpoint may not ask for. Without a network, only what is wrong by itself.
pub(super) fn endpoint(
    spec: &EndpointSpec,
    name: &str,
    network: Option<&NetworkRecord>,
) -> Result<(), EngineError> {
    let mut wrong = Vec::new();
    if record::is_predefined(name) {
        if !spec.ipv4_address.is_empty() || !spec.ipv6_address.is_empty() {
            wrong.push("user-specified IP address is supported on user-defined networks only".to_owned());
        }
        if !spec.aliases.is_empty() {
            wrong.push("network-scoped aliases are only supported for user-defined networks".to_owned());
        }
    }
    let v4 = parsed(&spec.ipv4_address, |ip: &Ipv4Addr| !ip.is_unspecified());
    let v6 =
        parsed(&spec.ipv6_address, |ip: &Ipv6Addr| !ip.is_unspecified() && ip.to_ipv4_mapped().is_none());
    if v4.is_err() {
        wrong.push(format!("invalid IPv4 address: {:.64}", spec.ipv4_address));
    }
    if v6.is_err() {
        wrong.push(format!("invalid IPv6 address: {:.64}", spec.ipv6_address));
    }
    for address in &spec.link_local_ips {
        if parsed(address, |ip: &IpAddr| is_link_local(*ip)).ok().flatten().is_none() {
            wrong.push(format!("invalid link-local IP address: {address:.64}"));
        }
    }
    if let Some(network) = network {
        let static_ips = [v4.ok().flatten().map(IpAddr::V4), v6.ok().flatten().map(IpAddr::V6)];
        for address in static_ips.into_iter().flatten() {
            let pools = network.pools.iter().filter(|pool| pool.is_v6() == address.is_ipv6());
            // Where a driver gives the addresses itself, it alone knows its subnets.
            if !network.pools.is_empty() && !pools.clone().any(|pool| pool.contains(address)) {
                wrong.push(format!("no configured subnet contains IP address {address}"));
            }
        }
    }
    if !spec.mac_address.is_empty() && spec.mac_address.parse::<MacAddress>().is_err() {
        wrong.push(format!("invalid MAC address: {:.64}", spec.mac_address));
    }
    for setting in spec.driver_opts.get(label::SYSCTLS).into_iter().flat_map(|all| all.split(',')) {
        if sysctl(setting).is_none() {
            wrong.push(format!(
                "unrecognised network interface sysctl '{setting:.128}'; represent 'net.X.Y.ethN.Z=V' as \
                 'net.X.Y.IFNAME.Z=V', 'X' must be 'ipv4', 'ipv6' or 'mpls'"
            ));
        }
    }
    if let Some(name) = spec.driver_opts.get(label::IFNAME).filter(|name| !name.is_empty())
        && let Err(error) = name.parse::<pintle_netlink::LinkName>()
    {
        wrong.push(format!("invalid interface name: {error}"));
    }
    for link in &spec.links {
        if let Err(error) = self::link(link) {
            wrong.push(error.message);
        }
    }
    joined("invalid endpoint settings:", wrong)
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.segments()[0] & 0xffc0 == 0xfe80,
    }
}

/// An address that may be empty, and must please if it is not.
fn parsed<T: std::str::FromStr>(text: &str, pleases: impl Fn(&T) -> bool) -> Result<Option<T>, ()> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().ok().filter(pleases).map(Some).ok_or(())
}

/// The static addresses that an endpoint asks for.
pub(super) fn static_addresses(spec: &EndpointSpec) -> (Option<IpAddr>, Option<IpAddr>) {
    (
        spec.ipv4_address.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
        spec.ipv6_address.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
    )
}

/// The link-local addresses that an endpoint asks for, with their prefix lengths.
pub(super) fn link_local(spec: &EndpointSpec) -> Vec<IpNet> {
    let with_length = |ip: IpAddr| IpNet::new(ip, if ip.is_ipv4() { 16 } else { 64 }).ok();
    spec.link_local_ips.iter().filter_map(|text| text.parse().ok()).filter_map(with_length).collect()
}

/// `net.X.Y.IFNAME.Z=V` as name and value.
fn sysctl(text: &str) -> Option<(String, String)> {
    let (key, value) = text.split_once('=')?;
    let parts: Vec<&str> = key.splitn(5, '.').collect();
    match parts.as_slice() {
        ["net", family @ ("ipv4" | "ipv6" | "mpls"), table, name, setting]
            if name.eq_ignore_ascii_case("IFNAME") && !setting.is_empty() =>
        {
            Some((format!("net.{family}.{table}.IFNAME.{setting}"), value.to_owned()))
        }
        _ => None,
    }
}

/// The settings of the interface that an endpoint asks for.
pub(super) fn sysctls(spec: &EndpointSpec) -> Vec<(String, String)> {
    let all = spec.driver_opts.get(label::SYSCTLS).into_iter().flat_map(|all| all.split(','));
    all.filter_map(sysctl).collect()
}

/// `container:alias`, or a container's name for both.
pub(crate) fn link(text: &str) -> Result<(String, String), EngineError> {
    let parts: Vec<&str> = text.split(':').collect();
    match parts.as_slice() {
        [""] | [] => Err(EngineError::invalid("empty string specified for links")),
        [one] => Ok(((*one).to_owned(), (*one).to_owned())),
        // What inspect shows, which clients send back: `/other:/this/alias`.
        [name, alias] => {
            let alias = alias.rsplit('/').next().unwrap_or_default();
            Ok((name.trim_start_matches('/').to_owned(), alias.to_owned()))
        }
        _ => Err(EngineError::invalid(format!("bad format for links: {text:.128}"))),
    }
}

/// `80/tcp`.
pub(crate) fn port(text: &str) -> Result<(u16, Protocol), EngineError> {
    let wrong = || EngineError::invalid(format!("invalid port specification: \"{text:.64}\""));
    let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.parse().map_err(|error: DriverError| EngineError::invalid(error.message))?;
    match port.parse::<u16>() {
        Ok(port) if port > 0 => Ok((port, protocol)),
        _ => Err(wrong()),
    }
}

/// The ports that a container publishes, and those that it exposes.
pub(crate) type Ports = (Vec<PortBinding>, Vec<(Protocol, u16)>);

/// Reads them.
pub(crate) fn ports(publish: &[PublishSpec], all: bool, exposed: &[String]) -> Result<Ports, EngineError> {
    let mut exposes = Vec::new();
    let mut bindings = Vec::new();
    for one in publish {
        let (port, protocol) = self::port(&one.port)?;
        exposes.push((protocol, port));
        let host_ip = match one.host_ip.as_str() {
            "" => None,
            text => Some(
                text.trim_start_matches('[')
                    .trim_end_matches(']')
                    .parse()
                    .map_err(|_| EngineError::invalid(format!("invalid IP address: {text:.64}")))?,
            ),
        };
        let (host_port, host_port_end) = host_ports(&one.host_port)?;
        bindings.push(PortBinding { protocol, port, host_ip, host_port, host_port_end });
    }
    for text in exposed {
        let (port, protocol) = self::port(text)?;
        if all && !exposes.contains(&(protocol, port)) {
            let open = PortBinding { protocol, port, host_ip: None, host_port: 0, host_port_end: 0 };
            bindings.push(open);
        }
        exposes.push((protocol, port));
    }
    exposes.sort_unstable();
    exposes.dedup();
    Ok((bindings, exposes))
}

fn host_ports(text: &str) -> Result<(u16, u16), EngineError> {
    let wrong = || EngineError::invalid(format!("invalid port specification: \"{text:.64}\""));
    if text.is_empty() {
        return Ok((0, 0));
    }
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (first.parse().map_err(|_| wrong())?, last.parse().map_err(|_| wrong())?);
    if last < first { Err(wrong()) } else { Ok((first, last)) }
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
