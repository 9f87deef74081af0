//! A container's sandbox: made before its process runs, with an endpoint in each of its networks, and given back when
//! the run is over.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use futures_util::future;
use pintle_store::failpoint;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    Inner, Networks, ResolverPlace, attach::About, detach::Home, kernel::namespace_path,
    record::EndpointRecord,
};
use crate::{EngineError, Pending, containers::Container};

/// Where a container's processes find the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// In a namespace of its own, or another container's.
    Namespace(PathBuf),
    /// In the host's.
    Host,
}

/// What a start will take, written down.
pub(crate) struct Plan {
    pub(super) container: Arc<Container>,
    pub(super) place: Place,
    pub(super) endpoints: Vec<EndpointRecord>,
    pub(super) about: About,
    pub(super) written: Pending,
}

/// What a container's networks give it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Reach {
    /// The container's own addresses, the best way out first.
    pub(crate) addresses: Vec<IpAddr>,
    /// Names are answered inside.
    pub(crate) resolver: bool,
    /// Name servers that a driver knows of.
    pub(crate) name_servers: Vec<IpAddr>,
}

/// A sandbox that a process can run in.
pub(crate) struct Sandbox {
    /// Where it is.
    pub(crate) place: Place,
    /// What there is in it.
    pub(crate) reach: Reach,
    /// Its records on their way to the disk. They must be there before the process runs.
    pub(crate) written: Pending,
}

impl Networks {
    /// Makes what was planned. Returns when it can be used; whatever fails, nothing of it stays but what a plugin
    /// that does not answer may hold. Ends early when `cancel` says so.
    pub(crate) async fn open_sandbox(
        &self,
        plan: Plan,
        cancel: &CancellationToken,
    ) -> Result<Sandbox, EngineError> {
        let inner = &self.inner;
        let Plan { container, place, mut endpoints, about, written } = plan;
        let Place::Namespace(path) = &place else {
            written.durable().await?;
            inner.tell_of("connect", &container.id);
            return Ok(Sandbox { place, reach: Reach::default(), written: Pending::nothing() });
        };
        let opened = inner.open(&container, path, &mut endpoints, &about, written, cancel).await;
        match opened {
            Ok(written) => {
                inner.tell_of("connect", &container.id);
                Ok(Sandbox { reach: self.reach(&container), place, written })
            }
            Err(error) => {
                inner.abandon(&container.id, path, cancel.is_cancelled()).await;
                Err(error)
            }
        }
    }

    /// Where the sandbox of a container is, if it has one of its own.
    pub(crate) fn namespace(&self, container: &str) -> PathBuf {
        namespace_path(&self.inner.namespaces, container)
    }

    /// What a running container's networks give it now.
    pub(crate) fn reach(&self, container: &Container) -> Reach {
        let working = self.inner.working(&container.id);
        let own = working.iter().filter(|(endpoint, _)| !endpoint.gateway_service);
        Reach {
            addresses: own.clone().flat_map(|(endpoint, _)| endpoint.addresses()).collect(),
            resolver: own.clone().any(|(endpoint, _)| !endpoint.dns_names.is_empty()),
            name_servers: own
                .filter(|(_, network)| !network.internal)
                .flat_map(|(endpoint, _)| endpoint.name_servers.clone())
                .collect(),
        }
    }

    /// Gives back a container's sandbox and all its endpoints. Drivers that do not answer are asked again in the
    /// background. One that has none is fine.
    pub(crate) async fn close_sandbox(&self, container: &str) {
        let inner = &self.inner;
        let path = namespace_path(&inner.namespaces, container);
        inner.tell_of("disconnect", container);
        inner.close(container, &path).await;
    }
}

impl Inner {
    /// Tells the world that a container came into its networks, or leaves them.
    fn tell_of(&self, action: &str, container: &str) {
        for (endpoint, network) in &self.working(container) {
            if !endpoint.gateway_service {
                self.publish(action, network, &[("container", container)]);
            }
        }
    }

