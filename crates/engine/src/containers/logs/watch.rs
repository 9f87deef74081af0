//! Waiting for a log to grow.

use std::{mem::MaybeUninit, os::fd::OwnedFd, path::Path, time::Duration};

use rustix::fs::inotify;
use tokio::io::unix::AsyncFd;

/// Without a watch (the kernel gives only so many), and to be safe with one, it is looked at this often.
const WITHOUT: Duration = Duration::from_millis(100);
const WITH: Duration = Duration::from_secs(1);

/// Tells when files of a directory change.
pub(super) struct Watch {
    inotify: Option<AsyncFd<OwnedFd>>,
}

impl Watch {
    pub fn new(dir: &Path) -> Self {
        let open = || -> std::io::Result<AsyncFd<OwnedFd>> {
            let fd = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
            inotify::add_watch(
                &fd,
                dir,
                inotify::WatchFlags::MODIFY | inotify::WatchFlags::CREATE | inotify::WatchFlags::MOVED_TO,
            )?;
            Ok(AsyncFd::register(fd)?)
        };
        Self { inotify: open().ok() }
    }

    /// Returns when something may have changed, now and then without cause. Safe to cancel.
    pub async fn changed(&mut self) {
        let Some(fd) = &self.inotify else {
            tokio::time::sleep(WITHOUT).await;
            return;
        };
        let Ok(Ok(mut ready)) = tokio::time::timeout(WITH, fd.readable()).await else { return };
        // What exactly changed does not matter: empty the queue.
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut events = inotify::Reader::new(fd.get_ref(), &mut buffer);
        while events.next().is_ok() {}
        ready.clear_ready();
    }
}
