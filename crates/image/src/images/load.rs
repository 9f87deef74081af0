//! Images out of archives: what `docker save` writes, and OCI layouts.

use std::{
    collections::HashMap,
    io::{self, Read, Write as _},
};

use pintle_store::failpoint;
use serde::Deserialize;
use tokio::io::AsyncRead;
use tokio_util::io::SyncIoBridge;

use super::{
    Images, Loaded,
    catalog::{Record, RecordLayer},
};
use crate::{
    Blobs, Descriptor, Digest, ImageConfig, ImageError, ImageId, Manifest, Platform, Progress, Reference,
    archive::{Compression, Entries, Parts, What, inflate},
    blobs::Arrivals,
    config::null_is_default,
    digest::chain_ids,
    error::is_full,
    manifest::{DOCKER_LAYER, Document, MAX_CONFIG, MAX_MANIFEST, OCI_LAYER},
    progress::Bar,
};

/// What is kept in memory while the archive goes by, by file and in all.
const SMALL: u64 = 32 << 10;
const SMALL_TOTAL: u64 = 64 << 20;
const MAX_MEMBERS: usize = 100_000;
const MAX_LINKS: usize = 8;
const MAX_NESTING: usize = 4;

enum Member {
    Small(Vec<u8>),
    Blob(Digest, u64),
    Link(Vec<u8>),
}

/// An archive whose files are in the content store, or in memory where they are small.
struct Archive {
    blobs: Blobs,
    arrivals: Arrivals,
    members: HashMap<Vec<u8>, Member>,
    /// Images for others stay where they are.
    platform: Option<Platform>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Item {
    config: String,
    #[serde(default, deserialize_with = "null_is_default")]
    repo_tags: Vec<String>,
    #[serde(default, deserialize_with = "null_is_default")]
    layers: Vec<String>,
}

impl Images {
    /// Loads what `docker save` or an OCI tool wrote, or of that what is for a platform. Reports `Loaded image: …`.
    pub async fn load(
        &self,
        tar: impl AsyncRead + Send + Unpin + 'static,
        platform: Option<Platform>,
        progress: &Progress,
    ) -> Result<Vec<Loaded>, ImageError> {
        let (images, progress) = (self.clone(), progress.clone());
        let reader = SyncIoBridge::new(tar);
        tokio::task::spawn_blocking(move || images.load_blocking(reader, platform, &progress)).await?
    }

    fn load_blocking(
        &self,
        reader: impl Read + Send,
        platform: Option<Platform>,
        progress: &Progress,
    ) -> Result<Vec<Loaded>, ImageError> {
        let work = self.work();
        let limits = self.options().limits.clone();
        let (mut archive, _) = inflate(reader, &limits, |reader| Archive::read(&self.0.blobs, reader))?;
        archive.platform.clone_from(&platform);
        failpoint!("image.load.read");
        let result = match archive.read_file("manifest.json", MAX_CONFIG)? {
            Some(manifest) => self.load_docker(&mut archive, &manifest, progress),
            None => match archive.read_file("index.json", MAX_MANIFEST)? {
                Some(index) => self.load_oci(&mut archive, &index, progress),
                None => Err(ImageError::invalid(
                    "the archive holds no image: it has neither manifest.json nor index.json",
                )),
            },
        };
        // Whatever no image holds by now was of no use.
        drop(archive);
        drop(work);
        match (result, platform) {
            (Ok(loaded), Some(platform)) if loaded.is_empty() => Err(ImageError::not_found(format!(
                "no images providing the requested platform(s) found: [{platform}]"
            ))),
            (result, _) => result,
        }
    }

