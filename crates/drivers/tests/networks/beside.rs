//! Beside others who filter packets on the same host.

use std::{
    fs,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use pintle_contract::NetworkDriver;
use pintle_netlink::{
    LinkKind, Namespace, NewLink, Route,
    nft::{Family, Script},
};

use crate::world::*;

#[tokio::test(flavor = "multi_thread")]
async fn other_tables_stay_as_they_are() {
    let world = World::new();
    let mut script = Script::new();
    script.line(format_args!(
        "table inet firewalld {{ chain filter_FORWARD {{ type filter hook forward priority 10; }}; }}"
    ));
    script.line(format_args!(
        "table ip nat {{ chain POSTROUTING {{ type nat hook postrouting priority 100; }}; }}"
    ));
    script.line(format_args!("table inet pintle-other {{ set bridges {{ type ifname; }}; }}"));
    world.nft().apply(&script).unwrap();
    let others = || {
        ["firewalld", "pintle-other"]
            .map(|name| world.nft().table(Family::Inet, &name.parse().unwrap()).unwrap())
    };
    let before = others();
    world.network(1, &["10.1.0.0/24"], &[]).await;
    let one = world.container(1, 0xa1, &["10.1.0.2/24"]).await;
    one.publish(&world.driver, &[port("tcp :8080", 80)]).await.unwrap();
    world.driver.delete_endpoint(&one.id).await.unwrap();
    world.driver.delete_network(&id(1)).await.unwrap();
    world.driver.retain(&[], &[]).await.unwrap();
    assert_eq!(before, others());
}

/// Runs a program on the host, and gives what it says.
fn run(world: &World, line: &str) -> String {
    let parts: Vec<&str> = line.split(' ').collect();
    let output = world.host.run(|| Command::new(parts[0]).args(&parts[1..]).output()).unwrap().unwrap();
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Containers get out and are reached, from outside and by each other.
async fn all_is_well(world: &World, number: u8) {
    let subnet = format!("10.{number}.0");
    world.network(number, &[&format!("{subnet}.0/24"), &format!("fd{number:02}::/64")], &[]).await;
    let addresses = |last: u8| [format!("{subnet}.{last}/24"), format!("fd{number:02}::{last}/64")];
    let texts = addresses(2);
    let one = world.container(number, number + 1, &[&texts[0], &texts[1]]).await;
    let texts = addresses(3);
    let two = world.container(number, number + 2, &[&texts[0], &texts[1]]).await;
    serve(&two.sandbox, &format!("{subnet}.3:80"));
    serve(&two.sandbox, &format!("[fd{number:02}::3]:80"));
    let host_port = 8000 + u16::from(number);
    two.publish(&world.driver, &[port(&format!("tcp :{host_port}"), 80)]).await.unwrap();
    assert_eq!(ask(&one.sandbox, "192.0.2.2:80"), "192.0.2.1");
    assert_eq!(ask(&one.sandbox, "[2001:db8::2]:80"), "2001:db8::1");
    assert_eq!(ask(&one.sandbox, &format!("{subnet}.3:80")), format!("{subnet}.2"));
    assert_eq!(ask(&world.outside, &format!("192.0.2.1:{host_port}")), "192.0.2.2");
    assert_eq!(ask(&world.outside, &format!("[2001:db8::1]:{host_port}")), "2001:db8::2");
    for container in [one, two] {
        world.driver.delete_endpoint(&container.id).await.unwrap();
    }
    world.driver.delete_network(&id(number)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_who_drops_what_is_forwarded() {
    let world = World::new();
    serve(&world.outside, "192.0.2.2:80");
    serve(&world.outside, "[2001:db8::2]:80");
    for program in ["iptables", "ip6tables"] {
        run(&world, &format!("{program} -P FORWARD DROP"));
        run(&world, &format!("{program} -A FORWARD -p udp --dport 9 -j ACCEPT"));
    }
    let before = run(&world, "iptables -S");
    all_is_well(&world, 1).await;
    assert_eq!(run(&world, "iptables -S"), before);
    world.network(2, &["10.2.0.0/24"], &[]).await;
    assert!(run(&world, "iptables -S").contains("-A FORWARD -j PINTLE\n-A FORWARD -p udp"));
}

struct Dockerd {
    child: Child,
    place: tempfile::TempDir,
}

impl Dockerd {
    fn start(world: &World) -> Self {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name).display().to_string();
        let log = fs::File::create(place.path().join("log")).unwrap();
        let mut command = Command::new("dockerd");
        command
            .args(["--host", &format!("unix://{}", at("sock")), "--data-root", &at("data")])
            .args(["--exec-root", &at("exec"), "--pidfile", &at("pid"), "--userland-proxy=false"])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        let child =
            world.host.run(|| command.spawn()).unwrap().expect("dockerd (Debian's docker.io) is needed");
        let dockerd = Self { child, place };
        let deadline = Instant::now() + Duration::from_secs(120);
        while !dockerd.docker(&["version"]) {
            let log = fs::read_to_string(dockerd.place.path().join("log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "dockerd does not answer:\n{log}");
            std::thread::sleep(Duration::from_millis(100));
        }
        dockerd
    }

    fn docker(&self, arguments: &[&str]) -> bool {
        let socket = format!("unix://{}", self.place.path().join("sock").display());
        let output = Command::new("docker").args(["--host", &socket]).args(arguments).output().unwrap();
        output.status.success()
    }
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dockerd_and_its_rules() {
    let world = World::new();
    serve(&world.outside, "192.0.2.2:80");
    serve(&world.outside, "[2001:db8::2]:80");
    // Ours was here before.
    world.network(9, &["10.9.0.0/24"], &[]).await;
    let early = world.container(9, 0xe1, &["10.9.0.2/24"]).await;
    serve(&early.sandbox, "10.9.0.2:80");
    assert_eq!(ask(&early.sandbox, "192.0.2.2:80"), "192.0.2.1");
    run(&world, "sysctl -w net.ipv4.ip_forward=0");
    let dockerd = Dockerd::start(&world);
    let rules = run(&world, "iptables -S");
    assert!(rules.contains("-P FORWARD DROP") && rules.contains("DOCKER-USER"), "{rules}");

    all_is_well(&world, 1).await;
    // With the next start, those that were here before are let through as well.
    assert_eq!(ask(&early.sandbox, "192.0.2.2:80"), "192.0.2.1");
    let rules = run(&world, "iptables -S");
    assert!(rules.contains("-A DOCKER-USER -j PINTLE\n-A DOCKER-USER -j RETURN"), "{rules}");

    // A container of dockerd, as far as links go.
    let theirs = Namespace::create().unwrap();
    let end = |text: &str| NewLink::new(link(text), LinkKind::Peer).up();
    world.handle().add_veth(&end("theirs").master(link("docker0")), &end("eth0"), &theirs).unwrap();
    let inside = theirs.handle().unwrap();
    inside.add_address(&link("eth0"), net("172.17.0.2/16")).unwrap();
    inside.set_route(&link("eth0"), &Route::default_by(ip("172.17.0.1"))).unwrap();
    serve(&theirs, "172.17.0.2:80");
    assert_eq!(ask(&world.host, "172.17.0.2:80"), "172.17.0.1");
    assert_eq!(ask(&theirs, "192.0.2.2:80"), "192.0.2.1");
    assert!(silent(&early.sandbox, "172.17.0.2:80"));
    assert!(silent(&theirs, "10.9.0.2:80"));
    early.publish(&world.driver, &[port("tcp :8080", 80)]).await.unwrap();
    assert_eq!(ask(&theirs, "192.0.2.1:8080"), "10.9.0.1");

    // What the administrator forbids there stays forbidden.
    run(&world, "iptables -I DOCKER-USER -s 10.9.0.2 -d 192.0.2.2 -j DROP");
    assert!(silent(&early.sandbox, "192.0.2.2:80"));
    run(&world, "iptables -D DOCKER-USER -s 10.9.0.2 -d 192.0.2.2 -j DROP");
    assert_eq!(ask(&early.sandbox, "192.0.2.2:80"), "192.0.2.1");

    // dockerd goes on as if it were alone.
    assert!(dockerd.docker(&["network", "create", "--subnet", "10.55.0.0/24", "lan"]));
    assert!(dockerd.docker(&["network", "rm", "lan"]));
    drop(dockerd);
    let dockerd = Dockerd::start(&world);
    assert_eq!(ask(&early.sandbox, "192.0.2.2:80"), "192.0.2.1");
    world.driver.delete_endpoint(&early.id).await.unwrap();
    world.driver.delete_network(&id(9)).await.unwrap();
    let rules = run(&world, "iptables -S");
    assert!(!rules.contains("PINTLE") && rules.contains("DOCKER-USER"), "{rules}");
    drop(dockerd);
}

/// A firewalld of the test's own, with a bus of its own.
struct Firewalld {
    bus: Child,
    daemon: Child,
    place: tempfile::TempDir,
}

const BUS: &str = r#"<busconfig><type>system</type><listen>unix:path=PLACE/bus</listen><auth>EXTERNAL</auth>
<policy context="default"><allow user="*"/><allow own="*"/><allow send_type="method_call"/><allow send_type="signal"/>
<allow send_requested_reply="true" send_type="method_return"/><allow send_requested_reply="true" send_type="error"/>
<allow receive_type="method_call"/><allow receive_type="signal"/><allow receive_type="method_return"/>
<allow receive_type="error"/></policy></busconfig>"#;

impl Firewalld {
    /// The directory has a `firewall-cmd` that speaks to it.
    fn start(place: tempfile::TempDir, host: &Namespace) -> Self {
        let at = |name: &str| place.path().join(name);
        fs::write(at("bus.conf"), BUS.replace("PLACE", &place.path().display().to_string())).unwrap();
        let quiet = |mut command: Command| {
            command.env("DBUS_SYSTEM_BUS_ADDRESS", address(place.path()));
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            host.run(|| command.spawn()).unwrap()
        };
        let mut bus = Command::new("dbus-daemon");
        bus.arg("--nofork").arg(format!("--config-file={}", at("bus.conf").display()));
        let bus = quiet(bus).expect("dbus-daemon (Debian's dbus) is needed");
        let mut daemon = Command::new("/usr/bin/python3");
        daemon
            .args(["/usr/sbin/firewalld", "--nofork", "--nopid"])
            .arg(format!("--log-file={}", at("log").display()));
        wait_for("the bus", || at("bus").exists());
        let daemon = quiet(daemon).unwrap();
        let firewalld = Self { bus, daemon, place };
        wait_for("firewalld (Debian's firewalld)", || {
            Command::new(firewalld.place.path().join("firewall-cmd"))
                .arg("--state")
                .output()
                .unwrap()
                .status
                .success()
        });
        firewalld
    }

    fn zone(&self) -> String {
        let command = self.place.path().join("firewall-cmd");
        let output = Command::new(command).args(["--zone=trusted", "--list-interfaces"]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }
}

fn address(place: &std::path::Path) -> String {
    format!("unix:path={}", place.join("bus").display())
}

fn wait_for(what: &str, ready: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(120);
    while !ready() {
        assert!(Instant::now() < deadline, "{what} does not come up");
        std::thread::sleep(Duration::from_millis(100));
    }
}

impl Drop for Firewalld {
    fn drop(&mut self) {
        for child in [&mut self.daemon, &mut self.bus] {
            let _ = rustix::process::kill_process(
                rustix::process::Pid::from_child(child),
                rustix::process::Signal::TERM,
            );
            let _ = child.wait();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_firewalld_and_its_zones() {
    let place = tempfile::tempdir().unwrap();
    let command = place.path().join("firewall-cmd");
    let script = format!(
        "#!/bin/sh\nDBUS_SYSTEM_BUS_ADDRESS={} exec /usr/bin/python3 /usr/bin/firewall-cmd \"$@\"\n",
        address(place.path())
    );
    fs::write(&command, script).unwrap();
    fs::set_permissions(&command, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let world = World::with(|config| config.firewall_cmd = command);
    serve(&world.outside, "192.0.2.2:80");
    serve(&world.outside, "[2001:db8::2]:80");
    let firewalld = Firewalld::start(place, &world.host);
    all_is_well(&world, 1).await;
    assert_eq!(firewalld.zone(), "");
    // Without being trusted it would not work, or the test would prove nothing.
    world.network(2, &["10.2.0.0/24"], &[]).await;
    let one = world.container(2, 0xa1, &["10.2.0.2/24"]).await;
    assert_eq!(firewalld.zone(), "br-020202020202");
    assert_eq!(ask(&one.sandbox, "192.0.2.2:80"), "192.0.2.1");
    let command = firewalld.place.path().join("firewall-cmd");
    let distrust = ["--zone=trusted", "--remove-interface=br-020202020202"];
    assert!(Command::new(command).args(distrust).output().unwrap().status.success());
    assert!(silent(&one.sandbox, "192.0.2.2:80"));
    world.driver.restore().unwrap();
    assert_eq!(ask(&one.sandbox, "192.0.2.2:80"), "192.0.2.1");
}
