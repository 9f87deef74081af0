//! The `local` volume driver: directories on this host, and what `mount(2)` can put there.
//!
//! ```text
//! <root>/<name>/_data       the volume, or where it gets mounted        0701, _data 0755
//! <root>/<name>/opts.json   its options, if it has any; the keys are Docker's
//! <root>/.mounts/<name>     who has it mounted, for volumes that are mounted
//! <root>/.new-*, .gone-*    half made or half removed; cleared at the next start
//! ```
//!
//! A volume appears and disappears by one rename, so a crash leaves it whole or not there. Calls that touch one
//! volume wait for each other; listing and describing touch no volume's content, so a dead NFS server hangs
//! nothing but its own volume.

mod holds;
mod mounts;
mod options;
mod quota;
mod shelf;

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, Weak},
};

use async_trait::async_trait;
use pintle_contract::{CreateVolume, DriverError, ErrorKind, MountId, Volume, VolumeDriver};

pub use options::{MountPlan, Options};
pub use quota::Quotas;

use holds::Holds;
use shelf::Shelf;

/// The driver. Cheap to clone.
#[derive(Clone)]
pub struct Local {
    inner: Arc<Inner>,
}

struct Inner {
    shelf: Shelf,
    /// What limits directories, or why nothing can.
    quotas: Result<Arc<dyn Quotas>, String>,
    holds: Mutex<HashMap<String, Holds>>,
    turns: Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>,
    /// Held while a project is chosen and taken.
    projects: Mutex<()>,
}

impl Local {
    /// Opens the driver over the directory `root`, making it if need be, and clears what a crash left. Blocks
    /// on the disk.
    pub fn open(root: &Path) -> Result<Self, DriverError> {
        Self::assemble(root, Err("this engine sets no quotas".to_owned()))
    }

    /// The same with disk quotas, which make the option `size` work. If `quotas` cannot limit directories
    /// below `root`, `size` is refused as without them.
    pub fn with_quotas(root: &Path, quotas: Arc<dyn Quotas>) -> Result<Self, DriverError> {
        Self::assemble(root, Ok(quotas))
    }

    fn assemble(root: &Path, quotas: Result<Arc<dyn Quotas>, String>) -> Result<Self, DriverError> {
        let (shelf, released) = Shelf::open(root)?;
        let quotas = quotas.and_then(|quotas| quotas.check(shelf.root()).map(|()| quotas));
        for project in released {
            release(quotas.as_ref(), &shelf, project);
        }
        let mut holds = HashMap::new();
        let mounted = mounts::table()?;
        for name in shelf.names()? {
            let file = shelf.holds_file(&name);
            if mounted.contains(&shelf.data(&name)) {
                holds.insert(name, Holds::inherit(&file));
            } else {
                // As after a reboot: whoever had it mounted is gone.
                Holds::forget(&file);
            }
        }
        Ok(Self {
            inner: Arc::new(Inner {
                shelf,
                quotas,
                holds: Mutex::new(holds),
                turns: Mutex::default(),
                projects: Mutex::default(),
            }),
        })
    }

    /// Runs `act` on the disk's own thread while no other call touches the volume `name`.
    async fn act<T: Send + 'static>(
        &self,
        name: &str,
        act: impl FnOnce(&Inner, &str) -> Result<T, DriverError> + Send + 'static,
    ) -> Result<T, DriverError> {
        let turn = {
            let mut turns = self.inner.turns.lock().unwrap_or_else(PoisonError::into_inner);
            match turns.get(name).and_then(Weak::upgrade) {
                Some(turn) => turn,
                None => {
                    turns.retain(|_, turn| turn.strong_count() > 0);
                    let turn = Arc::new(tokio::sync::Mutex::new(()));
                    turns.insert(name.to_owned(), Arc::downgrade(&turn));
                    turn
                }
            }
        };
        let turn = turn.lock_owned().await;
        let (inner, name) = (Arc::clone(&self.inner), name.to_owned());
        // The turn goes along: a caller that stops waiting does not let the next one in too early.
        crate::blocking(move || {
            let _turn = turn;
            act(&inner, &name)
        })
        .await
    }
}

