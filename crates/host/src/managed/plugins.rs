use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use futures_util::future::join_all;
use pintle_image::{Auth, Images, Progress};
use pintle_runtime::{Runtime, Stats};
use pintle_store::Store;
use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;

use super::{
    command::{Command, Reply},
    content::Contents,
    context::Context,
    install::Pending,
    launch::{Launcher, Running, blocking},
    mounts, names, owner,
    paths::{Paths, is_id},
    push,
    record::Record,
    shared::{Managed, View},
    state::State,
};
use crate::{
    DriverRef, EventSink, HostConfig, HostError, Plugin, PluginFilters, PluginNetworks, Pushed,
    arrivals::Roster, driver::Contract, lease::Leases,
};

/// How long a call waits for a plugin that is just starting.
const START_PATIENCE: Duration = Duration::from_secs(10);

/// Every managed plugin. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Plugins {
    pub(super) context: Arc<Context>,
    pub(super) pending: Arc<Pending>,
}

impl Plugins {
    /// Reads the records and clears away what was half installed or half removed.
    pub(crate) async fn open(
        config: HostConfig,
        store: Store,
        images: Images,
        runtime: Runtime,
        (leases, roster): (Leases, Roster),
        events: EventSink,
    ) -> Result<Self, HostError> {
        let paths = Paths::new(&config);
        let contents = Contents::new(paths.clone(), images.blobs().clone());
        let networks = Arc::default();
        let launcher = Launcher {
            paths: paths.clone(),
            contents: contents.clone(),
            runtime,
            roster: roster.clone(),
            networks: Arc::clone(&networks),
            stop_timeout: config.stop_timeout,
            runtimes: Arc::new(config.runtimes.clone()),
        };
        let table = store.table("plugins");
        let context = Arc::new(Context {
            impatience: ArcSwap::from_pointee(config.restart_unhealthy.clone()),
            config,
            paths,
            store,
            table,
            images,
            contents,
            launcher,
            leases,
            roster,
            events,
            owners: TaskTracker::new(),
            plugins: RwLock::default(),
            networks,
            choosing: Mutex::default(),
        });
        let records: BTreeMap<String, Record> = context.table.list()?.into_iter().collect();
        let (cleaner, ids) = (Arc::clone(&context), records.keys().cloned().collect::<Vec<_>>());
        blocking(move || {
            clear_half_done(&cleaner, &ids);
            if let Err(error) = cleaner.release_strangers(&ids) {
                tracing::warn!(%error, "blobs of removed plugins are left");
            }
            // And what an installation had stored that a crash cut off. Nothing is under way yet; what an image's
            // pull has fetched so far is held by name.
            let blobs = cleaner.images.blobs();
            if let Err(error) = blobs.list().and_then(|all| blobs.collect(all)) {
                tracing::warn!(%error, "blobs that nobody holds are left");
            }
            Ok(())
        })
        .await?;
        let owners: BTreeMap<String, Arc<Managed>> =
            records.into_iter().map(|(id, record)| (id, owner::spawn(&context, record))).collect();
        *context.plugins.write().unwrap_or_else(PoisonError::into_inner) = owners;
        context.collect().await;
        Ok(Self { context, pending: Arc::default() })
    }

    /// Says who makes networks. Only the first time counts.
    pub(crate) fn join_networks(&self, networks: Arc<dyn PluginNetworks>) {
        let _ = self.context.networks.set(networks);
    }

    /// Attaches to what runs and starts what is wanted, all at once. No process can be left that no record tells
    /// of: the record is older than the first one and goes after the last.
    pub(crate) async fn reconcile(&self) {
        let all = self.context.all();
        let boots = all.iter().map(|managed| async move {
            let name = managed.view().record.name.clone();
            let booted = self.ask(&name, managed, |reply| Command::Boot { reply }).await;
            if let Err(error) = booted {
                tracing::warn!(plugin = name, %error, "a plugin that is wanted is not up");
            }
        });
        join_all(boots).await;
    }

