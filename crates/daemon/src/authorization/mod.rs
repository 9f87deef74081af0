//! Requests under judgement: what is judged is what is carried out, and what is answered.
//!
//! ```text
//! head ─► target ─► body, whole, parsed once ─► the chain ─► handler ─► answer, held ─► the chain ─► client
//! ```
//!
//! The handler gets the very value that was parsed from the bytes that the chain was shown. What can be read in two
//! ways is refused before anybody is asked: a key that comes twice or in another case, something after the JSON value,
//! a path that is spelled otherwise than its route ([`target`]).
//!
//! What cannot be shown is declared by its kind and length: archives, connections that are taken over, the body of a
//! login, answers that have no end. For these the verdict comes before their first byte.
//!
//! | module | job |
//! |---|---|
//! | [`target`] | the one way to spell a request's target |
//! | [`view`] | a request and an answer, as authorizers are shown them |
//! | [`recovery`] | the way in for the host's root while nobody can be asked |

pub(crate) mod recovery;
mod target;
mod view;

use std::sync::Arc;

use http::{Response, StatusCode, header};
use http_body::Body as _;
use http_body_util::BodyExt;
use pintle_api::decode::Reading;
use pintle_contract::authorization::{self as contract, Body};
use pintle_engine::authorization::{Chain, Refusal};

use crate::{
    app::App,
    audit::Decision,
    http::{
        Answer, Call,
        call::{self, MAX_JSON, Sent},
        input::{Input, is_json},
        reply,
        router::{Outcome, Route},
    },
    serve::{settled, signed},
    status::Failure,
};

/// Carries out a request, if whoever must be asked allows it, and writes both down where there is a trail.
pub(crate) async fn carry_out(app: Arc<App>, route: Route, mut call: Call) -> Outcome {
    let chain = match app.authorization.frozen() {
        Some(_) if call.head.peer.recovers => {
            recovery::record(&call.head);
            None
        }
        chain => chain,
    };
    let mut entry = app
        .audit
        .as_ref()
        .filter(|audit| audit.wants(&call.head.method, &route))
        .map(|audit| (Arc::clone(audit), audit.begin(&route, &call)));
    if chain.is_none() && entry.is_none() {
        call.receive(route.input).await?;
        return route.call(app, call).await;
    }
    let judged = judge(chain.as_ref(), &route, &mut call).await;
    if let Some((audit, entry)) = &mut entry {
        let asked = chain.as_ref().map(Chain::names).unwrap_or_default();
        let (body, decision) = match &judged {
            Ok(request) => (&request.body, Decision::Allowed),
            Err(No::Refused(request, refusal)) => (&request.body, Decision::Refused(refusal)),
            Err(No::Invalid(failure)) => (&Body::Empty, Decision::Invalid(&failure.message)),
        };
        audit.decided(entry, asked, body, decision).await?;
    }
    let request = judged?;
    let head = Arc::clone(&call.head);
    let done = route.call(app, call).await;
    let result = match &chain {
        None => done.map_err(No::Invalid),
        Some(chain) => release(chain, request, signed(settled(&head, done)), route.is_secret).await,
    };
    if let Some((audit, entry)) = &entry {
        let refused = match &result {
            Err(No::Refused(_, refusal)) => Some(refusal),
            _ => None,
        };
        audit.answered(entry, result.as_ref().map_or_else(No::status, Answer::status), refused);
    }
    Ok(result?)
}

/// Why a request is not carried out, or its answer not sent.
enum No {
    /// Whoever was asked refused this.
    Refused(Box<contract::Request>, Refusal),
    /// It cannot be, whoever is asked.
    Invalid(Failure),
}

impl No {
    fn status(&self) -> StatusCode {
        match self {
            Self::Refused(_, refusal) => Failure::from(refusal.clone()).status,
            Self::Invalid(failure) => failure.status,
        }
    }
}

