//! The registry client: manifests and blobs over the distribution protocol.

mod certificates;
mod challenge;
mod download;
mod fetch;
mod hosts;
mod login;
mod offer;
mod proxies;
mod session;
mod upload;

use std::sync::{Arc, PoisonError, RwLock};

use reqwest::{
    Method, StatusCode,
    header::{ACCEPT, CONTENT_TYPE},
};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use self::{
    hosts::{Endpoint, Hosts, SharedHosts},
    session::{Refusal, Session, Tokens, body},
};
pub use self::{offer::Offer, proxies::Proxies};
use crate::{
    Auth, Blobs, Digest, ErrorKind, ImageError, Manifest, Options, Platform, Reference,
    locks::Locks,
    manifest::{DOCKER_INDEX, DOCKER_MANIFEST, Document, MAX_MANIFEST, OCI_INDEX, OCI_MANIFEST},
};

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
pub struct Registry(Arc<Inner>);

struct Inner {
    blobs: Blobs,
    hosts: RwLock<SharedHosts>,
    tokens: Arc<Tokens>,
    downloads: Locks,
    uploads: Locks,
    slots: RwLock<Arc<Semaphore>>,
}

impl Registry {
    /// A client that stores what it fetches in `blobs`.
    pub fn new(blobs: Blobs, options: Options) -> Result<Self, ImageError> {
        Ok(Self(Arc::new(Inner {
            blobs,
            slots: RwLock::new(Arc::new(Semaphore::new(options.max_concurrent_downloads.max(1)))),
            hosts: RwLock::new(Arc::new(Hosts::new(options)?)),
            tokens: Arc::default(),
            downloads: Locks::default(),
            uploads: Locks::default(),
        })))
    }

    /// Takes new options for whatever begins after this.
    pub fn reload(&self, options: Options) -> Result<(), ImageError> {
        let slots = Arc::new(Semaphore::new(options.max_concurrent_downloads.max(1)));
        let hosts = Arc::new(Hosts::new(options)?);
        *self.0.hosts.write().unwrap_or_else(PoisonError::into_inner) = hosts;
        *self.0.slots.write().unwrap_or_else(PoisonError::into_inner) = slots;
        Ok(())
    }

    fn hosts(&self) -> SharedHosts {
        self.0.hosts.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn download_slots(&self) -> Arc<Semaphore> {
        self.0.slots.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// One session for each place that may have the repository, best first.
    fn sessions(&self, reference: &Reference, auth: &Auth, scope: Scope, actions: &str) -> Vec<Session> {
        let hosts = self.hosts();
        let kind = match scope {
            Scope::Repository => "repository",
            Scope::Plugin => "repository(plugin)",
        };
        let endpoints = hosts.endpoints(reference.domain(), actions.contains("push"));
        let session = |endpoint: Endpoint| Session {
            hosts: hosts.clone(),
            tokens: self.0.tokens.clone(),
            scope: format!("{kind}:{}:{actions}", reference.path()),
            auth: if endpoint.mirror { Auth::None } else { auth.clone() },
            endpoint,
        };
        endpoints.into_iter().map(session).collect()
    }

    /// Asks what `reference` stands for, follows an index to `platform` (this machine, if not given) and
    /// returns the manifest. Nothing is downloaded but manifests. A platform that is not on offer is an error
    /// that lists those that are.
    pub async fn resolve(
        &self,
        reference: &Reference,
        auth: &Auth,
        scope: Scope,
        platform: Option<&Platform>,
    ) -> Result<Resolved, ImageError> {
        let host = Platform::host();
        let platform = platform.unwrap_or(&host);
        let mut first = None;
        for session in self.sessions(reference, auth, scope, "pull") {
            match resolve_at(&session, reference, platform).await {
                Ok(resolved) => {
                    self.hosts().remember(reference.domain(), &session.endpoint);
                    return Ok(resolved);
                }
                Err(error) if session.endpoint.mirror => {
                    tracing::debug!(%error, mirror = session.endpoint.base, "a mirror does not help");
                }
                // Nobody there under this scheme. What plain HTTP says is what users of it want to read.
                Err(error) if error.kind() == ErrorKind::Unavailable => {
                    self.hosts().forget(reference.domain());
                    first = Some(error);
                }
                Err(error) => return Err(error),
            }
        }
        Err(first.unwrap_or_else(|| ImageError::unavailable("the registry has no endpoint")))
    }
}

async fn resolve_at(
    session: &Session,
    reference: &Reference,
    platform: &Platform,
) -> Result<Resolved, ImageError> {
    let name = match (reference.digest(), reference.tag()) {
        (Some(digest), _) => digest.as_str(),
        (None, tag) => tag.unwrap_or("latest"),
    };
    let (bytes, media_type) = get_manifest(session, reference, name).await?;
    let digest = verified(&bytes, reference.digest())?;
    let manifest = match Document::parse(&bytes, media_type.as_deref())? {
        Document::Manifest(manifest) => manifest,
        Document::Index(index) => {
            let chosen = index.choose(&reference.familiar(), platform)?;
            let (bytes, media_type) = get_manifest(session, reference, chosen.digest.as_str()).await?;
            let manifest_digest = verified(&bytes, Some(&chosen.digest))?;
            let Document::Manifest(manifest) = Document::parse(&bytes, media_type.as_deref())? else {
                return Err(ImageError::unsupported("an index in an index is not supported"));
            };
            return Ok(Resolved {
                manifest_digest,
                digest,
                media_type: manifest.media_type.clone(),
                manifest_bytes: bytes,
                manifest,
            });
        }
    };
    Ok(Resolved {
        manifest_digest: digest.clone(),
        digest,
        media_type: manifest.media_type.clone(),
        manifest_bytes: bytes,
        manifest,
    })
}

fn verified(bytes: &[u8], expected: Option<&Digest>) -> Result<Digest, ImageError> {
    let digest = Digest::of(bytes);
    match expected {
        Some(expected) if *expected != digest => Err(ImageError::corrupt(format!(
            "manifest verification failed for digest {expected}: got {digest}"
        ))),
        _ => Ok(digest),
    }
}

async fn get_manifest(
    session: &Session,
    reference: &Reference,
    name: &str,
) -> Result<(Vec<u8>, Option<String>), ImageError> {
    let url = session.url(&format!("/v2/{}/manifests/{name}", reference.path()))?;
    let accept = [DOCKER_MANIFEST, DOCKER_INDEX, OCI_MANIFEST, OCI_INDEX].join(", ");
    let response = session.send(Method::GET, url, |request| request.header(ACCEPT, &accept)).await?;
    if response.status() == StatusCode::OK {
        let media_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let media_type = media_type.map(|value| value.split(';').next().unwrap_or(value).trim().to_owned());
        return Ok((body(response, usize::try_from(MAX_MANIFEST).unwrap_or(usize::MAX)).await?, media_type));
    }
    let refusal = Refusal::read(response).await;
    let kind = refusal.kind();
    Err(match refusal.code.as_str() {
        "DENIED" | "NAME_UNKNOWN" => ImageError::new(
            kind,
            format!(
                "pull access denied for {}, repository does not exist or may require 'docker login': {}",
                reference.familiar_name(),
                refusal.text
            ),
        ),
        "MANIFEST_UNKNOWN" | "NOT_FOUND" => ImageError::not_found(format!(
            "manifest for {} not found: {}",
            reference.familiar(),
            refusal.text
        )),
        _ if kind == ErrorKind::NotFound => ImageError::not_found(format!(
            "manifest for {} not found: {}",
            reference.familiar(),
            refusal.text
        )),
        _ => refusal.into_error(),
    })
}
