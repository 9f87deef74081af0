//! The thread that serves all sandboxes. It makes sockets in their namespaces, which no thread may do that makes
//! sockets for anybody else.

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    thread::{self, JoinHandle},
};

use tokio::{
    net::{TcpListener, UdpSocket},
    sync::{mpsc, oneshot},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use super::{
    ADDRESS, Ports,
    budget::{Budget, Key},
    forward::Places,
    namespace::Namespace,
    serve::{Context, serve},
    view::View,
};
use crate::networks::ResolverPlace;

/// Questions to others that may be under way at one time.
const PLACES: usize = 1024;
/// Where a resolver listens if nothing is in the way: above the ports that the kernel gives out by itself.
const USUAL: u16 = 61_053;

/// A sandbox to serve.
pub(super) struct Order {
    pub(super) place: ResolverPlace,
    pub(super) view: Arc<dyn View>,
    pub(super) cancel: CancellationToken,
    /// Dropped when the sockets are closed.
    pub(super) open: oneshot::Sender<()>,
    /// Told the ports.
    pub(super) ready: oneshot::Sender<io::Result<Ports>>,
}

/// The thread. It ends with this, and everything that it serves ends first.
pub(super) struct Worker {
    orders: Option<mpsc::UnboundedSender<Order>>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    /// Starts the thread.
    pub(super) fn start() -> io::Result<Self> {
        let (sender, orders) = mpsc::unbounded_channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let thread = thread::Builder::new().name("pintle-dns".to_owned());
        let thread = thread.spawn(move || runtime.block_on(run(orders)))?;
        Ok(Self { orders: Some(sender), thread: Some(thread) })
    }

    /// Whether the thread takes orders.
    pub(super) fn is_alive(&self) -> bool {
        self.orders.as_ref().is_some_and(|orders| !orders.is_closed())
    }

    /// Gives it an order.
    pub(super) fn send(&self, order: Order) -> io::Result<()> {
        let sent = self.orders.as_ref().map(|orders| orders.send(order));
        sent.and_then(Result::ok).ok_or_else(|| io::Error::other("it ended"))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn run(mut orders: mpsc::UnboundedReceiver<Order>) {
    let host = match Namespace::here() {
        Ok(host) => Arc::new(host),
        Err(error) => {
            tracing::error!(%error, "the resolver does not know its own namespace");
            return;
        }
    };
    let budget = Budget::new(PLACES);
    let mut servers = JoinSet::new();
    let mut key: Key = 0;
    loop {
        let order = tokio::select! {
            order = orders.recv() => order,
            Some(_) = servers.join_next() => continue,
        };
        let Some(order) = order else { return };
        key += 1;
        let opened = Namespace::open(&order.place.namespace)
            .and_then(|sandbox| Ok((listen(&sandbox, &host)?, sandbox)));
        let ((datagrams, connections, ports), sandbox) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                let _ = order.ready.send(Err(error));
                continue;
            }
        };
        let context = Context {
            id: order.place.container,
            view: order.view,
            places: Places { host: Arc::clone(&host), sandbox },
            budget: Arc::clone(&budget),
            key,
        };
        let open = order.open;
        servers.spawn(async move {
            serve(context, datagrams, connections, order.cancel).await;
            drop(open);
        });
        let _ = order.ready.send(Ok(ports));
    }
}

/// Listens on the usual ports, or any.
fn listen(sandbox: &Namespace, host: &Namespace) -> io::Result<(UdpSocket, TcpListener, Ports)> {
    let (datagrams, connections) = sandbox.within(host, || {
        let datagrams = usual_or_any(std::net::UdpSocket::bind)?;
        Ok((datagrams, usual_or_any(std::net::TcpListener::bind)?))
    })?;
    datagrams.set_nonblocking(true)?;
    connections.set_nonblocking(true)?;
    let ports = Ports { udp: datagrams.local_addr()?.port(), tcp: connections.local_addr()?.port() };
    Ok((UdpSocket::from_std(datagrams)?, TcpListener::from_std(connections)?, ports))
}

fn usual_or_any<T>(bind: impl Fn(SocketAddr) -> io::Result<T>) -> io::Result<T> {
    let at = |port| SocketAddr::from((ADDRESS, port));
    match bind(at(USUAL)) {
        // Somebody in the container took it while nobody was here.
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => bind(at(0)),
        bound => bound,
    }
}
