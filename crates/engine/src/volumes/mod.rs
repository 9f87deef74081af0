//! Volumes: one name space over all drivers.
//!
//! The engine keeps a record of every volume that it made or that somebody used ([`record`]), and who uses
//! what ([`ledger`]). Everything else about a volume is its driver's to say, and drivers can be slow, dead or
//! liars. So every driver call has a budget, nothing but the volume itself waits for it, and lists answer from
//! what is known ([`survey`]).
//!
//! | module | job |
//! |---|---|
//! | `create`, `remove`, `mount`, `look` | the requests |
//! | `passing` | mounts of somebody who only looks in |
//! | `recover`, `debts` | what boot and half-failed calls leave to be done |
//! | `record`, `ledger` | what is known, on disk and in memory |
//! | `drivers`, `survey` | who can be asked, and asking all of them at once |
//! | `subpath`, `copy_up` | work inside a mounted volume |
//!
//! Behaviour follows Docker's volume store (protocol reference, section C). Deliberately different: a list never
//! waits for a dead driver; a volume whose driver is gone can be forgotten with force; a mount that succeeds
//! after its caller gave up is undone.

mod copy_up;
mod create;
mod debts;
mod drivers;
mod ledger;
mod look;
mod model;
mod mount;
mod passing;
mod record;
mod recover;
mod remove;
pub mod subpath;
mod survey;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use pintle_contract::{DriverError, VolumeDriver};
use pintle_host::{Holder, Host};
use pintle_store::Store;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use copy_up::copy_up;
pub(crate) use drivers::translate;
pub use drivers::{DEFAULT, Driver, Drivers};
pub use model::{ANONYMOUS, Filters, PruneFilters, Pruned, Reference, Usage, Use, Volume};
pub(crate) use model::{has_label, truth};
pub use passing::Passing;

use crate::{
    EngineError, ErrorKind,
    events::{Event, Events, Kind},
};
use ledger::Ledger;
use survey::Survey;

/// What drivers may take, and what callers wait.
#[derive(Debug, Clone)]
pub(crate) struct Budgets {
    /// Finding a driver by its name.
    pub(crate) lookup: Duration,
    /// One `Get` that a request cannot do without.
    pub(crate) get: Duration,
    /// One `Get` of many, when all drivers are asked for a name.
    pub(crate) probe: Duration,
    /// The `Get` of an inspect, which can answer from what is known.
    pub(crate) inspect: Duration,
    /// `Create`.
    pub(crate) create: Duration,
    /// `Remove`.
    pub(crate) remove: Duration,
    /// How long a caller waits for `Mount`.
    pub(crate) mount: Duration,
    /// How long a caller waits for `Unmount`.
    pub(crate) unmount: Duration,
    /// How long a `Mount` or `Unmount` is listened to after its caller gave up.
    pub(crate) late: Duration,
    /// The pauses before work that failed is tried again; the last one repeats.
    pub(crate) retries: Vec<Duration>,
}

impl Default for Budgets {
    fn default() -> Self {
        Self {
            lookup: Duration::from_secs(10),
            get: Duration::from_secs(30),
            probe: Duration::from_millis(500),
            inspect: Duration::from_millis(400),
            create: Duration::from_secs(120),
            remove: Duration::from_secs(60),
            mount: Duration::from_secs(120),
            unmount: Duration::from_secs(60),
            late: Duration::from_secs(600),
            retries: [1, 2, 5, 10, 30, 60].map(Duration::from_secs).to_vec(),
        }
    }
}

/// Every volume of this engine. Cheap to clone.
#[derive(Clone)]
pub struct Volumes {
    inner: Arc<Inner>,
}

struct Inner {
    drivers: Arc<dyn Drivers>,
    ledger: Ledger,
    survey: Arc<Survey>,
    events: Events,
    budgets: Budgets,
    /// Where subpaths are bound while a container is being made.
    subpaths: PathBuf,
    pruning: AtomicBool,
    /// Owns everything that goes on after its request was answered.
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl std::fmt::Debug for Volumes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Volumes").finish_non_exhaustive()
    }
}

