//! Root filesystems of containers: an image's layers with a writable one on top.
//!
//! In the container's directory: `rw/diff` is what the container wrote, `rw/work` is overlay's, `merged` is where
//! the whole is mounted.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{Change, Images, diff, overlay, query::no_such_image};
use crate::{Digest, ImageError, ImageId, digest::chain_ids, removal::remove_tree};

/// Which layers a container's root filesystem needs, whatever becomes of the image.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct RootfsRecord {
    /// `None`: it was made from nothing.
    pub image: Option<ImageId>,
    /// Lowest first.
    pub chains: Vec<Digest>,
}

impl Images {
    /// Makes the writable layer of container `id` in `dir` (made if missing), on top of `image`.
    pub async fn create_rootfs(&self, id: &str, dir: &Path, image: &ImageId) -> Result<(), ImageError> {
        let (images, id, dir, image) = (self.clone(), id.to_owned(), dir.to_owned(), image.clone());
        tokio::task::spawn_blocking(move || {
            images.create_blocking(&id, &dir, Some(&image))?;
            // Programs look for it to tell that they run in a container.
            let mark = dir.join("rw/diff/.dockerenv");
            fs::write(&mark, "").map_err(|error| ImageError::io("writing", &mark, error))
        })
        .await?
    }

    /// The same for files that no container runs on: a build copies into them. Without an image, on nothing.
    pub async fn create_scratch(
        &self,
        id: &str,
        dir: &Path,
        image: Option<&ImageId>,
    ) -> Result<(), ImageError> {
        let (images, id, dir, image) = (self.clone(), id.to_owned(), dir.to_owned(), image.cloned());
        tokio::task::spawn_blocking(move || images.create_blocking(&id, &dir, image.as_ref())).await?
    }

    fn create_blocking(&self, id: &str, dir: &Path, image: Option<&ImageId>) -> Result<(), ImageError> {
        let chains = {
            let _commit = self.committing();
            let chains = match image {
                None => Vec::new(),
                Some(image) => {
                    let catalog = self.catalog();
                    let known = catalog.images.get(image).ok_or_else(|| no_such_image(image.as_str()))?;
                    chain_ids(&known.record.diff_ids())
                }
            };
            let record = RootfsRecord { image: image.cloned(), chains: chains.clone() };
            self.0.rootfs.put(id, &record)?;
            self.catalog_mut().rootfs.insert(id.to_owned(), record);
            chains
        };
        let upper = dir.join("rw/diff");
        for path in [&upper, &dir.join("rw/work"), &dir.join("merged")] {
            fs::create_dir_all(path).map_err(|error| ImageError::io("creating", path, error))?;
        }
        // The writable layer's root is the root that the container sees.
        let (mode, uid, gid) = match chains.last().map(|top| fs::metadata(self.0.layers.diff(top))) {
            Some(Ok(root)) => (root.mode(), root.uid(), root.gid()),
            _ => (0o755, 0, 0),
        };
        let dressed = rustix::fs::chown(
            &upper,
            Some(rustix::fs::Uid::from_raw(uid)),
            Some(rustix::fs::Gid::from_raw(gid)),
        )
        .and_then(|()| rustix::fs::chmod(&upper, rustix::fs::Mode::from_raw_mode(mode)));
        dressed.map_err(|error| ImageError::io("preparing", &upper, error))
    }

    /// Mounts a container's root filesystem at `<dir>/merged` and returns that. Mounted already is fine.
    pub async fn mount_rootfs(&self, id: &str, dir: &Path) -> Result<PathBuf, ImageError> {
        let (images, id, dir) = (self.clone(), id.to_owned(), dir.to_owned());
        tokio::task::spawn_blocking(move || images.mount_blocking(&id, &dir)).await?
    }

    fn mount_blocking(&self, id: &str, dir: &Path) -> Result<PathBuf, ImageError> {
        let merged = dir.join("merged");
        if overlay::is_mounted(&merged)? {
            return Ok(merged);
        }
        let mut lower = self.lower(id)?;
        if lower.is_empty() {
            // An image without layers is an empty directory.
            let empty = dir.join("rw/empty");
            fs::create_dir_all(&empty).map_err(|error| ImageError::io("creating", &empty, error))?;
            lower.push(empty);
        }
        overlay::mount_overlay(&lower, &dir.join("rw/diff"), &dir.join("rw/work"), &merged, true)?;
        Ok(merged)
    }

    /// The directories below the writable one, topmost first.
    pub(super) fn lower(&self, id: &str) -> Result<Vec<PathBuf>, ImageError> {
        let catalog = self.catalog();
        let record = catalog
            .rootfs
            .get(id)
            .ok_or_else(|| ImageError::not_found(format!("container {id} has no root filesystem")))?;
        Ok(record.chains.iter().rev().map(|chain| self.0.layers.diff(chain)).collect())
    }

    /// Unmounts it. Not mounted is fine.
    pub async fn unmount_rootfs(&self, id: &str, dir: &Path) -> Result<(), ImageError> {
        tracing::debug!(container = id, "unmounting the root filesystem");
        let merged = dir.join("merged");
        tokio::task::spawn_blocking(move || overlay::unmount_all(&merged)).await?
    }

    /// Unmounts and removes it. Not there is fine.
    pub async fn remove_rootfs(&self, id: &str, dir: &Path) -> Result<(), ImageError> {
        let (images, id, dir) = (self.clone(), id.to_owned(), dir.to_owned());
        tokio::task::spawn_blocking(move || images.remove_blocking(&id, &dir)).await?
    }

    fn remove_blocking(&self, id: &str, dir: &Path) -> Result<(), ImageError> {
        let merged = dir.join("merged");
        overlay::unmount_all(&merged)?;
        for path in [dir.join("rw"), merged] {
            remove_tree(&path).map_err(|error| ImageError::io("removing", &path, error))?;
        }
        let orphaned = {
            let _commit = self.committing();
            self.0.rootfs.delete(id)?;
            let mut catalog = self.catalog_mut();
            let record = catalog.rootfs.remove(id);
            record.and_then(|record| record.image).is_some_and(|image| !catalog.images.contains_key(&image))
        };
        if orphaned {
            // The image was removed by force while the container still needed its layers.
            self.collect_layers()?;
        }
        Ok(())
    }

    /// How a container's files differ from its image's, sorted by path.
    pub async fn changes(&self, id: &str, dir: &Path) -> Result<Vec<Change>, ImageError> {
        let lower = self.lower(id)?;
        let upper = dir.join("rw/diff");
        tokio::task::spawn_blocking(move || diff::changes(&upper, &lower)).await?
    }

    /// Bytes that a container wrote, and bytes of its image's layers. Blocks for as long as walking takes.
    pub fn rootfs_size(&self, id: &str, dir: &Path) -> Result<(u64, u64), ImageError> {
        let below = {
            let catalog = self.catalog();
            let record = catalog.rootfs.get(id);
            record.map_or(0, |record| {
                record
                    .chains
                    .iter()
                    .filter_map(|chain| self.0.layers.get(chain))
                    .map(|layer| layer.size)
                    .sum()
            })
        };
        Ok((diff::size(&dir.join("rw/diff"))?, below))
    }

    /// The containers whose root filesystems are here, with the images that they were made from.
    pub fn rootfs_list(&self) -> Vec<(String, ImageId)> {
        self.catalog()
            .rootfs
            .iter()
            .filter_map(|(id, record)| Some((id.clone(), record.image.clone()?)))
            .collect()
    }
}
