//! Networks: one name space over all drivers, the endpoints that containers have in them, and the sandboxes that
//! hold these.
//!
//! The engine keeps a record of every network and of every endpoint ([`record`], [`book`]), makes the sandboxes
//! ([`kernel`]), and calls drivers in Docker's order. Drivers can be slow, dead or liars: every call has a budget and
//! stands under no lock, so that a plugin may ask the engine anything from inside any call; and what a driver does not
//! take back is owed to it, written down, and sent again until it answers.
//!
//! | module | job |
//! |---|---|
//! | `create`, `remove`, `pools`, `check` | making and removing networks, and their addresses |
//! | `plan`, `sandbox`, `attach`, `detach`, `gateway`, `change` | a container's endpoints: up, down, and while it runs |
//! | `life` | what an endpoint holds, purely |
//! | `guests` | plugins in networks |
//! | `predefined`, `recover`, `standing` | what boot does, and telling drivers again |
//! | `book`, `record` | what is known, in memory and on disk |
//! | `calls`, `drivers`, `kernel` | who is asked |
//! | `look`, `filter`, `model`, `names`, `view` | what callers and containers see |
//!
//! Behaviour follows Docker's (protocol reference, section D). Deliberately different: the sandbox exists before the
//! container's process does; an address is given back only when the endpoint that had it is gone; removing a network
//! whose plugin is away succeeds, and the plugin is told when it is back.

mod attach;
mod book;
mod calls;
mod change;
mod check;
mod create;
mod detach;
mod drivers;
mod filter;
mod gateway;
mod guests;
mod kernel;
mod life;
mod look;
mod model;
mod names;
mod plan;
mod pools;
mod predefined;
mod record;
mod recover;
mod remove;
mod sandbox;
mod standing;
#[cfg(test)]
mod tests;
mod view;

use std::{
    collections::{BTreeMap, HashSet},
    net::IpAddr,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicBool},
    time::Duration,
};

use pintle_host::Holder;
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub(crate) use check::link;
pub use drivers::{Driver, Drivers, HostDrivers, Ipam};
pub use filter::{Filters, PruneFilters};
pub use guests::PluginRooms;
pub use model::{
    ContainerNetworks, Created, Endpoint, EndpointSpec, HostPort, IpamSpec, Member, Network, NetworkSpec,
    Port, PublishSpec, Subnet, SubnetSpec,
};
pub use names::{Answer, Names, NoResolver, RESOLVER, Resolver, ResolverPlace, Upstream, UpstreamServer};
pub(crate) use plan::network_of_mode;
pub(crate) use sandbox::{Place, Reach};

use crate::{EngineError, Journal, events::Events};
use book::Book;
use calls::{Abilities, Budgets};
use kernel::{Kernel, Linux};
use standing::Standings;

/// What the networks of this engine share.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// `<exec-root>`, on a file system that is empty after boot; namespaces are bound below it.
    pub exec_root: PathBuf,
    /// The network `bridge`, made at every start of the engine as it is configured then; `None`: there is none.
    pub default_bridge: Option<NetworkSpec>,
    /// The bridge of the network by which containers get out whose drivers lead nowhere; empty: `pintle_gwbridge`.
    pub gateway_bridge: String,
    /// What `host-gateway` means in extra hosts; empty: the default bridge's gateway.
    pub host_gateways: Vec<IpAddr>,
    /// Options that networks of a driver get unless they say otherwise, by driver.
    pub default_options: BTreeMap<String, BTreeMap<String, String>>,
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

struct Inner {
    config: Config,
    /// Where namespaces are bound.
    namespaces: PathBuf,
    book: Book,
    drivers: Arc<dyn Drivers>,
    resolver: Arc<dyn Resolver>,
    kernel: Arc<dyn Kernel>,
    events: Events,
    budgets: Budgets,
    abilities: Abilities,
    standings: Standings,
    settling: Settling,
    /// What an earlier engine left half made or half removed, by id.
    half_done: HashSet<String>,
    /// Plugins that may be in networks, by id.
    guests: Mutex<HashSet<String>>,
    pruning: AtomicBool,
    /// Whether plugins had their first chance.
    plugins_up: watch::Sender<bool>,
    /// Counts plugins that came up.
    arrived: watch::Sender<u64>,
    /// Owns everything that goes on after its request was answered.
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl std::fmt::Debug for Networks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Networks").finish_non_exhaustive()
    }
}

