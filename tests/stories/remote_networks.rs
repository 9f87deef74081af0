//! Networks and addresses from plugins: in another language, and the examples as managed plugins.

use std::{
    fs,
    path::Path,
    process::{Child, Command},
    time::Duration,
};

use serde_json::Value;

use crate::{
    foreign,
    harness::{Engine, PINTLE, eventually},
    package::{built, folder},
};

/// A program that serves a plugin on a socket of the engine's, ended with the story.
pub struct Plugin(Child);

impl Plugin {
    pub fn start(engine: &Engine, name: &str, command: &mut Command) -> Self {
        let socket = engine.dir.join(format!("plugins/{name}.sock"));
        fs::create_dir_all(socket.parent().unwrap()).unwrap();
        let child = command.spawn().expect("the plugin starts");
        eventually(name, Duration::from_secs(10), || socket.exists());
        Self(child)
    }
}

impl Drop for Plugin {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The calls that a journal of the Go peer's tells of, and what they said.
fn journal(path: &Path) -> Vec<(String, Value)> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let call = |line: &str| {
        let (name, request) = line.split_once(' ')?;
        Some((name.to_owned(), serde_json::from_str(request).ok()?))
    };
    text.lines().filter_map(call).collect()
}

fn names(calls: &[(String, Value)]) -> Vec<&str> {
    calls.iter().map(|(name, _)| name.as_str()).filter(|name| *name != "EndpointInfo").collect()
}

#[test]
fn plugins_in_go_give_a_network_and_its_addresses() {
    let engine = Engine::pintle();
    engine.busybox("alpine");
    let binary = foreign::go(&engine, "go-network");
    let journals = ["gonet", "goipam"].map(|name| engine.dir.join(format!("{name}.journal")));
    let start = |kind: &str, name: &str, journal: &Path| {
        let socket = engine.dir.join(format!("plugins/{name}.sock"));
        Plugin::start(&engine, name, Command::new(&binary).arg(kind).arg(&socket).env("JOURNAL", journal))
    };
    let _network = start("network", "gonet", &journals[0]);
    let _ipam = start("ipam", "goipam", &journals[1]);

    // The suites first: they judge the peer, so that what follows judges the engine.
    for name in ["gonet", "goipam"] {
        let socket = engine.dir.join(format!("plugins/{name}.sock"));
        let report = engine.sh(&format!("pintle plugin test {}", socket.display()));
        assert_eq!(report.code, 0, "{report:?}");
        fs::write(engine.dir.join(format!("{name}.journal")), "").unwrap();
    }

    engine.sh("docker network create -d gonet --ipam-driver goipam -o answer=42 --label tier=web far").ok();
    let subnet = engine.sh("docker network inspect -f '{{(index .IPAM.Config 0).Subnet}}' far").ok();
    assert_eq!(subnet, "10.230.0.0/24");
    let calls = journal(&journals[1]);
    assert_eq!(names(&calls), ["RequestPool", "RequestAddress"], "{calls:?}");
    assert_eq!(calls[1].1["Options"]["RequestAddressType"], "com.docker.network.gateway");
    let calls = journal(&journals[0]);
    assert_eq!(names(&calls), ["CreateNetwork"]);
    let create = &calls[0].1;
    assert_eq!(create["Options"]["com.docker.network.generic"]["answer"], "42");
    assert_eq!(create["IPv4Data"][0]["Pool"], "10.230.0.0/24");
    assert_eq!(create["IPv4Data"][0]["Gateway"], "10.230.0.1/24");

    let seen = engine.sh("docker run --rm --network far alpine sh -c 'ip addr show go0; ip route'").ok();
    assert!(seen.contains("inet 10.230.0.2/24"), "{seen}");
    assert!(seen.contains("default via 10.230.0.1 dev go0"), "{seen}");
    assert!(seen.contains("203.0.113.0/24 dev go0"), "{seen}");
    let all = [
        "CreateEndpoint",
        "Join",
        "ProgramExternalConnectivity",
        "RevokeExternalConnectivity",
        "Leave",
        "DeleteEndpoint",
    ];
    eventually("everything is given back", Duration::from_secs(10), || {
        let calls = journal(&journals[0]);
        names(&calls)[1..] == all
    });
    eventually("the address is given back", Duration::from_secs(10), || {
        let calls = journal(&journals[1]);
        names(&calls)[2..] == ["RequestAddress", "ReleaseAddress"]
    });

    // Addresses that the user chose, names, and each other.
    engine.sh("docker run -d --name shop --network far --ip 10.230.0.77 alpine sleep 600").ok();
    let shown = engine.sh("docker inspect -f '{{.NetworkSettings.Networks.far.IPAddress}}' shop").ok();
    assert_eq!(shown, "10.230.0.77");
    engine.sh("docker run --rm --network far alpine ping -c 1 -W 5 10.230.0.77").ok();
    engine.sh("docker run --rm --network far alpine ping -c 1 -W 5 shop").ok();
    let taken = engine.sh("docker run --rm --network far --ip 10.230.0.77 alpine true").fails();
    assert!(taken.contains("is in use"), "{taken}");
    let busy = engine.sh("docker network rm far").fails();
    assert!(busy.contains("has active endpoints"), "{busy}");

    // A network of ours under addresses of theirs, and the other way round.
    engine.sh("docker network create --ipam-driver goipam near && docker network connect near shop").ok();
    let near = engine.sh("docker exec shop ip addr").ok();
    assert!(near.contains("inet 10.231.0.2/24"), "{near}");
    engine.sh("docker network disconnect near shop && docker network rm near").ok();

    engine.sh("docker rm -f shop && docker network rm far").ok();
    let calls = journal(&journals[0]);
    assert_eq!(names(&calls).last(), Some(&"DeleteNetwork"));
    let (mut asked, mut given) = (0, 0);
    for (name, _) in journal(&journals[1]) {
        match name.as_str() {
            "RequestAddress" => asked += 1,
            "ReleaseAddress" => given += 1,
            _ => {}
        }
    }
    // The one that was refused was asked for, and never held.
    assert_eq!(asked, given + 1, "what was asked for was given back");
}

