//! Every promise, in the words of [`Suite`].

use futures_util::future::join_all;
use pintle_contract::authorization::{Answer, Request};

use super::suite::{Suite, answer, archive, bare, with_json};
use crate::check::{Result, Verdict as Check, checks, fail, skip};

checks! {
    Suite:
    request: "a plain request gets a verdict",
    answer_to_it: "an answer gets a verdict",
    same_again: "the same question gets the same verdict",
    allowed: "what must be allowed is allowed",
    denied: "what must be denied is denied, and the client is told why",
    body: "a request with JSON gets a verdict",
    body_longest: "a request with 4 MiB of JSON, the most that engines show, gets a verdict",
    body_odd: "a body that is no JSON, no text or no object gets a verdict",
    body_withheld: "an archive, which nobody is shown, gets a verdict",
    answer_long: "a long answer gets a verdict",
    answer_error: "an answer that is an error gets a verdict",
    answer_stream: "an answer whose body is not shown gets a verdict",
    target_odd: "a target with escapes, no version or no text gets a verdict",
    client_known: "a client with a name and a certificate gets a verdict",
    sparse: "a question that leaves everything out gets a verdict",
    together: "questions at once get the verdicts that they get alone",
    restart: "the authorizer's successor decides as it did",
}

fn plain() -> Request {
    bare("GET", "/v1.41/containers/json?all=1")
}

async fn request(suite: &Suite<'_>) -> Result {
    suite.judged(&plain()).await.map(drop)
}

async fn answer_to_it(suite: &Suite<'_>) -> Result {
    suite.judged_answer(&plain(), &answer(200, "[]\n")).await.map(drop)
}

/// Some that any policy may treat differently.
fn several() -> Vec<Request> {
    vec![
        plain(),
        bare("GET", "/_ping"),
        bare("DELETE", "/v1.41/containers/pintle-suite?force=1"),
        with_json(
            "/v1.41/containers/create?name=pintle-suite",
            r#"{"Image":"alpine","HostConfig":{"Privileged":true}}"#,
        ),
        with_json("/v1.41/volumes/create", r#"{"Name":"pintle-suite"}"#),
        archive(),
    ]
}

async fn same_again(suite: &Suite<'_>) -> Result {
    for request in several() {
        let (first, second) = (suite.judged(&request).await?, suite.judged(&request).await?);
        if first.allow != second.allow {
            return fail(format!("{} {}: first {first:?}, then {second:?}", request.method, request.uri));
        }
    }
    Ok(())
}

async fn allowed(suite: &Suite<'_>) -> Result {
    if suite.options.allowed.is_empty() {
        return skip("nobody said what must be allowed");
    }
    for request in &suite.options.allowed {
        let verdict = suite.judged(request).await?;
        if !verdict.allow {
            return fail(format!("{} {} is denied: {}", request.method, request.uri, verdict.message));
        }
    }
    Ok(())
}

async fn denied(suite: &Suite<'_>) -> Result {
    if suite.options.denied.is_empty() {
        return skip("nobody said what must be denied");
    }
    for request in &suite.options.denied {
        let verdict = suite.judged(request).await?;
        if verdict.allow {
            return fail(format!("{} {} is allowed", request.method, request.uri));
        }
        if verdict.message.is_empty() {
            return fail(format!("{} {} is denied without a word", request.method, request.uri));
        }
    }
    Ok(())
}

async fn body(suite: &Suite<'_>) -> Result {
    suite.judged(&with_json("/v1.41/volumes/create", r#"{"Name":"pintle-suite"}"#)).await.map(drop)
}

async fn body_longest(suite: &Suite<'_>) -> Result {
    let frame = r#"{"Name":"pintle-suite","Pad":""}"#;
    let pad = "x".repeat((4 << 20) - frame.len());
    let body = format!(r#"{{"Name":"pintle-suite","Pad":"{pad}"}}"#);
    suite.judged(&with_json("/v1.41/volumes/create", body)).await.map(drop)
}

async fn body_odd(suite: &Suite<'_>) -> Result {
    let odd: [&[u8]; 6] =
        [b"null", b"[]", b"\"text\"", b"{\"Name\":", b"\xff\xfe\x00", "{\"Name\":\"\u{1f980}\"}".as_bytes()];
    for body in odd {
        suite.judged(&with_json("/v1.41/volumes/create", body)).await?;
    }
    Ok(())
}

async fn body_withheld(suite: &Suite<'_>) -> Result {
    suite.judged(&archive()).await.map(drop)
}

async fn answer_long(suite: &Suite<'_>) -> Result {
    let body = format!("[\"{}\"]\n", "x".repeat(8 << 20));
    suite.judged_answer(&plain(), &answer(200, body)).await.map(drop)
}

async fn answer_error(suite: &Suite<'_>) -> Result {
    let body = "{\"message\":\"No such container: pintle-suite\"}\n";
    suite.judged_answer(&plain(), &answer(404, body)).await.map(drop)
}

async fn answer_stream(suite: &Suite<'_>) -> Result {
    let shown = Answer { status: 200, ..Answer::default() };
    suite.judged_answer(&bare("GET", "/v1.41/events"), &shown).await.map(drop)
}

async fn target_odd(suite: &Suite<'_>) -> Result {
    for uri in
        ["/info", "/v1.41/images/a%2Fb%20c/json?x=%C3%A9&y=&&z", "/", "", "/v1.41/images/\u{1f980}/json"]
    {
        suite.judged(&bare("GET", uri)).await?;
    }
    Ok(())
}

async fn client_known(suite: &Suite<'_>) -> Result {
    let request = Request {
        user: "pintle-suite".to_owned(),
        authentication: "TLS".to_owned(),
        peer_certificates: vec![vec![0x30; 900], vec![0x30; 900]],
        ..plain()
    };
    suite.judged(&request).await.map(drop)
}

async fn sparse(suite: &Suite<'_>) -> Result {
    suite.judged(&Request::default()).await?;
    suite.judged_answer(&Request::default(), &Answer::default()).await.map(drop)
}

/// The verdicts on [`several`].
async fn decisions(suite: &Suite<'_>) -> Result<Vec<bool>> {
    let mut all = Vec::new();
    for request in several() {
        all.push(suite.judged(&request).await?.allow);
    }
    Ok(all)
}

async fn together(suite: &Suite<'_>) -> Result {
    let alone = decisions(suite).await?;
    for crowded in join_all((0..suite.options.crowd).map(|_| decisions(suite))).await {
        let crowded = crowded?;
        if crowded != alone {
            return fail(format!("alone {alone:?}, among others {crowded:?}"));
        }
    }
    Ok(())
}

async fn restart(suite: &Suite<'_>) -> Result {
    let Some(restart) = suite.options.restart else { return skip("it cannot be restarted from here") };
    let before = decisions(suite).await?;
    let successor = restart().await.map_err(|why| Check::Fail(format!("it does not come back: {why}")))?;
    let after = decisions(&Suite { authorizer: successor.as_ref(), options: suite.options }).await?;
    if before == after { Ok(()) } else { fail(format!("before {before:?}, after {after:?}")) }
}
