//! Which version of CNI is spoken with the plugins of a network.

use std::{
    collections::HashMap,
    os::unix::fs::MetadataExt,
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use pintle_contract::{DriverError, ErrorKind};
use pintle_wire::cni::{Command, Invocation, NetworkConfig, PluginType, Version, VersionInfo, code};
use serde_json::json;

use super::program::{Cause, Failure, Programs};

/// What plugins have said of themselves. A program that was replaced is asked again.
#[derive(Debug, Default)]
pub(super) struct Versions {
    known: Mutex<HashMap<Build, Vec<Version>>>,
}

/// A program as it was installed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Build {
    path: PathBuf,
    inode: u64,
    modified: (i64, i64),
}

impl Versions {
    /// The newest version for which the configuration was written, and that every plugin and this engine speak.
    pub(super) async fn agree(
        &self,
        programs: &Programs,
        config: &NetworkConfig,
    ) -> Result<Version, DriverError> {
        let mut left: Vec<Version> =
            config.versions.iter().copied().filter(|version| version.is_supported()).collect();
        if left.is_empty() {
            return Err(refuse(config, &format!("this engine speaks up to {}", Version::V1_1_0)));
        }
        for plugin in &config.plugins {
            let spoken = self.of(programs, &plugin.plugin).await?;
            left.retain(|version| spoken.contains(version));
            if left.is_empty() {
                return Err(refuse(config, &format!("plugin {} speaks {}", plugin.plugin, list(&spoken))));
            }
            for inner in &plugin.delegates {
                // What runs it knows better whether it is needed, and says so.
                if programs.locate(inner).is_err() {
                    continue;
                }
                let spoken = self.of(programs, inner).await?;
                if left.iter().any(|version| spoken.contains(version)) {
                    left.retain(|version| spoken.contains(version));
                }
            }
        }
        left.pop().ok_or_else(|| refuse(config, "its plugins have no version in common"))
    }

    async fn of(&self, programs: &Programs, plugin: &PluginType) -> Result<Vec<Version>, DriverError> {
        let path = programs.locate(plugin)?;
        let meta = path.metadata()?;
        let build = Build { path, inode: meta.ino(), modified: (meta.mtime(), meta.mtime_nsec()) };
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&build).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let spoken = ask(programs, plugin).await?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|old, _| old.path != build.path);
        known.insert(build, spoken.clone());
        Ok(spoken)
    }
}

async fn ask(programs: &Programs, plugin: &PluginType) -> Result<Vec<Version>, DriverError> {
    let invocation = Invocation {
        command: Command::Version,
        container: String::new(),
        namespace: None,
        interface: String::new(),
        args: Vec::new(),
        path: programs.folders.clone(),
    };
    let question = json!({"cniVersion": Version::V1_1_0.to_string()});
    let answer = match programs.run(plugin, &invocation, &question).await {
        Ok(answer) => answer.unwrap_or_default(),
        // From before there was such a question.
        Err(Failure { cause: Cause::Said(error), .. }) if error.code == code::ENVIRONMENT => {
            return Ok(vec![Version::V0_1_0]);
        }
        Err(failure) => return Err(failure.into()),
    };
    let info = VersionInfo::decode(&answer).map_err(|error| {
        Failure::new(plugin, Command::Version, DriverError::internal(format!("its answer: {error}")))
    })?;
    Ok(info.supported)
}

fn refuse(config: &NetworkConfig, why: &str) -> DriverError {
    DriverError::new(
        ErrorKind::Unsupported,
        format!("the CNI configuration {} is for version {}; {why}", config.name, list(&config.versions)),
    )
}

fn list(versions: &[Version]) -> String {
    versions.iter().map(Version::to_string).collect::<Vec<_>>().join(", ")
}
