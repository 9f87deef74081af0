//! What callers ask of networks and see of them.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::PathBuf,
};

use chrono::{DateTime, Utc};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use pintle_contract::{Scope, network::Protocol};
use serde::{Deserialize, Serialize};

/// A network that somebody wants. Texts are as typed; [`Networks::create`](super::Networks::create) refuses bad
/// ones in Docker's words.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkSpec {
    /// Its name, unique on this engine.
    pub name: String,
    /// The network driver; empty: `bridge`.
    pub driver: String,
    /// Whether it has IPv4; `None`: it has, unless an option says otherwise.
    pub enable_ipv4: Option<bool>,
    /// Whether it has IPv6; `None`: it has not, unless an option says otherwise.
    pub enable_ipv6: Option<bool>,
    /// Nothing outside can be reached.
    pub internal: bool,
    /// Containers outside a swarm's services may join: meaningless here, kept and shown.
    pub attachable: bool,
    /// A swarm's routing mesh: refused.
    pub ingress: bool,
    /// Only a set of settings that other networks take.
    pub config_only: bool,
    /// The network whose settings this one takes; empty: none.
    pub config_from: String,
    /// `local`, or empty; others are a swarm's and refused.
    pub scope: String,
    /// The driver's options.
    pub options: BTreeMap<String, String>,
    /// The user's labels.
    pub labels: BTreeMap<String, String>,
    /// Who gives its addresses, and which.
    pub ipam: IpamSpec,
}

/// How a network's addresses are managed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct IpamSpec {
    /// The IPAM driver; empty: `default`.
    pub driver: String,
    /// Its options.
    pub options: BTreeMap<String, String>,
    /// The subnets; none: any that is free.
    pub config: Vec<SubnetSpec>,
}

/// One subnet of a network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SubnetSpec {
    /// Such as `10.1.0.0/16`; empty: any that is free.
    pub subnet: String,
    /// The part of it from which containers get addresses; empty: all.
    pub ip_range: String,
    /// The gateway's address; empty: the driver's choice.
    pub gateway: String,
    /// Addresses set apart, by name.
    pub aux_addresses: BTreeMap<String, String>,
}

/// A network that was made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Created {
    /// Its id, 64 hex digits.
    pub id: String,
    /// What the client should know; often empty.
    pub warning: String,
}

/// A network as it is at one instant.
#[derive(Debug, Clone, PartialEq)]
pub struct Network {
    /// 64 hex digits.
    pub id: String,
    /// Its name.
    pub name: String,
    /// When it was made.
    pub created: DateTime<Utc>,
    /// Where it is known.
    pub scope: Scope,
    /// The network driver's name.
    pub driver: String,
    /// Whether it has IPv4.
    pub enable_ipv4: bool,
    /// Whether it has IPv6.
    pub enable_ipv6: bool,
    /// Nothing outside can be reached.
    pub internal: bool,
    /// As asked for.
    pub attachable: bool,
    /// Always false here.
    pub ingress: bool,
    /// Only settings.
    pub config_only: bool,
    /// The network whose settings this one took.
    pub config_from: String,
    /// The IPAM driver's name.
    pub ipam_driver: String,
    /// The IPAM driver's options; `None` if none were asked for.
    pub ipam_options: BTreeMap<String, String>,
    /// The subnets: as asked for with what was settled since, else as given.
    pub subnets: Vec<Subnet>,
    /// The driver's options, defaults of the engine's configuration included.
    pub options: BTreeMap<String, String>,
    /// The user's labels.
    pub labels: BTreeMap<String, String>,
    /// Whether it is `bridge`, `host` or `none`, which are always there.
    pub predefined: bool,
    /// Why it cannot be used now: its plugin is away, or what it needs of the host is missing.
    pub trouble: Option<String>,
    /// Who is in it, by container id.
    pub endpoints: BTreeMap<String, Member>,
}

/// One subnet of a network, as it is shown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subnet {
    /// The subnet.
    pub subnet: Option<IpNet>,
    /// The part of it from which containers get addresses, if one was asked for.
    pub ip_range: Option<IpNet>,
    /// The gateway's address.
    pub gateway: Option<IpAddr>,
    /// Addresses set apart, by name.
    pub aux_addresses: BTreeMap<String, IpAddr>,
}

/// A container's place in a network, as the network shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Member {
    /// The container's name.
    pub name: String,
    /// The endpoint's id.
    pub endpoint_id: String,
    /// The interface's MAC address; empty if it has none.
    pub mac_address: String,
    /// The IPv4 address with the subnet's prefix length.
    pub address: Option<IpNet>,
    /// The IPv6 address with the subnet's prefix length.
    pub address_v6: Option<IpNet>,
}

/// What a container wants of one network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EndpointSpec {
    /// The network's id, once it is known; so that a renamed or remade network is not taken for the old one.
    pub network_id: String,
    /// A fixed IPv4 address; empty: any.
    pub ipv4_address: String,
    /// A fixed IPv6 address; empty: any.
    pub ipv6_address: String,
    /// More addresses, of the link alone.
    pub link_local_ips: Vec<String>,
    /// A fixed MAC address; empty: any.
    pub mac_address: String,
    /// More names of the container in this network.
    pub aliases: Vec<String>,
    /// `container:alias`: what this container calls others.
    pub links: Vec<String>,
    /// The driver's options. [`IFNAME`](pintle_contract::network::label::IFNAME) and
    /// [`SYSCTLS`](pintle_contract::network::label::SYSCTLS) are the engine's own.
    pub driver_opts: BTreeMap<String, String>,
    /// The network with the highest one gives the default route.
    pub gw_priority: i64,
}

/// A port to publish, as typed.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default)]
pub struct PublishSpec {
    /// The container's port and protocol, `80/tcp`.
    pub port: String,
    /// The host's address; empty: all.
    pub host_ip: String,
    /// The host's port, a range `8000-8010`, or empty: any that is free.
    pub host_port: String,
}

/// A container's networks: what it wants, and what it has while it runs.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ContainerNetworks {
    /// The sandbox's id; empty if it does not run.
    pub sandbox_id: String,
    /// A path that opens the sandbox's network namespace; empty if it does not run.
    pub sandbox_key: PathBuf,
    /// By network name.
    pub networks: BTreeMap<String, Endpoint>,
    /// Exposed and published ports while it runs.
    pub ports: BTreeMap<Port, Vec<HostPort>>,
}

/// A container's port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Port {
    /// The number.
    pub port: u16,
    /// The protocol.
    pub protocol: Protocol,
}

impl std::fmt::Display for Port {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.port, self.protocol.name())
    }
}

/// Where a port is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostPort {
    /// The host's address.
    pub ip: IpAddr,
    /// The host's port.
    pub port: u16,
}

/// A container's place in one network. What the container wants is there always, the rest while it runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Endpoint {
    /// What it wants.
    pub spec: EndpointSpec,
    /// The network's id; empty if there is no such network.
    pub network_id: String,
    /// The endpoint's id; empty if it does not run.
    pub endpoint_id: String,
    /// The default route's next hop, of this network.
    pub gateway: Option<Ipv4Addr>,
    /// The same, IPv6.
    pub gateway_v6: Option<Ipv6Addr>,
    /// The IPv4 address with the subnet's prefix length.
    pub address: Option<Ipv4Net>,
    /// The IPv6 address with the subnet's prefix length.
    pub address_v6: Option<Ipv6Net>,
    /// The interface's MAC address; empty if it has none.
    pub mac_address: String,
    /// The interface's name in the container.
    pub interface: String,
    /// Its names in this network, its own first; empty where names are not answered.
    pub dns_names: Vec<String>,
}
