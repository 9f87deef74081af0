//! Reading a container's output back.

mod delivery;
mod drivers;
mod file;
mod line;
mod records;
mod watch;

use std::path::Path;

use bytes::Bytes;
use chrono::Utc;
use futures_util::{Stream, stream};
use pintle_runtime::LogFormat;

pub use self::drivers::LogDrivers;
use self::{
    file::{Read1, Reader},
    watch::Watch,
};
use super::{LogOptions, Logs};
use crate::EngineError;

/// Says when no more output will come.
pub(super) type Ended = tokio::sync::watch::Receiver<super::cell::Snapshot>;

/// Opens the log at `path`. With `options.follow` the stream ends when `ended` says that the container does not
/// run and all that it wrote was sent.
pub(super) async fn open(
    path: &Path,
    format: LogFormat,
    options: LogOptions,
    tty: bool,
    ended: Ended,
) -> Result<Logs, EngineError> {
    let owned = path.to_owned();
    let tail = options.tail;
    let reader = blocking(move || Reader::open(&owned, format, tail)).await?;
    let watch = if options.follow { path.parent().map(Watch::new) } else { None };
    let state = Following { reader: Some(reader), format, options, tty, watch, ended, last_round: false };
    Ok(Logs { tty, stream: Box::pin(pieces(state)) })
}

/// Whether more output may come: it runs, or its policy starts it again.
fn may_write(snapshot: &super::cell::Snapshot) -> bool {
    !snapshot.gone && (snapshot.container.life.is_running() || snapshot.container.life.may_hold())
}

struct Following {
    reader: Option<Reader>,
    format: LogFormat,
    options: LogOptions,
    tty: bool,
    watch: Option<Watch>,
    ended: Ended,
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
            self.last_round = !self.options.follow || !may_write(&self.ended.borrow());
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
                    if !rendered.bytes.is_empty() {
                        return Ok(Some(rendered.bytes));
                    }
                }
                Read1::End => {
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
            gone = self.ended.changed() => {
                if gone.is_err() {
                    // The container was removed: read what our open files still hold, then end.
                    self.options.follow = false;
                }
            }
            () = async { match left { Some(left) => tokio::time::sleep(left).await, None => std::future::pending().await } } => {}
        }
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
