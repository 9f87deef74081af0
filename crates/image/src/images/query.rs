//! Reading: list, get, history, disk usage; and naming.

use std::collections::{HashMap, HashSet};

use super::{
    Images,
    catalog::{Catalog, Known, now},
    types::{HistoryEntry, Image, Usage},
};
use crate::{Digest, ImageError, ImageId, Reference, digest::chain_ids};

impl Images {
    /// Every image, newest first.
    pub fn list(&self) -> Result<Vec<Image>, ImageError> {
        let catalog = self.catalog();
        let mut names: HashMap<&ImageId, Vec<&Reference>> = HashMap::new();
        for (name, id) in &catalog.names {
            names.entry(id).or_default().push(name);
        }
        let none = Vec::new();
        let mut images: Vec<Image> = catalog
            .images
            .iter()
            .map(|(id, known)| self.describe(id, known, names.get(id).unwrap_or(&none)))
            .collect();
        images.sort_by(|a, b| b.created.cmp(&a.created).then_with(|| a.id.cmp(&b.id)));
        Ok(images)
    }

    /// The image called so: a name with or without tag or digest, a full ID, or a unique prefix of one.
    pub fn get(&self, name_or_id: &str) -> Result<Image, ImageError> {
        let catalog = self.catalog();
        let id = find(&catalog, name_or_id)?;
        let known = catalog.images.get(&id).ok_or_else(|| no_such_image(name_or_id))?;
        let names = catalog.names_of(&id);
        Ok(self.describe(&id, known, &names.iter().collect::<Vec<_>>()))
    }

    fn describe(&self, id: &ImageId, known: &Known, names: &[&Reference]) -> Image {
        let diff_ids = known.record.diff_ids();
        let chains = chain_ids(&diff_ids);
        Image {
            id: id.clone(),
            repo_tags: names
                .iter()
                .filter(|name| name.digest().is_none())
                .map(|name| name.familiar())
                .collect(),
            repo_digests: names
                .iter()
                .filter(|name| name.digest().is_some())
                .map(|name| name.familiar())
                .collect(),
            config: known.config.clone(),
            raw: known.raw.clone(),
            size: known.record.layers.iter().map(|layer| layer.size).sum(),
            created: seconds(known.config.created.as_deref()),
            parent: known.record.parent.clone(),
            layers: diff_ids,
            layer_dirs: chains.iter().map(|chain| self.0.layers.diff(chain)).collect(),
            manifest: known.record.manifest.clone(),
            last_tagged: known.record.last_tagged,
        }
    }

    /// The rows of `docker history`.
    pub fn history(&self, name_or_id: &str) -> Result<Vec<HistoryEntry>, ImageError> {
        let catalog = self.catalog();
        let id = find(&catalog, name_or_id)?;
        let known = catalog.images.get(&id).ok_or_else(|| no_such_image(name_or_id))?;
        let mut sizes = known.record.layers.iter().map(|layer| layer.size);
        let mut rows: Vec<HistoryEntry> = known
            .config
            .history
            .iter()
            .map(|step| HistoryEntry {
                id: "<missing>".to_owned(),
                created: seconds(step.created.as_deref()),
                created_by: step.created_by.clone(),
                tags: Vec::new(),
                size: if step.empty_layer { 0 } else { sizes.next().unwrap_or(0) },
                comment: step.comment.clone(),
            })
            .collect();
        if rows.is_empty() {
            rows.extend(sizes.map(|size| HistoryEntry {
                id: "<missing>".to_owned(),
                created: seconds(known.config.created.as_deref()),
                created_by: String::new(),
                tags: Vec::new(),
                size,
                comment: String::new(),
            }));
        }
        rows.reverse();
        if let Some(first) = rows.first_mut() {
            first.id = id.to_string();
            first.tags = catalog
                .names_of(&id)
                .iter()
                .filter(|name| name.digest().is_none())
                .map(Reference::familiar)
                .collect();
        }
        Ok(rows)
    }

