//! Docker networks made by CNI plugins, under the stock client. A namespace plays the host, so that what the reference
//! plugins leave in its packet filter ends with the story.

use std::{fs, path::PathBuf, time::Duration};

use pintle_netlink::Namespace;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{Client, Engine, Kind, eventually};

struct House {
    host: Namespace,
    files: TempDir,
    engine: Option<Engine>,
}

impl House {
    fn new() -> Self {
        let files = tempfile::Builder::new().prefix("pintle-story-cni-").tempdir().unwrap();
        fs::create_dir(files.path().join("net.d")).unwrap();
        let config = json!({"plugins": {"cni": {
            "enabled": true, "config-path": files.path().join("net.d"), "binary-path": "/opt/cni/bin:/usr/lib/cni",
        }}});
        fs::write(files.path().join("daemon.json"), config.to_string()).unwrap();
        let host = Namespace::create().unwrap();
        let flags = ["--config-file".to_owned(), files.path().join("daemon.json").display().to_string()];
        let start = || {
            let engine = Engine::start(Kind::Pintle, Client::Docker, &flags.each_ref().map(String::as_str));
            engine.busybox("alpine");
            engine
        };
        let engine = Some(host.run(start).unwrap());
        Self { host, files, engine }
    }

    fn path(&self, below: &str) -> PathBuf {
        self.files.path().join(below)
    }

    fn config(&self, name: &str, subnet: &str, more: &[Value]) {
        let bridge = json!({
            "type": "bridge", "bridge": format!("{name}0"), "isGateway": true, "ipMasq": true,
            "ipam": {
                "type": "host-local", "subnet": subnet, "dataDir": self.path("leases"),
                "routes": [{"dst": "0.0.0.0/0"}],
            },
            "capabilities": {"ips": true},
        });
        let mut plugins = vec![bridge];
        plugins.extend_from_slice(more);
        let list = json!({"cniVersion": "1.0.0", "name": name, "disableCheck": true, "plugins": plugins});
        fs::write(self.path("net.d").join(format!("{name}.conflist")), list.to_string()).unwrap();
    }

    fn engine(&mut self) -> &mut Engine {
        self.engine.as_mut().unwrap()
    }

    /// What a script prints, in which `docker` drives the engine and the host is the namespace.
    fn sh(&self, script: &str) -> String {
        let engine = self.engine.as_ref().unwrap();
        self.host.run(|| engine.sh(script).ok()).unwrap()
    }

    fn fails(&self, script: &str) -> String {
        let engine = self.engine.as_ref().unwrap();
        self.host.run(|| engine.sh(script).fails()).unwrap()
    }

    fn address(&self, container: &str, network: &str) -> String {
        self.sh(&format!(
            "docker inspect -f '{{{{(index .NetworkSettings.Networks \"{network}\").IPAddress}}}}' {container}"
        ))
    }

    fn leases(&self, network: &str) -> usize {
        let Ok(entries) = fs::read_dir(self.path("leases").join(network)) else { return 0 };
        entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with("10.")).count()
    }
}

impl Drop for House {
    fn drop(&mut self) {
        // Where it was started, so that it looks for what is its own there.
        if let Some(engine) = self.engine.take() {
            let _ = self.host.run(move || drop(engine));
        }
    }
}

fn portmap() -> Value {
    json!({"type": "portmap", "snat": true, "capabilities": {"portMappings": true}})
}

