use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use pintle_wire::{Interface, config::effective_config};
use tokio::sync::{mpsc, watch};

use super::{
    command::Command,
    grants,
    launch::Running,
    record::{Loaded, Record},
    state::State,
};
use crate::{Arrival, Plugin, PluginState, lease::Leases, remote::BreakerState};

/// A plugin as everybody but its owner task sees it: what it was at the owner's last word. Reading it never
/// waits for anything the plugin does.
pub(crate) struct Managed {
    pub(crate) commands: mpsc::Sender<Command>,
    view: Mutex<Arc<View>>,
    changed: watch::Sender<()>,
}

/// See [`Managed`].
pub(crate) struct View {
    pub(crate) record: Record,
    pub(crate) loaded: Option<Loaded>,
    pub(crate) state: State,
    pub(crate) running: Option<Running>,
    pub(crate) resumes: Option<Instant>,
}

impl Managed {
    pub(crate) fn new(commands: mpsc::Sender<Command>, view: View) -> Arc<Self> {
        Arc::new(Self { commands, view: Mutex::new(Arc::new(view)), changed: watch::Sender::new(()) })
    }

    pub(crate) fn view(&self) -> Arc<View> {
        Arc::clone(&self.view.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn publish(&self, view: View) {
        *self.view.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(view);
        self.changed.send_replace(());
    }

    /// Tells of every publication from now on.
    pub(crate) fn watch(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }
}

impl View {
    /// Whether the plugin says that it keeps this contract.
    pub(crate) fn offers(&self, interface: &Interface) -> bool {
        self.loaded.as_ref().is_some_and(|loaded| interface.is_among(&loaded.config))
    }

    /// What others are told of a plugin that answers calls.
    pub(crate) fn arrival(&self) -> Option<Arrival> {
        let up = matches!(self.state, State::Ready { .. } | State::Degraded { .. });
        let running = self.running.as_ref().filter(|_| up)?;
        let record = &self.record;
        let offers = |interface: &Interface| self.offers(interface);
        Some(Arrival::new(&record.name, Some(&record.id), running.remotes.life, offers))
    }

    pub(crate) fn plugin(&self, leases: &Leases) -> Plugin {
        let record = &self.record;
        let (config, settings) = match &self.loaded {
            Some(loaded) => (effective_config(&loaded.config, &loaded.settings), loaded.settings.clone()),
            None => Default::default(),
        };
        Plugin {
            id: record.id.clone(),
            name: record.name.clone(),
            reference: record.reference.clone(),
            config,
            config_text: record.package.config.clone(),
            settings,
            networks: record.networks.clone(),
            enabled: record.wanted,
            state: self.plugin_state(),
            restarts: record.restarts,
            unhealthy_restarts: record.unhealthy_restarts,
            last_error: record.last_error.clone(),
            exit_code: record.exit_code,
            size: record.package.size,
            leases: leases.holders(&record.id),
            manifest_digest: record.package.manifest_digest.as_ref().map(ToString::to_string),
            granted: [record.package.granted.clone(), grants::privileges(&record.grants)].concat(),
            timeout: record.timeout,
            pid: self.running.as_ref().and_then(|running| running.task.pid()),
            calls: self.running.as_ref().map_or_else(BTreeMap::new, |running| running.client.stats()),
        }
    }

    fn plugin_state(&self) -> PluginState {
        if self.loaded.is_none() {
            return PluginState::Failed { why: self.record.last_error.clone().unwrap_or_default() };
        }
        match &self.state {
            State::Down if self.record.wanted => PluginState::Failed {
                why: self.record.last_error.clone().unwrap_or_else(|| "it has not been started yet".into()),
            },
            State::Down => PluginState::Disabled,
            State::Starting { .. } | State::Cancelling { again: true } => PluginState::Starting,
            State::Ready { .. } => match self.running.as_ref().map(|running| running.client.breaker()) {
                Some(BreakerState::Open { .. } | BreakerState::HalfOpen) => {
                    PluginState::Degraded { why: "it leaves calls unanswered".into() }
                }
                _ => PluginState::Ready,
            },
            State::Degraded { why, .. } => PluginState::Degraded { why: why.clone() },
            State::BackingOff { why, .. } => PluginState::BackingOff {
                why: why.clone(),
                next: self.resumes.map(|at| at.saturating_duration_since(Instant::now())).unwrap_or_default(),
            },
            State::Cancelling { again: false } | State::Stopping { .. } | State::Replacing { .. } => {
                PluginState::Stopping
            }
        }
    }
}
