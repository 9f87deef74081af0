//! Authorization calls, byte for byte. `golden/docker-authz-calls.txt` holds what dockerd 20.10 sent to a plugin.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;

use pintle_contract::{
    DriverError, ErrorKind,
    authorization::{Answer, Bind, Body, Context, Image, Peer, Request, Touched, Usage, Verdict},
};
use pintle_wire::{
    authorization::{Call, Fields, Method, decode_verdict, encode, encode_verdict},
    encode_error,
};
use proptest::{collection::btree_map, prelude::*};

const DOCKER: &str = include_str!("golden/docker-authz-calls.txt");

fn json(bytes: &[u8]) -> serde_json::Value {
    serde_json::from_slice(bytes).unwrap()
}

#[test]
fn what_docker_sends_is_what_we_send() {
    let mut seen = std::collections::BTreeSet::new();
    for line in DOCKER.lines().filter(|line| !line.starts_with('#')) {
        let (name, body) = line.split_once(' ').unwrap();
        let method = Method::from_path(&format!("/{name}")).unwrap();
        let call = Call::decode(method, body.as_bytes()).unwrap();
        assert_eq!(json(&call.encode()), json(body.as_bytes()), "{line}");
        let keys = |value: serde_json::Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(json(&call.encode())), keys(json(body.as_bytes())), "the order of fields: {line}");
        seen.insert(name);
        for certificate in json(body.as_bytes())["RequestPeerCertificates"].as_array().into_iter().flatten() {
            assert!(certificate.is_string());
            seen.insert("a certificate");
        }
    }
    assert_eq!(seen.len(), 3, "{seen:?}");
}

#[test]
fn empty_fields_are_left_out() {
    let request = Request { method: "GET".into(), uri: "/info?a=1&b=2".into(), ..Request::default() };
    let text = |call: Call| String::from_utf8(call.encode()).unwrap();
    assert_eq!(
        text(Call::Request(request.clone())),
        "{\"RequestMethod\":\"GET\",\"RequestUri\":\"/info?a=1&b=2\"}\n"
    );
    let answer = Answer { status: 200, body: Body::Shown(b"{}\n".to_vec()), ..Answer::default() };
    assert_eq!(
        text(Call::Answer(request.clone(), answer)),
        "{\"RequestMethod\":\"GET\",\"RequestUri\":\"/info?a=1&b=2\",\"ResponseStatusCode\":200,\
         \"ResponseBody\":\"e30K\"}\n"
    );
    let withheld = Body::Withheld { media_type: "application/x-tar".into(), length: Some(5) };
    let with = Request { body: withheld, ..request.clone() };
    assert_eq!(text(Call::Request(with)), text(Call::Request(request)), "Docker has no field for it");
    assert_eq!(text(Call::Request(Request::default())), "{}\n");
}

