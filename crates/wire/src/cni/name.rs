//! Names that may stand in paths, files and the kernel's tables.

use std::fmt;

/// A name that is refused. The text says which and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidName(String);

/// What a plugin configuration calls its plugin: a file's name, never a path.
///
/// CNI's own library once joined it to the binary path as it was, so that `../../bin/sh` ran (CVE-2021-20206).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PluginType(String);

impl PluginType {
    /// A single component of a path, and neither of the two that mean a folder.
    pub fn new(name: &str) -> Result<Self, InvalidName> {
        let why = if name.is_empty() {
            "it is empty"
        } else if name.contains(['/', '\\']) || name == "." || name == ".." {
            "it must be a file's name, not a path"
        } else if name.chars().any(char::is_control) {
            "it has control characters"
        } else if name.len() > 255 {
            "it is longer than a file's name can be"
        } else {
            return Ok(Self(name.to_owned()));
        };
        Err(InvalidName(format!("invalid plugin type {name:.64?}: {why}")))
    }

    /// The file's name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PluginType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether `name` can be a network's.
pub fn network_name(name: &str) -> Result<(), InvalidName> {
    identifier("network name", name)
}

/// Whether `id` can be a container's.
pub fn container_id(id: &str) -> Result<(), InvalidName> {
    identifier("container id", id)
}

fn identifier(what: &str, name: &str) -> Result<(), InvalidName> {
    let mut bytes = name.bytes();
    let starts = bytes.next().is_some_and(|first| first.is_ascii_alphanumeric());
    let goes_on = bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'));
    if starts && goes_on {
        return Ok(());
    }
    Err(InvalidName(format!(
        "invalid {what} {name:.64?}: it must be letters, digits, '_', '.' and '-', and begin with a letter or digit"
    )))
}

/// Whether `name` can be an interface's, as the kernel sees it.
pub fn interface_name(name: &str) -> Result<(), InvalidName> {
    let why = if name.is_empty() {
        "it is empty"
    } else if name.len() > 15 {
        "it is longer than 15 bytes"
    } else if name == "." || name == ".." || name.contains(['/', ':']) {
        "it is, or is part of, a path"
    } else if name.chars().any(|letter| letter.is_whitespace() || letter.is_control()) {
        "it has blanks or control characters"
    } else {
        return Ok(());
    };
    Err(InvalidName(format!("invalid interface name {name:.64?}: {why}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_never_leaves_its_folder() {
        for hostile in ["", ".", "..", "../sh", "/bin/sh", "a/b", "a\\b", "a\0b", "a\nb", &"x".repeat(256)] {
            assert!(PluginType::new(hostile).is_err(), "{hostile:?}");
        }
        for good in ["bridge", "cilium-cni", "..hidden", "a b"] {
            assert_eq!(PluginType::new(good).unwrap().as_str(), good);
        }
    }

    #[test]
    fn identifiers_and_interfaces() {
        assert!(network_name("k8s-pod-network").is_ok() && network_name("-x").is_err());
        assert!(network_name("a/b").is_err() && network_name("").is_err() && network_name("net\n").is_err());
        assert!(interface_name("eth0").is_ok() && interface_name("eth0/..").is_err());
        assert!(interface_name("sixteen-bytes-xx").is_err() && interface_name("a b").is_err());
    }
}
