//! The three networks that are always there.

use std::sync::Arc;

use super::{
    Inner, NetworkSpec,
    calls::within,
    check,
    record::{BRIDGE, NetworkRecord, State},
};
use crate::{EngineError, containers::new_id};

impl Inner {
    /// Sees to the records of `host`, `none` and `bridge`.
    pub(super) async fn predefine(&self) {
        for (name, driver) in [("host", "host"), ("none", "null")] {
            if self.book.find(name).is_err() {
                let record = NetworkRecord {
                    id: new_id(),
                    name: name.to_owned(),
                    created: chrono::Utc::now(),
                    driver: driver.to_owned(),
                    enable_ipv4: true,
                    ..NetworkRecord::default()
                };
                self.add(record).await;
            }
        }
        let Some(spec) = &self.config.default_bridge else { return };
        if self.book.find(BRIDGE).is_err() {
            match self.bridge(spec) {
                Ok(record) => self.add(record).await,
                Err(error) => tracing::error!(%error, "the default bridge cannot be as it is configured"),
            }
        }
    }

    async fn add(&self, record: NetworkRecord) {
        let name = record.name.clone();
        let added = match self.book.add_network(record) {
            Ok(written) => written.durable().await,
            Err(error) => Err(error),
        };
        if let Err(error) = added {
            tracing::error!(network = %name, %error, "could not be recorded");
        }
    }

    /// The default bridge as it is configured, nothing of it made yet.
    fn bridge(&self, spec: &NetworkSpec) -> Result<NetworkRecord, EngineError> {
        let spec = NetworkSpec { name: BRIDGE.to_owned(), driver: BRIDGE.to_owned(), ..spec.clone() };
        check::network(&spec, new_id(), self.config.default_options.get(BRIDGE))
    }

    /// If the default bridge is configured otherwise than it is: makes it anew, unless somebody uses it.
    pub(super) async fn reshape_bridge(self: &Arc<Self>) {
        let Ok(now) = self.book.find(BRIDGE) else { return };
        let wanted = match &self.config.default_bridge {
            Some(spec) => match self.bridge(spec) {
                Ok(wanted) => Some(wanted),
                Err(_) => return,
            },
            None => None,
        };
        if wanted.as_ref().is_some_and(|wanted| same(wanted, &now)) {
            return;
        }
        if self.book.read().in_network(&now.id).next().is_some() {
            tracing::warn!(
                "the default bridge stays as it is, although it is configured otherwise: containers run on it"
            );
            return;
        }
        if let Err(error) = self.clear(&now).await {
            tracing::error!(%error, "the default bridge could not be taken down to be made anew");
            return;
        }
        if let Some(wanted) = wanted {
            let id = wanted.id.clone();
            self.add(wanted).await;
            if let Err(error) = self.ready(&id).await {
                self.book.set_trouble(&id, Some(error.message.clone()));
                tracing::warn!(%error, "the default bridge cannot be used now");
            }
        }
    }

    async fn clear(&self, record: &NetworkRecord) -> Result<(), EngineError> {
        let mut record = NetworkRecord { state: State::Removing, ..record.clone() };
        if !record.pools.is_empty() {
            let (ipam, _) = self.ipam(record.ipam_driver()).await?;
            self.give_pools(&mut record, &ipam).await?;
        }
        if record.driver_holds {
            let (driver, _) = self.driver(&record.driver).await?;
            let asked = driver.driver.delete_network(&record.id);
            within(self.budgets.make, "NetworkDriver.DeleteNetwork", asked).await?;
        }
        self.forget(&record);
        Ok(())
    }
}

/// Whether a network is as it is wanted.
fn same(wanted: &NetworkRecord, now: &NetworkRecord) -> bool {
    wanted.enable_ipv4 == now.enable_ipv4
        && wanted.enable_ipv6 == now.enable_ipv6
        && wanted.options == now.options
        && wanted.ipam == now.ipam
}
