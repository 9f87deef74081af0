//! Acknowledgement for protocols that have none.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

/// What was sent counts as taken when the other end's kernel has it and nobody has complained for this long. Whoever dies
/// sooner is sent it again.
const SETTLE: Duration = Duration::from_secs(2);

/// What was sent, and when.
#[derive(Debug, Default)]
pub(super) struct Window {
    total: u64,
    acknowledged: u64,
    sent: VecDeque<(u64, Instant)>,
}

impl Window {
    /// Notes that so many more entries were sent.
    pub(super) fn sent(&mut self, count: usize) {
        if count > 0 {
            self.total += count as u64;
            self.sent.push_back((self.total, Instant::now()));
        }
    }

    /// How many are taken by now, if the other end is there and its kernel has everything.
    pub(super) fn settled(&mut self) -> u64 {
        while let Some((count, _)) = self.sent.front().filter(|(_, when)| when.elapsed() >= SETTLE).copied() {
            self.acknowledged = count;
            self.sent.pop_front();
        }
        self.acknowledged
    }

    /// How many are taken by what was known before.
    pub(super) fn so_far(&self) -> u64 {
        self.acknowledged
    }
}
