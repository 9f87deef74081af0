//! The task that owns one managed plugin: it alone changes the record and acts on the process. Everybody else
//! sends it a [`Command`] or reads the published view.

use std::{
    future::pending,
    ops::ControlFlow,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{FutureExt, future::BoxFuture};
use pintle_runtime::{ExitStatus, RuntimeError};
use pintle_store::failpoint;
use tokio::{sync::mpsc, task::JoinSet};
use tokio_util::sync::CancellationToken;

use super::{
    command::{Command, Leaver, Reply, Waiter, answer},
    context::Context,
    failure::StartFailure,
    launch::{Running, Version},
    record::{Loaded, Record},
    shared::{Managed, View},
    state::{Event, State},
};
use crate::{HostError, PluginAction, remote::CallError};

/// After so many unanswered probes a plugin counts as dead.
const SILENCES: u32 = 3;

/// What was under way and has ended.
pub(super) enum Done {
    Launched(Result<Running, StartFailure>),
    Stopped(Result<Option<i32>, HostError>),
    Probed(Result<(), CallError>),
}

pub(super) struct Owner {
    pub(super) context: Arc<Context>,
    pub(super) managed: Arc<Managed>,
    pub(super) record: Record,
    /// `None` if the record's configuration cannot be read any more.
    pub(super) loaded: Option<Loaded>,
    pub(super) state: State,
    pub(super) running: Option<Running>,
    pub(super) inbox: mpsc::Receiver<Command>,
    pub(super) work: JoinSet<Done>,
    exit: Option<BoxFuture<'static, Result<ExitStatus, RuntimeError>>>,
    pub(super) cancel: CancellationToken,
    pub(super) resumes: Option<Instant>,
    pub(super) probing: bool,
    /// Probes in a row that were not answered.
    silences: u32,
    pub(super) waiters: Vec<Waiter>,
    pub(super) leavers: Vec<Leaver>,
}

/// Begins to look after a plugin. The task ends by [`Command::Shutdown`] or [`Command::Remove`].
pub(crate) fn spawn(context: &Arc<Context>, record: Record) -> Arc<Managed> {
    let (sender, inbox) = mpsc::channel(64);
    let (loaded, record) = match Loaded::new(&record) {
        Ok(loaded) => (Some(loaded), record),
        Err(error) => (None, Record { last_error: Some(error.to_string()), ..record }),
    };
    let view = View {
        record: record.clone(),
        loaded: loaded.clone(),
        state: State::Down,
        running: None,
        resumes: None,
    };
    let managed = Managed::new(sender, view);
    let owner = Owner {
        context: Arc::clone(context),
        managed: Arc::clone(&managed),
        record,
        loaded,
        state: State::Down,
        running: None,
        inbox,
        work: JoinSet::new(),
        exit: None,
        cancel: CancellationToken::new(),
        resumes: None,
        probing: false,
        silences: 0,
        waiters: Vec::new(),
        leavers: Vec::new(),
    };
    context.owners.spawn(owner.run());
    managed
}

impl Owner {
    async fn run(mut self) {
        let mut arrivals = self.context.roster.watch();
        let mut probes = tokio::time::interval(self.context.config.probe_interval);
        probes.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let resumes = self.resumes;
            tokio::select! {
                command = self.inbox.recv() => {
                    let Some(command) = command else { break };
                    if self.handle(command).await.is_break() {
                        break;
                    }
                }
                Some(done) = self.work.join_next() => match done {
                    Ok(done) => self.finished(done).await,
                    Err(error) => tracing::error!(plugin = self.record.name, %error, "a plugin's task failed"),
                },
                exit = async { match &mut self.exit { Some(exit) => exit.await, None => pending().await } } => {
                    self.exit = None;
                    self.exited(exit).await;
                }
                () = async { match resumes {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => pending().await,
                } } => {
                    self.resumes = None;
                    self.apply(Event::Resume).await;
                }
                Some(news) = arrivals.next() => self.arrived(&news).await,
                _ = probes.tick() => self.probe(),
            }
            self.publish();
        }
    }

    async fn handle(&mut self, command: Command) -> ControlFlow<()> {
        match command {
            Command::Enable { typed, timeout, reply } => self.enable(typed, timeout, reply).await,
            Command::Disable { typed, force, reply } => self.disable(typed, force, reply).await,
            Command::Set { args, grant, reply } => {
                let result = self.set(&args, grant).await;
                answer(reply, result);
            }
            Command::Upgrade { package, reference, pin, reply } => {
                let result = self.upgrade(*package, reference).await;
                drop(pin);
                self.context.collect().await;
                self.publish();
                answer(reply, result);
            }
            Command::Remove { typed, force, reply } => return self.remove(typed, force, reply).await,
            Command::Pushed { reference, digest, reply } => {
                self.record.reference = reference;
                self.record.package.manifest_digest = Some(digest);
                let result = self.save();
                self.publish();
                answer(reply, result);
            }
            Command::Boot { reply } => self.boot(reply).await,
            Command::Shutdown { stop, reply } => {
                let result = self.shut_down(stop).await;
                answer(reply, result);
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    }

    async fn enable(&mut self, typed: String, timeout: Duration, reply: Reply) {
        if self.loaded.is_none() {
            let why = self.record.last_error.clone().unwrap_or_default();
            return answer(reply, Err(HostError::Start(why)));
        }
        if self.leavers.iter().any(|leaver| matches!(leaver, Leaver::Remove { .. })) {
            return answer(reply, Err(HostError::NotFound(typed)));
        }
        let up = matches!(self.state, State::Ready { .. } | State::Degraded { .. });
        let starting = matches!(self.state, State::Starting { .. });
        if self.record.wanted && self.record.acknowledged && (up || starting) {
            return answer(reply, Err(HostError::AlreadyEnabled(self.record.name.clone())));
        }
        self.record.wanted = true;
        self.record.restarts = 0;
        self.record.unhealthy_restarts = 0;
        if !timeout.is_zero() {
            self.record.timeout = Some(timeout.as_secs().max(1));
        }
        if let Err(error) = self.save() {
            return answer(reply, Err(error));
        }
        failpoint!("host.enable.after_store");
        self.waiters.push(Waiter::Enable { typed, reply });
        self.apply(Event::Enable).await;
    }

    async fn disable(&mut self, typed: String, force: bool, reply: Reply) {
        let holders = self.context.leases.holders(&self.record.id);
        if !holders.is_empty() && !force {
            return answer(reply, Err(HostError::InUse { name: self.record.name.clone(), holders }));
        }
        if !self.record.wanted {
            return answer(reply, Err(HostError::AlreadyDisabled(self.record.name.clone())));
        }
        if let Err(error) = self.unwant() {
            return answer(reply, Err(error));
        }
        failpoint!("host.disable.after_store");
        self.tell_cancelled();
        self.leavers.push(Leaver::Disable { typed, reply });
        self.apply(Event::Disable).await;
    }

    fn unwant(&mut self) -> Result<(), HostError> {
        self.record.wanted = false;
        self.record.acknowledged = false;
        self.save()
    }

    /// Answers whether the owner is to end.
    async fn remove(&mut self, typed: String, force: bool, reply: Reply) -> ControlFlow<()> {
        let holders = self.context.leases.holders(&self.record.id);
        if !holders.is_empty() && !force {
            answer(reply, Err(HostError::InUse { name: self.record.name.clone(), holders }));
            return ControlFlow::Continue(());
        }
        // One that never came up for its user is not "enabled" to them.
        let up = !matches!(self.state, State::Down | State::BackingOff { .. });
        if self.record.wanted && !force && (self.record.acknowledged || up) {
            answer(reply, Err(HostError::Enabled(self.record.name.clone())));
            return ControlFlow::Continue(());
        }
        if self.record.wanted
            && let Err(error) = self.unwant()
        {
            answer(reply, Err(error));
            return ControlFlow::Continue(());
        }
        self.tell_cancelled();
        self.leavers.push(Leaver::Remove { typed, reply });
        self.apply(Event::Disable).await;
        self.leave_if_removed()
    }

    async fn boot(&mut self, reply: Reply) {
        if let Err(error) = self.recover().await {
            tracing::warn!(plugin = self.record.name, %error, "cannot clear away what the last engine left");
        }
        if !self.record.wanted || self.loaded.is_none() {
            return answer(reply, Ok(()));
        }
        let attached = match self.version() {
            Some(version) => self.context.launcher.attach(&version).await,
            None => Ok(None),
        };
        match attached {
            Ok(Some(running)) if running.client.probe(Duration::from_secs(2)).await.is_ok() => {
                tracing::info!(plugin = self.record.name, "a plugin outlived the last engine");
                self.waiters.push(Waiter::Boot(reply));
                self.install(running);
                self.apply(Event::Attached).await;
            }
            other => {
                if let Err(error) = other {
                    tracing::warn!(plugin = self.record.name, %error, "cannot attach to a plugin; starting it again");
                }
                self.waiters.push(Waiter::Boot(reply));
                self.apply(Event::Enable).await;
            }
        }
    }

    async fn shut_down(&mut self, stop: bool) -> Result<(), HostError> {
        self.cancel.cancel();
        while let Some(done) = self.work.join_next().await {
            if let Ok(Done::Launched(Ok(running))) = done {
                self.install(running);
            }
        }
        if stop
            && self.running.is_some()
            && let Some(loaded) = &self.loaded
        {
            self.context.launcher.stop(&self.record.id, &loaded.config).await?;
        }
        Ok(())
    }

    async fn finished(&mut self, done: Done) {
        match done {
            Done::Launched(Ok(running)) => {
                self.install(running);
                self.record.proven = true;
                self.apply(Event::Started).await;
            }
            Done::Launched(Err(failure)) => {
                if failure != StartFailure::Cancelled {
                    self.failed(&failure);
                }
                self.apply(Event::StartFailed { why: failure.to_string() }).await;
            }
            Done::Stopped(result) => {
                match result {
                    Ok(code) => self.record.exit_code = code.or(self.record.exit_code),
                    Err(error) => {
                        tracing::warn!(plugin = self.record.name, %error, "a plugin left something behind");
                        self.record.last_error = Some(error.to_string());
                    }
                }
                self.apply(Event::Stopped).await;
            }
            Done::Probed(result) => {
                self.probing = false;
                self.probed(result).await;
            }
        }
    }

    /// One that cannot be reached is unwell at once, one that only does not answer is asked a few times before
    /// its callers are spared the wait.
    async fn probed(&mut self, result: Result<(), CallError>) {
        let was_well = matches!(self.state, State::Ready { .. });
        self.silences = if result.is_ok() { 0 } else { self.silences.saturating_add(1) };
        let given_up = self.silences >= SILENCES;
        let why = match result {
            Ok(()) => None,
            Err(CallError::Timeout { .. } | CallError::Lost { .. }) => {
                if !given_up {
                    return;
                }
                if let Some(running) = &self.running {
                    running.client.hold(3 * self.context.config.probe_interval);
                }
                Some(format!("it accepts connections and left {} probes unanswered", self.silences))
            }
            Err(error) => Some(error.to_string()),
        };
        let event = why.clone().map_or(Event::ProbeOk, |why| Event::ProbeFailed { why });
        self.apply(event).await;
        let is_well = matches!(self.state, State::Ready { .. });
        let name = &self.record.name;
        match (was_well, is_well) {
            (true, false) => {
                tracing::warn!(plugin = name, state = ?self.state, "a plugin is unwell");
                self.context.emit(PluginAction::Unhealthy, &self.record.id, name);
            }
            (false, true) => self.context.emit(PluginAction::Healthy, &self.record.id, name),
            _ => {}
        }
        if let Some(why) = why.filter(|_| given_up && self.context.restarts_unhealthy(&self.record.name))
            && let Some(ran) = self.running.as_ref().map(|running| running.since.elapsed())
        {
            tracing::warn!(plugin = self.record.name, why, "a plugin that does not answer is restarted");
            self.record.last_error = Some(why.clone());
            self.apply(Event::GivenUp { why, ran }).await;
        }
    }

    async fn exited(&mut self, exit: Result<ExitStatus, RuntimeError>) {
        let Some(running) = self.running.take() else { return };
        let failure = self.context.launcher.exited(&self.record.id, &running.started_at, exit);
        tracing::warn!(plugin = self.record.name, %failure, "a plugin ended by itself");
        self.failed(&failure);
        self.apply(Event::Exited { why: failure.to_string(), ran: running.since.elapsed() }).await;
    }

    fn failed(&mut self, failure: &StartFailure) {
        self.record.last_error = Some(failure.to_string());
        self.record.exit_code = failure.exit_code().or(self.record.exit_code);
        self.save_quietly();
    }

    pub(super) fn install(&mut self, running: Running) {
        let task = running.task.clone();
        self.exit = Some(async move { task.wait().await }.boxed());
        self.silences = 0;
        self.running = Some(running);
    }

    pub(super) fn uninstall(&mut self) {
        self.exit = None;
        self.running = None;
    }

    /// A removal may have to wait for a stop; the owner ends when the inbox is closed by it.
    fn leave_if_removed(&self) -> ControlFlow<()> {
        if self.inbox.is_closed() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    pub(super) fn version(&self) -> Option<Version> {
        let loaded = self.loaded.clone()?;
        Some(Version {
            id: self.record.id.clone(),
            name: self.record.name.clone(),
            loaded,
            layers: self.record.package.layers.clone(),
            generation: self.record.package.generation,
            networks: self.record.networks.clone(),
        })
    }

    pub(super) fn limit(&self) -> Duration {
        self.record.timeout.map_or(self.context.config.start_timeout, Duration::from_secs)
    }

    pub(super) fn save(&self) -> Result<(), HostError> {
        self.context.save(&self.record)
    }

    pub(super) fn save_quietly(&self) {
        if let Err(error) = self.save() {
            tracing::error!(plugin = self.record.name, %error, "cannot store a plugin's record");
        }
    }

    pub(super) fn publish(&self) {
        let view = View {
            record: self.record.clone(),
            loaded: self.loaded.clone(),
            state: self.state.clone(),
            running: self.running.clone(),
            resumes: self.resumes,
        };
        let arrival = view.arrival();
        self.managed.publish(view);
        match arrival {
            Some(arrival) => self.context.roster.up(arrival),
            None => self.context.roster.down(&self.record.name),
        }
    }
}
