//! Where networks find their drivers.

use std::{collections::BTreeMap, fmt, sync::Arc};

use async_trait::async_trait;
use pintle_contract::{IpamDriver, NetworkDriver};
use pintle_host::{Arrivals, Holder, Host};

use crate::{EngineError, volumes::translate};

/// A network driver by the name that users know.
#[derive(Clone)]
pub struct Driver {
    /// The full name, such as `weaveworks/net-plugin:latest`.
    pub name: String,
    /// The driver itself, built in or behind a socket.
    pub driver: Arc<dyn NetworkDriver>,
    /// It is linked in: it knows nothing but what this engine tells it, and is told again after a restart.
    pub builtin: bool,
    /// Another number for each life of the plugin behind it; 0 for what is linked in.
    pub life: u64,
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
    /// Another number for each life of the plugin behind it: under a new one, its state may be lost.
    pub life: u64,
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

    /// Whether `name` is an IPAM driver that is linked in.
    fn builtin_ipam(&self, name: &str) -> bool;

    /// Every network driver that is linked in.
    fn builtins(&self) -> Vec<Driver>;

    /// Tells of plugins that come up, if there are any.
    fn arrivals(&self) -> Option<Arrivals>;

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
            let driver = Arc::clone(driver);
            return Ok(Driver { name: name.to_owned(), driver, builtin: true, life: 0 });
        }
        let found = self.host.network_driver(name).await.map_err(translate)?;
        Ok(Driver { name: found.name, driver: found.driver, builtin: false, life: found.life })
    }

    async fn ipam(&self, name: &str) -> Result<Ipam, EngineError> {
        if let Some(driver) = self.ipams.get(name) {
            let driver = Arc::clone(driver);
            return Ok(Ipam { name: name.to_owned(), driver, builtin: true, life: 0 });
        }
        let found = self.host.ipam_driver(name).await.map_err(translate)?;
        Ok(Ipam { name: found.name, driver: found.driver, builtin: false, life: found.life })
    }

    fn builtin(&self, name: &str) -> bool {
        self.networks.contains_key(name)
    }

    fn builtin_ipam(&self, name: &str) -> bool {
        self.ipams.contains_key(name)
    }

    fn builtins(&self) -> Vec<Driver> {
        let all = self.networks.iter();
        all.map(|(name, driver)| Driver {
            name: name.clone(),
            driver: Arc::clone(driver),
            builtin: true,
            life: 0,
        })
        .collect()
    }

    fn arrivals(&self) -> Option<Arrivals> {
        Some(self.host.arrivals())
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
