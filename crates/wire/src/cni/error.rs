//! What a plugin says when it failed.

use std::fmt;

use pintle_contract::{DriverError, ErrorKind};
use serde_json::{Map, Value};

use super::version::Version;
use crate::object::{DecodeError, Object};

/// The codes that the specification and its library know. From 100 on they are a plugin's own.
pub mod code {
    /// The version is not spoken.
    pub const VERSION: u64 = 1;
    /// A field of the configuration is not supported.
    pub const FIELD: u64 = 2;
    /// No such container, and nothing to be cleaned up.
    pub const CONTAINER: u64 = 3;
    /// A variable is missing or wrong.
    pub const ENVIRONMENT: u64 = 4;
    /// Reading or writing failed.
    pub const IO: u64 = 5;
    /// What was read is not what it should be.
    pub const DECODE: u64 = 6;
    /// The configuration makes no sense.
    pub const CONFIG: u64 = 7;
    /// The namespace cannot be used.
    pub const NAMESPACE: u64 = 8;
    /// It may work later.
    pub const LATER: u64 = 11;
    /// Nothing can be added.
    pub const UNAVAILABLE: u64 = 50;
    /// Nothing can be added, and what is there may have lost its connection.
    pub const LIMITED: u64 = 51;
    /// Anything else, as the specification's library numbers it.
    pub const INTERNAL: u64 = 999;
}

/// A plugin's failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CniError {
    /// One of [`code`], or the plugin's own.
    pub code: u64,
    /// A few words.
    pub message: String,
    /// More words; often none.
    pub details: String,
}

impl CniError {
    /// A failure without details.
    pub fn new(code: u64, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), details: String::new() }
    }

    /// What callers may branch on.
    pub fn kind(&self) -> ErrorKind {
        match self.code {
            code::VERSION => ErrorKind::Unsupported,
            code::CONTAINER => ErrorKind::NotFound,
            code::FIELD | code::DECODE | code::CONFIG | code::NAMESPACE => ErrorKind::InvalidArgument,
            code::LATER | code::UNAVAILABLE | code::LIMITED => ErrorKind::Unavailable,
            _ => ErrorKind::Internal,
        }
    }

    /// Reads one. An object that has neither a code nor a message is not one.
    pub fn decode(value: &Value) -> Result<Self, DecodeError> {
        let object = Object::root(value)?;
        let code = object.get("code").and_then(Value::as_u64);
        let message = object.optional_string("msg")?;
        if code.is_none() && message.is_none() {
            return Err(object.error("code", "missing"));
        }
        let details = object.optional_string("details")?.unwrap_or_default();
        Ok(Self { code: code.unwrap_or_default(), message: message.unwrap_or_default(), details })
    }

    /// As it travels.
    pub fn encode(&self, version: Version) -> Value {
        let mut object = Map::new();
        object.insert("cniVersion".into(), version.to_string().into());
        object.insert("code".into(), self.code.into());
        object.insert("msg".into(), self.message.clone().into());
        if !self.details.is_empty() {
            object.insert("details".into(), self.details.clone().into());
        }
        Value::Object(object)
    }
}

impl fmt::Display for CniError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.message.is_empty(), self.details.is_empty()) {
            (false, true) => f.write_str(&self.message)?,
            (false, false) => write!(f, "{}; {}", self.message, self.details)?,
            (true, _) => f.write_str(if self.details.is_empty() { "no message" } else { &self.details })?,
        }
        write!(f, " (code {})", self.code)
    }
}

impl std::error::Error for CniError {}

impl From<CniError> for DriverError {
    fn from(error: CniError) -> Self {
        Self::new(error.kind(), error.to_string())
    }
}

/// A driver's failure as a plugin in front of it tells it.
impl From<DriverError> for CniError {
    fn from(error: DriverError) -> Self {
        let code = match error.kind {
            ErrorKind::InvalidArgument => code::CONFIG,
            ErrorKind::Unavailable | ErrorKind::Timeout | ErrorKind::InUse => code::LATER,
            _ => code::INTERNAL,
        };
        Self::new(code, error.message)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn failures_there_and_back() {
        let error =
            CniError { code: 7, message: "Invalid Configuration".into(), details: "too small".into() };
        assert_eq!(CniError::decode(&error.encode(Version::V1_1_0)).unwrap(), error);
        assert_eq!(error.to_string(), "Invalid Configuration; too small (code 7)");
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert_eq!(CniError::new(11, "").kind(), ErrorKind::Unavailable);
        assert_eq!(CniError::new(100, "").kind(), ErrorKind::Internal);
        assert!(CniError::decode(&json!({"ips": []})).is_err());
        assert!(CniError::decode(&json!("text")).is_err());
    }
}
