//! Unmounts that a driver has not confirmed.
//!
//! Such an unmount is owed: it is written down, outlives the engine, and is sent again until the driver
//! answers. It is only sent while nobody holds the mount id, where one too many takes nothing from anybody, and
//! always before the same id mounts again. So debts may be counted too high, but never too low.

use std::sync::Arc;

use pintle_contract::{DriverError, MountId};

use super::{Driver, Inner, ledger::Turn, undecided, within};
use crate::EngineError;

impl Inner {
    /// Sends what is owed for a mount id, in the background, until the driver confirms it.
    pub(super) fn pay_later(self: &Arc<Self>, name: &str, id: &MountId) {
        let (inner, name, id) = (Arc::clone(self), name.to_owned(), id.clone());
        self.tasks.spawn(async move {
            let mut attempt = 0;
            while inner.pause(attempt).await {
                attempt += 1;
                if inner.try_to_pay(&name, &id).await {
                    return;
                }
            }
        });
    }

    /// One attempt; whether nothing is owed any more.
    async fn try_to_pay(&self, name: &str, id: &MountId) -> bool {
        let Ok(turn) = self.ledger.turn(name, self.budgets.get).await else { return false };
        let facts = self.ledger.get(name);
        let Some(record) = facts.record else {
            // The volume is gone, and what was mounted of it.
            self.ledger.set_debt(name, id, 0);
            return true;
        };
        if facts.holds.contains_key(id) {
            return false;
        }
        let Ok(driver) = self.driver(&record.driver).await else { return false };
        self.pay(&turn, name, &driver, id).await.is_ok()
    }

    /// Sends what is owed for a mount id that nobody holds. Fails if the driver does not answer; then it is
    /// still owed.
    pub(super) async fn pay(
        &self,
        _turn: &Turn,
        name: &str,
        driver: &Driver,
        id: &MountId,
    ) -> Result<(), DriverError> {
        for _ in 0..self.ledger.debt(name, id) {
            match within(self.budgets.unmount, "Unmount", driver.driver.unmount(name, id)).await {
                Err(error) if undecided(&error) => return Err(error),
                Err(error) => tracing::warn!(volume = name, %id, %error, "could not undo a mount"),
                Ok(()) => {}
            }
        }
        self.ledger.set_debt(name, id, 0);
        Ok(())
    }

    /// Before a removal: sends all that is owed for the volume, which would be in its way.
    pub(super) async fn pay_all(&self, turn: &Turn, name: &str, driver: &Driver) -> Result<(), EngineError> {
        for (volume, id) in self.ledger.debts()? {
            if volume == name {
                self.pay(turn, name, driver, &id).await?;
            }
        }
        Ok(())
    }
}
