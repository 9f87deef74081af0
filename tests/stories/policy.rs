//! Policies in Rego: linked into the engine, beside dockerd as a plugin, and tried on what was recorded.

use std::{
    fs,
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::json;

use crate::harness::{Client, Engine, Kind, PINTLE, eventually};

/// The engine asks the policy that is linked in; its files are followed, and what makes no sense is not taken.
#[test]
fn a_policy_decides_and_its_files_are_followed() {
    let mut engine = Engine::prepared(Kind::Pintle, Client::Docker, &[]);
    let rules = engine.dir.join("rules");
    fs::create_dir(&rules).unwrap();
    let file = rules.join("names.rego");
    let names = |word: &str| {
        format!(
            "package docker.authz\ndeny contains message if {{\n  input.Route == \"/volumes/create\"\n  \
             startswith(input.Body.Name, \"{word}\")\n  message := sprintf(\"%s is no name for %s\", [input.Body.Name, input.Peer.Name])\n}}\n"
        )
    };
    fs::write(&file, names("bad")).unwrap();
    fs::write(rules.join("data.json"), json!({"mounts": ["/srv/none"]}).to_string()).unwrap();
    let settings = json!({
        "authorization-plugins": ["policy"],
        "policy": {"decision-timeout-ms": 10000, "sources": ["no-privileges", "mounts", rules]}
    });
    let config = engine.dir.join("daemon.json");
    fs::write(&config, settings.to_string()).unwrap();
    engine.also(&["--config-file", &config.display().to_string()]);
    engine.boot(&[]);
    engine.busybox("bb");
    assert_eq!(engine.sh("docker run --rm --network none bb echo allowed").ok(), "allowed");
    for (what, why) in [
        ("docker run --rm --privileged bb true", "privileged containers are not allowed"),
        ("docker run --rm --pid host bb true", "the host's namespace is not allowed: PidMode"),
        ("docker run --rm --cap-add SYS_ADMIN bb true", "the capability SYS_ADMIN is not allowed"),
        ("ln -s /etc link && docker run --rm -v $PWD/link:/d bb true", "may not be mounted"),
        ("docker volume create bad-1", "bad-1 is no name for root"),
    ] {
        let said = engine.sh(what).fails();
        assert!(
            said.contains("authorization denied by plugin policy: ") && said.contains(why),
            "{what}: {said}"
        );
    }
    assert_eq!(engine.sh("docker ps -aq").ok(), "");

    // Something that makes no sense, and then something that does.
    fs::write(&file, "package docker.authz\ndeny contains if {").unwrap();
    eventually("the complaint", Duration::from_secs(20), || {
        engine.daemon_log().contains("the policy that was in force stays in force")
            && engine.daemon_log().contains("names.rego:2")
    });
    engine.sh("docker volume create bad-2").fails();
    fs::write(&file, names("worse")).unwrap();
    eventually("the new rule", Duration::from_secs(20), || engine.sh("docker volume create bad-3").code == 0);
    engine.sh("docker volume create worse").fails();
    engine.sh("docker run --rm --privileged bb true").fails();

    // An engine whose policy makes no sense does not start, and is told so before.
    engine.kill();
    let validate = format!("pintle daemon --validate --config-file {}", config.display());
    assert_eq!(engine.sh(&validate).ok(), "configuration OK");
    fs::write(&file, "package docker.authz\ndeny contains if {").unwrap();
    assert!(engine.sh(&validate).fails().contains("names.rego:2"));
    engine.spawn(&[]);
    eventually("the engine to give up", Duration::from_secs(20), || !engine.alive());
    assert!(engine.daemon_log().contains("the policy: "), "{}", engine.daemon_log());
}

/// T8: what a policy was told that a bind leads to is what is mounted, whatever becomes of the path.
#[test]
fn a_bind_is_what_was_judged() {
    let mut engine = Engine::prepared(Kind::Pintle, Client::Docker, &[]);
    let config = engine.dir.join("daemon.json");
    let data = engine.dir.join("data.json");
    fs::write(&data, json!({"mounts": [engine.dir.join("allowed")]}).to_string()).unwrap();
    let settings = json!({"authorization-plugins": ["policy"], "policy": {"decision-timeout-ms": 10000, "sources": ["mounts", data]}});
    fs::write(&config, settings.to_string()).unwrap();
    engine.also(&["--config-file", &config.display().to_string()]);
    engine.boot(&[]);
    engine.busybox("bb");
    let made = "mkdir -p allowed/real secret && echo judged >allowed/real/file && echo secret >secret/file && ln -sfn allowed/real link";
    engine.sh(made).ok();
    engine.sh("docker run --rm --network none -v $PWD/secret:/d bb cat /d/file").fails();
    engine.sh("docker run --rm --network none -v $PWD/allowed/../secret:/d bb cat /d/file").fails();

    // The link is another when the container starts: it gets what was judged.
    engine.sh("docker create --name swapped --network none -v $PWD/link:/d bb cat /d/file && ln -sfn $PWD/secret link").ok();
    assert_eq!(engine.sh("docker start -a swapped").ok(), "judged");
    let source = engine.sh("docker inspect -f '{{(index .Mounts 0).Source}}' swapped").ok();
    assert_eq!(source, engine.dir.join("link").display().to_string(), "it is shown as it was asked for");
    // A link where there was none: it starts no more, and no copy is made from there.
    engine.sh("mv allowed/real allowed/gone && ln -s $PWD/secret allowed/real").ok();
    let said = engine.sh("docker start -a swapped").fails();
    assert!(
        said.contains("was judged when the container was made, and a link was put into it since"),
        "{said}"
    );
    assert!(!engine.sh("docker cp swapped:/d/file - | tar -xO").stdout.contains("secret"));
    // Those that join its mounts get no more.
    engine.sh("docker run --rm --network none --volumes-from swapped bb cat /d/file").fails();
    engine.sh("rm allowed/real && mv allowed/gone allowed/real").ok();
    assert_eq!(engine.sh("docker start -a swapped").ok(), "judged");
    engine.kill();
    engine.boot(&[]);
    assert_eq!(engine.sh("docker start -a swapped").ok(), "judged", "another engine remembers");
    engine.sh("docker rm swapped").ok();
}

struct Served(Child);

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The founding document's example, with its variables, in front of a real dockerd.
#[test]
fn dockerd_asks_a_policy_that_is_served() {
    let name = format!("pintle-policy-{}", std::process::id());
    let mut engine = Engine::prepared(Kind::Dockerd, Client::Docker, &["--authorization-plugin", &name]);
    let log = engine.dir.join("decisions");
    let served = Command::new(PINTLE)
        .args(["policy", "serve", "--timeout-ms", "10000", "--name", &name, "commands"])
        .env("ADMIN_USERS", "ann,bob")
        .env("RESTRICTED_COMMANDS", "volumes,networks")
        .env("AUTH_LOG_PATH", &log)
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let served = Served(served);
    let socket = format!("/run/docker/plugins/{name}.sock");
    eventually("the plugin to listen", Duration::from_secs(20), || {
        std::os::unix::net::UnixStream::connect(&socket).is_ok()
    });
    engine.boot(&[]);
    engine.sh("docker ps").ok();
    let said = engine.sh("docker volume ls").fails();
    assert!(
        said.contains(&format!("authorization denied by plugin {name}: User  not authorized to run volumes")),
        "{said}"
    );
    let written = fs::read_to_string(&log).unwrap();
    assert!(
        written.lines().any(|line| line.contains("/volumes") && line.contains("\"allowed\":false")),
        "{written}"
    );
    engine.stop();
    drop(served);
    let _ = fs::remove_file(socket);
}

/// A policy is tried on what an engine without it recorded, explained, and tested.
#[test]
fn a_policy_is_tried_before_it_counts() {
    let mut engine = Engine::prepared(Kind::Pintle, Client::Docker, &[]);
    let config = engine.dir.join("daemon.json");
    fs::write(&config, json!({"audit": {}}).to_string()).unwrap();
    engine.also(&["--config-file", &config.display().to_string()]);
    engine.boot(&[]);
    engine.busybox("bb");
    engine.sh("docker create --name fine bb true && docker create --name wild --privileged bb true").ok();
    let trail = engine.dir.join("data/audit/audit.jsonl");
    let said =
        engine.sh(&format!("pintle policy replay --all --trail {} no-privileges", trail.display())).fails();
    assert!(said.contains("name=wild: allow → deny: privileged containers are not allowed"), "{said}");
    let said = engine
        .sh(&format!("pintle policy replay --trail {} no-privileges | tail -n 1", trail.display()))
        .ok();
    assert!(said.ends_with(" requests, 1 with another verdict"), "{said}");

    // What was done becomes a policy, which knows nothing else.
    let learn = format!("pintle policy record --trail {} -o learned.json", trail.display());
    let said = engine.sh(&format!("{learn} 2>&1")).ok();
    assert!(said.contains("root: POST /containers/create") && said.contains("root: privileged"), "{said}");
    assert!(engine.sh(&format!("{learn} 2>&1")).ok().ends_with(" 0 things that are new"));
    let mut follows = Command::new(PINTLE)
        .args(["policy", "record", "-f", "--trail"])
        .arg(&trail)
        .args(["-o", "learned.json"])
        .current_dir(&engine.dir)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    engine.sh("docker volume create seen").ok();
    let learned = engine.dir.join("learned.json");
    eventually("the new thing", Duration::from_secs(20), || {
        fs::read_to_string(&learned).unwrap().contains("POST /volumes/create")
    });
    crate::harness::signal(follows.id(), "INT");
    assert!(follows.wait().unwrap().success());
    engine.kill();
    let only = json!({"authorization-plugins": ["policy"], "policy": {"decision-timeout-ms": 10000, "sources": ["learned", learned]}});
    fs::write(&config, only.to_string()).unwrap();
    engine.boot(&[]);
    engine.sh("docker volume create more && docker create --name again --privileged bb true").ok();
    let said = engine.sh("docker create --pid host bb true").fails();
    assert!(said.contains("PidMode host was not recorded of root"), "{said}");
    assert!(
        engine.sh("docker volume rm seen").fails().contains("DELETE /volumes/{} was not recorded of root")
    );

    let input =
        json!({"Method": "POST", "Route": "/containers/create", "Body": {"HostConfig": {"PidMode": "host"}}});
    fs::write(engine.dir.join("input.json"), input.to_string()).unwrap();
    let ran = engine.sh("pintle policy explain -i input.json no-privileges");
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(ran.stdout.starts_with("deny by deny ("), "{}", ran.stdout);
    assert!(ran.stdout.contains("│ \thost_config[kind] == \"host\""), "{}", ran.stdout);
    assert!(ran.stdout.contains("  \tplain := trim_prefix"), "{}", ran.stdout);

    assert_eq!(engine.sh("pintle policy check images limits").ok(), "OK: decides by data.docker.authz.deny");
    // Each by itself: its tests know of no other.
    let each = "for name in $(pintle policy ls -q); do pintle policy test $name || exit 1; done";
    let said = engine.sh(each).ok();
    assert!(
        said.lines().count() >= 7 && said.lines().all(|line| line.ends_with(" passed, 0 failed")),
        "{said}"
    );
    fs::write(
        engine.dir.join("mine.rego"),
        "package docker.authz\nallow := true\ntest_it if allow == false\n",
    )
    .unwrap();
    let said = engine.sh("pintle policy test mine.rego");
    assert!(said.code == 1 && said.stdout.contains("FAIL data.docker.authz.test_it"), "{}", said.stdout);
    assert!(
        engine
            .sh("pintle policy check nothing")
            .fails()
            .contains("no policy of that name (there are commands, ")
    );
}
