//! What one sandbox sees of names.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Weak},
};

use super::{
    Answer, Inner, Names, Networks, Upstream, UpstreamServer,
    book::Facts,
    names::View,
    record::{EndpointRecord, NetworkRecord},
};
use crate::containers::Container;

/// One container's view. It keeps nothing alive.
struct Sight {
    inner: Weak<Inner>,
    container: String,
    /// Name servers that the container or the engine's configuration names.
    servers: Vec<IpAddr>,
    /// Their resolver options; `None`: the host's count.
    options: Option<Vec<String>>,
}

impl Networks {
    /// What names mean to a running container.
    pub fn names(&self, container: &Container) -> Names {
        self.inner.names_of(container)
    }
}

impl Inner {
    pub(super) fn names_of(self: &Arc<Self>, container: &Container) -> Names {
        let own = if container.spec.dns.is_empty() { &self.config.dns } else { &container.spec.dns };
        let options = [&container.spec.dns_options, &self.config.dns_options];
        Names {
            view: Arc::new(Sight {
                inner: Arc::downgrade(self),
                container: container.id.clone(),
                servers: own.iter().filter_map(|text| text.parse().ok()).collect(),
                options: options.into_iter().find(|options| !options.is_empty()).cloned(),
            }),
        }
    }
}

impl Sight {
    /// Asks what is known about the networks of the sandbox, the best way out first.
    fn look<T>(
        &self,
        ask: impl FnOnce(&Facts, &[(Arc<EndpointRecord>, Arc<NetworkRecord>)]) -> T,
    ) -> Option<T> {
        let inner = self.inner.upgrade()?;
        let facts = inner.book.read();
        let own: Vec<_> = facts
            .of_container(&self.container)
            .filter(|endpoint| endpoint.life.works() && !endpoint.gateway_service)
            .filter_map(|endpoint| {
                Some((Arc::clone(endpoint), Arc::clone(facts.network(&endpoint.network)?)))
            })
            .collect();
        Some(ask(&facts, &own))
    }
}

/// The addresses of all who answer to a name in a network.
fn called(facts: &Facts, network: &str, name: &str) -> Option<Vec<IpAddr>> {
    let mut known = false;
    let mut addresses = Vec::new();
    for endpoint in facts.called(network, name) {
        known = true;
        for address in endpoint.addresses() {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
    }
    known.then_some(addresses)
}

/// `a.b.c` as itself, as `a.b` in network `c`, and as `a` in network `b.c`.
fn readings(name: &str) -> impl Iterator<Item = (&str, Option<&str>)> {
    let dots = name.char_indices().rev().filter(|(_, c)| *c == '.').map(|(at, _)| at);
    let parts = dots.filter_map(|at| Some((name.get(..at)?, Some(name.get(at + 1..)?))));
    std::iter::once((name, None)).chain(parts)
}

impl View for Sight {
    fn resolve(&self, name: &str) -> Answer {
        let name = name.strip_suffix('.').unwrap_or(name).to_lowercase();
        let found = self.look(|facts, own| {
            for (alone, within) in readings(&name) {
                let inside: Vec<_> = own
                    .iter()
                    .filter(|(_, network)| within.is_none_or(|within| network.name.to_lowercase() == within))
                    .collect();
                // What the container itself calls somebody comes first.
                for (endpoint, network) in &inside {
                    let meant = aliases(endpoint).get(alone).cloned();
                    if let Some(addresses) = meant.and_then(|meant| called(facts, &network.id, &meant)) {
                        return Some(addresses);
                    }
                }
                for (endpoint, network) in &inside {
                    if aliases(endpoint).contains_key(alone) {
                        continue;
                    }
                    if let Some(addresses) = called(facts, &network.id, alone) {
                        return Some(addresses);
                    }
                }
            }
            None
        });
        found.flatten().map_or(Answer::Unknown, Answer::Known)
    }

    fn reverse(&self, address: IpAddr) -> Option<String> {
        self.look(|facts, own| {
            own.iter().find_map(|(_, network)| {
                let name = facts.at(&network.id, address)?.dns_names.first()?;
                Some(format!("{name}.{}", network.name))
            })
        })?
    }

    fn upstream(&self) -> Upstream {
        let Some((allowed, by_driver)) = self.look(|_, own| {
            let allowed = own.iter().any(|(endpoint, network)| {
                let (v4, v6) = endpoint.ways_out();
                !network.internal && !network.special() && (v4 || v6)
            });
            // A container that has another way out has one of the engine's making.
            let by_engine = own.iter().any(|(endpoint, network)| {
                !network.internal && !network.special() && !endpoint.disable_gateway_service
            });
            let by_driver: Vec<IpAddr> = own
                .iter()
                .filter(|(_, network)| !network.internal)
                .flat_map(|(endpoint, _)| endpoint.name_servers.clone())
                .collect();
            (allowed || by_engine, by_driver)
        }) else {
            return Upstream::default();
        };
        let given = |servers: &[IpAddr]| {
            servers.iter().map(|address| UpstreamServer { address: *address, from_host: false }).collect()
        };
        let host = || std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
        let servers = match (self.servers.is_empty(), by_driver.is_empty()) {
            (false, _) => given(&self.servers),
            (true, false) => given(&by_driver),
            (true, true) => host_servers(&host()),
        };
        let dotless_stay = match &self.options {
            Some(options) => options.iter().any(|option| option.starts_with("ndots:")),
            None => sets_ndots(&host()),
        };
        Upstream { servers, allowed, dotless_stay }
    }
}

/// What a container calls others in one of its networks.
fn aliases(endpoint: &EndpointRecord) -> BTreeMap<String, String> {
    let links = endpoint.spec.links.iter().filter_map(|link| super::check::link(link).ok());
    links.map(|(name, alias)| (alias.to_lowercase(), name.to_lowercase())).collect()
}

/// The host's name servers. They are the host's to ask: they may be on its loopback, or reached by a way that no
/// container has.
fn host_servers(resolv_conf: &str) -> Vec<UpstreamServer> {
    let server = |line: &str| {
        let mut words = line.split_whitespace();
        let address = words.next().filter(|word| *word == "nameserver").and_then(|_| words.next())?;
        let address: IpAddr = address.split('%').next()?.parse().ok()?;
        Some(UpstreamServer { address, from_host: true })
    };
    resolv_conf.lines().filter_map(server).collect()
}

/// Whether the host's own resolver has been told how many dots make a name absolute.
fn sets_ndots(resolv_conf: &str) -> bool {
    resolv_conf.lines().any(|line| {
        let mut words = line.split_whitespace();
        words.next() == Some("options") && words.any(|word| word.starts_with("ndots:"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_name_its_network() {
        let all: Vec<_> = readings("a.b.c").collect();
        assert_eq!(all, [("a.b.c", None), ("a.b", Some("c")), ("a", Some("b.c"))]);
        assert_eq!(readings("a").collect::<Vec<_>>(), [("a", None)]);
        assert_eq!(readings(".").count(), 2);
    }

    #[test]
    fn name_servers_of_the_host() {
        let servers =
            host_servers("# x\nnameserver 127.0.0.53\nnameserver fe80::1%eth0\nnameserver\noptions x\n");
        assert_eq!(servers.len(), 2);
        assert!(servers.iter().all(|server| server.from_host));
        assert!(sets_ndots("search x\noptions timeout:1 ndots:2\n") && !sets_ndots("# options ndots:2\n"));
    }
}
