//! The runtimes that containers may ask for.

use std::collections::BTreeMap;

use super::Binary;
use crate::error::RuntimeError;

/// The runtime that is linked in, by its own name and by those that Docker's clients send for theirs.
pub const EMBEDDED: [&str; 3] = ["pintle", "runc", "io.containerd.runc.v2"];

/// What is behind a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Chosen {
    /// The runtime that is linked in.
    Embedded,
    /// A program.
    Binary(Binary),
}

/// Every name, and the one that counts when none is given. An empty table knows the embedded runtime.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    entries: BTreeMap<String, Chosen>,
    default: Option<String>,
}

impl Known {
    /// Adds a name.
    pub fn add(&mut self, name: &str, chosen: Chosen) {
        self.entries.insert(name.to_owned(), chosen);
    }

    /// What counts when no name is given.
    pub fn set_default(&mut self, name: &str) {
        self.default = Some(name.to_owned());
    }

    /// The names that were added, and what they stand for.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &Chosen)> {
        self.entries.iter().map(|(name, chosen)| (name.as_str(), chosen))
    }

    /// What counts when no name is given.
    #[must_use]
    pub fn default_name(&self) -> &str {
        self.default.as_deref().unwrap_or(EMBEDDED[0])
    }

    /// What a name stands for.
    ///
    /// # Errors
    /// `InvalidArgument`, in Docker's words, for a name that means nothing.
    pub fn resolve(&self, name: &str) -> Result<Chosen, RuntimeError> {
        let name = if name.is_empty() { self.default_name() } else { name };
        if let Some(chosen) = self.entries.get(name) {
            return Ok(chosen.clone());
        }
        if EMBEDDED.contains(&name) {
            return Ok(Chosen::Embedded);
        }
        of_type(name)
            .map(|path| Chosen::Binary(Binary { name: name.to_owned(), path: path.into(), args: Vec::new() }))
            .ok_or_else(|| RuntimeError::InvalidArgument(format!("unknown or invalid runtime name: {name}")))
    }
}

/// The program behind containerd's name of a runtime, `io.containerd.<name>.v<number>`: by containerd's rule there is a
/// shim `containerd-shim-<name>-v<number>`, beside a program `<name>` with runc's command line.
#[must_use]
pub fn of_type(kind: &str) -> Option<String> {
    if kind.contains('/') {
        return None;
    }
    let mut parts = kind.rsplit('.');
    let (version, name) = (parts.next()?, parts.next()?);
    let numbered =
        version.strip_prefix('v').is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
    let plain = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
    (numbered && plain && parts.next().is_some()).then(|| match name {
        "kata" => "kata-runtime".to_owned(),
        other => other.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crun() -> Binary {
        Binary { name: "crun".into(), path: "/usr/bin/crun".into(), args: Vec::new() }
    }

    #[test]
    fn names() {
        let mut known = Known::default();
        assert_eq!(known.resolve("").unwrap(), Chosen::Embedded);
        assert_eq!(known.resolve("runc").unwrap(), Chosen::Embedded);
        assert_eq!(known.resolve("crun").unwrap_err().to_string(), "unknown or invalid runtime name: crun");
        known.add("crun", Chosen::Binary(crun()));
        known.set_default("crun");
        assert_eq!(known.resolve("").unwrap(), Chosen::Binary(crun()));
        assert_eq!(known.resolve("crun").unwrap(), Chosen::Binary(crun()));
        let Chosen::Binary(runsc) = known.resolve("io.containerd.runsc.v1").unwrap() else { panic!() };
        assert_eq!(runsc.path.to_str(), Some("runsc"));
    }

    #[test]
    fn containerds_names() {
        assert_eq!(of_type("io.containerd.kata.v2").as_deref(), Some("kata-runtime"));
        for bad in
            ["crun", "/usr/bin/x.y.v1", "runsc.v1", "io.containerd.runsc", "io.containerd.runsc.v", "a..v1"]
        {
            assert_eq!(of_type(bad), None, "{bad}");
        }
    }
}
