use super::*;

fn with(config: SubnetSpec) -> Result<NetworkRecord, EngineError> {
    let mut spec = NetworkSpec { name: "n".into(), enable_ipv6: Some(true), ..NetworkSpec::default() };
    spec.ipam.config = vec![config];
    network(&spec, "id".into(), None)
}

fn subnet(subnet: &str) -> SubnetSpec {
    SubnetSpec { subnet: subnet.into(), ..SubnetSpec::default() }
}

#[test]
fn subnets_are_refused_in_dockers_words() {
    let wrong = |config: SubnetSpec| with(config).unwrap_err().message;
    with(subnet("10.1.0.0/16")).unwrap();
    assert_eq!(
        wrong(subnet("10.1.0.1/16")),
        "invalid network config:\ninvalid subnet 10.1.0.1/16: it should be 10.1.0.0/16"
    );
    assert_eq!(
        wrong(SubnetSpec { gateway: "10.2.0.1".into(), ..subnet("10.1.0.0/16") }),
        "invalid network config:\ninvalid gateway 10.2.0.1: parent subnet 10.1.0.0/16 doesn't contain this address"
    );
    assert_eq!(
        wrong(SubnetSpec {
            ip_range: "fd00::/80".into(),
            gateway: "fd00::1".into(),
            ..subnet("10.1.0.0/16")
        }),
        "invalid network config:\n* invalid ip-range fd00::/80: parent subnet is an IPv4 block\n\
         * invalid gateway fd00::1: parent subnet is an IPv4 block"
    );
    assert_eq!(
        wrong(SubnetSpec { ip_range: "10.0.0.0/8".into(), ..subnet("10.1.0.0/16") }),
        "invalid network config:\ninvalid ip-range 10.0.0.0/8: CIDR block is bigger than its parent subnet 10.1.0.0/16"
    );
    assert!(wrong(subnet("ten")).ends_with("invalid subnet ten: invalid CIDR block notation"));
}

#[test]
fn swarms_alone_have_ingress_and_scope() {
    let kind = |spec: NetworkSpec| {
        network(&NetworkSpec { name: "n".into(), ..spec }, "id".into(), None).unwrap_err().kind
    };
    assert_eq!(kind(NetworkSpec { ingress: true, ..NetworkSpec::default() }), ErrorKind::Forbidden);
    assert_eq!(kind(NetworkSpec { scope: "swarm".into(), ..NetworkSpec::default() }), ErrorKind::Forbidden);
    assert_eq!(
        kind(NetworkSpec { config_only: true, config_from: "x".into(), ..NetworkSpec::default() }),
        ErrorKind::Forbidden
    );
}

#[test]
fn families_by_request_and_by_option() {
    let mut spec = NetworkSpec { name: "n".into(), ..NetworkSpec::default() };
    spec.options.insert(label::ENABLE_IPV6.into(), "true".into());
    let made = network(&spec, "id".into(), None).unwrap();
    assert!(made.enable_ipv6 && made.enable_ipv4);
    spec.enable_ipv6 = Some(false);
    let made = network(&spec, "id".into(), None).unwrap();
    assert!(!made.enable_ipv6);
    assert_eq!(made.options.get(label::ENABLE_IPV6), None);
    spec.enable_ipv6 = None;
    spec.options.insert(label::ENABLE_IPV6.into(), "perhaps".into());
    assert!(network(&spec, "id".into(), None).unwrap_err().message.contains("is not a valid bool"));
}

#[test]
fn endpoints_are_refused_in_dockers_words() {
    let spec = |text: &str| EndpointSpec { ipv4_address: text.into(), ..EndpointSpec::default() };
    let mut pools = NetworkRecord { name: "n".into(), ..NetworkRecord::default() };
    pools.pools.push(record::PoolRecord { pool: cidr("10.1.0.0/16"), ..record::PoolRecord::default() });
    endpoint(&spec("10.1.0.9"), "n", Some(&pools)).unwrap();
    let wrong = |spec: &EndpointSpec, name: &str| endpoint(spec, name, Some(&pools)).unwrap_err().message;
    assert_eq!(
        wrong(&spec("10.2.0.9"), "n"),
        "invalid endpoint settings:\nno configured subnet contains IP address 10.2.0.9"
    );
    assert_eq!(
        wrong(&spec("10.1.0.9"), "bridge"),
        "invalid endpoint settings:\nuser-specified IP address is supported on user-defined networks only"
    );
    assert_eq!(wrong(&spec("fd00::1"), "n"), "invalid endpoint settings:\ninvalid IPv4 address: fd00::1");
    let mut odd = EndpointSpec { mac_address: "zz".into(), ..EndpointSpec::default() };
    odd.driver_opts.insert(label::IFNAME.into(), "../x".into());
    odd.driver_opts.insert(label::SYSCTLS.into(), "net.ipv4.conf.eth0.x=1".into());
    let all = wrong(&odd, "n");
    assert!(all.contains("invalid MAC address: zz") && all.contains("invalid interface name"), "{all}");
    assert!(all.contains("unrecognised network interface sysctl 'net.ipv4.conf.eth0.x=1'"), "{all}");
}

#[test]
fn ports_of_all_kinds() {
    let publish = |port: &str, ip: &str, host: &str| PublishSpec {
        port: port.into(),
        host_ip: ip.into(),
        host_port: host.into(),
    };
    let (bindings, exposes) = ports(
        &[publish("80/tcp", "::1", "8000-8010"), publish("53/udp", "", "")],
        true,
        &["90/sctp".into(), "80".into()],
    )
    .unwrap();
    assert_eq!(bindings.len(), 3);
    assert_eq!((bindings[0].host_port, bindings[0].host_port_end), (8000, 8010));
    assert_eq!((bindings[2].port, bindings[2].protocol, bindings[2].host_port), (90, Protocol::Sctp, 0));
    assert_eq!(exposes.len(), 3);
    for bad in [
        publish("0/tcp", "", ""),
        publish("80/icmp", "", ""),
        publish("80", "host", ""),
        publish("80", "", "9-8"),
        publish("80", "", "70000"),
    ] {
        ports(std::slice::from_ref(&bad), false, &[]).expect_err(&format!("{bad:?}"));
    }
}

#[test]
fn links_in_both_shapes() {
    assert_eq!(link("db").unwrap(), ("db".into(), "db".into()));
    assert_eq!(link("db:data").unwrap(), ("db".into(), "data".into()));
    assert_eq!(link("/db:/web/data").unwrap(), ("db".into(), "data".into()));
    link("").unwrap_err();
    link("a:b:c").unwrap_err();
}
