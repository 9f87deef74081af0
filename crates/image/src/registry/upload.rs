//! Blobs and manifests into registries.

use reqwest::{
    Body, Method, StatusCode, Url,
    header::{CONTENT_LENGTH, CONTENT_TYPE, LOCATION},
};
use tokio_util::io::ReaderStream;

use super::{
    Registry, Scope,
    session::{Refusal, Session},
};
use crate::{Auth, Digest, ErrorKind, ImageError, Progress, Reference};
use futures_util::StreamExt as _;

const CHUNK: usize = 256 << 10;

impl Registry {
    /// Uploads a blob from the store unless the registry has it. Returns whether it had to. Reports `Pushing` and
    /// `Pushed`, or `Layer already exists`, under the digest's first twelve digits.
    pub async fn push_blob(
        &self,
        reference: &Reference,
        auth: &Auth,
        scope: Scope,
        digest: &Digest,
        progress: &Progress,
    ) -> Result<bool, ImageError> {
        self.upload(reference, auth, scope, digest, digest.short(), progress).await
    }

    /// [`Registry::push_blob`] with progress under another name.
    pub(crate) async fn upload(
        &self,
        reference: &Reference,
        auth: &Auth,
        scope: Scope,
        digest: &Digest,
        shown: &str,
        progress: &Progress,
    ) -> Result<bool, ImageError> {
        let size = self
            .0
            .blobs
            .size(digest)
            .ok_or_else(|| ImageError::not_found(format!("content {digest} is not here")))?;
        // Two layers of one image may be the same.
        let _lock = self.0.uploads.lock(&format!("{}@{digest}", reference.repository().canonical())).await;
        let mut last = None;
        for session in self.sessions(reference, auth, scope, "pull,push") {
            match self.upload_to(&session, reference, digest, size, shown, progress).await {
                Ok(uploaded) => {
                    self.hosts().remember(reference.domain(), &session.endpoint);
                    return Ok(uploaded);
                }
                Err(error) if error.kind() == ErrorKind::Unavailable => drop(last.insert(error)),
                Err(error) => return Err(error),
            }
        }
        Err(last.unwrap_or_else(|| ImageError::unavailable("the registry has no endpoint")))
    }

    async fn upload_to(
        &self,
        session: &Session,
        reference: &Reference,
        digest: &Digest,
        size: u64,
        shown: &str,
        progress: &Progress,
    ) -> Result<bool, ImageError> {
        let path = reference.path();
        let there =
            session
                .send(Method::HEAD, session.url(&format!("/v2/{path}/blobs/{digest}"))?, |request| request);
        if there.await?.status() == StatusCode::OK {
            progress.status(shown, "Layer already exists");
            return Ok(false);
        }
        let start = session.url(&format!("/v2/{path}/blobs/uploads/"))?;
        let response = session.send(Method::POST, start, |request| request.header(CONTENT_LENGTH, 0)).await?;
        let target = next(session, response).await?;
        let bar = progress.bar(shown, "Pushing", Some(size));
        let blob = self.0.blobs.open(digest)?;
        let response = session
            .send(Method::PATCH, target, |request| {
                bar.reset();
                let bar = bar.clone();
                // A request may have to be sent twice; each time the blob is read from its start.
                let stream = reopen(&blob).map(|file| ReaderStream::with_capacity(file, CHUNK));
                let request =
                    request.header(CONTENT_TYPE, "application/octet-stream").header(CONTENT_LENGTH, size);
                match stream {
                    Ok(stream) => request.body(Body::wrap_stream(stream.inspect(move |chunk| {
                        bar.add(chunk.as_ref().map_or(0, |chunk| chunk.len() as u64));
                    }))),
                    Err(error) => request.body(Body::wrap_stream(futures_util::stream::once(async {
                        Err::<bytes::Bytes, _>(error)
                    }))),
                }
            })
            .await?;
        let mut target = next(session, response).await?;
        target.query_pairs_mut().append_pair("digest", digest.as_str());
        let response = session.send(Method::PUT, target, |request| request.header(CONTENT_LENGTH, 0)).await?;
        if response.status() != StatusCode::CREATED {
            return Err(Refusal::read(response).await.into_error());
        }
        progress.status(shown, "Pushed");
        Ok(true)
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
        let digest = Digest::of(bytes);
        let name = reference.tag().unwrap_or(digest.as_str());
        let mut last = None;
        for session in self.sessions(reference, auth, scope, "pull,push") {
            let url = session.url(&format!("/v2/{}/manifests/{name}", reference.path()))?;
            let sent = session.send(Method::PUT, url, |request| {
                request.header(CONTENT_TYPE, media_type).body(bytes.to_vec())
            });
            let response = match sent.await {
                Ok(response) => response,
                Err(error) if error.kind() == ErrorKind::Unavailable => {
                    last = Some(error);
                    continue;
                }
                Err(error) => return Err(error),
            };
            if !matches!(response.status(), StatusCode::CREATED | StatusCode::OK | StatusCode::ACCEPTED) {
                return Err(Refusal::read(response).await.into_error());
            }
            self.hosts().remember(reference.domain(), &session.endpoint);
            return Ok(digest);
        }
        Err(last.unwrap_or_else(|| ImageError::unavailable("the registry has no endpoint")))
    }
}

/// Where an upload goes on.
async fn next(session: &Session, response: reqwest::Response) -> Result<Url, ImageError> {
    let url = response.url().clone();
    match (response.status(), response.headers().get(LOCATION)) {
        (StatusCode::ACCEPTED | StatusCode::CREATED | StatusCode::NO_CONTENT, Some(location)) => {
            session.follow(&url, location)
        }
        (status, None) if status.is_success() => {
            Err(ImageError::unavailable(format!("\"{url}\" does not say where the upload goes on")))
        }
        _ => Err(Refusal::read(response).await.into_error()),
    }
}

/// Another descriptor with its own position, whatever became of the name.
fn reopen(file: &std::fs::File) -> std::io::Result<tokio::fs::File> {
    use std::os::fd::AsRawFd as _;
    std::fs::File::open(format!("/proc/self/fd/{}", file.as_raw_fd())).map(tokio::fs::File::from_std)
}
