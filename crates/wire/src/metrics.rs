//! The `MetricsCollector` interface: two calls without a body, whose answers nobody reads.

use pintle_contract::{DriverError, ErrorKind};

use crate::failure::Dialect;

/// Docker reads no answer but its status.
const DIALECT: Dialect = Dialect { keys: &[], prefix: "", unnamed: |_, _| ErrorKind::Internal };

/// A method of the interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Method {
    /// Tells a collector that it may begin.
    Start,
    /// Tells it that the engine goes down.
    Stop,
}

impl Method {
    /// Every method.
    pub const ALL: [Self; 2] = [Self::Start, Self::Stop];

    /// Where it is posted.
    pub fn path(self) -> &'static str {
        match self {
            Self::Start => "/MetricsCollector.StartMetrics",
            Self::Stop => "/MetricsCollector.StopMetrics",
        }
    }

    /// The method posted to `path`.
    pub fn from_path(path: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.path() == path)
    }

    /// Its name in error texts: `MetricsCollector.StartMetrics`.
    pub fn name(self) -> &'static str {
        self.path().trim_start_matches('/')
    }
}

/// Whether the call was a success: any answer with status 200 is.
pub fn accept(method: Method, status: u16, body: &[u8]) -> Result<(), DriverError> {
    if status == 200 {
        return Ok(());
    }
    DIALECT.accept(method.name(), status, body).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_alone_decides() {
        assert!(accept(Method::Start, 200, b"not JSON").is_ok());
        assert!(accept(Method::Start, 200, br#"{"Err":"ignored by Docker, too"}"#).is_ok());
        let error = accept(Method::Stop, 500, br#"{"Err":"busy"}"#).unwrap_err();
        assert!(error.message.contains("busy"), "{}", error.message);
    }
}
