//! Versions of the specification, and which one two sides speak.

use std::{fmt, str::FromStr};

use serde_json::{Value, json};

use super::error::{CniError, code};
use crate::object::{DecodeError, Object};

/// A version of the specification.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Version(u32, u32, u32);

impl Version {
    /// The first one; also what it is if nothing is said.
    pub const V0_1_0: Self = Self(0, 1, 0);
    /// VERSION came.
    pub const V0_2_0: Self = Self(0, 2, 0);
    /// Chains and results of several addresses came.
    pub const V0_3_0: Self = Self(0, 3, 0);
    /// The same.
    pub const V0_3_1: Self = Self(0, 3, 1);
    /// CHECK came, and the previous result on DEL.
    pub const V0_4_0: Self = Self(0, 4, 0);
    /// Addresses no longer say their family.
    pub const V1_0_0: Self = Self(1, 0, 0);
    /// STATUS and GC came.
    pub const V1_1_0: Self = Self(1, 1, 0);

    /// Whether plugins of this version can be asked whether an attachment is as it was.
    pub fn has_check(self) -> bool {
        self >= Self::V0_4_0
    }

    /// Whether plugins of this version know STATUS and GC.
    pub fn has_status_and_gc(self) -> bool {
        self >= Self::V1_1_0
    }

    /// Whether this code can speak it.
    pub fn is_supported(self) -> bool {
        SUPPORTED.contains(&self)
    }
}

/// Every version that this code speaks, oldest first.
pub const SUPPORTED: [Version; 7] = [
    Version::V0_1_0,
    Version::V0_2_0,
    Version::V0_3_0,
    Version::V0_3_1,
    Version::V0_4_0,
    Version::V1_0_0,
    Version::V1_1_0,
];

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

impl FromStr for Version {
    type Err = CniError;

    /// One to three numbers; nothing at all is the first version.
    fn from_str(text: &str) -> Result<Self, CniError> {
        if text.is_empty() {
            return Ok(Self::V0_1_0);
        }
        let wrong = || CniError::new(code::DECODE, format!("invalid cniVersion {text:.32?}"));
        let mut numbers = [0; 3];
        let mut parts = text.split('.');
        for (index, number) in numbers.iter_mut().enumerate() {
            match parts.next() {
                Some(part) => *number = part.parse().map_err(|_| wrong())?,
                None if index > 0 => break,
                None => return Err(wrong()),
            }
        }
        let [major, minor, patch] = numbers;
        if parts.next().is_some() { Err(wrong()) } else { Ok(Self(major, minor, patch)) }
    }
}

/// What a plugin answers to VERSION.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionInfo {
    /// The version that was spoken to it.
    pub spoken: Version,
    /// What it can do.
    pub supported: Vec<Version>,
}

impl VersionInfo {
    /// Reads one. A plugin of 0.2.0 does not list what it supports; versions that are no versions are left out.
    pub fn decode(value: &Value) -> Result<Self, DecodeError> {
        let object = Object::root(value)?;
        let spoken = object.optional_string("cniVersion")?.unwrap_or_default();
        let spoken = spoken.parse().map_err(|_| object.error("cniVersion", "not a version"))?;
        let mut supported: Vec<Version> =
            object.strings("supportedVersions")?.iter().filter_map(|text| text.parse().ok()).collect();
        if supported.is_empty() {
            if spoken != Version::V0_2_0 {
                return Err(object.error("supportedVersions", "missing"));
            }
            supported = vec![Version::V0_1_0, Version::V0_2_0];
        }
        Ok(Self { spoken, supported })
    }

    /// As it travels.
    pub fn encode(&self) -> Value {
        let supported: Vec<String> = self.supported.iter().map(Version::to_string).collect();
        json!({"cniVersion": self.spoken.to_string(), "supportedVersions": supported})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_numbers() {
        assert_eq!("".parse::<Version>().unwrap(), Version::V0_1_0);
        assert_eq!("1".parse::<Version>().unwrap(), Version::V1_0_0);
        assert_eq!("0.4".parse::<Version>().unwrap(), Version::V0_4_0);
        assert!("0.10.0".parse::<Version>().unwrap() > Version::V0_4_0);
        for wrong in ["1.0.0.0", "v1", "1..0", "1.-1.0", "1.0.0-rc1"] {
            assert!(wrong.parse::<Version>().is_err(), "{wrong}");
        }
        assert!(SUPPORTED.is_sorted());
    }

    #[test]
    fn what_plugins_say_of_themselves() {
        let old = VersionInfo::decode(&json!({"cniVersion": "0.2.0"})).unwrap();
        assert_eq!(old.supported, [Version::V0_1_0, Version::V0_2_0]);
        assert!(VersionInfo::decode(&json!({"cniVersion": "1.0.0"})).is_err());
        let info = VersionInfo { spoken: Version::V1_1_0, supported: SUPPORTED.to_vec() };
        assert_eq!(VersionInfo::decode(&info.encode()).unwrap(), info);
    }
}
