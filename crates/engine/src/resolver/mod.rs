//! The name server of containers, on 127.0.0.11 in each sandbox that is on a network with names.
//!
//! One thread serves all sandboxes. Its sockets are in their namespaces; questions about containers are answered
//! from memory, at once, and all others go to the servers of the container or of the host, within a patience of
//! four seconds and a number of places that no sandbox can use up alone. Port 53 itself stays free for the
//! container: see `redirect`.
//!
//! The engine may end and come back: the sockets take the ports that they had, and the redirect is put in place
//! anew.

mod answer;
mod budget;
mod forward;
mod namespace;
mod question;
mod redirect;
mod serve;
mod upstream;
mod view;
mod worker;

use std::{
    collections::HashMap,
    net::Ipv4Addr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::{
    EngineError,
    networks::{Names, Resolver, ResolverPlace},
};
use view::View;
use worker::{Order, Worker};

/// Where containers find the resolver.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);

/// The ports on which a sandbox's resolver listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ports {
    /// For datagrams.
    udp: u16,
    /// For streams.
    tcp: u16,
}

/// The name servers of all sandboxes.
#[derive(Default)]
pub struct EmbeddedDns {
    worker: Mutex<Option<Worker>>,
    serving: Mutex<HashMap<String, Serving>>,
}

struct Serving {
    cancel: CancellationToken,
    /// Resolves, to an error, when the sockets are closed.
    closed: oneshot::Receiver<()>,
}

impl EmbeddedDns {
    /// No sandbox yet, and no thread.
    pub fn new() -> Self {
        Self::default()
    }

    async fn serve(&self, place: ResolverPlace, view: Arc<dyn View>) -> Result<Ports, EngineError> {
        let failed = |what: &str, error: &dyn std::fmt::Display| {
            EngineError::internal(format!("the resolver of container {} {what}: {error}", place.container))
        };
        self.close(&place.container).await;
        let cancel = CancellationToken::new();
        let (open, closed) = oneshot::channel();
        let (ready, bound) = oneshot::channel();
        let order = Order { place: place.clone(), view, cancel: cancel.clone(), open, ready };
        self.send(order).map_err(|error| failed("has no thread", &error))?;
        let ports = bound
            .await
            .map_err(|_| failed("has no thread", &"it ended"))?
            .map_err(|error| failed("cannot listen", &error))?;
        self.serving().insert(place.container.clone(), Serving { cancel, closed });
        if let Err(error) = redirect::install(place.namespace.clone(), ports).await {
            self.close(&place.container).await;
            return Err(failed("cannot be reached", &error));
        }
        Ok(ports)
    }

    fn serving(&self) -> MutexGuard<'_, HashMap<String, Serving>> {
        self.serving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives an order to the thread, which is started if there is none.
    fn send(&self, order: Order) -> std::io::Result<()> {
        let mut worker = self.worker.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *worker {
            Some(worker) if worker.is_alive() => worker.send(order),
            _ => worker.insert(Worker::start()?).send(order),
        }
    }
}

#[async_trait]
impl Resolver for EmbeddedDns {
    async fn open(&self, place: ResolverPlace, names: Names) -> Result<(), EngineError> {
        self.serve(place, Arc::new(names)).await.map(drop)
    }

    /// When this is over, nothing of the resolver is left in the namespace.
    async fn close(&self, container: &str) {
        let serving = self.serving().remove(container);
        if let Some(serving) = serving {
            serving.cancel.cancel();
            let _ = serving.closed.await;
        }
    }
}

#[cfg(test)]
mod tests;
