//! The containers half of the engine over the real store, image store and runtime. Needs root and a static
//! busybox.
//!
//! This program is its own shim, and its own engine that gets killed: without a test harness, `main` sees the
//! arguments before any thread exists.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod crash;
mod files;
mod house;
mod ledger;
mod life;
mod networks;
mod recorder;
mod streams;
mod volumes;

use std::{panic::AssertUnwindSafe, process::ExitCode, time::Instant};

use futures_util::FutureExt;

type Test = (&'static str, fn() -> futures_util::future::BoxFuture<'static, ()>);

/// Names an async test.
macro_rules! tests {
    ($($module:ident :: $name:ident),* $(,)?) => {
        [$(test(concat!(stringify!($module), "::", stringify!($name)), || $module::$name().boxed())),*]
    };
}

fn main() -> ExitCode {
    let mut args = std::env::args_os();
    let name = args.next().unwrap_or_default();
    if std::path::Path::new(&name).file_name().is_some_and(|name| name == "docker-init") {
        return pintle_runtime::init::main(args);
    }
    let words: Vec<_> = std::env::args().skip(1).collect();
    match words.first().map(String::as_str) {
        Some("shim") => {
            args.next();
            return pintle_runtime::shim::main(args);
        }
        Some("doomed-engine") => return crash::doomed(&words[1..]),
        _ => {}
    }
    let tests = tests![
        life::runs_and_tells_how_it_ended,
        life::a_command_that_is_not_there,
        life::names_and_conflicts,
        life::stop_kill_restart_and_pause,
        life::auto_remove_and_waits,
        life::policies_restart,
        life::what_the_process_sees,
        life::limits_and_update,
        life::lists_are_fast,
        streams::logs_and_follow,
        streams::attach_before_start,
        streams::execs,
        volumes::kinds_of_mounts,
        volumes::anonymous_volumes_and_copy_up,
        volumes::a_driver_that_hangs,
        files::copies_and_looks,
        networks::containers_find_each_other,
        networks::joining_and_leaving_while_running,
        networks::what_an_endpoint_may_ask_for,
        networks::shared_and_host_networks,
        networks::published_ports,
        networks::links_on_the_default_bridge,
        networks::another_engine_keeps_the_networks,
        recorder::a_plugin_is_told_what_the_bridge_is_told,
        crash::another_engine_takes_over,
        crash::every_failpoint,
        crash::at_random,
    ];
    let filter = words.iter().find(|word| !word.starts_with('-'));
    if words.iter().any(|word| word == "--list") {
        for (name, _) in &tests {
            println!("{name}: test");
        }
        return ExitCode::SUCCESS;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    let (mut passed, mut failed) = (0, 0);
    for (name, test) in tests {
        if filter.is_some_and(|filter| !name.contains(filter.as_str())) {
            continue;
        }
        let begin = Instant::now();
        let result = runtime.block_on(AssertUnwindSafe(test()).catch_unwind());
        let word = if result.is_ok() { "ok" } else { "FAILED" };
        println!("test {name} ... {word} ({} ms)", begin.elapsed().as_millis());
        if result.is_ok() { passed += 1 } else { failed += 1 }
    }
    println!(
        "\ntest result: {}. {passed} passed; {failed} failed; 0 ignored; 0 measured; 0 filtered out",
        if failed == 0 { "ok" } else { "FAILED" }
    );
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn test(name: &'static str, body: fn() -> futures_util::future::BoxFuture<'static, ()>) -> Test {
    (name, body)
}
