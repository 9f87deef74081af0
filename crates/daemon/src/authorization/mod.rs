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
//! An authorizer that may ([`pintle_engine::authorization::Configured`]) puts another body in the place of the one it was shown. That
//! is parsed like the client's, and everybody is asked again, from the first: what is carried out is what all of them allowed.
//!
//! | module | job |
//! |---|---|
//! | [`target`] | the one way to spell a request's target |
//! | [`view`] | a request and an answer, as authorizers are shown them |
//! | [`context`] | what the engine knows about a request beyond Docker's fields |
//! | [`recovery`] | the way in for the host's root while nobody can be asked |

mod context;
pub(crate) mod recovery;
mod target;
mod view;

use std::sync::Arc;

use http::{Response, StatusCode, header};
use http_body::Body as _;
use http_body_util::BodyExt;
use pintle_api::decode::Reading;
use pintle_contract::authorization::{self as contract, Body};
use pintle_engine::authorization::{Chain, Change, Refusal};

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
    identity::Client,
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
    let audit = app.audit.as_ref().filter(|audit| audit.wants(&call.head.method, &route));
    if chain.is_none() && audit.is_none() && !app.identity.decides() {
        // Nobody wants to know who asks.
        call.receive(route.input).await?;
        return route.call(app, call).await;
    }
    let client = app.identity.of(&call.head).await;
    let mut entry = audit.map(|audit| (Arc::clone(audit), audit.begin(&route, &call, client.as_ref().ok())));
    let client = match client {
        Ok(client) => client,
        Err(failure) => {
            if let Some((audit, entry)) = &mut entry {
                audit.decided(entry, &[], &Judged::default(), Decision::Invalid(&failure.message)).await?;
                audit.answered(entry, failure.status, None, &[]);
            }
            return Ok(reply::challenge(&failure));
        }
    };
    if chain.is_none() && entry.is_none() {
        call.receive(route.input).await?;
        return route.call(app, call).await;
    }
    let judged = judge(&app, chain.as_ref(), &route, &mut call, &client).await;
    if let Some((audit, entry)) = &mut entry {
        let asked = chain.as_ref().map(Chain::names).unwrap_or_default();
        let nothing = Judged::default();
        let (judged, decision) = match &judged {
            Ok(judged) => (judged, Decision::Allowed),
            Err(No::Refused(judged, refusal)) => (judged.as_ref(), Decision::Refused(refusal)),
            Err(No::Invalid(failure)) => (&nothing, Decision::Invalid(&failure.message)),
        };
        audit.decided(entry, asked, judged, decision).await?;
    }
    let judged = judged?;
    if let Some(context) = &judged.request.context {
        call.judged.clone_from(&context.binds);
    }
    let head = Arc::clone(&call.head);
    let done = route.call(app, call).await;
    let (result, changed) = match &chain {
        None => (done.map_err(No::Invalid), Vec::new()),
        Some(chain) => release(chain, judged, signed(settled(&head, done)), route.is_secret).await,
    };
    if let Some((audit, entry)) = &entry {
        let refused = match &result {
            Err(No::Refused(_, refusal)) => Some(refusal),
            _ => None,
        };
        audit.answered(entry, result.as_ref().map_or_else(No::status, Answer::status), refused, &changed);
    }
    Ok(result?)
}

/// A request with its verdict, and who changed it.
#[derive(Debug, Default)]
pub(crate) struct Judged {
    pub(crate) request: contract::Request,
    /// The authorizers that changed it, in their order.
    pub(crate) changed: Vec<String>,
}

/// How often a body is changed at most before all agree.
const CHANGES: usize = 8;

/// Who said what is to be refused since it came to no end.
fn unsettled(change: Change) -> Refusal {
    Refusal::Failed {
        plugin: change.plugin,
        why: format!("authorization plugins changed the body more than {CHANGES} times, each after another"),
    }
}

