//! What a network's options say, read once.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use pintle_contract::{
    DriverError, ErrorKind,
    network::{CreateNetwork, IpamData},
};
use pintle_netlink::LinkName;

/// The names of options, as Docker knows them.
pub mod label {
    /// The bridge's name; one that exists is used as it is.
    pub const NAME: &str = "com.docker.network.bridge.name";
    /// Whether this is the network of containers that name none.
    pub const DEFAULT_BRIDGE: &str = "com.docker.network.bridge.default_bridge";
    /// Whether containers of the network may speak with each other.
    pub const ICC: &str = "com.docker.network.bridge.enable_icc";
    /// Whether packets that leave get the host's address.
    pub const MASQUERADE: &str = "com.docker.network.bridge.enable_ip_masquerade";
    /// Where ports are published that name no address.
    pub const HOST_BINDING: &str = "com.docker.network.bridge.host_binding_ipv4";
    /// Whether the bridge gets no IPv4 address.
    pub const INHIBIT_IPV4: &str = "com.docker.network.bridge.inhibit_ipv4";
    /// `nat`, `nat-unprotected`, `routed` or `isolated`.
    pub const GATEWAY_MODE_V4: &str = "com.docker.network.bridge.gateway_mode_ipv4";
    /// The same for IPv6.
    pub const GATEWAY_MODE_V6: &str = "com.docker.network.bridge.gateway_mode_ipv6";
    /// Interfaces of the host, with colons between them, from which containers may be reached directly.
    pub const TRUSTED_INTERFACES: &str = "com.docker.network.bridge.trusted_host_interfaces";
    /// Interfaces of the host, with colons between them, behind which more of the network is: packets pass to and from
    /// them, with the containers' own addresses, even if the network is internal. For drivers that build on this one.
    pub const EXTENSION_INTERFACES: &str = "pintle.network.bridge.extension_interfaces";
    /// How long a packet may be.
    pub const MTU: &str = "com.docker.network.driver.mtu";
    /// What the names of interfaces in containers begin with.
    pub const INTERFACE_PREFIX: &str = "com.docker.network.container_iface_prefix";
    /// The address that packets get when they leave, in the place of the one of the interface that they leave by.
    pub const HOST_IPV4: &str = "com.docker.network.host_ipv4";
    /// The same for IPv6.
    pub const HOST_IPV6: &str = "com.docker.network.host_ipv6";
    /// The name of the auxiliary address that is the containers' router in the place of the bridge.
    pub const ROUTER_V4: &str = "DefaultGatewayIPv4";
    /// The same for IPv6.
    pub const ROUTER_V6: &str = "DefaultGatewayIPv6";
}

/// How a network's addresses look from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum GatewayMode {
    /// Published ports are reached by the host's address; nothing else is.
    #[default]
    Nat,
    /// The same, and containers are reached by their own addresses too.
    NatUnprotected,
    /// Published ports are reached by the containers' own addresses; nothing is translated.
    Routed,
    /// The host has no address in the network.
    Isolated,
}

impl GatewayMode {
    /// Whether ports are published by translation.
    pub(super) fn translates(self) -> bool {
        matches!(self, Self::Nat | Self::NatUnprotected)
    }
}

/// A network, as it is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Settings {
    pub(super) bridge: LinkName,
    pub(super) internal: bool,
    pub(super) icc: bool,
    pub(super) masquerade: bool,
    pub(super) inhibit_ipv4: bool,
    pub(super) mtu: Option<u32>,
    pub(super) host_binding: Option<IpAddr>,
    pub(super) host_ipv4: Option<Ipv4Addr>,
    pub(super) host_ipv6: Option<Ipv6Addr>,
    pub(super) mode_v4: GatewayMode,
    pub(super) mode_v6: GatewayMode,
    pub(super) trusted: Vec<LinkName>,
    pub(super) extensions: Vec<LinkName>,
    /// The engine's own, for all networks.
    pub(super) accept_fwmark: Option<(u32, u32)>,
    /// The same.
    pub(super) direct_routing: bool,
    pub(super) prefix: String,
    pub(super) v4: Option<Subnet<Ipv4Net>>,
    pub(super) v6: Option<Subnet<Ipv6Net>>,
}

/// One family's part of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Subnet<Net> {
    pub(super) pool: Net,
    /// The gateway's address, with the pool's prefix length. The bridge has it.
    pub(super) gateway: Option<Net>,
    /// The containers' next hop, if it is not the bridge.
    pub(super) router: Option<Net>,
}

impl Settings {
    /// Whether somebody may use published ports at the containers' own addresses.
    pub(super) fn opens_containers(&self) -> bool {
        self.direct_routing || !self.trusted.is_empty()
    }

