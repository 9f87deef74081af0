//! The `IpamDriver` interface: requests and replies, both ways.

use std::net::IpAddr;

use pintle_contract::{
    DriverError,
    ipam::{Address, AddressRequest, AddressSpaces, IpamCapabilities, Pool, PoolRequest},
};
use serde_json::{Value, json};

use crate::{
    failure::{Dialect, missing_or_internal, unreadable},
    object::{DecodeError, Object, message},
    value::line,
};

/// With status 200 this interface calls an error `Error`; that some plugins call it `Err` all the same is believed.
const DIALECT: Dialect =
    Dialect { keys: &["Error", "Err"], prefix: "remote: ", unnamed: missing_or_internal };

/// A method of the interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names are the wire's and the contract's; `IpamDriver` documents them")]
pub enum Method {
    GetCapabilities,
    GetDefaultAddressSpaces,
    RequestPool,
    ReleasePool,
    RequestAddress,
    ReleaseAddress,
}

impl Method {
    /// Every method.
    pub const ALL: [Self; 6] = [
        Self::GetCapabilities,
        Self::GetDefaultAddressSpaces,
        Self::RequestPool,
        Self::ReleasePool,
        Self::RequestAddress,
        Self::ReleaseAddress,
    ];

    /// Where it is posted.
    pub fn path(self) -> &'static str {
        match self {
            Self::GetCapabilities => "/IpamDriver.GetCapabilities",
            Self::GetDefaultAddressSpaces => "/IpamDriver.GetDefaultAddressSpaces",
            Self::RequestPool => "/IpamDriver.RequestPool",
            Self::ReleasePool => "/IpamDriver.ReleasePool",
            Self::RequestAddress => "/IpamDriver.RequestAddress",
            Self::ReleaseAddress => "/IpamDriver.ReleaseAddress",
        }
    }

    /// The method that is posted there.
    pub fn from_path(path: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.path() == path)
    }

    /// Its name in error texts: `IpamDriver.RequestPool`.
    pub fn name(self) -> &'static str {
        self.path().trim_start_matches('/')
    }
}

/// What an engine asks.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "one variant for each method of the contract")]
pub enum Request {
    Capabilities,
    AddressSpaces,
    /// What the request says to avoid does not travel.
    RequestPool(PoolRequest),
    ReleasePool(String),
    RequestAddress(AddressRequest),
    ReleaseAddress {
        pool: String,
        address: IpAddr,
    },
}

impl Request {
    /// Which method this calls.
    pub fn method(&self) -> Method {
        match self {
            Self::Capabilities => Method::GetCapabilities,
            Self::AddressSpaces => Method::GetDefaultAddressSpaces,
            Self::RequestPool(_) => Method::RequestPool,
            Self::ReleasePool(_) => Method::ReleasePool,
            Self::RequestAddress(_) => Method::RequestAddress,
            Self::ReleaseAddress { .. } => Method::ReleaseAddress,
        }
    }

    /// The body, as Docker sends it; `None` is an empty one.
    pub fn encode(&self) -> Option<Vec<u8>> {
        fn text(value: Option<impl ToString>) -> String {
            value.map(|value| value.to_string()).unwrap_or_default()
        }
        Some(line(&match self {
            Self::Capabilities | Self::AddressSpaces => return None,
            Self::RequestPool(PoolRequest { address_space, pool, sub_pool, options, v6, avoid: _ }) => {
                json!({
                    "AddressSpace": address_space,
                    "Pool": text(*pool),
                    "SubPool": text(*sub_pool),
                    "Options": options,
                    "V6": v6,
                })
            }
            Self::ReleasePool(pool) => json!({ "PoolID": pool }),
            Self::RequestAddress(AddressRequest { pool, address, options }) => json!({
                "PoolID": pool,
                "Address": text(*address),
                "Options": if options.is_empty() { Value::Null } else { json!(options) },
            }),
            Self::ReleaseAddress { pool, address } => {
                json!({ "PoolID": pool, "Address": address.to_string() })
            }
        }))
    }

