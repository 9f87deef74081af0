use std::{fmt, str::FromStr};

use crate::{Error, ErrorKind};

/// The name of a link: 1 to 15 letters, digits and `_ - . @ =`, not starting with a dash or a dot.
///
/// The kernel takes nearly any byte. These names end up in paths below `/proc/sys`, in filter rules and on command
/// lines, so what could mean something there is refused.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkName(String);

impl LinkName {
    /// The loopback interface of every namespace.
    pub fn loopback() -> Self {
        Self("lo".to_owned())
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for LinkName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = |why: &str| {
            Err(Error::of(ErrorKind::Invalid, "read", format!("interface name {text:.64?}"), why))
        };
        if text.is_empty() || text.len() > 15 {
            return wrong("it must have 1 to 15 characters");
        }
        if text.starts_with(['-', '.']) {
            return wrong("it must not start with a dash or a dot");
        }
        let fine = |c: char| c.is_ascii_alphanumeric() || "_-.@=".contains(c);
        if !text.chars().all(fine) {
            return wrong("only letters, digits and _ - . @ = are allowed");
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for LinkName {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl AsRef<str> for LinkName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LinkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_harmless_names() {
        for good in ["eth0", "br-0123456789ab", "en_p0.100", "veth@x", "a", "pintle0"] {
            assert_eq!(good.parse::<LinkName>().unwrap().as_str(), good);
        }
        let hostile = [
            "",
            ".",
            "..",
            "../eth0",
            "a/b",
            "eth 0",
            "eth0\n",
            "eth%d",
            "-eth0",
            "eth0;",
            "\"eth0\"",
            "eth*",
            "ü0",
            "0123456789abcdef",
            "eth0\0",
            "{eth0}",
            "$x",
            "a:b",
            "br+",
        ];
        for bad in hostile {
            let error = bad.parse::<LinkName>().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{bad:?}");
            assert!(error.to_string().contains("interface name"), "{error}");
        }
    }
}
