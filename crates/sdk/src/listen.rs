//! Where a plugin listens, and leaving no trace of it.

use std::{
    fs, io,
    net::SocketAddr,
    os::{
        fd::AsFd,
        unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt},
        unix::net::UnixStream,
    },
    path::{Path, PathBuf},
};

use listenfd::ListenFd;
use tokio::net::{TcpListener, UnixListener, UnixSocket};

use crate::server::{Address, ServeError};

/// Where engines look for plugin sockets.
pub const SOCKET_DIR: &str = "/run/docker/plugins";

/// Where engines look for the addresses of plugins that listen elsewhere.
pub const SPEC_DIR: &str = "/etc/docker/plugins";

/// How many connections may wait to be accepted.
const BACKLOG: u32 = 128;

/// Where to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen(Kind);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Auto(PathBuf),
    Unix(PathBuf),
    Tcp { name: String, address: SocketAddr, spec_dir: PathBuf },
    Activated,
}

impl Listen {
    /// On the socket that systemd passed, or else as [`Listen::unix`].
    pub fn auto(name_or_path: impl AsRef<Path>) -> Self {
        Self(Kind::Auto(socket_path(name_or_path.as_ref())))
    }

    /// On a unix socket, by its path; a bare name means `/run/docker/plugins/NAME.sock`.
    ///
    /// Only the socket's owner may connect (0600). A socket that nobody answers is replaced, one that
    /// somebody answers is left alone. It is removed when the server stops.
    pub fn unix(name_or_path: impl AsRef<Path>) -> Self {
        Self(Kind::Unix(socket_path(name_or_path.as_ref())))
    }

    /// On a TCP port, with `/etc/docker/plugins/NAME.spec` telling engines of it while the server runs.
    ///
    /// Whoever reaches the port commands the plugin: listen on loopback.
    pub fn tcp(name: impl Into<String>, address: SocketAddr) -> Self {
        Self(Kind::Tcp { name: name.into(), address, spec_dir: PathBuf::from(SPEC_DIR) })
    }

    /// The same with another directory for the spec file.
    #[must_use]
    pub fn spec_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        if let Kind::Tcp { spec_dir, .. } = &mut self.0 {
            *spec_dir = dir.into();
        }
        self
    }

    /// On the first socket that systemd passed (`LISTEN_FDS`), unix or TCP.
    pub fn activated() -> Self {
        Self(Kind::Activated)
    }

    pub(crate) fn bind(self) -> Result<Bound, ServeError> {
        match self.0 {
            Kind::Auto(path) => match activated()? {
                Some(bound) => Ok(bound),
                None => bind_unix(path),
            },
            Kind::Unix(path) => bind_unix(path),
            Kind::Tcp { name, address, spec_dir } => bind_tcp(&name, address, &spec_dir),
            Kind::Activated => activated()?.ok_or(ServeError::NotActivated),
        }
    }
}

fn socket_path(given: &Path) -> PathBuf {
    let bare = given.components().count() == 1 && given.is_relative();
    match given.to_str() {
        Some(name) if bare => Path::new(SOCKET_DIR).join(format!("{}.sock", name.trim_end_matches(".sock"))),
        _ => given.to_owned(),
    }
}

/// A listener and what it left on disk.
pub(crate) struct Bound {
    pub listener: Listener,
    pub address: Address,
    pub file: Option<OwnFile>,
}

pub(crate) enum Listener {
    Unix(UnixListener),
    Tcp(TcpListener),
}

/// A file that goes when its server goes, if it is still the same file.
pub(crate) struct OwnFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl OwnFile {
    fn new(path: PathBuf) -> io::Result<Self> {
        let metadata = fs::symlink_metadata(&path)?;
        Ok(Self { path, identity: (metadata.dev(), metadata.ino()) })
    }
}

