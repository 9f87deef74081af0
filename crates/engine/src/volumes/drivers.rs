//! Where volumes find their drivers.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use pintle_contract::VolumeDriver;
use pintle_host::{Holder, Host, HostError};

use crate::{EngineError, ErrorKind};

/// The driver that is meant where none is named.
pub const DEFAULT: &str = "local";

/// A volume driver by the name that users know.
#[derive(Clone)]
pub struct Driver {
    /// The full name, such as `vieux/sshfs:latest`.
    pub name: String,
    /// The driver itself, built in or behind a socket.
    pub driver: Arc<dyn VolumeDriver>,
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Driver").field(&self.name).finish()
    }
}

/// The drivers of this engine. What [`super::Volumes`] needs of the plugin host, and no more.
#[async_trait]
pub trait Drivers: Send + Sync + 'static {
    /// The driver called `name`. The error says why not, in words that follow `error looking up volume plugin
    /// D: `.
    async fn driver(&self, name: &str) -> Result<Driver, EngineError>;

    /// Every driver that is known, or why it cannot be called now.
    async fn drivers(&self) -> Vec<(String, Result<Driver, EngineError>)>;

    /// Notes that the driver is in use by a volume.
    fn hold(&self, driver: &str, volume: &str);

    /// Ends that use.
    fn release(&self, driver: &str, volume: &str);
}

/// The built-in `local` driver, and what plugins offer.
pub(super) struct HostDrivers {
    pub(super) host: Host,
    pub(super) local: Arc<dyn VolumeDriver>,
}

impl HostDrivers {
    fn local(&self) -> Driver {
        Driver { name: DEFAULT.to_owned(), driver: Arc::clone(&self.local) }
    }
}

#[async_trait]
impl Drivers for HostDrivers {
    async fn driver(&self, name: &str) -> Result<Driver, EngineError> {
        if name == DEFAULT {
            return Ok(self.local());
        }
        let found = self.host.volume_driver(name).await.map_err(translate)?;
        Ok(Driver { name: found.name, driver: found.driver })
    }

    async fn drivers(&self) -> Vec<(String, Result<Driver, EngineError>)> {
        let mut all = vec![(DEFAULT.to_owned(), Ok(self.local()))];
        for (name, found) in self.host.volume_drivers().await {
            if name != DEFAULT {
                let found = found.map(|found| Driver { name: found.name, driver: found.driver });
                all.push((name, found.map_err(translate)));
            }
        }
        all
    }

    fn hold(&self, driver: &str, volume: &str) {
        if driver != DEFAULT {
            let _lease = self.host.lease(driver, Holder::Volume(volume.to_owned()));
        }
    }

    fn release(&self, driver: &str, volume: &str) {
        if driver != DEFAULT {
            self.host.release(driver, &Holder::Volume(volume.to_owned()));
        }
    }
}

/// The host's errors in the engine's kinds.
pub(crate) fn translate(error: HostError) -> EngineError {
    use pintle_host::ErrorKind as Host;
    let kind = match error.kind() {
        Host::NotFound => ErrorKind::NotFound,
        Host::InvalidArgument => ErrorKind::InvalidArgument,
        Host::Conflict => ErrorKind::Conflict,
        Host::Forbidden => ErrorKind::Forbidden,
        Host::Unauthorized => ErrorKind::Unauthorized,
        Host::Unavailable => ErrorKind::Unavailable,
        Host::NotImplemented => ErrorKind::NotImplemented,
        _ => ErrorKind::Internal,
    };
    EngineError::new(kind, error.to_string())
}
