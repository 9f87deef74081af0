//! Docker's progress lines, on their way to whoever shows them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use tokio::sync::mpsc;

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
}

/// Where progress goes. Cheap to clone; sending never waits, and a receiver that went away is no error.
#[derive(Clone, Default)]
pub struct Progress(Option<mpsc::UnboundedSender<ProgressEvent>>);

impl Progress {
    /// Progress that nobody looks at.
    pub fn none() -> Self {
        Self(None)
    }

    /// Progress that arrives at the receiver.
    pub fn channel() -> (Self, mpsc::UnboundedReceiver<ProgressEvent>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self(Some(sender)), receiver)
    }

    /// Sends one event.
    pub fn send(&self, event: ProgressEvent) {
        if let Some(sender) = &self.0 {
            // A client that hung up has seen enough.
            let _ = sender.send(event);
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
