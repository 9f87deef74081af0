//! ADD.

use std::net::IpAddr;

use ipnet::IpNet;
use pintle_contract::{
    DriverError, Value,
    ipam::{self, AddressRequest},
    network::{CreateEndpoint, EndpointId, Interface, Join, Joined, Options, PortBinding, Protocol, label},
};
use pintle_netlink::{Link, LinkName, Namespace};
use pintle_wire::cni::{self, Invocation, Ip, Route, Success, code};

use crate::{
    failure::Failure,
    inspect,
    place::{self, Wanted},
    session::Session,
    state::{EndpointRecord, HeldAddress, NetworkRecord, PortRecord, Step, endpoint_id},
};

impl EndpointRecord {
    /// The interface as the engine would have settled it.
    pub(crate) fn interface(&self) -> Result<Interface, DriverError> {
        let first = |v6: bool| self.addresses.iter().find(|held| held.address.addr().is_ipv6() == v6);
        Ok(Interface {
            address: first(false).map(|held| held.address),
            address_v6: first(true).map(|held| held.address),
            mac: self.mac.as_deref().map(str::parse).transpose()?,
        })
    }

    /// What a driver is told of the container's ports.
    pub(crate) fn options(&self, ports: &[PortBinding]) -> Options {
        let exposed = |port: &PortBinding| {
            Value::Map(
                [
                    ("Proto".to_owned(), Value::Int(port.protocol.number().into())),
                    ("Port".to_owned(), Value::Int(port.port.into())),
                ]
                .into(),
            )
        };
        Options::from([
            (label::PORT_MAP.to_owned(), Value::List(ports.iter().map(PortBinding::to_value).collect())),
            (label::EXPOSED_PORTS.to_owned(), Value::List(ports.iter().map(exposed).collect())),
            (label::IFNAME.to_owned(), Value::from(self.interface.as_str())),
            (label::ENDPOINT_NAME.to_owned(), Value::from(self.container.as_str())),
        ])
    }

    pub(crate) fn bindings(&self) -> Vec<PortBinding> {
        let one = |port: &PortRecord| {
            Some(PortBinding {
                protocol: Protocol::from_number(port.protocol.into())?,
                port: port.port,
                host_ip: port.host_ip,
                host_port: port.host_port,
                host_port_end: port.host_port,
            })
        };
        self.ports.iter().filter_map(one).collect()
    }
}

