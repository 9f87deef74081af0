//! The life of a managed plugin.

use std::{fs, time::Duration};

use serde_json::json;

use crate::{
    harness::{Client, Engine, Kind, eventually, raw_http, signal},
    package::{built, config, folder, install},
};

#[test]
fn from_package_to_data_and_away() {
    for client in [Client::Docker, Client::Pintle] {
        let engine = Engine::start(Kind::Pintle, client, &[]);
        engine.busybox("alpine");
        install(&engine, "me/dirs");
        assert_eq!(
            engine.sh("docker plugin ls --format '{{.Name}} {{.Enabled}}'").ok(),
            "me/dirs:latest true"
        );
        engine.sh("docker volume create -d me/dirs vol").ok();
        engine.sh("docker run --rm -v vol:/data alpine sh -c 'echo hello > /data/t'").ok();
        assert_eq!(engine.sh("docker run --rm -v vol:/data alpine cat /data/t").ok(), "hello");

        let held = engine.sh("docker plugin disable me/dirs").fails();
        assert!(held.contains("in use") && held.contains('v'), "names its holders: {held}");
        engine.sh("docker volume rm vol").ok();
        engine.sh("docker plugin disable me/dirs").ok();
        let again = engine.sh("docker plugin disable me/dirs").fails();
        assert!(again.contains("already disabled"), "{again}");
        engine.sh("docker plugin rm me/dirs").ok();
        assert_eq!(engine.sh("docker plugin ls -q").ok(), "");
        engine.sh("docker rmi alpine").ok();
        assert_eq!(engine.leftovers(), Vec::<String>::new());
    }
}

#[test]
fn five_causes_give_five_errors() {
    let engine = Engine::pintle();
    let dirs = built("volume-dirs");
    let mut said = Vec::new();

    // Another machine's binary.
    let mut elf = fs::read(&dirs).unwrap();
    elf[18] = 0xb7; // EM_AARCH64
    fs::write(engine.dir.join("foreign"), &elf).unwrap();
    let foreign = folder(&engine, "volume-dirs", &engine.dir.join("foreign"), &config("volume-dirs"));
    engine.sh(&format!("docker plugin create arch {}", foreign.display())).ok();
    said.push(engine.sh("docker plugin enable arch").fails());
    assert!(said[0].contains("aarch64") || said[0].contains("arm64"), "{}", said[0]);

    // A host path that is not there.
    let mut settings = config("volume-dirs");
    settings["mounts"] =
        json!([{"source": "/no/such/path", "destination": "/x", "type": "bind", "options": ["rbind"]}]);
    let package = folder(&engine, "volume-dirs", &dirs, &settings);
    engine.sh(&format!("docker plugin create source {}", package.display())).ok();
    said.push(engine.sh("docker plugin enable source").fails());
    assert!(said[1].contains("/no/such/path"), "{}", said[1]);

    // It exits and says why.
    let mut settings = config("volume-dirs");
    settings["entrypoint"] = json!(["/usr/bin/sh", "-c", "echo the disk is on fire >&2; exit 7"]);
    let package = folder(&engine, "sh", std::path::Path::new("/bin/busybox"), &settings);
    engine.sh(&format!("docker plugin create exits {}", package.display())).ok();
    said.push(engine.sh("docker plugin enable exits").fails());
    assert!(said[2].contains("the disk is on fire") && said[2].contains('7'), "{}", said[2]);

    // It binds another socket than the one it promised.
    let mut settings = config("volume-dirs");
    settings["interface"]["socket"] = json!("promised.sock");
    let package = folder(&engine, "volume-dirs", &dirs, &settings);
    engine.sh(&format!("docker plugin create socket {}", package.display())).ok();
    said.push(engine.sh("docker plugin enable --timeout 2 socket").fails());
    assert!(said[3].contains("promised.sock") && said[3].contains("volume-dirs.sock"), "{}", said[3]);

    // It never listens.
    let mut settings = config("volume-dirs");
    settings["entrypoint"] = json!(["/usr/bin/sleep", "1000"]);
    let package = folder(&engine, "sleep", std::path::Path::new("/bin/busybox"), &settings);
    engine.sh(&format!("docker plugin create mute {}", package.display())).ok();
    said.push(engine.sh("docker plugin enable --timeout 2 mute").fails());
    assert!(said[4].contains("listening") && said[4].contains('2'), "{}", said[4]);

    let distinct: std::collections::BTreeSet<_> = said.iter().collect();
    assert_eq!(distinct.len(), 5, "{said:#?}");
    // The same words stand in inspect.
    let inspect = engine.http("GET", "/plugins/exits/json", None).1.to_string();
    assert!(inspect.contains("the disk is on fire"), "{inspect}");
}

