use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use pintle_contract::{CreateVolume, DriverError, ErrorKind, MountId, Volume, VolumeDriver};
use tempfile::TempDir;

/// The smallest driver that keeps every promise: directories below one directory. What is tested against it is
/// the suite, a transport, or an engine.
#[derive(Debug, Clone)]
pub struct ReferenceDriver {
    root: PathBuf,
    mounts: Arc<Mutex<BTreeMap<String, Vec<MountId>>>>,
    _temporary: Option<Arc<TempDir>>,
}

impl ReferenceDriver {
    /// Volumes below `root`. Those that are there already are known.
    pub fn open(root: impl Into<PathBuf>) -> io::Result<Self> {
        let root = root.into();
        fs::create_dir_all(&root)?;
        Ok(Self { root, mounts: Arc::default(), _temporary: None })
    }

    /// Volumes below a directory that goes with the last clone of the driver.
    pub fn temporary() -> io::Result<Self> {
        let dir = tempfile::Builder::new().prefix("testkit-volumes-").tempdir()?;
        let driver = Self::open(dir.path())?;
        Ok(Self { _temporary: Some(Arc::new(dir)), ..driver })
    }

    /// Who holds which volume, each holder as often as it mounted.
    pub fn holders(&self, name: &str) -> Vec<MountId> {
        self.lock().get(name).cloned().unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Vec<MountId>>> {
        self.mounts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn dir(&self, name: &str) -> Result<PathBuf, DriverError> {
        let plain = Path::new(name).file_name().is_some_and(|file| file == name) && name.len() <= 200;
        if plain {
            Ok(self.root.join(name))
        } else {
            Err(DriverError::invalid(format!("{name:?} is no name")))
        }
    }

    fn existing(&self, name: &str) -> Result<PathBuf, DriverError> {
        let found = self.dir(name).ok().filter(|dir| dir.is_dir());
        found.ok_or_else(|| DriverError::not_found(format!("no such volume: {name}")))
    }
}

#[async_trait]
impl VolumeDriver for ReferenceDriver {
    async fn create(&self, request: CreateVolume) -> Result<(), DriverError> {
        Ok(fs::create_dir_all(self.dir(&request.name)?)?)
    }

    async fn remove(&self, name: &str) -> Result<(), DriverError> {
        let mounts = self.lock();
        let dir = self.existing(name)?;
        if mounts.contains_key(name) {
            return Err(DriverError::new(ErrorKind::InUse, format!("{name} is in use")));
        }
        Ok(fs::remove_dir_all(dir)?)
    }

    async fn mount(&self, name: &str, id: &MountId) -> Result<PathBuf, DriverError> {
        let mut mounts = self.lock();
        let dir = self.existing(name)?;
        mounts.entry(name.to_owned()).or_default().push(id.clone());
        Ok(dir)
    }

    async fn unmount(&self, name: &str, id: &MountId) -> Result<(), DriverError> {
        let mut mounts = self.lock();
        if let Some(holders) = mounts.get_mut(name) {
            if let Some(place) = holders.iter().position(|holder| holder == id) {
                holders.swap_remove(place);
            }
            if holders.is_empty() {
                mounts.remove(name);
            }
        }
        Ok(())
    }

    async fn get(&self, name: &str) -> Result<Volume, DriverError> {
        let dir = self.existing(name)?;
        Ok(Volume { name: name.to_owned(), mountpoint: Some(dir), ..Volume::default() })
    }

    async fn list(&self) -> Result<Vec<Volume>, DriverError> {
        let mut volumes = Vec::new();
        for entry in fs::read_dir(&self.root)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            volumes.push(Volume { name, mountpoint: Some(entry.path()), ..Volume::default() });
        }
        Ok(volumes)
    }
}
