//! What a container's wishes mean on this engine.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    EndpointSpec, Inner, Networks,
    attach::About,
    check,
    kernel::namespace_path,
    life::Life,
    record::{BRIDGE, EndpointRecord, NetworkRecord, is_predefined},
    sandbox::{Place, Plan},
};
use crate::{
    EngineError,
    containers::{Container, ContainerSpec, new_id},
};

/// The network that a container is in by its mode; `None` if it shares another container's.
pub(crate) fn network_of_mode(mode: &str) -> Option<&str> {
    match mode {
        "" | "default" => Some(BRIDGE),
        shared if shared.starts_with("container:") => None,
        name => Some(name),
    }
}

/// What it wants of each network, by name or id.
pub(super) fn wishes(spec: &ContainerSpec) -> BTreeMap<String, EndpointSpec> {
    let Some(main) = network_of_mode(&spec.network_mode) else { return BTreeMap::new() };
    let mut all = spec.networks.clone();
    if let Some(default) = all.remove("default") {
        all.entry(BRIDGE.to_owned()).or_insert(default);
    }
    if all.is_empty() && !spec.networks_settled {
        all.insert(main.to_owned(), EndpointSpec::default());
    }
    if let Some(own) = all.get_mut(main).filter(|own| own.mac_address.is_empty()) {
        own.mac_address.clone_from(&spec.mac_address);
    }
    all
}

impl About {
    pub(super) fn of(spec: &ContainerSpec, fallback: &[String]) -> Result<Self, EngineError> {
        let (publish, exposed) = check::ports(&spec.publish, spec.publish_all, &spec.exposed_ports)?;
        let dns = if spec.dns.is_empty() { fallback.to_vec() } else { spec.dns.clone() };
        let net = spec.sysctls.iter().filter(|(key, _)| key.starts_with("net."));
        let sysctls = net.map(|(key, value)| (key.clone(), value.clone())).collect();
        Ok(Self { publish, exposed, dns, sysctls })
    }
}

impl Networks {
    /// Refuses what could never be, when a container is made. Networks that are not there yet may come.
    pub(crate) fn check(&self, spec: &ContainerSpec) -> Result<(), EngineError> {
        About::of(spec, &[])?;
        let facts = self.inner.book.read();
        let mut wrong = Vec::new();
        for (name, wish) in wishes(spec) {
            let network = facts.find(&name).ok();
            let name = network.map_or(name.as_str(), |network| network.name.as_str());
            if let Err(error) = check::endpoint(&wish, name, network.map(Arc::as_ref)) {
                wrong.push(format!("invalid config for network {name}: {}", error.message));
            }
        }
        match wrong.is_empty() {
            true => Ok(()),
            false => Err(EngineError::invalid(format!("invalid networking config:\n{}", wrong.join("\n")))),
        }
    }

    /// The wishes of a container by the names that its networks have, with their ids where they are known.
    pub(crate) fn settle_names(&self, spec: &mut ContainerSpec) {
        if network_of_mode(&spec.network_mode).is_none() {
            spec.networks.clear();
            return;
        }
        let named = self.by_name(spec);
        spec.networks = named;
        spec.networks_settled = true;
    }

    fn by_name(&self, spec: &ContainerSpec) -> BTreeMap<String, EndpointSpec> {
        let facts = self.inner.book.read();
        let mut named = BTreeMap::new();
        for (name, mut wish) in wishes(spec) {
            match facts.find(&name) {
                Ok(network) => {
                    wish.network_id.clone_from(&network.id);
                    named.insert(network.name.clone(), wish);
                }
                Err(_) => {
                    named.insert(name, wish);
                }
            }
        }
        named
    }