#[test]
fn the_examples_are_managed_plugins() {
    let engine = Engine::pintle();
    engine.busybox("alpine");
    let bridge = Bridge::make(&engine);
    for name in ["network-lan", "ipam-ranges"] {
        let source =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(name).join("config.json");
        let text = fs::read_to_string(source).unwrap();
        let mut config: Value = serde_json::from_str(&text).unwrap();
        config["entrypoint"] = serde_json::json!([format!("/usr/bin/{name}")]);
        if name == "ipam-ranges" {
            config["mounts"][0]["source"] = Value::from(engine.dir.join("ranges").display().to_string());
        }
        let package = folder(&engine, name, &built(name), &config);
        if name == "ipam-ranges" {
            fs::create_dir_all(package.join("rootfs/etc")).unwrap();
            fs::write(package.join("rootfs/etc/ipam-ranges"), "").unwrap();
        }
        fs::write(
            engine.dir.join("ranges"),
            "198.18.40.0/24 198.18.40.10 198.18.40.99 198.18.40.1\n198.18.41.0/24 198.18.41.10 198.18.41.99\n",
        )
        .unwrap();
        engine
            .sh(&format!("docker plugin create {name} {} && docker plugin enable {name}", package.display()))
            .ok();
    }
    let sockets = engine.dir.join("plugins");
    let test = |what: &str| {
        let report = engine.sh(&format!("pintle plugin test --plugin-sockets {} {what}", sockets.display()));
        assert_eq!(report.code, 0, "{report:?}");
    };
    test(&format!("-o bridge={} network-lan", bridge.0));
    test("--subnet 198.18.40.0/24 --subnet 198.18.41.0/24 --subnet6 none ipam-ranges");

    engine
        .sh(&format!(
            "docker network create -d network-lan --ipam-driver ipam-ranges --subnet 198.18.40.0/24 -o bridge={} lan",
            bridge.0
        ))
        .ok();
    let address = |name: &str| {
        engine.sh(&format!("docker inspect -f '{{{{.NetworkSettings.Networks.lan.IPAddress}}}}' {name}")).ok()
    };
    engine.sh("docker run -d --name shop --network lan alpine sleep 600").ok();
    engine.sh("docker run -d --name db --network lan alpine sleep 600").ok();
    let (shop, db) = (address("shop"), address("db"));
    engine.sh(&format!("docker exec db ping -c 1 -W 5 {shop}")).ok();
    engine.sh("docker rm -f shop").ok();
    engine.sh("docker run -d --name other --network lan alpine sleep 600").ok();
    engine.sh("docker run -d --name shop --network lan alpine sleep 600").ok();
    assert_eq!(address("shop"), shop, "the same address for the same name");
    assert!(![shop, db].contains(&address("other")));

    let busy = engine.sh("docker plugin disable network-lan").fails();
    assert!(busy.contains("in use") && busy.contains("network "), "{busy}");
    engine.sh("docker rm -f shop db other && docker network rm lan").ok();
    engine.sh("docker plugin disable network-lan && docker plugin rm network-lan").ok();
    engine.sh("docker plugin rm -f ipam-ranges").ok();
}

/// A bridge of the host's, as an administrator made it.
pub struct Bridge(pub String);

impl Bridge {
    pub fn make(engine: &Engine) -> Self {
        let unique =
            engine.dir.display().to_string().replace(|letter: char| !letter.is_ascii_alphanumeric(), "");
        let name = format!("st{}", &unique[unique.len() - 6..]).to_lowercase();
        let made = Command::new("ip").args(["link", "add", &name, "type", "bridge"]).status().unwrap();
        assert!(made.success(), "apt-get install iproute2");
        let bridge = Self(name);
        assert!(Command::new("ip").args(["link", "set", &bridge.0, "up"]).status().unwrap().success());
        bridge
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["link", "del", &self.0]).status();
    }
}

/// What `plugin new` writes passes its suite as it is, compiled in or as a script.
#[test]
fn scaffolds_of_networks_and_addresses_keep_every_promise() {
    let engine = Engine::pintle();
    for kind in ["network", "ipam"] {
        let name = format!("py{kind}");
        engine.sh(&format!("pintle plugin new --kind {kind} --lang python {name}")).ok();
        let script = engine.dir.join(&name).join("rootfs/plugin.py");
        let builtin = format!("rs{kind}");
        let programs = [
            (name, vec!["python3".to_owned(), script.display().to_string()]),
            (builtin, vec![PINTLE.to_owned(), "plugin".to_owned(), "serve".to_owned(), kind.to_owned()]),
        ];
        for (name, words) in programs {
            let socket = engine.dir.join(format!("plugins/{name}.sock"));
            let mut command = Command::new(&words[0]);
            command.args(&words[1..]).env("PLUGIN_NAME", &socket).stderr(std::process::Stdio::null());
            let _plugin = Plugin::start(&engine, &name, &mut command);
            let report = engine.sh(&format!("pintle plugin test {}", socket.display()));
            assert_eq!(report.code, 0, "{name}: {report:?}");
        }
    }
}
