//! The life of images that are loaded, imported, built and committed, and of a container that is changed while it
//! runs.

use std::{process::Command, time::Duration};

use serde_json::json;

use super::{Life, Reached, Step, away, exists};
use crate::harness::{Engine, eventually};

pub(super) struct Images {
    steps: Vec<Step>,
}

/// Makes the archives that the life brings in, and writes the life down.
pub(super) fn life(engine: &Engine) -> Images {
    engine
        .sh(
            "mkdir context && echo one > one && echo two > context/two && \
             printf 'FROM alpine\\nCOPY two /two\\nRUN echo three > /three\\nENV FOUR=4\\n' > context/Dockerfile && \
             tar -c one | docker import -c 'LABEL sweep=1' - loaded:1 && docker save -o loaded.tar loaded:1 && \
             docker rmi loaded:1 && tar -cf one.tar one && tar -cf context.tar -C context .",
        )
        .ok();
    let read = |name: &str| std::fs::read(engine.dir.join(name)).unwrap();
    let post = |name, path: &str| Step::new(name, "POST", path);
    let delete = |name, path: &str| Step::new(name, "DELETE", path);
    let pruned = r#"{"dangling":["false"],"label":["sweep"]}"#;
    let steps = vec![
        post("load", "/images/load?quiet=1").tar(read("loaded.tar")),
        post("import", "/images/create?fromSrc=-&repo=imported&tag=1&changes=LABEL%20sweep=2")
            .tar(read("one.tar")),
        post("tag", "/images/imported:1/tag?repo=tagged&tag=2"),
        post("build", "/build?t=built:1&networkmode=none&rm=1&forcerm=1").tar(read("context.tar")),
        post("container", "/containers/create?name=box").json(&json!({
            "Image": "built:1", "Cmd": ["sleep", "1000"], "HostConfig": {"NetworkMode": "none"}
        })),
        post("start", "/containers/box/start"),
        post("exec", "/containers/box/exec").json(&json!({"Cmd": ["touch", "/by-exec"]})),
        post("exec start", "/exec/{}/start").json(&json!({"Detach": true})),
        post("rename", "/containers/box/rename?name=crate"),
        post("update", "/containers/crate/update").json(&json!({"PidsLimit": 77})),
        post("pause", "/containers/crate/pause"),
        post("unpause", "/containers/crate/unpause"),
        post("commit", "/commit?container=crate&repo=committed&tag=1"),
        post("stop", "/containers/crate/stop?t=0"),
        delete("rm", "/containers/crate"),
        delete("untag", "/images/tagged:2"),
        delete("rm committed", "/images/committed:1"),
        delete("rm built", "/images/built:1"),
        post("prune", &format!("/images/prune?filters={}", encoded(pruned))),
    ];
    Images { steps }
}

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// Names of images that this life makes, with the steps that make and remove each.
const NAMES: [(&str, (&str, &str)); 5] = [
    ("loaded:1", ("load", "prune")),
    ("imported:1", ("import", "prune")),
    ("tagged:2", ("tag", "untag")),
    ("built:1", ("build", "rm built")),
    ("committed:1", ("commit", "rm committed")),
];

impl Life for Images {
    fn steps(&self) -> &[Step] {
        &self.steps
    }

    fn agrees(&self, engine: &Engine, reached: &Reached<'_>) {
        for (name, made_and_gone) in NAMES {
            reached.must(name, made_and_gone, exists(engine, &format!("/images/{name}/json")));
        }
        let (old, new) = (exists(engine, "/containers/box/json"), exists(engine, "/containers/crate/json"));
        assert!(!(old && new), "one container has two names");
        reached.must("the container", ("container", "rm"), old || new);
        reached.must("the old name", ("container", "rename"), old);
        reached.must("the new name", ("rename", "rm"), new);
        if !old && !new {
            return;
        }
        let name = if old { "box" } else { "crate" };
        let (_, container) = engine.http("GET", &format!("/containers/{name}/json"), None);
        let state = &container["State"];
        if reached.holds("start", "stop") {
            assert_eq!(state["Running"], true, "{state}");
            let limit = container["HostConfig"]["PidsLimit"].as_i64().unwrap_or(0);
            assert!(!reached.has("update") || limit == 77, "an update was acknowledged and is lost: {limit}");
            assert!(reached.maybe("update") || limit == 0, "{limit}");
        }
        if reached.holds("pause", "unpause") {
            assert_eq!(state["Paused"], true, "{state}");
        }
        if reached.holds("unpause", "stop") {
            // Also if the engine died while it had it frozen for the commit.
            eventually("the container to be thawed", Duration::from_secs(10), || {
                let path = format!("/containers/{name}/json");
                engine.http("GET", &path, None).1["State"]["Paused"] == false
            });
        }
        if reached.holds("start", "stop") {
            // One that was prepared for an engine that is gone is none.
            eventually("the container to be alone", Duration::from_secs(10), || {
                let top = engine.http("GET", &format!("/containers/{name}/top"), None).1;
                top["Processes"].as_array().is_some_and(|processes| processes.len() == 1)
            });
        }
        if reached.holds("exec start", "rm") {
            eventually("what was executed to be done", Duration::from_secs(10), || {
                let changes = engine.http("GET", &format!("/containers/{name}/changes"), None).1;
                changes.to_string().contains("/by-exec")
            });
        }
        if reached.holds("stop", "rm") {
            assert_eq!(state["Running"], false, "{state}");
            assert_eq!(state["ExitCode"], 137, "{state}");
        }
        // An image that is there is whole.
        for (image, _) in NAMES.iter().filter(|(_, (made, gone))| reached.holds(made, gone)) {
            let saved = Command::new("curl")
                .args(["-sf", "-o", "/dev/null", "--unix-socket", &engine.socket().display().to_string()])
                .arg(format!("http://localhost/images/{image}/get"))
                .status();
            assert!(saved.unwrap().success(), "{image} cannot be saved");
        }
    }

    fn undo(&self, engine: &Engine, remembered: &str) {
        away(engine, "DELETE", "/containers/box?force=1", remembered);
        away(engine, "DELETE", "/containers/crate?force=1", remembered);
        for (name, _) in NAMES {
            away(engine, "DELETE", &format!("/images/{name}?force=1"), remembered);
        }
        // What a build that was cut short had done stays as a cache, without a name.
        away(engine, "POST", "/images/prune", remembered);
    }
}
