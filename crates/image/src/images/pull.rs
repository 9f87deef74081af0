//! Images from registries.

use std::sync::Arc;

use tokio::{sync::Semaphore, task::JoinSet};

use super::{
    Images, Pulled,
    catalog::{Record, RecordLayer},
};
use crate::{
    Auth, Descriptor, Digest, ErrorKind, ImageConfig, ImageError, ImageId, Platform, Progress, Reference,
    Resolved, Scope,
    digest::chain_ids,
    manifest::{DOCKER_PLUGIN_CONFIG, MAX_CONFIG},
};
use pintle_store::failpoint;

/// Whose name begins so holds the blobs of a pull that has not come to its end, until it is tried again or pruned.
pub(super) const UNFINISHED: &str = "unfinished/";
/// Unpacking is mostly waiting for the disk; more at once only makes it seek.
const UNPACKING_AT_ONCE: usize = 2;

impl Images {
    /// Pulls an image for `platform` (this machine, if not given). What an interrupted pull had downloaded is not
    /// downloaded again.
    pub async fn pull(
        &self,
        reference: &Reference,
        platform: Option<&Platform>,
        auth: &Auth,
        progress: &Progress,
    ) -> Result<Pulled, ImageError> {
        let reference = reference.clone().or_latest();
        let shown = match reference.digest() {
            Some(digest) => digest.to_string(),
            None => reference.tag().unwrap_or_default().to_owned(),
        };
        let work = self.work();
        let resolved = self.0.registry.resolve(&reference, auth, Scope::Repository, platform).await?;
        progress.status(&shown, format!("Pulling from {}", reference.path()));
        let finished = format!("{UNFINISHED}{}", resolved.manifest_digest.hex());
        let arrived = self.pull_content(&reference, auth, &resolved, platform, &finished, progress).await;
        let (raw, layers) = match arrived {
            Err(error) if error.is_full() => {
                // What would spare the next try some work keeps everybody else from working.
                drop(work);
                let images = self.clone();
                if let Err(left) = tokio::task::spawn_blocking(move || images.give_up(&finished)).await? {
                    tracing::warn!(%left, "what was pulled onto a full disk stays for now");
                }
                return Err(error);
            }
            arrived => arrived?,
        };
        let id = ImageId::from(resolved.manifest.config.digest.clone());
        let mut names = vec![reference.with_digest(resolved.digest.clone())];
        if reference.digest().is_none() {
            names.push(reference.clone());
        }
        let newer = {
            let catalog = self.catalog();
            names.iter().any(|name| catalog.names.get(name) != Some(&id))
        };
        let images = self.clone();
        let image = id.clone();
        let bytes = resolved.manifest_bytes;
        let media_type = resolved.media_type;
        tokio::task::spawn_blocking(move || {
            let manifest = Descriptor::new(&media_type, images.0.blobs.put(&bytes)?, bytes.len() as u64);
            images.0.layers.flush()?;
            let record = Record { layers, manifest: Some(manifest), ..Record::default() };
            failpoint!("image.pull.complete");
            images.commit_image(&image, raw, record, &names, Some(&finished))?;
            failpoint!("image.pull.committed");
            drop(work);
            Ok::<_, ImageError>(())
        })
        .await??;
        progress.message(format!("Digest: {}", resolved.digest));
        let what = if newer { "Downloaded newer image for" } else { "Image is up to date for" };
        progress.message(format!("Status: {what} {}", reference.familiar()));
        Ok(Pulled { id, digest: resolved.digest, newer })
    }

    /// Fetches everything: the configuration as it is, and the layers, unpacked.
    async fn pull_content(
        &self,
        reference: &Reference,
        auth: &Auth,
        resolved: &Resolved,
        platform: Option<&Platform>,
        finished: &str,
        progress: &Progress,
    ) -> Result<(Vec<u8>, Vec<RecordLayer>), ImageError> {
        let (raw, config) = self.pull_config(reference, auth, resolved, platform, finished).await?;
        failpoint!("image.pull.accepted");
        Ok((raw, self.pull_layers(reference, auth, resolved, &config, progress).await?))
    }

