//! Making a package from an author's archive, and reading the one that a registry has.

use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use flate2::{Compression, write::GzEncoder};
use pintle_image::{
    Auth, Descriptor, Images, Manifest, Progress, Reference, Scope,
    archive::{self, Kind},
    manifest::{DOCKER_CONFIG, DOCKER_LAYER, DOCKER_PLUGIN_CONFIG, OCI_CONFIG},
};
use pintle_wire::config::{PluginConfig, Privilege, Rootfs, privileges, privileges_difference};

use super::{
    content::{Contents, LIMITS, Pin, check_tree, random_hex},
    record::Package,
};
use crate::HostError;
use pintle_store::failpoint;

/// No honest configuration is longer.
pub(crate) const LARGEST_CONFIG: u64 = 1 << 20;

/// A directory that is gone when dropped.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed now is removed at the next boot.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Reads an author's archive and makes a package of it: one compressed layer, and a configuration that names
/// it. Refused archives leave nothing. Blocks.
pub(crate) fn create(
    images: &Images,
    contents: &Contents,
    scratch: &Path,
    archive: impl Read + Send,
) -> Result<(Package, Pin), HostError> {
    let scratch = Scratch(scratch.join(format!("tmp-{}", random_hex(8))));
    let refused =
        |error: &dyn std::fmt::Display| HostError::Package(format!("plugin archive refused: {error}"));
    archive::unpack_into_new(archive, &scratch.0, &LIMITS, Kind::Plain).map_err(|error| refused(&error))?;

    let (mut config, written) = read_config(&scratch.0.join("config.json"))?;
    let tree = scratch.0.join("rootfs");
    if !tree.symlink_metadata().is_ok_and(|meta| meta.is_dir()) {
        return Err(HostError::Package("no rootfs found: the archive has no directory rootfs/".into()));
    }
    check_tree(&tree).map_err(|error| refused(&error))?;

    forget_directory_times(&tree).map_err(|error| HostError::io("preparing the plugin's layer", error))?;

    let pin = contents.pin([]);
    let blobs = images.blobs();
    let mut packer = GzEncoder::new(blobs.writer()?, Compression::default());
    archive::pack(&tree, &mut packer, Kind::Plain)?;
    let writer = packer.finish().map_err(|error| HostError::io("packing the plugin", error))?;
    let (digest, length) = writer.commit(None)?;
    let layer = Descriptor::new(DOCKER_LAYER, digest.clone(), length);
    let pin = (contents.pin([&layer]), pin).0;
    let size = contents.adopt(&tree, &digest)?;

    // Docker names layers of plugins by the digest of the compressed bytes.
    config.rootfs = Some(Rootfs { kind: "layers".into(), diff_ids: vec![digest.as_str().to_owned()] });
    let bytes = serde_json::to_vec(&config.to_value(&written))
        .map_err(|error| HostError::io("writing config.json", error))?;
    let config_digest = blobs.put(&bytes)?;
    let package = Package {
        config: String::from_utf8_lossy(&bytes).into_owned(),
        config_digest,
        layers: vec![layer],
        manifest_digest: None,
        granted: privileges(&config),
        prompted: false,
        size,
        generation: 0,
    };
    Ok((package, pin))
}

/// Sets the times of all directories to 1970. Archives leave directories out, and those that were made for their
/// files would otherwise make two layers of the same content differ.
fn forget_directory_times(tree: &Path) -> io::Result<()> {
    let mut pending = vec![tree.to_owned()];
    while let Some(dir) = pending.pop() {
        for entry in fs::read_dir(&dir)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                pending.push(entry.path());
            }
        }
        let epoch = std::time::SystemTime::UNIX_EPOCH;
        fs::File::open(&dir)?.set_times(fs::FileTimes::new().set_accessed(epoch).set_modified(epoch))?;
    }
    Ok(())
}

/// The configuration, and its text.
fn read_config(path: &Path) -> Result<(PluginConfig, Vec<u8>), HostError> {
    let meta = match path.symlink_metadata() {
        Ok(meta) if meta.is_file() => meta,
        Ok(_) => return Err(HostError::Package("config not found: config.json is not a file".into())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(HostError::Package("config not found: the archive has no config.json".into()));
        }
        Err(error) => return Err(HostError::io("reading config.json", error)),
    };
    if meta.len() > LARGEST_CONFIG {
        let size = meta.len();
        return Err(HostError::Package(format!(
            "config.json has {size} bytes; {LARGEST_CONFIG} are the most"
        )));
    }
    let bytes = fs::read(path).map_err(|error| HostError::io("reading config.json", error))?;
    match PluginConfig::parse(&bytes) {
        Ok(config) => Ok((config, bytes)),
        Err(error) => Err(HostError::Package(format!("config.json: {error}"))),
    }
}

