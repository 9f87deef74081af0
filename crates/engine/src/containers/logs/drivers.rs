//! Where log drivers come from.

use std::{collections::BTreeMap, fmt, path::PathBuf, sync::Arc};

use pintle_contract::LogDriver;
use pintle_host::{Holder, Host, Lease};

use super::Filters;
use crate::{
    EngineError,
    containers::{ContainerSpec, LogConfig, log_options},
    volumes::translate,
};

/// The log drivers that take containers' lines somewhere else.
#[derive(Clone, Default)]
pub struct LogDrivers {
    host: Option<Host>,
    builtin: Arc<BTreeMap<String, Arc<dyn LogDriver>>>,
}

impl fmt::Debug for LogDrivers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogDrivers").finish_non_exhaustive()
    }
}

impl LogDrivers {
    /// Those that are linked in, by name, and those that plugins offer.
    pub fn new(host: Host, builtin: BTreeMap<String, Arc<dyn LogDriver>>) -> Self {
        Self { host: Some(host), builtin: Arc::new(builtin) }
    }

    /// Those that are linked in, without any plugins.
    pub fn builtin(builtin: BTreeMap<String, Arc<dyn LogDriver>>) -> Self {
        Self { host: None, builtin: Arc::new(builtin) }
    }

    /// Refuses what containers may not get without asking for it. What plugins take is not known before one has them.
    pub fn check_defaults(
        &self,
        log: &LogConfig,
        more: &BTreeMap<String, LogConfig>,
    ) -> Result<(), EngineError> {
        let mut log = log.clone();
        if !log.options.is_empty() {
            self.check_options(&log)?;
            if log_options::is_kept(&log.driver) {
                // A container may bring the options that others need.
                for (key, value) in [("max-size", "1m"), ("max-file", "2")] {
                    log.options.entry(key.to_owned()).or_insert_with(|| value.to_owned());
                }
            }
            log_options::log_file(&ContainerSpec { log, ..ContainerSpec::default() }, None, PathBuf::new())?;
        }
        more.values().try_for_each(|log| self.check_options(log))
    }

    fn check_options(&self, log: &LogConfig) -> Result<(), EngineError> {
        if log_options::is_kept(&log.driver) {
            return Ok(());
        }
        let (_, options) = Filters::take(&log.options)?;
        self.check_builtin(&log.driver, &options)
    }

    /// The driver of that name as it is now: a plugin that is started again is another driver.
    pub async fn find(&self, name: &str) -> Result<Arc<dyn LogDriver>, EngineError> {
        if let Some(driver) = self.builtin.get(name) {
            return Ok(Arc::clone(driver));
        }
        let Some(host) = &self.host else { return Err(unknown(name)) };
        host.log_driver(name).await.map(|found| found.driver).map_err(translate)
    }

    /// Refuses a name that nobody has, and options that its driver refuses. A driver that is only down is there.
    pub(crate) async fn check(
        &self,
        name: &str,
        options: &BTreeMap<String, String>,
    ) -> Result<(), EngineError> {
        match self.find(name).await {
            Ok(driver) => driver.check(options).map_err(EngineError::from),
            Err(error) if error.kind == crate::ErrorKind::NotFound => Err(unknown(name)),
            Err(_) => Ok(()),
        }
    }

    /// Refuses options that a driver that is linked in refuses; of others nothing is known before they are asked.
    pub fn check_builtin(&self, name: &str, options: &BTreeMap<String, String>) -> Result<(), EngineError> {
        self.builtin.get(name).map_or(Ok(()), |driver| driver.check(options).map_err(EngineError::from))
    }

    /// Whether it is linked in, so that no plugin is asked.
    pub(crate) fn is_builtin(&self, name: &str) -> bool {
        self.builtin.contains_key(name)
    }

    /// Notes that a container's lines go to a plugin.
    pub(crate) fn lease(&self, name: &str, holder: Holder) -> Option<Lease> {
        let plugins = !self.is_builtin(name);
        self.host.as_ref().filter(|_| plugins).map(|host| host.lease(name, holder))
    }
}

fn unknown(name: &str) -> EngineError {
    EngineError::invalid(format!("logger: no log driver named '{name}' is registered"))
}