    /// Reads a request; `default_bridge` is the name of the default network's bridge.
    pub(super) fn read(request: &CreateNetwork, default_bridge: &LinkName) -> Result<Self, DriverError> {
        let options = request.generic();
        let internal = request.internal();
        let (v4, v6) = subnets(request)?;
        let bridge = match options.get(label::NAME).filter(|name| !name.is_empty()) {
            Some(name) => name.parse()?,
            None if truth(&options, label::DEFAULT_BRIDGE)?.unwrap_or(false) => default_bridge.clone(),
            None => {
                let id = request.network.get(..12).filter(|id| id.chars().all(|c| c.is_ascii_hexdigit()));
                let wrong = || DriverError::invalid(format!("invalid network id {:.80?}", request.network));
                format!("br-{}", id.ok_or_else(wrong)?).parse()?
            }
        };
        let settings = Self {
            bridge,
            internal,
            icc: truth(&options, label::ICC)?.unwrap_or(true),
            masquerade: truth(&options, label::MASQUERADE)?.unwrap_or(true),
            inhibit_ipv4: inhibits_ipv4(&options)?,
            mtu: mtu(&options, v6.is_some())?,
            host_binding: address(&options, label::HOST_BINDING)?.filter(|ip: &IpAddr| !ip.is_unspecified()),
            host_ipv4: address(&options, label::HOST_IPV4)?,
            host_ipv6: address(&options, label::HOST_IPV6)?,
            mode_v4: mode(&options, label::GATEWAY_MODE_V4, internal)?,
            mode_v6: mode(&options, label::GATEWAY_MODE_V6, internal)?,
            trusted: interfaces(&options, label::TRUSTED_INTERFACES)?,
            extensions: interfaces(&options, label::EXTENSION_INTERFACES)?,
            accept_fwmark: None,
            direct_routing: false,
            prefix: prefix(&options)?,
            v4,
            v6,
        };
        Ok(settings)
    }

    /// The addresses that the bridge has on the host.
    pub(super) fn bridge_addresses(&self) -> Vec<IpNet> {
        let v4 = self.v4.filter(|_| !self.inhibit_ipv4 && self.mode_v4 != GatewayMode::Isolated);
        let v6 = self.v6.filter(|_| self.mode_v6 != GatewayMode::Isolated);
        let v4 = v4.and_then(|subnet| subnet.gateway).map(IpNet::V4);
        let v6 = v6.and_then(|subnet| subnet.gateway).map(IpNet::V6);
        v4.into_iter().chain(v6).collect()
    }

    /// The next hop of containers, IPv4.
    pub(super) fn gateway_v4(&self) -> Option<Ipv4Addr> {
        let subnet = self.v4.filter(|_| !self.internal && self.mode_v4 != GatewayMode::Isolated)?;
        subnet.router.or(subnet.gateway).map(|gateway| gateway.addr())
    }

    /// The next hop of containers, IPv6.
    pub(super) fn gateway_v6(&self) -> Option<Ipv6Addr> {
        let subnet = self.v6.filter(|_| !self.internal && self.mode_v6 != GatewayMode::Isolated)?;
        subnet.router.or(subnet.gateway).map(|gateway| gateway.addr())
    }

    /// Why the two cannot be on one host, if they cannot.
    pub(super) fn conflict(&self, other: &Self) -> Option<&'static str> {
        let v4 = |net: &Self| net.v4.map(|subnet| subnet.pool);
        let v6 = |net: &Self| net.v6.map(|subnet| subnet.pool);
        if self.bridge == other.bridge {
            return Some("networks have same bridge name");
        }
        if let (Some(own), Some(other)) = (v4(self), v4(other))
            && (own.contains(&other) || other.contains(&own))
        {
            return Some("networks have overlapping IPv4");
        }
        if let (Some(own), Some(other)) = (v6(self), v6(other))
            && (own.contains(&other) || other.contains(&own))
        {
            return Some("networks have overlapping IPv6");
        }
        None
    }
}

/// Whether the bridge is to have no IPv4 address.
pub(super) fn inhibits_ipv4(options: &BTreeMap<String, String>) -> Result<bool, DriverError> {
    Ok(truth(options, label::INHIBIT_IPV4)?.unwrap_or(false))
}

type Subnets = (Option<Subnet<Ipv4Net>>, Option<Subnet<Ipv6Net>>);

