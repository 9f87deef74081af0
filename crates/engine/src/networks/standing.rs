//! Whether the drivers of a network know of it. What is linked in knows nothing after the engine's start, a plugin may
//! know nothing after its own.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError},
};

use pintle_contract::{
    ipam::{AddressRequest, IpamCapabilities},
    network::NetworkCapabilities,
};
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

use super::{
    Inner,
    calls::{undecided, within},
    create,
    drivers::{Driver, Ipam},
    record::{EndpointRecord, NetworkRecord, State},
};
use crate::{EngineError, ErrorKind};

/// Which life of each driver knows of a network.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Told {
    driver: Option<u64>,
    ipam: Option<u64>,
}

#[derive(Default)]
struct Standing {
    /// Held alone while drivers are told, and shared while addresses are given back: whoever is told of an address that
    /// was just given back would take it again. Calls from within these calls wait for it no longer than for any driver.
    turn: Arc<RwLock<()>>,
    told: std::sync::Mutex<Told>,
}

impl Standing {
    fn told(&self) -> std::sync::MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Which lives of drivers know of which network.
#[derive(Default)]
pub(super) struct Standings {
    all: std::sync::Mutex<HashMap<String, Arc<Standing>>>,
}

impl Standings {
    fn of(&self, network: &str) -> Arc<Standing> {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(all.entry(network.to_owned()).or_default())
    }

    pub(super) fn forget(&self, network: &str) {
        self.all.lock().unwrap_or_else(PoisonError::into_inner).remove(network);
    }

    /// Notes that these drivers know of the network.
    pub(super) fn told(&self, network: &str, driver: &Driver, ipam: Option<&Ipam>) {
        *self.of(network).told() = Told { driver: Some(driver.life), ipam: ipam.map(|ipam| ipam.life) };
    }
}

/// A network that can be used now.
pub(super) struct Ready {
    pub(super) record: Arc<NetworkRecord>,
    pub(super) driver: Driver,
    pub(super) can: NetworkCapabilities,
    /// `None` if nobody is asked for addresses.
    pub(super) ipam: Option<(Ipam, IpamCapabilities)>,
}

impl Inner {
    /// A network whose drivers know of it; tells them if they do not.
    pub(super) async fn ready(&self, network: &str) -> Result<Ready, EngineError> {
        let missing = || EngineError::not_found(format!("network {network} not found"));
        let record = self.book.network(network).ok_or_else(missing)?;
        let (driver, can) = self.driver(&record.driver).await?;
        let ipam = match self.ipam_of(&record, can).await? {
            Some(_) => Some(self.ipam(record.ipam_driver()).await?),
            None => None,
        };
        let wanted = Told { driver: Some(driver.life), ipam: ipam.as_ref().map(|(ipam, _)| ipam.life) };
        let standing = self.standings.of(network);
        let told = || *standing.told() == wanted;
        if !told() {
            let _turn = self.turn_of(network, &record.name).await?;
            if !told() {
                let again = self.tell_again(network, &driver, ipam.as_ref(), &standing).await;
                self.book.set_trouble(network, again.as_ref().err().map(|error| error.message.clone()));
                again?;
                *standing.told() = wanted;
            }
        }
        let record = self.book.network(network).ok_or_else(missing)?;
        Ok(Ready { record, driver, can, ipam })
    }

    /// Waits until no drivers are told of the network, and keeps others from telling them.
    pub(super) async fn turn_of(
        &self,
        network: &str,
        name: &str,
    ) -> Result<OwnedRwLockWriteGuard<()>, EngineError> {
        let turn = Arc::clone(&self.standings.of(network).turn).write_owned();
        tokio::time::timeout(self.budgets.make, turn).await.map_err(|_elapsed| busy(name))
    }

    /// The same, beside others who give addresses back.
    pub(super) async fn share_of(
        &self,
        network: &str,
        name: &str,
    ) -> Result<OwnedRwLockReadGuard<()>, EngineError> {
        let turn = Arc::clone(&self.standings.of(network).turn).read_owned();
        tokio::time::timeout(self.budgets.make, turn).await.map_err(|_elapsed| busy(name))
    }

