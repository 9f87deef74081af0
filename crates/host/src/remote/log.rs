//! The log contract, kept by a plugin: a call that names a pipe, and frames through it.
//!
//! The pipe is made in the plugin's root (`remote::pipes`). It is open read-write until `StartLogging` has answered, so
//! that a plugin that opens it early or late finds a writer, and write-only from then on: a plugin that dies is seen by
//! EPIPE, where Docker, which keeps it read-write, sees nothing. The protocol has no acknowledgement. What was written
//! before a moment at which the pipe was empty has been read; a batch counts as acknowledged when the plugin, having read
//! it, has read the next one, too, or was told to stop.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use pintle_contract::{
    DriverError, ErrorKind, LogDriver, LogEntry, LogLines, LogStream,
    log::{LogCapabilities, LogInfo, LogQuery},
};
use pintle_wire::log::{PIPES, Record, Request, accept, decode_capabilities, decode_lines, push_frame};
use rustix::event::{PollFd, PollFlags, poll};
use tokio::net::unix::pipe;

use super::{
    Budget, Client, PathMap,
    pipes::{self, Place},
};

const START: Budget = Budget { total: Duration::from_secs(10), connect: Duration::from_secs(2) };
const STOP: Budget = Budget::once(Duration::from_secs(5));
const READ: Budget = Budget::once(Duration::from_secs(60));
/// How long a plugin may take to open the pipe that it was told of.
const OPEN: Duration = Duration::from_secs(10);
/// How often is looked whether the pipe is empty.
const LOOK: Duration = Duration::from_millis(5);

/// The log contract, kept by a plugin.
#[derive(Debug)]
pub struct Log {
    client: Arc<Client>,
    root: PathBuf,
}

impl Log {
    /// The driver behind `client`, whose root is in `paths`.
    pub fn new(client: Arc<Client>, paths: &PathMap) -> Self {
        let root = paths.rootfs.clone().unwrap_or_else(|| PathBuf::from("/"));
        if let Err(error) = pipes::sweep(&root) {
            tracing::warn!(root = %root.display(), %error, "pipes of an engine that died are still there");
        }
        Self { client, root }
    }
}

#[async_trait::async_trait]
impl LogDriver for Log {
    async fn capabilities(&self) -> Result<LogCapabilities, DriverError> {
        let request = Request::Capabilities;
        let (status, body) = self.client.call(request.method().path(), Some(request.encode()), STOP).await?;
        if pintle_wire::is_missing(status, &body) {
            return Ok(LogCapabilities::default());
        }
        decode_capabilities(status, &body)
    }

    async fn start(&self, info: LogInfo) -> Result<Box<dyn LogStream>, DriverError> {
        // The plugin has not been asked yet: this is not its refusal.
        let unmade = |error| {
            DriverError::new(ErrorKind::Unavailable, format!("making a pipe in the plugin's root: {error}"))
        };
        let place = Place::make(&self.root).map_err(unmade)?;
        let mut options = pipe::OpenOptions::new();
        let held = options.read_write(true).open_sender(place.here()).map_err(unmade)?;
        let writer = pipe::OpenOptions::new().open_sender(place.here()).map_err(unmade)?;
        let file = Path::new(PIPES).join(&place.name);
        let stream = Stream {
            client: Arc::clone(&self.client),
            _place: place,
            file: file.clone(),
            writer,
            open: false,
            sent: 0,
            before: 0,
            acknowledged: 0,
        };
        let request = Request::StartLogging { file, info: Box::new(info) };
        stream.call(&request, START).await?;
        drop(held);
        Ok(Box::new(stream))
    }

    async fn read(&self, info: LogInfo, query: LogQuery) -> Result<Box<dyn LogLines>, DriverError> {
        if query.follow {
            // The answer is read whole, and the engine follows what it has itself.
            let text = "a log plugin's lines are not followed";
            return Err(DriverError::new(ErrorKind::Unsupported, text));
        }
        let request = Request::ReadLogs { info: Box::new(info), query };
        let method = request.method();
        let (status, body) = self.client.call(method.path(), Some(request.encode()), READ).await?;
        let entries = decode_lines(status, &body)
            .inspect_err(|error| self.client.note_failure(method.name(), &error.message))?;
        Ok(Box::new(Whole(entries)))
    }
}

/// What was read back.
struct Whole(Vec<LogEntry>);

#[async_trait::async_trait]
impl LogLines for Whole {
    async fn next(&mut self) -> Result<Vec<LogEntry>, DriverError> {
        Ok(std::mem::take(&mut self.0))
    }
}

struct Stream {
    client: Arc<Client>,
    _place: Place,
    file: PathBuf,
    writer: pipe::Sender,
    /// The plugin has opened its end.
    open: bool,
    /// Entries written, written before the last batch, and acknowledged.
    sent: u64,
    before: u64,
    acknowledged: u64,
}

impl Stream {
    async fn call(&self, request: &Request, budget: Budget) -> Result<(), DriverError> {
        let method = request.method();
        let (status, body) = self.client.call(method.path(), Some(request.encode()), budget).await?;
        accept(method, status, &body)
            .inspect_err(|error| self.client.note_failure(method.name(), &error.message))
    }

    fn has_reader(&self) -> bool {
        let mut fds = [PollFd::new(&self.writer, PollFlags::OUT)];
        let zero = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut fds, Some(&zero)).is_ok_and(|_| !fds[0].revents().contains(PollFlags::ERR))
    }

    /// Waits for the plugin to open its end, once.
    async fn opened(&mut self) -> Result<(), DriverError> {
        let deadline = tokio::time::Instant::now() + OPEN;
        while !self.open {
            self.open = self.has_reader();
            if !self.open && tokio::time::Instant::now() > deadline {
                let text = format!("the plugin did not open {} within {OPEN:?}", self.file.display());
                return Err(DriverError::new(ErrorKind::Timeout, text));
            }
            if !self.open {
                tokio::time::sleep(LOOK).await;
            }
        }
        Ok(())
    }

    fn gone(&self) -> DriverError {
        DriverError::new(ErrorKind::Unavailable, format!("the plugin closed {}", self.file.display()))
    }

    /// Waits until the plugin has read everything.
    async fn empty(&self) -> Result<(), DriverError> {
        while rustix::io::ioctl_fionread(&self.writer).map_err(io::Error::from)? > 0 {
            if !self.has_reader() {
                return Err(self.gone());
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }
}

#[async_trait::async_trait]
impl LogStream for Stream {
    async fn send(&mut self, batch: &[LogEntry]) -> Result<u64, DriverError> {
        self.opened().await?;
        let mut bytes = Vec::new();
        for entry in batch {
            let attributes = None;
            push_frame(&Record { attributes, ..Record::from(entry) }, &mut bytes);
        }
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            self.writer.writable().await?;
            match self.writer.try_write(rest) {
                Ok(count) => rest = rest.get(count..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Err(self.gone()),
                Err(error) => return Err(error.into()),
            }
        }
        if !batch.is_empty() {
            self.before = self.sent;
            self.sent += batch.len() as u64;
        } else if !self.has_reader() {
            return Err(self.gone());
        }
        self.empty().await?;
        self.acknowledged = self.acknowledged.max(self.before);
        Ok(self.acknowledged)
    }

    async fn stop(&mut self) -> Result<(), DriverError> {
        self.empty().await?;
        self.call(&Request::StopLogging { file: self.file.clone() }, STOP).await
    }
}
