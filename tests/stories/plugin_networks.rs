//! Plugins on networks of users: they find containers by name and are found, wait for the plugins that make their
//! networks, and are refused where each would wait for the other.

use std::{fs, path::Path, time::Duration};

use serde_json::{Value, json};

use crate::{
    harness::{Engine, eventually, signal},
    package::{built, config, folder},
    remote_networks::Bridge,
};

/// Makes a plugin that has a shell and does this before it serves.
fn with_shell(engine: &Engine, name: &str, program: &str, mut config: Value, first: &str) {
    config["entrypoint"] = json!(["/usr/bin/sh", "-c", format!("{first}; exec /usr/bin/{program}")]);
    let package = folder(engine, program, &built(program), &config);
    for applet in ["sh", "sleep", "wget"] {
        fs::copy("/bin/busybox", package.join("rootfs/usr/bin").join(applet)).unwrap();
    }
    engine.sh(&format!("docker plugin create {name} {}", package.display())).ok();
}

fn inspect(engine: &Engine, plugin: &str) -> Value {
    engine.http("GET", &format!("/plugins/{plugin}/json"), None).1
}

#[test]
fn a_plugin_reaches_a_container_by_name() {
    let mut engine = Engine::pintle();
    engine.busybox("alpine");
    engine.sh("docker network create logs && docker network create other").ok();
    engine
        .sh("docker run -d --name loki --network logs alpine \
             sh -c 'mkdir /www && echo good evening >/www/word && httpd -f -p 3100 -h /www'")
        .ok();
    let ask = "wget -q -O - http://loki:3100/word";
    with_shell(&engine, "store", "volume-dirs", config("volume-dirs"), ask);

    let unknown = engine.sh("docker plugin set store pintle.networks=logs,nope").fails();
    assert!(unknown.contains("network nope not found"), "{unknown}");
    assert_eq!(inspect(&engine, "store")["Networks"], json!([]));
    let host = engine.sh("docker plugin set store pintle.networks=host").fails();
    assert!(host.contains("is none that a plugin can be put in"), "{host}");
    engine.sh("docker plugin set store pintle.networks=other,logs DEBUG=1").ok();
    assert_eq!(inspect(&engine, "store")["Networks"], json!(["other", "logs"]));
    engine.sh("docker plugin enable store").ok();
    let said = engine.sh("pintle plugin logs store").ok();
    assert!(said.contains("good evening"), "{said}");

    // It is there for the others, too, and its networks know it.
    let reached = || engine.sh("docker run --rm --network logs alpine ping -c 1 -W 5 store").code == 0;
    assert!(reached());
    let members = engine.sh("docker network inspect -f '{{json .Containers}}' logs").ok();
    assert!(members.contains("store:latest"), "{members}");
    let busy = engine.sh("docker network rm other").fails();
    assert!(busy.contains("has active endpoints (name:\"store:latest\""), "{busy}");
    engine
        .sh("docker run -d -v data:/data --volume-driver store --name user --network none alpine sleep 600")
        .ok();

    // It outlives the engine, and so does its place.
    let pid = inspect(&engine, "store")["Pid"].clone();
    engine.kill();
    engine.boot(&[]);
    eventually("the plugin", Duration::from_secs(10), || inspect(&engine, "store")["State"] == "ready");
    assert_eq!(inspect(&engine, "store")["Pid"], pid);
    assert!(engine.sh("docker run --rm --network logs alpine ping -c 1 -W 5 store").code == 0);
    let inside = format!("nsenter -t {pid} -n -m /usr/bin/wget -q -O - http://loki:3100/word");
    assert_eq!(engine.sh(&inside).ok(), "good evening");
    // One that crashes has its place anew.
    signal(u32::try_from(pid.as_u64().unwrap()).unwrap(), "KILL");
    eventually("the plugin again", Duration::from_secs(10), || {
        let plugin = inspect(&engine, "store");
        plugin["State"] == "ready" && plugin["Pid"] != pid
    });
    assert!(engine.sh("docker run --rm --network logs alpine ping -c 1 -W 5 store").code == 0);

    engine.sh("docker rm -f user && docker volume rm data && docker plugin disable store").ok();
    let members = engine.sh("docker network inspect -f '{{json .Containers}}' other").ok();
    assert_eq!(members, "{}");
    engine.sh("docker plugin set store pintle.networks= && docker network rm other").ok();
    assert_eq!(inspect(&engine, "store")["Networks"], json!([]));
    engine.sh("docker plugin rm store && docker rm -f loki && docker network rm logs").ok();
    assert_eq!(engine.leftovers(), [""; 0]);
}

