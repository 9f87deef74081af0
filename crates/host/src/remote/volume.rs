use std::{
    path::{Component, Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use pintle_contract::{
    CreateVolume, DriverError, ErrorKind, MountId, Volume as Description, VolumeCapabilities, VolumeDriver,
};
use pintle_wire::volume::{Method, Reply, Request};
use tokio::sync::OnceCell;

use super::{Budget, Client};

const SHORT: Duration = Duration::from_secs(60);
const LONG: Duration = Duration::from_secs(120);
/// How long a call waits for a plugin that is just being started again.
const PATIENCE: Duration = Duration::from_secs(2);

/// Where a plugin's paths are on this host.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PathMap {
    /// The plugin's root file system here; `None` for plugins that share the host's paths.
    pub rootfs: Option<PathBuf>,
    /// The plugin's propagated mount: its path inside, and here.
    pub propagated: Option<(PathBuf, PathBuf)>,
}

impl PathMap {
    /// The host's path for a path that the plugin named. Compares whole components, and a `..` climbs no
    /// higher than the plugin's root.
    pub fn resolve(&self, named: &Path) -> PathBuf {
        let Some(rootfs) = &self.rootfs else { return named.to_owned() };
        let clean = normal(named);
        if let Some((inside, here)) = &self.propagated
            && let Ok(rest) = clean.strip_prefix(normal(inside))
        {
            return joined(here, rest);
        }
        joined(rootfs, &clean)
    }
}

/// `base` itself when there is nothing to add, since a join would leave a trailing slash.
fn joined(base: &Path, rest: &Path) -> PathBuf {
    if rest.as_os_str().is_empty() { base.to_owned() } else { base.join(rest) }
}

/// The path relative to the root, without `.`, `..` and empty components.
fn normal(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => {
                clean.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    clean
}

/// The volume contract, kept by a plugin. The inverse of `pintle_sdk`'s serving end.
#[derive(Debug)]
pub struct Volume {
    client: Arc<Client>,
    paths: PathMap,
    /// Asked once for each life of a plugin (moby's `TestExternalVolumeDriverCapabilities`).
    capabilities: OnceCell<VolumeCapabilities>,
}

impl Volume {
    /// The driver behind `client`, whose paths `paths` translates.
    pub fn new(client: Arc<Client>, paths: PathMap) -> Self {
        Self { client, paths, capabilities: OnceCell::new() }
    }

    async fn call(&self, request: Request) -> Result<Reply, DriverError> {
        let method = request.method();
        let total = match method {
            Method::Create | Method::Mount => LONG,
            _ => SHORT,
        };
        // Lists and capabilities are asked of every driver on behalf of nobody in particular.
        let connect = match method {
            Method::List | Method::Capabilities => Duration::ZERO,
            _ => PATIENCE,
        };
        let (status, body) =
            self.client.call(method.path(), Some(request.encode()), Budget { total, connect }).await?;
        Reply::decode(method, status, &body)
            .inspect_err(|error| self.client.note_failure(method.name(), &error.message))
    }

    async fn done(&self, request: Request) -> Result<(), DriverError> {
        self.call(request).await.map(drop)
    }

    fn here(&self, mut volume: Description) -> Description {
        volume.mountpoint = volume.mountpoint.map(|path| self.paths.resolve(&path));
        volume
    }
}

/// [`Reply::decode`] answers in the shape of the method, so this is never seen; yet it is no panic.
fn misfit(method: Method) -> DriverError {
    DriverError::internal(format!("{}: the answer belongs to another method", method.name()))
}

#[async_trait::async_trait]
impl VolumeDriver for Volume {
    async fn capabilities(&self) -> Result<VolumeCapabilities, DriverError> {
        let asked = self.capabilities.get_or_try_init(|| async {
            match self.call(Request::Capabilities).await {
                Ok(Reply::Capabilities(capabilities)) => Ok(capabilities),
                Ok(_) => Err(misfit(Method::Capabilities)),
                Err(error) if matches!(error.kind, ErrorKind::Unavailable | ErrorKind::Timeout) => Err(error),
                // Plugins older than the call answer with an error of some kind; they are local.
                Err(_) => Ok(VolumeCapabilities::default()),
            }
        });
        asked.await.copied()
    }

    async fn create(&self, request: CreateVolume) -> Result<(), DriverError> {
        self.done(Request::Create(request)).await
    }

    async fn remove(&self, name: &str) -> Result<(), DriverError> {
        self.done(Request::Remove { name: name.to_owned() }).await
    }

    async fn mount(&self, name: &str, id: &MountId) -> Result<PathBuf, DriverError> {
        match self.call(Request::Mount { name: name.to_owned(), id: id.clone() }).await? {
            Reply::Mountpoint(Some(path)) => Ok(self.paths.resolve(&path)),
            _ => Err(misfit(Method::Mount)),
        }
    }

    async fn unmount(&self, name: &str, id: &MountId) -> Result<(), DriverError> {
        self.done(Request::Unmount { name: name.to_owned(), id: id.clone() }).await
    }

    async fn path(&self, name: &str) -> Result<Option<PathBuf>, DriverError> {
        match self.call(Request::Path { name: name.to_owned() }).await? {
            Reply::Mountpoint(path) => Ok(path.map(|path| self.paths.resolve(&path))),
            _ => Err(misfit(Method::Path)),
        }
    }

    async fn get(&self, name: &str) -> Result<Description, DriverError> {
        match self.call(Request::Get { name: name.to_owned() }).await? {
            Reply::Volume(volume) => Ok(self.here(volume)),
            _ => Err(misfit(Method::Get)),
        }
    }

    async fn list(&self) -> Result<Vec<Description>, DriverError> {
        match self.call(Request::List).await? {
            Reply::Volumes(volumes) => Ok(volumes.into_iter().map(|volume| self.here(volume)).collect()),
            _ => Err(misfit(Method::List)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_mapped_by_component() {
        let map = PathMap {
            rootfs: Some("/r".into()),
            propagated: Some(("/mnt/volumes".into(), "/p/propagated-mount".into())),
        };
        for (inside, here) in [
            ("/mnt/volumes/a", "/p/propagated-mount/a"),
            ("/mnt/volumes", "/p/propagated-mount"),
            ("/mnt/volumes/", "/p/propagated-mount"),
            ("/mnt//volumes/./a", "/p/propagated-mount/a"),
            ("/mnt/volumes-other/a", "/r/mnt/volumes-other/a"),
            ("/mnt/volumes/../secret", "/r/mnt/secret"),
            ("/../../etc", "/r/etc"),
            ("relative", "/r/relative"),
        ] {
            assert_eq!(map.resolve(Path::new(inside)), Path::new(here), "{inside}");
        }
        assert_eq!(PathMap::default().resolve(Path::new("/any/../path")), Path::new("/any/../path"));
    }
}
