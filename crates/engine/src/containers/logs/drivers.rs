//! Where log drivers come from.

use std::{fmt, sync::Arc};

use pintle_contract::LogDriver;
use pintle_host::{Holder, Host, Lease};

use crate::{EngineError, volumes::translate};

/// The log drivers that take containers' lines somewhere else.
#[derive(Clone, Default)]
pub struct LogDrivers {
    host: Option<Host>,
}

impl fmt::Debug for LogDrivers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogDrivers").finish_non_exhaustive()
    }
}

impl LogDrivers {
    /// Those that plugins offer.
    pub fn new(host: Host) -> Self {
        Self { host: Some(host) }
    }

    /// The driver of that name as it is now: a plugin that is started again is another driver.
    pub(crate) async fn find(&self, name: &str) -> Result<Arc<dyn LogDriver>, EngineError> {
        let Some(host) = &self.host else { return Err(unknown(name)) };
        host.log_driver(name).await.map(|found| found.driver).map_err(translate)
    }

    /// Refuses a name that nobody has. A driver that is only down is there.
    pub(crate) async fn check(&self, name: &str) -> Result<(), EngineError> {
        match self.find(name).await {
            Err(error) if error.kind == crate::ErrorKind::NotFound => Err(unknown(name)),
            _ => Ok(()),
        }
    }

    /// Notes that a container's lines go there.
    pub(crate) fn lease(&self, name: &str, holder: Holder) -> Option<Lease> {
        self.host.as_ref().map(|host| host.lease(name, holder))
    }
}

fn unknown(name: &str) -> EngineError {
    EngineError::invalid(format!("logger: no log driver named '{name}' is registered"))
}
