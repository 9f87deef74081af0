//! The task that owns one managed plugin: it alone changes the record and acts on the process. Everybody else
//! sends it a [`Command`] or reads the published view.

use std::{
    future::pending,
    ops::ControlFlow,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{FutureExt, future::BoxFuture};
use pintle_image::Digest;
use pintle_runtime::{ExitStatus, RuntimeError};
use pintle_store::failpoint;
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use super::{
    content::Pin,
    context::Context,
    failure::StartFailure,
    launch::{Running, Version},
    record::{Loaded, Package, Record},
    shared::{Managed, View},
    state::{self, Effect, Event, State},
};
use crate::{HostError, PluginAction};

/// Where an answer goes.
pub(crate) type Reply = oneshot::Sender<Result<(), HostError>>;

/// What an owner can be asked to do.
pub(crate) enum Command {
    Enable { typed: String, timeout: Duration, reply: Reply },
    Disable { typed: String, force: bool, reply: Reply },
    Set { args: Vec<String>, reply: Reply },
    Upgrade { package: Box<Package>, reference: String, pin: Pin, reply: Reply },
    Remove { typed: String, force: bool, reply: Reply },
    Pushed { reference: String, digest: Digest, reply: Reply },
    /// Attach to what runs, or start what is wanted. Answered when that has succeeded or failed once.
    Boot { reply: Reply },
    /// End the owner, and the plugin too if so told.
    Shutdown { stop: bool, reply: Reply },
}

/// Who waits for the plugin to come up.
enum Waiter {
    Enable { typed: String, reply: Reply },
    Boot(Reply),
}

/// Who waits for it to go down.
enum Leaver {
    Disable { typed: String, reply: Reply },
    Remove { typed: String, reply: Reply },
}

/// What was under way and has ended.
enum Done {
    Launched(Result<Running, StartFailure>),
    Stopped(Result<Option<i32>, HostError>),
    Probed(Result<(), String>),
}

pub(super) struct Owner {
    pub(super) context: Arc<Context>,
    pub(super) managed: Arc<Managed>,
    pub(super) record: Record,
    /// `None` if the record's configuration cannot be read any more.
    pub(super) loaded: Option<Loaded>,
    pub(super) state: State,
    pub(super) running: Option<Running>,
    inbox: mpsc::Receiver<Command>,
    work: JoinSet<Done>,
    exit: Option<BoxFuture<'static, Result<ExitStatus, RuntimeError>>>,
    cancel: CancellationToken,
    resumes: Option<Instant>,
    probing: bool,
    waiters: Vec<Waiter>,
    leavers: Vec<Leaver>,
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
        waiters: Vec::new(),
        leavers: Vec::new(),
    };
    context.owners.spawn(owner.run());
    managed
}

