//! Starting a plugin's process, waiting until it listens, and stopping it. Every step can be repeated after a
//! crash, and what one leaves behind the next `clear` removes.

use std::{
    collections::BTreeMap,
    fs, io,
    path::PathBuf,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use pintle_image::Descriptor;
use pintle_runtime::{ExitStatus, Runtime, RuntimeError, Status, Task};
use pintle_store::failpoint;
use pintle_wire::{Interface, config::PluginConfig, spec::Address};
use tokio_util::sync::CancellationToken;

use super::{
    content::{Contents, make_private_dir},
    diagnose,
    failure::StartFailure,
    mounts,
    paths::Paths,
    record::Loaded,
    spec,
};
use crate::{
    Guest, HostError, PluginNetworks, Room,
    arrivals::Roster,
    driver::Remotes,
    remote::{Client, PathMap},
};

const SIGTERM: i32 = 15;
const SIGKILL: i32 = 9;
/// A plugin without a socket counts as up when it has lived this long.
const SOCKETLESS: Duration = Duration::from_millis(500);
const DIAL: Duration = Duration::from_secs(1);

/// What starting plugins takes. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Launcher {
    pub(crate) paths: Paths,
    pub(crate) contents: Contents,
    pub(crate) runtime: Runtime,
    pub(crate) roster: Roster,
    pub(crate) networks: Arc<OnceLock<Arc<dyn PluginNetworks>>>,
    pub(crate) stop_timeout: Duration,
    /// The runtimes of plugins that do not run on the default one, by name with or without a tag.
    pub(crate) runtimes: Arc<BTreeMap<String, String>>,
}

/// What to start.
#[derive(Clone)]
pub(crate) struct Version {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) loaded: Loaded,
    pub(crate) layers: Vec<Descriptor>,
    pub(crate) generation: u32,
    pub(crate) networks: Vec<String>,
}

/// A plugin that runs and listens.
#[derive(Clone)]
pub(crate) struct Running {
    pub(crate) task: Task,
    pub(crate) client: Arc<Client>,
    pub(crate) remotes: Remotes,
    pub(crate) since: Instant,
    /// When it was started, as its log has it, for quoting no older lines.
    pub(crate) started_at: String,
}

impl From<HostError> for StartFailure {
    fn from(error: HostError) -> Self {
        Self::Internal(error.to_string())
    }
}

impl From<RuntimeError> for StartFailure {
    fn from(error: RuntimeError) -> Self {
        match error {
            RuntimeError::Command { message, .. } => Self::Command(message),
            other => Self::Internal(other.to_string()),
        }
    }
}

fn internal(what: &str) -> impl Fn(io::Error) -> StartFailure + '_ {
    move |error| StartFailure::Internal(format!("{what}: {error}"))
}

impl Launcher {
    /// Starts a plugin and waits until it listens. When it fails, or is called off, nothing of it is left.
    pub(crate) async fn launch(
        &self,
        version: &Version,
        limit: Duration,
        cancel: &CancellationToken,
    ) -> Result<Running, StartFailure> {
        match self.try_launch(version, limit, cancel).await {
            Ok(running) => Ok(running),
            Err(failure) => {
                if let Err(error) = self.clear(&version.id).await {
                    tracing::warn!(plugin = version.name, %error, "a plugin that did not start left something behind");
                }
                Err(failure)
            }
        }
    }

