//! Content on its way into the store.

use std::{
    fs::{self, File},
    io,
    path::PathBuf,
    sync::atomic::Ordering,
};

use sha2::{Digest as _, Sha256};

use super::{ARRIVING, Blobs, LEAVING, sync_dir};
use crate::{Digest, ImageError};

pub(super) struct HashWriter(pub Sha256);

impl io::Write for HashWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Content on its way into the store.
pub struct Writer {
    pub(super) blobs: Blobs,
    pub(super) file: File,
    pub(super) path: PathBuf,
    pub(super) hasher: Sha256,
    pub(super) size: u64,
    /// A partial download stays when the writer is dropped.
    pub(super) keep: bool,
}

impl Writer {
    /// The bytes so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The digest of the bytes so far.
    pub fn digest(&self) -> Digest {
        Digest::from_raw(&self.hasher.clone().finalize())
    }

    /// Leaves nothing behind when it is dropped, not even what a download could go on from.
    pub(crate) fn give_up(&mut self) {
        self.keep = false;
    }

    /// Throws away what was written and begins again.
    pub fn restart(&mut self) -> Result<(), ImageError> {
        self.file.set_len(0).map_err(|error| ImageError::io("emptying", &self.path, error))?;
        io::Seek::rewind(&mut self.file).map_err(|error| ImageError::io("emptying", &self.path, error))?;
        self.hasher = Sha256::new();
        self.size = 0;
        Ok(())
    }

    /// Flushes, verifies and publishes the content. With `expected` given and wrong, nothing is left behind.
    pub fn commit(mut self, expected: Option<&Digest>) -> Result<(Digest, u64), ImageError> {
        let digest = Digest::from_raw(&std::mem::take(&mut self.hasher).finalize());
        if expected.is_some_and(|expected| *expected != digest) {
            self.keep = false;
            let expected = expected.map(Digest::as_str).unwrap_or_default();
            return Err(ImageError::corrupt(format!(
                "filesystem layer verification failed for digest {expected}: got {digest}"
            )));
        }
        self.file.sync_all().map_err(|error| ImageError::io("flushing", &self.path, error))?;
        let target = self.blobs.path(&digest);
        fs::rename(&self.path, &target).map_err(|error| ImageError::io("publishing", &target, error))?;
        self.keep = true;
        sync_dir(&self.blobs.0.root.join("sha256"))?;
        Ok((digest, self.size))
    }
}

impl io::Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if !self.keep {
            // What cannot be removed now is removed at the next open.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Content that is being brought in by something that may fail or be killed. What nobody else holds when this is
/// dropped goes away; after a crash, [`Blobs::release_interrupted`] does the same.
pub(crate) struct Arrivals {
    blobs: Blobs,
    holder: String,
    digests: Vec<Digest>,
}

impl Blobs {
    /// Begins to bring content in.
    pub(crate) fn arrivals(&self) -> Arrivals {
        let number = self.0.next_temporary.fetch_add(1, Ordering::Relaxed);
        Arrivals { blobs: self.clone(), holder: format!("{ARRIVING}{number}"), digests: Vec::new() }
    }

    /// Lets go of what a crash interrupted in coming or going. Only at start.
    pub(crate) fn release_interrupted(&self) -> Result<(), ImageError> {
        for holder in self.holders()?.into_keys() {
            if holder.starts_with(ARRIVING) || holder.starts_with(LEAVING) {
                self.release(&holder)?;
            }
        }
        Ok(())
    }
}

impl Arrivals {
    /// Publishes content.
    pub fn commit(&mut self, writer: Writer) -> Result<(Digest, u64), ImageError> {
        self.digests.push(writer.digest());
        self.blobs.hold(&self.holder, &self.digests)?;
        writer.commit(None)
    }

    /// Publishes small content.
    pub fn put(&mut self, bytes: &[u8]) -> Result<Digest, ImageError> {
        self.digests.push(Digest::of(bytes));
        self.blobs.hold(&self.holder, &self.digests)?;
        self.blobs.put(bytes)
    }
}

impl Drop for Arrivals {
    fn drop(&mut self) {
        if let Err(error) = self.blobs.release(&self.holder) {
            tracing::warn!(%error, "blobs that nobody holds stay until the next start");
        }
    }
}
