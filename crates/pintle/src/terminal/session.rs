//! One terminal, joined to one container or exec.

use std::io::Write;
use std::time::Duration;

use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};

use super::{DetachKeys, raw, signals, stdin};
use crate::client::{Client, ClientError, Frame, Frames};

/// What is at the other end.
#[derive(Debug, Clone)]
pub enum Target {
    /// A container, by id.
    Container(String),
    /// An exec, by id.
    Exec(String),
}

/// How to join.
pub struct Session<'a> {
    /// The engine.
    pub client: &'a Client,
    /// The other end.
    pub target: Target,
    /// The container has a terminal.
    pub tty: bool,
    /// Standard input is passed on.
    pub stdin: bool,
    /// Signals are passed on, if there is no terminal.
    pub proxy: bool,
    /// The keys that leave.
    pub keys: DetachKeys,
}

/// How a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The other end closed.
    Closed,
    /// The user left.
    Detached,
    /// This process was told to end, by this signal.
    Signalled(i32),
}

type Connection = TokioIo<Upgraded>;

impl Session<'_> {
    /// Runs until the other end closes or the user leaves. `ready` is awaited once everything is joined: it starts the
    /// process, so that none of its output is missed.
    pub async fn run(
        mut self,
        connection: Connection,
        ready: impl Future<Output = Result<(), ClientError>>,
    ) -> Result<Ended, ClientError> {
        let (reader, writer) = tokio::io::split(connection);
        let raw_mode =
            if self.tty && self.stdin && raw::is_terminal() { Some(raw::RawMode::enter()?) } else { None };
        let output = Box::pin(copy_output(reader, self.tty));
        ready.await?;
        let input = self.stdin.then(stdin::read);
        let keys = std::mem::take(&mut self.keys);
        let input = copy_input(input, writer, (self.tty && raw_mode.is_some()).then_some(keys));
        let ended = self.until_end(output, input, raw_mode.is_some()).await;
        drop(raw_mode);
        ended
    }

    async fn until_end(
        &self,
        output: impl Future<Output = Result<(), ClientError>> + Unpin,
        input: impl Future<Output = bool>,
        raw: bool,
    ) -> Result<Ended, ClientError> {
        let mut output = output;
        let mut input = std::pin::pin!(input);
        let mut typing = true;
        let mut passed = signals::arriving();
        let resize = async {
            if self.tty {
                self.follow_size().await;
            }
            std::future::pending::<()>().await;
        };
        let mut resize = std::pin::pin!(resize);
        loop {
            tokio::select! {
                result = &mut output => return result.map(|()| Ended::Closed),
                detached = &mut input, if typing => {
                    if detached {
                        return Ok(Ended::Detached);
                    }
                    typing = false;
                }
                () = &mut resize => {}
                Some((name, number)) = passed.recv() => match &self.target {
                    Target::Container(id) if self.proxy && !self.tty => {
                        // A container that is just ending has no use for it.
                        let _ = self.client.post(format!("/containers/{id}/kill")).query("signal", name).done().await;
                    }
                    _ if raw && number == 2 => {}
                    _ => return Ok(Ended::Signalled(number)),
                },
            }
        }
    }

    async fn follow_size(&self) {
        // The process may not exist yet.
        for attempt in 1..=10u64 {
            if self.send_size().await {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10 * attempt)).await;
        }
        if let Some(mut changes) = signals::window_changes() {
            while changes.recv().await.is_some() {
                self.send_size().await;
            }
        }
    }

    async fn send_size(&self) -> bool {
        let Some((height, width)) = raw::size() else { return true };
        let path = match &self.target {
            Target::Container(id) => format!("/containers/{id}/resize"),
            Target::Exec(id) => format!("/exec/{id}/resize"),
        };
        self.client.post(path).query("h", height).query("w", width).done().await.is_ok()
    }
}

/// Copies to the other end; true if the user typed the detach keys. The end of input is passed on as such.
async fn copy_input(
    input: Option<tokio::sync::mpsc::Receiver<Vec<u8>>>,
    mut writer: WriteHalf<Connection>,
    keys: Option<DetachKeys>,
) -> bool {
    let Some(mut input) = input else {
        // Dropping the writer would be an end of input, which some containers act on; keep it.
        std::future::pending::<()>().await;
        return false;
    };
    let mut keys = keys;
    while let Some(piece) = input.recv().await {
        let piece = match &mut keys {
            Some(keys) => match keys.filter(&piece) {
                Some(piece) => piece,
                None => return true,
            },
            None => piece,
        };
        if writer.write_all(&piece).await.is_err() || writer.flush().await.is_err() {
            return false;
        }
    }
    let _ = writer.shutdown().await;
    false
}

/// Copies from the other end to standard output and error.
pub async fn copy_output(mut reader: ReadHalf<Connection>, tty: bool) -> Result<(), ClientError> {
    let mut buffer = vec![0; 32 << 10];
    let mut frames = Frames::default();
    loop {
        let n = match reader.read(&mut buffer).await {
            Ok(0) => return Ok(()),
            // A container that ends while we write to it resets the connection; all output has arrived by then.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return Ok(()),
            result => result?,
        };
        let piece = buffer.get(..n).unwrap_or_default();
        if tty {
            write(&mut std::io::stdout(), piece)?;
            continue;
        }
        frames.push(piece);
        write_frames(&mut frames)?;
    }
}

/// Writes every whole frame to where it belongs.
pub fn write_frames(frames: &mut Frames) -> Result<(), ClientError> {
    while let Some(frame) = frames.next()? {
        match frame {
            Frame::Out(data) => write(&mut std::io::stdout(), &data)?,
            Frame::Err(data) => write(&mut std::io::stderr(), &data)?,
            Frame::System(data) => {
                return Err(ClientError::InStream(String::from_utf8_lossy(&data).into_owned()));
            }
        }
    }
    Ok(())
}

fn write(out: &mut impl Write, data: &[u8]) -> std::io::Result<()> {
    out.write_all(data)?;
    out.flush()
}