    async fn open(
        self: &Arc<Self>,
        container: &Container,
        path: &Path,
        endpoints: &mut [EndpointRecord],
        about: &About,
        written: Pending,
        cancel: &CancellationToken,
    ) -> Result<Pending, EngineError> {
        let (made, written) = future::join(self.kernel.make(path), written.durable()).await;
        written?;
        made.map_err(|error| error.context("cannot make a network namespace"))?;
        if !about.sysctls.is_empty() {
            self.kernel.set(path, about.sysctls.clone()).await?;
        }
        failpoint!("engine.network.sandbox.after_make");
        for endpoint in endpoints.iter_mut() {
            self.bring_up(endpoint, path, about, cancel).await?;
        }
        self.lead_out(&container.id, path, about).await?;
        self.settle_way_out(&container.id, path, about, cancel).await?;
        self.serve_names(container, path).await?;
        failpoint!("engine.network.sandbox.after_open");
        let working = self.working(&container.id).into_iter().map(|(endpoint, _)| endpoint).collect();
        Ok(self.book.put_endpoints(working))
    }

    /// Brings one endpoint up, and shows what came of it.
    pub(super) async fn bring_up(
        self: &Arc<Self>,
        endpoint: &mut EndpointRecord,
        path: &Path,
        about: &About,
        cancel: &CancellationToken,
    ) -> Result<(), EngineError> {
        if endpoint.life.works() {
            // Of `none`, which holds nothing.
            return Ok(());
        }
        let raised = tokio::select! {
            biased;
            () = cancel.cancelled() => Err(cancelled()),
            raised = self.raise(endpoint, path, about) => raised,
        };
        if raised.is_err() && cancel.is_cancelled() {
            // A call may be going on still: all that comes after what is known may be held.
            endpoint.life = endpoint.life.in_doubt();
        }
        self.book.show_endpoint(endpoint.clone());
        raised
    }

    /// Answers names in a sandbox, if one of its networks has them.
    pub(super) async fn serve_names(
        self: &Arc<Self>,
        container: &Container,
        path: &Path,
    ) -> Result<(), EngineError> {
        let wanted = self.book.read().of_container(&container.id).any(|endpoint| {
            endpoint.life.works() && !endpoint.gateway_service && !endpoint.dns_names.is_empty()
        });
        if !wanted {
            return Ok(());
        }
        let place = ResolverPlace { container: container.id.clone(), namespace: path.to_owned() };
        let names = self.names_of(container);
        let opened = self.resolver.open(place, names).await;
        opened.map_err(|error| error.context("cannot answer names in the container's network"))
    }

    /// Undoes a start. After a cancelled one, drivers that may still be at it are asked in the background.
    async fn abandon(self: &Arc<Self>, container: &str, path: &Path, cancelled: bool) {
        if !cancelled {
            return self.close(container, path).await;
        }
        self.resolver.close(container).await;
        for endpoint in self.book.of_container(container) {
            if endpoint.life.leaving {
                continue;
            }
            let mut leaving = (*endpoint).clone();
            super::attach::note(&mut leaving, super::life::Event::Leave);
            self.owe(leaving).await;
        }
        self.remove_namespace(container, path).await;
    }

    async fn close(self: &Arc<Self>, container: &str, path: &Path) {
        self.resolver.close(container).await;
        let mut endpoints = self.book.of_container(container);
        endpoints.retain(|endpoint| !endpoint.life.leaving);
        // The engine's own way out goes last, as it came last.
        endpoints.sort_by_key(|endpoint| endpoint.gateway_service);
        let deadline = Instant::now() + self.budgets.end;
        for endpoint in endpoints {
            self.take_away_until(endpoint, Home::Ends(path), deadline).await;
        }
        failpoint!("engine.network.sandbox.before_remove");
        self.remove_namespace(container, path).await;
    }

    async fn remove_namespace(&self, container: &str, path: &Path) {
        if let Err(error) = self.kernel.remove(path).await {
            tracing::warn!(container, %error, "its network namespace stays for now");
        }
    }
}

fn cancelled() -> EngineError {
    EngineError::conflict("the start was cancelled: somebody stopped or removed the container")
}
