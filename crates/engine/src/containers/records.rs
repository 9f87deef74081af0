//! The durable records of containers.

use std::sync::Arc;

use pintle_store::Table;

use super::Container;
use crate::{
    EngineError,
    journal::{Changes, Journal, Pending},
};

const TABLE: &str = "containers";

/// The durable records of all containers, by id.
pub(super) struct Records {
    journal: Journal,
    table: Table<Container>,
}

impl Records {
    pub fn open(journal: Journal) -> Self {
        Self { table: journal.table(TABLE), journal }
    }

    /// Every record.
    pub fn list(&self) -> Result<Vec<Container>, EngineError> {
        Ok(self.table.list()?.into_iter().map(|(_, container)| container).collect())
    }

    /// On its way to the disk when it returns.
    pub fn hand_in(&self, container: Arc<Container>) -> Pending {
        let id = container.id.clone();
        self.journal.hand_in(Changes::new().put(&self.table, &id, container))
    }

    /// Durable when it returns.
    pub async fn put(&self, container: Arc<Container>) -> Result<(), EngineError> {
        self.hand_in(container).durable().await
    }

    /// Durable when it returns.
    pub async fn delete(&self, id: &str) -> Result<(), EngineError> {
        self.journal.write(Changes::new().delete(&self.table, id)).await
    }
}
