//! Network and IPAM calls, byte for byte. `golden/docker-network-calls.txt` holds what dockerd 20.10 sent to a plugin
//! of both kinds while networks and containers were made and removed.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;

use pintle_contract::{
    DriverError, ErrorKind, Scope, Value,
    ipam::{self, AddressRequest, AddressSpaces, IpamCapabilities, Pool, PoolRequest},
    network::{
        CreateEndpoint, CreateNetwork, EndpointId, GatewayCheck, Interface, InterfaceName, IpamData, Join,
        Joined, MacAddress, NetworkCapabilities, Node, PortBinding, Protocol, StaticRoute, exposed_ports,
        label, port_map,
    },
};
use pintle_wire::{
    encode_error,
    ipam::{Method as IpamMethod, Reply as IpamReply, Request as IpamRequest},
    network::{Method, Reply, Request},
};
use proptest::{collection::btree_map, option, prelude::*};

const DOCKER: &str = include_str!("golden/docker-network-calls.txt");

fn json(bytes: &[u8]) -> serde_json::Value {
    serde_json::from_slice(bytes).unwrap()
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

#[test]
fn what_docker_sends_is_what_we_send() {
    let mut seen = std::collections::BTreeSet::new();
    for line in DOCKER.lines().filter(|line| !line.starts_with('#')) {
        let (name, body) = line.split_once(' ').unwrap_or((line, ""));
        seen.insert(name);
        let path = format!("/{name}");
        let again = match Method::from_path(&path) {
            Some(method) => Request::decode(method, body.as_bytes()).unwrap().encode(),
            None => {
                IpamRequest::decode(IpamMethod::from_path(&path).unwrap(), body.as_bytes()).unwrap().encode()
            }
        };
        match again {
            None => assert_eq!(body, "", "{line}"),
            Some(again) => assert_eq!(json(&again), json(body.as_bytes()), "{line}"),
        }
    }
    // What a host without a swarm never sends.
    let rest = [Method::GwAllocCheck, Method::AllocateNetwork, Method::FreeNetwork, Method::DiscoverNew];
    let rest = rest.map(Method::name).into_iter().chain(["NetworkDriver.DiscoverDelete"]);
    assert!(rest.clone().all(|name| !seen.contains(name)));
    assert_eq!(seen.len() + rest.count(), Method::ALL.len() + IpamMethod::ALL.len());
}

fn nth(name: &str, index: usize) -> &'static str {
    DOCKER.lines().filter_map(|line| line.strip_prefix(name)).nth(index).unwrap().trim()
}

#[test]
fn dockers_words_are_understood() {
    let body = nth("NetworkDriver.CreateNetwork", 1);
    let Request::CreateNetwork(create) = Request::decode(Method::CreateNetwork, body.as_bytes()).unwrap()
    else {
        unreachable!()
    };
    assert_eq!(create.network.len(), 64);
    assert_eq!(create.generic(), BTreeMap::from([("k".to_owned(), "v".to_owned())]));
    assert!(create.internal() && create.enable_ipv4() && !create.enable_ipv6());
    let expected = IpamData {
        address_space: "lo".to_owned(),
        pool: Some("10.98.0.0/16".parse().unwrap()),
        sub_pool: None,
        gateway: Some("10.98.0.9/24".parse().unwrap()),
        aux_addresses: BTreeMap::from([("host".to_owned(), "10.98.0.7/24".parse().unwrap())]),
    };
    assert_eq!((create.ipv4, create.ipv6), (vec![expected], vec![]));

    let body = nth("NetworkDriver.CreateEndpoint", 0);
    let Request::CreateEndpoint(create) = Request::decode(Method::CreateEndpoint, body.as_bytes()).unwrap()
    else {
        unreachable!()
    };
    assert_eq!(create.interface.address, Some("10.99.0.2/24".parse().unwrap()));
    assert_eq!(create.interface.address_v6, None);
    assert_eq!(create.interface.mac, Some(MacAddress([2, 0x42, 0x80, 0x6a, 0x0c, 0x6a])));
    assert_eq!(exposed_ports(&create.options)[0], (Protocol::Sctp, 99));
    let dns = PortBinding {
        protocol: Protocol::Udp,
        port: 53,
        host_ip: Some("127.0.0.1".parse().unwrap()),
        host_port: 53,
        host_port_end: 53,
    };
    assert_eq!(port_map(&create.options)[1], dns);

    let body = nth("NetworkDriver.CreateEndpoint", 2);
    let Request::CreateEndpoint(create) = Request::decode(Method::CreateEndpoint, body.as_bytes()).unwrap()
    else {
        unreachable!()
    };
    assert_eq!(
        create.options.get("com.x"),
        Some(&Value::from("y")),
        "driver options stand beside the others"
    );
    assert_eq!(create.interface.address_v6, Some("fd00::5/64".parse().unwrap()));

    let body = nth("IpamDriver.RequestPool", 1);
    let request = IpamRequest::decode(IpamMethod::RequestPool, body.as_bytes()).unwrap();
    let expected = PoolRequest {
        address_space: "lo".to_owned(),
        pool: Some("10.98.0.0/16".parse().unwrap()),
        sub_pool: Some("10.98.1.0/24".parse().unwrap()),
        options: BTreeMap::from([("io".to_owned(), "1".to_owned())]),
        v6: false,
        avoid: Vec::new(),
    };
    assert_eq!(request, IpamRequest::RequestPool(expected));
}

