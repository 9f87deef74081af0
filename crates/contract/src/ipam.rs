//! IPAM drivers: who gets which address.

use std::{collections::BTreeMap, net::IpAddr};

use ipnet::IpNet;

use crate::DriverError;

/// The names under which options travel.
pub mod label {
    /// What an address is requested for; [`GATEWAY`] is its only value.
    pub const REQUEST_ADDRESS_TYPE: &str = "RequestAddressType";
    /// The address of a network's gateway. As a key of [`Pool::data`](super::Pool), the gateway that the driver chose,
    /// with its prefix length.
    pub const GATEWAY: &str = "com.docker.network.gateway";
    /// The link-layer address that an address is for.
    pub const MAC_ADDRESS: &str = "com.docker.network.endpoint.macaddress";
    /// The container that an address is for.
    pub const ENDPOINT_NAME: &str = "com.docker.network.endpoint.name";
    /// The endpoint that an address is for (pintle's addition; others ignore it). A driver that answers the same endpoint
    /// with the same address, however often it asks for any, loses none to an engine that dies before it hears the answer:
    /// the next engine asks once more, and gives back what it hears.
    pub const ENDPOINT_ID: &str = "com.docker.network.endpoint.id";
}

/// What an IPAM driver needs, settled once at activation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct IpamCapabilities {
    /// Requests for addresses must say the link-layer address.
    pub requires_mac_address: bool,
    /// Its state is rebuilt from the engine's requests after a restart.
    pub requires_request_replay: bool,
}

/// The name spaces in which a driver's pools may not overlap.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AddressSpaces {
    /// For networks of this host.
    pub local: String,
    /// For networks across hosts.
    pub global: String,
}

/// A request for a pool of addresses.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PoolRequest {
    /// One of the driver's [`AddressSpaces`].
    pub address_space: String,
    /// The subnet; any, if `None`.
    pub pool: Option<IpNet>,
    /// The part of it from which addresses are given to containers.
    pub sub_pool: Option<IpNet>,
    /// What the user gave with `--ipam-opt`.
    pub options: BTreeMap<String, String>,
    /// Whether an IPv6 pool is wanted, where the subnet does not say so.
    pub v6: bool,
    /// Subnets that a pool of the driver's choice must not overlap, since the host uses them. Plugins are not told:
    /// what they choose is looked at, and asked for anew.
    pub avoid: Vec<IpNet>,
}

/// A pool of addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    /// The driver's name for it.
    pub id: String,
    /// The subnet.
    pub pool: IpNet,
    /// What the driver has to say: see [`label::GATEWAY`].
    pub data: BTreeMap<String, String>,
}

/// A request for an address.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AddressRequest {
    /// The pool's [`id`](Pool::id).
    pub pool: String,
    /// The address; any, if `None`.
    pub address: Option<IpAddr>,
    /// See [`label`].
    pub options: BTreeMap<String, String>,
}

/// An address that was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// It, with its subnet's prefix length.
    pub address: IpNet,
    /// What the driver has to say.
    pub data: BTreeMap<String, String>,
}

/// The IPAM contract. One suite (`pintle-testkit`) proves every implementation in both homes.
///
/// Callers set the budget of each call. Releasing what is not held succeeds: after a crash the engine cannot know.
/// A request that failed as [`Timeout`](crate::ErrorKind::Timeout) or [`Unavailable`](crate::ErrorKind::Unavailable)
/// may have been granted all the same: whoever asked for a particular pool or address owes its release.
#[async_trait::async_trait]
pub trait IpamDriver: Send + Sync + 'static {
    /// What the driver needs. Asked once, at activation.
    async fn capabilities(&self) -> Result<IpamCapabilities, DriverError> {
        Ok(IpamCapabilities::default())
    }

    /// The driver's name spaces.
    async fn default_address_spaces(&self) -> Result<AddressSpaces, DriverError>;

    /// Gives a pool. [`ErrorKind::Conflict`](crate::ErrorKind::Conflict) if it overlaps one that is held.
    async fn request_pool(&self, request: PoolRequest) -> Result<Pool, DriverError>;

    /// Takes a pool back, with every address in it.
    async fn release_pool(&self, pool: &str) -> Result<(), DriverError>;

    /// Gives an address. [`ErrorKind::Conflict`](crate::ErrorKind::Conflict) if it is held,
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) if the pool is exhausted.
    async fn request_address(&self, request: AddressRequest) -> Result<Address, DriverError>;

    /// Takes an address back.
    async fn release_address(&self, pool: &str, address: IpAddr) -> Result<(), DriverError>;
}
