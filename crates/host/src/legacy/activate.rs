use std::{
    collections::HashMap,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared, join_all},
};
use pintle_wire::{Activation, Interface, activation::ACTIVATE_PATH, spec::Address};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::discovery::{Found, Places};
use crate::{
    Arrival, DriverRef, HostConfig, HostError,
    arrivals::Roster,
    driver::{Contract, Remotes},
    remote::{Budget, Client, PathMap},
};

/// How long a plugin may take to say what it is.
const ACTIVATION: Budget = Budget::once(Duration::from_secs(15));
/// How long a list waits for a plugin that is not known yet, or for one to accept a connection.
const LIST_PATIENCE: Duration = Duration::from_millis(250);
/// How long lists leave a plugin alone that could not be activated.
const LIST_PAUSE: Duration = Duration::from_secs(10);

/// For how long a name that was looked for in vain is not waited for again.
const MISSED: Duration = Duration::from_secs(20);

/// An activated legacy plugin.
#[derive(Debug)]
pub(crate) struct LegacyPlugin {
    name: String,
    client: Arc<Client>,
    implements: Vec<Interface>,
    remotes: Remotes,
    file: PathBuf,
    made: Made,
}

/// When the files that a plugin was found by were made: another life of a plugin makes them anew.
type Made = [Option<(u64, u64, Option<SystemTime>)>; 2];

fn made(file: &Path, address: &Address) -> Made {
    let one = |path: &Path| {
        let metadata = fs::metadata(path).ok()?;
        Some((metadata.dev(), metadata.ino(), metadata.created().ok()))
    };
    let socket = match address {
        Address::Unix(path) => one(path),
        _ => None,
    };
    [one(file), socket]
}

impl LegacyPlugin {
    fn driver<D: Contract + ?Sized>(&self) -> DriverRef<D> {
        self.remotes.driver(&self.name, None)
    }

    fn arrival(&self) -> Arrival {
        let offers = |interface: &Interface| self.implements.contains(interface);
        Arrival::new(&self.name, None, self.remotes.life, offers)
    }

    fn offers<D: Contract + ?Sized>(&self) -> bool {
        self.implements.contains(&D::INTERFACE)
    }

    /// Whether what it was found by is still there, the same as when it was activated. A socket that only refuses
    /// may be a plugin between two lives; one that is gone is gone.
    fn is_there(&self) -> bool {
        self.made.iter().any(Option::is_some) && made(&self.file, self.client.address()) == self.made
    }
}

type Activating = Shared<BoxFuture<'static, Result<Arc<LegacyPlugin>, HostError>>>;

/// Every legacy plugin of this host.
#[derive(Clone)]
pub(crate) struct Legacy {
    inner: Arc<Inner>,
}

struct Inner {
    roster: Roster,
    places: Places,
    lookup_timeout: Duration,
    known: Mutex<Known>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

#[derive(Default)]
struct Known {
    active: HashMap<String, Arc<LegacyPlugin>>,
    activating: HashMap<String, Activating>,
    failed: HashMap<String, Instant>,
    missing: HashMap<String, Instant>,
}

impl Known {
    /// Whether nobody had this name a moment ago.
    fn missed(&self, name: &str) -> bool {
        self.missing.get(name).is_some_and(|when| when.elapsed() < MISSED)
    }

    fn miss(&mut self, name: &str) {
        self.missing.retain(|_, when| when.elapsed() < MISSED);
        // The first miss counts, or one that is asked for all the time would never be waited for again.
        self.missing.entry(name.to_owned()).or_insert_with(Instant::now);
    }
}

impl Inner {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Legacy {
    pub(crate) fn new(config: &HostConfig, roster: Roster) -> Self {
        let places = Places { sockets: config.socket_dir.clone(), specs: config.spec_dirs.clone() };
        Self {
            inner: Arc::new(Inner {
                roster,
                places,
                lookup_timeout: config.lookup_timeout,
                known: Mutex::default(),
                tasks: TaskTracker::new(),
                stop: CancellationToken::new(),
            }),
        }
    }

    /// The driver called `name`. Looks again for a while if there is none, or none that answers.
    pub(crate) async fn driver<D: Contract + ?Sized>(&self, name: &str) -> Result<DriverRef<D>, HostError> {
        let plugin = self.plugin(name).await?;
        if !plugin.offers::<D>() {
            return Err(HostError::WrongInterface(format!(
                "legacy plugin: Plugin does not implement the requested driver: plugin=\"{name}\", \
                 requested implementation=\"{}\"",
                D::INTERFACE.name()
            )));
        }
        Ok(plugin.driver())
    }

    async fn plugin(&self, name: &str) -> Result<Arc<LegacyPlugin>, HostError> {
        // Whoever asks again for what was just looked for in vain need not wait again.
        let patience =
            if self.inner.known().missed(name) { Duration::ZERO } else { self.inner.lookup_timeout };
        let deadline = Instant::now() + patience;
        let mut pause = Duration::from_millis(50);
        loop {
            let error = match self.attempt(name).await {
                Ok(plugin) => return Ok(plugin),
                Err(error) => error,
            };
            let may_come = matches!(error, HostError::NotFound(_) | HostError::Unavailable(_));
            if !may_come || Instant::now() + pause > deadline || self.inner.stop.is_cancelled() {
                if matches!(error, HostError::NotFound(_)) {
                    self.inner.known().miss(name);
                }
                return Err(error);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(250));
        }
    }

