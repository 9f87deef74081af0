//! Who uses which volume, and the records, in memory and on disk.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, Instant},
};

use pintle_contract::MountId;
use pintle_store::{Store, Table};
use tokio::sync::OwnedMutexGuard;

use super::record::{OWED, Record, State, TABLE};
use crate::{EngineError, ErrorKind};

/// How long a removal stays remembered, so that a driver's older list does not bring the volume back. Longer
/// than any list call may take.
const TOMBSTONE: Duration = Duration::from_secs(60);

/// One mount id's use of a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hold {
    /// The container that has it.
    pub(super) holder: String,
    /// How often it was mounted and not yet unmounted.
    pub(super) times: u32,
}

/// What is known of one name.
#[derive(Debug, Clone, Default)]
pub(super) struct Facts {
    /// The record, if the engine made or adopted the volume.
    pub(super) record: Option<Record>,
    /// When the record last came or changed state.
    pub(super) changed: Option<Instant>,
    /// Where the driver last said it was.
    pub(super) mountpoint: Option<PathBuf>,
    /// The containers that refer to it.
    pub(super) references: BTreeSet<String>,
    /// The mounts in place.
    pub(super) holds: BTreeMap<MountId, Hold>,
}

impl Facts {
    /// The ids of all containers that keep it from being removed.
    pub(super) fn users(&self) -> Vec<String> {
        let mut users = self.references.clone();
        users.extend(self.holds.values().map(|hold| hold.holder.clone()));
        users.into_iter().collect()
    }

    fn is_empty(&self) -> bool {
        self.record.is_none() && self.references.is_empty() && self.holds.is_empty()
    }
}

/// The right to change one volume. While it is held nobody else mounts, removes or remakes that volume; other
/// volumes are not concerned.
pub(super) type Turn = OwnedMutexGuard<()>;

/// The facts by name. Its locks are held for moments only, never across a driver call.
pub(super) struct Ledger {
    table: Table<Record>,
    /// How many unmounts a driver has not confirmed, by volume and mount id.
    owed: Table<u32>,
    facts: Mutex<BTreeMap<String, Facts>>,
    turns: Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>,
    removed: Mutex<HashMap<String, Instant>>,
}

impl Ledger {
    /// Reads the records.
    pub(super) fn open(store: &Store) -> Result<Self, EngineError> {
        let table = store.table::<Record>(TABLE);
        let facts = table
            .list()?
            .into_iter()
            .map(|(name, record)| (name, Facts { record: Some(record), ..Facts::default() }))
            .collect();
        let owed = store.table(OWED);
        Ok(Self { table, owed, facts: Mutex::new(facts), turns: Mutex::default(), removed: Mutex::default() })
    }

    fn facts(&self) -> MutexGuard<'_, BTreeMap<String, Facts>> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the right to change `name`, at most `patience`.
    pub(super) async fn turn(&self, name: &str, patience: Duration) -> Result<Turn, EngineError> {
        let turn = {
            let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            match turns.get(name).and_then(Weak::upgrade) {
                Some(turn) => turn,
                None => {
                    turns.retain(|_, turn| turn.strong_count() > 0);
                    let turn = Arc::new(tokio::sync::Mutex::new(()));
                    turns.insert(name.to_owned(), Arc::downgrade(&turn));
                    turn
                }
            }
        };
        tokio::time::timeout(patience, turn.lock_owned()).await.map_err(|_elapsed| {
            EngineError::new(
                ErrorKind::Unavailable,
                format!("volume {name} is busy: its driver has not answered an earlier call yet"),
            )
        })
    }

    /// What is known of `name`.
    pub(super) fn get(&self, name: &str) -> Facts {
        self.facts().get(name).cloned().unwrap_or_default()
    }

    /// Its record.
    pub(super) fn record(&self, name: &str) -> Option<Record> {
        self.facts().get(name).and_then(|facts| facts.record.clone())
    }

    /// Every name with a record, and what is known of it.
    pub(super) fn all(&self) -> Vec<(String, Record, Facts)> {
        let facts = self.facts();
        facts
            .iter()
            .filter_map(|(name, facts)| Some((name.clone(), facts.record.clone()?, facts.clone())))
            .collect()
    }

    /// Writes a record durably. Only by whoever has the turn.
    pub(super) fn put(&self, _turn: &Turn, name: &str, record: Record) -> Result<(), EngineError> {
        self.table.put(name, &record)?;
        self.change(name, |facts| {
            facts.record = Some(record);
            facts.changed = Some(Instant::now());
        });
        Ok(())
    }

