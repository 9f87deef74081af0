//! Which of a container's networks leads to the outside.

use std::{path::Path, sync::Arc};

use pintle_contract::{
    Value,
    network::{Options, PortBinding, label},
};
use pintle_store::failpoint;

use super::{
    Inner,
    attach::{About, id_of, note, published},
    calls::{outcome, within},
    kernel::WayOut,
    life::{Event, Mark, Outcome, Thing},
    record::{EndpointRecord, NetworkRecord, Published},
};
use crate::EngineError;

/// Tells a driver that another endpoint deals with the host's IPv6 addresses.
const NO_PROXY: &str = "com.docker.network.driver.private.no_proxy_6to4";

/// The order in which endpoints are candidates for the default route, the best first: the priority that the user
/// gave, then those that are not the engine's own way out, then networks that are not internal, then those that lead
/// out by more families, then by name.
pub(super) fn order(endpoints: &mut [(EndpointRecord, Arc<NetworkRecord>)]) {
    let rank = |(endpoint, network): &(EndpointRecord, Arc<NetworkRecord>)| {
        let (v4, v6) = endpoint.ways_out();
        (
            std::cmp::Reverse(endpoint.spec.gw_priority),
            endpoint.gateway_service,
            network.internal,
            std::cmp::Reverse(u8::from(v4) + u8::from(v6)),
            network.name.clone(),
        )
    };
    endpoints.sort_by_cached_key(rank);
}

/// The positions of the gateways, IPv4 and IPv6, among endpoints in order.
fn choose(endpoints: &[(EndpointRecord, Arc<NetworkRecord>)]) -> (Option<usize>, Option<usize>) {
    let first = |six: bool| {
        endpoints.iter().position(|(endpoint, network)| {
            let (v4, v6) = endpoint.ways_out();
            !network.special() && if six { v6 } else { v4 }
        })
    };
    (first(false), first(true))
}

/// Whether the container needs a way out that its drivers do not give: somebody wants to get out, and nobody leads.
pub(super) fn needs_gateway_service(endpoints: &[(EndpointRecord, Arc<NetworkRecord>)]) -> bool {
    let own = endpoints.iter().filter(|(endpoint, network)| {
        !endpoint.gateway_service
            && !network.special()
            && !network.internal
            && !endpoint.disable_gateway_service
    });
    let mut needs = false;
    for (endpoint, _) in own {
        if endpoint.gateway.is_some() || endpoint.gateway_v6.is_some() || endpoint.ways_out().0 {
            return false;
        }
        needs = true;
    }
    needs
}

fn way(endpoint: &EndpointRecord, six: bool) -> WayOut {
    let gateway = if six { endpoint.gateway_v6.map(Into::into) } else { endpoint.gateway.map(Into::into) };
    let by_route = || {
        let mut routes = endpoint.routes.iter().filter(|route| route.destination.prefix_len() == 0);
        routes.find(|route| matches!(route.destination, ipnet::IpNet::V6(_)) == six)?.next_hop
    };
    WayOut { interface: endpoint.interface.clone(), gateway: gateway.or_else(by_route) }
}

impl Inner {
    /// The endpoints of a container that work, in order.
    pub(super) fn working(&self, container: &str) -> Vec<(EndpointRecord, Arc<NetworkRecord>)> {
        let facts = self.book.read();
        let mut endpoints: Vec<_> = facts
            .of_container(container)
            .filter(|endpoint| endpoint.life.works())
            .filter_map(|endpoint| {
                Some(((**endpoint).clone(), Arc::clone(facts.network(&endpoint.network)?)))
            })
            .collect();
        drop(facts);
        order(&mut endpoints);
        endpoints
    }

