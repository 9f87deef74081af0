//! What is left to be done after a crash or an unanswered call.

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
};

use futures_util::{StreamExt, future::join_all, stream};

use super::{Answer, Inner, Reference, Volumes, ledger::Hold, record::State};
use crate::EngineError;

/// How many volumes are checked at once at boot.
const CHECKED_AT_ONCE: usize = 8;

impl Volumes {
    /// At boot, before anything else: who refers to what, and which mounts are in place. Replaces what was
    /// known of both. Calls no driver.
    pub fn restore(&self, references: Vec<Reference>) {
        let ledger = &self.inner.ledger;
        for Reference { volume, container, mounts } in references {
            ledger.change(&volume, |facts| {
                for id in mounts {
                    facts.holds.entry(id).or_insert_with(|| Hold { holder: container.clone(), times: 1 });
                }
                facts.references.insert(container);
            });
        }
    }

    /// At boot, once plugins had their first attempt to start: finishes what was half done, and forgets
    /// unreferenced volumes that their driver denies. Volumes whose driver cannot be reached are kept. Returns
    /// when all drivers were asked; what could not be finished goes on in the background.
    pub async fn reconcile(&self) {
        let inner = &self.inner;
        match inner.ledger.debts() {
            Ok(debts) => debts.iter().for_each(|(name, id)| inner.pay_later(name, id)),
            Err(error) => tracing::error!(%error, "could not read which unmounts are still to be sent"),
        }
        let all = inner.ledger.all();
        // Only those that have volumes here: a plugin that somebody else started is not called before it is used.
        let drivers: BTreeSet<String> = all.iter().map(|(_, record, _)| record.driver.clone()).collect();
        let said = join_all(drivers.into_iter().map(|name| async move {
            let driver = inner.driver(&name).await;
            inner.survey.ask_one(name, driver).await
        }))
        .await;
        let listed: HashSet<(&str, &str)> = said
            .iter()
            .filter(|said| said.failure.is_none())
            .flat_map(|said| {
                said.known.volumes.iter().map(|volume| (said.driver.as_str(), volume.name.as_str()))
            })
            .collect();
        let mut doubtful = Vec::new();
        for (name, record, facts) in all {
            if record.state != State::Ready {
                inner.settle_later(&name);
            } else if !listed.contains(&(record.driver.as_str(), name.as_str())) && facts.users().is_empty() {
                doubtful.push((name, record.driver));
            }
        }
        // Each has its budget, so this ends.
        stream::iter(doubtful)
            .for_each_concurrent(CHECKED_AT_ONCE, |(name, driver)| async move {
                if let Err(error) = inner.forget_if_denied(&name, &driver).await {
                    tracing::info!(volume = name, driver, %error, "keeping a volume that cannot be checked now");
                }
            })
            .await;
    }
}

impl Inner {
    async fn forget_if_denied(&self, name: &str, driver: &str) -> Result<(), EngineError> {
        let turn = self.ledger.turn(name, self.budgets.get).await?;
        match self.check(driver, name, self.budgets.get).await? {
            Answer::Found(_) => {}
            Answer::Unreachable(error) => return Err(error.into()),
            Answer::Denied => {
                let facts = self.ledger.get(name);
                let unchanged = facts.record.as_ref().is_some_and(|record| record.driver == driver);
                if unchanged && facts.users().is_empty() {
                    tracing::info!(
                        volume = name,
                        driver,
                        "forgetting a volume that its driver does not know"
                    );
                    self.forget(&turn, name, driver)?;
                    self.publish("destroy", name, &[("driver", driver)]);
                }
            }
        }
        Ok(())
    }

    /// After a removal that was never answered: looks for a while whether the driver does it after all.
    pub(super) fn look_again(self: &Arc<Self>, name: &str, driver: &str) {
        let (inner, name, driver) = (Arc::clone(self), name.to_owned(), driver.to_owned());
        self.tasks.spawn(async move {
            let mut looks = 0;
            let mut attempt = 0;
            while looks < inner.budgets.retries.len() && inner.pause(attempt).await {
                attempt += 1;
                looks += usize::from(inner.forget_if_denied(&name, &driver).await.is_ok());
            }
        });
    }

    /// Brings a volume in `Creating` or `Removing` to an end, trying again until its driver answers.
    pub(super) fn settle_later(self: &Arc<Self>, name: &str) {
        let (inner, name) = (Arc::clone(self), name.to_owned());
        self.tasks.spawn(async move {
            let mut attempt = 0;
            loop {
                match inner.settle(&name).await {
                    Ok(()) => return,
                    Err(error) => {
                        tracing::debug!(volume = name, %error, "a half-done volume is not settled yet")
                    }
                }
                if !inner.pause(attempt).await {
                    return;
                }
                attempt += 1;
            }
        });
    }

    async fn settle(self: &Arc<Self>, name: &str) -> Result<(), EngineError> {
        let turn = self.ledger.turn(name, self.budgets.get).await?;
        let Some(record) = self.ledger.record(name).filter(|record| record.state != State::Ready) else {
            return Ok(());
        };
        if record.state == State::Removing && !self.ledger.get(name).users().is_empty() {
            return self.ledger.set_state(&turn, name, State::Ready);
        }
        let driver = self.driver(&record.driver).await?;
        match self.get(&driver, name, self.budgets.get).await {
            Answer::Denied => self.forget(&turn, name, &record.driver),
            Answer::Unreachable(error) => Err(error.into()),
            // Nobody was told that it was made, or that it was not removed.
            Answer::Found(_) => match self.remove_from(&turn, name, &driver).await {
                Err(error) if error.kind() != crate::ErrorKind::Unavailable => {
                    tracing::warn!(volume = name, %error, "a half-done volume cannot be undone; keeping it");
                    self.ledger.set_state(&turn, name, State::Ready)
                }
                other => other,
            },
        }
    }

    /// Waits before attempt number `attempt`; whether there is to be one.
    pub(super) async fn pause(&self, attempt: usize) -> bool {
        let retries = &self.budgets.retries;
        let Some(pause) = retries.get(attempt).or(retries.last()) else { return false };
        tokio::select! {
            () = self.stop.cancelled() => false,
            () = tokio::time::sleep(*pause) => true,
        }
    }
}
