use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use pintle_contract::{DriverError, LogDriver, LogEntry, LogStream, log::LogInfo};

/// Whose entries, by the container's id.
type Taken = Vec<(String, Vec<LogEntry>)>;

/// A log driver that remembers.
#[derive(Debug, Clone, Default)]
pub struct ReferenceLog {
    taken: Arc<Mutex<Taken>>,
}

impl ReferenceLog {
    /// What came by now, a list for each stream, in the order in which they began.
    pub fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Stream {
    driver: ReferenceLog,
    at: usize,
    count: u64,
}

#[async_trait]
impl LogDriver for ReferenceLog {
    async fn start(&self, info: LogInfo) -> Result<Box<dyn LogStream>, DriverError> {
        let mut taken = self.taken();
        taken.push((info.id, Vec::new()));
        let at = taken.len() - 1;
        Ok(Box::new(Stream { driver: self.clone(), at, count: 0 }))
    }
}

#[async_trait]
impl LogStream for Stream {
    async fn send(&mut self, batch: &[LogEntry]) -> Result<u64, DriverError> {
        if let Some((_, entries)) = self.driver.taken().get_mut(self.at) {
            entries.extend_from_slice(batch);
        }
        self.count += batch.len() as u64;
        Ok(self.count)
    }

    async fn stop(&mut self) -> Result<(), DriverError> {
        Ok(())
    }
}
