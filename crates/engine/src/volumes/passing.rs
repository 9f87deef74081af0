//! Mounts of somebody who only looks in, such as a copy out of a container that has the volume mounted already.
//!
//! Nothing remembers such a mount but itself. So that its unmount is owed is written down before the driver is asked to
//! mount: whatever becomes of the engine meanwhile, the driver is told to unmount once, and has no mount too many.

use std::sync::Arc;

use pintle_contract::MountId;
use tokio::sync::oneshot;

use super::{Inner, Volumes, create::no_such_volume};
use crate::{EngineError, containers::new_id};

/// A volume that is mounted in passing. Dropped, it is unmounted in the background.
#[must_use]
pub struct Passing {
    inner: Arc<Inner>,
    name: String,
    id: MountId,
    ended: bool,
}

impl Volumes {
    /// Mounts a volume once more, under an id of its own, for as long as the result lives.
    pub async fn pass(&self, name: &str, holder: &str) -> Result<Passing, EngineError> {
        let id = MountId(new_id());
        self.mount_for(name, holder, &id, super::mount::Sort::Passing).await?;
        Ok(Passing { inner: Arc::clone(&self.inner), name: name.to_owned(), id, ended: false })
    }
}

impl Passing {
    /// Unmounts it, and waits for that as long as the driver has. What it does not confirm is sent again later.
    pub async fn end(mut self) {
        self.ended = true;
        let (deliver, delivered) = oneshot::channel();
        let (inner, name, id) = (Arc::clone(&self.inner), self.name.clone(), self.id.clone());
        self.inner.tasks.spawn(async move {
            inner.end_passing(&name, &id).await;
            let _ = deliver.send(());
        });
        if tokio::time::timeout(self.inner.budgets.unmount, delivered).await.is_err() {
            tracing::warn!(volume = self.name, "its driver is slow to unmount; going on without it");
        }
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        if !self.ended {
            let (inner, name, id) =
                (Arc::clone(&self.inner), std::mem::take(&mut self.name), self.id.clone());
            self.inner.tasks.spawn(async move { inner.end_passing(&name, &id).await });
        }
    }
}

impl Inner {
    async fn end_passing(self: Arc<Self>, name: &str, id: &MountId) {
        let turn = self.ledger.turn(name, self.budgets.late).await;
        let container = self.ledger.unmounted(name, id).unwrap_or_default();
        let paid = async {
            let turn = turn?;
            let record = self.ledger.record(name).ok_or_else(|| no_such_volume(name))?;
            let driver = self.driver(&record.driver).await?;
            self.pay(&turn, name, &driver, id).await?;
            Ok::<_, EngineError>(record)
        };
        match paid.await {
            Ok(record) => {
                self.publish("unmount", name, &[("driver", &record.driver), ("container", &container)]);
            }
            Err(error) => {
                tracing::warn!(volume = name, %id, %error, "could not unmount a volume");
                self.pay_later(name, id);
            }
        }
    }
}