impl Volumes {
    /// Reads the records and takes their leases; calls no driver. Needs a Tokio runtime.
    pub fn open(
        data_root: &Path,
        store: Store,
        host: Host,
        local: Arc<dyn VolumeDriver>,
        events: Events,
    ) -> Result<Self, EngineError> {
        Self::with_drivers(data_root, store, Arc::new(drivers::HostDrivers { host, local }), events)
    }

    /// The same over any drivers.
    pub fn with_drivers(
        data_root: &Path,
        store: Store,
        drivers: Arc<dyn Drivers>,
        events: Events,
    ) -> Result<Self, EngineError> {
        Self::with_budgets(data_root, &store, drivers, events, Budgets::default())
    }

    pub(crate) fn with_budgets(
        data_root: &Path,
        store: &Store,
        drivers: Arc<dyn Drivers>,
        events: Events,
        budgets: Budgets,
    ) -> Result<Self, EngineError> {
        let ledger = Ledger::open(store)?;
        for (name, record, _) in ledger.all() {
            drivers.hold(&record.driver, &name);
        }
        let subpaths = data_root.join("subpaths");
        subpath::clean(&subpaths);
        let tasks = TaskTracker::new();
        Ok(Self {
            inner: Arc::new(Inner {
                survey: Survey::new(Arc::clone(&drivers), tasks.clone()),
                drivers,
                ledger,
                events,
                budgets,
                subpaths,
                pruning: AtomicBool::new(false),
                tasks,
                stop: CancellationToken::new(),
            }),
        })
    }

    /// Notes that a container refers to a volume: it cannot be removed until [`Volumes::unreference`].
    /// [`Volumes::create_for`] does both in one step.
    pub fn reference(&self, name: &str, container: &str) {
        self.inner.ledger.change(name, |facts| facts.references.insert(container.to_owned()));
    }

    /// Ends that.
    pub fn unreference(&self, name: &str, container: &str) {
        self.inner.ledger.change(name, |facts| facts.references.remove(container));
    }

    /// The ids of the containers that refer to it or have it mounted.
    pub fn references(&self, name: &str) -> Vec<String> {
        self.inner.ledger.get(name).users()
    }

    /// Every lease that volumes hold, by driver, for `Host::replace_leases`.
    pub fn holders(&self) -> Vec<(String, Holder)> {
        let all = self.inner.ledger.all().into_iter();
        all.filter(|(_, record, _)| record.driver != DEFAULT)
            .map(|(name, record, _)| (record.driver, Holder::Volume(name)))
            .collect()
    }

    /// Copies what an image has where a volume gets mounted into the volume, if that is empty, and says whether
    /// it did. `volume` is what [`Volumes::mount`] returned. Two containers do not fill one volume at once.
    pub async fn copy_up(&self, name: &str, source: &Path, volume: &Path) -> Result<bool, EngineError> {
        let turn = self.inner.ledger.turn(name, self.inner.budgets.mount).await?;
        let (source, volume) = (source.to_owned(), volume.to_owned());
        let copied = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            copy_up(&source, &volume)
        });
        match copied.await {
            Ok(Ok(copied)) => Ok(copied),
            Ok(Err(error)) => Err(EngineError::internal(format!(
                "failed to copy the image's content into volume {name}: {error}"
            ))),
            Err(error) => Err(EngineError::internal(error.to_string())),
        }
    }

    /// A directory or file inside a mounted volume as a path of its own, which a container's bind mount may use
    /// as its source; see [`subpath::Subpath`].
    pub async fn subpath(&self, volume: &Path, inside: &str) -> Result<subpath::Subpath, EngineError> {
        let (at, volume, inside) = (self.inner.subpaths.clone(), volume.to_owned(), inside.to_owned());
        let bound = tokio::task::spawn_blocking(move || subpath::Subpath::bind(&volume, &inside, &at));
        bound.await.map_err(|error| EngineError::internal(error.to_string()))?
    }

    /// A path of the host that has no links in it as a path of its own; see [`subpath::Subpath::pinned`].
    pub async fn pinned(&self, path: &Path) -> Result<subpath::Subpath, EngineError> {
        let (at, path) = (self.inner.subpaths.clone(), path.to_owned());
        let bound = tokio::task::spawn_blocking(move || subpath::Subpath::pinned(&path, &at));
        bound.await.map_err(|error| EngineError::internal(error.to_string()))?
    }

    /// Ends background work, waiting a little for driver calls that are under way.
    pub async fn shutdown(&self) {
        self.inner.stop.cancel();
        self.inner.tasks.close();
        if tokio::time::timeout(Duration::from_secs(5), self.inner.tasks.wait()).await.is_err() {
            tracing::warn!(
                calls = self.inner.tasks.len(),
                "volume drivers did not answer; leaving without them"
            );
        }
    }
}

