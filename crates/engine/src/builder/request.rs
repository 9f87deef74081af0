//! What a build is asked for, and what comes of it.

use std::{collections::BTreeMap, pin::Pin};

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
#[derive(Default)]
pub struct Request {
    /// The Dockerfile's path among them; empty: `Dockerfile`.
    pub dockerfile: String,
    /// The image's names.
    pub tags: Vec<Reference>,
    /// Does nothing twice, or everything again.
    pub use_cache: bool,
    /// `--cache-from`: images whose steps are taken instead of those that were done here; empty: only the latter.
    pub cache_from: Vec<String>,
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
    pub credentials: BTreeMap<String, Auth>,
}

/// What Docker's configuration calls its hub.
const HUB: &str = "https://index.docker.io/v1/";

impl Request {
    /// Who we are to the registry of `domain`. Clients write a registry's name as its host, or as an address on it;
    /// what was given for another host is for nobody else.
    pub(super) fn credentials_for(&self, domain: &str) -> Auth {
        let (key, host) = match domain {
            "docker.io" => (HUB, "index.docker.io"),
            domain => (domain, domain),
        };
        let at_host = || self.credentials.iter().find(|(key, _)| host_of(key) == host).map(|(_, auth)| auth);
        self.credentials.get(key).or_else(at_host).cloned().unwrap_or_default()
    }
}

fn host_of(key: &str) -> &str {
    let bare = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    bare.split('/').next().unwrap_or(bare)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_for_their_host_alone() {
        let user = |name: &str| Auth::Basic { user: name.to_owned(), pass: String::new() };
        let request = Request {
            credentials: [
                (HUB, "hub"),
                ("https://old.example:5000/v1/", "old"),
                ("plain.example", "plain"),
                ("http://plain.example/v2/", "other"),
            ]
            .map(|(key, name)| (key.to_owned(), user(name)))
            .into(),
            ..Request::default()
        };
        for (domain, name) in [("docker.io", "hub"), ("old.example:5000", "old"), ("plain.example", "plain")]
        {
            assert_eq!(request.credentials_for(domain), user(name), "{domain}");
        }
        for domain in ["old.example", "plain.example.evil", "evil", "plain.example:5000", ""] {
            assert_eq!(request.credentials_for(domain), Auth::None, "{domain}");
        }
    }
}
