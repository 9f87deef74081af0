//! Making the world agree with the records when the engine starts, and telling drivers that came up since.

use std::{
    collections::HashSet,
    sync::{Arc, PoisonError},
};

use futures_util::{StreamExt, stream};
use pintle_contract::network::{CreateEndpoint, EndpointId, Interface, Join, PortBinding, Protocol};

use super::{
    Inner, Networks,
    attach::{About, id_of, published},
    calls::within,
    detach::Home,
    kernel::namespace_path,
    life::{Mark, Thing},
    plan::wishes,
    record::{EndpointRecord, NetworkRecord, Published, State},
};
use crate::{EngineError, containers::Container};

/// How many networks are told of at once at boot.
const AT_ONCE: usize = 8;

impl Networks {
    /// At boot, before containers are restored: tells the drivers that are linked in what there is, and makes the
    /// predefined networks. What the host lacks for it becomes the network's [`Network::trouble`](super::Network::trouble).
    pub async fn prepare(&self) {
        let inner = &self.inner;
        inner.predefine().await;
        let own: Vec<_> = {
            let facts = inner.book.read();
            let ready = facts.networks().filter(|record| record.state == State::Ready);
            let held = ready.filter(|record| !record.special() && !record.config_only);
            held.filter(|record| inner.is_builtin(record)).cloned().collect()
        };
        stream::iter(own)
            .for_each_concurrent(AT_ONCE, |record| async move {
                if let Err(error) = inner.ready(&record.id).await {
                    inner.book.set_trouble(&record.id, Some(error.message.clone()));
                    tracing::warn!(network = %record.name, %error, "cannot be used now");
                }
            })
            .await;
    }

    /// At boot, for a container that runs on: tells the drivers that are linked in of its endpoints, and answers its
    /// names. What was half done of it is undone.
    pub(crate) async fn keep(&self, container: &Arc<Container>) {
        let inner = &self.inner;
        if let Err(error) = inner.keep(container).await {
            tracing::error!(container = %container.id, %error, "runs on, but not all of its network is known");
        }
    }

    /// Whether anything is left of a container's networks.
    pub(crate) fn holds(&self, container: &str) -> bool {
        self.inner.book.read().of_container(container).any(|endpoint| !endpoint.life.leaving)
            || namespace_path(&self.inner.namespaces, container).exists()
    }

    /// Whether a container needs a plugin for its networks.
    pub(crate) fn needs_plugin(&self, container: &Container) -> bool {
        wishes(&container.spec).iter().any(|(name, wish)| {
            self.inner
                .network_for(name, wish)
                .is_ok_and(|network| !network.special() && !self.inner.is_builtin(&network))
        })
    }

    /// At boot, once every container was put in order: takes away what is left of others, and has drivers that are
    /// linked in do the same. Then the default bridge is made as it is configured now.
    pub(crate) async fn sweep(&self, known: &HashSet<String>) {
        let inner = &self.inner;
        let stale: Vec<_> = {
            let facts = inner.book.read();
            let left = facts.endpoints().filter(|endpoint| !endpoint.life.leaving);
            left.filter(|endpoint| !known.contains(&endpoint.container)).cloned().collect()
        };
        // Looked at afterwards: who came in meanwhile is among them.
        let guests = inner.guests.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for endpoint in stale.into_iter().filter(|endpoint| !guests.contains(&endpoint.container)) {
            let path = namespace_path(&inner.namespaces, &endpoint.container);
            inner.take_away(endpoint, Home::Ends(&path)).await;
        }
        let bound = inner.kernel.bound(&inner.namespaces).await;
        let guests = inner.guests.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for name in bound {
            if !known.iter().chain(&guests).any(|id| id.starts_with(&name)) {
                let path = inner.namespaces.join(&name);
                if let Err(error) = inner.kernel.remove(&path).await {
                    tracing::warn!(namespace = %path.display(), %error, "is left of an engine before, and stays");
                }
            }
        }
        inner.reshape_bridge().await;
        inner.retain().await;
    }

