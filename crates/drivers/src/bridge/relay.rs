//! Carries what reaches a published port's own socket: what address translation cannot do, such as `[::1]`, IPv6
//! clients of a container that has IPv4 only, or a host on which nothing may be translated.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use pintle_netlink::Namespace;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpSocket, TcpStream, UdpSocket},
    runtime::Handle,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use super::ports::Held;

/// How long an exchange of datagrams may be silent; as long as Docker's.
const SILENCE: Duration = Duration::from_secs(90);
/// How many such exchanges there may be for one port; the oldest ends where a new one begins.
const EXCHANGES: usize = 1024;
/// How long a container may take to answer a connection attempt.
const PATIENCE: Duration = Duration::from_secs(10);

/// Serves `held` until the task is ended: whatever comes goes to `target`, from a socket in `host`.
pub(super) fn start(
    tasks: &mut JoinSet<()>,
    runtime: &Handle,
    host: &Namespace,
    held: Held,
    target: SocketAddr,
) {
    let host = host.clone();
    match held {
        Held::Tcp(listener) => {
            tasks.spawn_on(
                async move {
                    // Of what could fail here nothing can but want of memory; the port stays reserved.
                    if let Ok(listener) = TcpListener::from_std(listener) {
                        streams(&listener, &host, target).await;
                    }
                },
                runtime,
            );
        }
        Held::Udp(socket) => {
            tasks.spawn_on(
                async move {
                    if let Ok(socket) = UdpSocket::from_std(socket) {
                        datagrams(Arc::new(socket), &host, target).await;
                    }
                },
                runtime,
            );
        }
        other @ Held::Other { .. } => {
            tasks.spawn_on(
                async move {
                    let _held = other;
                    std::future::pending::<()>().await;
                },
                runtime,
            );
        }
    }
}

async fn streams(listener: &TcpListener, host: &Namespace, target: SocketAddr) {
    let mut open = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((client, _)) => {
                    let host = host.clone();
                    open.spawn(async move {
                        // A container that does not answer is told to the client by the end of the connection.
                        let _ = stream(client, &host, target).await;
                    });
                }
                // Out of descriptors: some will be closed.
                Err(_) => sleep(Duration::from_millis(100)).await,
            },
            Some(_) = open.join_next(), if !open.is_empty() => {}
        }
    }
}

async fn stream(mut client: TcpStream, host: &Namespace, target: SocketAddr) -> io::Result<()> {
    let socket = host.run(|| if target.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() });
    let socket = socket.map_err(io::Error::other)??;
    let mut server = timeout(PATIENCE, socket.connect(target)).await??;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}

struct Exchange {
    socket: Arc<UdpSocket>,
    heard: Instant,
    answers: tokio::task::AbortHandle,
}

async fn datagrams(socket: Arc<UdpSocket>, host: &Namespace, target: SocketAddr) {
    let mut exchanges: HashMap<SocketAddr, Exchange> = HashMap::new();
    let mut tasks = JoinSet::new();
    let mut packet = vec![0; 65_536];
    loop {
        let received = tokio::select! {
            received = socket.recv_from(&mut packet) => received,
            Some(ended) = tasks.join_next(), if !tasks.is_empty() => {
                if let Ok(client) = ended {
                    exchanges.remove(&client);
                }
                continue;
            }
        };
        // Errors here are what an earlier answer met on its way.
        let Ok((length, client)) = received else { continue };
        let known = exchanges.get_mut(&client).map(|exchange| {
            exchange.heard = Instant::now();
            Arc::clone(&exchange.socket)
        });
        let upstream = match known {
            Some(upstream) => upstream,
            None => {
                let Ok(upstream) = connected(host, target).await else { continue };
                if exchanges.len() >= EXCHANGES
                    && let Some(oldest) =
                        exchanges.iter().min_by_key(|(_, exchange)| exchange.heard).map(|(client, _)| *client)
                    && let Some(ended) = exchanges.remove(&oldest)
                {
                    ended.answers.abort();
                }
                let upstream = Arc::new(upstream);
                let answers = tasks.spawn(answers(Arc::clone(&upstream), Arc::clone(&socket), client));
                let exchange = Exchange { socket: Arc::clone(&upstream), heard: Instant::now(), answers };
                exchanges.insert(client, exchange);
                upstream
            }
        };
        let _ = upstream.send(packet.get(..length).unwrap_or_default()).await;
    }
}

async fn connected(host: &Namespace, target: SocketAddr) -> io::Result<UdpSocket> {
    let any: IpAddr =
        if target.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = host.run(|| std::net::UdpSocket::bind((any, 0))).map_err(io::Error::other)??;
    socket.set_nonblocking(true)?;
    let socket = UdpSocket::from_std(socket)?;
    socket.connect(target).await?;
    Ok(socket)
}

/// Takes answers back to the client until there has been none for a while.
async fn answers(upstream: Arc<UdpSocket>, socket: Arc<UdpSocket>, client: SocketAddr) -> SocketAddr {
    let mut packet = vec![0; 65_536];
    loop {
        match timeout(SILENCE, upstream.recv(&mut packet)).await {
            Err(_) => return client,
            Ok(Ok(length)) => {
                let _ = socket.send_to(packet.get(..length).unwrap_or_default(), client).await;
            }
            // Nobody listened in the container when something came; somebody may by now.
            Ok(Err(_)) => {}
        }
    }
}
