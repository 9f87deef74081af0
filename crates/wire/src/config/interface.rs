use std::fmt;

use serde::{Serialize, Serializer};

/// The interface type of volume plugins.
pub const VOLUME_DRIVER: &str = "docker.volumedriver/1.0";

/// `prefix.capability/version`, split as Docker splits it: at the first `/`, then at the last `.` before it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct InterfaceType {
    /// `docker`, or empty where there is no dot.
    pub prefix: String,
    /// `volumedriver`
    pub capability: String,
    /// `1.0`, or empty.
    pub version: String,
}

impl InterfaceType {
    /// Splits `text`; every text has a reading.
    pub fn parse(text: &str) -> Self {
        let (name, version) = text.split_once('/').unwrap_or((text, ""));
        let (prefix, capability) = name.rsplit_once('.').unwrap_or(("", name));
        Self { prefix: prefix.to_owned(), capability: capability.to_owned(), version: version.to_owned() }
    }
}

impl fmt::Display for InterfaceType {
    /// As Docker writes it back: always with the dot and the slash.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}/{}", self.prefix, self.capability, self.version)
    }
}

impl Serialize for InterfaceType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
