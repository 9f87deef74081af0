use std::sync::Arc;

use pintle_image::{Descriptor, Digest};
use pintle_wire::config::{PluginConfig, Privilege, Settings, apply_set, overrides};
use serde::{Deserialize, Serialize};

use super::grants::Grants;
use crate::HostError;

/// What the store knows about a managed plugin: what the user wants, never what is observed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) id: String,
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) reference: String,
    pub(crate) package: Package,
    /// The user's changes, as `set` takes them. Everything else comes from the package.
    #[serde(default)]
    pub(crate) overrides: Vec<String>,
    /// The networks that the user puts it in, in the place of what the package says. None: as the package says.
    #[serde(default)]
    pub(crate) networks: Vec<String>,
    #[serde(default)]
    pub(crate) wanted: bool,
    /// Whether the user was told that it is enabled. An `enable` that failed leaves a plugin wanted, and when it
    /// came up by itself the next `enable` is not the second one.
    #[serde(default)]
    pub(crate) acknowledged: bool,
    /// Whether it ever came up. An upgrade of such a plugin is tried out before it counts.
    #[serde(default)]
    pub(crate) proven: bool,
    /// Seconds, from the last `enable` that named any.
    #[serde(default)]
    pub(crate) timeout: Option<u64>,
    #[serde(default)]
    pub(crate) restarts: u32,
    #[serde(default)]
    pub(crate) unhealthy_restarts: u32,
    #[serde(default)]
    pub(crate) last_error: Option<String>,
    #[serde(default)]
    pub(crate) exit_code: Option<i32>,
    /// What the operator granted beside what the package asks for.
    #[serde(default)]
    pub(crate) grants: Grants,
    /// What an upgrade under way replaced. There after a crash, it is put back.
    #[serde(default)]
    pub(crate) previous: Option<Previous>,
}

/// A version of a plugin: its configuration and layers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Package {
    /// The configuration's own bytes, which its digest is of.
    pub(crate) config: String,
    pub(crate) config_digest: Digest,
    pub(crate) layers: Vec<Descriptor>,
    #[serde(default)]
    pub(crate) manifest_digest: Option<Digest>,
    #[serde(default)]
    pub(crate) granted: Vec<Privilege>,
    /// Whether an operator was asked for that: it was pulled. What was made here was granted by being made.
    #[serde(default)]
    pub(crate) prompted: bool,
    /// Bytes of its unpacked layers.
    #[serde(default)]
    pub(crate) size: u64,
    /// Counts the versions under this id, since each has its own writable layer.
    #[serde(default)]
    pub(crate) generation: u32,
}

/// See [`Record::previous`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Previous {
    pub(crate) package: Package,
    pub(crate) overrides: Vec<String>,
    #[serde(default)]
    pub(crate) grants: Grants,
    pub(crate) reference: String,
}

impl Package {
    /// The configuration, read. It was checked when it was installed.
    pub(crate) fn parse(&self) -> Result<PluginConfig, HostError> {
        PluginConfig::parse(self.config.as_bytes())
            .map_err(|error| HostError::Package(format!("the plugin's config.json: {error}")))
    }

    /// Every blob that must stay for this version to be pushed or unpacked again.
    pub(crate) fn blobs(&self) -> Vec<Digest> {
        let layers = self.layers.iter().map(|layer| layer.digest.clone());
        std::iter::once(self.config_digest.clone()).chain(layers).collect()
    }
}

impl Record {
    /// The blob store's name for this plugin.
    pub(crate) fn holder(id: &str) -> String {
        format!("plugin/{id}")
    }

    /// The blobs of every version that is still needed.
    pub(crate) fn blobs(&self) -> Vec<Digest> {
        let mut all = self.package.blobs();
        all.extend(self.previous.iter().flat_map(|previous| previous.package.blobs()));
        all
    }

    /// Puts back what an upgrade replaced.
    pub(crate) fn roll_back(&mut self) {
        if let Some(previous) = self.previous.take() {
            self.package = previous.package;
            self.overrides = previous.overrides;
            self.grants = previous.grants;
            self.reference = previous.reference;
        }
    }
}

/// A version together with the user's changes, ready to run.
#[derive(Debug, Clone)]
pub(crate) struct Loaded {
    pub(crate) config: Arc<PluginConfig>,
    pub(crate) settings: Settings,
}

impl Loaded {
    pub(crate) fn new(record: &Record) -> Result<Self, HostError> {
        let config = record.package.parse()?;
        let mut settings = Settings::initial(&config);
        // One by one: what a newer engine refuses must not take the rest with it.
        for item in &record.overrides {
            if let Err(error) = apply_set(&config, &mut settings, std::slice::from_ref(item)) {
                tracing::warn!(plugin = record.name, item, %error, "a stored setting does not fit and is left out");
            }
        }
        Ok(Self { config: Arc::new(config), settings })
    }

    /// The user's changes, to be stored.
    pub(crate) fn overrides(&self) -> Vec<String> {
        overrides(&self.config, &self.settings)
    }
}