#[test]
fn a_plugin_that_cannot_start_stays_wanted_and_comes_up_by_itself() {
    let engine = Engine::pintle();
    let source = engine.dir.join("appears-later");
    let mut settings = config("volume-dirs");
    settings["mounts"] =
        json!([{"source": source, "destination": "/x", "type": "bind", "options": ["rbind"]}]);
    let package = folder(&engine, "volume-dirs", &built("volume-dirs"), &settings);
    engine.sh(&format!("docker plugin create late {}", package.display())).ok();
    engine.sh("docker plugin enable late").fails();
    fs::create_dir(&source).unwrap();
    eventually("the plugin to come up", Duration::from_secs(30), || {
        engine.http("GET", "/plugins/late/json", None).1["State"] == "ready"
            || engine.sh("docker volume create -d late vol").code == 0
    });
}

#[test]
fn a_crashed_plugin_is_restarted_and_counted() {
    let engine = Engine::pintle();
    install(&engine, "dirs");
    engine.sh("docker volume create -d dirs vol").ok();
    let victims = plugin_processes(&engine);
    assert_eq!(victims.len(), 1, "{victims:?}");
    signal(victims[0], "KILL");
    eventually("the plugin to be back", Duration::from_secs(20), || {
        let back = plugin_processes(&engine);
        !back.is_empty() && back != victims && engine.sh("docker volume inspect vol").code == 0
    });
    let view = engine.http("GET", "/plugins/dirs/json", None).1;
    assert_eq!(view["Restarts"], 1, "{view}");
}

/// The processes of plugins of this engine: those in a cgroup that is named by one of its plugin ids.
fn plugin_processes(engine: &Engine) -> Vec<u32> {
    let (_, plugins) = engine.http("GET", "/plugins", None);
    let mut found = Vec::new();
    for plugin in plugins.as_array().unwrap() {
        let id = plugin["Id"].as_str().unwrap();
        let procs = format!("/sys/fs/cgroup/pids/pintle/{id}/cgroup.procs");
        let unified = format!("/sys/fs/cgroup/pintle/{id}/cgroup.procs");
        let text = fs::read_to_string(procs).or_else(|_| fs::read_to_string(unified)).unwrap_or_default();
        found.extend(text.lines().filter_map(|line| line.parse::<u32>().ok()));
    }
    found
}

#[test]
fn several_instances_of_one_package_with_their_own_settings() {
    let engine = Engine::pintle();
    let package = folder(&engine, "volume-dirs", &built("volume-dirs"), &config("volume-dirs"));
    for name in ["one", "two", "three"] {
        engine.sh(&format!("docker plugin create {name} {}", package.display())).ok();
        engine.sh(&format!("docker plugin set {name} DEBUG={name}")).ok();
        engine.sh(&format!("docker plugin enable {name}")).ok();
        engine.sh(&format!("docker volume create -d {name} v-{name}")).ok();
    }
    for name in ["one", "two", "three"] {
        let env = engine.sh(&format!("docker plugin inspect -f '{{{{json .Settings.Env}}}}' {name}")).ok();
        assert!(env.contains(&format!("DEBUG={name}")), "{env}");
        let listed = engine.sh(&format!("docker volume ls -q -f driver={name}:latest")).ok();
        assert_eq!(listed, format!("v-{name}"));
    }
}

