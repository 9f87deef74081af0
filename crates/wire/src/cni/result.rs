//! What a plugin made, in one form for all versions.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::{Map, Value, json};

use super::{
    error::{CniError, code},
    version::Version,
};
use crate::object::{DecodeError, Object};

/// What ADD answers: the specification's "Success" of the newest version, whatever version it was read from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Success {
    /// Every interface that was made, the host's too. Versions before 0.3.0 say none.
    pub interfaces: Vec<Interface>,
    /// Addresses.
    pub ips: Vec<Ip>,
    /// Routes.
    pub routes: Vec<Route>,
    /// How names are resolved.
    pub dns: Dns,
}

/// An interface that was made.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its link-layer address, of whatever length; empty if it has none.
    pub mac: String,
    /// Its MTU; 0 if not said.
    pub mtu: u32,
    /// The namespace that it is in; empty on the host.
    pub sandbox: String,
    /// A socket that stands for it; empty if there is none.
    pub socket_path: String,
    /// The device that it is; empty if there is none.
    pub pci_id: String,
}

/// An address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ip {
    /// It, with its subnet's prefix length.
    pub address: IpNet,
    /// The subnet's gateway.
    pub gateway: Option<IpAddr>,
    /// Which of the interfaces has it.
    pub interface: Option<usize>,
}

/// A route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Where to.
    pub destination: IpNet,
    /// Through whom; `None` is the gateway of an address of the same family.
    pub gateway: Option<IpAddr>,
    /// The path's MTU; 0 if not said.
    pub mtu: u32,
    /// The segment size to announce; 0 if not said.
    pub advmss: u32,
    /// Lower is better; 0 if not said.
    pub priority: u32,
    /// The table that it is in.
    pub table: Option<u32>,
    /// Its scope.
    pub scope: Option<u32>,
}

impl Route {
    /// A route with nothing but its two ends.
    pub fn new(destination: IpNet, gateway: Option<IpAddr>) -> Self {
        Self { destination, gateway, mtu: 0, advmss: 0, priority: 0, table: None, scope: None }
    }
}

/// How names are resolved.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Dns {
    /// Name servers, the best first.
    pub nameservers: Vec<String>,
    /// The local domain; empty if not said.
    pub domain: String,
    /// Domains in which short names are looked for.
    pub search: Vec<String>,
    /// The resolver's options.
    pub options: Vec<String>,
}

impl Success {
    /// Reads one. A plugin that does not say its version speaks the one that it was asked in, `assumed`.
    pub fn decode(value: &Value, assumed: Version) -> Result<Self, DecodeError> {
        let object = Object::root(value)?;
        let version = match object.optional_string("cniVersion")?.filter(|text| !text.is_empty()) {
            Some(text) => text.parse().map_err(|_| object.error("cniVersion", "not a version"))?,
            None => assumed,
        };
        if !version.is_supported() {
            return Err(object.error("cniVersion", format!("version {version} is not known")));
        }
        let mut result = Self { dns: Dns::decode(object.object("dns")?.as_ref())?, ..Self::default() };
        if version < Version::V0_3_0 {
            for family in ["ip4", "ip6"] {
                if let Some(ip) = object.object(family)? {
                    let gateway = optional_address(&ip, "gateway")?;
                    result.ips.push(Ip { address: network(&ip, "ip")?, gateway, interface: None });
                    result.routes.extend(routes(&ip)?);
                }
            }
            return Ok(result);
        }
        result.interfaces =
            object.objects("interfaces")?.iter().map(Interface::decode).collect::<Result<_, _>>()?;
        for ip in object.objects("ips")? {
            result.ips.push(Ip::decode(&ip, result.interfaces.len())?);
        }
        result.routes = routes(&object)?;
        Ok(result)
    }

    /// As it travels in `version`. Before 0.3.0 there is room for one address of each family, and one is needed.
    pub fn encode(&self, version: Version) -> Result<Value, CniError> {
        let mut object = Map::new();
        object.insert("cniVersion".into(), version.to_string().into());
        if version < Version::V0_3_0 {
            for (family, ipv4) in [("ip4", true), ("ip6", false)] {
                let Some(ip) = self.ips.iter().find(|ip| ip.address.addr().is_ipv4() == ipv4) else {
                    continue;
                };
                let mut entry = Map::new();
                entry.insert("ip".into(), ip.address.to_string().into());
                put_address(&mut entry, "gateway", ip.gateway);
                let routes = self.routes.iter().filter(|route| route.destination.addr().is_ipv4() == ipv4);
                let routes: Vec<Value> =
                    routes.map(|route| Route::new(route.destination, route.gateway).encode()).collect();
                put_list(&mut entry, "routes", routes);
                object.insert(family.into(), Value::Object(entry));
            }
            if object.len() == 1 {
                return Err(CniError::new(
                    code::VERSION,
                    format!("a result without addresses cannot be told in version {version}"),
                ));
            }
        } else {
            put_list(&mut object, "interfaces", self.interfaces.iter().map(Interface::encode).collect());
            put_list(&mut object, "ips", self.ips.iter().map(|ip| ip.encode(version)).collect());
            put_list(&mut object, "routes", self.routes.iter().map(Route::encode).collect());
        }
        if self.dns != Dns::default() {
            object.insert("dns".into(), self.dns.encode());
        }
        Ok(Value::Object(object))
    }
}

