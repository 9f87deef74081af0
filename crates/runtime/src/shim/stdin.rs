//! A process's standard input: a bounded buffer in front of a pipe or terminal.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;

use super::poller::{Poller, Source, WRITE};

/// Clients are not read while more than this waits to be delivered.
const HIGH: usize = 256 << 10;

pub(super) struct Stdin {
    fd: Option<OwnedFd>,
    process: u64,
    waiting: VecDeque<u8>,
    close_when_empty: bool,
    registered: bool,
}

impl Stdin {
    pub(super) fn new(fd: Option<OwnedFd>, process: u64) -> Self {
        Self { fd, process, waiting: VecDeque::new(), close_when_empty: false, registered: false }
    }

    /// Whether clients may send more.
    pub(super) fn has_room(&self) -> bool {
        self.waiting.len() < HIGH
    }

    pub(super) fn send(&mut self, bytes: &[u8], poller: &Poller) {
        if self.fd.is_some() && !self.close_when_empty {
            self.waiting.extend(bytes);
            self.deliver(poller);
        }
    }

    /// Closes it once everything has been delivered.
    pub(super) fn finish(&mut self, poller: &Poller) {
        self.close_when_empty = true;
        self.deliver(poller);
    }

    /// Writes what the process takes now.
    pub(super) fn deliver(&mut self, poller: &Poller) {
        while let Some(fd) = &self.fd {
            let (chunk, _) = self.waiting.as_slices();
            if chunk.is_empty() {
                break;
            }
            match rustix::io::write(fd, chunk) {
                Ok(n) => {
                    self.waiting.drain(..n);
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => {
                    if !self.registered {
                        self.registered =
                            poller.add(fd, Source::Stdin { process: self.process }, WRITE).is_ok();
                    }
                    return;
                }
                // Nobody reads any more.
                Err(_) => {
                    self.close(poller);
                    return;
                }
            }
        }
        if self.registered
            && let Some(fd) = &self.fd
        {
            poller.remove(fd);
            self.registered = false;
        }
        if self.waiting.capacity() > HIGH / 4 {
            self.waiting = VecDeque::new();
        }
        if self.close_when_empty {
            self.close(poller);
        }
    }

    pub(super) fn close(&mut self, poller: &Poller) {
        if let Some(fd) = self.fd.take()
            && self.registered
        {
            poller.remove(&fd);
        }
        self.registered = false;
        self.waiting = VecDeque::new();
    }
}