    async fn tell_again(
        &self,
        network: &str,
        driver: &Driver,
        ipam: Option<&(Ipam, IpamCapabilities)>,
        standing: &Standing,
    ) -> Result<(), EngineError> {
        let Some(mut record) = self.book.network(network).map(|record| (*record).clone()) else {
            return Ok(());
        };
        if record.state == State::Removing {
            return Ok(());
        }
        if !record.driver_holds && driver.builtin {
            // The default bridge, which is there from the start and made when it can be.
            let can = self.driver(&record.driver).await?.1;
            let made = self.make(&mut record, driver, can).await;
            record.state = State::Ready;
            drop(self.book.put_network(record));
            return made;
        }
        let forgotten = |(ipam, needs): &&(Ipam, IpamCapabilities)| {
            needs.requires_request_replay && standing.told().ipam != Some(ipam.life)
        };
        if let Some((ipam, needs)) = ipam.filter(forgotten) {
            let pools = self.replay_pools(&record, ipam).await.map_err(|error| {
                error.context(format!("the addresses of network {} could not be taken again", record.name))
            })?;
            if pools != record.pools {
                record.pools = pools;
                drop(self.book.put_network(record.clone()));
            }
            self.replay_addresses(&record, ipam, *needs).await?;
            standing.told().ipam = Some(ipam.life);
        }
        if driver.builtin {
            let request = create::create_request(&record, create::options(&record));
            let asked = driver.driver.create_network(request);
            within(self.budgets.make, "NetworkDriver.CreateNetwork", asked).await.map_err(|error| {
                EngineError::from(error).context(format!("network {} could not be set up", record.name))
            })?;
        }
        Ok(())
    }

    async fn replay_addresses(
        &self,
        network: &NetworkRecord,
        ipam: &Ipam,
        needs: IpamCapabilities,
    ) -> Result<(), EngineError> {
        let endpoints: Vec<_> = {
            let facts = self.book.read();
            // What is on its way back is not taken once more.
            facts.in_network(&network.id).filter(|endpoint| !endpoint.life.leaving).cloned().collect()
        };
        for endpoint in endpoints {
            for (address, pool) in
                [(endpoint.address, &endpoint.pool), (endpoint.address_v6, &endpoint.pool_v6)]
            {
                let Some(address) = address.filter(|_| !pool.is_empty()) else { continue };
                let request = AddressRequest {
                    pool: pool.clone(),
                    address: Some(address.addr()),
                    options: address_options(&endpoint, needs),
                };
                let asked = ipam.driver.request_address(request);
                match within(self.budgets.make, "IpamDriver.RequestAddress", asked).await {
                    Err(error) if undecided(&error) => return Err(error.into()),
                    // Still held from before.
                    Err(error) => {
                        tracing::debug!(endpoint = %endpoint.id, %address, %error, "not given again");
                    }
                    Ok(_) => {}
                }
            }
        }
        Ok(())
    }
}

fn busy(name: &str) -> EngineError {
    let text = format!("network {name} is busy: its drivers have not answered an earlier call yet");
    EngineError::new(ErrorKind::Unavailable, text)
}

/// What an IPAM driver is told of the endpoint that an address is for.
pub(super) fn address_options(
    endpoint: &EndpointRecord,
    needs: IpamCapabilities,
) -> std::collections::BTreeMap<String, String> {
    use pintle_contract::ipam::label;
    let mut options = std::collections::BTreeMap::from([
        (label::ENDPOINT_NAME.to_owned(), endpoint.name.clone()),
        (label::ENDPOINT_ID.to_owned(), endpoint.id.clone()),
    ]);
    if needs.requires_mac_address {
        options.insert(label::MAC_ADDRESS.to_owned(), endpoint.mac.clone());
    }
    options
}
