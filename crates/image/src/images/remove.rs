//! Removing names and images, with Docker's rules about what stands in the way.

use pintle_store::failpoint;

use super::{
    Holder, Images, Removed,
    catalog::holder,
    query::{find, is_id_prefix},
};
use crate::{ImageError, ImageId, Reference, digest::chain_ids};

type InUse<'a> = dyn Fn(&ImageId) -> Vec<Holder> + Send + Sync + 'a;

impl Images {
    /// Removes a name, and the image with its last name. `in_use` lists the containers made from an image; a
    /// plain ID counts as a stopped one. With `prune`, parents that are left without a name go too.
    pub async fn remove<H: Into<Holder>>(
        &self,
        name: &str,
        force: bool,
        prune: bool,
        in_use: &(dyn Fn(&ImageId) -> Vec<H> + Send + Sync),
    ) -> Result<Vec<Removed>, ImageError> {
        let in_use = |id: &ImageId| in_use(id).into_iter().map(Into::into).collect::<Vec<Holder>>();
        // Deciding is quick and happens here, where `in_use` may borrow; what takes time happens elsewhere.
        let mut removed = Vec::new();
        let gone = self.decide(name, force, prune, &in_use, &mut removed)?;
        self.sweep(gone, removed).await
    }

    /// Removes the layers and blobs of images that are no longer recorded.
    pub(super) async fn sweep(
        &self,
        gone: Vec<Gone>,
        mut removed: Vec<Removed>,
    ) -> Result<Vec<Removed>, ImageError> {
        if gone.is_empty() {
            return Ok(removed);
        }
        failpoint!("image.remove.forgotten");
        let images = self.clone();
        tokio::task::spawn_blocking(move || {
            for gone in &gone {
                images.0.blobs.release(&gone.holder)?;
            }
            failpoint!("image.remove.released");
            let mut layers = images.collect_layers()?;
            for gone in &gone {
                for chain in gone.chains.iter().rev() {
                    if let Some(at) = layers.iter().position(|(removed, _)| removed == chain) {
                        layers.swap_remove(at);
                        removed.push(Removed::Layer(chain.to_string()));
                    }
                }
            }
            Ok(removed)
        })
        .await?
    }

    fn decide(
        &self,
        name: &str,
        force: bool,
        prune: bool,
        in_use: &InUse<'_>,
        removed: &mut Vec<Removed>,
    ) -> Result<Vec<Gone>, ImageError> {
        let id = find(&self.catalog(), name)?;
        let names = self.catalog().names_of(&id);
        let users = in_use(&id);
        let by_id = is_id_prefix(&id, name);
        if by_id {
            if !is_single(&names) && !force {
                return Err(cannot_delete(
                    &id,
                    "must be forced",
                    "image is referenced in multiple repositories",
                ));
            }
            self.check(&id, force, &users)?;
        } else {
            let typed: Reference = name.parse()?;
            let wanted = match typed.digest() {
                Some(digest) => typed.with_digest(digest.clone()),
                None => typed.clone().or_latest(),
            };
            if is_single(&names) {
                if let Some(user) = users.first().filter(|_| !force) {
                    return Err(ImageError::conflict(format!(
                        "conflict: unable to remove repository reference \"{name}\" (must force) - container {} is \
                         using its referenced image {}",
                        short(&user.container),
                        id.short()
                    )));
                }
                // Force untags an image that a running container uses, and keeps the image.
                if let Err(error) = self.check(&id, force, &users) {
                    if users.iter().any(|user| user.running) {
                        return Err(error);
                    }
                    tracing::debug!(%error, "an image stays because of its children");
                }
            }
            // By its own digest it goes by all its names of that repository.
            let own_digest = wanted.digest() == Some(id.digest());
            // With its last tag, a repository's digests lose their meaning.
            let last_tag = wanted.digest().is_none()
                && !names.iter().any(|name| {
                    *name != wanted && name.digest().is_none() && name.repository() == wanted.repository()
                });
            let untag: Vec<Reference> = names
                .iter()
                .filter(|name| {
                    **name == wanted
                        || own_digest && name.repository() == wanted.repository()
                        || last_tag && name.digest().is_some() && name.repository() == wanted.repository()
                })
                .cloned()
                .collect();
            self.untag(&untag, removed)?;
            if untag.len() < names.len() {
                return Ok(Vec::new());
            }
            if self.has_children(&id) {
                return Ok(Vec::new());
            }
        }
        let mut gone = vec![self.forget(&id, removed)?];
        let mut parent = gone.first().and_then(|gone| gone.parent.clone());
        while let Some(id) = parent.take().filter(|_| prune) {
            let catalog = self.catalog();
            if !catalog.images.contains_key(&id) || !catalog.names_of(&id).is_empty() {
                break;
            }
            drop(catalog);
            if self.has_children(&id) || !in_use(&id).is_empty() {
                break;
            }
            let next = self.forget(&id, removed)?;
            parent = next.parent.clone();
            gone.push(next);
        }
        Ok(gone)
    }

