//! Batches: entries wait for company, but not for long. For whoever takes many at a time and says that it has them.

use std::time::Duration;

use pintle_contract::{DriverError, ErrorKind, LogEntry, LogStream};
use tokio::time::Instant;

/// How large a batch may be, and how long its first entry waits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) entries: usize,
    pub(super) bytes: usize,
    /// What an entry counts beside its line.
    pub(super) overhead: usize,
    pub(super) linger: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { entries: 1000, bytes: 1 << 20, overhead: 256, linger: Duration::from_secs(1) }
    }
}

/// Who takes batches.
#[async_trait::async_trait]
pub(super) trait Sink: Send + 'static {
    /// Delivers all of them or none. [`ErrorKind::InvalidArgument`] says that they are refused for what they are, and would be
    /// for ever.
    async fn post(&mut self, entries: &[LogEntry]) -> Result<(), DriverError>;
}

/// A stream that makes batches for a sink.
pub(super) struct Batches<S> {
    sink: S,
    limits: Limits,
    waiting: Vec<LogEntry>,
    bytes: usize,
    since: Instant,
    acknowledged: u64,
}

impl<S: Sink> Batches<S> {
    /// Makes batches within `limits`.
    pub(super) fn new(sink: S, limits: Limits) -> Self {
        Self { sink, limits, waiting: Vec::new(), bytes: 0, since: Instant::now(), acknowledged: 0 }
    }

    /// Posts what waits. What is refused is halved until it is known which entry it is; that one is left out.
    async fn flush(&mut self) -> Result<(), DriverError> {
        let waiting = std::mem::take(&mut self.waiting);
        self.bytes = 0;
        let mut parts = vec![&waiting[..]];
        while let Some(part) = parts.pop() {
            match self.sink.post(part).await {
                Err(error) if error.kind == ErrorKind::InvalidArgument && part.len() > 1 => {
                    if let Some((first, second)) = part.split_at_checked(part.len() / 2) {
                        parts.push(second);
                        parts.push(first);
                    }
                    continue;
                }
                Err(error) if error.kind == ErrorKind::InvalidArgument => {
                    tracing::warn!(%error, "a line was refused for what it is, and left out");
                }
                other => other?,
            }
            self.acknowledged += part.len() as u64;
        }
        Ok(())
    }
}

#[async_trait::async_trait]
impl<S: Sink> LogStream for Batches<S> {
    async fn send(&mut self, batch: &[LogEntry]) -> Result<u64, DriverError> {
        for entry in batch {
            let size = entry.line.len() + self.limits.overhead;
            let full = self.waiting.len() >= self.limits.entries || self.bytes + size > self.limits.bytes;
            if full && !self.waiting.is_empty() {
                self.flush().await?;
            }
            if self.waiting.is_empty() {
                self.since = Instant::now();
            }
            self.bytes += size;
            self.waiting.push(entry.clone());
        }
        if !self.waiting.is_empty() && self.since.elapsed() >= self.limits.linger {
            self.flush().await?;
        }
        Ok(self.acknowledged)
    }

    async fn stop(&mut self) -> Result<(), DriverError> {
        if self.waiting.is_empty() { Ok(()) } else { self.flush().await }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Refuses whatever has a line `bad` in it.
    struct Picky(std::sync::Arc<std::sync::Mutex<Vec<String>>>);

    #[async_trait::async_trait]
    impl Sink for Picky {
        async fn post(&mut self, entries: &[LogEntry]) -> Result<(), DriverError> {
            if entries.iter().any(|entry| entry.line == b"bad") {
                return Err(DriverError::invalid("bad"));
            }
            let texts = entries.iter().map(|entry| String::from_utf8(entry.line.clone()).unwrap());
            self.0.lock().unwrap().extend(texts);
            Ok(())
        }
    }

    #[tokio::test]
    async fn one_line_that_is_refused_stops_no_other() {
        let taken = std::sync::Arc::default();
        let mut stream =
            Batches::new(Picky(std::sync::Arc::clone(&taken)), Limits { entries: 4, ..Limits::default() });
        let lines = ["a", "b", "bad", "c", "d", "bad", "e"];
        let batch: Vec<LogEntry> = lines
            .iter()
            .map(|line| LogEntry { line: line.as_bytes().to_vec(), ..LogEntry::default() })
            .collect();
        assert_eq!(stream.send(&batch).await.unwrap(), 4);
        stream.stop().await.unwrap();
        assert_eq!(*taken.lock().unwrap(), ["a", "b", "c", "d", "e"]);
    }
}
