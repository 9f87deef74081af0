//! Volume drivers.

use std::{collections::BTreeMap, fmt, path::PathBuf};

use crate::{DriverError, Value};

/// Where a driver's volumes are visible.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scope {
    /// On this host alone.
    #[default]
    Local,
    /// On every host that runs the driver.
    Global,
}

/// What a volume driver can do, settled once at activation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct VolumeCapabilities {
    /// Where its volumes are visible.
    pub scope: Scope,
}

/// A request for a new volume.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CreateVolume {
    /// The volume's name, unique within the driver.
    pub name: String,
    /// The driver's own options, as the user gave them.
    pub options: BTreeMap<String, String>,
}

/// Who holds a mount. Never empty; one container's mount keeps one id for its life, and the driver counts
/// how often each was mounted.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MountId(pub String);

impl fmt::Display for MountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A volume as its driver describes it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Volume {
    /// The volume's name.
    pub name: String,
    /// Where it is mounted now, if it is.
    pub mountpoint: Option<PathBuf>,
    /// RFC 3339, if the driver knows.
    pub created_at: Option<String>,
    /// What else the driver reports.
    pub status: BTreeMap<String, Value>,
}

/// The volume contract. One suite (`pintle-testkit`) proves every implementation in both homes.
///
/// All calls may block for as long as the storage takes: callers set the budget. `create`, `remove`,
/// `mount` and `unmount` must be safe to repeat with the same arguments, since a caller that lost an answer
/// asks again.
#[async_trait::async_trait]
pub trait VolumeDriver: Send + Sync + 'static {
    /// What the driver can do. Asked once, at activation.
    async fn capabilities(&self) -> Result<VolumeCapabilities, DriverError> {
        Ok(VolumeCapabilities::default())
    }

    /// Makes a volume. Making one that exists with the same options succeeds.
    async fn create(&self, request: CreateVolume) -> Result<(), DriverError>;

    /// Removes a volume and its data. [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) if there is none.
    async fn remove(&self, name: &str) -> Result<(), DriverError>;

    /// Makes the volume usable on this host for `id` and says where it is.
    async fn mount(&self, name: &str, id: &MountId) -> Result<PathBuf, DriverError>;

    /// Ends `id`'s use. The volume may go away from this host when nobody is left.
    async fn unmount(&self, name: &str, id: &MountId) -> Result<(), DriverError>;

    /// Where the volume is mounted, `None` if it is not.
    async fn path(&self, name: &str) -> Result<Option<PathBuf>, DriverError> {
        Ok(self.get(name).await?.mountpoint)
    }

    /// One volume. [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) if there is none.
    async fn get(&self, name: &str) -> Result<Volume, DriverError>;

    /// Every volume of this driver.
    async fn list(&self) -> Result<Vec<Volume>, DriverError>;
}
