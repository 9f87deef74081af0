use std::{collections::BTreeMap, future::Future, pin::Pin, sync::Arc, time::Duration};

use pintle_contract::{
    Authorizer,
    authorization::{Answer, Body, Request, Verdict},
};

use super::checks::CHECKS;
use crate::{
    check::{Result, judge, said},
    report::Report,
};

/// The authorizer after a restart, or why there is none.
pub type Restarted = Pin<Box<dyn Future<Output = std::result::Result<Arc<dyn Authorizer>, String>> + Send>>;

/// Ends the authorizer as a crash would and returns its successor.
pub type Restart<'a> = &'a (dyn Fn() -> Restarted + Send + Sync);

/// How to run the suite.
#[derive(Clone)]
pub struct Options<'a> {
    /// Requests that must be allowed, beside whatever the suite asks of its own.
    pub allowed: Vec<Request>,
    /// Requests that must be denied.
    pub denied: Vec<Request>,
    /// How long each check may take.
    pub budget: Duration,
    /// How many calls run at once where a check wants many.
    pub crowd: usize,
    /// How to restart the authorizer, where that can be done.
    pub restart: Option<Restart<'a>>,
}

impl Default for Options<'_> {
    fn default() -> Self {
        Self {
            allowed: Vec::new(),
            denied: Vec::new(),
            budget: Duration::from_secs(30),
            crowd: 32,
            restart: None,
        }
    }
}

/// Puts every promise of the authorization contract to an authorizer. It changes nothing: questions are not requests.
pub async fn conformance(authorizer: &dyn Authorizer, options: &Options<'_>) -> Report {
    let mut report = Report::default();
    for (name, promise, check) in CHECKS {
        let suite = Suite { authorizer, options };
        report.checks.push(judge(name, promise, options.budget, check(&suite)).await);
    }
    report
}

/// An authorizer under test, with the words that checks are written in.
pub(super) struct Suite<'a> {
    pub authorizer: &'a dyn Authorizer,
    pub options: &'a Options<'a>,
}

/// Headers as Docker's client sends them.
fn headers(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let usual = [("User-Agent", "Docker-Client/28.2.2 (linux)")];
    usual.iter().chain(pairs).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// A request without a body.
pub(super) fn bare(method: &str, uri: &str) -> Request {
    Request { method: method.to_owned(), uri: uri.to_owned(), headers: headers(&[]), ..Request::default() }
}

/// A request with a JSON body.
pub(super) fn with_json(uri: &str, body: impl Into<Vec<u8>>) -> Request {
    let body = body.into();
    let length = body.len().to_string();
    Request {
        headers: headers(&[("Content-Type", "application/json"), ("Content-Length", &length)]),
        body: Body::Shown(body),
        ..bare("POST", uri)
    }
}

/// A request whose body is an archive, which nobody is shown.
pub(super) fn archive() -> Request {
    let media_type = "application/x-tar";
    Request {
        headers: headers(&[("Content-Type", media_type)]),
        body: Body::Withheld { media_type: media_type.to_owned(), length: None },
        ..bare("PUT", "/v1.41/containers/pintle-suite/archive?path=%2F")
    }
}

/// An answer that is JSON.
pub(super) fn answer(status: u16, body: impl Into<Vec<u8>>) -> Answer {
    let headers = [("Api-Version", "1.41"), ("Content-Type", "application/json"), ("Ostype", "linux")];
    Answer {
        status,
        headers: headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        body: Body::Shown(body.into()),
    }
}

impl Suite<'_> {
    /// A verdict, whatever it is.
    pub async fn judged(&self, request: &Request) -> Result<Verdict> {
        let what = format!("the question about {} {}", request.method, request.uri);
        said(what, self.authorizer.authorize_request(request).await)
    }

    /// A verdict on an answer, whatever it is.
    pub async fn judged_answer(&self, request: &Request, answer: &Answer) -> Result<Verdict> {
        let what = format!("the question about the answer to {} {}", request.method, request.uri);
        said(what, self.authorizer.authorize_answer(request, answer).await)
    }
}
