//! Network drivers: how a container gets an interface.
//!
//! The engine owns the sandbox (a network namespace), the addresses (from an [`IpamDriver`](crate::IpamDriver))
//! and the order of calls; a driver owns the links. One endpoint is one container's place in one network:
//!
//! ```text
//! create_network ─► create_endpoint ─► join ─► program_external_connectivity
//!                                                        │
//! delete_network ◄─ delete_endpoint ◄─ leave ◄─ revoke_external_connectivity
//! ```
//!
//! A step that fails is undone by its inverse for every step before it, never for itself: a driver that answers
//! with an error has left nothing. Only a call that failed as [`Timeout`](crate::ErrorKind::Timeout) or
//! [`Unavailable`](crate::ErrorKind::Unavailable) may have happened all the same, and whoever made it owes its
//! inverse. Options travel as Docker sends them ([`label`]), to built-in drivers and plugins alike, so that both
//! can do the same.

use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::PathBuf,
    str::FromStr,
};

use ipnet::IpNet;

use crate::{DriverError, Scope, Value};

/// The names under which options travel.
pub mod label {
    /// What the user gave with `-o` at network creation: a map of strings.
    pub const GENERIC: &str = "com.docker.network.generic";
    /// Whether the network has IPv4.
    pub const ENABLE_IPV4: &str = "com.docker.network.enable_ipv4";
    /// Whether the network has IPv6.
    pub const ENABLE_IPV6: &str = "com.docker.network.enable_ipv6";
    /// Whether nothing outside may be reached.
    pub const INTERNAL: &str = "com.docker.network.internal";
    /// The network's own labels: a map of strings (pintle's addition; others ignore it).
    pub const LABELS: &str = "com.docker.network.labels";
    /// Ports that the image or the user exposes: a list of `{Proto, Port}`.
    pub const EXPOSED_PORTS: &str = "com.docker.network.endpoint.exposedports";
    /// Ports to publish: a list of `{Proto, IP, Port, HostIP, HostPort, HostPortEnd}`.
    pub const PORT_MAP: &str = "com.docker.network.portmap";
    /// The link-layer address that the user wants.
    pub const MAC_ADDRESS: &str = "com.docker.network.endpoint.macaddress";
    /// The name that the interface shall have in the container.
    pub const IFNAME: &str = "com.docker.network.endpoint.ifname";
    /// The container's own name servers.
    pub const DNS_SERVERS: &str = "com.docker.network.endpoint.dnsservers";
    /// Kernel settings of the interface, `net.ipv4.conf.IFNAME.x=y`, comma separated.
    pub const SYSCTLS: &str = "com.docker.network.endpoint.sysctls";
    /// The network's name, as the user knows it.
    pub const NETWORK_NAME: &str = "com.docker.network.name";
    /// The container's name, where an endpoint belongs to one.
    pub const ENDPOINT_NAME: &str = "com.docker.network.endpoint.name";
    /// More names of the container in the network: a list of strings (pintle's addition; others ignore it).
    pub const ALIASES: &str = "com.docker.network.endpoint.aliases";
}

/// Named values, as Docker sends them.
pub type Options = BTreeMap<String, Value>;

/// What a network driver can do, settled once at activation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NetworkCapabilities {
    /// Whether its networks are known on this host alone.
    pub scope: Scope,
    /// Whether its endpoints reach each other across hosts.
    pub connectivity_scope: Scope,
    /// Whether it wants to be asked for which families a gateway address is needed.
    pub gateway_check: bool,
    /// Whether its endpoints' addresses come from the driver, in [`Joined::settled`], or they have none. The engine
    /// then asks no IPAM driver unless the user named one: subnets and addresses that the user typed are handed on as
    /// they are, an address outside any of these subnets with the length of a host. A plugin says nothing of it.
    pub own_addresses: bool,
}

/// A link-layer address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MacAddress(pub [u8; 6]);

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl FromStr for MacAddress {
    type Err = DriverError;

    /// Six pairs of hexadecimal digits with colons or dashes between them.
    fn from_str(text: &str) -> Result<Self, DriverError> {
        let wrong = || DriverError::invalid(format!("invalid MAC address: {text:.64}"));
        let mut bytes = [0; 6];
        let mut parts = text.split([':', '-']);
        for byte in &mut bytes {
            let part = parts.next().filter(|part| part.len() == 2).ok_or_else(wrong)?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| wrong())?;
        }
        if parts.next().is_some() { Err(wrong()) } else { Ok(Self(bytes)) }
    }
}

