//! Unpacked layers, each once per chain: `layers/<chain id>/{diff,layer.json}`.
//!
//! A layer is unpacked beside its place and renamed into it when it is whole. The directory is the record: there
//! is no second place that could disagree.

use std::{
    collections::HashSet,
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use serde::{Deserialize, Serialize};

use crate::{
    Digest, ImageError,
    archive::{self, Kind, Limits},
    locks::Locks,
    removal::{emptied, remove_tree},
};

/// What `layer.json` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Layer {
    /// The digest of the layer's tar.
    pub diff_id: Digest,
    /// Bytes of its files.
    pub size: u64,
    /// Bytes of its tar.
    pub tar_size: u64,
}

#[derive(Clone)]
pub(crate) struct Layers(Arc<Inner>);

struct Inner {
    root: PathBuf,
    next_temporary: AtomicU64,
    locks: Locks,
}

/// A layer that is unpacked but not in its place. Dropped, it is gone.
pub(crate) struct Unplaced {
    layers: Layers,
    dir: PathBuf,
    pub layer: Layer,
}

impl Drop for Unplaced {
    fn drop(&mut self) {
        self.layers.discard(&self.dir);
    }
}

impl Layers {
    /// Opens the directory and removes what a crash left half unpacked or half removed.
    pub fn open(root: &Path) -> Result<Self, ImageError> {
        let tmp = root.join("tmp");
        emptied(&tmp).map_err(|error| ImageError::io("cleaning", &tmp, error))?;
        // Whatever is in a layer, set-uid programs too, is for containers only.
        rustix::fs::chmod(root, rustix::fs::Mode::from_raw_mode(0o700))
            .map_err(|error| ImageError::io("protecting", root, error))?;
        let inner =
            Inner { root: root.to_owned(), next_temporary: AtomicU64::new(0), locks: Locks::default() };
        Ok(Self(Arc::new(inner)))
    }

    fn dir(&self, chain: &Digest) -> PathBuf {
        self.0.root.join(chain.hex())
    }

    fn temporary(&self) -> PathBuf {
        self.0.root.join("tmp").join(self.0.next_temporary.fetch_add(1, Ordering::Relaxed).to_string())
    }

    /// Where the layer's files are.
    pub fn diff(&self, chain: &Digest) -> PathBuf {
        self.dir(chain).join("diff")
    }

    /// The layer, if it is unpacked.
    pub fn get(&self, chain: &Digest) -> Option<Layer> {
        let bytes = fs::read(self.dir(chain).join("layer.json")).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// Only one at a time makes a chain's layer.
    pub async fn lock(&self, chain: &Digest) -> tokio::sync::OwnedMutexGuard<()> {
        self.0.locks.lock(chain.hex()).await
    }

    /// Unpacks a layer beside its place. Blocks.
    pub fn unpack(&self, reader: impl Read + Send, limits: &Limits) -> Result<Unplaced, ImageError> {
        let dir = self.temporary();
        let diff = dir.join("diff");
        fs::create_dir_all(&diff).map_err(|error| ImageError::io("creating", &diff, error))?;
        let mut unplaced = Unplaced {
            layers: self.clone(),
            dir,
            layer: Layer { diff_id: Digest::of(b""), size: 0, tar_size: 0 },
        };
        rustix::fs::chmod(&diff, rustix::fs::Mode::from_raw_mode(0o755))
            .map_err(|error| ImageError::io("protecting", &diff, error))?;
        let (unpacked, stream) = archive::unpack_hashed(reader, &diff, limits, Kind::Layer)?;
        unplaced.layer = Layer { diff_id: stream.digest, size: unpacked.size, tar_size: stream.size };
        Ok(unplaced)
    }

    /// Puts a layer in its place. One that is there already stays.
    pub fn place(&self, unplaced: Unplaced, chain: &Digest) -> Result<(), ImageError> {
        let record = unplaced.dir.join("layer.json");
        let json =
            serde_json::to_vec(&unplaced.layer).map_err(|error| ImageError::internal(error.to_string()))?;
        fs::write(&record, json).map_err(|error| ImageError::io("writing", &record, error))?;
        let target = self.dir(chain);
        match fs::rename(&unplaced.dir, &target) {
            Ok(()) => Ok(()),
            Err(_) if self.get(chain).is_some() => Ok(()),
            Err(error) => Err(ImageError::io("publishing", &target, error)),
        }
    }

    /// Makes every layer that is in its place outlive a power cut. Blocks.
    pub fn flush(&self) -> Result<(), ImageError> {
        let failed = |error| ImageError::io("flushing", &self.0.root, error);
        let root = File::open(&self.0.root).map_err(failed)?;
        rustix::fs::syncfs(&root).map_err(|error| failed(error.into()))
    }

    /// Removes every layer whose chain is not in `keep`; returns their chains and sizes. Blocks.
    pub fn retain(&self, keep: &HashSet<Digest>) -> Result<Vec<(Digest, u64)>, ImageError> {
        let mut removed = Vec::new();
        let failed = |error| ImageError::io("listing", &self.0.root, error);
        for entry in fs::read_dir(&self.0.root).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            let chain: Option<Digest> = name.to_str().and_then(|hex| format!("sha256:{hex}").parse().ok());
            let Some(chain) = chain.filter(|chain| !keep.contains(chain)) else { continue };
            let size = self.get(&chain).map_or(0, |layer| layer.size);
            let aside = self.temporary();
            fs::rename(self.dir(&chain), &aside)
                .map_err(|error| ImageError::io("removing", &aside, error))?;
            self.discard(&aside);
            removed.push((chain, size));
        }
        Ok(removed)
    }

    fn discard(&self, dir: &Path) {
        if let Err(error) = remove_tree(dir) {
            tracing::warn!(%error, dir = %dir.display(), "an unused layer stays until the next start");
        }
    }
}