    /// Decides which endpoints a start needs, and hands their records in. They hold nothing yet.
    pub(crate) fn plan(&self, container: &Arc<Container>) -> Result<Plan, EngineError> {
        let inner = &self.inner;
        let spec = &container.spec;
        let about = About::of(spec, &inner.config.dns)?;
        let path = namespace_path(&inner.namespaces, &container.id);
        let mut networks = Vec::new();
        for (name, wish) in wishes(spec) {
            if name == BRIDGE && inner.config.default_bridge.is_none() {
                // As Docker without its bridge: a sandbox with loopback alone.
                continue;
            }
            networks.push((inner.network_for(&name, &wish)?, wish));
        }
        alone(&networks)?;
        let host = networks.iter().any(|(network, _)| network.driver == "host");
        let mut endpoints = Vec::new();
        for (network, wish) in networks {
            check::endpoint(&wish, &network.name, Some(&network))?;
            endpoints.push(inner.endpoint_for(container, &network, wish));
        }
        endpoints.sort_by_key(|endpoint| std::cmp::Reverse(endpoint.spec.gw_priority));
        let written = inner.book.add_endpoints(endpoints.iter().map(planned).collect())?;
        let place = if host { Place::Host } else { Place::Namespace(path) };
        Ok(Plan { container: Arc::clone(container), place, endpoints, about, written })
    }
}

/// An endpoint as it must be on disk before a driver hears of it.
pub(super) fn planned(endpoint: &EndpointRecord) -> EndpointRecord {
    if endpoint.life.works() {
        return endpoint.clone();
    }
    EndpointRecord { life: Life::planned(true, true), ..endpoint.clone() }
}

/// `host` and `none` go with no other.
pub(super) fn alone(networks: &[(Arc<NetworkRecord>, EndpointSpec)]) -> Result<(), EngineError> {
    if networks.len() < 2 {
        return Ok(());
    }
    if networks.iter().any(|(network, _)| network.driver == "host") {
        return Err(EngineError::invalid(
            "container sharing network namespace with another container or host cannot be connected to any other \
             network",
        ));
    }
    if networks.iter().any(|(network, _)| network.driver == "null") {
        return Err(EngineError::invalid(
            "container cannot be connected to multiple networks with one of the networks in private (none) mode",
        ));
    }
    Ok(())
}

impl Inner {
    /// The network that a wish means. One of the same name that was made anew is not the one that was meant.
    pub(super) fn network_for(
        &self,
        name: &str,
        wish: &EndpointSpec,
    ) -> Result<Arc<NetworkRecord>, EngineError> {
        let network = if wish.network_id.is_empty() || is_predefined(name) {
            self.book.find(name)?
        } else {
            self.book.find(&wish.network_id)?
        };
        if network.config_only {
            return Err(EngineError::new(
                crate::ErrorKind::Forbidden,
                "cannot create endpoint on configuration-only network",
            ));
        }
        Ok(network)
    }

    /// A new endpoint, of which nothing is held.
    pub(super) fn endpoint_for(
        &self,
        container: &Container,
        network: &NetworkRecord,
        wish: EndpointSpec,
    ) -> EndpointRecord {
        let life = if network.special() { Life::of_nothing() } else { Life::default() };
        EndpointRecord {
            id: new_id(),
            network: network.id.clone(),
            container: container.id.clone(),
            name: container.name.clone(),
            life,
            dns_names: dns_names(container, network, &wish.aliases),
            spec: EndpointSpec { network_id: network.id.clone(), ..wish },
            ..EndpointRecord::default()
        }
    }
}

/// What a container is called in a network: its name, its aliases, its short id, its host name. Names are answered in
/// networks that users made.
pub(super) fn dns_names(container: &Container, network: &NetworkRecord, aliases: &[String]) -> Vec<String> {
    if network.predefined() {
        return Vec::new();
    }
    let own = [container.name.as_str()].into_iter();
    let more = [container.short_id(), container.hostname()].into_iter();
    let mut names: Vec<String> = Vec::new();
    for name in own.chain(aliases.iter().map(String::as_str)).chain(more) {
        if !name.is_empty() && !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
    names
}
