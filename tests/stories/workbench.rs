//! What a plugin's author does: scaffold, build, test, publish.

use std::{collections::BTreeSet, path::PathBuf, process::Command, time::Duration};

use crate::harness::{Client, Engine, Kind, PINTLE, eventually};

/// Rust's own folders, which a story's private `HOME` does not have, and a target folder that is kept.
fn rust() -> String {
    let home = PathBuf::from(std::env::var_os("HOME").unwrap());
    let folder = |name: &str, usual: &str| {
        std::env::var_os(name).map_or_else(|| home.join(usual), PathBuf::from).display().to_string()
    };
    let target = PathBuf::from(PINTLE).with_file_name("scaffold");
    format!(
        "export CARGO_HOME={} RUSTUP_HOME={} CARGO_TARGET_DIR={}; ",
        folder("CARGO_HOME", ".cargo"),
        folder("RUSTUP_HOME", ".rustup"),
        target.display()
    )
}

/// Names and versions in a `Cargo.lock`.
fn packages(lock: &str) -> BTreeSet<String> {
    lock.split("[[package]]").skip(1).map(|part| part.lines().take(3).collect()).collect()
}

/// The machine that built pintle has all that a plugin needs, so none of this touches the network.
#[test]
fn a_scaffold_builds_offline_and_keeps_every_promise() {
    let engine = Engine::start(Kind::Pintle, Client::Pintle, &[]);
    engine.busybox("alpine");
    let said = engine.sh("pintle plugin new --kind volume me/my-volumes").ok();
    let next: Vec<&str> = said.lines().filter_map(|line| line.strip_prefix("  pintle plugin ")).collect();
    assert_eq!(next.len(), 4, "{said}");
    let folder = engine.dir.join("me/my-volumes");
    let locked = std::fs::read_to_string(folder.join("Cargo.lock")).unwrap();
    let offline = |script: &str| {
        let script = format!("{}unshare --net bash -ec {script:?}", rust());
        engine.sh_within(900, &engine.dir, &script).ok()
    };
    for step in next {
        let said = offline(&format!("pintle plugin {step}"));
        if step.starts_with("test") {
            assert!(said.contains(" 0 failed"), "{said}");
        }
    }
    let report = engine.sh("pintle plugin test --restart me/my-volumes").ok();
    assert!(report.ends_with("24 passed, 0 failed, 0 skipped"), "{report}");
    engine.sh("docker volume create -d me/my-volumes vol").ok();
    engine.sh("docker run --rm -v vol:/data alpine sh -c 'echo kept > /data/f'").ok();
    assert_eq!(engine.sh("docker run --rm -v vol:/data alpine cat /data/f").ok(), "kept");

    let tested = offline("cd me/my-volumes && cargo test --offline --locked 2>&1");
    assert!(tested.contains("it_keeps_every_promise ... ok"), "{tested}");
    // Cargo drops from the lock what the plugin does not need, and chooses no version of its own.
    let built = packages(&std::fs::read_to_string(folder.join("Cargo.lock")).unwrap());
    assert!(built.is_subset(&packages(&locked)), "{:?}", built.difference(&packages(&locked)));
    // A newer pintle's SDK takes the place of this one, and of nothing else.
    engine.sh("pintle plugin sdk me/my-volumes/sdk").ok();
    let refused = engine.sh("pintle plugin sdk me/my-volumes/src").fails();
    assert!(refused.contains("something else"), "{refused}");
}

#[test]
fn a_scaffold_in_python_is_a_plugin_as_it_is() {
    let engine = Engine::start(Kind::Pintle, Client::Pintle, &[]);
    engine.busybox("alpine");
    engine.sh("pintle plugin new --lang python snakes").ok();
    let socket = engine.dir.join("plugins/snakes.sock");
    let mut child = Command::new("python3")
        .arg(engine.dir.join("snakes/rootfs/plugin.py"))
        .env("PLUGIN_NAME", &socket)
        .env("ROOT", engine.dir.join("snake-volumes"))
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("apt-get install python3");
    eventually("the plugin", Duration::from_secs(20), || socket.exists());
    let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let sockets = engine.dir.join("plugins");
        // By name, for which no engine is asked, and by the socket's path.
        for subject in
            [format!("--plugin-sockets {} snakes", sockets.display()), socket.display().to_string()]
        {
            let report = engine.sh(&format!("pintle plugin test {subject}")).ok();
            assert!(report.ends_with("23 passed, 0 failed, 1 skipped"), "{report}");
        }
        engine.sh("docker volume create -d snakes vol").ok();
        engine.sh("docker run --rm -v vol:/data alpine sh -c 'echo kept > /data/f'").ok();
        assert_eq!(engine.sh("docker run --rm -v vol:/data alpine cat /data/f").ok(), "kept");
        engine.sh("docker volume rm vol").ok();
    }));
    let _ = child.kill();
    let _ = child.wait();
    told.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    let gone = engine.sh(&format!("pintle plugin test {}", socket.display())).fails();
    assert!(gone.contains("cannot be reached"), "{gone}");
}

#[test]
fn what_cannot_work_is_said_before_it_is_packaged() {
    let engine = Engine::start(Kind::Pintle, Client::Pintle, &[]);
    engine.sh("pintle plugin new --builtin broken").ok();
    assert!(engine.sh("pintle plugin validate broken").ok().contains("privileges: none"));
    engine.sh("rm broken/rootfs/bin/pintle").ok();
    let said = engine.sh("pintle plugin validate broken").fails();
    assert!(said.contains("rootfs/bin/pintle") && said.contains("1 error"), "{said}");
    let refused = engine.sh("pintle plugin build broken").fails();
    assert!(refused.contains("cannot be packaged"), "{refused}");
    assert_eq!(engine.sh("docker plugin ls -q").ok(), "");
}
