//! Sockets that the API is served on.

use std::{
    io,
    os::unix::fs::{FileTypeExt, PermissionsExt},
    path::{Path, PathBuf},
    pin::Pin,
    time::Duration,
};

use listenfd::ListenFd;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
};
use tokio_rustls::TlsAcceptor;

use crate::{
    authorization::recovery,
    config::{Address, Config},
    peer::Peer,
};

/// A client's connection.
pub(crate) trait Io: AsyncRead + AsyncWrite + Send {}
impl<T: AsyncRead + AsyncWrite + Send> Io for T {}
pub(crate) type Connection = Pin<Box<dyn Io>>;

/// How long a client may take to shake hands.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// One socket.
pub(crate) struct Listener {
    socket: Socket,
    tls: Option<TlsAcceptor>,
    /// The file to remove in the end, where this made it.
    path: Option<PathBuf>,
    /// Whether it is the one for recovery.
    recovers: bool,
    pub(crate) address: String,
}

enum Socket {
    Unix(UnixListener),
    Tcp(TcpListener),
}

/// What was accepted: for TLS the handshake is still to come.
pub(crate) struct Accepted {
    connection: Connection,
    tls: Option<TlsAcceptor>,
    peer: Peer,
}

impl Accepted {
    /// The connection that HTTP is spoken on, and with whom.
    pub(crate) async fn connection(self) -> io::Result<(Connection, Peer)> {
        if self.peer.recovers {
            recovery::admit(&self.peer).map_err(|why| {
                tracing::warn!("a client was turned away from the recovery socket: {why}");
                io::Error::new(io::ErrorKind::PermissionDenied, why)
            })?;
        }
        match self.tls {
            None => Ok((self.connection, self.peer)),
            Some(acceptor) => match tokio::time::timeout(HANDSHAKE, acceptor.accept(self.connection)).await {
                Ok(stream) => {
                    let stream = stream?;
                    let shown = stream.get_ref().1.peer_certificates().unwrap_or_default();
                    let peer = Peer { address: self.peer.address, ..Peer::of_certificates(shown) };
                    Ok((Box::pin(stream), peer))
                }
                Err(_) => Err(io::ErrorKind::TimedOut.into()),
            },
        }
    }
}

/// Opens every socket of the configuration. Clients may connect from then on, and wait.
pub(crate) async fn open(config: &Config) -> Result<Vec<Listener>, String> {
    let acceptor = config.tls.as_ref().map(crate::tls::acceptor).transpose()?;
    let mut passed = ListenFd::from_env();
    let mut listeners = Vec::new();
    for address in &config.hosts {
        let failed = |error: io::Error| format!("listening on {address}: {error}");
        match address {
            Address::Unix(path) => {
                let group = config.group.as_deref();
                let socket = bind_unix(path, Access::Group(group)).await.map_err(failed)?;
                listeners.push(Listener {
                    socket: Socket::Unix(socket),
                    tls: None,
                    path: Some(path.clone()),
                    recovers: false,
                    address: address.to_string(),
                });
            }
            Address::Tcp(at) => {
                let socket = TcpListener::bind(at).await.map_err(failed)?;
                let bound = socket.local_addr().map_err(failed)?;
                if acceptor.is_none() {
                    open_to_all(&address.to_string());
                }
                let address = format!("tcp://{bound}");
                listeners.push(Listener {
                    socket: Socket::Tcp(socket),
                    tls: acceptor.clone(),
                    path: None,
                    recovers: false,
                    address,
                });
            }
            Address::Fd(which) => {
                listeners.extend(take_passed(&mut passed, *which, acceptor.as_ref()).map_err(failed)?);
            }
        }
    }
    if let Some(path) = &config.authorization_recovery_socket {
        let address = format!("unix://{}", path.display());
        let socket = bind_unix(path, Access::Root)
            .await
            .map_err(|error| format!("listening on {address} (authorization-recovery-socket): {error}"))?;
        listeners.push(Listener {
            socket: Socket::Unix(socket),
            tls: None,
            path: Some(path.clone()),
            recovers: true,
            address,
        });
    }
    Ok(listeners)
}

fn open_to_all(address: &str) {
    tracing::warn!(
        "{address} is open to whoever reaches it, without encryption, and whoever reaches it is root on this host: \
         use --tlsverify"
    );
}

