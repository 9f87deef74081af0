use std::collections::BTreeMap;

use pintle_contract::{
    DriverError, Scope, Value as Free,
    network::{
        GatewayCheck, Interface, InterfaceName, Joined, NetworkCapabilities, PortBinding, StaticRoute,
    },
};
use serde_json::{Map, Value, json};

use super::{DIALECT, Method, decode_interface, decode_ports, encode_interface, encode_ports};
use crate::{
    failure::unreadable,
    object::{DecodeError, Object},
    value::{from_json, line, to_json},
};

/// What a plugin answers when it did not fail.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// To calls that have nothing to say.
    Done,
    /// To `GetCapabilities`.
    Capabilities(NetworkCapabilities),
    /// To `GwAllocCheck`.
    GatewayCheck(GatewayCheck),
    /// To `AllocateNetwork`: what `CreateNetwork` shall be given on other hosts.
    Allocated(BTreeMap<String, String>),
    /// To `CreateEndpoint`.
    Interface(Interface),
    /// To `EndpointOperInfo`.
    Info(BTreeMap<String, Free>),
    /// To `Join`.
    Joined(Joined),
    /// To `ProgramExternalConnectivity`.
    Published(Vec<PortBinding>),
}

impl Reply {
    /// The body of a reply with status 200.
    pub fn encode(&self) -> Vec<u8> {
        line(&match self {
            Self::Done => json!({}),
            Self::Capabilities(capabilities) => json!({
                "Scope": scope_name(capabilities.scope),
                "ConnectivityScope": scope_name(capabilities.connectivity_scope),
                "GwAllocChecker": capabilities.gateway_check,
            }),
            Self::GatewayCheck(GatewayCheck { skip_ipv4, skip_ipv6 }) => {
                json!({ "SkipIPv4": skip_ipv4, "SkipIPv6": skip_ipv6 })
            }
            Self::Allocated(options) => json!({ "Options": options }),
            Self::Interface(interface) if *interface == Interface::default() => json!({}),
            Self::Interface(interface) => json!({ "Interface": encode_interface(interface) }),
            Self::Info(info) => {
                let info = info.iter().map(|(key, value)| (key.clone(), to_json(value)));
                json!({ "Value": Value::Object(info.collect()) })
            }
            Self::Joined(joined) => encode_joined(joined),
            Self::Published(ports) if ports.is_empty() => json!({}),
            Self::Published(ports) => json!({ "PortMap": encode_ports(ports) }),
        })
    }

    /// Whether the reply to `method` is a success (status 200 without an `Err`), and what it says.
    pub fn accept(method: Method, status: u16, body: &[u8]) -> Result<Value, DriverError> {
        DIALECT.accept(method.name(), status, body)
    }

    /// Reads a successful reply to `method`.
    pub fn read(method: Method, value: &Value) -> Result<Self, DriverError> {
        read(method, value).map_err(|error| unreadable(method.name(), &error))
    }

    /// Reads the reply to `method`, whatever it is.
    pub fn decode(method: Method, status: u16, body: &[u8]) -> Result<Self, DriverError> {
        Self::read(method, &Self::accept(method, status, body)?)
    }
}

fn read(method: Method, value: &Value) -> Result<Reply, DecodeError> {
    let root = Object::root(value)?;
    Ok(match method {
        Method::FreeNetwork
        | Method::CreateNetwork
        | Method::DeleteNetwork
        | Method::DeleteEndpoint
        | Method::Leave
        | Method::RevokeExternalConnectivity
        | Method::DiscoverNew
        | Method::DiscoverDelete => Reply::Done,
        Method::GetCapabilities => {
            let scope = scope(&root, "Scope")?
                .ok_or_else(|| root.error("Scope", "invalid capability: expecting 'local' or 'global'"))?;
            Reply::Capabilities(NetworkCapabilities {
                scope,
                connectivity_scope: self::scope(&root, "ConnectivityScope")?.unwrap_or(scope),
                gateway_check: root.bool("GwAllocChecker")?,
                own_addresses: false,
            })
        }
        Method::GwAllocCheck => Reply::GatewayCheck(GatewayCheck {
            skip_ipv4: root.bool("SkipIPv4")?,
            skip_ipv6: root.bool("SkipIPv6")?,
        }),
        Method::AllocateNetwork => Reply::Allocated(root.string_map("Options")?),
        Method::CreateEndpoint => Reply::Interface(decode_interface(&root)?),
        Method::EndpointOperInfo => Reply::Info(match root.get("Value") {
            None => BTreeMap::new(),
            Some(Value::Object(map)) => {
                map.iter().map(|(key, value)| (key.clone(), from_json(value))).collect()
            }
            Some(_) => return Err(root.error("Value", "expected an object")),
        }),
        Method::Join => Reply::Joined(decode_joined(&root)?),
        Method::ProgramExternalConnectivity => Reply::Published(decode_ports(&root)?),
    })
}

