//! Who may call plugins when.
//!
//! CNI asks that nobody works twice on one container at once, and that garbage is collected while nobody attaches to
//! or leaves the network.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, Weak},
};

use tokio::sync::{Mutex as Turn, OwnedMutexGuard, OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

/// The turns of sandboxes and networks.
#[derive(Debug, Default)]
pub(super) struct Turns {
    sandboxes: Mutex<HashMap<PathBuf, Weak<Turn<()>>>>,
    networks: Mutex<HashMap<String, Weak<RwLock<()>>>>,
}

/// The right to call plugins for one attachment.
pub(super) struct Attaching {
    _network: OwnedRwLockReadGuard<()>,
    _sandbox: OwnedMutexGuard<()>,
}

impl Turns {
    /// Waits for an attachment's turn.
    pub(super) async fn attachment(&self, network: &str, sandbox: &Path) -> Attaching {
        let turn = entry(&self.networks, network.to_owned());
        let network = turn.read_owned().await;
        let turn = entry(&self.sandboxes, sandbox.to_owned());
        Attaching { _network: network, _sandbox: turn.lock_owned().await }
    }

    /// Waits until nobody attaches or detaches.
    pub(super) async fn network(&self, network: &str) -> OwnedRwLockWriteGuard<()> {
        entry(&self.networks, network.to_owned()).write_owned().await
    }
}

fn entry<K: std::hash::Hash + Eq, T: Default>(map: &Mutex<HashMap<K, Weak<T>>>, key: K) -> Arc<T> {
    let mut map = map.lock().unwrap_or_else(PoisonError::into_inner);
    map.retain(|_, turn| turn.strong_count() > 0);
    if let Some(turn) = map.get(&key).and_then(Weak::upgrade) {
        return turn;
    }
    let turn = Arc::new(T::default());
    map.insert(key, Arc::downgrade(&turn));
    turn
}
