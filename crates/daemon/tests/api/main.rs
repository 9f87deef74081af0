//! The API of a whole engine on scratch directories, over its unix socket, byte by byte where bytes matter.
//! Needs root and a static busybox.
//!
//! This program is its own shim: without a test harness, `main` sees the arguments before any thread exists.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod client;
mod containers;
mod hostile;
mod images;
mod protocol;
mod resources;

use std::{future::Future, panic::AssertUnwindSafe, path::PathBuf, pin::Pin, process::ExitCode, sync::Arc};

use futures_util::FutureExt;
use pintle_daemon::{Config, Daemon};

/// An engine that a test talks to.
pub struct House {
    dir: tempfile::TempDir,
    /// Its socket.
    pub socket: PathBuf,
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
        protocol::ping_says_what_speaks,
        protocol::versions_are_negotiated,
        protocol::unknown_paths_and_methods,
        protocol::paths_have_one_form,
        protocol::a_refusal_reaches_clients_that_still_write,
        protocol::bodies_must_be_json,
        protocol::keys_in_any_case,
        protocol::swarm_is_inactive,
        protocol::version_and_info,
        resources::volumes,
        resources::networks,
        resources::networks_of_ones_own,
        resources::plugins_that_are_not_there,
        resources::events_since_and_until,
        containers::life_of_one,
        containers::wait_answers_before_the_end,
        containers::hijack_with_and_without_upgrade,
        containers::files_go_in_and_out,
        containers::ends_have_reasons,
        containers::the_hosts_kernel_is_not_the_containers,
        images::versions_show_what_they_always_showed,
        images::patterns_and_names_that_are_none,
        images::archives_that_are_none,
        images::an_image_from_the_web,
        hostile::every_route_survives_anything,
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
    let (house, daemon) = engine().await;
    let mut failed = 0;
    for (name, test) in tests {
        if filter.is_some_and(|filter| !name.contains(filter)) {
            continue;
        }
        let result = AssertUnwindSafe(test(Arc::clone(&house))).catch_unwind().await;
        println!("test {name} ... {}", if result.is_ok() { "ok" } else { "FAILED" });
        failed += usize::from(result.is_err());
    }
    client::clear(&house).await;
    daemon.stop().await;
    pintle_daemon::clear_networks(&house.dir.path().join("exec")).await.expect("the host as it was");
    if house.socket.exists() {
        println!("test the_socket_is_gone_afterwards ... FAILED");
        failed += 1;
    }
    failed
}

async fn engine() -> (Arc<House>, Daemon) {
    let dir = tempfile::Builder::new().prefix("daemon-").tempdir().expect("a scratch directory");
    let socket = dir.path().join("engine.sock");
    let config =
        Config::private(dir.path().join("data"), dir.path().join("exec"), &socket).expect("a configuration");
    let mut daemon = pintle_daemon::start(config).await.expect("an engine");
    daemon.ready().await;
    let house = Arc::new(House { dir, socket });
    client::import_busybox(&house).await;
    (house, daemon)
}
