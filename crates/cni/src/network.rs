//! Making a network with its first attachment, and unmaking it with its last.

use std::collections::BTreeMap;

use ipnet::IpNet;
use pintle_contract::{
    DriverError, ErrorKind, Value,
    ipam::{self, AddressRequest, PoolRequest},
    network::{CreateNetwork, IpamData, label},
};
use pintle_wire::cni::code;

use crate::{
    config::{Config, Pool},
    failure::Failure,
    session::Session,
    state::{NetworkRecord, PoolRecord, network_id},
};

/// As a driver is told of it.
pub(crate) fn request(record: &NetworkRecord) -> CreateNetwork {
    let texts = |map: &BTreeMap<String, String>| {
        Value::Map(map.iter().map(|(key, text)| (key.clone(), Value::from(text.as_str()))).collect())
    };
    let data = |v6: bool| -> Vec<IpamData> {
        let pools = record.pools.iter().filter(|pool| pool.subnet.addr().is_ipv6() == v6);
        let one = |pool: &PoolRecord| IpamData {
            address_space: pool.address_space.clone(),
            pool: Some(pool.subnet),
            sub_pool: pool.range,
            gateway: pool.gateway,
            aux_addresses: BTreeMap::new(),
        };
        pools.map(one).collect()
    };
    let (ipv4, ipv6) = (data(false), data(true));
    let options = [
        (label::GENERIC, texts(&record.options)),
        (label::ENABLE_IPV4, Value::Bool(!ipv4.is_empty() || ipv6.is_empty())),
        (label::ENABLE_IPV6, Value::Bool(!ipv6.is_empty())),
        (label::INTERNAL, Value::Bool(record.internal)),
        (label::LABELS, texts(&record.labels)),
        (label::NETWORK_NAME, Value::from(record.name.as_str())),
    ];
    let options = options.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    CreateNetwork { network: record.id.clone(), options, ipv4, ipv6 }
}

impl NetworkRecord {
    fn of(config: &Config) -> Self {
        Self {
            id: network_id(&config.name),
            name: config.name.clone(),
            driver: config.driver.clone(),
            options: config.options.clone(),
            labels: config.labels.clone(),
            internal: config.internal,
            ipam: config.ipam.clone(),
            ipam_options: config.ipam_options.clone(),
            pools: Vec::new(),
            begun: false,
            made: false,
        }
    }

    /// The same settings, whatever became of them.
    fn agrees(&self, config: &Config) -> bool {
        let wanted = Self::of(config);
        let bare = |record: &Self| Self { pools: Vec::new(), begun: false, made: false, ..record.clone() };
        let subnets: Vec<IpNet> =
            config.pools.iter().filter_map(|pool| pool.subnet).map(|net| net.trunc()).collect();
        bare(self) == bare(&wanted)
            && (subnets.is_empty()
                || subnets == self.pools.iter().map(|pool| pool.subnet).collect::<Vec<_>>())
    }
}

