//! Blobs out of registries, resumed where they stopped and verified before anybody sees them.

use std::{io::Write as _, time::Duration};

use bytes::Bytes;
use reqwest::{
    Method, StatusCode,
    header::{CONTENT_RANGE, RANGE},
};
use tokio::sync::mpsc;

use super::{
    Registry, Scope,
    session::{Refusal, Session, transport},
};
use crate::{
    Auth, Descriptor, ErrorKind, ImageError, Progress, Reference, blobs::Writer, error::is_full,
    progress::Bar,
};

/// Chunks between the network and the disk.
const CHUNKS_AHEAD: usize = 64;

impl Registry {
    /// Makes sure that `descriptor`'s content is in the store, verified. Goes on where an earlier download
    /// stopped; two callers of one digest share the work. Reports `Waiting`, `Downloading`, `Verifying Checksum`
    /// and `Download complete`, or `Already exists`, under the digest's first twelve digits. Foreign URLs are
    /// refused.
    pub async fn fetch(
        &self,
        reference: &Reference,
        auth: &Auth,
        scope: Scope,
        descriptor: &Descriptor,
        progress: &Progress,
    ) -> Result<(), ImageError> {
        let digest = &descriptor.digest;
        let short = digest.short();
        if !descriptor.urls.is_empty() {
            return Err(ImageError::unsupported(format!(
                "content {digest} is to be fetched from another place than its registry, which this engine refuses"
            )));
        }
        let inner = &*self.0;
        let lock = inner.downloads.lock(digest.hex()).await;
        if inner.blobs.exists(digest) {
            progress.status(short, "Already exists");
            return Ok(());
        }
        let slots = self.download_slots();
        let _slot = match slots.clone().try_acquire_owned() {
            Ok(slot) => slot,
            Err(_) => {
                progress.status(short, "Waiting");
                let closed = |_| ImageError::internal("downloads have ended");
                slots.acquire_owned().await.map_err(closed)?
            }
        };
        let blobs = inner.blobs.clone();
        let wanted = digest.clone();
        let writer = tokio::task::spawn_blocking(move || blobs.resume(&wanted)).await??;
        // The lock goes along with the writer, so that nobody else writes to the file even if we are cancelled.
        let mut download = Some(Download { writer, _lock: lock });
        let mut last = None;
        for session in self.sessions(reference, auth, scope, "pull") {
            let attempt = Attempt { session: &session, reference, descriptor, progress };
            match attempt.run(&mut download, self.hosts().options().max_download_attempts).await {
                Ok(()) => {
                    self.hosts().remember(reference.domain(), &session.endpoint);
                    break;
                }
                // The next endpoint may have it, or be there at all.
                Err(error)
                    if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Unavailable)
                        && download.is_some() =>
                {
                    last.get_or_insert(error);
                }
                Err(error) if session.endpoint.mirror && download.is_some() => {
                    last.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        let Some(Download { writer, _lock }) = download else {
            return Err(ImageError::internal("a download was lost"));
        };
        if writer.size() != descriptor.size {
            return Err(last.unwrap_or_else(|| ImageError::unavailable("no endpoint has the content")));
        }
        progress.status(short, "Verifying Checksum");
        let wanted = digest.clone();
        tokio::task::spawn_blocking(move || writer.commit(Some(&wanted)).inspect(|_| drop(_lock))).await??;
        progress.status(short, "Download complete");
        Ok(())
    }
}

struct Download {
    writer: Writer,
    _lock: tokio::sync::OwnedMutexGuard<()>,
}

struct Attempt<'a> {
    session: &'a Session,
    reference: &'a Reference,
    descriptor: &'a Descriptor,
    progress: &'a Progress,
}

impl Attempt<'_> {
    /// Tries until the length is right, with growing pauses while nothing arrives.
    async fn run(&self, download: &mut Option<Download>, attempts: u32) -> Result<(), ImageError> {
        let short = self.descriptor.digest.short();
        let bar = self.progress.bar(short, "Downloading", Some(self.descriptor.size));
        let mut failures = 0;
        loop {
            let before = self.start(download, &bar)?;
            if before == self.descriptor.size {
                return Ok(());
            }
            let error = match self.once(download, before, &bar).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            let Some(after) = download.as_ref().map(|download| download.writer.size()) else {
                return Err(error);
            };
            failures = if after > before { 1 } else { failures + 1 };
            // Nobody there, perhaps because of the scheme: leave it to the next endpoint.
            let first_connect = failures == 1 && after == before && self.session.endpoint.insecure;
            if error.kind() != ErrorKind::Unavailable || failures >= attempts || first_connect {
                return Err(error);
            }
            tracing::debug!(%error, digest = %self.descriptor.digest, "a download is tried again");
            self.progress.status(
                short,
                format!("Retrying in {failures} second{}", if failures == 1 { "" } else { "s" }),
            );
            tokio::time::sleep(Duration::from_millis(1000 * u64::from(failures))).await;
        }
    }

