//! The driver `journald`: the journal's native protocol, one datagram for each line, in a sealed memory file if it is too
//! large for one.

use std::{
    collections::BTreeMap,
    io::{IoSlice, Write},
    mem::MaybeUninit,
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
};

use chrono::{DateTime, SecondsFormat, Utc};
use pintle_contract::{
    DriverError, LogDriver, LogEntry, LogStream,
    log::{LogInfo, Source},
};
use rustix::{
    fs::{MemfdFlags, SealFlags},
    io::Errno,
    net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags},
};
use tokio::{io::Interest, net::UnixDatagram};

use super::{
    connection::unavailable,
    identity,
    options::{ATTRIBUTES, Options},
    window::Window,
};

/// `journald-socket` is ours: the socket of a journal namespace.
const OWN: &[&str] = &["tag", "journald-socket"];
const SOCKET: &str = "/run/systemd/journal/socket";

/// Writes lines to the journal of this host.
#[derive(Debug, Clone, Copy, Default)]
pub struct Journald;

#[async_trait::async_trait]
impl LogDriver for Journald {
    fn check(&self, options: &BTreeMap<String, String>) -> Result<(), DriverError> {
        let options = Options::new("journald", options, &[OWN, ATTRIBUTES])?;
        identity::check(&options)?;
        let path = options.text("journald-socket").unwrap_or(SOCKET);
        if !std::fs::exists(path).unwrap_or_default() {
            return Err(DriverError::invalid(format!(
                "journald is not enabled on this host: there is no {path:.200}"
            )));
        }
        Ok(())
    }

    async fn start(&self, info: LogInfo) -> Result<Box<dyn LogStream>, DriverError> {
        let options = Options::new("journald", &info.options, &[OWN, ATTRIBUTES])?;
        let path = PathBuf::from(options.text("journald-socket").unwrap_or(SOCKET));
        let tag = identity::tag(&options, &info, identity::DEFAULT)?;
        let socket = UnixDatagram::unbound()?;
        socket.connect(&path).map_err(|error| unavailable(&path.display(), &error))?;
        let mut constant = Vec::new();
        field(&mut constant, "CONTAINER_ID", identity::short(&info.id).as_bytes());
        field(&mut constant, "CONTAINER_ID_FULL", info.id.as_bytes());
        field(&mut constant, "CONTAINER_NAME", identity::name(&info).as_bytes());
        field(&mut constant, "CONTAINER_TAG", tag.as_bytes());
        field(&mut constant, "IMAGE_NAME", info.image_name.as_bytes());
        field(&mut constant, "SYSLOG_IDENTIFIER", tag.as_bytes());
        for (key, value) in identity::attributes(&options, &info)? {
            field(&mut constant, &name(&key), value.as_bytes());
        }
        Ok(Box::new(Stream { socket, path, constant, window: Window::default() }))
    }
}

/// The journal's field names: capital letters, digits, and underscores that are not the first.
fn name(key: &str) -> String {
    let upper = key.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' });
    let name: String = upper.collect();
    name.trim_start_matches(|c: char| c == '_' || c.is_ascii_digit()).to_owned()
}

fn field(out: &mut Vec<u8>, key: &str, value: &[u8]) {
    if key.is_empty() {
        return;
    }
    out.extend_from_slice(key.as_bytes());
    if value.contains(&b'\n') {
        out.push(b'\n');
        out.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        out.push(b'=');
    }
    out.extend_from_slice(value);
    out.push(b'\n');
}

struct Stream {
    socket: UnixDatagram,
    path: PathBuf,
    constant: Vec<u8>,
    window: Window,
}

impl Stream {
    fn datagram(&self, entry: &LogEntry) -> Vec<u8> {
        let mut out = self.constant.clone();
        field(&mut out, "MESSAGE", &entry.line);
        field(&mut out, "PRIORITY", if entry.source == Source::Stderr { b"3" } else { b"6" });
        let time: DateTime<Utc> = DateTime::from_timestamp_nanos(entry.time);
        let time = time.to_rfc3339_opts(SecondsFormat::Nanos, true);
        field(&mut out, "SYSLOG_TIMESTAMP", time.as_bytes());
        if let Some(piece) = &entry.piece {
            // As in Docker, the last piece is not marked as partial.
            if !piece.last {
                field(&mut out, "CONTAINER_PARTIAL_MESSAGE", b"true");
            }
            field(&mut out, "CONTAINER_PARTIAL_ID", piece.id.as_bytes());
            field(&mut out, "CONTAINER_PARTIAL_ORDINAL", piece.ordinal.to_string().as_bytes());
            field(&mut out, "CONTAINER_PARTIAL_LAST", piece.last.to_string().as_bytes());
        }
        for (key, value) in &entry.attributes {
            field(&mut out, &name(key), value.as_bytes());
        }
        out
    }

    async fn one(&self, bytes: &[u8]) -> Result<(), DriverError> {
        match self.socket.send(bytes).await {
            Ok(_) => Ok(()),
            Err(error)
                if [Errno::MSGSIZE, Errno::NOBUFS]
                    .iter()
                    .any(|large| error.raw_os_error() == Some(large.raw_os_error())) =>
            {
                self.large(bytes).await
            }
            Err(error) => Err(unavailable(&self.path.display(), &error)),
        }
    }

    /// The journal reads a sealed memory file that it is handed.
    async fn large(&self, bytes: &[u8]) -> Result<(), DriverError> {
        let file = memory(bytes)?;
        let sent = self.socket.async_io(Interest::WRITABLE, || {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            let files = [file.as_fd()];
            control.push(SendAncillaryMessage::ScmRights(&files));
            let sent =
                rustix::net::sendmsg(&self.socket, &[IoSlice::new(&[])], &mut control, SendFlags::empty());
            sent.map(drop).map_err(std::io::Error::from)
        });
        sent.await.map_err(|error| unavailable(&self.path.display(), &error))
    }

    fn left(&self) -> Result<usize, DriverError> {
        Ok(pintle_runtime::socket::unsent(&self.socket)?)
    }
}

fn memory(bytes: &[u8]) -> std::io::Result<OwnedFd> {
    let file = rustix::fs::memfd_create("pintle-log", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut file = std::fs::File::from(file);
    file.write_all(bytes)?;
    rustix::fs::fcntl_add_seals(
        &file,
        SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL,
    )?;
    Ok(file.into())
}

#[async_trait::async_trait]
impl LogStream for Stream {
    async fn send(&mut self, batch: &[LogEntry]) -> Result<u64, DriverError> {
        // Docker's driver says nothing of empty lines.
        for entry in batch.iter().filter(|entry| !entry.line.is_empty()) {
            self.one(&self.datagram(entry)).await?;
        }
        self.window.sent(batch.len());
        Ok(if self.left()? == 0 { self.window.settled() } else { self.window.so_far() })
    }

    async fn stop(&mut self) -> Result<(), DriverError> {
        // The journal may be away for a moment: its socket is systemd's, and keeps what is in it.
        while self.left()? > 0 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_the_journals() {
        let mut out = Vec::new();
        field(&mut out, &name("_com.example/team"), b"a\nb");
        field(&mut out, "K", b"v");
        assert_eq!(out, b"COM_EXAMPLE_TEAM\n\x03\0\0\0\0\0\0\0a\nb\nK=v\n");
    }
}
