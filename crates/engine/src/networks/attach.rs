//! Bringing an endpoint up: addresses, the endpoint, its place in the sandbox, in Docker's order.

use std::{net::IpAddr, path::Path, sync::Arc};

use ipnet::IpNet;
use pintle_contract::{
    DriverError, ErrorKind as DriverKind, Value,
    ipam::{AddressRequest, IpamCapabilities},
    network::{
        CreateEndpoint, EndpointId, Interface, InterfaceName, Join, Joined, MacAddress, Options, PortBinding,
        Protocol, label,
    },
};
use pintle_store::failpoint;

use super::{
    Inner,
    calls::{outcome, undecided, within},
    check,
    drivers::Ipam,
    kernel::Placement,
    life::{Event, Outcome, Thing, step},
    record::{EndpointRecord, NetworkRecord, Published, Route},
    standing::{Ready, address_options},
};
use crate::{EngineError, ErrorKind};

/// What drivers are told of the container that an endpoint is for.
#[derive(Debug, Clone, Default)]
pub(super) struct About {
    pub(super) publish: Vec<PortBinding>,
    pub(super) exposed: Vec<(Protocol, u16)>,
    pub(super) dns: Vec<String>,
    /// Kernel settings of the sandbox, which may say what interfaces can have.
    pub(super) sysctls: Vec<(String, String)>,
}

impl About {
    /// Whether the container wants no IPv6.
    fn without_v6(&self) -> bool {
        self.sysctls.iter().any(|(key, value)| key == "net.ipv6.conf.all.disable_ipv6" && value == "1")
    }

    /// The labels of a sandbox: what `Join` and `ProgramExternalConnectivity` are told.
    pub(super) fn labels(&self) -> Options {
        let exposed = self.exposed.iter().map(|(protocol, port)| {
            Value::Map(
                [("Proto".to_owned(), protocol.number().into()), ("Port".to_owned(), i64::from(*port))]
                    .into_iter()
                    .map(|(key, number)| (key, Value::Int(number)))
                    .collect(),
            )
        });
        Options::from([
            (label::EXPOSED_PORTS.to_owned(), Value::List(exposed.collect())),
            (
                label::PORT_MAP.to_owned(),
                Value::List(self.publish.iter().map(PortBinding::to_value).collect()),
            ),
        ])
    }

    pub(super) fn endpoint(&self, endpoint: &EndpointRecord, network: &NetworkRecord) -> Options {
        let mut options: Options = endpoint
            .spec
            .driver_opts
            .iter()
            .map(|(key, value)| (key.clone(), Value::from(value.as_str())))
            .collect();
        if !network.internal {
            options.extend(self.labels());
            if !self.dns.is_empty() {
                let servers = self.dns.iter().map(|server| Value::from(server.as_str())).collect();
                options.insert(label::DNS_SERVERS.to_owned(), Value::List(servers));
            }
        }
        if !endpoint.spec.mac_address.is_empty() {
            let mac = Value::from(endpoint.spec.mac_address.as_str());
            options.insert(label::MAC_ADDRESS.to_owned(), mac);
        }
        if !endpoint.spec.aliases.is_empty() {
            let aliases = endpoint.spec.aliases.iter().map(|alias| Value::from(alias.as_str())).collect();
            options.insert(label::ALIASES.to_owned(), Value::List(aliases));
        }
        options.insert(label::ENDPOINT_NAME.to_owned(), Value::from(endpoint.name.as_str()));
        options
    }
}

pub(super) fn id_of(endpoint: &EndpointRecord) -> EndpointId {
    EndpointId { network: endpoint.network.clone(), endpoint: endpoint.id.clone() }
}

/// Notes what a call came to. The order of calls is this module's own, so nothing is out of place.
pub(super) fn note(endpoint: &mut EndpointRecord, event: Event) {
    match step(endpoint.life, event) {
        Ok(life) => endpoint.life = life,
        Err(_) => tracing::error!(endpoint = %endpoint.id, ?event, "out of place"),
    }
}

