use std::time::Duration;

use pintle_image::Digest;
use tokio::sync::oneshot;

use super::{content::Pin, record::Package};
use crate::HostError;

/// Where an answer goes.
pub(crate) type Reply = oneshot::Sender<Result<(), HostError>>;

/// What an owner can be asked to do.
pub(crate) enum Command {
    Enable {
        typed: String,
        timeout: Duration,
        reply: Reply,
    },
    Disable {
        typed: String,
        force: bool,
        reply: Reply,
    },
    Set {
        args: Vec<String>,
        /// Whether the paths that they name are granted herewith.
        grant: bool,
        reply: Reply,
    },
    Upgrade {
        package: Box<Package>,
        reference: String,
        pin: Pin,
        reply: Reply,
    },
    Remove {
        typed: String,
        force: bool,
        reply: Reply,
    },
    Pushed {
        reference: String,
        digest: Digest,
        reply: Reply,
    },
    /// Attach to what runs, or start what is wanted. Answered when that has succeeded or failed once.
    Boot {
        reply: Reply,
    },
    /// End the owner, and the plugin too if so told.
    Shutdown {
        stop: bool,
        reply: Reply,
    },
}

/// Who waits for the plugin to come up.
pub(super) enum Waiter {
    Enable { typed: String, reply: Reply },
    Boot(Reply),
}

/// Who waits for it to go down.
pub(super) enum Leaver {
    Disable { typed: String, reply: Reply },
    Remove { typed: String, reply: Reply },
}

/// Whoever asked may have gone away meanwhile; what was done is done all the same.
pub(super) fn answer(reply: Reply, result: Result<(), HostError>) {
    let _ = reply.send(result);
}
