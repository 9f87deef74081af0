use std::{collections::BTreeMap, path::PathBuf};

use pintle_contract::network::{CreateEndpoint, CreateNetwork, EndpointId, IpamData, Join, Node, Options};
use serde_json::{Map, Value, json};

use super::{Method, decode_interface, encode_interface};
use crate::{
    object::{DecodeError, Object, message},
    value::{from_json, line, to_json},
};

/// What an engine asks.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "one variant for each method of the contract")]
pub enum Request {
    Capabilities,
    GatewayCheck(Options),
    /// Asked by swarm managers, of drivers of global scope; its options are strings.
    AllocateNetwork(CreateNetwork),
    /// Asked by swarm managers.
    FreeNetwork(String),
    CreateNetwork(CreateNetwork),
    DeleteNetwork(String),
    CreateEndpoint(CreateEndpoint),
    DeleteEndpoint(EndpointId),
    EndpointInfo(EndpointId),
    Join(Join),
    Leave(EndpointId),
    ProgramExternalConnectivity {
        id: EndpointId,
        options: Options,
    },
    RevokeExternalConnectivity(EndpointId),
    /// `None` if it is not about a host.
    DiscoverNew(Option<Node>),
    /// `None` if it is not about a host.
    DiscoverDelete(Option<Node>),
}

/// `DiscoveryType` of what is about hosts.
const NODES: u32 = 1;

impl Request {
    /// Which method this calls.
    pub fn method(&self) -> Method {
        match self {
            Self::Capabilities => Method::GetCapabilities,
            Self::GatewayCheck(_) => Method::GwAllocCheck,
            Self::AllocateNetwork(_) => Method::AllocateNetwork,
            Self::FreeNetwork(_) => Method::FreeNetwork,
            Self::CreateNetwork(_) => Method::CreateNetwork,
            Self::DeleteNetwork(_) => Method::DeleteNetwork,
            Self::CreateEndpoint(_) => Method::CreateEndpoint,
            Self::DeleteEndpoint(_) => Method::DeleteEndpoint,
            Self::EndpointInfo(_) => Method::EndpointOperInfo,
            Self::Join(_) => Method::Join,
            Self::Leave(_) => Method::Leave,
            Self::ProgramExternalConnectivity { .. } => Method::ProgramExternalConnectivity,
            Self::RevokeExternalConnectivity(_) => Method::RevokeExternalConnectivity,
            Self::DiscoverNew(_) => Method::DiscoverNew,
            Self::DiscoverDelete(_) => Method::DiscoverDelete,
        }
    }

    /// The body, as Docker sends it; `None` is an empty one.
    pub fn encode(&self) -> Option<Vec<u8>> {
        let ids = |id: &EndpointId| json!({ "NetworkID": id.network, "EndpointID": id.endpoint });
        Some(line(&match self {
            Self::Capabilities => return None,
            Self::GatewayCheck(options) => json!({ "Options": encode_options(options) }),
            Self::AllocateNetwork(request) | Self::CreateNetwork(request) => json!({
                "NetworkID": request.network,
                "Options": encode_options(&request.options),
                "IPv4Data": request.ipv4.iter().map(encode_pool).collect::<Vec<_>>(),
                "IPv6Data": request.ipv6.iter().map(encode_pool).collect::<Vec<_>>(),
            }),
            Self::FreeNetwork(network) | Self::DeleteNetwork(network) => json!({ "NetworkID": network }),
            Self::CreateEndpoint(CreateEndpoint { id, interface, options }) => json!({
                "NetworkID": id.network,
                "EndpointID": id.endpoint,
                "Interface": encode_interface(interface),
                "Options": encode_options(options),
            }),
            Self::DeleteEndpoint(id)
            | Self::EndpointInfo(id)
            | Self::Leave(id)
            | Self::RevokeExternalConnectivity(id) => ids(id),
            Self::Join(Join { id, sandbox_key, name: _, options }) => json!({
                "NetworkID": id.network,
                "EndpointID": id.endpoint,
                "SandboxKey": sandbox_key.to_string_lossy(),
                "Options": encode_options(options),
            }),
            Self::ProgramExternalConnectivity { id, options } => json!({
                "NetworkID": id.network,
                "EndpointID": id.endpoint,
                "Options": encode_options(options),
            }),
            Self::DiscoverNew(node) | Self::DiscoverDelete(node) => match node {
                Some(Node { address, bind_address, is_self }) => json!({
                    "DiscoveryType": NODES,
                    "DiscoveryData": { "Address": address, "BindAddress": bind_address, "Self": is_self },
                }),
                None => json!({ "DiscoveryType": 0, "DiscoveryData": null }),
            },
        }))
    }

