//! Archives, connections that are taken over, long answers and those without an end.

use std::sync::Arc;

use pintle_sdk::authorization::{Body, Verdict};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    time::{Duration, timeout},
};

use crate::{
    House,
    client::{call, entry, raw, send},
};

const BASE: &str = "/containers/base/archive?path=/";

fn archive() -> Vec<u8> {
    let mut tar = Vec::new();
    entry(&mut tar, "copied", b"text", 0o644);
    tar.extend_from_slice(&[0; 1024]);
    tar
}

pub async fn archives_are_declared_and_judged_before_they_are_read(house: Arc<House>) {
    let tar = archive();
    let is_there = async || {
        house.judge.allow();
        call(&house, "HEAD", "/containers/base/archive?path=/copied", None).await.status == 200
    };
    // One that says that it is JSON is an archive all the same.
    for kind in ["application/x-tar", "application/json"] {
        let headers = format!("Content-Type: {kind}\r\n");
        house.judge.rule(|request, _| {
            let headers = &request.headers;
            Ok(if headers.contains_key("Content-Type") {
                Verdict::deny("no archives")
            } else {
                Verdict::allow()
            })
        });
        let answer = send(&house, "PUT", BASE, &headers, &tar).await;
        assert_eq!(answer.message(), "authorization denied by plugin judge: no archives", "{kind}");
        let request = &house.judge.requests()[0];
        assert_eq!(request.body, Body::Empty);
        let declared = (request.headers["Content-Type"].as_str(), request.headers["Content-Length"].clone());
        assert_eq!(declared, (kind, tar.len().to_string()));
        assert!(!is_there().await, "{kind}");
    }
    // Whoever asks before it sends is not told to go on.
    house.judge.rule(|_, _| Ok(Verdict::deny("no archives")));
    let head = format!(
        "PUT {BASE} HTTP/1.1\r\nHost: d\r\nConnection: close\r\nContent-Type: application/x-tar\r\n\
         Expect: 100-continue\r\nContent-Length: {}\r\n\r\n",
        tar.len()
    );
    let mut stream = UnixStream::connect(&house.socket).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut first = [0; 12];
    timeout(Duration::from_secs(10), stream.read_exact(&mut first)).await.unwrap().unwrap();
    assert_eq!(&first, b"HTTP/1.1 403");

    for path in ["/images/load", "/build", "/plugins/create?name=x", "/images/create?fromSrc=-&repo=denied"] {
        house.judge.rule(|_, _| Ok(Verdict::deny("no archives")));
        let answer = send(&house, "POST", path, "Content-Type: application/x-tar\r\n", &tar).await;
        assert_eq!(answer.status, 403, "{path}");
        assert_eq!(house.judge.requests()[0].body, Body::Empty, "{path}");
    }
    house.judge.allow();
    assert_eq!(call(&house, "GET", "/images/denied/json", None).await.status, 404);
    let answer = send(&house, "PUT", BASE, "Content-Type: application/x-tar\r\n", &tar).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(is_there().await);
}

