//! Asking all drivers at once without waiting for any.
//!
//! Each driver has at most one `List` under way. Whoever wants the answer waits a moment for it and otherwise
//! takes the last one; the call goes on by itself, so a slow driver is up to date the next time and a dead one
//! costs one moment once.

use std::{
    collections::{BTreeMap, HashMap},
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use pintle_contract::{DriverError, ErrorKind as DriverKind, Scope, Volume};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use super::drivers::{Driver, Drivers};
use crate::{EngineError, ErrorKind};

/// How long a listing waits to learn which drivers there are.
const DRIVERS_PATIENCE: Duration = Duration::from_millis(150);
/// How long a listing waits for each driver, all of them at once.
const LIST_PATIENCE: Duration = Duration::from_millis(250);
/// How long a driver may take over `List` for its answer to be of use the next time.
const LIST_BUDGET: Duration = Duration::from_secs(10);
/// How long a driver that did not answer in time is not waited for again.
const SHUNNED: Duration = Duration::from_secs(5);

/// What one driver last said.
#[derive(Debug, Clone, Default)]
pub(super) struct Known {
    /// Its volumes.
    pub(super) volumes: Vec<Volume>,
    /// Where they are visible.
    pub(super) scope: Scope,
    /// When the call began whose answer this is; `None` if it never answered.
    pub(super) asked: Option<Instant>,
    /// Why the last call failed.
    failure: Option<String>,
}

/// What came of asking one driver.
#[derive(Debug)]
pub(super) struct Said {
    /// Its name.
    pub(super) driver: String,
    /// What it said now, or else the last time.
    pub(super) known: Known,
    /// Why it is not what it said now.
    pub(super) failure: Option<EngineError>,
}

type Flights = HashMap<String, watch::Receiver<()>>;

/// The last answers, and the calls under way.
pub(super) struct Survey {
    drivers: Arc<dyn Drivers>,
    tasks: TaskTracker,
    known: Mutex<HashMap<String, Known>>,
    all: Mutex<BTreeMap<String, Result<Driver, EngineError>>>,
    flights: Mutex<Flights>,
    hung: Mutex<HashMap<String, Instant>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Survey {
    pub(super) fn new(drivers: Arc<dyn Drivers>, tasks: TaskTracker) -> Arc<Self> {
        Arc::new(Self {
            drivers,
            tasks,
            known: Mutex::default(),
            all: Mutex::default(),
            flights: Mutex::default(),
            hung: Mutex::default(),
        })
    }

    /// Every driver, as far as that can be told in a moment.
    pub(super) async fn drivers(self: &Arc<Self>) -> BTreeMap<String, Result<Driver, EngineError>> {
        let survey = Arc::clone(self);
        // No driver's name is empty.
        let flight = self.fly("", async move {
            let all = survey.drivers.drivers().await.into_iter().collect();
            *locked(&survey.all) = all;
        });
        landed(flight, DRIVERS_PATIENCE).await;
        locked(&self.all).clone()
    }

    /// Asks every driver for its volumes.
    pub(super) async fn ask(self: &Arc<Self>) -> Vec<Said> {
        let drivers = self.drivers().await;
        join_all(drivers.into_iter().map(|(name, driver)| self.ask_one(name, driver))).await
    }

    /// Asks one driver for its volumes.
    pub(super) async fn ask_one(self: &Arc<Self>, name: String, driver: Result<Driver, EngineError>) -> Said {
        let driver = match driver {
            Ok(driver) => driver,
            Err(error) => {
                let known = locked(&self.known).get(&name).cloned().unwrap_or_default();
                let failure = Some(error.context(format!("error looking up volume plugin {name}")));
                return Said { driver: name, known, failure };
            }
        };
        let survey = Arc::clone(self);
        let flight = self.fly(&name, {
            let name = name.clone();
            async move {
                let asked = Instant::now();
                let answer = tokio::time::timeout(LIST_BUDGET, async {
                    let volumes = driver.driver.list().await?;
                    let capabilities = driver.driver.capabilities().await;
                    Ok((volumes, capabilities.ok().map(|capabilities| capabilities.scope)))
                });
                let late = |_elapsed| {
                    let text = format!("no answer within {} s", LIST_BUDGET.as_secs());
                    Err(DriverError::new(DriverKind::Timeout, text))
                };
                survey.note(&name, asked, answer.await.unwrap_or_else(late));
            }
        });
        let patience = if self.shunned(&name) { Duration::ZERO } else { LIST_PATIENCE };
        let landed = landed(flight, patience).await;
        if !landed {
            self.shun(&name);
        }
        let known = locked(&self.known).get(&name).cloned().unwrap_or_default();
        let failure = match &known.failure {
            _ if !landed => Some(format!("no answer within {} ms", LIST_PATIENCE.as_millis())),
            Some(failure) => Some(failure.clone()),
            None => None,
        };
        Said {
            driver: name,
            known,
            failure: failure.map(|text| EngineError::new(ErrorKind::Unavailable, text)),
        }
    }

    fn note(&self, name: &str, asked: Instant, answer: Result<(Vec<Volume>, Option<Scope>), DriverError>) {
        let mut known = locked(&self.known);
        let known = known.entry(name.to_owned()).or_default();
        match answer {
            Ok((volumes, scope)) => {
                let scope = scope.unwrap_or(known.scope);
                *known = Known { volumes, scope, asked: Some(asked), failure: None };
                locked(&self.hung).remove(name);
            }
            Err(error) => {
                if error.kind == DriverKind::Timeout {
                    self.shun(name);
                }
                known.failure = Some(error.message);
            }
        }
    }

    /// Whether the driver did not answer in time just now.
    pub(super) fn shunned(&self, name: &str) -> bool {
        locked(&self.hung).get(name).is_some_and(|since| since.elapsed() < SHUNNED)
    }

    /// Notes that the driver did not answer in time.
    pub(super) fn shun(&self, name: &str) {
        locked(&self.hung).insert(name.to_owned(), Instant::now());
    }

    /// What the driver last listed under this name.
    pub(super) fn last(&self, driver: &str, volume: &str) -> Option<Volume> {
        let known = locked(&self.known);
        known.get(driver)?.volumes.iter().find(|known| known.name == volume).cloned()
    }

    /// Joins the call under way for `name`, or begins `call`.
    fn fly(
        self: &Arc<Self>,
        name: &str,
        call: impl Future<Output = ()> + Send + 'static,
    ) -> watch::Receiver<()> {
        let mut flights = locked(&self.flights);
        // A call that panicked has landed without saying so.
        if let Some(flight) = flights.get(name).filter(|flight| flight.has_changed().is_ok()) {
            return flight.clone();
        }
        let (landing, flight) = watch::channel(());
        flights.insert(name.to_owned(), flight.clone());
        let (survey, name) = (Arc::clone(self), name.to_owned());
        self.tasks.spawn(async move {
            call.await;
            locked(&survey.flights).remove(&name);
            drop(landing);
        });
        flight
    }
}

/// Waits for a call to end, at most `patience`; whether it did.
async fn landed(mut flight: watch::Receiver<()>, patience: Duration) -> bool {
    // Nothing is ever sent: the sender's end is the news.
    tokio::time::timeout(patience, async { while flight.changed().await.is_ok() {} }).await.is_ok()
}
