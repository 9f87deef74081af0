//! Images into archives: Docker's archive and an OCI layout in one, as Docker 25 and later write them.

use std::{
    collections::{BTreeMap, HashSet},
    io::{self, Read, Write},
};

use serde_json::json;
use tokio::io::AsyncWrite;
use tokio_util::io::SyncIoBridge;

use super::{
    Images,
    catalog::Known,
    query::{find, is_id_prefix},
};
use crate::{
    Descriptor, Digest, ImageError, ImageId, Manifest, Reference,
    archive::{Limits, inflate},
    manifest::{OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST},
};

impl Images {
    /// Writes images as a tar that is Docker's archive and an OCI layout at once. A repository without a tag
    /// means all its tags; an ID means the image without its names.
    pub async fn save(
        &self,
        names: &[String],
        out: impl AsyncWrite + Send + Unpin + 'static,
    ) -> Result<(), ImageError> {
        let chosen = self.choose(names)?;
        // Nothing that is being written may be collected meanwhile.
        let work = self.work();
        let images = self.clone();
        let mut out = SyncIoBridge::new(out);
        tokio::task::spawn_blocking(move || {
            let _work = work;
            images.save_blocking(&chosen, &mut out)?;
            out.shutdown().map_err(failed)
        })
        .await?
    }

    fn choose(&self, names: &[String]) -> Result<Vec<(ImageId, Known, Vec<Reference>)>, ImageError> {
        let catalog = self.catalog();
        let mut chosen: Vec<(ImageId, Known, Vec<Reference>)> = Vec::new();
        let mut add = |id: ImageId, name: Option<Reference>| {
            let at = match chosen.iter().position(|(known, _, _)| *known == id) {
                Some(at) => at,
                None => {
                    let Some(known) = catalog.images.get(&id).cloned() else { return };
                    chosen.push((id, known, Vec::new()));
                    chosen.len() - 1
                }
            };
            let tags = &mut chosen[at].2;
            tags.extend(name.filter(|name| !tags.contains(name)));
        };
        for text in names {
            let typed = text.parse::<Reference>();
            if let Ok(repository) = &typed
                && repository.tag().is_none()
                && repository.digest().is_none()
            {
                let all: Vec<_> = catalog
                    .names
                    .iter()
                    .filter(|(name, _)| name.tag().is_some() && name.repository() == *repository)
                    .collect();
                if !all.is_empty() {
                    all.into_iter().for_each(|(name, id)| add(id.clone(), Some(name.clone())));
                    continue;
                }
            }
            let id = find(&catalog, text)?;
            let name = typed.ok().filter(|name| name.tag().is_some() && !is_id_prefix(&id, text));
            add(id, name);
        }
        Ok(chosen)
    }

    fn save_blocking(
        &self,
        chosen: &[(ImageId, Known, Vec<Reference>)],
        out: &mut dyn Write,
    ) -> Result<(), ImageError> {
        let mut archive = Archive { tar: tar::Builder::new(out), written: HashSet::new() };
        archive.directory("blobs")?;
        archive.directory("blobs/sha256")?;
        let (mut index, mut items) = (Vec::new(), Vec::new());
        let mut repositories: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
        for (id, known, tags) in chosen {
            archive.blob(id.digest(), &known.raw)?;
            let mut layers = Vec::new();
            for layer in &known.record.layers {
                if archive.written.insert(layer.diff_id.clone()) {
                    let file = self.0.blobs.open(&layer.blob.digest)?;
                    let name = blob_name(&layer.diff_id);
                    let ((), stream) =
                        inflate(file, &Limits::LAYER, |tar| archive.file(&name, layer.tar_size, tar))?;
                    if stream.digest != layer.diff_id {
                        return Err(ImageError::corrupt(format!("layer {} is damaged", layer.diff_id)));
                    }
                }
                layers.push(Descriptor::new(OCI_LAYER, layer.diff_id.clone(), layer.tar_size));
            }
            let top = layers.last().map(|layer| layer.digest.hex().to_owned()).unwrap_or_default();
            items.push(json!({
                "Config": blob_name(id.digest()),
                "RepoTags": if tags.is_empty() { None } else { Some(tags.iter().map(Reference::familiar).collect::<Vec<_>>()) },
                "Layers": layers.iter().map(|layer| blob_name(&layer.digest)).collect::<Vec<_>>(),
            }));
            let manifest = Manifest {
                schema_version: 2,
                media_type: OCI_MANIFEST.to_owned(),
                config: Descriptor::new(OCI_CONFIG, id.digest().clone(), known.raw.len() as u64),
                layers,
            };
            let bytes = to_json(&manifest)?;
            let digest = Digest::of(&bytes);
            archive.blob(&digest, &bytes)?;
            let mut entry = Descriptor::new(OCI_MANIFEST, digest, bytes.len() as u64);
            entry.platform = Some(known.config.platform());
            if tags.is_empty() {
                index.push(entry.clone());
            }
            for tag in tags {
                let mut entry = entry.clone();
                let tag_only = tag.tag().unwrap_or_default().to_owned();
                entry.annotations.insert("io.containerd.image.name".to_owned(), tag.canonical());
                entry.annotations.insert("org.opencontainers.image.ref.name".to_owned(), tag_only.clone());
                index.push(entry);
                repositories.entry(tag.familiar_name()).or_default().insert(tag_only, top.clone());
            }
        }
        let index = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": index });
        archive.small("index.json", &to_json(&index)?)?;
        archive.small("manifest.json", &to_json(&items)?)?;
        archive.small("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        if !repositories.is_empty() {
            archive.small("repositories", &to_json(&repositories)?)?;
        }
        archive.tar.finish().map_err(failed)
    }
}

struct Archive<'a> {
    tar: tar::Builder<&'a mut dyn Write>,
    written: HashSet<Digest>,
}

impl Archive<'_> {
    fn directory(&mut self, name: &str) -> Result<(), ImageError> {
        let mut header = header(0, 0o755);
        header.set_entry_type(tar::EntryType::Directory);
        self.tar.append_data(&mut header, format!("{name}/"), io::empty()).map_err(failed)
    }

    fn file(&mut self, name: &str, size: u64, content: &mut dyn Read) -> Result<(), ImageError> {
        self.tar.append_data(&mut header(size, 0o644), name, content.take(size)).map_err(failed)
    }

    fn small(&mut self, name: &str, bytes: &[u8]) -> Result<(), ImageError> {
        self.file(name, bytes.len() as u64, &mut &*bytes)
    }

    fn blob(&mut self, digest: &Digest, bytes: &[u8]) -> Result<(), ImageError> {
        if self.written.insert(digest.clone()) {
            self.small(&blob_name(digest), bytes)?;
        }
        Ok(())
    }
}

/// The same images always give the same archive.
fn header(size: u64, mode: u32) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_size(size);
    header.set_mode(mode);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header
}

fn blob_name(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

fn to_json(value: &impl serde::Serialize) -> Result<Vec<u8>, ImageError> {
    serde_json::to_vec(value).map_err(|error| ImageError::internal(error.to_string()))
}

fn failed(error: io::Error) -> ImageError {
    ImageError::internal(format!("writing the archive: {error}")).because(error)
}
