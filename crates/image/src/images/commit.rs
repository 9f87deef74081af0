//! New images from old ones: with what a container wrote on top, or with another configuration alone.

use std::{
    io::{self, BufWriter, Write as _},
    path::{Path, PathBuf},
};

use pintle_store::failpoint;

use super::{
    Images,
    catalog::{Record, RecordLayer},
    diff,
    query::no_such_image,
};
use crate::{
    ContainerConfig, Digest, ImageConfig, ImageError, ImageId, Platform, Progress, Reference,
    archive::{self, Kind},
    blobs::Arrivals,
    config::{History, RootFs},
    digest::chain_ids,
};

/// The tar of nothing, which Docker does not count as a layer.
const NOTHING: &str = "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef";

/// What a new image is besides its files.
#[derive(Debug, Clone, Default)]
pub struct Commit {
    /// Its name.
    pub name: Option<Reference>,
    /// How to run it.
    pub config: ContainerConfig,
    /// Who made it.
    pub author: String,
    /// A remark.
    pub comment: String,
    /// The command of its row in the history.
    pub created_by: String,
    /// What names this step among the parent's children, for [`Images::built`].
    pub step: Option<String>,
    /// What it is for, if it has no parent that says so.
    pub platform: Option<Platform>,
}

impl Images {
    /// Makes an image of what container `id` wrote, on top of the image that it was made from. Whoever writes
    /// meanwhile decides what is seen.
    pub async fn commit_rootfs(&self, id: &str, dir: &Path, commit: Commit) -> Result<ImageId, ImageError> {
        let (images, id, dir) = (self.clone(), id.to_owned(), dir.to_owned());
        tokio::task::spawn_blocking(move || images.commit_files(&id, &dir, commit)).await?
    }

    /// Makes an image that differs from `parent` in its configuration alone. Without a parent, an empty one.
    pub async fn commit_config(
        &self,
        parent: Option<&ImageId>,
        commit: Commit,
    ) -> Result<ImageId, ImageError> {
        let (images, parent) = (self.clone(), parent.cloned());
        tokio::task::spawn_blocking(move || {
            let _work = images.work();
            let mut arrivals = images.0.blobs.arrivals();
            images.child(parent.as_ref(), None, commit, &mut arrivals)
        })
        .await?
    }

    fn commit_files(&self, id: &str, dir: &Path, commit: Commit) -> Result<ImageId, ImageError> {
        let _work = self.work();
        let (parent, lower) = self.base(id)?;
        let upper = dir.join("rw/diff");
        let own = diff::engines_own(&upper, &lower);
        let mut out = BufWriter::with_capacity(256 << 10, self.0.blobs.writer()?);
        archive::pack_without(&upper, &mut out, Kind::Layer, own)?;
        let failed =
            |error: io::Error| ImageError::internal(format!("writing a layer: {error}")).because(error);
        out.flush().map_err(failed)?;
        let writer = out.into_inner().map_err(|error| failed(error.into_error()))?;
        let mut arrivals = self.0.blobs.arrivals();
        if writer.digest().as_str() == NOTHING {
            drop(writer);
            return self.child(parent.as_ref(), None, commit, &mut arrivals);
        }
        let (blob, _) = arrivals.commit(writer)?;
        failpoint!("image.commit.packed");
        self.child(parent.as_ref(), Some(&blob), commit, &mut arrivals)
    }

    /// The image that a container was made from, and its layers, topmost first.
    fn base(&self, id: &str) -> Result<(Option<ImageId>, Vec<PathBuf>), ImageError> {
        let lower = self.lower(id)?;
        Ok((self.catalog().rootfs.get(id).and_then(|record| record.image.clone()), lower))
    }

    fn child(
        &self,
        parent: Option<&ImageId>,
        blob: Option<&Digest>,
        commit: Commit,
        arrivals: &mut Arrivals,
    ) -> Result<ImageId, ImageError> {
        let below = match parent {
            None => None,
            Some(id) => {
                Some(self.catalog().images.get(id).cloned().ok_or_else(|| no_such_image(id.as_str()))?)
            }
        };
        let (mut record, mut config) = match below {
            None => (Record::default(), empty(commit.platform)),
            Some(below) => (
                Record { layers: below.record.layers, ..Record::default() },
                ImageConfig { history: whole_history(&below.config), ..(*below.config).clone() },
            ),
        };
        let mut diff_ids = record.diff_ids();
        if let Some(blob) = blob {
            let (unplaced, descriptor) = self.unpack_blob(blob, Progress::none().bar("", "", None))?;
            record.layers.push(RecordLayer::new(&unplaced.layer, descriptor));
            diff_ids = record.diff_ids();
            let chain =
                chain_ids(&diff_ids).pop().ok_or_else(|| ImageError::internal("a chain without end"))?;
            self.0.layers.place(unplaced, &chain)?;
            self.0.layers.flush()?;
            failpoint!("image.commit.placed");
        }
        record.parent = parent.cloned();
        record.step = commit.step;
        let created = Some(chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Nanos, true));
        config.created.clone_from(&created);
        config.author.clone_from(&commit.author);
        config.comment.clone_from(&commit.comment);
        config.docker_version = String::new();
        config.config = commit.config;
        config.rootfs = RootFs { kind: "layers".to_owned(), diff_ids };
        config.history.push(History {
            created,
            created_by: commit.created_by,
            author: config.author.clone(),
            comment: commit.comment,
            empty_layer: blob.is_none(),
        });
        let raw = serde_json::to_vec(&config).map_err(|error| ImageError::internal(error.to_string()))?;
        let id = ImageId::from(arrivals.put(&raw)?);
        let name = commit.name.map(Reference::or_latest);
        self.commit_image(&id, raw, record, name.as_slice(), None)?;
        Ok(id)
    }
}

fn empty(platform: Option<Platform>) -> ImageConfig {
    let platform = platform.unwrap_or_else(|| Platform { variant: None, ..Platform::host() });
    ImageConfig {
        architecture: platform.architecture,
        variant: platform.variant,
        os: platform.os,
        rootfs: RootFs { kind: "layers".to_owned(), diff_ids: Vec::new() },
        ..ImageConfig::default()
    }
}

/// A history that says something about every layer, as the rows of a child must line up with its layers.
pub(super) fn whole_history(config: &ImageConfig) -> Vec<History> {
    let mut history = config.history.clone();
    let told = history.iter().filter(|step| !step.empty_layer).count();
    for _ in told..config.rootfs.diff_ids.len() {
        history.push(History { created: config.created.clone(), ..History::default() });
    }
    history
}
