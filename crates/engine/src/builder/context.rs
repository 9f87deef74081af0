//! The files that an image is built from.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use pintle_image::{
    Images, Progress,
    archive::{self, CopyOptions},
    dockerfile::Ignore,
};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio_util::io::SyncIoBridge;

use super::{Builder, request};
use crate::{
    EngineError, ErrorKind,
    containers::{blocking, new_id},
};

/// A Dockerfile is read whole.
const MAX_DOCKERFILE: u64 = 4 << 20;

/// A folder of a build's own; dropped, it is gone.
pub(super) struct Workplace(PathBuf);

impl Workplace {
    pub async fn new(builder: &Builder) -> Result<Arc<Self>, EngineError> {
        let dir = builder.0.tmp.join(format!("build-{}", &new_id()[..12]));
        let path = dir.clone();
        blocking(move || Ok(std::fs::create_dir_all(path.join("context"))?)).await?;
        Ok(Arc::new(Self(dir)))
    }

    /// The context's files.
    pub fn context(&self) -> PathBuf {
        self.0.join("context")
    }

    /// A folder for one file more.
    pub fn aside(&self, number: usize) -> PathBuf {
        self.0.join(format!("aside-{number}"))
    }
}

impl Drop for Workplace {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(dir = %self.0.display(), %error, "files of a build stay until the next start");
        }
    }
}

/// Brings the files in, and finds the Dockerfile among them: its text.
pub(super) async fn receive(
    images: &Images,
    place: &Arc<Workplace>,
    context: request::Context,
    dockerfile: &str,
    progress: &Progress,
) -> Result<String, EngineError> {
    match context {
        request::Context::Tar(tar) => unpack(place, tar).await?,
        request::Context::Remote(address) => {
            if is_git(&address) {
                return Err(EngineError::new(
                    ErrorKind::NotImplemented,
                    format!(
                        "{address}: pintle runs no git: clone it, or let the client do so, and build from the files"
                    ),
                ));
            }
            let mut file = images.registry().download(&address, progress).await?;
            let mut head = vec![0; 512];
            let mut filled = 0;
            while filled < head.len() {
                match file.read(&mut head[filled..]).await? {
                    0 => break,
                    count => filled += count,
                }
            }
            head.truncate(filled);
            if looks_like_text(&head) {
                // A Dockerfile alone.
                file.take(MAX_DOCKERFILE).read_to_end(&mut head).await?;
                return text(head, &address);
            }
            unpack(place, Box::pin(std::io::Cursor::new(head).chain(file))).await?;
        }
    }
    let (place, wanted) = (Arc::clone(place), dockerfile.to_owned());
    blocking(move || find(&place.context(), &wanted)).await
}

fn is_git(address: &str) -> bool {
    address.starts_with("git://")
        || address.starts_with("git@")
        || address.starts_with("github.com/")
        || address.split('#').next().is_some_and(|path| path.ends_with(".git"))
}

/// Neither packed nor a tar: those have bytes that no text has.
fn looks_like_text(head: &[u8]) -> bool {
    !head.contains(&0) && std::str::from_utf8(head).map_or_else(|error| error.valid_up_to() > 500, |_| true)
}

async fn unpack(
    place: &Arc<Workplace>,
    tar: std::pin::Pin<Box<dyn AsyncRead + Send>>,
) -> Result<(), EngineError> {
    let place = Arc::clone(place);
    let reader = SyncIoBridge::new(tar);
    blocking(move || Ok(archive::copy_in(&place.context(), "/", reader, CopyOptions::default())?))
        .await
        .map_err(|error| error.context("error reading the build context"))
}

fn find(context: &Path, wanted: &str) -> Result<String, EngineError> {
    let name = if wanted.is_empty() { "Dockerfile" } else { wanted };
    let mut bytes = archive::read_file(context, name, MAX_DOCKERFILE)?;
    let mut found = name;
    if bytes.is_none() && wanted.is_empty() {
        found = "dockerfile";
        bytes = archive::read_file(context, found, MAX_DOCKERFILE)?;
    }
    let bytes =
        bytes.ok_or_else(|| EngineError::invalid(format!("Cannot locate specified Dockerfile: {name}")))?;
    if bytes.is_empty() {
        return Err(EngineError::invalid(format!("the Dockerfile ({name}) cannot be empty")));
    }
    let text = text(bytes, name)?;
    // The client sends these two even if they are to be left out, for us to read.
    if let Some(rules) = archive::read_file(context, ".dockerignore", MAX_DOCKERFILE)? {
        let rules = Ignore::parse(&String::from_utf8_lossy(&rules));
        for name in [".dockerignore", found] {
            let inside: Vec<&str> = name.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
            let plain = !inside.is_empty() && !inside.contains(&"..");
            if plain && rules.hides(name) {
                archive::remove_file(context, name)?;
            }
        }
    }
    Ok(text)
}

fn text(bytes: Vec<u8>, name: &str) -> Result<String, EngineError> {
    String::from_utf8(bytes).map_err(|_| EngineError::invalid(format!("{name} is not UTF-8 text")))
}
