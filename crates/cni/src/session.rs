//! One call: its configuration, its drivers, and what was there before it.

use pintle_contract::{
    DriverError, IpamDriver, NetworkDriver,
    ipam::{self, AddressRequest, PoolRequest},
    network::{CreateEndpoint, EndpointId},
};
use pintle_netlink::Namespace;

use crate::{
    config::Config,
    drivers::{Drivers, Found},
    failure::Failure,
    network,
    state::{EndpointRecord, NetworkRecord, State, Turn},
};

/// One call.
pub(crate) struct Session<'a> {
    pub(crate) config: &'a Config,
    pub(crate) drivers: &'a dyn Drivers,
    pub(crate) state: State,
    pub(crate) host: Namespace,
}

/// A driver that knows everything that it has to. One that is linked in is alone in this while this lives, since what
/// one process tells it another must not be changing.
pub(crate) struct Told<D: ?Sized> {
    pub(crate) found: Found<D>,
    _turn: Option<Turn>,
}

impl<D: ?Sized> std::ops::Deref for Told<D> {
    type Target = D;

    fn deref(&self) -> &D {
        &self.found.driver
    }
}

impl<'a> Session<'a> {
    pub(crate) fn open(
        config: &'a Config,
        drivers: &'a dyn Drivers,
        host: Namespace,
    ) -> Result<Self, Failure> {
        Ok(Self { config, drivers, state: State::open(&config.state)?, host })
    }

    /// The network driver `name`, told of all its networks.
    pub(crate) async fn network_driver(&self, name: &str) -> Result<Told<dyn NetworkDriver>, Failure> {
        let found = self.drivers.network(name).await?;
        if !found.forgets {
            return Ok(Told { found, _turn: None });
        }
        let turn = self.state.common_turn().await?;
        for record in
            self.state.networks()?.into_iter().filter(|record| record.driver == name && record.begun)
        {
            if let Err(error) = found.driver.create_network(network::request(&record)).await {
                tracing::warn!(network = %record.name, %error, "a network could not be told again");
            }
        }
        Ok(Told { found, _turn: Some(turn) })
    }

    /// The same, told of an endpoint too, as far as it has come.
    pub(crate) async fn driver_of(
        &self,
        record: &NetworkRecord,
        endpoint: &EndpointRecord,
    ) -> Result<Told<dyn NetworkDriver>, Failure> {
        let driver = self.network_driver(&record.driver).await?;
        if driver.found.forgets {
            tell(&*driver, record, endpoint).await?;
        }
        Ok(driver)
    }

    /// The IPAM driver `name`, told of all pools and addresses that are held.
    pub(crate) async fn ipam_driver(&self, name: &str) -> Result<Told<dyn IpamDriver>, Failure> {
        let found = self.drivers.ipam(name).await?;
        if !found.forgets {
            return Ok(Told { found, _turn: None });
        }
        let turn = self.state.common_turn().await?;
        for record in self.state.networks()?.into_iter().filter(|record| record.ipam == name) {
            if let Err(error) = self.hold(found.driver.as_ref(), &record).await {
                tracing::warn!(network = %record.name, %error, "addresses of a network could not be held");
            }
        }
        Ok(Told { found, _turn: Some(turn) })
    }

    async fn hold(&self, driver: &dyn IpamDriver, record: &NetworkRecord) -> Result<(), Failure> {
        for pool in record.pools.iter().filter(|pool| !pool.id.is_empty()) {
            let request = PoolRequest {
                address_space: pool.address_space.clone(),
                pool: Some(pool.subnet),
                sub_pool: pool.range,
                options: record.ipam_options.clone(),
                v6: pool.subnet.addr().is_ipv6(),
                avoid: Vec::new(),
            };
            driver.request_pool(request).await?;
            if let Some(gateway) = pool.gateway.filter(|_| pool.gateway_held) {
                let options =
                    [(ipam::label::REQUEST_ADDRESS_TYPE.to_owned(), ipam::label::GATEWAY.to_owned())];
                let address = Some(gateway.addr());
                driver
                    .request_address(AddressRequest {
                        pool: pool.id.clone(),
                        address,
                        options: options.into(),
                    })
                    .await?;
            }
        }
        for endpoint in self.state.endpoints(&record.name)? {
            for held in endpoint.addresses.iter().filter(|held| !held.pool.is_empty()) {
                let address = Some(held.address.addr());
                let request =
                    AddressRequest { pool: held.pool.clone(), address, ..AddressRequest::default() };
                driver.request_address(request).await?;
            }
        }
        Ok(())
    }
}

/// Tells a driver that is linked in of an endpoint.
pub(crate) async fn tell(
    driver: &dyn NetworkDriver,
    record: &NetworkRecord,
    endpoint: &EndpointRecord,
) -> Result<(), DriverError> {
    let id = EndpointId { network: record.id.clone(), endpoint: endpoint.id.clone() };
    let (interface, options) = (endpoint.interface()?, endpoint.options(&endpoint.bindings()));
    driver.create_endpoint(CreateEndpoint { id, interface, options }).await.map(drop)
}
