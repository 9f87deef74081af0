//! Docker's progress lines, on their way to whoever shows them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// Pieces of output that wait for whoever reads them. Whatever writes more has to wait.
const ROOM: usize = 64;

/// One line of progress.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ProgressEvent {
    /// The layer or tag that the line is about; lines of one id replace each other.
    pub id: Option<String>,
    /// Docker's text.
    pub status: String,
    /// Bytes done.
    pub current: Option<u64>,
    /// Bytes to do.
    pub total: Option<u64>,
    /// Machine-readable data, at the end of a push.
    pub aux: Option<serde_json::Value>,
    /// The text is output, to be shown as it is: line ends are its own.
    pub output: bool,
    /// The place that it takes until it is read.
    pub room: Room,
}

/// A place among what waits to be read. All are alike; only [`Progress`] gives them out.
#[derive(Debug, Clone, Default)]
pub struct Room {
    _place: Option<Arc<OwnedSemaphorePermit>>,
}

impl PartialEq for Room {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// Where progress goes. Cheap to clone; sending never waits, and a receiver that went away is no error.
#[derive(Clone, Default)]
pub struct Progress(Option<Line>);

#[derive(Clone)]
struct Line {
    sender: mpsc::UnboundedSender<ProgressEvent>,
    room: Arc<Semaphore>,
}

impl Progress {
    /// Progress that nobody looks at.
    pub fn none() -> Self {
        Self(None)
    }

    /// Progress that arrives at the receiver.
    pub fn channel() -> (Self, mpsc::UnboundedReceiver<ProgressEvent>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self(Some(Line { sender, room: Arc::new(Semaphore::new(ROOM)) })), receiver)
    }

    /// Sends one event.
    pub fn send(&self, event: ProgressEvent) {
        if let Some(line) = &self.0 {
            // A client that hung up has seen enough.
            let _ = line.sender.send(event);
        }
    }

    /// A line about nothing in particular.
    pub fn message(&self, status: impl Into<String>) {
        self.send(ProgressEvent { status: status.into(), ..ProgressEvent::default() });
    }

    /// Output, as it came.
    pub fn output(&self, text: impl Into<String>) {
        self.send(ProgressEvent { status: text.into(), output: true, ..ProgressEvent::default() });
    }

    /// The same, once there is room for it: a program that writes faster than its reader reads is slowed down.
    pub async fn output_in_turn(&self, text: impl Into<String>) {
        let Some(line) = &self.0 else { return };
        let place = tokio::select! {
            place = Arc::clone(&line.room).acquire_owned() => place.ok().map(Arc::new),
            // Nobody reads any more.
            () = line.sender.closed() => return,
        };
        let room = Room { _place: place };
        self.send(ProgressEvent { status: text.into(), output: true, room, ..ProgressEvent::default() });
    }

    /// A line about `id`.
    pub fn status(&self, id: &str, status: impl Into<String>) {
        self.send(ProgressEvent {
            id: Some(id.to_owned()),
            status: status.into(),
            ..ProgressEvent::default()
        });
    }

    /// Machine-readable data.
    pub fn aux(&self, value: serde_json::Value) {
        self.send(ProgressEvent { aux: Some(value), ..ProgressEvent::default() });
    }

    /// A bar for `id`, which speaks at most ten times a second.
    pub fn bar(&self, id: &str, status: &'static str, total: Option<u64>) -> Bar {
        Bar(Arc::new(BarState {
            progress: self.clone(),
            id: id.to_owned(),
            status,
            total,
            done: AtomicU64::new(0),
            started: Instant::now(),
            spoken_at: AtomicU64::new(0),
        }))
    }
}

/// The bytes of one thing as they go by. Cheap to clone.
#[derive(Clone)]
pub struct Bar(Arc<BarState>);

struct BarState {
    progress: Progress,
    id: String,
    status: &'static str,
    total: Option<u64>,
    done: AtomicU64,
    started: Instant,
    /// Milliseconds after `started`, plus one; 0 is never.
    spoken_at: AtomicU64,
}

const QUIET_MILLIS: u64 = 100;

impl Bar {
    /// `bytes` more are done.
    pub fn add(&self, bytes: u64) {
        let bar = &*self.0;
        let done = bar.done.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if bar.progress.0.is_none() {
            return;
        }
        let now = u64::try_from(bar.started.elapsed().as_millis()).unwrap_or(u64::MAX - 1) + 1;
        let before = bar.spoken_at.load(Ordering::Relaxed);
        let due = before == 0 || now.saturating_sub(before) >= QUIET_MILLIS || bar.total == Some(done);
        if due && bar.spoken_at.compare_exchange(before, now, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            bar.progress.send(ProgressEvent {
                id: Some(bar.id.clone()),
                status: bar.status.to_owned(),
                current: Some(done),
                total: bar.total,
                ..ProgressEvent::default()
            });
        }
    }

    /// Starts over, when a download does.
    pub fn reset(&self) {
        self.0.done.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn output_waits_for_its_reader_and_not_for_one_that_is_gone() {
        let (progress, mut events) = Progress::channel();
        let writer = tokio::spawn(async move {
            for number in 0..ROOM * 3 {
                progress.output_in_turn(number.to_string()).await;
            }
        });
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!((events.len(), writer.is_finished()), (ROOM, false));
        for number in 0..ROOM * 2 {
            assert_eq!(events.recv().await.unwrap().status, number.to_string());
        }
        drop(events);
        tokio::time::timeout(Duration::from_secs(30), writer).await.unwrap().unwrap();
    }
}
