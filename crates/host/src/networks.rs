//! Networks that plugins are in, as the host asks for them. Who makes networks makes them of plugins, too, so it is
//! told to the host once both are there ([`Host::join_networks`](crate::Host::join_networks)).

use std::path::PathBuf;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use crate::HostError;

/// A network as plugins need to know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkFacts {
    /// Its name.
    pub name: String,
    /// The drivers that it needs and that are not linked in: plugins, by name.
    pub plugins: Vec<String>,
}

/// A plugin that is to be in networks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guest {
    /// The plugin's id, 64 hex digits.
    pub id: String,
    /// Its name, with its tag.
    pub name: String,
    /// The networks, the one that leads out first if nothing else decides it.
    pub networks: Vec<String>,
}

/// What a plugin gets of its networks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Room {
    /// The network namespace to run in, bound at this path.
    pub namespace: PathBuf,
    /// Files to mount: on the host, and where inside.
    pub files: Vec<(PathBuf, PathBuf)>,
}

/// Whoever makes networks.
#[async_trait]
pub trait PluginNetworks: Send + Sync + 'static {
    /// A network that plugins can be in, by name or id. Waits for nothing.
    fn look_up(&self, network: &str) -> Result<NetworkFacts, HostError>;

    /// Makes a place with an endpoint in each of the networks. One that a plugin had before is closed by then.
    async fn open(&self, guest: &Guest, cancel: &CancellationToken) -> Result<Room, HostError>;

    /// Gives back all that a plugin has of networks, which may be nothing.
    async fn close(&self, plugin: &str);
}