    /// At boot, once plugins had their first chance: what was half done is finished, and what is owed is sent, in the
    /// background and for as long as it takes.
    pub fn reconcile(&self) {
        let inner = &self.inner;
        inner.plugins_up.send_replace(true);
        let (networks, owed): (Vec<_>, Vec<_>) = {
            let facts = inner.book.read();
            let owed = facts.endpoints().filter(|endpoint| endpoint.life.leaving);
            (facts.networks().cloned().collect(), owed.map(|endpoint| endpoint.id.clone()).collect())
        };
        for network in networks {
            match network.state {
                State::Ready if inner.is_builtin(&network) => {}
                State::Ready => inner.take_up(&network),
                // Somebody is at it just now.
                State::Creating | State::Removing if !inner.half_done.contains(&network.id) => {}
                State::Creating | State::Removing => {
                    inner.undo_later(NetworkRecord { state: State::Removing, ..(*network).clone() });
                }
            }
        }
        owed.iter().for_each(|id| inner.settle_now(id));
        inner.welcome_plugins();
    }
}

impl Inner {
    /// Whether all that a network needs is linked in.
    pub(super) fn is_builtin(&self, record: &NetworkRecord) -> bool {
        record.special()
            || record.config_only
            || (self.drivers.builtin(&record.driver)
                && (record.ipam_driver() == "null" || self.drivers.builtin_ipam(record.ipam_driver())))
    }

    /// Tells a network's plugins what they may have forgotten, once, in the background. Whoever needs it before tells
    /// them himself.
    fn take_up(self: &Arc<Self>, network: &NetworkRecord) {
        if network.special() || network.config_only {
            return;
        }
        let (inner, id, name) = (Arc::clone(self), network.id.clone(), network.name.clone());
        self.tasks.spawn(async move {
            let told = tokio::select! {
                () = inner.stop.cancelled() => return,
                told = inner.ready(&id) => told,
            };
            if let Err(error) = told {
                inner.book.set_trouble(&id, Some(error.message.clone()));
                tracing::info!(network = %name, %error, "cannot be used yet");
            }
        });
    }

    /// Whenever a plugin comes up: tells it of its networks if it may have forgotten them, and tries again what is
    /// owed to it.
    fn welcome_plugins(self: &Arc<Self>) {
        let Some(mut arrivals) = self.drivers.arrivals() else { return };
        let inner = Arc::clone(self);
        self.tasks.spawn(async move {
            loop {
                let news = tokio::select! {
                    () = inner.stop.cancelled() => return,
                    news = arrivals.next() => news,
                };
                let Some(news) = news else { return };
                inner.arrived.send_modify(|count| *count += 1);
                let concerned: Vec<_> = {
                    let facts = inner.book.read();
                    let ready = facts.networks().filter(|record| record.state == State::Ready);
                    ready
                        .filter(|record| {
                            news.iter().any(|plugin| {
                                plugin.name == record.driver || plugin.name == record.ipam_driver()
                            })
                        })
                        .cloned()
                        .collect()
                };
                concerned.iter().for_each(|network| inner.take_up(network));
            }
        });
    }

    async fn keep(self: &Arc<Self>, container: &Arc<Container>) -> Result<(), EngineError> {
        let path = namespace_path(&self.namespaces, &container.id);
        let wanted: Vec<_> = wishes(&container.spec)
            .iter()
            .filter_map(|(name, wish)| Some((self.network_for(name, wish).ok()?, wish.clone())))
            .collect();
        for (network, wish) in wanted.iter().filter(|(network, _)| network.special()) {
            let endpoint = self.endpoint_for(container, network, wish.clone());
            drop(self.book.add_endpoints(vec![endpoint])?);
        }
        let mut told = Ok(());
        for endpoint in self.book.of_container(&container.id) {
            if endpoint.life.leaving {
                continue;
            }
            let is_wanted =
                endpoint.gateway_service || wanted.iter().any(|(network, _)| network.id == endpoint.network);
            if !endpoint.life.works() || !is_wanted {
                tracing::info!(container = %container.id, endpoint = %endpoint.id, "undoing a half-made connection");
                self.take_away(endpoint, Home::Stays(&path)).await;
                continue;
            }
            let led = endpoint.is_gateway || endpoint.is_gateway_v6;
            if !led && endpoint.life.mark(Thing::Outside) != Mark::No {
                self.revoke_later(&endpoint.id);
            }
            let again = self.tell_endpoint_again(&endpoint, &path, container).await;
            told = told.and(again);
        }
        if container.spec.network_mode != "host" {
            self.serve_names(container, &path).await?;
        }
        told
    }

