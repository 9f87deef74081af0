//! A process of the container: init, or an exec.

use std::os::fd::OwnedFd;
use std::time::Instant;

use super::journal::Log;
use super::poller::{Poller, READ, Source};
use super::stage::Streams;
use super::stdin::Stdin;
use crate::task::ExitStatus;

pub(super) struct Process {
    pub id: u64,
    /// The exec's name; init has none.
    pub name: Option<String>,
    pub pid: u32,
    pub terminal: bool,
    pub outputs: [Option<OwnedFd>; 2],
    pub stdin: Stdin,
    /// Standard input ends with the first client's.
    pub stdin_once: bool,
    pub log: Option<Log>,
    /// Attached connections.
    pub clients: Vec<u64>,
    /// Connections that wait for the end.
    pub waiters: Vec<u64>,
    /// A client has too much unread: output is not taken.
    pub held: bool,
    /// It has ended; not yet told while output may still come.
    pub ended: Option<ExitStatus>,
    /// When to stop waiting for the rest of the output.
    pub deadline: Option<Instant>,
    /// The end was told to everyone.
    pub told: bool,
}

/// What one read from a process's output came to.
pub(super) enum Taken {
    Bytes(usize),
    Nothing,
    End,
}

impl Process {
    pub(super) fn new(id: u64, name: Option<String>, pid: u32, terminal: bool, streams: Streams) -> Self {
        Self {
            id,
            name,
            pid,
            terminal,
            outputs: [streams.stdout, streams.stderr],
            stdin: Stdin::new(streams.stdin, id),
            stdin_once: false,
            log: None,
            clients: Vec::new(),
            waiters: Vec::new(),
            held: false,
            ended: None,
            deadline: None,
            told: false,
        }
    }

    /// Listens for output.
    pub(super) fn listen(&self, poller: &Poller) {
        for (stream, fd) in self.outputs.iter().enumerate() {
            if let Some(fd) = fd {
                let _ = poller.add(fd, Source::Output { process: self.id, stream }, READ);
            }
        }
    }

    /// Stops listening, so that the pipe fills and the process waits.
    pub(super) fn hold(&mut self, poller: &Poller) {
        if !self.held {
            self.held = true;
            for fd in self.outputs.iter().flatten() {
                poller.remove(fd);
            }
        }
    }

    pub(super) fn release(&mut self, poller: &Poller) {
        if self.held {
            self.held = false;
            self.listen(poller);
        }
    }

    /// Reads once from an output.
    pub(super) fn take(&mut self, stream: usize, buffer: &mut [u8], poller: &Poller) -> Taken {
        let Some(fd) = &self.outputs[stream] else { return Taken::Nothing };
        match rustix::io::read(fd, buffer) {
            Ok(0) => {}
            Ok(n) => return Taken::Bytes(n),
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return Taken::Nothing,
            // A terminal whose last user is gone says EIO.
            Err(_) => {}
        }
        if !self.held {
            poller.remove(fd);
        }
        self.outputs[stream] = None;
        Taken::End
    }

    pub(super) fn is_drained(&self) -> bool {
        self.outputs.iter().all(Option::is_none)
    }
}