/// What came of asking a driver for a volume.
#[derive(Debug)]
enum Answer {
    /// It is there.
    Found(pintle_contract::Volume),
    /// The driver answered, and not with a volume.
    Denied,
    /// The driver did not answer.
    Unreachable(DriverError),
}

/// Whether the driver may or may not have done what it was asked.
fn undecided(error: &DriverError) -> bool {
    matches!(error.kind, pintle_contract::ErrorKind::Timeout | pintle_contract::ErrorKind::Unavailable)
}

/// A driver call with a budget.
async fn within<T>(
    budget: Duration,
    what: &str,
    call: impl Future<Output = Result<T, DriverError>>,
) -> Result<T, DriverError> {
    match tokio::time::timeout(budget, call).await {
        Ok(answer) => answer,
        Err(_elapsed) => Err(DriverError::new(
            pintle_contract::ErrorKind::Timeout,
            format!("VolumeDriver.{what}: no answer within {} s", budget.as_secs_f32()),
        )),
    }
}

impl Inner {
    /// The driver called `name`; the error names it as Docker does.
    async fn driver(&self, name: &str) -> Result<Driver, EngineError> {
        let found = tokio::time::timeout(self.budgets.lookup, self.drivers.driver(name)).await;
        let found = found.unwrap_or_else(|_elapsed| {
            Err(EngineError::new(ErrorKind::Unavailable, format!("plugin \"{name}\" does not answer")))
        });
        found.map_err(|error| error.context(format!("error looking up volume plugin {name}")))
    }

    async fn get(&self, driver: &Driver, name: &str, budget: Duration) -> Answer {
        match within(budget, "Get", driver.driver.get(name)).await {
            Ok(volume) => Answer::Found(volume),
            Err(error) if undecided(&error) => Answer::Unreachable(error),
            Err(_) => Answer::Denied,
        }
    }

    /// Asks the driver that a record names. The error says which volume and driver could not be checked.
    async fn check(&self, driver: &str, name: &str, budget: Duration) -> Result<Answer, EngineError> {
        let what = || format!("error while checking if volume \"{name}\" exists in driver \"{driver}\"");
        let found = self.driver(driver).await.map_err(|error| error.context(what()))?;
        Ok(self.get(&found, name, budget).await)
    }

    /// Asks every driver for `name`, each with a small budget, those that just hung not at all. `local` wins,
    /// then the order of names.
    async fn probe(self: &Arc<Self>, name: &str) -> Option<(Driver, pintle_contract::Volume)> {
        let drivers = self.survey.drivers().await;
        let asked = drivers.into_values().flatten().filter(|driver| !self.survey.shunned(&driver.name));
        let answers = futures_util::future::join_all(asked.map(|driver| async move {
            let answer = self.get(&driver, name, self.budgets.probe).await;
            if matches!(&answer, Answer::Unreachable(error) if error.kind == pintle_contract::ErrorKind::Timeout) {
                self.survey.shun(&driver.name);
            }
            (driver, answer)
        }));
        let mut found: Vec<_> = answers
            .await
            .into_iter()
            .filter_map(|(driver, answer)| match answer {
                Answer::Found(volume) => Some((driver, volume)),
                Answer::Denied | Answer::Unreachable(_) => None,
            })
            .collect();
        found.sort_by_key(|(driver, _)| driver.name != DEFAULT);
        found.into_iter().next()
    }

    fn publish(&self, action: &str, name: &str, attributes: &[(&str, &str)]) {
        let attributes: BTreeMap<String, String> =
            attributes.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        self.events.publish(Event::new(Kind::Volume, action, name, attributes));
    }
}