/// One pool of addresses of a network, as its IPAM driver gave it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IpamData {
    /// The IPAM driver's name space.
    pub address_space: String,
    /// The subnet.
    pub pool: Option<IpNet>,
    /// The part of it from which containers get addresses, if the user wants one. Plugins are not told.
    pub sub_pool: Option<IpNet>,
    /// The gateway's address, with the subnet's prefix length.
    pub gateway: Option<IpNet>,
    /// Addresses that the user set apart, by name.
    pub aux_addresses: BTreeMap<String, IpNet>,
}

/// A request for a new network.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct CreateNetwork {
    /// The network's id: 64 hexadecimal digits.
    pub network: String,
    /// See [`label`].
    pub options: Options,
    /// IPv4 pools.
    pub ipv4: Vec<IpamData>,
    /// IPv6 pools.
    pub ipv6: Vec<IpamData>,
}

impl CreateNetwork {
    /// What the user gave with `-o`.
    pub fn generic(&self) -> BTreeMap<String, String> {
        strings(self.options.get(label::GENERIC))
    }

    /// Whether nothing outside may be reached.
    pub fn internal(&self) -> bool {
        truth(&self.options, label::INTERNAL).unwrap_or(false)
    }

    /// Whether the network has IPv4. It has, unless it says otherwise.
    pub fn enable_ipv4(&self) -> bool {
        truth(&self.options, label::ENABLE_IPV4).unwrap_or(true)
    }

    /// Whether the network has IPv6.
    pub fn enable_ipv6(&self) -> bool {
        truth(&self.options, label::ENABLE_IPV6).unwrap_or(false)
    }
}

/// A container's interface in a network. In a request, what the engine settled; in an answer, only what the
/// driver settled where the engine left it open.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Interface {
    /// The IPv4 address, with the subnet's prefix length.
    pub address: Option<IpNet>,
    /// The IPv6 address, with the subnet's prefix length.
    pub address_v6: Option<IpNet>,
    /// The link-layer address.
    pub mac: Option<MacAddress>,
}

/// Which endpoint of which network.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct EndpointId {
    /// The network's id.
    pub network: String,
    /// The endpoint's id: 64 hexadecimal digits.
    pub endpoint: String,
}

/// A request for a new endpoint.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct CreateEndpoint {
    /// Which one.
    pub id: EndpointId,
    /// What the engine settled of its interface.
    pub interface: Interface,
    /// See [`label`]; the user's `--driver-opt`s stand beside them under their own names.
    pub options: Options,
}

/// A transport protocol whose ports can be published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// Number 6.
    Tcp,
    /// Number 17.
    Udp,
    /// Number 132.
    Sctp,
}

impl Protocol {
    /// Its number in IP headers.
    pub fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }

    /// The protocol with that number.
    pub fn from_number(number: i64) -> Option<Self> {
        [Self::Tcp, Self::Udp, Self::Sctp].into_iter().find(|known| i64::from(known.number()) == number)
    }

    /// `tcp`, `udp` or `sctp`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }
}

impl FromStr for Protocol {
    type Err = DriverError;

    fn from_str(text: &str) -> Result<Self, DriverError> {
        [Self::Tcp, Self::Udp, Self::Sctp]
            .into_iter()
            .find(|known| known.name().eq_ignore_ascii_case(text))
            .ok_or_else(|| DriverError::invalid(format!("invalid proto: {text:.32}")))
    }
}

/// A port of a container to publish on the host.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortBinding {
    /// The protocol.
    pub protocol: Protocol,
    /// The container's port.
    pub port: u16,
    /// The host's address; `None` is every address of both families.
    pub host_ip: Option<IpAddr>,
    /// The host's port; 0 is any that is free.
    pub host_port: u16,
    /// The last port of a range in which any free one will do; 0 or `host_port` if there is no range.
    pub host_port_end: u16,
}

impl PortBinding {
    /// As it travels under [`label::PORT_MAP`].
    pub fn to_value(&self) -> Value {
        let ip = self.host_ip.map(|ip| ip.to_string()).unwrap_or_default();
        Value::Map(BTreeMap::from([
            ("Proto".to_owned(), Value::Int(self.protocol.number().into())),
            ("IP".to_owned(), Value::from("")),
            ("Port".to_owned(), Value::Int(self.port.into())),
            ("HostIP".to_owned(), Value::from(ip)),
            ("HostPort".to_owned(), Value::Int(self.host_port.into())),
            ("HostPortEnd".to_owned(), Value::Int(self.host_port_end.into())),
        ]))
    }

