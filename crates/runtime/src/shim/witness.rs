//! What the embedded runtime says while it fails. Its errors cross from the container's process to the shim as one
//! line without their causes; the causes are only in what it logs.

use std::fmt::{Debug, Write};
use std::os::fd::{BorrowedFd, RawFd};
use std::sync::atomic::{AtomicI32, Ordering};

use serde::{Deserialize, Serialize};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// The pipe on which the process that is being made reports; none at other times.
static REPORT: AtomicI32 = AtomicI32::new(-1);

/// One remark, as it crosses the pipe.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Remark {
    pub said: String,
}

/// Listens for as long as it lives; for the forked child too.
pub(crate) struct Listening;

impl Listening {
    pub(crate) fn on(report: RawFd) -> Self {
        REPORT.store(report, Ordering::Relaxed);
        Self
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        REPORT.store(-1, Ordering::Relaxed);
    }
}

/// Passes errors on, and nothing else.
pub(crate) struct Witness;

impl Subscriber for Witness {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::ERROR && metadata.is_event()
    }

    fn event(&self, event: &Event<'_>) {
        let report = REPORT.load(Ordering::Relaxed);
        if report < 0 || *event.metadata().level() != Level::ERROR {
            return;
        }
        let mut words = Words::default();
        event.record(&mut words);
        let said: String = words.0.chars().take(400).collect();
        if let Ok(line) = serde_json::to_vec(&Remark { said }) {
            // SAFETY: `Listening` lives no longer than the stage that owns the pipe, and the child inherits both.
            #[expect(unsafe_code, reason = "the descriptor crosses a fork as a number")]
            let pipe = unsafe { BorrowedFd::borrow_raw(report) };
            let _ = rustix::io::write(pipe, &line);
        }
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[derive(Default)]
struct Words(String);

impl Visit for Words {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let separator = if self.0.is_empty() { "" } else { ", " };
        let _ = match field.name() {
            "message" => write!(self.0, "{separator}{value:?}"),
            name => write!(self.0, "{separator}{name}: {value:?}"),
        };
    }
}
