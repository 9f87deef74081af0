//! From a request's path and body to a driver and back.

use std::sync::Arc;

use http::StatusCode;
use pintle_contract::{DriverError, VolumeDriver};
use pintle_wire::{
    Interface, encode_error,
    volume::{Method, Reply, Request},
};

/// What one driver answers.
pub(crate) struct Answer {
    pub status: StatusCode,
    pub body: Vec<u8>,
}

impl Answer {
    pub(crate) fn error(status: StatusCode, error: &DriverError) -> Self {
        Self { status, body: encode_error(error) }
    }
}

/// A driver of any kind, behind the bytes. Each kind of contract adds a variant.
#[derive(Clone)]
pub(crate) enum Service {
    Volume(Arc<dyn VolumeDriver>),
}

impl Service {
    pub(crate) fn interface(&self) -> Interface {
        match self {
            Self::Volume(_) => Interface::Volume,
        }
    }

    /// Whether a call is posted to this path.
    pub(crate) fn knows(&self, path: &str) -> bool {
        match self {
            Self::Volume(_) => Method::from_path(path).is_some(),
        }
    }

    /// Answers a call, as the helpers for Go do: 200 and the value, or 500 and `{"Err": …}`; 400 if the
    /// request cannot be read.
    pub(crate) async fn call(&self, path: &str, body: &[u8]) -> Answer {
        match self {
            Self::Volume(driver) => call_volume(driver.as_ref(), path, body).await,
        }
    }
}

async fn call_volume(driver: &dyn VolumeDriver, path: &str, body: &[u8]) -> Answer {
    let Some(method) = Method::from_path(path) else {
        let error = DriverError::invalid(format!("no such call: {path}"));
        return Answer::error(StatusCode::NOT_FOUND, &error);
    };
    let request = match Request::decode(method, body) {
        Ok(request) => request,
        Err(error) => {
            return Answer::error(StatusCode::BAD_REQUEST, &DriverError::invalid(error.to_string()));
        }
    };
    let reply = match request {
        Request::Create(request) => driver.create(request).await.map(|()| Reply::Done),
        Request::Remove { name } => driver.remove(&name).await.map(|()| Reply::Done),
        Request::Mount { name, id } => {
            driver.mount(&name, &id).await.map(|path| Reply::Mountpoint(Some(path)))
        }
        Request::Unmount { name, id } => driver.unmount(&name, &id).await.map(|()| Reply::Done),
        Request::Path { name } => driver.path(&name).await.map(Reply::Mountpoint),
        Request::Get { name } => driver.get(&name).await.map(Reply::Volume),
        Request::List => driver.list().await.map(Reply::Volumes),
        Request::Capabilities => driver.capabilities().await.map(Reply::Capabilities),
    };
    match reply {
        Ok(reply) => Answer { status: StatusCode::OK, body: reply.encode() },
        Err(error) => Answer::error(StatusCode::INTERNAL_SERVER_ERROR, &error),
    }
}
