//! A root file system without a container.

use std::path::{Path, PathBuf};

use pintle_image::{Commit, ImageId};

use super::Builder;
use crate::{
    EngineError,
    containers::{blocking, new_id},
};

/// An image's files with a writable layer on top, mounted. Dropped, all of it goes away.
pub(super) struct Scratch {
    builder: Builder,
    id: String,
    dir: PathBuf,
    root: PathBuf,
}

impl Scratch {
    /// Mounts one on an image, or on nothing.
    pub async fn open(builder: &Builder, image: Option<&ImageId>) -> Result<Self, EngineError> {
        let id = new_id();
        let dir = builder.0.containers.dir(&id);
        // The directory first: what has one and no record is swept after a crash.
        let path = dir.clone();
        blocking(move || Ok(std::fs::create_dir_all(path)?)).await?;
        let mut scratch = Self { builder: builder.clone(), id, dir, root: PathBuf::new() };
        let images = &builder.0.images;
        images.create_scratch(&scratch.id, &scratch.dir, image).await?;
        scratch.root = images.mount_rootfs(&scratch.id, &scratch.dir).await?;
        Ok(scratch)
    }

    /// Where its files are.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// An image of what was written.
    pub async fn commit(&self, commit: Commit) -> Result<ImageId, EngineError> {
        Ok(self.builder.0.images.commit_rootfs(&self.id, &self.dir, commit).await?)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let (images, id, dir) =
            (self.builder.0.images.clone(), std::mem::take(&mut self.id), std::mem::take(&mut self.dir));
        self.builder.0.tracker.spawn(async move {
            let removed = images.remove_rootfs(&id, &dir).await;
            let removed = match removed {
                Ok(()) => blocking(move || Ok(std::fs::remove_dir_all(dir)?)).await,
                Err(error) => Err(error.into()),
            };
            if let Err(error) = removed {
                tracing::warn!(scratch = %id, %error, "files of a build stay until the next start");
            }
        });
    }
}
