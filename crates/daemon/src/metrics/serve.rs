//! `/metrics` on sockets of its own: whoever reaches these needs no leave.

use std::{convert::Infallible, os::unix::fs::DirBuilderExt, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
    task::JoinSet,
};

use super::{CONTENT_TYPE, page};
use crate::{app::App, config::Config, listen};

/// How long a client may take to ask.
const HEAD: Duration = Duration::from_secs(10);
/// Clients at a time, on both sockets together.
const MOST: usize = 64;

/// Sockets that wait for clients.
pub(crate) struct Sockets {
    plugins: UnixListener,
    others: Option<TcpListener>,
}

/// Opens the sockets of the configuration.
pub(crate) async fn open(config: &Config) -> Result<Sockets, String> {
    let dir = config.exec_root.join("metrics");
    let failed = |error: std::io::Error| format!("listening on {}: {error}", dir.display());
    std::fs::DirBuilder::new().recursive(true).mode(0o710).create(&dir).map_err(failed)?;
    let plugins = listen::bind_unix(&dir.join("metrics.sock"), listen::Access::Root).await.map_err(failed)?;
    let others = match &config.metrics_addr {
        None => None,
        Some(address) => {
            let failed = |error| format!("listening on {address} (metrics-addr): {error}");
            let socket = TcpListener::bind(address).await.map_err(failed)?;
            let bound = socket.local_addr().map_err(failed)?;
            tracing::info!("metrics are at http://{bound}/metrics");
            Some(socket)
        }
    };
    Ok(Sockets { plugins, others })
}

/// Serves until the engine drains.
pub(crate) async fn serve(app: Arc<App>, sockets: Sockets) {
    let mut clients = JoinSet::new();
    loop {
        let tcp = async {
            match &sockets.others {
                Some(socket) => socket.accept().await.map(|(stream, _)| stream),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = app.draining.cancelled() => break,
            Some(_) = clients.join_next() => {}
            accepted = sockets.plugins.accept(), if clients.len() < MOST => match accepted {
                Ok((stream, _)) => drop(clients.spawn(client(Arc::clone(&app), stream))),
                Err(error) => pause(&error).await,
            },
            accepted = tcp, if clients.len() < MOST => match accepted {
                Ok(stream) => drop(clients.spawn(client(Arc::clone(&app), stream))),
                Err(error) => pause(&error).await,
            },
        }
    }
}

async fn pause(error: &std::io::Error) {
    tracing::warn!(%error, "a client of the metrics could not be accepted");
    tokio::time::sleep(Duration::from_millis(100)).await;
}

async fn client(app: Arc<App>, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
    let service = service_fn(move |request: Request<Incoming>| {
        let app = Arc::clone(&app);
        async move { Ok::<_, Infallible>(answer(&app, &request).await) }
    });
    let http = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = http.await {
        tracing::trace!(%error, "a client of the metrics broke off");
    }
}

async fn answer(app: &App, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let (status, content_type, text) = match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/metrics") => match page(app).await {
            Ok(text) => (StatusCode::OK, CONTENT_TYPE, text),
            Err(failure) => (failure.status, "text/plain; charset=utf-8", failure.message),
        },
        _ => (StatusCode::NOT_FOUND, "text/plain; charset=utf-8", "404 page not found\n".to_owned()),
    };
    let mut answer = Response::new(Full::new(Bytes::from(text)));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
    answer
}
