//! Log drivers: from calls and pipes to batches of entries.
//!
//! ```text
//! StartLogging ─► the pipe is opened, the driver begins a stream ─► a task: read, hand over, wait until it is acknowledged
//! StopLogging  ─► the task reads what is left, ends the stream ─► answered
//! ```
//!
//! Docker's protocol has no acknowledgement: what was read of a pipe is gone. So nothing more is read until the driver has
//! acknowledged what was read before, and an engine that watches its pipe (pintle does) knows what arrived. After an error
//! of the driver's a new stream is begun and the same entries are handed over again, for as long as it takes.

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use http::StatusCode;
use pintle_contract::{
    DriverError, ErrorKind, LogDriver, LogEntry, LogLines, LogStream,
    log::{LogCapabilities, LogInfo},
};
use pintle_wire::log::{Method, Record, Request, decode, frame_length, push_frame};
use tokio::{
    io::AsyncReadExt,
    net::unix::pipe,
    sync::{oneshot, watch},
    time::{Instant, sleep, timeout},
};

use super::Answer;

/// What is read at once.
const CHUNK: usize = 64 << 10;
/// Pauses between attempts to hand over: the first, and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));
/// How often a driver that buffers is asked whether it is done.
const LOOK: Duration = Duration::from_millis(20);
/// How long a pipe may have no writer at first.
const LATE: Duration = Duration::from_secs(10);
/// Once told to stop, a pipe that says nothing for so long is empty.
const SILENCE: Duration = Duration::from_millis(50);

/// A driver with the streams that it has open.
pub(crate) struct Streams {
    driver: Arc<dyn LogDriver>,
    open: Mutex<HashMap<PathBuf, watch::Sender<Option<Stop>>>>,
}

/// Somebody waits for the stream's end.
type Stop = Arc<Mutex<Option<oneshot::Sender<Result<(), DriverError>>>>>;

impl Streams {
    pub(crate) fn new(driver: Arc<dyn LogDriver>) -> Arc<Self> {
        Arc::new(Self { driver, open: Mutex::default() })
    }

    fn open(&self) -> MutexGuard<'_, HashMap<PathBuf, watch::Sender<Option<Stop>>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) async fn call(self: &Arc<Self>, method: Method, body: &[u8]) -> Answer {
        match Request::decode(method, body) {
            Err(error) => Answer::unreadable(&error),
            Ok(Request::Capabilities) => {
                Answer::of(self.driver.capabilities().await, |capabilities: &LogCapabilities| {
                    format!("{{\"Cap\":{{\"ReadLogs\":{}}}}}\n", capabilities.read).into_bytes()
                })
            }
            Ok(Request::StartLogging { file, info }) => done(self.start(file, *info).await),
            Ok(Request::StopLogging { file }) => done(self.stop(&file).await),
            Ok(Request::ReadLogs { info, query }) => match self.driver.read(*info, query).await {
                Ok(lines) => Answer { lines: Some(lines), ..Answer::default() },
                Err(error) => Answer::error(StatusCode::INTERNAL_SERVER_ERROR, &error),
            },
        }
    }

    async fn start(self: &Arc<Self>, file: PathBuf, info: LogInfo) -> Result<(), DriverError> {
        self.driver.check(&info.options)?;
        // A pipe that has no reader when this is answered is one that nobody will read.
        let pipe = pipe::OpenOptions::new().open_receiver(&file).map_err(|error| {
            DriverError::new(ErrorKind::InvalidArgument, format!("{}: {error}", file.display()))
        })?;
        let (stop, stopped) = watch::channel(None);
        {
            let mut open = self.open();
            if open.contains_key(&file) {
                let why = format!("{} is being read already", file.display());
                return Err(DriverError::new(ErrorKind::Conflict, why));
            }
            open.insert(file.clone(), stop);
        }
        let stream = match self.driver.start(info.clone()).await {
            Ok(stream) => stream,
            Err(error) => {
                self.open().remove(&file);
                return Err(error);
            }
        };
        let streams = Arc::clone(self);
        tokio::spawn(async move {
            let mut reading = Reading {
                driver: Arc::clone(&streams.driver),
                info,
                pipe,
                stream: Some(stream),
                bytes: Vec::new(),
                stopped: stopped.clone(),
                since: Instant::now(),
                begun: false,
            };
            let result = reading.run().await;
            streams.open().remove(&file);
            if let Err(error) = &result {
                eprintln!("{}: {error}", file.display());
            }
            let waits = stopped.borrow().clone();
            if let Some(waits) =
                waits.and_then(|waits| waits.lock().unwrap_or_else(PoisonError::into_inner).take())
            {
                let _ = waits.send(result);
            }
        });
        Ok(())
    }

    async fn stop(&self, file: &Path) -> Result<(), DriverError> {
        let (told, ended) = oneshot::channel();
        let wanted = match self.open().get(file) {
            Some(stop) => stop.send(Some(Arc::new(Mutex::new(Some(told))))).is_ok(),
            None => false,
        };
        // A stream that is over by itself needs no end: the engine that began it is gone, or asks twice.
        if wanted { ended.await.unwrap_or(Ok(())) } else { Ok(()) }
    }
}