    /// Gives an image another name, taking the name from whichever image had it.
    pub fn tag(&self, source: &str, target: &Reference) -> Result<(), ImageError> {
        if target.digest().is_some() {
            return Err(ImageError::invalid("refusing to create a tag with a digest reference"));
        }
        let target = target.clone().or_latest();
        let _commit = self.committing();
        let (id, mut known) = {
            let catalog = self.catalog();
            let id = find(&catalog, source)?;
            let known = catalog.images.get(&id).cloned().ok_or_else(|| no_such_image(source))?;
            (id, known)
        };
        known.record.last_tagged = Some(now());
        self.0.store.write(|transaction| {
            transaction.put(&self.0.names, &target.canonical(), &id)?;
            transaction.put(&self.0.records, id.as_str(), &known.record)
        })?;
        let mut catalog = self.catalog_mut();
        catalog.names.insert(target, id.clone());
        catalog.images.insert(id, known);
        Ok(())
    }

    /// What the images cost.
    pub fn disk_usage(&self) -> Result<Usage, ImageError> {
        let catalog = self.catalog();
        let mut sizes: HashMap<Digest, u64> = HashMap::new();
        let mut users: HashMap<Digest, usize> = HashMap::new();
        for known in catalog.images.values() {
            let chains = chain_ids(&known.record.diff_ids());
            for (chain, layer) in chains.into_iter().zip(&known.record.layers) {
                sizes.insert(chain.clone(), layer.size);
                *users.entry(chain).or_default() += 1;
            }
        }
        let shared = |known: &Known| {
            let chains = chain_ids(&known.record.diff_ids());
            chains
                .iter()
                .filter(|chain| users.get(chain).is_some_and(|users| *users > 1))
                .map(|chain| sizes[chain])
                .sum()
        };
        Ok(Usage {
            layers_size: sizes.values().sum(),
            images: catalog.images.len() as u64,
            shared: catalog.images.iter().map(|(id, known)| (id.clone(), shared(known))).collect(),
        })
    }
}

/// Docker's order: a full ID, a name, a unique prefix of an ID.
pub(super) fn find(catalog: &Catalog, text: &str) -> Result<ImageId, ImageError> {
    let hex = text.strip_prefix("sha256:").unwrap_or(text);
    let is_hex = !hex.is_empty()
        && hex.len() <= 64
        && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if is_hex && hex.len() == 64 {
        let id: ImageId = format!("sha256:{hex}").parse()?;
        return if catalog.images.contains_key(&id) { Ok(id) } else { Err(no_such_image(id.as_str())) };
    }
    let name = text.parse::<Reference>();
    if let Ok(name) = &name {
        let wanted = match name.digest() {
            Some(digest) => name.with_digest(digest.clone()),
            None => name.clone().or_latest(),
        };
        if let Some(id) = catalog.names.get(&wanted) {
            return Ok(id.clone());
        }
        if let Some(id) = by_own_digest(catalog, name) {
            return Ok(id);
        }
    }
    if is_hex {
        let mut matching: HashSet<&ImageId> = catalog.images.keys().collect();
        matching.retain(|id| id.hex().starts_with(hex));
        if let (1, Some(id)) = (matching.len(), matching.into_iter().next()) {
            return Ok(id.clone());
        }
    }
    match name {
        Ok(name) => Err(no_such_image(&name.or_latest().familiar())),
        Err(_) if text.starts_with("sha256:") => Err(no_such_image(text)),
        Err(error) => Err(error),
    }
}

/// The image that is called by its own digest in a repository that it has a name in: `repository@sha256:<id>`.
pub(super) fn by_own_digest(catalog: &Catalog, name: &Reference) -> Option<ImageId> {
    let id = ImageId::from(name.digest()?.clone());
    let mut named = catalog.names.iter().filter(|(_, image)| **image == id);
    named.any(|(known, _)| known.repository() == name.repository()).then_some(id)
}

/// Whether `text` names `id` by its digits and not by a name.
pub(super) fn is_id_prefix(id: &ImageId, text: &str) -> bool {
    id.as_str().starts_with(text) || id.hex().starts_with(text)
}

pub(super) fn no_such_image(name: &str) -> ImageError {
    ImageError::not_found(format!("No such image: {name:.512}"))
}

fn seconds(time: Option<&str>) -> i64 {
    time.and_then(|time| chrono::DateTime::parse_from_rfc3339(time).ok()).map_or(0, |time| time.timestamp())
}