pub async fn connections_are_judged_before_they_are_taken_over(house: Arc<House>) {
    let attach = |upgrade: &str| {
        format!(
            "POST /containers/base/attach?stream=1&stdin=1&stdout=1 HTTP/1.1\r\nHost: d\r\n{upgrade}\r\ntyped early\n"
        )
    };
    let polite = "Connection: Upgrade\r\nUpgrade: tcp\r\n";
    for upgrade in [polite, ""] {
        house.judge.rule(|_, _| Ok(Verdict::deny("nobody attaches")));
        let mut stream = UnixStream::connect(&house.socket).await.unwrap();
        stream.write_all(attach(upgrade).as_bytes()).await.unwrap();
        let mut first = [0; 12];
        timeout(Duration::from_secs(10), stream.read_exact(&mut first)).await.unwrap().unwrap();
        assert_eq!(&first, b"HTTP/1.1 403", "{upgrade:?}");
        let request = &house.judge.requests()[0];
        assert_eq!(request.headers.contains_key("Upgrade"), !upgrade.is_empty(), "{:?}", request.headers);

        house.judge.rule(|_, answer| {
            Ok(if answer.is_some() { Verdict::deny("nobody reads") } else { Verdict::allow() })
        });
        let mut stream = UnixStream::connect(&house.socket).await.unwrap();
        stream.write_all(attach(upgrade).as_bytes()).await.unwrap();
        timeout(Duration::from_secs(10), stream.read_exact(&mut first)).await.unwrap().unwrap();
        assert_eq!(&first, b"HTTP/1.1 403", "{upgrade:?}");
        assert_eq!(house.judge.answers()[0].status, 101);
    }
    // A command whose start is denied does not run.
    house.judge.allow();
    let cmd = json!({"Cmd": ["/bin/busybox", "touch", "/ran"], "AttachStdout": true});
    let made = call(&house, "POST", "/containers/base/exec", Some(cmd)).await;
    let id = made.json()["Id"].as_str().unwrap().to_owned();
    house.judge.deny("\"Detach\"");
    let start = format!("/exec/{id}/start");
    let answer = call(&house, "POST", &start, Some(json!({"Detach": false}))).await;
    assert_eq!(answer.message(), "authorization denied by plugin judge: not that");
    house.judge.allow();
    let ran = call(&house, "HEAD", "/containers/base/archive?path=/ran", None).await;
    assert_eq!(ran.status, 404);
    let body = "{\"Detach\":false}";
    let answer = raw(
        &house,
        format!(
            "POST {start} HTTP/1.1\r\nHost: d\r\n{polite}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .as_bytes(),
    )
    .await;
    assert_eq!(answer.status, 101, "{}", answer.head);
    assert_eq!(house.judge.requests().last().unwrap().body, Body::Shown(body.as_bytes().to_vec()));
    assert_eq!(call(&house, "HEAD", "/containers/base/archive?path=/ran", None).await.status, 200);
}

pub async fn answers_are_held_whole(house: Arc<House>) {
    let long = "x".repeat(3 << 20);
    let made = json!({"Name": "long", "Labels": {"a": long}});
    assert_eq!(call(&house, "POST", "/volumes/create", Some(made)).await.status, 201);
    house.judge.allow();
    let answer = call(&house, "GET", "/volumes/long", None).await;
    assert!(answer.status == 200 && answer.text().contains(&long));
    assert!(
        house.judge.answers()[0].body == Body::Shown(answer.body),
        "the plugin sees what the client sees"
    );
    house.judge.rule(|_, answer| {
        let found = answer
            .is_some_and(|answer| answer.body.shown().ends_with(b"\"long\"}\n") || answer.status == 200);
        Ok(if found { Verdict::deny("too much") } else { Verdict::allow() })
    });
    let answer = call(&house, "GET", "/volumes/long", None).await;
    assert_eq!((answer.status, answer.body.len() < 200), (403, true), "not a byte of it goes out");
    house.judge.allow();
    call(&house, "DELETE", "/volumes/long", None).await;
}

pub async fn endless_answers_are_judged_before_their_first_byte(house: Arc<House>) {
    for path in [
        "/events",
        "/containers/base/logs?stdout=1&follow=1",
        "/containers/base/stats",
        "/containers/base/export",
        "/containers/base/archive?path=/bin",
        "/images/get?names=box",
    ] {
        house.judge.rule(|_, answer| {
            Ok(if answer.is_some() { Verdict::deny("not this way") } else { Verdict::allow() })
        });
        let answer = call(&house, "GET", path, None).await;
        assert_eq!(answer.message(), "authorization denied by plugin judge: not this way", "{path}");
        let shown = &house.judge.answers()[0];
        assert_eq!((shown.status, &shown.body), (200, &Body::Empty), "{path}");
    }
    // And if they are allowed they flow while the client reads.
    house.judge.allow();
    let mut stream = UnixStream::connect(&house.socket).await.unwrap();
    stream.write_all(b"GET /events HTTP/1.1\r\nHost: d\r\n\r\n").await.unwrap();
    let mut seen = String::new();
    let mut piece = [0; 4096];
    while !seen.contains("\r\n\r\n") {
        let count = timeout(Duration::from_secs(10), stream.read(&mut piece)).await.unwrap().unwrap();
        seen += &String::from_utf8_lossy(&piece[..count]);
    }
    call(&house, "POST", "/volumes/create", Some(json!({"Name": "heard"}))).await;
    while !seen.contains("heard") {
        let count = timeout(Duration::from_secs(10), stream.read(&mut piece)).await.unwrap().unwrap();
        assert!(count > 0, "{seen}");
        seen += &String::from_utf8_lossy(&piece[..count]);
    }
    call(&house, "DELETE", "/volumes/heard", None).await;
    // A wait answers its head at once, whatever it waits for.
    let mut stream = UnixStream::connect(&house.socket).await.unwrap();
    stream
        .write_all(b"POST /containers/base/wait HTTP/1.1\r\nHost: d\r\nContent-Length: 0\r\n\r\n")
        .await
        .unwrap();
    let mut first = [0; 12];
    timeout(Duration::from_secs(10), stream.read_exact(&mut first)).await.unwrap().unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
}
