// A volume plugin: each volume is a directory below ROOT, which is the plugin's propagated mount.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::{env, fs};

use pintle_sdk::{CreateVolume, DriverError, ErrorKind, MountId, Volume, VolumeDriver, async_trait};

// Also called so in config.json, as `interface.socket`. A path to listen on in its place serves for trying it out.
const NAME: &str = "starter";
const ROOT: &str = "/mnt/volumes";

struct Driver {
    root: PathBuf,
    /// Who has which volume mounted.
    holders: Mutex<BTreeMap<String, Vec<MountId>>>,
}

#[async_trait]
impl VolumeDriver for Driver {
    async fn create(&self, request: CreateVolume) -> Result<(), DriverError> {
        match request.options.keys().next() {
            Some(option) => Err(DriverError::invalid(format!("there is no option {option:?}"))),
            None => Ok(fs::create_dir_all(self.checked(&request.name)?)?),
        }
    }

    async fn remove(&self, name: &str) -> Result<(), DriverError> {
        let holders = self.holders.lock().unwrap_or_else(PoisonError::into_inner);
        if holders.get(name).is_some_and(|all| !all.is_empty()) {
            return Err(DriverError::new(ErrorKind::InUse, format!("{name} is mounted")));
        }
        Ok(fs::remove_dir_all(self.existing(name)?)?)
    }

    async fn mount(&self, name: &str, id: &MountId) -> Result<PathBuf, DriverError> {
        let path = self.existing(name)?;
        let mut holders = self.holders.lock().unwrap_or_else(PoisonError::into_inner);
        holders.entry(name.to_owned()).or_default().push(id.clone());
        Ok(path)
    }

    async fn unmount(&self, name: &str, id: &MountId) -> Result<(), DriverError> {
        self.existing(name)?;
        let mut holders = self.holders.lock().unwrap_or_else(PoisonError::into_inner);
        let all = holders.entry(name.to_owned()).or_default();
        all.iter().position(|holder| holder == id).map(|at| all.remove(at));
        Ok(())
    }

    async fn get(&self, name: &str) -> Result<Volume, DriverError> {
        let path = self.existing(name)?;
        let holders = self.holders.lock().unwrap_or_else(PoisonError::into_inner);
        let mounted = holders.get(name).is_some_and(|all| !all.is_empty());
        Ok(Volume { name: name.to_owned(), mountpoint: mounted.then_some(path), ..Volume::default() })
    }

    async fn list(&self) -> Result<Vec<Volume>, DriverError> {
        let mut volumes = Vec::new();
        for entry in fs::read_dir(&self.root)? {
            volumes.extend(self.get(&entry?.file_name().to_string_lossy()).await);
        }
        Ok(volumes)
    }
}

impl Driver {
    fn checked(&self, name: &str) -> Result<PathBuf, DriverError> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if name.is_empty() || name.starts_with('.') || !name.chars().all(plain) {
            return Err(DriverError::invalid(format!("{name:?} is not a name for a volume")));
        }
        Ok(self.root.join(name))
    }

    fn existing(&self, name: &str) -> Result<PathBuf, DriverError> {
        let missing = || DriverError::not_found(format!("no such volume: {name}"));
        self.checked(name).ok().filter(|path| path.is_dir()).ok_or_else(missing)
    }
}

fn main() -> ExitCode {
    let name = env::var("PLUGIN_NAME").unwrap_or(NAME.to_owned());
    let root = PathBuf::from(env::var_os("ROOT").unwrap_or(ROOT.into()));
    pintle_sdk::run(async move {
        fs::create_dir_all(&root)?;
        Ok(pintle_sdk::serve_volume(&name, Driver { root, holders: Mutex::default() }).await?)
    })
}
