//! Which version of the API a client speaks.

use std::{fmt, str::FromStr};

/// A version such as `1.51`. Ordered as versions, not as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ApiVersion {
    /// Always 1 so far.
    pub major: u16,
    /// What changes.
    pub minor: u16,
}

/// The oldest version that is answered.
pub const MIN: ApiVersion = ApiVersion { major: 1, minor: 24 };
/// The newest version that is answered, and the one that requests without a version get.
pub const MAX: ApiVersion = ApiVersion { major: 1, minor: 51 };

/// Why a request's version is not served. The texts are Docker's: clients match them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VersionError {
    /// Older than the second, which is the oldest that this engine answers.
    TooOld(ApiVersion, ApiVersion),
    /// Newer than [`MAX`].
    TooNew(ApiVersion),
}

impl fmt::Display for VersionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooOld(version, oldest) => write!(
                f,
                "client version {version} is too old. Minimum supported API version is {oldest}, please upgrade your \
                 client to a newer version"
            ),
            Self::TooNew(version) => {
                write!(f, "client version {version} is too new. Maximum supported API version is {MAX}")
            }
        }
    }
}

impl std::error::Error for VersionError {}

impl ApiVersion {
    /// `1.minor`.
    pub const fn minor(minor: u16) -> Self {
        Self { major: 1, minor }
    }

    /// Itself, if it is served by an engine that answers nothing older than `oldest`.
    pub fn served(self, oldest: Self) -> Result<Self, VersionError> {
        match self {
            old if old < oldest => Err(VersionError::TooOld(old, oldest)),
            new if new > MAX => Err(VersionError::TooNew(new)),
            served => Ok(served),
        }
    }

    /// What an operator gives as the oldest version to be answered.
    pub fn as_oldest(text: &str) -> Result<Self, String> {
        if text.starts_with(['v', 'V']) {
            return Err("API version must be provided without \"v\" prefix".to_owned());
        }
        match text.parse() {
            Err(NotAVersion) => Err(format!("{text:?} is no API version")),
            Ok(version) if version < MIN => Err(format!("minimum supported API version is {MIN}: {text}")),
            Ok(version) if version > MAX => Err(format!("maximum supported API version is {MAX}: {text}")),
            Ok(version) => Ok(version),
        }
    }

    /// Takes a leading `/v1.2` off a path. A path without one is answered as [`MAX`].
    pub fn of_path(path: &str) -> (Option<Self>, &str) {
        let Some(rest) = path.strip_prefix("/v") else { return (None, path) };
        let end = rest.find('/').unwrap_or(rest.len());
        match rest[..end].parse() {
            Ok(version) => (Some(version), &rest[end..]),
            Err(NotAVersion) => (None, path),
        }
    }
}

impl fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// The text is not of the form `digits` or `digits.digits`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotAVersion;

impl FromStr for ApiVersion {
    type Err = NotAVersion;

    fn from_str(text: &str) -> Result<Self, NotAVersion> {
        let (major, minor) = text.split_once('.').unwrap_or((text, "0"));
        let number = |digits: &str| {
            if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(NotAVersion);
            }
            // A number beyond u16 is a version that is too new, whatever it is exactly.
            Ok(digits.parse().unwrap_or(u16::MAX))
        };
        Ok(Self { major: number(major)?, minor: number(minor)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_as_numbers() {
        assert!(ApiVersion::minor(9) < ApiVersion::minor(24));
        assert!(ApiVersion { major: 2, minor: 0 } > MAX);
    }

    #[test]
    fn a_path_may_or_may_not_have_one() {
        assert_eq!(ApiVersion::of_path("/v1.41/info"), (Some(ApiVersion::minor(41)), "/info"));
        assert_eq!(ApiVersion::of_path("/info"), (None, "/info"));
        assert_eq!(ApiVersion::of_path("/volumes"), (None, "/volumes"));
        assert_eq!(ApiVersion::of_path("/version"), (None, "/version"));
        assert_eq!(ApiVersion::of_path("/v1.41"), (Some(ApiVersion::minor(41)), ""));
        assert_eq!(ApiVersion::of_path("/v1/info"), (Some(ApiVersion::minor(0)), "/info"));
        assert_eq!(ApiVersion::of_path("/v1.x/info"), (None, "/v1.x/info"));
    }

    #[test]
    fn what_is_not_served_says_so_in_dockers_words() {
        let text = |minor| ApiVersion::minor(minor).served(MIN).map_err(|error| error.to_string());
        assert_eq!(
            text(10),
            Err("client version 1.10 is too old. Minimum supported API version is 1.24, please upgrade your client \
                 to a newer version"
                .to_owned())
        );
        assert_eq!(
            text(99),
            Err("client version 1.99 is too new. Maximum supported API version is 1.51".to_owned())
        );
        assert_eq!(text(24), Ok(ApiVersion::minor(24)));
        assert_eq!(text(51), Ok(ApiVersion::minor(51)));
        let oldest = ApiVersion::as_oldest("1.44").unwrap();
        assert_eq!(
            ApiVersion::minor(43).served(oldest),
            Err(VersionError::TooOld(ApiVersion::minor(43), ApiVersion::minor(44)))
        );
        for (text, why) in [
            ("v1.44", "without \"v\" prefix"),
            ("1.10", "minimum supported API version is 1.24: 1.10"),
            ("1.99", "maximum supported API version is 1.51: 1.99"),
            ("", "no API version"),
        ] {
            assert!(ApiVersion::as_oldest(text).unwrap_err().contains(why), "{text}");
        }
    }
}
