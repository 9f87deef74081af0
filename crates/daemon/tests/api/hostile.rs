//! Bytes that no client sends.

use std::sync::Arc;

use crate::{House, client::send};

/// Routes that read a body or a query, without those that would wait or change the whole engine.
const ROUTES: &[(&str, &str)] = &[
    ("POST", "/containers/create"),
    ("POST", "/containers/x/exec"),
    ("POST", "/containers/x/update"),
    ("POST", "/containers/x/resize"),
    ("POST", "/containers/x/attach"),
    ("POST", "/containers/x/wait"),
    ("PUT", "/containers/x/archive"),
    ("GET", "/containers/json"),
    ("GET", "/containers/x/logs"),
    ("POST", "/containers/prune"),
    ("POST", "/exec/x/start"),
    ("GET", "/images/json"),
    ("POST", "/images/create"),
    ("POST", "/images/load"),
    ("POST", "/images/prune"),
    ("POST", "/images/x/tag"),
    ("GET", "/images/get"),
    ("POST", "/volumes/create"),
    ("GET", "/volumes"),
    ("POST", "/volumes/prune"),
    ("GET", "/networks"),
    ("POST", "/networks/create"),
    ("POST", "/networks/x/connect"),
    ("POST", "/networks/x/disconnect"),
    ("POST", "/networks/prune"),
    ("GET", "/plugins"),
    ("POST", "/plugins/create"),
    ("POST", "/plugins/x/set"),
    ("POST", "/plugins/x/enable"),
    ("GET", "/plugins/privileges"),
    ("GET", "/system/df"),
];

const BODIES: &[&[u8]] = &[
    b"",
    b"null",
    b"[]",
    b"{}",
    b"[[[[",
    b"{\"Image\":7}",
    b"{\"HostConfig\":{\"Mounts\":[null]}}",
    b"{\"Cmd\":{\"a\":1}}",
    b"{\"Name\":\"\\u0000/../..\"}",
    b"\xff\xfe\x00\x01",
    b"99999999999999999999999999",
];

const QUERIES: &[&str] = &[
    "",
    "?filters=%7B",
    "?filters=%5B%22x%22%5D",
    "?filters=%7B%22label%22%3A7%7D",
    "?h=-1&w=99999999999999999999",
    "?h=70000&w=70000",
    "?path=%00&name=%00&repo=%FF%FE&tag=..%2F..",
    "?path=../../../../etc/passwd&t=x&limit=-5",
    "?fromImage=%2F%2F&fromSrc=-&name=..&remote=%00&timeout=-1&names=&names=%00",
    "?detachKeys=%F0%9F%92%A5&condition=%00&since=-&until=9e99&tail=-1&stdout=1",
];

pub async fn every_route_survives_anything(house: Arc<House>) {
    for (method, route) in ROUTES {
        for (number, body) in BODIES.iter().enumerate() {
            let query = QUERIES[number % QUERIES.len()];
            let answer =
                send(&house, method, &format!("{route}{query}"), "Content-Type: application/json\r\n", body)
                    .await;
            assert!(answer.status >= 200, "{method} {route}{query} {body:?}: no answer");
            assert!(
                !answer.text().contains("broken off"),
                "{method} {route}{query} {body:?}: {}",
                answer.text()
            );
        }
        for query in QUERIES {
            let answer = send(&house, method, &format!("/v1.41{route}{query}"), "", b"").await;
            assert!(answer.status >= 200, "{method} {route}{query}: no answer");
            assert!(!answer.text().contains("broken off"), "{method} {route}{query}: {}", answer.text());
        }
    }
    assert_eq!(send(&house, "GET", "/_ping", "", b"").await.status, 200);
}