fn scope_name(scope: Scope) -> &'static str {
    match scope {
        Scope::Local => "local",
        Scope::Global => "global",
    }
}

fn scope(root: &Object<'_>, key: &str) -> Result<Option<Scope>, DecodeError> {
    match root.string(key)?.as_str() {
        "local" => Ok(Some(Scope::Local)),
        "global" => Ok(Some(Scope::Global)),
        "" => Ok(None),
        other => {
            let text = format!("invalid capability: expecting 'local' or 'global', got {other:.32}");
            Err(root.error(key, text))
        }
    }
}

/// `RouteType` of a route through a next hop.
const NEXT_HOP: u32 = 0;
/// `RouteType` of a route on the link itself.
const CONNECTED: u32 = 1;

fn encode_joined(joined: &Joined) -> Value {
    let mut map = Map::new();
    let mut set = |key: &str, value: Value| map.insert(key.to_owned(), value);
    if let Some(InterfaceName { source, prefix, name, in_sandbox }) = &joined.interface {
        let mut names = json!({ "SrcName": source, "DstName": name, "DstPrefix": prefix });
        if *in_sandbox && let Value::Object(names) = &mut names {
            names.insert("InSandbox".to_owned(), true.into());
        }
        set("InterfaceName", names);
    }
    set("Gateway", joined.gateway.map(|gateway| gateway.to_string()).unwrap_or_default().into());
    set("GatewayIPv6", joined.gateway_v6.map(|gateway| gateway.to_string()).unwrap_or_default().into());
    let route = |StaticRoute { destination, next_hop }: &StaticRoute| {
        json!({
            "Destination": destination.to_string(),
            "RouteType": if next_hop.is_some() { NEXT_HOP } else { CONNECTED },
            "NextHop": next_hop.map(|next_hop| next_hop.to_string()).unwrap_or_default(),
        })
    };
    set("StaticRoutes", joined.static_routes.iter().map(route).collect());
    set("DisableGatewayService", joined.disable_gateway_service.into());
    if !joined.published.is_empty() {
        set("PortMap", encode_ports(&joined.published));
    }
    Value::Object(map)
}

fn decode_joined(root: &Object<'_>) -> Result<Joined, DecodeError> {
    let interface = match root.object("InterfaceName")? {
        None => None,
        Some(names) => {
            let name = InterfaceName {
                source: names.string("SrcName")?,
                prefix: names.string("DstPrefix")?,
                name: names.string("DstName")?,
                in_sandbox: names.bool("InSandbox")?,
            };
            // Docker's helpers for Go cannot leave the names out, so no source is no interface.
            (!name.source.is_empty()).then_some(name)
        }
    };
    let route = |object: &Object<'_>| {
        let missing = |key, what: &str| object.error(key, what);
        let destination = object
            .parsed("Destination")?
            .ok_or_else(|| missing("Destination", "a route has no destination"))?;
        let next_hop = match object.u32("RouteType")? {
            NEXT_HOP => Some(
                object
                    .parsed("NextHop")?
                    .ok_or_else(|| missing("NextHop", "a route through a next hop names none"))?,
            ),
            CONNECTED => None,
            _ => return Err(missing("RouteType", "expected 0 or 1")),
        };
        Ok(StaticRoute { destination, next_hop })
    };
    Ok(Joined {
        interface,
        settled: None,
        gateway: root.parsed("Gateway")?,
        gateway_v6: root.parsed("GatewayIPv6")?,
        static_routes: root.objects("StaticRoutes")?.iter().map(route).collect::<Result<_, _>>()?,
        disable_gateway_service: root.bool("DisableGatewayService")?,
        published: decode_ports(root)?,
    })
}
