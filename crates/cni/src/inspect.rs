//! CHECK and STATUS.

use pintle_contract::{ErrorKind, network::EndpointId};
use pintle_netlink::{LinkName, Namespace};
use pintle_wire::cni::{Invocation, code};

use crate::{
    failure::Failure,
    session::Session,
    state::{Step, endpoint_id},
};

/// What the specification leaves to a plugin.
pub(crate) const OTHERWISE: u64 = 100;

impl Session<'_> {
    /// Looks whether the attachment is as ADD made it.
    pub(crate) async fn check(&self, call: &Invocation) -> Result<(), Failure> {
        let wrong = |what: String| Failure::new(OTHERWISE, what);
        let name = &self.config.name;
        let id = endpoint_id(name, &call.container, &call.interface);
        let (network, endpoint) = match (self.state.network(name)?, self.state.endpoint(name, &id.endpoint)?)
        {
            (Some(network), Some(endpoint)) if endpoint.step == Step::Done => (network, endpoint),
            _ => {
                let message = format!("{} is not attached to {name} by {}", call.container, call.interface);
                return Err(Failure::new(code::CONTAINER, message));
            }
        };
        let sandbox = Namespace::open(call.namespace.as_deref().unwrap_or(std::path::Path::new("")))
            .map_err(|error| Failure::new(code::NAMESPACE, format!("CNI_NETNS: {error}")))?;
        let links = sandbox.handle()?;
        let interface: LinkName = call.interface.parse()?;
        let Some(link) = links.link(&interface)? else {
            return Err(wrong(format!("the interface {interface} is gone")));
        };
        if !link.up {
            return Err(wrong(format!("the interface {interface} is down")));
        }
        // What counts is what the chain made of it: a plugin after this one may have changed what this one made.
        let Some(made) = &self.config.previous else {
            return Err(Failure::new(code::CONFIG, "CHECK needs prevResult"));
        };
        let own = |index: usize| {
            made.interfaces
                .get(index)
                .is_some_and(|link| !link.sandbox.is_empty() && link.name == call.interface)
        };
        let mac = link.mac.map(|mac| mac.to_string()).unwrap_or_default();
        for was in
            made.interfaces.iter().enumerate().filter(|(index, _)| own(*index)).map(|(_, link)| &link.mac)
        {
            if !was.is_empty() && !was.eq_ignore_ascii_case(&mac) {
                return Err(wrong(format!("the interface {interface} has the address {mac}, not {was}")));
            }
        }
        let addresses = links.addresses(&interface)?;
        for ip in made.ips.iter().filter(|ip| ip.interface.is_none_or(own)) {
            if !addresses.contains(&ip.address) {
                return Err(wrong(format!("the interface {interface} has lost its address {}", ip.address)));
            }
        }
        let there = links.routes()?;
        for route in made.routes.iter().filter(|route| route.table.is_none()) {
            let found = there.iter().any(|other| {
                other.destination == route.destination.trunc()
                    && (route.gateway.is_none() || other.gateway == route.gateway)
            });
            if !found {
                return Err(wrong(format!("the route to {} is gone", route.destination)));
            }
        }
        let driver = self.drivers.network(&network.driver).await?;
        if !driver.forgets {
            let id = EndpointId { network: network.id, endpoint: endpoint.id };
            match driver.driver.endpoint_info(&id).await {
                Err(error) if error.kind != ErrorKind::Unsupported => return Err(error.into()),
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether the drivers answer.
    pub(crate) async fn status(&self) -> Result<(), Failure> {
        let unavailable =
            |error: pintle_contract::DriverError| Failure::new(code::UNAVAILABLE, error.message);
        let network = self.drivers.network(&self.config.driver).await.map_err(unavailable)?;
        let capabilities = network.driver.capabilities().await.map_err(unavailable)?;
        if !capabilities.own_addresses {
            let ipam = self.drivers.ipam(&self.config.ipam).await.map_err(unavailable)?;
            ipam.driver.capabilities().await.map_err(unavailable)?;
        }
        Ok(())
    }
}