impl Session<'_> {
    /// The network, made if it is not there. The caller has its turn.
    pub(crate) async fn network(&self) -> Result<NetworkRecord, Failure> {
        if let Some(record) = self.state.network(&self.config.name)? {
            let empty = self.state.endpoints(&record.name)?.is_empty();
            match (record.made, record.agrees(self.config), empty) {
                (true, true, _) => return Ok(record),
                (true, false, false) => {
                    return Err(Failure::new(
                        code::CONFIG,
                        format!(
                            "the configuration of {} was changed while containers are attached",
                            record.name
                        ),
                    ));
                }
                // What a call that was killed had begun, or what nobody uses and the administrator wants otherwise.
                _ => self.unmake(record).await?,
            }
        }
        let mut record = NetworkRecord::of(self.config);
        match self.make(&mut record).await {
            Ok(()) => Ok(record),
            Err(error) => {
                if let Err(left) = self.unmake(record).await {
                    tracing::warn!(%left, "what was made of a network could not be unmade yet");
                }
                Err(error)
            }
        }
    }

    async fn make(&self, record: &mut NetworkRecord) -> Result<(), Failure> {
        self.state.save_network(record)?;
        let (own_addresses, check) = {
            let driver = self.drivers.network(&record.driver).await?.driver;
            let capabilities = driver.capabilities().await?;
            let check = match capabilities.gateway_check {
                true => driver.gateway_check(&request(record).options).await?,
                false => Default::default(),
            };
            (capabilities.own_addresses, check)
        };
        if own_addresses {
            for pool in &self.config.pools {
                record.pools.extend(typed(pool));
            }
        } else {
            let any = [Pool::default()];
            let wanted = if self.config.pools.is_empty() { &any[..] } else { &self.config.pools };
            for pool in wanted {
                self.pool(record, pool, (check.skip_ipv4, check.skip_ipv6)).await?;
            }
        }
        let driver = self.network_driver(&record.driver).await?;
        record.begun = true;
        self.state.save_network(record)?;
        driver.create_network(request(record)).await?;
        record.made = true;
        self.state.save_network(record)
    }

    async fn pool(
        &self,
        record: &mut NetworkRecord,
        wanted: &Pool,
        (skip_v4, skip_v6): (bool, bool),
    ) -> Result<(), Failure> {
        let driver = self.ipam_driver(&record.ipam).await?;
        let address_space = driver.default_address_spaces().await?.local;
        let avoid = match wanted.subnet {
            Some(_) => Vec::new(),
            None => self.host.handle()?.subnets_in_use()?,
        };
        let given = driver
            .request_pool(PoolRequest {
                address_space: address_space.clone(),
                pool: wanted.subnet.map(|net| net.trunc()),
                sub_pool: wanted.range.map(|net| net.trunc()),
                options: record.ipam_options.clone(),
                v6: wanted.subnet.is_some_and(|net| net.addr().is_ipv6()),
                avoid,
            })
            .await?;
        let said = given.data.get(ipam::label::GATEWAY).and_then(|text| text.parse::<IpNet>().ok());
        record.pools.push(PoolRecord {
            id: given.id.clone(),
            address_space,
            subnet: given.pool.trunc(),
            range: wanted.range.map(|net| net.trunc()),
            gateway: said,
            gateway_held: false,
        });
        self.state.save_network(record)?;
        let skip = if given.pool.addr().is_ipv6() { skip_v6 } else { skip_v4 };
        if said.is_some() || (skip && wanted.gateway.is_none()) {
            return Ok(());
        }
        let options = [(ipam::label::REQUEST_ADDRESS_TYPE.to_owned(), ipam::label::GATEWAY.to_owned())];
        let request = AddressRequest { pool: given.id, address: wanted.gateway, options: options.into() };
        let gateway = driver.request_address(request).await?.address;
        if let Some(pool) = record.pools.last_mut() {
            (pool.gateway, pool.gateway_held) = (Some(gateway), true);
        }
        self.state.save_network(record)
    }

    /// Unmakes the network and gives its pools back. The caller has its turn; nobody is attached.
    pub(crate) async fn unmake(&self, mut record: NetworkRecord) -> Result<(), Failure> {
        if record.begun {
            let driver = self.network_driver(&record.driver).await?;
            tolerant(driver.delete_network(&record.id).await, record.made)?;
            (record.begun, record.made) = (false, false);
            self.state.save_network(&record)?;
        }
        while let Some(pool) = record.pools.last() {
            if !pool.id.is_empty() {
                let driver = self.ipam_driver(&record.ipam).await?;
                if let Some(gateway) = pool.gateway.filter(|_| pool.gateway_held) {
                    tolerant(driver.release_address(&pool.id, gateway.addr()).await, true)?;
                }
                tolerant(driver.release_pool(&pool.id).await, true)?;
            }
            record.pools.pop();
            self.state.save_network(&record)?;
        }
        self.state.forget_network(&record.name)
    }
}

/// What is not there need not be removed. Of what was perhaps never made nothing is expected.
pub(crate) fn tolerant(result: Result<(), DriverError>, made: bool) -> Result<(), DriverError> {
    match result {
        Err(error) if error.kind == ErrorKind::NotFound => Ok(()),
        Err(error) if !made && !matches!(error.kind, ErrorKind::Unavailable | ErrorKind::Timeout) => {
            tracing::debug!(%error, "what was perhaps never made could not be removed");
            Ok(())
        }
        other => other,
    }
}

/// A subnet for a driver that gives addresses itself.
fn typed(pool: &Pool) -> Option<PoolRecord> {
    let subnet = pool.subnet?.trunc();
    let gateway = pool.gateway.and_then(|gateway| IpNet::new(gateway, subnet.prefix_len()).ok());
    Some(PoolRecord {
        id: String::new(),
        address_space: String::new(),
        subnet,
        range: pool.range,
        gateway,
        gateway_held: false,
    })
}
