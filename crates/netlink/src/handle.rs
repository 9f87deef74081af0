use std::{
    fmt, io,
    sync::{Arc, Mutex, PoisonError},
};

use netlink_sys::{Socket, protocols::NETLINK_ROUTE};

use crate::{
    Error,
    message::{ACK, DUMP, Message, attributes, read_i32, read_text, replies},
};

const ERROR: u16 = 2;
const DONE: u16 = 3;
/// A dump that was overtaken by a change: what it said may not hold together.
const INTERRUPTED: u16 = 0x10;
/// An error message repeats only the request's header.
const CAPPED: u16 = 0x100;
const HAS_HINT: u16 = 0x200;
const HINT: u16 = 1;

/// The links, addresses, routes and neighbours of one network namespace.
///
/// It may be used from any thread, in any namespace: the socket inside belongs to the namespace that it was opened
/// in, and keeps that namespace alive. Clones share the socket; calls wait for each other. An error names what was
/// tried and with which link.
#[derive(Clone)]
pub struct Handle {
    socket: Arc<Mutex<Channel>>,
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").finish_non_exhaustive()
    }
}

struct Channel {
    socket: Socket,
    sequence: u32,
    buffer: Vec<u8>,
}

/// Why the kernel said no, or why it could not be asked.
pub(crate) enum Refusal {
    Kernel { code: i32, hint: String },
    Io(io::Error),
}

impl Refusal {
    pub(crate) fn of(self, operation: &'static str, subject: impl fmt::Display) -> Error {
        match self {
            Self::Kernel { code, hint } => Error::kernel(operation, subject, code, hint),
            Self::Io(error) => Error::io(operation, subject, error),
        }
    }

    pub(crate) fn code(&self) -> Option<i32> {
        match self {
            Self::Kernel { code, .. } => Some(*code),
            Self::Io(_) => None,
        }
    }
}

impl Handle {
    /// A handle of the namespace that the calling thread is in.
    pub(crate) fn open_here() -> Result<Self, Error> {
        Self::open_protocol(NETLINK_ROUTE)
    }

    /// A handle that speaks another of netlink's protocols.
    pub(crate) fn open_protocol(protocol: isize) -> Result<Self, Error> {
        let open = || {
            let mut socket = Socket::new(protocol)?;
            socket.bind_auto()?;
            socket.set_ext_ack(true)?;
            // An error need not repeat the whole request.
            socket.set_cap_ack(true)?;
            Ok(socket)
        };
        let socket = open().map_err(|error| Error::io("open", "a netlink socket", error))?;
        let channel = Channel { socket, sequence: 0, buffer: Vec::new() };
        Ok(Self { socket: Arc::new(Mutex::new(channel)) })
    }

    /// Sends a request that is answered by yes or no.
    pub(crate) fn tell(
        &self,
        kind: u16,
        flags: u16,
        fixed: &[u8],
        fill: impl FnOnce(&mut Message),
    ) -> Result<(), Refusal> {
        let mut message = Message::new(kind, flags | ACK, fixed);
        fill(&mut message);
        self.channel(|channel| channel.exchange(message, |_| ()))
    }

    /// Sends a request that is answered by one message, and reads it.
    pub(crate) fn ask<T>(
        &self,
        kind: u16,
        fixed: &[u8],
        fill: impl FnOnce(&mut Message),
        read: impl Fn(&[u8]) -> Option<T>,
    ) -> Result<Option<T>, Refusal> {
        let mut message = Message::new(kind, ACK, fixed);
        fill(&mut message);
        let mut found = None;
        self.channel(|channel| channel.exchange(message, |body| found = read(body)))?;
        Ok(found)
    }

    /// Reads a whole table. What `read` makes nothing of is left out.
    pub(crate) fn dump<T>(
        &self,
        kind: u16,
        fixed: &[u8],
        read: impl Fn(&[u8]) -> Option<T>,
    ) -> Result<Vec<T>, Refusal> {
        self.channel(|channel| {
            // A busy host changes its tables all the time; the last look is as good as any.
            for _ in 0..8 {
                let mut rows = Vec::new();
                let message = Message::new(kind, DUMP, fixed);
                match channel.exchange(message, |body| rows.extend(read(body))) {
                    Ok(()) => return Ok(rows),
                    Err(Refusal::Kernel { code, .. }) if code == nix::errno::Errno::EINTR as i32 => {}
                    Err(refusal) => return Err(refusal),
                }
            }
            let mut rows = Vec::new();
            match channel.exchange(Message::new(kind, DUMP, fixed), |body| rows.extend(read(body))) {
                Err(Refusal::Kernel { code, .. }) if code == nix::errno::Errno::EINTR as i32 => Ok(rows),
                other => other.map(|()| rows),
            }
        })
    }

