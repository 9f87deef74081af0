//! `cp`, in both directions.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use http::Method;
use serde_json::Value;

use crate::archive;
use crate::client::{Client, channel_body};
use crate::commands::Done;
use crate::context::Context;
use crate::json::Fields;

/// Copy files/folders between a container and the local filesystem.
///
/// One side is CONTAINER:PATH, the other a path here; '-' is a tar archive on standard input or output.
#[derive(Debug, Args)]
pub struct Copy {
    /// Archive mode (copy all uid/gid information)
    #[arg(short = 'a', long)]
    pub archive: bool,
    /// Always follow symbol link in SRC_PATH
    #[arg(short = 'L', long = "follow-link")]
    pub follow_link: bool,
    /// Suppress progress output during copy
    #[arg(short = 'q', long)]
    pub quiet: bool,
    /// From
    #[arg(value_name = "[CONTAINER:]SRC_PATH")]
    pub source: String,
    /// To
    #[arg(value_name = "[CONTAINER:]DEST_PATH")]
    pub target: String,
}

impl Copy {
    /// Runs it.
    pub async fn run(self, context: &Context) -> Done {
        let client = context.client().await?;
        match (side(&self.source), side(&self.target)) {
            ((Some(container), from), (None, to)) => self.download(client, container, from, to).await,
            ((None, from), (Some(container), to)) => self.upload(client, from, container, to).await,
            ((Some(_), _), (Some(_), _)) => bail!("copying between containers is not supported"),
            ((None, _), (None, _)) => bail!("must specify at least one container source"),
        }
    }

    async fn download(&self, client: &Client, container: &str, from: &str, to: &str) -> Done {
        let from = absolute(from);
        let path = format!("/containers/{container}/archive");
        let mut source = from.clone();
        if self.follow_link {
            let stat = stat(client, container, &from).await?;
            if let Some(target) = stat.as_ref().map(|s| s.text("linkTarget")).filter(|t| !t.is_empty()) {
                source = target.to_owned();
            }
        }
        let mut response = client.get(path).query("path", &source).send().await?;
        if to == "-" {
            let mut out = std::io::stdout();
            while let Some(chunk) = response.chunk().await? {
                out.write_all(&chunk)?;
            }
            return Ok(out.flush()?);
        }
        let header = response.header("x-docker-container-path-stat").map(str::to_owned);
        let is_dir = header.and_then(|h| decode_stat(&h)).is_some_and(|s| s.number("mode") & (1 << 31) != 0);
        let plan = landing(Path::new(to), to.ends_with('/'), &from, is_dir)?;
        let (sender, receiver) = std::sync::mpsc::sync_channel(8);
        let unpacking =
            tokio::task::spawn_blocking(move || archive::unpack(ChannelReader::new(receiver), &plan));
        while let Some(chunk) = response.chunk().await? {
            // The other side has given up; its reason is the one to report.
            if sender.send(chunk).is_err() {
                break;
            }
        }
        drop(sender);
        unpacking.await??;
        if !self.quiet {
            eprintln!("Successfully copied {container}:{from} to {to}");
        }
        Ok(())
    }

    async fn upload(&self, client: &Client, from: &str, container: &str, to: &str) -> Done {
        let to = absolute(to);
        let existing = stat(client, container, &to).await?;
        let is_dir = existing.as_ref().is_some_and(|s| s.number("mode") & (1 << 31) != 0);
        let (target, body) = if from == "-" {
            (to.clone(), body_from_stdin())
        } else {
            let source = PathBuf::from(from);
            let contents = from.ends_with("/.") || from == ".";
            let meta = if self.follow_link {
                std::fs::metadata(&source)
            } else {
                std::fs::symlink_metadata(&source)
            };
            let meta = meta.with_context(|| format!("cannot copy {from}"))?;
            let (dir, name) = match (existing.is_some(), is_dir) {
                (true, true) if contents && meta.is_dir() => (to.clone(), String::new()),
                (true, true) => (to.clone(), last_name(from)?),
                (true, false) if meta.is_dir() => bail!("cannot copy a directory to the file {to}"),
                (false, _) if to.ends_with('/') && !meta.is_dir() => {
                    bail!("no such directory: {container}:{to}")
                }
                _ => split(&to),
            };
            let keep_owner = self.archive;
            let follow = self.follow_link;
            (dir, body_from(move |out| archive::pack_as(&source, &name, keep_owner, follow, out)))
        };
        let path = format!("/containers/{container}/archive");
        client
            .request(Method::PUT, path)
            .query("path", target)
            .query("noOverwriteDirNonDir", "true")
            .switch("copyUIDGID", self.archive)
            .body(body, "application/x-tar")
            .done()
            .await?;
        if !self.quiet {
            eprintln!("Successfully copied {from} to {container}:{to}");
        }
        Ok(())
    }
}

