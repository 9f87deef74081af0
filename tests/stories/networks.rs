//! Networks as users of the stock client know them: names, addresses, published ports, joining and leaving, and
//! engines that die meanwhile.

use std::{
    net::{TcpListener, TcpStream, UdpSocket},
    process::{Child, Command},
    time::Duration,
};

use serde_json::{Value, json};

use crate::harness::{Client, Engine, Kind, eventually};

fn ready() -> Engine {
    let engine = Engine::pintle();
    engine.busybox("alpine");
    engine
}

/// What a container is said to have in a network.
fn place(engine: &Engine, container: &str, network: &str) -> Value {
    let (status, body) = engine.http("GET", &format!("/containers/{container}/json"), None);
    assert_eq!(status, 200, "{body}");
    body["NetworkSettings"]["Networks"][network].clone()
}

fn address(engine: &Engine, container: &str, network: &str) -> String {
    place(engine, container, network)["IPAddress"].as_str().unwrap_or_default().to_owned()
}

/// Whether something listens there and answers HTTP.
fn answers(at: &str) -> bool {
    use std::io::{Read, Write};
    let Ok(mut stream) = TcpStream::connect(at) else { return false };
    let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
    let mut text = String::new();
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").is_ok() && {
        let _ = stream.read_to_string(&mut text);
        text.starts_with("HTTP/1.")
    }
}

const SERVE: &str = "httpd -f -p 80";

#[test]
fn containers_on_the_default_bridge() {
    let engine = ready();
    engine.sh(&format!("docker run -d --name web alpine {SERVE}")).ok();
    let web = address(&engine, "web", "bridge");
    assert!(web.starts_with(&format!("10.{}.", engine.pool())), "{web}");
    engine.sh(&format!("docker run --rm alpine ping -c 1 -W 5 {web}")).ok();
    engine.sh(&format!("docker run --rm alpine wget -q -O - http://{web}/ || [ $? = 1 ]")).ok();
    // The host reaches it, and it the host.
    eventually("its answer", Duration::from_secs(10), || answers(&format!("{web}:80")));
    let gateway = engine.sh("docker run --rm alpine ip route").ok();
    let gateway = gateway.split_whitespace().nth(2).unwrap().to_owned();
    engine.sh(&format!("docker run --rm alpine ping -c 1 -W 5 {gateway}")).ok();
    // Names are not answered here, as in Docker, and what older clients read is where they read it.
    assert!(!engine.sh("docker run --rm alpine cat /etc/resolv.conf").ok().contains("127.0.0.11"));
    let (_, body) = engine.http("GET", "/v1.24/containers/web/json", None);
    assert_eq!(body["NetworkSettings"]["IPAddress"], json!(web));
    assert_eq!(body["NetworkSettings"]["Gateway"], json!(gateway));
    let inside = engine.sh("docker exec web ip addr show eth0").ok();
    assert!(inside.contains(&web) && inside.contains("mtu 1500"), "{inside}");
    let network = engine.sh("docker network inspect bridge --format '{{json .Containers}}'").ok();
    assert!(network.contains("\"Name\":\"web\"") && network.contains(&web), "{network}");
    engine.sh("docker rm -f web").ok();
    assert_eq!(engine.sh("docker network inspect bridge --format '{{json .Containers}}'").ok(), "{}");
    assert_eq!(engine.leftovers(), [""; 0]);
}

