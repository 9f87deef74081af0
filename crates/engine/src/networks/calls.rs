//! Calling drivers: with a budget each, under no lock, and knowing what they can do.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use pintle_contract::{
    DriverError, ErrorKind as DriverKind, ipam::IpamCapabilities, network::NetworkCapabilities,
};

use super::{
    Inner,
    drivers::{Driver, Ipam},
    life::Outcome,
};
use crate::{EngineError, ErrorKind};

/// What drivers may take, and what callers wait.
#[derive(Debug, Clone)]
pub(crate) struct Budgets {
    /// Finding a driver by its name.
    pub(crate) lookup: Duration,
    /// A call that makes something.
    pub(crate) make: Duration,
    /// A call that gives something back.
    pub(crate) give: Duration,
    /// All that a container's networks give back at its end; whoever waits for the end waits no longer.
    pub(crate) end: Duration,
    /// A question that can go unanswered.
    pub(crate) ask: Duration,
    /// The pauses before work that failed is tried again; the last one repeats.
    pub(crate) retries: Vec<Duration>,
}

impl Default for Budgets {
    fn default() -> Self {
        Self {
            lookup: Duration::from_secs(15),
            make: Duration::from_secs(60),
            give: Duration::from_secs(20),
            end: Duration::from_secs(5),
            ask: Duration::from_secs(5),
            retries: [1, 2, 5, 10, 30, 60].map(Duration::from_secs).to_vec(),
        }
    }
}

/// What drivers said they can do, by name, for the life in which they said it.
#[derive(Default)]
pub(super) struct Abilities {
    networks: Mutex<HashMap<String, (u64, NetworkCapabilities)>>,
    ipams: Mutex<HashMap<String, (u64, IpamCapabilities)>>,
}

fn known<T: Copy>(all: &Mutex<HashMap<String, (u64, T)>>, name: &str, life: u64) -> Option<T> {
    let all = all.lock().unwrap_or_else(PoisonError::into_inner);
    all.get(name).filter(|(then, _)| *then == life).map(|(_, can)| *can)
}

fn note<T>(all: &Mutex<HashMap<String, (u64, T)>>, name: &str, life: u64, can: T) {
    all.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), (life, can));
}

/// Whether the driver may or may not have done what it was asked.
pub(super) fn undecided(error: &DriverError) -> bool {
    matches!(error.kind, DriverKind::Timeout | DriverKind::Unavailable)
}

/// What a call came to.
pub(super) fn outcome<T>(result: &Result<T, DriverError>) -> Outcome {
    match result {
        Ok(_) => Outcome::Done,
        Err(error) if error.kind == DriverKind::Timeout => Outcome::Unanswered,
        Err(error) if error.kind == DriverKind::Unavailable => Outcome::Unanswered,
        Err(_) => Outcome::Refused,
    }
}

/// A driver call with a budget.
pub(super) async fn within<T>(
    budget: Duration,
    what: &str,
    call: impl Future<Output = Result<T, DriverError>>,
) -> Result<T, DriverError> {
    match tokio::time::timeout(budget, call).await {
        Ok(answer) => answer,
        Err(_elapsed) => Err(DriverError::new(
            DriverKind::Timeout,
            format!("{what}: no answer within {} s", budget.as_secs_f32()),
        )),
    }
}

impl Inner {
    /// The network driver called `name`, and what it can do.
    pub(super) async fn driver(&self, name: &str) -> Result<(Driver, NetworkCapabilities), EngineError> {
        let found = tokio::time::timeout(self.budgets.lookup, self.drivers.network(name)).await;
        let driver = found.unwrap_or_else(|_elapsed| Err(away(name)))?;
        if let Some(can) = known(&self.abilities.networks, &driver.name, driver.life) {
            return Ok((driver, can));
        }
        let asked = driver.driver.capabilities();
        let can = within(self.budgets.give, "NetworkDriver.GetCapabilities", asked).await?;
        note(&self.abilities.networks, &driver.name, driver.life, can);
        Ok((driver, can))
    }

    /// The IPAM driver called `name`, and what it needs.
    pub(super) async fn ipam(&self, name: &str) -> Result<(Ipam, IpamCapabilities), EngineError> {
        let found = tokio::time::timeout(self.budgets.lookup, self.drivers.ipam(name)).await;
        let ipam = found.unwrap_or_else(|_elapsed| Err(away(name)))?;
        if let Some(needs) = known(&self.abilities.ipams, &ipam.name, ipam.life) {
            return Ok((ipam, needs));
        }
        let asked = ipam.driver.capabilities();
        let needs = match within(self.budgets.give, "IpamDriver.GetCapabilities", asked).await {
            Ok(needs) => needs,
            Err(error) if undecided(&error) => return Err(error.into()),
            // The protocol's rule: whoever does not say needs neither.
            Err(_) => IpamCapabilities::default(),
        };
        note(&self.abilities.ipams, &ipam.name, ipam.life, needs);
        Ok((ipam, needs))
    }
}

fn away(name: &str) -> EngineError {
    EngineError::new(ErrorKind::Unavailable, format!("plugin \"{name}\" does not answer"))
}
