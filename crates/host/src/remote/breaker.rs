//! The circuit breaker: a plugin that keeps eating whole budgets is not asked for a while.
//!
//! ```text
//! closed --(3 failures in a row)--> open --(pause over)--> half-open --success--> closed
//!                                     ^----------failure, pause doubled----------'
//! ```
//! Pure: time comes in as an argument. A refused connect is not counted, since it costs nothing and a plugin
//! that has just come back should be called at once.

use std::time::{Duration, Instant};

const FAILURES_TO_OPEN: u32 = 3;
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What a breaker lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// Every call.
    Closed,
    /// None until then.
    Open {
        /// When the next call is let through.
        until: Instant,
    },
    /// One call is under way to find out.
    HalfOpen,
}

/// The breaker of one plugin.
#[derive(Debug, Clone)]
pub(super) struct Breaker {
    state: BreakerState,
    failures: u32,
    pause: Duration,
}

impl Default for Breaker {
    fn default() -> Self {
        Self { state: BreakerState::Closed, failures: 0, pause: FIRST_PAUSE }
    }
}

impl Breaker {
    pub(super) fn state(&self) -> BreakerState {
        self.state
    }

    /// Whether a call may be made now; if not, for how long not.
    pub(super) fn admit(&mut self, now: Instant) -> Result<(), Duration> {
        match self.state {
            BreakerState::Closed => Ok(()),
            BreakerState::Open { until } if now < until => Err(until - now),
            BreakerState::Open { .. } => {
                self.state = BreakerState::HalfOpen;
                Ok(())
            }
            BreakerState::HalfOpen => Err(self.pause),
        }
    }

    /// A call was answered, whatever the answer was.
    pub(super) fn answered(&mut self) {
        *self = Self::default();
    }

    /// A call ate its budget or lost its connection.
    pub(super) fn failed(&mut self, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        match self.state {
            BreakerState::HalfOpen => {
                self.pause = (self.pause * 2).min(LONGEST_PAUSE);
                self.state = BreakerState::Open { until: now + self.pause };
            }
            BreakerState::Closed if self.failures >= FAILURES_TO_OPEN => {
                self.state = BreakerState::Open { until: now + self.pause };
            }
            BreakerState::Closed | BreakerState::Open { .. } => {}
        }
    }

    /// Found dead by other means than a call: nothing is let through until then.
    pub(super) fn hold(&mut self, until: Instant) {
        self.state = BreakerState::Open { until };
    }

    /// Found alive by other means than a call.
    pub(super) fn revive(&mut self) {
        *self = Self::default();
    }

    /// An admitted call ended without saying anything about the plugin: it was given up or never connected.
    pub(super) fn abandoned(&mut self, now: Instant) {
        if self.state == BreakerState::HalfOpen {
            self.state = BreakerState::Open { until: now };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_failures_in_a_row_open_it_and_a_success_closes_it() {
        let mut breaker = Breaker::default();
        let now = Instant::now();
        for _ in 0..2 {
            breaker.failed(now);
        }
        assert_eq!(breaker.admit(now), Ok(()));
        breaker.answered();
        for _ in 0..3 {
            assert_eq!(breaker.admit(now), Ok(()));
            breaker.failed(now);
        }
        assert_eq!(breaker.admit(now), Err(FIRST_PAUSE));
        let later = now + FIRST_PAUSE;
        assert_eq!(breaker.admit(later), Ok(()));
        assert!(breaker.admit(later).is_err(), "one probe at a time");
        breaker.answered();
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    #[test]
    fn a_failed_probe_doubles_the_pause_up_to_the_longest() {
        let mut breaker = Breaker::default();
        let mut now = Instant::now();
        for _ in 0..3 {
            breaker.failed(now);
        }
        let mut last = FIRST_PAUSE;
        for _ in 0..8 {
            now += last;
            assert_eq!(breaker.admit(now), Ok(()));
            breaker.failed(now);
            let pause = breaker.admit(now).unwrap_err();
            assert_eq!(pause, (last * 2).min(LONGEST_PAUSE));
            last = pause;
        }
    }

    #[test]
    fn an_abandoned_probe_lets_the_next_one_through() {
        let mut breaker = Breaker::default();
        let now = Instant::now();
        for _ in 0..3 {
            breaker.failed(now);
        }
        let later = now + FIRST_PAUSE;
        assert_eq!(breaker.admit(later), Ok(()));
        breaker.abandoned(later);
        assert_eq!(breaker.admit(later), Ok(()));
    }
}
