//! Where networks find their drivers.

use std::{collections::BTreeMap, fmt, sync::Arc};

use async_trait::async_trait;
use pintle_contract::{IpamDriver, NetworkDriver};
use pintle_host::{Holder, Host};

use crate::EngineError;

/// A network driver by the name that users know.
#[derive(Clone)]
pub struct Driver {
    /// The full name, such as `weaveworks/net-plugin:latest`.
    pub name: String,
    /// The driver itself, built in or behind a socket.
    pub driver: Arc<dyn NetworkDriver>,
    /// It is linked in: it knows nothing but what this engine tells it, and is told again after a restart.
    pub builtin: bool,
}

/// An IPAM driver by the name that users know.
#[derive(Clone)]
pub struct Ipam {
    /// The full name.
    pub name: String,
    /// The driver itself, built in or behind a socket.
    pub driver: Arc<dyn IpamDriver>,
    /// It is linked in.
    pub builtin: bool,
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Driver").field(&self.name).finish()
    }
}

impl fmt::Debug for Ipam {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Ipam").field(&self.name).finish()
    }
}

/// The drivers of this engine. What [`super::Networks`] needs of the plugin host, and no more.
#[async_trait]
pub trait Drivers: Send + Sync + 'static {
    /// The network driver called `name`.
    async fn network(&self, name: &str) -> Result<Driver, EngineError>;

    /// The IPAM driver called `name`.
    async fn ipam(&self, name: &str) -> Result<Ipam, EngineError>;

    /// Whether `name` is a network driver that is linked in.
    fn builtin(&self, name: &str) -> bool;

    /// Notes that the plugin is in use by a network, by its id.
    fn hold(&self, plugin: &str, network: &str);

    /// Ends that use.
    fn release(&self, plugin: &str, network: &str);
}

/// Drivers that are linked in, and what plugins offer.
pub struct HostDrivers {
    host: Host,
    networks: BTreeMap<String, Arc<dyn NetworkDriver>>,
    ipams: BTreeMap<String, Arc<dyn IpamDriver>>,
}

impl HostDrivers {
    /// The drivers that are linked in, by name, and the plugins of `host`.
    pub fn new(
        host: Host,
        networks: BTreeMap<String, Arc<dyn NetworkDriver>>,
        ipams: BTreeMap<String, Arc<dyn IpamDriver>>,
    ) -> Self {
        Self { host, networks, ipams }
    }
}

#[async_trait]
impl Drivers for HostDrivers {
    async fn network(&self, name: &str) -> Result<Driver, EngineError> {
        if let Some(driver) = self.networks.get(name) {
            return Ok(Driver { name: name.to_owned(), driver: Arc::clone(driver), builtin: true });
        }
        Err(EngineError::not_found(format!("plugin \"{name}\" not found")))
    }

    async fn ipam(&self, name: &str) -> Result<Ipam, EngineError> {
        if let Some(driver) = self.ipams.get(name) {
            return Ok(Ipam { name: name.to_owned(), driver: Arc::clone(driver), builtin: true });
        }
        Err(EngineError::not_found(format!("plugin \"{name}\" not found")))
    }

    fn builtin(&self, name: &str) -> bool {
        self.networks.contains_key(name)
    }

    fn hold(&self, plugin: &str, network: &str) {
        if !self.networks.contains_key(plugin) && !self.ipams.contains_key(plugin) {
            let _lease = self.host.lease(plugin, Holder::Network(network.to_owned()));
        }
    }

    fn release(&self, plugin: &str, network: &str) {
        if !self.networks.contains_key(plugin) && !self.ipams.contains_key(plugin) {
            self.host.release(plugin, &Holder::Network(network.to_owned()));
        }
    }
}
