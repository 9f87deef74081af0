//! `GET /containers/{id}/attach/ws`: standard streams over a websocket, for browsers.
//!
//! As in Docker, what comes out is not told apart: both outputs are bytes of the same stream.

use std::{io, sync::Arc};

use futures_util::{SinkExt, StreamExt};
use pintle_engine::containers::AttachOptions;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, handshake::derive_accept_key, protocol::Role},
};

use crate::{
    app::App,
    hijack::{DetachKeys, detach::Watch},
    http::{Call, router::Outcome},
    status::Failure,
};

/// The largest message that is sent.
const PIECE: usize = 32 << 10;

pub(crate) async fn attach(app: Arc<App>, call: Call) -> Outcome {
    let key = call.header("sec-websocket-key");
    if key.is_empty() || !call.header("upgrade").eq_ignore_ascii_case("websocket") {
        return Err(Failure::invalid("not a websocket handshake"));
    }
    let accept = derive_accept_key(key.as_bytes());
    let keys = DetachKeys::parse(call.query.text("detachKeys"))?;
    let options = options(&call);
    // Since 1.28 messages are bytes; before that they were texts.
    let binary = call.since(28);
    let (name, offer) = (call.name, call.offer);
    let mut attached = app.containers().await.attach(&name, options).await?;
    let Some((answer, coming)) = offer.take_websocket(&accept) else {
        return Err(Failure::internal("the connection cannot be taken over"));
    };
    let draining = app.draining.clone();
    app.tasks.spawn(async move {
        let joined = async {
            let client = coming.connection().await.map_err(io::Error::other)?;
            let mut socket = WebSocketStream::from_raw_socket(client, Role::Server, None).await;
            let message = |bytes: &[u8]| match binary {
                true => Message::binary(bytes.to_vec()),
                false => Message::text(String::from_utf8_lossy(bytes).into_owned()),
            };
            if let Some(backlog) = attached.backlog.take() {
                let pieces = backlog.stream.map(|piece| piece.map_err(io::Error::other));
                let mut reader = tokio_util::io::StreamReader::new(pieces);
                let mut output = Output::new(attached.tty);
                while let Some(bytes) = output.next(&mut reader).await? {
                    socket.send(message(&bytes)).await.map_err(io::Error::other)?;
                }
            }
            let stream = match attached.connection {
                Some(connection) => connection.ready().await,
                None => None,
            };
            if let Some(stream) = stream {
                let (mut from_shim, mut to_shim) = tokio::io::split(stream);
                let (mut to_client, mut from_client) = socket.split();
                let mut output = Output::new(attached.tty);
                let input = async {
                    let mut watch = attached.tty.then(|| Watch::new(keys));
                    while let Some(Ok(message)) = from_client.next().await {
                        let bytes = match message {
                            Message::Binary(_) | Message::Text(_) => message.into_data(),
                            // A good-bye is answered by reading on.
                            _ => continue,
                        };
                        if options.stdin && pass(&bytes, watch.as_mut(), &mut to_shim).await? {
                            return io::Result::Ok(());
                        }
                    }
                    if options.stdin {
                        to_shim.shutdown().await?;
                    }
                    Ok(())
                };
                let send = async {
                    while let Some(bytes) = output.next(&mut from_shim).await? {
                        to_client.send(message(&bytes)).await.map_err(io::Error::other)?;
                    }
                    io::Result::Ok(())
                };
                tokio::select! {
                    done = input => done?,
                    done = send => done?,
                }
                socket = to_client.reunite(from_client).map_err(io::Error::other)?;
            }
            socket.close(None).await.map_err(io::Error::other)
        };
        tokio::select! {
            () = draining.cancelled() => {}
            done = joined => if let Err(error) = done {
                tracing::debug!(%error, "a client broke off");
            },
        }
    });
    Ok(answer)
}

fn options(call: &Call) -> AttachOptions {
    let query = &call.query;
    // Clients from before 1.42 get all three, whatever they say.
    let asked = |name: &str| !call.since(42) || query.truth(name);
    AttachOptions {
        logs: query.truth("logs"),
        stream: query.truth("stream"),
        stdin: asked("stdin"),
        stdout: asked("stdout"),
        stderr: asked("stderr"),
    }
}

/// Passes input on. True if the client typed the keys that end this.
async fn pass(
    bytes: &[u8],
    watch: Option<&mut Watch>,
    shim: &mut (impl AsyncWrite + Unpin),
) -> io::Result<bool> {
    let Some(watch) = watch else {
        shim.write_all(bytes).await?;
        shim.flush().await?;
        return Ok(false);
    };
    let mut passed = Vec::new();
    let detached = watch.pass(bytes, &mut passed);
    shim.write_all(&passed).await?;
    shim.flush().await?;
    Ok(detached)
}

/// Output without its frames.
struct Output {
    tty: bool,
    /// What is left of the frame.
    left: usize,
}

impl Output {
    fn new(tty: bool) -> Self {
        Self { tty, left: 0 }
    }

    /// The next bytes; none at the end.
    async fn next(&mut self, from: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Vec<u8>>> {
        while !self.tty && self.left == 0 {
            let mut head = [0; 8];
            match from.read_exact(&mut head).await {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
                Err(error) => return Err(error),
            }
            let [_, _, _, _, length @ ..] = head;
            self.left = u32::from_be_bytes(length) as usize;
        }
        let mut piece = vec![0; if self.tty { PIECE } else { self.left.min(PIECE) }];
        let count = from.read(&mut piece).await?;
        self.left = self.left.saturating_sub(count);
        piece.truncate(count);
        Ok((count > 0).then_some(piece))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn frames_are_taken_away() {
        let mut bytes: &[u8] =
            &[1, 0, 0, 0, 0, 0, 0, 2, b'a', b'b', 2, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 1, b'c'];
        let mut output = Output::new(false);
        let mut all = Vec::new();
        while let Some(piece) = output.next(&mut bytes).await.unwrap() {
            all.extend(piece);
        }
        assert_eq!(all, b"abc");
    }
}
