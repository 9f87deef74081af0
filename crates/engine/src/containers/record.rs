use std::{path::PathBuf, sync::Arc};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{ContainerSpec, Lifecycle, MountKind, Policy, Resources};

/// A container as it is at one instant. A snapshot: it does not change, and making one waits for nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Container {
    /// 64 hex digits.
    pub id: String,
    /// Without Docker's leading slash.
    pub name: String,
    /// When it was made.
    pub created: DateTime<Utc>,
    /// `sha256:…`; empty for a container without an image.
    pub image_id: String,
    /// The image's operating system.
    pub os: String,
    /// What the container shall be; effective values.
    pub spec: Arc<ContainerSpec>,
    /// What runs as PID 1.
    pub path: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// Where it mounts what.
    pub mounts: Arc<Vec<MountPoint>>,
    /// Its state.
    pub life: Lifecycle,
    /// The limits before an update that a running container may not have taken yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updating: Option<Arc<Resources>>,
}

/// One resolved mount of a container.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct MountPoint {
    /// Which kind of source.
    pub kind: MountKind,
    /// The volume's name, or the image's as the client wrote it.
    pub name: Option<String>,
    /// A host path: a bind's source, or where the volume was mounted last.
    pub source: PathBuf,
    /// Where in the container, absolute and clean.
    pub destination: String,
    /// The volume's driver.
    pub driver: String,
    /// The mode as the client wrote it.
    pub mode: String,
    /// Writable.
    pub rw: bool,
    /// A bind's propagation.
    pub propagation: String,
    /// An empty volume is not filled from the image.
    pub no_copy: bool,
    /// A path inside the volume.
    pub subpath: String,
    /// The volume was made for this container alone, without a name of the user's.
    pub anonymous: bool,
    /// Who holds the mount, towards the volume's driver. Fixed when the container is made.
    pub mount_id: String,
    /// Without what is mounted below a bind's source.
    pub non_recursive: bool,
    /// Read-only at its top alone.
    pub read_only_shallow: bool,
    /// The image's id, if it is one.
    pub image: String,
    /// Options of a tmpfs.
    pub options: Vec<String>,
    /// Another container's, by `--volumes-from`.
    pub taken_over: bool,
    /// From the long form (`Mounts`), whose sources must exist, not from `-v`.
    pub long_form: bool,
    /// Make a bind's missing source.
    pub create_source: bool,
    /// Where `source` led to when authorizers judged the bind, without links: this is mounted, and nothing else.
    pub judged: Option<PathBuf>,
}

impl Container {
    /// One that does nothing, for tests.
    #[cfg(test)]
    pub(crate) fn named(name: &str) -> Self {
        Self {
            id: super::new_id(),
            name: name.to_owned(),
            created: Utc::now(),
            image_id: String::new(),
            os: String::new(),
            spec: Arc::new(ContainerSpec { hostname: name.to_owned(), ..ContainerSpec::default() }),
            path: String::new(),
            args: Vec::new(),
            mounts: Arc::default(),
            life: Lifecycle::new(),
            updating: None,
        }
    }

    /// The first twelve digits of the id.
    pub fn short_id(&self) -> &str {
        self.id.get(..12).unwrap_or(&self.id)
    }

    /// What decides its life.
    pub fn policy(&self) -> Policy {
        Policy { restart: self.spec.restart, auto_remove: self.spec.auto_remove }
    }

    /// The host name that its processes see.
    pub fn hostname(&self) -> &str {
        if self.spec.hostname.is_empty() { self.short_id() } else { &self.spec.hostname }
    }

    /// The id of the image without `sha256:`'s doubt: `None` if there is no image.
    pub fn image(&self) -> Option<&str> {
        (!self.image_id.is_empty()).then_some(self.image_id.as_str())
    }
}
