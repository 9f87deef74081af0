//! What this host holds in the cluster, written down: after a restart it comes back to the same subnets.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use super::model::Settings;

/// A part of a network that this host has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Held {
    pub(super) settings: Settings,
    pub(super) subnet: Ipv4Net,
    /// etcd's lease.
    pub(super) lease: i64,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Ledger {
    file: PathBuf,
    held: Mutex<Vec<Held>>,
}

impl Ledger {
    /// Reads the file, if there is one. Blocks.
    pub(super) fn open(dir: &Path) -> io::Result<Self> {
        let file = dir.join("leases.json");
        let held = match fs::read(&file) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| {
                io::Error::new(io::ErrorKind::InvalidData, format!("{}: {error}", file.display()))
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        Ok(Self { file, held: Mutex::new(held) })
    }

    /// What is held of the network with this pool, or the network of which this subnet is held.
    pub(super) fn find(&self, pool: Ipv4Net) -> Option<Held> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.iter().find(|held| held.settings.pool == pool || held.subnet == pool).cloned()
    }

    /// Notes it, in place of what was noted of its network. Blocks until it is on disk.
    pub(super) fn put(&self, new: Held) -> io::Result<()> {
        self.change(|held| {
            held.retain(|old| old.settings.pool != new.settings.pool);
            held.push(new);
        })
    }

    /// Forgets a network. Blocks until that is on disk.
    pub(super) fn remove(&self, pool: Ipv4Net) -> io::Result<()> {
        self.change(|held| held.retain(|old| old.settings.pool != pool))
    }

    fn change(&self, change: impl FnOnce(&mut Vec<Held>)) -> io::Result<()> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = held.clone();
        change(&mut next);
        let text = serde_json::to_vec_pretty(&next)?;
        if let Some(dir) = self.file.parent() {
            fs::create_dir_all(dir)?;
        }
        let fresh = self.file.with_extension("new");
        let mut file = fs::File::create(&fresh)?;
        file.write_all(&text)?;
        file.sync_all()?;
        fs::rename(&fresh, &self.file)?;
        *held = next;
        Ok(())
    }
}