    /// Reads a body.
    pub fn decode(method: Method, body: &[u8]) -> Result<Self, DecodeError> {
        let value = message(body)?;
        let root = Object::root(&value)?;
        Ok(match method {
            Method::GetCapabilities => Self::Capabilities,
            Method::GetDefaultAddressSpaces => Self::AddressSpaces,
            Method::RequestPool => Self::RequestPool(PoolRequest {
                address_space: root.string("AddressSpace")?,
                pool: root.parsed("Pool")?,
                sub_pool: root.parsed("SubPool")?,
                options: root.string_map("Options")?,
                v6: root.bool("V6")?,
                avoid: Vec::new(),
            }),
            Method::ReleasePool => Self::ReleasePool(root.string("PoolID")?),
            Method::RequestAddress => Self::RequestAddress(AddressRequest {
                pool: root.string("PoolID")?,
                address: root.parsed("Address")?,
                options: root.string_map("Options")?,
            }),
            Method::ReleaseAddress => Self::ReleaseAddress {
                pool: root.string("PoolID")?,
                address: root
                    .parsed("Address")?
                    .ok_or_else(|| root.error("Address", "the address is missing"))?,
            },
        })
    }
}

/// What a plugin answers when it did not fail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// To the releases.
    Done,
    /// To `GetCapabilities`.
    Capabilities(IpamCapabilities),
    /// To `GetDefaultAddressSpaces`.
    AddressSpaces(AddressSpaces),
    /// To `RequestPool`.
    Pool(Pool),
    /// To `RequestAddress`.
    Address(Address),
}

impl Reply {
    /// The body of a reply with status 200.
    pub fn encode(&self) -> Vec<u8> {
        line(&match self {
            Self::Done => json!({}),
            Self::Capabilities(capabilities) => json!({
                "RequiresMACAddress": capabilities.requires_mac_address,
                "RequiresRequestReplay": capabilities.requires_request_replay,
            }),
            Self::AddressSpaces(AddressSpaces { local, global }) => {
                json!({ "LocalDefaultAddressSpace": local, "GlobalDefaultAddressSpace": global })
            }
            Self::Pool(Pool { id, pool, data }) => {
                json!({ "PoolID": id, "Pool": pool.to_string(), "Data": data })
            }
            Self::Address(Address { address, data }) => {
                json!({ "Address": address.to_string(), "Data": data })
            }
        })
    }

    /// Reads the reply to `method`, whatever it is. Only status 200 without an `Error` is success.
    pub fn decode(method: Method, status: u16, body: &[u8]) -> Result<Self, DriverError> {
        let value = DIALECT.accept(method.name(), status, body)?;
        read(method, &value).map_err(|error| unreadable(method.name(), &error))
    }
}

fn read(method: Method, value: &Value) -> Result<Reply, DecodeError> {
    let root = Object::root(value)?;
    Ok(match method {
        Method::ReleasePool | Method::ReleaseAddress => Reply::Done,
        Method::GetCapabilities => Reply::Capabilities(IpamCapabilities {
            requires_mac_address: root.bool("RequiresMACAddress")?,
            requires_request_replay: root.bool("RequiresRequestReplay")?,
        }),
        Method::GetDefaultAddressSpaces => Reply::AddressSpaces(AddressSpaces {
            local: root.string("LocalDefaultAddressSpace")?,
            global: root.string("GlobalDefaultAddressSpace")?,
        }),
        Method::RequestPool => Reply::Pool(Pool {
            id: root.string("PoolID")?,
            pool: root.parsed("Pool")?.ok_or_else(|| root.error("Pool", "no pool returned"))?,
            data: root.string_map("Data")?,
        }),
        Method::RequestAddress => Reply::Address(Address {
            address: root.parsed("Address")?.ok_or_else(|| root.error("Address", "no address returned"))?,
            data: root.string_map("Data")?,
        }),
    })
}