#[test]
fn bytes_are_dockers_where_order_shows() {
    let id = EndpointId { network: "n".to_owned(), endpoint: "e".to_owned() };
    let leave = Request::Leave(id).encode().unwrap();
    assert_eq!(text(leave), "{\"NetworkID\":\"n\",\"EndpointID\":\"e\"}\n");
    assert_eq!(Request::Capabilities.encode(), None, "nothing is an empty body, not an empty object");
    let any = IpamRequest::RequestAddress(AddressRequest { pool: "p".to_owned(), ..Default::default() });
    assert_eq!(text(any.encode().unwrap()), "{\"PoolID\":\"p\",\"Address\":\"\",\"Options\":null}\n");
    let node = Node { address: "192.0.2.1".to_owned(), bind_address: "0.0.0.0".to_owned(), is_self: true };
    assert_eq!(
        text(Request::DiscoverNew(Some(node)).encode().unwrap()),
        "{\"DiscoveryType\":1,\"DiscoveryData\":{\"Address\":\"192.0.2.1\",\"BindAddress\":\"0.0.0.0\",\"Self\":true}}\n"
    );
    let joined = Joined {
        interface: Some(InterfaceName { source: "veth1".into(), prefix: "eth".into(), ..Default::default() }),
        gateway: Some("10.0.0.1".parse().unwrap()),
        static_routes: vec![StaticRoute { destination: "10.1.0.0/16".parse().unwrap(), next_hop: None }],
        ..Joined::default()
    };
    assert_eq!(
        text(Reply::Joined(joined).encode()),
        "{\"InterfaceName\":{\"SrcName\":\"veth1\",\"DstName\":\"\",\"DstPrefix\":\"eth\"},\"Gateway\":\"10.0.0.1\",\
         \"GatewayIPv6\":\"\",\"StaticRoutes\":[{\"Destination\":\"10.1.0.0/16\",\"RouteType\":1,\"NextHop\":\"\"}],\
         \"DisableGatewayService\":false}\n"
    );
    assert_eq!(text(Reply::Interface(Interface::default()).encode()), "{}\n");
}

