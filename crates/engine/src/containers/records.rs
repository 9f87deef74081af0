//! Writing records: what several containers want durable at the same moment shares one flush.

use std::sync::Arc;

use pintle_store::{Store, Table};
use tokio::sync::{mpsc, oneshot};

use super::Container;
use crate::{EngineError, ErrorKind};

const TABLE: &str = "containers";
/// A commit takes no more than this many writes, so that its callers do not wait for ever.
const BATCH: usize = 256;

enum Change {
    Put(Arc<Container>),
    Delete(String),
}

type Job = (Change, oneshot::Sender<Result<(), String>>);

/// The durable records of all containers, by id.
pub(super) struct Records {
    jobs: mpsc::Sender<Job>,
    table: Table<Container>,
}

impl Records {
    /// Starts the writing thread; it ends when the last `Records` is dropped.
    pub fn open(store: Store) -> Result<Self, EngineError> {
        let table = store.table::<Container>(TABLE);
        let shared = store.table::<Arc<Container>>(TABLE);
        let (jobs, mut queue) = mpsc::channel::<Job>(BATCH);
        std::thread::Builder::new().name("containers-store".to_owned()).spawn(move || {
            let mut batch = Vec::new();
            while queue.blocking_recv_many(&mut batch, BATCH) > 0 {
                let result = store
                    .write(|transaction| {
                        for (change, _) in &batch {
                            match change {
                                Change::Put(container) => {
                                    transaction.put(&shared, &container.id, container)?
                                }
                                Change::Delete(id) => transaction.delete(&shared, id)?,
                            }
                        }
                        Ok(())
                    })
                    .map_err(|error| error.to_string());
                for (_, done) in batch.drain(..) {
                    // Whoever asked may have gone away.
                    let _ = done.send(result.clone());
                }
            }
        })?;
        Ok(Self { jobs, table })
    }

    /// Every record.
    pub fn list(&self) -> Result<Vec<Container>, EngineError> {
        Ok(self.table.list()?.into_iter().map(|(_, container)| container).collect())
    }

    /// Durable when it returns.
    pub async fn put(&self, container: Arc<Container>) -> Result<(), EngineError> {
        self.change(Change::Put(container)).await
    }

    /// Durable when it returns.
    pub async fn delete(&self, id: &str) -> Result<(), EngineError> {
        self.change(Change::Delete(id.to_owned())).await
    }

    async fn change(&self, change: Change) -> Result<(), EngineError> {
        let gone = || EngineError::new(ErrorKind::Unavailable, "the engine is shutting down");
        let (done, result) = oneshot::channel();
        self.jobs.send((change, done)).await.map_err(|_| gone())?;
        result.await.map_err(|_| gone())?.map_err(EngineError::internal)
    }
}