/// Why a request is not carried out, or its answer not sent.
enum No {
    /// Whoever was asked refused this.
    Refused(Box<Judged>, Refusal),
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
async fn judge(
    app: &App,
    chain: Option<&Chain>,
    route: &Route,
    call: &mut Call,
    client: &Client,
) -> Result<Judged, No> {
    let Some(chain) = chain else {
        // Understood as leniently as where nothing is written down.
        let body = receive(route, call, Reading::Lenient).await?;
        let request = contract::Request { body, ..contract::Request::default() };
        return Ok(Judged { request, changed: Vec::new() });
    };
    target::check(call, route)?;
    let body = receive(route, call, Reading::Exact).await?;
    let mut judged = Judged { request: view::request(call, body, client), changed: Vec::new() };
    loop {
        if chain.is_extended().await {
            let (name, query, head) = (&call.name, &call.query, &call.head);
            let asked = context::Asked { route, name, query, head, body: &judged.request.body, client };
            let context = context::of(app, asked).await;
            judged.request.context = Some(Box::new(context));
        }
        let change = match chain.request(&judged.request).await {
            Ok(None) => return Ok(judged),
            Ok(Some(change)) if judged.changed.len() >= CHANGES => Err(unsettled(change)),
            Ok(Some(change)) => put(route, call, &mut judged, change),
            Err(refusal) => Err(refusal),
        };
        if let Err(refusal) = change {
            return Err(No::Refused(Box::new(judged), refusal));
        }
    }
}

/// Takes another body for the client's: read as exactly, into what the handler will get.
fn put(route: &Route, call: &mut Call, judged: &mut Judged, change: Change) -> Result<(), Refusal> {
    let failed = |why: String| Refusal::Failed { plugin: change.plugin.clone(), why };
    let is_json = matches!(route.input, Input::Json(_)) && !route.is_secret;
    if !is_json {
        return Err(failed(format!(
            "it changes the body of {}, which is not JSON to be read",
            route.pattern()
        )));
    }
    if change.body.len() > MAX_JSON {
        return Err(failed(format!("it changes the body into one of more than {MAX_JSON} bytes")));
    }
    let request = &mut judged.request;
    call.parse(route.input, &change.body, Reading::Exact).map_err(|failure| {
        failed(format!("it changes the body into one that is not valid: {}", failure.message))
    })?;
    if request.headers.contains_key("Content-Length") {
        request.headers.insert("Content-Length".to_owned(), change.body.len().to_string());
    }
    request.body = Body::Shown(change.body);
    judged.changed.push(change.plugin);
    Ok(())
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

/// Holds an answer until its verdict. Also says who changed it.
async fn release(
    chain: &Chain,
    judged: Judged,
    answer: Answer,
    is_secret: bool,
) -> (Result<Answer, No>, Vec<String>) {
    let (mut parts, body) = answer.into_parts();
    let media_type = view::header(&parts.headers, header::CONTENT_TYPE).to_owned();
    let length = body.size_hint().exact();
    // What is of a known length is made already. What is not may be an answer without an end, or one that the client
    // follows while it is made.
    let is_shown = length.is_some_and(|length| length > 0) && is_json(&media_type) && !is_secret;
    let (body, held) = if is_shown {
        match body.collect().await {
            Ok(body) => (Body::Shown(body.to_bytes().into()), None),
            Err(error) => return (Err(No::Invalid(error.into())), Vec::new()),
        }
    } else if length == Some(0) && parts.status != StatusCode::SWITCHING_PROTOCOLS {
        (Body::Empty, Some(body))
    } else {
        (Body::Withheld { media_type, length: length.filter(|length| *length > 0) }, Some(body))
    };
    let mut shown =
        contract::Answer { status: parts.status.as_u16(), headers: view::headers(&parts.headers), body };
    let mut changed = Vec::new();
    loop {
        let change = match chain.answer(&judged.request, &shown).await {
            Ok(None) => break,
            Ok(Some(change)) if changed.len() >= CHANGES => Err(unsettled(change)),
            Ok(Some(change)) => replaced(change, held.is_none()),
            Err(refusal) => Err(refusal),
        };
        match change {
            Ok(change) => {
                shown.body = Body::Shown(change.body);
                changed.push(change.plugin);
            }
            Err(refusal) => return (Err(No::Refused(Box::new(judged), refusal)), changed),
        }
    }
    let body = match (held, shown.body) {
        (Some(body), _) => body,
        (None, Body::Shown(bytes)) => reply::full(bytes),
        (None, _) => reply::full(Vec::new()),
    };
    if !changed.is_empty() {
        // It is that of what is sent now.
        parts.headers.remove(header::CONTENT_LENGTH);
    }
    (Ok(Response::from_parts(parts, body)), changed)
}

/// An answer's other body, if it can be in the place of the one that was shown.
fn replaced(change: Change, was_shown: bool) -> Result<Change, Refusal> {
    let why = if !was_shown {
        "it changes an answer that it was not shown".to_owned()
    } else {
        match serde_json::from_slice::<serde::de::IgnoredAny>(&change.body) {
            Ok(_) => return Ok(change),
            Err(error) => format!("it changes the answer into something that is no JSON: {error}"),
        }
    };
    Err(Refusal::Failed { plugin: change.plugin, why })
}
