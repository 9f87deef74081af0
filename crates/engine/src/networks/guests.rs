//! Plugins in networks. A plugin is to its networks what a container is: it has a sandbox with an endpoint in each, is
//! found by name, and leaves nothing when it ends. The host starts and ends it; what there is of networks for it is
//! made and taken away here.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, Weak},
};

use async_trait::async_trait;
use chrono::Utc;
use pintle_host::{Guest, HostError, NetworkFacts, PluginNetworks, Room};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{EndpointSpec, Inner, Networks, Place};
use crate::{
    EngineError, ErrorKind,
    containers::{Container, ContainerSpec, Lifecycle, Surroundings, write_names},
};

/// The files that say who a plugin is and whom it can ask, and where it has them.
const FILES: [(&str, &str); 2] = [("hosts", "/etc/hosts"), ("resolv.conf", "/etc/resolv.conf")];

/// The networks of this engine, for plugins. It holds on to nothing: networks hold the plugins that make them.
#[derive(Debug)]
pub struct PluginRooms {
    networks: Weak<Inner>,
    /// Below it are the files of each plugin.
    dir: PathBuf,
    /// Whether what an earlier engine left was put in order.
    settled: watch::Sender<bool>,
}

impl PluginRooms {
    /// Makes no place before [`PluginRooms::begin`]. `exec_root` is on a file system that is empty after boot.
    pub fn new(networks: &Networks, exec_root: &Path) -> Self {
        Self {
            networks: Arc::downgrade(&networks.inner),
            dir: exec_root.join("plugin-files"),
            settled: watch::Sender::new(false),
        }
    }

    /// At boot, after [`Networks::prepare`] and before containers are restored: plugins that outlived the last engine
    /// keep their places. What is there of others stays until the host has it closed, which it does for each of them.
    pub async fn keep(&self, plugins: Vec<Guest>) {
        let Ok(networks) = self.networks() else { return };
        for guest in &plugins {
            networks.admit(&guest.id);
        }
        for guest in plugins.into_iter().filter(|guest| !guest.networks.is_empty()) {
            if networks.holds(&guest.id) {
                networks.keep(&stand_in(&guest)).await;
            }
        }
    }

    /// At boot, after containers were restored: drivers have removed what nobody knows of, so that places can be made
    /// that they do not know yet.
    pub fn begin(&self) {
        self.settled.send_replace(true);
    }

    fn networks(&self) -> Result<Networks, HostError> {
        let inner = self.networks.upgrade();
        inner
            .map(|inner| Networks { inner })
            .ok_or_else(|| HostError::Unavailable("the engine is stopping".into()))
    }

    async fn settle(&self) {
        // An error means that the engine is going down.
        let _ = self.settled.subscribe().wait_for(|settled| *settled).await;
    }

    async fn furnish(
        &self,
        networks: &Networks,
        container: Arc<Container>,
        cancel: &CancellationToken,
    ) -> Result<Room, EngineError> {
        let plan = networks.plan(&container)?;
        let sandbox = networks.open_sandbox(plan, cancel).await?;
        let Place::Namespace(namespace) = sandbox.place else {
            return Err(EngineError::internal("a plugin's networks are the host's"));
        };
        let config = networks.config();
        let around = Surroundings {
            addresses: sandbox.reach.addresses,
            resolver: sandbox.reach.resolver,
            name_servers: sandbox.reach.name_servers,
            dns: config.dns.clone(),
            dns_options: config.dns_options.clone(),
            dns_search: config.dns_search.clone(),
            ..Surroundings::default()
        };
        let dir = self.dir.join(&container.id);
        let files = FILES.map(|(file, inside)| (dir.join(file), PathBuf::from(inside))).to_vec();
        let written = tokio::task::spawn_blocking(move || {
            std::fs::create_dir_all(&dir)?;
            write_names(&container, &dir, &around)
        });
        written.await.map_err(|error| EngineError::internal(error.to_string()))??;
        // They must be there before a process is that they tell of.
        sandbox.written.durable().await?;
        Ok(Room { namespace, files })
    }
}

#[async_trait]
impl PluginNetworks for PluginRooms {
    fn look_up(&self, network: &str) -> Result<NetworkFacts, HostError> {
        self.networks()?.facts_for_plugins(network).map_err(to_host)
    }

