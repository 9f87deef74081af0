//! The authorization suite over the reference, in both homes, and over authorizers that break one promise each.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use pintle_contract::{
    Authorizer, DriverError,
    authorization::{Answer, Request, Verdict},
};
use pintle_sdk::{Listen, Server};
use pintle_testkit::{
    authorization::{Options, ReferenceAuthorizer, Restarted, conformance},
    client::PluginClient,
    report::{Outcome, Report},
};

fn request(method: &str) -> Request {
    Request { method: method.to_owned(), uri: "/v1.41/info".to_owned(), ..Request::default() }
}

fn again() -> Restarted {
    Box::pin(async { Ok(Arc::new(ReferenceAuthorizer) as Arc<dyn Authorizer>) })
}

fn options() -> Options<'static> {
    Options {
        allowed: vec![request("GET")],
        denied: vec![request("POST")],
        budget: Duration::from_secs(20),
        crowd: 8,
        restart: Some(&again),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reference_keeps_every_promise_in_both_homes() {
    let report = conformance(&ReferenceAuthorizer, &options()).await;
    assert!(report.checks.iter().all(|check| check.outcome == Outcome::Passed), "{report}");
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("a.sock");
    let running = Server::authorization(ReferenceAuthorizer).start(Listen::unix(&socket)).unwrap();
    let client = PluginClient::unix(&socket).awake().await.unwrap();
    let report = conformance(&client, &options()).await;
    assert!(report.checks.iter().all(|check| check.outcome == Outcome::Passed), "{report}");
    running.stop().await.unwrap();
}

/// Says whatever the closure says of requests, and yes to answers.
struct Odd<F>(F);

#[async_trait]
impl<F: Fn(&Request) -> Result<Verdict, DriverError> + Send + Sync + 'static> Authorizer for Odd<F> {
    async fn authorize_request(&self, request: &Request) -> Result<Verdict, DriverError> {
        (self.0)(request)
    }
}

fn failed(report: &Report) -> Vec<&'static str> {
    report.failures().map(|check| check.name).collect()
}

#[tokio::test]
async fn broken_promises_are_found() {
    let none = Options { allowed: Vec::new(), denied: Vec::new(), restart: None, ..options() };
    let refuses_all = Odd(|_: &Request| Ok(Verdict::deny("")));
    let asked = Options { allowed: vec![request("GET")], denied: vec![request("GET")], ..none.clone() };
    assert_eq!(failed(&conformance(&refuses_all, &asked).await), ["allowed", "denied"]);
    let allows_all = Odd(|_: &Request| Ok(Verdict::allow()));
    assert_eq!(failed(&conformance(&allows_all, &asked).await), ["denied"]);

    let count = AtomicU32::new(0);
    let moody = Odd(move |_: &Request| {
        Ok(if count.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) {
            Verdict::allow()
        } else {
            Verdict::deny("not now")
        })
    });
    assert!(failed(&conformance(&moody, &none).await).contains(&"same_again"));

    let wants_object = Odd(|request: &Request| match request.body.shown().first() {
        None | Some(b'{') => Ok(Verdict::allow()),
        Some(_) => Err(DriverError::internal("no object")),
    });
    assert_eq!(failed(&conformance(&wants_object, &none).await), ["body_odd"]);
    let short = Odd(|request: &Request| match request.body.shown().len() {
        0..1000 => Ok(Verdict::allow()),
        _ => Err(DriverError::internal("too long")),
    });
    assert_eq!(failed(&conformance(&short, &none).await), ["body_longest"]);
    let wants_method = Odd(|request: &Request| match request.method.as_str() {
        "" => Err(DriverError::internal("no method")),
        _ => Ok(Verdict::allow()),
    });
    assert_eq!(failed(&conformance(&wants_method, &none).await), ["sparse"]);
}

/// An authorizer that has nothing to say of answers says yes.
#[tokio::test]
async fn answers_are_allowed_by_default() {
    let odd = Odd(|_: &Request| Ok(Verdict::deny("no")));
    let verdict = odd.authorize_answer(&Request::default(), &Answer::default()).await.unwrap();
    assert_eq!(verdict, Verdict::allow());
}
