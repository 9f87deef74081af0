//! Giving back what an endpoint holds, in Docker's order, and what is owed to drivers that do not answer.
//!
//! What is owed is an endpoint on its way back: it is written down, outlives the engine, and is tried again until its
//! drivers answer. Until then its addresses count as taken.

use std::{path::Path, sync::Arc};

use ipnet::IpNet;
use pintle_contract::{DriverError, ipam::AddressRequest};
use pintle_store::failpoint;
use tokio::time::Instant;

use super::{
    Inner,
    attach::{id_of, note, own_mac},
    calls::{outcome, undecided, within},
    check,
    life::{Event, Mark, Outcome, Thing},
    record::EndpointRecord,
    standing::address_options,
};
use crate::EngineError;

/// Where the interface of an endpoint is that is taken away.
#[derive(Debug, Clone, Copy)]
pub(super) enum Home<'a> {
    /// In a sandbox that goes on without it.
    Stays(&'a Path),
    /// In a sandbox that is removed next.
    Ends(&'a Path),
    /// In one that is gone already.
    Gone,
}

impl Inner {
    /// Gives back all that an endpoint holds. Fails if a driver does not answer; then the endpoint says what is left.
    pub(super) async fn lower(
        &self,
        endpoint: &mut EndpointRecord,
        sandbox: Home<'_>,
    ) -> Result<(), EngineError> {
        note(endpoint, Event::Leave);
        let Some(network) = self.book.network(&endpoint.network) else {
            // It went with its driver.
            endpoint.life = super::life::Life::gone();
            return Ok(());
        };
        let id = id_of(endpoint);
        while let Some(thing) = endpoint.life.next_back() {
            if matches!(thing, Thing::Address4 | Thing::Address6) {
                break;
            }
            self.present(&network.driver, self.drivers.builtin(&network.driver))?;
            let (driver, _) = self.driver(&network.driver).await?;
            let (what, result) = match thing {
                Thing::Outside => {
                    let asked = driver.driver.revoke_external_connectivity(&id);
                    let what = "NetworkDriver.RevokeExternalConnectivity";
                    (what, within(self.budgets.give, what, asked).await)
                }
                Thing::Sandbox => {
                    let asked = match sandbox {
                        Home::Ends(_) => driver.driver.leave_ending(&id),
                        Home::Stays(_) | Home::Gone => driver.driver.leave(&id),
                    };
                    let left = within(self.budgets.give, "NetworkDriver.Leave", asked).await;
                    self.withdraw(endpoint, sandbox).await;
                    ("NetworkDriver.Leave", left)
                }
                _ => {
                    let asked = driver.driver.delete_endpoint(&id);
                    let what = "NetworkDriver.DeleteEndpoint";
                    (what, within(self.budgets.give, what, asked).await)
                }
            };
            failpoint!("engine.network.disconnect.after_call");
            settled(endpoint, thing, what, result)?;
        }
        if endpoint.life.next_back().is_none() {
            return Ok(());
        }
        let _turn = self.share_of(&network.id, &network.name).await?;
        self.give_addresses(endpoint, network.ipam_driver()).await
    }

    async fn give_addresses(&self, endpoint: &mut EndpointRecord, ipam: &str) -> Result<(), EngineError> {
        while let Some(thing) = endpoint.life.next_back() {
            let (address, pool) = match thing {
                Thing::Address6 => (endpoint.address_v6, endpoint.pool_v6.clone()),
                _ => (endpoint.address, endpoint.pool.clone()),
            };
            let Some(address) = address.filter(|_| !pool.is_empty()) else {
                // The engine died before it learned which address that was, or none was asked for yet.
                self.ask_back(endpoint, thing).await?;
                note(endpoint, Event::Gave(thing, Outcome::Done));
                continue;
            };
            // After a crash it may be somebody else's by now.
            if self.book.read().address_is_of_another(endpoint, address.addr()) {
                note(endpoint, Event::Gave(thing, Outcome::Done));
                continue;
            }
            self.present(ipam, self.drivers.builtin_ipam(ipam))?;
            let (ipam, _) = self.ipam(ipam).await?;
            let asked = ipam.driver.release_address(&pool, IpNet::addr(&address));
            let what = "IpamDriver.ReleaseAddress";
            let given = within(self.budgets.give, what, asked).await;
            failpoint!("engine.network.disconnect.after_release");
            settled(endpoint, thing, what, given)?;
        }
        Ok(())
    }

    /// Gives back an address that a plugin may have given without the engine's knowing which: asks for it once more,
    /// and gives back what is answered. From a plugin that does not know endpoints this changes nothing.
    async fn ask_back(&self, endpoint: &EndpointRecord, thing: Thing) -> Result<(), EngineError> {
        let Some(network) = self.book.network(&endpoint.network) else { return Ok(()) };
        let six = thing == Thing::Address6;
        let Some(pool) = network.pools.iter().find(|pool| pool.is_v6() == six && !pool.id.is_empty()) else {
            return Ok(());
        };
        let name = network.ipam_driver();
        let builtin = self.drivers.builtin_ipam(name);
        if builtin || endpoint.life.mark(thing) != Mark::Maybe {
            return Ok(());
        }
        self.present(name, builtin)?;
        let (ipam, needs) = self.ipam(name).await?;
        let mut asks = endpoint.clone();
        if needs.requires_mac_address && asks.mac.is_empty() {
            asks.mac = match asks.spec.mac_address.as_str() {
                "" => own_mac(&asks.id).to_string(),
                own => own.to_owned(),
            };
        }
        let (v4, v6) = check::static_addresses(&endpoint.spec);
        let fixed = if six { v6 } else { v4 };
        let address = match fixed {
            Some(fixed) if self.book.read().address_is_of_another(endpoint, fixed) => return Ok(()),
            Some(fixed) => fixed,
            None => {
                let request = AddressRequest {
                    pool: pool.id.clone(),
                    address: None,
                    options: address_options(&asks, needs),
                };
                let asked = ipam.driver.request_address(request);
                match within(self.budgets.make, "IpamDriver.RequestAddress", asked).await {
                    Ok(given) => given.address.addr(),
                    Err(error) if undecided(&error) => return Err(error.into()),
                    // It has none for us, and so gave none.
                    Err(_) => return Ok(()),
                }
            }
        };
        let asked = ipam.driver.release_address(&pool.id, address);
        match within(self.budgets.give, "IpamDriver.ReleaseAddress", asked).await {
            Err(error) if undecided(&error) => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Before plugins had their first chance there is no use in waiting for one.
    fn present(&self, name: &str, builtin: bool) -> Result<(), EngineError> {
        if builtin || *self.plugins_up.borrow() {
            return Ok(());
        }
        Err(EngineError::new(crate::ErrorKind::Unavailable, format!("plugin \"{name}\" is not up yet")))
    }

    async fn withdraw(&self, endpoint: &EndpointRecord, sandbox: Home<'_>) {
        let sandbox = match sandbox {
            Home::Stays(sandbox) => sandbox,
            // What was made in it goes with it.
            Home::Ends(sandbox) if !endpoint.made_inside => sandbox,
            Home::Ends(_) | Home::Gone => return,
        };
        if endpoint.interface.is_empty() || endpoint.settled {
            return;
        }
        let (name, source) = (&endpoint.interface, &endpoint.source);
        if let Err(error) = self.kernel.withdraw(sandbox, name, source, endpoint.made_inside).await {
            tracing::warn!(endpoint = %endpoint.id, interface = %name, %error, "stays in its sandbox");
        }
    }

    /// Takes an endpoint away: at once if its drivers answer soon, else when they do.
    pub(super) async fn take_away(self: &Arc<Self>, endpoint: Arc<EndpointRecord>, sandbox: Home<'_>) {
        self.take_away_until(endpoint, sandbox, Instant::now() + self.budgets.end).await;
    }

    /// The same; soon is until then.
    pub(super) async fn take_away_until(
        self: &Arc<Self>,
        endpoint: Arc<EndpointRecord>,
        sandbox: Home<'_>,
        deadline: Instant,
    ) {
        let mut leaving = (*endpoint).clone();
        note(&mut leaving, Event::Leave);
        self.book.show_endpoint(leaving.clone());
        let lowered = tokio::time::timeout_at(deadline, self.lower(&mut leaving, sandbox)).await;
        let error = match lowered {
            // Whether that is on disk yet matters to nobody: were it lost, it would be given back once more.
            Ok(Ok(())) => return drop(self.book.delete_endpoint(&leaving.id)),
            Ok(Err(error)) => error,
            Err(_elapsed) => {
                // A driver is still at it. Its interface waits for it no longer than the container's end does.
                if leaving.life.mark(Thing::Sandbox) != Mark::No {
                    self.withdraw(&leaving, sandbox).await;
                }
                EngineError::new(crate::ErrorKind::Unavailable, "it takes its time")
            }
        };
        tracing::warn!(
            container = %leaving.container, endpoint = %leaving.id, %error,
            "its place in a network is given back when the driver answers"
        );
        self.owe(leaving).await;
    }

    /// Writes down what is owed, and tries again in the background.
    pub(super) async fn owe(self: &Arc<Self>, endpoint: EndpointRecord) {
        let id = endpoint.id.clone();
        if let Err(error) = self.book.put_endpoints(vec![endpoint]).durable().await {
            tracing::error!(endpoint = %id, %error, "could not note what is still to be given back");
        }
        self.settle_later(&id);
    }

    /// Tries to give back what is owed, until its drivers answer. They have just been asked.
    pub(super) fn settle_later(self: &Arc<Self>, id: &str) {
        let (inner, id) = (Arc::clone(self), id.to_owned());
        self.tasks.spawn(async move {
            if inner.pause(0).await {
                inner.keep_settling(&id, 1).await;
            }
        });
    }

    /// The same, at once: nobody has asked them yet.
    pub(super) fn settle_now(self: &Arc<Self>, id: &str) {
        let (inner, id) = (Arc::clone(self), id.to_owned());
        self.tasks.spawn(async move { inner.keep_settling(&id, 0).await });
    }

    async fn keep_settling(&self, id: &str, mut attempt: usize) {
        while self.settle(id).await.is_err() && self.pause(attempt).await {
            attempt += 1;
        }
    }

    /// One attempt. One at a time for each endpoint.
    async fn settle(&self, id: &str) -> Result<(), EngineError> {
        let Some(_turn) = self.settling.take(id) else { return Ok(()) };
        let Some(mut endpoint) = self.book.read().endpoint(id).map(|endpoint| (**endpoint).clone()) else {
            return Ok(());
        };
        if !endpoint.life.leaving {
            return Ok(());
        }
        let result = self.lower(&mut endpoint, Home::Gone).await;
        match &result {
            Ok(()) => drop(self.book.delete_endpoint(id)),
            Err(error) => {
                tracing::debug!(endpoint = id, %error, "not given back yet");
                drop(self.book.put_endpoints(vec![endpoint]));
            }
        }
        result
    }

    /// Before a container joins a network anew: gives back what it still owes there, if the drivers answer. They
    /// might refuse the same fixed address otherwise.
    pub(super) async fn pay_before(&self, endpoint: &EndpointRecord) {
        let owed: Vec<String> = self
            .book
            .read()
            .of_container(&endpoint.container)
            .filter(|other| {
                other.life.leaving && other.network == endpoint.network && other.id != endpoint.id
            })
            .map(|other| other.id.clone())
            .collect();
        for id in owed {
            let _ = self.settle(&id).await;
        }
    }

    /// Before a network goes: gives back all that is owed in it.
    pub(super) async fn settle_network_debts(&self, network: &str) -> Result<(), EngineError> {
        let owed: Vec<String> =
            self.book.read().in_network(network).map(|endpoint| endpoint.id.clone()).collect();
        for id in owed {
            self.settle(&id).await?;
        }
        Ok(())
    }
}

/// Notes what giving a thing back came to. An answer of any kind settles it.
fn settled(
    endpoint: &mut EndpointRecord,
    thing: Thing,
    what: &str,
    result: Result<(), DriverError>,
) -> Result<(), EngineError> {
    let came_to = outcome(&result);
    note(endpoint, Event::Gave(thing, came_to));
    match result {
        Err(error) if undecided(&error) => Err(error.into()),
        Err(error) => {
            tracing::warn!(endpoint = %endpoint.id, what, %error, "the driver does not take it back");
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}
