use std::{collections::BTreeMap, sync::Arc, time::Duration};

use pintle_wire::config::{PluginConfig, Privilege, Settings};

/// A managed plugin as it is now.
#[derive(Debug, Clone)]
pub struct Plugin {
    /// 64 hex digits, random, for life.
    pub id: String,
    /// The local name in familiar form, with its tag.
    pub name: String,
    /// The full reference that it was pulled from or pushed to, empty for one made here and never pushed.
    pub reference: String,
    /// The package's `config.json`.
    pub config: PluginConfig,
    /// The same as its author wrote it.
    pub config_text: String,
    /// What it runs with: the config's defaults with the user's overrides.
    pub settings: Settings,
    /// The networks that the user put it in; none: as its package says.
    pub networks: Vec<String>,
    /// Whether the user wants it running. Says nothing about whether it does: that is `state`.
    pub enabled: bool,
    /// Whether it runs, and if not, why.
    pub state: PluginState,
    /// How often it was started again without being asked, since it was last enabled.
    pub restarts: u32,
    /// How many of those because it did not answer.
    pub unhealthy_restarts: u32,
    /// The last thing that went wrong, also after it was overcome.
    pub last_error: Option<String>,
    /// How its process last ended.
    pub exit_code: Option<i32>,
    /// Bytes of its content on disk, shared content counted in full.
    pub size: u64,
    /// Who uses it, in words.
    pub leases: Vec<String>,
    /// The digest of the manifest that it was pulled by or pushed as.
    pub manifest_digest: Option<String>,
    /// What the user granted when it was installed, and since.
    pub granted: Vec<Privilege>,
    /// The start-up time that the user asked for, in seconds, if any.
    pub timeout: Option<u64>,
    /// The process on this host, while it runs.
    pub pid: Option<u32>,
    /// How its calls go, by method.
    pub calls: BTreeMap<String, CallStats>,
}

impl Plugin {
    /// Whether it offers `capability` (as in `docker.<capability>/1.0`, any version).
    pub fn offers(&self, capability: &str) -> bool {
        offers(&self.config, capability)
    }
}

pub(crate) fn offers(config: &PluginConfig, capability: &str) -> bool {
    config.has_capability(capability)
}

/// How one method of a plugin has been doing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CallStats {
    /// Calls made.
    pub calls: u64,
    /// Calls that failed, for whatever reason.
    pub failures: u64,
    /// What the last failure was.
    pub last_error: Option<String>,
    /// How long the last call took.
    pub last_duration: Duration,
    /// How long all calls took together.
    pub total_duration: Duration,
}

/// What a managed plugin is doing, as observed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PluginState {
    /// Not running, and not meant to.
    Disabled,
    /// Its process is being started or does not listen yet.
    Starting,
    /// It listens.
    Ready,
    /// It runs, but something is wrong.
    Degraded {
        /// What.
        why: String,
    },
    /// It is wanted but down; the next attempt has a time.
    BackingOff {
        /// Why the last attempt failed or the process ended.
        why: String,
        /// How long until the next attempt.
        next: Duration,
    },
    /// It is wanted but down, and no attempt is planned: the engine is going down, or a record is broken.
    Failed {
        /// Why.
        why: String,
    },
    /// It is being stopped.
    Stopping,
}

/// Which plugins to list. Empty means all.
#[derive(Debug, Clone, Default)]
pub struct PluginFilters {
    /// Only those that are (not) wanted enabled.
    pub enabled: Option<bool>,
    /// Only those that offer one of these, such as `volumedriver`.
    pub capabilities: Vec<String>,
}

/// What happened to a plugin; the texts are Docker's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PluginAction {
    /// Made from an archive.
    Create,
    /// Pulled or upgraded.
    Pull,
    /// Enabled by the user.
    Enable,
    /// Disabled by the user.
    Disable,
    /// Removed.
    Remove,
    /// It runs, and does not answer; pintle's own, in the words that Docker has for containers.
    Unhealthy,
    /// It answers again.
    Healthy,
    /// It ended by itself, or did not answer and was stopped, and is started again; in Docker's word for containers.
    Restart,
}

impl PluginAction {
    /// Docker's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Pull => "pull",
            Self::Enable => "enable",
            Self::Disable => "disable",
            Self::Remove => "remove",
            Self::Unhealthy => "health_status: unhealthy",
            Self::Healthy => "health_status: healthy",
            Self::Restart => "restart",
        }
    }
}

/// Something that happened to a plugin, for the event stream.
#[derive(Debug, Clone)]
pub struct PluginEvent {
    /// What happened.
    pub action: PluginAction,
    /// The event's actor: the plugin's id, or for `pull` the remote reference.
    pub id: String,
    /// The name as the client typed it.
    pub name: String,
    /// Further attributes; `name` is always among them.
    pub attributes: BTreeMap<String, String>,
}

/// Where the host reports events. Must not block.
pub type EventSink = Arc<dyn Fn(PluginEvent) + Send + Sync>;

/// What a push made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    /// The tag pushed to.
    pub tag: String,
    /// The manifest's digest.
    pub digest: String,
    /// The manifest's size.
    pub size: u64,
}
