//! What the engine remembers of a volume across its own death.

use std::collections::BTreeMap;

use pintle_contract::Scope;
use serde::{Deserialize, Serialize};

use super::{ANONYMOUS, Volume};

/// The table's name in the store.
pub(super) const TABLE: &str = "volumes";
/// The table of unmounts that are owed.
pub(super) const OWED: &str = "volume-unmounts";

/// Where a volume is in its life. Written before the driver is called, so that after `kill -9` it is known what
/// may have been half done:
///
/// ```text
///            driver made it              remove asked           driver removed it
/// Creating ────────────────▶ Ready ──────────────────▶ Removing ────────────────▶ (no record)
///    │  ▲ asked again          ▲                          │
///    │  └──────────┐           └──────────────────────────┘ driver refused
///    └─▶ (no record): the driver refused, or after a crash, when what it may have made is removed
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    /// The driver may or may not have made it. Nobody was told that it exists.
    Creating,
    /// It exists.
    Ready,
    /// The driver may or may not have removed it.
    Removing,
}

/// One volume's record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) driver: String,
    #[serde(default)]
    pub(super) labels: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) options: BTreeMap<String, String>,
    pub(super) created_at: String,
    #[serde(default)]
    pub(super) global: bool,
    pub(super) state: State,
}

impl Record {
    /// The volume, as far as the record knows it.
    pub(super) fn volume(&self, name: &str) -> Volume {
        Volume {
            name: name.to_owned(),
            driver: self.driver.clone(),
            mountpoint: None,
            created_at: Some(self.created_at.clone()),
            labels: self.labels.clone(),
            options: self.options.clone(),
            scope: if self.global { Scope::Global } else { Scope::Local },
            status: BTreeMap::new(),
        }
    }

    /// The volume, with what its driver says just now.
    pub(super) fn described(&self, name: &str, said: pintle_contract::Volume) -> Volume {
        let mut volume = self.volume(name);
        volume.mountpoint = said.mountpoint;
        if said.created_at.as_deref().is_some_and(|at| !at.is_empty()) {
            volume.created_at = said.created_at;
        }
        volume.status = said.status;
        volume
    }

    /// Whether nobody named it.
    pub(super) fn anonymous(&self) -> bool {
        self.labels.contains_key(ANONYMOUS)
    }
}
