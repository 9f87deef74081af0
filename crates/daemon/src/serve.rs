//! Accepting clients, and one request at a time on each connection.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, header};
use http_body_util::BodyExt;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use pintle_api::{ApiVersion, version::VersionError};
use tokio::task::JoinSet;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    app::App,
    authorization,
    hijack::{
        Offer,
        sniff::{Signals, Sniffed},
    },
    http::{Answer, Call, call::Head, query, reply, router, router::Router},
    listen::{Connection, Listener},
    peer::Peer,
    status::Failure,
};

/// How long a client may take to send a request's head.
const HEAD: Duration = Duration::from_secs(60);
/// How long a body that nobody wants is read on, so that its sender comes to read the answer.
const LINGER: Duration = Duration::from_secs(10);

/// Serves until the engine drains, then lets each connection finish the request that it is on.
pub(crate) async fn serve(app: Arc<App>, router: Arc<Router>, listener: Listener) {
    let mut clients = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = app.draining.cancelled() => break,
            Some(_) = clients.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok(accepted) => {
                let (app, router) = (Arc::clone(&app), Arc::clone(&router));
                clients.spawn(async move {
                    match accepted.connection().await {
                        Ok((connection, peer)) => connection_loop(app, router, connection, peer).await,
                        Err(error) => tracing::debug!(%error, "a client could not shake hands"),
                    }
                });
            }
            Err(error) => {
                // Mostly: no file descriptors left. Waiting is all that helps.
                tracing::warn!(%error, "a client could not be accepted on {}", listener.address);
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    drop(listener);
    while clients.join_next().await.is_some() {}
}

/// One client, for as long as it speaks HTTP. The error is the client's own affair.
pub(crate) async fn connection_loop(app: Arc<App>, router: Arc<Router>, connection: Connection, peer: Peer) {
    let peer = Arc::new(peer);
    let (sniffed, signals) = Sniffed::new(connection);
    let draining = app.draining.clone();
    let service = service_fn(move |request| {
        let (app, router, signals) = (Arc::clone(&app), Arc::clone(&router), Arc::clone(&signals));
        let peer = Arc::clone(&peer);
        async move { Ok::<_, Infallible>(answer(app, router, signals, peer, request).await) }
    });
    let http = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .serve_connection(TokioIo::new(sniffed), service)
        .with_upgrades();
    let mut http = std::pin::pin!(http);
    let done = tokio::select! {
        done = http.as_mut() => done,
        () = draining.cancelled() => {
            http.as_mut().graceful_shutdown();
            http.await
        }
    };
    if let Err(error) = done {
        tracing::trace!(%error, "a connection broke off");
    }
}

async fn answer(
    app: Arc<App>,
    router: Arc<Router>,
    signals: Arc<Signals>,
    peer: Arc<Peer>,
    mut request: Request<Incoming>,
) -> Answer {
    let upgrade = request.headers().contains_key(header::UPGRADE).then(|| hyper::upgrade::on(&mut request));
    let taken_over = upgrade.is_some();
    let offer = Offer::new(upgrade, Arc::clone(&signals));
    let request = request.map(|body| {
        if taken_over {
            return body.map_err(std::io::Error::other).boxed_unsync();
        }
        // The connection learns where the next request may begin.
        let watched = Watched { body, signals };
        Lingering {
            body: Some(watched),
            runtime: tokio::runtime::Handle::current(),
            tasks: app.tasks.clone(),
            draining: app.draining.clone(),
        }
        .boxed_unsync()
    });
    let (parts, body) = request.into_parts();
    let path = query::decode(parts.uri.path(), false);
    if let Some(clean) = router::clean(&path) {
        return signed(reply::moved(&clean, parts.uri.query()));
    }
    let head = Head { method: parts.method, uri: parts.uri, headers: parts.headers, peer };
    let head = Arc::new(head);
    let result = dispatch(app, &router, &head, &path, |version, name| {
        Call::new(version, name, Arc::clone(&head), offer, body)
    })
    .await;
    signed(settled(&head, result))
}

/// The answer, or the refusal that a failure becomes.
pub(crate) fn settled(head: &Head, result: Result<Answer, Failure>) -> Answer {
    result.unwrap_or_else(|failure| {
        let (method, path, status) = (&head.method, head.uri.path(), failure.status.as_u16());
        if failure.status.is_server_error() {
            tracing::error!(%method, path, status, "{}", failure.message);
        } else {
            tracing::debug!(%method, path, status, "{}", failure.message);
        }
        reply::failure(&failure)
    })
}

async fn dispatch(
    app: Arc<App>,
    router: &Router,
    head: &Head,
    path: &str,
    call: impl FnOnce(ApiVersion, String) -> Call,
) -> Result<Answer, Failure> {
    if head.method == Method::OPTIONS {
        return Ok(reply::empty(StatusCode::OK));
    }
    let (version, path) = ApiVersion::of_path(path);
    let version = version.unwrap_or(pintle_api::version::MAX);
    let Some((route, name)) = router.find(&head.method, path) else {
        return Err(Failure::not_found("page not found"));
    };
    let version = match version.served(app.config.load().min_api_version) {
        Err(error @ VersionError::TooOld(..)) => return Ok(reply::too_old(&error.into())),
        served => served?,
    };
    let begun = Instant::now();
    let work = authorization::carry_out(Arc::clone(&app), route.clone(), call(version, name));
    let result = if matches!(head.method, Method::GET | Method::HEAD) {
        work.await
    } else {
        // What changes something goes on to its end, even if the client goes away.
        let done = app.tasks.spawn(work).await;
        done.unwrap_or_else(|error| Err(Failure::internal(format!("the request was broken off: {error}"))))
    };
    let status = result.as_ref().map_or_else(|failure| failure.status, Answer::status);
    app.metrics.observe(&head.method, &route.pattern(), status, begun.elapsed());
    result
}

/// The headers that every answer has.
pub(crate) fn signed(mut answer: Answer) -> Answer {
    const SERVER: &str = concat!("pintle/", env!("CARGO_PKG_VERSION"), " (linux)");
    let headers = answer.headers_mut();
    let mut set =
        |name: &'static str, value: &'static str| headers.insert(name, HeaderValue::from_static(value));
    set("api-version", "1.51");
    set("docker-experimental", "false");
    set("ostype", "linux");
    set("server", SERVER);
    answer
}

type Frame = Result<http_body::Frame<Bytes>, std::io::Error>;

/// A body that tells when it is over.
struct Watched {
    body: Incoming,
    signals: Arc<Signals>,
}

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Frame>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if frame.is_none() || self.body.is_end_stream() {
            self.signals.request_is_over();
        }
        Poll::Ready(frame.map(|frame| frame.map_err(std::io::Error::other)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Watched {
    /// A body that nobody had to read, as there was nothing in it.
    fn drop(&mut self) {
        if http_body::Body::is_end_stream(self) {
            self.signals.request_is_over();
        }
    }
}

/// A body that is read to its end even if its handler answers without it: a client that is still writing would
/// otherwise see a broken pipe in place of the answer.
struct Lingering {
    /// `None` only while this is dropped.
    body: Option<Watched>,
    /// It may be dropped by a thread that has none.
    runtime: tokio::runtime::Handle,
    tasks: TaskTracker,
    draining: CancellationToken,
}

impl http_body::Body for Lingering {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Frame>> {
        match &mut self.body {
            Some(body) => Pin::new(body).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(http_body::Body::is_end_stream)
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.as_ref().map(http_body::Body::size_hint).unwrap_or_default()
    }
}

impl Drop for Lingering {
    fn drop(&mut self) {
        let Some(mut body) = self.body.take().filter(|body| !http_body::Body::is_end_stream(body)) else {
            return;
        };
        let draining = self.draining.clone();
        self.tasks.spawn_on(
            async move {
                let read = async { while let Some(Ok(_)) = body.frame().await {} };
                tokio::select! {
                    () = draining.cancelled() => {}
                    _ = tokio::time::timeout(LINGER, read) => {}
                }
            },
            &self.runtime,
        );
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_header_is_the_newest_version() {
        assert_eq!(pintle_api::version::MAX.to_string(), "1.51");
    }
}