impl Inner {
    /// Brings an endpoint up in the sandbox at a path. If this fails the endpoint says what is held of it.
    pub(super) async fn raise(
        self: &Arc<Self>,
        endpoint: &mut EndpointRecord,
        sandbox: &Path,
        about: &About,
    ) -> Result<(), EngineError> {
        self.pay_before(endpoint).await;
        let ready = self.ready(&endpoint.network).await?;
        if !endpoint.spec.mac_address.is_empty() {
            endpoint.mac = mac_of(&endpoint.spec.mac_address)?.to_string();
        }
        if let Some((ipam, needs)) = &ready.ipam {
            self.address(endpoint, &ready.record, ipam, *needs, about.without_v6()).await?;
            failpoint!("engine.network.connect.after_address");
            if !ipam.builtin {
                // It remembers what it gave, so the engine must, too, before it goes on.
                let held = EndpointRecord { life: endpoint.life.on_the_way(), ..endpoint.clone() };
                self.book.put_endpoints(vec![held]).durable().await?;
                failpoint!("engine.network.connect.after_address_noted");
            }
        } else {
            typed_addresses(endpoint, &ready.record);
        }
        self.create_endpoint(endpoint, &ready, about).await?;
        failpoint!("engine.network.connect.after_endpoint");
        let joined = self.join(endpoint, &ready, sandbox, about).await?;
        failpoint!("engine.network.connect.after_join");
        self.take_place(endpoint, sandbox, joined).await
    }

    /// Requests the endpoint's addresses.
    async fn address(
        &self,
        endpoint: &mut EndpointRecord,
        network: &NetworkRecord,
        ipam: &Ipam,
        needs: IpamCapabilities,
        without_v6: bool,
    ) -> Result<(), EngineError> {
        if needs.requires_mac_address && endpoint.mac.is_empty() {
            endpoint.mac = own_mac(&endpoint.id).to_string();
        }
        let (v4, v6) = check::static_addresses(&endpoint.spec);
        for (six, fixed) in [(false, v4), (true, v6)] {
            if !(if six { network.enable_ipv6 && !without_v6 } else { network.enable_ipv4 }) {
                continue;
            }
            self.address_of(endpoint, network, ipam, needs, six, fixed).await?;
        }
        Ok(())
    }

    async fn address_of(
        &self,
        endpoint: &mut EndpointRecord,
        network: &NetworkRecord,
        ipam: &Ipam,
        needs: IpamCapabilities,
        six: bool,
        fixed: Option<IpAddr>,
    ) -> Result<(), EngineError> {
        let thing = if six { Thing::Address6 } else { Thing::Address4 };
        let family = if six { "IPv6" } else { "IPv4" };
        let mut exhausted = None;
        for pool in network.pools.iter().filter(|pool| pool.is_v6() == six) {
            if fixed.is_some_and(|fixed| !pool.contains(fixed)) {
                continue;
            }
            let request = AddressRequest {
                pool: pool.id.clone(),
                address: fixed,
                options: address_options(endpoint, needs),
            };
            let asked = ipam.driver.request_address(request);
            let given = within(self.budgets.make, "IpamDriver.RequestAddress", asked).await;
            match given {
                Ok(given) => {
                    note(endpoint, Event::Took(thing, Outcome::Done));
                    let (address, of) = if six {
                        (&mut endpoint.address_v6, &mut endpoint.pool_v6)
                    } else {
                        (&mut endpoint.address, &mut endpoint.pool)
                    };
                    *address = Some(given.address);
                    of.clone_from(&pool.id);
                    return Ok(());
                }
                // The pool is used up; another may not be.
                Err(error) if error.kind == DriverKind::Unavailable && fixed.is_none() && ipam.builtin => {
                    exhausted = Some(error);
                }
                Err(error) => {
                    if undecided(&error) {
                        // Perhaps it was given; which one it was may be known.
                        note(endpoint, Event::Took(thing, Outcome::Unanswered));
                        let length = pool.pool.map_or(0, |pool| pool.prefix_len());
                        let (address, of) = if six {
                            (&mut endpoint.address_v6, &mut endpoint.pool_v6)
                        } else {
                            (&mut endpoint.address, &mut endpoint.pool)
                        };
                        *address = fixed.and_then(|fixed| IpNet::new(fixed, length).ok());
                        of.clone_from(&pool.id);
                    }
                    return Err(error.into());
                }
            }
        }
        if let Some(fixed) = fixed {
            return Err(EngineError::invalid(format!(
                "invalid address {fixed}: It does not belong to any of this network's subnets"
            )));
        }
        match exhausted {
            Some(error) => {
                let what = format!(
                    "no available {family} addresses on this network's address pools: {} ({})",
                    network.name, network.id
                );
                Err(EngineError::new(ErrorKind::Internal, format!("{what}: {error}")))
            }
            None => Err(EngineError::internal(format!(
                "no {family} information available for endpoint {}",
                endpoint.name
            ))),
        }
    }