#[test]
fn containers_find_each_other_by_name() {
    let engine = ready();
    engine.sh("docker network create net && docker network create other").ok();
    engine.sh("docker run -d --name db --network net --network-alias database alpine sleep 1000").ok();
    engine.sh("docker run -d --name db2 --network net --network-alias database alpine sleep 1000").ok();
    engine.sh("docker run -d --name stranger --network other alpine sleep 1000").ok();
    engine.sh("docker run -d --name app --network net --link db:store -h apphost alpine sleep 1000").ok();
    let (db, db2) = (address(&engine, "db", "net"), address(&engine, "db2", "net"));
    let short = engine.sh("docker inspect -f '{{slice .Id 0 12}}' db").ok();
    let look = |name: &str| engine.sh(&format!("docker exec app nslookup {name}")).stdout;
    for name in ["db", "DB", "db.net", "store", short.as_str()] {
        assert!(look(name).contains(&db), "{name}: {}", look(name));
    }
    let both = look("database");
    assert!(both.contains(&db) && both.contains(&db2), "{both}");
    assert!(look(&db).contains("db.net"), "{}", look(&db));
    assert!(look("-type=srv _postgresql._tcp.db").contains("5432 db.net"));
    assert!(engine.sh("docker exec app nslookup stranger").code != 0);
    assert!(engine.sh("docker exec db nslookup store").code != 0, "a link is one container's own");
    engine.sh("docker exec app ping -c 1 -W 5 db").ok();
    assert!(engine.sh("docker exec app cat /etc/hosts").ok().contains("apphost"));
    let resolv = engine.sh("docker exec app cat /etc/resolv.conf").ok();
    assert!(resolv.contains("nameserver 127.0.0.11") && resolv.contains("ndots:0"), "{resolv}");
    let names = place(&engine, "db", "net")["DNSNames"].clone();
    assert_eq!(names, json!(["db", "database", short]));
    engine.sh("docker rename db renamed").ok();
    assert!(look("renamed").contains(&db));
    assert!(engine.sh("docker exec app nslookup -type=a db2").stdout.contains(&db2));
    engine.sh("docker stop -t 0 db2").ok();
    assert!(!look("database").contains(&db2), "who has ended has no name");
    engine.sh("docker rm -f renamed db2 stranger app && docker network rm net other").ok();
    assert_eq!(engine.leftovers(), [""; 0]);
}

#[test]
fn joining_and_leaving_while_running() {
    let engine = ready();
    engine.sh("docker network create one && docker network create two").ok();
    engine.sh("docker run -d --name box --network one alpine sleep 1000").ok();
    engine.sh("docker run -d --name peer --network two alpine sleep 1000").ok();
    assert!(engine.sh("docker exec box ping -c 1 -W 2 peer").code != 0);
    engine.sh("docker network connect --alias nick two box").ok();
    engine.sh("docker exec box ping -c 1 -W 5 peer && docker exec peer ping -c 1 -W 5 nick").ok();
    let interfaces = engine.sh("docker exec box ls /sys/class/net").ok();
    assert_eq!(interfaces.split_whitespace().collect::<Vec<_>>(), ["eth0", "eth1", "lo"]);
    let route = |engine: &Engine| engine.sh("docker exec box ip route").ok();
    let one = place(&engine, "box", "one")["Gateway"].as_str().unwrap().to_owned();
    assert!(route(&engine).contains(&format!("default via {one}")));
    // Who has the highest priority is the way out.
    engine.sh("docker network disconnect two box").ok();
    let body = json!({"Container": "box", "EndpointConfig": {"GwPriority": 5}});
    assert_eq!(engine.http("POST", "/v1.51/networks/two/connect", Some(&body)).0, 200);
    let two = place(&engine, "box", "two")["Gateway"].as_str().unwrap().to_owned();
    eventually("the other way out", Duration::from_secs(5), || {
        route(&engine).contains(&format!("default via {two}"))
    });
    engine.sh("docker network disconnect two box").ok();
    assert!(route(&engine).contains(&format!("default via {one}")));
    assert!(engine.sh("docker exec box ping -c 1 -W 2 peer").code != 0);
    // It is as it was left when it runs again, and a stopped one joins when it starts.
    engine
        .sh("docker network connect two box && docker stop -t 0 box && docker network disconnect one box")
        .ok();
    assert!(address(&engine, "box", "two").is_empty());
    engine.sh("docker start box && docker exec box ping -c 1 -W 5 peer").ok();
    assert!(place(&engine, "box", "one").is_null());
    engine.sh("docker rm -f box peer && docker network rm one two").ok();
    let told = engine
        .sh("docker events --since 1970-01-01T00:00:00Z --until $(($(date +%s) + 1)) --filter type=network --format \
             '{{.Action}} {{.Actor.Attributes.name}}'")
        .ok();
    for line in ["create one", "connect two", "disconnect two", "destroy one"] {
        assert!(told.lines().any(|told| told == line), "{line} in\n{told}");
    }
    assert_eq!(engine.leftovers(), [""; 0]);
}