impl Inner {
    /// Changes who holds `name` and writes it down, if the volume is one that gets mounted.
    fn hold<R>(
        &self,
        name: &str,
        durable: bool,
        change: impl FnOnce(&mut Holds) -> R,
    ) -> Result<R, DriverError> {
        let mut all = self.holds.lock().unwrap_or_else(PoisonError::into_inner);
        let holds = all.entry(name.to_owned()).or_default();
        let result = change(holds);
        let saved = if durable { holds.save(&self.shelf.holds_file(name)) } else { Ok(()) };
        if holds.is_empty() {
            all.remove(name);
        }
        saved?;
        Ok(result)
    }

    fn options(&self, name: &str) -> Result<Options, DriverError> {
        if !self.shelf.exists(name) {
            return Err(no_such_volume(name));
        }
        Ok(self.shelf.options(name)?)
    }

    fn create(&self, request: &CreateVolume) -> Result<(), DriverError> {
        let name = request.name.as_str();
        shelf::check_name(name)?;
        let mut options = Options::parse(&request.options)?;
        if self.shelf.exists(name) {
            let existing = self.shelf.options(name)?;
            if existing.same(&options) {
                return Ok(());
            }
            return Err(DriverError::new(
                ErrorKind::Conflict,
                format!("volume {name} exists already, with other options"),
            ));
        }
        let limit = options.limit();
        if limit > 0 && options.plan().is_some() {
            return Err(DriverError::invalid(
                "size limits a volume's own directory or a tmpfs, not what 'device' brings: leave out one of the two",
            ));
        }
        if limit > 0 {
            let quotas = self.quotas()?;
            // One after the other: a project is known to be taken when its volume is there.
            let _one = self.projects.lock().unwrap_or_else(PoisonError::into_inner);
            let project = self.shelf.free_project(|project| quotas.is_used(self.shelf.root(), project))?;
            options.set_project(project);
            let made = self.shelf.add(name, &options, |data| quotas.limit(data, project, limit));
            if made.is_err() {
                release(self.quotas.as_ref(), &self.shelf, project);
            }
            return Ok(made?);
        }
        Ok(self.shelf.add(name, &options, |_| Ok(()))?)
    }

    fn quotas(&self) -> Result<&Arc<dyn Quotas>, DriverError> {
        self.quotas
            .as_ref()
            .map_err(|why| DriverError::invalid(format!("quota size requested but no quota support: {why}")))
    }

    /// Sees to it that a directory with a size is kept to it. It is not if it was put back from a backup, or came here
    /// with a data root from another file system or from Docker.
    fn keep_to_size(&self, name: &str, mut options: Options) -> Result<(), DriverError> {
        let limit = options.limit();
        if limit == 0 {
            return Ok(());
        }
        let quotas = self.quotas()?;
        let data = self.shelf.data(name);
        if let Some(project) = options.project() {
            if quotas.holds(&data, project, limit)? {
                return Ok(());
            }
            if quotas.project(&data)? == Some(project) {
                return Ok(quotas.limit(&data, project, limit)?);
            }
        }
        let _one = self.projects.lock().unwrap_or_else(PoisonError::into_inner);
        let project = self.shelf.free_project(|project| quotas.is_used(self.shelf.root(), project))?;
        options.set_project(project);
        // A crash in between is found by the next mount.
        self.shelf.set_options(name, &options)?;
        quotas.limit(&data, project, limit)?;
        tracing::info!(volume = name, project, limit, "the volume's size is kept by a quota again");
        Ok(())
    }

