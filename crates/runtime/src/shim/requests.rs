//! Answering the engine.

use std::time::Instant;

use super::calls::Then;
use super::connection::Phase;
use super::console;
use super::container::Container;
use super::process::Process;
use super::server::{INIT, Server};
use super::stage::Streams;
use crate::control::{ExecRequest, Failure, Reply, Request};
use crate::error::RuntimeError;
use crate::task::Status;

/// Sends a signal to a process that this shim has not reaped yet, so that the pid is still its own.
pub(crate) fn signal(pid: u32, number: i32) -> bool {
    let Ok(pid) = i32::try_from(pid) else { return false };
    // Real-time signals have no name in nix, hence the raw number; 0 only asks.
    match nix::sys::signal::Signal::try_from(number) {
        Ok(signal) => nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal).is_ok(),
        Err(_) => raw_signal(pid, number),
    }
}

#[expect(unsafe_code, reason = "real-time signals have no safe wrapper")]
fn raw_signal(pid: i32, number: i32) -> bool {
    // SAFETY: kill has no memory to get wrong; the kernel refuses bad numbers.
    pid > 0 && unsafe { libc::kill(pid, number) } == 0
}

impl Server {
    /// Handles every whole request that has arrived.
    pub(super) fn requests(&mut self, id: u64) {
        while let Some(connection) = self.connections.get_mut(&id) {
            if !matches!(connection.phase, Phase::Lines) {
                return;
            }
            let Some(line) = connection.line() else { return };
            let reply = match serde_json::from_slice::<Request>(&line) {
                Ok(request) => self.handle(id, request),
                Err(error) => {
                    Err(RuntimeError::InvalidArgument(format!("a request the shim does not know: {error}")))
                }
            };
            let reply = match reply {
                Ok(Some(reply)) => reply,
                Ok(None) => continue,
                Err(error) => Reply::Failed(Failure::from(error)),
            };
            if let Some(connection) = self.connections.get_mut(&id) {
                connection.reply(&reply);
                connection.flush();
                connection.register(&self.poller);
            }
        }
    }

    /// Answers now, or (with `None`) later or in its own way.
    fn handle(&mut self, id: u64, request: Request) -> Result<Option<Reply>, RuntimeError> {
        match request {
            Request::Start => self.start(id),
            Request::State => Ok(Some(self.state())),
            Request::Wait { exec_id } => self.wait(id, exec_id.as_deref()),
            Request::Kill { exec_id, signal, all } => self.kill(id, exec_id.as_deref(), signal, all),
            Request::Resize { exec_id, height, width } => self.resize(exec_id.as_deref(), height, width),
            Request::CloseStdin => {
                if let Some(init) = self.processes.get_mut(&INIT) {
                    init.stdin.finish(&self.poller);
                }
                Ok(Some(Reply::Done))
            }
            Request::Attach { attach } => {
                self.become_stream(id, INIT, attach, &Reply::Done);
                Ok(None)
            }
            Request::Exec(request) => self.exec(id, *request).map(|()| None),
            Request::Pause => self.pause(id, true),
            Request::Resume => self.pause(id, false),
            Request::Update { resources } => self.group.update(&resources).map(|()| Some(Reply::Done)),
            Request::Delete => {
                self.delete(id);
                Ok(None)
            }
        }
    }

    fn start(&mut self, id: u64) -> Result<Option<Reply>, RuntimeError> {
        if self.started {
            return Err(RuntimeError::Conflict(format!("container {} was started before", self.manifest.id)));
        }
        let verb = ("start", [].as_slice(), [].as_slice());
        if self.call(Some(id), verb, "OCI runtime start failed", Then::Started)?.is_some() {
            // From now on it may run; the call's end tells whether it does.
            self.started = true;
            return Ok(None);
        }
        if let Container::Embedded(container) = &mut self.container {
            container.start()?;
        }
        self.started = true;
        Ok(Some(Reply::Done))
    }

    fn status(&self) -> Status {
        match self.processes.get(&INIT) {
            Some(init) if init.told => Status::Stopped,
            None => Status::Stopped,
            _ if self.paused => Status::Paused,
            _ if self.started => Status::Running,
            _ => Status::Created,
        }
    }

    fn state(&self) -> Reply {
        let init = self.processes.get(&INIT).filter(|init| !init.told);
        let exit = self.processes.get(&INIT).filter(|init| init.told).and_then(|init| init.ended.clone());
        Reply::State { status: self.status(), pid: init.map(|init| init.pid), exit }
    }

    fn find(&mut self, name: Option<&str>) -> Result<&mut Process, RuntimeError> {
        self.processes
            .values_mut()
            .rev()
            .find(|p| p.name.as_deref() == name && p.ended.is_none())
            .ok_or_else(|| RuntimeError::NotFound(name.unwrap_or(&self.manifest.id).to_owned()))
    }

    fn wait(&mut self, id: u64, name: Option<&str>) -> Result<Option<Reply>, RuntimeError> {
        // The last of a name is the one meant.
        if let Some(process) = self.processes.values_mut().rev().find(|p| p.name.as_deref() == name) {
            if let (true, Some(status)) = (process.told, &process.ended) {
                return Ok(Some(Reply::Exited(status.clone())));
            }
            process.waiters.push(id);
            return Ok(None);
        }
        let remembered = self.remembered.iter().rev().find(|(known, _)| Some(known.as_str()) == name);
        match remembered {
            Some((_, status)) => Ok(Some(Reply::Exited(status.clone()))),
            None => Err(RuntimeError::NotFound(name.unwrap_or(&self.manifest.id).to_owned())),
        }
    }

