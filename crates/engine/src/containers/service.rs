use std::{
    collections::{BTreeMap, HashMap},
    future::Future,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicU64},
    time::Duration,
};

use arc_swap::ArcSwap;
use pintle_image::Images;
use pintle_runtime::{LogFormat, Runtime};
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Config, Container, Counts, Defaults, Effect, Event, Refusal, State, cell::Cell, index::Index,
    log_options, logs::Progress, records::Records, step,
};
use crate::{
    EngineError, ErrorKind, Journal,
    events::{self, Events},
    networks::Networks,
    volumes::Volumes,
};

/// What shutdown waits for at most.
const SHUTDOWN: Duration = Duration::from_secs(5);

/// Every container of this engine. Cheap to clone. Wherever a container is named, its id, an unambiguous
/// prefix of the id, or its name with or without the leading slash will do.
///
/// What changes a container goes on to its end even if the caller stops waiting for it.
#[derive(Clone)]
pub struct Containers {
    pub(super) shared: Arc<Shared>,
}

/// Whose lines are being taken to which driver: a container's id, and what the user calls the driver.
type Deliveries = HashMap<(String, String), Arc<Progress>>;

pub(super) struct Shared {
    pub config: Config,
    pub defaults: ArcSwap<Defaults>,
    pub records: Records,
    pub images: Images,
    pub runtime: Runtime,
    pub volumes: Volumes,
    pub networks: Networks,
    events: Events,
    index: Mutex<Index>,
    delivering: Mutex<Deliveries>,
    /// Everything that this service does in the background.
    tracker: TaskTracker,
    /// Ends what only watches.
    pub closing: CancellationToken,
    /// Whether plugins had their first chance.
    pub plugins_ready: watch::Sender<bool>,
    /// Health checks that were made, and that failed.
    pub probes: [AtomicU64; 2],
}

impl Containers {
    /// Reads the records; touches nothing else. Call [`Containers::restore`] next.
    pub fn open(
        config: Config,
        journal: Journal,
        images: Images,
        runtime: Runtime,
        volumes: Volumes,
        networks: Networks,
        events: Events,
    ) -> Result<Self, EngineError> {
        let records = Records::open(journal);
        let mut index = Index::default();
        for container in records.list()? {
            // Two records cannot have one name; were it so, the second can still be reached by its id.
            let _ = index.reserve(&container.name, &container.id);
            index.insert(Arc::new(Cell::new(container)));
        }
        let shared = Shared {
            defaults: ArcSwap::from_pointee(config.defaults.clone()),
            config,
            records,
            images,
            runtime,
            volumes,
            networks,
            events,
            index: Mutex::new(index),
            delivering: Mutex::default(),
            tracker: TaskTracker::new(),
            closing: CancellationToken::new(),
            plugins_ready: watch::Sender::new(false),
            probes: Default::default(),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Changes what containers get that do not say. Those that are there keep what they have.
    pub fn set_defaults(&self, defaults: Defaults) {
        self.shared.defaults.store(Arc::new(defaults));
    }

    /// Ends the engine's part: waits a little for what is being done. Containers go on running.
    pub async fn shutdown(&self) {
        self.shared.closing.cancel();
        self.shared.tracker.close();
        if tokio::time::timeout(SHUTDOWN, self.shared.tracker.wait()).await.is_err() {
            tracing::warn!(tasks = self.shared.tracker.len(), "containers: some work did not end in time");
        }
    }

    /// One container.
    pub fn inspect(&self, name: &str) -> Result<Arc<Container>, EngineError> {
        Ok(self.shared.find(name)?.container())
    }

    /// All of them, in no order.
    pub fn all(&self) -> Vec<Arc<Container>> {
        self.shared.cells().iter().map(|cell| cell.container()).collect()
    }

    /// Ids of the execs that a container has and that have not ended.
    pub fn exec_ids(&self, id: &str) -> Vec<String> {
        self.shared.find(id).map(|cell| cell.exec_ids()).unwrap_or_default()
    }

    /// The json-file of a container's output, if it has one.
    pub fn log_path(&self, id: &str) -> Option<PathBuf> {
        let log = self.shared.log(&self.shared.find(id).ok()?.container());
        log.and_then(|(path, format)| (format == LogFormat::Json).then_some(path))
    }

    /// `containers/<id>` below the data root.
    pub fn dir(&self, id: &str) -> PathBuf {
        self.shared.dir(id)
    }

    /// How many there are.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for cell in self.shared.cells() {
            match cell.container().life.state {
                State::Running(_) | State::Restarting(_) => counts.running += 1,
                State::Paused(_) => counts.paused += 1,
                _ => counts.stopped += 1,
            }
        }
        counts
    }

