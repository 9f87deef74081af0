//! What the image store takes and gives.

use std::{path::PathBuf, sync::Arc};

use crate::{Descriptor, Digest, ImageConfig, ImageId, Proxies};

/// What an operator can set; [`Images::reload`] takes new ones.
#[derive(Debug, Clone)]
pub struct Options {
    /// Hosts (with port, if not the default) and networks in CIDR form that may speak plain HTTP or show any
    /// certificate.
    pub insecure_registries: Vec<String>,
    /// URLs of mirrors of Docker's hub.
    pub mirrors: Vec<String>,
    /// Layers downloaded at once.
    pub max_concurrent_downloads: usize,
    /// Layers uploaded at once.
    pub max_concurrent_uploads: usize,
    /// Tries per layer.
    pub max_download_attempts: u32,
    /// Through whom registries are reached; `None`: as the environment says.
    pub proxies: Option<Proxies>,
    /// Where certificates are, by host: `<dir>/<host>/{*.crt,*.cert,*.key}`.
    pub certs_dir: PathBuf,
    /// What a layer may cost.
    pub limits: crate::archive::Limits,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            insecure_registries: Vec::new(),
            mirrors: Vec::new(),
            max_concurrent_downloads: 3,
            max_concurrent_uploads: 5,
            max_download_attempts: 5,
            proxies: None,
            certs_dir: PathBuf::from("/etc/docker/certs.d"),
            limits: crate::archive::Limits::LAYER,
        }
    }
}

/// An image.
#[derive(Debug, Clone)]
pub struct Image {
    /// The digest of its configuration.
    pub id: ImageId,
    /// `name:tag`, familiar, sorted.
    pub repo_tags: Vec<String>,
    /// `name@digest`, familiar, sorted.
    pub repo_digests: Vec<String>,
    /// The configuration, read.
    pub config: Arc<ImageConfig>,
    /// The configuration's own bytes.
    pub raw: Arc<[u8]>,
    /// Bytes of all its layers' files.
    pub size: u64,
    /// When it was made, in seconds since 1970; 0 if it does not say.
    pub created: i64,
    /// The image that it was committed from, if that is known here.
    pub parent: Option<ImageId>,
    /// Digests of the uncompressed layers, lowest first.
    pub layers: Vec<Digest>,
    /// Where each layer is unpacked, lowest first.
    pub layer_dirs: Vec<PathBuf>,
    /// The manifest that it came with, if any.
    pub manifest: Option<Descriptor>,
    /// When a tag was last set here, in seconds since 1970.
    pub last_tagged: Option<i64>,
}

/// One row of `docker history`, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryEntry {
    /// The image's ID in the first row, `<missing>` in the rest.
    pub id: String,
    /// Seconds since 1970.
    pub created: i64,
    /// The command.
    pub created_by: String,
    /// The names of the image, in the first row.
    pub tags: Vec<String>,
    /// Bytes that the layer added.
    pub size: u64,
    /// A remark.
    pub comment: String,
}

/// What a pull came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulled {
    /// The image.
    pub id: ImageId,
    /// What the tag stood for in the registry.
    pub digest: Digest,
    /// Whether anything changed here.
    pub newer: bool,
}

/// What a push came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    /// The tag.
    pub tag: String,
    /// The manifest's digest.
    pub digest: Digest,
    /// The manifest's length.
    pub size: u64,
}

/// One image of an archive that was loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// The image.
    pub id: ImageId,
    /// The names that it was given, familiar.
    pub tags: Vec<String>,
}

/// What a removal did, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removed {
    /// A name is gone.
    Untagged(String),
    /// An image is gone.
    Deleted(String),
    /// A layer is gone, by its chain ID.
    Layer(String),
}

/// A container that keeps an image from being removed. A plain ID counts as one that is not running.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// The container's ID.
    pub container: String,
    /// A running one cannot be overruled by force.
    pub running: bool,
}

impl From<String> for Holder {
    fn from(container: String) -> Self {
        Self { container, running: false }
    }
}

/// What the images cost.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Usage {
    /// Bytes of all unpacked layers, each counted once.
    pub layers_size: u64,
    /// Images.
    pub images: u64,
    /// For each image, the bytes of it that other images use too.
    pub shared: Vec<(ImageId, u64)>,
}

/// How a path differs from the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// Docker's 0.
    Modified,
    /// Docker's 1.
    Added,
    /// Docker's 2.
    Deleted,
}

/// One line of `docker diff`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Absolute, inside the container.
    pub path: String,
    /// What happened to it.
    pub kind: ChangeKind,
}
