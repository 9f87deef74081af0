//! `~/.docker/config.json`. Keys that this client does not know are kept.

use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value};

use crate::json::Fields;

/// The most that a config.json may be.
const MAX_FILE: u64 = 8 << 20;

/// The client's configuration.
#[derive(Debug, Clone)]
pub struct ConfigFile {
    path: PathBuf,
    root: Value,
}

impl ConfigFile {
    /// Reads `dir/config.json`. A file that is not there is an empty one; a file that cannot be read is an error, so
    /// that a later `login` does not write over it.
    pub fn load(dir: &Path) -> Result<Self> {
        let path = dir.join("config.json");
        let empty = || Value::Object(Map::new());
        let root = match std::fs::metadata(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => empty(),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
            Ok(meta) if meta.len() > MAX_FILE => bail!("{} is larger than 8 MiB", path.display()),
            Ok(_) => {
                let text = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
                if text.iter().all(u8::is_ascii_whitespace) {
                    empty()
                } else {
                    serde_json::from_slice(&text)
                        .with_context(|| format!("{} is not valid JSON", path.display()))?
                }
            }
        };
        if !root.is_object() {
            bail!("{} is not a JSON object", path.display());
        }
        Ok(Self { path, root })
    }

    /// `--config`, `DOCKER_CONFIG`, `~/.docker`.
    pub fn directory(flag: Option<&Path>) -> PathBuf {
        if let Some(dir) = flag {
            return dir.to_owned();
        }
        match std::env::var_os("DOCKER_CONFIG").filter(|v| !v.is_empty()) {
            Some(dir) => PathBuf::from(dir),
            None => std::env::home_dir().unwrap_or_else(|| PathBuf::from("/root")).join(".docker"),
        }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A text setting, such as `detachKeys` or `psFormat`.
    pub fn setting(&self, key: &str) -> Option<&str> {
        self.root.get(key).and_then(Value::as_str).filter(|v| !v.is_empty())
    }

    /// `HttpHeaders`.
    pub fn headers(&self) -> Vec<(String, String)> {
        let headers = self.root.at("HttpHeaders").as_object();
        headers
            .into_iter()
            .flatten()
            // A configured User-Agent would claim to be another program; Docker drops it, too.
            .filter(|(name, _)| !name.eq_ignore_ascii_case("user-agent"))
            .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
            .collect()
    }

    /// The helper for `server`: `credHelpers` beats `credsStore`.
    pub fn helper(&self, server: &str) -> Option<&str> {
        let own = self.root.at("credHelpers").get(server).and_then(Value::as_str);
        own.or_else(|| self.setting("credsStore")).filter(|name| !name.is_empty())
    }

    /// The registries that have a helper of their own.
    pub fn helped(&self) -> impl Iterator<Item = &String> {
        self.root.at("credHelpers").as_object().into_iter().flat_map(Map::keys)
    }

    /// Whether any credentials or stores are configured.
    pub fn contains_auth(&self) -> bool {
        let filled = |key: &str| self.root.at(key).as_object().is_some_and(|o| !o.is_empty());
        self.setting("credsStore").is_some() || filled("credHelpers") || filled("auths")
    }

    /// Remembers a store for all registries.
    pub fn set_store(&mut self, name: &str) {
        if let Some(root) = self.root.as_object_mut() {
            root.insert("credsStore".to_owned(), Value::from(name));
        }
    }

    /// The entries of `auths`.
    pub fn auths(&self) -> impl Iterator<Item = (&String, &Value)> {
        self.root.at("auths").as_object().into_iter().flatten()
    }

    /// Sets one entry of `auths`.
    pub fn set_auth(&mut self, server: &str, entry: Value) {
        if let Some(root) = self.root.as_object_mut() {
            let auths = root.entry("auths").or_insert_with(|| Value::Object(Map::new()));
            if !auths.is_object() {
                *auths = Value::Object(Map::new());
            }
            if let Some(auths) = auths.as_object_mut() {
                auths.insert(server.to_owned(), entry);
            }
        }
    }

    /// Drops one entry of `auths`; whether there was one.
    pub fn remove_auth(&mut self, server: &str) -> bool {
        self.root
            .get_mut("auths")
            .and_then(Value::as_object_mut)
            .is_some_and(|auths| auths.shift_remove(server).is_some())
    }

    /// Writes the file, whole or not at all, readable by its owner only.
    pub fn store(&self) -> Result<()> {
        // A link to a file elsewhere stays a link.
        let path = std::fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        let Some(dir) = path.parent() else { bail!("{} has no directory", path.display()) };
        if !dir.exists() {
            std::fs::create_dir_all(dir)?;
            std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700))?;
        }
        let scratch = dir.join(format!(".config.json.{}", std::process::id()));
        let write = || -> std::io::Result<()> {
            let mut file = std::fs::OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&scratch)?;
            file.write_all(&pretty(&self.root)?)?;
            file.sync_all()?;
            std::fs::rename(&scratch, &path)
        };
        let result = write().with_context(|| format!("cannot write {}", path.display()));
        if result.is_err() {
            let _ = std::fs::remove_file(&scratch);
        }
        result
    }
}

/// JSON indented with tabs, as Docker writes this file.
fn pretty(value: &Value) -> std::io::Result<Vec<u8>> {
    let mut out = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"\t");
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, formatter);
    serde::Serialize::serialize(value, &mut serializer)?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn unknown_keys_survive_a_write_and_the_file_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        std::fs::write(&path, r#"{"future": {"x": [1]}, "auths": {"a": {}}, "credHelpers": {"b": "bh"}}"#)
            .unwrap();
        let mut config = ConfigFile::load(dir.path()).unwrap();
        config.set_auth("c", json!({"auth": "eA=="}));
        assert!(config.remove_auth("a"));
        assert!(!config.remove_auth("a"));
        config.store().unwrap();
        let back = ConfigFile::load(dir.path()).unwrap();
        assert_eq!(back.root["future"]["x"][0], 1);
        assert_eq!(back.auths().map(|(k, _)| k.as_str()).collect::<Vec<_>>(), ["c"]);
        assert_eq!((back.helper("b"), back.helper("c")), (Some("bh"), None));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_broken_file_is_an_error_and_is_not_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("config.json"), "{ not json").unwrap();
        assert!(ConfigFile::load(dir.path()).unwrap_err().to_string().contains("not valid JSON"));
        std::fs::write(dir.path().join("config.json"), "").unwrap();
        assert!(ConfigFile::load(dir.path()).is_ok());
        std::fs::write(dir.path().join("config.json"), "[]").unwrap();
        assert!(ConfigFile::load(dir.path()).is_err());
    }

    #[test]
    fn a_user_agent_is_not_taken_from_the_file() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(
            dir.path().join("config.json"),
            r#"{"HttpHeaders": {"X-Meta-A": "1", "user-agent": "evil"}}"#,
        )
        .unwrap();
        assert_eq!(
            ConfigFile::load(dir.path()).unwrap().headers(),
            [("X-Meta-A".to_owned(), "1".to_owned())]
        );
    }
}
