//! Waiting for a log to grow.

use std::{path::Path, time::Duration};

use rustix::fs::inotify;
use tokio::net::unix::pipe;

/// Without a watch (the kernel gives only so many), and to be safe with one, it is looked at this often.
const WITHOUT: Duration = Duration::from_millis(100);
const WITH: Duration = Duration::from_secs(1);

/// Tells when files of a directory change.
pub(super) struct Watch {
    /// An inotify descriptor: what matters is only that it can be read, as a pipe can.
    events: Option<pipe::Receiver>,
}

impl Watch {
    pub fn new(dir: &Path) -> Self {
        let open = || -> std::io::Result<pipe::Receiver> {
            let fd = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
            let wanted =
                inotify::WatchFlags::MODIFY | inotify::WatchFlags::CREATE | inotify::WatchFlags::MOVED_TO;
            inotify::add_watch(&fd, dir, wanted)?;
            pipe::Receiver::from_owned_fd_unchecked(fd)
        };
        Self { events: open().ok() }
    }

    /// Returns when something may have changed, now and then without cause. Safe to cancel.
    pub async fn changed(&mut self) {
        let Some(events) = &self.events else {
            tokio::time::sleep(WITHOUT).await;
            return;
        };
        if !matches!(tokio::time::timeout(WITH, events.readable()).await, Ok(Ok(()))) {
            return;
        }
        // What exactly changed does not matter: empty the queue.
        let mut buffer = [0; 4096];
        while events.try_read(&mut buffer).is_ok_and(|count| count > 0) {}
    }
}