    fn start(&self, download: &mut Option<Download>, bar: &Bar) -> Result<u64, ImageError> {
        let lost = || ImageError::internal("a download was lost");
        let writer = &mut download.as_mut().ok_or_else(lost)?.writer;
        let complete = writer.size() == self.descriptor.size && writer.digest() != self.descriptor.digest;
        if writer.size() > self.descriptor.size || complete {
            writer.restart()?;
        }
        bar.reset();
        bar.add(writer.size());
        Ok(writer.size())
    }

    async fn once(&self, download: &mut Option<Download>, from: u64, bar: &Bar) -> Result<(), ImageError> {
        let digest = &self.descriptor.digest;
        let url = self.session.url(&format!("/v2/{}/blobs/{digest}", self.reference.path()))?;
        let response = self
            .session
            .send(Method::GET, url, |request| {
                if from > 0 { request.header(RANGE, format!("bytes={from}-")) } else { request }
            })
            .await?;
        let lost = || ImageError::internal("a download was lost");
        let goes_on = match response.status() {
            StatusCode::OK => false,
            StatusCode::PARTIAL_CONTENT => {
                let said = response.headers().get(CONTENT_RANGE).and_then(|range| range.to_str().ok());
                said.is_some_and(|range| range.starts_with(&format!("bytes {from}-")))
            }
            StatusCode::RANGE_NOT_SATISFIABLE => {
                download.as_mut().ok_or_else(lost)?.writer.restart()?;
                return Err(ImageError::unavailable("the registry cannot go on with a download"));
            }
            StatusCode::NOT_FOUND => {
                let text = Refusal::read(response).await.text;
                return Err(ImageError::not_found(format!(
                    "content {digest} is not in the registry: {text}"
                )));
            }
            _ => return Err(Refusal::read(response).await.into_error()),
        };
        let mut taken = download.take().ok_or_else(lost)?;
        if !goes_on && from > 0 {
            taken.writer.restart()?;
            bar.reset();
        }
        let (sender, receiver) = mpsc::channel(CHUNKS_AHEAD);
        let writing = tokio::task::spawn_blocking(move || write(taken, receiver));
        let received = self.receive(response, sender, if goes_on { from } else { 0 }, bar).await;
        let (written, result) = writing.await?;
        *download = Some(written);
        result.and(received)
    }

    async fn receive(
        &self,
        mut response: reqwest::Response,
        sender: mpsc::Sender<Bytes>,
        from: u64,
        bar: &Bar,
    ) -> Result<(), ImageError> {
        let url = response.url().clone();
        let mut size = from;
        while let Some(chunk) =
            response.chunk().await.map_err(|error| transport(&Method::GET, &url, error))?
        {
            size += chunk.len() as u64;
            if size > self.descriptor.size {
                return Err(ImageError::corrupt(format!(
                    "content {} is longer than its {} bytes",
                    self.descriptor.digest, self.descriptor.size
                )));
            }
            bar.add(chunk.len() as u64);
            if sender.send(chunk).await.is_err() {
                // The writer gave up and says why.
                return Ok(());
            }
        }
        if size < self.descriptor.size {
            return Err(ImageError::unavailable(format!(
                "content {} ends after {size} of {} bytes: unexpected EOF",
                self.descriptor.digest, self.descriptor.size
            )));
        }
        Ok(())
    }
}

fn write(mut download: Download, mut receiver: mpsc::Receiver<Bytes>) -> (Download, Result<(), ImageError>) {
    while let Some(chunk) = receiver.blocking_recv() {
        if let Err(error) = download.writer.write_all(&chunk) {
            if is_full(&error) {
                download.writer.give_up();
            }
            return (
                download,
                Err(ImageError::internal(format!("writing a download: {error}")).because(error)),
            );
        }
    }
    (download, Ok(()))
}