    async fn create_endpoint(
        &self,
        endpoint: &mut EndpointRecord,
        ready: &Ready,
        about: &About,
    ) -> Result<(), EngineError> {
        let network = &ready.record;
        let given = Interface {
            address: endpoint.address,
            address_v6: endpoint.address_v6,
            mac: endpoint.mac.parse().ok(),
        };
        let request = CreateEndpoint {
            id: id_of(endpoint),
            interface: given.clone(),
            options: about.endpoint(endpoint, network),
        };
        let failed = |error: String| {
            EngineError::internal(format!(
                "failed to create endpoint {} on network {}: {error}",
                endpoint.name, network.name
            ))
        };
        let asked = ready.driver.driver.create_endpoint(request);
        let answer = within(self.budgets.make, "NetworkDriver.CreateEndpoint", asked).await;
        let came_to = outcome(&answer);
        let said = match answer {
            Ok(said) => said,
            Err(error) => {
                let error = failed(error.message);
                note(endpoint, Event::Took(Thing::Endpoint, came_to));
                return Err(error);
            }
        };
        let changed = modified(&given, &said).map(|what| failed(format!("{what}; rolled back")));
        note(endpoint, Event::Took(Thing::Endpoint, Outcome::Done));
        if let Some(error) = changed {
            return Err(error);
        }
        endpoint.address = endpoint.address.or(said.address);
        endpoint.address_v6 = endpoint.address_v6.or(said.address_v6);
        if let Some(mac) = said.mac {
            endpoint.mac = mac.to_string();
        }
        Ok(())
    }

    async fn join(
        &self,
        endpoint: &mut EndpointRecord,
        ready: &Ready,
        sandbox: &Path,
        about: &About,
    ) -> Result<Joined, EngineError> {
        let mut name = endpoint.spec.driver_opts.get(label::IFNAME).cloned().unwrap_or_default();
        if name.is_empty() && ready.can.own_addresses {
            name = self.kernel.free_name(sandbox, "eth").await?;
        }
        let request =
            Join { id: id_of(endpoint), sandbox_key: sandbox.to_owned(), name, options: about.labels() };
        let asked = ready.driver.driver.join(request);
        let joined = within(self.budgets.make, "NetworkDriver.Join", asked).await;
        note(endpoint, Event::Took(Thing::Sandbox, outcome(&joined)));
        Ok(joined?)
    }

    /// Puts the interface in its place, and notes what the driver wants of the sandbox.
    async fn take_place(
        &self,
        endpoint: &mut EndpointRecord,
        sandbox: &Path,
        joined: Joined,
    ) -> Result<(), EngineError> {
        take_note(endpoint, &joined);
        let Some(interface) = joined.interface.filter(|interface| !interface.source.is_empty()) else {
            return Ok(());
        };
        let placement = placement(endpoint, &interface);
        endpoint.source.clone_from(&interface.source);
        endpoint.made_inside = interface.in_sandbox;
        let placed = self.kernel.place(sandbox, placement).await.map_err(|error| {
            EngineError::internal(format!(
                "failed to add interface {} to sandbox: {}",
                interface.source, error.message
            ))
        })?;
        endpoint.interface = placed.name;
        if endpoint.mac.is_empty() {
            endpoint.mac = placed.mac;
        }
        if placed.without_v6 {
            endpoint.without_v6 = true;
            endpoint.gateway_v6 = None;
        }
        Ok(())
    }
}

