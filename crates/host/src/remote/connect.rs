//! Streams to plugins.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    path::Path,
};

use pintle_wire::spec::Address;
use rustix::{
    fs::{Mode, OFlags},
    net::RecvFlags,
};
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
};

use super::tls;

/// Any stream to a plugin.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Connects once. The handle is for looking at the stream from aside, see [`is_quiet`].
pub(super) async fn connect(address: &Address) -> io::Result<(Box<dyn Stream>, OwnedFd)> {
    match address {
        Address::Unix(path) => {
            let stream = unix(path).await?;
            let handle = stream.as_fd().try_clone_to_owned()?;
            Ok((Box::new(stream), handle))
        }
        Address::Tcp(host) => {
            let stream = tcp(host, 80).await?;
            let handle = stream.as_fd().try_clone_to_owned()?;
            Ok((Box::new(stream), handle))
        }
        Address::Tls(host, config) => {
            let connector = tls::connector(config).map_err(io::Error::other)?;
            let stream = tcp(host, 443).await?;
            let handle = stream.as_fd().try_clone_to_owned()?;
            let name = ServerName::try_from(host_name(host).to_owned()).map_err(io::Error::other)?;
            Ok((Box::new(connector.connect(name, stream).await?), handle))
        }
    }
}

/// Whether the other end of an idle stream has neither hung up nor said something that nobody asked for. Asked
/// just before a stream is used again, since the task that drives it may not have noticed yet.
pub(super) fn is_quiet(handle: &OwnedFd) -> bool {
    let mut byte = [0; 1];
    let looked = rustix::net::recv(handle, &mut byte[..], RecvFlags::PEEK | RecvFlags::DONTWAIT);
    matches!(looked, Err(rustix::io::Errno::AGAIN))
}

/// The longest path that fits into a socket address, its final NUL included.
const SUN_PATH: usize = 108;

async fn unix(path: &Path) -> io::Result<UnixStream> {
    if path.as_os_str().len() < SUN_PATH {
        return UnixStream::connect(path).await;
    }
    // A deep data root must not make plugins unreachable: name the socket by its opened directory.
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    };
    let dir = rustix::fs::open(dir, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let short = Path::new("/proc/self/fd").join(dir.as_raw_fd().to_string()).join(name);
    UnixStream::connect(short).await
}

async fn tcp(host: &str, default_port: u16) -> io::Result<TcpStream> {
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let stream = if has_port {
        TcpStream::connect(host).await?
    } else {
        TcpStream::connect((host_name(host), default_port)).await?
    };
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn host_name(host: &str) -> &str {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.parse::<u16>().is_ok() => name,
        _ => host,
    };
    name.trim_start_matches('[').trim_end_matches(']')
}

/// Whether another try at once or soon may succeed: nobody is listening, yet.
pub(super) fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_far_down_is_reached() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("d".repeat(120));
        std::fs::create_dir(&deep).unwrap();
        let handle = rustix::fs::open(&deep, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap();
        let short = Path::new("/proc/self/fd").join(handle.as_raw_fd().to_string()).join("s");
        let _listener = std::os::unix::net::UnixListener::bind(short).unwrap();
        unix(&deep.join("s")).await.unwrap();
        assert!(is_absent(&unix(&deep.join("none")).await.unwrap_err()));
    }

    #[test]
    fn a_host_loses_its_port_and_brackets() {
        for (host, name) in [
            ("a:1", "a"),
            ("a", "a"),
            ("[::1]:80", "::1"),
            ("127.0.0.1:65535", "127.0.0.1"),
            ("[::1]", "::1"),
        ] {
            assert_eq!(host_name(host), name, "{host}");
        }
    }
}
