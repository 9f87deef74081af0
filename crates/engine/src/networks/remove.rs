//! Removing networks, one or all that nobody uses, and undoing what was half made.

use std::sync::{Arc, atomic::Ordering};

use pintle_contract::ErrorKind as DriverKind;
use pintle_store::failpoint;

use super::{
    Inner, Networks, PruneFilters,
    calls::{undecided, within},
    record::{NetworkRecord, State},
};
use crate::{
    EngineError, ErrorKind,
    events::{Event, Kind},
};

impl Networks {
    /// Removes a network that nobody uses, by id, name or unambiguous prefix of the id. A plugin that does not answer
    /// is told when it is back.
    pub async fn remove(&self, name: &str) -> Result<(), EngineError> {
        let (inner, name) = (Arc::clone(&self.inner), name.to_owned());
        // A client that hangs up does not leave a network half removed.
        let removed = self.inner.tasks.spawn(async move { inner.remove(&name).await });
        removed.await.map_err(|error| EngineError::internal(error.to_string()))?
    }

    /// Removes the networks that no container is in and that `filters` pass, and says their names.
    pub async fn prune(&self, filters: &PruneFilters) -> Result<Vec<String>, EngineError> {
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
    async fn remove(self: &Arc<Self>, name: &str) -> Result<(), EngineError> {
        let forbidden = |text: String| EngineError::new(ErrorKind::Forbidden, text);
        let (record, written) = self.book.begin_removal(name, |facts, record, inside| {
            if record.predefined() {
                let name = &record.name;
                return Err(forbidden(format!("{name} is a pre-defined network and cannot be removed")));
            }
            if record.config_only && facts.networks().any(|other| other.config_from == record.name) {
                return Err(forbidden(format!(
                    "error while removing network: configuration network \"{}\" is in use",
                    record.name
                )));
            }
            // Those that are on their way back hinder nobody: they are given back before the network is.
            let active: Vec<String> = inside
                .iter()
                .filter(|endpoint| !endpoint.life.leaving)
                .map(|endpoint| {
                    let id = endpoint.id.get(..12).unwrap_or(&endpoint.id);
                    format!("name:\"{}\" id:\"{id}\"", endpoint.name)
                })
                .collect();
            if !active.is_empty() {
                return Err(forbidden(format!(
                    "error while removing network: network {} has active endpoints ({})",
                    record.name,
                    active.join(", ")
                )));
            }
            Ok(())
        })?;
        written.durable().await?;
        failpoint!("engine.network.remove.after_intent");
        let mut removing = NetworkRecord { state: State::Removing, ..(*record).clone() };
        match self.unmake(&mut removing, true).await {
            Ok(()) => {}
            Err(error) if error.kind == ErrorKind::Forbidden => {
                // The one objection that a driver may have. Its addresses are asked for again.
                self.standings.forget(&record.id);
                self.book.end_removal((*record).clone()).durable().await?;
                return Err(error.context("error while removing network"));
            }
            Err(error) => {
                tracing::warn!(network = %record.name, %error, "removed; its driver is told when it is back");
                self.undo_later(removing);
            }
        }
        self.publish("destroy", &record, &[]);
        Ok(())
    }

    /// Gives back all that a network holds, and forgets it: first the addresses, then the network, as Docker does.
    /// Fails if a driver does not answer, and, where it `may_object`, if the network driver forbids it.
    async fn unmake(&self, record: &mut NetworkRecord, may_object: bool) -> Result<(), EngineError> {
        if record.config_only || record.special() {
            self.forget(record);
            return Ok(());
        }
        self.settle_network_debts(&record.id).await?;
        // While drivers are told of it once more it cannot be taken from them.
        let _turn = self.turn_of(&record.id, &record.name).await?;
        if record.pools.iter().any(|pool| !pool.id.is_empty()) {
            let (ipam, _) = self.ipam(record.ipam_driver()).await?;
            let given = self.give_pools(record, &ipam).await;
            // What somebody else may have by now must not be given back once more.
            drop(self.book.put_network(record.clone()));
            given?;
        }
        failpoint!("engine.network.remove.after_pools");
        if record.driver_holds {
            let (driver, _) = self.driver(&record.driver).await?;
            let asked = driver.driver.delete_network(&record.id);
            match within(self.budgets.make, "NetworkDriver.DeleteNetwork", asked).await {
                Err(error) if undecided(&error) => return Err(error.into()),
                Err(error) if error.kind == DriverKind::PermissionDenied && may_object => {
                    return Err(error.into());
                }
                Err(error) => {
                    tracing::warn!(network = %record.name, %error, "its driver does not remove it");
                }
                Ok(()) => {}
            }
        }
        self.forget(record);
        Ok(())
    }

    /// Brings a network that shall not be to its end, trying again until its drivers answer.
    pub(super) fn undo_later(self: &Arc<Self>, mut record: NetworkRecord) {
        // Lost, if the engine dies now: then what is on disk says `Creating`, which leads here as well.
        drop(self.book.put_network(record.clone()));
        self.book.give_up_name(&record);
        let inner = Arc::clone(self);
        self.tasks.spawn(async move {
            let mut attempt = 0;
            loop {
                match inner.unmake(&mut record, false).await {
                    Ok(()) => return,
                    Err(error) => {
                        tracing::debug!(network = %record.name, %error, "not given back yet");
                    }
                }
                if !inner.pause(attempt).await {
                    return;
                }
                attempt += 1;
            }
        });
    }

    async fn prune(self: &Arc<Self>, filters: &PruneFilters) -> Vec<String> {
        let mut pruned = Vec::new();
        for network in self.list() {
            let used = network.predefined || !network.endpoints.is_empty();
            if used || !filters.pass(&network) || self.stop.is_cancelled() {
                continue;
            }
            match self.remove(&network.id).await {
                Ok(()) => pruned.push(network.name),
                // Taken into use or removed in the meantime.
                Err(error) if matches!(error.kind, ErrorKind::Forbidden | ErrorKind::NotFound) => {}
                Err(error) => tracing::warn!(network = %network.name, %error, "could not be pruned"),
            }
        }
        let attributes = [("reclaimed".to_owned(), "0".to_owned())].into();
        self.events.publish(Event::new(Kind::Network, "prune", "", attributes));
        pruned
    }
}
