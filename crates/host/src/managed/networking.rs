//! A plugin's networks: which are wanted, whether that can be, and what it waits for by it.

use std::sync::{Arc, PoisonError};

use tokio_util::sync::CancellationToken;

use super::{
    context::Context,
    failure::StartFailure,
    order::{Need, Needs, describe},
    owner::Owner,
    record::Record,
    shared::View,
    state::{Event, State},
};
use crate::{Arrival, HostError};

/// The setting that every plugin has. Names of a package's own settings have no dot before a field like this one.
const SETTING: &str = "pintle.networks";

/// Takes what is said of networks out of the arguments of a `set`. What is said last counts.
pub(super) fn split(args: &[String]) -> (Option<Vec<String>>, Vec<String>) {
    let (mut networks, mut others) = (None, Vec::new());
    for arg in args {
        match arg.split_once('=').unwrap_or((arg, "")) {
            (SETTING, list) => {
                let mut names: Vec<String> = Vec::new();
                for name in list.split(',').map(str::trim).filter(|name| !name.is_empty()) {
                    if !names.iter().any(|known| known == name) {
                        names.push(name.to_owned());
                    }
                }
                networks = Some(names);
            }
            _ => others.push(arg.clone()),
        }
    }
    (networks, others)
}

impl Context {
    /// What a plugin in these networks needs. Networks that are not there, and plugins that are not installed, are
    /// nobody to wait for.
    fn needs_of(&self, networks: &[String]) -> Vec<Need> {
        let Some(maker) = self.networks.get() else { return Vec::new() };
        let facts = networks.iter().filter_map(|network| maker.look_up(network).ok());
        let needs = facts.flat_map(|facts| {
            let network = facts.name;
            facts.plugins.into_iter().map(move |plugin| (network.clone(), plugin))
        });
        needs
            .filter_map(|(network, plugin)| {
                let found = self.find(&plugin).ok()?;
                Some(Need { network, plugin: found.view().record.id.clone() })
            })
            .collect()
    }

    fn needs(&self) -> Needs {
        let mut needs = Needs::default();
        for managed in self.all() {
            let view = managed.view();
            if !view.record.networks.is_empty() {
                needs.note(&view.record.id, self.needs_of(&view.record.networks));
            }
        }
        needs
    }

    fn name(&self, id: &str) -> String {
        self.find(id).map_or_else(|_| id.to_owned(), |managed| managed.view().record.name.clone())
    }

    /// Why a plugin would wait for itself, if it would.
    fn cycle(&self, plugin: &str, needs: &Needs) -> Option<String> {
        let way = needs.cycle(plugin)?;
        Some(describe(plugin, &way, |id| self.name(id)))
    }

    /// Whether a plugin can be in these networks: by the names that they have, or why not.
    fn choose_networks(&self, plugin: &str, networks: &[String]) -> Result<Vec<String>, HostError> {
        let Some(maker) = self.networks.get() else {
            return Err(HostError::Setting("this engine has no networks for plugins".into()));
        };
        let names = networks.iter().map(|network| Ok(maker.look_up(network)?.name));
        let names: Vec<String> = names.collect::<Result<_, HostError>>()?;
        let mut needs = self.needs();
        needs.note(plugin, self.needs_of(&names));
        match self.cycle(plugin, &needs) {
            Some(cycle) => Err(HostError::Cycle(cycle)),
            None => Ok(names),
        }
    }

    /// Waits for the plugins that make a plugin's networks, as long as they are about to come up.
    pub(super) async fn wait_for_needs(
        &self,
        record: &Record,
        cancel: &CancellationToken,
    ) -> Result<(), StartFailure> {
        if record.networks.is_empty() {
            return Ok(());
        }
        if let Some(cycle) = self.cycle(&record.id, &self.needs()) {
            return Err(StartFailure::Network(cycle));
        }
        for need in self.needs_of(&record.networks) {
            let Ok(needed) = self.find(&need.plugin) else { continue };
            let mut changes = needed.watch();
            while about_to_come_up(&needed.view()) {
                tokio::select! {
                    () = cancel.cancelled() => return Err(StartFailure::Cancelled),
                    changed = changes.changed() => if changed.is_err() { break },
                }
            }
        }
        Ok(())
    }
}

fn about_to_come_up(view: &View) -> bool {
    let wanted = view.record.wanted && view.loaded.is_some();
    wanted && matches!(view.state, State::Down | State::Starting { .. })
}

impl Owner {
    /// Changes which networks the plugin is in, and stores it.
    pub(super) fn set_networks(&mut self, networks: &[String]) -> Result<(), HostError> {
        let context = Arc::clone(&self.context);
        // The record is shown before anybody else chooses.
        let _choosing = context.choosing.lock().unwrap_or_else(PoisonError::into_inner);
        let chosen = context.choose_networks(&self.record.id, networks)?;
        let before = std::mem::replace(&mut self.record.networks, chosen);
        if let Err(error) = self.save() {
            self.record.networks = before;
            return Err(error);
        }
        self.publish();
        Ok(())
    }

    /// Tries again at once if one of these plugins may be what it waits for.
    pub(super) async fn arrived(&mut self, news: &[Arrival]) {
        if self.record.networks.is_empty() || !matches!(self.state, State::BackingOff { .. }) {
            return;
        }
        let needs = self.context.needs_of(&self.record.networks);
        let came = |need: &Need| news.iter().any(|plugin| plugin.plugin_id.as_ref() == Some(&need.plugin));
        if needs.iter().any(came) {
            self.resumes = None;
            self.apply(Event::Resume).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_networks() {
        let args = |all: &[&str]| all.iter().map(|arg| (*arg).to_owned()).collect::<Vec<_>>();
        assert_eq!(split(&args(&["A=1", "networks=x"])), (None, args(&["A=1", "networks=x"])));
        assert_eq!(
            split(&args(&["pintle.networks=a, b,,a", "A=1"])),
            (Some(args(&["a", "b"])), args(&["A=1"]))
        );
        assert_eq!(split(&args(&["pintle.networks=a", "pintle.networks="])), (Some(vec![]), vec![]));
        assert_eq!(split(&args(&["pintle.networks"])), (Some(vec![]), vec![]));
    }
}
