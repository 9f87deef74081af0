//! Images as mounts: their files, read-only, each at a root of its own below the container's directory.

use std::path::{Path, PathBuf};

use pintle_image::ImageId;

use crate::{
    EngineError,
    containers::{
        Container, MountKind, MountPoint,
        service::{Shared, blocking},
    },
};

/// Where such roots are, in the container's directory.
const DIR: &str = "images";

impl Shared {
    /// Finds the images that mounts name, before anything is made.
    pub(in crate::containers) fn find_images(&self, points: &mut [MountPoint]) -> Result<(), EngineError> {
        for point in points.iter_mut().filter(|point| point.kind == MountKind::Image) {
            let name = point.name.as_deref().unwrap_or_default();
            point.image = self.images.get(name)?.id.to_string();
        }
        Ok(())
    }

    /// Makes the roots of a new container's images.
    pub(in crate::containers) async fn make_images(&self, container: &Container) -> Result<(), EngineError> {
        for (id, dir, point) in self.image_roots(container) {
            let path = dir.clone();
            blocking(move || Ok(std::fs::create_dir_all(path)?)).await?;
            let image: ImageId = point.image.parse()?;
            self.images.create_scratch(&id, &dir, Some(&image)).await?;
        }
        Ok(())
    }

    /// Mounts one.
    pub(in crate::containers) async fn mount_image(
        &self,
        container: &Container,
        wanted: &MountPoint,
    ) -> Result<PathBuf, EngineError> {
        let mut roots = self.image_roots(container).into_iter();
        let found = roots.find(|(_, _, point)| point.destination == wanted.destination);
        let (id, dir, _) = found.ok_or_else(|| EngineError::internal("an image mount without a root"))?;
        Ok(self.images.mount_rootfs(&id, &dir).await?)
    }

    /// Unmounts all of a container's.
    pub(in crate::containers) async fn unmount_images(&self, container: &Container) {
        for (id, dir, _) in self.image_roots(container) {
            if let Err(error) = self.images.unmount_rootfs(&id, &dir).await {
                tracing::warn!(root = %id, %error, "an image's files could not be unmounted");
            }
        }
    }

    /// Removes all that there are, whether or not anybody remembers their container.
    pub(in crate::containers) async fn remove_images(&self, id: &str) -> Result<(), EngineError> {
        let dir = self.dir(id).join(DIR);
        let path = dir.clone();
        let names = blocking(move || {
            let Ok(entries) = std::fs::read_dir(path) else { return Ok(Vec::new()) };
            Ok(entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect::<Vec<_>>())
        })
        .await?;
        for name in names {
            self.images.remove_rootfs(&root_id(id, &name), &dir.join(&name)).await?;
        }
        Ok(())
    }

    fn image_roots<'c>(&self, container: &'c Container) -> Vec<(String, PathBuf, &'c MountPoint)> {
        let dir: &Path = &self.dir(&container.id).join(DIR);
        let images = container.mounts.iter().filter(|point| point.kind == MountKind::Image);
        images
            .enumerate()
            .map(|(at, point)| (root_id(&container.id, &at.to_string()), dir.join(at.to_string()), point))
            .collect()
    }
}

fn root_id(container: &str, name: &str) -> String {
    format!("{container}-image-{name}")
}
