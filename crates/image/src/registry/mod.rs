//! The registry client: manifests and blobs over the distribution protocol.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{Auth, Blobs, Descriptor, Digest, ImageError, Manifest, Options, Platform, Progress, Reference};

/// What kind of repository a token is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// `repository:<path>:…`
    Repository,
    /// `repository(plugin):<path>:…`
    Plugin,
}

/// What a tag stands for at this moment.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// The digest of `manifest_bytes`.
    pub manifest_digest: Digest,
    /// What the tag or digest itself names: the index where there is one, else the same as `manifest_digest`.
    pub digest: Digest,
    /// The manifest's media type.
    pub media_type: String,
    /// The manifest as the registry has it.
    pub manifest_bytes: Vec<u8>,
    /// The same, read.
    pub manifest: Manifest,
}

/// What came of a login.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Login {
    /// `Login Succeeded`.
    pub status: String,
    /// A refresh token to be kept instead of the password, or empty.
    pub identity_token: String,
}

/// A client for every registry. Cheap to clone.
#[derive(Clone)]
pub struct Registry(Arc<()>);

impl Registry {
    /// A client that stores what it fetches in `blobs`.
    pub fn new(blobs: Blobs, options: Options) -> Result<Self, ImageError> {
        todo!("{:?} {:?}", options, blobs.list())
    }

    /// Asks what `reference` stands for, follows an index to `platform` (this machine, if not given) and
    /// returns the manifest. Nothing is downloaded but manifests.
    pub async fn resolve(
        &self,
        reference: &Reference,
        auth: &Auth,
        scope: Scope,
        platform: Option<&Platform>,
    ) -> Result<Resolved, ImageError> {
        todo!("{reference} {auth:?} {scope:?} {platform:?}")
    }

    /// Makes sure that `descriptor`'s content is in the store, verified. Goes on where an earlier download
    /// stopped; two callers of one digest share the work. Reports `Downloading`, `Verifying Checksum` and
    /// `Download complete` under the digest's first twelve digits.
    pub async fn fetch(
        &self,
        reference: &Reference,
        auth: &Auth,
        scope: Scope,
        descriptor: &Descriptor,
        progress: &Progress,
    ) -> Result<(), ImageError> {
        todo!("{reference} {auth:?} {scope:?} {descriptor:?} {}", matches!(progress, Progress { .. }))
    }

    /// Uploads a blob from the store unless the registry has it. Returns whether it had to.
    pub async fn push_blob(
        &self,
        reference: &Reference,
        auth: &Auth,
        scope: Scope,
        digest: &Digest,
        progress: &Progress,
    ) -> Result<bool, ImageError> {
        todo!("{reference} {auth:?} {scope:?} {digest} {}", matches!(progress, Progress { .. }))
    }

    /// Uploads a manifest under the reference's tag, or its own digest where there is none.
    pub async fn push_manifest(
        &self,
        reference: &Reference,
        auth: &Auth,
        scope: Scope,
        media_type: &str,
        bytes: &[u8],
    ) -> Result<Digest, ImageError> {
        todo!("{reference} {auth:?} {scope:?} {media_type} {bytes:?}")
    }

    /// Checks credentials with `server` (empty, or Docker's historic URL, is the hub).
    pub async fn login(&self, server: &str, auth: &Auth) -> Result<Login, ImageError> {
        todo!("{server} {auth:?} {:?}", self.0)
    }
}
