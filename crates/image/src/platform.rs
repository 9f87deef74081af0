//! What an image runs on.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::ImageError;

/// An operating system and a processor, in Go's words: `linux/amd64`, `linux/arm/v7`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Platform {
    /// `linux`.
    pub os: String,
    /// `amd64`, `arm64`, `arm`, …
    pub architecture: String,
    /// `v7`, `v8`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

impl Platform {
    /// This machine.
    pub fn host() -> Self {
        let (architecture, variant) = match std::env::consts::ARCH {
            "x86_64" => ("amd64", None),
            "x86" => ("386", None),
            "aarch64" => ("arm64", Some("v8")),
            "arm" => ("arm", Some("v7")),
            "powerpc64" if cfg!(target_endian = "little") => ("ppc64le", None),
            other => (other, None),
        };
        Self {
            os: "linux".to_owned(),
            architecture: architecture.to_owned(),
            variant: variant.map(str::to_owned),
        }
    }

    fn variant(&self) -> &str {
        match (self.architecture.as_str(), self.variant.as_deref()) {
            ("arm64", None | Some("")) => "v8",
            ("arm", None | Some("")) => "v7",
            (_, variant) => variant.unwrap_or_default(),
        }
    }

    /// How well something built for `other` runs here: 0 is exactly right, `None` is not at all.
    pub fn accepts(&self, other: &Self) -> Option<u32> {
        if self.os != other.os || self.architecture != other.architecture {
            return None;
        }
        let (here, there) = (self.variant(), other.variant());
        if here == there {
            return Some(0);
        }
        let level = |variant: &str| variant.strip_prefix('v').and_then(|level| level.parse::<u32>().ok());
        match (self.architecture.as_str(), level(here), level(there)) {
            // An older 32-bit ARM, or an older amd64 level, runs on a newer one.
            ("arm", Some(here), Some(there)) if there <= here => Some(here - there),
            ("amd64", here, there) if there.unwrap_or(1) <= here.unwrap_or(1) => {
                Some(here.unwrap_or(1) - there.unwrap_or(1))
            }
            _ => None,
        }
    }
}

impl FromStr for Platform {
    type Err = ImageError;

    fn from_str(text: &str) -> Result<Self, ImageError> {
        let bad = || {
            ImageError::invalid(format!(
                "{text:.100}: unknown operating system or architecture: invalid argument"
            ))
        };
        let parts: Vec<&str> = text.split('/').collect();
        if parts.iter().any(|part| {
            part.is_empty()
                || !part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
        }) {
            return Err(bad());
        }
        let normal = |architecture: &str| match architecture.to_ascii_lowercase().as_str() {
            "x86_64" | "x86-64" => "amd64".to_owned(),
            "aarch64" => "arm64".to_owned(),
            "i386" => "386".to_owned(),
            "armhf" => "arm".to_owned(),
            other => other.to_owned(),
        };
        match parts.as_slice() {
            ["linux"] => Ok(Self::host()),
            [architecture] => {
                Ok(Self { os: "linux".to_owned(), architecture: normal(architecture), variant: None })
            }
            [os, architecture] => {
                Ok(Self { os: os.to_ascii_lowercase(), architecture: normal(architecture), variant: None })
            }
            [os, architecture, variant] => Ok(Self {
                os: os.to_ascii_lowercase(),
                architecture: normal(architecture),
                variant: Some(variant.to_ascii_lowercase()),
            }),
            _ => Err(ImageError::invalid(format!(
                "\"{text:.100}\": cannot parse platform specifier: invalid argument"
            ))),
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match self.variant.as_deref() {
            None | Some("") => Ok(()),
            Some(variant) => write!(f, "/{variant}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn older_variants_run_on_newer_machines_only() {
        let parse = |text: &str| text.parse::<Platform>().unwrap();
        assert_eq!(parse("linux/arm/v7").accepts(&parse("linux/arm/v6")), Some(1));
        assert_eq!(parse("linux/arm/v6").accepts(&parse("linux/arm/v7")), None);
        assert_eq!(parse("linux/arm64").accepts(&parse("linux/arm64/v8")), Some(0));
        assert_eq!(parse("linux/amd64").accepts(&parse("linux/amd64/v3")), None);
        assert_eq!(parse("linux/amd64").accepts(&parse("windows/amd64")), None);
        assert_eq!(parse("aarch64").to_string(), "linux/arm64");
        "linux//x".parse::<Platform>().unwrap_err();
        "a/b/c/d".parse::<Platform>().unwrap_err();
    }
}
