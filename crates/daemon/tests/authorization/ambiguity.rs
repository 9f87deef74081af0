//! T5 to T7: what two readers could understand differently is refused before anybody is asked.

use std::sync::Arc;

use pintle_sdk::authorization::Body;

use crate::{
    House,
    client::{Answer, call, send},
    targets::JSON,
};

async fn post(house: &House, path: &str, kind: &str, body: &[u8]) -> (Answer, usize) {
    house.judge.allow();
    let answer = send(house, "POST", path, &format!("Content-Type: {kind}\r\n"), body).await;
    (answer, house.judge.requests().len())
}

/// Bodies that other readers may read otherwise, made of one that is fine.
fn twisted(body: &str) -> Vec<(&'static str, Vec<u8>)> {
    let mut all: Vec<(&'static str, Vec<u8>)> = vec![
        ("something follows", format!("{body} {{}}").into_bytes()),
        ("it comes twice", format!("{body}{body}").into_bytes()),
        ("a NUL follows", format!("{body}\0").into_bytes()),
        ("a byte order mark", format!("\u{feff}{body}").into_bytes()),
        ("cut short", body.as_bytes()[..body.len() - 1].to_vec()),
        ("nested too deeply", "[".repeat(100_000).into_bytes()),
        ("no text", [body.as_bytes(), b"\xff"].concat()),
    ];
    // The first key, which is a field.
    let object = body.trim_start_matches('[');
    if let Some((key, rest)) = object.strip_prefix("{\"").and_then(|rest| rest.split_once('"')) {
        let around = |inner: String| body.replacen(object, &inner, 1).into_bytes();
        let other_case: String = key
            .chars()
            .map(|letter| {
                if letter.is_ascii_lowercase() {
                    letter.to_ascii_uppercase()
                } else {
                    letter.to_ascii_lowercase()
                }
            })
            .collect();
        all.push(("a key in another case", around(format!("{{\"{other_case}\"{rest}"))));
        all.push(("a key twice", around(format!("{{\"{key}\":null,\"{key}\"{rest}"))));
        all.push(("a key twice, in two cases", around(format!("{{\"{other_case}\":null,\"{key}\"{rest}"))));
        all.push((
            "a key twice, once escaped",
            around(format!(
                "{{\"\\u{:04x}{}\":null,\"{key}\"{rest}",
                u32::from(key.as_bytes()[0]),
                &key[1..]
            )),
        ));
        all.push(("an unknown key twice", around(format!("{{\"?\":1,\"?\":2,\"{key}\"{rest}"))));
        for (plain, folded) in [('s', '\u{17f}'), ('k', '\u{212a}')] {
            if key.to_ascii_lowercase().contains(plain) {
                let key = key.to_ascii_lowercase().replace(plain, &folded.to_string());
                all.push(("letters that fold", around(format!("{{\"{key}\"{rest}"))));
            }
        }
    }
    all
}