    async fn open(&self, guest: &Guest, cancel: &CancellationToken) -> Result<Room, HostError> {
        self.settle().await;
        let networks = self.networks()?;
        // Before it has anything, so that nobody takes it for what a dead container left.
        networks.admit(&guest.id);
        self.furnish(&networks, stand_in(guest), cancel).await.map_err(to_host)
    }

    async fn close(&self, plugin: &str) {
        let Ok(networks) = self.networks() else { return };
        if !networks.holds(plugin) {
            return;
        }
        self.settle().await;
        networks.close_sandbox(plugin).await;
        let dir = self.dir.join(plugin);
        let removed = tokio::task::spawn_blocking(move || std::fs::remove_dir_all(dir)).await;
        if let Ok(Err(error)) = removed
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(plugin, %error, "the files of its networks stay");
        }
    }
}

impl Networks {
    /// From now on, what there is of networks for this plugin is not what a dead container left.
    fn admit(&self, plugin: &str) {
        self.inner.guests.lock().unwrap_or_else(PoisonError::into_inner).insert(plugin.to_owned());
    }

    fn facts_for_plugins(&self, network: &str) -> Result<NetworkFacts, EngineError> {
        let inner = &self.inner;
        let record = inner.book.find(network)?;
        if record.special() || record.config_only {
            return Err(EngineError::invalid(format!(
                "network {} is none that a plugin can be put in",
                record.name
            )));
        }
        let mut plugins = Vec::new();
        if !inner.drivers.builtin(&record.driver) {
            plugins.push(record.driver.clone());
        }
        let ipam = record.ipam_driver();
        if ipam != "null" && !inner.drivers.builtin_ipam(ipam) && !plugins.iter().any(|known| known == ipam) {
            plugins.push(ipam.to_owned());
        }
        Ok(NetworkFacts { name: record.name.clone(), plugins })
    }
}

/// What a plugin looks like to networks.
fn stand_in(guest: &Guest) -> Arc<Container> {
    let aliases = vec![short_name(&guest.name).to_owned()];
    let ranked = guest.networks.iter().rev().zip(1..);
    let networks: BTreeMap<String, EndpointSpec> = ranked
        .map(|(network, rank)| {
            let wish =
                EndpointSpec { aliases: aliases.clone(), gw_priority: rank, ..EndpointSpec::default() };
            (network.clone(), wish)
        })
        .collect();
    let spec = ContainerSpec {
        network_mode: guest.networks.first().cloned().unwrap_or_default(),
        networks,
        networks_settled: true,
        ..ContainerSpec::default()
    };
    Arc::new(Container {
        id: guest.id.clone(),
        name: guest.name.clone(),
        created: Utc::now(),
        image_id: String::new(),
        os: String::new(),
        spec: Arc::new(spec),
        path: String::new(),
        args: Vec::new(),
        mounts: Arc::default(),
        life: Lifecycle::new(),
        updating: None,
    })
}

/// A plugin's name without registry, path and tag: what others on its networks call it.
fn short_name(name: &str) -> &str {
    let last = name.rsplit('/').next().unwrap_or(name);
    last.split([':', '@']).next().unwrap_or(last)
}

fn to_host(error: EngineError) -> HostError {
    match error.kind {
        ErrorKind::NotFound => HostError::NoNetwork(error.message),
        ErrorKind::InvalidArgument => HostError::Invalid(error.message),
        ErrorKind::Forbidden => HostError::Forbidden(error.message),
        ErrorKind::Unavailable => HostError::Unavailable(error.message),
        _ => HostError::Internal(error.message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_call_it_by_its_last_name() {
        for name in ["loki", "loki:latest", "grafana/loki:2", "127.0.0.1:5000/grafana/loki:2"] {
            assert_eq!(short_name(name), "loki", "{name}");
        }
    }

    #[test]
    fn the_first_network_leads_out() {
        let guest =
            Guest { id: "a".repeat(64), name: "x:latest".into(), networks: vec!["z".into(), "b".into()] };
        let container = stand_in(&guest);
        let rank = |network: &str| container.spec.networks[network].gw_priority;
        assert!(rank("z") > rank("b"));
        assert_eq!(container.spec.network_mode, "z");
        assert_eq!(container.spec.networks["b"].aliases, ["x"]);
    }
}