    fn load_docker(
        &self,
        archive: &mut Archive,
        manifest: &[u8],
        progress: &Progress,
    ) -> Result<Vec<Loaded>, ImageError> {
        let items: Vec<Item> = serde_json::from_slice(manifest)
            .map_err(|error| ImageError::invalid(format!("manifest.json cannot be read: {error}")))?;
        let mut loaded = Vec::new();
        for item in items {
            let missing = |name: &str| ImageError::invalid(format!("the archive lacks {name:.200}"));
            let raw = archive.read_file(&item.config, MAX_CONFIG)?.ok_or_else(|| missing(&item.config))?;
            if !archive.wants(&raw)? {
                continue;
            }
            let layers = item
                .layers
                .iter()
                .map(|name| archive.blob(name.as_bytes())?.ok_or_else(|| missing(name)))
                .collect::<Result<Vec<_>, _>>()?;
            let names = item
                .repo_tags
                .iter()
                .map(|tag| Ok(tag.parse::<Reference>()?.or_latest()))
                .collect::<Result<Vec<_>, ImageError>>()?;
            archive.arrivals.put(&raw)?;
            loaded.push(self.load_image(raw, layers, None, names, progress)?);
        }
        Ok(loaded)
    }

    fn load_oci(
        &self,
        archive: &mut Archive,
        index: &[u8],
        progress: &Progress,
    ) -> Result<Vec<Loaded>, ImageError> {
        let Document::Index(index) = Document::parse(index, None)? else {
            return Err(ImageError::invalid("index.json is not an index"));
        };
        let mut loaded = Vec::new();
        for entry in &index.manifests {
            if entry.annotations.contains_key("vnd.docker.reference.type") {
                continue;
            }
            let (descriptor, manifest) = archive.manifest(entry, 0)?;
            let raw = archive
                .content(&manifest.config, MAX_CONFIG)?
                .ok_or_else(|| ImageError::invalid("the archive lacks an image's configuration"))?;
            if !archive.wants(&raw)? {
                continue;
            }
            let layers = manifest
                .layers
                .iter()
                .map(|layer| {
                    archive
                        .blob(blob_name(&layer.digest).as_bytes())?
                        .filter(|(digest, _)| *digest == layer.digest)
                        .ok_or_else(|| {
                            ImageError::corrupt(format!("the archive lacks layer {}", layer.digest))
                        })
                })
                .collect::<Result<Vec<_>, _>>()?;
            archive.arrivals.put(&raw)?;
            loaded.push(self.load_image(raw, layers, Some(descriptor), oci_names(entry), progress)?);
        }
        Ok(loaded)
    }

    fn load_image(
        &self,
        raw: Vec<u8>,
        blobs: Vec<(Digest, u64)>,
        manifest: Option<Descriptor>,
        names: Vec<Reference>,
        progress: &Progress,
    ) -> Result<Loaded, ImageError> {
        let config = ImageConfig::parse(&raw)?;
        if config.platform().os != Platform::host().os {
            return Err(ImageError::unsupported(format!("cannot load {:.50} image on linux", config.os)));
        }
        let expected = config.rootfs.diff_ids.len();
        if expected != blobs.len() {
            return Err(ImageError::corrupt(format!(
                "invalid manifest, layers length mismatch: expected {expected}, got {}",
                blobs.len()
            )));
        }
        let id = ImageId::from(self.0.blobs.put(&raw)?);
        let mut layers = Vec::new();
        for (chain, (diff_id, (digest, size))) in
            chain_ids(&config.rootfs.diff_ids).iter().zip(config.rootfs.diff_ids.iter().zip(blobs))
        {
            layers.push(self.place_layer(chain, diff_id, &digest, size, progress)?);
        }
        self.0.layers.flush()?;
        failpoint!("image.load.placed");
        let record = Record { layers, manifest, ..Record::default() };
        self.commit_image(&id, raw, record, &names, None)?;
        for name in &names {
            progress.message(format!("Loaded image: {}", name.familiar()));
        }
        if names.is_empty() {
            progress.message(format!("Loaded image ID: {id}"));
        }
        Ok(Loaded { id, tags: names.iter().map(Reference::familiar).collect() })
    }

