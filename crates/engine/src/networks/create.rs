//! Making networks.

use std::{collections::BTreeMap, sync::Arc};

use pintle_contract::{
    Scope, Value,
    network::{CreateNetwork, GatewayCheck, NetworkCapabilities, Options, label},
};

use super::{
    Created, Inner, NetworkSpec, Networks,
    calls::{undecided, within},
    check,
    drivers::Driver,
    pools,
    record::{DEFAULT_IPAM, NetworkRecord, State, is_predefined},
};
use crate::{EngineError, ErrorKind, containers::new_id};

impl Networks {
    /// Makes a network.
    pub async fn create(&self, spec: NetworkSpec) -> Result<Created, EngineError> {
        if is_predefined(&spec.name) {
            return Err(EngineError::new(
                ErrorKind::Forbidden,
                format!("operation is not permitted on predefined {} network ", spec.name),
            ));
        }
        if matches!(spec.driver.as_str(), "host" | "null") && !spec.config_only {
            return Err(EngineError::new(
                ErrorKind::Forbidden,
                format!("only one instance of \"{}\" network is allowed", spec.driver),
            ));
        }
        // A client that hangs up does not leave a network half made.
        let inner = Arc::clone(&self.inner);
        let made = self.inner.tasks.spawn(async move {
            let record = inner.record_of(&spec)?;
            inner.create(record, spec.scope == "local").await
        });
        made.await.map_err(|error| EngineError::internal(error.to_string()))?
    }
}

impl Inner {
    fn record_of(&self, spec: &NetworkSpec) -> Result<NetworkRecord, EngineError> {
        let driver = if spec.driver.is_empty() { super::record::BRIDGE } else { &spec.driver };
        let mut record = check::network(spec, new_id(), self.config.default_options.get(driver))?;
        if !spec.config_from.is_empty() {
            let facts = self.book.read();
            let source = facts
                .networks()
                .find(|network| network.name == spec.config_from && network.config_only)
                .filter(|network| network.state == State::Ready)
                .ok_or_else(|| {
                    EngineError::not_found(format!(
                        "configuration network \"{}\" does not exist",
                        spec.config_from
                    ))
                })?;
            record.enable_ipv4 = source.enable_ipv4;
            record.enable_ipv6 = source.enable_ipv6;
            record.labels = source.labels.clone();
            record.options = source.options.clone();
            record.ipam = source.ipam.clone();
        }
        Ok(record)
    }

    /// Makes the network that a record describes, for this host alone if it is to be `local`. Nothing of it stays if this fails, but what a plugin that does not
    /// answer may hold, which it is asked to give back until it answers.
    pub(super) async fn create(
        self: &Arc<Self>,
        record: NetworkRecord,
        local: bool,
    ) -> Result<Created, EngineError> {
        let id = record.id.clone();
        if record.config_only {
            self.book.add_network(record.clone())?.durable().await?;
            self.publish("create", &record, &[]);
            return Ok(Created { id, warning: String::new() });
        }
        let (driver, can) = self.driver(&record.driver).await?;
        if local && can.scope == Scope::Global {
            return Err(EngineError::new(
                ErrorKind::Forbidden,
                format!("cannot downgrade network scope for {} networks", record.driver),
            ));
        }
        let mut record = NetworkRecord { global: can.scope == Scope::Global, ..record };
        // By their full names, by which plugins are known when they come up.
        record.driver.clone_from(&driver.name);
        if let Some(ipam) = self.ipam_of(&record, can).await?.filter(|ipam| !ipam.builtin) {
            record.ipam.driver = ipam.name;
        }
        let making = NetworkRecord { state: State::Creating, driver_holds: true, ..record.clone() };
        let written = self.book.add_network(making)?;
        // The leases first: the plugins cannot be disabled while they make the network.
        self.hold(&record);
        let made = async {
            written.durable().await?;
            failpoint!("engine.network.create.after_intent");
            self.make(&mut record, &driver, can).await
        }
        .await;
        match made {
            Ok(()) => {
                record.state = State::Ready;
                record.driver_holds = true;
                if let Err(error) = self.book.put_network(record.clone()).durable().await {
                    self.undo_later(NetworkRecord { state: State::Removing, ..record });
                    return Err(error);
                }
                let ipam = self.ipam_of(&record, can).await.ok().flatten();
                self.standings.told(&id, &driver, ipam.as_ref());
                self.publish("create", &record, &[]);
                Ok(Created { id, warning: String::new() })
            }
            Err(error) => {
                if record.driver_holds || !record.pools.is_empty() {
                    self.undo_later(NetworkRecord { state: State::Removing, ..record });
                } else {
                    self.forget(&record);
                }
                Err(error)
            }
        }
    }

