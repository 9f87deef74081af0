//! The crate against the kernel, in namespaces of the test's own: they and all that is in them end with the test.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::{net::IpAddr, path::Path};

use pintle_netlink::{
    ErrorKind, Handle, IpNet, LinkChange, LinkKind, LinkName, MacAddress, MacvlanMode, Namespace, NewLink,
    PortOptions, Route, Sysctl, Vxlan,
    nft::{Change, Family, Ident, Nft, Policy, Script, Table},
};

fn name(text: &str) -> LinkName {
    text.parse().unwrap()
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn bridge(handle: &Handle, text: &str) {
    handle.add_link(&NewLink::new(name(text), LinkKind::Bridge).up()).unwrap();
}

#[test]
fn a_namespace_has_a_path_and_an_end() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("sandbox");
    let made = Namespace::create_at(&path).unwrap();
    assert!(!made.is(&Namespace::current().unwrap()));
    assert!(made.is(&Namespace::open(&path).unwrap()));
    assert!(!made.is(&Namespace::of_process(std::process::id()).unwrap()));
    let lo = made.handle().unwrap().link(&LinkName::loopback()).unwrap().unwrap();
    assert!(lo.up && lo.mac.is_none() && lo.kind.is_empty(), "{lo:?}");
    // Made again, it is another one.
    let again = Namespace::create_at(&path).unwrap();
    assert!(!again.is(&made) && again.is(&Namespace::open(&path).unwrap()));
    Namespace::remove(&path).unwrap();
    Namespace::remove(&path).unwrap();
    assert!(!path.exists());
    assert_eq!(Namespace::open(&path).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(Namespace::open(Path::new("/etc/passwd")).unwrap_err().kind(), ErrorKind::Invalid);
}

#[test]
fn a_pair_between_namespaces_carries_packets() {
    let (host, sandbox) = (Namespace::create().unwrap(), Namespace::create().unwrap());
    let handle = host.handle().unwrap();
    bridge(&handle, "br0");
    handle.add_address(&name("br0"), net("10.9.0.1/24")).unwrap();
    handle.add_address(&name("br0"), net("10.9.0.1/24")).unwrap();
    handle.add_address(&name("br0"), net("fd09::1/64")).unwrap();
    let mac = MacAddress([2, 0x42, 10, 9, 0, 2]);
    let mut outer = NewLink::new(name("veth0"), LinkKind::Peer).master(name("br0")).mtu(1400).up();
    outer.with.alias = Some("pintle: of a test".into());
    let inner = NewLink::new(name("eth0"), LinkKind::Peer).mac(mac).mtu(1400).up();
    handle.add_veth(&outer, &inner, &sandbox).unwrap();

    let inside = sandbox.handle().unwrap();
    inside.add_address(&name("eth0"), net("10.9.0.2/24")).unwrap();
    inside.add_address(&name("eth0"), net("fd09::2/64")).unwrap();
    inside.set_route(&name("eth0"), &Route::default_by(ip("10.9.0.1"))).unwrap();
    inside.set_route(&name("eth0"), &Route::default_by(ip("fd09::1"))).unwrap();
    inside.set_route(&name("eth0"), &Route::new(net("10.77.0.0/16"), None)).unwrap();
    inside.set_route(&name("eth0"), &Route::new(net("10.78.0.0/16"), Some(ip("192.168.9.9")))).unwrap();

    let eth0 = inside.link(&name("eth0")).unwrap().unwrap();
    assert_eq!((eth0.mac, eth0.mtu, eth0.up, eth0.kind.as_str()), (Some(mac), 1400, true, "veth"));
    let veth0 = handle.link(&name("veth0")).unwrap().unwrap();
    let br0 = handle.link(&name("br0")).unwrap().unwrap();
    assert_eq!((veth0.master, veth0.alias.as_str()), (Some(br0.index), "pintle: of a test"));
    assert_eq!(veth0.parent, Some(eth0.index));
    let addresses = inside.addresses(&name("eth0")).unwrap();
    assert!(
        addresses.contains(&net("10.9.0.2/24")) && addresses.contains(&net("fd09::2/64")),
        "{addresses:?}"
    );
    let used = inside.subnets_in_use().unwrap();
    assert_eq!(used, [net("10.9.0.0/24"), net("10.77.0.0/16"), net("10.78.0.0/16"), net("fd09::/64")]);
    assert_eq!(inside.routes().unwrap().iter().filter(|route| route.is_default()).count(), 2);

    // A connection in each direction, without any wait: nothing looks for duplicates.
    for address in ["10.9.0.2:80", "[fd09::2]:80"] {
        let listener = sandbox.run(|| std::net::TcpListener::bind(address)).unwrap().unwrap();
        let address = listener.local_addr().unwrap();
        host.run(|| std::net::TcpStream::connect(address)).unwrap().unwrap();
    }
    assert!(inside.remove_address(&name("eth0"), net("10.9.0.2/24")).unwrap());
    assert!(!inside.remove_address(&name("eth0"), net("10.9.0.2/24")).unwrap());
    assert!(handle.remove_link(&name("veth0")).unwrap());
    assert!(!handle.remove_link(&name("veth0")).unwrap());
    assert!(inside.link(&name("eth0")).unwrap().is_none());
}

#[test]
fn links_change_and_move() {
    let (host, sandbox) = (Namespace::create().unwrap(), Namespace::create().unwrap());
    let handle = host.handle().unwrap();
    bridge(&handle, "br0");
    let pair = |text: &str| NewLink::new(name(text), LinkKind::Peer);
    handle.add_veth(&pair("a"), &pair("b"), &host).unwrap();
    let change = LinkChange {
        name: Some(name("c")),
        mtu: Some(1300),
        master: Some(Some(name("br0"))),
        alias: Some("note".into()),
        up: Some(true),
        ..LinkChange::default()
    };
    handle.change_link(&name("a"), &change).unwrap();
    let c = handle.link(&name("c")).unwrap().unwrap();
    assert!(c.up && c.master.is_some() && c.mtu == 1300 && c.alias == "note", "{c:?}");
    let port = PortOptions {
        hairpin: Some(true),
        isolated: Some(true),
        neighbour_suppression: Some(true),
        ..PortOptions::default()
    };
    handle.change_port(&name("c"), port).unwrap();
    let flag = |text: &str| {
        let path = format!("/sys/class/net/c/brport/{text}");
        host.run(|| {
            // What is mounted at /sys shows the namespace of who mounted it.
            let mount = std::process::Command::new("unshare")
                .args(["-m", "sh", "-c", &format!("mount -t sysfs sys /sys && cat {path}")])
                .output()
                .unwrap();
            String::from_utf8_lossy(&mount.stdout).trim().to_owned()
        })
        .unwrap()
    };
    assert_eq!(
        (flag("hairpin_mode"), flag("isolated"), flag("neigh_suppress")),
        ("1".into(), "1".into(), "1".into())
    );
    handle.change_link(&name("c"), &LinkChange { master: Some(None), ..LinkChange::default() }).unwrap();
    assert_eq!(handle.link(&name("c")).unwrap().unwrap().master, None);

    let change = LinkChange { namespace: Some(sandbox.clone()), ..LinkChange::default() };
    handle.change_link(&name("b"), &change).unwrap();
    assert!(handle.link(&name("b")).unwrap().is_none());
    assert!(sandbox.handle().unwrap().link(&name("b")).unwrap().is_some());
    let names: Vec<String> = handle.links().unwrap().into_iter().map(|link| link.name).collect();
    assert_eq!(names, ["lo", "br0", "c"]);
}

#[test]
fn what_is_removed_is_gone_and_its_name_is_free() {
    let (host, sandbox) = (Namespace::create().unwrap(), Namespace::create().unwrap());
    let handle = host.handle().unwrap();
    for _ in 0..20 {
        bridge(&handle, "br0");
        handle.add_address(&name("br0"), net("10.9.0.1/24")).unwrap();
        let outer = NewLink::new(name("veth0"), LinkKind::Peer).master(name("br0")).up();
        handle.add_veth(&outer, &NewLink::new(name("eth0"), LinkKind::Peer).up(), &sandbox).unwrap();
        // From either end, and with it the other.
        assert!(sandbox.remove_link(&name("eth0")).unwrap());
        assert!(handle.link(&name("veth0")).unwrap().is_none());
        assert!(host.remove_link(&name("br0")).unwrap());
        assert!(handle.routes().unwrap().iter().all(|route| route.destination != net("10.9.0.0/24")));
    }
    assert!(!host.remove_link(&name("br0")).unwrap());
    let refused = host.remove_link(&LinkName::loopback()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unsupported, "{refused}");
}

#[test]
fn links_on_parents_and_tunnels() {
    let (host, sandbox) = (Namespace::create().unwrap(), Namespace::create().unwrap());
    let handle = host.handle().unwrap();
    let pair = |text: &str| NewLink::new(name(text), LinkKind::Peer).up();
    handle.add_veth(&pair("uplink"), &pair("far"), &host).unwrap();
    for (at, mode) in [MacvlanMode::Bridge, MacvlanMode::Private, MacvlanMode::Vepa].into_iter().enumerate() {
        let kind = LinkKind::Macvlan { parent: name("uplink"), mode };
        handle.add_link(&NewLink::new(name(&format!("eth{at}")), kind).inside(&sandbox).up()).unwrap();
    }
    let made = sandbox.handle().unwrap().link(&name("eth0")).unwrap().unwrap();
    let uplink = handle.link(&name("uplink")).unwrap().unwrap();
    assert_eq!((made.kind.as_str(), made.parent, made.up), ("macvlan", Some(uplink.index), true));

    let vxlan = Vxlan {
        id: 7,
        local: Some(ip("10.0.0.1")),
        parent: Some(name("uplink")),
        port: 4789,
        learning: false,
        proxy: true,
    };
    handle.add_link(&NewLink::new(name("vx"), LinkKind::Vxlan(vxlan)).up()).unwrap();
    let mac = MacAddress([2, 0, 0, 0, 0, 9]);
    handle.set_neighbour(&name("vx"), ip("10.5.0.9"), mac).unwrap();
    handle.set_forwarding(&name("vx"), mac, ip("10.0.0.2")).unwrap();
    handle.set_forwarding(&name("vx"), MacAddress([0; 6]), ip("10.0.0.2")).unwrap();
    handle.set_forwarding(&name("vx"), MacAddress([0; 6]), ip("10.0.0.3")).unwrap();
    handle.set_forwarding(&name("vx"), MacAddress([0; 6]), ip("10.0.0.3")).unwrap();
    let known = handle.neighbours(&name("vx")).unwrap();
    assert!(
        known.iter().any(|row| row.mac == Some(mac) && row.address == Some(ip("10.5.0.9")) && row.permanent)
    );
    let table = handle.forwarding(&name("vx")).unwrap();
    assert!(table.iter().any(|row| row.mac == Some(mac) && row.address == Some(ip("10.0.0.2"))), "{table:?}");
    assert!(handle.remove_forwarding(&name("vx"), mac, ip("10.0.0.2")).unwrap());
    assert!(!handle.remove_forwarding(&name("vx"), mac, ip("10.0.0.2")).unwrap());
    assert!(handle.remove_neighbour(&name("vx"), ip("10.5.0.9")).unwrap());
    assert!(!handle.remove_neighbour(&name("vx"), ip("10.5.0.9")).unwrap());
}

#[test]
fn errors_say_what_with_which_link_and_why() {
    let host = Namespace::create().unwrap();
    let handle = host.handle().unwrap();
    bridge(&handle, "br0");
    let error = handle.add_link(&NewLink::new(name("br0"), LinkKind::Bridge)).unwrap_err();
    assert_eq!((error.kind(), error.to_string()), (ErrorKind::Exists, "add link br0: File exists".into()));
    let error = handle.set_up(&name("gone")).unwrap_err();
    assert_eq!(
        (error.kind(), error.to_string()),
        (ErrorKind::NotFound, "change link gone: No such device".into())
    );
    let error = handle.add_address(&name("gone"), net("10.0.0.1/8")).unwrap_err();
    assert_eq!(error.to_string(), "add an address to link gone: No such device");
    let error = handle
        .set_route(&name("br0"), &Route::default_by(ip("fe80::1")))
        .and_then(|()| handle.set_route(&name("gone"), &Route::default_by(ip("fe80::1"))))
        .unwrap_err();
    assert!(error.to_string().contains("gone"), "{error}");
    let mac = MacAddress([1, 2, 3, 4, 5, 6]);
    let error = handle.add_link(&NewLink::new(name("br1"), LinkKind::Bridge).mac(mac)).unwrap_err();
    assert!(error.to_string().starts_with("add link br1: "), "{error}");
    let lost = NewLink::new(name("m"), LinkKind::Macvlan { parent: name("gone"), mode: MacvlanMode::Bridge });
    assert_eq!(handle.add_link(&lost).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn settings_are_the_namespaces_own() {
    let host = Namespace::create().unwrap();
    let forward: Sysctl = "net.ipv4.ip_forward".parse().unwrap();
    let before = Namespace::current().unwrap().sysctl(&forward).unwrap();
    for value in ["1", "0"] {
        host.set_sysctl(&forward, value).unwrap();
        assert_eq!(host.sysctl(&forward).unwrap(), value);
    }
    assert_eq!(Namespace::current().unwrap().sysctl(&forward).unwrap(), before);
    let missing = Sysctl::of_link("ipv4", "conf", &name("gone"), "forwarding");
    let error = host.set_sysctl(&missing, "1").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().starts_with("set net/ipv4/conf/gone/forwarding to 1: "), "{error}");
}

#[test]
fn filters_change_as_a_whole_or_not_at_all() {
    let host = Namespace::create().unwrap();
    let nft = Nft::new(Some(host));
    let table = "pintle".parse().unwrap();
    let mut script = Script::new();
    script.line(format_args!("add table inet {table}"));
    script.line(format_args!("add chain inet {table} c"));
    nft.apply(&script).unwrap();
    let text = nft.table(Family::Inet, &table).unwrap().unwrap();
    assert!(text.contains("chain c"), "{text}");
    assert_eq!(nft.tables(Family::Inet).unwrap(), ["pintle"]);
    let mut script = Script::new();
    script.line(format_args!("add chain inet {table} d"));
    script.line(format_args!("add rule inet {table} nowhere accept"));
    let error = nft.apply(&script).unwrap_err();
    assert!(error.to_string().starts_with("change packet filters: nft: "), "{error}");
    assert!(!nft.table(Family::Inet, &table).unwrap().unwrap().contains("chain d"));
    let mut script = Script::new();
    script
        .line(format_args!("add chain inet {table} e {{ type filter hook input priority 0; policy drop; }}"));
    nft.apply(&script).unwrap();
    let policy = |chain: &str| {
        nft.look_up(Family::Inet, &table, &chain.parse().unwrap()).unwrap().map(|info| info.policy)
    };
    assert_eq!((policy("c"), policy("e"), policy("f")), (Some(None), Some(Some(Policy::Drop)), None));
    let mut script = Script::new();
    script.line(format_args!("add rule inet {table} e counter jump c"));
    nft.apply(&script).unwrap();
    let rules = nft.rules(Family::Inet, &table, &"e".parse().unwrap()).unwrap().unwrap();
    assert!(rules.len() == 1 && rules[0].verdict == "jump c" && rules[0].always, "{rules:?}");
    assert!(nft.rules(Family::Inet, &table, &"nowhere".parse().unwrap()).unwrap().is_none());
    nft.delete_table(Family::Inet, &table).unwrap();
    nft.delete_table(Family::Inet, &table).unwrap();
    assert!(nft.table(Family::Inet, &table).unwrap().is_none());

    let error = nft.with_program(Path::new("/missing/nft")).apply(&script).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ToolMissing);
    assert!(error.to_string().contains("install the package nftables"), "{error}");
}

#[test]
fn a_table_is_kept_as_its_owner_wants_it() {
    let host = Namespace::create().unwrap();
    let nft = Nft::new(Some(host));
    let layout = [
        "set bridges { type ifname; }",
        "map to { type ifname : verdict; }",
        "map ports { type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; }",
        "chain forward { type filter hook forward priority 0; policy accept; }",
    ];
    let word = |text: &str| text.parse::<Ident>().unwrap();
    let open = || Table::new(nft.clone(), word("t"), &layout).unwrap();
    let text = || nft.table(Family::Inet, &word("t")).unwrap().unwrap_or_default();
    let port = |to: &str| Change::Element(word("ports"), "10.0.0.1 . 6 . 80".into(), Some(to.into()));
    let network = |number: u8| {
        vec![
            Change::Chain(word(&format!("to_{number}")), vec!["ct status dnat accept".into(), "drop".into()]),
            Change::Element(word("to"), format!("br{number}"), Some(format!("jump to_{number}"))),
            Change::Element(word("bridges"), format!("br{number}"), None),
        ]
    };

    let first = open();
    first.settle().unwrap();
    assert_eq!(text(), "", "nothing was wanted");
    first.commit(&[Change::Chain(word("forward"), vec!["oifname vmap @to".into()])]).unwrap();
    first.commit(&network(1)).unwrap();
    first.commit(&network(2)).unwrap();
    first.commit(&[port("10.9.0.2 . 80")]).unwrap();
    first.commit(&[port("10.9.0.3 . 80")]).unwrap();
    assert!(
        text().contains("10.0.0.1 . tcp . 80 : 10.9.0.3 . 80") && !text().contains("10.9.0.2"),
        "{}",
        text()
    );
    let before = text();
    let wrong =
        vec![port("10.9.0.4 . 80"), Change::Element(word("to"), "br9".into(), Some("jump nowhere".into()))];
    assert!(first.commit(&wrong).is_err());
    assert_eq!(text(), before, "all or nothing");

    // A process that comes after finds the table, and changes nothing by saying again what is there.
    let second = open();
    second.commit(&network(1)).unwrap();
    assert_eq!(text().matches("jump").count(), 2, "{}", text());
    second.commit(&[Change::Chain(word("forward"), vec!["oifname vmap @to".into()])]).unwrap();
    second.commit(&[port("10.9.0.5 . 80")]).unwrap();
    assert!(text().contains("10.9.0.5") && !text().contains("10.9.0.3"), "{}", text());
    assert!(text().contains("br2"));
    second.settle().unwrap();
    assert!(!text().contains("br2") && !text().contains("to_2") && text().contains("br1"), "{}", text());

    // Somebody removes everything; the next change brings it back, and so does looking.
    let before = text();
    nft.delete_table(Family::Inet, &word("t")).unwrap();
    second.commit(&[port("10.9.0.6 . 80")]).unwrap();
    assert_eq!(text(), before.replace("10.9.0.5", "10.9.0.6"));
    nft.delete_table(Family::Inet, &word("t")).unwrap();
    second.restore().unwrap();
    assert_eq!(text(), before.replace("10.9.0.5", "10.9.0.6"));
    nft.delete_table(Family::Inet, &word("t")).unwrap();
    second.look_after().unwrap();
    assert_eq!(text(), before.replace("10.9.0.5", "10.9.0.6"));

    second
        .commit(&[
            Change::NoElement(word("to"), "br1".into()),
            Change::NoElement(word("bridges"), "br1".into()),
            Change::NoElement(word("bridges"), "br7".into()),
            Change::NoElement(word("ports"), "10.0.0.1 . 6 . 80".into()),
            Change::NoChain(word("to_1")),
            Change::NoChain(word("to_7")),
        ])
        .unwrap();
    assert!(
        !text().contains("br1") && !text().contains("to_1") && !text().contains("elements"),
        "{}",
        text()
    );

    // A table of another make is replaced.
    let third = Table::new(nft.clone(), word("t"), &layout[..2]).unwrap();
    third.commit(&network(3)).unwrap();
    assert!(!text().contains("map ports") && text().contains("br3"), "{}", text());
    third.remove().unwrap();
    assert_eq!(text(), "");
}

#[test]
fn connections_are_forgotten() {
    let host = Namespace::create().unwrap();
    let nft = Nft::new(Some(host.clone()));
    let mut script = Script::new();
    // The kernel keeps the table only where a rule asks for it.
    script.line(format_args!(
        "table inet t {{ chain c {{ type filter hook output priority 0; ct state new accept; }}; }}"
    ));
    nft.apply(&script).unwrap();
    host.run(|| {
        for server in ["127.0.0.1:5000", "[::1]:5000"] {
            let server = std::net::UdpSocket::bind(server).unwrap();
            let client = std::net::UdpSocket::bind((server.local_addr().unwrap().ip(), 0)).unwrap();
            client.send_to(b"x", server.local_addr().unwrap()).unwrap();
        }
    })
    .unwrap();
    let seen = std::cell::Cell::new(0);
    let mine = |flow: &pintle_netlink::Flow| {
        seen.set(seen.get() + 1);
        flow.protocol == 17 && flow.to.port() == 5000 && flow.answered_by == flow.to
    };
    assert_eq!(host.forget_flows(|flow| !mine(flow)).unwrap(), 0);
    assert_eq!(seen.get(), 2);
    assert_eq!(host.forget_flows(mine).unwrap(), 2);
    assert_eq!(host.forget_flows(mine).unwrap(), 0);
}

#[test]
fn elements_need_no_program() {
    let host = Namespace::create().unwrap();
    let nft = Nft::new(Some(host));
    let layout = [
        "set bridges { type ifname; }",
        "map to { type ifname : verdict; }",
        "map names { type inet_service : ipv4_addr; }",
        "map ports4 { type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; }",
        "map ports6 { type ipv6_addr . inet_proto . inet_service : ipv6_addr . inet_service; }",
    ];
    let word = |text: &str| text.parse::<Ident>().unwrap();
    let place = tempfile::tempdir().unwrap();
    let program = place.path().join("nft");
    let install = || std::os::unix::fs::symlink("/usr/sbin/nft", &program).unwrap();
    install();
    let table = Table::new(nft.clone().with_program(&program), word("t"), &layout).unwrap();
    table.commit(&[Change::Chain(word("c"), vec!["accept".into()])]).unwrap();
    std::fs::remove_file(&program).unwrap();
    assert!(table.commit(&[Change::NoChain(word("c"))]).is_err());

    let text = || nft.table(Family::Inet, &word("t")).unwrap().unwrap();
    let all = [
        ("bridges", "br0", None, "br0"),
        ("to", "br0", Some("jump c"), "\"br0\" : jump c"),
        ("names", "80", Some("10.0.0.9"), "80 : 10.0.0.9"),
        ("ports4", "10.0.0.1 . 6 . 80", Some("10.9.0.2 . 8080"), "10.0.0.1 . tcp . 80 : 10.9.0.2 . 8080"),
        ("ports6", "fd00::1 . 17 . 53", Some("fd00::2 . 5353"), "fd00::1 . udp . 53 : fd00::2 . 5353"),
    ];
    let comes = |(set, key, value, _): &(&str, &str, Option<&str>, &str)| {
        Change::Element(word(set), (*key).into(), value.map(str::to_owned))
    };
    let goes =
        |(set, key, _, _): &(&str, &str, Option<&str>, &str)| Change::NoElement(word(set), (*key).into());
    let changes: Vec<Change> = all.iter().map(comes).collect();
    table.commit(&changes).unwrap();
    for (_, _, _, shown) in &all {
        assert!(text().contains(shown), "{shown} in {}", text());
    }
    table.commit(&changes).unwrap();
    let other = Change::Element(word("ports4"), "10.0.0.1 . 6 . 80".into(), Some("10.9.0.3 . 8080".into()));
    table.commit(&[other]).unwrap();
    assert!(text().contains("10.9.0.3 . 8080") && !text().contains("10.9.0.2"), "{}", text());
    install();
    // One that cannot be takes the others with it, and is told with its reason.
    let lost = Change::Element(word("to"), "br1".into(), Some("jump nowhere".into()));
    let error = table.commit(&[Change::NoElement(word("bridges"), "br0".into()), lost]).unwrap_err();
    assert!(error.to_string().contains("No such file or directory"), "{error}");
    assert!(text().contains("br0"));
    let gone: Vec<Change> = all.iter().map(goes).collect();
    table.commit(&gone).unwrap();
    table.commit(&gone).unwrap();
    assert!(!text().contains("elements"), "{}", text());
}
