//! Calls of a runtime that is a program, while the loop goes on: begun by a request, ended by a reaped child.

use std::time::Instant;

use super::container::Container;
use super::program::{Beginning, Call};
use super::requests::signal;
use super::server::{INIT, Server};
use crate::control::{ExecRequest, Failure, Reply};
use crate::error::RuntimeError;
use crate::external::binary::DELETE;

/// What an ended call means.
pub(super) enum Then {
    /// The container's process runs.
    Started,
    /// Every process is frozen, or thawed.
    Frozen(bool),
    /// A signal was delivered.
    Signalled(i32),
    /// A process runs inside.
    Exec(Box<Beginning>),
    /// The runtime knows the container no longer.
    Deleted,
    /// Nothing: nobody waits.
    Forgotten,
}

/// A call and who waits for it.
pub(super) struct Pending {
    call: Call,
    client: Option<u64>,
    then: Then,
}

/// How far a runtime is with forgetting its container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Forgetting {
    NotAsked,
    Asked,
    Done,
}

impl Server {
    pub(super) fn answer(&mut self, client: u64, reply: &Reply) {
        if let Some(connection) = self.connections.get_mut(&client) {
            connection.reply(reply);
            connection.flush();
            connection.register(&self.poller);
        }
    }

    /// Calls the runtime, if it is a program; `None` if it is the embedded one.
    pub(super) fn call(
        &mut self,
        client: Option<u64>,
        verb: (&'static str, &[&str], &[&str]),
        prefix: &'static str,
        then: Then,
    ) -> Result<Option<()>, RuntimeError> {
        let Container::Program(program) = &mut self.container else { return Ok(None) };
        let (verb, options, after) = verb;
        let mut call = program.begin(verb, options, after, prefix)?;
        if matches!(then, Then::Deleted) {
            call = call.within(DELETE);
        }
        self.calls.push(Pending { call, client, then });
        Ok(Some(()))
    }

    pub(super) fn call_exec(&mut self, client: u64, request: ExecRequest) -> Result<(), RuntimeError> {
        let Container::Program(program) = &mut self.container else { return Ok(()) };
        let (call, beginning) = program.begin_exec(&self.manifest, request)?;
        let then = Then::Exec(Box::new(beginning));
        self.calls.push(Pending { call, client: Some(client), then });
        Ok(())
    }

    /// Whether a process may end before it is known here.
    pub(super) fn expects_strangers(&self) -> bool {
        self.calls.iter().any(|pending| matches!(pending.then, Then::Exec(_)))
    }

    pub(super) fn next_call(&self) -> Option<Instant> {
        self.calls.iter().filter(|pending| !pending.call.late).map(|pending| pending.call.deadline).min()
    }

    /// Kills the calls that take too long; their end is seen as any other.
    pub(super) fn end_late_calls(&mut self, now: Instant) {
        for pending in self.calls.iter_mut().filter(|p| !p.call.late && p.call.deadline <= now) {
            pending.call.late = true;
            signal(pending.call.pid, 9);
        }
    }

    /// A child ended: whether it was a call.
    pub(super) fn call_ended(&mut self, pid: u32, code: i32) -> bool {
        let Some(at) = self.calls.iter().position(|pending| pending.call.pid == pid) else { return false };
        let Pending { call, client, then } = self.calls.swap_remove(at);
        if let Then::Exec(beginning) = &then
            && code != 0
        {
            call.keep(beginning);
        }
        let verdict = match &self.container {
            Container::Program(program) => program.verdict(&call, code),
            Container::Embedded(_) => Ok(()),
        };
        let reply = self.follow(verdict, client, then);
        if let (Some(client), Some(reply)) = (client, reply) {
            self.answer(client, &reply);
        }
        if !self.expects_strangers() {
            self.strangers.clear();
        }
        true
    }

    /// Does what a call was for; what is left to answer.
    fn follow(
        &mut self,
        verdict: Result<(), RuntimeError>,
        client: Option<u64>,
        then: Then,
    ) -> Option<Reply> {
        let done = match then {
            Then::Started => {
                self.started = verdict.is_ok();
                verdict
            }
            Then::Frozen(frozen) => {
                if verdict.is_ok() {
                    self.paused = frozen;
                }
                verdict
            }
            Then::Signalled(number) => self.signalled(verdict, number),
            Then::Exec(beginning) => match verdict {
                Ok(()) => match self.runs_inside(*beginning, client) {
                    Ok(()) => return None,
                    Err(error) => Err(error),
                },
                Err(error) => {
                    beginning.abandon();
                    Err(error)
                }
            },
            Then::Deleted => {
                if let Err(error) = verdict {
                    eprintln!("{error}");
                }
                self.forgetting = Forgetting::Done;
                return None;
            }
            Then::Forgotten => return None,
        };
        Some(match done {
            Ok(()) => Reply::Done,
            Err(error) => Reply::Failed(Failure::from(error)),
        })
    }

    fn signalled(&mut self, verdict: Result<(), RuntimeError>, number: i32) -> Result<(), RuntimeError> {
        let init = self.processes.get(&INIT).filter(|init| init.ended.is_none()).map(|init| init.pid);
        match (verdict, init) {
            (Ok(()), _) => Ok(()),
            (Err(_), None) => Err(RuntimeError::NotFound(self.manifest.id.clone())),
            // Whatever is wrong with the runtime, a container can be killed.
            (Err(_), Some(pid)) if number == 9 && signal(pid, 9) => Ok(()),
            (Err(error), Some(_)) => Err(error),
        }
    }

    /// An exec's process is there; it may have ended already.
    fn runs_inside(&mut self, beginning: Beginning, client: Option<u64>) -> Result<(), RuntimeError> {
        let (request, pid, streams) = beginning.finish()?;
        let key = self.take_in(client, &request, pid, streams);
        if let Some(at) = self.strangers.iter().position(|(stranger, _)| *stranger == pid) {
            let (_, code) = self.strangers.swap_remove(at);
            self.ended(key, code);
        }
        Ok(())
    }

    /// Lets the runtime forget its container; whether it has.
    pub(super) fn is_forgotten(&mut self) -> bool {
        if self.forgetting == Forgetting::NotAsked {
            let verb = ("delete", ["--force"].as_slice(), [].as_slice());
            self.forgetting = match self.call(None, verb, "OCI runtime delete failed", Then::Deleted) {
                Ok(Some(())) => Forgetting::Asked,
                Ok(None) => Forgetting::Done,
                Err(error) => {
                    eprintln!("{error}");
                    Forgetting::Done
                }
            };
        }
        self.forgetting == Forgetting::Done
    }
}
