//! The addresses that a network holds for itself: its pools, their gateways, and what the user set apart.

use std::{collections::BTreeMap, net::IpAddr};

use ipnet::IpNet;
use pintle_contract::{
    DriverError, ErrorKind as DriverKind,
    ipam::{AddressRequest, Pool, PoolRequest, label},
    network::GatewayCheck,
};

use super::{
    Inner, SubnetSpec,
    calls::{undecided, within},
    check,
    drivers::Ipam,
    record::{NetworkRecord, PoolRecord, gateway_options},
};
use crate::{EngineError, ErrorKind};

/// How many pools of a plugin's choice are refused, since this host uses them, before the engine gives up.
const CHOICES: usize = 64;

/// A pool that is wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Wanted {
    v6: bool,
    pool: Option<IpNet>,
    range: Option<IpNet>,
    gateway: Option<IpAddr>,
    aux: BTreeMap<String, IpAddr>,
}

impl Wanted {
    fn of(spec: &SubnetSpec) -> Option<Self> {
        let pool = check::cidr(&spec.subnet)?;
        Some(Self {
            v6: matches!(pool, IpNet::V6(_)),
            pool: Some(pool),
            range: check::cidr(&spec.ip_range),
            gateway: spec.gateway.parse().ok(),
            aux: spec
                .aux_addresses
                .iter()
                .filter_map(|(name, address)| Some((name.clone(), address.parse().ok()?)))
                .collect(),
        })
    }
}

/// The pools that a network wants, one for each family that it has and that no subnet was given for.
fn wanted(record: &NetworkRecord) -> Vec<Wanted> {
    let given: Vec<Wanted> = record.ipam.config.iter().filter_map(Wanted::of).collect();
    let mut all = Vec::new();
    for v6 in [false, true] {
        if !(if v6 { record.enable_ipv6 } else { record.enable_ipv4 }) {
            continue;
        }
        let own = given.iter().filter(|wanted| wanted.v6 == v6);
        if own.clone().next().is_none() {
            all.push(Wanted { v6, ..Wanted::default() });
        }
        all.extend(own.cloned());
    }
    all
}

/// The subnets that the user gave, as they are, for a driver that gives addresses itself.
pub(super) fn as_given(record: &NetworkRecord) -> Vec<PoolRecord> {
    let all = wanted(record).into_iter().filter(|wanted| wanted.pool.is_some());
    all.map(|wanted| {
        let length = wanted.pool.map_or(0, |pool| pool.prefix_len());
        let with_length = |address: IpAddr| IpNet::new(address, length).ok();
        PoolRecord {
            pool: wanted.pool,
            range: wanted.range,
            gateway: wanted.gateway.and_then(with_length),
            aux: wanted
                .aux
                .into_iter()
                .filter_map(|(name, address)| Some((name, with_length(address)?)))
                .collect(),
            asked: true,
            ..PoolRecord::default()
        }
    })
    .collect()
}

impl Inner {
    /// Requests all that a network needs, and puts it into its record. After a failure the record has what could not
    /// be given back; if that is nothing, nothing is held.
    pub(super) async fn take_pools(
        &self,
        record: &mut NetworkRecord,
        ipam: &Ipam,
        gateways: GatewayCheck,
    ) -> Result<(), EngineError> {
        let taken = self.take_each(record, ipam, gateways).await;
        if taken.is_err()
            && let Err(error) = self.give_pools(record, ipam).await
        {
            tracing::warn!(network = %record.name, %error, "its pools stay taken for now");
        }
        taken
    }

    async fn take_each(
        &self,
        record: &mut NetworkRecord,
        ipam: &Ipam,
        gateways: GatewayCheck,
    ) -> Result<(), EngineError> {
        let asked = ipam.driver.default_address_spaces();
        let spaces = within(self.budgets.give, "IpamDriver.GetDefaultAddressSpaces", asked).await?;
        let space = if record.global { spaces.global } else { spaces.local };
        let avoid = if record.global { Vec::new() } else { self.kernel.subnets().await };
        for wanted in wanted(record) {
            let pool = self.request_pool(record, ipam, &space, &wanted, &avoid).await?;
            record.pools.push(PoolRecord {
                id: pool.id.clone(),
                address_space: space.clone(),
                pool: Some(pool.pool),
                range: wanted.range,
                asked: wanted.pool.is_some_and(|pool| !pool.addr().is_unspecified()),
                ..PoolRecord::default()
            });
            self.note_pools(record, ipam).await?;
            let skip = if wanted.v6 { gateways.skip_ipv6 } else { gateways.skip_ipv4 };
            self.take_addresses(record, ipam, &pool, &wanted, skip).await?;
        }
        Ok(())
    }

    /// A plugin remembers what it gave, so the engine must, too, before it goes on.
    async fn note_pools(&self, record: &NetworkRecord, ipam: &Ipam) -> Result<(), EngineError> {
        if ipam.builtin { Ok(()) } else { self.book.put_network(record.clone()).durable().await }
    }

