//! What handlers reach: narrow handles to the parts below, and nothing of its own but configuration.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use arc_swap::ArcSwap;
use pintle_drivers::Overlay;
use pintle_engine::{
    authorization::Authorization,
    builder::Builder,
    containers::Containers,
    events::{Event, Events, Kind},
    networks::{Networks, PluginRooms},
    volumes::Volumes,
};
use pintle_host::Host;
use pintle_image::Images;
use pintle_runtime::Runtime;
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{audit::Audit, config::Config, identity::Identity, metrics::Metrics};

/// The parts.
pub(crate) struct App {
    pub(crate) config: ArcSwap<Config>,
    /// The engine's own id, for life.
    pub(crate) id: String,
    pub(crate) images: Images,
    pub(crate) runtime: Runtime,
    pub(crate) host: Host,
    /// Who is asked before anything is done.
    pub(crate) authorization: Authorization,
    /// Who asks.
    pub(crate) identity: Identity,
    /// Where it is written who asked for what.
    pub(crate) audit: Option<Arc<Audit>>,
    pub(crate) volumes: Volumes,
    pub(crate) networks: Networks,
    /// The places of plugins in networks.
    pub(crate) rooms: Arc<PluginRooms>,
    /// The driver of networks across hosts, which follows the others all the while.
    pub(crate) overlay: Option<Overlay>,
    pub(crate) events: Events,
    pub(crate) builder: Builder,
    /// Reached through [`App::containers`], which waits until they are restored.
    pub(crate) containers: Containers,
    pub(crate) restored: watch::Receiver<bool>,
    /// The engine goes down: streams end, connections finish.
    pub(crate) draining: CancellationToken,
    /// Connections that stopped being HTTP, and streams' producers.
    pub(crate) tasks: TaskTracker,
    /// One prune of a kind at a time, as clients expect.
    pub(crate) prunes: Prunes,
    pub(crate) metrics: Metrics,
    /// Plugins that were told to collect metrics.
    pub(crate) collectors: Mutex<Vec<String>>,
}

/// One prune of each kind at a time.
#[derive(Default)]
pub(crate) struct Prunes {
    pub(crate) containers: tokio::sync::Mutex<()>,
    pub(crate) images: tokio::sync::Mutex<()>,
    pub(crate) volumes: tokio::sync::Mutex<()>,
}

impl App {
    /// The containers, once they agree with what runs. Only requests about containers wait for that.
    pub(crate) async fn containers(&self) -> &Containers {
        let mut restored = self.restored.clone();
        // An error means that the engine is going down; what is known then is answered.
        let _ = restored.wait_for(|restored| *restored).await;
        &self.containers
    }

    pub(crate) fn collectors(&self) -> MutexGuard<'_, Vec<String>> {
        self.collectors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells everybody who listens.
    pub(crate) fn publish(&self, kind: Kind, action: &str, id: &str, attributes: BTreeMap<String, String>) {
        self.events.publish(Event::new(kind, action, id, attributes));
    }
}
