//! Taking a container's lines to its log driver, at the driver's own pace.
//!
//! The shim has written them to the container's journal by then. One task for each container reads that, hands batches
//! to the driver, and notes how far the driver acknowledged; after whatever goes wrong it begins a new stream behind
//! the last acknowledged line. Nothing waits for it: not the container, not its end, not its removal.
//!
//! Lines that a rotation took away before they were read are known by the gap in their numbers. They are counted, told
//! as an event, and marked in the stream.

use std::{
    collections::{BTreeMap, VecDeque, hash_map::Entry},
    io,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use chrono::SecondsFormat;
use pintle_contract::{
    ErrorKind as DriverErrorKind, LogEntry, LogStream,
    log::{LogInfo, Source},
};
use pintle_host::Holder;
use pintle_runtime::LogFormat;
use serde::{Deserialize, Serialize};

use super::{
    Ended, Filters, Opened, Progress, blocking,
    file::{Position, Read1, Reader},
    line, may_write,
    watch::Watch,
};
use crate::{
    EngineError,
    containers::{Container, LogConfig, cell::Cell, log_options, service::Shared},
};

/// What a driver may take to begin a stream, or to end one.
const BUDGET: Duration = Duration::from_secs(15);
/// Pauses between attempts: the first, and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));
/// An event of several lines that gets no more for this long is complete.
const IDLE: Duration = Duration::from_secs(1);
/// What is open of a log when its container is removed may still be taken to the driver.
const GRACE: Duration = Duration::from_secs(10);
/// How often it is written down how far the driver is.
const NOTE: Duration = Duration::from_secs(1);
const NOTES: &str = "log-delivery.json";

/// How far a driver is, kept beside the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Notes {
    position: Option<Position>,
    /// The number of the last line that was acknowledged.
    sequence: u64,
    /// Lines that a rotation took away.
    dropped: u64,
}

impl Shared {
    /// Takes the container's lines to its drivers from now on, if it has any that take them, by the streams that were
    /// begun.
    pub fn deliver(self: &Arc<Self>, cell: &Arc<Cell>, mut opened: Opened) {
        let container = cell.container();
        if let Some((path, format)) = self.log(&container)
            && path.exists()
        {
            for (name, config) in log_options::destinations(&container.spec) {
                let to = Destination { name, config, path: path.clone(), format };
                self.deliver_to(cell, to, &mut opened);
            }
        }
        opened.abandon(self);
    }

    /// Takes the container's lines to one driver. Each has a task and a position of its own.
    fn deliver_to(self: &Arc<Self>, cell: &Arc<Cell>, to: Destination, opened: &mut Opened) {
        let key = (cell.id.clone(), to.name.clone());
        let progress = match self.delivering().entry(key.clone()) {
            Entry::Occupied(_) => return,
            Entry::Vacant(free) => {
                let progress = Progress::new(to.config.driver.clone(), to.path.clone());
                Arc::clone(free.insert(Arc::new(progress)))
            }
        };
        let container = cell.container();
        let mut stream = opened.take(&to.name);
        let lease = self.config.log_drivers.lease(&to.config.driver, Holder::LogStream(cell.id.clone()));
        let (shared, cell) = (Arc::clone(self), Arc::clone(cell));
        self.spawn(async move {
            loop {
                let ended = cell.watch();
                let delivery = Delivery::open(&shared, &container, &to, &progress, ended.clone());
                let delivery = Delivery { begun: stream.take(), ..delivery };
                tokio::select! {
                    () = delivery.run() => {}
                    () = gone(ended.clone()) => {}
                    () = shared.closing.cancelled() => break,
                }
                shared.delivering().remove(&key);
                // A start that found this task still there relies on it.
                if !may_write(&ended.borrow()) {
                    break;
                }
                match shared.delivering().entry(key.clone()) {
                    Entry::Occupied(_) => break,
                    Entry::Vacant(free) => free.insert(Arc::clone(&progress)),
                };
            }
            if let Some(lease) = lease
                && !shared.closing.is_cancelled()
            {
                lease.release();
            }
        });
    }
}

async fn next_of(mut reader: Reader) -> Result<(Reader, Read1), EngineError> {
    blocking(move || reader.read().map(|read| (reader, read))).await
}

/// The container was removed, and what was read of its lines by then had its time to arrive.
async fn gone(mut ended: Ended) {
    let _ = ended.wait_for(|now| now.gone).await;
    tokio::time::sleep(GRACE).await;
}

