//! The life of a plugin, its volume, a container that uses it, and an image from a registry.

use std::{process::Command, time::Duration};

use serde_json::json;

use super::{Life, Reached, Step, away, exists};
use crate::{
    harness::{Engine, eventually},
    package::{built, config, folder},
    registry::Registry,
};

pub(super) struct Plugins {
    steps: Vec<Step>,
    remote: String,
    /// The manifest that `remote` names.
    digest: String,
    image: String,
}

/// Publishes what the life installs and pulls, and writes the life down.
pub(super) fn life(engine: &Engine, registry: &Registry) -> Plugins {
    let package = folder(engine, "volume-dirs", &built("volume-dirs"), &config("volume-dirs"));
    let remote = format!("{}/me/dirs:2", registry.address);
    engine
        .sh(&format!(
            "docker plugin create {remote} {} && docker plugin push {remote} && docker plugin rm {remote}",
            package.display()
        ))
        .ok();
    let tar =
        Command::new("tar").args(["-C", &package.display().to_string(), "-c", "."]).output().unwrap().stdout;
    let image = format!("{}/me/image", registry.address);
    engine
        .sh(&format!(
            "echo more > more && tar -c more | docker import - {image}:1 && docker push {image}:1 && \
             docker rmi {image}:1"
        ))
        .ok();
    engine.sh(&format!("docker plugin install --disable --alias probe {remote}")).ok();
    let digest =
        engine.http("GET", "/plugins/probe/json", None).1["ManifestDigest"].as_str().unwrap().to_owned();
    engine.sh("docker plugin rm probe").ok();
    let post = |name, path: &str| Step::new(name, "POST", path);
    let delete = |name, path: &str| Step::new(name, "DELETE", path);
    let steps = vec![
        post("create", "/plugins/create?name=p").tar(tar),
        post("set", "/plugins/p/set").json(&json!(["DEBUG=7"])),
        post("enable", "/plugins/p/enable?timeout=10"),
        post("volume", "/volumes/create").json(&json!({"Name": "vol", "Driver": "p"})),
        post("container", "/containers/create?name=box").json(&json!({
            "Image": "alpine", "Cmd": ["sh", "-c", "echo x > /d/f; sleep 1000"],
            "HostConfig": {"Binds": ["vol:/d"], "NetworkMode": "none"}
        })),
        post("start", "/containers/box/start"),
        post("stop", "/containers/box/stop?t=0"),
        delete("rm", "/containers/box"),
        delete("volume rm", "/volumes/vol"),
        post("disable", "/plugins/p/disable"),
        post("upgrade", &format!("/plugins/p/upgrade?remote={remote}")).json(&json!([])),
        post("re-enable", "/plugins/p/enable?timeout=10"),
        delete("plugin rm", "/plugins/p?force=1"),
        post("install", &format!("/plugins/pull?remote={remote}&name=q")).json(&json!([])),
        delete("uninstall", "/plugins/q"),
        post("pull", &format!("/images/create?fromImage={image}&tag=1")),
        delete("rmi", &format!("/images/{image}:1")),
    ];
    Plugins { steps, remote, digest, image }
}

impl Life for Plugins {
    fn steps(&self) -> &[Step] {
        &self.steps
    }

    fn agrees(&self, engine: &Engine, reached: &Reached<'_>) {
        let (has, maybe) = (|step| reached.has(step), |step| reached.maybe(step));
        let must = |what: &str, made_and_gone, path: &str| {
            reached.must(what, made_and_gone, exists(engine, path));
        };
        must("the plugin", ("create", "plugin rm"), "/plugins/p/json");
        must("the second plugin", ("install", "uninstall"), "/plugins/q/json");
        must("the image", ("pull", "rmi"), &format!("/images/{}:1/json", self.image));
        if reached.holds("create", "plugin rm") {
            let (_, plugin) = engine.http("GET", "/plugins/p/json", None);
            let debug = if plugin["Settings"]["Env"].to_string().contains("DEBUG=7") { 7 } else { 0 };
            assert!(!has("set") || debug == 7, "a setting was acknowledged and is lost: {plugin}");
            assert!(maybe("set") || debug == 0, "{plugin}");
            let upgraded = plugin["ManifestDigest"] == json!(self.digest);
            assert!(
                upgraded || plugin["ManifestDigest"] == "",
                "neither the old nor the new version: {plugin}"
            );
            assert!(!has("upgrade") || upgraded, "an upgrade was acknowledged and is lost: {plugin}");
            assert!(maybe("upgrade") || !upgraded, "{plugin}");
        }
        must("the container", ("container", "rm"), "/containers/box/json");
        if reached.holds("enable", "disable") {
            eventually("the plugin to be ready again", Duration::from_secs(20), || {
                engine.http("GET", "/volumes/vol", None).0 != 500
                    && engine.http("GET", "/plugins/p/json", None).1["State"] == "ready"
            });
        }
        must("the volume", ("volume", "volume rm"), "/volumes/vol");
        let (_, container) = engine.http("GET", "/containers/box/json", None);
        let state = &container["State"];
        if reached.holds("start", "stop") {
            assert_eq!(state["Running"], true, "{state}");
        }
        if reached.holds("stop", "rm") {
            assert_eq!(state["Running"], false, "{state}");
            assert_eq!(state["ExitCode"], 137, "{state}");
        }
    }

    fn undo(&self, engine: &Engine, remembered: &str) {
        // What an interrupted pull fetched waits for the next one, so that one is made.
        for (method, path) in [
            ("DELETE", "/containers/box?force=1"),
            ("POST", "/plugins/p/enable?timeout=10"),
            ("DELETE", "/volumes/vol"),
            ("DELETE", "/plugins/p?force=1"),
            ("POST", &format!("/plugins/pull?remote={}&name=q", self.remote)),
            ("DELETE", "/plugins/q?force=1"),
            ("POST", &format!("/images/create?fromImage={}&tag=1", self.image)),
            ("DELETE", &format!("/images/{}:1", self.image)),
        ] {
            away(engine, method, path, remembered);
        }
    }
}
