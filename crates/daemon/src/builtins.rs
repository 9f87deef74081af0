//! The drivers that are linked in. Adding one is one line here.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use anyhow::Context;
use pintle_contract::{Authorizer, DriverError, IpamDriver, LogDriver, NetworkDriver, VolumeDriver};
use pintle_drivers::{Bridge, Cni, Ipam, Local, Overlay, Plain, Sublink, cni, logs};
use pintle_engine::containers;
use pintle_netlink::Namespace;

use crate::{
    boot,
    config::{Config, Network},
    networking::{self, Names},
    quotas::ProjectQuotas,
};

/// Names of volume drivers that are not plugins, for `/info`.
pub(crate) const VOLUME_DRIVERS: &[&str] = &["local"];

/// Names of log drivers that are not plugins, for `/info`.
pub(crate) fn log_driver_names() -> Vec<&'static str> {
    let mut names = vec!["json-file", "local", "none"];
    names.extend(logs::NAMES);
    names.sort_unstable();
    names
}

/// The log drivers that take containers' lines somewhere else.
pub(crate) fn log_drivers(data_root: &Path) -> BTreeMap<String, Arc<dyn LogDriver>> {
    let drivers = logs::drivers(&data_root.join("log-files"));
    drivers.into_iter().map(|(name, driver)| (name.to_owned(), driver)).collect()
}

/// Refuses options of log drivers that containers get without asking.
pub(crate) fn check_logs(config: &Config) -> Result<(), String> {
    let drivers = containers::LogDrivers::builtin(log_drivers(&config.data_root));
    // Docker's words.
    let refused = |error| format!("failed to set log opts: {error}");
    drivers.check_defaults(&boot::default_log(config), &config.more_logs).map_err(refused)
}

/// The authorizer `policy`, if there is something that it can decide by.
pub(crate) fn authorizers(
    policy: Option<&pintle_policy::Settings>,
) -> anyhow::Result<BTreeMap<String, Arc<dyn Authorizer>>> {
    let Some(settings) = policy else { return Ok(BTreeMap::new()) };
    let policy =
        pintle_policy::Policy::open(settings.clone()).map_err(|why| anyhow::anyhow!("the policy: {why}"))?;
    policy.follow();
    Ok(BTreeMap::from([("policy".to_owned(), Arc::new(policy) as Arc<dyn Authorizer>)]))
}

/// The volume driver `local`.
pub(crate) fn local_volumes(data_root: &Path) -> Result<Arc<dyn VolumeDriver>, DriverError> {
    Ok(Arc::new(Local::with_quotas(&data_root.join("volumes"), Arc::new(ProjectQuotas))?))
}

/// The drivers of networks.
pub(crate) struct Networking {
    /// The network drivers, by name.
    pub(crate) networks: BTreeMap<String, Arc<dyn NetworkDriver>>,
    /// The IPAM drivers, by name.
    pub(crate) ipams: BTreeMap<String, Arc<dyn IpamDriver>>,
    /// The one that has work of its own to end.
    pub(crate) overlay: Option<Overlay>,
}

/// The drivers of networks, as they are configured on this host.
pub(crate) fn networking(
    config: &Network,
    names: &Names,
    data_root: &Path,
    id: &str,
) -> anyhow::Result<Networking> {
    let host = Namespace::current()?;
    let mark = names.table.as_str();
    let mut networks: BTreeMap<&str, Arc<dyn NetworkDriver>> = BTreeMap::new();
    networks.insert("bridge", Arc::new(Bridge::new(networking::bridge_config(config, names)?)?));
    networks.insert("macvlan", Arc::new(Sublink::macvlan(host.clone(), mark)));
    networks.insert("ipvlan", Arc::new(Sublink::ipvlan(host, mark)));
    networks.insert("host", Arc::new(Plain::host()));
    networks.insert("null", Arc::new(Plain::null()));
    let mut ipams: BTreeMap<&str, Arc<dyn IpamDriver>> = BTreeMap::new();
    ipams.insert("default", Arc::new(Ipam::new(networking::address_pools(config, id)?)));
    if let Some(cni) = &config.cni {
        let settings = cni::Settings {
            config_path: cni.config_path.clone(),
            binary_path: cni.binary_path.clone(),
            ..cni::Settings::new(data_root.join("cni"))
        };
        networks.insert("cni", Arc::new(Cni::open(settings).context("opening the driver cni")?));
    }
    let mut overlay = None;
    if let Some(settings) = &config.overlay {
        let driver = networking::overlay(settings, config, names, data_root, id)
            .context("opening the driver overlay")?;
        networks.insert("overlay", Arc::new(driver.clone()));
        ipams.insert("overlay", Arc::new(driver.clone()));
        overlay = Some(driver);
    }
    Ok(Networking {
        networks: networks.into_iter().map(|(name, driver)| (name.to_owned(), driver)).collect(),
        ipams: ipams.into_iter().map(|(name, driver)| (name.to_owned(), driver)).collect(),
        overlay,
    })
}
