//! What is known about every image, in memory, as the engine's store has it.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use pintle_store::{Table, failpoint};
use serde::{Deserialize, Serialize};

use super::{Images, rootfs::RootfsRecord};
use crate::{
    Blobs, Descriptor, Digest, ImageConfig, ImageError, ImageId, Reference,
    digest::chain_ids,
    layers::{Layer, Layers},
    manifest::MAX_CONFIG,
};

/// What the store keeps about an image besides its configuration.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Record {
    /// Lowest first.
    pub layers: Vec<RecordLayer>,
    /// The manifest that it came with. It may be pushed as it is while its layers are all here.
    #[serde(default)]
    pub manifest: Option<Descriptor>,
    #[serde(default)]
    pub parent: Option<ImageId>,
    /// Seconds since 1970.
    #[serde(default)]
    pub last_tagged: Option<i64>,
    /// What a build made it by, on top of `parent`: the same step need not be done again.
    #[serde(default)]
    pub step: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct RecordLayer {
    pub diff_id: Digest,
    /// Bytes of its files.
    pub size: u64,
    /// Bytes of its tar.
    pub tar_size: u64,
    /// The tar as it is in the content store, packed or not.
    pub blob: Descriptor,
    /// The tar packed by this engine, for registries.
    #[serde(default)]
    pub packed: Option<Descriptor>,
}

impl RecordLayer {
    pub fn new(layer: &Layer, blob: Descriptor) -> Self {
        Self {
            diff_id: layer.diff_id.clone(),
            size: layer.size,
            tar_size: layer.tar_size,
            blob,
            packed: None,
        }
    }
}

impl Record {
    pub fn diff_ids(&self) -> Vec<Digest> {
        self.layers.iter().map(|layer| layer.diff_id.clone()).collect()
    }

    /// Every blob that the image needs.
    pub fn blobs(&self, id: &ImageId) -> Vec<Digest> {
        let layers = self.layers.iter().flat_map(|layer| [Some(&layer.blob), layer.packed.as_ref()]);
        let others = layers.chain([self.manifest.as_ref()]).flatten().map(|blob| blob.digest.clone());
        let mut all: Vec<Digest> = others.chain([id.digest().clone()]).collect();
        all.sort();
        all.dedup();
        all
    }
}

/// An image that is here.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub record: Record,
    pub config: Arc<ImageConfig>,
    pub raw: Arc<[u8]>,
}

#[derive(Default)]
pub(super) struct Catalog {
    pub images: HashMap<ImageId, Known>,
    pub names: BTreeMap<Reference, ImageId>,
    pub rootfs: HashMap<String, RootfsRecord>,
}

impl Catalog {
    pub fn load(
        blobs: &Blobs,
        layers: &Layers,
        records: &Table<Record>,
        names: &Table<ImageId>,
        rootfs: &Table<RootfsRecord>,
    ) -> Result<Self, ImageError> {
        let mut catalog = Self::default();
        for (key, record) in records.list()? {
            let known = || -> Result<(ImageId, Known), ImageError> {
                let id: ImageId = key.parse()?;
                let raw = blobs.read(id.digest(), MAX_CONFIG)?;
                let config = ImageConfig::parse(&raw)?;
                if let Some(lost) =
                    chain_ids(&record.diff_ids()).iter().find(|chain| layers.get(chain).is_none())
                {
                    return Err(ImageError::corrupt(format!("its layer {lost} is gone")));
                }
                Ok((id, Known { record: record.clone(), config: Arc::new(config), raw: raw.into() }))
            };
            match known() {
                Ok((id, known)) => drop(catalog.images.insert(id, known)),
                // One damaged image must not keep the engine from starting.
                Err(error) => tracing::error!(image = %key, %error, "an image cannot be used"),
            }
        }
        for (key, id) in names.list()? {
            match key.parse() {
                Ok(name) if catalog.images.contains_key(&id) => drop(catalog.names.insert(name, id)),
                _ => tracing::error!(name = %key, image = %id, "a name stands for no image"),
            }
        }
        catalog.rootfs = rootfs.list()?.into_iter().collect();
        Ok(catalog)
    }

