//! Which names mean which addresses, as one container's sandbox sees it; and who answers for them.

use std::{net::IpAddr, path::PathBuf, sync::Arc};

use async_trait::async_trait;

use crate::EngineError;

/// Where names are answered in every sandbox that has them.
pub const RESOLVER: &str = "127.0.0.11";

/// What a name means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It is a container's: these are its addresses, of both families. A family that has none has no addresses,
    /// which differs from not knowing the name.
    Known(Vec<IpAddr>),
    /// It is nobody's here: ask the outside.
    Unknown,
}

/// Where and what the outside is asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Upstream {
    /// Name servers: the container's own, else the engine's, asked from inside the sandbox; else the host's, asked
    /// from the host.
    pub servers: Vec<UpstreamServer>,
    /// Whether the outside may be asked at all: not if every network of the container is internal.
    pub allowed: bool,
    /// Names without a dot are nobody else's to know: the user said with `ndots` that his search domains come first.
    pub dotless_stay: bool,
}

/// One name server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamServer {
    /// Its address.
    pub address: IpAddr,
    /// It is to be asked from the host's network namespace: it comes from the host's own configuration.
    pub from_host: bool,
}

/// Answers for one sandbox. Every call looks at what is true now, waits for nothing, and costs a look into a map.
#[derive(Clone)]
pub struct Names {
    pub(super) view: Arc<dyn View>,
}

impl std::fmt::Debug for Names {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Names").finish_non_exhaustive()
    }
}

/// What [`Names`] asks.
pub(super) trait View: Send + Sync {
    fn resolve(&self, name: &str) -> Answer;
    fn reverse(&self, address: IpAddr) -> Option<String>;
    fn upstream(&self) -> Upstream;
}

impl Names {
    /// The addresses of a name, with or without its final dot and whatever its case: a container's name, alias or
    /// short id, alone or as `name.network`, or what this container calls another by a link.
    pub fn resolve(&self, name: &str) -> Answer {
        self.view.resolve(name)
    }

    /// The name of an address in one of the sandbox's networks, `name.network`.
    pub fn reverse(&self, address: IpAddr) -> Option<String> {
        self.view.reverse(address)
    }

    /// Whom to ask for everything else.
    pub fn upstream(&self) -> Upstream {
        self.view.upstream()
    }
}

/// A sandbox in which names are to be answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolverPlace {
    /// The container's id.
    pub container: String,
    /// A path that opens its network namespace.
    pub namespace: PathBuf,
}

/// Answers name queries in sandboxes, on port 53 of [`RESOLVER`].
#[async_trait]
pub trait Resolver: Send + Sync + 'static {
    /// Begins to answer. Returns when the socket is there; called before the sandbox's first process runs, and again
    /// for those that still run after the engine started.
    async fn open(&self, place: ResolverPlace, names: Names) -> Result<(), EngineError>;

    /// Ends that. A sandbox that it does not know is no mistake.
    async fn close(&self, container: &str);
}

/// Answers nothing, nowhere.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoResolver;

#[async_trait]
impl Resolver for NoResolver {
    async fn open(&self, _: ResolverPlace, _: Names) -> Result<(), EngineError> {
        Ok(())
    }

    async fn close(&self, _: &str) {}
}
