//! `pintle plugin test` on sockets: it finds out what a plugin implements and runs a suite for each.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::{path::Path, process::Command};

use pintle_netlink::Namespace;
use pintle_sdk::Server;
use pintle_testkit::{
    authorization,
    faulty::{Faulty, Script},
    ipam, log, network, volume,
};

/// Serves the drivers in a network namespace of the test's own, runs the command there, and says how it went.
fn put_to_the_test(script: &str, drivers: impl FnOnce() -> Server + Send, args: &[&str]) -> (i32, String) {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("p.sock");
    let run = |socket: &Path| {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let _inside = runtime.enter();
        let script: Script = script.parse().unwrap();
        let _plugin = Faulty::start(socket, drivers(), script).unwrap();
        let command = Command::new(env!("CARGO_BIN_EXE_pintle"))
            .args(["plugin", "test", "--alone"])
            .args(args)
            .arg(socket)
            .output()
            .unwrap();
        let text = format!(
            "{}{}",
            String::from_utf8_lossy(&command.stdout),
            String::from_utf8_lossy(&command.stderr)
        );
        (command.status.code().unwrap_or(-1), text)
    };
    Namespace::create().unwrap().run(|| run(&socket)).unwrap()
}

fn all() -> Server {
    let host = Namespace::current().unwrap();
    Server::network(network::ReferenceDriver::new(host))
        .and_ipam(ipam::ReferenceDriver::default())
        .and_volume(volume::ReferenceDriver::temporary().unwrap())
        .and_authorization(authorization::ReferenceAuthorizer)
        .and_log(log::ReferenceLog::default())
}

#[test]
fn a_plugin_of_every_kind_is_tested_as_each() {
    let (code, text) = put_to_the_test("", all, &[]);
    assert_eq!(code, 0, "{text}");
    for interface in ["VolumeDriver:", "NetworkDriver:", "IpamDriver:", "authz:", "LogDriver:"] {
        assert!(text.lines().any(|line| line == interface), "{text}");
    }
    assert_eq!(text.matches(" 0 failed,").count(), 5, "{text}");
}

#[test]
fn one_that_does_not_say_what_it_is_is_asked() {
    let only = || Server::ipam(ipam::ReferenceDriver::default());
    let (code, text) = put_to_the_test("activate=status:404", only, &[]);
    assert!(code == 0 && text.contains("pool_overlap") && !text.contains("join_again"), "{text}");
}

#[test]
fn a_promise_that_is_not_kept_fails_the_command() {
    let args = ["--suite", "network", "--no-reach", "--subnet6", "none", "--budget", "20"];
    let (code, text) = put_to_the_test("EndpointOperInfo=err500:no", all, &args);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("FAILED   info ") && text.contains("1 failed"), "{text}");
    assert!(!text.contains("pool_overlap"), "only the suite that was asked for");
}

#[test]
fn subnets_come_in_pairs() {
    let (code, text) = put_to_the_test("", all, &["--subnet", "10.0.0.0/24"]);
    assert!(code != 0 && text.contains("give --subnet twice"), "{code} {text}");
}