/// What a driver said when it joined.
pub(super) fn take_note(endpoint: &mut EndpointRecord, joined: &Joined) {
    endpoint.gateway = joined.gateway;
    endpoint.gateway_v6 = joined.gateway_v6.filter(|_| endpoint.address_v6.is_some());
    endpoint.routes = joined
        .static_routes
        .iter()
        .map(|route| Route { destination: route.destination, next_hop: route.next_hop })
        .collect();
    endpoint.disable_gateway_service = joined.disable_gateway_service;
    endpoint.published = published(&joined.published);
    if let Some(settled) = &joined.settled {
        endpoint.interface.clone_from(&settled.name);
        endpoint.settled = true;
        endpoint.made_inside = true;
        endpoint.address = settled.interface.address.or(endpoint.address);
        endpoint.address_v6 = settled.interface.address_v6.or(endpoint.address_v6);
        endpoint.gateway_v6 = joined.gateway_v6;
        if let Some(mac) = settled.interface.mac {
            endpoint.mac = mac.to_string();
        }
        endpoint.name_servers = settled.dns.servers.clone();
    }
}

pub(super) fn published(bindings: &[PortBinding]) -> Vec<Published> {
    let one = |binding: &PortBinding| Published {
        protocol: binding.protocol.number(),
        port: binding.port,
        host_ip: binding.host_ip,
        host_port: binding.host_port,
    };
    bindings.iter().map(one).collect()
}

fn placement(endpoint: &EndpointRecord, interface: &InterfaceName) -> Placement {
    let wanted = endpoint.spec.driver_opts.get(label::IFNAME).filter(|name| !name.is_empty());
    Placement {
        source: interface.source.clone(),
        inside: interface.in_sandbox,
        prefix: interface.prefix.clone(),
        name: wanted.cloned().unwrap_or_else(|| interface.name.clone()),
        addresses: [endpoint.address, endpoint.address_v6]
            .into_iter()
            .flatten()
            .chain(check::link_local(&endpoint.spec))
            .collect(),
        mac: endpoint.mac.parse().ok(),
        routes: endpoint
            .routes
            .iter()
            .filter(|route| route.destination.prefix_len() > 0)
            .map(|route| (route.destination, route.next_hop))
            .collect(),
        sysctls: check::sysctls(&endpoint.spec),
    }
}

/// What of the interface a driver changed that it was not asked for.
fn modified(given: &Interface, said: &Interface) -> Option<String> {
    for (had, has) in [(given.address, said.address), (given.address_v6, said.address_v6)] {
        if let (Some(had), Some(has)) = (had, has)
            && had != has
        {
            return Some(format!(
                "driver modified interface address: endpoint interface IP present ({had}). Cannot be modified \
                 with ({has})."
            ));
        }
    }
    match (given.mac, said.mac) {
        (Some(had), Some(has)) if had != has => Some(format!(
            "driver modified interface MAC address: endpoint interface MAC address present ({had}). Cannot be \
             modified with {has}."
        )),
        _ => None,
    }
}

/// Where nobody is asked for addresses, those that the user typed are handed on as they are.
fn typed_addresses(endpoint: &mut EndpointRecord, network: &NetworkRecord) {
    let (v4, v6) = check::static_addresses(&endpoint.spec);
    let net = |address: IpAddr| {
        let pool = network.pools.iter().find(|pool| pool.contains(address)).and_then(|pool| pool.pool);
        pool.map_or_else(|| Some(IpNet::from(address)), |pool| IpNet::new(address, pool.prefix_len()).ok())
    };
    endpoint.address = v4.and_then(net);
    endpoint.address_v6 = v6.and_then(net);
}

fn mac_of(text: &str) -> Result<MacAddress, EngineError> {
    text.parse::<MacAddress>().map_err(|error: DriverError| EngineError::invalid(error.message))
}

/// One of those that nobody sells, always the same for an endpoint: whoever asks twice says the same.
pub(super) fn own_mac(endpoint: &str) -> MacAddress {
    let mut mac = [0; 6];
    // Ids are hexadecimal; were one not, all zeros would do.
    let _ = hex::decode_to_slice(endpoint.get(..12).unwrap_or_default(), &mut mac);
    mac[0] = (mac[0] & 0xfc) | 0x02;
    MacAddress(mac)
}
