use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::Path,
};

use pintle_contract::MountId;
use serde::{Deserialize, Serialize};

/// Who has a volume mounted, and how often. On disk for volumes that are mounted, since a count that starts at
/// zero after a restart would unmount under a running container.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Holds {
    times: BTreeMap<String, u32>,
    /// Those who mounted in this life of the driver.
    #[serde(skip)]
    now: BTreeSet<String>,
}

impl Holds {
    /// What a former life wrote; nothing if it is not readable.
    pub(super) fn inherit(file: &Path) -> Self {
        fs::read(file).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
    }

    /// Drops what a former life wrote.
    pub(super) fn forget(file: &Path) {
        if let Err(error) = fs::remove_file(file)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(file = %file.display(), %error, "could not forget who had a volume mounted");
        }
    }

    pub(super) fn save(&self, file: &Path) -> io::Result<()> {
        if self.is_empty() {
            Self::forget(file);
            return Ok(());
        }
        // Mounts do not outlive a power cut, so this need not either: no flush, only a whole file.
        let new = file.with_extension("~");
        fs::write(&new, serde_json::to_vec(self)?)?;
        fs::rename(&new, file)
    }

    pub(super) fn add(&mut self, id: &MountId) {
        *self.times.entry(id.0.clone()).or_default() += 1;
        self.now.insert(id.0.clone());
    }

    /// One less; an id that holds nothing changes nothing.
    pub(super) fn take(&mut self, id: &MountId) {
        if let Some(times) = self.times.get_mut(&id.0) {
            *times = times.saturating_sub(1);
            if *times == 0 {
                self.times.remove(&id.0);
                self.now.remove(&id.0);
            }
        }
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.times.is_empty()
    }

    /// Whether anybody mounted it in this life of the driver and has not unmounted it.
    pub(super) fn is_held_now(&self) -> bool {
        !self.now.is_empty()
    }
}
