use std::{path::PathBuf, sync::Arc, time::Duration};

use pintle_image::{Auth, Images, Progress};
use pintle_runtime::{Runtime, Stats};
use pintle_store::Store;
use pintle_wire::config::Privilege;
use tokio::io::AsyncRead;

use crate::{
    EventSink, Holder, HostConfig, HostError, Lease, Plugin, PluginFilters, Pushed, VolumeDriverRef,
};

/// Every plugin of this host, legacy and managed. Cheap to clone.
#[derive(Clone)]
pub struct Host {
    inner: Arc<Inner>,
}

struct Inner {}

impl Host {
    /// Reads the records and clears away what a crash left half done. Starts nothing, and returns fast:
    /// [`Host::reconcile`] brings up what is wanted.
    pub async fn open(
        config: HostConfig,
        store: Store,
        images: Images,
        runtime: Runtime,
        events: EventSink,
    ) -> Result<Self, HostError> {
        let _ = (config, store, images, runtime, events);
        todo!()
    }

    /// Attaches to the plugins that outlived the last engine and starts the others that are wanted, in
    /// parallel. Returns when each has come up or failed its first attempt.
    pub async fn reconcile(&self) {
        todo!()
    }

    /// Ends every task of the host's. With `stop_plugins` the plugins are stopped too, otherwise they go on and
    /// the next engine finds them.
    pub async fn shutdown(&self, stop_plugins: bool) {
        let _ = (stop_plugins, &self.inner);
        todo!()
    }

    /// The managed plugins that match, by name.
    pub fn list(&self, filters: &PluginFilters) -> Vec<Plugin> {
        let _ = filters;
        todo!()
    }

    /// One managed plugin, by full id, exact name (`:latest` may be left out) or unique id prefix.
    pub fn get(&self, name: &str) -> Result<Plugin, HostError> {
        let _ = name;
        todo!()
    }

    /// What the plugin at `remote` wants to be granted. A registry that refuses or fails is an error, never an
    /// empty list. What is answered is bound to the manifest that it was read from: a later `pull` of
    /// `remote` that finds another manifest refuses.
    pub async fn privileges(&self, remote: &str, auth: &Auth) -> Result<Vec<Privilege>, HostError> {
        let _ = (remote, auth);
        todo!()
    }

    /// Installs the plugin at `remote` as `name` and answers its id. It stays disabled.
    pub async fn pull(
        &self,
        remote: &str,
        name: Option<&str>,
        granted: Vec<Privilege>,
        auth: &Auth,
        progress: &Progress,
    ) -> Result<String, HostError> {
        let _ = (remote, name, granted, auth, progress);
        todo!()
    }

    /// Replaces a disabled plugin's content by what is at `remote`, keeping its id, name, propagated mount and
    /// the user's overrides.
    pub async fn upgrade(
        &self,
        name: &str,
        remote: &str,
        granted: Vec<Privilege>,
        auth: &Auth,
        progress: &Progress,
    ) -> Result<(), HostError> {
        let _ = (name, remote, granted, auth, progress);
        todo!()
    }

    /// Makes a plugin from an archive of `config.json` and `rootfs/` and answers its id. It stays disabled.
    pub async fn create(
        &self,
        name: &str,
        tar: impl AsyncRead + Send + Unpin + 'static,
    ) -> Result<String, HostError> {
        let _ = (name, tar);
        todo!()
    }

    /// Starts a plugin and waits until it listens, `timeout` at most (zero: the time asked for earlier, or the
    /// default). If it does not come up the error says why, and it stays wanted: it is tried again with
    /// growing pauses until it comes up or is disabled.
    pub async fn enable(&self, name: &str, timeout: Duration) -> Result<(), HostError> {
        let _ = (name, timeout);
        todo!()
    }

    /// Stops a plugin. One that is in use only by `force`.
    pub async fn disable(&self, name: &str, force: bool) -> Result<(), HostError> {
        let _ = (name, force);
        todo!()
    }

    /// Removes a plugin and all that it left on disk. One that is enabled or in use only by `force`.
    pub async fn remove(&self, name: &str, force: bool) -> Result<(), HostError> {
        let _ = (name, force);
        todo!()
    }

    /// Changes a plugin's settings, all of `args` or none.
    pub async fn set(&self, name: &str, args: &[String]) -> Result<(), HostError> {
        let _ = (name, args);
        todo!()
    }

    /// Pushes a plugin to the reference that is its name.
    pub async fn push(&self, name: &str, auth: &Auth, progress: &Progress) -> Result<Pushed, HostError> {
        let _ = (name, auth, progress);
        todo!()
    }

    /// The process ids of a running plugin, as this host sees them.
    pub async fn top(&self, name: &str) -> Result<Vec<u32>, HostError> {
        let _ = name;
        todo!()
    }

    /// What a running plugin uses.
    pub async fn stats(&self, name: &str) -> Result<Stats, HostError> {
        let _ = name;
        todo!()
    }

    /// The plugin's log file, in Docker's json-file format; rotated ones are `<path>.1`, `<path>.2` and so on.
    pub fn log_path(&self, name: &str) -> Result<PathBuf, HostError> {
        let _ = name;
        todo!()
    }

    /// The volume driver called `name`: a managed plugin (`:latest` may be left out), or a legacy one. A name
    /// that nobody has is looked for a short while, for a plugin that is about to appear.
    pub async fn volume_driver(&self, name: &str) -> Result<VolumeDriverRef, HostError> {
        let _ = name;
        todo!()
    }

    /// Every known volume driver, or why it cannot be called now. Answers within a second, whatever the plugins
    /// do.
    pub async fn volume_drivers(&self) -> Vec<(String, Result<VolumeDriverRef, HostError>)> {
        todo!()
    }

    /// Notes that `holder` uses `plugin` (an id or name). A lease on a legacy plugin is kept but hinders nobody.
    pub fn lease(&self, plugin: &str, holder: Holder) -> Lease {
        let _ = (plugin, holder);
        todo!()
    }

    /// Ends `holder`'s use of `plugin`, if there is one.
    pub fn release(&self, plugin: &str, holder: &Holder) {
        let _ = (plugin, holder);
        todo!()
    }

    /// Forgets every lease and holds these, by plugin id or name: what exists, at boot.
    pub fn replace_leases(&self, all: Vec<(String, Holder)>) {
        let _ = all;
        todo!()
    }
}
