//! A host, a network outside of it, and containers: namespaces that end with the test.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::{AsFd, AsRawFd},
    path::PathBuf,
    time::Duration,
};

use pintle_contract::{
    DriverError, NetworkDriver, Value,
    network::{
        CreateEndpoint, CreateNetwork, EndpointId, Interface, IpamData, Join, Joined, Options, PortBinding,
        label,
    },
};
use pintle_drivers::bridge::{Bridge, Config};
use pintle_netlink::{
    Handle, IpNet, LinkKind, LinkName, Namespace, NewLink, Route, Sysctl,
    nft::{Family, Nft},
};

/// How long what shall come may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long to wait for what shall not come.
const BRIEFLY: Duration = Duration::from_millis(300);

pub fn link(text: &str) -> LinkName {
    text.parse().unwrap()
}

pub fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

pub fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub fn id(number: u8) -> String {
    format!("{number:02x}").repeat(32)
}

/// A host with an uplink to a network outside: 192.0.2.1 and 2001:db8::1 here, .2 and ::2 there.
pub struct World {
    pub host: Namespace,
    pub outside: Namespace,
    pub driver: Bridge,
}

impl World {
    pub fn new() -> Self {
        Self::with(|_| ())
    }

    pub fn with(change: impl FnOnce(&mut Config)) -> Self {
        let (host, outside) = (Namespace::create().unwrap(), Namespace::create().unwrap());
        let handle = host.handle().unwrap();
        let end = |text: &str| NewLink::new(link(text), LinkKind::Peer).up();
        handle.add_veth(&end("uplink"), &end("uplink"), &outside).unwrap();
        for (end, last) in [(&handle, 1), (&outside.handle().unwrap(), 2)] {
            end.add_address(&link("uplink"), net(&format!("192.0.2.{last}/24"))).unwrap();
            end.add_address(&link("uplink"), net(&format!("2001:db8::{last}/64"))).unwrap();
        }
        let driver = driver(&host, change);
        Self { host, outside, driver }
    }

    /// An engine that comes after this one died.
    pub fn restarted(self) -> Self {
        let driver = driver(&self.host, |_| ());
        Self { driver, ..self }
    }

    /// Lets the network outside reach a subnet by way of the host, as a hostile neighbour would.
    pub fn route_from_outside(&self, subnet: &str) {
        let gateway = if subnet.contains(':') { "2001:db8::1" } else { "192.0.2.1" };
        let route = Route::new(net(subnet), Some(ip(gateway)));
        self.outside.handle().unwrap().set_route(&link("uplink"), &route).unwrap();
    }

    pub fn handle(&self) -> Handle {
        self.host.handle().unwrap()
    }

    pub fn nft(&self) -> Nft {
        Nft::new(Some(self.host.clone()))
    }

    pub fn rules(&self) -> String {
        self.nft().table(Family::Inet, &"pintle".parse().unwrap()).unwrap().unwrap_or_default()
    }

    pub fn sysctl(&self, key: &str) -> String {
        self.host.sysctl(&key.parse::<Sysctl>().unwrap()).unwrap()
    }

    pub async fn network(&self, number: u8, subnets: &[&str], options: &[(&str, &str)]) {
        self.driver.create_network(request(number, subnets, options)).await.unwrap();
    }

    pub async fn container(&self, network: u8, number: u8, addresses: &[&str]) -> Container {
        container(&self.driver, network, number, addresses).await.unwrap()
    }
}

/// A container in a sandbox of its own.
pub async fn container(
    driver: &dyn NetworkDriver,
    network: u8,
    number: u8,
    addresses: &[&str],
) -> Result<Container, DriverError> {
    let created = endpoint(network, number, addresses);
    let id = created.id.clone();
    let addresses = created.interface.clone();
    let answer = driver.create_endpoint(created).await?;
    assert!(answer.address.is_none() && answer.address_v6.is_none());
    let sandbox = Namespace::create()?;
    let mut container = Container { sandbox, id, addresses, joined: Joined::default() };
    container.join(driver).await?;
    Ok(container)
}

fn driver(host: &Namespace, change: impl FnOnce(&mut Config)) -> Bridge {
    let mut config = Config::standard(host.clone());
    change(&mut config);
    Bridge::new(config).unwrap()
}

/// A network whose gateway is the first address of each subnet. `internal` is an option like the others here.
pub fn request(number: u8, subnets: &[&str], options: &[(&str, &str)]) -> CreateNetwork {
    let data = |subnet: &&str| {
        let pool = net(subnet);
        let gateway = IpNet::new(pool.hosts().next().unwrap(), pool.prefix_len()).unwrap();
        let gateway = if pool.addr().is_ipv6() { first(pool) } else { gateway };
        IpamData { pool: Some(pool), gateway: Some(gateway), ..IpamData::default() }
    };
    let (v6, v4): (Vec<&&str>, Vec<&&str>) = subnets.iter().partition(|subnet| subnet.contains(':'));
    let internal = options.iter().any(|(key, _)| *key == "internal");
    let generic = options.iter().map(|(key, value)| ((*key).to_owned(), Value::from(*value))).collect();
    CreateNetwork {
        network: id(number),
        options: Options::from([
            (label::GENERIC.to_owned(), Value::Map(generic)),
            (label::ENABLE_IPV4.to_owned(), Value::Bool(!v4.is_empty())),
            (label::ENABLE_IPV6.to_owned(), Value::Bool(!v6.is_empty())),
            (label::INTERNAL.to_owned(), Value::Bool(internal)),
        ]),
        ipv4: v4.into_iter().map(data).collect(),
        ipv6: v6.into_iter().map(data).collect(),
    }
}