    async fn request_pool(
        &self,
        record: &NetworkRecord,
        ipam: &Ipam,
        space: &str,
        wanted: &Wanted,
        avoid: &[IpNet],
    ) -> Result<Pool, EngineError> {
        let mut refused = Vec::new();
        let chosen = loop {
            let request = PoolRequest {
                address_space: space.to_owned(),
                pool: wanted.pool,
                sub_pool: wanted.range,
                options: record.ipam.options.clone(),
                v6: wanted.v6,
                avoid: avoid.to_vec(),
            };
            let asked = ipam.driver.request_pool(request);
            let pool = match within(self.budgets.make, "IpamDriver.RequestPool", asked).await {
                Ok(pool) => pool,
                Err(error) => break Err(error.into()),
            };
            let free = wanted.pool.is_some_and(|pool| !pool.addr().is_unspecified())
                || !avoid.iter().any(|taken| overlap(taken, &pool.pool));
            if free {
                break Ok(pool);
            }
            // Held until another one is found, so that the plugin does not choose it again.
            refused.push(pool);
            if refused.len() >= CHOICES {
                break Err(EngineError::new(
                    ErrorKind::Unavailable,
                    format!(
                        "IPAM driver {}: every pool that it chose overlaps a network of this host",
                        ipam.name
                    ),
                ));
            }
        };
        for pool in refused {
            if let Err(error) =
                within(self.budgets.give, "IpamDriver.ReleasePool", ipam.driver.release_pool(&pool.id)).await
            {
                tracing::warn!(pool = %pool.id, %error, "a pool that overlaps a network of this host stays taken");
            }
        }
        chosen
    }

    /// The gateway, and what the user set apart, in the last pool of the record.
    async fn take_addresses(
        &self,
        record: &mut NetworkRecord,
        ipam: &Ipam,
        pool: &Pool,
        wanted: &Wanted,
        skip_gateway: bool,
    ) -> Result<(), EngineError> {
        let last = |record: &mut NetworkRecord, change: &mut dyn FnMut(&mut PoolRecord)| {
            if let Some(last) = record.pools.last_mut() {
                change(last);
            }
        };
        let offered = match (wanted.gateway, pool.data.get(label::GATEWAY)) {
            (None, Some(text)) => Some(text.parse::<IpNet>().map_err(|_| {
                EngineError::invalid(format!(
                    "failed to parse gateway address ({text:.64}) returned by ipam driver"
                ))
            })?),
            _ => None,
        };
        if let Some(offered) = offered {
            last(record, &mut |pool| pool.gateway = Some(offered));
        } else if wanted.gateway.is_some() || !skip_gateway {
            let request =
                AddressRequest { pool: pool.id.clone(), address: wanted.gateway, options: gateway_options() };
            let asked = ipam.driver.request_address(request);
            let given = within(self.budgets.make, "IpamDriver.RequestAddress", asked).await;
            let given = given.map_err(|error| {
                let which = wanted.gateway.map_or_else(|| "<nil>".to_owned(), |ip| ip.to_string());
                EngineError::from(error).context(format!("failed to allocate gateway ({which})"))
            })?;
            last(record, &mut |pool| {
                pool.gateway = Some(given.address);
                pool.gateway_held = true;
            });
            self.note_pools(record, ipam).await?;
        }
        for (name, address) in &wanted.aux {
            if !pool.pool.contains(address) {
                return Err(EngineError::new(
                    ErrorKind::Forbidden,
                    format!(
                        "auxiliary address: ({name:.64}:{address}) must belong to the master pool: {}",
                        pool.pool
                    ),
                ));
            }
            let request =
                AddressRequest { pool: pool.id.clone(), address: Some(*address), options: BTreeMap::new() };
            let asked = ipam.driver.request_address(request);
            let length = pool.pool.prefix_len();
            let (net, held) = match within(self.budgets.make, "IpamDriver.RequestAddress", asked).await {
                Ok(given) => (given.address, true),
                // It is in the subnet, but not in the part from which containers get addresses.
                Err(error) if error.kind == DriverKind::InvalidArgument => {
                    (IpNet::new(*address, length).unwrap_or_else(|_| IpNet::from(*address)), false)
                }
                Err(error) => {
                    let what = format!("failed to allocate secondary ip address ({name:.64}:{address})");
                    return Err(EngineError::from(error).context(what));
                }
            };
            last(record, &mut |pool| {
                pool.aux.insert(name.clone(), net);
                if held {
                    pool.aux_held.push(name.clone());
                }
            });
            self.note_pools(record, ipam).await?;
        }
        Ok(())
    }

