//! Manifests, indexes and descriptors, Docker's and OCI's alike.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Digest, ErrorKind, ImageError, Platform};

/// Docker's image manifest, schema 2.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Docker's manifest list.
pub const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// OCI's image manifest.
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// OCI's image index.
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// Docker's image configuration.
pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
/// OCI's image configuration.
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// Docker's plugin configuration.
pub const DOCKER_PLUGIN_CONFIG: &str = "application/vnd.docker.plugin.v1+json";
/// Docker's layer: a gzipped tar. Plugins use it too.
pub const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
/// OCI's layer as a plain tar.
pub const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// What a manifest may weigh.
pub const MAX_MANIFEST: u64 = 4 << 20;
/// What an image configuration may weigh.
pub const MAX_CONFIG: u64 = 8 << 20;
const MAX_LAYERS: usize = 1024;

/// A pointer to content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What it is.
    #[serde(default)]
    pub media_type: String,
    /// Its bytes' length.
    pub size: u64,
    /// Its bytes' digest.
    pub digest: Digest,
    /// Other places that have it. Never followed.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "crate::config::null_is_default"
    )]
    pub urls: Vec<String>,
    /// In an index: what it runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// Free text by name.
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "crate::config::null_is_default"
    )]
    pub annotations: BTreeMap<String, String>,
}

impl Descriptor {
    /// A descriptor without extras.
    pub fn new(media_type: &str, digest: Digest, size: u64) -> Self {
        Self {
            media_type: media_type.to_owned(),
            size,
            digest,
            urls: Vec::new(),
            platform: None,
            annotations: BTreeMap::new(),
        }
    }
}

/// An image's or a plugin's manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Always 2.
    pub schema_version: u32,
    /// Docker's or OCI's.
    #[serde(default)]
    pub media_type: String,
    /// The configuration.
    pub config: Descriptor,
    /// The layers, lowest first.
    #[serde(default, deserialize_with = "crate::config::null_is_default")]
    pub layers: Vec<Descriptor>,
}

/// One of both kinds of document that a tag can stand for.
#[derive(Debug, Clone)]
pub(crate) enum Document {
    Manifest(Manifest),
    Index(Index),
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Index {
    pub schema_version: u32,
    #[serde(default)]
    pub media_type: String,
    #[serde(default, deserialize_with = "crate::config::null_is_default")]
    pub manifests: Vec<Descriptor>,
}

impl Manifest {
    /// Reads a manifest, refusing what cannot be one.
    pub fn parse(bytes: &[u8]) -> Result<Self, ImageError> {
        match Document::parse(bytes, None)? {
            Document::Manifest(manifest) => Ok(manifest),
            Document::Index(_) => Err(ImageError::corrupt("a manifest was expected where there is an index")),
        }
    }
}

impl Document {
    /// Reads either kind. `said` is the media type that came along with the bytes, for documents without one.
    pub fn parse(bytes: &[u8], said: Option<&str>) -> Result<Self, ImageError> {
        if bytes.len() as u64 > MAX_MANIFEST {
            return Err(ImageError::corrupt(format!("manifest is larger than {MAX_MANIFEST} bytes")));
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Shape {
            schema_version: Option<u32>,
            media_type: Option<String>,
            manifests: Option<serde::de::IgnoredAny>,
            config: Option<serde::de::IgnoredAny>,
        }
        let unreadable = |error| ImageError::corrupt(format!("manifest cannot be read: {error}"));
        let shape: Shape = serde_json::from_slice(bytes).map_err(unreadable)?;
        if shape.schema_version == Some(1) {
            return Err(ImageError::unsupported("manifest schema 1 is no longer supported"));
        }
        let media_type =
            shape.media_type.as_deref().filter(|text| !text.is_empty()).or(said).unwrap_or_default();
        // A document that is both at once means different content to different readers (CVE-2021-41190).
        if shape.manifests.is_some() && shape.config.is_some() {
            return Err(ImageError::corrupt("manifest is an index and a manifest at once"));
        }
        if shape.manifests.is_some() {
            if matches!(media_type, DOCKER_MANIFEST | OCI_MANIFEST) {
                return Err(ImageError::corrupt(format!("an index calls itself {media_type}")));
            }
            let mut index: Index = serde_json::from_slice(bytes).map_err(unreadable)?;
            if index.media_type.is_empty() {
                index.media_type = OCI_INDEX.to_owned();
            }
            return Ok(Self::Index(index));
        }
        if matches!(media_type, DOCKER_INDEX | OCI_INDEX) {
            return Err(ImageError::corrupt(format!("a manifest calls itself {media_type}")));
        }
        let mut manifest: Manifest = serde_json::from_slice(bytes).map_err(unreadable)?;
        if manifest.layers.len() > MAX_LAYERS {
            return Err(ImageError::corrupt(format!("manifest has more than {MAX_LAYERS} layers")));
        }
        if manifest.media_type.is_empty() {
            manifest.media_type =
                if media_type == DOCKER_MANIFEST { DOCKER_MANIFEST } else { OCI_MANIFEST }.to_owned();
        }
        Ok(Self::Manifest(manifest))
    }
}

impl Index {
    /// The manifest for `platform`, or an error that lists those on offer.
    pub fn choose(&self, name: &str, platform: &Platform) -> Result<&Descriptor, ImageError> {
        let candidates = || {
            self.manifests.iter().filter(|descriptor| {
                // BuildKit files attestations next to the images, under a platform of their own.
                matches!(descriptor.media_type.as_str(), DOCKER_MANIFEST | OCI_MANIFEST | "")
                    && !descriptor.annotations.contains_key("vnd.docker.reference.type")
            })
        };
        let best = candidates()
            .filter_map(|descriptor| {
                let fit =
                    descriptor.platform.as_ref().map_or(Some(u32::MAX), |offer| platform.accepts(offer))?;
                Some((fit, descriptor))
            })
            .min_by_key(|(fit, _)| *fit);
        if let Some((_, descriptor)) = best {
            return Ok(descriptor);
        }
        let mut offers: Vec<String> = candidates()
            .filter_map(|descriptor| descriptor.platform.as_ref())
            .map(Platform::to_string)
            .collect();
        offers.dedup();
        offers.truncate(50);
        Err(ImageError::new(
            ErrorKind::NotFound,
            format!(
                "no matching manifest for {platform} in the manifest list entries of {name}: it has {}",
                if offers.is_empty() { "none at all".to_owned() } else { offers.join(", ") }
            ),
        ))
    }
}