impl Owner {
    async fn run(mut self) {
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
                _ = probes.tick() => self.probe(),
            }
            self.publish();
        }
    }

    async fn handle(&mut self, command: Command) -> ControlFlow<()> {
        match command {
            Command::Enable { typed, timeout, reply } => self.enable(typed, timeout, reply).await,
            Command::Disable { typed, force, reply } => self.disable(typed, force, reply).await,
            Command::Set { args, reply } => {
                let result = self.set(&args).await;
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
                let event = match result {
                    Ok(()) => Event::ProbeOk,
                    Err(why) => Event::ProbeFailed { why },
                };
                self.apply(event).await;
            }
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
        self.running = Some(running);
    }

    pub(super) fn uninstall(&mut self) {
        self.exit = None;
        self.running = None;
    }

    /// Takes one step and carries out what it asks for.
    pub(super) async fn apply(&mut self, event: Event) {
        let longest = self.context.config.max_backoff;
        let (next, effects) = state::step(self.state.clone(), event, longest);
        self.state = next;
        for effect in effects {
            match effect {
                Effect::Start => self.start(),
                Effect::CancelStart => self.cancel.cancel(),
                Effect::Stop => self.stop(),
                Effect::Clear => {
                    if let Err(error) = self.context.launcher.clear(&self.record.id).await {
                        tracing::warn!(plugin = self.record.name, %error, "cannot clear away a plugin's process");
                    }
                }
                Effect::Pause(length) => self.resumes = Some(Instant::now() + length),
                Effect::EndPause => self.resumes = None,
                Effect::CountRestart => {
                    self.record.restarts = self.record.restarts.saturating_add(1);
                    self.save_quietly();
                }
                Effect::TellUp => self.tell_up(),
                Effect::TellFailed(why) => self.tell_failed(&why),
                Effect::TellDown => self.tell_down().await,
            }
        }
        self.publish();
    }

    fn start(&mut self) {
        let Some(version) = self.version() else { return };
        self.cancel = CancellationToken::new();
        let (launcher, limit, cancel) = (self.context.launcher.clone(), self.limit(), self.cancel.clone());
        self.work.spawn(async move { Done::Launched(launcher.launch(&version, limit, &cancel).await) });
    }

    fn stop(&mut self) {
        self.uninstall();
        let (launcher, id) = (self.context.launcher.clone(), self.record.id.clone());
        let config = self.loaded.as_ref().map(|loaded| Arc::clone(&loaded.config)).unwrap_or_default();
        self.work.spawn(async move { Done::Stopped(launcher.stop(&id, &config).await) });
    }

    fn probe(&mut self) {
        let listens = self.loaded.as_ref().is_some_and(|loaded| !loaded.config.interface.socket.is_empty());
        if self.probing || !listens || !matches!(self.state, State::Ready { .. } | State::Degraded { .. }) {
            return;
        }
        if let Some(running) = &self.running {
            self.probing = true;
            let client = Arc::clone(&running.client);
            self.work.spawn(async move {
                let probed = client.probe(Duration::from_secs(2)).await;
                Done::Probed(probed.map_err(|error| error.to_string()))
            });
        }
    }

    fn tell_up(&mut self) {
        for waiter in std::mem::take(&mut self.waiters) {
            match waiter {
                Waiter::Enable { typed, reply } => {
                    self.record.acknowledged = true;
                    let saved = self.save();
                    failpoint!("host.enable.acknowledged");
                    self.publish();
                    if saved.is_ok() {
                        self.context.emit(PluginAction::Enable, &self.record.id, &typed);
                    }
                    answer(reply, saved);
                }
                Waiter::Boot(reply) => {
                    self.publish();
                    answer(reply, Ok(()));
                }
            }
        }
    }

    fn tell_failed(&mut self, why: &str) {
        self.publish();
        for waiter in std::mem::take(&mut self.waiters) {
            let (Waiter::Enable { reply, .. } | Waiter::Boot(reply)) = waiter;
            let name = &self.record.name;
            answer(reply, Err(HostError::Start(format!(
                "plugin {name} did not start: {why} (it stays wanted and is tried again until it comes up or is disabled)"
            ))));
        }
    }

    /// Who waits for a plugin that is disabled waits in vain.
    fn tell_cancelled(&mut self) {
        for waiter in std::mem::take(&mut self.waiters) {
            let (Waiter::Enable { reply, .. } | Waiter::Boot(reply)) = waiter;
            answer(reply, Err(HostError::Start(StartFailure::Cancelled.to_string())));
        }
    }

    async fn tell_down(&mut self) {
        self.publish();
        for leaver in std::mem::take(&mut self.leavers) {
            match leaver {
                Leaver::Disable { typed, reply } => {
                    self.context.emit(PluginAction::Disable, &self.record.id, &typed);
                    answer(reply, Ok(()));
                }
                Leaver::Remove { typed, reply } => {
                    let result = self.erase().await;
                    if result.is_ok() {
                        self.inbox.close();
                        self.context.emit(PluginAction::Remove, &self.record.id, &typed);
                    }
                    answer(reply, result);
                }
            }
        }
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
        })
    }

    pub(super) fn limit(&self) -> Duration {
        self.record.timeout.map_or(self.context.config.start_timeout, Duration::from_secs)
    }

    pub(super) fn save(&self) -> Result<(), HostError> {
        self.context.save(&self.record)
    }

    fn save_quietly(&self) {
        if let Err(error) = self.save() {
            tracing::error!(plugin = self.record.name, %error, "cannot store a plugin's record");
        }
    }

    pub(super) fn publish(&self) {
        self.managed.publish(View {
            record: self.record.clone(),
            loaded: self.loaded.clone(),
            state: self.state.clone(),
            running: self.running.clone(),
            resumes: self.resumes,
        });
    }
}

/// Whoever asked may have gone away meanwhile; what was done is done all the same.
pub(super) fn answer(reply: Reply, result: Result<(), HostError>) {
    let _ = reply.send(result);
}
