//! What is known of networks and endpoints, in memory, and how it gets to the disk.
//!
//! Its lock is held for moments only, never across a call of anything. Records are handed to the journal under it,
//! so that they get to the disk in the order in which they changed here.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use pintle_store::Table;

use super::record::{ENDPOINTS, EndpointRecord, NETWORKS, NetworkRecord, State};
use crate::{Changes, EngineError, Journal, Pending};

/// The facts.
#[derive(Default)]
pub(super) struct Facts {
    networks: BTreeMap<String, Arc<NetworkRecord>>,
    /// Names that are taken, those of networks that are being made included.
    names: HashMap<String, String>,
    /// Why a network cannot be used now.
    trouble: HashMap<String, String>,
    endpoints: BTreeMap<String, Arc<EndpointRecord>>,
    by_container: HashMap<String, BTreeSet<String>>,
    by_network: HashMap<String, BTreeSet<String>>,
    /// Which endpoints answer to a name, by network and lower-case name.
    called: HashMap<String, HashMap<String, BTreeSet<String>>>,
    /// Whose an address is, by network.
    at: HashMap<String, HashMap<IpAddr, String>>,
}

/// The facts, and their tables.
pub(super) struct Book {
    journal: Journal,
    networks: Table<NetworkRecord>,
    endpoints: Table<EndpointRecord>,
    facts: RwLock<Facts>,
}

impl Facts {
    pub(super) fn network(&self, id: &str) -> Option<&Arc<NetworkRecord>> {
        self.networks.get(id)
    }

    /// Every network, half-made and half-removed ones included.
    pub(super) fn networks(&self) -> impl Iterator<Item = &Arc<NetworkRecord>> {
        self.networks.values()
    }

    /// By full id, then by name, then by a prefix of the id, as Docker does. Only networks that exist.
    pub(super) fn find(&self, wanted: &str) -> Result<&Arc<NetworkRecord>, EngineError> {
        let exists = |record: &&Arc<NetworkRecord>| record.state == State::Ready;
        if let Some(record) = self.networks.get(wanted).filter(exists) {
            return Ok(record);
        }
        if let Some(record) = self.names.get(wanted).and_then(|id| self.networks.get(id)).filter(exists) {
            return Ok(record);
        }
        let prefixed = self.networks.range(wanted.to_owned()..);
        let mut prefixed =
            prefixed.take_while(|(id, _)| id.starts_with(wanted)).map(|(_, record)| record).filter(exists);
        match (prefixed.next().filter(|_| !wanted.is_empty()), prefixed.count()) {
            (Some(record), 0) => Ok(record),
            (Some(_), more) => Err(EngineError::invalid(format!(
                "network {wanted} is ambiguous ({} matches found based on ID prefix)",
                more + 1
            ))),
            (None, _) => Err(EngineError::not_found(format!("network {wanted} not found"))),
        }
    }

    /// Whether a network other than this one holds a pool.
    pub(super) fn pool_is_of_another(&self, network: &NetworkRecord, pool: &str) -> bool {
        self.networks.values().any(|other| {
            other.id != network.id
                // Each driver has its own names for what it gives.
                && other.ipam_driver() == network.ipam_driver()
                && other.state != State::Removing
                && other.pools.iter().any(|held| held.id == pool)
        })
    }

    /// Whether an endpoint other than this one holds an address of a network.
    pub(super) fn address_is_of_another(&self, endpoint: &EndpointRecord, address: IpAddr) -> bool {
        self.in_network(&endpoint.network).any(|other| {
            other.id != endpoint.id
                && !other.life.leaving
                && [other.address, other.address_v6].into_iter().flatten().any(|net| net.addr() == address)
        })
    }

    pub(super) fn trouble(&self, network: &str) -> Option<&String> {
        self.trouble.get(network)
    }

    pub(super) fn endpoint(&self, id: &str) -> Option<&Arc<EndpointRecord>> {
        self.endpoints.get(id)
    }

    pub(super) fn endpoints(&self) -> impl Iterator<Item = &Arc<EndpointRecord>> {
        self.endpoints.values()
    }

    /// The endpoints of a container, those that are on their way back included.
    pub(super) fn of_container(&self, container: &str) -> impl Iterator<Item = &Arc<EndpointRecord>> {
        let ids = self.by_container.get(container).into_iter().flatten();
        ids.filter_map(|id| self.endpoints.get(id))
    }