impl Session<'_> {
    /// Attaches a container. What fails is undone.
    pub(crate) async fn add(&self, call: &Invocation) -> Result<Success, Failure> {
        if self.config.previous.is_some() {
            let message = "the plugin makes an interface, and has to come first in its network";
            return Err(Failure::new(code::CONFIG, message));
        }
        let sandbox = call.namespace.clone().unwrap_or_default();
        let namespace = Namespace::open(&sandbox)
            .map_err(|error| Failure::new(code::NAMESPACE, format!("CNI_NETNS: {error}")))?;
        let name: LinkName = call.interface.parse()?;
        let _turn = self.state.network_turn(&self.config.name).await?;
        let network = self.network().await?;
        let id = endpoint_id(&network.name, &call.container, &call.interface);
        if let Some(earlier) = self.state.endpoint(&network.name, &id.endpoint)? {
            if earlier.step == Step::Done && namespace.handle()?.link(&name)?.is_some() {
                let message = format!("{} is attached to {} already", call.interface, network.name);
                return Err(Failure::new(code::CONFIG, message));
            }
            // The one before was killed, or the container's namespace was.
            self.detach(&network, earlier, Some(&sandbox)).await?;
        }
        let mut endpoint = EndpointRecord {
            id: id.endpoint.clone(),
            container: call.container.clone(),
            interface: call.interface.clone(),
            sandbox,
            mac: self.config.wishes.mac.map(|mac| mac.to_string()),
            ..EndpointRecord::default()
        };
        let attached = self.attach(&network, &id, &mut endpoint, &namespace, &name).await;
        if attached.is_err() {
            let sandbox = endpoint.sandbox.clone();
            let undone = match self.detach(&network, endpoint, Some(&sandbox)).await {
                Ok(()) => self.unmake_if_empty(network).await,
                Err(error) => Err(error),
            };
            if let Err(left) = undone {
                tracing::warn!(%left, "what was made of an attachment could not be unmade yet");
            }
        }
        attached
    }

    async fn attach(
        &self,
        network: &NetworkRecord,
        id: &EndpointId,
        endpoint: &mut EndpointRecord,
        sandbox: &Namespace,
        name: &LinkName,
    ) -> Result<Success, Failure> {
        self.state.save_endpoint(&network.name, endpoint)?;
        self.addresses(network, endpoint).await?;
        let driver = self.network_driver(&network.driver).await?;
        if driver.found.forgets {
            self.ports_are_free()?;
        }
        endpoint.step = Step::Endpoint;
        self.state.save_endpoint(&network.name, endpoint)?;
        let ports = &self.config.wishes.ports;
        let mut options = endpoint.options(ports);
        let list =
            |texts: &[String]| Value::List(texts.iter().map(|text| Value::from(text.as_str())).collect());
        options.insert(label::ALIASES.to_owned(), list(&self.config.wishes.aliases));
        options.insert(label::DNS_SERVERS.to_owned(), list(&self.config.wishes.dns_servers));
        if let Some(mac) = &endpoint.mac {
            options.insert(label::MAC_ADDRESS.to_owned(), Value::from(mac.as_str()));
        }
        let interface = endpoint.interface()?;
        let settled = driver
            .create_endpoint(CreateEndpoint { id: id.clone(), interface, options: options.clone() })
            .await?;
        endpoint.mac = endpoint.mac.take().or_else(|| settled.mac.map(|mac| mac.to_string()));
        let unheld = |address| HeldAddress { pool: String::new(), address };
        endpoint.addresses.extend([settled.address, settled.address_v6].into_iter().flatten().map(unheld));
        endpoint.step = Step::Joined;
        self.state.save_endpoint(&network.name, endpoint)?;
        let request = Join {
            id: id.clone(),
            sandbox_key: endpoint.sandbox.clone(),
            name: name.to_string(),
            options: options.clone(),
        };
        let joined = driver.join(request).await?;
        if let Some(interface) = &joined.interface {
            (endpoint.source, endpoint.made_inside) = (interface.source.clone(), interface.in_sandbox);
        }
        let link = match &joined.settled {
            Some(settled) => self.note(endpoint, settled, sandbox, name)?,
            None => {
                self.state.save_endpoint(&network.name, endpoint)?;
                let wanted = Wanted {
                    name,
                    addresses: endpoint.addresses.iter().map(|held| held.address).collect(),
                    mac: endpoint.interface()?.mac,
                    default_route: self.config.default_route && !self.config.internal,
                };
                place::place(&self.host, sandbox, &joined, &wanted)?
            }
        };
        endpoint.mac = link.mac.map(|mac| mac.to_string()).or_else(|| endpoint.mac.take());
        endpoint.step = Step::Published;
        endpoint.ports = ports.iter().map(PortRecord::of).collect();
        self.state.save_endpoint(&network.name, endpoint)?;
        if !network.internal && (self.config.default_route || !ports.is_empty()) {
            driver.program_external_connectivity(id, &options).await?;
        }
        endpoint.step = Step::Done;
        self.state.save_endpoint(&network.name, endpoint)?;
        Ok(self.success(network, endpoint, &joined, &link))
    }

    /// Looks among what earlier processes published: none of them is there any more to keep its ports from others.
    fn ports_are_free(&self) -> Result<(), Failure> {
        for network in self.state.networks()? {
            for other in self.state.endpoints(&network.name)? {
                for (wanted, held) in self
                    .config
                    .wishes
                    .ports
                    .iter()
                    .flat_map(|one| other.bindings().into_iter().map(move |held| (one, held)))
                {
                    let meet = match (wanted.host_ip, held.host_ip) {
                        (Some(one), Some(other)) => {
                            one == other || one.is_unspecified() || other.is_unspecified()
                        }
                        _ => true,
                    };
                    if meet && (wanted.protocol, wanted.host_port) == (held.protocol, held.host_port) {
                        let ip = wanted.host_ip.unwrap_or(std::net::Ipv4Addr::UNSPECIFIED.into());
                        let place = std::net::SocketAddr::new(ip, wanted.host_port);
                        let message = format!("Bind for {place} failed: port is already allocated");
                        return Err(Failure::new(inspect::OTHERWISE, message));
                    }
                }
            }
        }
        Ok(())
    }

    /// What a driver did in the sandbox by itself.
    fn note(
        &self,
        endpoint: &mut EndpointRecord,
        settled: &pintle_contract::network::Settled,
        sandbox: &Namespace,
        name: &LinkName,
    ) -> Result<Link, Failure> {
        let addresses = [settled.interface.address, settled.interface.address_v6].into_iter().flatten();
        let unheld = |address| HeldAddress { pool: String::new(), address };
        endpoint.addresses = addresses.chain(settled.more_addresses.iter().copied()).map(unheld).collect();
        endpoint.made_inside = true;
        let there = sandbox.handle()?.link(name)?;
        there.ok_or_else(|| {
            Failure::new(code::INTERNAL, format!("the network driver made no interface {name}"))
        })
    }

    /// An address of each pool, the runtime's own choice where it has one.
    async fn addresses(&self, network: &NetworkRecord, endpoint: &mut EndpointRecord) -> Result<(), Failure> {
        let mut wanted = self.config.wishes.addresses.clone();
        for pool in &network.pools {
            let family = |address: IpAddr| address.is_ipv6() == pool.subnet.addr().is_ipv6();
            if endpoint.addresses.iter().any(|held| family(held.address.addr())) {
                continue;
            }
            // Of several pools of a family, the one that the address is in.
            let chosen = wanted.iter().position(|address| pool.subnet.contains(address));
            if chosen.is_none() && wanted.iter().any(|address| family(*address)) {
                continue;
            }
            let address = chosen.map(|at| wanted.remove(at));
            if pool.id.is_empty() {
                let net = address.and_then(|address| IpNet::new(address, pool.subnet.prefix_len()).ok());
                endpoint.addresses.extend(net.map(|address| HeldAddress { pool: String::new(), address }));
                continue;
            }
            let driver = self.ipam_driver(&network.ipam).await?;
            let mut options = std::collections::BTreeMap::new();
            if let Some(mac) = &endpoint.mac {
                options.insert(ipam::label::MAC_ADDRESS.to_owned(), mac.clone());
            }
            let request = AddressRequest { pool: pool.id.clone(), address, options };
            let given = driver.request_address(request).await?.address;
            endpoint.addresses.push(HeldAddress { pool: pool.id.clone(), address: given });
            self.state.save_endpoint(&network.name, endpoint)?;
        }
        match wanted.first() {
            Some(stray) if network.pools.is_empty() => {
                let address = IpNet::from(*stray);
                endpoint.addresses.push(HeldAddress { pool: String::new(), address });
                self.state.save_endpoint(&network.name, endpoint)
            }
            Some(stray) => Err(Failure::new(
                code::CONFIG,
                format!("no subnet of {} has the address {stray}", network.name),
            )),
            None => Ok(()),
        }
    }

    fn success(
        &self,
        network: &NetworkRecord,
        endpoint: &EndpointRecord,
        joined: &Joined,
        link: &Link,
    ) -> Success {
        let mut result = Success { dns: self.config.dns.clone(), ..Success::default() };
        if !endpoint.made_inside
            && self
                .host
                .handle()
                .and_then(|host| host.links())
                .is_ok_and(|links| links.iter().any(|other| other.name == endpoint.source))
        {
            result
                .interfaces
                .push(cni::Interface { name: endpoint.source.clone(), ..cni::Interface::default() });
        }
        let index = result.interfaces.len();
        result.interfaces.push(cni::Interface {
            name: link.name.clone(),
            mac: link.mac.map(|mac| mac.to_string()).unwrap_or_default(),
            mtu: link.mtu,
            sandbox: endpoint.sandbox.to_string_lossy().into_owned(),
            ..cni::Interface::default()
        });
        for held in &endpoint.addresses {
            let gateway = match held.address.addr() {
                IpAddr::V4(_) => joined.gateway.map(IpAddr::V4),
                IpAddr::V6(_) => joined.gateway_v6.map(IpAddr::V6),
            };
            result.ips.push(Ip { address: held.address, gateway, interface: Some(index) });
        }
        let default_route = self.config.default_route && !network.internal;
        let routes = place::routes(joined, default_route);
        result.routes = routes.iter().map(|route| Route::new(route.destination, route.gateway)).collect();
        result
    }
}

impl PortRecord {
    fn of(port: &PortBinding) -> Self {
        Self {
            protocol: port.protocol.number(),
            port: port.port,
            host_ip: port.host_ip,
            host_port: port.host_port,
        }
    }
}
