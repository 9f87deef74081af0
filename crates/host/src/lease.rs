use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

/// Who uses a plugin.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Holder {
    /// A volume of the plugin's, by name.
    Volume(String),
    /// A container that has one of the plugin's objects in use, by id.
    Container(String),
    /// A network of the plugin's, by id.
    Network(String),
    /// An open log stream, by container id.
    LogStream(String),
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Volume(name) => write!(f, "volume {name}"),
            Self::Container(id) => write!(f, "container {id}"),
            Self::Network(id) => write!(f, "network {id}"),
            Self::LogStream(id) => write!(f, "log stream of container {id}"),
        }
    }
}

/// Every lease there is. Kept in memory: at boot the engine recomputes all of them from what exists.
#[derive(Clone, Default)]
pub(crate) struct Leases {
    held: Arc<Mutex<BTreeMap<String, BTreeSet<Holder>>>>,
}

impl Leases {
    fn with<R>(&self, act: impl FnOnce(&mut BTreeMap<String, BTreeSet<Holder>>) -> R) -> R {
        act(&mut self.held.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes a lease. Taking one that is held is the same lease.
    pub(crate) fn take(&self, plugin: &str, holder: Holder) -> Lease {
        self.with(|held| held.entry(plugin.to_owned()).or_default().insert(holder.clone()));
        Lease { leases: self.clone(), plugin: plugin.to_owned(), holder }
    }

    /// Ends a lease, if it is held.
    pub(crate) fn release(&self, plugin: &str, holder: &Holder) {
        self.with(|held| {
            if let Some(holders) = held.get_mut(plugin) {
                holders.remove(holder);
                if holders.is_empty() {
                    held.remove(plugin);
                }
            }
        });
    }

    /// Forgets what was held and holds `all`.
    pub(crate) fn replace(&self, all: impl IntoIterator<Item = (String, Holder)>) {
        let mut fresh: BTreeMap<String, BTreeSet<Holder>> = BTreeMap::new();
        for (plugin, holder) in all {
            fresh.entry(plugin).or_default().insert(holder);
        }
        self.with(|held| *held = fresh);
    }

    /// Who uses `plugin`, in words.
    pub(crate) fn holders(&self, plugin: &str) -> Vec<String> {
        self.with(|held| held.get(plugin).map(|all| all.iter().map(Holder::to_string).collect()))
            .unwrap_or_default()
    }

    /// Forgets a plugin that is gone.
    pub(crate) fn forget(&self, plugin: &str) {
        self.with(|held| held.remove(plugin));
    }
}

/// A named use of a plugin. Ends by [`Lease::release`], not by being dropped: a lease is a fact about what
/// exists, and outlives the code that noticed it.
#[derive(Clone)]
#[must_use = "a lease that is not kept can still be released by `Host::release`"]
pub struct Lease {
    leases: Leases,
    plugin: String,
    holder: Holder,
}

impl Lease {
    /// The plugin's id.
    pub fn plugin(&self) -> &str {
        &self.plugin
    }

    /// Who holds it.
    pub fn holder(&self) -> &Holder {
        &self.holder
    }

    /// Ends it. Releasing twice is harmless.
    pub fn release(&self) {
        self.leases.release(&self.plugin, &self.holder);
    }
}
