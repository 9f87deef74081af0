//! The volumes' directories.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::SystemTime,
};

use pintle_contract::DriverError;
use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::{Options, mounts};

const DATA: &str = "_data";
const OPTIONS: &str = "opts.json";
const MOUNTS: &str = ".mounts";
const NEW: &str = ".new-";
const GONE: &str = ".gone-";
/// What the filesystem can take as one name.
const LONGEST_NAME: usize = 255;
/// Projects below this are for people to hand out.
const FIRST_PROJECT: u32 = 1 << 20;
/// Not beyond what every tool takes for a number.
const LAST_PROJECT: u32 = i32::MAX as u32;

/// Docker's rule for names of local volumes.
pub(super) fn check_name(name: &str) -> Result<(), DriverError> {
    if name.len() == 1 {
        return Err(DriverError::invalid(
            "volume name is too short, names should be at least two alphanumeric characters",
        ));
    }
    if name.len() > LONGEST_NAME {
        return Err(DriverError::invalid(format!("volume name is longer than {LONGEST_NAME} characters")));
    }
    if is_name(name) {
        return Ok(());
    }
    Err(DriverError::invalid(format!(
        "\"{}\" includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are \
         allowed. If you intended to pass a host directory, use absolute path",
        name.escape_default()
    )))
}

/// Whether a volume may have that name; no other is ever made into a path.
fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    (2..=LONGEST_NAME).contains(&name.len())
        && bytes.next().is_some_and(|first| first.is_ascii_alphanumeric())
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
}

/// The directory of all volumes.
pub(super) struct Shelf {
    root: PathBuf,
    /// Tells apart what this process is making and removing.
    serial: AtomicU64,
}

