//! Starting a container: what is mounted, written and run, in which order, and how a failure is undone.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use chrono::Utc;
use futures_util::future;
use pintle_contract::MountId;
use pintle_runtime::{Task, TaskConfig, cgroup::Setup, spec::resolve_user};
use tokio_util::sync::CancellationToken;

use super::{
    Container, ContainerSpec, Containers, Effect, Event, MountKind, MountPoint, Refusal, Run,
    cell::Cell,
    failpoint, log_options,
    networks::Network,
    oci,
    service::{Shared, blocking, refused},
};
use crate::{EngineError, ErrorKind, volumes::Use, volumes::subpath::Subpath};

/// What the end of a run waits for volume drivers; they finish in the background if they take longer.
const UNMOUNT: Duration = Duration::from_secs(2);

impl Containers {
    /// Starts it. `NotModified` if it runs.
    pub async fn start(&self, name: &str) -> Result<(), EngineError> {
        let (shared, cell) = (Arc::clone(&self.shared), self.shared.find(name)?);
        self.run(async move {
            let _turn = cell.turn.lock().await;
            shared.start_held(&cell, Event::Start).await
        })
        .await
    }
}

/// Why a start failed, as the container's record keeps it.
struct Failed {
    code: i64,
    error: EngineError,
}

impl From<EngineError> for Failed {
    fn from(error: EngineError) -> Self {
        Self { code: 128, error }
    }
}

impl From<pintle_runtime::RuntimeError> for Failed {
    fn from(error: pintle_runtime::RuntimeError) -> Self {
        let code = i64::from(error.exit_code());
        // What is wrong with the command is said in Docker's words already.
        let said = matches!(error, pintle_runtime::RuntimeError::Command { .. });
        let error = EngineError::from(error);
        let doing = "failed to create task for container";
        let said = said || error.message.starts_with(doing);
        Self { code, error: if said { error } else { error.context(doing) } }
    }
}

impl From<pintle_image::ImageError> for Failed {
    fn from(error: pintle_image::ImageError) -> Self {
        EngineError::from(error).into()
    }
}

impl Shared {
    /// Starts a container whose turn the caller has.
    pub async fn start_held(self: &Arc<Self>, cell: &Arc<Cell>, event: Event) -> Result<(), EngineError> {
        if cell.snapshot().gone {
            return Err(EngineError::not_found(format!("No such container: {}", cell.id)));
        }
        let cancel = cell.begin_start();
        if cell.task().is_some() && !cell.snapshot().has_process() {
            // The end of its last run could not be recorded.
            self.release(cell, &cell.container().mounts).await;
        }
        pintle_runtime::cgroup::expect_move();
        match self.advance(cell, event).await? {
            Ok(_) => {}
            Err(Refusal::Paused) => {
                return Err(EngineError::conflict("cannot start a paused container, try unpause instead"));
            }
            Err(Refusal::BeingRemoved) => {
                return Err(EngineError::conflict("container is marked for removal and cannot be started"));
            }
            Err(refusal) => return Err(refused(&cell.container(), refusal)),
        }
        failpoint!("engine.start.after_intent");
        let mounted = Mutex::new(Vec::new());
        let launched = async {
            let opened = cancellable(&cancel, self.open_streams(cell)).await?;
            let run = match self.launch(cell, &cancel, &mounted).await {
                Ok((task, run)) => self.set_off(cell, &task, run).await.map(|()| task),
                Err(failed) => Err(failed),
            };
            match run {
                Ok(task) => Ok((task, opened)),
                Err(failed) => {
                    opened.abandon(self);
                    Err(failed)
                }
            }
        };
        let launched: Result<_, Failed> = launched.await;
        match launched {
            Ok((task, opened)) => {
                self.announce(&cell.container(), "start", &[]);
                self.watch_task(cell, task);
                self.deliver(cell, opened);
                Ok(())
            }
            Err(failed) => {
                let mounted = mounted.into_inner().unwrap_or_else(PoisonError::into_inner);
                self.release(cell, &mounted).await;
                drop(cell.take_promises());
                let event = Event::LaunchFailed {
                    code: failed.code,
                    error: failed.error.message.clone(),
                    at: Utc::now(),
                };
                let effects = self.advance(cell, event).await?.unwrap_or_default();
                self.follow_up(cell, &effects).await;
                Err(failed.error)
            }
        }
    }