    fn remove(&self, name: &str) -> Result<(), DriverError> {
        if !self.shelf.exists(name) {
            return Err(no_such_volume(name));
        }
        // Holders from before a restart that nobody confirmed do not count: they may be long gone.
        if self.hold(name, false, |holds| holds.is_held_now())? {
            return Err(DriverError::new(ErrorKind::InUse, format!("volume {name} is mounted")));
        }
        mounts::unmount_all(&self.shelf.data(name))?;
        let project = self.shelf.options(name).ok().and_then(|options| options.project());
        if self.shelf.take_away(name)?
            && let Some(project) = project
        {
            release(self.quotas.as_ref(), &self.shelf, project);
        }
        self.hold(name, false, Holds::clear)?;
        Holds::forget(&self.shelf.holds_file(name));
        Ok(())
    }

    fn mount(&self, name: &str, id: &MountId) -> Result<PathBuf, DriverError> {
        let options = self.options(name)?;
        let data = self.shelf.data(name);
        let Some(plan) = options.plan() else {
            self.keep_to_size(name, options)?;
            self.hold(name, false, |holds| holds.add(id))?;
            return Ok(data);
        };
        let mounted = mounts::table()?.contains(&data);
        if !mounted {
            // Nothing that was mounted before is any more, whoever held it.
            self.hold(name, false, Holds::clear)?;
        }
        // Written before the mount is made: a crash in between is found by the mount not being there.
        self.hold(name, true, |holds| holds.add(id))?;
        if !mounted && let Err(error) = mounts::mount(&plan, &data) {
            self.hold(name, true, |holds| holds.take(id))?;
            return Err(error);
        }
        Ok(data)
    }

    fn unmount(&self, name: &str, id: &MountId) -> Result<(), DriverError> {
        let options = self.options(name)?;
        let mounts = options.plan().is_some();
        let free = self.hold(name, mounts, |holds| {
            holds.take(id);
            holds.is_empty()
        })?;
        if mounts && free {
            mounts::unmount_all(&self.shelf.data(name))?;
        }
        Ok(())
    }

    fn describe(&self, name: &str) -> Result<Volume, DriverError> {
        let created_at = self.shelf.created_at(name).ok_or_else(|| no_such_volume(name))?;
        Ok(Volume {
            name: name.to_owned(),
            mountpoint: Some(self.shelf.data(name)),
            created_at: Some(created_at),
            ..Volume::default()
        })
    }
}

#[async_trait]
impl VolumeDriver for Local {
    async fn create(&self, request: CreateVolume) -> Result<(), DriverError> {
        let name = request.name.clone();
        self.act(&name, move |inner, _| inner.create(&request)).await
    }

    async fn remove(&self, name: &str) -> Result<(), DriverError> {
        self.act(name, Inner::remove).await
    }

    async fn mount(&self, name: &str, id: &MountId) -> Result<PathBuf, DriverError> {
        let id = id.clone();
        self.act(name, move |inner, name| inner.mount(name, &id)).await
    }

    async fn unmount(&self, name: &str, id: &MountId) -> Result<(), DriverError> {
        let id = id.clone();
        self.act(name, move |inner, name| inner.unmount(name, &id)).await
    }

    async fn get(&self, name: &str) -> Result<Volume, DriverError> {
        // One stat of a directory of ours: no need for another thread.
        self.inner.describe(name)
    }

    async fn list(&self) -> Result<Vec<Volume>, DriverError> {
        let inner = Arc::clone(&self.inner);
        crate::blocking(move || {
            // One that vanishes meanwhile is not listed.
            Ok(inner.shelf.names()?.iter().filter_map(|name| inner.describe(name).ok()).collect())
        })
        .await
    }
}

/// Forgets the limit of what was removed. One that stays costs a number.
fn release(quotas: Result<&Arc<dyn Quotas>, &String>, shelf: &Shelf, project: u32) {
    if let Ok(quotas) = quotas
        && let Err(error) = quotas.release(shelf.root(), project)
    {
        tracing::warn!(project, %error, "the quota of a removed volume stays");
    }
}

fn no_such_volume(name: &str) -> DriverError {
    DriverError::not_found(format!("no such volume: {name}"))
}