    /// Moves a record to another state, durably. Only by whoever has the turn.
    pub(super) fn set_state(&self, turn: &Turn, name: &str, state: State) -> Result<(), EngineError> {
        match self.record(name) {
            Some(record) if record.state != state => self.put(turn, name, Record { state, ..record }),
            _ => Ok(()),
        }
    }

    /// Removes a record durably. Only by whoever has the turn.
    pub(super) fn delete(&self, _turn: &Turn, name: &str) -> Result<(), EngineError> {
        self.table.delete(name)?;
        self.bury(name);
        self.change(name, |facts| {
            facts.record = None;
            facts.mountpoint = None;
        });
        Ok(())
    }

    /// Remembers for a while that `name` was removed now.
    pub(super) fn bury(&self, name: &str) {
        let mut removed = self.removed.lock().unwrap_or_else(PoisonError::into_inner);
        removed.retain(|_, at| at.elapsed() < TOMBSTONE);
        removed.insert(name.to_owned(), Instant::now());
    }

    /// Whether `name` was removed after `moment`.
    pub(super) fn removed_since(&self, name: &str, moment: Instant) -> bool {
        let removed = self.removed.lock().unwrap_or_else(PoisonError::into_inner);
        removed.get(name).is_some_and(|at| *at >= moment)
    }

    /// Changes what is known of `name`, in memory.
    pub(super) fn change<R>(&self, name: &str, change: impl FnOnce(&mut Facts) -> R) -> R {
        let mut facts = self.facts();
        let known = facts.entry(name.to_owned()).or_default();
        let result = change(known);
        if known.is_empty() {
            facts.remove(name);
        }
        result
    }

    /// How many unmounts are owed for a mount id.
    pub(super) fn debt(&self, name: &str, id: &MountId) -> u32 {
        self.owed.get(&owed_key(name, id)).ok().flatten().unwrap_or(0)
    }

    /// Remembers durably how many unmounts are owed for a mount id.
    pub(super) fn set_debt(&self, name: &str, id: &MountId, owed: u32) {
        // Nearly always it is none as before, and looking costs no disk flush.
        if self.debt(name, id) == owed {
            return;
        }
        if let Err(error) = self.write_debt(name, id, owed) {
            tracing::error!(volume = name, %id, %error, "could not note which unmounts are still to be sent");
        }
    }

    /// The same, for whoever must not go on without.
    pub(super) fn write_debt(&self, name: &str, id: &MountId, owed: u32) -> Result<(), EngineError> {
        let key = owed_key(name, id);
        if owed == 0 {
            self.owed.delete(&key)?
        } else {
            self.owed.put(&key, &owed)?
        }
        Ok(())
    }

    /// Remembers durably that at least one unmount is owed for a mount id.
    pub(super) fn owe(&self, name: &str, id: &MountId) {
        self.set_debt(name, id, self.debt(name, id).max(1));
    }

    /// The mount ids for which unmounts are owed, with their volumes.
    pub(super) fn debts(&self) -> Result<Vec<(String, MountId)>, EngineError> {
        let split =
            |key: String| key.split_once('\n').map(|(name, id)| (name.to_owned(), MountId(id.to_owned())));
        Ok(self.owed.list()?.into_iter().filter_map(|(key, _)| split(key)).collect())
    }

    /// Counts one more mount.
    pub(super) fn mounted(&self, name: &str, id: &MountId, holder: &str, at: PathBuf) {
        self.change(name, |facts| {
            facts.mountpoint = Some(at);
            facts
                .holds
                .entry(id.clone())
                .or_insert_with(|| Hold { holder: holder.to_owned(), times: 0 })
                .times += 1;
        });
    }

    /// Counts one mount less, and says who had it.
    pub(super) fn unmounted(&self, name: &str, id: &MountId) -> Option<String> {
        self.change(name, |facts| {
            let hold = facts.holds.get_mut(id)?;
            let holder = hold.holder.clone();
            hold.times = hold.times.saturating_sub(1);
            if hold.times == 0 {
                facts.holds.remove(id);
            }
            Some(holder)
        })
    }
}

/// Volume names have no control characters.
fn owed_key(name: &str, id: &MountId) -> String {
    format!("{name}\n{id}")
}
