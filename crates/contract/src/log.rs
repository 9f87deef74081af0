//! Log drivers.

use std::collections::BTreeMap;

use crate::DriverError;

/// Where a container wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum Source {
    /// Standard output, and everything of a terminal.
    #[default]
    Stdout,
    /// Standard error.
    Stderr,
}

impl Source {
    /// Its name in every format there is.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// A piece of a line that is longer than 16 KiB, or that had no end when the container had.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Piece {
    /// The same for each piece of a line, and for no other line.
    pub id: String,
    /// Counts the pieces of a line, from 1.
    pub ordinal: i32,
    /// Whether the line ends with this piece.
    pub last: bool,
}

/// A line of a container's output, or a piece of one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogEntry {
    /// Where it was written.
    pub source: Source,
    /// When, in nanoseconds since 1970; for pieces, when the first was.
    pub time: i64,
    /// Any bytes, without the newline.
    pub line: Vec<u8>,
    /// Set on each piece of a long line, the last one included.
    pub piece: Option<Piece>,
    /// What the user asked to have beside each line. Never sent to plugins, as in Docker.
    pub attributes: BTreeMap<String, String>,
}

impl LogEntry {
    /// Whether a newline follows.
    pub fn ends_line(&self) -> bool {
        self.piece.as_ref().is_none_or(|piece| piece.last)
    }
}

/// What a log driver can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LogCapabilities {
    /// It can give back what it was given.
    pub read: bool,
}

/// Which of a container's lines are wanted back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LogQuery {
    /// No older ones, in nanoseconds since 1970.
    pub since: Option<i64>,
    /// No younger ones.
    pub until: Option<i64>,
    /// Of these the last so many.
    pub tail: Option<u64>,
    /// And those that come from now on, until nobody wants them any more.
    pub follow: bool,
}

/// The container whose output it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogInfo {
    /// The driver's options, as the user gave them.
    pub options: BTreeMap<String, String>,
    /// The container's id.
    pub id: String,
    /// Its name, with the leading slash.
    pub name: String,
    /// The program.
    pub entrypoint: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// The image's id.
    pub image_id: String,
    /// The image as it was asked for.
    pub image_name: String,
    /// When the container was made, in RFC 3339.
    pub created: String,
    /// Its environment.
    pub env: Vec<String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

/// The log contract: what takes containers' lines to somewhere else.
///
/// A driver is never on a container's path: the lines are on this host's disk before it hears of them, and it may
/// take its time. Callers set the budget of each call.
#[async_trait::async_trait]
pub trait LogDriver: Send + Sync + 'static {
    /// What the driver can do.
    async fn capabilities(&self) -> Result<LogCapabilities, DriverError> {
        Ok(LogCapabilities::default())
    }

    /// Whether a container may have these options, asked before it is made. What they lead to is not contacted.
    fn check(&self, _options: &BTreeMap<String, String>) -> Result<(), DriverError> {
        Ok(())
    }

    /// Begins a stream of one container's lines. Options that mean nothing are
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument).
    async fn start(&self, info: LogInfo) -> Result<Box<dyn LogStream>, DriverError>;

    /// Gives back what was taken of a container, in order. Only a driver that [can](LogCapabilities::read) is asked; of a
    /// container that it does not know it has no lines.
    async fn read(&self, _info: LogInfo, _query: LogQuery) -> Result<Box<dyn LogLines>, DriverError> {
        Err(DriverError::new(crate::ErrorKind::Unsupported, "the log driver cannot be read back"))
    }
}

/// A container's lines on their way back.
#[async_trait::async_trait]
pub trait LogLines: Send + 'static {
    /// The next entries, some at least; none at the end. Waits for them if the query follows. Safe to drop half-way.
    async fn next(&mut self) -> Result<Vec<LogEntry>, DriverError>;
}

/// One container's lines, on their way to a driver.
///
/// What was not acknowledged is sent again on a new stream after any error: at least once, in order.
#[async_trait::async_trait]
pub trait LogStream: Send + 'static {
    /// Hands over entries, in order, and says how many since the stream began are acknowledged: will survive the
    /// death of whoever took them, as far as this driver can tell. Safe to drop half-way; the stream is then over.
    async fn send(&mut self, batch: &[LogEntry]) -> Result<u64, DriverError>;

    /// Ends the stream after what was sent. Success acknowledges all of it.
    async fn stop(&mut self) -> Result<(), DriverError>;
}
