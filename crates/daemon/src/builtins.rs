//! The drivers that are linked in. Adding one is one line here.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use pintle_contract::{DriverError, IpamDriver, NetworkDriver, VolumeDriver};
use pintle_drivers::Local;

/// Names of volume drivers that are not plugins, for `/info`.
pub(crate) const VOLUME_DRIVERS: &[&str] = &["local"];
/// Network drivers.
pub(crate) const NETWORK_DRIVERS: &[&str] = &["host", "null"];
/// Log drivers.
pub(crate) const LOG_DRIVERS: &[&str] = &["json-file", "none"];

/// The volume driver `local`.
pub(crate) fn local_volumes(data_root: &Path) -> Result<Arc<dyn VolumeDriver>, DriverError> {
    Ok(Arc::new(Local::open(&data_root.join("volumes"))?))
}

/// The network drivers, by name.
pub(crate) fn network_drivers() -> BTreeMap<String, Arc<dyn NetworkDriver>> {
    BTreeMap::new()
}

/// The IPAM drivers, by name.
pub(crate) fn ipam_drivers() -> BTreeMap<String, Arc<dyn IpamDriver>> {
    BTreeMap::new()
}
