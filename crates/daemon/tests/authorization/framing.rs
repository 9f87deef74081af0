//! T1 to T4: however the bytes are framed, whatever their size, the plugin is shown what the handler decodes.

use std::sync::Arc;

use pintle_sdk::authorization::Body;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    time::{Duration, timeout},
};

use crate::{
    House,
    client::{Answer, call, parse},
    targets,
};

/// A way to put a body on the wire.
struct Framing {
    name: &'static str,
    /// It means what it says: what was sent has its effect.
    is_honest: bool,
    /// The client hangs up without having sent what it promised.
    cut: bool,
    headers: String,
    bytes: Vec<u8>,
}

fn framings(body: &[u8]) -> Vec<Framing> {
    let length = body.len();
    let chunks = |ending: &str| {
        let (head, tail) = body.split_at(length / 2);
        let mut out = Vec::new();
        for chunk in [head, tail].into_iter().filter(|chunk| !chunk.is_empty()) {
            out.extend(format!("{:x}\r\n", chunk.len()).bytes());
            out.extend_from_slice(chunk);
            out.extend(b"\r\n");
        }
        out.extend(b"0\r\n");
        out.extend(ending.bytes());
        out
    };
    let framing = |name, is_honest, headers: String, bytes: Vec<u8>| Framing {
        name,
        is_honest,
        cut: false,
        headers,
        bytes,
    };
    let plain = body.to_vec();
    let length_of = |length: usize| format!("Content-Length: {length}\r\n");
    let chunked = "Transfer-Encoding: chunked\r\n".to_owned();
    vec![
        framing("as it should be", true, length_of(length), plain.clone()),
        framing("chunked", true, chunked.clone(), chunks("\r\n")),
        framing("chunked with trailers", true, chunked.clone(), chunks("Content-Length: 0\r\n\r\n")),
        framing(
            "asking to go on",
            true,
            format!("Expect: 100-continue\r\n{}", length_of(length)),
            plain.clone(),
        ),
        framing("of no length, with bytes after it", false, length_of(0), plain.clone()),
        framing("without any length, with bytes after it", false, String::new(), plain.clone()),
        framing("length and chunks", false, format!("{chunked}{}", length_of(length)), chunks("\r\n")),
        framing("no length and chunks", false, format!("{}{chunked}", length_of(0)), chunks("\r\n")),
        framing("two lengths", false, format!("{}{}", length_of(0), length_of(length)), plain.clone()),
        framing("the same length twice", false, format!("{0}{0}", length_of(length)), plain.clone()),
        framing("a list of lengths", false, format!("Content-Length: {length}, {length}\r\n"), plain.clone()),
        framing("shorter than it is", false, length_of(length / 2), plain.clone()),
        framing("a signed length", false, format!("Content-Length: +{length}\r\n"), plain.clone()),
        framing("chunked and more", false, "Transfer-Encoding: chunked, identity\r\n".into(), chunks("\r\n")),
        framing("another coding", false, "Transfer-Encoding: xchunked\r\n".into(), chunks("\r\n")),
        Framing { cut: true, ..framing("longer than it is", false, length_of(length + 10), plain.clone()) },
        Framing {
            cut: true,
            ..framing("half of the chunks", false, chunked, chunks("\r\n")[..length / 2].to_vec())
        },
    ]
}

/// Sends bytes, hangs up if that is the framing, and reads what comes.
async fn exchange(house: &House, path: &str, framing: &Framing) -> Answer {
    let mut stream = UnixStream::connect(&house.socket).await.unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: d\r\nConnection: close\r\nContent-Type: application/json\r\n{}\r\n",
        framing.headers
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    // An engine that has refused may have hung up.
    let _ = stream.write_all(&framing.bytes).await;
    if framing.cut {
        let _ = stream.shutdown().await;
    }
    let mut all = Vec::new();
    let read = timeout(Duration::from_secs(30), stream.read_to_end(&mut all)).await.expect("an end in time");
    let _ = read;
    let rest = all.strip_prefix(b"HTTP/1.1 100 Continue\r\n\r\n".as_slice()).unwrap_or(&all);
    parse(rest)
}

pub async fn every_framing_is_judged_as_it_is_carried_out(house: Arc<House>) {
    let names: Vec<_> = framings(b"{}").iter().map(|framing| framing.name).collect();
    for (round, name) in names.iter().enumerate() {
        for denied in [false, true] {
            let number = 2 * round + usize::from(denied);
            for target in targets::visible(&house, number).await {
                let payload = target.body.as_bytes();
                let framing = framings(payload).swap_remove(round);
                let (path, mark) = (&target.path, &target.mark);
                if denied {
                    house.judge.deny(mark);
                } else {
                    house.judge.allow();
                }
                let answer = exchange(&house, path, &framing).await;
                let asked: Vec<_> =
                    house.judge.requests().into_iter().filter(|request| request.uri == *path).collect();
                house.judge.allow();
                let took = target.took(&house).await;
                if denied {
                    assert!(!took, "{path}, {name}: a plugin that denies it does not see it");
                } else if took {
                    assert!(
                        asked.iter().any(|request| request.body == Body::Shown(payload.to_vec())),
                        "{path}, {name}: carried out, and shown as {asked:?}"
                    );
                }
                if framing.is_honest {
                    assert_eq!(took, !denied, "{path}, {name}: {} {}", answer.status, answer.text());
                    assert_eq!(answer.status == 403, denied, "{path}, {name}");
                }
            }
            targets::undo(&house, number).await;
        }
    }
}

