//! Pushing a plugin in the form that dockerd installs: a schema 2 manifest with gzip layers.

use std::io;

use flate2::{Compression, write::GzEncoder};
use pintle_image::{
    Auth, Descriptor, Digest, Images, Progress, Reference, Scope,
    archive::{self, Kind},
    manifest::{DOCKER_LAYER, DOCKER_MANIFEST, DOCKER_PLUGIN_CONFIG},
};
use pintle_wire::config::Rootfs;
use serde::Serialize;

use super::{content::Contents, paths::Paths, record::Package};
use crate::{HostError, Pushed};

/// The manifest with its keys in Docker's order.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Schema2<'a> {
    schema_version: u32,
    media_type: &'a str,
    config: Pointer<'a>,
    layers: Vec<Pointer<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Pointer<'a> {
    media_type: &'a str,
    size: u64,
    digest: &'a Digest,
}

/// Pushes `package` to `target`, which has a tag.
pub(crate) async fn push(
    images: &Images,
    contents: &Contents,
    paths: &Paths,
    package: &Package,
    target: &Reference,
    auth: &Auth,
    progress: &Progress,
) -> Result<Pushed, HostError> {
    let _blobs = images.blobs().pin();
    let (worker, dirs, own) = (images.clone(), paths.clone(), package.clone());
    let (config, layers) = tokio::task::spawn_blocking(move || for_docker(&worker, &dirs, &own))
        .await
        .map_err(|error| HostError::io("preparing the push", error))??;
    // Whatever was made only for this push goes again afterwards.
    let _pin = contents.pin(layers.iter().chain([&config]));

    progress.message(format!("The push refers to repository [{}]", target.familiar_name()));
    for layer in &layers {
        progress.status(layer.digest.short(), "Preparing");
    }
    let registry = images.registry();
    for blob in layers.iter().map(|layer| &layer.digest).chain([&config.digest]) {
        registry.push_blob(target, auth, Scope::Plugin, blob, progress).await?;
    }
    let pointer = |descriptor: &'static str, blob: &Descriptor| (descriptor, blob.size, blob.digest.clone());
    let (kind, size, digest) = pointer(DOCKER_PLUGIN_CONFIG, &config);
    let manifest = Schema2 {
        schema_version: 2,
        media_type: DOCKER_MANIFEST,
        config: Pointer { media_type: kind, size, digest: &digest },
        layers: layers
            .iter()
            .map(|layer| Pointer { media_type: DOCKER_LAYER, size: layer.size, digest: &layer.digest })
            .collect(),
    };
    let bytes =
        serde_json::to_vec_pretty(&manifest).map_err(|error| HostError::io("writing the manifest", error))?;
    let digest = registry.push_manifest(target, auth, Scope::Plugin, DOCKER_MANIFEST, &bytes).await?;
    let tag = target.tag().unwrap_or("latest").to_owned();
    let size = bytes.len() as u64;
    progress.message(format!("{tag}: digest: {digest} size: {size}"));
    progress.aux(serde_json::json!({ "Tag": tag, "Digest": digest, "Size": size }));
    Ok(Pushed { tag, digest: digest.as_str().to_owned(), size })
}

/// The configuration and layers to push. Layers that are not gzip (OCI allows others, dockerd does not) are
/// packed again, and the configuration is made to name the new ones.
fn for_docker(
    images: &Images,
    paths: &Paths,
    package: &Package,
) -> Result<(Descriptor, Vec<Descriptor>), HostError> {
    let blobs = images.blobs();
    let mut layers = Vec::new();
    let mut changed = false;
    for layer in &package.layers {
        if is_gzip(images, &layer.digest)? {
            layers.push(Descriptor::new(DOCKER_LAYER, layer.digest.clone(), layer.size));
            continue;
        }
        changed = true;
        let kind = if package.layers.len() == 1 { Kind::Plain } else { Kind::Layer };
        let mut packer = GzEncoder::new(blobs.writer()?, Compression::default());
        archive::pack(&paths.content(layer.digest.hex()), &mut packer, kind)?;
        let writer = packer.finish().map_err(|error| HostError::io("packing a layer", error))?;
        let (digest, size) = writer.commit(None)?;
        layers.push(Descriptor::new(DOCKER_LAYER, digest, size));
    }
    let config = if changed {
        let mut config = package.parse()?;
        let diff_ids = layers.iter().map(|layer| layer.digest.as_str().to_owned()).collect();
        config.rootfs = Some(Rootfs { kind: "layers".into(), diff_ids });
        let bytes = config.to_bytes();
        Descriptor::new(DOCKER_PLUGIN_CONFIG, blobs.put(&bytes)?, bytes.len() as u64)
    } else {
        // A pull stores it; should it be gone, the record has its bytes.
        let digest = blobs.put(package.config.as_bytes())?;
        Descriptor::new(DOCKER_PLUGIN_CONFIG, digest, package.config.len() as u64)
    };
    Ok((config, layers))
}

fn is_gzip(images: &Images, digest: &Digest) -> Result<bool, HostError> {
    let mut magic = [0; 2];
    match io::Read::read_exact(&mut images.blobs().open(digest)?, &mut magic) {
        Ok(()) => Ok(magic == [0x1f, 0x8b]),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(HostError::io("reading a layer", error)),
    }
}
