use std::sync::Arc;

use http::{Response, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use hyper::{
    ext::ReasonPhrase,
    upgrade::{OnUpgrade, Upgraded},
};
use hyper_util::rt::TokioIo;

use super::sniff::Signals;
use crate::http::Answer;

/// Raw bytes: a terminal, or frames for clients that know no other name for them.
pub(crate) const RAW: &str = "application/vnd.docker.raw-stream";
/// Frames of an eight-byte header and payload.
pub(crate) const MULTIPLEXED: &str = "application/vnd.docker.multiplexed-stream";

/// The chance to take the connection over.
#[derive(Default)]
pub(crate) struct Offer {
    upgrade: Option<OnUpgrade>,
    signals: Option<Arc<Signals>>,
}

impl Offer {
    pub(crate) fn new(upgrade: Option<OnUpgrade>, signals: Arc<Signals>) -> Self {
        Self { upgrade, signals: Some(signals) }
    }

    /// Whether the connection can be taken over.
    pub(crate) fn stands(&self) -> bool {
        self.upgrade.is_some()
    }

    /// Whether the client did not ask for it in so many words.
    pub(crate) fn was_added(&self) -> bool {
        self.signals.as_ref().is_some_and(|signals| signals.was_added())
    }

    /// Takes it: the answer to give back, and the connection once that was sent.
    pub(crate) fn take(self, content_type: &'static str) -> Option<(Answer, Coming)> {
        let asked = !self.was_added();
        let upgrade = self.upgrade?;
        let mut answer = Response::new(Empty::new().map_err(|never| match never {}).boxed_unsync());
        *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        answer.extensions_mut().insert(ReasonPhrase::from_static(b"UPGRADED"));
        let headers = answer.headers_mut();
        if asked {
            headers.insert(header::CONNECTION, header::HeaderValue::from_static("Upgrade"));
            headers.insert(header::UPGRADE, header::HeaderValue::from_static("tcp"));
            headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
        } else {
            headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(RAW));
        }
        Some((answer, Coming(upgrade)))
    }
}

impl Offer {
    /// Takes it as a websocket, with the key that answers the client's.
    pub(crate) fn take_websocket(self, accept: &str) -> Option<(Answer, Coming)> {
        let upgrade = self.upgrade?;
        let mut answer = Response::new(Empty::new().map_err(|never| match never {}).boxed_unsync());
        *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = answer.headers_mut();
        headers.insert(header::CONNECTION, header::HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, header::HeaderValue::from_static("websocket"));
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, header::HeaderValue::from_str(accept).ok()?);
        Some((answer, Coming(upgrade)))
    }
}

/// A connection that is being given away.
pub(crate) struct Coming(OnUpgrade);

impl Coming {
    /// The connection, with whatever the client sent early.
    pub(crate) async fn connection(self) -> Result<TokioIo<Upgraded>, hyper::Error> {
        self.0.await.map(TokioIo::new)
    }
}
