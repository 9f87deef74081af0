use std::{fmt, sync::Arc};

use pintle_contract::{Authorizer, IpamDriver, LogDriver, MetricsCollector, NetworkDriver, VolumeDriver};
use pintle_wire::Interface;

use crate::remote::{Authorization, Client, Ipam, Log, Metrics, Network, PathMap, Volume};

/// A driver that a plugin offers.
///
/// Do not keep it for longer than a task: a plugin that is started again is another driver under the same name.
pub struct DriverRef<D: ?Sized> {
    /// The driver's name as users know it.
    pub name: String,
    /// The driver.
    pub driver: Arc<D>,
    /// The managed plugin behind it, `None` for a legacy one.
    pub plugin_id: Option<String>,
    /// Another number for each life of the plugin that this engine has seen: under a number that is new, what the
    /// plugin keeps in memory may be lost.
    pub life: u64,
}

/// A volume driver that a plugin offers.
pub type VolumeDriverRef = DriverRef<dyn VolumeDriver>;

/// A network driver that a plugin offers.
pub type NetworkDriverRef = DriverRef<dyn NetworkDriver>;

/// An IPAM driver that a plugin offers.
pub type IpamDriverRef = DriverRef<dyn IpamDriver>;

/// A log driver that a plugin offers.
pub type LogDriverRef = DriverRef<dyn LogDriver>;

/// An authorizer that a plugin offers.
pub type AuthorizerRef = DriverRef<dyn Authorizer>;

/// A collector of metrics that a plugin offers.
pub type MetricsCollectorRef = DriverRef<dyn MetricsCollector>;

impl<D: ?Sized> Clone for DriverRef<D> {
    fn clone(&self) -> Self {
        Self {
            name: self.name.clone(),
            driver: Arc::clone(&self.driver),
            plugin_id: self.plugin_id.clone(),
            life: self.life,
        }
    }
}

impl<D: ?Sized> fmt::Debug for DriverRef<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DriverRef")
            .field("name", &self.name)
            .field("plugin_id", &self.plugin_id)
            .field("life", &self.life)
            .finish_non_exhaustive()
    }
}

/// A contract that a plugin can keep.
pub(crate) trait Contract: Send + Sync + 'static {
    /// What it is called on the wire.
    const INTERFACE: Interface;

    /// The one of a plugin's remote forms that keeps it.
    fn of(remotes: &Remotes) -> Arc<Self>;
}

impl Contract for dyn VolumeDriver {
    const INTERFACE: Interface = Interface::Volume;

    fn of(remotes: &Remotes) -> Arc<Self> {
        remotes.volume.clone()
    }
}

impl Contract for dyn NetworkDriver {
    const INTERFACE: Interface = Interface::Network;

    fn of(remotes: &Remotes) -> Arc<Self> {
        remotes.network.clone()
    }
}

impl Contract for dyn IpamDriver {
    const INTERFACE: Interface = Interface::Ipam;

    fn of(remotes: &Remotes) -> Arc<Self> {
        remotes.ipam.clone()
    }
}

impl Contract for dyn LogDriver {
    const INTERFACE: Interface = Interface::Log;

    fn of(remotes: &Remotes) -> Arc<Self> {
        remotes.log.clone()
    }
}

impl Contract for dyn Authorizer {
    const INTERFACE: Interface = Interface::Authorization;

    fn of(remotes: &Remotes) -> Arc<Self> {
        remotes.authorization.clone()
    }
}

impl Contract for dyn MetricsCollector {
    const INTERFACE: Interface = Interface::Metrics;

    fn of(remotes: &Remotes) -> Arc<Self> {
        remotes.metrics.clone()
    }
}

/// One life of a plugin, as every contract that it could keep. Which of them it keeps it says itself.
#[derive(Debug, Clone)]
pub(crate) struct Remotes {
    pub(crate) life: u64,
    volume: Arc<Volume>,
    network: Arc<Network>,
    ipam: Arc<Ipam>,
    log: Arc<Log>,
    authorization: Arc<Authorization>,
    metrics: Arc<Metrics>,
}

impl Remotes {
    /// `extended`: it said that it wants more than Docker's fields of requests that it judges.
    pub(crate) fn new(client: &Arc<Client>, paths: PathMap, life: u64, extended: bool) -> Self {
        Self {
            life,
            log: Arc::new(Log::new(Arc::clone(client), &paths)),
            volume: Arc::new(Volume::new(Arc::clone(client), paths)),
            network: Arc::new(Network::new(Arc::clone(client))),
            ipam: Arc::new(Ipam::new(Arc::clone(client))),
            authorization: Arc::new(Authorization::new(Arc::clone(client), extended)),
            metrics: Arc::new(Metrics::new(Arc::clone(client))),
        }
    }

    pub(crate) fn driver<D: Contract + ?Sized>(&self, name: &str, plugin_id: Option<&str>) -> DriverRef<D> {
        DriverRef {
            name: name.to_owned(),
            driver: D::of(self),
            plugin_id: plugin_id.map(str::to_owned),
            life: self.life,
        }
    }
}