impl Interface {
    fn decode(object: &Object<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            name: object.string("name")?,
            mac: object.string("mac")?,
            mtu: object.u32("mtu")?,
            sandbox: object.string("sandbox")?,
            socket_path: object.string("socketPath")?,
            pci_id: object.string("pciID")?,
        })
    }

    fn encode(&self) -> Value {
        let mut object = Map::new();
        object.insert("name".into(), self.name.clone().into());
        put_text(&mut object, "mac", &self.mac);
        put_number(&mut object, "mtu", self.mtu);
        put_text(&mut object, "sandbox", &self.sandbox);
        put_text(&mut object, "socketPath", &self.socket_path);
        put_text(&mut object, "pciID", &self.pci_id);
        Value::Object(object)
    }
}

impl Ip {
    fn decode(object: &Object<'_>, interfaces: usize) -> Result<Self, DecodeError> {
        let interface = match object.get("interface") {
            None => None,
            // Some plugins write -1 for "none".
            Some(value) if value.as_i64().is_some_and(|index| index < 0) => None,
            Some(value) => {
                let index = value.as_u64().and_then(|index| usize::try_from(index).ok());
                let index = index.filter(|index| *index < interfaces);
                Some(index.ok_or_else(|| object.error("interface", "not the index of an interface"))?)
            }
        };
        let address = network(object, "address")?;
        Ok(Self { address, gateway: optional_address(object, "gateway")?, interface })
    }

    fn encode(&self, version: Version) -> Value {
        let mut object = Map::new();
        if version < Version::V1_0_0 {
            let family = if self.address.addr().is_ipv4() { "4" } else { "6" };
            object.insert("version".into(), family.into());
        }
        if let Some(index) = self.interface {
            object.insert("interface".into(), index.into());
        }
        object.insert("address".into(), self.address.to_string().into());
        put_address(&mut object, "gateway", self.gateway);
        Value::Object(object)
    }
}

impl Route {
    fn decode(object: &Object<'_>) -> Result<Self, DecodeError> {
        let optional = |name: &str| object.get(name).map(|_| object.u32(name)).transpose();
        Ok(Self {
            destination: network(object, "dst")?,
            gateway: optional_address(object, "gw")?,
            mtu: object.u32("mtu")?,
            advmss: object.u32("advmss")?,
            priority: object.u32("priority")?,
            table: optional("table")?,
            scope: optional("scope")?,
        })
    }

    fn encode(&self) -> Value {
        let mut object = Map::new();
        object.insert("dst".into(), self.destination.to_string().into());
        put_address(&mut object, "gw", self.gateway);
        put_number(&mut object, "mtu", self.mtu);
        put_number(&mut object, "advmss", self.advmss);
        put_number(&mut object, "priority", self.priority);
        for (name, number) in [("table", self.table), ("scope", self.scope)] {
            if let Some(number) = number {
                object.insert(name.into(), number.into());
            }
        }
        Value::Object(object)
    }
}

impl Dns {
    fn decode(object: Option<&Object<'_>>) -> Result<Self, DecodeError> {
        let Some(object) = object else { return Ok(Self::default()) };
        Ok(Self {
            nameservers: object.strings("nameservers")?,
            domain: object.string("domain")?,
            search: object.strings("search")?,
            options: object.strings("options")?,
        })
    }

    fn encode(&self) -> Value {
        let mut object = Map::new();
        put_list(&mut object, "nameservers", self.nameservers.iter().map(|text| json!(text)).collect());
        put_text(&mut object, "domain", &self.domain);
        put_list(&mut object, "search", self.search.iter().map(|text| json!(text)).collect());
        put_list(&mut object, "options", self.options.iter().map(|text| json!(text)).collect());
        Value::Object(object)
    }
}

fn routes(object: &Object<'_>) -> Result<Vec<Route>, DecodeError> {
    object.objects("routes")?.iter().map(Route::decode).collect()
}

fn network(object: &Object<'_>, name: &str) -> Result<IpNet, DecodeError> {
    let text = object.string(name)?;
    text.parse()
        .map_err(|_| object.error(name, format!("{text:.64?} is not an address with a prefix length")))
}

fn optional_address(object: &Object<'_>, name: &str) -> Result<Option<IpAddr>, DecodeError> {
    let text = object.string(name)?;
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| object.error(name, format!("{text:.64?} is not an address")))
}

fn put_text(object: &mut Map<String, Value>, name: &str, text: &str) {
    if !text.is_empty() {
        object.insert(name.into(), text.into());
    }
}

fn put_number(object: &mut Map<String, Value>, name: &str, number: u32) {
    if number != 0 {
        object.insert(name.into(), number.into());
    }
}

fn put_address(object: &mut Map<String, Value>, name: &str, address: Option<IpAddr>) {
    if let Some(address) = address {
        object.insert(name.into(), address.to_string().into());
    }
}

fn put_list(object: &mut Map<String, Value>, name: &str, list: Vec<Value>) {
    if !list.is_empty() {
        object.insert(name.into(), Value::Array(list));
    }
}
