//! Byte streams to an engine.

use std::io;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::process::Command;

use super::{ClientError, Endpoint, tls};

/// A connect to a machine that does not answer gives up after this.
const CONNECT_LIMIT: Duration = Duration::from_secs(30);

/// A duplex byte stream.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

pub async fn connect(endpoint: &Endpoint) -> Result<Box<dyn Stream>, ClientError> {
    let failed = |source| ClientError::connect(endpoint, source);
    match tokio::time::timeout(CONNECT_LIMIT, open(endpoint)).await {
        Ok(result) => result.map_err(failed),
        Err(_) => Err(failed(io::Error::new(io::ErrorKind::TimedOut, "no answer within 30 s"))),
    }
}

async fn open(endpoint: &Endpoint) -> io::Result<Box<dyn Stream>> {
    Ok(match endpoint {
        Endpoint::Unix(path) => Box::new(UnixStream::connect(path).await?),
        Endpoint::Tcp(address, None) => Box::new(tcp(address).await?),
        Endpoint::Tcp(address, Some(files)) => {
            Box::new(tls::wrap(tcp(address).await?, address, files).await?)
        }
        Endpoint::Ssh(target) => Box::new(ssh(target)?),
    })
}

async fn tcp(address: &str) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// `ssh HOST docker system dial-stdio` joins its standard streams to the remote engine.
fn ssh(target: &str) -> io::Result<impl Stream + use<>> {
    let target = target.split('/').next().unwrap_or(target);
    let (host, port) = match target.rsplit_once(':') {
        Some((host, port)) if port.parse::<u16>().is_ok() => (host, Some(port)),
        _ => (target, None),
    };
    let mut command = Command::new("ssh");
    if let Some(port) = port {
        command.args(["-p", port]);
    }
    let mut child = command
        .args(["-o", "ConnectTimeout=30", "-T", "--", host, "docker", "system", "dial-stdio"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| io::Error::new(e.kind(), format!("cannot run ssh: {e}")))?;
    match (child.stdout.take(), child.stdin.take()) {
        (Some(out), Some(input)) => Ok(tokio::io::join(Held(out, child), input)),
        _ => Err(io::Error::other("ssh has no standard streams")),
    }
}

/// Keeps the ssh process for as long as its output is read.
struct Held(
    tokio::process::ChildStdout,
    #[expect(dead_code, reason = "killed on drop")] tokio::process::Child,
);

impl AsyncRead for Held {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
        buffer: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<io::Result<()>> {
        std::pin::Pin::new(&mut self.0).poll_read(context, buffer)
    }
}