    /// Gives a sandbox the default routes that its endpoints lead to, and tells drivers who is the way out now. Shows
    /// what came of it in the book.
    pub(super) async fn lead_out(
        self: &Arc<Self>,
        container: &str,
        sandbox: &Path,
        about: &About,
    ) -> Result<(), EngineError> {
        let mut endpoints = self.working(container);
        let (v4, v6) = choose(&endpoints);
        let routed = endpoints.iter().any(|(endpoint, network)| {
            !network.special()
                && !endpoint.interface.is_empty()
                && endpoint.life.mark(Thing::Sandbox) == Mark::Yes
        });
        if routed {
            let leads = |position: Option<usize>, six: bool| {
                let (endpoint, _) = position.and_then(|position| endpoints.get(position))?;
                (!endpoint.interface.is_empty()).then(|| way(endpoint, six))
            };
            let led = endpoints.iter().filter(|(endpoint, _)| {
                let (v4, v6) = endpoint.ways_out();
                !endpoint.interface.is_empty() && (v4 || v6 || endpoint.settled)
            });
            let ours = led.flat_map(|(endpoint, _)| [way(endpoint, false), way(endpoint, true)]).collect();
            self.kernel
                .way_out(sandbox, leads(v4, false), leads(v6, true), ours)
                .await
                .map_err(|error| error.context("failed to set gateway"))?;
        }
        // Whoever was it and is no more gives its ports back before another takes them.
        let mut turns: Vec<usize> = (0..endpoints.len()).collect();
        turns.sort_by_key(|position| Some(*position) == v4 || Some(*position) == v6);
        for position in turns {
            let Some((endpoint, network)) = endpoints.get_mut(position) else { continue };
            let roles = (Some(position) == v4, Some(position) == v6);
            if network.special() || (endpoint.is_gateway, endpoint.is_gateway_v6) == roles {
                continue;
            }
            self.play(endpoint, network, roles, v6.is_some(), about).await?;
        }
        Ok(())
    }

    /// Has an endpoint's driver make it the way out for these families, or none.
    async fn play(
        self: &Arc<Self>,
        endpoint: &mut EndpointRecord,
        network: &NetworkRecord,
        roles: (bool, bool),
        somebody_v6: bool,
        about: &About,
    ) -> Result<(), EngineError> {
        let (driver, _) = self.driver(&network.driver).await?;
        let id = id_of(endpoint);
        if roles == (false, false) {
            let asked = driver.driver.revoke_external_connectivity(&id);
            let revoked = within(self.budgets.give, "NetworkDriver.RevokeExternalConnectivity", asked).await;
            if let Err(error) = &revoked {
                tracing::warn!(endpoint = %endpoint.id, %error, "failed revoking external connectivity");
            }
            note(endpoint, Event::Gave(Thing::Outside, outcome(&revoked)));
            endpoint.published.clear();
            if endpoint.life.mark(Thing::Outside) == Mark::Maybe {
                self.revoke_later(&endpoint.id);
            }
        } else {
            let mut options: Options = about.labels();
            if !roles.1 && somebody_v6 {
                options.insert(NO_PROXY.to_owned(), Value::Bool(true));
            }
            if endpoint.life.mark(Thing::Outside) != Mark::No {
                // Told once more, with other families.
                note(endpoint, Event::Gave(Thing::Outside, Outcome::Done));
            }
            let asked = driver.driver.program_external_connectivity(&id, &options);
            let what = "NetworkDriver.ProgramExternalConnectivity";
            let opened = within(self.budgets.make, what, asked).await;
            note(endpoint, Event::Took(Thing::Outside, outcome(&opened)));
            match opened {
                Ok(bindings) => self.show_ports(endpoint, driver.builtin, &bindings).await,
                Err(error) => {
                    self.book.show_endpoint(endpoint.clone());
                    return Err(EngineError::internal(format!(
                        "driver failed programming external connectivity on endpoint {} ({}): {error}",
                        endpoint.name, endpoint.id
                    )));
                }
            }
        }
        (endpoint.is_gateway, endpoint.is_gateway_v6) = roles;
        self.book.show_endpoint(endpoint.clone());
        failpoint!("engine.network.connect.after_outside");
        Ok(())
    }

    /// Has a driver that did not answer end an endpoint's way to the outside, unless it became one again.
    pub(super) fn revoke_later(self: &Arc<Self>, id: &str) {
        let (inner, id) = (Arc::clone(self), id.to_owned());
        self.tasks.spawn(async move {
            let mut attempt = 0;
            while inner.pause(attempt).await {
                attempt += 1;
                if inner.revoke_now(&id).await.is_ok() {
                    return;
                }
            }
        });
    }

