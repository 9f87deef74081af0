//! The image store: images by name and ID, and the root filesystems of containers made from them.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use pintle_store::Store;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::{Auth, Blobs, Digest, ImageConfig, ImageError, ImageId, Platform, Progress, Reference, Registry};

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
    /// An image or layer is gone.
    Deleted(String),
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

/// The image store. Cheap to clone.
#[derive(Clone)]
pub struct Images(Arc<()>);

impl Images {
    /// Opens the store under the data root. What a crash left half done is put right.
    pub fn open(root: &Path, store: Store, options: Options) -> Result<Self, ImageError> {
        let _ = store;
        todo!("{} {options:?}", root.display())
    }

    /// Takes new options for whatever begins after this.
    pub fn reload(&self, options: Options) -> Result<(), ImageError> {
        todo!("{options:?} {:?}", self.0)
    }

    /// The content store.
    pub fn blobs(&self) -> &Blobs {
        todo!()
    }

    /// The registry client.
    pub fn registry(&self) -> &Registry {
        todo!()
    }

    /// Pulls an image for `platform` (this machine, if not given).
    pub async fn pull(
        &self,
        reference: &Reference,
        platform: Option<&Platform>,
        auth: &Auth,
        progress: &Progress,
    ) -> Result<Pulled, ImageError> {
        let _ = progress;
        todo!("{reference} {platform:?} {auth:?}")
    }

    /// Pushes the image of that name.
    pub async fn push(
        &self,
        reference: &Reference,
        auth: &Auth,
        progress: &Progress,
    ) -> Result<Pushed, ImageError> {
        let _ = progress;
        todo!("{reference} {auth:?}")
    }

    /// Loads what `docker save` or an OCI tool wrote. Reports `Loaded image: …`.
    pub async fn load(
        &self,
        tar: impl AsyncRead + Send + Unpin + 'static,
        progress: &Progress,
    ) -> Result<Vec<Loaded>, ImageError> {
        let _ = (tar, progress);
        todo!()
    }

    /// Writes images as a tar that is Docker's archive and an OCI layout at once.
    pub async fn save(
        &self,
        names: &[String],
        out: impl AsyncWrite + Send + Unpin + 'static,
    ) -> Result<(), ImageError> {
        let _ = out;
        todo!("{names:?}")
    }

    /// Makes an image of one layer from a tar of a root filesystem. `changes` are Dockerfile instructions.
    pub async fn import(
        &self,
        tar: impl AsyncRead + Send + Unpin + 'static,
        reference: Option<&Reference>,
        changes: &[String],
        message: &str,
        platform: Option<&Platform>,
        progress: &Progress,
    ) -> Result<ImageId, ImageError> {
        let _ = (tar, progress);
        todo!("{reference:?} {changes:?} {message} {platform:?}")
    }

    /// Every image, newest first.
    pub fn list(&self) -> Result<Vec<Image>, ImageError> {
        todo!()
    }

    /// The image called so: a name with or without tag or digest, a full ID, or a unique prefix of one.
    pub fn get(&self, name_or_id: &str) -> Result<Image, ImageError> {
        todo!("{name_or_id}")
    }

    /// The rows of `docker history`.
    pub fn history(&self, name_or_id: &str) -> Result<Vec<HistoryEntry>, ImageError> {
        todo!("{name_or_id}")
    }

    /// Gives an image another name, taking the name from whichever image had it.
    pub fn tag(&self, source: &str, target: &Reference) -> Result<(), ImageError> {
        todo!("{source} {target}")
    }

    /// Removes a name, and the image with its last name. `in_use` lists the containers made from an image.
    pub async fn remove<H: Into<Holder>>(
        &self,
        name: &str,
        force: bool,
        prune: bool,
        in_use: &(dyn Fn(&ImageId) -> Vec<H> + Send + Sync),
    ) -> Result<Vec<Removed>, ImageError> {
        let _ = in_use;
        todo!("{name} {force} {prune}")
    }

    /// Removes images without a name (or, if not `dangling_only`, all) that `keep` does not want, and what
    /// interrupted pulls left. Returns the bytes freed.
    pub async fn prune(
        &self,
        dangling_only: bool,
        keep: &(dyn Fn(&ImageId) -> bool + Send + Sync),
    ) -> Result<(Vec<Removed>, u64), ImageError> {
        let _ = keep;
        todo!("{dangling_only}")
    }

    /// What the images cost.
    pub fn disk_usage(&self) -> Result<Usage, ImageError> {
        todo!()
    }

    /// Makes the writable layer of a container in `dir`, on top of `image`.
    pub async fn create_rootfs(&self, id: &str, dir: &Path, image: &ImageId) -> Result<(), ImageError> {
        todo!("{id} {} {image}", dir.display())
    }

    /// Mounts a container's root filesystem at `<dir>/merged` and returns that. Mounted already is fine.
    pub async fn mount_rootfs(&self, id: &str, dir: &Path) -> Result<PathBuf, ImageError> {
        todo!("{id} {}", dir.display())
    }

    /// Unmounts it. Not mounted is fine.
    pub async fn unmount_rootfs(&self, id: &str, dir: &Path) -> Result<(), ImageError> {
        todo!("{id} {}", dir.display())
    }

    /// Unmounts and removes it. Not there is fine.
    pub async fn remove_rootfs(&self, id: &str, dir: &Path) -> Result<(), ImageError> {
        todo!("{id} {}", dir.display())
    }

    /// How a container's files differ from its image's, sorted by path.
    pub async fn changes(&self, id: &str, dir: &Path) -> Result<Vec<Change>, ImageError> {
        todo!("{id} {}", dir.display())
    }
}
