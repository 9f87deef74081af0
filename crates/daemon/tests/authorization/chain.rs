//! Who is asked, and what clients are told.

use std::sync::Arc;

use pintle_sdk::{DriverError, authorization::Verdict};
use tokio::net::UnixStream;

use crate::{
    House,
    client::{self, call},
};

pub async fn texts_and_statuses_are_dockers(house: Arc<House>) {
    let answer = call(&house, "GET", "/v1.41/info?a=b", None).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["Plugins"]["Authorization"], serde_json::json!(["judge", "changer"]));
    let (asked, shown) = (house.judge.requests(), house.judge.answers());
    assert_eq!((asked.len(), shown.len()), (1, 1));
    assert_eq!((asked[0].method.as_str(), asked[0].uri.as_str()), ("GET", "/v1.41/info?a=b"));
    assert_eq!((asked[0].user.as_str(), asked[0].authentication.as_str()), ("", ""));
    assert!(!asked[0].headers.contains_key("Host"), "{:?}", asked[0].headers);
    assert_eq!((shown[0].status, shown[0].body.shown()), (200, answer.body.as_slice()));
    for header in ["Api-Version", "Content-Type", "Docker-Experimental", "Ostype", "Server"] {
        assert!(shown[0].headers.contains_key(header), "{header}: {:?}", shown[0].headers);
    }

    house.judge.rule(|_, _| Ok(Verdict::deny("because")));
    let answer = call(&house, "GET", "/version", None).await;
    assert_eq!(
        (answer.status, answer.message()),
        (403, "authorization denied by plugin judge: because".to_owned())
    );
    assert!(house.judge.answers().is_empty(), "nothing was answered, so there is nothing to judge");

    house
        .judge
        .rule(|_, answer| Ok(if answer.is_some() { Verdict::deny("not that") } else { Verdict::allow() }));
    let answer = call(&house, "GET", "/version", None).await;
    assert_eq!(
        (answer.status, answer.message()),
        (403, "authorization denied by plugin judge: not that".to_owned())
    );

    house.judge.rule(|_, _| Err(DriverError::internal("boom")));
    let answer = call(&house, "GET", "/version", None).await;
    let text = "plugin judge failed with error: AuthZPlugin.AuthZReq: boom";
    assert_eq!((answer.status, answer.message()), (500, text.to_owned()));

    house.judge.rule(|_, answer| {
        if answer.is_some() { Err(DriverError::internal("boom")) } else { Ok(Verdict::allow()) }
    });
    let answer = call(&house, "GET", "/version", None).await;
    let text = "plugin judge failed with error: AuthZPlugin.AuthZRes: boom";
    assert_eq!((answer.status, answer.message()), (500, text.to_owned()));
}

pub async fn a_plugin_may_ask_the_engine(house: Arc<House>) {
    house.judge.call_back(house.socket.clone());
    assert_eq!(call(&house, "GET", "/info", None).await.status, 200);
    let asked: Vec<_> = house.judge.requests().into_iter().map(|request| request.uri).collect();
    assert_eq!(asked, ["/info", "/version"]);
}

/// Docker shows plugins no status of an error, and sends it whatever they say.
pub async fn errors_are_judged_too(house: Arc<House>) {
    let answer = call(&house, "GET", "/containers/none/json", None).await;
    assert_eq!(answer.status, 404);
    let shown = house.judge.answers();
    assert_eq!((shown[0].status, shown[0].body.shown()), (404, answer.body.as_slice()));
    house
        .judge
        .rule(|_, answer| Ok(if answer.is_some() { Verdict::deny("guess") } else { Verdict::allow() }));
    let answer = call(&house, "GET", "/containers/none/json", None).await;
    assert_eq!(
        (answer.status, answer.message()),
        (403, "authorization denied by plugin judge: guess".to_owned())
    );
    // What nobody carries out nobody is asked about.
    house.judge.allow();
    for (method, path, status) in
        [("GET", "/nope", 404), ("PATCH", "/info", 404), ("GET", "/v1.10/info", 400)]
    {
        assert_eq!(call(&house, method, path, None).await.status, status, "{path}");
    }
    assert!(house.judge.requests().is_empty());
}

pub async fn root_has_a_way_in(house: Arc<House>) {
    house.judge.rule(|_, _| Ok(Verdict::deny("nobody")));
    let request = b"GET /version HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n";
    let get = async |socket: &std::path::Path| {
        let mut stream = UnixStream::connect(socket).await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut stream, request).await.unwrap();
        client::read(&mut stream).await.status
    };
    assert_eq!((get(&house.socket).await, get(&house.recovery).await), (403, 200));
    assert_eq!(house.judge.requests().len(), 1, "on the recovery socket nobody is asked");
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&house.recovery).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
}
