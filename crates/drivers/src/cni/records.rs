//! What is known of attachments across crashes: one file for each, in the format of CNI's own library.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use pintle_contract::{DriverError, network::EndpointId};
use pintle_wire::cni::{Attachment, CacheRecord};

const NEW: &str = ".new-";

/// The folder of records.
#[derive(Debug)]
pub(super) struct Records {
    folder: PathBuf,
    serial: AtomicU64,
}

impl Records {
    pub(super) fn open(state: &Path) -> io::Result<Self> {
        let folder = state.join("results");
        DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        for entry in fs::read_dir(&folder)?.flatten() {
            if entry.file_name().to_string_lossy().starts_with(NEW) {
                let _ = fs::remove_file(entry.path());
            }
        }
        Ok(Self { folder, serial: AtomicU64::new(0) })
    }

    /// Writes a record so that it survives a power cut.
    pub(super) fn save(&self, record: &CacheRecord) -> Result<(), DriverError> {
        let name = CacheRecord::file_name(&record.network, &record.container, &record.interface)
            .map_err(|error| DriverError::invalid(error.to_string()))?;
        let new = self.folder.join(format!("{NEW}{}", self.serial.fetch_add(1, Ordering::Relaxed)));
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(record.encode().to_string().as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, self.folder.join(name))?;
        File::open(&self.folder)?.sync_all()?;
        Ok(())
    }

    pub(super) fn remove(&self, record: &CacheRecord) {
        if let Ok(name) = CacheRecord::file_name(&record.network, &record.container, &record.interface) {
            let _ = fs::remove_file(self.folder.join(name));
        }
    }

    /// An endpoint's record, if it has one.
    pub(super) fn of(&self, id: &EndpointId) -> Result<Option<CacheRecord>, DriverError> {
        let marker = format!("-{}-", id.endpoint);
        let records = self.read(|name| name.contains(&marker))?;
        Ok(records.into_iter().find(|record| is(record, id)))
    }

    /// Every record of this engine.
    pub(super) fn all(&self) -> Result<Vec<CacheRecord>, DriverError> {
        Ok(self.read(|_| true)?.into_iter().filter(|record| record.home.is_some()).collect())
    }

    fn read(&self, wanted: impl Fn(&str) -> bool) -> Result<Vec<CacheRecord>, DriverError> {
        let mut records = Vec::new();
        for entry in fs::read_dir(&self.folder)?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with('.') || !wanted(&name) {
                continue;
            }
            match load(&entry.path()) {
                Ok(record) => records.push(record),
                Err(error) => tracing::warn!(%name, %error, "a CNI record cannot be read and is left alone"),
            }
        }
        Ok(records)
    }
}

/// Whether the record is this endpoint's.
pub(super) fn is(record: &CacheRecord, id: &EndpointId) -> bool {
    record.home.as_ref().is_some_and(|home| home.network == id.network && home.endpoint == id.endpoint)
}

fn load(file: &Path) -> io::Result<CacheRecord> {
    let bytes = fs::read(file)?;
    let value = serde_json::from_slice(&bytes)?;
    CacheRecord::decode(&value).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))
}

/// The attachments of a network that another runtime on this host keeps in `folder`: what is GC'ed must spare them.
pub(super) fn foreign(folder: &Path, network: &str) -> Vec<Attachment> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let begins = format!("{network}-");
    entries
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(&begins))
        .filter_map(|entry| load(&entry.path()).ok())
        .filter(|record| record.network == network)
        .map(|record| Attachment { container: record.container, interface: record.interface })
        .collect()
}