    /// Reads one. `None` if it is not one.
    pub fn from_value(value: &Value) -> Option<Self> {
        let Value::Map(fields) = value else { return None };
        let number = |key: &str| match fields.get(key) {
            Some(Value::Int(number)) => Some(*number),
            None | Some(Value::Null) => Some(0),
            _ => None,
        };
        let port = |key: &str| number(key).and_then(|number| u16::try_from(number).ok());
        let host_ip = match fields.get("HostIP") {
            Some(Value::String(text)) if !text.is_empty() => Some(text.parse().ok()?),
            _ => None,
        };
        Some(Self {
            protocol: Protocol::from_number(number("Proto")?)?,
            port: port("Port")?,
            host_ip,
            host_port: port("HostPort")?,
            host_port_end: port("HostPortEnd")?,
        })
    }
}

/// The ports to publish among an endpoint's options. What is not one is left out.
pub fn port_map(options: &Options) -> Vec<PortBinding> {
    match options.get(label::PORT_MAP) {
        Some(Value::List(list)) => list.iter().filter_map(PortBinding::from_value).collect(),
        _ => Vec::new(),
    }
}

/// The exposed ports among an endpoint's options.
pub fn exposed_ports(options: &Options) -> Vec<(Protocol, u16)> {
    let Some(Value::List(list)) = options.get(label::EXPOSED_PORTS) else { return Vec::new() };
    let one = |value: &Value| {
        let Value::Map(fields) = value else { return None };
        let (Some(Value::Int(protocol)), Some(Value::Int(port))) = (fields.get("Proto"), fields.get("Port"))
        else {
            return None;
        };
        Some((Protocol::from_number(*protocol)?, u16::try_from(*port).ok()?))
    };
    list.iter().filter_map(one).collect()
}

/// What a driver is told when an endpoint's container starts.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Join {
    /// Which endpoint.
    pub id: EndpointId,
    /// A path that opens the container's network namespace.
    pub sandbox_key: PathBuf,
    /// A name that is free in the sandbox, or the one that the user insists on, for drivers that settle their interface
    /// there themselves. Empty: the caller leaves it to the driver. Plugins are not told.
    pub name: String,
    /// The sandbox's labels: exposed and published ports, no driver options.
    pub options: Options,
}

/// Where the interface is and what it shall be called.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct InterfaceName {
    /// Its name now, in the host's namespace, unless it was made in the sandbox.
    pub source: String,
    /// What its name in the container begins with; the engine adds the first free number.
    pub prefix: String,
    /// Its whole name in the container, if the driver insists.
    pub name: String,
    /// The driver made it in the sandbox itself; built-in drivers may, since a move costs milliseconds.
    pub in_sandbox: bool,
}

/// A route that a container needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaticRoute {
    /// Where to.
    pub destination: IpNet,
    /// Through whom; `None` is a route on the link itself.
    pub next_hop: Option<IpAddr>,
}

/// How names are resolved, as a network knows it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Dns {
    /// Name servers, the best first.
    pub servers: Vec<IpAddr>,
    /// Domains in which short names are looked for.
    pub search: Vec<String>,
    /// The resolver's options, as in resolv.conf.
    pub options: Vec<String>,
}

/// What a driver made of its interface in the sandbox, all by itself: there it is, has its name, its addresses and
/// its routes, and is up. The caller only takes note.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Settled {
    /// The interface's name in the sandbox.
    pub name: String,
    /// Its link-layer address, and the first address of each family.
    pub interface: Interface,
    /// Further addresses.
    pub more_addresses: Vec<IpNet>,
    /// How names are resolved: for containers that say nothing of it, unless the network is internal.
    pub dns: Dns,
}

/// What a driver wants to be done in the sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Joined {
    /// The interface to move in; `None` if there is none.
    pub interface: Option<InterfaceName>,
    /// Everything is done already, and `interface` is `None`. Gateways and routes below are then what the driver set,
    /// to be shown; but if this endpoint is not the container's way out, the caller removes its default routes.
    pub settled: Option<Box<Settled>>,
    /// The default route's next hop, IPv4.
    pub gateway: Option<Ipv4Addr>,
    /// The default route's next hop, IPv6.
    pub gateway_v6: Option<Ipv6Addr>,
    /// More routes.
    pub static_routes: Vec<StaticRoute>,
    /// The engine must not give the container a way out of its own.
    pub disable_gateway_service: bool,
    /// Ports as they were published: what was open in the request is settled. A plugin says nothing of it.
    pub published: Vec<PortBinding>,
}