/// What a registry offers: its manifest, and its configuration, which is in the blob store.
pub(crate) struct Offer {
    pub(crate) manifest_digest: pintle_image::Digest,
    /// What the tag itself names, an index perhaps: what the user saw.
    pub(crate) digest: pintle_image::Digest,
    pub(crate) manifest: Manifest,
    pub(crate) config: PluginConfig,
    config_text: String,
    pin: Pin,
}

impl Offer {
    pub(crate) fn privileges(&self) -> Vec<Privilege> {
        privileges(&self.config)
    }
}

/// Asks what `remote` is and fetches its configuration, but no layers.
pub(crate) async fn inspect(
    images: &Images,
    contents: &Contents,
    remote: &Reference,
    auth: &Auth,
) -> Result<Offer, HostError> {
    let registry = images.registry();
    let resolved = registry.resolve(remote, auth, Scope::Plugin, None).await?;
    let manifest = resolved.manifest;
    let kind = manifest.config.media_type.as_str();
    if kind == DOCKER_CONFIG || kind == OCI_CONFIG {
        return Err(HostError::Package(format!(
            "Encountered remote \"{kind}\"(image) when fetching: {} is an image, not a plugin",
            remote.familiar()
        )));
    }
    if kind != DOCKER_PLUGIN_CONFIG {
        return Err(HostError::Package(format!(
            "did not find plugin config for specified reference {}: its config is a \"{kind}\"",
            remote.familiar()
        )));
    }
    if manifest.config.size > LARGEST_CONFIG {
        let size = manifest.config.size;
        return Err(HostError::Package(format!(
            "the plugin's configuration has {size} bytes; {LARGEST_CONFIG} are the most"
        )));
    }
    if manifest.layers.is_empty() {
        return Err(HostError::Package("the plugin has no layers".into()));
    }
    if let Some(layer) = manifest.layers.iter().find(|layer| !layer.urls.is_empty()) {
        let digest = layer.digest.short();
        return Err(HostError::Package(format!(
            "layer {digest} is to be fetched from elsewhere, which is refused"
        )));
    }
    let pin = contents.pin(manifest.layers.iter().chain([&manifest.config]));
    registry.fetch(remote, auth, Scope::Plugin, &manifest.config, &Progress::none()).await?;
    let bytes = images.blobs().read(&manifest.config.digest, LARGEST_CONFIG)?;
    let config_text = String::from_utf8(bytes)
        .map_err(|_| HostError::Package("the plugin's configuration is not UTF-8".into()))?;
    let config = PluginConfig::parse(config_text.as_bytes())
        .map_err(|error| HostError::Package(format!("the plugin's configuration: {error}")))?;
    Ok(Offer {
        manifest_digest: resolved.manifest_digest,
        digest: resolved.digest,
        manifest,
        config,
        config_text,
        pin,
    })
}

/// Refuses unless `granted` is exactly what the plugin asks for.
pub(crate) fn check_privileges(offer: &Offer, granted: &[Privilege]) -> Result<(), HostError> {
    match privileges_difference(&offer.privileges(), granted) {
        None => Ok(()),
        Some(difference) => Err(HostError::Privileges(format!("incorrect privileges: {difference}"))),
    }
}

/// Fetches and unpacks the layers of an offer that was accepted.
pub(crate) async fn fetch(
    images: &Images,
    contents: &Contents,
    remote: &Reference,
    auth: &Auth,
    offer: Offer,
    progress: &Progress,
) -> Result<(Package, Pin), HostError> {
    progress.status(remote.tag().unwrap_or("latest"), format!("Pulling from {}", remote.familiar_name()));
    let (there, missing): (Vec<_>, Vec<_>) =
        offer.manifest.layers.iter().partition(|layer| images.blobs().exists(&layer.digest));
    for layer in there {
        progress.status(layer.digest.short(), "Already exists");
    }
    for layer in &missing {
        progress.status(layer.digest.short(), "Pulling fs layer");
    }
    let fetches = missing.iter().map(|layer| async move {
        images.registry().fetch(remote, auth, Scope::Plugin, layer, progress).await
    });
    futures_util::future::try_join_all(fetches).await?;
    failpoint!("host.pull.fetched");
    let (layers, worker) = (offer.manifest.layers.clone(), contents.clone());
    for layer in &missing {
        progress.status(layer.digest.short(), "Extracting");
    }
    let size = tokio::task::spawn_blocking(move || worker.unpack(&layers))
        .await
        .map_err(|error| HostError::io("unpacking the plugin", error))??;
    for layer in &offer.manifest.layers {
        progress.status(layer.digest.short(), "Complete");
    }
    progress.message(format!("Digest: {}", offer.digest));
    let granted = offer.privileges();
    let package = Package {
        config: offer.config_text,
        config_digest: offer.manifest.config.digest.clone(),
        layers: offer.manifest.layers,
        manifest_digest: Some(offer.manifest_digest),
        granted,
        prompted: true,
        size,
        generation: 0,
    };
    Ok((package, offer.pin))
}
