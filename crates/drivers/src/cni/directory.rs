//! Where network configurations lie, and which one has a name.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use pintle_contract::{DriverError, ErrorKind};
use pintle_wire::cni::{ConfigError, NetworkConfig, PluginConfig};

use super::trust;

/// A configuration is a page of text.
const MOST: u64 = 1 << 20;

/// The folder of network configurations, such as `/etc/cni/net.d`.
#[derive(Debug, Clone)]
pub(super) struct Directory {
    pub(super) path: PathBuf,
}

impl Directory {
    /// The configuration called `name`: lists first, in the order of their files' names, then single plugins.
    ///
    /// A file that cannot be read hides none of the others; it is named if nothing is found.
    pub(super) fn find(&self, name: &str) -> Result<NetworkConfig, DriverError> {
        let lists = self.files(&self.path, &["conflist"])?;
        let singles = self.files(&self.path, &["conf", "json"])?;
        let mut known = Vec::new();
        let mut broken = Vec::new();
        for (file, list) in
            lists.iter().map(|file| (file, true)).chain(singles.iter().map(|file| (file, false)))
        {
            match self.load(file, list) {
                Ok(config) if config.name == name => return Ok(config),
                Ok(config) => known.push(config.name),
                Err(error) => broken.push(format!("{}: {}", file.display(), error.message)),
            }
        }
        let mut message = format!("no CNI configuration is called {name:.64?} in {}", self.path.display());
        if !known.is_empty() {
            message += &format!("; there are {}", known.join(", "));
        }
        if !broken.is_empty() {
            message += &format!("; some could not be read: {}", broken.join("; "));
        }
        Err(DriverError::not_found(message))
    }

    fn load(&self, file: &Path, list: bool) -> Result<NetworkConfig, DriverError> {
        let bytes = read(file)?;
        if !list {
            return NetworkConfig::parse_single(&bytes).map_err(invalid);
        }
        let mut config = NetworkConfig::parse_list(&bytes).map_err(invalid)?;
        if !config.only_inlined {
            for file in self.files(&self.path.join(&config.name), &["conf"])? {
                let plugin = PluginConfig::parse(&read(&file)?)
                    .map_err(|error| DriverError::invalid(format!("{}: {error}", file.display())))?;
                config.plugins.push(plugin);
            }
        }
        if config.plugins.is_empty() { Err(invalid(ConfigError::NoPlugins)) } else { Ok(config) }
    }

    fn files(&self, folder: &Path, extensions: &[&str]) -> Result<Vec<PathBuf>, DriverError> {
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => {
                let message = format!("{}: {error}", folder.display());
                return Err(DriverError { message, ..DriverError::from(error) });
            }
        };
        let mut files: Vec<PathBuf> = entries
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| {
                let extension = path.extension().and_then(|extension| extension.to_str());
                extension.is_some_and(|extension| extensions.contains(&extension)) && !path.is_dir()
            })
            .collect();
        files.sort();
        Ok(files)
    }
}

fn invalid(error: ConfigError) -> DriverError {
    DriverError::invalid(error.to_string())
}

fn read(file: &Path) -> Result<Vec<u8>, DriverError> {
    if let Some(stranger) = trust::stranger(&file.canonicalize()?)? {
        let message = format!("other users may write to {}", stranger.display());
        return Err(DriverError::new(ErrorKind::PermissionDenied, message));
    }
    let mut bytes = Vec::new();
    File::open(file)?.take(MOST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MOST {
        return Err(DriverError::invalid("larger than a configuration can be"));
    }
    Ok(bytes)
}
