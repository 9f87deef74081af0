use std::time::Duration;

use pintle_contract::{DriverError, ErrorKind};

/// The most that an answer may weigh. The longest honest one is a list of some ten thousand volumes.
pub(super) const LARGEST_ANSWER: usize = 16 << 20;

/// How long a call may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// From the first attempt to connect to the last byte of the answer.
    pub total: Duration,
    /// How much of it may go on waiting for somebody to listen; zero tries once.
    pub connect: Duration,
}

impl Budget {
    /// A budget that tries to connect once.
    pub const fn once(total: Duration) -> Self {
        Self { total, connect: Duration::ZERO }
    }
}

/// A call that got no answer.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The breaker is open.
    #[error(
        "plugin \"{plugin}\" did not answer {failures} calls in a row and is not asked for another {wait:.1?}"
    )]
    Open {
        /// The plugin.
        plugin: String,
        /// How many calls it left unanswered.
        failures: u32,
        /// For how long it is left alone.
        wait: Duration,
    },
    /// Nobody listens.
    #[error("plugin \"{plugin}\" cannot be reached at {address}: {reason}")]
    Connect {
        /// The plugin.
        plugin: String,
        /// Where it should listen.
        address: String,
        /// What the kernel said.
        reason: String,
    },
    /// The budget is spent.
    #[error("{method}: plugin \"{plugin}\" did not answer within {budget:?}")]
    Timeout {
        /// The plugin.
        plugin: String,
        /// The call.
        method: String,
        /// Its budget.
        budget: Duration,
    },
    /// The connection broke while the answer was awaited: the call may or may not have been carried out.
    #[error("{method}: the connection to plugin \"{plugin}\" was lost before it answered: {reason}")]
    Lost {
        /// The plugin.
        plugin: String,
        /// The call.
        method: String,
        /// What broke.
        reason: String,
    },
    /// The answer is too large to be one.
    #[error("{method}: the answer of plugin \"{plugin}\" is longer than {LARGEST_ANSWER} bytes")]
    TooLarge {
        /// The plugin.
        plugin: String,
        /// The call.
        method: String,
    },
}

impl From<CallError> for DriverError {
    fn from(error: CallError) -> Self {
        let kind = match &error {
            CallError::Open { .. } | CallError::Connect { .. } | CallError::Lost { .. } => {
                ErrorKind::Unavailable
            }
            CallError::Timeout { .. } => ErrorKind::Timeout,
            CallError::TooLarge { .. } => ErrorKind::Internal,
        };
        Self::new(kind, error.to_string())
    }
}
