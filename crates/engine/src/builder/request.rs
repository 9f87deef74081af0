//! What a build is asked for, and what comes of it.

use std::{
    collections::{BTreeMap, HashMap},
    pin::Pin,
};

use pintle_image::{Auth, ImageId, Platform, Reference};
use tokio::io::AsyncRead;

use crate::{
    EngineError,
    containers::{Resources, Ulimit},
};

/// Where the files come from.
pub enum Context {
    /// A tar, packed or not.
    Tar(Pin<Box<dyn AsyncRead + Send>>),
    /// An address: a tar, or a Dockerfile alone.
    Remote(String),
}

/// What to build.
pub struct Request {
    /// The Dockerfile's path among them; empty: `Dockerfile`.
    pub dockerfile: String,
    /// The image's names.
    pub tags: Vec<Reference>,
    /// Does nothing twice, or everything again.
    pub use_cache: bool,
    /// Asks registries even for images that are here.
    pub pull: bool,
    /// Removes a step's container after it.
    pub remove: bool,
    /// Removes it even if the step failed.
    pub force_remove: bool,
    /// `--build-arg`; without a value it stands for none.
    pub arguments: BTreeMap<String, Option<String>>,
    /// Labels of the last stage.
    pub labels: BTreeMap<String, String>,
    /// The stage to stop after; empty: the last.
    pub target: String,
    /// What to build for; `None`: this machine.
    pub platform: Option<Platform>,
    /// The network of `RUN`.
    pub network_mode: String,
    /// Lines for the hosts file of `RUN`.
    pub extra_hosts: Vec<String>,
    /// Limits of `RUN`.
    pub resources: Resources,
    /// Bytes of `/dev/shm` of `RUN`; 0: the default.
    pub shm_size: i64,
    /// Limits of the processes of `RUN`.
    pub ulimits: Vec<Ulimit>,
    /// The parent control group of `RUN`.
    pub cgroup_parent: String,
    /// `--security-opt` of `RUN`.
    pub security_opt: Vec<String>,
    /// Who we are to registries, by their name in Docker's configuration.
    pub credentials: HashMap<String, Auth>,
}

/// An image that was built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built {
    /// The image.
    pub image: ImageId,
    /// The names that it got.
    pub tags: Vec<Reference>,
}

/// Why a build came to no end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// What happened.
    pub error: EngineError,
    /// What the command of a `RUN` ended with.
    pub code: Option<i64>,
}

impl From<EngineError> for Failed {
    fn from(error: EngineError) -> Self {
        Self { error, code: None }
    }
}

impl From<pintle_image::ImageError> for Failed {
    fn from(error: pintle_image::ImageError) -> Self {
        EngineError::from(error).into()
    }
}

impl From<pintle_image::dockerfile::SyntaxError> for Failed {
    fn from(error: pintle_image::dockerfile::SyntaxError) -> Self {
        EngineError::invalid(error.to_string()).into()
    }
}