pub async fn what_reads_in_two_ways_is_refused(house: Arc<House>) {
    for (path, body) in JSON {
        let (fine, asked) = post(&house, path, "application/json", body.as_bytes()).await;
        assert!(fine.status != 400 && asked == 1, "{path}: {} {}", fine.status, fine.text());
        for (name, twisted) in twisted(body) {
            let (answer, asked) = post(&house, path, "application/json", &twisted).await;
            let text = String::from_utf8_lossy(&twisted[..twisted.len().min(200)]).into_owned();
            assert_eq!((answer.status, asked), (400, 0), "{path}, {name}: {text}: {}", answer.text());
        }
    }
    // Deep inside, where policies look.
    for inside in [
        r#""HostConfig":{"privileged":true}"#,
        r#""HostConfig":{"Privileged":false,"Privileged":true}"#,
        r#""HostConfig":{"Privileged":false,"PRIVILEGED":true}"#,
        r#""HostConfig":{},"hostconfig":{"Privileged":true}"#,
        r#""HostConfig":{},"HostConfig":{"Privileged":true}"#,
        r#""HostConfig":{"Binds":[],"bind\u017f":["/:/host"]}"#,
        r#""HostConfig":{"Mounts":[{"Type":"bind","Source":"/tmp","source":"/","Target":"/host"}]}"#,
        r#""NetworkingConfig":{"EndpointsConfig":{"a":{"ipamconfig":{}}}}"#,
        r#""Labels":{"a":"1","a":"2"}"#,
    ] {
        let body = format!(r#"{{"Image":"box","Cmd":["x"],{inside}}}"#);
        let (answer, asked) =
            post(&house, "/containers/create?name=twisted", "application/json", body.as_bytes()).await;
        assert_eq!((answer.status, asked), (400, 0), "{body}: {}", answer.text());
    }
    assert_eq!(call(&house, "GET", "/containers/twisted/json", None).await.status, 404);
    // Keys of maps are the user's own: they may differ in case alone.
    let body = r#"{"Name":"cased","Labels":{"a":"1","A":"2"}}"#;
    assert_eq!(post(&house, "/volumes/create", "application/json", body.as_bytes()).await.0.status, 201);
    call(&house, "DELETE", "/volumes/cased", None).await;
    call(&house, "DELETE", "/volumes/readable", None).await;
    call(&house, "DELETE", "/networks/readable", None).await;
}

pub async fn targets_are_spelled_in_one_way(house: Arc<House>) {
    for path in [
        "/containers/%63reate",
        "/v1.41/%63ontainers/create",
        "/containers%2Fcreate",
        "/%76%31.41/containers/create",
        "/containers/create?name=a&name=b",
        "/containers/create?name=a&n%61me=b",
        "/containers/create?name=%zz",
        "/containers/create?name=a;b=c",
        "http://elsewhere/containers/create",
    ] {
        let (answer, asked) = post(&house, path, "application/json", br#"{"Image":"box"}"#).await;
        assert_eq!((answer.status, asked), (400, 0), "{path}: {}", answer.text());
        assert!(answer.message().contains("read in two ways"), "{path}: {}", answer.text());
    }
    for path in ["/containers/base%2Fjson", "/containers/base/jso%6e", "/%69nfo", "/info?%"] {
        house.judge.allow();
        let answer = call(&house, "GET", path, None).await;
        assert_eq!((answer.status, house.judge.requests().len()), (400, 0), "{path}");
    }
    // No text of the query makes another route of it, and names may need escapes.
    for (path, uri) in [
        ("/containers/base/json?x=/containers/create", "/containers/base/json?x=/containers/create"),
        ("/v1.41/containers/%62ase/json", "/v1.41/containers/%62ase/json"),
    ] {
        house.judge.allow();
        let answer = call(&house, "GET", path, None).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        let asked = house.judge.requests();
        assert_eq!((asked[0].method.as_str(), asked[0].uri.as_str()), ("GET", uri));
    }
}

pub async fn other_media_types_are_refused_or_declared(house: Arc<House>) {
    for (path, body) in JSON {
        for kind in ["text/plain", "application/x-tar", "application/x-www-form-urlencoded", "text/json"] {
            let (answer, asked) = post(&house, path, kind, body.as_bytes()).await;
            assert_eq!((answer.status, asked), (400, 0), "{path}, {kind}: {}", answer.text());
        }
        house.judge.allow();
        let answer = send(&house, "POST", path, "", body.as_bytes()).await;
        assert_eq!((answer.status, house.judge.requests().len()), (400, 0), "{path} of no type");
        let two = "Content-Type: application/json\r\nContent-Type: text/plain\r\n";
        let answer = send(&house, "POST", path, two, body.as_bytes()).await;
        assert_eq!((answer.status, house.judge.requests().len()), (400, 0), "{path} of two types");
    }
    // Routes that look at no body: what is there is shown if it is JSON, and declared by its head otherwise.
    for (kind, shown) in [("application/json", true), ("text/plain", false)] {
        let (answer, asked) = post(&house, "/containers/none/start", kind, br#"{"a":1,"a":2}"#).await;
        assert_eq!((answer.status, asked), (404, 1), "{}", answer.text());
        let request = &house.judge.requests()[0];
        assert_eq!(request.body, if shown { Body::Shown(br#"{"a":1,"a":2}"#.to_vec()) } else { Body::Empty });
        let declared = (request.headers["Content-Type"].as_str(), request.headers["Content-Length"].as_str());
        assert_eq!(declared, (kind, "13"));
    }
}