fn lan(engine: &Engine) -> Value {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/network-lan/config.json");
    let mut config: Value = serde_json::from_str(&fs::read_to_string(source).unwrap()).unwrap();
    config["description"] = Value::from(engine.dir.display().to_string());
    config
}

#[test]
fn plugins_start_after_those_that_make_their_networks() {
    let mut engine = Engine::pintle();
    let bridge = Bridge::make(&engine);
    // Slower than anybody waits who does not know that it will come.
    with_shell(&engine, "lan", "network-lan", lan(&engine), "sleep 12");
    with_shell(&engine, "lan2", "network-lan", lan(&engine), "true");
    with_shell(&engine, "store", "volume-dirs", config("volume-dirs"), "true");
    engine.sh("docker plugin enable lan && docker plugin enable lan2").ok();
    let create = |driver: &str, subnet: u8, name: &str| {
        engine.sh(&format!(
            "docker network create -d {driver} --subnet 198.18.{subnet}.0/24 -o bridge={} {name}",
            bridge.0
        ))
    };
    create("lan", 50, "first").ok();
    create("lan2", 51, "second").ok();
    engine.sh("docker plugin set store pintle.networks=first && docker plugin enable store").ok();
    let members = engine.sh("docker network inspect -f '{{json .Containers}}' first").ok();
    assert!(members.contains("store:latest"), "{members}");

    // All of them die with the engine; who stands on another comes up after it, without a failed attempt.
    let pids: Vec<u32> = ["lan", "lan2", "store"]
        .iter()
        .map(|name| u32::try_from(inspect(&engine, name)["Pid"].as_u64().unwrap()).unwrap())
        .collect();
    engine.kill();
    for pid in pids {
        signal(pid, "KILL");
    }
    engine.boot(&[]);
    eventually("who needs nobody", Duration::from_secs(10), || inspect(&engine, "lan2")["State"] == "ready");
    assert_eq!(inspect(&engine, "store")["State"], "starting", "it waits for lan");
    eventually("who needs somebody", Duration::from_secs(40), || {
        inspect(&engine, "store")["State"] == "ready"
    });
    assert_eq!(inspect(&engine, "store")["LastError"], "");
    assert_eq!(inspect(&engine, "lan")["State"], "ready");

    // Where each would wait for the other nothing is changed, and both are named.
    engine
        .sh("docker plugin disable -f store && docker plugin disable -f lan && docker plugin disable -f lan2")
        .ok();
    let set = |plugin: &str, network: &str| {
        let args = json!([format!("pintle.networks={network}")]);
        engine.http("POST", &format!("/plugins/{plugin}/set"), Some(&args))
    };
    let (status, body) = set("lan", "first");
    assert_eq!(status, 409, "{body}");
    assert_eq!(set("lan2", "first").0, 204);
    let (status, body) = set("lan", "second");
    assert_eq!(status, 409, "{body}");
    assert_eq!(
        body["message"],
        "plugin lan:latest would wait for itself: it is on network second, which is made by plugin lan2:latest, which \
         is on network first, which is made by plugin lan:latest"
    );
    assert_eq!(inspect(&engine, "lan")["Networks"], json!([]));
    engine.sh("docker plugin rm store").ok();
    engine.sh("docker network rm first second").ok();
    engine.sh("docker plugin rm -f lan lan2").ok();
}
