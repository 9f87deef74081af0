//! Images into registries.

use std::io::{self, Write as _};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::json;

use super::{
    Images, Pushed,
    catalog::{Known, RecordLayer},
    query::no_such_image,
};
use crate::{
    Auth, Descriptor, ImageError, ImageId, Manifest, Progress, Reference, Scope,
    archive::{Limits, inflate},
    manifest::{
        DOCKER_CONFIG, DOCKER_LAYER, DOCKER_MANIFEST, MAX_MANIFEST, OCI_CONFIG, OCI_LAYER, OCI_MANIFEST,
    },
};

/// The same level always, so that packing the same layer again gives the same blob.
const LEVEL: u32 = 6;

impl Images {
    /// Pushes the image of that name. An image that came from a registry goes out with its own manifest; another
    /// gets a Docker schema 2 manifest with gzipped layers.
    pub async fn push(
        &self,
        reference: &Reference,
        auth: &Auth,
        progress: &Progress,
    ) -> Result<Pushed, ImageError> {
        if reference.digest().is_some() {
            return Err(ImageError::invalid("cannot push a digest reference"));
        }
        let reference = reference.clone().or_latest();
        let tag = reference.tag().unwrap_or_default().to_owned();
        let _work = self.work();
        let (id, known) = {
            let catalog = self.catalog();
            let id = catalog.names.get(&reference).ok_or_else(|| {
                ImageError::not_found(format!(
                    "An image does not exist locally with the tag: {}",
                    reference.familiar_name()
                ))
            })?;
            (id.clone(), catalog.images.get(id).cloned().ok_or_else(|| no_such_image(id.as_str()))?)
        };
        let repository = format!("{}/{}", reference.domain(), reference.path());
        progress.message(format!("The push refers to repository [{repository}]"));
        for layer in known.record.layers.iter().rev() {
            progress.status(layer.diff_id.short(), "Preparing");
        }
        let (manifest, bytes) = self.manifest(&id, &known).await?;
        let uploads = self.options().max_concurrent_uploads.max(1);
        // Owned, since rustc cannot see that a future over pairs of borrows is `Send`.
        let layers = manifest.layers.iter().zip(&known.record.layers);
        let layers: Vec<_> =
            layers.map(|(blob, layer)| (blob.digest.clone(), layer.diff_id.short().to_owned())).collect();
        stream::iter(layers.into_iter().map(|(digest, shown)| {
            let reference = &reference;
            async move {
                self.0.registry.upload(reference, auth, Scope::Repository, &digest, &shown, progress).await
            }
        }))
        .buffer_unordered(uploads)
        .try_collect::<Vec<bool>>()
        .await?;
        let config = &manifest.config.digest;
        self.0.registry.push_blob(&reference, auth, Scope::Repository, config, &Progress::none()).await?;
        let digest = self
            .0
            .registry
            .push_manifest(&reference, auth, Scope::Repository, &manifest.media_type, &bytes)
            .await?;
        let size = bytes.len() as u64;
        progress.message(format!("{tag}: digest: {digest} size: {size}"));
        progress.aux(json!({ "Tag": tag, "Digest": digest, "Size": size }));
        self.name_pushed(&id, reference.with_digest(digest.clone()))?;
        Ok(Pushed { tag, digest, size })
    }

    /// What was pushed can be asked for by its digest from now on.
    fn name_pushed(&self, id: &ImageId, name: Reference) -> Result<(), ImageError> {
        let _commit = self.committing();
        let mut catalog = self.catalog_mut();
        if catalog.images.contains_key(id) {
            self.0.names.put(&name.canonical(), id)?;
            catalog.names.insert(name, id.clone());
        }
        Ok(())
    }

    async fn manifest(&self, id: &ImageId, known: &Known) -> Result<(Manifest, Vec<u8>), ImageError> {
        if let Some(own) = &known.record.manifest
            && let Ok(bytes) = self.0.blobs.read(&own.digest, MAX_MANIFEST)
        {
            let manifest = Manifest::parse(&bytes)?;
            let here = |blob: &Descriptor| self.0.blobs.exists(&blob.digest);
            if here(&manifest.config) && manifest.layers.iter().all(here) {
                return Ok((manifest, bytes));
            }
        }
        let mut layers = Vec::new();
        for layer in &known.record.layers {
            layers.push(self.packed(id, layer).await?);
        }
        // Docker's manifest has no word for zstd.
        let docker = layers.iter().all(|layer| layer.media_type == DOCKER_LAYER);
        if !docker {
            for layer in layers.iter_mut().filter(|layer| layer.media_type == DOCKER_LAYER) {
                layer.media_type = format!("{OCI_LAYER}+gzip");
            }
        }
        let manifest = Manifest {
            schema_version: 2,
            media_type: if docker { DOCKER_MANIFEST } else { OCI_MANIFEST }.to_owned(),
            config: Descriptor::new(
                if docker { DOCKER_CONFIG } else { OCI_CONFIG },
                id.digest().clone(),
                known.raw.len() as u64,
            ),
            layers,
        };
        let bytes =
            serde_json::to_vec_pretty(&manifest).map_err(|error| ImageError::internal(error.to_string()))?;
        Ok((manifest, bytes))
    }

    /// A layer as registries want it: packed already, or packed now and remembered.
    async fn packed(&self, id: &ImageId, layer: &RecordLayer) -> Result<Descriptor, ImageError> {
        if let Some(packed) = layer.packed.as_ref().filter(|packed| self.0.blobs.exists(&packed.digest)) {
            return Ok(packed.clone());
        }
        let images = self.clone();
        let (id, layer) = (id.clone(), layer.clone());
        tokio::task::spawn_blocking(move || {
            let actual = super::load::describe(&images.0.blobs, &layer.blob.digest)?;
            if actual.media_type != OCI_LAYER {
                return Ok(actual);
            }
            let mut arrivals = images.0.blobs.arrivals();
            let file = images.0.blobs.open(&layer.blob.digest)?;
            let (writer, _) = inflate(file, &Limits::LAYER, |tar| {
                let writer = io::BufWriter::with_capacity(1 << 20, images.0.blobs.writer()?);
                let mut packer = flate2::GzBuilder::new().write(writer, flate2::Compression::new(LEVEL));
                io::copy(tar, &mut packer).map_err(failed)?;
                let mut writer = packer.finish().map_err(failed)?;
                writer.flush().map_err(failed)?;
                writer.into_inner().map_err(|error| failed(error.into_error()))
            })?;
            let (digest, size) = arrivals.commit(writer)?;
            let packed = Descriptor::new(DOCKER_LAYER, digest, size);
            images.update_record(&id, |record| {
                for known in record.layers.iter_mut().filter(|known| known.diff_id == layer.diff_id) {
                    known.packed = Some(packed.clone());
                }
            })?;
            Ok(packed)
        })
        .await?
    }
}

fn failed(error: io::Error) -> ImageError {
    ImageError::internal(format!("packing a layer: {error}")).because(error)
}