impl From<Failure> for No {
    fn from(failure: Failure) -> Self {
        Self::Invalid(failure)
    }
}

impl From<No> for Failure {
    fn from(no: No) -> Self {
        match no {
            No::Refused(_, refusal) => refusal.into(),
            No::Invalid(failure) => failure,
        }
    }
}

/// Reads the request, and asks the chain if there is one.
async fn judge(chain: Option<&Chain>, route: &Route, call: &mut Call) -> Result<contract::Request, No> {
    let Some(chain) = chain else {
        // Understood as leniently as where nothing is written down.
        let body = receive(route, call, Reading::Lenient).await?;
        return Ok(contract::Request { body, ..contract::Request::default() });
    };
    target::check(call, route)?;
    let body = receive(route, call, Reading::Exact).await?;
    let request = view::request(call, body);
    match chain.request(&request).await {
        Ok(()) => Ok(request),
        Err(refusal) => Err(No::Refused(Box::new(request), refusal)),
    }
}

/// The body as it is shown. If the route wants JSON it was parsed from these bytes.
async fn receive(route: &Route, call: &mut Call, reading: Reading) -> Result<Body, Failure> {
    let media_type = call.header(header::CONTENT_TYPE.as_str()).to_owned();
    let (is_there, length) = call.announced();
    let is_read = match route.input {
        Input::Json(_) => true,
        // Nobody will use it; it is shown since Docker shows it.
        Input::Ignored => is_there && is_json(&media_type),
        Input::Stream => false,
    };
    if !is_read {
        let is_taken_over = matches!(route.input, Input::Stream) && call.offer.stands();
        return Ok(match is_taken_over {
            true => Body::Withheld { media_type, length: None },
            false if is_there => Body::Withheld { media_type, length },
            false => Body::Empty,
        });
    }
    let sent = match call.read().await? {
        Sent::Whole(sent) => sent,
        Sent::TooLong if matches!(reading, Reading::Lenient) => return Err(call::too_long()),
        Sent::TooLong => {
            return Err(Failure::internal(format!(
                "request body too large for authorization plugin: size exceeds {MAX_JSON} bytes"
            )));
        }
    };
    call.parse(route.input, &sent, reading)?;
    Ok(match sent.len() {
        0 => Body::Empty,
        length if route.is_secret => Body::Withheld { media_type, length: Some(length as u64) },
        _ => Body::Shown(sent.into()),
    })
}

/// Holds an answer until its verdict.
async fn release(
    chain: &Chain,
    request: contract::Request,
    answer: Answer,
    is_secret: bool,
) -> Result<Answer, No> {
    let (parts, body) = answer.into_parts();
    let media_type = view::header(&parts.headers, header::CONTENT_TYPE).to_owned();
    let length = body.size_hint().exact();
    // What is of a known length is made already. What is not may be an answer without an end, or one that the client
    // follows while it is made.
    let is_shown = length.is_some_and(|length| length > 0) && is_json(&media_type) && !is_secret;
    let (body, held) = if is_shown {
        let bytes = body.collect().await.map_err(Failure::from)?.to_bytes();
        (Body::Shown(bytes.into()), None)
    } else if length == Some(0) && parts.status != StatusCode::SWITCHING_PROTOCOLS {
        (Body::Empty, Some(body))
    } else {
        (Body::Withheld { media_type, length: length.filter(|length| *length > 0) }, Some(body))
    };
    let shown =
        contract::Answer { status: parts.status.as_u16(), headers: view::headers(&parts.headers), body };
    if let Err(refusal) = chain.answer(&request, &shown).await {
        return Err(No::Refused(Box::new(request), refusal));
    }
    let body = match (held, shown.body) {
        (Some(body), _) => body,
        (None, Body::Shown(bytes)) => reply::full(bytes),
        (None, _) => reply::full(Vec::new()),
    };
    Ok(Response::from_parts(parts, body))
}