    async fn revoke_now(&self, id: &str) -> Result<(), EngineError> {
        let doubtful = |endpoint: &EndpointRecord| {
            let led = endpoint.is_gateway || endpoint.is_gateway_v6;
            !endpoint.life.leaving && !led && endpoint.life.mark(Thing::Outside) == Mark::Maybe
        };
        let found = self.book.read().endpoint(id).cloned();
        let Some(endpoint) = found.filter(|endpoint| doubtful(endpoint)) else { return Ok(()) };
        let Some(network) = self.book.network(&endpoint.network) else { return Ok(()) };
        let (driver, _) = self.driver(&network.driver).await?;
        let of = id_of(&endpoint);
        let asked = driver.driver.revoke_external_connectivity(&of);
        let what = "NetworkDriver.RevokeExternalConnectivity";
        let revoked = within(self.budgets.give, what, asked).await;
        let came_to = outcome(&revoked);
        drop(self.book.change_endpoint(id, |endpoint| {
            if doubtful(endpoint) {
                note(endpoint, Event::Gave(Thing::Outside, came_to));
            }
        }));
        match revoked {
            Err(error) if came_to == Outcome::Unanswered => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Notes which ports are open. A plugin says it when asked how the endpoint is.
    async fn show_ports(&self, endpoint: &mut EndpointRecord, builtin: bool, bindings: &[PortBinding]) {
        if !bindings.is_empty() {
            endpoint.published = published(bindings);
        }
        if builtin {
            return;
        }
        let Some(network) = self.book.network(&endpoint.network) else { return };
        let Ok((driver, _)) = self.driver(&network.driver).await else { return };
        let id = id_of(endpoint);
        let asked = driver.driver.endpoint_info(&id);
        match within(self.budgets.ask, "NetworkDriver.EndpointOperInfo", asked).await {
            Ok(info) => {
                let options: Options = info.into_iter().filter(|(key, _)| key == label::PORT_MAP).collect();
                let said: Vec<Published> = published(&pintle_contract::network::port_map(&options));
                if !said.is_empty() {
                    endpoint.published = said;
                }
            }
            Err(error) => {
                tracing::debug!(endpoint = %endpoint.id, %error, "the driver does not say how it is")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::networks::record::Route;

    fn one(
        name: &str,
        priority: i64,
        internal: bool,
        v4: bool,
        v6: bool,
    ) -> (EndpointRecord, Arc<NetworkRecord>) {
        let mut endpoint = EndpointRecord { id: name.into(), ..EndpointRecord::default() };
        endpoint.spec.gw_priority = priority;
        endpoint.gateway = v4.then(|| "10.0.0.1".parse().unwrap());
        endpoint.gateway_v6 = v6.then(|| "fd00::1".parse().unwrap());
        let network = NetworkRecord { name: name.into(), internal, ..NetworkRecord::default() };
        (endpoint, Arc::new(network))
    }

    fn gateways(mut endpoints: Vec<(EndpointRecord, Arc<NetworkRecord>)>) -> (String, String) {
        order(&mut endpoints);
        let (v4, v6) = choose(&endpoints);
        let name = |position: Option<usize>| position.map_or("-".into(), |at| endpoints[at].1.name.clone());
        (name(v4), name(v6))
    }

    #[test]
    fn the_best_leads_out() {
        let both = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(
            gateways(vec![one("b", 0, false, true, false), one("a", 0, false, true, false)]),
            both("a", "-")
        );
        assert_eq!(
            gateways(vec![one("b", 1, false, true, false), one("a", 0, false, true, false)]),
            both("b", "-")
        );
        assert_eq!(
            gateways(vec![one("b", 0, false, true, true), one("a", 0, false, true, false)]),
            both("b", "b")
        );
        assert_eq!(
            gateways(vec![one("b", 0, false, false, true), one("a", 0, false, true, false)]),
            both("a", "b")
        );
        assert_eq!(
            gateways(vec![one("a", 0, true, true, false), one("b", 0, false, true, false)]),
            both("b", "-")
        );
        assert_eq!(
            gateways(vec![one("a", 5, true, false, false), one("b", 0, false, true, false)]),
            both("b", "-")
        );
        assert_eq!(gateways(vec![one("a", 0, false, false, false)]), both("-", "-"));
    }

    #[test]
    fn a_way_out_of_the_engines_own_only_where_nobody_leads() {
        assert!(needs_gateway_service(&[one("a", 0, false, false, false)]));
        assert!(!needs_gateway_service(&[one("a", 0, false, false, false), one("b", 0, false, true, false)]));
        assert!(!needs_gateway_service(&[one("a", 0, true, false, false)]));
        assert!(!needs_gateway_service(&[]));
        let (mut endpoint, network) = one("a", 0, false, false, false);
        endpoint.disable_gateway_service = true;
        assert!(!needs_gateway_service(&[(endpoint.clone(), Arc::clone(&network))]));
        endpoint.disable_gateway_service = false;
        endpoint.routes.push(Route { destination: "0.0.0.0/0".parse().unwrap(), next_hop: None });
        assert!(!needs_gateway_service(&[(endpoint, network)]));
    }
}