impl Shelf {
    /// Opens it and clears what a crash left. Answers the projects of what was cleared.
    pub(super) fn open(root: &Path) -> io::Result<(Self, Vec<u32>)> {
        fs::DirBuilder::new().recursive(true).mode(0o701).create(root)?;
        let root = root.canonicalize()?;
        fs::set_permissions(&root, fs::Permissions::from_mode(0o701))?;
        fs::DirBuilder::new().recursive(true).mode(0o700).create(root.join(MOUNTS))?;
        let shelf = Self { root, serial: AtomicU64::new(0) };
        let mut released = Vec::new();
        for entry in fs::read_dir(&shelf.root)? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if !(name.starts_with(NEW) || name.starts_with(GONE)) {
                continue;
            }
            let project = read_options(&entry.path()).ok().and_then(|options| options.project());
            match clear(&entry.path()) {
                Ok(()) => released.extend(project),
                Err(error) => {
                    tracing::warn!(path = %entry.path().display(), %error, "could not clear what a crash left");
                }
            }
        }
        Ok((shelf, released))
    }

    /// The directory itself.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    fn dir(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Where the volume is. For a name that exists.
    pub(super) fn data(&self, name: &str) -> PathBuf {
        self.dir(name).join(DATA)
    }

    pub(super) fn holds_file(&self, name: &str) -> PathBuf {
        self.root.join(MOUNTS).join(name)
    }

    pub(super) fn exists(&self, name: &str) -> bool {
        is_name(name) && fs::symlink_metadata(self.dir(name)).is_ok_and(|meta| meta.is_dir())
    }

    pub(super) fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.root)? {
            let entry = entry?;
            if let Ok(name) = entry.file_name().into_string()
                && is_name(&name)
                && entry.file_type().is_ok_and(|kind| kind.is_dir())
            {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    /// When it was made, RFC 3339; `None` if there is none.
    pub(super) fn created_at(&self, name: &str) -> Option<String> {
        let meta = fs::symlink_metadata(self.dir(name)).ok().filter(|meta| is_name(name) && meta.is_dir())?;
        let time = meta.created().or_else(|_| meta.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
        Some(chrono::DateTime::<chrono::Utc>::from(time).to_rfc3339_opts(chrono::SecondsFormat::Secs, true))
    }

    pub(super) fn options(&self, name: &str) -> io::Result<Options> {
        read_options(&self.dir(name))
            .map_err(|error| io::Error::other(format!("options of volume {name} cannot be read: {error}")))
    }

    /// Replaces a volume's options.
    pub(super) fn set_options(&self, name: &str, options: &Options) -> io::Result<()> {
        let dir = self.dir(name);
        let new = dir.join(format!("{OPTIONS}~"));
        let mut file = fs::File::create(&new)?;
        serde_json::to_writer(&mut file, options)?;
        file.sync_all()?;
        fs::rename(&new, dir.join(OPTIONS))?;
        fs::File::open(&dir)?.sync_all()
    }

    /// A project id that no volume has and nobody else uses: another engine may have its volumes on the same file
    /// system.
    pub(super) fn free_project(&self, is_used: impl Fn(u32) -> io::Result<bool>) -> io::Result<u32> {
        let mut own = std::collections::BTreeSet::new();
        for name in self.names()? {
            match self.options(&name) {
                Ok(options) => own.extend(options.project()),
                // Its project is in use, which is asked below.
                Err(error) => tracing::warn!(volume = name, %error, "a volume's project is not known"),
            }
        }
        let last = own.last().map_or(FIRST_PROJECT - 1, |last| (*last).max(FIRST_PROJECT - 1));
        // Above what was given out before, as long as there is something above.
        for project in (last.saturating_add(1)..=LAST_PROJECT).chain(FIRST_PROJECT..=last) {
            if !own.contains(&project) && !is_used(project)? {
                return Ok(project);
            }
        }
        Err(io::Error::other("every project of the file system is in use"))
    }

    /// Makes a volume. `prepare` gets its data directory before anybody can see it.
    pub(super) fn add(
        &self,
        name: &str,
        options: &Options,
        prepare: impl FnOnce(&Path) -> io::Result<()>,
    ) -> io::Result<()> {
        let new = self.aside(NEW);
        let made = (|| {
            fs::DirBuilder::new().mode(0o701).create(&new)?;
            let data = new.join(DATA);
            fs::create_dir(&data)?;
            // Whatever the umask.
            fs::set_permissions(&new, fs::Permissions::from_mode(0o701))?;
            fs::set_permissions(&data, fs::Permissions::from_mode(0o755))?;
            // Before the directory is prepared: whoever finds it half made learns which project it has.
            if !options.is_empty() {
                let file = fs::File::create_new(new.join(OPTIONS))?;
                serde_json::to_writer(&file, options)?;
                file.sync_all()?;
            }
            prepare(&data)?;
            renameat_with(CWD, &new, CWD, self.dir(name), RenameFlags::NOREPLACE)?;
            self.flush()
        })();
        if made.is_err() {
            let _ = clear(&new);
        }
        made
    }

    /// Removes a volume that is not mounted. Answers whether its data is gone too.
    pub(super) fn take_away(&self, name: &str) -> io::Result<bool> {
        let gone = self.aside(GONE);
        fs::rename(self.dir(name), &gone)?;
        self.flush()?;
        // It is removed; what cannot be deleted now is tried again at the next start.
        if let Err(error) = clear(&gone) {
            tracing::warn!(volume = name, path = %gone.display(), %error, "could not delete a removed volume's data");
            return Ok(false);
        }
        Ok(true)
    }

    fn aside(&self, prefix: &str) -> PathBuf {
        self.root.join(format!(
            "{prefix}{}-{}",
            std::process::id(),
            self.serial.fetch_add(1, Ordering::Relaxed)
        ))
    }

    /// The renames survive a power cut.
    fn flush(&self) -> io::Result<()> {
        fs::File::open(&self.root)?.sync_all()
    }
}

/// The options of the volume in a directory.
fn read_options(dir: &Path) -> io::Result<Options> {
    match fs::read(dir.join(OPTIONS)) {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Options::default()),
        Err(error) => Err(error),
    }
}

/// Deletes a directory, but never what is mounted in it.
fn clear(dir: &Path) -> io::Result<()> {
    mounts::unmount_all(dir).map_err(io::Error::other)?;
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
