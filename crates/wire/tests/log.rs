//! Log entries and calls: golden bytes, and what must hold for any.

use pintle_contract::{
    LogEntry,
    log::{LogInfo, LogQuery, Piece, Source},
};
use pintle_wire::log::{
    EntryError, Method, Record, Request, accept, decode, decode_capabilities, decode_lines, push_frame,
    push_record, record_at, record_before,
};
use proptest::prelude::*;

fn entry() -> LogEntry {
    LogEntry { source: Source::Stderr, time: 300, line: b"hi\0\xff".to_vec(), ..LogEntry::default() }
}

#[test]
fn frames_are_dockers() {
    let mut plain = Vec::new();
    push_frame(&Record::from(&entry()), &mut plain);
    assert_eq!(plain, b"\0\0\0\x11\x0a\x06stderr\x10\xac\x02\x1a\x04hi\0\xff");
    let mut cut = Vec::new();
    let piece = Some(Piece { id: "ab".to_owned(), ordinal: 2, last: true });
    push_frame(&Record::from(&LogEntry { piece, ..entry() }), &mut cut);
    assert_eq!(&cut[21..], b"\x20\x01\x2a\x08\x08\x01\x12\x02ab\x18\x02");
    let mut record = Vec::new();
    push_record(&Record::from(&entry()), &mut record);
    assert_eq!(&record[..plain.len()], plain);
    assert_eq!(&record[plain.len()..], b"\0\0\0\x11");
    assert_eq!(record_before([0, 0, 0, 0x11]).unwrap(), record.len());
}

#[test]
fn calls_are_dockers() {
    let info = LogInfo { id: "c".to_owned(), name: "/n".to_owned(), ..LogInfo::default() };
    let start = Request::StartLogging { file: "/run/docker/logging/1".into(), info: Box::new(info) };
    assert_eq!(
        String::from_utf8(start.encode()).unwrap(),
        "{\"File\":\"/run/docker/logging/1\",\"Info\":{\"Config\":{},\"ContainerID\":\"c\",\
         \"ContainerName\":\"/n\",\"ContainerEntrypoint\":\"\",\"ContainerArgs\":[],\"ContainerImageID\":\"\",\
         \"ContainerImageName\":\"\",\"ContainerCreated\":\"\",\"ContainerEnv\":[],\"ContainerLabels\":{},\
         \"LogPath\":\"\",\"DaemonName\":\"docker\"}}\n"
    );
    assert_eq!(Request::decode(Method::StartLogging, &start.encode()).unwrap(), start);
    assert!(decode_capabilities(200, b"{\"Cap\":{\"ReadLogs\":true}}").unwrap().read);
    assert!(!decode_capabilities(200, b"{}").unwrap().read);
    accept(Method::StopLogging, 200, b"{\"Err\":\"\"}").unwrap();
    assert_eq!(accept(Method::StopLogging, 200, b"{\"Err\":\"full\"}").unwrap_err().message, "full");
    accept(Method::StopLogging, 500, b"no").unwrap_err();
}

#[test]
fn a_query_is_dockers() {
    let decode = |config: &str| Request::decode(Method::ReadLogs, config.as_bytes());
    let query = |config: &str| match decode(config) {
        Ok(Request::ReadLogs { query, .. }) => query,
        other => panic!("{other:?}"),
    };
    let all = "{\"Since\":\"0001-01-01T00:00:00Z\",\"Until\":\"0001-01-01T00:00:00Z\",\"Tail\":-1,\"Follow\":false}";
    for config in
        [format!("{{\"Info\":{{}},\"Config\":{all}}}"), format!("{{\"ReadConfig\":{all}}}"), "{}".to_owned()]
    {
        assert_eq!(query(&config), LogQuery::default(), "{config}");
    }
    let some = query(
        "{\"Config\":{\"Since\":\"2026-11-27T04:00:00.5+01:00\",\"Until\":\"1969-12-31T23:59:59Z\",\"Tail\":7,\"Follow\":true}}",
    );
    let wanted = LogQuery {
        since: Some(1_795_748_400_500_000_000),
        until: Some(-1_000_000_000),
        tail: Some(7),
        follow: true,
    };
    assert_eq!(some, wanted);
    for odd in
        ["\"Since\":\"yesterday\"", "\"Since\":\"2026-13-01T00:00:00Z\"", "\"Tail\":\"all\"", "\"Follow\":1"]
    {
        decode(&format!("{{\"Config\":{{{odd}}}}}")).unwrap_err();
    }
}

#[test]
fn what_was_read_back_is_whole_or_refused() {
    let mut frames = Vec::new();
    push_frame(&Record::from(&entry()), &mut frames);
    push_frame(&Record::from(&entry()), &mut frames);
    assert_eq!(decode_lines(200, &frames).unwrap(), [entry(), entry()]);
    assert_eq!(decode_lines(200, b"").unwrap(), []);
    assert!(decode_lines(200, &frames[..30]).unwrap_err().message.contains("not whole"));
    assert!(decode_lines(500, b"{\"Err\":\"gone\"}").unwrap_err().message.contains("gone"));
}

fn entries() -> impl Strategy<Value = (LogEntry, Option<u64>)> {
    let piece =
        (".{0,70}", any::<i32>(), any::<bool>()).prop_map(|(id, ordinal, last)| Piece { id, ordinal, last });
    let attributes = proptest::collection::btree_map(".{0,9}", ".{0,9}", 0..4);
    let line = proptest::collection::vec(any::<u8>(), 0..300);
    (any::<bool>(), any::<i64>(), line, proptest::option::of(piece), attributes, any::<Option<u64>>())
        .prop_map(|(stderr, time, line, piece, attributes, sequence)| {
            let source = if stderr { Source::Stderr } else { Source::Stdout };
            (LogEntry { source, time, line, piece, attributes }, sequence)
        })
}

proptest! {
    #[test]
    fn a_query_survives_the_way(since in any::<Option<i64>>(), until in any::<Option<i64>>(), tail in 0..=i64::MAX as u64, follow: bool) {
        let query = LogQuery { since, until, tail: Some(tail), follow };
        let request = Request::ReadLogs { info: Box::default(), query };
        prop_assert_eq!(Request::decode(Method::ReadLogs, &request.encode()).unwrap(), request);
    }

    #[test]
    fn what_is_written_is_read((entry, sequence) in entries()) {
        let mut bytes = Vec::new();
        push_record(&Record { sequence, ..Record::from(&entry) }, &mut bytes);
        for cut in 0..bytes.len() {
            prop_assert_eq!(record_at(&bytes[..cut]).unwrap(), None);
        }
        let (message, length) = record_at(&bytes).unwrap().unwrap();
        prop_assert_eq!(length, bytes.len());
        prop_assert_eq!(decode(message).unwrap(), (entry, sequence));
    }

    #[test]
    fn no_bytes_are_fatal(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode(&bytes);
        let _: Result<_, EntryError> = record_at(&bytes);
        let _ = Request::decode(Method::StartLogging, &bytes);
    }
}
