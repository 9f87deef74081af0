use std::{
    future::Future,
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::{AsFd, AsRawFd},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use pintle_contract::{
    DriverError, IpamDriver, NetworkDriver, Value,
    ipam::{self, AddressRequest, Pool, PoolRequest},
    network::{CreateEndpoint, CreateNetwork, EndpointId, Interface, IpamData, Join, label},
};
use pintle_drivers::{
    bridge::{Bridge, Config},
    overlay::{EtcdConfig, Overlay, OverlayConfig},
};
use pintle_netlink::{IpNet, LinkKind, LinkName, Namespace, NewLink, Route};

const SWITCH: &str = "10.99.0.254";
/// What a container answers on: TCP says who asks and swallows the rest; UDP sends back.
const PORT: u16 = 7000;
const SINK: u16 = 7001;

fn link(text: &str) -> LinkName {
    text.parse().unwrap()
}

/// Waits until `probe` holds.
#[track_caller]
pub fn eventually(what: &str, mut probe: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !probe() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A switch with an etcd.
pub struct Cluster {
    switch: Namespace,
    etcd: Option<Child>,
    dir: tempfile::TempDir,
    ttl: Duration,
}

impl Cluster {
    pub fn new(ttl: Duration) -> Self {
        let switch = Namespace::create().unwrap();
        let handle = switch.handle().unwrap();
        handle.add_link(&NewLink::new(link("sw0"), LinkKind::Bridge).up()).unwrap();
        handle.add_address(&link("sw0"), format!("{SWITCH}/24").parse().unwrap()).unwrap();
        let mut cluster = Self { switch, etcd: None, dir: tempfile::tempdir().unwrap(), ttl };
        cluster.start_etcd();
        cluster
    }

    pub fn start_etcd(&mut self) {
        let data = self.dir.path().join("etcd");
        let urls = format!("http://{SWITCH}:2379");
        let spawn = || {
            Command::new("etcd")
                .args(["--data-dir", &data.display().to_string()])
                .args(["--listen-client-urls", &urls, "--advertise-client-urls", &urls])
                .args(["--listen-peer-urls", "http://127.0.0.1:2380"])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
        };
        self.etcd = Some(self.switch.run(spawn).unwrap().expect("apt-get install etcd-server"));
        let address: SocketAddr = format!("{SWITCH}:2379").parse().unwrap();
        eventually("etcd", || self.switch.run(|| TcpStream::connect(address)).unwrap().is_ok());
    }

    pub fn stop_etcd(&mut self) {
        if let Some(mut etcd) = self.etcd.take() {
            let _ = etcd.kill();
            let _ = etcd.wait();
        }
    }

    fn plug(&self, number: u8) -> Namespace {
        let host = Namespace::create().unwrap();
        let port = NewLink::new(link(&format!("port{number}")), LinkKind::Peer).master(link("sw0")).up();
        let uplink = NewLink::new(link("uplink"), LinkKind::Peer).up();
        self.switch.handle().unwrap().add_veth(&port, &uplink, &host).unwrap();
        let handle = host.handle().unwrap();
        handle.add_address(&link("uplink"), format!("10.99.0.{number}/24").parse().unwrap()).unwrap();
        handle.set_route(&link("uplink"), &Route::default_by(SWITCH.parse().unwrap())).unwrap();
        host
    }

    pub fn host(&self, number: u8) -> Host {
        self.host_with(number, |_| ())
    }

    pub fn host_with(&self, number: u8, change: impl FnOnce(&mut OverlayConfig)) -> Host {
        let namespace = self.plug(number);
        let etcd = EtcdConfig { endpoints: vec![format!("http://{SWITCH}:2379")], ..EtcdConfig::default() };
        let state = self.dir.path().join(format!("host{number}"));
        let mut config = OverlayConfig::new(etcd, format!("host-{number}"), &state, namespace.clone());
        config.ttl = self.ttl;
        change(&mut config);
        Host::start(namespace, config)
    }

    /// Somebody on the same switch who is no member, and listens where tunnels end.
    pub fn stranger(&self) -> Stranger {
        let host = self.plug(66);
        let socket = host.run(|| UdpSocket::bind("0.0.0.0:8472")).unwrap().unwrap();
        socket.set_nonblocking(true).unwrap();
        Stranger { socket }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.stop_etcd();
    }
}

pub struct Stranger {
    socket: UdpSocket,
}

impl Stranger {
    pub fn heard(&self) -> usize {
        let mut packet = [0; 2048];
        std::iter::from_fn(|| self.socket.recv(&mut packet).ok()).count()
    }
}

/// An engine's drivers on a host; everything that they do happens there.
pub struct Host {
    namespace: Namespace,
    config: OverlayConfig,
    runtime: tokio::runtime::Runtime,
    overlay: Overlay,
    pool: Mutex<Option<Pool>>,
}

impl Host {
    fn start(namespace: Namespace, config: OverlayConfig) -> Self {
        // Its threads are born in the host's namespace, and so are theirs.
        let build = || tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = namespace.run(build).unwrap().unwrap();
        let bridge = Bridge::new(Config::standard(namespace.clone())).unwrap();
        let overlay = Overlay::open(config.clone(), Arc::new(bridge)).unwrap();
        Self { namespace, config, runtime, overlay, pool: Mutex::default() }
    }

    pub fn driver(&self) -> Overlay {
        self.overlay.clone()
    }

    /// Runs it on the host.
    pub fn on<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> T {
        self.runtime.block_on(self.runtime.spawn(work)).unwrap()
    }

    /// Another engine on the same host, after this one died.
    pub fn restarted(self) -> Self {
        let Self { namespace, config, runtime, .. } = self;
        runtime.shutdown_background();
        Self::start(namespace, config)
    }

    /// The machine goes, without a word.
    pub fn dies(self) {
        self.runtime.shutdown_background();
        self.namespace.handle().unwrap().remove_link(&link("uplink")).unwrap();
    }

    fn request(pool: &str, length: Option<&str>) -> PoolRequest {
        let options =
            length.map(|length| ("subnet-length".to_owned(), length.to_owned())).into_iter().collect();
        PoolRequest { pool: Some(pool.parse().unwrap()), options, ..PoolRequest::default() }
    }

    pub fn try_network(&self, pool: &str) -> Result<(), DriverError> {
        self.make(Self::request(pool, None))
    }

    pub fn try_network_with(&self, pool: &str, length: &str) -> Result<(), DriverError> {
        self.make(Self::request(pool, Some(length)))
    }

    pub fn network(&self, pool: &str) -> &Self {
        self.try_network(pool).unwrap();
        self
    }

    /// What the engine asks after a restart: the pool that it has written down.
    pub fn network_again(&self, pool: &str) -> IpNet {
        self.network(pool).subnet()
    }

    fn make(&self, request: PoolRequest) -> Result<(), DriverError> {
        let overlay = self.overlay.clone();
        let pool = self.on(async move {
            let pool = overlay.request_pool(request).await?;
            let gateway = pool.data[ipam::label::GATEWAY].parse().unwrap();
            let data = IpamData { pool: Some(pool.pool), gateway: Some(gateway), ..IpamData::default() };
            let options = [(label::GENERIC.to_owned(), Value::Map(Default::default()))].into();
            let network = CreateNetwork { network: "ab".repeat(32), ipv4: vec![data], ipv6: vec![], options };
            overlay.create_network(network).await?;
            Ok::<_, DriverError>(pool)
        })?;
        *self.pool.lock().unwrap() = Some(pool);
        Ok(())
    }

    pub fn removes(&self) {
        let pool = self.pool.lock().unwrap().take().unwrap();
        let overlay = self.overlay.clone();
        self.on(async move {
            let id = EndpointId { network: "ab".repeat(32), endpoint: "02".repeat(32) };
            overlay.leave(&id).await.unwrap();
            overlay.delete_endpoint(&id).await.unwrap();
            // In Docker's order.
            overlay.release_pool(&pool.id).await.unwrap();
            overlay.delete_network(&id.network).await.unwrap();
        });
    }

    pub fn subnet(&self) -> IpNet {
        self.pool.lock().unwrap().as_ref().unwrap().pool
    }

    pub fn container(&self, number: u8) -> Container {
        let pool = self.pool.lock().unwrap().clone().unwrap();
        let sandbox = Namespace::create().unwrap();
        let key = PathBuf::from(format!("/proc/self/fd/{}", sandbox.as_fd().as_raw_fd()));
        let overlay = self.overlay.clone();
        let (address, joined) = self.on(async move {
            let request = AddressRequest { pool: pool.id, ..AddressRequest::default() };
            let address = overlay.request_address(request).await.unwrap().address;
            let id = EndpointId { network: "ab".repeat(32), endpoint: format!("{number:02x}").repeat(32) };
            let interface = Interface { address: Some(address), ..Interface::default() };
            let request = CreateEndpoint { id: id.clone(), interface, options: Default::default() };
            overlay.create_endpoint(request).await.unwrap();
            let request = Join { id, sandbox_key: key, name: String::new(), options: Default::default() };
            (address, overlay.join(request).await.unwrap())
        });
        let (handle, name) = (sandbox.handle().unwrap(), link(&joined.interface.unwrap().name));
        handle.add_address(&name, address).unwrap();
        handle.set_up(&name).unwrap();
        handle.set_route(&name, &Route::default_by(IpAddr::V4(joined.gateway.unwrap()))).unwrap();
        let IpAddr::V4(address) = address.addr() else { panic!("not IPv4") };
        Container::serve(sandbox, address, name)
    }
}

pub struct Container {
    sandbox: Namespace,
    pub address: Ipv4Addr,
    link: LinkName,
}

impl Container {
    fn serve(sandbox: Namespace, address: Ipv4Addr, link: LinkName) -> Self {
        let tcp = sandbox.run(|| TcpListener::bind(("0.0.0.0", PORT))).unwrap().unwrap();
        std::thread::spawn(move || {
            while let Ok((mut client, from)) = tcp.accept() {
                let _ = write!(client, "{}", from.ip());
            }
        });
        let sink = sandbox.run(|| TcpListener::bind(("0.0.0.0", SINK))).unwrap().unwrap();
        std::thread::spawn(move || {
            let mut buffer = vec![0; 1 << 20];
            while let Ok((mut client, _)) = sink.accept() {
                let mut total = 0;
                while let Ok(length @ 1..) = client.read(&mut buffer) {
                    total += length;
                }
                let _ = write!(client, "{total}");
            }
        });
        let udp = sandbox.run(|| UdpSocket::bind(("0.0.0.0", PORT))).unwrap().unwrap();
        std::thread::spawn(move || {
            let mut packet = vec![0; 65_536];
            while let Ok((length, from)) = udp.recv_from(&mut packet) {
                let _ = udp.send_to(&packet[..length], from);
            }
        });
        Self { sandbox, address, link }
    }

    pub fn mtu(&self) -> u32 {
        self.sandbox.handle().unwrap().link(&self.link).unwrap().unwrap().mtu
    }

    /// Whom the container at `address` takes this one for.
    pub fn ask(&self, address: Ipv4Addr) -> Option<String> {
        let limit = Duration::from_secs(2);
        let to = SocketAddr::new(address.into(), PORT);
        let mut stream = self.sandbox.run(|| TcpStream::connect_timeout(&to, limit)).unwrap().ok()?;
        stream.set_read_timeout(Some(limit)).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        Some(text)
    }

    /// Sends one datagram there and back; how long what came back was.
    pub fn echo(&self, address: Ipv4Addr, length: usize) -> usize {
        let socket = self.sandbox.run(|| UdpSocket::bind("0.0.0.0:0")).unwrap().unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        let mut packet = vec![0; 65_536];
        for _ in 0..5 {
            socket.send_to(&vec![7; length], (address, PORT)).unwrap();
            if let Ok(length) = socket.recv(&mut packet) {
                return length;
            }
        }
        0
    }

    /// Sends `length` bytes; how many the other side counted.
    pub fn bulk(&self, address: Ipv4Addr, length: usize) -> usize {
        let mut stream = self.sandbox.run(|| TcpStream::connect((address, SINK))).unwrap().unwrap();
        let chunk = vec![1; 1 << 20];
        for _ in 0..length / chunk.len() {
            stream.write_all(&chunk).unwrap();
        }
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.parse().unwrap()
    }
}
