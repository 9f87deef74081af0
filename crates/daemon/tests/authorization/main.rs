//! What is judged is what is carried out: a whole engine with a plugin that writes down what it is shown, over raw
//! sockets. Needs root and a static busybox.
//!
//! This program is its own shim: without a test harness, `main` sees the arguments before any thread exists.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod ambiguity;
mod chain;
mod changes;
#[path = "../api/client.rs"]
mod client;
mod framing;
mod fuzz;
mod judge;
mod streams;
mod targets;

use std::{future::Future, panic::AssertUnwindSafe, path::PathBuf, pin::Pin, process::ExitCode, sync::Arc};

use futures_util::FutureExt;
use pintle_daemon::{Config, Daemon};
use pintle_sdk::{Listen, Server};

use judge::Judge;

/// An engine that a test talks to.
pub struct House {
    dir: tempfile::TempDir,
    /// Its socket.
    pub socket: PathBuf,
    /// The socket on which nobody is asked.
    pub recovery: PathBuf,
    /// Who is asked about everything.
    pub judge: Judge,
    /// And who is asked next, wants to know more, and may change things.
    pub changer: Judge,
}

type Test = (&'static str, fn(Arc<House>) -> Pin<Box<dyn Future<Output = ()>>>);

macro_rules! tests {
    ($($module:ident :: $name:ident),* $(,)?) => {
        [$((concat!(stringify!($module), "::", stringify!($name)), |house| Box::pin($module::$name(house)))),*]
    };
}

fn main() -> ExitCode {
    let mut args = std::env::args_os();
    let name = args.next().unwrap_or_default();
    if std::path::Path::new(&name).file_name().is_some_and(|name| name == "docker-init") {
        return pintle_runtime::init::main(args);
    }
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.first().is_some_and(|word| word == "shim") {
        args.next();
        return pintle_runtime::shim::main(args);
    }
    let tests: &[Test] = &tests![
        chain::texts_and_statuses_are_dockers,
        chain::a_plugin_may_ask_the_engine,
        chain::errors_are_judged_too,
        chain::root_has_a_way_in,
        changes::who_is_extended_knows_what_a_request_means,
        changes::a_request_is_carried_out_as_it_was_changed,
        changes::what_is_changed_is_judged_and_read_like_the_clients,
        changes::an_answer_is_sent_as_it_was_changed,
        framing::every_framing_is_judged_as_it_is_carried_out,
        framing::sizes_up_to_the_limit_are_shown_whole,
        framing::a_login_stays_private_and_nothing_else,
        ambiguity::what_reads_in_two_ways_is_refused,
        ambiguity::targets_are_spelled_in_one_way,
        ambiguity::other_media_types_are_refused_or_declared,
        fuzz::what_was_seen_is_what_was_done,
        streams::archives_are_declared_and_judged_before_they_are_read,
        streams::connections_are_judged_before_they_are_taken_over,
        streams::answers_are_held_whole,
        streams::endless_answers_are_judged_before_their_first_byte,
    ];
    if words.iter().any(|word| word == "--list") {
        for (name, _) in tests {
            println!("{name}: test");
        }
        return ExitCode::SUCCESS;
    }
    let filter = words.iter().find(|word| !word.starts_with('-'));
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => panic!("{error}"),
    };
    let failed = runtime.block_on(run(tests, filter.map(String::as_str)));
    println!("\ntest result: {}", if failed == 0 { "ok" } else { "FAILED" });
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn run(tests: &[Test], filter: Option<&str>) -> usize {
    let dir = tempfile::Builder::new().prefix("authorization-").tempdir().expect("a scratch directory");
    let plugins = dir.path().join("exec/plugins");
    std::fs::create_dir_all(&plugins).expect("a directory for sockets");
    let judge = Judge::default();
    let plugin = Server::authorization(judge.clone()).start(Listen::unix(plugins.join("judge.sock")));
    let plugin = plugin.expect("a plugin");
    let changer = Judge::extended();
    let more = Server::authorization(changer.clone()).start(Listen::unix(plugins.join("changer.sock")));
    let more = more.expect("another plugin");
    let (house, daemon) = engine(dir, judge, changer).await;
    let mut failed = 0;
    for (name, test) in tests {
        if filter.is_some_and(|filter| !name.contains(filter)) {
            continue;
        }
        house.judge.allow();
        house.changer.allow();
        let result = AssertUnwindSafe(test(Arc::clone(&house))).catch_unwind().await;
        println!("test {name} ... {}", if result.is_ok() { "ok" } else { "FAILED" });
        failed += usize::from(result.is_err());
    }
    house.judge.allow();
    house.changer.allow();
    client::clear(&house).await;
    daemon.stop().await;
    plugin.stop().await.expect("a plugin that ends");
    more.stop().await.expect("a plugin that ends");
    pintle_daemon::clear_networks(&house.dir.path().join("exec")).await.expect("the host as it was");
    failed
}

async fn engine(dir: tempfile::TempDir, judge: Judge, changer: Judge) -> (Arc<House>, Daemon) {
    let (socket, recovery) = (dir.path().join("engine.sock"), dir.path().join("recovery.sock"));
    let mut config =
        Config::private(dir.path().join("data"), dir.path().join("exec"), &socket).expect("a configuration");
    config.authorization_plugins = vec!["judge".to_owned(), "changer".to_owned()];
    config.authorization_changers = vec!["changer".to_owned()];
    config.authorization_recovery_socket = Some(recovery.clone());
    let mut daemon = pintle_daemon::start(config).await.expect("an engine");
    daemon.ready().await;
    let house = Arc::new(House { dir, socket, recovery, judge, changer });
    client::import_busybox(&house).await;
    client::run(&house, "base", "trap exit TERM; while :; do sleep 0.1; done", serde_json::json!({})).await;
    (house, daemon)
}