    pub(crate) async fn shutdown(&self, stop: bool) {
        let all = self.context.all();
        let ends = all.iter().map(|managed| async move {
            let name = managed.view().record.name.clone();
            if let Err(error) = self.ask(&name, managed, |reply| Command::Shutdown { stop, reply }).await {
                tracing::warn!(plugin = name, %error, "a plugin was not stopped cleanly");
            }
        });
        let all_ended = async {
            join_all(ends).await;
            self.context.owners.close();
            self.context.owners.wait().await;
        };
        // Each stop has its own limits; this is for what no limit foresaw.
        let deadline = 3 * self.context.config.stop_timeout + Duration::from_secs(10);
        if tokio::time::timeout(deadline, all_ended).await.is_err() {
            tracing::error!("some plugins did not stop in time and are left to the next engine");
        }
    }

    pub(crate) fn find(&self, text: &str) -> Result<Arc<Managed>, HostError> {
        self.context.find(text)
    }

    /// Sends a command and waits for its answer. What was begun goes on if the caller stops waiting.
    pub(super) async fn ask(
        &self,
        typed: &str,
        managed: &Managed,
        command: impl FnOnce(Reply) -> Command,
    ) -> Result<(), HostError> {
        let (reply, answer) = oneshot::channel();
        let gone = || match self.context.owners.is_closed() {
            true => HostError::Unavailable("the engine is stopping".into()),
            false => HostError::NotFound(typed.to_owned()),
        };
        managed.commands.send(command(reply)).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    pub(crate) fn list(&self, filters: &PluginFilters) -> Vec<Plugin> {
        let leases = &self.context.leases;
        let mut plugins: Vec<Plugin> = self
            .context
            .all()
            .iter()
            .map(|managed| managed.view().plugin(leases))
            .filter(|plugin| filters.enabled.is_none_or(|wanted| wanted == plugin.enabled))
            .filter(|plugin| {
                let wanted = &filters.capabilities;
                wanted.is_empty() || wanted.iter().any(|capability| plugin.offers(capability))
            })
            .collect();
        plugins.sort_by(|a, b| a.name.cmp(&b.name));
        plugins
    }

    pub(crate) fn get(&self, name: &str) -> Result<Plugin, HostError> {
        Ok(self.find(name)?.view().plugin(&self.context.leases))
    }

    pub(crate) async fn enable(&self, typed: &str, timeout: Duration) -> Result<(), HostError> {
        let managed = self.find(typed)?;
        self.ask(typed, &managed, |reply| Command::Enable { typed: typed.to_owned(), timeout, reply }).await
    }

    pub(crate) async fn disable(&self, typed: &str, force: bool) -> Result<(), HostError> {
        let managed = self.find(typed)?;
        self.ask(typed, &managed, |reply| Command::Disable { typed: typed.to_owned(), force, reply }).await
    }

    pub(crate) async fn remove(&self, typed: &str, force: bool) -> Result<(), HostError> {
        let managed = self.find(typed)?;
        self.ask(typed, &managed, |reply| Command::Remove { typed: typed.to_owned(), force, reply }).await
    }

    pub(crate) async fn set(&self, typed: &str, args: &[String], grant: bool) -> Result<(), HostError> {
        let managed = self.find(typed)?;
        self.ask(typed, &managed, |reply| Command::Set { args: args.to_vec(), grant, reply }).await
    }

    pub(crate) fn set_impatience(&self, plugins: Vec<String>) {
        self.context.impatience.store(Arc::new(plugins));
    }

    pub(crate) async fn push(
        &self,
        typed: &str,
        auth: &Auth,
        progress: &Progress,
    ) -> Result<Pushed, HostError> {
        let managed = self.find(typed)?;
        let view = managed.view();
        let record = &view.record;
        let target = names::local(&record.name)?;
        let context = &self.context;
        let pushed = push::push(
            &context.images,
            &context.contents,
            &context.paths,
            &record.package,
            &target,
            auth,
            progress,
        )
        .await?;
        let (reference, digest) = (target.canonical(), pushed.digest.parse());
        if let Ok(digest) = digest {
            self.ask(typed, &managed, |reply| Command::Pushed { reference, digest, reply }).await?;
        }
        Ok(pushed)
    }

    fn running(&self, typed: &str) -> Result<Running, HostError> {
        let view = self.find(typed)?.view();
        view.running.clone().ok_or_else(|| unavailable(&view))
    }

    pub(crate) async fn top(&self, typed: &str) -> Result<Vec<u32>, HostError> {
        let running = self.running(typed)?;
        running.task.processes().await.map_err(|error| HostError::Internal(error.to_string()))
    }

    pub(crate) async fn stats(&self, typed: &str) -> Result<Stats, HostError> {
        let running = self.running(typed)?;
        running.task.stats().await.map_err(|error| HostError::Internal(error.to_string()))
    }

    pub(crate) fn log_path(&self, typed: &str) -> Result<PathBuf, HostError> {
        Ok(self.context.paths.log(&self.find(typed)?.view().record.id))
    }

    /// The driver called `name`, `None` if no managed plugin is called so. Waits for one that is starting.
    pub(crate) async fn driver<D: Contract + ?Sized>(
        &self,
        name: &str,
    ) -> Option<Result<DriverRef<D>, HostError>> {
        let managed = match self.find(name) {
            Ok(managed) => managed,
            Err(HostError::NotFound(_) | HostError::Ambiguous(_)) => return None,
            Err(error) => return Some(Err(error)),
        };
        let view = managed.view();
        // A prefix of an id is no driver's name: somebody else's driver may be called so.
        if view.record.id != name && view.record.id.starts_with(name) {
            return None;
        }
        let deadline = Instant::now() + START_PATIENCE;
        let mut changes = managed.watch();
        loop {
            let view = managed.view();
            let starting = matches!(view.state, State::Starting { .. });
            if !starting || tokio::time::timeout_at(deadline.into(), changes.changed()).await.is_err() {
                return Some(driver(&managed.view()));
            }
        }
    }

    /// Every managed driver that is wanted, without waiting for any.
    pub(crate) fn drivers<D: Contract + ?Sized>(&self) -> Vec<(String, Result<DriverRef<D>, HostError>)> {
        let views = self.context.all().into_iter().map(|managed| managed.view());
        views
            .filter(|view| view.record.wanted && view.offers(&D::INTERFACE))
            .map(|view| (view.record.name.clone(), driver(&view)))
            .collect()
    }
}

fn driver<D: Contract + ?Sized>(view: &View) -> Result<DriverRef<D>, HostError> {
    let name = &view.record.name;
    if !view.record.wanted {
        return Err(HostError::Disabled(name.clone()));
    }
    if !view.offers(&D::INTERFACE) {
        let capability = D::INTERFACE.capability();
        return Err(HostError::WrongInterface(format!(
            "plugin \"{name}\" does not provide the \"{capability}\" capability"
        )));
    }
    match &view.running {
        Some(running) => Ok(running.remotes.driver(name, Some(&view.record.id))),
        None => Err(unavailable(view)),
    }
}

fn unavailable(view: &View) -> HostError {
    let name = &view.record.name;
    if !view.record.wanted {
        return HostError::Disabled(name.clone());
    }
    HostError::Unavailable(match &view.state {
        State::BackingOff { why, .. } => format!("plugin {name} is enabled but not running: {why}"),
        State::Starting { .. } | State::Down => format!("plugin {name} is starting"),
        _ => format!("plugin {name} is not running"),
    })
}

/// Removes directories that no record names: installations that were not finished, removals that were begun.
fn clear_half_done(context: &Context, ids: &[String]) {
    context.contents.clear_half_done();
    let Ok(entries) = fs::read_dir(context.paths.plugins()) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let half_made = name.starts_with("tmp-");
        let half_removed = name.strip_suffix("-removing").is_some_and(is_id);
        let unknown = is_id(&name) && !ids.contains(&name);
        if !(half_made || half_removed || unknown) {
            continue;
        }
        let removed = mounts::unmount_below(&entry.path()).and_then(|()| fs::remove_dir_all(entry.path()));
        if let Err(error) = removed {
            tracing::warn!(path = %entry.path().display(), %error, "leftovers of a plugin cannot be removed");
        }
    }
}
