//! The drivers that are linked in. Adding one is one line here.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use anyhow::Context;
use pintle_contract::{DriverError, IpamDriver, NetworkDriver, VolumeDriver};
use pintle_drivers::{Bridge, Cni, Ipam, Local, Plain, Sublink, cni};
use pintle_netlink::Namespace;

use crate::{
    config::Network,
    networking::{self, Names},
};

/// Names of volume drivers that are not plugins, for `/info`.
pub(crate) const VOLUME_DRIVERS: &[&str] = &["local"];
/// Log drivers.
pub(crate) const LOG_DRIVERS: &[&str] = &["json-file", "none"];

/// The volume driver `local`.
pub(crate) fn local_volumes(data_root: &Path) -> Result<Arc<dyn VolumeDriver>, DriverError> {
    Ok(Arc::new(Local::open(&data_root.join("volumes"))?))
}

/// The network drivers, by name.
pub(crate) fn network_drivers(
    config: &Network,
    names: &Names,
    data_root: &Path,
) -> anyhow::Result<BTreeMap<String, Arc<dyn NetworkDriver>>> {
    let host = Namespace::current()?;
    let mark = names.table.as_str();
    let mut drivers = BTreeMap::<String, Arc<dyn NetworkDriver>>::from(
        [
            (
                "bridge",
                Arc::new(Bridge::new(networking::bridge_config(config, names)?)?) as Arc<dyn NetworkDriver>,
            ),
            ("macvlan", Arc::new(Sublink::macvlan(host.clone(), mark))),
            ("ipvlan", Arc::new(Sublink::ipvlan(host, mark))),
            ("host", Arc::new(Plain::host())),
            ("null", Arc::new(Plain::null())),
        ]
        .map(|(name, driver)| (name.to_owned(), driver)),
    );
    if let Some(cni) = &config.cni {
        let settings = cni::Settings {
            config_path: cni.config_path.clone(),
            binary_path: cni.binary_path.clone(),
            ..cni::Settings::new(data_root.join("cni"))
        };
        drivers.insert("cni".to_owned(), Arc::new(Cni::open(settings).context("opening the driver cni")?));
    }
    Ok(drivers)
}

/// The IPAM drivers, by name.
pub(crate) fn ipam_drivers(
    config: &Network,
    id: &str,
) -> anyhow::Result<BTreeMap<String, Arc<dyn IpamDriver>>> {
    let default: Arc<dyn IpamDriver> = Arc::new(Ipam::new(networking::address_pools(config, id)?));
    Ok(BTreeMap::from([("default".to_owned(), default)]))
}
