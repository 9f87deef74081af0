//! Reading a container's output back.

mod delivery;
mod drivers;
mod file;
mod filters;
mod line;
mod opening;
mod progress;
mod records;
mod segments;
mod watch;

use std::path::Path;

use bytes::Bytes;
use chrono::Utc;
use futures_util::{Stream, stream};
use pintle_runtime::LogFormat;

pub use self::drivers::LogDrivers;
pub(super) use self::filters::Filters;
pub(super) use self::opening::Opened;
pub use self::progress::LogDelivery;
pub(super) use self::progress::Progress;
use self::{
    file::{Read1, Reader},
    watch::Watch,
};
use super::{LogOptions, Logs};
use crate::EngineError;

/// Reads the log that a shim keeps for somebody who is no container, as a plugin is. With `options.follow` the stream ends
/// when `may_write` is false and all that was written was sent.
pub async fn read(
    path: &Path,
    options: LogOptions,
    may_write: impl Fn() -> bool + Send + Sync + 'static,
) -> Result<Logs, EngineError> {
    open(path, LogFormat::Json, options, false, Writer::Other(Box::new(may_write))).await
}

/// Says when no more output will come.
pub(super) type Ended = tokio::sync::watch::Receiver<super::cell::Snapshot>;

/// Whether more output may come: it runs, or its policy starts it again.
fn may_write(snapshot: &super::cell::Snapshot) -> bool {
    !snapshot.gone && (snapshot.container.life.is_running() || snapshot.container.life.may_hold())
}

/// Who writes a log.
pub(super) enum Writer {
    Container(Ended),
    /// Says whether more output may come.
    Other(Box<dyn Fn() -> bool + Send + Sync>),
}

impl Writer {
    fn may_write(&self) -> bool {
        match self {
            Self::Container(seen) => may_write(&seen.borrow()),
            Self::Other(may_write) => may_write(),
        }
    }

    /// Waits until it may have changed; an error if nobody will ever say more of it.
    async fn changed(&mut self) -> Result<(), tokio::sync::watch::error::RecvError> {
        match self {
            Self::Container(seen) => seen.changed().await,
            Self::Other(_) => {
                tokio::time::sleep(LOOK_AGAIN).await;
                Ok(())
            }
        }
    }
}

/// How often it is asked whether somebody who cannot say so himself still writes.
const LOOK_AGAIN: std::time::Duration = std::time::Duration::from_secs(1);

/// Opens the log at `path`. With `options.follow` the stream ends when the writer does not run and all that it wrote was
/// sent.
pub(super) async fn open(
    path: &Path,
    format: LogFormat,
    options: LogOptions,
    tty: bool,
    writer: Writer,
) -> Result<Logs, EngineError> {
    let owned = path.to_owned();
    // Which lines are the last can be known without reading only where all are wanted.
    let last = options.grep.as_ref().and(options.tail).map(Last::new);
    let tail = options.tail.filter(|_| last.is_none());
    let reader = blocking(move || Reader::open(&owned, format, tail)).await?;
    let watch = if options.follow { path.parent().map(Watch::new) } else { None };
    let state =
        Following { reader: Some(reader), format, options, tty, watch, writer, last, last_round: false };
    Ok(Logs { tty, stream: Box::pin(pieces(state)) })
}

struct Following {
    reader: Option<Reader>,
    format: LogFormat,
    options: LogOptions,
    tty: bool,
    watch: Option<Watch>,
    writer: Writer,
    /// Lines that match are held back until all that there are have been read.
    last: Option<Last>,
    /// It has ended; what is read now is all there is.
    last_round: bool,
}

fn pieces(state: Following) -> impl Stream<Item = Result<Bytes, EngineError>> + Send {
    stream::unfold(state, |mut state| async move {
        match state.next().await {
            Ok(Some(bytes)) => Some((Ok(bytes), state)),
            Ok(None) => None,
            Err(error) => {
                state.reader = None;
                Some((Err(error), state))
            }
        }
    })
}

