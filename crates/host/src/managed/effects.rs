//! How an owner carries out what [`state::step`] asks for.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use pintle_store::failpoint;
use pintle_wire::{config::PluginConfig, ipam, network, volume};
use tokio_util::sync::CancellationToken;

use super::{
    command::{Leaver, Waiter, answer},
    failure::StartFailure,
    owner::{Done, Owner},
    state::{self, Effect, Event, State},
};
use crate::{HostError, PluginAction};

/// How long a plugin may take to show that it lives.
const PROBE: Duration = Duration::from_secs(2);

/// What a plugin of this kind can be asked at any time, without consequences; `None` if only its socket can tell.
fn question(config: &PluginConfig) -> Option<(&'static str, Option<Vec<u8>>)> {
    let scheme = config.interface.protocol_scheme.as_str();
    if !scheme.is_empty() && scheme != "moby.plugins.http/v1" {
        return None;
    }
    if config.has_capability("volumedriver") {
        let request = volume::Request::Capabilities;
        return Some((request.method().path(), Some(request.encode())));
    }
    if config.has_capability("networkdriver") {
        return Some((network::Method::GetCapabilities.path(), None));
    }
    config.has_capability("ipamdriver").then(|| (ipam::Method::GetCapabilities.path(), None))
}

impl Owner {
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
                Effect::CountRestart { why, unanswered } => {
                    let unhealthy = self.record.unhealthy_restarts;
                    self.record.unhealthy_restarts = unhealthy.saturating_add(u32::from(unanswered));
                    self.record.restarts = self.record.restarts.saturating_add(1);
                    self.save_quietly();
                    let attributes = [("reason", why), ("restarts", self.record.restarts.to_string())]
                        .map(|(k, v)| (k.into(), v));
                    self.context.emit_with(
                        PluginAction::Restart,
                        &self.record.id,
                        &self.record.name,
                        attributes,
                    );
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
        let (context, record) = (Arc::clone(&self.context), self.record.clone());
        let (limit, cancel) = (self.limit(), self.cancel.clone());
        self.work.spawn(async move {
            if let Err(failure) = context.wait_for_needs(&record, &cancel).await {
                return Done::Launched(Err(failure));
            }
            Done::Launched(context.launcher.launch(&version, limit, &cancel).await)
        });
    }

    fn stop(&mut self) {
        self.uninstall();
        let (launcher, id) = (self.context.launcher.clone(), self.record.id.clone());
        let config = self.loaded.as_ref().map(|loaded| Arc::clone(&loaded.config)).unwrap_or_default();
        self.work.spawn(async move { Done::Stopped(launcher.stop(&id, &config).await) });
    }

    pub(super) fn probe(&mut self) {
        let listens = self.loaded.as_ref().is_some_and(|loaded| !loaded.config.interface.socket.is_empty());
        if self.probing || !listens || !matches!(self.state, State::Ready { .. } | State::Degraded { .. }) {
            return;
        }
        if let Some(running) = &self.running {
            self.probing = true;
            let client = Arc::clone(&running.client);
            let question = self.loaded.as_ref().and_then(|loaded| question(&loaded.config));
            self.work.spawn(async move {
                Done::Probed(match question {
                    Some((path, body)) => client.ask(path, body, PROBE).await,
                    None => client.probe(PROBE).await,
                })
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
            answer(
                reply,
                Err(HostError::Start(format!(
                    "plugin {name} did not start: {why} (it stays wanted and is tried again until it comes up or is disabled)"
                ))),
            );
        }
    }

    /// Who waits for a plugin that is disabled waits in vain.
    pub(super) fn tell_cancelled(&mut self) {
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
                    failpoint!("host.disable.down");
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
}