    /// Fetches the configuration, and refuses what is not an image for here before anything large moves.
    async fn pull_config(
        &self,
        reference: &Reference,
        auth: &Auth,
        resolved: &Resolved,
        platform: Option<&Platform>,
        finished: &str,
    ) -> Result<(Vec<u8>, ImageConfig), ImageError> {
        let manifest = &resolved.manifest;
        if manifest.config.media_type == DOCKER_PLUGIN_CONFIG {
            return Err(ImageError::invalid(format!(
                "Encountered remote \"{DOCKER_PLUGIN_CONFIG}\"(plugin) when fetching"
            )));
        }
        if manifest.config.size > MAX_CONFIG {
            return Err(ImageError::corrupt(format!(
                "image configuration is larger than {MAX_CONFIG} bytes"
            )));
        }
        if let Some(layer) = manifest.layers.iter().find(|layer| !layer.urls.is_empty()) {
            return Err(ImageError::unsupported(format!(
                "layer {} is to be fetched from another place than its registry, which this engine refuses",
                layer.digest
            )));
        }
        let mut wanted: Vec<Digest> = manifest.layers.iter().map(|layer| layer.digest.clone()).collect();
        wanted.extend([manifest.config.digest.clone(), resolved.manifest_digest.clone()]);
        self.0.blobs.hold(finished, &wanted)?;
        self.0
            .registry
            .fetch(reference, auth, Scope::Repository, &manifest.config, &Progress::none())
            .await?;
        let raw = self.0.blobs.read(&manifest.config.digest, MAX_CONFIG)?;
        let config = ImageConfig::parse(&raw)?;
        let (is, host) = (config.platform(), Platform::host());
        let wanted = platform.unwrap_or(&host);
        if wanted.accepts(&is).is_none() {
            return Err(ImageError::new(
                ErrorKind::NotFound,
                format!(
                    "image with reference {} was found but its platform ({is}) does not match the specified platform ({wanted})",
                    reference.familiar()
                ),
            ));
        }
        if config.rootfs.diff_ids.len() != manifest.layers.len() {
            return Err(ImageError::corrupt(format!(
                "invalid manifest, layers length mismatch: expected {}, got {}",
                config.rootfs.diff_ids.len(),
                manifest.layers.len()
            )));
        }
        Ok((raw, config))
    }

    /// Fetches and unpacks the layers, side by side.
    async fn pull_layers(
        &self,
        reference: &Reference,
        auth: &Auth,
        resolved: &Resolved,
        config: &ImageConfig,
        progress: &Progress,
    ) -> Result<Vec<RecordLayer>, ImageError> {
        let diff_ids = &config.rootfs.diff_ids;
        let mut layers: Vec<Option<RecordLayer>> = vec![None; diff_ids.len()];
        let mut tasks = JoinSet::new();
        let unpacking = Arc::new(Semaphore::new(UNPACKING_AT_ONCE));
        for (at, (chain, descriptor)) in
            chain_ids(diff_ids).into_iter().zip(&resolved.manifest.layers).enumerate()
        {
            let short = descriptor.digest.short();
            let known = self.catalog().blob_of(&diff_ids[at], &self.0.blobs);
            if self.0.layers.get(&chain).is_some()
                && let Some(known) = known
            {
                progress.status(short, "Already exists");
                layers[at] = Some(known);
                continue;
            }
            progress.status(short, "Pulling fs layer");
            let job = LayerJob {
                images: self.clone(),
                reference: reference.clone(),
                auth: auth.clone(),
                descriptor: descriptor.clone(),
                diff_id: diff_ids[at].clone(),
                chain,
                progress: progress.clone(),
                unpacking: unpacking.clone(),
            };
            tasks.spawn(async move { Ok::<_, ImageError>((at, job.run().await?)) });
        }
        // Dropping the set on an error or a cancelled pull ends the others.
        while let Some(done) = tasks.join_next().await {
            let (at, layer) = done??;
            layers[at] = Some(layer);
        }
        layers
            .into_iter()
            .collect::<Option<_>>()
            .ok_or_else(|| ImageError::internal("a layer was not pulled"))
    }
}

struct LayerJob {
    images: Images,
    reference: Reference,
    auth: Auth,
    descriptor: Descriptor,
    diff_id: Digest,
    chain: Digest,
    progress: Progress,
    unpacking: Arc<Semaphore>,
}

impl LayerJob {
    async fn run(self) -> Result<RecordLayer, ImageError> {
        let Self { images, reference, auth, descriptor, diff_id, chain, progress, unpacking } = self;
        images.0.registry.fetch(&reference, &auth, Scope::Repository, &descriptor, &progress).await?;
        failpoint!("image.pull.fetched");
        let _permit = unpacking.acquire_owned().await;
        let lock = images.0.layers.lock(&chain).await;
        tokio::task::spawn_blocking(move || {
            let _lock = lock;
            let short = descriptor.digest.short();
            if let Some(layer) = images.0.layers.get(&chain)
                && images
                    .catalog()
                    .blob_of(&diff_id, &images.0.blobs)
                    .is_some_and(|known| known.blob.digest == descriptor.digest)
            {
                progress.status(short, "Already exists");
                return Ok(RecordLayer::new(&layer, descriptor));
            }
            let bar = progress.bar(short, "Extracting", Some(descriptor.size));
            let (unplaced, _) = images.unpack_blob(&descriptor.digest, bar)?;
            if unplaced.layer.diff_id != diff_id {
                return Err(ImageError::corrupt(format!(
                    "layer {} unpacks to {}, and the image's configuration says {diff_id}",
                    descriptor.digest, unplaced.layer.diff_id
                )));
            }
            let record = RecordLayer::new(
                &unplaced.layer,
                Descriptor { annotations: Default::default(), ..descriptor.clone() },
            );
            failpoint!("image.pull.unpacked");
            images.0.layers.place(unplaced, &chain)?;
            failpoint!("image.pull.placed");
            progress.status(short, "Pull complete");
            Ok(record)
        })
        .await?
    }
}
