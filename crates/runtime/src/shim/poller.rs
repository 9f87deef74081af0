//! The epoll set and what its tokens mean.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};

/// What became ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    Listener,
    Children,
    /// stdout (0) or stderr (1) of a process.
    Output {
        process: u64,
        stream: usize,
    },
    Stdin {
        process: u64,
    },
    Client(u64),
}

pub(super) struct Poller {
    epoll: OwnedFd,
    events: Vec<Event>,
}

pub(super) const READ: EventFlags = EventFlags::IN;
pub(super) const WRITE: EventFlags = EventFlags::OUT;

impl Poller {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { epoll: epoll::create(CreateFlags::CLOEXEC)?, events: Vec::with_capacity(32) })
    }

    pub(super) fn add(&self, fd: impl AsFd, source: Source, flags: EventFlags) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, fd, EventData::new_u64(encode(source)), flags)?)
    }

    pub(super) fn modify(&self, fd: impl AsFd, source: Source, flags: EventFlags) -> io::Result<()> {
        Ok(epoll::modify(&self.epoll, fd, EventData::new_u64(encode(source)), flags)?)
    }

    pub(super) fn remove(&self, fd: impl AsFd) {
        let _ = epoll::delete(&self.epoll, fd);
    }

    /// Waits; `None` waits for ever.
    pub(super) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<Vec<(Source, EventFlags)>> {
        let timeout = timeout.and_then(|t| Timespec::try_from(t).ok());
        self.events.clear();
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut self.events), timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
        Ok(self.events.iter().filter_map(|event| Some((decode(event.data.u64())?, event.flags))).collect())
    }
}

fn encode(source: Source) -> u64 {
    match source {
        Source::Listener => 0,
        Source::Children => 1,
        Source::Output { process, stream } => process << 8 | (stream as u64) << 4 | 2,
        Source::Stdin { process } => process << 8 | 3,
        Source::Client(id) => id << 8 | 4,
    }
}

fn decode(token: u64) -> Option<Source> {
    let id = token >> 8;
    Some(match token & 0xf {
        0 => Source::Listener,
        1 => Source::Children,
        2 => Source::Output { process: id, stream: usize::from(token & 0x10 != 0) },
        3 => Source::Stdin { process: id },
        4 => Source::Client(id),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_back() {
        for source in [
            Source::Listener,
            Source::Children,
            Source::Output { process: 0, stream: 0 },
            Source::Output { process: 77, stream: 1 },
            Source::Stdin { process: 1 << 40 },
            Source::Client(12345),
        ] {
            assert_eq!(decode(encode(source)), Some(source));
        }
    }
}
