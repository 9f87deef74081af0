//! One connection on `shim.sock`: first lines of JSON, then, after an attach or an exec, raw bytes.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use rustix::event::epoll::EventFlags;

use super::poller::{Poller, READ, Source, WRITE};
use crate::control::{MAX_LINE, Reply};
use crate::task::Attach;

/// The output of a process waits while a client has this much unread.
const HIGH: usize = 8 << 20;
/// … and goes on below this.
const LOW: usize = 4 << 20;

/// What the bytes on a connection are.
#[derive(Debug, Clone, Copy)]
pub(super) enum Phase {
    /// Requests and answers.
    Lines,
    /// The streams of this process.
    Streams { process: u64, attach: Attach },
}

pub(super) struct Connection {
    stream: UnixStream,
    id: u64,
    pub phase: Phase,
    input: Vec<u8>,
    output: VecDeque<u8>,
    flags: EventFlags,
    /// No more input comes.
    pub input_ended: bool,
    /// Standard input has no room.
    pub input_held: bool,
    /// Ends once everything is written.
    pub closing: bool,
    /// The client is gone.
    pub dead: bool,
    /// When it last took something.
    pub progress: Instant,
}

impl Connection {
    pub(super) fn new(stream: UnixStream, id: u64, poller: &Poller) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        poller.add(&stream, Source::Client(id), READ)?;
        Ok(Self {
            stream,
            id,
            phase: Phase::Lines,
            input: Vec::new(),
            output: VecDeque::new(),
            flags: READ,
            input_ended: false,
            input_held: false,
            closing: false,
            dead: false,
            progress: Instant::now(),
        })
    }

    /// Reads once. Sets `input_ended` at the end, `dead` on failure.
    pub(super) fn receive(&mut self, buffer: &mut [u8]) -> usize {
        match self.stream.read(buffer) {
            Ok(0) => {
                self.input_ended = true;
                0
            }
            Ok(n) => n,
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => 0,
            Err(_) => {
                self.input_ended = true;
                self.dead = true;
                0
            }
        }
    }

    /// Takes bytes of requests.
    pub(super) fn gather(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        if self.input.len() > MAX_LINE {
            self.dead = true;
        }
    }

    /// The next whole request.
    pub(super) fn line(&mut self) -> Option<Vec<u8>> {
        let end = self.input.iter().position(|b| *b == b'\n')?;
        let rest = self.input.split_off(end + 1);
        let mut line = std::mem::replace(&mut self.input, rest);
        line.truncate(end);
        Some(line)
    }

    /// What came after the request that turned the connection into a stream.
    pub(super) fn leftover(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.input)
    }

    pub(super) fn reply(&mut self, reply: &Reply) {
        if let Ok(mut line) = serde_json::to_vec(reply) {
            line.push(b'\n');
            self.output.extend(line);
        }
    }

    /// Queues output of stream 0 or 1, framed unless it comes from a terminal.
    pub(super) fn show(&mut self, stream: usize, bytes: &[u8], terminal: bool) {
        let Phase::Streams { attach, .. } = self.phase else { return };
        if self.closing || !(if stream == 0 { attach.stdout } else { attach.stderr }) {
            return;
        }
        if self.output.is_empty() {
            self.progress = Instant::now();
        }
        if !terminal {
            let kind = if stream == 0 { 1 } else { 2 };
            let [a, b, c, d] = u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes();
            self.output.extend([kind, 0, 0, 0, a, b, c, d]);
        }
        self.output.extend(bytes);
    }

    /// Writes what the client takes now.
    pub(super) fn flush(&mut self) {
        while !self.dead && !self.output.is_empty() {
            let (chunk, _) = self.output.as_slices();
            match self.stream.write(chunk) {
                Ok(n) => {
                    self.output.drain(..n);
                    self.progress = Instant::now();
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => self.dead = true,
            }
        }
        if self.output.is_empty() && self.output.capacity() > 64 << 10 {
            self.output = VecDeque::new();
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.output.len() > HIGH
    }

    pub(super) fn is_low(&self) -> bool {
        self.output.len() < LOW
    }

    pub(super) fn has_output(&self) -> bool {
        !self.output.is_empty()
    }

    /// Whether it can be forgotten.
    pub(super) fn is_over(&self) -> bool {
        self.dead || (self.closing && self.output.is_empty())
    }

    /// Tells epoll what is waited for.
    pub(super) fn register(&mut self, poller: &Poller) {
        let mut flags = EventFlags::empty();
        flags.set(READ, !self.input_ended && !self.input_held);
        flags.set(WRITE, !self.output.is_empty());
        if flags != self.flags && poller.modify(&self.stream, Source::Client(self.id), flags).is_ok() {
            self.flags = flags;
        }
    }

    pub(super) fn unregister(&self, poller: &Poller) {
        poller.remove(&self.stream);
    }
}