    /// Reads a body.
    pub fn decode(method: Method, body: &[u8]) -> Result<Self, DecodeError> {
        let value = message(body)?;
        let root = Object::root(&value)?;
        let network = || named(&root, "NetworkID");
        let id = || Ok(EndpointId { network: network()?, endpoint: named(&root, "EndpointID")? });
        let options = || decode_options(&root);
        let create = || {
            Ok(CreateNetwork {
                network: network()?,
                options: options()?,
                ipv4: decode_pools(&root, "IPv4Data")?,
                ipv6: decode_pools(&root, "IPv6Data")?,
            })
        };
        Ok(match method {
            Method::GetCapabilities => Self::Capabilities,
            Method::GwAllocCheck => Self::GatewayCheck(options()?),
            Method::AllocateNetwork => Self::AllocateNetwork(create()?),
            Method::FreeNetwork => Self::FreeNetwork(network()?),
            Method::CreateNetwork => Self::CreateNetwork(create()?),
            Method::DeleteNetwork => Self::DeleteNetwork(network()?),
            Method::CreateEndpoint => Self::CreateEndpoint(CreateEndpoint {
                id: id()?,
                interface: decode_interface(&root)?,
                options: options()?,
            }),
            Method::DeleteEndpoint => Self::DeleteEndpoint(id()?),
            Method::EndpointOperInfo => Self::EndpointInfo(id()?),
            Method::Join => {
                let sandbox_key = PathBuf::from(root.string("SandboxKey")?);
                Self::Join(Join { id: id()?, sandbox_key, name: String::new(), options: options()? })
            }
            Method::Leave => Self::Leave(id()?),
            Method::ProgramExternalConnectivity => {
                Self::ProgramExternalConnectivity { id: id()?, options: options()? }
            }
            Method::RevokeExternalConnectivity => Self::RevokeExternalConnectivity(id()?),
            Method::DiscoverNew => Self::DiscoverNew(decode_node(&root)?),
            Method::DiscoverDelete => Self::DiscoverDelete(decode_node(&root)?),
        })
    }
}

/// An id, which must be there.
fn named(root: &Object<'_>, key: &str) -> Result<String, DecodeError> {
    let id = root.string(key)?;
    if id.is_empty() { Err(root.error(key, "the id is missing")) } else { Ok(id) }
}

fn encode_options(options: &Options) -> Value {
    Value::Object(options.iter().map(|(key, value)| (key.clone(), to_json(value))).collect())
}

fn decode_options(root: &Object<'_>) -> Result<Options, DecodeError> {
    match root.get("Options") {
        None => Ok(Options::new()),
        Some(Value::Object(map)) => {
            Ok(map.iter().map(|(key, value)| (key.clone(), from_json(value))).collect())
        }
        Some(_) => Err(root.error("Options", "expected an object")),
    }
}

/// Only what is set travels, in this order.
fn encode_pool(data: &IpamData) -> Value {
    let mut map = Map::new();
    map.insert("AddressSpace".to_owned(), data.address_space.clone().into());
    if !data.aux_addresses.is_empty() {
        let text = |(name, address): (&String, &ipnet::IpNet)| (name.clone(), address.to_string().into());
        map.insert("AuxAddresses".to_owned(), Value::Object(data.aux_addresses.iter().map(text).collect()));
    }
    if let Some(gateway) = data.gateway {
        map.insert("Gateway".to_owned(), gateway.to_string().into());
    }
    if let Some(pool) = data.pool {
        map.insert("Pool".to_owned(), pool.to_string().into());
    }
    Value::Object(map)
}

fn decode_pools(root: &Object<'_>, key: &str) -> Result<Vec<IpamData>, DecodeError> {
    let one = |object: &Object<'_>| {
        let mut aux_addresses = BTreeMap::new();
        for (name, text) in object.string_map("AuxAddresses")? {
            let address = text.parse().map_err(|_| {
                object.error("AuxAddresses", format!("{text:?} is not an address with a prefix length"))
            })?;
            aux_addresses.insert(name, address);
        }
        Ok(IpamData {
            address_space: object.string("AddressSpace")?,
            pool: object.parsed("Pool")?,
            sub_pool: None,
            gateway: object.parsed("Gateway")?,
            aux_addresses,
        })
    };
    root.objects(key)?.iter().map(one).collect()
}

fn decode_node(root: &Object<'_>) -> Result<Option<Node>, DecodeError> {
    if root.u32("DiscoveryType")? != NODES {
        return Ok(None);
    }
    let Some(data) = root.object("DiscoveryData")? else { return Ok(None) };
    Ok(Some(Node {
        address: data.string("Address")?,
        bind_address: data.string("BindAddress")?,
        is_self: data.bool("Self")?,
    }))
}