#[test]
fn only_a_plain_yes_is_a_permission() {
    let read = |status, body: &str| decode_verdict(Method::Request, status, body.as_bytes(), Fields::Docker);
    assert_eq!(read(200, r#"{"Allow":true}"#).unwrap(), Verdict::allow());
    assert_eq!(read(200, r#"{"allow":true,"msg":"fine"}"#).unwrap().message, "fine");
    for denied in [
        r#"{"Allow":false,"Msg":"no"}"#,
        r#"{"Msg":"no"}"#,
        r#"{"Allow":null,"Msg":"no"}"#,
        r#"{"Allow":false,"Msg":"no"} trailing"#,
    ] {
        assert_eq!(read(200, denied).unwrap(), Verdict::deny("no"), "{denied}");
    }
    assert!(!read(200, "null").unwrap().allow);
    assert!(!read(200, "{}").unwrap().allow);
    for lie in ["", "yes", "[]", "true", r#"{"Allow":"true"}"#, r#"{"Allow":1}"#, r#"{"Allow":true"#] {
        let error = read(200, lie).unwrap_err();
        assert!(error.message.starts_with("AuthZPlugin.AuthZReq: "), "{lie}: {error}");
    }
    assert_eq!(read(200, r#"{"Allow":true,"Err":"boom"}"#).unwrap_err().message, "boom");
    assert_eq!(
        read(500, r#"{"Allow":true,"Err":"boom"}"#).unwrap_err().message,
        "AuthZPlugin.AuthZReq: boom"
    );
    assert_eq!(read(500, r#"{"Allow":true}"#).unwrap_err().kind, ErrorKind::Internal);
    read(201, r#"{"Allow":true}"#).unwrap_err();
    read(404, "404 page not found").unwrap_err();
    let ours = DriverError::new(ErrorKind::Unavailable, "later");
    let error = decode_verdict(Method::Answer, 500, &encode_error(&ours), Fields::Docker).unwrap_err();
    assert_eq!((error.kind, error.message.as_str()), (ErrorKind::Unavailable, "AuthZPlugin.AuthZRes: later"));
}

#[test]
fn methods_have_paths() {
    for method in Method::ALL {
        assert_eq!(Method::from_path(method.path()), Some(method));
    }
    assert_eq!(Method::from_path("/AuthZPlugin.AuthZ"), None);
}

fn body() -> impl Strategy<Value = Body> {
    prop_oneof![Just(Body::Empty), proptest::collection::vec(any::<u8>(), 1..9000).prop_map(Body::Shown),]
}

fn headers() -> impl Strategy<Value = BTreeMap<String, String>> {
    btree_map("[A-Z][a-z-]{0,8}", ".{0,12}", 0..4)
}

proptest! {
    #[test]
    fn calls_survive_the_wire(
        user in ".{0,8}", uri in "/.{0,20}", status in any::<u16>(), bodies in (body(), body()),
        heads in (headers(), headers()),
        peer_certificates in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..200), 0..3),
    ) {
        let request = Request {
            user, authentication: "TLS".into(), method: "POST".into(), uri, headers: heads.0, body: bodies.0,
            peer_certificates, ..Request::default()
        };
        let answer = Answer { status, headers: heads.1, body: bodies.1 };
        for call in [Call::Request(request.clone()), Call::Answer(request, answer)] {
            let again = Call::decode(call.method(), &call.encode()).unwrap();
            prop_assert_eq!(again, call);
        }
    }

    #[test]
    fn what_the_engine_knows_besides_survives_the_wire(
        texts in proptest::collection::vec(".{0,8}", 8), labels in headers(), number in any::<u32>(), is in any::<bool>(),
    ) {
        let text = |at: usize| texts[at].clone();
        let touched = Touched { kind: text(0), id: text(1), name: text(2), labels: labels.clone() };
        let context = Context {
            time: text(3),
            route: text(4),
            object: text(5),
            parameters: BTreeMap::from([(text(6), texts.clone())]),
            groups: texts.clone(),
            names: texts[..number as usize % 8].to_vec(),
            address: is.then(|| "[::1]:7".parse().unwrap()),
            binds: vec![Bind { source: text(0), resolved: text(1), read_only: is }],
            touches: vec![touched; number as usize % 3],
            image: is.then(|| Image { id: text(7), digests: texts.clone(), labels }),
            usage: is.then_some(Usage { containers: 1, running: 2, memory: u64::MAX, nano_cpus: 4, volumes: 5, networks: 6 }),
        };
        let peer = Peer { uid: number, name: text(0), gid: 1, pid: 2, executable: text(1) };
        let request = Request {
            method: "GET".into(), peer: is.then_some(peer), context: Some(Box::new(context)), ..Request::default()
        };
        let sent = encode(&request, None, Fields::Extended);
        prop_assert_eq!(Call::decode(Method::Request, &sent).unwrap(), Call::Request(request.clone()));
        let plain = Request { peer: None, context: None, ..request.clone() };
        prop_assert_eq!(encode(&request, None, Fields::Docker), encode(&plain, None, Fields::Docker), "others see Docker's fields");
    }

    #[test]
    fn verdicts_survive_the_wire(
        allow in any::<bool>(), message in ".{0,20}", body in proptest::option::of(proptest::collection::vec(any::<u8>(), 1..99)),
    ) {
        let verdict = Verdict { allow, message, body };
        let plain = Verdict { body: None, ..verdict.clone() };
        prop_assert_eq!(decode_verdict(Method::Request, 200, &encode_verdict(&verdict), Fields::Docker).unwrap(), plain);
        prop_assert_eq!(decode_verdict(Method::Request, 200, &encode_verdict(&verdict), Fields::Extended).unwrap(), verdict);
    }

    #[test]
    fn hostile_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), status in any::<u16>()) {
        let _ = Call::decode(Method::Answer, &bytes);
        let _ = decode_verdict(Method::Request, status, &bytes, Fields::Extended);
    }
}