    /// One look: what is known, or what is there now.
    async fn attempt(&self, name: &str) -> Result<Arc<LegacyPlugin>, HostError> {
        let activating = {
            let mut known = self.inner.known();
            if let Some(plugin) = known.active.get(name) {
                if plugin.is_there() {
                    return Ok(Arc::clone(plugin));
                }
                known.active.remove(name);
                self.inner.roster.down(name);
            }
            known.activating.get(name).cloned()
        };
        if let Some(activating) = activating {
            return activating.await;
        }
        let (places, wanted) = (self.inner.places.clone(), name.to_owned());
        let found = tokio::task::spawn_blocking(move || places.find(&wanted))
            .await
            .map_err(|error| HostError::io("looking for a plugin", error))??
            .ok_or_else(|| HostError::NotFound(name.to_owned()))?;
        self.activation(name, found).await
    }

    /// The one activation of `name` that is under way, begun if there is none.
    fn activation(&self, name: &str, found: Found) -> Activating {
        let mut known = self.inner.known();
        if let Some(activating) = known.activating.get(name) {
            return activating.clone();
        }
        if let Some(plugin) = known.active.get(name) {
            let plugin = Arc::clone(plugin);
            return async move { Ok(plugin) }.boxed().shared();
        }
        let (inner, owned) = (Arc::clone(&self.inner), name.to_owned());
        let task = self.inner.tasks.spawn(async move {
            let outcome = tokio::select! {
                outcome = activate(&owned, found, inner.roster.new_life()) => outcome.map(Arc::new),
                () = inner.stop.cancelled() => Err(HostError::Unavailable("the engine is stopping".into())),
            };
            let mut known = inner.known();
            known.activating.remove(&owned);
            match &outcome {
                Ok(plugin) => {
                    known.failed.remove(&owned);
                    inner.roster.up(plugin.arrival());
                    known.active.insert(owned, Arc::clone(plugin));
                }
                Err(_) => {
                    known.failed.insert(owned, Instant::now());
                }
            }
            outcome
        });
        let activating = async move {
            task.await.unwrap_or_else(|error| Err(HostError::io("activating a plugin", error)))
        };
        let activating = activating.boxed().shared();
        known.activating.insert(name.to_owned(), activating.clone());
        activating
    }

    /// Every legacy driver of a contract. Waits a quarter of a second at most; one that was known to keep the
    /// contract and does not answer is an error, one that never said what it is is left out.
    pub(crate) async fn drivers<D: Contract + ?Sized>(
        &self,
    ) -> Vec<(String, Result<DriverRef<D>, HostError>)> {
        let places = self.inner.places.clone();
        let mut names = tokio::task::spawn_blocking(move || places.scan()).await.unwrap_or_default();
        {
            let known = self.inner.known();
            names.extend(known.active.keys().cloned());
            let quiet = |name: &String| {
                known.failed.get(name).is_some_and(|when| when.elapsed() < LIST_PAUSE)
                    && !known.active.contains_key(name)
            };
            names.retain(|name| !quiet(name));
        }
        let answers = names.into_iter().map(|name| async move {
            let plugin = match tokio::time::timeout(LIST_PATIENCE, self.attempt(&name)).await {
                Ok(Ok(plugin)) => plugin,
                Ok(Err(error)) => {
                    tracing::warn!(plugin = name, %error, "cannot activate a plugin that was found");
                    return None;
                }
                Err(_) => {
                    tracing::warn!(plugin = name, "a plugin does not say what it is");
                    return None;
                }
            };
            if !plugin.offers::<D>() {
                return None;
            }
            match plugin.client.probe(LIST_PATIENCE).await {
                Ok(()) => Some((name, Ok(plugin.driver()))),
                Err(error) => Some((name, Err(HostError::Unavailable(error.to_string())))),
            }
        });
        join_all(answers).await.into_iter().flatten().collect()
    }

    /// Ends what is under way.
    pub(crate) async fn shutdown(&self) {
        self.inner.stop.cancel();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
    }
}

async fn activate(name: &str, found: Found, life: u64) -> Result<LegacyPlugin, HostError> {
    let made = made(&found.file, &found.address);
    let client = Arc::new(Client::new(name, found.address));
    let (status, body) = client
        .call(ACTIVATE_PATH, None, ACTIVATION)
        .await
        .map_err(|error| HostError::Unavailable(error.to_string()))?;
    if status != 200 {
        let text = String::from_utf8_lossy(body.get(..1024).unwrap_or(&body)).trim().to_owned();
        return Err(HostError::Internal(format!("Plugin.Activate: {text}")));
    }
    let activation = Activation::decode(&body).map_err(|error| {
        HostError::Internal(format!("Plugin.Activate: plugin \"{name}\" answered nonsense: {error}"))
    })?;
    tracing::info!(plugin = name, implements = ?activation.implements, "activated a legacy plugin");
    let extended = activation.implements.contains(&Interface::ExtendedAuthorization);
    Ok(LegacyPlugin {
        name: name.to_owned(),
        remotes: Remotes::new(&client, PathMap::default(), life, extended),
        client,
        implements: activation.implements,
        file: found.file,
        made,
    })
}