    /// Lets a created task run. Its record says so by then: only so is it known, after the machine went down,
    /// that it ran.
    async fn set_off(&self, cell: &Cell, task: &Task, run: Run) -> Result<(), Failed> {
        let container = cell.container();
        let (next, _) =
            self.decide(cell, Event::Launched(run)).map_err(|refusal| refused(&container, refusal))?;
        let (recorded, started) = future::join(self.records.put(Arc::clone(&next)), task.start()).await;
        failpoint!("engine.start.after_start");
        started?;
        if let Err(error) = recorded {
            tracing::error!(container = %cell.id, %error, "runs, but this could not be recorded");
        }
        cell.show(next);
        Ok(())
    }

    /// Mounts, writes and creates all that the process needs, up to the process itself, which waits.
    async fn launch(
        self: &Arc<Self>,
        cell: &Arc<Cell>,
        cancel: &CancellationToken,
        mounted: &Mutex<Vec<MountPoint>>,
    ) -> Result<(Task, Run), Failed> {
        let container = cell.container();
        let dir = self.dir(&container.id);
        // Side by side: none of these needs another, and a plugin may take its time.
        let (root, network, sources) = future::join3(
            self.images.mount_rootfs(&container.id, &dir),
            self.open_network(cell, cancel),
            cancellable(cancel, self.sources(&container, mounted)),
        )
        .await;
        let (root, mut sources, network) = (root?, sources?, network?);
        let Network { place, files, written } = network;
        sources.0.extend(files);
        failpoint!("engine.start.after_mount");
        self.remember_sources(cell, &sources.0);
        let container = cell.container();

        let (spec, from) = (Arc::clone(&container.spec), root.clone());
        let user = blocking(move || prepare_root(&from, &spec)).await?;
        let setup = Setup::detect();
        let joins = self.joins(&container).await?;
        let seccomp = self.defaults.load().seccomp.clone();
        let around = oci::Surroundings { setup, user, sources: sources.0, network: place, joins, seccomp };
        let (mut oci, seccomp) = oci::build(&container, &around)?;
        let spec = &container.spec;
        if !spec.device_requests.is_empty() {
            let (requests, dirs) = (spec.device_requests.clone(), self.config.cdi_dirs.clone());
            oci = blocking(move || oci::inject(&mut oci, &requests, &dirs).map(|()| oci)).await?;
        }
        let mut config = TaskConfig::new(&container.id, root, oci);
        config.terminal = spec.tty;
        config.stdin_open = spec.open_stdin;
        config.stdin_once = spec.stdin_once;
        config.console_size = spec.console_size;
        config.log = match self.log(&container) {
            Some((path, _)) => {
                if let Some(folder) = path.parent() {
                    std::fs::create_dir_all(folder).map_err(EngineError::from)?;
                }
                log_options::log_file(spec, Some(&container), path)?
            }
            None => None,
        };
        config.seccomp = seccomp;
        config.oom_score_adj = Some(spec.oom_score_adj);
        config.cgroup = self.cgroup(&container);
        config.init = spec.init;
        // Containers of an engine that knew one runtime do not say which.
        config.runtime = if spec.runtime.is_empty() { "pintle".to_owned() } else { spec.runtime.clone() };
        config.demands = oci::demands(spec)?;
        if cancel.is_cancelled() {
            return Err(cancelled().into());
        }
        // Its endpoints are on the disk before it runs: from there alone the next engine knows what it has.
        let (task, written) = future::join(self.runtime.create(config), written.durable()).await;
        let task = task?;
        // From here on the task's own mount namespace holds the subpaths.
        drop(sources.1);
        failpoint!("engine.start.after_create");
        cell.set_task(Some(task.clone()));
        written?;
        self.connect(cell, &task).await;
        // The time is taken before it can end.
        let run = Run { pid: task.pid().unwrap_or_default(), started_at: Utc::now() };
        Ok((task, run))
    }