fn done(result: Result<(), DriverError>) -> Answer {
    // As Docker's log plugins do: an error is an answer like others.
    match result {
        Ok(()) => Answer::ok(b"{\"Err\":\"\"}\n".to_vec()),
        Err(error) => Answer::error(StatusCode::OK, &error),
    }
}

/// The next entries as they are answered; `None` at the end.
pub(crate) async fn frames(lines: &mut dyn LogLines) -> Result<Option<Vec<u8>>, DriverError> {
    let entries = lines.next().await?;
    let mut bytes = Vec::new();
    for entry in &entries {
        push_frame(&Record::from(entry), &mut bytes);
    }
    Ok(Some(bytes).filter(|_| !entries.is_empty()))
}

/// One pipe, and the stream that its lines go to.
struct Reading {
    driver: Arc<dyn LogDriver>,
    info: LogInfo,
    pipe: pipe::Receiver,
    stream: Option<Box<dyn LogStream>>,
    /// What was read and is no whole entry yet.
    bytes: Vec<u8>,
    stopped: watch::Receiver<Option<Stop>>,
    /// Since when it is open, and whether anything came by now.
    since: Instant,
    begun: bool,
}

impl Reading {
    async fn run(&mut self) -> Result<(), DriverError> {
        let mut idle = PAUSE.0;
        loop {
            let batch = match self.read().await? {
                Some(batch) => batch,
                None => break,
            };
            if !batch.is_empty() {
                self.hand_over(&batch).await?;
                idle = PAUSE.0;
            } else if let Some(stream) = &mut self.stream {
                // A driver that buffers may have something to do.
                if stream.send(&[]).await.is_err() {
                    self.stream = None;
                    sleep(idle).await;
                    idle = (idle * 2).min(PAUSE.1);
                }
            }
        }
        match &mut self.stream {
            Some(stream) => stream.stop().await,
            None => Ok(()),
        }
    }

    /// The next entries; none that are whole yet; `None` at the end: nobody writes any more, or whoever did said so and
    /// everything is read.
    async fn read(&mut self) -> Result<Option<Vec<LogEntry>>, DriverError> {
        let mut chunk = vec![0; CHUNK];
        let is_told = self.stopped.borrow().is_some();
        let read = if is_told {
            timeout(SILENCE, self.pipe.read(&mut chunk)).await.unwrap_or(Ok(0))
        } else {
            tokio::select! {
                read = self.pipe.read(&mut chunk) => read,
                _ = self.stopped.changed() => return Ok(Some(Vec::new())),
            }
        };
        let count =
            read.map_err(|error: io::Error| DriverError::internal(format!("reading the pipe: {error}")))?;
        if count == 0 {
            // Whoever writes may open its end a little later than this one was.
            if !self.begun && !is_told && self.since.elapsed() < LATE {
                sleep(LOOK).await;
                return Ok(Some(Vec::new()));
            }
            return Ok(None);
        }
        self.begun = true;
        self.bytes.extend_from_slice(chunk.get(..count).unwrap_or_default());
        let (mut entries, mut at) = (Vec::new(), 0);
        loop {
            let rest = self.bytes.get(at..).unwrap_or_default();
            let unreadable =
                |error| DriverError::internal(format!("the engine's frames cannot be read: {error}"));
            let Some(length) = frame_length(rest).map_err(unreadable)? else { break };
            let Some(message) = rest.get(4..4 + length) else { break };
            // A frame whose message makes no sense is left out; the next one is found all the same.
            if let Ok((entry, _)) = decode(message) {
                entries.push(entry);
            }
            at += 4 + length;
        }
        self.bytes.drain(..at);
        Ok(Some(entries))
    }

    /// Until the driver has it, however often that takes.
    async fn hand_over(&mut self, batch: &[LogEntry]) -> Result<(), DriverError> {
        let mut pause = PAUSE.0;
        loop {
            match self.attempt(batch).await {
                Ok(()) => return Ok(()),
                // Options that mean nothing will not mean anything later.
                Err(error) if error.kind == ErrorKind::InvalidArgument && self.stream.is_none() => {
                    return Err(error);
                }
                Err(error) => eprintln!("{}: {error}; it is tried again", self.info.name),
            }
            self.stream = None;
            // Whoever waits for the end has a budget, and what is not acknowledged is sent again.
            if self.stopped.borrow().is_some() && pause >= PAUSE.1 {
                return Err(DriverError::new(ErrorKind::Unavailable, "what is left could not be delivered"));
            }
            tokio::select! {
                () = sleep(pause) => {}
                _ = self.stopped.changed() => {}
            }
            pause = (pause * 2).min(PAUSE.1);
        }
    }

    async fn attempt(&mut self, batch: &[LogEntry]) -> Result<(), DriverError> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            None => self.stream.insert(self.driver.start(self.info.clone()).await?),
        };
        // Whatever was acknowledged before this batch: a stream counts from its beginning.
        let before = stream.send(&[]).await?;
        let wanted = before + batch.len() as u64;
        let mut acknowledged = stream.send(batch).await?;
        while acknowledged < wanted {
            sleep(LOOK).await;
            acknowledged = stream.send(&[]).await?;
        }
        Ok(())
    }
}
