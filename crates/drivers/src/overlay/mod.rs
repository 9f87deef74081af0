//! Networks across hosts, in the manner of Flannel.
//!
//! A network is a pool of addresses that all hosts name alike. Each host leases a part of it in etcd, gives its own
//! containers addresses from that part on a bridge of its own, and sends what is for other parts through a VXLAN
//! tunnel to the host that has them. Who has which part is followed by a watch, and the kernel is told: a route, a
//! neighbour and a forwarding entry for each other host. No frame is flooded and nothing is learnt from traffic.
//!
//! A host that loses etcd goes on forwarding. A host that dies keeps its part until its lease ends; only then somebody
//! else may get it. Encryption is the operator's own WireGuard interface, through which the tunnels then go.
//!
//! The IPAM driver of the same name belongs to it: `docker network create -d overlay --ipam-driver overlay --subnet POOL`.

mod etcd;
mod fabric;
mod join;
mod ledger;
mod member;
mod model;

use std::{
    collections::BTreeMap,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use ipnet::{IpNet, Ipv4Net};
use pintle_contract::{
    DriverError, ErrorKind, IpamDriver, NetworkDriver, Scope, Value,
    ipam::{self, Address, AddressRequest, AddressSpaces, IpamCapabilities, Pool, PoolRequest},
    network::{
        CreateEndpoint, CreateNetwork, EndpointId, Interface, Join, Joined, NetworkCapabilities, Options,
        PortBinding, label,
    },
};
use pintle_netlink::{LinkName, Namespace};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use etcd::EtcdConfig;

use crate::{
    blocking as off_thread, bridge,
    ipam::{AddressPools, Ipam},
};
use etcd::Etcd;
use fabric::{Fabric, Underlay, Wish};
use ledger::{Held, Ledger};
use member::{Condition, Member};
use model::{Keys, Peer};

/// The IPAM option and network option that sets how large one host's part is.
pub const SUBNET_LENGTH: &str = "subnet-length";
/// The network option that asks for encryption, as Docker's overlay has it.
pub const ENCRYPTED: &str = "encrypted";

/// How hosts find each other.
#[derive(Debug, Clone)]
pub struct OverlayConfig {
    /// Where etcd is.
    pub etcd: EtcdConfig,
    /// Below which key everything stands.
    pub prefix: String,
    /// This host's own name for itself: unique, and the same for life.
    pub host: String,
    /// The address of this host for the others; the interface's, if `None`.
    pub address: Option<IpAddr>,
    /// The interface that carries the tunnels; the one of the default route, if `None`.
    pub interface: Option<LinkName>,
    /// The WireGuard interface that carries them instead.
    pub wireguard: Option<LinkName>,
    /// The UDP port of the tunnels.
    pub port: u16,
    /// How long a host that is not heard of keeps its part.
    pub ttl: Duration,
    /// Where it is written down what this host has.
    pub state: PathBuf,
    /// The namespace that plays the host: the process's own, except in tests.
    pub namespace: Namespace,
}

impl OverlayConfig {
    /// With Flannel's port and patience.
    pub fn new(etcd: EtcdConfig, host: impl Into<String>, state: &Path, namespace: Namespace) -> Self {
        Self {
            namespace,
            etcd,
            prefix: "/pintle/overlay".to_owned(),
            host: host.into(),
            address: None,
            interface: None,
            wireguard: None,
            port: 8472,
            ttl: Duration::from_secs(24 * 3600),
            state: state.to_owned(),
        }
    }
}

/// The driver, both halves of it. Cheap to clone.
#[derive(Clone)]
pub struct Overlay {
    inner: Arc<Inner>,
}

struct Inner {
    config: OverlayConfig,
    keys: Keys,
    etcd: Etcd,
    ledger: Arc<Ledger>,
    /// Does everything that concerns this host alone.
    bridge: Arc<dyn NetworkDriver>,
    /// Gives addresses from this host's parts.
    addresses: Ipam,
    /// By the network's pool.
    members: Mutex<BTreeMap<Ipv4Net, Arc<Member>>>,
    /// The pool of each network, by its id.
    networks: Mutex<BTreeMap<String, Ipv4Net>>,
    /// One at a time joins or leaves.
    turn: tokio::sync::Mutex<()>,
    tasks: TaskTracker,
    closing: CancellationToken,
}

impl Overlay {
    /// Reads what this host has; asks nobody. `bridge` does what concerns this host alone; it is this driver's own, with
    /// a mark of its own, since it is told to keep nothing but these networks. Blocks on the disk.
    pub fn open(config: OverlayConfig, bridge: Arc<dyn NetworkDriver>) -> Result<Self, DriverError> {
        if config.ttl < Duration::from_secs(1) {
            return Err(DriverError::invalid("the overlay driver's lease must last at least a second"));
        }
        let inner = Inner {
            keys: Keys::new(&config.prefix),
            etcd: Etcd::new(config.etcd.clone())?,
            ledger: Arc::new(Ledger::open(&config.state)?),
            bridge,
            addresses: Ipam::new(AddressPools::standard("")),
            members: Mutex::default(),
            networks: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
            tasks: TaskTracker::new(),
            closing: CancellationToken::new(),
            config,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Stops following the other hosts. Leases and tunnels stay.
    pub async fn shutdown(&self) {
        self.inner.closing.cancel();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
    }
}

impl Inner {
    fn members(&self) -> MutexGuard<'_, BTreeMap<Ipv4Net, Arc<Member>>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn networks(&self) -> MutexGuard<'_, BTreeMap<String, Ipv4Net>> {
        self.networks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The member whose part is `subnet`.
    fn member_of(&self, subnet: Ipv4Net) -> Option<Arc<Member>> {
        self.members().values().find(|member| member.held().subnet == subnet).cloned()
    }

    fn underlay(&self) -> Result<Underlay, DriverError> {
        let wish = Wish {
            address: self.config.address,
            interface: self.config.interface.as_ref(),
            wireguard: self.config.wireguard.as_ref(),
        };
        Underlay::find(&self.config.namespace, &wish)
    }

    /// Takes part in the network of `pool`, as before if this host did. `pool` may also be this host's part.
    async fn take_part(
        self: &Arc<Self>,
        pool: Ipv4Net,
        subnet_length: Option<u8>,
    ) -> Result<Held, DriverError> {
        let _turn = self.turn.lock().await;
        let known = self.ledger.find(pool);
        if let Some(member) = known.as_ref().and_then(|held| self.members().get(&held.settings.pool).cloned())
        {
            return Ok(member.held());
        }
        let underlay = blocking(self, |inner| inner.underlay()).await?;
        let own = |vni| Peer {
            host: self.config.host.clone(),
            address: underlay.address,
            mac: model::mac_of(&self.config.host, vni),
        };
        let held = match known {
            // As it was. If etcd is away, or the lease has ended, the member sees to it: containers do not wait for that.
            Some(held) => held,
            None => {
                let port = self.config.port;
                let settings = join::settle(&self.etcd, &self.keys, pool, subnet_length, port).await?;
                let lease = self.etcd.grant(self.config.ttl).await?;
                let own = own(settings.vni);
                let got = join::acquire(&self.etcd, &self.keys, &settings, &own, None, lease).await;
                let subnet = match got {
                    Ok(subnet) => subnet,
                    Err(error) => {
                        let _ = self.etcd.revoke(lease).await;
                        return Err(error);
                    }
                };
                let held = Held { settings, subnet, lease };
                let noted = held.clone();
                if let Err(error) = blocking(self, move |inner| Ok(inner.ledger.put(noted)?)).await {
                    let _ = self.etcd.revoke(lease).await;
                    return Err(error);
                }
                held
            }
        };
        let own = own(held.settings.vni);
        let fabric = Fabric::new(self.config.namespace.clone(), &held.settings, held.subnet)?;
        let (raised, settings, mac) = (fabric.clone(), held.settings.clone(), own.mac);
        blocking(self, move |_| raised.raise(&settings, &underlay, mac)).await?;
        let member = Arc::new(Member {
            etcd: self.etcd.clone(),
            keys: self.keys.clone(),
            own,
            ttl: self.config.ttl,
            fabric,
            ledger: Arc::clone(&self.ledger),
            held: Mutex::new(held.clone()),
            condition: Mutex::new(Condition::default()),
            stop: self.closing.child_token(),
        });
        self.members().insert(held.settings.pool, Arc::clone(&member));
        self.tasks.spawn(async move { member.run().await });
        Ok(held)
    }

    /// Gives this host's part back.
    async fn leave_network(self: &Arc<Self>, pool: Ipv4Net) -> Result<(), DriverError> {
        let _turn = self.turn.lock().await;
        let Some(held) = self.ledger.find(pool) else { return Ok(()) };
        let pool = held.settings.pool;
        // While etcd is away the part stays ours: others still send here.
        self.etcd.revoke(held.lease).await?;
        if let Some(member) = self.members().remove(&pool) {
            member.stop.cancel();
        }
        let fabric = Fabric::new(self.config.namespace.clone(), &held.settings, held.subnet)?;
        blocking(self, move |inner| {
            fabric.lower()?;
            Ok(inner.ledger.remove(pool)?)
        })
        .await
    }
}

/// Does blocking work of the driver.
async fn blocking<T: Send + 'static>(
    inner: &Arc<Inner>,
    work: impl FnOnce(&Inner) -> Result<T, DriverError> + Send + 'static,
) -> Result<T, DriverError> {
    let inner = Arc::clone(inner);
    off_thread(move || work(&inner)).await
}

fn v4(net: IpNet) -> Result<Ipv4Net, DriverError> {
    match net {
        IpNet::V4(net) => Ok(net.trunc()),
        IpNet::V6(net) => Err(DriverError::new(
            ErrorKind::Unsupported,
            format!("overlay networks have IPv4 addresses only, {net} is none"),
        )),
    }
}

#[async_trait]
impl IpamDriver for Overlay {
    async fn capabilities(&self) -> Result<IpamCapabilities, DriverError> {
        Ok(IpamCapabilities { requires_mac_address: false, requires_request_replay: true })
    }

    async fn default_address_spaces(&self) -> Result<AddressSpaces, DriverError> {
        self.inner.addresses.default_address_spaces().await
    }

    async fn request_pool(&self, request: PoolRequest) -> Result<Pool, DriverError> {
        let Some(pool) = request.pool else {
            let text = "an overlay network needs --subnet: the addresses of the whole network, the same on every host";
            return Err(DriverError::invalid(text));
        };
        if request.sub_pool.is_some() {
            return Err(DriverError::invalid(
                "which part of an overlay network a host has is settled in etcd: no --ip-range",
            ));
        }
        let length = request.options.get(SUBNET_LENGTH).map(|text| {
            text.parse().map_err(|_| {
                DriverError::invalid(format!("{SUBNET_LENGTH}: {text:.32} is not a prefix length"))
            })
        });
        let held = self.inner.take_part(v4(pool)?, length.transpose()?).await?;
        let subnet = IpNet::V4(held.subnet);
        let request = PoolRequest { pool: Some(subnet), options: BTreeMap::new(), ..request };
        let mut given = match self.inner.addresses.request_pool(request).await {
            // Asked again, as after a lost answer or in a second network.
            Err(error) if error.kind == ErrorKind::Conflict => {
                let text = format!("this host takes part in the network {} already", held.settings.pool);
                return Err(DriverError::new(ErrorKind::Conflict, text));
            }
            other => other?,
        };
        let gateway = held.subnet.hosts().next().unwrap_or_else(|| held.subnet.network());
        let gateway = Ipv4Net::new(gateway, held.subnet.prefix_len()).unwrap_or_default();
        given.data.insert(ipam::label::GATEWAY.to_owned(), gateway.to_string());
        // Nobody else is to get it.
        let taken = AddressRequest {
            pool: given.id.clone(),
            address: Some(IpAddr::V4(gateway.addr())),
            options: BTreeMap::new(),
        };
        self.inner.addresses.request_address(taken).await?;
        Ok(given)
    }

    async fn release_pool(&self, pool: &str) -> Result<(), DriverError> {
        // `SPACE/SUBNET/LENGTH`, as the address driver names them.
        let subnet = pool.split_once('/').and_then(|(_, net)| net.parse::<Ipv4Net>().ok());
        if let Some(subnet) = subnet {
            self.inner.leave_network(subnet).await?;
        }
        self.inner.addresses.release_pool(pool).await
    }

    async fn request_address(&self, request: AddressRequest) -> Result<Address, DriverError> {
        self.inner.addresses.request_address(request).await
    }

    async fn release_address(&self, pool: &str, address: IpAddr) -> Result<(), DriverError> {
        self.inner.addresses.release_address(pool, address).await
    }
}

#[async_trait]
impl NetworkDriver for Overlay {
    async fn capabilities(&self) -> Result<NetworkCapabilities, DriverError> {
        // Known on this host alone: each host makes it for itself. What they share is in etcd.
        Ok(NetworkCapabilities {
            scope: Scope::Local,
            connectivity_scope: Scope::Global,
            ..Default::default()
        })
    }

    async fn create_network(&self, mut request: CreateNetwork) -> Result<(), DriverError> {
        let subnet = request.ipv4.first().and_then(|data| data.pool).map(v4).transpose()?;
        let member = subnet.and_then(|subnet| self.inner.member_of(subnet)).ok_or_else(|| {
            DriverError::invalid(
                "an overlay network needs its own IPAM driver: --ipam-driver overlay --subnet POOL",
            )
        })?;
        if !request.ipv6.is_empty() {
            return Err(DriverError::new(
                ErrorKind::Unsupported,
                "overlay networks have IPv4 addresses only",
            ));
        }
        let mut options = request.generic();
        let encrypted = options.remove(ENCRYPTED).is_some_and(|text| text != "false");
        if encrypted && self.inner.config.wireguard.is_none() {
            let text = "encrypted overlay networks go through a WireGuard interface of yours: make one that the other hosts are \
                        peers of, and name it in the overlay driver's configuration (\"wireguard\": \"wg0\")";
            return Err(DriverError::new(ErrorKind::Unsupported, text));
        }
        let underlay = blocking(&self.inner, |inner| inner.underlay()).await?;
        let held = member.held();
        options.entry(bridge::label::MTU.to_owned()).or_insert_with(|| underlay.mtu.to_string());
        options.insert(bridge::label::EXTENSION_INTERFACES.to_owned(), member.fabric.device().to_string());
        let generic = options.into_iter().map(|(key, value)| (key, Value::String(value))).collect();
        request.options.insert(label::GENERIC.to_owned(), Value::Map(generic));
        let network = request.network.clone();
        self.inner.bridge.create_network(request).await?;
        self.inner.networks().insert(network, held.settings.pool);
        Ok(())
    }

    async fn delete_network(&self, network: &str) -> Result<(), DriverError> {
        self.inner.bridge.delete_network(network).await?;
        self.inner.networks().remove(network);
        Ok(())
    }

    async fn create_endpoint(&self, request: CreateEndpoint) -> Result<Interface, DriverError> {
        let pool = self.inner.networks().get(&request.id.network).copied();
        let member = pool.and_then(|pool| self.inner.members().get(&pool).cloned());
        if let Some(who) = member.and_then(|member| member.condition().lost_to) {
            let text = format!(
                "{who} has this host's part of the network by now: remove the network here and make it anew"
            );
            return Err(DriverError::new(ErrorKind::Conflict, text));
        }
        self.inner.bridge.create_endpoint(request).await
    }

    async fn delete_endpoint(&self, id: &EndpointId) -> Result<(), DriverError> {
        self.inner.bridge.delete_endpoint(id).await
    }

    async fn endpoint_info(&self, id: &EndpointId) -> Result<BTreeMap<String, Value>, DriverError> {
        let mut info = self.inner.bridge.endpoint_info(id).await?;
        let pool = self.inner.networks().get(&id.network).copied();
        if let Some(member) = pool.and_then(|pool| self.inner.members().get(&pool).cloned()) {
            let condition = member.condition();
            info.insert(
                "pintle.overlay.peers".to_owned(),
                Value::Int(i64::try_from(condition.peers).unwrap_or(0)),
            );
            let etcd = condition.away.unwrap_or_else(|| "reachable".to_owned());
            info.insert("pintle.overlay.etcd".to_owned(), Value::String(etcd));
        }
        Ok(info)
    }

    async fn join(&self, request: Join) -> Result<Joined, DriverError> {
        self.inner.bridge.join(request).await
    }

    async fn leave(&self, id: &EndpointId) -> Result<(), DriverError> {
        self.inner.bridge.leave(id).await
    }

    async fn program_external_connectivity(
        &self,
        id: &EndpointId,
        options: &Options,
    ) -> Result<Vec<PortBinding>, DriverError> {
        self.inner.bridge.program_external_connectivity(id, options).await
    }

    async fn revoke_external_connectivity(&self, id: &EndpointId) -> Result<(), DriverError> {
        self.inner.bridge.revoke_external_connectivity(id).await
    }

    async fn retain(&self, networks: &[String], endpoints: &[EndpointId]) -> Result<(), DriverError> {
        self.inner.bridge.retain(networks, endpoints).await
    }
}
