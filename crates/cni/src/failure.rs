use std::fmt;

use pintle_contract::DriverError;
use pintle_wire::cni::{CniError, InvalidName, code};

/// What goes wrong here, as the runtime will read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure(pub(crate) CniError);

impl Failure {
    pub(crate) fn new(code: u64, message: impl Into<String>) -> Self {
        Self(CniError::new(code, message))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<CniError> for Failure {
    fn from(error: CniError) -> Self {
        Self(error)
    }
}

impl From<DriverError> for Failure {
    fn from(error: DriverError) -> Self {
        Self(error.into())
    }
}

impl From<pintle_netlink::Error> for Failure {
    fn from(error: pintle_netlink::Error) -> Self {
        Self::new(code::INTERNAL, error.to_string())
    }
}

impl From<InvalidName> for Failure {
    fn from(error: InvalidName) -> Self {
        Self(error.into())
    }
}