    /// Gives those who attached early their connection.
    pub async fn connect(&self, cell: &Cell, task: &Task) {
        for (attach, promise) in cell.take_promises() {
            match task.attach(attach).await {
                // A client that went away meanwhile needs none.
                Ok(stream) => drop(promise.send(stream)),
                Err(error) => tracing::warn!(container = %cell.id, %error, "cannot attach a waiting client"),
            }
        }
    }

    fn cgroup(&self, container: &Container) -> String {
        let parent = match container.spec.cgroup_parent.as_str() {
            "" => &self.config.cgroup_parent,
            parent => parent,
        };
        super::mounts::clean(&format!("/{parent}/{}", container.id))
    }

    /// Finds or makes what is to be mounted. Volumes that were mounted are noted in `mounted` at once.
    async fn sources(
        &self,
        container: &Container,
        mounted: &Mutex<Vec<MountPoint>>,
    ) -> Result<(Vec<oci::Source>, Vec<Subpath>), EngineError> {
        let found = future::try_join_all(container.mounts.iter().map(|mount| async move {
            match mount.kind {
                MountKind::Tmpfs => Ok((oci::Source { path: PathBuf::new(), point: mount.clone() }, None)),
                MountKind::Bind => {
                    let (path, pinned) = self.bind_source(mount).await?;
                    Ok((oci::Source { path, point: mount.clone() }, pinned))
                }
                MountKind::Volume => self.volume_source(container, mount, mounted).await,
                MountKind::Image => {
                    let path = self.mount_image(container, mount).await?;
                    self.part(path, mount).await
                }
            }
        }))
        .await?;
        let (sources, subpaths): (Vec<_>, Vec<_>) = found.into_iter().unzip();
        Ok((sources, subpaths.into_iter().flatten().collect()))
    }

    async fn volume_source(
        &self,
        container: &Container,
        mount: &MountPoint,
        mounted: &Mutex<Vec<MountPoint>>,
    ) -> Result<(oci::Source, Option<Subpath>), EngineError> {
        let name = mount.name.clone().unwrap_or_default();
        let seen = Use {
            destination: mount.destination.clone(),
            read_write: mount.rw,
            propagation: mount.propagation.clone(),
        };
        let id = MountId(mount.mount_id.clone());
        let path = self.volumes.mount_as(&name, &container.id, &id, &seen).await?;
        mounted.lock().unwrap_or_else(PoisonError::into_inner).push(mount.clone());
        self.part(path, mount).await
    }

    /// The host path of a bind; made if it may be. What was judged is bound by the very file that was found.
    pub async fn bind_source(&self, mount: &MountPoint) -> Result<(PathBuf, Option<Subpath>), EngineError> {
        let mut point = mount.clone();
        if let Some(judged) = &mount.judged {
            point.source.clone_from(judged);
        }
        let path = blocking(move || bind_source(&point)).await?;
        if mount.judged.is_none() {
            return Ok((path, None));
        }
        let pinned = self.volumes.pinned(&path).await?;
        Ok((pinned.path().to_owned(), Some(pinned)))
    }

    /// What of a volume or an image is to be mounted.
    pub async fn part(
        &self,
        path: PathBuf,
        mount: &MountPoint,
    ) -> Result<(oci::Source, Option<Subpath>), EngineError> {
        let mut point = mount.clone();
        point.source.clone_from(&path);
        if mount.subpath.is_empty() {
            return Ok((oci::Source { path, point }, None));
        }
        let part = self.volumes.subpath(&path, &mount.subpath).await?;
        Ok((oci::Source { path: part.path().to_owned(), point }, Some(part)))
    }

    /// Shows where volumes turned out to be.
    fn remember_sources(&self, cell: &Cell, sources: &[oci::Source]) {
        let container = cell.container();
        let mut points = (*container.mounts).clone();
        for point in
            points.iter_mut().filter(|point| matches!(point.kind, MountKind::Volume | MountKind::Image))
        {
            if let Some(source) = sources.iter().find(|source| source.point.destination == point.destination)
            {
                point.source.clone_from(&source.point.source);
            }
        }
        if points != *container.mounts {
            cell.show(Arc::new(Container { mounts: Arc::new(points), ..(*container).clone() }));
        }
    }

