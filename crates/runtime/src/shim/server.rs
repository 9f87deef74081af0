//! The shim's loop: requests, streams, children.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use nix::sys::signalfd::SignalFd;
use rustix::event::epoll::EventFlags;

use super::calls::{Forgetting, Pending};
use super::connection::{Connection, Phase};
use super::container::Container;
use super::journal::Log;
use super::poller::{Poller, READ, Source, WRITE};
use super::process::{Process, Taken};
use super::setup::{self, Prepared};
use crate::bundle::{Manifest, TaskDir};
use crate::cgroup::Group;
use crate::error::{IoContext, RuntimeError};
use crate::task::ExitStatus;

/// Init's number among the processes.
pub(super) const INIT: u64 = 0;
/// A client that holds up the container's output is dropped when it takes nothing for this long.
const STALL: Duration = Duration::from_secs(10);

pub(super) struct Server {
    pub(super) dir: TaskDir,
    pub(super) manifest: Manifest,
    pub(super) container: Container,
    pub(super) group: Group,
    pub(super) poller: Poller,
    pub(super) listener: Option<UnixListener>,
    pub(super) signals: SignalFd,
    _lock: std::fs::File,
    pub(super) processes: BTreeMap<u64, Process>,
    pub(super) connections: BTreeMap<u64, Connection>,
    /// Ended execs, oldest first.
    pub(super) remembered: VecDeque<(String, ExitStatus)>,
    next: u64,
    /// What the runtime was asked to do, if it is a program.
    pub(super) calls: Vec<Pending>,
    /// Children that ended while an exec was being made: one of them may be its process.
    pub(super) strangers: Vec<(u32, i32)>,
    pub(super) forgetting: Forgetting,
    pub(super) started: bool,
    pub(super) paused: bool,
    /// Who asked for deletion, and until when the processes may take to die.
    pub(super) deleting: Option<(Vec<u64>, Instant)>,
    /// The task is gone; only attached clients are still served.
    pub(super) deleted: bool,
    pub(super) buffer: Vec<u8>,
}

impl Server {
    /// Creates the container and everything that serves it.
    pub(super) fn create(dir: TaskDir, prepared: Prepared) -> Result<Self, RuntimeError> {
        let manifest = dir.manifest()?;
        let what = || "making an epoll set".to_owned();
        let poller = Poller::new().context(what)?;
        poller.add(&prepared.listener, Source::Listener, READ).context(what)?;
        poller.add(&prepared.signals, Source::Children, READ).context(what)?;
        let log = match manifest.log.clone() {
            Some(log) => {
                let path = log.path.clone();
                Some(Log::open(log).context(|| format!("opening {}", path.display()))?)
            }
            None => None,
        };
        let (container, pid, mut streams) =
            Container::create(&dir, &manifest, vec![prepared.listener.as_raw_fd()])?;
        if !manifest.stdin_open {
            // A terminal can always be written to; whether anyone may is the container's setting.
            streams.stdin = None;
        }
        let mut init = Process::new(INIT, None, pid, manifest.terminal, streams);
        init.stdin_once = manifest.stdin_once;
        init.log = log;
        init.listen(&poller);
        let group = Group::new(&manifest.cgroup);
        setup::trim();
        Ok(Self {
            dir,
            group,
            container,
            poller,
            listener: Some(prepared.listener),
            signals: prepared.signals,
            _lock: prepared.lock,
            processes: BTreeMap::from([(INIT, init)]),
            connections: BTreeMap::new(),
            remembered: VecDeque::new(),
            next: 1,
            calls: Vec::new(),
            strangers: Vec::new(),
            forgetting: Forgetting::NotAsked,
            started: false,
            paused: false,
            deleting: None,
            deleted: false,
            buffer: vec![0; 32 << 10],
            manifest,
        })
    }

    pub(super) fn init_pid(&self) -> u32 {
        self.processes.get(&INIT).map_or(0, |init| init.pid)
    }