    /// Sees to it that a layer whose tar is in the content store is unpacked.
    fn place_layer(
        &self,
        chain: &Digest,
        diff_id: &Digest,
        blob: &Digest,
        size: u64,
        progress: &Progress,
    ) -> Result<RecordLayer, ImageError> {
        if self.0.layers.get(chain).is_some()
            && let Some(known) = self.catalog().blob_of(diff_id, &self.0.blobs)
        {
            return Ok(known);
        }
        let bar = progress.bar(diff_id.short(), "Loading layer", Some(size));
        let (unplaced, descriptor) = self.unpack_blob(blob, bar)?;
        if unplaced.layer.diff_id != *diff_id {
            return Err(ImageError::corrupt(format!(
                "invalid diffID for layer: expected {diff_id}, got {}",
                unplaced.layer.diff_id
            )));
        }
        let record = RecordLayer::new(&unplaced.layer, descriptor);
        self.0.layers.place(unplaced, chain)?;
        Ok(record)
    }

    /// Unpacks a blob beside its place. Blocks.
    pub(super) fn unpack_blob(
        &self,
        blob: &Digest,
        bar: Bar,
    ) -> Result<(crate::layers::Unplaced, Descriptor), ImageError> {
        let limits = self.options().limits.clone();
        let descriptor = describe(&self.0.blobs, blob)?;
        let file = self.0.blobs.open(blob)?;
        let unplaced = self.0.layers.unpack(Watched { inner: file, bar }, &limits)?;
        Ok((unplaced, descriptor))
    }
}

/// A layer's descriptor, by its first bytes.
pub(super) fn describe(blobs: &Blobs, blob: &Digest) -> Result<Descriptor, ImageError> {
    let mut head = Vec::new();
    let failed = |error| ImageError::io("reading", &blobs.path(blob), error);
    blobs.open(blob)?.take(8).read_to_end(&mut head).map_err(failed)?;
    let media_type = match Compression::sniff(&head)? {
        Compression::None => OCI_LAYER.to_owned(),
        Compression::Gzip => DOCKER_LAYER.to_owned(),
        Compression::Zstd => format!("{OCI_LAYER}+zstd"),
    };
    Ok(Descriptor::new(&media_type, blob.clone(), blobs.size(blob).unwrap_or(0)))
}

struct Watched<R> {
    inner: R,
    bar: Bar,
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.bar.add(count as u64);
        Ok(count)
    }
}