    fn kill(
        &mut self,
        id: u64,
        name: Option<&str>,
        number: i32,
        all: bool,
    ) -> Result<Option<Reply>, RuntimeError> {
        if !(0..=64).contains(&number) {
            return Err(RuntimeError::InvalidArgument(format!("invalid signal: {number}")));
        }
        let pid = self.find(name)?.pid;
        if name.is_none() && number != 0 {
            // In gVisor or a virtual machine the process is not the kernel's: only its runtime can signal it.
            let options: &[&str] = if all { &["--all"] } else { &[] };
            let number_text = number.to_string();
            let after = [number_text.as_str()];
            let verb = ("kill", options, after.as_slice());
            if self.call(Some(id), verb, "OCI runtime kill failed", Then::Signalled(number))?.is_some() {
                if number == 9 && self.paused {
                    let thaw = ("resume", [].as_slice(), [].as_slice());
                    let _ = self.call(None, thaw, "OCI runtime resume failed", Then::Forgotten);
                    let _ = self.group.freeze(false);
                    self.paused = false;
                }
                return Ok(None);
            }
        }
        if all {
            for pid in self.group.processes()? {
                signal(pid, number);
            }
        } else if !signal(pid, number) {
            return Err(RuntimeError::NotFound(name.unwrap_or(&self.manifest.id).to_owned()));
        }
        // A frozen process does not die; Docker's kill of a paused container ends it.
        if number == 9 && self.paused && name.is_none() {
            self.group.freeze(false)?;
            self.paused = false;
        }
        Ok(Some(Reply::Done))
    }

    fn resize(&mut self, name: Option<&str>, height: u16, width: u16) -> Result<Option<Reply>, RuntimeError> {
        let process = self.find(name)?;
        match &process.outputs[0] {
            Some(master) if process.terminal => {
                console::set_size(master, height, width)
                    .map_err(|e| RuntimeError::io("resizing the terminal", e))?;
                Ok(Some(Reply::Done))
            }
            _ => Err(RuntimeError::InvalidArgument("the process has no terminal".into())),
        }
    }

    fn pause(&mut self, id: u64, frozen: bool) -> Result<Option<Reply>, RuntimeError> {
        let name = &self.manifest.id;
        match (self.status(), frozen) {
            (Status::Running, true) | (Status::Paused, false) => {}
            (Status::Paused, true) => {
                return Err(RuntimeError::Conflict(format!("Container {name} is already paused")));
            }
            (_, true) => return Err(RuntimeError::Conflict(format!("Container {name} is not running"))),
            (_, false) => return Err(RuntimeError::Conflict(format!("Container {name} is not paused"))),
        }
        let (verb, prefix) = if frozen {
            ("pause", "OCI runtime pause failed")
        } else {
            ("resume", "OCI runtime resume failed")
        };
        let verb = (verb, [].as_slice(), [].as_slice());
        if self.call(Some(id), verb, prefix, Then::Frozen(frozen))?.is_some() {
            return Ok(None);
        }
        self.group.freeze(frozen)?;
        self.paused = frozen;
        Ok(Some(Reply::Done))
    }

    fn exec(&mut self, id: u64, request: ExecRequest) -> Result<(), RuntimeError> {
        match self.status() {
            Status::Running => {}
            Status::Paused => {
                return Err(RuntimeError::Conflict(format!(
                    "Container {} is paused, unpause the container before exec",
                    self.manifest.id
                )));
            }
            _ => {
                return Err(RuntimeError::Conflict(format!("container {} is not running", self.manifest.id)));
            }
        }
        if self.find(Some(&request.exec_id)).is_ok() {
            return Err(RuntimeError::Conflict(format!("exec {} is already running", request.exec_id)));
        }
        let Container::Embedded(container) = &mut self.container else {
            return self.call_exec(id, request);
        };
        let (pid, streams) = container.exec(&self.manifest, &request)?;
        self.take_in(Some(id), &request, pid, streams);
        Ok(())
    }

    /// An exec's process is ours from here on, its streams the client's, if that is still there.
    pub(super) fn take_in(
        &mut self,
        client: Option<u64>,
        request: &ExecRequest,
        pid: u32,
        streams: Streams,
    ) -> u64 {
        let key = self.fresh_id();
        let mut process = Process::new(key, Some(request.exec_id.clone()), pid, request.terminal, streams);
        process.stdin_once = true;
        process.listen(&self.poller);
        self.remembered.retain(|(name, _)| *name != request.exec_id);
        self.processes.insert(key, process);
        if let Some(client) = client {
            self.become_stream(client, key, request.attach, &Reply::Started { pid });
        }
        key
    }

    /// From its next byte on, the connection is the streams of a process.
    pub(super) fn become_stream(&mut self, id: u64, key: u64, attach: crate::task::Attach, reply: &Reply) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.reply(reply);
        connection.phase = Phase::Streams { process: key, attach };
        connection.progress = Instant::now();
        let early = connection.leftover();
        match self.processes.get_mut(&key) {
            Some(process) if !process.told && attach.any() => process.clients.push(id),
            _ => connection.closing = true,
        }
        connection.flush();
        connection.register(&self.poller);
        if !early.is_empty() && attach.stdin {
            self.input(id, key, &early);
        }
    }
}