    /// Ids of the containers made from an image.
    pub fn using_image(&self, image_id: &str) -> Vec<String> {
        let using = |cell: &Arc<Cell>| {
            let container = cell.container();
            container.image_id == image_id || container.mounts.iter().any(|mount| mount.image == image_id)
        };
        self.shared.cells().iter().filter(|cell| using(cell)).map(|cell| cell.id.clone()).collect()
    }

    /// Runs `work` to its end, whether or not the caller waits for that.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, EngineError>> + Send + 'static,
    ) -> Result<T, EngineError> {
        match self.shared.spawn(work).await {
            Ok(result) => result,
            Err(error) => Err(EngineError::internal(format!("the engine failed: {error}"))),
        }
    }
}

impl Shared {
    pub fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn delivering(&self) -> MutexGuard<'_, Deliveries> {
        self.delivering.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn find(&self, name: &str) -> Result<Arc<Cell>, EngineError> {
        let found = self.index().find(name);
        found.or_else(|error| self.find_linked(name).ok_or(error))
    }

    pub fn cells(&self) -> Vec<Arc<Cell>> {
        self.index().all()
    }

    pub fn dir(&self, id: &str) -> PathBuf {
        self.config.data_root.join("containers").join(id)
    }

    /// The file of its output, and the format.
    pub fn log(&self, container: &Container) -> Option<(PathBuf, LogFormat)> {
        let (name, format) = log_options::place(&container.spec, &container.id)?;
        Some((self.dir(&container.id).join(name), format))
    }

    /// Starts background work that shutdown waits for.
    pub fn spawn<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> tokio::task::JoinHandle<T> {
        self.tracker.spawn(work)
    }

    /// Takes one step of a container's life: makes it durable if it has to be, shows it, and leaves the other
    /// effects to the caller, who holds the container's turn.
    pub async fn advance(
        &self,
        cell: &Cell,
        event: Event,
    ) -> Result<Result<Vec<Effect>, Refusal>, EngineError> {
        let (container, effects) = match self.decide(cell, event) {
            Ok(next) => next,
            Err(refusal) => return Ok(Err(refusal)),
        };
        if effects.contains(&Effect::Commit) {
            self.records.put(Arc::clone(&container)).await?;
        }
        cell.show(container);
        Ok(Ok(effects))
    }

    /// What the next step would be; nothing is changed yet.
    #[expect(clippy::unused_self, reason = "reads as a question to the service")]
    pub fn decide(&self, cell: &Cell, event: Event) -> Result<(Arc<Container>, Vec<Effect>), Refusal> {
        let now = cell.container();
        let (life, effects) = step(&now.life, event, now.policy())?;
        Ok((Arc::new(Container { life, ..(*now).clone() }), effects))
    }

    /// Tells the world what happened to a container, with Docker's attributes.
    pub fn announce(&self, container: &Container, action: impl Into<String>, more: &[(&str, String)]) {
        let mut attributes: BTreeMap<String, String> = container.spec.labels.clone();
        attributes.insert("image".to_owned(), container.spec.image.clone());
        attributes.insert("name".to_owned(), container.name.clone());
        for (key, value) in more {
            attributes.insert((*key).to_owned(), value.clone());
        }
        self.events.publish(events::Event::new(
            events::Kind::Container,
            action,
            container.id.clone(),
            attributes,
        ));
    }
}

/// Runs blocking file work.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, EngineError> + Send + 'static,
) -> Result<T, EngineError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(EngineError::internal(format!("the engine failed: {error}"))),
    }
}

/// What a refused step reads like where no request says it better.
pub(super) fn refused(container: &Container, refusal: Refusal) -> EngineError {
    let id = &container.id;
    match refusal {
        Refusal::NotModified => {
            EngineError::new(ErrorKind::NotModified, format!("container {id} is already so"))
        }
        Refusal::NotRunning => EngineError::conflict(format!("container {id} is not running")),
        Refusal::Running => EngineError::conflict(format!("container {id} is running")),
        Refusal::Paused => EngineError::conflict(format!("container {id} is already paused")),
        Refusal::NotPaused => EngineError::conflict(format!("Container {id} is not paused")),
        Refusal::Restarting => EngineError::conflict(format!(
            "Container {id} is restarting, wait until the container is running"
        )),
        Refusal::BeingRemoved => EngineError::conflict(format!("container {id} is marked for removal")),
        Refusal::OutOfPlace => EngineError::conflict(format!("container {id} is in another state by now")),
    }
}