    async fn try_launch(
        &self,
        version: &Version,
        limit: Duration,
        cancel: &CancellationToken,
    ) -> Result<Running, StartFailure> {
        // A crash may have left a process of an earlier attempt.
        self.clear(&version.id).await?;
        let room = self.open_room(version, cancel).await?;
        failpoint!("host.start.networked");
        let (launcher, own) = (self.clone(), version.clone());
        let (rootfs, config) = tokio::task::spawn_blocking(move || launcher.prepare(&own, room.as_ref()))
            .await
            .map_err(|error| StartFailure::Internal(error.to_string()))??;
        failpoint!("host.start.prepared");
        let started_at = chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Nanos, true);
        let explain = |failure: StartFailure| {
            let entrypoint = version.loaded.config.entrypoint.first().map_or("", String::as_str);
            let path = pintle_runtime::spec::default_path();
            match failure {
                StartFailure::Command(_) | StartFailure::Exited { .. } => {
                    diagnose::cannot_run(&rootfs, entrypoint, path).unwrap_or(failure)
                }
                other => other,
            }
        };
        let task = self.runtime.create(config).await.map_err(|error| explain(error.into()))?;
        failpoint!("host.start.created");
        task.start().await.map_err(|error| explain(error.into()))?;
        failpoint!("host.start.started");
        let running = self.running(version, task, rootfs.clone(), started_at);
        self.await_listening(version, &running, limit, cancel).await.map_err(explain)?;
        failpoint!("host.start.listening");
        Ok(running)
    }

    /// The plugin's place in its networks, if the user put it in any.
    async fn open_room(
        &self,
        version: &Version,
        cancel: &CancellationToken,
    ) -> Result<Option<Room>, StartFailure> {
        if version.networks.is_empty() {
            return Ok(None);
        }
        let Some(networks) = self.networks.get() else {
            return Err(StartFailure::Network("this engine has no networks for plugins".into()));
        };
        let guest =
            Guest { id: version.id.clone(), name: version.name.clone(), networks: version.networks.clone() };
        match networks.open(&guest, cancel).await {
            Ok(room) => Ok(Some(room)),
            Err(_) if cancel.is_cancelled() => Err(StartFailure::Cancelled),
            Err(error) => Err(StartFailure::Network(error.to_string())),
        }
    }

    /// Everything that must be there before the process is. Blocks.
    fn prepare(
        &self,
        version: &Version,
        room: Option<&Room>,
    ) -> Result<(PathBuf, pintle_runtime::TaskConfig), StartFailure> {
        let (id, config) = (version.id.as_str(), &version.loaded.config);
        let sockets = self.paths.sockets(id);
        // A socket of an earlier life must not be taken for one of this.
        if let Err(error) = fs::remove_dir_all(&sockets)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(internal("emptying the plugin's socket directory")(error));
        }
        fs::create_dir_all(self.paths.all_sockets()).map_err(internal("creating the socket directory"))?;
        make_private_dir(&sockets)?;
        if let Some(dir) = self.paths.log(id).parent() {
            make_private_dir(dir)?;
        }
        if !config.propagated_mount.is_empty() {
            let shared = self.paths.propagated(id);
            make_private_dir(&shared)?;
            mounts::unmount_dead(&shared).map_err(internal("clearing dead mounts"))?;
            mounts::share(&shared).map_err(internal("sharing the plugin's propagated mount"))?;
        }
        let rootfs = self.contents.mount(id, &version.layers, version.generation)?;
        let mut task = spec::task(id, &version.loaded, rootfs.clone(), &self.paths, room)?;
        let untagged = version.name.rsplit_once(':').map_or(version.name.as_str(), |(name, _)| name);
        let named = self.runtimes.get(&version.name).or_else(|| self.runtimes.get(untagged));
        task.runtime = named.cloned().unwrap_or_default();
        Ok((rootfs, task))
    }

    fn running(&self, version: &Version, task: Task, rootfs: PathBuf, started_at: String) -> Running {
        let config = &version.loaded.config;
        let socket = self.paths.sockets(&version.id).join(&config.interface.socket);
        let client = Arc::new(Client::new(&version.name, Address::Unix(socket)));
        let propagated = (!config.propagated_mount.is_empty())
            .then(|| (PathBuf::from(&config.propagated_mount), self.paths.propagated(&version.id)));
        let paths = PathMap { rootfs: Some(rootfs), propagated };
        let extended = Interface::ExtendedAuthorization.is_among(config);
        let remotes = Remotes::new(&client, paths, self.roster.new_life(), extended);
        Running { task, client, remotes, since: Instant::now(), started_at }
    }

    async fn await_listening(
        &self,
        version: &Version,
        running: &Running,
        limit: Duration,
        cancel: &CancellationToken,
    ) -> Result<(), StartFailure> {
        let socketless = version.loaded.config.interface.socket.is_empty();
        let listens = async {
            if socketless {
                return tokio::time::sleep(SOCKETLESS).await;
            }
            let mut pause = Duration::from_millis(2);
            while running.client.probe(DIAL).await.is_err() {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_millis(100));
            }
        };
        tokio::select! {
            biased;
            () = cancel.cancelled() => Err(StartFailure::Cancelled),
            exit = running.task.wait() => Err(self.exited(&version.id, &running.started_at, exit)),
            heard = tokio::time::timeout(limit, listens) => match heard {
                Ok(()) => Ok(()),
                Err(_) => Err(self.silent(version, running, limit)),
            },
        }
    }

    fn silent(&self, version: &Version, running: &Running, waited: Duration) -> StartFailure {
        let expected = version.loaded.config.interface.socket.clone();
        let dir = self.paths.sockets(&version.id);
        let found: Vec<String> =
            diagnose::sockets_in(&dir).into_iter().filter(|name| *name != expected).collect();
        let last_words = diagnose::last_words(&self.paths.log(&version.id), &running.started_at);
        if found.is_empty() {
            StartFailure::Silent { socket: dir.join(expected), waited, last_words }
        } else {
            StartFailure::WrongSocket { expected, found, last_words }
        }
    }

    /// Why a process that ended by itself did.
    pub(crate) fn exited(
        &self,
        id: &str,
        started_at: &str,
        exit: Result<ExitStatus, RuntimeError>,
    ) -> StartFailure {
        let last_words = diagnose::last_words(&self.paths.log(id), started_at);
        match exit {
            Ok(ExitStatus { error: Some(error), .. }) => StartFailure::Internal(error),
            Ok(exit) => StartFailure::Exited { code: exit.code, oom: exit.oom_killed, last_words },
            Err(error) => StartFailure::Internal(error.to_string()),
        }
    }

    /// Finds a plugin that outlived the last engine. `None` unless its process runs.
    pub(crate) async fn attach(&self, version: &Version) -> Result<Option<Running>, HostError> {
        let Some(task) = self.runtime.attach_existing(&version.id).await.map_err(internal_host)? else {
            return Ok(None);
        };
        let state = task.state().await.map_err(internal_host)?;
        if state.status != Status::Running {
            return Ok(None);
        }
        let copy = self.paths.written(&version.id, version.generation).join("copy");
        let rootfs = if copy.exists() { copy } else { self.paths.rootfs(&version.id) };
        Ok(Some(self.running(version, task, rootfs, String::new())))
    }

    /// Asks a plugin to end, makes it if it does not, and clears away what it leaves.
    pub(crate) async fn stop(&self, id: &str, config: &PluginConfig) -> Result<Option<i32>, HostError> {
        let task = self.runtime.attach_existing(id).await.map_err(internal_host)?;
        let mut code = None;
        if let Some(task) = task {
            // The kernel drops SIGTERM to a PID 1 that does not expect it: there is nothing to wait for then.
            let polite = task.pid().is_none_or(|pid| expects(pid, SIGTERM));
            let signals = [(SIGTERM, false), (SIGKILL, true)];
            for (signal, all) in signals.into_iter().skip(usize::from(!polite)) {
                // One that has ended already is what we want.
                if task.kill(signal, all).await.is_err() {
                    break;
                }
                if let Ok(Ok(exit)) = tokio::time::timeout(self.stop_timeout, task.wait()).await {
                    code = Some(exit.code);
                    break;
                }
            }
        }
        failpoint!("host.stop.stopped");
        self.clear(id).await?;
        if !config.propagated_mount.is_empty() {
            // Mounts outlive a crash of the plugin, since it may count on them, but not a planned stop.
            let dir = self.paths.propagated(id);
            blocking(move || mounts::unmount_below(&dir)).await?;
        }
        Ok(code)
    }

    /// Removes whatever a plugin's process left, dead or alive: task, networks, root file system, sockets.
    pub(crate) async fn clear(&self, id: &str) -> Result<(), HostError> {
        self.runtime.cleanup_orphan(id).await.map_err(internal_host)?;
        if let Some(networks) = self.networks.get() {
            networks.close(id).await;
        }
        let (rootfs, sockets) = (self.paths.rootfs(id), self.paths.sockets(id));
        blocking(move || {
            mounts::unmount_below(&rootfs)?;
            match fs::remove_dir_all(&sockets) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            }
        })
        .await
    }
}

/// Whether a process catches a signal, or blocks it to wait for it otherwise; or is gone or unreadable.
fn expects(pid: u32, signal: i32) -> bool {
    let Ok(status) = fs::read_to_string(format!("/proc/{pid}/status")) else { return true };
    let mask = |key: &str| {
        let text = status.lines().find_map(|line| line.strip_prefix(key));
        text.and_then(|text| u64::from_str_radix(text.trim(), 16).ok())
    };
    match (mask("SigBlk:"), mask("SigCgt:")) {
        (Some(blocked), Some(caught)) => (blocked | caught) & (1 << (signal - 1)) != 0,
        _ => true,
    }
}

fn internal_host(error: RuntimeError) -> HostError {
    HostError::Internal(error.to_string())
}

/// Runs disk work off the async threads.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, HostError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(|error| HostError::Internal(error.to_string())),
        Err(error) => Err(HostError::Internal(error.to_string())),
    }
}
