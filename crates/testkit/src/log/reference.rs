use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use pintle_contract::{
    DriverError, LogDriver, LogEntry, LogLines, LogStream,
    log::{LogCapabilities, LogInfo, LogQuery},
};

/// Whose entries, by the container's id.
type Taken = Vec<(String, Vec<LogEntry>)>;

/// A log driver that remembers, and gives back.
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

struct Lines(Vec<LogEntry>);

#[async_trait]
impl LogLines for Lines {
    async fn next(&mut self) -> Result<Vec<LogEntry>, DriverError> {
        let piece = self.0.len().min(64);
        Ok(self.0.drain(..piece).collect())
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

    async fn capabilities(&self) -> Result<LogCapabilities, DriverError> {
        Ok(LogCapabilities { read: true })
    }

    async fn read(&self, info: LogInfo, query: LogQuery) -> Result<Box<dyn LogLines>, DriverError> {
        let taken = self.taken();
        let all = taken.iter().filter(|(id, _)| *id == info.id).flat_map(|(_, entries)| entries);
        let wanted = all.filter(|entry| {
            query.since.is_none_or(|since| entry.time >= since)
                && query.until.is_none_or(|until| entry.time <= until)
        });
        let mut wanted: Vec<LogEntry> = wanted.cloned().collect();
        let tail = query.tail.and_then(|lines| usize::try_from(lines).ok()).unwrap_or(usize::MAX);
        drop(wanted.drain(..wanted.len().saturating_sub(tail)));
        Ok(Box::new(Lines(wanted)))
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
