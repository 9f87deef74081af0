//! Volume calls, activation and discovery files, byte for byte.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::{collections::BTreeMap, path::PathBuf};

use pintle_contract::{
    CreateVolume, DriverError, ErrorKind, MountId, Scope, Value, Volume, VolumeCapabilities,
};
use pintle_wire::{
    Activation, Interface, encode_error, jsonc,
    spec::{Address, SpecError, TlsConfig},
    volume::{Method, Reply, Request},
};
use proptest::prelude::*;

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

#[test]
fn requests_are_spelled_as_docker_spells_them() {
    let create = CreateVolume { name: "v".to_owned(), options: BTreeMap::new() };
    assert_eq!(text(Request::Create(create.clone()).encode()), "{\"Name\":\"v\",\"Opts\":null}\n");
    let options = BTreeMap::from([("size".to_owned(), "1m".to_owned())]);
    let create = CreateVolume { options, ..create };
    assert_eq!(text(Request::Create(create).encode()), "{\"Name\":\"v\",\"Opts\":{\"size\":\"1m\"}}\n");
    let mount = Request::Mount { name: "v".to_owned(), id: MountId("i".to_owned()) };
    assert_eq!(text(mount.encode()), "{\"Name\":\"v\",\"ID\":\"i\"}\n");
    assert_eq!(text(Request::List.encode()), "{}\n");
}