    /// Gives back what a run held: its task, these volumes and its networks, the root file system, in this order; that the
    /// root is still mounted tells the next engine that this was not finished.
    pub async fn release(&self, cell: &Cell, volumes: &[MountPoint]) {
        let id = &cell.id;
        let deleted = match cell.task() {
            Some(task) => task.delete().await.map(drop),
            None => self.runtime.cleanup_orphan(id).await,
        };
        cell.set_task(None);
        if let Err(error) = deleted {
            tracing::warn!(container = %id, %error, "something of its processes could not be removed");
        }
        failpoint!("engine.release.after_task");
        let container = cell.container();
        future::join(self.unmount_volumes(id, volumes), self.close_network(&container)).await;
        failpoint!("engine.release.after_volumes");
        self.drop_shm(id).await;
        self.unmount_images(&container).await;
        let views = cell.views.lock().await;
        if *views == 0
            && let Err(error) = self.images.unmount_rootfs(id, &self.dir(id)).await
        {
            tracing::warn!(container = %id, %error, "its root file system could not be unmounted");
        }
    }

    /// Unmounts volumes, side by side; a driver that does not answer soon goes on in the background.
    pub async fn unmount_volumes(&self, id: &str, volumes: &[MountPoint]) {
        let all = volumes.iter().filter(|mount| mount.kind == MountKind::Volume).map(|mount| async move {
            let name = mount.name.as_deref().unwrap_or_default();
            if let Err(error) = self.volumes.unmount(name, &MountId(mount.mount_id.clone())).await {
                tracing::warn!(container = %id, volume = %name, %error, "a volume could not be unmounted");
            }
        });
        if tokio::time::timeout(UNMOUNT, future::join_all(all)).await.is_err() {
            tracing::warn!(container = %id, "a volume driver is slow to unmount; going on without it");
        }
    }

    /// Does what a step left to do at the end of a run. The caller has the turn.
    pub async fn follow_up(self: &Arc<Self>, cell: &Arc<Cell>, effects: &[Effect]) {
        for effect in effects {
            match effect {
                Effect::RestartAfter(delay) => self.restart_after(cell, *delay),
                Effect::AutoRemove => {
                    if let Err(error) = self.remove_held(cell, true, true).await {
                        tracing::warn!(container = %cell.id, %error, "could not be removed after its end");
                    }
                }
                Effect::Commit | Effect::Launch | Effect::Release | Effect::Delete => {}
            }
        }
    }
}

fn cancelled() -> EngineError {
    EngineError::new(
        ErrorKind::Conflict,
        "the start was cancelled: somebody stopped or removed the container",
    )
}

async fn cancellable<T>(
    cancel: &CancellationToken,
    work: impl Future<Output = Result<T, EngineError>>,
) -> Result<T, EngineError> {
    tokio::select! {
        biased;
        () = cancel.cancelled() => Err(cancelled()),
        result = work => result,
    }
}

/// The host path of a bind; made if it may be.
fn bind_source(mount: &MountPoint) -> Result<PathBuf, EngineError> {
    match std::fs::metadata(&mount.source) {
        Ok(_) => Ok(mount.source.clone()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && mount.create_source => {
            std::fs::create_dir_all(&mount.source).map_err(|error| {
                EngineError::internal(format!(
                    "error while creating mount source path '{}': {error}",
                    mount.source.display()
                ))
            })?;
            Ok(mount.source.clone())
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(EngineError::invalid(format!(
            "invalid mount config for type \"bind\": bind source path does not exist: {}",
            mount.source.display()
        ))),
        Err(error) => Err(EngineError::internal(format!("{}: {error}", mount.source.display()))),
    }
}

/// Looks up the user and makes the working directory, both inside the container's root.
fn prepare_root(
    root: &Path,
    spec: &ContainerSpec,
) -> Result<pintle_runtime::spec::ResolvedUser, EngineError> {
    let user = resolve_user(root, &spec.user, &spec.group_add)
        .map_err(|error| EngineError::invalid(error.to_string()))?;
    if !spec.working_dir.is_empty() {
        super::files::make_dir(root, &spec.working_dir)?;
    }
    Ok(user)
}