    /// The endpoints in a network, those that are on their way back included.
    pub(super) fn in_network(&self, network: &str) -> impl Iterator<Item = &Arc<EndpointRecord>> {
        let ids = self.by_network.get(network).into_iter().flatten();
        ids.filter_map(|id| self.endpoints.get(id))
    }

    /// Who answers to a name in a network.
    pub(super) fn called(&self, network: &str, name: &str) -> impl Iterator<Item = &Arc<EndpointRecord>> {
        let ids = self.called.get(network).and_then(|names| names.get(name)).into_iter().flatten();
        ids.filter_map(|id| self.endpoints.get(id))
    }

    /// Who has an address in a network.
    pub(super) fn at(&self, network: &str, address: IpAddr) -> Option<&Arc<EndpointRecord>> {
        self.at.get(network)?.get(&address).and_then(|id| self.endpoints.get(id))
    }

    fn insert(&mut self, record: Arc<EndpointRecord>) {
        self.remove(&record.id);
        let (id, network) = (record.id.clone(), record.network.clone());
        self.by_container.entry(record.container.clone()).or_default().insert(id.clone());
        self.by_network.entry(network.clone()).or_default().insert(id.clone());
        if !record.life.leaving && record.life.works() {
            let called = self.called.entry(network.clone()).or_default();
            for name in &record.dns_names {
                called.entry(name.to_lowercase()).or_default().insert(id.clone());
            }
            for address in record.addresses() {
                self.at.entry(network.clone()).or_default().insert(address, id.clone());
            }
        }
        self.endpoints.insert(id, record);
    }

    fn remove(&mut self, id: &str) {
        let Some(record) = self.endpoints.remove(id) else { return };
        forget(&mut self.by_container, &record.container, id);
        forget(&mut self.by_network, &record.network, id);
        if let Some(called) = self.called.get_mut(&record.network) {
            for name in &record.dns_names {
                forget(called, &name.to_lowercase(), id);
            }
            if called.is_empty() {
                self.called.remove(&record.network);
            }
        }
        if let Some(at) = self.at.get_mut(&record.network) {
            at.retain(|_, holder| holder != id);
            if at.is_empty() {
                self.at.remove(&record.network);
            }
        }
    }
}

fn forget(index: &mut HashMap<String, BTreeSet<String>>, key: &str, id: &str) {
    if let Some(ids) = index.get_mut(key) {
        ids.remove(id);
        if ids.is_empty() {
            index.remove(key);
        }
    }
}

impl Book {
    /// Reads the records.
    pub(super) fn open(journal: Journal) -> Result<Self, EngineError> {
        let (networks, endpoints) =
            (journal.table::<NetworkRecord>(NETWORKS), journal.table::<EndpointRecord>(ENDPOINTS));
        let mut facts = Facts::default();
        for (id, record) in networks.list()? {
            if record.state != State::Removing {
                facts.names.insert(record.name.clone(), id.clone());
            }
            facts.networks.insert(id, Arc::new(record));
        }
        for (_, record) in endpoints.list()? {
            facts.insert(Arc::new(record));
        }
        Ok(Self { journal, networks, endpoints, facts: RwLock::new(facts) })
    }