#[test]
fn a_network_made_by_cni_plugins() {
    let mut house = House::new();
    house.config(
        "office",
        "10.44.0.0/24",
        &[portmap(), json!({"type": "tuning", "capabilities": {"mac": true}})],
    );
    house.sh("docker network create -d cni -o config=office office");
    assert_eq!(house.sh("docker network inspect -f '{{.Driver}}' office"), "cni");
    house.sh(
        "docker run -d --name web --network office --network-alias www -p 18070:80 --mac-address 02:00:00:00:44:01 \
         alpine sh -c 'mkdir /w && echo hello > /w/index.html && exec httpd -f -p 80 -h /w'",
    );
    assert_eq!(house.address("web", "office"), "10.44.0.2");
    let place = house.sh("docker inspect -f '{{json .NetworkSettings.Networks.office}}' web");
    let place: Value = serde_json::from_str(&place).unwrap();
    assert_eq!(place["Gateway"], "10.44.0.1");
    assert_eq!(place["IPPrefixLen"], 24);
    assert_eq!(place["MacAddress"], "02:00:00:00:44:01");
    assert!(house.sh("docker port web").contains("80/tcp -> 0.0.0.0:18070"));
    let fetch = "docker run --rm --network office alpine wget -q -O - http";
    assert_eq!(house.sh(&format!("{fetch}://10.44.0.2/")), "hello");
    assert_eq!(house.sh(&format!("{fetch}://web/")), "hello", "the engine answers for names");
    assert_eq!(house.sh(&format!("{fetch}://www/")), "hello");
    assert_eq!(house.sh("busybox wget -q -O - http://10.44.0.1:18070/"), "hello", "the port is published");
    assert!(
        house.fails("docker run --rm --network office -p 18070:80 alpine true").contains("already allocated")
    );
    // A fixed address, as the plugins give it.
    assert_eq!(
        house.sh(
            "docker run --rm --network office --ip 10.44.0.77 alpine hostname -i | tr ' ' '\\n' | head -1"
        ),
        "10.44.0.77"
    );

    // The engine dies, and so does a container meanwhile.
    house.sh("docker run -d --name short --network office alpine sleep 3000");
    assert_eq!(house.leases("office"), 2);
    let pid = house.sh("docker inspect -f '{{.State.Pid}}' short");
    house.engine().kill();
    house.sh(&format!("kill -9 {pid}"));
    assert_eq!(
        house.sh("busybox wget -q -O - http://10.44.0.1:18070/"),
        "hello",
        "nobody needs the engine for that"
    );
    let host = house.host.clone();
    let engine = house.engine();
    host.run(|| engine.boot(&[])).unwrap();
    assert_eq!(house.address("web", "office"), "10.44.0.2");
    assert_eq!(house.sh(&format!("{fetch}://web/")), "hello");
    eventually("the dead container's address", Duration::from_secs(20), || house.leases("office") == 1);

    house.sh("docker rm -f web short && docker network rm office");
    assert_eq!(house.leases("office"), 0);
    let left = house.sh("ip -br link; iptables-save; ls $PWD/data/cni/results");
    for part in ["veth", "18070", "10.44.0.2", "office-"] {
        assert!(!left.contains(part), "{part}: {left}");
    }
}

#[test]
fn cni_beside_other_networks() {
    let house = House::new();
    house.config("lan", "10.45.0.0/24", &[]);
    house.sh("docker network create -d cni lan && docker network create away");
    house.sh("docker run -d --name box --network away alpine sleep 3000");
    let default_route = "docker exec box ip route | grep ^default";
    let before = house.sh(default_route);
    house.sh("docker network connect --ip 10.45.0.9 lan box");
    assert_eq!(house.address("box", "lan"), "10.45.0.9");
    let inside = house.sh("docker exec box ip addr show eth1");
    assert!(inside.contains("10.45.0.9/24"), "{inside}");
    assert_eq!(house.sh(default_route), before, "the way out is by the network whose name comes first");
    house.sh("ping -c1 -W5 10.45.0.9");
    house.sh("docker network disconnect away box");
    assert!(house.sh(default_route).contains("via 10.45.0.1"), "now it is the other");
    house.sh("docker network connect away box && docker network disconnect lan box");
    assert!(!house.sh("docker exec box ip addr").contains("10.45.0.9"));
    assert_eq!(house.leases("lan"), 0);
    house.sh("docker rm -f box && docker network rm lan away");
}

#[test]
fn what_cannot_work_is_said_at_once() {
    let house = House::new();
    house.config("fine", "10.46.0.0/24", &[]);
    house.config("future", "10.46.1.0/24", &[]);
    let future = house.path("net.d/future.conflist");
    fs::write(&future, fs::read_to_string(&future).unwrap().replace("1.0.0", "1.1.0")).unwrap();
    let evil = json!({"cniVersion": "1.0.0", "name": "evil", "plugins": [{"type": "../../bin/sh"}]});
    fs::write(house.path("net.d/evil.conflist"), evil.to_string()).unwrap();
    for (command, words) in [
        ("docker network create -d cni nobody", "no CNI configuration is called \"nobody\""),
        ("docker network create -d cni -o config=future x", "plugin bridge speaks"),
        ("docker network create -d cni -o config=evil x", "invalid plugin type"),
        (
            "docker network create -d cni -o config=fine -o parent=eth0 x",
            "unknown option parent for driver cni",
        ),
        (
            "docker network create -d cni -o config=fine -o capability.bandwidth={} x",
            "declares the capability",
        ),
    ] {
        let error = house.fails(command);
        assert!(error.contains(words), "{command}: {error}");
    }
    assert_eq!(house.sh("docker network ls -q --filter driver=cni"), "");
    house.sh("docker network create -d cni --internal -o config=fine inside");
    let error = house.fails("docker run --rm --network inside alpine true");
    assert!(error.contains("gives containers a default route"), "{error}");
    assert_eq!(house.leases("fine"), 0);
    house.sh("docker network rm inside");
}
