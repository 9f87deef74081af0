//! A plugin in another language, written with Docker's own Go helpers, runs unmodified.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::json;

use crate::{harness::Engine, package::folder};

/// Builds a peer that is written in Go.
pub fn go(engine: &Engine, peer: &str) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/peers").join(peer);
    let binary = engine.dir.join(peer);
    let built = Command::new("go")
        .args(["build", "-o"])
        .arg(&binary)
        .arg(".")
        .current_dir(source)
        .env("CGO_ENABLED", "0")
        .output()
        .expect("Go is needed: apt-get install golang-go");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    binary
}

/// Builds the plugin and enables it under `name`.
pub fn install(engine: &Engine, name: &str) {
    let binary = go(engine, "go-volume");
    let config = json!({
        "description": "a volume plugin in Go",
        "documentation": "",
        "entrypoint": ["/usr/bin/govol"],
        "network": {"type": ""},
        "interface": {"types": ["docker.volumedriver/1.0"], "socket": "govol.sock"},
        "propagatedMount": "/mnt/volumes"
    });
    let package = folder(engine, "govol", &binary, &config);
    engine
        .sh(&format!("docker plugin create {name} {} && docker plugin enable {name}", package.display()))
        .ok();
}

#[test]
fn a_plugin_in_go_runs_unmodified() {
    let engine = Engine::pintle();
    engine.busybox("alpine");
    install(&engine, "govol");
    engine.sh("docker volume create -d govol vol").ok();
    engine.sh("docker run --rm -v vol:/d alpine sh -c 'echo gopher > /d/f'").ok();
    assert_eq!(engine.sh("docker run --rm -v vol:/d alpine cat /d/f").ok(), "gopher");
    assert_eq!(engine.sh("docker volume inspect -f '{{.Status.language}}' vol").ok(), "go");
    // The suite looks into the plugin's own mount namespace, and kills it to see what it remembers.
    let report = engine.sh("pintle plugin test --restart govol").ok();
    assert!(report.ends_with("24 passed, 0 failed, 0 skipped"), "{report}");
    assert!(engine.sh("pintle plugin logs govol 2>&1").ok().contains("serving directories"));
    engine.sh("docker volume rm vol && docker plugin rm -f govol").ok();
}
