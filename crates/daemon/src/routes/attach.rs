//! Attach and exec: connections that become a process's standard streams.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::StatusCode;
use pintle_api::exec::ExecStart;
use pintle_engine::{
    EngineError, ErrorKind,
    containers::{self, AttachOptions, Connection, Logs},
};
use tokio::io::{AsyncWrite, AsyncWriteExt};

use crate::{
    app::App,
    convert,
    hijack::{
        DetachKeys, Offer,
        offer::{MULTIPLEXED, RAW},
        splice::{Joint, splice},
    },
    http::{Call, reply, router::Outcome},
    status::Failure,
};

/// What clients are told that the bytes are.
pub(crate) fn content_type(call: &Call, tty: bool) -> &'static str {
    if !tty && call.since(42) { MULTIPLEXED } else { RAW }
}

pub(crate) async fn attach(app: Arc<App>, call: Call) -> Outcome {
    let query = &call.query;
    let keys = DetachKeys::parse(query.text("detachKeys"))?;
    let options = AttachOptions {
        logs: query.truth("logs"),
        stream: query.truth("stream"),
        stdin: query.truth("stdin"),
        stdout: query.truth("stdout"),
        stderr: query.truth("stderr"),
    };
    let containers = app.containers().await;
    let attached = containers.attach(&call.name, options).await?;
    let source = Source {
        backlog: attached.backlog,
        connection: attached.connection,
        settled: Some(Box::pin(containers.run_ended(&call.name))),
        ..Source::default()
    };
    let joint = Joint { stdin: options.stdin, detach: attached.tty.then_some(keys) };
    let content_type = content_type(&call, attached.tty);
    hand_over(&app, call.offer, content_type, source, joint)
}

pub(crate) async fn exec(app: Arc<App>, mut call: Call) -> Outcome {
    let request: ExecStart = call.json()?;
    let containers = app.containers().await;
    let exec = containers.exec_inspect(&call.name)?;
    let keys = DetachKeys::parse(exec.spec.detach_keys.as_deref().unwrap_or(""))?;
    let start = containers::ExecStart {
        detach: request.detach,
        console_size: request.console_size.and_then(convert::spec::console_size),
    };
    let started = match containers.exec_start(&call.name, start).await {
        Ok(started) => started,
        // A command that cannot be run is told where its output would be; its exit code says the rest.
        Err(error) if !request.detach && told_in_stream(&error) => {
            let content_type = content_type(&call, exec.spec.tty);
            let text = error_frame(&error.message, exec.spec.tty);
            let source = Source { text: Some(text), ..Source::default() };
            return hand_over(&app, call.offer, content_type, source, Joint::default());
        }
        Err(error) => return Err(error.into()),
    };
    let Some(stream) = started.stream else { return Ok(reply::empty(StatusCode::OK)) };
    let source = Source {
        connection: Some(Connection::Ready(stream)),
        settled: Some(Box::pin(containers.exec_ended(&call.name))),
        ..Source::default()
    };
    let joint = Joint { stdin: exec.spec.stdin, detach: started.tty.then_some(keys) };
    let content_type = content_type(&call, started.tty);
    hand_over(&app, call.offer, content_type, source, joint)
}

fn told_in_stream(error: &EngineError) -> bool {
    !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Conflict | ErrorKind::Unavailable)
}

fn error_frame(message: &str, tty: bool) -> Bytes {
    let text = format!("{message}\r\n");
    if tty {
        return text.into();
    }
    let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
    let mut frame = vec![1, 0, 0, 0];
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(text.as_bytes());
    frame.into()
}

/// How long the end of a stream is kept from a client for what it will ask next.
const SETTLE: Duration = Duration::from_secs(2);

/// What the client gets to see, in this order.
#[derive(Default)]
struct Source {
    backlog: Option<Logs>,
    text: Option<Bytes>,
    connection: Option<Connection>,
    /// What must be known before the client sees the end of its stream: it asks for the exit code at once.
    settled: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Source {
    /// What is waited for between the end of the output and the end of the stream.
    fn settle(&mut self) -> impl Future<Output = ()> + Send + 'static {
        let settled = self.settled.take();
        async move {
            if let Some(settled) = settled {
                let _ = tokio::time::timeout(SETTLE, settled).await;
            }
        }
    }

    async fn write_first(&mut self, out: &mut (impl AsyncWrite + Unpin)) -> std::io::Result<()> {
        if let Some(mut backlog) = self.backlog.take() {
            while let Some(piece) = backlog.stream.next().await {
                out.write_all(&piece.map_err(std::io::Error::other)?).await?;
            }
        }
        if let Some(text) = self.text.take() {
            out.write_all(&text).await?;
        }
        out.flush().await
    }
}

fn hand_over(
    app: &Arc<App>,
    offer: Offer,
    content_type: &'static str,
    source: Source,
    joint: Joint,
) -> Outcome {
    if !offer.stands() {
        return Ok(output_only(source, content_type));
    }
    let Some((answer, coming)) = offer.take(content_type) else {
        return Err(Failure::internal("the connection cannot be taken over"));
    };
    let draining = app.draining.clone();
    app.tasks.spawn(async move {
        let joined = async {
            let mut client = coming.connection().await.map_err(std::io::Error::other)?;
            let mut source = source;
            source.write_first(&mut client).await?;
            let settled = source.settle();
            match source.connection {
                None => client.shutdown().await,
                Some(connection) => match connection.ready().await {
                    None => client.shutdown().await,
                    Some(shim) => splice(client, shim, joint, settled)
                        .await
                        .map(|end| tracing::debug!(?end, "a client left")),
                },
            }
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

/// For clients whose connection cannot be taken over: what there is to see, without input.
fn output_only(mut source: Source, content_type: &'static str) -> crate::http::Answer {
    let settled = source.settle();
    let text = stream::iter(source.text.map(Ok));
    let backlog = source.backlog.map(|logs| logs.stream.map(|piece| piece.map_err(std::io::Error::other)));
    let backlog = stream::iter(backlog).flatten();
    let live = stream::once(async move {
        let connection = match source.connection {
            Some(connection) => connection.ready().await,
            None => None,
        };
        stream::iter(connection.map(tokio_util::io::ReaderStream::new)).flatten()
    })
    .flatten();
    let end = stream::once(settled).filter_map(|()| std::future::ready(None));
    reply::stream(content_type, backlog.chain(text).chain(live).chain(end))
}
