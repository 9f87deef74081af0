//! Networks: one name space over all drivers, the endpoints that containers have in them, and the sandboxes that
//! hold these.

mod drivers;
mod filter;
mod model;
mod names;

use std::{net::IpAddr, path::PathBuf, sync::Arc};

use pintle_host::Holder;
use pintle_store::Store;

pub use drivers::{Driver, Drivers, HostDrivers, Ipam};
pub use filter::{Filters, PruneFilters};
pub use model::{
    ContainerNetworks, Created, Endpoint, EndpointSpec, HostPort, IpamSpec, Member, Network, NetworkSpec,
    Port, PublishSpec, Subnet, SubnetSpec,
};
pub use names::{Answer, Names, NoResolver, RESOLVER, Resolver, ResolverPlace, Upstream, UpstreamServer};

use crate::{EngineError, ErrorKind, containers::Container, events::Events};

/// What the networks of this engine share.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// `<exec-root>`, on a file system that is empty after boot; namespaces are bound below it.
    pub exec_root: PathBuf,
    /// The network `bridge`, made at every start of the engine as it is configured then; `None`: there is none.
    pub default_bridge: Option<NetworkSpec>,
    /// What `host-gateway` means in extra hosts; empty: the default bridge's gateway.
    pub host_gateways: Vec<IpAddr>,
    /// Options that networks of a driver get unless they say otherwise, by driver.
    pub default_options: std::collections::BTreeMap<String, std::collections::BTreeMap<String, String>>,
    /// Name servers of containers that name none; empty: the host's.
    pub dns: Vec<String>,
    /// The same for resolver options.
    pub dns_options: Vec<String>,
    /// The same for search domains.
    pub dns_search: Vec<String>,
}

/// Every network of this engine. Cheap to clone.
#[derive(Clone)]
pub struct Networks {
    inner: Arc<Inner>,
}

struct Inner {}

impl std::fmt::Debug for Networks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Networks").finish_non_exhaustive()
    }
}

fn soon<T>() -> Result<T, EngineError> {
    Err(EngineError::new(ErrorKind::NotImplemented, "networks are being built"))
}

impl Networks {
    /// Reads the records and takes their leases; calls no driver. Needs a Tokio runtime.
    pub fn open(
        _config: Config,
        _store: Store,
        _drivers: Arc<dyn Drivers>,
        _resolver: Arc<dyn Resolver>,
        _events: Events,
    ) -> Result<Self, EngineError> {
        Ok(Self { inner: Arc::new(Inner {}) })
    }

    /// Makes a network.
    pub async fn create(&self, _spec: NetworkSpec) -> Result<Created, EngineError> {
        soon()
    }

    /// Removes a network that nobody uses, by id, name or unambiguous prefix of the id.
    pub async fn remove(&self, _name: &str) -> Result<(), EngineError> {
        soon()
    }

    /// Removes the networks that no container is in and that `filters` pass, and says their names.
    pub async fn prune(&self, _filters: &PruneFilters) -> Result<Vec<String>, EngineError> {
        soon()
    }

    /// One network, by id, name or unambiguous prefix of the id.
    pub fn get(&self, name: &str) -> Result<Network, EngineError> {
        Err(EngineError::not_found(format!("network {name} not found")))
    }

    /// The networks that pass. Waits for nothing.
    pub fn list(&self, _filters: &Filters) -> Vec<Network> {
        Vec::new()
    }

    /// What a container wants of networks and what it has.
    pub fn of(&self, _container: &Container) -> ContainerNetworks {
        ContainerNetworks::default()
    }

    /// What names mean to a running container.
    pub fn names(&self, _container: &str) -> Option<Names> {
        None
    }

    /// Every lease that networks hold, by plugin, for `Host::replace_leases`.
    pub fn holders(&self) -> Vec<(String, Holder)> {
        Vec::new()
    }

    /// At boot, before containers are restored: tells the drivers that are linked in what there is, and makes the
    /// predefined networks. What the host lacks for it becomes the network's [`Network::trouble`].
    pub async fn prepare(&self) {}

    /// At boot, once plugins had their first chance: takes up networks of plugins, finishes what was half done and
    /// sends what is owed. Returns when each had its first attempt; what could not be finished goes on in the
    /// background.
    pub async fn reconcile(&self) {}

    /// Ends background work, waiting a little for driver calls that are under way.
    pub async fn shutdown(&self) {
        let _ = &self.inner;
    }
}
