//! A plugin's package: `config.json` and `rootfs`, as the engine's create request takes them.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use pintle_wire::config::PluginConfig;
use pintle_wire::jsonc;

use crate::archive;

/// A directory that can be packaged.
#[derive(Debug, Clone)]
pub struct Package {
    dir: PathBuf,
    written: Vec<u8>,
    plain: Vec<u8>,
}

impl Package {
    /// Reads and checks `dir/config.json`; a mistake is reported with its line and column.
    pub fn open(dir: &Path) -> Result<Self> {
        let path = dir.join("config.json");
        let written = read_config(&path)?;
        PluginConfig::parse(&written).with_context(|| format!("{}", path.display()))?;
        let plain = jsonc::blank(&written).with_context(|| format!("{}", path.display()))?;
        if !dir.join("rootfs").is_dir() {
            bail!("{} has no directory rootfs: it holds the files that the plugin sees as /", dir.display());
        }
        Ok(Self { dir: dir.to_owned(), written, plain })
    }

    /// Writes the package as a tar archive, config.json as its author wrote it or without comments.
    pub fn write(&self, as_written: bool, out: &mut dyn Write) -> std::io::Result<()> {
        let mut builder = tar::Builder::new(out);
        let config = if as_written { &self.written } else { &self.plain };
        let mut header = tar::Header::new_gnu();
        header.set_size(config.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, "config.json", config.as_slice())?;
        archive::add(&mut builder, &self.dir.join("rootfs"), Path::new("rootfs"), true)?;
        builder.finish()
    }
}

/// Reads a config.json, which is at most 1 MiB.
pub fn read_config(path: &Path) -> Result<Vec<u8>> {
    let size = std::fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?.len();
    if size > jsonc::MAX_BYTES as u64 {
        bail!("{} has {size} bytes; at most {} are read", path.display(), jsonc::MAX_BYTES);
    }
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn config_in(package: &Package, as_written: bool) -> String {
        let mut bytes = Vec::new();
        package.write(as_written, &mut bytes).unwrap();
        let mut archive = tar::Archive::new(bytes.as_slice());
        let mut entry = archive.entries().unwrap().next().unwrap().unwrap();
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn comments_go_only_where_they_are_understood() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("rootfs")).unwrap();
        std::fs::write(dir.path().join("config.json"), "{ \"workdir\": \"/\", # here\n}").unwrap();
        let package = Package::open(dir.path()).unwrap();
        assert!(config_in(&package, true).contains("# here"));
        let plain = config_in(&package, false);
        assert_eq!(serde_json::from_str::<serde_json::Value>(&plain).unwrap()["workdir"], "/");
    }

    #[test]
    fn mistakes_have_a_place() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("config.json"), "{\n  \"env\": 3\n}").unwrap();
        let error = format!("{:#}", Package::open(dir.path()).unwrap_err());
        assert!(error.contains("line 2, column 10"), "{error}");
    }
}