#[test]
fn set_speaks_as_docker_does_and_applies_all_or_nothing() {
    let engine = Engine::pintle();
    let package = folder(&engine, "volume-dirs", &built("volume-dirs"), &config("volume-dirs"));
    engine.sh(&format!("docker plugin create p {}", package.display())).ok();
    let unknown = engine.sh("docker plugin set p DEBUG=1 NOPE=1").fails();
    assert!(unknown.contains("setting \"NOPE\" not found in the plugin configuration"), "{unknown}");
    let env = engine.sh("docker plugin inspect -f '{{json .Settings.Env}}' p").ok();
    assert!(env.contains("DEBUG=0"), "nothing of a failing list is applied: {env}");
    let fixed = engine.sh("docker plugin set p FIXED=x").fails();
    assert!(fixed.contains("\"FIXED\" is not settable"), "{fixed}");
    engine.sh("docker plugin enable p").ok();
    let active = engine.sh("docker plugin set p DEBUG=1").fails();
    assert!(active.contains("cannot set on an active plugin, disable plugin before setting"), "{active}");
}

#[test]
fn what_a_plugin_says_is_kept() {
    let engine = Engine::pintle();
    let mut settings = config("volume-dirs");
    settings["entrypoint"] = json!(["/usr/bin/sh", "-c", "echo good morning; echo bad news >&2; exit 3"]);
    let package = folder(&engine, "sh", std::path::Path::new("/bin/busybox"), &settings);
    engine.sh(&format!("docker plugin create talks {}", package.display())).ok();
    engine.sh("docker plugin enable talks").fails();
    let logs = engine.sh("pintle plugin logs talks 2>&1").ok();
    assert!(logs.contains("good morning") && logs.contains("bad news"), "{logs}");
}

#[test]
fn one_that_is_removed_by_force_under_load_leaves_nothing() {
    let mut engine = Engine::pintle();
    engine.busybox("alpine");
    install(&engine, "dirs");
    engine
        .sh("docker volume create -d dirs kept && docker run -d --name user -v kept:/d alpine sleep 1000")
        .ok();
    let socket = engine.socket();
    let over = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let load: Vec<_> = (0..3)
        .map(|thread| {
            let (socket, over) = (socket.clone(), std::sync::Arc::clone(&over));
            std::thread::spawn(move || {
                let mut made = 0;
                let call = |method: &str, path: &str, body: serde_json::Value| {
                    let body = body.to_string();
                    raw_http(&socket, method, path, "application/json", body.as_bytes())
                        .map_or(0, |reply| reply.0)
                };
                while !over.load(std::sync::atomic::Ordering::Relaxed) {
                    let name = format!("load-{thread}-{made}");
                    call("POST", "/volumes/create", json!({"Name": name, "Driver": "dirs"}));
                    let container = json!({"Image": "alpine", "Cmd": ["true"],
                        "HostConfig": {"Binds": [format!("{name}:/d")], "NetworkMode": "none"}});
                    call("POST", &format!("/containers/create?name={name}"), container);
                    made += u32::from(call("POST", &format!("/containers/{name}/start"), json!({})) == 204);
                    call("DELETE", &format!("/containers/{name}?force=1"), json!({}));
                    call("DELETE", &format!("/volumes/{name}"), json!({}));
                }
                made
            })
        })
        .collect();
    std::thread::sleep(Duration::from_millis(1500));
    engine.sh("docker plugin rm -f dirs").ok();
    std::thread::sleep(Duration::from_millis(500));
    over.store(true, std::sync::atomic::Ordering::Relaxed);
    let made: u32 = load.into_iter().map(|thread| thread.join().unwrap()).sum();
    assert!(made > 0, "there was no load");
    assert_eq!(engine.sh("docker plugin ls -q").ok(), "");
    engine.sh("docker ps -aq | xargs -r docker rm -f").ok();
    // Its volumes are listed, and can be forgotten.
    assert!(engine.sh("docker volume ls -q").ok().contains("kept"));
    engine.sh("docker volume ls -q | xargs docker volume rm -f").ok();
    assert_eq!(engine.sh("docker volume ls -q").ok(), "");
    engine.sh("docker rmi alpine").ok();
    eventually("nothing to be left", Duration::from_secs(10), || engine.leftovers().is_empty());
    engine.kill();
    engine.boot(&[]);
    assert_eq!(engine.sh("docker volume ls -q").ok(), "");
    assert_eq!(engine.leftovers(), Vec::<String>::new());
}
