//! Plugins that hang, lie, die and leave things behind; engines that die in between.

use std::{
    fs,
    time::{Duration, Instant},
};

use pintle_contract::{
    ErrorKind, NetworkDriver, Value,
    network::{PortBinding, Protocol},
};
use serde_json::json;

use crate::house::{House, Sandbox, Wish, endpoint, join, network, start, stop};

const VERSIONS: &[&str] = &["0.4.0", "1.0.0", "1.1.0"];
const OK: &str = r#"[ $CNI_COMMAND != ADD ] || echo '{"ips": [{"address": "10.7.0.2/16"}]}'"#;

/// Whether a process still runs that was started with `text` among its arguments.
fn runs(text: &str) -> bool {
    fs::read_dir("/proc").unwrap().flatten().any(|entry| {
        fs::read(entry.path().join("cmdline"))
            .is_ok_and(|line| String::from_utf8_lossy(&line).split('\0').any(|word| word == text))
    })
}

#[test]
fn a_plugin_that_hangs_is_killed_with_all_its_children() {
    let mut house = House::new();
    house.budget = Duration::from_millis(700);
    // A number nobody else sleeps.
    let nap = format!("86{}", std::process::id());
    house.plugin("good", VERSIONS, OK);
    house.plugin("stuck", VERSIONS, &format!("[ $CNI_COMMAND != ADD ] || {{ sleep {nap} & sleep {nap}; }}"));
    house.list("stuck", "1.0.0", &json!([{"type": "good"}, {"type": "stuck"}]));
    let (driver, sandbox) = (house.driver(), Sandbox::new());
    house.play(async {
        driver.create_network(network("stuck", &[])).await.unwrap();
        let error = start(&driver, 'a', &sandbox, &Wish::default()).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Timeout);
        assert_eq!(error.message, "CNI plugin stuck (ADD): did not finish within 0.7 s and was killed");
        let deadline = Instant::now() + Duration::from_secs(10);
        while runs(&nap) {
            assert!(Instant::now() < deadline, "its children live");
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(
            house.calls(),
            ["good-ADD", "stuck-ADD", "stuck-DEL", "good-DEL"],
            "what was made goes again"
        );
        assert!(house.records().is_empty());
        driver.delete_endpoint(&endpoint('a')).await.unwrap();
        assert_eq!(house.calls().len(), 4);
    });
}

#[test]
fn a_daemon_that_a_plugin_leaves_behind_holds_nobody_up() {
    let house = House::new();
    house.plugin("parent", VERSIONS, &format!("{OK}\n[ $CNI_COMMAND != ADD ] || {{ sleep 20 & }}"));
    house.list("parent", "1.0.0", &json!([{"type": "parent"}]));
    let (driver, sandbox) = (house.driver(), Sandbox::new());
    house.play(async {
        driver.create_network(network("parent", &[])).await.unwrap();
        let begin = Instant::now();
        start(&driver, 'a', &sandbox, &Wish::default()).await.unwrap();
        assert!(begin.elapsed() < Duration::from_secs(15));
        stop(&driver, 'a').await.unwrap();
    });
}

