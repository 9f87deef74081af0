//! Images over HTTP: what versions of the API show of them, and archives that come in.

use std::{io::Write, net::TcpListener, sync::Arc};

use serde_json::{Value, json};

use crate::{
    House,
    client::{call, entry, send},
};

const TAR: &str = "Content-Type: application/x-tar\r\n";

fn tar() -> Vec<u8> {
    let mut tar = Vec::new();
    entry(&mut tar, "note", b"hello", 0o640);
    tar.extend_from_slice(&[0; 1024]);
    tar
}

pub async fn versions_show_what_they_always_showed(house: Arc<House>) {
    let at = |version: &'static str, path: &'static str| {
        let house = Arc::clone(&house);
        async move { call(&house, "GET", &format!("/v{version}{path}"), None).await.json() }
    };
    let old = at("1.41", "/images/box/json").await;
    assert_eq!((&old["VirtualSize"], &old["Container"]), (&old["Size"], &json!("")));
    assert_eq!(old["ContainerConfig"].get("Env"), Some(&Value::Null));
    assert_eq!(old["Config"].get("AttachStdin"), Some(&json!(false)));
    assert_eq!(old["Comment"], "Imported from -");
    let new = at("1.51", "/images/box/json").await;
    for key in ["VirtualSize", "Container", "ContainerConfig"] {
        assert_eq!(new.get(key), None, "{key}");
    }
    assert_eq!((new["Config"].get("AttachStdin"), new["Config"].get("Env")), (None, Some(&Value::Null)));
    let other = "/images/box/json?platform=%7B%22os%22%3A%22linux%22%2C%22architecture%22%3A%22s390x%22%7D";
    let answer = call(&house, "GET", &format!("/v1.51{other}"), None).await;
    assert_eq!(answer.status, 404);
    assert!(
        answer.message().contains("does not match the specified platform (linux/s390x)"),
        "{}",
        answer.text()
    );

    // An image of no name is called so to those who index it.
    let made = send(&house, "POST", "/images/create?fromSrc=-", TAR, &tar()).await;
    let id = made.json()["status"].as_str().unwrap_or_default().to_owned();
    let unnamed = |all: Value| {
        let found = all.as_array().into_iter().flatten().find(|image| image["Id"] == id.as_str()).cloned();
        found.unwrap_or_default()
    };
    assert_eq!(unnamed(at("1.42", "/images/json").await)["RepoTags"], json!(["<none>:<none>"]));
    assert_eq!(unnamed(at("1.43", "/images/json").await)["RepoTags"], json!([]));
    let info = at("1.41", "/info").await;
    assert_eq!(info["RuncCommit"]["Expected"], info["RuncCommit"]["ID"]);
    assert_eq!(
        (info.get("KernelMemory"), info.get("BridgeNfIptables")),
        (Some(&json!(false)), Some(&json!(false)))
    );
    assert_eq!(at("1.51", "/info").await["RuncCommit"].get("Expected"), None);
    assert_eq!(call(&house, "DELETE", &format!("/images/{id}"), None).await.status, 200);
}

pub async fn patterns_and_names_that_are_none(house: Arc<House>) {
    for (filter, status) in
        [("%5Ba-c%5Dox%3Alat*", 200), ("%5B", 400), ("b%5C%5C%5C%5C", 200), ("%5Ba", 400), ("%5B%5D", 400)]
    {
        let path = format!("/images/json?filters=%7B%22reference%22%3A%5B%22{filter}%22%5D%7D");
        let answer = call(&house, "GET", &path, None).await;
        assert_eq!(answer.status, status, "{filter}: {}", answer.text());
        if status == 400 {
            assert_eq!(answer.message(), "syntax error in pattern");
        }
    }
    for (query, message) in [
        ("repo=foo/Bar", "invalid reference format: repository name must be lowercase"),
        ("repo=foo&tag=a%20b", "invalid tag format"),
        ("repo=sha256&tag=x", "refusing to create an ambiguous tag using digest algorithm as name"),
    ] {
        let answer = call(&house, "POST", &format!("/images/box/tag?{query}"), None).await;
        assert_eq!((answer.status, answer.message().as_str()), (400, message));
    }
}

/// What fails before there is anything to tell is a status; `load` tells in its stream, as in Docker.
pub async fn archives_that_are_none(house: Arc<House>) {
    for body in [&b"junk"[..], &b"junk".repeat(1000), b"\x1f\x8b\x08junk"] {
        let answer = send(&house, "POST", "/images/create?fromSrc=-&repo=bad", TAR, body).await;
        assert_eq!(answer.status, 400, "{}", answer.text());
        let answer = send(&house, "POST", "/images/load", TAR, body).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.json()["error"], answer.json()["errorDetail"]["message"]);
    }
    let answer = send(&house, "POST", "/images/create?fromSrc=-&changes=RUN%20x", TAR, b"").await;
    assert_eq!((answer.status, answer.message()), (400, "run is not a valid change command".to_owned()));
    assert_eq!(call(&house, "GET", "/images/bad/json", None).await.status, 404);
}

pub async fn an_image_from_the_web(house: Arc<House>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = std::thread::spawn(move || {
        for answer in [
            b"HTTP/1.1 302 Found\r\nLocation: /there\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                .to_vec(),
            [b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n".as_slice(), &tar()].concat(),
            b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\nConnection: close\r\n\r\ngone".to_vec(),
        ] {
            let (mut client, _) = listener.accept().unwrap();
            let mut head = [0; 4096];
            let _ = std::io::Read::read(&mut client, &mut head).unwrap();
            client.write_all(&answer).unwrap();
        }
    });
    let import = |name: &'static str| {
        let house = Arc::clone(&house);
        async move {
            let path = format!("/images/create?fromSrc=127.0.0.1%3A{port}%2Fx.tar&repo={name}");
            call(&house, "POST", &path, None).await
        }
    };
    let made = import("web").await;
    assert_eq!(made.status, 200, "{}", made.text());
    assert!(made.text().starts_with("{\"status\":\"Downloading from http://127.0.0.1"), "{}", made.text());
    let image = call(&house, "GET", "/images/web/json", None).await.json();
    assert_eq!(image["Comment"], format!("Imported from 127.0.0.1:{port}/x.tar"));
    let missing = import("none").await;
    assert_eq!(missing.status, 404, "{}", missing.text());
    assert!(missing.message().contains("with status 404"), "{}", missing.text());
    server.join().unwrap();
    for odd in ["file%3A%2F%2F%2Fetc%2Fpasswd", "http%3A%2F%2F", "%20"] {
        let answer = call(&house, "POST", &format!("/images/create?fromSrc={odd}"), None).await;
        assert_eq!(answer.status, 400, "{odd}: {}", answer.text());
    }
    assert_eq!(call(&house, "DELETE", "/images/web", None).await.status, 200);
}