    /// Gives all of it back, and takes what is given out of the record. Fails only if the driver does not answer; then
    /// it is to be called again with what is left.
    pub(super) async fn give_pools(
        &self,
        record: &mut NetworkRecord,
        ipam: &Ipam,
    ) -> Result<(), DriverError> {
        let whole = record.clone();
        let name = &whole.name;
        let refused = |what: &str, error: &DriverError| {
            tracing::warn!(network = %name, what, %error, "the IPAM driver does not take it back");
        };
        while let Some(pool) = record.pools.first_mut() {
            // After a crash it may be somebody else's by now.
            let own = !pool.id.is_empty() && !self.book.read().pool_is_of_another(&whole, &pool.id);
            while let Some(address) = pool.held().first().copied().filter(|_| own) {
                let asked = ipam.driver.release_address(&pool.id, address);
                match within(self.budgets.give, "IpamDriver.ReleaseAddress", asked).await {
                    Err(error) if undecided(&error) => return Err(error),
                    Err(error) => refused("an address", &error),
                    Ok(()) => {}
                }
                pool.forget(address);
            }
            if own {
                let asked = ipam.driver.release_pool(&pool.id);
                match within(self.budgets.give, "IpamDriver.ReleasePool", asked).await {
                    Err(error) if undecided(&error) => return Err(error),
                    Err(error) => refused("a pool", &error),
                    Ok(()) => {}
                }
            }
            record.pools.remove(0);
        }
        Ok(())
    }

    /// Requests again what a network holds, from a driver that forgot it.
    pub(super) async fn replay_pools(
        &self,
        record: &NetworkRecord,
        ipam: &Ipam,
    ) -> Result<Vec<PoolRecord>, EngineError> {
        let mut pools = record.pools.clone();
        for held in pools.iter_mut().filter(|pool| !pool.id.is_empty()) {
            let request = PoolRequest {
                address_space: held.address_space.clone(),
                pool: held.pool,
                sub_pool: held.range,
                options: record.ipam.options.clone(),
                v6: held.is_v6(),
                avoid: Vec::new(),
            };
            let asked = ipam.driver.request_pool(request);
            match within(self.budgets.make, "IpamDriver.RequestPool", asked).await {
                Ok(pool) => held.id = pool.id,
                Err(error) if undecided(&error) || ipam.builtin => return Err(error.into()),
                // A plugin that did not end with the engine holds it still. If it gave it to others, it will say so.
                Err(error) => {
                    tracing::debug!(network = %record.name, pool = %held.id, %error, "not given again");
                }
            }
            let gateway = held.gateway.filter(|_| held.gateway_held).map(|net| (net, gateway_options()));
            let aux = held.aux_held.iter().filter_map(|name| held.aux.get(name));
            let again = gateway.into_iter().chain(aux.map(|net| (*net, BTreeMap::new())));
            for (net, options) in again {
                let request = AddressRequest { pool: held.id.clone(), address: Some(net.addr()), options };
                let asked = ipam.driver.request_address(request);
                match within(self.budgets.make, "IpamDriver.RequestAddress", asked).await {
                    Err(error) if undecided(&error) => return Err(error.into()),
                    // Still held from before.
                    Err(error) => {
                        tracing::debug!(network = %record.name, address = %net, %error, "not given again")
                    }
                    Ok(_) => {}
                }
            }
        }
        Ok(pools)
    }
}

fn overlap(a: &IpNet, b: &IpNet) -> bool {
    a.contains(&b.network()) || b.contains(&a.network())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(v4: bool, v6: bool, subnets: &[&str]) -> NetworkRecord {
        let mut record = NetworkRecord { enable_ipv4: v4, enable_ipv6: v6, ..NetworkRecord::default() };
        record.ipam.config = subnets
            .iter()
            .map(|subnet| SubnetSpec { subnet: (*subnet).to_owned(), ..SubnetSpec::default() })
            .collect();
        record
    }

    #[test]
    fn one_pool_for_each_family_that_has_none() {
        let pools = |record: &NetworkRecord| {
            wanted(record).iter().map(|wanted| (wanted.v6, wanted.pool)).collect::<Vec<_>>()
        };
        let net = |text: &str| Some(text.parse().unwrap());
        assert_eq!(pools(&network(true, false, &[])), [(false, None)]);
        assert_eq!(pools(&network(true, true, &[])), [(false, None), (true, None)]);
        assert_eq!(
            pools(&network(true, true, &["10.0.0.0/24", "10.0.1.0/24"])),
            [(false, net("10.0.0.0/24")), (false, net("10.0.1.0/24")), (true, None)]
        );
        assert_eq!(pools(&network(false, true, &["fd00::/64", "10.0.0.0/24"])), [(true, net("fd00::/64"))]);
        assert_eq!(pools(&network(true, false, &["fd00::/64"])), [(false, None)]);
    }

    #[test]
    fn overlaps() {
        let net = |text: &str| text.parse::<IpNet>().unwrap();
        assert!(overlap(&net("10.0.0.0/8"), &net("10.2.0.0/16")));
        assert!(overlap(&net("10.2.0.0/16"), &net("10.0.0.0/8")));
        assert!(!overlap(&net("10.2.0.0/16"), &net("10.3.0.0/16")));
        assert!(!overlap(&net("10.2.0.0/16"), &net("fd00::/8")));
    }
}
