//! The SDK's source, carried by this program for the plugins that it scaffolds.

use std::path::Path;

use anyhow::{Context as _, Result, bail};

mod carried {
    include!(concat!(env!("OUT_DIR"), "/sdk.rs"));
}

/// The crate that a plugin depends on, below the directory that [`write`] fills.
pub const CRATE: &str = "pintle-sdk";

/// The crate for links, addresses and routes, which is there beside it.
pub const NETLINK: &str = "pintle-netlink";

/// Writes the SDK's crates into `dir`. An older SDK there is replaced, anything else is left alone.
pub fn write(dir: &Path) -> Result<()> {
    if dir.exists() {
        let empty = std::fs::read_dir(dir)
            .with_context(|| format!("cannot open {}", dir.display()))?
            .next()
            .is_none();
        if !empty && !dir.join(CRATE).join("Cargo.toml").is_file() {
            bail!(
                "{} holds something else; give a directory that is new, empty, or an older SDK",
                dir.display()
            );
        }
        std::fs::remove_dir_all(dir).with_context(|| format!("cannot replace {}", dir.display()))?;
    }
    for (name, text) in carried::FILES {
        let path = dir.join(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
        }
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// A `Cargo.lock` for the crate `name`, which depends on these of the SDK's crates alone: the versions that pintle itself
/// was built and tested with, and that are on the machine that built it.
pub fn lock(name: &str, crates: &[&str]) -> String {
    let lock = if crates.contains(&NETLINK) { carried::LOCK_WITH_NETLINK } else { carried::LOCK };
    let mut crates = crates.to_vec();
    crates.sort_unstable();
    let dependencies: String = crates.iter().map(|name| format!(" \"{name}\",\n")).collect();
    format!(
        "{}\n[[package]]\nname = \"{name}\"\nversion = \"0.1.0\"\ndependencies = [\n{dependencies}]\n",
        lock.trim_end()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_sdk_is_replaced_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let sdk = dir.path().join("sdk");
        write(&sdk).unwrap();
        std::fs::write(sdk.join("pintle-sdk/src/stale.rs"), "").unwrap();
        write(&sdk).unwrap();
        assert!(!sdk.join("pintle-sdk/src/stale.rs").exists());
        for part in ["pintle-sdk", "pintle-wire", "pintle-contract", "pintle-netlink"] {
            assert!(sdk.join(part).join("src/lib.rs").is_file(), "{part}");
        }
        std::fs::write(dir.path().join("mine"), "").unwrap();
        assert!(write(dir.path()).unwrap_err().to_string().contains("something else"));
        assert!(dir.path().join("mine").exists());
    }

    #[test]
    fn the_lock_has_what_the_sdk_needs_and_not_the_engine() {
        let lock = lock("mine", &[CRATE]);
        for name in ["mine", "pintle-sdk", "pintle-contract", "tokio", "hyper", "serde_json"] {
            assert!(lock.contains(&format!("name = \"{name}\"\n")), "{name}");
        }
        for name in
            ["pintle-engine", "pintle-netlink", "libcontainer", "redb", "proptest", "tempfile", "clap"]
        {
            assert!(!lock.contains(&format!("name = \"{name}\"\n")), "{name}");
        }
    }
}
