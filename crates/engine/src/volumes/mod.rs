//! Volumes: one name space over all drivers.

mod drivers;
mod model;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use pintle_contract::{MountId, VolumeDriver};
use pintle_host::{Holder, Host};
use pintle_store::Store;

pub use drivers::{DEFAULT, Driver, Drivers};
pub use model::{ANONYMOUS, Filters, Pruned, PruneFilters, Reference, Usage, Use, Volume};

use crate::{EngineError, events::Events};

/// Every volume of this engine. Cheap to clone.
#[derive(Clone)]
pub struct Volumes {}

#[expect(missing_docs, unused_variables, clippy::todo, clippy::unused_async, reason = "signatures first")]
impl Volumes {
    pub fn open(
        data_root: &Path,
        store: Store,
        host: Host,
        local: Arc<dyn VolumeDriver>,
        events: Events,
    ) -> Result<Self, EngineError> {
        todo!()
    }
    pub fn with_drivers(
        data_root: &Path,
        store: Store,
        drivers: Arc<dyn Drivers>,
        events: Events,
    ) -> Result<Self, EngineError> {
        todo!()
    }
    pub async fn create(
        &self,
        name: Option<&str>,
        driver: &str,
        options: BTreeMap<String, String>,
        labels: BTreeMap<String, String>,
    ) -> Result<Volume, EngineError> {
        todo!()
    }
    /// The same, and `container` refers to it from then on, with no moment in between for a removal.
    pub async fn create_for(
        &self,
        container: &str,
        name: Option<&str>,
        driver: &str,
        options: BTreeMap<String, String>,
        labels: BTreeMap<String, String>,
    ) -> Result<Volume, EngineError> {
        todo!()
    }
    pub async fn list(&self, filters: &Filters) -> (Vec<Volume>, Vec<String>) {
        todo!()
    }
    pub async fn inspect(&self, name: &str) -> Result<Volume, EngineError> {
        todo!()
    }
    pub async fn remove(&self, name: &str, force: bool) -> Result<(), EngineError> {
        todo!()
    }
    pub async fn prune(&self, filters: &PruneFilters) -> Result<Pruned, EngineError> {
        todo!()
    }
    pub async fn usage(&self) -> Vec<Usage> {
        todo!()
    }
    pub async fn mount(&self, name: &str, holder: &str, id: &MountId) -> Result<PathBuf, EngineError> {
        todo!()
    }
    /// The same, and the `mount` event tells how the container sees it.
    pub async fn mount_as(&self, name: &str, holder: &str, id: &MountId, seen: &Use) -> Result<PathBuf, EngineError> {
        todo!()
    }
    pub async fn unmount(&self, name: &str, id: &MountId) -> Result<(), EngineError> {
        todo!()
    }
    pub fn reference(&self, name: &str, container: &str) {
        todo!()
    }
    pub fn unreference(&self, name: &str, container: &str) {
        todo!()
    }
    /// The ids of the containers that refer to it or have it mounted.
    pub fn references(&self, name: &str) -> Vec<String> {
        todo!()
    }
    /// At boot, before anything else: who refers to what.
    pub fn restore(&self, references: Vec<Reference>) {
        todo!()
    }
    /// At boot, once plugins had their first attempt: compares records with drivers and converges.
    pub async fn reconcile(&self) {
        todo!()
    }
    /// Every lease that volumes hold, for `Host::replace_leases`.
    pub fn holders(&self) -> Vec<(String, Holder)> {
        todo!()
    }
    /// Copies what an image has at a volume's mount point into the volume if that is empty; whether it did.
    pub async fn copy_up(&self, name: &str, source: &Path, volume: &Path) -> Result<bool, EngineError> {
        todo!()
    }
    /// Ends background work, waiting a little for calls under way.
    pub async fn shutdown(&self) {
        todo!()
    }
}