fn subnets(request: &CreateNetwork) -> Result<Subnets, DriverError> {
    if request.ipv4.len() > 1 || request.ipv6.len() > 1 {
        let text = "bridge driver doesn't support multiple subnets";
        return Err(DriverError::new(ErrorKind::PermissionDenied, text));
    }
    let missing = |family: &str| {
        DriverError::invalid(format!(
            "bridge network {:.12} requires {family} configuration",
            request.network
        ))
    };
    let strange = |net: IpNet| DriverError::invalid(format!("{net} is of the wrong family"));
    let first = |list: &[IpamData], router: &str| {
        list.first()
            .and_then(|data| Some((data.pool?, data.gateway, data.aux_addresses.get(router).copied())))
    };
    let mut v4 = None;
    if request.enable_ipv4() {
        let (pool, gateway, router) =
            first(&request.ipv4, label::ROUTER_V4).ok_or_else(|| missing("ipv4"))?;
        let only = |net| match net {
            IpNet::V4(net) => Ok(net),
            IpNet::V6(_) => Err(strange(net)),
        };
        let (gateway, router) = (gateway.map(only).transpose()?, router.map(only).transpose()?);
        v4 = Some(Subnet { pool: only(pool)?.trunc(), gateway, router });
    }
    let mut v6 = None;
    if request.enable_ipv6() {
        let (pool, gateway, router) =
            first(&request.ipv6, label::ROUTER_V6).ok_or_else(|| missing("ipv6"))?;
        let only = |net| match net {
            IpNet::V6(net) => Ok(net),
            IpNet::V4(_) => Err(strange(net)),
        };
        let (gateway, router) = (gateway.map(only).transpose()?, router.map(only).transpose()?);
        v6 = Some(Subnet { pool: only(pool)?.trunc(), gateway, router });
    }
    if v4.is_none() && v6.is_none() {
        return Err(DriverError::invalid("IPv4 or IPv6 must be enabled"));
    }
    Ok((v4, v6))
}

fn wrong(label: &str, value: &str, why: impl std::fmt::Display) -> DriverError {
    DriverError::invalid(format!("failed to parse {label} value: {value:.128} ({why})"))
}

type Generic = BTreeMap<String, String>;

/// As Go reads truth. An empty text says nothing.
fn truth(options: &Generic, label: &str) -> Result<Option<bool>, DriverError> {
    match options.get(label).map(String::as_str) {
        None | Some("") => Ok(None),
        Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(Some(true)),
        Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(Some(false)),
        Some(other) => Err(wrong(label, other, "neither true nor false")),
    }
}

fn address<T: std::str::FromStr>(options: &Generic, label: &str) -> Result<Option<T>, DriverError> {
    match options.get(label).map(String::as_str) {
        None | Some("") => Ok(None),
        Some(text) => text.parse().map(Some).map_err(|_| wrong(label, text, "not an address")),
    }
}

fn mtu(options: &Generic, v6: bool) -> Result<Option<u32>, DriverError> {
    let Some(text) = options.get(label::MTU).filter(|text| !text.is_empty()) else { return Ok(None) };
    let mtu: u32 = text.parse().map_err(|_| wrong(label::MTU, text, "not a number"))?;
    // What the two protocols demand of a link at least, and what a veth can carry at most.
    let least = if v6 { 1280 } else { 68 };
    match mtu {
        0 => Ok(None),
        mtu if mtu < least || mtu > 65_535 => {
            Err(wrong(label::MTU, text, format!("it must be from {least} to 65535")))
        }
        mtu => Ok(Some(mtu)),
    }
}

fn mode(options: &Generic, label: &str, internal: bool) -> Result<GatewayMode, DriverError> {
    match options.get(label).map(String::as_str) {
        None | Some("" | "nat") => Ok(GatewayMode::Nat),
        Some("nat-unprotected") => Ok(GatewayMode::NatUnprotected),
        Some("routed") => Ok(GatewayMode::Routed),
        Some("isolated") if internal => Ok(GatewayMode::Isolated),
        Some("isolated") => {
            Err(DriverError::invalid("gateway mode 'isolated' can only be used for an internal network"))
        }
        Some(other) => Err(wrong(label, other, "unknown gateway mode")),
    }
}

fn interfaces(options: &Generic, label: &str) -> Result<Vec<LinkName>, DriverError> {
    let text = options.get(label).map(String::as_str).unwrap_or_default();
    text.split(':').filter(|name| !name.is_empty()).map(|name| Ok(name.parse()?)).collect()
}

fn prefix(options: &Generic) -> Result<String, DriverError> {
    let Some(prefix) = options.get(label::INTERFACE_PREFIX).filter(|prefix| !prefix.is_empty()) else {
        return Ok("eth".to_owned());
    };
    // Room for a number of three digits behind it.
    let fits = prefix.len() <= 12 && format!("{prefix}0").parse::<LinkName>().is_ok();
    if fits {
        Ok(prefix.clone())
    } else {
        Err(wrong(label::INTERFACE_PREFIX, prefix, "not the start of a name"))
    }
}
