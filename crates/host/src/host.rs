use std::{path::PathBuf, sync::Arc, time::Duration};

use pintle_contract::Authorizer;
use pintle_image::{Auth, Images, Progress};
use pintle_runtime::{Runtime, Stats};
use pintle_store::Store;
use pintle_wire::config::Privilege;
use tokio::io::AsyncRead;

use crate::{
    Arrivals, AuthorizerRef, DriverRef, EventSink, Holder, HostConfig, HostError, IpamDriverRef, Lease,
    LogDriverRef, MetricsCollectorRef, NetworkDriverRef, Plugin, PluginFilters, PluginNetworks, Pushed,
    VolumeDriverRef, arrivals::Roster, driver::Contract, lease::Leases, legacy::Legacy, managed::Plugins,
};

/// Every plugin of this host, legacy and managed. Cheap to clone. End it by [`Host::shutdown`]: its tasks
/// outlive the handles.
#[derive(Clone)]
pub struct Host {
    plugins: Plugins,
    legacy: Legacy,
    leases: Leases,
    roster: Roster,
}

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
        let leases = Leases::default();
        let roster = Roster::default();
        let legacy = Legacy::new(&config, roster.clone());
        let shared = (leases.clone(), roster.clone());
        let plugins = Plugins::open(config, store, images, runtime, shared, events).await?;
        Ok(Self { plugins, legacy, leases, roster })
    }

    /// Says who makes the networks that plugins are put in. Until then there are none; whoever makes networks needs the
    /// host first, for their drivers.
    pub fn join_networks(&self, networks: Arc<dyn PluginNetworks>) {
        self.plugins.join_networks(networks);
    }

    /// Attaches to the plugins that outlived the last engine and starts the others that are wanted, in
    /// parallel. Returns when each has come up or failed its first attempt.
    pub async fn reconcile(&self) {
        self.plugins.reconcile().await;
    }

    /// Ends every task of the host's. With `stop_plugins` the plugins are stopped too, otherwise they go on and
    /// the next engine finds them.
    pub async fn shutdown(&self, stop_plugins: bool) {
        tokio::join!(self.legacy.shutdown(), self.plugins.shutdown(stop_plugins));
    }

    /// The managed plugins that match, by name.
    pub fn list(&self, filters: &PluginFilters) -> Vec<Plugin> {
        self.plugins.list(filters)
    }

    /// One managed plugin, by full id, exact name (`:latest` may be left out) or unique id prefix.
    pub fn get(&self, name: &str) -> Result<Plugin, HostError> {
        self.plugins.get(name)
    }

    /// What the plugin at `remote` wants to be granted. A registry that refuses or fails is an error, never an
    /// empty list. What is answered is bound to the manifest that it was read from: a later `pull` of
    /// `remote` that finds another manifest refuses.
    pub async fn privileges(&self, remote: &str, auth: &Auth) -> Result<Vec<Privilege>, HostError> {
        self.plugins.privileges(remote, auth).await
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
        self.plugins.pull(remote, name, &granted, auth, progress).await
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
        self.plugins.upgrade(name, remote, &granted, auth, progress).await
    }

    /// Makes a plugin from an archive of `config.json` and `rootfs/` and answers its id. It stays disabled.
    pub async fn create(
        &self,
        name: &str,
        tar: impl AsyncRead + Send + Unpin + 'static,
    ) -> Result<String, HostError> {
        self.plugins.create(name, tar).await
    }

    /// Starts a plugin and waits until it listens, `timeout` at most (zero: the time asked for earlier, or the
    /// default). If it does not come up the error says why, and it stays wanted: it is tried again with
    /// growing pauses until it comes up or is disabled.
    pub async fn enable(&self, name: &str, timeout: Duration) -> Result<(), HostError> {
        self.plugins.enable(name, timeout).await
    }

    /// Stops a plugin. One that is in use only by `force`.
    pub async fn disable(&self, name: &str, force: bool) -> Result<(), HostError> {
        self.plugins.disable(name, force).await
    }

    /// Removes a plugin and all that it left on disk. One that is enabled or in use only by `force`.
    pub async fn remove(&self, name: &str, force: bool) -> Result<(), HostError> {
        self.plugins.remove(name, force).await
    }

    /// Changes a plugin's settings, all of `args` or none. Beside what its package lets be set, `pintle.networks=A,B`
    /// puts it into networks; the empty list is what its package says. A plugin that would wait for itself, since it
    /// is needed to make one of them, is refused with the members of the cycle.
    /// A path that goes beyond what the operator granted when the plugin was installed is
    /// [`ErrorKind::Forbidden`](crate::ErrorKind::Forbidden).
    pub async fn set(&self, name: &str, args: &[String]) -> Result<(), HostError> {
        self.plugins.set(name, args, false).await
    }

    /// The same, for an operator who grants the paths that the settings name.
    pub async fn set_and_grant(&self, name: &str, args: &[String]) -> Result<(), HostError> {
        self.plugins.set(name, args, true).await
    }

    /// From now on, these plugins are restarted when they leave their probes unanswered. See
    /// [`HostConfig::restart_unhealthy`].
    pub fn restart_unhealthy(&self, plugins: Vec<String>) {
        self.plugins.set_impatience(plugins);
    }

    /// Pushes a plugin to the reference that is its name.
    pub async fn push(&self, name: &str, auth: &Auth, progress: &Progress) -> Result<Pushed, HostError> {
        self.plugins.push(name, auth, progress).await
    }

    /// The process ids of a running plugin, as this host sees them.
    pub async fn top(&self, name: &str) -> Result<Vec<u32>, HostError> {
        self.plugins.top(name).await
    }

    /// What a running plugin uses.
    pub async fn stats(&self, name: &str) -> Result<Stats, HostError> {
        self.plugins.stats(name).await
    }

    /// The plugin's log file, in Docker's json-file format; rotated ones are `<path>.1`, `<path>.2` and so on.
    pub fn log_path(&self, name: &str) -> Result<PathBuf, HostError> {
        self.plugins.log_path(name)
    }

    /// The volume driver called `name`: a managed plugin (`:latest` may be left out), or a legacy one. A name
    /// that nobody has is looked for a short while, for a plugin that is about to appear; one that is starting is
    /// waited for.
    pub async fn volume_driver(&self, name: &str) -> Result<VolumeDriverRef, HostError> {
        self.driver(name).await
    }

    /// Every known volume driver, or why it cannot be called now. Answers within a second, whatever the plugins
    /// do.
    pub async fn volume_drivers(&self) -> Vec<(String, Result<VolumeDriverRef, HostError>)> {
        self.drivers().await
    }

    /// The network driver called `name`, found as [`Host::volume_driver`] finds volume drivers. Its capabilities
    /// are asked by whoever takes it, once for each [life](crate::DriverRef::life).
    pub async fn network_driver(&self, name: &str) -> Result<NetworkDriverRef, HostError> {
        self.driver(name).await
    }

    /// Every known network driver, or why it cannot be called now.
    pub async fn network_drivers(&self) -> Vec<(String, Result<NetworkDriverRef, HostError>)> {
        self.drivers().await
    }

    /// The IPAM driver called `name`, found as [`Host::volume_driver`] finds volume drivers.
    pub async fn ipam_driver(&self, name: &str) -> Result<IpamDriverRef, HostError> {
        self.driver(name).await
    }

    /// Every known IPAM driver, or why it cannot be called now.
    pub async fn ipam_drivers(&self) -> Vec<(String, Result<IpamDriverRef, HostError>)> {
        self.drivers().await
    }

    /// The log driver called `name`, found as [`Host::volume_driver`] finds volume drivers.
    pub async fn log_driver(&self, name: &str) -> Result<LogDriverRef, HostError> {
        self.driver(name).await
    }

    /// The authorizer called `name`, found as [`Host::volume_driver`] finds volume drivers.
    pub async fn authorizer(&self, name: &str) -> Result<AuthorizerRef, HostError> {
        self.driver(name).await
    }

    /// The collector of metrics called `name`, found as [`Host::volume_driver`] finds volume drivers.
    pub async fn metrics_collector(&self, name: &str) -> Result<MetricsCollectorRef, HostError> {
        self.driver(name).await
    }

    /// Whether there is an authorizer called `name`. A managed plugin that is wanted counts though it is not up yet.
    pub async fn expect_authorizer(&self, name: &str) -> Result<(), HostError> {
        match self.plugins.driver::<dyn Authorizer>(name).await {
            Some(Ok(_) | Err(HostError::Unavailable(_))) => Ok(()),
            Some(Err(error)) => Err(error),
            None => self.legacy.driver::<dyn Authorizer>(name).await.map(drop),
        }
    }

    /// Tells of plugins that come up, for what is queued until they do. A legacy plugin is known to be up when
    /// somebody has asked for it.
    pub fn arrivals(&self) -> Arrivals {
        self.roster.watch()
    }

    async fn driver<D: Contract + ?Sized>(&self, name: &str) -> Result<DriverRef<D>, HostError> {
        match self.plugins.driver(name).await {
            Some(found) => found,
            None => self.legacy.driver(name).await,
        }
    }

    async fn drivers<D: Contract + ?Sized>(&self) -> Vec<(String, Result<DriverRef<D>, HostError>)> {
        let mut all = self.plugins.drivers();
        let legacy = self.legacy.drivers().await;
        all.extend(legacy.into_iter().filter(|(name, _)| self.plugins.find(name).is_err()));
        all
    }

    /// Notes that `holder` uses `plugin` (an id or name). A lease on a legacy plugin is kept but hinders nobody.
    pub fn lease(&self, plugin: &str, holder: Holder) -> Lease {
        self.leases.take(&self.lease_key(plugin), holder)
    }

    /// Ends `holder`'s use of `plugin`, if there is one.
    pub fn release(&self, plugin: &str, holder: &Holder) {
        self.leases.release(&self.lease_key(plugin), holder);
    }

    /// Forgets every lease and holds these, by plugin id or name: what exists, at boot.
    pub fn replace_leases(&self, all: Vec<(String, Holder)>) {
        self.leases.replace(all.into_iter().map(|(plugin, holder)| (self.lease_key(&plugin), holder)));
    }

    /// A managed plugin's id, however it is called; a legacy one's name.
    fn lease_key(&self, plugin: &str) -> String {
        match self.plugins.find(plugin) {
            Ok(managed) => managed.view().record.id.clone(),
            Err(_) => plugin.to_owned(),
        }
    }
}
