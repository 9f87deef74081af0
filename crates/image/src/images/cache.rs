//! Steps of builds that need not be done again, because they were done here or because somebody else did them.

use super::{
    Commit, Images,
    catalog::{Known, Record},
    commit::whole_history,
    query::no_such_image,
};
use crate::{
    ImageConfig, ImageError, ImageId,
    config::{History, RootFs},
};

impl Images {
    /// The newest image that was built on `parent` by this step.
    pub fn built(&self, parent: Option<&ImageId>, step: &str) -> Option<ImageId> {
        let catalog = self.catalog();
        let mut found: Vec<(&ImageId, &Known)> = catalog
            .images
            .iter()
            .filter(|(_, known)| known.record.parent.as_ref() == parent)
            .filter(|(_, known)| known.record.step.as_deref() == Some(step))
            .collect();
        found.sort_by(|(_, one), (_, other)| other.config.created.cmp(&one.config.created));
        found.first().map(|(id, _)| (*id).clone())
    }

    /// Whether an image was built here on another one, over whatever steps.
    pub fn stands_on(&self, image: &ImageId, other: &ImageId) -> bool {
        let catalog = self.catalog();
        let parent = |id: &ImageId| catalog.images.get(id).and_then(|known| known.record.parent.as_ref());
        // A chain of parents has no circles; should there be one, its length is an end.
        std::iter::successors(parent(image), |id| parent(id)).take(catalog.images.len()).any(|id| id == other)
    }

    /// The image that a step on `parent` would make, out of `source`, which may come from elsewhere: where its history
    /// goes on after the parent's with this very step, its files are taken from there. The step's command is
    /// `commit.created_by`. `None` where the histories part.
    pub async fn restored(
        &self,
        parent: Option<&ImageId>,
        source: &ImageId,
        commit: Commit,
    ) -> Result<Option<ImageId>, ImageError> {
        let (images, parent, source) = (self.clone(), parent.cloned(), source.clone());
        tokio::task::spawn_blocking(move || {
            let _work = images.work();
            images.restore_blocking(parent, &source, commit)
        })
        .await?
    }

    fn restore_blocking(
        &self,
        parent: Option<ImageId>,
        source: &ImageId,
        commit: Commit,
    ) -> Result<Option<ImageId>, ImageError> {
        let known =
            |id: &ImageId| self.catalog().images.get(id).cloned().ok_or_else(|| no_such_image(id.as_str()));
        // Gone meanwhile is no cache.
        let Ok(source_known) = known(source) else { return Ok(None) };
        let below = parent.as_ref().map(known).transpose()?;
        let steps = whole_history(&source_known.config);
        let before = below.as_ref().map(|below| whole_history(&below.config)).unwrap_or_default();
        let (mut layers, mut made) = below
            .as_ref()
            .map(|below| (below.record.layers.clone(), below.record.diff_ids()))
            .unwrap_or_default();
        let same_files = source_known.record.diff_ids().starts_with(&made);
        let Some(step) = steps.get(before.len()).filter(|step| {
            begins_with(&steps, &before) && same_files && step.created_by == commit.created_by
        }) else {
            return Ok(None);
        };
        if steps.len() == before.len() + 1 {
            self.adopt(source, source_known, parent, commit)?;
            return Ok(Some(source.clone()));
        }
        if !step.empty_layer {
            let Some(layer) = source_known.record.layers.get(layers.len()) else { return Ok(None) };
            made.push(layer.diff_id.clone());
            layers.push(layer.clone());
        }
        let config = ImageConfig {
            created: step.created.clone(),
            author: source_known.config.author.clone(),
            comment: String::new(),
            docker_version: String::new(),
            config: commit.config,
            rootfs: RootFs { kind: "layers".to_owned(), diff_ids: made },
            history: steps[..=before.len()].to_vec(),
            ..(*source_known.config).clone()
        };
        let raw = serde_json::to_vec(&config).map_err(|error| ImageError::internal(error.to_string()))?;
        let mut arrivals = self.0.blobs.arrivals();
        let id = ImageId::from(arrivals.put(&raw)?);
        let record = Record { layers, parent, step: commit.step, ..Record::default() };
        self.commit_image(&id, raw, record, &[], None)?;
        Ok(Some(id))
    }

    /// An image that is the step's result itself becomes a child of the parent, unless it is somebody's already.
    fn adopt(
        &self,
        source: &ImageId,
        known: Known,
        parent: Option<ImageId>,
        commit: Commit,
    ) -> Result<(), ImageError> {
        if known.record.parent.is_some() || parent.is_none() {
            return Ok(());
        }
        let step = commit.step.filter(|_| known.config.config == commit.config);
        let record = Record { parent, step, ..known.record };
        self.commit_image(source, known.raw.to_vec(), record, &[], None)
    }
}

/// Whether one history is the beginning of another, however either writes its times.
fn begins_with(whole: &[History], beginning: &[History]) -> bool {
    let time = |step: &History| {
        let created = step.created.as_deref().unwrap_or("0001-01-01T00:00:00Z");
        chrono::DateTime::parse_from_rfc3339(created).ok()
    };
    let timeless = |step: &History| History { created: None, ..step.clone() };
    whole.len() >= beginning.len()
        && whole.iter().zip(beginning).all(|(one, other)| {
            timeless(one) == timeless(other)
                && (one.created == other.created || time(one).is_some_and(|at| time(other) == Some(at)))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_compared_and_not_their_texts() {
        let step = |created: Option<&str>| History {
            created: created.map(str::to_owned),
            created_by: "x".to_owned(),
            ..History::default()
        };
        let alike = |one, other| begins_with(&[step(one), step(None)], &[step(other)]);
        assert!(alike(Some("2026-01-02T03:04:05.120000000Z"), Some("2026-01-02T03:04:05.12Z")));
        assert!(alike(None, Some("0001-01-01T00:00:00Z")) && alike(None, None));
        assert!(!alike(Some("2026-01-02T03:04:05Z"), Some("2026-01-02T03:04:06Z")));
        assert!(!begins_with(&[], &[step(None)]));
    }
}