    pub(super) fn fresh_id(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Serves until the task is deleted and every attached client has what is its.
    pub(super) fn run(&mut self) {
        loop {
            let ready = match self.poller.wait(self.timeout()) {
                Ok(ready) => ready,
                Err(error) => {
                    eprintln!("epoll: {error}");
                    std::thread::sleep(Duration::from_millis(100));
                    continue;
                }
            };
            if let Some(log) = self.processes.get_mut(&INIT).and_then(|init| init.log.as_mut()) {
                if ready.is_empty() {
                    log.flush();
                }
                log.pack();
            }
            for (source, flags) in ready {
                match source {
                    Source::Listener => self.accept(),
                    Source::Children => self.reap(),
                    Source::Output { process, stream } => self.output(process, stream),
                    Source::Stdin { process } => self.stdin(process),
                    Source::Client(id) => self.client(id, flags),
                }
            }
            self.settle();
            if self.deleted && self.connections.values().all(|c| !c.has_output()) {
                return;
            }
        }
    }

    fn timeout(&self) -> Option<Duration> {
        let init = self.processes.get(&INIT);
        if init.and_then(|init| init.log.as_ref()).is_some_and(|log| log.is_dirty() || log.is_packing()) {
            return Some(Duration::ZERO);
        }
        let now = Instant::now();
        let drains = self.processes.values().filter(|p| !p.told).filter_map(|p| p.deadline);
        let stalls = self
            .processes
            .values()
            .filter(|p| p.held && p.id == INIT)
            .flat_map(|p| p.clients.iter())
            .filter_map(|id| self.connections.get(id))
            .map(|c| c.progress + STALL);
        let lingering = self.connections.values().filter(|_| self.deleted).map(|c| c.progress + STALL);
        let deleting = self.deleting.iter().map(|(_, deadline)| *deadline);
        drains
            .chain(stalls)
            .chain(lingering)
            .chain(deleting)
            .chain(self.next_call())
            .min()
            .map(|when| when.saturating_duration_since(now) + Duration::from_millis(1))
    }

    /// What time alone changes.
    fn settle(&mut self) {
        let now = Instant::now();
        let due: Vec<u64> = self
            .processes
            .values()
            .filter(|p| !p.told && p.ended.is_some() && p.deadline.is_some_and(|d| d <= now))
            .map(|p| p.id)
            .collect();
        for id in due {
            self.tell(id);
        }
        if let Some(init) = self.processes.get(&INIT).filter(|init| init.held) {
            for id in &init.clients {
                if let Some(client) = self.connections.get_mut(id).filter(|c| now >= c.progress + STALL) {
                    eprintln!("an attached client took nothing for {} s and is dropped", STALL.as_secs());
                    client.dead = true;
                }
            }
        }
        if self.deleted {
            for client in self.connections.values_mut().filter(|c| now >= c.progress + STALL) {
                client.dead = true;
            }
        }
        self.end_late_calls(now);
        self.forget();
        self.advance_deletion(now);
    }

    /// Drops connections that are over, and lets output flow when the last slow one is gone or has caught up.
    pub(super) fn forget(&mut self) {
        let over: Vec<u64> =
            self.connections.iter().filter(|(_, c)| c.is_over()).map(|(id, _)| *id).collect();
        for id in over {
            if let Some(connection) = self.connections.remove(&id) {
                connection.unregister(&self.poller);
            }
            for process in self.processes.values_mut() {
                process.clients.retain(|c| *c != id);
                process.waiters.retain(|c| *c != id);
            }
        }
        for process in self.processes.values_mut().filter(|p| p.held) {
            if process.clients.iter().filter_map(|id| self.connections.get(id)).all(Connection::is_low) {
                process.release(&self.poller);
            }
        }
    }

    fn accept(&mut self) {
        while let Some(listener) = &self.listener {
            match listener.accept() {
                Ok((stream, _)) => {
                    let id = self.fresh_id();
                    match Connection::new(stream, id, &self.poller) {
                        Ok(connection) => drop(self.connections.insert(id, connection)),
                        Err(error) => eprintln!("a connection: {error}"),
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }

    fn client(&mut self, id: u64, flags: EventFlags) {
        let hung_up = flags.intersects(EventFlags::HUP | EventFlags::ERR);
        if flags.intersects(WRITE)
            && let Some(connection) = self.connections.get_mut(&id)
        {
            connection.flush();
        }
        // What a client sent before it went is still delivered: its socket holds a bounded rest.
        loop {
            let Some(connection) = self.connections.get_mut(&id) else { return };
            if connection.input_ended || connection.dead || (connection.input_held && !hung_up) {
                break;
            }
            let n = connection.receive(&mut self.buffer);
            let ended = connection.input_ended;
            match connection.phase {
                Phase::Lines => {
                    connection.gather(&self.buffer[..n]);
                    self.requests(id);
                }
                Phase::Streams { process, attach } => {
                    if n > 0 && attach.stdin {
                        let bytes = self.buffer[..n].to_vec();
                        self.input(id, process, &bytes);
                    }
                }
            }
            if ended {
                self.input_ended(id);
                break;
            }
            if !hung_up {
                break;
            }
        }
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.dead |= hung_up;
            connection.register(&self.poller);
        }
    }

    /// Bytes for a process's standard input.
    pub(super) fn input(&mut self, client: u64, process: u64, bytes: &[u8]) {
        let Some(process) = self.processes.get_mut(&process) else { return };
        process.stdin.send(bytes, &self.poller);
        if let Some(connection) = self.connections.get_mut(&client) {
            connection.input_held = !process.stdin.has_room();
        }
    }

    fn input_ended(&mut self, id: u64) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        match connection.phase {
            Phase::Lines => connection.closing = true,
            Phase::Streams { process, attach } => {
                if let Some(process) = self.processes.get_mut(&process)
                    && attach.stdin
                    && process.stdin_once
                    && !process.terminal
                {
                    process.stdin.finish(&self.poller);
                }
                if !attach.stdout && !attach.stderr {
                    connection.closing = true;
                }
            }
        }
    }

    fn stdin(&mut self, id: u64) {
        let Some(process) = self.processes.get_mut(&id) else { return };
        process.stdin.deliver(&self.poller);
        if process.stdin.has_room() {
            for client in &process.clients {
                if let Some(connection) = self.connections.get_mut(client).filter(|c| c.input_held) {
                    connection.input_held = false;
                    connection.register(&self.poller);
                }
            }
        }
    }

    fn output(&mut self, id: u64, stream: usize) {
        let Some(process) = self.processes.get_mut(&id) else { return };
        if process.held {
            return;
        }
        match process.take(stream, &mut self.buffer, &self.poller) {
            Taken::Nothing => {}
            Taken::Bytes(n) => {
                if self.distribute(id, stream, n)
                    && let Some(process) = self.processes.get_mut(&id)
                {
                    process.hold(&self.poller);
                }
            }
            Taken::End => self.finished_output(id),
        }
    }

    /// Gives the first `n` bytes of the buffer to the log and to every attached client; whether one of them is full.
    pub(super) fn distribute(&mut self, id: u64, stream: usize, n: usize) -> bool {
        let Some(process) = self.processes.get_mut(&id) else { return false };
        let bytes = &self.buffer[..n];
        if let Some(log) = &mut process.log {
            log.take(stream, bytes);
        }
        let mut full = false;
        if !process.told {
            for client in &process.clients {
                if let Some(connection) = self.connections.get_mut(client) {
                    connection.show(stream, bytes, process.terminal);
                    connection.flush();
                    connection.register(&self.poller);
                    full |= connection.is_full() && !connection.dead;
                }
            }
        }
        full
    }
}
