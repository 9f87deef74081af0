//! The image store: images by name and ID, and the root filesystems of containers made from them.
//!
//! Records are in the engine's store, configurations and packed layers in [`crate::Blobs`], unpacked layers in
//! `layers/`. An image exists once its record is committed, and everything it needs is on disk before that.

mod cache;
mod catalog;
mod commit;
mod diff;
mod import;
mod instructions;
mod load;
mod overlay;
mod prune;
mod pull;
mod push;
mod query;
mod remove;
mod rootfs;
mod save;
mod types;

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use pintle_store::{Store, Table};

use self::{
    catalog::{Catalog, Record},
    rootfs::RootfsRecord,
};
pub use self::{
    commit::Commit,
    instructions::apply_instructions,
    overlay::mount_overlay,
    types::{
        Change, ChangeKind, HistoryEntry, Holder, Image, Loaded, Options, Pulled, Pushed, Removed, Usage,
    },
};
use crate::{Blobs, ImageError, ImageId, Registry, layers::Layers};

/// The image store. Cheap to clone.
#[derive(Clone)]
pub struct Images(Arc<Inner>);

struct Inner {
    store: Store,
    blobs: Blobs,
    layers: Layers,
    registry: Registry,
    options: RwLock<Arc<Options>>,
    records: Table<Record>,
    names: Table<ImageId>,
    rootfs: Table<RootfsRecord>,
    catalog: RwLock<Catalog>,
    /// Commits of records happen one after the other.
    commit: Mutex<()>,
    working: Mutex<Working>,
}

/// Who is in the middle of making images: their layers and blobs are nobody's yet.
#[derive(Default)]
struct Working {
    count: usize,
    collect_after: bool,
}

/// While one of these lives, neither blobs nor layers are collected.
struct Work {
    images: Images,
    _blobs: crate::blobs::Pin,
}

impl Images {
    /// Opens the store under the data root. What a crash left half done is put right.
    pub fn open(root: &Path, store: Store, options: Options) -> Result<Self, ImageError> {
        let blobs = Blobs::new(&root.join("blobs"), store.clone())?;
        blobs.release_interrupted()?;
        let layers = Layers::open(&root.join("layers"))?;
        let registry = Registry::new(blobs.clone(), options.clone())?;
        let records = store.table("image");
        let names = store.table("image-name");
        let rootfs = store.table("image-rootfs");
        let catalog = Catalog::load(&blobs, &layers, &records, &names, &rootfs)?;
        let inner = Inner {
            blobs,
            layers,
            registry,
            options: RwLock::new(Arc::new(options)),
            records,
            names,
            rootfs,
            catalog: RwLock::new(catalog),
            commit: Mutex::default(),
            working: Mutex::default(),
            store,
        };
        let images = Self(Arc::new(inner));
        // Layers of images that were never committed may have been cut short by a power failure.
        images.collect_layers()?;
        Ok(images)
    }

    /// Takes new options for whatever begins after this.
    pub fn reload(&self, options: Options) -> Result<(), ImageError> {
        self.0.registry.reload(options.clone())?;
        *self.0.options.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(options);
        Ok(())
    }

    /// The content store.
    pub fn blobs(&self) -> &Blobs {
        &self.0.blobs
    }

    /// The registry client.
    pub fn registry(&self) -> &Registry {
        &self.0.registry
    }

    fn options(&self) -> Arc<Options> {
        self.0.options.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn catalog(&self) -> std::sync::RwLockReadGuard<'_, Catalog> {
        self.0.catalog.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn catalog_mut(&self) -> std::sync::RwLockWriteGuard<'_, Catalog> {
        self.0.catalog.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn committing(&self) -> std::sync::MutexGuard<'_, ()> {
        self.0.commit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Declares that images are being made.
    fn work(&self) -> Work {
        self.working().count += 1;
        Work { images: self.clone(), _blobs: self.0.blobs.pin() }
    }

    fn working(&self) -> std::sync::MutexGuard<'_, Working> {
        self.0.working.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes the unpacked layers that no image and no container needs. Puts it off while images are made.
    fn collect_layers(&self) -> Result<Vec<(crate::Digest, u64)>, ImageError> {
        // Held throughout, so that nobody begins to count on a layer that is about to go.
        let mut working = self.working();
        if working.count > 0 {
            working.collect_after = true;
            return Ok(Vec::new());
        }
        let keep = self.catalog().chains();
        self.0.layers.retain(&keep)
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        let collect = {
            let mut working = self.images.working();
            working.count -= 1;
            working.count == 0 && std::mem::take(&mut working.collect_after)
        };
        if collect && let Err(error) = self.images.collect_layers() {
            tracing::warn!(%error, "layers that nobody needs could not be removed");
        }
    }
}