/// Which debts somebody is paying just now.
#[derive(Default)]
struct Settling {
    ids: Arc<Mutex<HashSet<String>>>,
}

/// The right to pay one debt.
struct Turn {
    ids: Arc<Mutex<HashSet<String>>>,
    id: String,
}

impl Settling {
    fn take(&self, id: &str) -> Option<Turn> {
        let fresh = self.ids.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned());
        fresh.then(|| Turn { ids: Arc::clone(&self.ids), id: id.to_owned() })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}

impl Networks {
    /// Reads the records; calls no driver. Needs a Tokio runtime.
    pub fn open(
        config: Config,
        journal: Journal,
        drivers: Arc<dyn Drivers>,
        resolver: Arc<dyn Resolver>,
        events: Events,
    ) -> Result<Self, EngineError> {
        let parts = Parts { drivers, resolver, kernel: Arc::new(Linux), budgets: Budgets::default() };
        Self::with(config, journal, parts, events)
    }

    fn with(config: Config, journal: Journal, parts: Parts, events: Events) -> Result<Self, EngineError> {
        let namespaces = config.exec_root.join("netns");
        let book = Book::open(journal)?;
        let half_done = {
            let facts = book.read();
            let half_done = facts.networks().filter(|network| network.state != record::State::Ready);
            half_done.map(|network| network.id.clone()).collect()
        };
        Ok(Self {
            inner: Arc::new(Inner {
                config,
                namespaces,
                book,
                half_done,
                drivers: parts.drivers,
                resolver: parts.resolver,
                kernel: parts.kernel,
                events,
                budgets: parts.budgets,
                abilities: Abilities::default(),
                standings: Standings::default(),
                settling: Settling::default(),
                guests: Mutex::default(),
                pruning: AtomicBool::new(false),
                plugins_up: watch::Sender::new(false),
                arrived: watch::Sender::new(0),
                tasks: TaskTracker::new(),
                stop: CancellationToken::new(),
            }),
        })
    }

    /// The names of the network drivers that are linked in.
    pub fn builtins(&self) -> Vec<String> {
        self.inner.drivers.builtins().into_iter().map(|driver| driver.name).collect()
    }

    /// Every lease that networks hold, by plugin, for `Host::replace_leases`.
    pub fn holders(&self) -> Vec<(String, Holder)> {
        let inner = &self.inner;
        let facts = inner.book.read();
        let mut all = Vec::new();
        for record in facts.networks().filter(|record| !record.special() && !record.config_only) {
            if !inner.drivers.builtin(&record.driver) {
                all.push((record.driver.clone(), Holder::Network(record.id.clone())));
            }
            if record.ipam_driver() != "null" && !inner.drivers.builtin_ipam(record.ipam_driver()) {
                all.push((record.ipam_driver().to_owned(), Holder::Network(record.id.clone())));
            }
        }
        all
    }

    /// What `host-gateway` means in extra hosts.
    pub(crate) fn host_gateways(&self) -> Vec<IpAddr> {
        match self.inner.config.host_gateways.as_slice() {
            [] => look::default_gateways(&self.inner.book.read()),
            given => given.to_vec(),
        }
    }

    /// What containers get that say nothing of names.
    pub(crate) fn config(&self) -> &Config {
        &self.inner.config
    }

    /// Ends background work, waiting a little for driver calls that are under way.
    pub async fn shutdown(&self) {
        self.inner.stop.cancel();
        self.inner.tasks.close();
        if tokio::time::timeout(Duration::from_secs(5), self.inner.tasks.wait()).await.is_err() {
            tracing::warn!(
                calls = self.inner.tasks.len(),
                "network drivers did not answer; leaving without them"
            );
        }
    }
}

/// What networks are made of.
struct Parts {
    drivers: Arc<dyn Drivers>,
    resolver: Arc<dyn Resolver>,
    kernel: Arc<dyn Kernel>,
    budgets: Budgets,
}

impl Inner {
    /// Waits before attempt number `attempt`, or until a plugin comes up; whether there is to be one.
    async fn pause(&self, attempt: usize) -> bool {
        let retries = &self.budgets.retries;
        let Some(pause) = retries.get(attempt).or(retries.last()) else { return false };
        let mut arrived = self.arrived.subscribe();
        arrived.mark_unchanged();
        tokio::select! {
            () = self.stop.cancelled() => false,
            () = tokio::time::sleep(*pause) => true,
            _ = arrived.changed() => true,
        }
    }
}