    /// Sends several requests at once, written by `write` from the number that it is given on, and waits for the answers
    /// to those whose numbers it says. Fails with the first that failed. `None` if there was nothing to send.
    pub(crate) fn tell_all(
        &self,
        write: impl FnOnce(u32) -> Option<(Vec<u8>, Vec<u32>)>,
    ) -> Option<Result<(), Refusal>> {
        self.channel(|channel| {
            let (bytes, answered) = write(channel.sequence.wrapping_add(1))?;
            // Wide of what was used, whatever it was.
            channel.sequence = answered.iter().copied().max().unwrap_or(channel.sequence).wrapping_add(2);
            Some(channel.exchange_all(&bytes, answered))
        })
    }

    fn channel<T>(&self, act: impl FnOnce(&mut Channel) -> T) -> T {
        act(&mut self.socket.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Channel {
    /// Sends `message` and hands every part of the answer to `each`.
    ///
    /// The kernel works in `send` and has queued the answer by the time it returns, or goes on with a dump whenever
    /// it is read: there is nothing to wait for.
    fn exchange(&mut self, message: Message, mut each: impl FnMut(&[u8])) -> Result<(), Refusal> {
        self.sequence = self.sequence.wrapping_add(1);
        let sequence = self.sequence;
        let bytes = message.finish(sequence);
        self.socket.send(&bytes, 0).map_err(Refusal::Io)?;
        let mut interrupted = false;
        loop {
            self.receive()?;
            for reply in replies(&self.buffer) {
                // Rests of a request that was given up.
                if reply.sequence != sequence {
                    continue;
                }
                interrupted |= reply.flags & INTERRUPTED != 0;
                match reply.kind {
                    ERROR => return verdict(reply.flags, reply.body),
                    DONE if interrupted => {
                        let code = nix::errno::Errno::EINTR as i32;
                        return Err(Refusal::Kernel { code, hint: String::new() });
                    }
                    // A dump that failed midway says so in the code behind its end.
                    DONE => return verdict(reply.flags, reply.body),
                    _ => each(reply.body),
                }
            }
        }
    }
}

impl Channel {
    fn exchange_all(&mut self, bytes: &[u8], mut waiting: Vec<u32>) -> Result<(), Refusal> {
        self.socket.send(bytes, 0).map_err(Refusal::Io)?;
        let mut outcome = Ok(());
        while !waiting.is_empty() {
            self.receive()?;
            for reply in replies(&self.buffer).filter(|reply| reply.kind == ERROR) {
                let said = verdict(reply.flags, reply.body);
                if waiting.contains(&reply.sequence) {
                    waiting.retain(|number| *number != reply.sequence);
                } else if said.is_ok() {
                    // Rests of a request that was given up.
                    continue;
                } else {
                    // The frame around the requests was refused; then there are no other answers.
                    waiting.clear();
                }
                outcome = outcome.and(said);
            }
        }
        outcome
    }

    fn receive(&mut self) -> Result<(), Refusal> {
        loop {
            self.buffer.clear();
            self.buffer.reserve(32 * 1024);
            match self.socket.recv(&mut self.buffer, 0) {
                Ok(0) => return Err(Refusal::Io(io::ErrorKind::UnexpectedEof.into())),
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Refusal::Io(error)),
            }
        }
    }
}

/// Reads an acknowledgement: zero or a negated error number, then the request's header, then hints.
fn verdict(flags: u16, body: &[u8]) -> Result<(), Refusal> {
    match read_i32(body, 0).unwrap_or(0) {
        0 => Ok(()),
        code => {
            let hints = if flags & CAPPED != 0 { body.get(20..) } else { None };
            let hint = hints.filter(|_| flags & HAS_HINT != 0).and_then(|list| {
                attributes(list).find(|(kind, _)| *kind == HINT).map(|(_, text)| read_text(text))
            });
            Err(Refusal::Kernel { code: code.saturating_neg(), hint: hint.unwrap_or_default() })
        }
    }
}
