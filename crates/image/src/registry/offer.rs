//! What a name stands for in a registry, for `docker manifest` and `distribution inspect`: nothing is kept here.

use reqwest::{Method, StatusCode};

use super::{
    Registry, Scope, get_manifest,
    session::{Refusal, Session, body},
    verified,
};
use crate::{
    Auth, Descriptor, ErrorKind, ImageConfig, ImageError, Platform, Reference,
    manifest::{Document, MAX_CONFIG},
};

/// What a registry has under a name.
#[derive(Debug, Clone, PartialEq)]
pub struct Offer {
    /// The document that the name stands for: a manifest, or an index of several.
    pub descriptor: Descriptor,
    /// What there are images for.
    pub platforms: Vec<Platform>,
}

impl Registry {
    /// Asks what a name stands for, and for which platforms.
    pub async fn offer(&self, reference: &Reference, auth: &Auth) -> Result<Offer, ImageError> {
        let mut first = None;
        for session in self.sessions(reference, auth, Scope::Repository, "pull") {
            match offer_at(&session, reference).await {
                Err(error) if session.endpoint.mirror || error.kind() == ErrorKind::Unavailable => {
                    first.get_or_insert(error);
                }
                answered => return answered,
            }
        }
        Err(first.unwrap_or_else(|| ImageError::unavailable("the registry has no endpoint")))
    }
}

async fn offer_at(session: &Session, reference: &Reference) -> Result<Offer, ImageError> {
    let name = match (reference.digest(), reference.tag()) {
        (Some(digest), _) => digest.as_str(),
        (None, tag) => tag.unwrap_or("latest"),
    };
    let (bytes, said) = get_manifest(session, reference, name).await?;
    let digest = verified(&bytes, reference.digest())?;
    let (media_type, platforms) = match Document::parse(&bytes, said.as_deref())? {
        Document::Index(index) => {
            let images = index
                .manifests
                .iter()
                .filter(|entry| !entry.annotations.contains_key("vnd.docker.reference.type"));
            let platforms = images.filter_map(|entry| entry.platform.clone()).collect();
            (index.media_type, platforms)
        }
        Document::Manifest(manifest) => {
            let platform = platform_of(session, reference, &manifest.config).await?;
            (manifest.media_type, vec![platform])
        }
    };
    Ok(Offer { descriptor: Descriptor::new(&media_type, digest, bytes.len() as u64), platforms })
}

/// A single image says what it is for in its configuration alone.
async fn platform_of(
    session: &Session,
    reference: &Reference,
    config: &Descriptor,
) -> Result<Platform, ImageError> {
    let url = session.url(&format!("/v2/{}/blobs/{}", reference.path(), config.digest))?;
    let response = session.send(Method::GET, url, |request| request).await?;
    if response.status() != StatusCode::OK {
        return Err(Refusal::read(response).await.into_error());
    }
    let bytes = body(response, usize::try_from(MAX_CONFIG).unwrap_or(usize::MAX)).await?;
    verified(&bytes, Some(&config.digest))?;
    Ok(ImageConfig::parse(&bytes)?.platform())
}
