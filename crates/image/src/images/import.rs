//! An image of one layer from a root filesystem.

use std::io::{self, Read};

use pintle_store::failpoint;
use tokio::io::AsyncRead;
use tokio_util::io::SyncIoBridge;

use super::{
    Images,
    catalog::{Record, RecordLayer},
    instructions::apply_instructions,
};
use crate::{
    ContainerConfig, ImageConfig, ImageError, ImageId, Platform, Progress, Reference,
    blobs::Arrivals,
    config::{History, RootFs},
    error::is_full,
};

impl Images {
    /// Makes an image of one layer from a tar of a root filesystem, packed or not. `changes` are Dockerfile
    /// instructions. Reports the new ID, as Docker does, and nothing before it.
    pub async fn import(
        &self,
        tar: impl AsyncRead + Send + Unpin + 'static,
        reference: Option<&Reference>,
        changes: &[String],
        message: &str,
        platform: Option<&Platform>,
        progress: &Progress,
    ) -> Result<ImageId, ImageError> {
        if reference.is_some_and(|reference| reference.digest().is_some()) {
            return Err(ImageError::invalid("cannot import digest reference"));
        }
        let mut config = ContainerConfig::default();
        apply_instructions(&mut config, changes)?;
        let images = self.clone();
        let name = reference.cloned().map(Reference::or_latest);
        let message = message.to_owned();
        let platform = platform.cloned().unwrap_or_else(|| Platform { variant: None, ..Platform::host() });
        let progress = progress.clone();
        let reader = SyncIoBridge::new(tar);
        tokio::task::spawn_blocking(move || {
            images.import_blocking(reader, name, config, message, platform, &progress)
        })
        .await?
    }

    fn import_blocking(
        &self,
        mut reader: impl Read,
        name: Option<Reference>,
        config: ContainerConfig,
        message: String,
        platform: Platform,
        progress: &Progress,
    ) -> Result<ImageId, ImageError> {
        let _work = self.work();
        let mut writer = self.0.blobs.writer()?;
        let mut buffer = vec![0; 256 << 10];
        loop {
            let count = reader.read(&mut buffer).map_err(failed)?;
            if count == 0 {
                break;
            }
            io::Write::write_all(&mut writer, &buffer[..count]).map_err(failed)?;
        }
        let mut arrivals = self.0.blobs.arrivals();
        let (blob, _) = arrivals.commit(writer)?;
        failpoint!("image.import.arrived");
        let id = self.make(&blob, name, config, message, platform, &mut arrivals)?;
        progress.message(id.to_string());
        Ok(id)
    }

    fn make(
        &self,
        blob: &crate::Digest,
        name: Option<Reference>,
        config: ContainerConfig,
        message: String,
        platform: Platform,
        arrivals: &mut Arrivals,
    ) -> Result<ImageId, ImageError> {
        let (unplaced, descriptor) = self.unpack_blob(blob, Progress::none().bar("", "", None))?;
        let diff_id = unplaced.layer.diff_id.clone();
        let record =
            Record { layers: vec![RecordLayer::new(&unplaced.layer, descriptor)], ..Record::default() };
        self.0.layers.place(unplaced, &diff_id)?;
        self.0.layers.flush()?;
        failpoint!("image.import.placed");
        let created = Some(chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Nanos, true));
        let config = ImageConfig {
            created: created.clone(),
            architecture: platform.architecture,
            variant: platform.variant,
            os: platform.os,
            comment: message.clone(),
            config,
            rootfs: RootFs { kind: "layers".to_owned(), diff_ids: vec![diff_id] },
            history: vec![History { created, comment: message, ..History::default() }],
            ..ImageConfig::default()
        };
        let raw = serde_json::to_vec(&config).map_err(|error| ImageError::internal(error.to_string()))?;
        let id = ImageId::from(arrivals.put(&raw)?);
        self.commit_image(&id, raw, record, name.as_slice(), None)?;
        Ok(id)
    }
}

fn failed(error: io::Error) -> ImageError {
    // What breaks off is the sender's affair; a disk that is full is not.
    if is_full(&error) {
        return ImageError::internal(format!("storing the archive: {error}")).because(error);
    }
    ImageError::invalid(format!("reading the archive: {error}")).because(error)
}
