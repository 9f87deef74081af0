//! Bytes by their digest, on disk, shared by images and plugins.
//!
//! A blob appears under its name only when it is whole, verified and flushed, so whatever is there is right.
//! What a crash interrupts lies in `tmp/`, which is emptied at the next open, or in `partial/`, from where a
//! download goes on. Whoever needs blobs to stay records it with [`Blobs::hold`] or in the same transaction as
//! its own record with [`Blobs::hold_in`].

mod writer;

use std::{
    collections::{BTreeSet, HashMap},
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use pintle_store::{Store, StoreError, Table, Transaction};
use sha2::{Digest as _, Sha256};

pub(crate) use self::writer::Arrivals;
use self::writer::HashWriter;
pub use self::writer::Writer;
use crate::{Digest, ImageError, removal::emptied};

const ARRIVING: &str = "arriving/";
const LEAVING: &str = "leaving/";

/// The content store. Cheap to clone.
#[derive(Clone)]
pub struct Blobs(Arc<Inner>);

struct Inner {
    root: PathBuf,
    store: Store,
    holds: Table<Vec<Digest>>,
    next_temporary: AtomicU64,
    pinned: Mutex<Pinned>,
}

#[derive(Default)]
struct Pinned {
    pins: usize,
    /// What collections left alone because somebody was in the middle of something.
    deferred: BTreeSet<Digest>,
    /// Holders that were let go of in the meantime.
    leaving: BTreeSet<String>,
}

/// While one of these lives, no blob is collected. Take one before fetching and drop it after holding.
pub struct Pin(Blobs);

impl Drop for Pin {
    fn drop(&mut self) {
        let mut pinned = self.0.pinned();
        pinned.pins -= 1;
        if pinned.pins > 0 {
            return;
        }
        let Pinned { deferred, leaving, .. } = std::mem::take(&mut *pinned);
        let mut collected = self.0.sweep(deferred, None);
        for holder in leaving {
            collected = collected.and_then(|_| self.0.let_go(&holder));
        }
        if let Err(error) = collected {
            tracing::warn!(%error, "blobs that nobody holds could not be removed");
        }
    }
}

impl Blobs {
    /// Opens the store under `root` (made if missing) and removes what a crash left half written.
    pub fn new(root: &Path, store: Store) -> Result<Self, ImageError> {
        let tmp = root.join("tmp");
        emptied(&tmp).map_err(|error| ImageError::io("cleaning", &tmp, error))?;
        for dir in [root.join("sha256"), root.join("partial")] {
            fs::create_dir_all(&dir).map_err(|error| ImageError::io("creating", &dir, error))?;
        }
        Ok(Self(Arc::new(Inner {
            root: root.to_owned(),
            holds: store.table("blob-hold"),
            store,
            next_temporary: AtomicU64::new(0),
            pinned: Mutex::default(),
        })))
    }

    /// Where a blob is or would be. Read it, never write it.
    pub fn path(&self, digest: &Digest) -> PathBuf {
        self.0.root.join("sha256").join(digest.hex())
    }

    /// Whether it is here.
    pub fn exists(&self, digest: &Digest) -> bool {
        self.path(digest).exists()
    }

    /// Its length, if it is here.
    pub fn size(&self, digest: &Digest) -> Option<u64> {
        fs::metadata(self.path(digest)).ok().map(|metadata| metadata.len())
    }

    /// Opens it for reading.
    pub fn open(&self, digest: &Digest) -> Result<File, ImageError> {
        let path = self.path(digest);
        File::open(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => ImageError::not_found(format!("content {digest} is not here")),
            _ => ImageError::io("opening", &path, error),
        })
    }

    /// Reads all of it, if it is no longer than `limit`.
    pub fn read(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>, ImageError> {
        let mut bytes = Vec::new();
        self.open(digest)?
            .take(limit.saturating_add(1))
            .read_to_end(&mut bytes)
            .map_err(|error| ImageError::io("reading", &self.path(digest), error))?;
        if bytes.len() as u64 > limit {
            return Err(ImageError::corrupt(format!("content {digest} is larger than {limit} bytes")));
        }
        Ok(bytes)
    }

    /// Stores small content and returns its name.
    pub fn put(&self, bytes: &[u8]) -> Result<Digest, ImageError> {
        let digest = Digest::of(bytes);
        if self.size(&digest) == Some(bytes.len() as u64) {
            return Ok(digest);
        }
        let mut writer = self.writer()?;
        writer.write_all(bytes).map_err(|error| ImageError::io("writing", &writer.path, error))?;
        writer.commit(Some(&digest)).map(|(digest, _)| digest)
    }

    /// Begins content whose name may not be known yet. Dropped without [`Writer::commit`] it leaves nothing.
    pub fn writer(&self) -> Result<Writer, ImageError> {
        let number = self.0.next_temporary.fetch_add(1, Ordering::Relaxed);
        let path = self.0.root.join("tmp").join(number.to_string());
        let file = File::create_new(&path).map_err(|error| ImageError::io("creating", &path, error))?;
        Ok(Writer { blobs: self.clone(), file, path, hasher: Sha256::new(), size: 0, keep: false })
    }

    /// Goes on with a download of `digest` where an earlier one stopped, or begins it. What was there is
    /// hashed again first, so this blocks for as long as that takes. Only one at a time per digest.
    pub fn resume(&self, digest: &Digest) -> Result<Writer, ImageError> {
        let path = self.0.root.join("partial").join(digest.hex());
        let opened = OpenOptions::new().read(true).append(true).create(true).open(&path);
        let mut file = opened.map_err(|error| ImageError::io("opening", &path, error))?;
        let mut hasher = HashWriter(Sha256::new());
        let size =
            io::copy(&mut file, &mut hasher).map_err(|error| ImageError::io("reading", &path, error))?;
        Ok(Writer { blobs: self.clone(), file, path, hasher: hasher.0, size, keep: true })
    }

    /// Removes a blob unless somebody holds it. Says whether it did.
    pub fn delete(&self, digest: &Digest) -> Result<bool, ImageError> {
        Ok(self.collect([digest.clone()])? > 0)
    }

    /// Every blob that is here.
    pub fn list(&self) -> Result<Vec<Digest>, ImageError> {
        let dir = self.0.root.join("sha256");
        let failed = |error| ImageError::io("listing", &dir, error);
        let mut found = Vec::new();
        for entry in fs::read_dir(&dir).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            // Anything else in there is not ours to touch.
            if let Some(digest) = name.to_str().and_then(|hex| format!("sha256:{hex}").parse().ok()) {
                found.push(digest);
            }
        }
        Ok(found)
    }

    /// Records durably that `holder` (`plugin/<id>`, `image/<id>`) needs exactly `digests` from now on.
    pub fn hold(&self, holder: &str, digests: &[Digest]) -> Result<(), ImageError> {
        Ok(self.0.store.write(|transaction| self.hold_in(transaction, holder, digests))?)
    }

    /// [`Blobs::hold`] as part of a larger change.
    pub fn hold_in(
        &self,
        transaction: &mut Transaction,
        holder: &str,
        digests: &[Digest],
    ) -> Result<(), StoreError> {
        transaction.put(&self.0.holds, holder, &digests.to_vec())
    }

    /// Ends a holder's claim as part of a larger change. What it held, `digests`, waits for [`Blobs::release`] of
    /// the name that this returns; a crash before that is made good at the next start.
    pub(crate) fn retire_in(
        &self,
        transaction: &mut Transaction,
        holder: &str,
        digests: &[Digest],
    ) -> Result<String, StoreError> {
        let leaving = format!("{LEAVING}{holder}");
        transaction.put(&self.0.holds, &leaving, &digests.to_vec())?;
        transaction.delete(&self.0.holds, holder)?;
        Ok(leaving)
    }

    /// What a holder holds.
    pub(crate) fn held_by(&self, holder: &str) -> Result<Vec<Digest>, ImageError> {
        Ok(self.0.holds.get(holder)?.unwrap_or_default())
    }

    /// Ends a holder's claim and removes the blobs that nobody else holds. Returns the bytes freed. While a
    /// pin lives, the removal waits for the last one.
    pub fn release(&self, holder: &str) -> Result<u64, ImageError> {
        let mut pinned = self.pinned();
        if pinned.pins == 0 {
            return self.let_go(holder);
        }
        let mut leaving = holder.to_owned();
        if !holder.starts_with(LEAVING) {
            let digests = self.held_by(holder)?;
            leaving = self.0.store.write(|transaction| self.retire_in(transaction, holder, &digests))?;
        }
        pinned.leaving.insert(leaving);
        Ok(0)
    }

    /// The record goes last, so that a crash in between leaves somebody who remembers.
    fn let_go(&self, holder: &str) -> Result<u64, ImageError> {
        let freed = self.sweep(self.held_by(holder)?, Some(holder))?;
        self.0.holds.delete(holder)?;
        Ok(freed)
    }

    /// Keeps every blob from being collected until the pin is dropped.
    pub fn pin(&self) -> Pin {
        self.pinned().pins += 1;
        Pin(self.clone())
    }

    /// Removes those of `candidates` that nobody holds. Returns the bytes freed. While a pin lives, it removes
    /// nothing and the last pin does it.
    pub fn collect(&self, candidates: impl IntoIterator<Item = Digest>) -> Result<u64, ImageError> {
        // The lock is held throughout: a pin taken meanwhile waits, and then sees what is really there.
        let mut pinned = self.pinned();
        if pinned.pins > 0 {
            pinned.deferred.extend(candidates);
            return Ok(0);
        }
        self.sweep(candidates, None)
    }

    fn sweep(
        &self,
        candidates: impl IntoIterator<Item = Digest>,
        leaving: Option<&str>,
    ) -> Result<u64, ImageError> {
        let mut candidates: BTreeSet<Digest> = candidates.into_iter().collect();
        for (holder, held) in self.0.holds.list()? {
            if Some(holder.as_str()) != leaving {
                held.iter().for_each(|digest| {
                    candidates.remove(digest);
                });
            }
        }
        let mut freed = 0;
        for digest in candidates {
            let size = self.size(&digest).unwrap_or(0);
            let path = self.path(&digest);
            match fs::remove_file(&path) {
                Ok(()) => freed += size,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(ImageError::io("removing", &path, error)),
            }
        }
        Ok(freed)
    }

    /// Removes every download that was given up. One that is under way begins again.
    pub fn clear_partial(&self) -> Result<u64, ImageError> {
        let dir = self.0.root.join("partial");
        let mut freed = 0;
        for entry in fs::read_dir(&dir).map_err(|error| ImageError::io("listing", &dir, error))?.flatten() {
            let size = entry.metadata().map_or(0, |metadata| metadata.len());
            // Best effort: another prune may have been quicker.
            if fs::remove_file(entry.path()).is_ok() {
                freed += size;
            }
        }
        Ok(freed)
    }

    /// Who holds what.
    pub fn holders(&self) -> Result<HashMap<String, Vec<Digest>>, ImageError> {
        Ok(self.0.holds.list()?.into_iter().collect())
    }

    fn pinned(&self) -> std::sync::MutexGuard<'_, Pinned> {
        self.0.pinned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes a rename in `dir` outlive a power cut.
pub(crate) fn sync_dir(dir: &Path) -> Result<(), ImageError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(|error| ImageError::io("flushing", dir, error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    fn blobs(dir: &Path) -> Blobs {
        Blobs::new(&dir.join("blobs"), Store::in_memory().unwrap()).unwrap()
    }

    #[test]
    fn wrong_content_is_refused_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = blobs(dir.path());
        let mut writer = blobs.writer().unwrap();
        writer.write_all(b"evil").unwrap();
        let error = writer.commit(Some(&Digest::of(b"good"))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        let mut partial = blobs.resume(&Digest::of(b"good")).unwrap();
        partial.write_all(b"evil").unwrap();
        partial.commit(Some(&Digest::of(b"good"))).unwrap_err();
        assert_eq!(blobs.list().unwrap(), []);
        assert_eq!(blobs.resume(&Digest::of(b"good")).unwrap().size(), 0);
    }

    #[test]
    fn a_download_goes_on_where_it_stopped() {
        let dir = tempfile::tempdir().unwrap();
        let digest = Digest::of(b"good");
        let mut writer = blobs(dir.path()).resume(&digest).unwrap();
        writer.write_all(b"go").unwrap();
        drop(writer);
        let blobs = blobs(dir.path());
        let mut writer = blobs.resume(&digest).unwrap();
        assert_eq!(writer.size(), 2);
        writer.write_all(b"od").unwrap();
        writer.commit(Some(&digest)).unwrap();
        assert_eq!(blobs.read(&digest, 4).unwrap(), b"good");
        assert_eq!(blobs.read(&digest, 3).unwrap_err().kind(), ErrorKind::Corrupt);
    }

    #[test]
    fn only_what_nobody_holds_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = blobs(dir.path());
        let (shared, own) = (blobs.put(b"shared").unwrap(), blobs.put(b"own").unwrap());
        blobs.hold("image/a", &[shared.clone(), own.clone()]).unwrap();
        blobs.hold("plugin/b", std::slice::from_ref(&shared)).unwrap();
        assert!(!blobs.delete(&shared).unwrap());
        assert_eq!(blobs.release("image/a").unwrap(), 3);
        assert_eq!(blobs.list().unwrap(), std::slice::from_ref(&shared));
        let pin = blobs.pin();
        assert_eq!(blobs.release("plugin/b").unwrap(), 0);
        assert!(blobs.exists(&shared));
        drop(pin);
        assert!(!blobs.exists(&shared));
    }
}
