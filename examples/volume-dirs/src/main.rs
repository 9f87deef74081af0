//! A volume plugin: directories below `ROOT` with labels and enforced size limits. See README.md.

use std::{collections::BTreeMap, env, fs, io, path::Path, path::PathBuf, process, sync::Mutex};

use pintle_sdk::{CreateVolume, DriverError, ErrorKind, MountId, Value, Volume, VolumeDriver, async_trait};
use serde::{Deserialize, Serialize};

/// `ROOT/NAME/volume.json`; the data is beside it, in `data`.
#[derive(Serialize, Deserialize)]
struct Record {
    created_at: String,
    options: BTreeMap<String, String>,
    holders: Vec<String>, // who has it mounted, each as often as it mounted
    boot: String,         // since when: no mount outlives the machine
}

impl Record {
    /// A kill leaves the old file or the new one.
    fn save(&self, dir: &Path) -> io::Result<()> {
        let draft = dir.join("volume.json.new");
        fs::write(&draft, serde_json::to_vec(self)?)?;
        fs::File::open(&draft)?.sync_all()?;
        fs::rename(draft, dir.join("volume.json"))
    }
}

struct Dirs {
    root: PathBuf,
    boot: String,
    turn: Mutex<()>, // to change a record
}

impl Dirs {
    fn open(root: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&root)?;
        for entry in fs::read_dir(&root)?.flatten() {
            if entry.file_name().to_string_lossy().starts_with('.') {
                fs::remove_dir_all(entry.path())?; // what a kill left half made or half removed
            }
        }
        Ok(Self { root, boot: fs::read_to_string("/proc/sys/kernel/random/boot_id")?, turn: Mutex::new(()) })
    }

    fn load(&self, name: &str) -> Result<Record, DriverError> {
        let file = self.root.join(name).join("volume.json");
        if !is_name(name) || !file.exists() {
            return Err(DriverError::not_found(format!("no such volume: {name}")));
        }
        let record: Record = serde_json::from_slice(&fs::read(file)?).map_err(io::Error::from)?;
        let holders = if record.boot == self.boot { record.holders } else { Vec::new() };
        Ok(Record { boot: self.boot.clone(), holders, ..record })
    }

    fn change(&self, name: &str, change: impl FnOnce(&mut Vec<String>)) -> Result<PathBuf, DriverError> {
        let _turn = self.turn.lock();
        let mut record = self.load(name)?;
        change(&mut record.holders);
        record.save(&self.root.join(name))?;
        Ok(self.root.join(name).join("data"))
    }
}

#[async_trait]
impl VolumeDriver for Dirs {
    async fn create(&self, CreateVolume { name, options }: CreateVolume) -> Result<(), DriverError> {
        if !is_name(&name) {
            return Err(DriverError::invalid(format!("{name:?}: letters, digits, . _ and - make a name")));
        }
        let size = |text: &str| text.starts_with(|first: char| first.is_ascii_digit());
        let unknown = |key: &str, text: &str| !(key.starts_with("label.") || key == "size" && size(text));
        if let Some((key, text)) = options.iter().find(|(key, text)| unknown(key, text)) {
            return Err(DriverError::invalid(format!("{key}={text}: try size=10m or label.NAME=TEXT")));
        }
        let _turn = self.turn.lock();
        if let Ok(old) = self.load(&name) {
            let other = || DriverError::new(ErrorKind::Conflict, format!("{name} has other options"));
            return if old.options == options { Ok(()) } else { Err(other()) };
        }
        let draft = self.root.join(format!(".new-{name}"));
        fs::create_dir(&draft)?;
        let made = make_data(&draft.join("data"), options.get("size")).and_then(|()| {
            let created_at = chrono::Utc::now().to_rfc3339();
            Record { created_at, options, holders: Vec::new(), boot: self.boot.clone() }.save(&draft)?;
            Ok(fs::rename(&draft, self.root.join(&name))?)
        });
        made.inspect_err(|_| drop(fs::remove_dir_all(draft)))
    }

    async fn remove(&self, name: &str) -> Result<(), DriverError> {
        let _turn = self.turn.lock();
        if let Some(holder) = self.load(name)?.holders.first() {
            return Err(DriverError::new(ErrorKind::InUse, format!("{name} is mounted by {holder}")));
        }
        let (dir, gone) = (self.root.join(name), self.root.join(format!(".old-{name}")));
        fs::rename(dir, &gone)?;
        Ok(fs::remove_dir_all(gone)?)
    }

    async fn mount(&self, name: &str, id: &MountId) -> Result<PathBuf, DriverError> {
        self.change(name, |holders| holders.push(id.0.clone()))
    }

    async fn unmount(&self, name: &str, id: &MountId) -> Result<(), DriverError> {
        let place = |all: &[String]| all.iter().position(|holder| *holder == id.0);
        self.change(name, |all| drop(place(all).map(|at| all.remove(at)))).map(drop)
    }

    async fn get(&self, name: &str) -> Result<Volume, DriverError> {
        let Record { options, holders, created_at, .. } = self.load(name)?;
        let mountpoint = (!holders.is_empty()).then(|| self.root.join(name).join("data"));
        let mut status: BTreeMap<_, _> = options.into_iter().map(|(key, text)| (key, text.into())).collect();
        status.insert("holders".to_owned(), Value::List(holders.into_iter().map(Value::from).collect()));
        Ok(Volume { name: name.to_owned(), mountpoint, created_at: Some(created_at), status })
    }

    async fn list(&self) -> Result<Vec<Volume>, DriverError> {
        let mut volumes = Vec::new();
        for entry in fs::read_dir(&self.root)? {
            volumes.extend(self.get(&entry?.file_name().to_string_lossy()).await); // one just removed has none
        }
        Ok(volumes)
    }
}

fn is_name(name: &str) -> bool {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "._-".contains(letter);
    (1..=200).contains(&name.len()) && !name.starts_with('.') && name.chars().all(plain)
}

/// Makes the directory that holds the data. A size is the kernel's to enforce, or the volume is refused.
fn make_data(data: &Path, size: Option<&String>) -> Result<(), DriverError> {
    let Some(size) = size else { return Ok(fs::create_dir(data)?) };
    let no = |why: &str| DriverError::new(ErrorKind::Unsupported, format!("size={size} takes btrfs: {why}"));
    for args in [&["subvolume", "create"][..], &["qgroup", "limit", size]] {
        let output = process::Command::new("btrfs").args(args).arg(data).output();
        let output = output.map_err(|error| no(&format!("the program btrfs: {error}")))?;
        if !output.status.success() {
            return Err(no(String::from_utf8_lossy(&output.stderr).trim()));
        }
    }
    Ok(())
}

fn main() -> process::ExitCode {
    let root = env::var_os("ROOT").unwrap_or("/mnt/volumes".into());
    let program = env::args().next().and_then(|path| Some(path.rsplit('/').next()?.to_owned()));
    let name = env::var("PLUGIN_NAME").ok().or(program).unwrap_or("volume-dirs".to_owned());
    pintle_sdk::run(async move { Ok(pintle_sdk::serve_volume(&name, Dirs::open(root.into())?).await?) })
}
