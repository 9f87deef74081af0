//! A driver that does what a test tells it to, and drivers to find it by.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use async_trait::async_trait;
use pintle_contract::{
    CreateVolume, DriverError, ErrorKind as DriverKind, MountId, Volume as Described, VolumeCapabilities,
    VolumeDriver,
};
use pintle_store::Store;

use super::super::{Budgets, Driver, Drivers, Volumes};
use crate::{EngineError, ErrorKind, events::Events};

/// What a call does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Mood {
    #[default]
    Works,
    /// Says no, having done nothing.
    Refuses,
    /// Cannot be reached.
    Gone,
    /// Never answers, having done nothing.
    Hangs,
    /// Never answers, having done it.
    HangsAfter,
    /// Answers rightly after this many milliseconds.
    Slow(u64),
}

#[derive(Default)]
struct State {
    volumes: BTreeSet<String>,
    counts: BTreeMap<(String, String), u32>,
    moods: BTreeMap<&'static str, Mood>,
    calls: Vec<String>,
}

/// A driver in process. Its state outlives any engine, as a plugin's does.
#[derive(Default)]
pub(super) struct Fake {
    state: Mutex<State>,
}

impl Fake {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(super) fn mood(&self, method: &'static str, mood: Mood) {
        self.state().moods.insert(method, mood);
    }

    pub(super) fn calm(&self) {
        self.state().moods.clear();
    }

    pub(super) fn all(&self, mood: Mood) {
        for method in ["Create", "Remove", "Mount", "Unmount", "Get", "List", "Path"] {
            self.mood(method, mood);
        }
    }

    /// Out of band.
    pub(super) fn add(&self, name: &str) {
        self.state().volumes.insert(name.to_owned());
    }

    /// Out of band.
    pub(super) fn lose(&self, name: &str) {
        self.state().volumes.remove(name);
    }

    pub(super) fn volumes(&self) -> BTreeSet<String> {
        self.state().volumes.clone()
    }

    /// The mounts that are in place and how often.
    pub(super) fn counts(&self) -> BTreeMap<(String, String), u32> {
        self.state().counts.clone()
    }

    pub(super) fn calls(&self, method: &str) -> usize {
        self.state().calls.iter().filter(|call| *call == method).count()
    }

    async fn call<T>(
        &self,
        method: &'static str,
        act: impl FnOnce(&mut State) -> Result<T, DriverError>,
    ) -> Result<T, DriverError> {
        let mood = {
            let mut state = self.state();
            state.calls.push(method.to_owned());
            state.moods.get(method).copied().unwrap_or_default()
        };
        match mood {
            Mood::Works => act(&mut self.state()),
            Mood::Refuses => Err(DriverError::internal(format!("no {method} today"))),
            Mood::Gone => Err(DriverError::new(DriverKind::Unavailable, "connection refused")),
            Mood::Hangs => std::future::pending().await,
            Mood::HangsAfter => {
                let _ = act(&mut self.state());
                std::future::pending().await
            }
            Mood::Slow(millis) => {
                tokio::time::sleep(Duration::from_millis(millis)).await;
                act(&mut self.state())
            }
        }
    }
}

fn unknown(name: &str) -> DriverError {
    DriverError::not_found(format!("no volume {name}"))
}

fn describe(name: &str) -> Described {
    Described {
        name: name.to_owned(),
        mountpoint: Some(PathBuf::from("/fake").join(name)),
        ..Described::default()
    }
}

#[async_trait]
impl VolumeDriver for Fake {
    async fn capabilities(&self) -> Result<VolumeCapabilities, DriverError> {
        Ok(VolumeCapabilities::default())
    }

    async fn create(&self, request: CreateVolume) -> Result<(), DriverError> {
        self.call("Create", |state| {
            state.volumes.insert(request.name);
            Ok(())
        })
        .await
    }

    async fn remove(&self, name: &str) -> Result<(), DriverError> {
        self.call("Remove", |state| {
            if state.counts.keys().any(|(mounted, _)| mounted == name) {
                return Err(DriverError::new(DriverKind::InUse, format!("{name} is mounted")));
            }
            if state.volumes.remove(name) { Ok(()) } else { Err(unknown(name)) }
        })
        .await
    }

