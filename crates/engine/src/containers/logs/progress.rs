//! How far each driver is with each container's lines.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};

use super::file::{self, Position};
use crate::{
    EngineError,
    containers::{Containers, cell::Cell, service::blocking},
};

/// One stream of a container's lines to one driver.
#[derive(Debug, Clone, PartialEq)]
pub struct LogDelivery {
    /// The container's id.
    pub container: String,
    /// The container's name, without a slash.
    pub name: String,
    /// What the user calls the driver; empty for the container's own.
    pub destination: String,
    /// The driver's name.
    pub driver: String,
    /// Whether the driver has the stream open. If not, the lines wait on this host.
    pub open: bool,
    /// Bytes of the container's journal that the driver has not acknowledged.
    pub lag: u64,
    /// Lines that it acknowledged since the engine was started.
    pub delivered: u64,
    /// The same for each second, lately.
    pub rate: f64,
    /// Lines that were rotated away before they could be delivered, ever.
    pub dropped: u64,
    /// Streams that ended by an error since the engine was started.
    pub errors: u64,
    /// The last of these errors, and when.
    pub last_error: Option<(DateTime<Utc>, String)>,
    /// When it last acknowledged a line.
    pub acknowledged: Option<DateTime<Utc>>,
}

/// What the task of a stream says of it.
#[derive(Debug)]
pub(in crate::containers) struct Progress {
    driver: String,
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    open: bool,
    position: Option<Position>,
    /// Lines acknowledged since the stream was opened.
    in_stream: u64,
    delivered: u64,
    dropped: u64,
    errors: u64,
    last_error: Option<(DateTime<Utc>, String)>,
    acknowledged: Option<DateTime<Utc>>,
    rate: Rate,
}

impl Progress {
    pub(super) fn new(driver: String, path: PathBuf) -> Self {
        Self { driver, path, state: Mutex::default() }
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// What was noted in an earlier life of the engine.
    pub(super) fn resumed(&self, position: Option<Position>, dropped: u64) {
        self.change(|state| (state.position, state.dropped) = (position, dropped));
    }

    pub(super) fn opened(&self) {
        self.change(|state| (state.open, state.in_stream) = (true, 0));
    }

    pub(super) fn failed(&self, error: &str) {
        self.change(|state| {
            state.open = false;
            state.errors += 1;
            state.last_error = Some((Utc::now(), error.to_owned()));
        });
    }

    pub(super) fn dropped(&self, lines: u64) {
        self.change(|state| state.dropped += lines);
    }

    /// `count` lines since the stream was opened.
    pub(super) fn acknowledged(&self, count: u64, position: Position) {
        self.change(|state| {
            let lines = count.saturating_sub(state.in_stream);
            state.in_stream = count;
            state.delivered += lines;
            state.position = Some(position);
            state.acknowledged = Some(Utc::now());
            state.rate.count(lines, Instant::now());
        });
    }

    fn show(&self, cell: &Cell, destination: &str) -> LogDelivery {
        let container = cell.container();
        let mut shown = LogDelivery {
            container: container.id.clone(),
            name: container.name.clone(),
            destination: destination.to_owned(),
            driver: self.driver.clone(),
            open: false,
            lag: 0,
            delivered: 0,
            rate: 0.0,
            dropped: 0,
            errors: 0,
            last_error: None,
            acknowledged: None,
        };
        let mut position = None;
        self.change(|state| {
            position = state.position;
            (shown.open, shown.delivered, shown.dropped) = (state.open, state.delivered, state.dropped);
            (shown.errors, shown.last_error) = (state.errors, state.last_error.clone());
            (shown.rate, shown.acknowledged) = (state.rate.now(Instant::now()), state.acknowledged);
        });
        // A log that is just being rotated or removed is looked at again the next time.
        shown.lag = file::behind(&self.path, position).unwrap_or_default();
        shown
    }
}

/// Lines for each second, over the last whole window.
#[derive(Debug, Default)]
struct Rate {
    window: Option<Instant>,
    count: u64,
    last: f64,
}

const WINDOW: Duration = Duration::from_secs(5);

impl Rate {
    fn count(&mut self, lines: u64, now: Instant) {
        self.roll(now);
        self.count += lines;
    }

    fn roll(&mut self, now: Instant) {
        let start = *self.window.get_or_insert(now);
        let passed = now.duration_since(start);
        if passed >= WINDOW {
            // Whole windows in which nothing came say that there is no rate any more.
            let recent = passed < WINDOW * 2;
            self.last = if recent { self.count as f64 / passed.as_secs_f64() } else { 0.0 };
            (self.window, self.count) = (Some(now), 0);
        }
    }

    fn now(&mut self, now: Instant) -> f64 {
        self.roll(now);
        let passed = self.window.map_or(0.0, |start| now.duration_since(start).as_secs_f64());
        // A window that has only begun says little by itself.
        if passed >= 1.0 { (self.count as f64 / passed).max(self.last) } else { self.last }
    }
}

impl Containers {
    /// Every stream of lines that is being taken to a driver, by the container's name.
    pub async fn log_deliveries(&self) -> Result<Vec<LogDelivery>, EngineError> {
        let shared = Arc::clone(&self.shared);
        let look = move || {
            let streams = shared.delivering().clone();
            let show = |((id, destination), progress): (&(String, String), &Arc<Progress>)| {
                Some(progress.show(shared.find(id).ok()?.as_ref(), destination))
            };
            let mut shown: Vec<LogDelivery> = streams.iter().filter_map(show).collect();
            shown.sort_by(|a, b| (&a.name, &a.destination).cmp(&(&b.name, &b.destination)));
            Ok(shown)
        };
        blocking(look).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_of_lately() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut rate = Rate::default();
        rate.count(100, at(0));
        rate.count(400, at(4));
        assert_eq!(rate.now(at(5)), 100.0);
        rate.count(50, at(6));
        assert_eq!(rate.now(at(10)), 10.0);
        assert_eq!(rate.now(at(60)), 0.0);
    }
}
