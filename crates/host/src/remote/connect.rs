//! Streams to plugins.

use std::io;

use pintle_wire::spec::Address;
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
};

use super::tls;

/// Any stream to a plugin.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Connects once.
pub(super) async fn connect(address: &Address) -> io::Result<Box<dyn Stream>> {
    match address {
        Address::Unix(path) => Ok(Box::new(UnixStream::connect(path).await?)),
        Address::Tcp(host) => Ok(Box::new(tcp(host, 80).await?)),
        Address::Tls(host, config) => {
            let connector = tls::connector(config).map_err(io::Error::other)?;
            let stream = tcp(host, 443).await?;
            let name = ServerName::try_from(host_name(host).to_owned()).map_err(io::Error::other)?;
            Ok(Box::new(connector.connect(name, stream).await?))
        }
    }
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

    #[test]
    fn a_host_loses_its_port_and_brackets() {
        for (host, name) in
            [("a:1", "a"), ("a", "a"), ("[::1]:80", "::1"), ("127.0.0.1:65535", "127.0.0.1"), ("[::1]", "::1")]
        {
            assert_eq!(host_name(host), name, "{host}");
        }
    }
}