    /// Asks the drivers for a network. Afterwards the record says what they hold.
    pub(super) async fn make(
        &self,
        record: &mut NetworkRecord,
        driver: &Driver,
        can: NetworkCapabilities,
    ) -> Result<(), EngineError> {
        record.state = State::Creating;
        record.driver_holds = false;
        let options = options(record);
        let gateways = if can.gateway_check {
            let asked = driver.driver.gateway_check(&options);
            within(self.budgets.make, "NetworkDriver.GwAllocCheck", asked).await?
        } else {
            GatewayCheck::default()
        };
        let ipam = self.ipam_of(record, can).await?;
        match &ipam {
            Some(ipam) => self.take_pools(record, ipam, gateways).await?,
            None => record.pools = pools::as_given(record),
        }
        failpoint!("engine.network.create.after_pools");
        let request = create_request(record, options);
        let asked = driver.driver.create_network(request);
        match within(self.budgets.make, "NetworkDriver.CreateNetwork", asked).await {
            Ok(()) => {
                record.driver_holds = true;
                failpoint!("engine.network.create.after_driver");
                Ok(())
            }
            Err(error) => {
                // What is linked in knows what it did.
                if undecided(&error) && !driver.builtin {
                    record.driver_holds = true;
                    return Err(error.into());
                }
                match &ipam {
                    Some(ipam) => {
                        if let Err(error) = self.give_pools(record, ipam).await {
                            tracing::warn!(network = %record.name, %error, "its pools stay taken for now");
                        }
                    }
                    None => record.pools.clear(),
                }
                Err(error.into())
            }
        }
    }

    /// Who gives addresses in a network; `None` if its driver does, or nobody.
    pub(super) async fn ipam_of(
        &self,
        record: &NetworkRecord,
        can: NetworkCapabilities,
    ) -> Result<Option<super::drivers::Ipam>, EngineError> {
        // Clients write the default's name where nobody said any.
        let unnamed = record.ipam_driver() == DEFAULT_IPAM;
        let none = record.ipam_driver() == "null" || (can.own_addresses && unnamed);
        if none { Ok(None) } else { self.ipam(record.ipam_driver()).await.map(|(ipam, _)| Some(ipam)) }
    }

    /// Takes the leases of a network.
    pub(super) fn hold(&self, record: &NetworkRecord) {
        self.drivers.hold(&record.driver, &record.id);
        self.drivers.hold(record.ipam_driver(), &record.id);
    }

    /// Drops the record and the leases of a network of which nothing is held.
    pub(super) fn forget(&self, record: &NetworkRecord) {
        // Whether that is on disk yet matters to nobody: were it lost, the next engine would undo it once more.
        drop(self.book.delete_network(&record.id));
        self.standings.forget(&record.id);
        self.drivers.release(&record.driver, &record.id);
        self.drivers.release(record.ipam_driver(), &record.id);
    }

    /// Tells the world what happened to a network.
    pub(super) fn publish(&self, action: &str, record: &NetworkRecord, more: &[(&str, &str)]) {
        use crate::events::{Event, Kind};
        let mut attributes = BTreeMap::from([
            ("name".to_owned(), record.name.clone()),
            ("type".to_owned(), record.driver.clone()),
        ]);
        attributes.extend(more.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
        self.events.publish(Event::new(Kind::Network, action, record.id.clone(), attributes));
    }
}

use pintle_store::failpoint;

/// What a network driver is told of a network.
pub(super) fn options(record: &NetworkRecord) -> Options {
    let strings = |map: &BTreeMap<String, String>| {
        Value::Map(map.iter().map(|(key, value)| (key.clone(), Value::from(value.as_str()))).collect())
    };
    let mut options = Options::from([
        (label::GENERIC.to_owned(), strings(&record.options)),
        (label::ENABLE_IPV4.to_owned(), Value::Bool(record.enable_ipv4)),
        (label::ENABLE_IPV6.to_owned(), Value::Bool(record.enable_ipv6)),
        (label::NETWORK_NAME.to_owned(), Value::from(record.name.as_str())),
    ]);
    if record.internal {
        options.insert(label::INTERNAL.to_owned(), Value::Bool(true));
    }
    if !record.labels.is_empty() {
        options.insert(label::LABELS.to_owned(), strings(&record.labels));
    }
    options
}

pub(super) fn create_request(record: &NetworkRecord, options: Options) -> CreateNetwork {
    CreateNetwork { network: record.id.clone(), options, ipv4: record.data(false), ipv6: record.data(true) }
}