impl Following {
    async fn next(&mut self) -> Result<Option<Bytes>, EngineError> {
        loop {
            let Some(mut reader) = self.reader.take() else { return Ok(None) };
            // Before reading: what is written before the end is then surely read.
            self.last_round = !self.options.follow || !self.writer.may_write();
            let (reader, read) = blocking(move || {
                let read = reader.read()?;
                Ok((reader, read))
            })
            .await?;
            match read {
                Read1::Lines(lines) => {
                    let rendered = line::render(&lines, self.format, &self.options, self.tty);
                    if !rendered.past_until {
                        self.reader = Some(reader);
                    }
                    if let Some(last) = &mut self.last {
                        last.push(&rendered);
                        if rendered.past_until {
                            return Ok(self.last.take().map(Last::into_bytes));
                        }
                    } else if !rendered.bytes.is_empty() {
                        return Ok(Some(rendered.bytes));
                    }
                }
                Read1::End => {
                    if let Some(bytes) =
                        self.last.take().map(Last::into_bytes).filter(|bytes| !bytes.is_empty())
                    {
                        self.reader = Some(reader);
                        return Ok(Some(bytes));
                    }
                    let over = self.options.until.is_some_and(|until| until < Utc::now());
                    if self.last_round || over {
                        return Ok(None);
                    }
                    self.reader = Some(reader);
                    self.wait().await;
                }
            }
        }
    }

    async fn wait(&mut self) {
        let left = self.options.until.and_then(|until| (until - Utc::now()).to_std().ok());
        let changed = async {
            match &mut self.watch {
                Some(watch) => watch.changed().await,
                None => tokio::time::sleep(std::time::Duration::from_millis(100)).await,
            }
        };
        tokio::select! {
            () = changed => {}
            gone = self.writer.changed() => {
                if gone.is_err() {
                    // The container was removed: read what our open files still hold, then end.
                    self.options.follow = false;
                }
            }
            () = async { match left { Some(left) => tokio::time::sleep(left).await, None => std::future::pending().await } } => {}
        }
    }
}

/// The last so many lines of those that match.
struct Last {
    limit: usize,
    lines: std::collections::VecDeque<Bytes>,
}

impl Last {
    fn new(limit: usize) -> Self {
        Self { limit, lines: std::collections::VecDeque::new() }
    }

    fn push(&mut self, rendered: &line::Rendered) {
        let mut start = 0;
        for &end in &rendered.ends {
            // A slice would keep the whole piece in memory.
            self.lines
                .push_back(rendered.bytes.get(start..end).map(Bytes::copy_from_slice).unwrap_or_default());
            start = end;
            if self.lines.len() > self.limit {
                self.lines.pop_front();
            }
        }
    }

    fn into_bytes(self) -> Bytes {
        self.lines.iter().flatten().copied().collect()
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, EngineError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => {
            result.map_err(|error| EngineError::internal(format!("reading the container's log: {error}")))
        }
        Err(error) => Err(EngineError::internal(format!("reading the container's log: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        sync::{
            Arc,
            atomic::{AtomicBool, Ordering},
        },
    };

    use futures_util::StreamExt;

    use super::*;

    fn line(text: &str) -> String {
        format!("{{\"log\":\"{text}\\n\",\"stream\":\"stdout\",\"time\":\"2026-01-01T00:00:00Z\"}}\n")
    }

    #[tokio::test]
    async fn following_a_log_of_no_container_loses_nothing_when_it_is_rotated() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        fs::write(dir.path().join("log.1"), line("a")).unwrap();
        fs::write(&path, line("b")).unwrap();
        let writes = Arc::new(AtomicBool::new(true));
        let asked = Arc::clone(&writes);
        let options = LogOptions { stdout: true, stderr: true, follow: true, ..LogOptions::default() };
        let logs = read(&path, options, move || asked.load(Ordering::SeqCst)).await.unwrap();
        let mut stream = logs.stream;
        let mut seen = stream.next().await.unwrap().unwrap().to_vec();
        // The last line before the rotation, and the first after it.
        fs::write(&path, line("b") + &line("c")).unwrap();
        fs::rename(dir.path().join("log.1"), dir.path().join("log.2")).unwrap();
        fs::rename(&path, dir.path().join("log.1")).unwrap();
        fs::write(&path, line("d")).unwrap();
        writes.store(false, Ordering::SeqCst);
        while let Some(piece) = stream.next().await {
            seen.extend(piece.unwrap());
        }
        let expected: Vec<u8> = ["a", "b", "c", "d"]
            .iter()
            .flat_map(|text| [b"\x01\0\0\0\0\0\0\x02", text.as_bytes(), b"\n"].concat())
            .collect();
        assert_eq!(String::from_utf8_lossy(&seen), String::from_utf8_lossy(&expected));
    }
}