#[test]
fn requests_are_read_as_go_reads_them() {
    let read = |method, body: &str| Request::decode(method, body.as_bytes());
    let id = MountId("i".to_owned());
    let expected = Request::Mount { name: "v".to_owned(), id };
    assert_eq!(read(Method::Mount, r#"{"NAME":"v","id":"i","More":{"x":[1]}} trailing"#).unwrap(), expected);
    assert_eq!(read(Method::List, "").unwrap(), Request::List);
    let unnamed = read(Method::Unmount, r#"{"Name":"v"}"#).unwrap();
    assert_eq!(unnamed, Request::Unmount { name: "v".to_owned(), id: MountId("unnamed".to_owned()) });
    // User keys keep their case.
    let Request::Create(create) = read(Method::Create, r#"{"Name":"v","Opts":{"O":"1","o":"2"}}"#).unwrap()
    else {
        unreachable!()
    };
    assert_eq!(create.options.len(), 2);
    for bad in ["", "{}", r#"{"Name":""}"#, r#"{"Name":7}"#, r#"{"Name":"v","Opts":{"a":1}}"#, "[]", "{"] {
        assert!(read(Method::Create, bad).is_err(), "{bad:?}");
    }
}

#[test]
fn replies_are_read_as_docker_reads_them() {
    let read = |method, status, body: &str| Reply::decode(method, status, body.as_bytes());
    let error = read(Method::Create, 500, r#"{"Err":"boom"}"#).unwrap_err();
    assert_eq!((error.kind, error.message.as_str()), (ErrorKind::Internal, "VolumeDriver.Create: boom"));
    let error = read(Method::Create, 200, r#"{"Err":"boom"}"#).unwrap_err();
    assert_eq!(error.message, "boom");
    let error = read(Method::Create, 404, "page not found\n").unwrap_err();
    assert_eq!(error.message, "VolumeDriver.Create: page not found");
    assert!(read(Method::Create, 201, "{}").is_err(), "only exactly 200 is success");
    assert!(read(Method::Create, 200, "").is_err(), "an empty body is an error");
    assert_eq!(read(Method::Create, 200, "{}").unwrap(), Reply::Done);
    assert_eq!(read(Method::Create, 200, r#"{"Err":""}"#).unwrap(), Reply::Done);

    assert_eq!(read(Method::Get, 200, "{}").unwrap_err().kind, ErrorKind::NotFound);
    assert_eq!(read(Method::Get, 200, r#"{"Volume":null}"#).unwrap_err().kind, ErrorKind::NotFound);
    assert_eq!(read(Method::Get, 500, r#"{"Err":"what"}"#).unwrap_err().kind, ErrorKind::NotFound);
    assert_eq!(read(Method::Get, 500, "what").unwrap_err().kind, ErrorKind::NotFound);
    assert_eq!(read(Method::Get, 200, r#"{"Volume":[]}"#).unwrap_err().kind, ErrorKind::Internal);

    assert!(read(Method::Mount, 200, r#"{"Mountpoint":""}"#).is_err());
    assert_eq!(read(Method::Path, 200, r#"{"Mountpoint":""}"#).unwrap(), Reply::Mountpoint(None));
    let path = Some(PathBuf::from("/x"));
    assert_eq!(read(Method::Mount, 200, r#"{"mountpoint":"/x"}"#).unwrap(), Reply::Mountpoint(path));

    let scope = |body| read(Method::Capabilities, 200, body).unwrap();
    let capabilities = |scope| Reply::Capabilities(VolumeCapabilities { scope });
    assert_eq!(scope(r#"{"Capabilities":{"Scope":"Global"}}"#), capabilities(Scope::Global));
    // Go's encoder writes this for a nil answer, and plugins send it.
    assert_eq!(read(Method::Create, 200, "null").unwrap(), Reply::Done);
    assert_eq!(read(Method::List, 200, "null").unwrap(), Reply::Volumes(vec![]));
    assert_eq!(read(Method::Get, 200, "null").unwrap_err().kind, ErrorKind::NotFound);
    for local in ["null", "{}", r#"{"Capabilities":{"Scope":"planet"}}"#, r#"{"Capabilities":null}"#] {
        assert_eq!(scope(local), capabilities(Scope::Local), "{local}");
    }
    assert_eq!(read(Method::List, 200, r#"{"Volumes":null}"#).unwrap(), Reply::Volumes(Vec::new()));
    let Reply::Volumes(volumes) = read(Method::List, 200, r#"{"Volumes":[null,{"Name":"v"}]}"#).unwrap()
    else {
        unreachable!()
    };
    assert_eq!(volumes.len(), 1);
}

#[test]
fn activation_both_ways() {
    let activation = Activation { implements: vec![Interface::Volume, Interface::Authorization] };
    assert_eq!(text(activation.encode()), "{\"Implements\":[\"VolumeDriver\",\"authz\"]}\n");
    let read = Activation::decode(br#"{"implements":["VolumeDriver","GraphDriver"]}"#).unwrap();
    assert_eq!(read.implements, [Interface::Volume, Interface::Other("GraphDriver".to_owned())]);
    assert_eq!(Activation::decode(b"{}").unwrap().implements, []);
    assert_eq!(Interface::Volume.capability(), "volumedriver");
}

#[test]
fn discovery_files() {
    assert_eq!(Address::parse(" unix:///a/b.sock\n").unwrap(), Address::Unix("/a/b.sock".into()));
    assert_eq!(Address::parse("tcp://127.0.0.1:80/").unwrap(), Address::Tcp("127.0.0.1:80".to_owned()));
    let any = TlsConfig { insecure_skip_verify: true, ..TlsConfig::default() };
    assert_eq!(Address::parse("https://h:1").unwrap(), Address::Tls("h:1".to_owned(), any.clone()));
    assert!(matches!(Address::parse("127.0.0.1:80"), Err(SpecError::UnknownProtocol(_))));
    assert!(matches!(Address::parse("npipe://x"), Err(SpecError::UnknownProtocol(_))));
    assert!(matches!(Address::parse("unix://"), Err(SpecError::Empty(_))));
    let json =
        br#"{"Name":"other","Addr":"https://h:1","TLSConfig":{"CAFile":"/ca.pem","CertFile":"/c.pem"}}"#;
    let Address::Tls(_, tls) = Address::parse_json(json).unwrap() else { unreachable!() };
    assert!(!tls.insecure_skip_verify);
    assert_eq!(tls.ca_file, Some("/ca.pem".into()));
    let Address::Tls(_, tls) = Address::parse_json(br#"{"addr":"https://h:1","tlsconfig":{}}"#).unwrap()
    else {
        unreachable!()
    };
    assert_eq!(tls, any);
    assert!(matches!(Address::parse_json(b"{\n  7\n}"), Err(SpecError::Json(error)) if error.line == 2));
}

#[test]
fn a_text_that_is_too_long_is_refused_unread() {
    let error = jsonc::parse(&vec![b' '; jsonc::MAX_BYTES + 1]).unwrap_err();
    assert!(error.message.contains("at most"), "{error}");
    assert!(
        jsonc::parse("[".repeat(100_000).as_bytes()).is_err(),
        "and a deep one does not overflow the stack"
    );
}

#[test]
fn what_is_in_a_string_is_no_comment() {
    let value = jsonc::parse(br##"{"a":"http://x#y/*z*/,]","b":"\"//",}"##).unwrap();
    assert_eq!(value["a"], "http://x#y/*z*/,]");
    assert_eq!(value["b"], "\"//");
    assert_eq!(
        jsonc::parse(b"\xef\xbb\xbf[1, /* , */ 2 , # three\n // four\n ]").unwrap(),
        serde_json::json!([1, 2])
    );
    for bad in ["[,]", "[1,,]", "{,}", "{\"a\":,}", ",", "[1] 2", "[1],", "\"open", "/", "[1 / 2]"] {
        assert!(jsonc::parse(bad.as_bytes()).is_err(), "{bad}");
    }
}

fn any_volume() -> impl Strategy<Value = Volume> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        ".{0,5}".prop_map(Value::String),
    ];
    let value = leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::List),
            proptest::collection::btree_map(".{0,3}", inner, 0..3).prop_map(Value::Map),
        ]
    });
    let status = proptest::collection::btree_map(".{0,3}", value, 0..3);
    (".{1,8}", proptest::option::of("/.{1,8}"), proptest::option::of(".{1,8}"), status).prop_map(
        |(name, path, created_at, status)| Volume {
            name,
            mountpoint: path.map(PathBuf::from),
            created_at,
            status,
        },
    )
}

const KINDS: [ErrorKind; 9] = [
    ErrorKind::NotFound,
    ErrorKind::Conflict,
    ErrorKind::InUse,
    ErrorKind::InvalidArgument,
    ErrorKind::Unsupported,
    ErrorKind::PermissionDenied,
    ErrorKind::Unavailable,
    ErrorKind::Timeout,
    ErrorKind::Internal,
];

proptest! {
    #[test]
    fn both_ends_are_inverses(
        volumes in proptest::collection::vec(any_volume(), 0..3),
        name in ".{1,8}",
        id in ".{1,8}",
        options in proptest::collection::btree_map(".{0,4}", ".{0,4}", 0..3),
    ) {
        let id = MountId(id);
        for request in [
            Request::Create(CreateVolume { name: name.clone(), options }),
            Request::Remove { name: name.clone() },
            Request::Mount { name: name.clone(), id: id.clone() },
            Request::Unmount { name: name.clone(), id },
            Request::Path { name: name.clone() },
            Request::Get { name },
            Request::List,
            Request::Capabilities,
        ] {
            prop_assert_eq!(&Request::decode(request.method(), &request.encode()).unwrap(), &request);
        }
        if let Some(volume) = volumes.first() {
            let reply = Reply::Volume(volume.clone());
            prop_assert_eq!(&Reply::decode(Method::Get, 200, &reply.encode()).unwrap(), &reply);
        }
        let reply = Reply::Volumes(volumes);
        prop_assert_eq!(&Reply::decode(Method::List, 200, &reply.encode()).unwrap(), &reply);
    }

    #[test]
    fn errors_keep_their_kind(kind in 0..KINDS.len(), message in ".{1,20}", method in 0..8_usize) {
        let (kind, method) = (KINDS[kind], Method::ALL[method]);
        let error = Reply::decode(method, 500, &encode_error(&DriverError::new(kind, &message))).unwrap_err();
        prop_assert_eq!(error.kind, kind);
        prop_assert_eq!(error.message, format!("{}: {message}", method.name()));
    }

    #[test]
    fn decoding_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200), status in 100..600_u16) {
        for method in Method::ALL {
            let _ = Request::decode(method, &bytes);
            let _ = Reply::decode(method, status, &bytes);
        }
        let _ = Activation::decode(&bytes);
        let _ = Address::parse_json(&bytes);
        let _ = Address::parse(&String::from_utf8_lossy(&bytes));
    }

    /// Every byte keeps its place: plain JSON is left as it is, and so are lines.
    #[test]
    fn blanking_moves_nothing(text in r#"([{}\[\]",:#/*\n a]|"[a-z/]*"|//|/\*|\*/){0,60}"#) {
        if let Ok(plain) = jsonc::blank(text.as_bytes()) {
            prop_assert_eq!(plain.len(), text.len());
            for (before, after) in text.bytes().zip(plain) {
                prop_assert!(after == before || after == b' ');
                prop_assert!(before != b'\n' || after == b'\n');
            }
        }
        if serde_json::from_str::<serde_json::Value>(&text).is_ok() {
            prop_assert!(jsonc::parse(text.as_bytes()).is_ok());
        }
    }
}
