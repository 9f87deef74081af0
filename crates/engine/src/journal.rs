//! Writing records: what several parts of the engine want durable at the same moment shares one flush.

use std::sync::Arc;

use pintle_store::{Store, StoreError, Table, Transaction};
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::{mpsc, oneshot};

use crate::{EngineError, ErrorKind};

/// A commit takes no more than this many changes, so that its callers do not wait for ever.
const BATCH: usize = 256;

type Write = Box<dyn FnOnce(&mut Transaction) -> Result<(), StoreError> + Send>;
type Job = (Vec<Write>, oneshot::Sender<Result<(), String>>);

/// Records that become durable together.
#[derive(Default)]
pub struct Changes {
    writes: Vec<Write>,
}

impl Changes {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Writes one record, replacing what was there.
    #[must_use]
    pub fn put<T>(mut self, table: &Table<T>, key: &str, record: Arc<T>) -> Self
    where
        T: Serialize + DeserializeOwned + Send + Sync + 'static,
    {
        let (table, key) = (table.clone(), key.to_owned());
        self.writes.push(Box::new(move |transaction| transaction.put(&table, &key, &record)));
        self
    }

    /// Removes one record, if it is there.
    #[must_use]
    pub fn delete<T: 'static>(mut self, table: &Table<T>, key: &str) -> Self {
        let (table, key) = (table.clone(), key.to_owned());
        self.writes.push(Box::new(move |transaction| transaction.delete(&table, &key)));
        self
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }
}

/// The one queue of writes to the store. Changes become durable in the order in which they were handed in. Cheap
/// to clone; the thread behind it ends with the last clone.
#[derive(Clone)]
pub struct Journal {
    jobs: mpsc::UnboundedSender<Job>,
    store: Store,
}

/// Changes on their way to the disk. Dropping it loses nothing but the knowledge of when they got there.
#[must_use = "await it to know that the changes are durable, or drop it on purpose"]
pub struct Pending {
    result: Option<oneshot::Receiver<Result<(), String>>>,
}

impl Pending {
    /// Nothing is on its way.
    pub fn nothing() -> Self {
        Self { result: None }
    }

    /// Returns when the changes are durable.
    pub async fn durable(self) -> Result<(), EngineError> {
        let gone = || EngineError::new(ErrorKind::Unavailable, "the engine is shutting down");
        match self.result {
            Some(result) => result.await.map_err(|_| gone())?.map_err(EngineError::internal),
            None => Ok(()),
        }
    }
}

impl Journal {
    /// Starts the writing thread.
    pub fn open(store: Store) -> Result<Self, EngineError> {
        let (jobs, mut queue) = mpsc::unbounded_channel::<Job>();
        let disk = store.clone();
        std::thread::Builder::new().name("journal".to_owned()).spawn(move || {
            let mut batch = Vec::new();
            while queue.blocking_recv_many(&mut batch, BATCH) > 0 {
                let mut waiting = Vec::with_capacity(batch.len());
                let result = disk
                    .write(|transaction| {
                        for (writes, done) in batch.drain(..) {
                            waiting.push(done);
                            for write in writes {
                                write(transaction)?;
                            }
                        }
                        Ok(())
                    })
                    .map_err(|error| error.to_string());
                // Those that were not looked at when an earlier one failed are dropped, and their callers told so.
                batch.clear();
                for done in waiting {
                    // Whoever asked may have gone away.
                    let _ = done.send(result.clone());
                }
            }
        })?;
        Ok(Self { jobs, store })
    }

    /// The table called `name`.
    pub fn table<T: Serialize + DeserializeOwned>(&self, name: &'static str) -> Table<T> {
        self.store.table(name)
    }

    /// Hands in changes, now.
    pub fn hand_in(&self, changes: Changes) -> Pending {
        if changes.is_empty() {
            return Pending { result: None };
        }
        let (done, result) = oneshot::channel();
        // If the thread is gone so is the receiver's sender, which `durable` reports.
        let _ = self.jobs.send((changes.writes, done));
        Pending { result: Some(result) }
    }

    /// Hands in changes and waits until they are durable.
    pub async fn write(&self, changes: Changes) -> Result<(), EngineError> {
        self.hand_in(changes).durable().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn changes_are_durable_in_their_order() {
        let journal = Journal::open(Store::in_memory().unwrap()).unwrap();
        let table = journal.table::<u32>("numbers");
        let mut last = journal.hand_in(Changes::new());
        for number in 0..1000 {
            let key = (number % 7).to_string();
            let changes =
                Changes::new().put(&table, &key, Arc::new(number)).put(&table, "last", Arc::new(number));
            last = journal.hand_in(if number % 10 == 9 { changes.delete(&table, "last") } else { changes });
        }
        last.durable().await.unwrap();
        assert_eq!(table.get("last").unwrap(), None);
        assert_eq!(table.get("0").unwrap(), Some(994));
        assert_eq!(table.get("5").unwrap(), Some(999));
    }

    #[tokio::test]
    async fn nothing_to_write_is_durable_at_once() {
        let journal = Journal::open(Store::in_memory().unwrap()).unwrap();
        journal.write(Changes::new()).await.unwrap();
    }
}