    async fn mount(&self, name: &str, id: &MountId) -> Result<PathBuf, DriverError> {
        self.call("Mount", |state| {
            if !state.volumes.contains(name) {
                return Err(unknown(name));
            }
            *state.counts.entry((name.to_owned(), id.0.clone())).or_default() += 1;
            Ok(PathBuf::from("/fake").join(name))
        })
        .await
    }

    async fn unmount(&self, name: &str, id: &MountId) -> Result<(), DriverError> {
        self.call("Unmount", |state| {
            let key = (name.to_owned(), id.0.clone());
            if let Some(count) = state.counts.get_mut(&key) {
                *count -= 1;
                if *count == 0 {
                    state.counts.remove(&key);
                }
            }
            Ok(())
        })
        .await
    }

    async fn get(&self, name: &str) -> Result<Described, DriverError> {
        self.call(
            "Get",
            |state| if state.volumes.contains(name) { Ok(describe(name)) } else { Err(unknown(name)) },
        )
        .await
    }

    async fn list(&self) -> Result<Vec<Described>, DriverError> {
        self.call("List", |state| Ok(state.volumes.iter().map(|name| describe(name)).collect())).await
    }
}

/// `local`, `d1` and `d2`, which a test can take away, and the leases on them.
#[derive(Default)]
pub(super) struct World {
    pub(super) local: Arc<Fake>,
    pub(super) d1: Arc<Fake>,
    pub(super) d2: Arc<Fake>,
    missing: Mutex<BTreeMap<String, ErrorKind>>,
    leases: Mutex<BTreeSet<(String, String)>>,
}

impl World {
    /// The driver cannot be looked up any more.
    pub(super) fn take_away(&self, driver: &str, kind: ErrorKind) {
        self.missing.lock().unwrap().insert(driver.to_owned(), kind);
    }

    pub(super) fn leases(&self) -> BTreeSet<(String, String)> {
        self.leases.lock().unwrap().clone()
    }

    fn find(&self, name: &str) -> Result<Driver, EngineError> {
        let driver = match name {
            "local" => &self.local,
            "d1" => &self.d1,
            "d2" => &self.d2,
            _ => return Err(EngineError::not_found(format!("plugin \"{name}\" not found"))),
        };
        match self.missing.lock().unwrap().get(name) {
            Some(ErrorKind::NotFound) => Err(EngineError::not_found(format!("plugin \"{name}\" not found"))),
            Some(kind) => Err(EngineError::new(*kind, format!("plugin {name} found but disabled"))),
            None => Ok(Driver { name: name.to_owned(), driver: Arc::clone(driver) as Arc<dyn VolumeDriver> }),
        }
    }
}

/// The handle that an engine gets on the world; leases die with the engine, as the host's do.
pub(super) struct Found(pub(super) Arc<World>);

#[async_trait]
impl Drivers for Found {
    async fn driver(&self, name: &str) -> Result<Driver, EngineError> {
        self.0.find(name)
    }

    async fn drivers(&self) -> Vec<(String, Result<Driver, EngineError>)> {
        ["local", "d1", "d2"]
            .into_iter()
            .map(|name| (name.to_owned(), self.0.find(name)))
            .filter(|(_, found)| !found.as_ref().is_err_and(|error| error.kind() == ErrorKind::NotFound))
            .collect()
    }

    fn hold(&self, driver: &str, volume: &str) {
        self.0.leases.lock().unwrap().insert((driver.to_owned(), volume.to_owned()));
    }

    fn release(&self, driver: &str, volume: &str) {
        self.0.leases.lock().unwrap().remove(&(driver.to_owned(), volume.to_owned()));
    }
}

/// Budgets that a test can wait for.
pub(super) fn impatient() -> Budgets {
    let millis = Duration::from_millis;
    Budgets {
        lookup: millis(200),
        get: millis(60),
        probe: millis(20),
        inspect: millis(50),
        create: millis(60),
        remove: millis(60),
        mount: millis(60),
        unmount: millis(60),
        late: millis(120),
        retries: vec![millis(5), millis(20)],
    }
}

/// An engine's volumes over a world and a store, both of which may have seen others before.
pub(super) fn open(world: &Arc<World>, store: &Store, budgets: Budgets) -> (Volumes, Events) {
    let events = Events::new();
    world.leases.lock().unwrap().clear();
    let root = std::path::Path::new("/tmp/engine-volumes-none");
    let drivers = Arc::new(Found(Arc::clone(world)));
    (Volumes::with_budgets(root, store, drivers, events.clone(), budgets).unwrap(), events)
}