#[test]
fn whatever_a_plugin_answers_is_an_error_with_its_name() {
    let house = House::new();
    let cases = [
        (
            r#"echo '{"code": 7, "msg": "no room", "details": "in /31"}'; exit 1"#,
            ErrorKind::InvalidArgument,
            "no room; in /31 (code 7)",
        ),
        (r#"echo '{"code": 11, "msg": "later"}'; exit 1"#, ErrorKind::Unavailable, "later (code 11)"),
        (
            r#"echo '{"code": 1, "msg": "incompatible"}'; exit 1"#,
            ErrorKind::Unsupported,
            "incompatible (code 1)",
        ),
        (r#"echo '{"code": 123, "msg": "own"}'; exit 1"#, ErrorKind::Internal, "own (code 123)"),
        ("echo some words >&2; exit 3", ErrorKind::Internal, "failed (exit status: 3): some words"),
        ("exit 3", ErrorKind::Internal, "failed without a word (exit status: 3)"),
        ("kill -SEGV $$", ErrorKind::Internal, "failed without a word (signal: 11 (SIGSEGV)"),
        ("echo '{'", ErrorKind::Internal, "its answer is not JSON"),
        (":", ErrorKind::Internal, "its answer: nothing"),
        ("echo '[]'", ErrorKind::Internal, "its answer: expected an object"),
        (
            r#"echo '{"ips": [{"address": "here"}]}'"#,
            ErrorKind::Internal,
            "is not an address with a prefix length",
        ),
        (r#"echo '{"cniVersion": "7.0.0"}'"#, ErrorKind::Internal, "version 7.0.0 is not known"),
        ("yes '{' | head -c 3000000", ErrorKind::Internal, "its answer has no end"),
        ("exec 0<&-; exec 1>&-; exec 2>&-", ErrorKind::Internal, "its answer: nothing"),
    ];
    let (driver, sandbox) = (house.driver(), Sandbox::new());
    house.play(async {
        for (script, kind, text) in cases {
            house.plugin("liar", VERSIONS, &format!("if [ $CNI_COMMAND = ADD ]; then {script}\nfi"));
            house.list("lies", "1.0.0", &json!([{"type": "liar"}]));
            driver.create_network(network("lies", &[])).await.unwrap();
            let error = start(&driver, 'a', &sandbox, &Wish::default()).await.unwrap_err();
            assert_eq!(error.kind, kind, "{error}");
            assert!(
                error.message.starts_with("CNI plugin liar (ADD): ") && error.message.contains(text),
                "{error}"
            );
            assert!(house.records().is_empty());
        }
    });
}

#[test]
fn a_network_that_is_not_ready_is_not_tried() {
    let house = House::new();
    house.plugin(
        "down",
        VERSIONS,
        r#"[ $CNI_COMMAND != STATUS ] || { echo '{"code": 50, "msg": "no addresses left"}'; exit 1; }"#,
    );
    house.list("down", "1.1.0", &json!([{"type": "down"}]));
    let (driver, sandbox) = (house.driver(), Sandbox::new());
    house.play(async {
        driver.create_network(network("down", &[])).await.unwrap();
        let error = start(&driver, 'a', &sandbox, &Wish::default()).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unavailable);
        assert_eq!(error.message, "CNI plugin down (STATUS): no addresses left (code 50)");
        assert_eq!(house.calls(), ["down-STATUS"]);
    });
}

#[test]
fn an_engine_that_dies_between_any_two_steps_leaves_nothing() {
    let house = House::new();
    house.plugin("good", VERSIONS, OK);
    house.plugin("slow", VERSIONS, &format!("[ $CNI_COMMAND != ADD ] || sleep 5\n{OK}"));
    house.list("slow", "1.0.0", &json!([{"type": "good"}, {"type": "slow"}]));
    let sandbox = Sandbox::new();
    let driver = house.driver();
    house.play(async {
        driver.create_network(network("slow", &[])).await.unwrap();
        let wish = Wish::default();
        let attempt = start(&driver, 'a', &sandbox, &wish);
        // The call is given up in the middle of the chain, as a crash would.
        assert!(tokio::time::timeout(Duration::from_millis(1500), attempt).await.is_err());
        assert_eq!(house.records().len(), 1, "intent is written down before anything is done");
    });
    drop(driver);
    let driver = house.driver();
    house.play(async {
        driver.create_network(network("slow", &[])).await.unwrap();
        driver.retain(&[crate::house::NETWORK.into()], &[]).await.unwrap();
        assert_eq!(house.calls(), ["good-ADD", "slow-ADD", "slow-DEL", "good-DEL"]);
        assert!(house.stdin(2).get("prevResult").is_none());
        assert!(house.records().is_empty());

        // An endpoint that is tried again after a broken attempt starts afresh.
        house.plugin("slow", VERSIONS, &format!("[ $CNI_COMMAND != ADD ] || sleep 5\n{OK}"));
        let wish = Wish::default();
        let attempt = start(&driver, 'a', &sandbox, &wish);
        assert!(tokio::time::timeout(Duration::from_millis(1500), attempt).await.is_err());
        house.plugin("slow", VERSIONS, OK);
        start(&driver, 'a', &sandbox, &Wish::default()).await.unwrap();
        assert_eq!(house.calls()[6..], ["slow-DEL", "good-DEL", "good-ADD", "slow-ADD"]);
        stop(&driver, 'a').await.unwrap();
    });
}

#[test]
fn what_cannot_be_undone_now_is_undone_later() {
    let house = House::new();
    let flag = house.path("refuse");
    house.plugin(
        "moody",
        VERSIONS,
        &format!(
            r#"{OK}
if [ $CNI_COMMAND = DEL ] && [ -e {} ]; then echo '{{"code": 11, "msg": "not now"}}'; exit 1; fi"#,
            flag.display()
        ),
    );
    house.plugin(
        "done",
        VERSIONS,
        &format!(
            r#"{OK}
[ $CNI_COMMAND != DEL ] || {{ echo '{{"code": 3, "msg": "never heard of it"}}'; exit 1; }}"#
        ),
    );
    house.list("moody", "1.0.0", &json!([{"type": "moody"}, {"type": "done"}]));
    let (driver, sandbox) = (house.driver(), Sandbox::new());
    house.play(async {
        driver.create_network(network("moody", &[])).await.unwrap();
        start(&driver, 'a', &sandbox, &Wish::default()).await.unwrap();
        fs::write(&flag, "").unwrap();
        let error = driver.leave(&endpoint('a')).await.unwrap_err();
        assert_eq!(
            (error.kind, error.message.as_str()),
            (ErrorKind::Unavailable, "CNI plugin moody (DEL): not now (code 11)")
        );
        assert_eq!(house.records().len(), 1);
        assert!(driver.delete_endpoint(&endpoint('a')).await.is_err());
        assert!(driver.retain(&[], &[]).await.is_err());
        fs::remove_file(&flag).unwrap();
        driver.retain(&[], &[]).await.unwrap();
        assert!(house.records().is_empty());
    });
}

#[test]
fn a_container_that_runs_stays_though_check_fails_and_everybody_can_see_why() {
    let house = House::new();
    let flag = house.path("broken");
    let script = format!(
        r#"{OK}
if [ $CNI_COMMAND = CHECK ] && [ -e {} ]; then echo '{{"code": 120, "msg": "rule is gone"}}'; exit 1; fi"#,
        flag.display()
    );
    house.plugin("checks", VERSIONS, &script);
    house.list("checks", "1.0.0", &json!([{"type": "checks"}]));
    let (driver, sandbox) = (house.driver(), Sandbox::new());
    let trouble = async || driver.endpoint_info(&endpoint('a')).await.unwrap().remove("Trouble");
    house.play(async {
        driver.create_network(network("checks", &[])).await.unwrap();
        let joined = start(&driver, 'a', &sandbox, &Wish::default()).await.unwrap();
        fs::write(&flag, "").unwrap();
        assert_eq!(join(&driver, 'a', &sandbox, &Wish::default()).await.unwrap(), joined);
        assert_eq!(trouble().await, Some(Value::from("CNI plugin checks (CHECK): rule is gone (code 120)")));
        fs::remove_file(&flag).unwrap();
        join(&driver, 'a', &sandbox, &Wish::default()).await.unwrap();
        assert_eq!(trouble().await, None);
        let info = driver.endpoint_info(&endpoint('a')).await.unwrap();
        assert_eq!(info["CNINetwork"], Value::from("checks"));
        stop(&driver, 'a').await.unwrap();
        assert!(driver.endpoint_info(&endpoint('a')).await.unwrap().is_empty());
    });
}

#[test]
fn one_container_is_worked_on_once_at_a_time() {
    let house = House::new();
    let place = house.path("busy");
    house.plugin(
        "jealous",
        VERSIONS,
        &format!("mkdir {0} || {{ echo busy >&2; exit 9; }}; sleep 0.3; rmdir {0}\n{OK}", place.display()),
    );
    house.list("jealous", "1.0.0", &json!([{"type": "jealous"}]));
    let (driver, sandbox) = (house.driver(), Sandbox::new());
    house.play(async {
        driver.create_network(network("jealous", &[])).await.unwrap();
        let wish = |name| Wish { name, ..Wish::default() };
        let (zero, one, two) = (wish("eth0"), wish("eth1"), wish("eth2"));
        let (a, b, c) = tokio::join!(
            start(&driver, 'a', &sandbox, &zero),
            start(&driver, 'b', &sandbox, &one),
            start(&driver, 'c', &sandbox, &two),
        );
        assert!(a.is_ok() && b.is_ok() && c.is_ok(), "{a:?} {b:?} {c:?}");
        for digit in ['a', 'b', 'c'] {
            stop(&driver, digit).await.unwrap();
        }
    });
}

#[test]
fn a_published_port_is_taken_for_everybody() {
    let house = House::new();
    house.plugin("maps", VERSIONS, OK);
    house.list("maps", "1.0.0", &json!([{"type": "maps", "capabilities": {"portMappings": true}}]));
    let (driver, sandboxes) = (house.driver(), [Sandbox::new(), Sandbox::new()]);
    let ports = |host_port, host_port_end| Wish {
        ports: vec![PortBinding {
            protocol: Protocol::Tcp,
            port: 80,
            host_ip: None,
            host_port,
            host_port_end,
        }],
        ..Wish::default()
    };
    house.play(async {
        driver.create_network(network("maps", &[])).await.unwrap();
        let joined = start(&driver, 'a', &sandboxes[0], &ports(8080, 0)).await.unwrap();
        assert_eq!(joined.published[0].host_port, 8080);
        assert!(std::net::TcpListener::bind("127.0.0.1:8080").is_err(), "another program would not be heard");
        let error = std::net::TcpStream::connect("127.0.0.1:8080").unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused, "nobody waits at it");
        let error = start(&driver, 'b', &sandboxes[1], &ports(8080, 0)).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Conflict);
        assert_eq!(error.message, "Bind for 0.0.0.0:8080 failed: port is already allocated");
        assert_eq!(house.calls(), ["maps-ADD"]);
        let joined = start(&driver, 'b', &sandboxes[1], &ports(8080, 8082)).await.unwrap();
        assert_eq!(joined.published[0].host_port, 8081, "the first of the range that is free");
        stop(&driver, 'b').await.unwrap();
        let joined = start(&driver, 'b', &sandboxes[1], &ports(0, 0)).await.unwrap();
        assert!(joined.published[0].host_port > 0, "any will do");
        stop(&driver, 'a').await.unwrap();
        stop(&driver, 'b').await.unwrap();
        let free = std::net::TcpListener::bind("127.0.0.1:8080");
        assert!(free.is_ok(), "{free:?}");
    });
}
