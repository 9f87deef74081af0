//! What callers see of volumes.

use std::{collections::BTreeMap, path::PathBuf};

use pintle_contract::{MountId, Scope, Value};

use crate::EngineError;

/// The label of volumes that nobody named.
pub const ANONYMOUS: &str = "com.docker.volume.anonymous";

/// A volume as the engine knows it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Volume {
    /// Its name, unique on this engine whatever the driver.
    pub name: String,
    /// The driver's name.
    pub driver: String,
    /// Where it is on this host, if it is mounted or always there.
    pub mountpoint: Option<PathBuf>,
    /// RFC 3339, if the driver or the engine knows.
    pub created_at: Option<String>,
    /// The user's labels.
    pub labels: BTreeMap<String, String>,
    /// The driver options that it was created with.
    pub options: BTreeMap<String, String>,
    /// Where it is visible.
    pub scope: Scope,
    /// What the driver reports about it; only [`super::Volumes::inspect`] asks.
    pub status: BTreeMap<String, Value>,
}

/// Which volumes to list. Values of one key are alternatives, except labels, which must all be there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filters {
    /// Only those that no container refers to, or only those that one does.
    pub dangling: Option<bool>,
    /// Drivers' names.
    pub drivers: Vec<String>,
    /// `key` or `key=value`.
    pub labels: Vec<String>,
    /// Regular expressions that match somewhere in the name.
    pub names: Vec<String>,
}

impl Filters {
    /// Builds them from Docker's `filters` query; an unknown key is refused.
    pub fn new(filters: &BTreeMap<String, Vec<String>>) -> Result<Self, EngineError> {
        let mut parsed = Self::default();
        for (key, values) in filters {
            match key.as_str() {
                "dangling" => parsed.dangling = truth(key, values)?,
                "driver" => parsed.drivers = values.clone(),
                "label" => parsed.labels = values.clone(),
                "name" => parsed.names = values.clone(),
                _ => return Err(EngineError::invalid(format!("invalid filter '{key}'"))),
            }
        }
        Ok(parsed)
    }
}

/// Which unused volumes to remove.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PruneFilters {
    /// Labels that must all be there, `key` or `key=value`.
    pub labels: Vec<String>,
    /// Labels of which none may be there.
    pub without_labels: Vec<String>,
    /// The client's `all`, if it sent one.
    pub all: Option<bool>,
    /// Only volumes that nobody named. The caller sets it from the API version and `all`.
    pub anonymous_only: bool,
}

impl PruneFilters {
    /// Builds them from Docker's `filters` query. `anonymous_by_default` is what this API version means
    /// without `all` (true from 1.42 on).
    pub fn new(
        filters: &BTreeMap<String, Vec<String>>,
        anonymous_by_default: bool,
    ) -> Result<Self, EngineError> {
        let mut parsed = Self { anonymous_only: anonymous_by_default, ..Self::default() };
        for (key, values) in filters {
            match key.as_str() {
                "label" => parsed.labels = values.clone(),
                "label!" => parsed.without_labels = values.clone(),
                "all" => parsed.all = truth(key, values)?,
                _ => return Err(EngineError::invalid(format!("invalid filter '{key}'"))),
            }
        }
        if let Some(all) = parsed.all {
            parsed.anonymous_only = anonymous_by_default && !all;
        }
        Ok(parsed)
    }
}

/// Go's `strconv.ParseBool`, which is what clients send.
pub(crate) fn truth(key: &str, values: &[String]) -> Result<Option<bool>, EngineError> {
    let mut truth = None;
    for value in values {
        let parsed = match value.as_str() {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => true,
            "0" | "f" | "F" | "false" | "FALSE" | "False" => false,
            _ => return Err(EngineError::invalid(format!("invalid filter '{key}=[{value}]'"))),
        };
        if truth.is_some_and(|earlier| earlier != parsed) {
            return Err(EngineError::invalid(format!("invalid filter '{key}=[{}]'", values.join(" "))));
        }
        truth = Some(parsed);
    }
    Ok(truth)
}

/// Whether `labels` have `wanted`, which is `key` or `key=value`.
pub(crate) fn has_label(labels: &BTreeMap<String, String>, wanted: &str) -> bool {
    match wanted.split_once('=') {
        Some((key, value)) => labels.get(key).is_some_and(|actual| actual == value),
        None => labels.contains_key(wanted),
    }
}

/// What a prune removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pruned {
    /// The names of the volumes.
    pub volumes: Vec<String>,
    /// How many bytes that freed.
    pub reclaimed: u64,
}

/// What disk a volume takes.
#[derive(Debug, Clone, PartialEq)]
pub struct Usage {
    /// The volume.
    pub volume: Volume,
    /// Bytes, `None` where only its driver could know.
    pub size: Option<u64>,
    /// How many containers refer to it.
    pub references: usize,
}

/// How a container sees a mount: what its `mount` event tells beyond driver and container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Use {
    /// The path inside the container.
    pub destination: String,
    /// Whether the container may write.
    pub read_write: bool,
    /// The propagation, often empty.
    pub propagation: String,
}

/// One container's use of one volume, as the container's record remembers it; see
/// [`super::Volumes::restore`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// The volume's name.
    pub volume: String,
    /// The container's id.
    pub container: String,
    /// The mounts that are in place: the container is running. Empty for a stopped one.
    pub mounts: Vec<MountId>,
}