pub async fn sizes_up_to_the_limit_are_shown_whole(house: Arc<House>) {
    const LIMIT: usize = 4 << 20;
    for (size, chunked) in [
        (LIMIT - 1, false),
        (LIMIT, false),
        (LIMIT, true),
        (LIMIT + 1, false),
        (LIMIT + 1, true),
        (64 << 20, false),
        (64 << 20, true),
    ] {
        for first in [true, false] {
            let bare = r#"{"Name":"sized","Pad":""}"#.len();
            let pad = "x".repeat(size - bare);
            let body = match first {
                true => format!(r#"{{"Name":"sized","Pad":"{pad}"}}"#),
                false => format!(r#"{{"Pad":"{pad}","Name":"sized"}}"#),
            };
            assert_eq!(body.len(), size);
            let (headers, bytes) = match chunked {
                false => (format!("Content-Length: {size}\r\n"), body.clone().into_bytes()),
                true => (
                    "Transfer-Encoding: chunked\r\n".to_owned(),
                    format!("{size:x}\r\n{body}\r\n0\r\n\r\n").into_bytes(),
                ),
            };
            let framing = Framing { name: "", is_honest: true, cut: false, headers, bytes };
            house.judge.allow();
            let answer = exchange(&house, "/volumes/create", &framing).await;
            let asked = house.judge.requests();
            if size <= LIMIT {
                assert_eq!(answer.status, 201, "{size}: {}", answer.text());
                assert_eq!(asked.len(), 1);
                assert!(asked[0].body == Body::Shown(body.into_bytes()), "{size}: it is not shown whole");
                assert_eq!(call(&house, "DELETE", "/volumes/sized", None).await.status, 204);
            } else {
                assert_eq!(
                    (answer.status, answer.message().as_str()),
                    (500, "request body too large for authorization plugin: size exceeds 4194304 bytes"),
                    "{size}"
                );
                assert!(asked.is_empty(), "{size}: a plugin is asked about what it is not shown");
                assert_eq!(call(&house, "GET", "/volumes/sized", None).await.status, 404);
            }
        }
    }
}

pub async fn a_login_stays_private_and_nothing_else(house: Arc<House>) {
    let secret = r#"{"username":"u","password":"secret","serveraddress":"127.0.0.1:1"}"#;
    let plain = r#"{"Name":"auth","Labels":{"a":"visible"}}"#;
    let post = async |path: &str, body: &str| {
        house.judge.allow();
        let framing = Framing {
            name: "",
            is_honest: true,
            cut: false,
            headers: format!("Content-Length: {}\r\n", body.len()),
            bytes: body.as_bytes().to_vec(),
        };
        let answer = exchange(&house, path, &framing).await;
        (answer, house.judge.requests())
    };
    for path in ["/auth", "/v1.41/auth", "/v1.24/auth", "/auth?x=1"] {
        let (answer, asked) = post(path, secret).await;
        assert_ne!(answer.status, 400, "{path}: {}", answer.text());
        assert_eq!(asked.len(), 1, "{path}");
        assert_eq!(asked[0].body, Body::Empty, "{path}");
        assert_eq!(asked[0].headers["Content-Type"], "application/json");
        let shown = format!("{asked:?} {:?}", house.judge.answers());
        assert!(!shown.contains("secret"), "{path}: {shown}");
    }
    // None of these is the login.
    for path in ["//auth", "/./auth", "/v1.41//auth", "/x/../auth", "/v1.41/containers/%2Fauth/exec"] {
        let (answer, asked) = post(path, secret).await;
        assert_eq!((answer.status, asked.len()), (301, 0), "{path}");
    }
    for path in ["/%61uth", "/v1.41/aut%68", "/v1%2e41/auth"] {
        let (answer, asked) = post(path, secret).await;
        assert_eq!((answer.status, asked.len()), (400, 0), "{path}: {}", answer.text());
    }
    for path in ["/authx", "/auth/", "/v1.41/auth/x", "/AUTH", "/auth%2f"] {
        let (answer, asked) = post(path, secret).await;
        assert_eq!((answer.status, asked.len()), (404, 0), "{path}");
    }
    // And these are shown, whatever their names.
    let exec = r#"{"Cmd":["visible"]}"#;
    for (path, body) in [
        ("/volumes/create", plain),
        ("/v1.41/volumes/create?auth=/auth", plain),
        ("/containers/auth/exec", exec),
        ("/containers/v1.41%2Fauth/exec", exec),
        ("/plugins/auth/set", r#"["a=visible"]"#),
        ("/plugins/x%2fauth/set", r#"["a=visible"]"#),
    ] {
        let (answer, asked) = post(path, body).await;
        assert_eq!(asked.len(), 1, "{path}: {} {}", answer.status, answer.text());
        assert_eq!(asked[0].body, Body::Shown(body.as_bytes().to_vec()), "{path}");
    }
    call(&house, "DELETE", "/volumes/auth", None).await;
}
