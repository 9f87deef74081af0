//! The database file, which survives a disk that was full for a while.
//!
//! A database that met a failed write refuses everything until it is opened again. So it is closed then, and opened
//! again for whoever asks next; what was not committed is not there.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::{
        PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use redb::Database;

use crate::StoreError;

/// A database that is open, or will be for the next caller.
pub(crate) struct Held {
    /// None: in memory.
    path: Option<PathBuf>,
    database: RwLock<Option<Database>>,
    /// How much of the file has its place on the disk.
    reserved: AtomicU64,
    /// Whether there is room that is held back.
    held_back: AtomicBool,
}

/// Room beside the file that is given up when there is no other: what makes room must be recorded, and may need some first.
const HELD_BACK: u64 = 4 << 20;

impl Held {
    pub fn memory() -> Result<Self, StoreError> {
        let backend = redb::backends::InMemoryBackend::new();
        let database = Database::builder().create_with_backend(backend)?;
        Ok(Self {
            path: None,
            database: RwLock::new(Some(database)),
            reserved: AtomicU64::new(0),
            held_back: AtomicBool::new(true),
        })
    }

    /// Opens the file, making it if there is none.
    pub fn file(path: &Path) -> Result<Self, StoreError> {
        if !path.try_exists()? {
            // A database that is half made is none: it gets its name when it is whole.
            let fresh = path.with_extension("new");
            match fs::remove_file(&fresh) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
                _ => {}
            }
            drop(Database::create(&fresh)?);
            fs::rename(&fresh, path)?;
        }
        let database = Database::open(path)?;
        let held = Self {
            path: Some(path.to_owned()),
            database: RwLock::new(Some(database)),
            reserved: AtomicU64::new(0),
            held_back: AtomicBool::new(false),
        };
        held.reserve();
        Ok(held)
    }

    /// Lets `work` have the database;
    /// again where the disk was full and some room was held back.
    pub fn with<R>(&self, mut work: impl FnMut(&Database) -> Result<R, StoreError>) -> Result<R, StoreError> {
        loop {
            let held = self.database.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(database) = &*held {
                let result = work(database);
                drop(held);
                if result.as_ref().is_err_and(broken) && self.path.is_some() {
                    *self.database.write().unwrap_or_else(PoisonError::into_inner) = None;
                    if result.as_ref().is_err_and(is_full) && self.give_up_room() {
                        continue;
                    }
                }
                return result;
            }
            drop(held);
            self.reopen()?;
        }
    }

    fn spare(&self) -> Option<PathBuf> {
        self.path.as_ref().map(|path| path.with_extension("spare"))
    }

    /// Gives up what was held back, if there is any.
    fn give_up_room(&self) -> bool {
        self.held_back.store(false, Ordering::Relaxed);
        self.spare().is_some_and(|spare| fs::remove_file(spare).is_ok())
    }

    /// Holds back some room, if there is plenty: to try where there is not would take it from everybody for a moment.
    fn hold_back(&self) {
        let Some(spare) = self.spare().filter(|_| !self.held_back.load(Ordering::Relaxed)) else { return };
        let dir = spare.parent().unwrap_or(Path::new("."));
        let free = rustix::fs::statvfs(dir).map_or(0, |facts| facts.f_bavail.saturating_mul(facts.f_frsize));
        if free < 4 * HELD_BACK {
            return;
        }
        let made = File::options().create(true).truncate(false).write(true).open(&spare).and_then(|file| {
            Ok(rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, HELD_BACK)?)
        });
        match made {
            Ok(()) => self.held_back.store(true, Ordering::Relaxed),
            Err(_) => drop(fs::remove_file(&spare)),
        }
    }

    fn reopen(&self) -> Result<(), StoreError> {
        let Some(path) = &self.path else { return Ok(()) };
        let mut held = self.database.write().unwrap_or_else(PoisonError::into_inner);
        if held.is_none() {
            *held = Some(Database::open(path)?);
        }
        Ok(())
    }

    /// Gives the whole file its place on the disk, so that writes into it need none: on a full disk, what makes room
    /// must still be recorded. A file system that cannot do this goes without.
    pub fn reserve(&self) {
        let Some(path) = &self.path else { return };
        self.hold_back();
        let Ok(length) = fs::metadata(path).map(|metadata| metadata.len()) else { return };
        if self.reserved.swap(length, Ordering::Relaxed) < length
            && let Ok(file) = File::options().write(true).open(path)
        {
            let _ = rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, length);
        }
    }
}

/// Whether the disk is full.
fn is_full(error: &StoreError) -> bool {
    let StoreError::Database(error) = error else { return false };
    matches!(&**error, redb::Error::Io(error) if error.kind() == io::ErrorKind::StorageFull)
}

/// Whether the database refuses everything from now on.
fn broken(error: &StoreError) -> bool {
    let StoreError::Database(error) = error else { return false };
    matches!(**error, redb::Error::Io(_) | redb::Error::PreviousIo)
}