#[test]
fn replies_are_read_as_docker_reads_them() {
    let read = |method, status, body: &str| Reply::decode(method, status, body.as_bytes());
    let error = read(Method::Join, 200, r#"{"Err":"boom"}"#).unwrap_err();
    assert_eq!((error.kind, error.message.as_str()), (ErrorKind::Internal, "remote: boom"));
    let error = read(Method::Join, 500, r#"{"Err":"boom"}"#).unwrap_err();
    assert_eq!(error.message, "NetworkDriver.Join: boom");
    let error = read(Method::Leave, 404, "404 page not found\n").unwrap_err();
    assert_eq!(
        (error.kind, error.message.as_str()),
        (ErrorKind::Unsupported, "NetworkDriver.Leave: 404 page not found")
    );
    assert_eq!(
        read(Method::Leave, 500, r#"{"Err":"Not implemented"}"#).unwrap_err().kind,
        ErrorKind::Unsupported
    );
    assert_eq!(
        read(Method::Leave, 200, r#"{"Err":"not implemented"}"#).unwrap_err().kind,
        ErrorKind::Unsupported
    );
    assert_eq!(
        read(Method::Leave, 404, r#"{"Err":"no such endpoint","Kind":"not-found"}"#).unwrap_err().kind,
        ErrorKind::NotFound,
        "a kind that is named counts"
    );
    assert!(read(Method::Leave, 200, "").is_err() && read(Method::Leave, 201, "{}").is_err());

    let both = |scope, connectivity_scope, gateway_check| {
        Reply::Capabilities(NetworkCapabilities {
            scope,
            connectivity_scope,
            gateway_check,
            own_addresses: false,
        })
    };
    let scope = |body| read(Method::GetCapabilities, 200, body);
    assert_eq!(scope(r#"{"Scope":"local"}"#).unwrap(), both(Scope::Local, Scope::Local, false));
    assert_eq!(scope(r#"{"Scope":"global"}"#).unwrap(), both(Scope::Global, Scope::Global, false));
    assert_eq!(
        scope(r#"{"scope":"local","ConnectivityScope":"global","GwAllocChecker":true}"#).unwrap(),
        both(Scope::Local, Scope::Global, true)
    );
    for bad in ["{}", r#"{"Scope":"swarm"}"#, r#"{"Scope":"local","ConnectivityScope":"Global"}"#] {
        let error = scope(bad).unwrap_err();
        assert!(error.message.contains("invalid capability: expecting 'local' or 'global'"), "{error}");
    }

    let go_helper = r#"{"Gateway":"","InterfaceName":{"SrcName":"","DstPrefix":""},"StaticRoutes":null}"#;
    assert_eq!(read(Method::Join, 200, go_helper).unwrap(), Reply::Joined(Joined::default()));
    assert_eq!(
        read(Method::CreateEndpoint, 200, r#"{"Interface":null}"#).unwrap(),
        Reply::Interface(Interface::default())
    );
    assert_eq!(
        read(Method::EndpointOperInfo, 200, r#"{"Value":null}"#).unwrap(),
        Reply::Info(BTreeMap::new())
    );
    assert_eq!(read(Method::CreateEndpoint, 200, "null").unwrap(), Reply::Interface(Interface::default()));
    assert_eq!(read(Method::Leave, 200, "null\n").unwrap(), Reply::Done);
    for (method, bad) in [
        (Method::Join, r#"{"Gateway":"10.0.0.1/24"}"#),
        (Method::Join, r#"{"Gateway":"fd00::1"}"#),
        (Method::Join, r#"{"StaticRoutes":[{"Destination":"","RouteType":1}]}"#),
        (Method::Join, r#"{"StaticRoutes":[{"Destination":"10.0.0.0/8","RouteType":0,"NextHop":""}]}"#),
        (Method::Join, r#"{"StaticRoutes":[{"Destination":"10.0.0.0/8","RouteType":7}]}"#),
        (Method::Join, r#"{"InterfaceName":"eth0"}"#),
        (Method::CreateEndpoint, r#"{"Interface":{"Address":"10.0.0.1"}}"#),
        (Method::CreateEndpoint, r#"{"Interface":{"MacAddress":"02"}}"#),
        (Method::EndpointOperInfo, r#"{"Value":[]}"#),
        (Method::ProgramExternalConnectivity, r#"{"PortMap":[{"Proto":1}]}"#),
    ] {
        let error = read(method, 200, bad).unwrap_err();
        assert!(error.message.contains("cannot be read"), "{bad}: {error}");
    }

    let read = |method, status, body: &str| IpamReply::decode(method, status, body.as_bytes());
    for key in ["Error", "Err"] {
        let error = read(IpamMethod::RequestPool, 200, &format!("{{\"{key}\":\"full\"}}")).unwrap_err();
        assert_eq!(error.message, "remote: full");
    }
    let error = read(IpamMethod::RequestAddress, 200, r#"{"Address":""}"#).unwrap_err();
    assert!(error.message.ends_with("no address returned"), "{error}");
    assert!(read(IpamMethod::RequestAddress, 200, r#"{"Address":"10.0.0.1"}"#).is_err());
    assert!(read(IpamMethod::RequestPool, 200, r#"{"PoolID":"p"}"#).is_err());
    let pool = Pool { id: String::new(), pool: "0.0.0.0/0".parse().unwrap(), data: BTreeMap::new() };
    assert_eq!(
        read(IpamMethod::RequestPool, 200, r#"{"Pool":"0.0.0.0/0","Data":null}"#).unwrap(),
        IpamReply::Pool(pool)
    );
}

#[test]
fn requests_that_make_no_sense_are_refused() {
    for (method, bad) in [
        (Method::CreateNetwork, r#"{"NetworkID":""}"#),
        (Method::CreateNetwork, r#"{"NetworkID":"n","Options":[]}"#),
        (Method::CreateNetwork, r#"{"NetworkID":"n","IPv4Data":[{"Pool":"x"}]}"#),
        (Method::CreateNetwork, r#"{"NetworkID":"n","IPv4Data":[{"AuxAddresses":{"a":"10.0.0.1"}}]}"#),
        (Method::Join, r#"{"NetworkID":"n"}"#),
        (Method::DiscoverNew, r#"{"DiscoveryType":1,"DiscoveryData":"x"}"#),
    ] {
        assert!(Request::decode(method, bad.as_bytes()).is_err(), "{bad}");
    }
    assert!(IpamRequest::decode(IpamMethod::ReleaseAddress, br#"{"PoolID":"p","Address":""}"#).is_err());
    assert!(IpamRequest::decode(IpamMethod::RequestPool, br#"{"Pool":"10.0.0.0/33"}"#).is_err());
    let other = Request::decode(Method::DiscoverNew, br#"{"DiscoveryType":3,"DiscoveryData":{"Keys":[]}}"#);
    assert_eq!(other.unwrap(), Request::DiscoverNew(None), "what is not about hosts is passed over");
}

fn any_net() -> impl Strategy<Value = ipnet::IpNet> {
    prop_oneof![
        (any::<[u8; 4]>(), 0..=32_u8).prop_map(|(ip, len)| ipnet::IpNet::new(ip.into(), len).unwrap()),
        (any::<[u8; 16]>(), 0..=128_u8).prop_map(|(ip, len)| ipnet::IpNet::new(ip.into(), len).unwrap()),
    ]
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        ".{0,5}".prop_map(Value::String),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::List),
            btree_map(".{0,3}", inner, 0..3).prop_map(Value::Map),
        ]
    })
}

fn any_data() -> impl Strategy<Value = IpamData> {
    (".{0,4}", option::of(any_net()), option::of(any_net()), btree_map(".{0,4}", any_net(), 0..3)).prop_map(
        |(address_space, pool, gateway, aux_addresses)| IpamData {
            address_space,
            pool,
            sub_pool: None,
            gateway,
            aux_addresses,
        },
    )
}

fn any_interface() -> impl Strategy<Value = Interface> {
    (option::of(any_net()), option::of(any_net()), option::of(any::<[u8; 6]>()))
        .prop_map(|(address, address_v6, mac)| Interface { address, address_v6, mac: mac.map(MacAddress) })
}

fn any_port() -> impl Strategy<Value = PortBinding> {
    let protocol = prop_oneof![Just(Protocol::Tcp), Just(Protocol::Udp), Just(Protocol::Sctp)];
    (protocol, any::<u16>(), option::of(any_net()), any::<u16>(), any::<u16>()).prop_map(
        |(protocol, port, host, host_port, host_port_end)| PortBinding {
            protocol,
            port,
            host_ip: host.map(|net| net.addr()),
            host_port,
            host_port_end,
        },
    )
}

fn any_joined() -> impl Strategy<Value = Joined> {
    let name = (".{1,6}", ".{0,4}", ".{0,6}", any::<bool>())
        .prop_map(|(source, prefix, name, in_sandbox)| InterfaceName { source, prefix, name, in_sandbox });
    let route = (any_net(), option::of(any_net())).prop_map(|(destination, next_hop)| StaticRoute {
        destination,
        next_hop: next_hop.map(|net| net.addr()),
    });
    (
        option::of(name),
        option::of(any::<[u8; 4]>()),
        option::of(any::<[u8; 16]>()),
        proptest::collection::vec(route, 0..3),
        any::<bool>(),
        proptest::collection::vec(any_port(), 0..3),
    )
        .prop_map(
            |(interface, gateway, gateway_v6, static_routes, disable_gateway_service, published)| Joined {
                interface,
                settled: None,
                gateway: gateway.map(Into::into),
                gateway_v6: gateway_v6.map(Into::into),
                static_routes,
                disable_gateway_service,
                published,
            },
        )
}

const KINDS: [ErrorKind; 9] = [
    ErrorKind::NotFound,
    ErrorKind::Conflict,
    ErrorKind::InUse,
    ErrorKind::InvalidArgument,
    ErrorKind::Unsupported,
    ErrorKind::PermissionDenied,
    ErrorKind::Unavailable,
    ErrorKind::Timeout,
    ErrorKind::Internal,
];

proptest! {
    #[test]
    fn requests_survive_the_way(
        network in ".{1,8}",
        endpoint in ".{1,8}",
        options in btree_map(".{0,4}", any_value(), 0..3),
        ipv4 in proptest::collection::vec(any_data(), 0..3),
        interface in any_interface(),
        key in "/[a-z0-9/]{0,12}",
        is_self in any::<bool>(),
    ) {
        let id = EndpointId { network: network.clone(), endpoint };
        let create = CreateNetwork { network: network.clone(), options: options.clone(), ipv6: ipv4.clone(), ipv4 };
        let node = Node { address: key.clone(), bind_address: network.clone(), is_self };
        for request in [
            Request::Capabilities,
            Request::GatewayCheck(options.clone()),
            Request::AllocateNetwork(create.clone()),
            Request::FreeNetwork(network.clone()),
            Request::CreateNetwork(create),
            Request::DeleteNetwork(network),
            Request::CreateEndpoint(CreateEndpoint { id: id.clone(), interface, options: options.clone() }),
            Request::DeleteEndpoint(id.clone()),
            Request::EndpointInfo(id.clone()),
            Request::Join(Join { id: id.clone(), sandbox_key: key.into(), name: String::new(), options: options.clone() }),
            Request::Leave(id.clone()),
            Request::ProgramExternalConnectivity { id: id.clone(), options },
            Request::RevokeExternalConnectivity(id),
            Request::DiscoverNew(Some(node.clone())),
            Request::DiscoverDelete(Some(node)),
            Request::DiscoverNew(None),
        ] {
            let body = request.encode().unwrap_or_default();
            prop_assert_eq!(&Request::decode(request.method(), &body).unwrap(), &request);
        }
    }

    #[test]
    fn replies_survive_the_way(
        interface in any_interface(),
        info in btree_map(".{0,4}", any_value(), 0..3),
        joined in any_joined(),
        flags in any::<[bool; 4]>(),
        strings in btree_map(".{0,4}", ".{0,4}", 0..3),
    ) {
        let scope = |global| if global { Scope::Global } else { Scope::Local };
        let capabilities = NetworkCapabilities {
            scope: scope(flags[0]),
            connectivity_scope: scope(flags[1]),
            gateway_check: flags[2],
            own_addresses: false,
        };
        for (method, reply) in [
            (Method::Leave, Reply::Done),
            (Method::GetCapabilities, Reply::Capabilities(capabilities)),
            (Method::GwAllocCheck, Reply::GatewayCheck(GatewayCheck { skip_ipv4: flags[2], skip_ipv6: flags[3] })),
            (Method::AllocateNetwork, Reply::Allocated(strings)),
            (Method::CreateEndpoint, Reply::Interface(interface)),
            (Method::EndpointOperInfo, Reply::Info(info)),
            (Method::ProgramExternalConnectivity, Reply::Published(joined.published.clone())),
            (Method::Join, Reply::Joined(joined)),
        ] {
            prop_assert_eq!(&Reply::decode(method, 200, &reply.encode()).unwrap(), &reply);
        }
    }

    #[test]
    fn addresses_survive_the_way(
        pool in any_net(),
        sub_pool in option::of(any_net()),
        asked in option::of(any_net()),
        data in btree_map(".{0,4}", ".{0,4}", 0..3),
        id in ".{0,8}",
        flags in any::<[bool; 2]>(),
    ) {
        let request = PoolRequest {
            address_space: id.clone(),
            pool: asked,
            sub_pool,
            options: data.clone(),
            v6: flags[0],
            avoid: Vec::new(),
        };
        let address = asked.map(|net| net.addr());
        for request in [
            IpamRequest::Capabilities,
            IpamRequest::AddressSpaces,
            IpamRequest::RequestPool(request),
            IpamRequest::ReleasePool(id.clone()),
            IpamRequest::RequestAddress(AddressRequest { pool: id.clone(), address, options: data.clone() }),
            IpamRequest::ReleaseAddress { pool: id.clone(), address: pool.addr() },
        ] {
            let body = request.encode().unwrap_or_default();
            prop_assert_eq!(&IpamRequest::decode(request.method(), &body).unwrap(), &request);
        }
        let capabilities = IpamCapabilities { requires_mac_address: flags[0], requires_request_replay: flags[1] };
        for (method, reply) in [
            (IpamMethod::ReleasePool, IpamReply::Done),
            (IpamMethod::GetCapabilities, IpamReply::Capabilities(capabilities)),
            (IpamMethod::GetDefaultAddressSpaces, IpamReply::AddressSpaces(AddressSpaces { local: id.clone(), global: id.clone() })),
            (IpamMethod::RequestPool, IpamReply::Pool(Pool { id, pool, data: data.clone() })),
            (IpamMethod::RequestAddress, IpamReply::Address(ipam::Address { address: pool, data })),
        ] {
            prop_assert_eq!(&IpamReply::decode(method, 200, &reply.encode()).unwrap(), &reply);
        }
    }

    #[test]
    fn errors_keep_their_kind(kind in 0..KINDS.len(), message in ".{1,20}") {
        let body = encode_error(&DriverError::new(KINDS[kind], &message));
        for method in Method::ALL {
            let error = Reply::decode(method, 500, &body).unwrap_err();
            prop_assert_eq!((error.kind, error.message), (KINDS[kind], format!("{}: {message}", method.name())));
        }
        for method in IpamMethod::ALL {
            let error = IpamReply::decode(method, 500, &body).unwrap_err();
            prop_assert_eq!((error.kind, error.message), (KINDS[kind], format!("{}: {message}", method.name())));
        }
    }

    /// Bytes at random, and documents that are nearly right: true ones with a piece replaced.
    #[test]
    fn hostile_bytes_are_refused_and_nothing_worse(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        status in 100..600_u16,
        line in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        piece in r#"[\[\]{}":,0-9a-z/.\\]{0,6}|null|1e999|-1|"\\ud800""#,
    ) {
        let lines: Vec<&str> = DOCKER.lines().collect();
        let body = line.get(&lines).split_once(' ').map_or("", |(_, body)| body);
        let at = at.index(body.len() + 1);
        let nearly = format!("{}{piece}{}", &body[..at], body.get(at + piece.len()..).unwrap_or_default());
        for bytes in [&bytes[..], nearly.as_bytes()] {
            for method in Method::ALL {
                let _ = Request::decode(method, bytes);
                let _ = Reply::decode(method, status, bytes);
                let _ = Reply::decode(method, 200, bytes);
            }
            for method in IpamMethod::ALL {
                let _ = IpamRequest::decode(method, bytes);
                let _ = IpamReply::decode(method, status, bytes);
                let _ = IpamReply::decode(method, 200, bytes);
            }
        }
    }
}

#[test]
fn labels_are_dockers() {
    for name in [label::GENERIC, label::ENABLE_IPV6, label::INTERNAL, label::EXPOSED_PORTS, label::PORT_MAP] {
        assert!(DOCKER.contains(&format!("\"{name}\":")), "{name}");
    }
    assert!(DOCKER.contains(&format!(
        "\"{}\":\"{}\"",
        ipam::label::REQUEST_ADDRESS_TYPE,
        ipam::label::GATEWAY
    )));
    assert!(DOCKER.contains(&format!("\"{}\":", ipam::label::MAC_ADDRESS)));
}