impl Drop for OwnFile {
    fn drop(&mut self) {
        let now = fs::symlink_metadata(&self.path).map(|metadata| (metadata.dev(), metadata.ino()));
        if now.is_ok_and(|now| now == self.identity) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn bind_unix(path: PathBuf) -> Result<Bound, ServeError> {
    let fail = |error| ServeError::Bind { address: path.display().to_string(), error };
    if let Some(parent) = path.parent() {
        // Engines of other users may look into the well-known directory, though not connect.
        let mode = if parent == Path::new(SOCKET_DIR) { 0o755 } else { 0o700 };
        fs::DirBuilder::new().recursive(true).mode(mode).create(parent).map_err(fail)?;
    }
    remove_stale(&path).map_err(fail)?;
    let socket = UnixSocket::new_stream().map_err(fail)?;
    // The kernel gives the file the socket's own mode, so it is never open to others, whatever the umask.
    let handle = fs::File::from(socket.as_fd().try_clone_to_owned().map_err(fail)?);
    handle.set_permissions(fs::Permissions::from_mode(0o600)).map_err(fail)?;
    socket.bind(&path).map_err(fail)?;
    let file = OwnFile::new(path.clone()).map_err(fail)?;
    let listener = Listener::Unix(socket.listen(BACKLOG).map_err(fail)?);
    Ok(Bound { listener, address: Address::Unix(path), file: Some(file) })
}

fn remove_stale(path: &Path) -> io::Result<()> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !metadata.file_type().is_socket() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is a file that is not a socket"));
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(io::Error::new(io::ErrorKind::AddrInUse, "another plugin answers there")),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) => Err(error),
    }
}

fn bind_tcp(name: &str, address: SocketAddr, spec_dir: &Path) -> Result<Bound, ServeError> {
    let fail = |error| ServeError::Bind { address: address.to_string(), error };
    if name.is_empty() || name.contains('/') || name.starts_with('.') {
        return Err(fail(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{name:?} is no plugin's name"),
        )));
    }
    let listener = std::net::TcpListener::bind(address).map_err(fail)?;
    listener.set_nonblocking(true).map_err(fail)?;
    let bound = listener.local_addr().map_err(fail)?;
    let listener = Listener::Tcp(TcpListener::from_std(listener).map_err(fail)?);

    let path = spec_dir.join(format!("{name}.spec"));
    let fail = |error| ServeError::Spec { path: path.clone(), error };
    fs::create_dir_all(spec_dir).map_err(fail)?;
    let draft = spec_dir.join(format!(".{name}.spec.{}", std::process::id()));
    fs::write(&draft, format!("tcp://{bound}\n")).map_err(fail)?;
    let file = fs::rename(&draft, &path).and_then(|()| OwnFile::new(path.clone())).map_err(fail)?;
    Ok(Bound { listener, address: Address::Tcp(bound), file: Some(file) })
}

fn activated() -> Result<Option<Bound>, ServeError> {
    let fail = |error| ServeError::Bind { address: "the socket that systemd passed".to_owned(), error };
    let mut passed = ListenFd::from_env();
    if passed.len() == 0 {
        return Ok(None);
    }
    if let Ok(Some(listener)) = passed.take_unix_listener(0) {
        listener.set_nonblocking(true).map_err(fail)?;
        let path = listener.local_addr().ok().and_then(|address| address.as_pathname().map(Path::to_owned));
        let listener = Listener::Unix(UnixListener::from_std(listener).map_err(fail)?);
        return Ok(Some(Bound { listener, address: Address::Unix(path.unwrap_or_default()), file: None }));
    }
    match passed.take_tcp_listener(0).map_err(fail)? {
        None => Ok(None),
        Some(listener) => {
            listener.set_nonblocking(true).map_err(fail)?;
            let address = Address::Tcp(listener.local_addr().map_err(fail)?);
            let listener = Listener::Tcp(TcpListener::from_std(listener).map_err(fail)?);
            Ok(Some(Bound { listener, address, file: None }))
        }
    }
}
