//! What every client meets, whatever it wants.

use std::sync::Arc;

use serde_json::json;
use tokio::{
    io::AsyncWriteExt,
    net::UnixStream,
    time::{Duration, timeout},
};

use crate::{
    House,
    client::{self, call, raw, send},
};

pub async fn ping_says_what_speaks(house: Arc<House>) {
    for method in ["GET", "HEAD"] {
        let answer = send(&house, method, "/_ping", "", b"").await;
        assert_eq!(answer.status, 200);
        let head = answer.head.to_ascii_lowercase();
        for header in [
            "api-version: 1.51",
            "docker-experimental: false",
            "ostype: linux",
            "server: pintle/",
            "swarm: inactive",
            "builder-version: 1",
            "cache-control: no-cache, no-store, must-revalidate",
        ] {
            assert!(head.contains(header), "{header} in {head}");
        }
        assert_eq!(answer.text(), if method == "GET" { "OK" } else { "" });
    }
}

pub async fn versions_are_negotiated(house: Arc<House>) {
    let old = call(&house, "GET", "/v1.10/info", None).await;
    assert_eq!(old.status, 400);
    // Clients of that age show errors as they are.
    assert!(old.head.contains("content-type: text/plain; charset=utf-8"), "{}", old.head);
    assert_eq!(
        old.text(),
        "client version 1.10 is too old. Minimum supported API version is 1.24, please upgrade your client to a newer \
         version\n"
    );
    let new = call(&house, "GET", "/v1.99/info", None).await;
    assert_eq!(new.status, 400);
    assert_eq!(new.message(), "client version 1.99 is too new. Maximum supported API version is 1.51");
    for version in ["1.24", "1.41", "1.51"] {
        assert_eq!(call(&house, "GET", &format!("/v{version}/_ping"), None).await.status, 200);
    }
}

pub async fn unknown_paths_and_methods(house: Arc<House>) {
    for (method, path) in
        [("GET", "/nope"), ("DELETE", "/info"), ("GET", "/v1.41"), ("GET", "/"), ("PATCH", "/volumes")]
    {
        let answer = call(&house, method, path, None).await;
        assert_eq!(
            (answer.status, answer.text()),
            (404, "{\"message\":\"page not found\"}\n".to_owned()),
            "{path}"
        );
    }
    let broken = raw(&house, b"this is not HTTP\r\n\r\n").await;
    assert_eq!(broken.status, 400);
}

pub async fn paths_have_one_form(house: Arc<House>) {
    for (path, location) in [
        ("/v1.41//version?a=b%20c", "/v1.41/version?a=b%20c"),
        ("/containers/../info", "/info"),
        ("/volumes/a%20b//", "/volumes/a%20b/"),
    ] {
        let answer = call(&house, "GET", path, None).await;
        assert_eq!(answer.status, 301, "{path}");
        assert!(answer.head.contains(&format!("location: {location}\r\n")), "{}", answer.head);
    }
    let options = call(&house, "OPTIONS", "/containers/json", None).await;
    assert_eq!((options.status, options.text()), (200, String::new()));
}

/// Docker reads on for a while: a client that sends its body after the head, or much of it, still gets to read why
/// it was refused.
pub async fn a_refusal_reaches_clients_that_still_write(house: Arc<House>) {
    for (path, size) in [("/volumes/x?version=1", 2), ("/images/create?fromSrc=-&repo=IMP", 3 << 20)] {
        let method = if size == 2 { "PUT" } else { "POST" };
        let mut stream = UnixStream::connect(&house.socket).await.unwrap();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: d\r\nConnection: close\r\nContent-Type: application/x-tar\r\n\
             Content-Length: {size}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        for piece in vec![b'x'; size].chunks(64 << 10) {
            stream.write_all(piece).await.unwrap();
        }
        let answer = timeout(Duration::from_secs(20), client::read(&mut stream)).await.unwrap();
        assert!((400..=503).contains(&answer.status) && answer.status != 500, "{path}: {}", answer.head);
        assert!(!answer.message().is_empty(), "{path}");
    }
}

pub async fn bodies_must_be_json(house: Arc<House>) {
    let post = |kind: &'static str, body: &'static str| {
        let house = Arc::clone(&house);
        async move { send(&house, "POST", "/volumes/create", kind, body.as_bytes()).await }
    };
    let answer = post("Content-Type: text/plain\r\n", "{}").await;
    assert_eq!(
        (answer.status, answer.message()),
        (400, "unsupported Content-Type header (text/plain): must be 'application/json'".to_owned())
    );
    let answer = post("Content-Type: application/json\r\n", "{} {}").await;
    assert_eq!((answer.status, answer.message()), (400, "unexpected content after JSON".to_owned()));
    let answer = post("Content-Type: application/json\r\n", "{\"Name\":").await;
    assert_eq!(answer.status, 400);
    assert!(answer.message().starts_with("invalid JSON: "), "{}", answer.message());
    let answer = send(&house, "POST", "/containers/create", "Content-Type: application/json\r\n", b"").await;
    assert_eq!(answer.message(), "invalid JSON: EOF");
    // No body is all defaults here.
    let answer = post("", "").await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    let name = answer.json()["Name"].as_str().unwrap_or_default().to_owned();
    assert_eq!(call(&house, "DELETE", &format!("/volumes/{name}"), None).await.status, 204);
}

pub async fn keys_in_any_case(house: Arc<House>) {
    let body = json!({"nAmE": "folded", "LABELS": {"Kept": "A"}, "driveropts": null});
    let made = call(&house, "POST", "/volumes/create", Some(body)).await;
    assert_eq!(made.status, 201, "{}", made.text());
    let made = made.json();
    assert_eq!((&made["Name"], &made["Labels"]["Kept"]), (&json!("folded"), &json!("A")));
    // What was not given is null, not absent.
    assert_eq!(made.get("Options"), Some(&json!(null)));
    assert_eq!(call(&house, "DELETE", "/volumes/folded", None).await.status, 204);
}

pub async fn swarm_is_inactive(house: Arc<House>) {
    for path in ["/swarm", "/nodes", "/services", "/tasks", "/secrets", "/configs", "/v1.41/services/x"] {
        let answer = call(&house, "GET", path, None).await;
        assert_eq!(answer.status, 503, "{path}");
        assert_eq!(
            answer.message(),
            "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node \
             to swarm and try again."
        );
    }
    for path in ["/session", "/grpc", "/build/cancel"] {
        assert_eq!(call(&house, "POST", path, None).await.status, 501, "{path}");
    }
}

pub async fn version_and_info(house: Arc<House>) {
    let version = call(&house, "GET", "/version", None).await.json();
    assert_eq!((&version["ApiVersion"], &version["MinAPIVersion"]), (&json!("1.51"), &json!("1.24")));
    assert_eq!(version["Components"][0]["Name"], "Engine");
    let info = call(&house, "GET", "/info", None).await.json();
    assert_eq!(info["Swarm"]["LocalNodeState"], "inactive");
    assert_eq!(info["DefaultRuntime"], "pintle");
    assert!(info["Plugins"]["Volume"].as_array().is_some_and(|names| names.contains(&json!("local"))));
    assert!(
        info["Plugins"]["Network"].as_array().is_some_and(|names| names.contains(&json!("bridge"))),
        "{info}"
    );
    assert!(
        info["MemTotal"].as_u64().is_some_and(|bytes| bytes > 0)
            && info["ID"].as_str().is_some_and(|id| !id.is_empty())
    );
}
