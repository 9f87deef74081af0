//! Who wants to know more than Docker tells, and who changes what is asked for and what is answered.

use std::sync::Arc;

use pintle_sdk::authorization::{Body, Verdict};
use serde_json::{Value, json};

use crate::{House, client::call};

fn parsed(body: &Body) -> Value {
    serde_json::from_slice(body.shown()).unwrap_or_default()
}

pub async fn who_is_extended_knows_what_a_request_means(house: Arc<House>) {
    call(&house, "POST", "/volumes/create", Some(json!({"Name": "told", "Labels": {"team": "web"}}))).await;
    call(&house, "GET", "/v1.41/volumes/told?names=b%20c&names=d", None).await;
    let plain = house.judge.requests().pop().unwrap();
    assert!(plain.context.is_none() && plain.peer.is_none(), "others see Docker's fields: {plain:?}");
    let told = house.changer.requests().pop().unwrap();
    assert_eq!(told.peer.unwrap().pid, std::process::id());
    let context = told.context.unwrap();
    assert_eq!((context.route.as_str(), context.object.as_str()), ("/volumes/{}", "told"));
    assert_eq!(context.parameters["names"], ["b c", "d"]);
    assert_eq!(context.touches.len(), 1);
    assert_eq!(
        (context.touches[0].kind.as_str(), context.touches[0].labels["team"].as_str()),
        ("volume", "web")
    );
    assert!(chrono::DateTime::parse_from_rfc3339(&context.time).is_ok(), "{}", context.time);

    let link = house.dir.path().join("link");
    let real = house.dir.path().canonicalize().unwrap().join("real");
    std::fs::create_dir(&real).unwrap();
    std::os::unix::fs::symlink(&real, &link).unwrap();
    let body = json!({
        "Image": "box", "Cmd": ["/bin/busybox", "sleep", "60"], "Labels": {"pintle.owner": "root"},
        "HostConfig": {"Binds": [format!("{}/new:/d:ro", link.display()), "told:/v"], "NetworkMode": "none", "Memory": 8 << 20},
    });
    let answer = call(&house, "POST", "/containers/create?name=told", Some(body)).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    let context = house.changer.requests().pop().unwrap().context.unwrap();
    let bind = &context.binds[0];
    assert_eq!((bind.resolved.as_str(), bind.read_only), (real.join("new").to_str().unwrap(), true));
    assert!(context.image.unwrap().id.starts_with("sha256:"));
    let kinds: Vec<_> = context.touches.iter().map(|touched| touched.kind.as_str()).collect();
    assert_eq!(kinds, ["volume", "network", "image"]);
    assert_eq!(context.usage.unwrap().containers, 0);
    call(&house, "POST", "/containers/told/start", None).await;
    let usage = house.changer.requests().pop().unwrap().context.unwrap().usage.unwrap();
    assert_eq!((usage.containers, usage.memory), (1, 8 << 20));
    call(&house, "DELETE", "/containers/told?force=1", None).await;
    call(&house, "DELETE", "/volumes/told", None).await;
}

/// The labels that the changer puts on every volume.
fn labelled(house: &House) {
    house.changer.rule(|request, answer| {
        let mut body = parsed(&request.body);
        if answer.is_some() || !request.uri.ends_with("/volumes/create") {
            return Ok(Verdict::allow());
        }
        body["Labels"]["by"] = json!("changer");
        Ok(Verdict::change(body.to_string()))
    });
}

pub async fn a_request_is_carried_out_as_it_was_changed(house: Arc<House>) {
    labelled(&house);
    let answer = call(&house, "POST", "/volumes/create", Some(json!({"Name": "changed"}))).await;
    assert_eq!((answer.status, answer.json()["Labels"].clone()), (201, json!({"by": "changer"})));
    // Whoever comes first in the chain has judged what was carried out, too.
    let asked: Vec<_> =
        house.judge.requests().iter().map(|request| parsed(&request.body)["Labels"]["by"].clone()).collect();
    assert_eq!(asked, [Value::Null, json!("changer")]);
    assert_eq!(house.changer.requests().len(), 2);
    house.judge.deny("changer");
    let answer = call(&house, "POST", "/volumes/create", Some(json!({"Name": "refused"}))).await;
    assert_eq!(
        (answer.status, answer.message()),
        (403, "authorization denied by plugin judge: not that".to_owned())
    );
    house.judge.allow();
    house.changer.allow();
    assert_eq!(call(&house, "GET", "/volumes/refused", None).await.status, 404);
    call(&house, "DELETE", "/volumes/changed", None).await;
}

pub async fn what_is_changed_is_judged_and_read_like_the_clients(house: Arc<House>) {
    for (body, why) in [
        ("{\"Name\":\"a\",\"name\":\"b\"}", "is not valid"),
        ("{\"Name\":\"a\"} {}", "is not valid"),
        ("{\"Name\":7}", "is not valid"),
        ("[", "is not valid"),
    ] {
        house.changer.rule(move |_, answer| {
            Ok(if answer.is_none() { Verdict::change(body) } else { Verdict::allow() })
        });
        let answer = call(&house, "POST", "/volumes/create", Some(json!({"Name": "odd"}))).await;
        assert!(answer.status == 500 && answer.message().contains(why), "{body}: {}", answer.message());
    }
    // What nobody reads cannot be changed, and what never settles is refused.
    let answer = call(&house, "GET", "/version", None).await;
    assert!(answer.status == 500 && answer.message().contains("not JSON to be read"), "{}", answer.message());
    let turn = std::sync::atomic::AtomicU32::new(0);
    house.changer.rule(move |_, answer| {
        let turn = turn.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let body = json!({ "Name": format!("odd{turn}") }).to_string();
        Ok(if answer.is_none() { Verdict::change(body) } else { Verdict::allow() })
    });
    let answer = call(&house, "POST", "/volumes/create", Some(json!({"Name": "odd"}))).await;
    assert!(answer.status == 500 && answer.message().contains("more than 8 times"), "{}", answer.message());
    // Who may not change anything is not heeded, extended or not.
    house.changer.allow();
    house.judge.rule(|_, _| Ok(Verdict::change("{\"Name\":\"judge\"}")));
    let answer = call(&house, "POST", "/volumes/create", Some(json!({"Name": "plain"}))).await;
    assert_eq!((answer.status, answer.json()["Name"].clone()), (201, json!("plain")));
    house.judge.allow();
    let names = call(&house, "GET", "/volumes", None).await.json()["Volumes"].clone();
    assert!(!names.to_string().contains("odd"), "{names}");
    call(&house, "DELETE", "/volumes/plain", None).await;
}

pub async fn an_answer_is_sent_as_it_was_changed(house: Arc<House>) {
    house.changer.rule(|request, answer| {
        Ok(match answer {
            Some(answer) if request.uri == "/version" => {
                let mut body = parsed(&answer.body);
                body["KernelVersion"] = json!("hidden");
                Verdict::change(body.to_string())
            }
            Some(_) if request.uri == "/info" => Verdict::change("no JSON"),
            _ => Verdict::allow(),
        })
    });
    let answer = call(&house, "GET", "/version", None).await;
    assert_eq!((answer.status, answer.json()["KernelVersion"].clone()), (200, json!("hidden")));
    let seen = house.judge.answers();
    assert_eq!(seen.len(), 2, "the first is asked about what is sent");
    assert_eq!(parsed(&seen[1].body)["KernelVersion"], "hidden");
    let answer = call(&house, "GET", "/info", None).await;
    assert!(answer.status == 500 && answer.message().contains("no JSON"), "{}", answer.message());
}