/// The container, if the text names one, and the path. A path that begins with `.` or `/` is local.
fn side(text: &str) -> (Option<&str>, &str) {
    if text.starts_with(['/', '.']) {
        return (None, text);
    }
    match text.split_once(':') {
        Some((container, path)) if !container.contains('/') => (Some(container), path),
        _ => (None, text),
    }
}

fn absolute(path: &str) -> String {
    if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }
}

/// What a path in a container is; `None` if it is not there.
async fn stat(client: &Client, container: &str, path: &str) -> Result<Option<Value>> {
    let request =
        client.request(Method::HEAD, format!("/containers/{container}/archive")).query("path", path);
    match request.send().await {
        Ok(response) => Ok(response.header("x-docker-container-path-stat").and_then(decode_stat)),
        Err(error) if error.is_not_found() => {
            // Either the path or the container is missing; only the second is a failure.
            client.get(format!("/containers/{container}/json")).value().await?;
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

fn decode_stat(header: &str) -> Option<Value> {
    serde_json::from_slice(&STANDARD.decode(header).ok()?).ok()
}

/// Where the entries of a container's archive go here: the directory, and the new name of their first part.
fn landing(to: &Path, must_be_dir: bool, from: &str, is_dir: bool) -> Result<archive::Landing> {
    let name = from.trim_end_matches("/.").trim_end_matches('/').rsplit('/').next().unwrap_or("").to_owned();
    let contents = from.ends_with("/.");
    if to.is_dir() {
        return Ok(archive::Landing { dir: to.to_owned(), strip: contents, rename: None, first: name });
    }
    if must_be_dir && !is_dir {
        bail!("the directory {} does not exist", to.display());
    }
    if is_dir && to.exists() {
        bail!("cannot copy a directory to the file {}", to.display());
    }
    let parent = to.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !parent.is_dir() {
        bail!("the directory {} does not exist", parent.display());
    }
    let rename = to.file_name().map(|n| n.to_string_lossy().into_owned());
    Ok(archive::Landing { dir: parent.to_owned(), strip: false, rename, first: name })
}

fn last_name(path: &str) -> Result<String> {
    let full = std::path::absolute(path)?;
    full.file_name().map(|n| n.to_string_lossy().into_owned()).context("the source has no name")
}

fn split(path: &str) -> (String, String) {
    let path = path.trim_end_matches('/');
    match path.rsplit_once('/') {
        Some(("", name)) => ("/".to_owned(), name.to_owned()),
        Some((dir, name)) => (dir.to_owned(), name.to_owned()),
        None => ("/".to_owned(), path.to_owned()),
    }
}

type Outgoing = http_body_util::combinators::BoxBody<bytes::Bytes, std::io::Error>;

fn body_from_stdin() -> Outgoing {
    body_from(|out| std::io::copy(&mut std::io::stdin().lock(), out).map(|_| ()))
}

/// A body that `produce` writes on a thread of its own.
pub fn body_from(produce: impl FnOnce(&mut dyn Write) -> std::io::Result<()> + Send + 'static) -> Outgoing {
    let (sender, body) = channel_body();
    std::thread::spawn(move || {
        let mut out = std::io::BufWriter::with_capacity(64 << 10, ChannelWriter(sender.clone()));
        let result = produce(&mut out).and_then(|()| out.flush());
        if let Err(error) = result {
            let _ = sender.blocking_send(Err(error));
        }
    });
    body
}

struct ChannelWriter(tokio::sync::mpsc::Sender<std::io::Result<bytes::Bytes>>);

impl Write for ChannelWriter {
    fn write(&mut self, data: &[u8]) -> std::io::Result<usize> {
        let piece = bytes::Bytes::copy_from_slice(data);
        self.0.blocking_send(Ok(piece)).map_err(|_| std::io::ErrorKind::BrokenPipe)?;
        Ok(data.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

struct ChannelReader {
    pieces: std::sync::mpsc::Receiver<bytes::Bytes>,
    current: bytes::Bytes,
}

impl ChannelReader {
    fn new(pieces: std::sync::mpsc::Receiver<bytes::Bytes>) -> Self {
        Self { pieces, current: bytes::Bytes::new() }
    }
}

impl Read for ChannelReader {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while self.current.is_empty() {
            match self.pieces.recv() {
                Ok(piece) => self.current = piece,
                Err(_) => return Ok(0),
            }
        }
        let n = self.current.len().min(buffer.len());
        let piece = self.current.split_to(n);
        for (to, from) in buffer.iter_mut().zip(piece) {
            *to = from;
        }
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides() {
        assert_eq!(side("c:/etc"), (Some("c"), "/etc"));
        assert_eq!(side("./c:x"), (None, "./c:x"));
        assert_eq!(side("/a:b"), (None, "/a:b"));
        assert_eq!(side("dir/c:x"), (None, "dir/c:x"));
        assert_eq!(side("-"), (None, "-"));
    }
}
