//! Removing volumes, one or all that nobody uses.

use std::sync::{Arc, atomic::Ordering};

use super::{
    Answer, DEFAULT, Inner, PruneFilters, Pruned, Volumes,
    create::no_such_volume,
    look::size_of,
    model::has_label,
    record::{Record, State},
};
use crate::{EngineError, ErrorKind};
use pintle_store::failpoint;

impl Volumes {
    /// Removes a volume and its data. One in use is refused even with `force`. With `force`, a volume that
    /// nobody has is removed already, and one whose driver is gone from this host is forgotten.
    pub async fn remove(&self, name: &str, force: bool) -> Result<(), EngineError> {
        let (inner, name) = (Arc::clone(&self.inner), name.to_owned());
        // A client that hangs up does not leave a volume half removed.
        let removed = self.inner.tasks.spawn(async move { inner.remove(&name, force).await });
        removed.await.map_err(|error| EngineError::internal(error.to_string()))?
    }

    /// Removes the `local` volumes without options that no container refers to, as far as `filters` pass them.
    pub async fn prune(&self, filters: &PruneFilters) -> Result<Pruned, EngineError> {
        if self.inner.pruning.swap(true, Ordering::AcqRel) {
            return Err(EngineError::conflict("a prune operation is already running"));
        }
        let (inner, filters) = (Arc::clone(&self.inner), filters.clone());
        let pruned = self.inner.tasks.spawn(async move {
            let pruned = inner.prune(&filters).await;
            inner.pruning.store(false, Ordering::Release);
            pruned
        });
        pruned.await.map_err(|error| EngineError::internal(error.to_string()))
    }
}

impl Inner {
    async fn remove(self: &Arc<Self>, name: &str, force: bool) -> Result<(), EngineError> {
        let turn =
            self.ledger.turn(name, self.budgets.remove).await.map_err(|error| removing(name, error))?;
        let facts = self.ledger.get(name);
        let users = facts.users();
        if !users.is_empty() {
            return Err(EngineError::conflict(format!(
                "remove {name}: volume is in use - [{}]",
                users.join(", ")
            )));
        }
        let Some(record) = facts.record else {
            // Somebody else's volume, which Docker removes as well.
            let Some((driver, _)) = self.probe(name).await else {
                return if force { Ok(()) } else { Err(no_such_volume(name)) };
            };
            self.remove_from(&turn, name, &driver).await.map_err(|error| removing(name, error))?;
            self.publish("destroy", name, &[("driver", &driver.name)]);
            return Ok(());
        };
        let driver = match self.driver(&record.driver).await {
            Ok(driver) => driver,
            Err(error) if force && error.kind() == ErrorKind::NotFound => {
                tracing::info!(
                    volume = name,
                    driver = record.driver,
                    "forgetting a volume whose driver is gone"
                );
                self.forget(&turn, name, &record.driver)?;
                self.publish("destroy", name, &[("driver", &record.driver)]);
                return Ok(());
            }
            Err(error) => {
                let what = format!(
                    "error while checking if volume \"{name}\" exists in driver \"{}\"",
                    record.driver
                );
                return Err(error.context(what).context(format!("get {name}")));
            }
        };
        if record.state == State::Ready
            && let Answer::Denied = self.get(&driver, name, self.budgets.get).await
        {
            // Removed behind our back: nothing is left but the record.
            self.forget(&turn, name, &record.driver)?;
            self.publish("destroy", name, &[("driver", &record.driver)]);
            return if force { Ok(()) } else { Err(no_such_volume(name)) };
        }
        self.pay_all(&turn, name, &driver).await.map_err(|error| removing(name, error))?;
        self.ledger.set_state(&turn, name, State::Removing)?;
        failpoint!("engine.volume.removing");
        if let Err(error) = self.remove_from(&turn, name, &driver).await {
            // The caller is told that it was not removed, so the engine must not remove it later by itself.
            self.ledger.set_state(&turn, name, State::Ready)?;
            if error.kind() == ErrorKind::Unavailable {
                self.look_again(name, &record.driver);
            }
            return Err(removing(name, error));
        }
        failpoint!("engine.volume.removed");
        self.publish("destroy", name, &[("driver", &record.driver)]);
        Ok(())
    }

    async fn prune(self: &Arc<Self>, filters: &PruneFilters) -> Pruned {
        let mut pruned = Pruned::default();
        for (name, record, facts) in self.ledger.all() {
            if !facts.users().is_empty() || !prunable(&record, filters) || self.stop.is_cancelled() {
                continue;
            }
            let size = self.local_size(&name).await;
            match self.remove(&name, false).await {
                Ok(()) => {
                    pruned.volumes.push(name);
                    pruned.reclaimed += size;
                }
                // Taken into use or removed in the meantime.
                Err(error) if matches!(error.kind(), ErrorKind::Conflict | ErrorKind::NotFound) => {}
                Err(error) => tracing::warn!(volume = name, %error, "could not prune a volume"),
            }
        }
        let reclaimed = pruned.reclaimed.to_string();
        self.publish("prune", "", &[("reclaimed", &reclaimed)]);
        pruned
    }

    /// The bytes in a `local` volume, 0 if that cannot be told.
    async fn local_size(&self, name: &str) -> u64 {
        let Ok(driver) = self.driver(DEFAULT).await else { return 0 };
        match self.get(&driver, name, self.budgets.get).await {
            Answer::Found(pintle_contract::Volume { mountpoint: Some(path), .. }) => {
                size_of(path).await.unwrap_or(0)
            }
            _ => 0,
        }
    }
}

fn prunable(record: &Record, filters: &PruneFilters) -> bool {
    record.driver == DEFAULT
        && record.options.is_empty()
        && record.state == State::Ready
        && (record.anonymous() || !filters.anonymous_only)
        && filters.labels.iter().all(|wanted| has_label(&record.labels, wanted))
        && !filters.without_labels.iter().any(|unwanted| has_label(&record.labels, unwanted))
}

fn removing(name: &str, error: EngineError) -> EngineError {
    error.context(format!("remove {name}"))
}
