//! Removing what nobody asked to keep.

use super::{Images, Removed};
use crate::{ImageError, ImageId};

impl Images {
    /// Removes images without a tag (or, if not `dangling_only`, all) that `keep` does not want, and what
    /// interrupted pulls left. Returns the bytes freed.
    pub async fn prune(
        &self,
        dangling_only: bool,
        keep: &(dyn Fn(&ImageId) -> bool + Send + Sync),
    ) -> Result<(Vec<Removed>, u64), ImageError> {
        let mut removed = Vec::new();
        let mut gone = Vec::new();
        let before = self.disk_usage()?.layers_size;
        loop {
            // Removing a child may leave its parent without a reason to stay.
            let round: Vec<ImageId> = self
                .list()?
                .into_iter()
                .filter(|image| !dangling_only || image.repo_tags.is_empty() && image.repo_digests.is_empty())
                .map(|image| image.id)
                .filter(|id| !self.has_children(id) && !keep(id))
                .collect();
            if round.is_empty() {
                break;
            }
            for id in round {
                gone.push(self.forget(&id, &mut removed)?);
            }
        }
        let removed = self.sweep(gone, removed).await?;
        let images = self.clone();
        let leftovers = tokio::task::spawn_blocking(move || images.drop_unfinished()).await??;
        let freed = before.saturating_sub(self.disk_usage()?.layers_size);
        Ok((removed, freed + leftovers))
    }

    /// Gives up pulls that never came to an end.
    fn drop_unfinished(&self) -> Result<u64, ImageError> {
        if self.working().count > 0 {
            return Ok(0);
        }
        let mut freed = 0;
        for holder in
            self.0.blobs.holders()?.into_keys().filter(|holder| holder.starts_with(super::pull::UNFINISHED))
        {
            freed += self.give_up(&holder)?;
        }
        Ok(freed + self.0.blobs.clear_partial()?)
    }

    /// Gives up one pull, with what it had unpacked. Returns the bytes freed.
    pub(super) fn give_up(&self, unfinished: &str) -> Result<u64, ImageError> {
        let freed = self.0.blobs.release(unfinished)?;
        let layers = self.collect_layers()?;
        Ok(freed + layers.iter().map(|(_, size)| size).sum::<u64>())
    }
}
