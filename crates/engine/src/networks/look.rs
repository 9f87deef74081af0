//! Looking at networks: everything here answers from what is known, and waits for nothing.

use std::{collections::BTreeMap, net::IpAddr};

use ipnet::IpNet;
use pintle_contract::network::Protocol;

use super::{
    ContainerNetworks, Endpoint, Filters, HostPort, Inner, Member, Network, Networks, Port, Subnet,
    book::Facts,
    check,
    kernel::namespace_path,
    plan::wishes,
    record::{BRIDGE, EndpointRecord, NetworkRecord, State, is_predefined},
};
use crate::{EngineError, containers::Container};

impl Networks {
    /// One network, by id, name or unambiguous prefix of the id.
    pub fn get(&self, name: &str) -> Result<Network, EngineError> {
        let facts = self.inner.book.read();
        Ok(shown(&facts, facts.find(name)?))
    }

    /// The networks that pass, by name.
    pub fn list(&self, filters: &Filters) -> Vec<Network> {
        let mut all = self.inner.list();
        all.retain(|network| filters.pass(network));
        all
    }

    /// What a container wants of networks and what it has.
    pub fn of(&self, container: &Container) -> ContainerNetworks {
        let facts = self.inner.book.read();
        let spec = &container.spec;
        let runs = container.life.run().is_some();
        let mut shown = ContainerNetworks::default();
        let own: Vec<_> =
            facts.of_container(&container.id).filter(|endpoint| runs && endpoint.life.works()).collect();
        for (name, wish) in wishes(spec) {
            let known = !wish.network_id.is_empty() && !is_predefined(&name);
            let found = if known { facts.network(&wish.network_id) } else { facts.find(&name).ok() };
            let name = found.map_or(name, |network| network.name.clone());
            let mut endpoint = Endpoint { spec: wish, ..Endpoint::default() };
            if let Some(network) = found.filter(|network| network.state == State::Ready) {
                endpoint.network_id.clone_from(&network.id);
                endpoint.dns_names = super::plan::dns_names(container, network, &endpoint.spec.aliases);
                if let Some(record) = own.iter().find(|endpoint| endpoint.network == network.id) {
                    fill(&mut endpoint, record);
                }
            }
            shown.networks.insert(name, endpoint);
        }
        if runs && !own.is_empty() {
            shown.sandbox_id.clone_from(&container.id);
            let name = if spec.network_mode == "host" { "default" } else { container.id.as_str() };
            shown.sandbox_key = namespace_path(&self.inner.namespaces, name);
        }
        if runs && spec.network_mode != "host" {
            shown.ports = ports(container, &own);
        }
        shown
    }
}

impl Inner {
    pub(super) fn list(&self) -> Vec<Network> {
        let facts = self.book.read();
        let exist = facts.networks().filter(|record| record.state == State::Ready);
        let mut all: Vec<Network> = exist.map(|record| shown(&facts, record)).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }
}

fn shown(facts: &Facts, record: &NetworkRecord) -> Network {
    let members = facts
        .in_network(&record.id)
        .filter(|endpoint| endpoint.life.works())
        .map(|endpoint| (endpoint.container.clone(), member(endpoint)));
    Network {
        id: record.id.clone(),
        name: record.name.clone(),
        created: record.created,
        scope: record.scope(),
        driver: record.driver.clone(),
        enable_ipv4: record.enable_ipv4,
        enable_ipv6: record.enable_ipv6,
        internal: record.internal,
        attachable: record.attachable,
        ingress: false,
        config_only: record.config_only,
        config_from: record.config_from.clone(),
        ipam_driver: if record.special() { "default".to_owned() } else { record.ipam_driver().to_owned() },
        ipam_options: record.ipam.options.clone(),
        subnets: subnets(record),
        options: record.options.clone(),
        labels: record.labels.clone(),
        predefined: record.predefined(),
        trouble: facts.trouble(&record.id).cloned(),
        endpoints: members.collect(),
    }
}

/// What is held; of a network of which nothing is held, what was asked for.
fn subnets(record: &NetworkRecord) -> Vec<Subnet> {
    if !record.config_only {
        // Docker's null driver has one pool, which is everywhere.
        let nowhere = record.ipam_driver() == "null" && !record.special() && record.ipam.driver == "null";
        if nowhere && record.pools.is_empty() && record.enable_ipv4 {
            return vec![Subnet { subnet: check::cidr("0.0.0.0/0"), ..Subnet::default() }];
        }
        return record.pools.iter().map(super::record::PoolRecord::subnet).collect();
    }
    let asked = record.ipam.config.iter().map(|asked| Subnet {
        subnet: check::cidr(&asked.subnet),
        ip_range: check::cidr(&asked.ip_range),
        gateway: asked.gateway.parse().ok(),
        aux_addresses: asked
            .aux_addresses
            .iter()
            .filter_map(|(name, address)| Some((name.clone(), address.parse().ok()?)))
            .collect(),
    });
    asked.collect()
}

fn member(endpoint: &EndpointRecord) -> Member {
    Member {
        name: endpoint.name.clone(),
        endpoint_id: endpoint.id.clone(),
        mac_address: endpoint.mac.clone(),
        address: endpoint.address,
        address_v6: endpoint.address_v6.filter(|_| !endpoint.without_v6),
    }
}

fn fill(endpoint: &mut Endpoint, record: &EndpointRecord) {
    endpoint.endpoint_id.clone_from(&record.id);
    endpoint.mac_address.clone_from(&record.mac);
    endpoint.interface.clone_from(&record.interface);
    endpoint.dns_names.clone_from(&record.dns_names);
    endpoint.gateway = record.gateway;
    endpoint.gateway_v6 = record.gateway_v6;
    for net in [record.address, record.address_v6.filter(|_| !record.without_v6)].into_iter().flatten() {
        match net {
            IpNet::V4(net) => endpoint.address = Some(net),
            IpNet::V6(net) => endpoint.address_v6 = Some(net),
        }
    }
}

/// What is exposed, and where of it is published.
fn ports(container: &Container, own: &[&std::sync::Arc<EndpointRecord>]) -> BTreeMap<Port, Vec<HostPort>> {
    let spec = &container.spec;
    let mut all: BTreeMap<Port, Vec<HostPort>> = BTreeMap::new();
    let exposed = spec.exposed_ports.iter().chain(spec.publish.iter().map(|publish| &publish.port));
    for (port, protocol) in exposed.filter_map(|text| check::port(text).ok()) {
        all.entry(Port { port, protocol }).or_default();
    }
    for published in own.iter().flat_map(|endpoint| &endpoint.published) {
        let Some(protocol) = Protocol::from_number(published.protocol.into()) else { continue };
        let any = IpAddr::from([0, 0, 0, 0]);
        let host = HostPort { ip: published.host_ip.unwrap_or(any), port: published.host_port };
        let list = all.entry(Port { port: published.port, protocol }).or_default();
        if !list.contains(&host) {
            list.push(host);
        }
    }
    // First what the host has a port for, then IPv4, whichever network it is of.
    all.values_mut().for_each(|list| list.sort_by_key(|host| (host.port == 0, host.ip.is_ipv6())));
    all
}

/// The gateway of the default bridge, which is what `host-gateway` means unless the configuration says otherwise.
pub(super) fn default_gateways(facts: &Facts) -> Vec<IpAddr> {
    let Ok(bridge) = facts.find(BRIDGE) else { return Vec::new() };
    bridge.pools.iter().filter_map(|pool| pool.gateway).map(|gateway| gateway.addr()).collect()
}