    /// Tells a driver that is linked in of an endpoint that works.
    async fn tell_endpoint_again(
        &self,
        endpoint: &EndpointRecord,
        path: &std::path::Path,
        container: &Container,
    ) -> Result<(), EngineError> {
        let Some(network) = self.book.network(&endpoint.network) else { return Ok(()) };
        if network.special() || !self.drivers.builtin(&network.driver) {
            return Ok(());
        }
        let ready = self.ready(&network.id).await?;
        let driver = &ready.driver.driver;
        let mut about = About::of(&container.spec, &self.config.dns)?;
        if !endpoint.published.is_empty() {
            // What was open then is settled by now.
            about.publish = endpoint.published.iter().filter_map(binding).collect();
        }
        let given = Interface {
            address: endpoint.address,
            address_v6: endpoint.address_v6,
            mac: endpoint.mac.parse().ok(),
        };
        let request = CreateEndpoint {
            id: id_of(endpoint),
            interface: given,
            options: about.endpoint(endpoint, &network),
        };
        within(self.budgets.make, "NetworkDriver.CreateEndpoint", driver.create_endpoint(request)).await?;
        let request = Join {
            id: id_of(endpoint),
            sandbox_key: path.to_owned(),
            name: endpoint.interface.clone(),
            options: about.labels(),
        };
        within(self.budgets.make, "NetworkDriver.Join", driver.join(request)).await?;
        if endpoint.is_gateway || endpoint.is_gateway_v6 {
            let (id, labels) = (id_of(endpoint), about.labels());
            let asked = driver.program_external_connectivity(&id, &labels);
            let what = "NetworkDriver.ProgramExternalConnectivity";
            let open = within(self.budgets.make, what, asked).await?;
            if !open.is_empty() {
                let open = published(&open);
                drop(self.book.change_endpoint(&endpoint.id, |endpoint| endpoint.published = open));
            }
        }
        Ok(())
    }

    /// Has drivers that are linked in remove what no record knows of.
    async fn retain(&self) {
        let (networks, endpoints) = {
            let facts = self.book.read();
            // Half-made ones are not told again, so that what there is of them goes now.
            let ready = facts.networks().filter(|record| record.state == State::Ready);
            let networks: Vec<_> = ready.cloned().collect();
            let endpoints: Vec<_> = facts.endpoints().cloned().collect();
            (networks, endpoints)
        };
        for driver in self.drivers.builtins() {
            let own: Vec<String> = networks
                .iter()
                .filter(|network| network.driver == driver.name && !network.config_only)
                .map(|network| network.id.clone())
                .collect();
            let inside: Vec<EndpointId> = endpoints
                .iter()
                .filter(|endpoint| own.contains(&endpoint.network))
                .map(|one| id_of(one))
                .collect();
            let asked = driver.driver.retain(&own, &inside);
            if let Err(error) = within(self.budgets.make, "NetworkDriver.retain", asked).await {
                tracing::warn!(driver = %driver.name, %error, "what a crash may have left could not be looked for");
            }
        }
    }
}

fn binding(published: &Published) -> Option<PortBinding> {
    Some(PortBinding {
        protocol: Protocol::from_number(published.protocol.into())?,
        port: published.port,
        host_ip: published.host_ip,
        host_port: published.host_port,
        host_port_end: published.host_port,
    })
}