fn blob_name(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// The names that an index gives an image. A bare tag, which some tools write, names nothing.
fn oci_names(entry: &Descriptor) -> Vec<Reference> {
    let full = entry.annotations.get("io.containerd.image.name");
    let short =
        entry.annotations.get("org.opencontainers.image.ref.name").filter(|name| name.contains([':', '/']));
    full.or(short)
        .and_then(|name| name.parse::<Reference>().ok())
        .filter(|name| name.digest().is_none())
        .map(Reference::or_latest)
        .into_iter()
        .collect()
}

impl Archive {
    fn read(blobs: &Blobs, reader: &mut dyn Read) -> Result<Self, ImageError> {
        let (arrivals, members) = (blobs.arrivals(), HashMap::new());
        let mut archive = Self { blobs: blobs.clone(), arrivals, members, platform: None };
        archive.fill(reader)?;
        Ok(archive)
    }

    /// Whether an image with this configuration is to be loaded.
    fn wants(&self, config: &[u8]) -> Result<bool, ImageError> {
        let Some(wanted) = &self.platform else { return Ok(true) };
        Ok(wanted.accepts(&ImageConfig::parse(config)?.platform()).is_some())
    }

    fn fill(&mut self, reader: &mut dyn Read) -> Result<(), ImageError> {
        let mut entries = Entries::new(reader);
        let mut in_memory = 0;
        while let Some(entry) = entries.advance()? {
            if self.members.len() >= MAX_MEMBERS {
                return Err(ImageError::corrupt(format!("image archive has more than {MAX_MEMBERS} files")));
            }
            let outside =
                || ImageError::corrupt(format!("archive entry {} leads out of the archive", entry.shown()));
            let name = Parts::clean(&entry.name).ok_or_else(outside)?;
            let member = match entry.what {
                What::File if entry.sparse.is_some() => {
                    return Err(ImageError::unsupported(format!(
                        "archive entry {} is sparse",
                        entry.shown()
                    )));
                }
                What::File if entry.size <= SMALL && in_memory < SMALL_TOTAL => {
                    in_memory += entry.size;
                    let mut bytes = Vec::new();
                    (&mut entries).take(entry.size).read_to_end(&mut bytes).map_err(read_failed)?;
                    Member::Small(bytes)
                }
                What::File => {
                    let mut writer = self.blobs.writer()?;
                    let copied =
                        io::copy(&mut (&mut entries).take(entry.size), &mut writer).map_err(read_failed)?;
                    if copied != entry.size {
                        return Err(read_failed(io::ErrorKind::UnexpectedEof.into()));
                    }
                    writer.flush().map_err(read_failed)?;
                    let (digest, size) = self.arrivals.commit(writer)?;
                    Member::Blob(digest, size)
                }
                What::Symlink => {
                    let (dir, _) = name.split();
                    let target = [dir, &entry.link].join(&b'/');
                    Member::Link(Parts::clean(&target).ok_or_else(outside)?.0)
                }
                What::HardLink => Member::Link(Parts::clean(&entry.link).ok_or_else(outside)?.0),
                _ => continue,
            };
            self.members.insert(name.0, member);
        }
        Ok(())
    }

    fn find(&self, name: &[u8]) -> Option<&Member> {
        let mut name = Parts::clean(name)?.0;
        for _ in 0..MAX_LINKS {
            match self.members.get(&name)? {
                Member::Link(target) => name = target.clone(),
                member => return Some(member),
            }
        }
        None
    }

    fn read_file(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>, ImageError> {
        match self.find(name.as_bytes()) {
            None | Some(Member::Link(_)) => Ok(None),
            Some(Member::Small(bytes)) => Ok(Some(bytes.clone())),
            Some(Member::Blob(digest, _)) => self.blobs.read(digest, limit).map(Some),
        }
    }

    /// A file as a blob in the content store.
    fn blob(&mut self, name: &[u8]) -> Result<Option<(Digest, u64)>, ImageError> {
        let bytes = match self.find(name) {
            None | Some(Member::Link(_)) => return Ok(None),
            Some(Member::Blob(digest, size)) => return Ok(Some((digest.clone(), *size))),
            Some(Member::Small(bytes)) => bytes.clone(),
        };
        Ok(Some((self.arrivals.put(&bytes)?, bytes.len() as u64)))
    }

    /// What a descriptor points at, verified.
    fn content(&self, descriptor: &Descriptor, limit: u64) -> Result<Option<Vec<u8>>, ImageError> {
        let bytes = self.read_file(&blob_name(&descriptor.digest), limit)?;
        match bytes {
            Some(bytes) if Digest::of(&bytes) != descriptor.digest => Err(ImageError::corrupt(format!(
                "content of {} does not match its digest",
                descriptor.digest
            ))),
            bytes => Ok(bytes),
        }
    }

    /// Follows indexes to the manifest for this machine.
    fn manifest(&mut self, entry: &Descriptor, depth: usize) -> Result<(Descriptor, Manifest), ImageError> {
        let bytes = self
            .content(entry, MAX_MANIFEST)?
            .ok_or_else(|| ImageError::invalid(format!("the archive lacks manifest {}", entry.digest)))?;
        match Document::parse(&bytes, Some(&entry.media_type))? {
            Document::Manifest(manifest) => {
                let digest = self.arrivals.put(&bytes)?;
                Ok((Descriptor::new(&manifest.media_type, digest, bytes.len() as u64), manifest))
            }
            Document::Index(_) if depth == MAX_NESTING => {
                Err(ImageError::corrupt("indexes are nested too deep"))
            }
            Document::Index(index) => {
                let platform = self.platform.clone().unwrap_or_else(Platform::host);
                self.manifest(index.choose("the archive", &platform)?, depth + 1)
            }
        }
    }
}

fn read_failed(error: io::Error) -> ImageError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => ImageError::corrupt("archive ends early: unexpected EOF"),
        _ if is_full(&error) => {
            ImageError::internal(format!("storing the archive's files: {error}")).because(error)
        }
        _ => ImageError::internal(format!("reading the archive: {error}")).because(error),
    }
}
