//! Docker and Podman, which networks by netavark, on the same host while networks come and go, containers publish
//! ports, and each engine restarts: everybody's containers stay reachable.

use std::{fs, time::Duration};

use pintle_netlink::Namespace;

use crate::{
    harness::{Client, Engine, Kind, Ran, eventually},
    host::{HOST, Hosted},
};

const SERVE: &str = "httpd -f -p 80";

/// Podman on roots of its own. It has no daemon; what runs ends with this.
struct Podman<'a> {
    engine: &'a Engine,
    host: &'a Namespace,
}

impl<'a> Podman<'a> {
    fn new(engine: &'a Engine, host: &'a Namespace) -> Self {
        let dir = engine.dir.join("podman");
        fs::create_dir_all(&dir).unwrap();
        let place = dir.display();
        // A limit that the machine's own does not let it raise would be refused.
        let containers = format!(
            "[containers]\nlog_driver = \"k8s-file\"\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\n\
             [engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\nruntime = \"runc\"\ntmp_dir = \"{place}/tmp\"\n\
             static_dir = \"{place}/static\"\nvolume_path = \"{place}/volumes\"\nnum_locks = 64\n\
             [network]\nnetwork_backend = \"netavark\"\nnetwork_config_dir = \"{place}/networks\"\n"
        );
        fs::write(dir.join("containers.conf"), containers).unwrap();
        let storage = format!(
            "[storage]\ndriver = \"vfs\"\ngraphroot = \"{place}/graph\"\nrunroot = \"{place}/run\"\n"
        );
        fs::write(dir.join("storage.conf"), storage).unwrap();
        Self { engine, host }
    }

    fn sh(&self, script: &str) -> Ran {
        let dir = self.engine.dir.join("podman");
        // What outlives the command, such as a container's monitor, must not hold its output.
        let script = format!(
            "unset DOCKER_CONFIG; export CONTAINERS_CONF={0}/containers.conf CONTAINERS_STORAGE_CONF={0}/storage.conf\n\
             ({script}) >{0}/out 2>{0}/err </dev/null; code=$?; cat {0}/out; cat {0}/err >&2; exit $code",
            dir.display()
        );
        self.host.run(|| self.engine.sh(&script)).unwrap()
    }
}

impl Drop for Podman<'_> {
    fn drop(&mut self) {
        let gone = self.sh("podman rm -f -t 0 -a; podman network prune -f");
        if gone.code != 0 {
            eprintln!("podman's containers may run on: {gone:?}");
        }
        let _ = std::process::Command::new("umount")
            .args(["-R", "-l"])
            .arg(self.engine.dir.join("podman/graph/overlay"))
            .stderr(std::process::Stdio::null())
            .status();
    }
}

/// Whether somebody outside is answered on the host's address.
fn answers(host: &Hosted, port: u16) -> bool {
    use std::{
        io::{Read, Write},
        net::TcpStream,
    };
    let ask = || {
        let to = format!("{HOST}:{port}").parse().unwrap();
        let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(2)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").ok()?;
        let mut text = String::new();
        let _ = stream.read_to_string(&mut text);
        text.starts_with("HTTP/1.").then_some(())
    };
    host.neighbour.run(ask).unwrap().is_some()
}

#[test]
fn a_dockerd_and_a_podman_on_the_same_host() {
    let mut pintle = Hosted::start(Kind::Pintle, &[]);
    let flags = ["--iptables=true", "--bridge="];
    let mut dockerd = pintle.host.run(|| Engine::start(Kind::Dockerd, Client::Docker, &flags)).unwrap();
    let host = pintle.host.clone();
    // Its files are beside Docker's, which outlive those of a pintle that restarts.
    let place = Engine::prepared(Kind::Pintle, Client::Docker, &[]);
    pintle.busybox("alpine");
    dockerd.busybox("alpine");
    let podman = Podman::new(&place, &host);
    podman.sh(&format!("tar -C {}/busybox -c . | podman import - alpine", pintle.dir.display())).ok();
    assert_eq!(podman.sh("podman info --format '{{.Host.NetworkBackend}}'").ok(), "netavark");

    let everybody = |pintle: &Hosted, when: &str| {
        for (whose, port) in
            [("pintle", 8081), ("docker", 8082), ("podman", 8083), ("podman's own network", 8084)]
        {
            eventually(&format!("{whose}, {when}"), Duration::from_secs(15), || answers(pintle, port));
        }
    };
    // Who came first, comes second, comes third.
    pintle.sh(&format!("docker run -d --name web -p 8081:80 alpine {SERVE}")).ok();
    dockerd.sh(&format!("docker run -d --name web -p 8082:80 alpine {SERVE}")).ok();
    podman.sh(&format!("podman run -d --name web -p 8083:80 alpine {SERVE}")).ok();
    podman
        .sh(&format!(
            "podman network create --disable-dns net && podman run -d --name own --network net -p 8084:80 alpine {SERVE}"
        ))
        .ok();
    everybody(&pintle, "all started");

    // Ours come and go.
    pintle
        .sh(&format!(
            "docker network create one && docker run -d --name other --network one -p 8085:80 alpine {SERVE} && \
             docker network connect one web && docker exec web ping -c 1 -W 5 other"
        ))
        .ok();
    everybody(&pintle, "with a network of ours");
    eventually("ours", Duration::from_secs(10), || answers(&pintle, 8085));
    pintle.sh("docker rm -f other && docker network disconnect one web && docker network rm one").ok();
    everybody(&pintle, "without it");

    // Theirs come and go.
    dockerd
        .sh("docker network create net && docker run --rm --network net alpine ping -c 1 -W 5 192.0.2.2")
        .ok();
    dockerd.sh("docker network rm net").ok();
    podman.sh("podman run --rm alpine ping -c 1 -W 5 192.0.2.2").ok();
    podman.sh("podman stop -t 0 web && podman start web && podman network reload -a").ok();
    everybody(&pintle, "after theirs came and went");
    // Everybody gets out, and in between.
    pintle.sh("docker run --rm alpine ping -c 1 -W 5 192.0.2.2").ok();
    dockerd.sh("docker exec web ping -c 1 -W 5 192.0.2.2").ok();
    podman.sh("podman exec own ping -c 1 -W 5 192.0.2.2").ok();

    // Each dies or restarts, and ours is killed.
    pintle.kill();
    everybody(&pintle, "while ours is dead");
    pintle.boot(&[]);
    everybody(&pintle, "after ours came back");
    pintle.host.run(|| dockerd.stop()).unwrap();
    pintle.host.run(|| dockerd.boot(&[])).unwrap();
    dockerd.sh("docker start web").ok();
    everybody(&pintle, "after Docker came back");

    // A port is one's alone, whoever has it.
    let taken = pintle.sh("docker run --rm -p 8082:80 alpine true").fails();
    assert!(taken.contains("already"), "{taken}");
    let taken = dockerd.sh("docker run --rm -p 8081:80 alpine true").fails();
    assert!(taken.contains("already"), "{taken}");
    let taken = podman.sh("podman run --rm -p 8081:80 alpine true").fails();
    assert!(taken.contains("in use"), "{taken}");

    // When ours are all gone, theirs are as they were.
    pintle.sh("docker rm -f web").ok();
    assert_eq!(pintle.leftovers(), [""; 0]);
    pintle.stop();
    for port in [8082, 8083, 8084] {
        assert!(answers(&pintle, port), "{port}, after ours went");
    }
    drop(podman);
    pintle.host.run(|| drop(dockerd)).unwrap();
}
