//! From a request's path and body to a driver and back.

mod authorization;
mod ipam;
mod log;
mod network;
mod volume;

use std::sync::Arc;

pub(crate) use self::log::{Streams, frames};
use http::StatusCode;
use pintle_contract::{
    Authorizer, DriverError, ErrorKind, IpamDriver, LogLines, NetworkDriver, VolumeDriver,
};
use pintle_wire::{Activation, DecodeError, Interface, activation::ACTIVATE_PATH, encode_error};

/// What one driver answers.
#[derive(Default)]
pub(crate) struct Answer {
    pub status: StatusCode,
    pub body: Vec<u8>,
    /// Comes behind the body, as it is read.
    pub lines: Option<Box<dyn LogLines>>,
}

impl Answer {
    pub(crate) fn ok(body: Vec<u8>) -> Self {
        Self { body, ..Self::default() }
    }

    pub(crate) fn error(status: StatusCode, error: &DriverError) -> Self {
        Self { status, body: encode_error(error), ..Self::default() }
    }

    /// No such call: engines tell it by the status from a call that failed.
    pub(crate) fn unknown(path: &str) -> Self {
        let text = format!("this plugin has no {path}");
        Self::error(StatusCode::NOT_FOUND, &DriverError::new(ErrorKind::Unsupported, text))
    }

    fn unreadable(error: &DecodeError) -> Self {
        Self::error(StatusCode::BAD_REQUEST, &DriverError::invalid(error.to_string()))
    }

    /// As the helpers for Go do: 200 and the value, or 500 and `{"Err": …}`.
    fn of<R>(reply: Result<R, DriverError>, encode: impl FnOnce(&R) -> Vec<u8>) -> Self {
        match reply {
            Ok(reply) => Self::ok(encode(&reply)),
            Err(error) => Self::error(StatusCode::INTERNAL_SERVER_ERROR, &error),
        }
    }
}

/// The drivers of a plugin, each behind the bytes of its contract. Each kind of contract adds a field.
#[derive(Clone, Default)]
pub(crate) struct Service {
    pub volume: Option<Arc<dyn VolumeDriver>>,
    pub network: Option<Arc<dyn NetworkDriver>>,
    pub ipam: Option<Arc<dyn IpamDriver>>,
    pub authorizer: Option<Arc<dyn Authorizer>>,
    pub log: Option<Arc<Streams>>,
}

/// A call that the plugin has.
enum Call {
    Activate,
    Volume(Arc<dyn VolumeDriver>, pintle_wire::volume::Method),
    Network(Arc<dyn NetworkDriver>, pintle_wire::network::Method),
    Ipam(Arc<dyn IpamDriver>, pintle_wire::ipam::Method),
    Authorize(Arc<dyn Authorizer>, pintle_wire::authorization::Method),
    Log(Arc<Streams>, pintle_wire::log::Method),
}

impl Service {
    /// What the plugin implements.
    fn interfaces(&self) -> Vec<Interface> {
        let extended = self.authorizer.as_ref().is_some_and(|authorizer| authorizer.is_extended());
        let all = [
            (self.volume.is_some(), Interface::Volume),
            (self.network.is_some(), Interface::Network),
            (self.ipam.is_some(), Interface::Ipam),
            (self.authorizer.is_some(), Interface::Authorization),
            (extended, Interface::ExtendedAuthorization),
            (self.log.is_some(), Interface::Log),
        ];
        all.into_iter().filter_map(|(serves, interface)| serves.then_some(interface)).collect()
    }

    fn find(&self, path: &str) -> Option<Call> {
        if path == ACTIVATE_PATH {
            return Some(Call::Activate);
        }
        if let (Some(driver), Some(method)) = (&self.volume, pintle_wire::volume::Method::from_path(path)) {
            return Some(Call::Volume(Arc::clone(driver), method));
        }
        if let (Some(driver), Some(method)) = (&self.network, pintle_wire::network::Method::from_path(path)) {
            return Some(Call::Network(Arc::clone(driver), method));
        }
        if let (Some(driver), Some(method)) = (&self.ipam, pintle_wire::ipam::Method::from_path(path)) {
            return Some(Call::Ipam(Arc::clone(driver), method));
        }
        if let (Some(driver), Some(method)) =
            (&self.authorizer, pintle_wire::authorization::Method::from_path(path))
        {
            return Some(Call::Authorize(Arc::clone(driver), method));
        }
        if let (Some(streams), Some(method)) = (&self.log, pintle_wire::log::Method::from_path(path)) {
            return Some(Call::Log(Arc::clone(streams), method));
        }
        None
    }

    /// Whether a call is posted to this path.
    pub(crate) fn knows(&self, path: &str) -> bool {
        self.find(path).is_some()
    }

    /// The longest request that is read from this path. Whole answers of an engine are judged, so there is more of them.
    pub(crate) fn longest(&self, path: &str) -> usize {
        match self.find(path) {
            Some(Call::Authorize(..)) => 64 << 20,
            _ => 1 << 20,
        }
    }

    /// Answers a call. 400 if the request cannot be read.
    pub(crate) async fn answer(&self, path: &str, body: &[u8]) -> Answer {
        match self.find(path) {
            Some(Call::Activate) => {
                let activation = Activation { implements: self.interfaces() };
                Answer::ok(activation.encode())
            }
            Some(Call::Volume(driver, method)) => volume::call(driver.as_ref(), method, body).await,
            Some(Call::Network(driver, method)) => network::call(driver.as_ref(), method, body).await,
            Some(Call::Ipam(driver, method)) => ipam::call(driver.as_ref(), method, body).await,
            Some(Call::Authorize(driver, method)) => authorization::call(driver.as_ref(), method, body).await,
            Some(Call::Log(streams, method)) => streams.call(method, body).await,
            None => Answer::unknown(path),
        }
    }
}