/// What the network driver says of which gateways it needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GatewayCheck {
    /// No IPv4 gateway address needs to be set apart.
    pub skip_ipv4: bool,
    /// No IPv6 gateway address needs to be set apart.
    pub skip_ipv6: bool,
}

/// A host that came or went, for drivers whose networks span hosts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Node {
    /// Its address for others.
    pub address: String,
    /// The address that it binds to.
    pub bind_address: String,
    /// Whether it is this host.
    pub is_self: bool,
}

/// The network contract. One suite (`pintle-testkit`) proves every implementation in both homes.
///
/// Callers set the budget of each call. Every call must be safe to repeat with the same arguments, and the
/// inverse of a call that never happened succeeds: after a crash the engine cannot know.
#[async_trait::async_trait]
pub trait NetworkDriver: Send + Sync + 'static {
    /// What the driver can do. Asked once, at activation.
    async fn capabilities(&self) -> Result<NetworkCapabilities, DriverError>;

    /// Which gateways it needs. Asked before addresses are requested, if its capabilities say so.
    async fn gateway_check(&self, _options: &Options) -> Result<GatewayCheck, DriverError> {
        Ok(GatewayCheck::default())
    }

    /// Makes a network.
    async fn create_network(&self, request: CreateNetwork) -> Result<(), DriverError>;

    /// Removes a network that has no endpoints.
    async fn delete_network(&self, network: &str) -> Result<(), DriverError>;

    /// Makes an endpoint. The answer holds only what the request left open.
    async fn create_endpoint(&self, request: CreateEndpoint) -> Result<Interface, DriverError>;

    /// Removes an endpoint.
    async fn delete_endpoint(&self, id: &EndpointId) -> Result<(), DriverError>;

    /// What the driver reports of a working endpoint, for people.
    async fn endpoint_info(&self, _id: &EndpointId) -> Result<BTreeMap<String, Value>, DriverError> {
        Ok(BTreeMap::new())
    }

    /// Brings the endpoint into a container's sandbox.
    async fn join(&self, request: Join) -> Result<Joined, DriverError>;

    /// Takes the endpoint out of its sandbox.
    async fn leave(&self, id: &EndpointId) -> Result<(), DriverError>;

    /// The same where the sandbox is about to be removed with all that is in it. What ends with the sandbox may be left
    /// to that, which is faster; but nothing goes to or comes from the endpoint any more. A plugin is told to leave.
    async fn leave_ending(&self, id: &EndpointId) -> Result<(), DriverError> {
        self.leave(id).await
    }

    /// Opens the endpoint to the outside: it became its container's way out, and its ports are to be published.
    /// Answers with the ports as they are published. Drivers without such a thing do nothing.
    async fn program_external_connectivity(
        &self,
        _id: &EndpointId,
        _options: &Options,
    ) -> Result<Vec<PortBinding>, DriverError> {
        Ok(Vec::new())
    }

    /// Ends what [`program_external_connectivity`](Self::program_external_connectivity) began.
    async fn revoke_external_connectivity(&self, _id: &EndpointId) -> Result<(), DriverError> {
        Ok(())
    }

    /// These networks and endpoints are all that there are. Called once at boot, after each of them was told again;
    /// whatever the driver finds of itself beyond them was left behind by a crash. Only built-in drivers are told.
    async fn retain(&self, _networks: &[String], _endpoints: &[EndpointId]) -> Result<(), DriverError> {
        Ok(())
    }

    /// A host came. Only drivers with global connectivity are told.
    async fn discover_new(&self, _node: &Node) -> Result<(), DriverError> {
        Ok(())
    }

    /// A host went.
    async fn discover_delete(&self, _node: &Node) -> Result<(), DriverError> {
        Ok(())
    }
}

fn truth(options: &Options, key: &str) -> Option<bool> {
    match options.get(key)? {
        Value::Bool(truth) => Some(*truth),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

fn strings(value: Option<&Value>) -> BTreeMap<String, String> {
    let Some(Value::Map(map)) = value else { return BTreeMap::new() };
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Bool(truth) => truth.to_string(),
        Value::Int(number) => number.to_string(),
        _ => String::new(),
    };
    map.iter().map(|(key, value)| (key.clone(), text(value))).collect()
}