/// Sockets that the service manager opened. Those that others can reach speak TLS like all of that kind.
fn take_passed(
    passed: &mut ListenFd,
    which: Option<u32>,
    acceptor: Option<&TlsAcceptor>,
) -> io::Result<Vec<Listener>> {
    let none = || {
        io::Error::new(io::ErrorKind::NotFound, "systemd passed no such socket (is pintle.socket enabled?)")
    };
    let all: Vec<usize> = match which {
        None => (0..passed.len()).collect(),
        Some(number) => {
            vec![(number as usize).checked_sub(3).filter(|at| *at < passed.len()).ok_or_else(none)?]
        }
    };
    let mut listeners = Vec::new();
    for at in all {
        let socket = match passed.take_unix_listener(at) {
            Ok(Some(socket)) => {
                socket.set_nonblocking(true)?;
                Socket::Unix(UnixListener::from_std(socket)?)
            }
            _ => {
                let socket = passed.take_tcp_listener(at)?.ok_or_else(none)?;
                socket.set_nonblocking(true)?;
                Socket::Tcp(TcpListener::from_std(socket)?)
            }
        };
        let tls = acceptor.filter(|_| matches!(socket, Socket::Tcp(_))).cloned();
        let address = format!("fd://{}", at + 3);
        if matches!(socket, Socket::Tcp(_)) && tls.is_none() {
            open_to_all(&address);
        }
        listeners.push(Listener { socket, tls, path: None, recovers: false, address });
    }
    if listeners.is_empty() { Err(none()) } else { Ok(listeners) }
}

/// Who may connect to a unix socket.
pub(crate) enum Access<'a> {
    /// Root and this group; `docker` if none is named and there is such a group.
    Group(Option<&'a str>),
    Root,
}

pub(crate) async fn bind_unix(path: &Path, access: Access<'_>) -> io::Result<UnixListener> {
    if let Some(dir) = path.parent() {
        tokio::fs::create_dir_all(dir).await?;
    }
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => {
            if tokio::net::UnixStream::connect(path).await.is_ok() {
                return Err(io::Error::new(io::ErrorKind::AddrInUse, "another engine answers there"));
            }
            std::fs::remove_file(path)?;
        }
        Ok(_) => {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "something that is no socket is there"));
        }
        Err(_) => {}
    }
    // Bound under another name first, so that nobody can connect before owner and mode are right.
    let hidden = path.with_extension(format!("{}.new", std::process::id()));
    let _ = std::fs::remove_file(&hidden);
    let socket = UnixListener::bind(&hidden)?;
    let gid = match access {
        Access::Root => None,
        Access::Group(Some(name)) => Some(
            group_id(name)
                .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("group {name} not found")))?,
        ),
        Access::Group(None) => group_id("docker"),
    };
    std::fs::set_permissions(
        &hidden,
        std::fs::Permissions::from_mode(if gid.is_some() { 0o660 } else { 0o600 }),
    )?;
    if let Some(gid) = gid {
        std::os::unix::fs::chown(&hidden, None, Some(gid))?;
    }
    std::fs::rename(&hidden, path)?;
    Ok(socket)
}

/// A group by name or number.
fn group_id(name: &str) -> Option<u32> {
    let groups = std::fs::read_to_string("/etc/group").unwrap_or_default();
    let by_name = groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok())?
    });
    by_name.or_else(|| name.parse().ok())
}

impl Listener {
    /// The next client.
    pub(crate) async fn accept(&self) -> io::Result<Accepted> {
        let mut peer = Peer { recovers: self.recovers, ..Peer::default() };
        let connection: Connection = match &self.socket {
            Socket::Unix(socket) => {
                let stream = socket.accept().await?.0;
                peer.process = stream.peer_cred().ok().map(Into::into);
                Box::pin(stream)
            }
            Socket::Tcp(socket) => {
                let (stream, address) = socket.accept().await?;
                peer.address = Some(address);
                stream.set_nodelay(true)?;
                Box::pin(stream)
            }
        };
        Ok(Accepted { connection, tls: self.tls.clone(), peer })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            // Nobody is left to tell.
            let _ = std::fs::remove_file(path);
        }
    }
}