    pub(super) fn read(&self) -> RwLockReadGuard<'_, Facts> {
        self.facts.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Facts> {
        self.facts.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The network as it is now.
    pub(super) fn network(&self, id: &str) -> Option<Arc<NetworkRecord>> {
        self.read().network(id).cloned()
    }

    /// A network that exists.
    pub(super) fn find(&self, wanted: &str) -> Result<Arc<NetworkRecord>, EngineError> {
        self.read().find(wanted).cloned()
    }

    pub(super) fn of_container(&self, container: &str) -> Vec<Arc<EndpointRecord>> {
        self.read().of_container(container).cloned().collect()
    }

    /// Adds a network whose name nobody has.
    pub(super) fn add_network(&self, record: NetworkRecord) -> Result<Pending, EngineError> {
        let mut facts = self.write();
        if facts.names.contains_key(&record.name) {
            return Err(EngineError::conflict(format!("network with name {} already exists", record.name)));
        }
        facts.names.insert(record.name.clone(), record.id.clone());
        Ok(self.put(&mut facts, record))
    }

    fn put(&self, facts: &mut Facts, record: NetworkRecord) -> Pending {
        let record = Arc::new(record);
        facts.networks.insert(record.id.clone(), Arc::clone(&record));
        let id = record.id.clone();
        self.journal.hand_in(Changes::new().put(&self.networks, &id, record))
    }

    /// Replaces a network's record.
    pub(super) fn put_network(&self, record: NetworkRecord) -> Pending {
        self.put(&mut self.write(), record)
    }

    /// Marks a network that nobody is in for removal. `refuse` may object, and is told who is in it.
    pub(super) fn begin_removal(
        &self,
        id: &str,
        refuse: impl FnOnce(&Facts, &NetworkRecord, &[&Arc<EndpointRecord>]) -> Result<(), EngineError>,
    ) -> Result<(Arc<NetworkRecord>, Pending), EngineError> {
        let mut facts = self.write();
        let record = Arc::clone(facts.find(id)?);
        let inside: Vec<_> = facts.in_network(&record.id).collect();
        refuse(&facts, &record, &inside)?;
        let removing = NetworkRecord { state: State::Removing, ..(*record).clone() };
        facts.names.remove(&record.name);
        let pending = self.put(&mut facts, removing);
        Ok((record, pending))
    }

    /// Takes a removal back, unless the name is taken by now.
    pub(super) fn end_removal(&self, record: NetworkRecord) -> Pending {
        let mut facts = self.write();
        let name = record.name.clone();
        facts.names.entry(name).or_insert_with(|| record.id.clone());
        self.put(&mut facts, NetworkRecord { state: State::Ready, ..record })
    }

    /// Lets others have a network's name.
    pub(super) fn give_up_name(&self, record: &NetworkRecord) {
        let mut facts = self.write();
        if facts.names.get(&record.name).is_some_and(|holder| *holder == record.id) {
            facts.names.remove(&record.name);
        }
    }

    /// Forgets a network.
    pub(super) fn delete_network(&self, id: &str) -> Pending {
        let mut facts = self.write();
        if let Some(record) = facts.networks.remove(id)
            && facts.names.get(&record.name).is_some_and(|holder| holder == id)
        {
            facts.names.remove(&record.name);
        }
        facts.trouble.remove(id);
        self.journal.hand_in(Changes::new().delete(&self.networks, id))
    }

    pub(super) fn set_trouble(&self, network: &str, trouble: Option<String>) {
        let mut facts = self.write();
        match trouble {
            Some(trouble) => facts.trouble.insert(network.to_owned(), trouble),
            None => facts.trouble.remove(network),
        };
    }

    /// Adds endpoints, all to networks that still exist, or none.
    pub(super) fn add_endpoints(&self, records: Vec<EndpointRecord>) -> Result<Pending, EngineError> {
        let mut facts = self.write();
        for record in &records {
            facts.find(&record.network)?;
        }
        let mut changes = Changes::new();
        for record in records {
            changes = self.keep(&mut facts, changes, record);
        }
        Ok(self.journal.hand_in(changes))
    }

    fn keep(&self, facts: &mut Facts, changes: Changes, record: EndpointRecord) -> Changes {
        let record = Arc::new(record);
        facts.insert(Arc::clone(&record));
        // `none` and `host` hold nothing that had to be given back.
        if facts.network(&record.network).is_some_and(|network| network.special()) {
            return changes;
        }
        let id = record.id.clone();
        changes.put(&self.endpoints, &id, record)
    }

    /// Replaces endpoints' records.
    pub(super) fn put_endpoints(&self, records: Vec<EndpointRecord>) -> Pending {
        let mut facts = self.write();
        let mut changes = Changes::new();
        for record in records {
            changes = self.keep(&mut facts, changes, record);
        }
        self.journal.hand_in(changes)
    }

    /// Shows endpoints as they are, without writing that down.
    pub(super) fn show_endpoint(&self, record: EndpointRecord) {
        self.write().insert(Arc::new(record));
    }

    /// Changes an endpoint that is still there.
    pub(super) fn change_endpoint(&self, id: &str, change: impl FnOnce(&mut EndpointRecord)) -> Pending {
        let mut facts = self.write();
        let Some(record) = facts.endpoint(id) else { return self.journal.hand_in(Changes::new()) };
        let mut record = (**record).clone();
        change(&mut record);
        let changes = self.keep(&mut facts, Changes::new(), record);
        self.journal.hand_in(changes)
    }

    /// Forgets an endpoint.
    pub(super) fn delete_endpoint(&self, id: &str) -> Pending {
        self.write().remove(id);
        self.journal.hand_in(Changes::new().delete(&self.endpoints, id))
    }
}