fn first(pool: IpNet) -> IpNet {
    let IpNet::V6(pool) = pool else { return pool };
    let bits = pool.network().to_bits() + 1;
    IpNet::new(std::net::Ipv6Addr::from_bits(bits).into(), pool.prefix_len()).unwrap()
}

pub fn endpoint(network: u8, number: u8, addresses: &[&str]) -> CreateEndpoint {
    let find = |v6: bool| addresses.iter().find(|text| text.contains(':') == v6).map(|text| net(text));
    CreateEndpoint {
        id: EndpointId { network: id(network), endpoint: id(number) },
        interface: Interface { address: find(false), address_v6: find(true), mac: None },
        options: Options::new(),
    }
}

pub fn port(text: &str, container: u16) -> PortBinding {
    let (protocol, host) = text.split_once(' ').unwrap();
    let (address, port) = host.rsplit_once(':').unwrap();
    let (first, last) = port.split_once('-').unwrap_or((port, port));
    PortBinding {
        protocol: protocol.parse().unwrap(),
        port: container,
        host_ip: (!address.is_empty()).then(|| ip(address.trim_matches(['[', ']']))),
        host_port: first.parse().unwrap(),
        host_port_end: last.parse().unwrap(),
    }
}

pub fn ports(list: &[PortBinding]) -> Options {
    let list = list.iter().map(PortBinding::to_value).collect();
    Options::from([(label::PORT_MAP.to_owned(), Value::List(list))])
}

/// A published port as people write it.
pub fn shown(port: &PortBinding) -> String {
    let host = SocketAddr::new(port.host_ip.unwrap(), port.host_port);
    format!("{host}->{}/{}", port.port, port.protocol.name())
}

pub struct Container {
    pub sandbox: Namespace,
    pub id: EndpointId,
    pub addresses: Interface,
    pub joined: Joined,
}

impl Container {
    /// What the engine does at a start.
    pub async fn join(&mut self, driver: &dyn NetworkDriver) -> Result<(), DriverError> {
        let sandbox_key = PathBuf::from(format!("/proc/self/fd/{}", self.sandbox.as_fd().as_raw_fd()));
        let request =
            Join { id: self.id.clone(), sandbox_key, name: String::new(), options: BTreeMap::new() };
        self.joined = driver.join(request).await?;
        let interface = self.joined.interface.clone().unwrap();
        assert!(interface.in_sandbox);
        let (handle, name) = (self.sandbox.handle().unwrap(), link(&interface.name));
        for address in [self.addresses.address, self.addresses.address_v6].into_iter().flatten() {
            handle.add_address(&name, address).unwrap();
        }
        handle.set_up(&name).unwrap();
        for route in &self.joined.static_routes {
            handle.set_route(&name, &Route::new(route.destination, route.next_hop)).unwrap();
        }
        let gateways = [self.joined.gateway.map(IpAddr::V4), self.joined.gateway_v6.map(IpAddr::V6)];
        for gateway in gateways.into_iter().flatten() {
            handle.set_route(&name, &Route::default_by(gateway)).unwrap();
        }
        Ok(())
    }

    pub async fn publish(
        &self,
        driver: &dyn NetworkDriver,
        list: &[PortBinding],
    ) -> Result<Vec<String>, DriverError> {
        let published = driver.program_external_connectivity(&self.id, &ports(list)).await?;
        Ok(published.iter().map(shown).collect())
    }
}

/// Answers everybody who comes to `address` in `place` with who they seem to be.
pub fn serve(place: &Namespace, address: &str) {
    let tcp = place.run(|| TcpListener::bind(address)).unwrap().unwrap();
    std::thread::spawn(move || {
        while let Ok((mut client, from)) = tcp.accept() {
            let _ = write!(client, "{}", from.ip());
        }
    });
    let udp = place.run(|| UdpSocket::bind(address)).unwrap().unwrap();
    std::thread::spawn(move || {
        let mut packet = [0; 64];
        while let Ok((_, from)) = udp.recv_from(&mut packet) {
            let _ = udp.send_to(from.ip().to_string().as_bytes(), from);
        }
    });
}

/// Asks the server at `address` by TCP. Says whom it takes the caller for.
pub fn ask(place: &Namespace, address: &str) -> String {
    try_ask(place, address, PATIENCE).unwrap_or_else(|error| panic!("{address}: {error}"))
}

pub fn try_ask(place: &Namespace, address: &str, limit: Duration) -> std::io::Result<String> {
    let mut stream = place.run(|| TcpStream::connect_timeout(&address.parse().unwrap(), limit)).unwrap()?;
    stream.set_read_timeout(Some(limit))?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

/// Whether nobody answers at `address`, neither by TCP nor by UDP.
pub fn silent(place: &Namespace, address: &str) -> bool {
    try_ask(place, address, BRIEFLY).map_or(true, |text| text.is_empty())
        && try_ask_udp(place, address, BRIEFLY).is_err()
}

pub fn ask_udp(place: &Namespace, address: &str) -> String {
    try_ask_udp(place, address, PATIENCE).unwrap_or_else(|error| panic!("{address}/udp: {error}"))
}

pub fn try_ask_udp(place: &Namespace, address: &str, limit: Duration) -> std::io::Result<String> {
    let any = if address.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" };
    let socket = place.run(|| UdpSocket::bind(any)).unwrap()?;
    socket.connect(address)?;
    socket.set_read_timeout(Some(limit))?;
    socket.send(b"?")?;
    let mut packet = [0; 64];
    let length = socket.recv(&mut packet)?;
    Ok(String::from_utf8_lossy(&packet[..length]).into_owned())
}
