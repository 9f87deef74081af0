//! DEL and GC.

use std::path::Path;

use pintle_contract::{ErrorKind, network::EndpointId};
use pintle_netlink::LinkName;

use crate::{
    failure::Failure,
    network::tolerant,
    place,
    session::{Session, tell},
    state::{EndpointRecord, NetworkRecord, Step, endpoint_id},
};

impl Session<'_> {
    /// Detaches a container, as often as somebody asks.
    pub(crate) async fn del(
        &self,
        container: &str,
        interface: &str,
        sandbox: Option<&Path>,
    ) -> Result<(), Failure> {
        let name = &self.config.name;
        let _turn = self.state.network_turn(name).await?;
        let Some(network) = self.state.network(name)? else { return Ok(()) };
        let id = endpoint_id(name, container, interface);
        if let Some(endpoint) = self.state.endpoint(name, &id.endpoint)? {
            self.detach(&network, endpoint, sandbox).await?;
        }
        self.unmake_if_empty(network).await
    }

    /// Undoes an attachment as far as it had come.
    pub(crate) async fn detach(
        &self,
        network: &NetworkRecord,
        mut endpoint: EndpointRecord,
        sandbox: Option<&Path>,
    ) -> Result<(), Failure> {
        let id = EndpointId { network: network.id.clone(), endpoint: endpoint.id.clone() };
        let done = endpoint.step == Step::Done;
        if endpoint.step >= Step::Endpoint {
            let driver = self.driver_of(network, &endpoint).await?;
            if endpoint.step >= Step::Published {
                if driver.found.forgets && !endpoint.ports.is_empty() {
                    // So that it knows what there is to be closed.
                    let options = endpoint.options(&endpoint.bindings());
                    driver.program_external_connectivity(&id, &options).await?;
                }
                match driver.revoke_external_connectivity(&id).await {
                    Err(error) if error.kind == ErrorKind::Unsupported => {}
                    other => tolerant(other, done)?,
                }
            }
            if endpoint.step >= Step::Joined {
                if let Some(namespace) = place::open(sandbox) {
                    let name: LinkName = endpoint.interface.parse()?;
                    if let Ok(source) = endpoint.source.parse::<LinkName>() {
                        place::withdraw(&self.host, &namespace, &name, &source, endpoint.made_inside)?;
                    }
                }
                tolerant(driver.leave(&id).await, done)?;
            }
            tolerant(driver.delete_endpoint(&id).await, done)?;
            endpoint.step = Step::Addressed;
            self.state.save_endpoint(&network.name, &endpoint)?;
        }
        while let Some(held) = endpoint.addresses.last() {
            if !held.pool.is_empty() {
                let driver = self.ipam_driver(&network.ipam).await?;
                tolerant(driver.release_address(&held.pool, held.address.addr()).await, true)?;
            }
            endpoint.addresses.pop();
            self.state.save_endpoint(&network.name, &endpoint)?;
        }
        self.state.forget_endpoint(&network.name, &endpoint.id)
    }

    /// The last one turns off the light.
    pub(crate) async fn unmake_if_empty(&self, network: NetworkRecord) -> Result<(), Failure> {
        if self.state.endpoints(&network.name)?.is_empty() { self.unmake(network).await } else { Ok(()) }
    }

    /// Undoes every attachment that is not valid any more, then what is left of none.
    pub(crate) async fn gc(&self) -> Result<(), Failure> {
        let name = &self.config.name;
        let _turn = self.state.network_turn(name).await?;
        let Some(network) = self.state.network(name)? else { return Ok(()) };
        let mut first = Ok(());
        for endpoint in self.state.endpoints(name)? {
            let valid = self
                .config
                .valid
                .iter()
                .any(|one| one.container == endpoint.container && one.interface == endpoint.interface);
            if !valid {
                let sandbox = endpoint.sandbox.clone();
                first = first.and(self.detach(&network, endpoint, Some(&sandbox)).await);
            }
        }
        first = first.and(self.sweep(&network).await);
        first.and(self.unmake_if_empty(network).await)
    }

    /// Lets a driver that is linked in look for what nobody knows of.
    async fn sweep(&self, network: &NetworkRecord) -> Result<(), Failure> {
        let driver = self.network_driver(&network.driver).await?;
        if !driver.found.forgets {
            return Ok(());
        }
        let (mut networks, mut endpoints) = (Vec::new(), Vec::new());
        for record in self.state.networks()?.into_iter().filter(|record| record.driver == network.driver) {
            for endpoint in self.state.endpoints(&record.name)? {
                let id = EndpointId { network: record.id.clone(), endpoint: endpoint.id.clone() };
                if endpoint.step >= Step::Endpoint {
                    tell(&*driver, &record, &endpoint).await?;
                    if endpoint.step >= Step::Published && !endpoint.ports.is_empty() {
                        let options = endpoint.options(&endpoint.bindings());
                        driver.program_external_connectivity(&id, &options).await?;
                    }
                }
                endpoints.push(id);
            }
            networks.push(record.id);
        }
        driver.retain(&networks, &endpoints).await?;
        Ok(())
    }
}
