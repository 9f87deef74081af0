//! Ends: of processes, known to all in the right order, and of the task itself.

use std::time::{Duration, Instant};

use chrono::Utc;
use rustix::process::{WaitOptions, wait};

use super::process::Taken;
use super::requests::signal;
use super::server::{INIT, Server};
use super::setup;
use crate::control::{Failure, Reply};
use crate::task::ExitStatus;

/// How many ended execs are remembered.
const REMEMBERED: usize = 4096;
/// After the end of a process, how long its output may be kept open by others before the end is told.
const INIT_DRAIN: Duration = Duration::from_secs(2);
const EXEC_DRAIN: Duration = Duration::from_millis(250);
/// How long a deleted container's processes may take to die.
const DELETE: Duration = Duration::from_secs(10);

impl Server {
    pub(super) fn finished_output(&mut self, id: u64) {
        let Some(process) = self.processes.get(&id) else { return };
        if !process.is_drained() {
            return;
        }
        match (process.ended.is_some(), process.told) {
            (true, false) => self.tell(id),
            (true, true) if id != INIT => drop(self.processes.remove(&id)),
            _ => {}
        }
    }

    pub(super) fn reap(&mut self) {
        while let Ok(Some(_)) = self.signals.read_signal() {}
        loop {
            // Not nix's `waitpid`: it takes a death by real-time signal for an error, and the child is gone then.
            let (pid, status) = match wait(WaitOptions::NOHANG) {
                Ok(Some(ended)) => ended,
                Err(rustix::io::Errno::INTR) => continue,
                Ok(None) | Err(_) => return,
            };
            let Some(code) = status.exit_status().or(status.terminating_signal().map(|signal| 128 + signal))
            else {
                continue;
            };
            let pid = pid.as_raw_nonzero().get().unsigned_abs();
            // An orphan of the container is not one of ours: reaping it was all.
            let known = self.processes.values().find(|p| p.pid == pid && p.ended.is_none()).map(|p| p.id);
            match known {
                Some(id) => self.ended(id, code),
                None if self.call_ended(pid, code) => {}
                None if self.expects_strangers() => self.strangers.push((pid, code)),
                None => {}
            }
        }
    }

    pub(super) fn ended(&mut self, id: u64, code: i32) {
        let oom_killed = self.group.oom_kills() > 0;
        let status = ExitStatus { code, oom_killed, finished_at: Utc::now(), error: None };
        if id == INIT && !self.manifest.private_pids {
            // Without a PID namespace the rest of the container does not die with its init.
            let _ = self.group.kill_all();
        }
        let Some(process) = self.processes.get_mut(&id) else { return };
        process.ended = Some(status);
        process.deadline = Some(Instant::now() + if id == INIT { INIT_DRAIN } else { EXEC_DRAIN });
        process.stdin.close(&self.poller);
        // A slow client held the pipes; what they contain is bounded now, so it is taken.
        process.release(&self.poller);
        for stream in 0..2 {
            loop {
                let Some(process) = self.processes.get_mut(&id) else { return };
                match process.take(stream, &mut self.buffer, &self.poller) {
                    Taken::Bytes(n) => drop(self.distribute(id, stream, n)),
                    Taken::Nothing | Taken::End => break,
                }
            }
        }
        self.finished_output(id);
    }

    /// The end of a process, known to all: on disk first, then to those who wait, then by the end of the streams.
    pub(super) fn tell(&mut self, id: u64) {
        let Some(process) = self.processes.get_mut(&id) else { return };
        let Some(status) = process.ended.clone() else { return };
        process.told = true;
        let drained = process.is_drained();
        if let Some(log) = &mut process.log {
            if drained { log.finish() } else { log.flush() }
        }
        if id == INIT
            && let Err(error) = self.dir.record_exit(&status)
        {
            eprintln!("recording the exit: {error}");
        }
        let Some(process) = self.processes.get_mut(&id) else { return };
        for client in std::mem::take(&mut process.waiters) {
            if let Some(connection) = self.connections.get_mut(&client) {
                connection.reply(&Reply::Exited(status.clone()));
                connection.flush();
                connection.register(&self.poller);
            }
        }
        for client in std::mem::take(&mut process.clients) {
            if let Some(connection) = self.connections.get_mut(&client) {
                connection.closing = true;
                connection.flush();
                connection.register(&self.poller);
            }
        }
        if let Some(name) = process.name.clone() {
            self.remembered.push_back((name, status));
            if self.remembered.len() > REMEMBERED {
                self.remembered.pop_front();
            }
            if process.is_drained() {
                self.processes.remove(&id);
            }
            setup::trim();
        }
    }

    pub(super) fn advance_deletion(&mut self, now: Instant) {
        let Some((_, deadline)) = &self.deleting else { return };
        let Some(status) =
            self.processes.get(&INIT).filter(|init| init.told).and_then(|init| init.ended.clone())
        else {
            if now >= *deadline {
                self.answer_deletion(&Reply::Failed(Failure::Internal(
                    "the container's processes do not die".into(),
                )));
            }
            return;
        };
        if !self.is_forgotten() {
            return;
        }
        match self.group.kill_all().and_then(|()| self.group.remove()) {
            Ok(()) => {
                self.answer_deletion(&Reply::Exited(status));
                self.deleted = true;
                if let Some(listener) = self.listener.take() {
                    self.poller.remove(&listener);
                }
                for connection in self.connections.values_mut() {
                    connection.closing = true;
                }
                self.forget();
            }
            Err(error) => self.answer_deletion(&Reply::Failed(Failure::from(error))),
        }
    }

    fn answer_deletion(&mut self, reply: &Reply) {
        for id in self.deleting.take().map(|(ids, _)| ids).unwrap_or_default() {
            if let Some(connection) = self.connections.get_mut(&id) {
                connection.reply(reply);
                connection.flush();
                connection.register(&self.poller);
            }
        }
    }

    /// Starts (or joins) deletion: everything is killed, the rest happens as the ends are seen.
    pub(super) fn delete(&mut self, client: u64) {
        if let Some((clients, _)) = &mut self.deleting {
            clients.push(client);
            return;
        }
        self.deleting = Some((vec![client], Instant::now() + DELETE));
        let alive = self.processes.get(&INIT).is_some_and(|init| init.ended.is_none());
        if alive {
            let pid = self.init_pid();
            signal(pid, 9);
            for pid in self.group.processes().unwrap_or_default() {
                signal(pid, 9);
            }
            let _ = self.group.freeze(false);
        }
    }
}