    /// What keeps an image from being removed even though its names may go.
    fn check(&self, id: &ImageId, force: bool, users: &[Holder]) -> Result<(), ImageError> {
        if self.has_children(id) {
            return Err(cannot_delete(id, "cannot be forced", "image has dependent child images"));
        }
        if let Some(user) = users.iter().find(|user| user.running) {
            let why = format!("image is being used by running container {}", short(&user.container));
            return Err(cannot_delete(id, "cannot be forced", &why));
        }
        if let Some(user) = users.first().filter(|_| !force) {
            let why = format!("image is being used by stopped container {}", short(&user.container));
            return Err(cannot_delete(id, "must be forced", &why));
        }
        Ok(())
    }

    pub(super) fn has_children(&self, id: &ImageId) -> bool {
        self.catalog().images.values().any(|known| known.record.parent.as_ref() == Some(id))
    }

    fn untag(&self, names: &[Reference], removed: &mut Vec<Removed>) -> Result<(), ImageError> {
        let _commit = self.committing();
        self.0.store.write(|transaction| {
            names.iter().try_for_each(|name| transaction.delete(&self.0.names, &name.canonical()))
        })?;
        let mut catalog = self.catalog_mut();
        for name in names {
            catalog.names.remove(name);
            removed.push(Removed::Untagged(name.familiar()));
        }
        Ok(())
    }

    /// Removes an image's record and all its names in one durable step.
    pub(super) fn forget(&self, id: &ImageId, removed: &mut Vec<Removed>) -> Result<Gone, ImageError> {
        let _commit = self.committing();
        let names = self.catalog().names_of(id);
        let blobs = self.catalog().images.get(id).map(|known| known.record.blobs(id)).unwrap_or_default();
        let leaving = self.0.store.write(|transaction| {
            names.iter().try_for_each(|name| transaction.delete(&self.0.names, &name.canonical()))?;
            transaction.delete(&self.0.records, id.as_str())?;
            self.0.blobs.retire_in(transaction, &holder(id), &blobs)
        })?;
        let mut catalog = self.catalog_mut();
        for name in &names {
            catalog.names.remove(name);
            removed.push(Removed::Untagged(name.familiar()));
        }
        removed.push(Removed::Deleted(id.to_string()));
        let known = catalog.images.remove(id);
        Ok(Gone {
            holder: leaving,
            chains: known.as_ref().map(|known| chain_ids(&known.record.diff_ids())).unwrap_or_default(),
            parent: known.and_then(|known| known.record.parent),
        })
    }
}

/// What an image that is no longer recorded leaves behind.
pub(super) struct Gone {
    /// Holds its blobs until they are removed.
    holder: String,
    chains: Vec<crate::Digest>,
    parent: Option<ImageId>,
}

/// Docker's idea of an image with one name: at most one tag, and digests of that repository only.
fn is_single(names: &[Reference]) -> bool {
    let tags = names.iter().filter(|name| name.digest().is_none()).count();
    names.len() <= 1 || tags <= 1 && names.iter().all(|name| name.repository() == names[0].repository())
}

fn cannot_delete(id: &ImageId, how: &str, why: &str) -> ImageError {
    ImageError::conflict(format!("conflict: unable to delete {} ({how}) - {why}", id.short()))
}

fn short(container: &str) -> &str {
    container.get(..12).unwrap_or(container)
}
