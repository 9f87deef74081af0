// A volume plugin: each volume is a directory below ROOT, which is the plugin's propagated mount.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

use pintle_sdk::{CreateVolume, DriverError, ErrorKind, MountId, Volume, VolumeDriver, async_trait};

const NAME: &str = "starter";
const ROOT: &str = "/mnt/volumes";

/// Who has which volume mounted.
struct Driver(Mutex<BTreeMap<String, Vec<MountId>>>);

#[async_trait]
impl VolumeDriver for Driver {
    async fn create(&self, request: CreateVolume) -> Result<(), DriverError> {
        match request.options.keys().next() {
            Some(option) => Err(DriverError::invalid(format!("there is no option {option:?}"))),
            None => Ok(fs::create_dir_all(checked(&request.name)?)?),
        }
    }

    async fn remove(&self, name: &str) -> Result<(), DriverError> {
        let holders = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if holders.get(name).is_some_and(|all| !all.is_empty()) {
            return Err(DriverError::new(ErrorKind::InUse, format!("{name} is mounted")));
        }
        Ok(fs::remove_dir_all(existing(name)?)?)
    }

    async fn mount(&self, name: &str, id: &MountId) -> Result<PathBuf, DriverError> {
        let path = existing(name)?;
        let mut holders = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        holders.entry(name.to_owned()).or_default().push(id.clone());
        Ok(path)
    }

    async fn unmount(&self, name: &str, id: &MountId) -> Result<(), DriverError> {
        existing(name)?;
        let mut holders = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let all = holders.entry(name.to_owned()).or_default();
        all.iter().position(|holder| holder == id).map(|at| all.remove(at));
        Ok(())
    }

    async fn get(&self, name: &str) -> Result<Volume, DriverError> {
        let path = existing(name)?;
        let holders = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mounted = holders.get(name).is_some_and(|all| !all.is_empty());
        Ok(Volume { name: name.to_owned(), mountpoint: mounted.then_some(path), ..Volume::default() })
    }

    async fn list(&self) -> Result<Vec<Volume>, DriverError> {
        let mut volumes = Vec::new();
        for entry in fs::read_dir(ROOT)? {
            volumes.extend(self.get(&entry?.file_name().to_string_lossy()).await);
        }
        Ok(volumes)
    }
}

fn checked(name: &str) -> Result<PathBuf, DriverError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if name.is_empty() || name.starts_with('.') || !name.chars().all(plain) {
        return Err(DriverError::invalid(format!("{name:?} is not a name for a volume")));
    }
    Ok(PathBuf::from(ROOT).join(name))
}

fn existing(name: &str) -> Result<PathBuf, DriverError> {
    let missing = || DriverError::not_found(format!("no such volume: {name}"));
    checked(name).ok().filter(|path| path.is_dir()).ok_or_else(missing)
}

fn main() -> ExitCode {
    let driver = Driver(Mutex::default());
    pintle_sdk::run(async move { Ok(pintle_sdk::serve_volume(NAME, driver).await?) })
}