    /// The names of an image, sorted.
    pub fn names_of(&self, id: &ImageId) -> Vec<Reference> {
        self.names.iter().filter(|(_, named)| *named == id).map(|(name, _)| name.clone()).collect()
    }

    /// Every layer that an image or a container needs.
    pub fn chains(&self) -> HashSet<Digest> {
        let images = self.images.values().flat_map(|known| chain_ids(&known.record.diff_ids()));
        images.chain(self.rootfs.values().flat_map(|rootfs| rootfs.chains.iter().cloned())).collect()
    }

    /// A form of a layer's tar that is in the content store.
    pub fn blob_of(&self, diff_id: &Digest, blobs: &Blobs) -> Option<RecordLayer> {
        self.images
            .values()
            .flat_map(|known| &known.record.layers)
            .find(|layer| layer.diff_id == *diff_id && blobs.exists(&layer.blob.digest))
            .cloned()
    }
}

impl Images {
    /// Makes an image exist, with names, in one durable step. Its blobs and layers are on disk already.
    pub(super) fn commit_image(
        &self,
        id: &ImageId,
        raw: Vec<u8>,
        mut record: Record,
        names: &[Reference],
        finished: Option<&str>,
    ) -> Result<(), ImageError> {
        let config = Arc::new(ImageConfig::parse(&raw)?);
        let _commit = self.committing();
        let mut dropped =
            finished.map(|finished| self.0.blobs.held_by(finished)).transpose()?.unwrap_or_default();
        if let Some(known) = self.catalog().images.get(id) {
            dropped.extend(known.record.blobs(id));
            // The same image by another way: what either way brought stays usable.
            for (new, old) in record.layers.iter_mut().zip(&known.record.layers) {
                if new.packed.is_none() {
                    new.packed = old.packed.clone();
                }
                if old.blob.digest != new.blob.digest && self.0.blobs.exists(&old.blob.digest) {
                    new.blob = old.blob.clone();
                }
            }
            record.manifest = record.manifest.or_else(|| known.record.manifest.clone());
            record.parent = record.parent.or_else(|| known.record.parent.clone());
            record.step = record.step.or_else(|| known.record.step.clone());
            record.last_tagged = known.record.last_tagged;
        }
        if !names.is_empty() {
            record.last_tagged = Some(now());
        }
        let leaving = finished.map_or_else(|| format!("replaced/{}", id.hex()), str::to_owned);
        let leaving = self.0.store.write(|transaction| {
            transaction.put(&self.0.records, id.as_str(), &record)?;
            self.0.blobs.hold_in(transaction, &holder(id), &record.blobs(id))?;
            for name in names {
                transaction.put(&self.0.names, &name.canonical(), id)?;
            }
            self.0.blobs.retire_in(transaction, &leaving, &dropped)
        })?;
        failpoint!("image.record.stored");
        self.0.blobs.release(&leaving)?;
        let mut catalog = self.catalog_mut();
        catalog.images.insert(id.clone(), Known { record, config, raw: raw.into() });
        for name in names {
            catalog.names.insert(name.clone(), id.clone());
        }
        Ok(())
    }

    /// Replaces what is recorded about an image, if it is still here.
    pub(super) fn update_record(
        &self,
        id: &ImageId,
        change: impl FnOnce(&mut Record),
    ) -> Result<(), ImageError> {
        let _commit = self.committing();
        let Some(mut known) = self.catalog().images.get(id).cloned() else { return Ok(()) };
        change(&mut known.record);
        self.0.store.write(|transaction| {
            transaction.put(&self.0.records, id.as_str(), &known.record)?;
            self.0.blobs.hold_in(transaction, &holder(id), &known.record.blobs(id))
        })?;
        self.catalog_mut().images.insert(id.clone(), known);
        Ok(())
    }
}

/// What an image's blobs are held by.
pub(super) fn holder(id: &ImageId) -> String {
    format!("image/{}", id.hex())
}

pub(super) fn now() -> i64 {
    chrono::Utc::now().timestamp()
}