/// Sends datagrams back, from the network namespace of a container (whose busybox has nothing that does).
struct Echo(Child);

impl Echo {
    fn in_namespace_of(pid: &str, port: u16) -> Self {
        let script = format!(
            "import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\ns.bind(('0.0.0.0', {port}))\n\
             while True:\n    data, peer = s.recvfrom(2048)\n    s.sendto(data, peer)"
        );
        let child = Command::new("nsenter").args(["-t", pid, "-n", "python3", "-c", &script]).spawn();
        Self(child.expect("nsenter (util-linux) and python3 are needed"))
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn published_ports() {
    let engine = ready();
    let base = 20_000 + u16::from(engine.pool()) * 20;
    engine.sh(&format!("docker run -d --name web -p {base}:80 alpine {SERVE}")).ok();
    for at in [format!("127.0.0.1:{base}"), format!("[::1]:{base}")] {
        eventually(&at, Duration::from_secs(10), || answers(&at));
    }
    let own = engine.sh("ip -4 route get 192.0.2.1").stdout;
    if let Some(own) = own.split(" src ").nth(1).and_then(|rest| rest.split_whitespace().next()) {
        assert!(answers(&format!("{own}:{base}")), "{own}");
    }
    assert_eq!(engine.sh("docker port web").ok(), format!("80/tcp -> 0.0.0.0:{base}\n80/tcp -> [::]:{base}"));
    assert_eq!(engine.sh("docker port web 80").ok(), format!("0.0.0.0:{base}\n[::]:{base}"));
    assert!(engine.sh("docker ps").ok().contains(&format!("0.0.0.0:{base}->80/tcp")));
    // Another container on the host's address.
    let gateway = place(&engine, "web", "bridge")["Gateway"].as_str().unwrap().to_owned();
    engine.sh(&format!("docker run --rm alpine wget -q -O - http://{gateway}:{base}/ || [ $? = 1 ]")).ok();
    // Conflicts, in both directions.
    let refused = engine.sh(&format!("docker run --name late -p {base}:80 alpine true")).fails();
    assert!(
        refused.contains(&format!("Bind for 0.0.0.0:{base} failed: port is already allocated")),
        "{refused}"
    );
    assert_eq!(engine.sh("docker inspect -f '{{.State.Status}}' late").ok(), "created");
    TcpListener::bind(("0.0.0.0", base)).expect_err("the port is taken on the host as well");
    let taken = TcpListener::bind(("127.0.0.1", base + 1)).unwrap();
    let refused = engine.sh(&format!("docker run --rm -p 127.0.0.1:{}:80 alpine true", base + 1)).fails();
    assert!(refused.contains("address already in use") || refused.contains("already allocated"), "{refused}");
    drop(taken);
    // Ranges, datagrams, whatever is free.
    let (from, to) = (base + 2, base + 4);
    engine
        .sh(&format!(
            "docker run -d --name many -p 127.0.0.1:{from}-{to}:9000-9002 -p {from}:53/udp --expose 7000 -P alpine \
             {SERVE}"
        ))
        .ok();
    let ports = engine.sh("docker port many").ok();
    for line in [format!("9000/tcp -> 127.0.0.1:{from}"), format!("9002/tcp -> 127.0.0.1:{to}")] {
        assert!(ports.contains(&line), "{line} in\n{ports}");
    }
    assert!(ports.lines().any(|line| line.starts_with("7000/tcp -> 0.0.0.0:")), "{ports}");
    let pid = engine.sh("docker inspect -f '{{.State.Pid}}' many").ok();
    let echo = Echo::in_namespace_of(&pid, 53);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    eventually("a datagram and its answer", Duration::from_secs(10), || {
        let _ = socket.send_to(b"ping", ("127.0.0.1", from));
        let mut answer = [0; 16];
        socket.recv(&mut answer).is_ok_and(|length| answer[..length] == *b"ping")
    });
    drop(echo);
    engine.sh("docker rm -f web many late").ok();
    drop(TcpListener::bind(("0.0.0.0", base)).expect("the port is free again"));
    assert_eq!(engine.leftovers(), [""; 0]);
}

#[test]
fn nothing_leaves_an_internal_network() {
    let engine = ready();
    engine.sh("docker network create --internal inside && docker network create outside").ok();
    engine.sh(&format!("docker run -d --name web --network inside alpine {SERVE}")).ok();
    engine.sh("docker run -d --name box --network inside alpine sleep 1000").ok();
    engine.sh("docker exec box ping -c 1 -W 5 web").ok();
    assert!(!engine.sh("docker exec box ip route").ok().contains("default"));
    // No question is asked of anybody: the answer is there at once.
    let asked = engine.sh("docker exec box nslookup example.com");
    assert!(asked.code != 0 && format!("{}{}", asked.stdout, asked.stderr).contains("SERVFAIL"), "{asked:?}");
    engine.sh("docker network connect outside box").ok();
    assert!(engine.sh("docker exec box ip route").ok().contains("default"));
    engine.sh("docker rm -f web box && docker network rm inside outside").ok();
    assert_eq!(engine.leftovers(), [""; 0]);
}

#[test]
fn every_mode() {
    let engine = ready();
    assert_eq!(engine.sh("docker run --rm --network none alpine ls /sys/class/net").ok(), "lo");
    let host = engine.sh("docker run --rm --network host alpine ls /sys/class/net").ok();
    assert_eq!(
        host.lines().collect::<Vec<_>>(),
        engine.sh("ls /sys/class/net").ok().lines().collect::<Vec<_>>()
    );
    assert_eq!(engine.sh("docker run --rm --network host alpine hostname").ok(), engine.sh("hostname").ok());
    engine.sh("docker network create net && docker run -d --name web --network net alpine sleep 1000").ok();
    let web = address(&engine, "web", "net");
    let shared = engine.sh("docker run --rm --network container:web alpine ip addr show eth0").ok();
    assert!(shared.contains(&web), "{shared}");
    engine.sh("docker run --rm --network container:web alpine nslookup web").ok();
    let refused = engine.sh("docker run --rm --network container:web -p 80:80 alpine true").fails();
    assert!(
        refused.contains("conflicting options: port publishing and the container type network mode"),
        "{refused}"
    );
    let refused = engine.sh("docker run --rm --network container:nobody alpine true").fails();
    assert!(refused.contains("No such container: nobody"), "{refused}");
    engine.sh("docker rm -f web && docker network rm net").ok();
    assert_eq!(engine.leftovers(), [""; 0]);
}

#[test]
fn addresses_of_ones_own_choice() {
    let engine = ready();
    let pool = engine.pool();
    let net = format!(
        "docker network create --subnet 10.{pool}.200.0/24 --ip-range 10.{pool}.200.128/25 --gateway 10.{pool}.200.254 \
         --aux-address router=10.{pool}.200.130 --ipv6 --subnet fd00:{pool:x}::/64 net"
    );
    engine.sh(&net).ok();
    let config = engine.sh("docker network inspect net --format '{{json .IPAM.Config}}'").ok();
    for part in [format!("\"IPRange\":\"10.{pool}.200.128/25\""), format!("\"router\":\"10.{pool}.200.130\"")]
    {
        assert!(config.contains(&part), "{part} in {config}");
    }
    engine
        .sh(&format!(
            "docker run -d --name box --network net --ip 10.{pool}.200.7 --ip6 fd00:{pool:x}::7 --mac-address \
             02:42:00:00:00:07 alpine sleep 1000"
        ))
        .ok();
    let own = place(&engine, "box", "net");
    assert_eq!(own["IPAddress"], json!(format!("10.{pool}.200.7")));
    assert_eq!(own["GlobalIPv6Address"], json!(format!("fd00:{pool:x}::7")));
    assert_eq!(
        (&own["MacAddress"], &own["Gateway"]),
        (&json!("02:42:00:00:00:07"), &json!(format!("10.{pool}.200.254")))
    );
    engine.sh("docker run -d --name any --network net alpine sleep 1000").ok();
    let any = address(&engine, "any", "net");
    let last: u8 = any.rsplit('.').next().unwrap().parse().unwrap();
    assert!(last >= 128 && last != 130 && last != 254, "{any}");
    engine.sh(&format!("docker exec any ping -c 1 -W 5 10.{pool}.200.7")).ok();
    engine.sh(&format!("docker exec any ping -c 1 -W 5 fd00:{pool:x}::7")).ok();
    let refused =
        engine.sh(&format!("docker run --rm --network net --ip 10.{pool}.200.7 alpine true")).fails();
    assert!(refused.contains("Address already in use"), "{refused}");
    let refused = engine.sh("docker run --rm --network net --ip 203.0.113.7 alpine true").fails();
    assert!(refused.contains("no configured subnet contains IP address 203.0.113.7"), "{refused}");
    let refused = engine.sh("docker run --rm --ip 203.0.113.7 alpine true").fails();
    assert!(
        refused.contains("user-specified IP address is supported on user-defined networks only"),
        "{refused}"
    );
    // The address is kept over a restart of the container.
    engine.sh("docker restart -t 0 box").ok();
    assert_eq!(address(&engine, "box", "net"), format!("10.{pool}.200.7"));
    engine.sh("docker rm -f box any && docker network rm net").ok();
    assert_eq!(engine.leftovers(), [""; 0]);
}

#[test]
fn an_engine_that_dies_and_comes_back() {
    let mut engine = ready();
    let port = 20_000 + u16::from(engine.pool()) * 20;
    engine.sh("docker network create net").ok();
    engine.sh(&format!("docker run -d --name web --network net -p {port}:80 alpine {SERVE}")).ok();
    engine.sh("docker run -d --name box --network net alpine sleep 1000").ok();
    let before = (place(&engine, "web", "net"), place(&engine, "box", "net"));
    engine.kill();
    // Nobody is there to be asked, and packets go on.
    assert!(answers(&format!("127.0.0.1:{port}")));
    engine.boot(&[]);
    assert_eq!((place(&engine, "web", "net"), place(&engine, "box", "net")), before);
    assert!(answers(&format!("127.0.0.1:{port}")));
    eventually("names", Duration::from_secs(10), || {
        engine.sh("docker exec box ping -c 1 -W 5 web").code == 0
    });
    let refused = engine.sh(&format!("docker run --rm -p {port}:80 alpine true")).fails();
    assert!(refused.contains("port is already allocated"), "{refused}");
    engine.sh("docker run --rm --network net alpine ping -c 1 -W 5 web").ok();
    // A container that ends while nobody looks gives back what it had.
    let pid: u32 = engine.sh("docker inspect -f '{{.State.Pid}}' box").ok().parse().unwrap();
    engine.kill();
    crate::harness::signal(pid, "KILL");
    engine.boot(&[]);
    eventually("the end of box", Duration::from_secs(10), || {
        engine.sh("docker inspect -f '{{.State.Status}}' box").ok() == "exited"
    });
    eventually("its place is empty", Duration::from_secs(10), || address(&engine, "box", "net").is_empty());
    engine.sh("docker rm -f web box && docker network rm net").ok();
    assert_eq!(engine.leftovers(), [""; 0]);
}

#[test]
fn what_is_refused_and_in_which_words() {
    let engine = ready();
    let pool = engine.pool();
    engine.sh(&format!("docker network create --subnet 10.{pool}.210.0/24 net")).ok();
    engine.sh("docker run -d --name box --network net alpine sleep 1000").ok();
    for (command, said) in [
        ("docker network create net", "network with name net already exists"),
        ("docker network create bridge", "operation is not permitted on predefined bridge network"),
        ("docker network rm host", "host is a pre-defined network and cannot be removed"),
        ("docker network rm net", "error while removing network: network net has active endpoints"),
        ("docker network inspect nosuch", "network nosuch not found"),
        ("docker network rm nosuch", "network nosuch not found"),
        ("docker network create -d nosuch x", "plugin \"nosuch\" not found"),
        ("docker network connect net nobody", "No such container: nobody"),
        ("docker network connect net box", "endpoint with name box already exists in network net"),
        ("docker network connect nosuch box", "network nosuch not found"),
        (
            "docker network connect host box",
            "cannot connect container to host network - container must be created in host network mode",
        ),
        ("docker network disconnect bridge box", "is not connected to"),
        ("docker run --rm --network nosuch alpine true", "network nosuch not found"),
        (
            "docker run --rm --network-alias x alpine true",
            "network-scoped aliases are only supported for user-defined networks",
        ),
        ("docker network ls -f odd=1", "invalid filter 'odd'"),
        (
            "docker network create --subnet 10.9.9.9/24 x",
            "invalid subnet 10.9.9.9/24: it should be 10.9.9.0/24",
        ),
        ("docker network create -o com.docker.network.bridge.enable_icc=maybe x", "enable_icc"),
        ("docker network create --ingress x", "ingress"),
    ] {
        let refused = engine.sh(command).fails();
        assert!(refused.to_lowercase().contains(&said.to_lowercase()), "{command}: {refused}");
    }
    let clash = engine.sh(&format!("docker network create --subnet 10.{pool}.210.0/25 x")).fails();
    assert!(clash.contains("Pool overlaps with other one on this address space"), "{clash}");
    assert_eq!(engine.sh("docker network ls -q -f type=custom").ok().lines().count(), 1);
    // A name before an id's beginning, and no guess between two beginnings.
    let id = engine.sh("docker network inspect -f '{{.Id}}' net").ok();
    assert_eq!(engine.sh(&format!("docker network inspect -f '{{{{.Name}}}}' {}", &id[..8])).ok(), "net");
    engine.sh("docker rm -f box && docker network prune -f").ok();
    assert_eq!(engine.sh("docker network ls -q -f type=custom").ok(), "");
    assert_eq!(engine.leftovers(), [""; 0]);
}

#[test]
fn the_command_knows_networks_too() {
    let engine = Engine::start(Kind::Pintle, Client::Pintle, &[]);
    engine.busybox("alpine");
    let pool = engine.pool();
    let id = engine.sh(&format!("docker network create --subnet 10.{pool}.220.0/24 --label a=b net")).ok();
    assert_eq!(id.len(), 64);
    assert_eq!(engine.sh("docker network ls -q --no-trunc -f label=a=b").ok(), id);
    let list = engine.sh("docker network ls").ok();
    assert!(list.starts_with("NETWORK ID     NAME      DRIVER    SCOPE\n"), "{list}");
    engine
        .sh(&format!(
            "docker run -d --name box --network name=net,alias=nick,ip=10.{pool}.220.9 -p 127.0.0.1::80 alpine sleep 1000"
        ))
        .ok();
    assert_eq!(
        engine.sh("docker inspect -f '{{.NetworkSettings.Networks.net.IPAddress}}' box").ok(),
        format!("10.{pool}.220.9")
    );
    assert!(engine.sh("docker port box 80/tcp").ok().starts_with("127.0.0.1:"));
    engine.sh("docker run --rm --network net alpine ping -c 1 -W 5 nick").ok();
    engine.sh("docker network create two && docker network connect --alias other two box").ok();
    engine.sh("docker run --rm --network two alpine ping -c 1 -W 5 other").ok();
    engine.sh("docker network disconnect two box && docker network rm two").ok();
    assert!(engine.sh("docker network rm net").fails().contains("has active endpoints"));
    engine.sh("docker rm -f box").ok();
    assert_eq!(engine.sh("docker network prune -f").ok(), "Deleted Networks:\nnet");
    engine.sh("docker network rm -f net").ok();
    assert_eq!(engine.leftovers(), [""; 0]);
}

/// The founding document's "Network Plugin Configuration", with its comments. Its subnet is one that no story takes.
const FOUNDING: &str = r#"// /etc/docker/daemon.json
{
  "experimental": true,                 // Enable experimental Docker features
  "default-network-driver": "overlay",  // Default network type for swarm services
  "plugins": {
    "cni": {                            // Container Network Interface configuration
      "enabled": true,                  // Enable CNI plugins
      "config-path": "/etc/cni/net.d/", // Directory containing CNI network configs
      "binary-path": "/opt/cni/bin"     // Directory containing CNI plugin binaries
    }
  },
  "mtu": 1450,                          // Custom MTU for container interfaces
  "bip": "172.26.0.1/16",               // Custom default bridge network subnet
  "fixed-cidr": "172.26.0.0/16",        // Subnet for container IPs
  "dns": ["8.8.8.8", "8.8.4.4"],        // Default DNS servers for containers
  "ipv6": true,                         // Enable IPv6 networking support
  "iptables": true                      // Enable Docker's iptables rules
}
"#;

#[test]
fn the_founding_documents_configuration() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), FOUNDING).unwrap();
    let path = file.path().to_str().unwrap();
    let engine = Engine::start(Kind::Pintle, Client::Docker, &["--config-file", path]);
    engine.busybox("alpine");
    let info = engine.sh("docker info 2>/dev/null").ok();
    assert!(info.contains("Network: bridge cni host"), "{info}");
    let bridge =
        engine.sh("docker network inspect bridge --format '{{json .IPAM.Config}} {{.EnableIPv6}}'").ok();
    assert!(bridge.contains(r#"{"Subnet":"172.26.0.0/16","Gateway":"172.26.0.1"}"#), "{bridge}");
    assert!(bridge.ends_with("true"), "{bridge}");
    let inside =
        engine.sh("docker run --rm alpine sh -c 'ip addr show eth0; ip route; cat /etc/resolv.conf'").ok();
    for part in [
        "mtu 1450",
        "inet 172.26.0.",
        "inet6 fd",
        "default via 172.26.0.1",
        "nameserver 8.8.8.8",
        "nameserver 8.8.4.4",
    ] {
        assert!(inside.contains(part), "{part} in\n{inside}");
    }
    assert_eq!(engine.leftovers(), [""; 0]);
}

#[test]
fn another_router_than_the_bridge() {
    // The flags are given before the engine has a number of its own, so the subnet is one of documentation's.
    let flags = ["--bip", "203.0.113.1/24", "--default-gateway", "203.0.113.254", "--icc=false"];
    let engine = Engine::start(Kind::Pintle, Client::Docker, &flags);
    engine.busybox("alpine");
    assert!(engine.sh("docker run --rm alpine ip route").ok().contains("default via 203.0.113.254"));
    engine.sh(&format!("docker run -d --name web alpine {SERVE}")).ok();
    let web = address(&engine, "web", "bridge");
    eventually("its answer", Duration::from_secs(10), || answers(&format!("{web}:80")));
    assert!(engine.sh(&format!("docker run --rm alpine ping -c 1 -W 1 {web}")).code != 0, "icc is off");
    engine.sh("docker rm -f web").ok();
    assert_eq!(engine.leftovers(), [""; 0]);
}

#[test]
fn no_default_network_at_all() {
    let engine = Engine::start(Kind::Pintle, Client::Docker, &["--bridge", "none"]);
    engine.busybox("alpine");
    assert_eq!(engine.sh("docker network ls --format '{{.Name}}' | sort | tr '\\n' ' '").ok(), "host none");
    // Docker's answer to no default network: a container has itself.
    let links = engine.sh("docker run --rm alpine ip -o link show").ok();
    assert!(links.lines().count() == 1 && links.contains("lo:"), "{links}");
    engine.sh("docker network create net && docker run --rm --network net alpine ip addr show eth0").ok();
    engine.sh("docker network rm net").ok();
    assert_eq!(engine.leftovers(), [""; 0]);
}