/// One of the drivers that a container's lines are taken to.
struct Destination {
    /// What the user calls it; empty for the container's own.
    name: String,
    config: LogConfig,
    path: PathBuf,
    format: LogFormat,
}

pub(super) fn info(container: &Container, options: BTreeMap<String, String>) -> LogInfo {
    let spec = &container.spec;
    LogInfo {
        options,
        id: container.id.clone(),
        name: format!("/{}", container.name),
        entrypoint: container.path.clone(),
        args: container.args.clone(),
        image_id: container.image_id.clone(),
        image_name: spec.image.clone(),
        created: container.created.to_rfc3339_opts(SecondsFormat::Nanos, true),
        env: spec.env.clone(),
        labels: spec.labels.clone(),
    }
}

struct Delivery<'a> {
    shared: &'a Arc<Shared>,
    container: &'a Container,
    to: &'a Destination,
    notes_path: PathBuf,
    notes: Notes,
    progress: &'a Progress,
    ended: Ended,
    /// The stream that was begun with the container.
    begun: Option<Box<dyn LogStream>>,
}

/// What was handed over and not acknowledged: the count, and what may be noted then.
type Unacknowledged = VecDeque<(u64, Position, u64)>;

impl<'a> Delivery<'a> {
    fn open(
        shared: &'a Arc<Shared>,
        container: &'a Container,
        to: &'a Destination,
        progress: &'a Progress,
        ended: Ended,
    ) -> Self {
        let file =
            if to.name.is_empty() { NOTES.to_owned() } else { format!("log-delivery.{}.json", to.name) };
        let notes_path = shared.dir(&container.id).join(file);
        let notes = std::fs::read(&notes_path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let notes: Notes = notes.unwrap_or_default();
        progress.resumed(notes.position, notes.dropped);
        Self { shared, container, to, notes_path, notes, progress, ended, begun: None }
    }

    async fn run(mut self) {
        let mut pause = PAUSE.0;
        let mut told = String::new();
        loop {
            let before = self.notes;
            let error = match self.stream().await {
                Ok(()) => return,
                Err(error) => error,
            };
            let error = error.to_string();
            self.progress.failed(&error);
            // The same again says nothing new.
            if error != told {
                tracing::warn!(
                    container = %self.container.id, driver = %self.to.config.driver, name = %self.to.name, %error,
                    "log lines wait on this host"
                );
                told = error;
            }
            pause = if self.notes == before { (pause * 2).min(PAUSE.1) } else { PAUSE.0 };
            tokio::time::sleep(pause).await;
        }
    }

    /// One stream, to the end of the container's output. An error ends the stream, not the delivery.
    async fn stream(&mut self) -> Result<(), EngineError> {
        let (path, format, position) = (self.to.path.clone(), self.to.format, self.notes.position);
        let (mut filters, options) = Filters::take(&self.to.config.options)?;
        let mut reader = blocking(move || Reader::resume(&path, format, position)).await?;
        let mut watch = self.to.path.parent().map(Watch::new);
        let mut pieces = line::Pieces::default();
        let mut unread = None;
        let begun = self.begun.take();
        if begun.is_none() && !may_write(&self.ended.borrow()) {
            // What ended and was delivered needs no driver.
            let read;
            (reader, read) = next_of(reader).await?;
            match read {
                Read1::End => return Ok(()),
                Read1::Lines(records) => unread = Some(records),
            }
        }
        let mut stream = match begun {
            Some(stream) => stream,
            None => {
                let driver = self.shared.config.log_drivers.find(&self.to.config.driver).await?;
                let started = driver.start(info(self.container, options));
                tokio::time::timeout(BUDGET, started).await.map_err(|_| late("StartLogging"))??
            }
        };
        self.progress.opened();
        let mut waiting = Unacknowledged::new();
        let mut next = self.notes.sequence + 1;
        let mut handed = 0;
        let mut noted = tokio::time::Instant::now();
        let mut idle = noted;
        loop {
            let last_round = !may_write(&self.ended.borrow());
            let read = match unread.take() {
                Some(records) => Read1::Lines(records),
                None => {
                    let read;
                    (reader, read) = next_of(reader).await?;
                    read
                }
            };
            let acknowledged = match read {
                Read1::Lines(records) => {
                    idle = tokio::time::Instant::now();
                    let mut batch = Vec::new();
                    for entry in self.batch(pieces.entries(&records, format), &mut next) {
                        filters.push(entry, &mut batch);
                    }
                    handed += batch.len() as u64;
                    if let Some(position) = reader.position()? {
                        // An event that waits for more lines will be the next.
                        waiting.push_back((handed + u64::from(filters.holds()), position, next - 1));
                    }
                    stream.send(&batch).await?
                }
                Read1::End if last_round => {
                    let mut rest = Vec::new();
                    filters.flush(&mut rest);
                    if !rest.is_empty() {
                        stream.send(&rest).await?;
                    }
                    return self.finish(stream.as_mut(), &waiting).await;
                }
                Read1::End => {
                    let mut late = Vec::new();
                    if filters.holds() && idle.elapsed() > IDLE {
                        filters.flush(&mut late);
                        handed += late.len() as u64;
                    }
                    if late.is_empty() {
                        self.wait(&mut watch).await;
                    }
                    stream.send(&late).await?
                }
            };
            if self.acknowledge(&mut waiting, acknowledged) && noted.elapsed() > NOTE {
                self.note();
                noted = tokio::time::Instant::now();
            }
        }
    }

    /// The entries, with a mark where lines are missing.
    fn batch(&mut self, entries: Vec<(LogEntry, Option<u64>)>, next: &mut u64) -> Vec<LogEntry> {
        let mut batch = Vec::new();
        for (mut entry, sequence) in entries {
            // They are what `docker logs --details` shows; which of them its lines have is each driver's own option.
            entry.attributes.clear();
            let sequence = sequence.unwrap_or(*next);
            if sequence > *next {
                let missing = sequence - *next;
                self.notes.dropped += missing;
                self.progress.dropped(missing);
                let text =
                    format!("pintle: {missing} lines were dropped here: the log driver was too far behind");
                let source = Source::Stderr;
                batch.push(LogEntry {
                    source,
                    time: entry.time,
                    line: text.into_bytes(),
                    ..LogEntry::default()
                });
                let attributes = [("lines", missing.to_string()), ("driver", self.to.config.driver.clone())];
                self.shared.announce(self.container, "log_dropped", &attributes);
            }
            *next = sequence + 1;
            batch.push(entry);
        }
        batch
    }

    fn acknowledge(&mut self, waiting: &mut Unacknowledged, acknowledged: u64) -> bool {
        let mut any = false;
        while let Some((count, position, sequence)) =
            waiting.front().filter(|(count, ..)| *count <= acknowledged).copied()
        {
            waiting.pop_front();
            self.arrived(count, position, sequence);
            any = true;
        }
        any
    }

    fn arrived(&mut self, count: u64, position: Position, sequence: u64) {
        self.progress.acknowledged(count, position);
        (self.notes.position, self.notes.sequence) = (Some(position), sequence);
    }

    /// The driver's answer to the end may be an error: it has read everything by then, and nothing can be done. But if it
    /// could not be reached, the rest is sent again.
    async fn finish(
        &mut self,
        stream: &mut dyn LogStream,
        waiting: &Unacknowledged,
    ) -> Result<(), EngineError> {
        match tokio::time::timeout(BUDGET, stream.stop()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) if error.kind == DriverErrorKind::Unavailable => return Err(error.into()),
            Ok(Err(error)) => tracing::warn!(container = %self.container.id, %error, "ending the log stream"),
            Err(_) => tracing::warn!(container = %self.container.id, "the log driver did not end the stream"),
        }
        if let Some(&(count, position, sequence)) = waiting.back() {
            self.arrived(count, position, sequence);
        }
        self.note();
        Ok(())
    }

    fn note(&self) {
        let write = || -> io::Result<()> {
            let new = self.notes_path.with_extension("new");
            std::fs::write(&new, serde_json::to_vec(&self.notes)?)?;
            std::fs::rename(new, &self.notes_path)
        };
        // With `--rm` there is no place for notes any more.
        if let Err(error) = write()
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(container = %self.container.id, %error, "how far its log driver is could not be noted");
        }
    }

    async fn wait(&mut self, watch: &mut Option<Watch>) {
        let changed = async {
            match watch {
                Some(watch) => watch.changed().await,
                None => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        };
        tokio::select! {
            () = changed => {}
            _ = self.ended.changed() => {}
        }
    }
}

fn late(call: &str) -> EngineError {
    EngineError::internal(format!("the log driver did not answer {call} within {BUDGET:?}"))
}
