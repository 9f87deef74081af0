//! Images that are here: list, inspect, tag, remove. [`super::transfer`] brings and takes them.

use std::{collections::BTreeMap, sync::Arc};

use chrono::Utc;
use http::StatusCode;
use pintle_api::{Filters, image::Pruned, time};
use pintle_engine::events::Kind;
use pintle_image::{Image, ImageId, Reference, Removed, Scope};
use serde_json::json;

use super::{containers::already_running, system::blocking};
use crate::{
    app::App,
    convert,
    http::{Call, reply, router::Outcome},
    status::Failure,
};

pub(crate) async fn list(app: Arc<App>, call: Call) -> Outcome {
    let filters = call.query.filters()?;
    filters.only(&["dangling", "label", "before", "since", "reference", "until"])?;
    let images = app.images.clone();
    let mut all = blocking(move || images.list()).await?;
    select(&app, &filters, &mut all)?;
    let shared = if call.query.truth("shared-size") {
        let images = app.images.clone();
        blocking(move || images.disk_usage()).await?.shared.into_iter().collect::<Vec<_>>()
    } else {
        Vec::new()
    };
    let size = |image: &Image| shared.iter().find(|(id, _)| *id == image.id).map(|(_, size)| *size);
    let all: Vec<_> =
        all.iter().map(|image| convert::image::summary(image, None, size(image), !call.since(44))).collect();
    Ok(reply::ok(&all))
}

fn select(app: &App, filters: &Filters, all: &mut Vec<Image>) -> Result<(), Failure> {
    if let Some(dangling) = filters.truth("dangling")? {
        all.retain(|image| image.repo_tags.is_empty() == dangling);
    }
    all.retain(|image| filters.admits_labels("label", &image.config.config.labels));
    for name in filters.get("before") {
        let created = app.images.get(name)?.created;
        all.retain(|image| image.created < created);
    }
    for name in filters.get("since") {
        let created = app.images.get(name)?.created;
        all.retain(|image| image.created > created);
    }
    for text in filters.get("until") {
        let until = time::parse(text, Utc::now())
            .ok_or_else(|| Failure::invalid(format!("invalid filter 'until=[{text}]'")))?
            .timestamp();
        all.retain(|image| image.created < until);
    }
    if filters.has("reference") {
        let patterns: Vec<_> = filters.get("reference").collect();
        for image in all.iter_mut() {
            image.repo_tags.retain(|tag| patterns.iter().any(|pattern| names(pattern, tag, ':')));
            image.repo_digests.retain(|digest| patterns.iter().any(|pattern| names(pattern, digest, '@')));
        }
        all.retain(|image| !image.repo_tags.is_empty() || !image.repo_digests.is_empty());
    }
    Ok(())
}

/// Whether a pattern names a reference, with its tag or without.
fn names(pattern: &str, reference: &str, separator: char) -> bool {
    let bare = reference.rsplit_once(separator).map_or(reference, |(bare, _)| bare);
    glob(pattern, reference) || glob(pattern, bare)
}

/// Go's `path.Match` without classes: `*` and `?` stop at slashes.
fn glob(pattern: &str, text: &str) -> bool {
    let mut pattern_chars = pattern.chars();
    match pattern_chars.next() {
        None => text.is_empty(),
        Some('*') => {
            let rest = pattern_chars.as_str();
            let end = text.find('/').unwrap_or(text.len());
            let mut starts = text[..end].char_indices().map(|(at, _)| at).chain([end]);
            starts.any(|at| glob(rest, &text[at..]))
        }
        Some(wanted) => {
            let mut text_chars = text.chars();
            match text_chars.next() {
                Some(found) if found == wanted || (wanted == '?' && found != '/') => {
                    glob(pattern_chars.as_str(), text_chars.as_str())
                }
                _ => false,
            }
        }
    }
}

pub(crate) async fn inspect(app: Arc<App>, call: Call) -> Outcome {
    let image = app.images.get(&call.name)?;
    Ok(reply::ok(&convert::image::inspect(&image, !call.since(44))))
}

pub(crate) async fn history(app: Arc<App>, call: Call) -> Outcome {
    let (images, name) = (app.images.clone(), call.name);
    let rows = blocking(move || images.history(&name)).await?;
    Ok(reply::ok(&rows.into_iter().map(convert::image::history).collect::<Vec<_>>()))
}

/// Tells that something happened to an image.
pub(crate) fn tell(app: &App, action: &str, id: &str, name: &str) {
    let labels = app.images.get(id).map(|image| image.config.config.labels.clone()).unwrap_or_default();
    let mut attributes: BTreeMap<_, _> = labels;
    attributes.insert("name".to_owned(), name.to_owned());
    app.publish(Kind::Image, action, id, attributes);
}

pub(crate) async fn tag(app: Arc<App>, call: Call) -> Outcome {
    let repository: Reference = call.query.text("repo").parse()?;
    if repository.digest().is_some() {
        return Err(Failure::invalid("refusing to create a tag with a digest reference"));
    }
    let target = match call.query.some("tag") {
        Some(tag) => repository.with_tag(tag)?,
        None => repository.or_latest(),
    };
    let image = app.images.get(&call.name)?;
    app.images.tag(&call.name, &target)?;
    tell(&app, "tag", image.id.as_str(), &target.familiar());
    Ok(reply::empty(StatusCode::CREATED))
}

pub(crate) async fn remove(app: Arc<App>, call: Call) -> Outcome {
    let containers = app.containers().await.clone();
    let in_use = move |id: &ImageId| {
        let users = containers.using_image(id.as_str());
        users
            .into_iter()
            .map(|container| pintle_image::Holder {
                running: containers.inspect(&container).is_ok_and(|container| container.life.is_running()),
                container,
            })
            .collect::<Vec<_>>()
    };
    let id = app.images.get(&call.name)?.id;
    let removed = app
        .images
        .remove(&call.name, call.query.truth("force"), !call.query.truth("noprune"), &in_use)
        .await?;
    tell_removed(&app, id.as_str(), &removed);
    Ok(reply::ok(&removed.iter().map(convert::image::deleted).collect::<Vec<_>>()))
}

fn tell_removed(app: &App, id: &str, removed: &[Removed]) {
    for removed in removed {
        match removed {
            Removed::Untagged(name) => tell(app, "untag", id, name),
            Removed::Deleted(id) => tell(app, "delete", id, id),
        }
    }
}

pub(crate) async fn prune(app: Arc<App>, call: Call) -> Outcome {
    let filters = call.query.filters()?;
    filters.only(&["dangling", "label", "label!", "until"])?;
    let dangling_only = filters.truth("dangling")?.unwrap_or(true);
    let until = match filters.get("until").next() {
        None => None,
        Some(text) => Some(
            time::parse(text, Utc::now())
                .ok_or_else(|| Failure::invalid(format!("invalid filter 'until=[{text}]'")))?
                .timestamp(),
        ),
    };
    let containers = app.containers().await.clone();
    let _one = app.prunes.images.try_lock().map_err(|_| already_running())?;
    let images = app.images.clone();
    let keep = move |id: &ImageId| {
        if !containers.using_image(id.as_str()).is_empty() {
            return true;
        }
        let Ok(image) = images.get(id.as_str()) else { return false };
        let labels = &image.config.config.labels;
        let shielded = |wanted: &str| match wanted.split_once('=') {
            Some((key, value)) => labels.get(key).is_some_and(|have| have == value),
            None => labels.contains_key(wanted),
        };
        !filters.admits_labels("label", labels)
            || filters.get("label!").any(shielded)
            || until.is_some_and(|until| image.created >= until)
    };
    let (removed, space_reclaimed) = app.images.prune(dangling_only, &keep).await?;
    for one in &removed {
        if let Removed::Deleted(id) = one {
            tell(&app, "delete", id, id);
        }
    }
    let attributes = BTreeMap::from([("reclaimed".to_owned(), space_reclaimed.to_string())]);
    app.publish(Kind::Image, "prune", "", attributes);
    let deleted: Vec<_> = removed.iter().map(convert::image::deleted).collect();
    Ok(reply::ok(&Pruned { images_deleted: (!deleted.is_empty()).then_some(deleted), space_reclaimed }))
}

/// What a registry has under a name.
pub(crate) async fn distribution(app: Arc<App>, call: Call) -> Outcome {
    let reference: Reference = call.name.parse()?;
    let reference = reference.or_latest();
    let resolved = app.images.registry().resolve(&reference, &call.auth(), Scope::Repository, None).await?;
    Ok(reply::ok(&json!({
        "Descriptor": {
            "mediaType": resolved.media_type,
            "digest": resolved.manifest_digest.to_string(),
            "size": resolved.manifest_bytes.len(),
        },
        "Platforms": [{ "architecture": super::system::architecture(), "os": "linux" }],
    })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_name_references() {
        assert!(names("busybox", "busybox:latest", ':'));
        assert!(names("busy*", "busybox:latest", ':'));
        assert!(names("busybox:l*t", "busybox:latest", ':'));
        assert!(names("*/app", "me/app:1", ':'));
        assert!(!names("*", "me/app:1", ':'));
        assert!(!names("busyb?x:1", "busybox:latest", ':'));
        assert!(names("a@*", "a@sha256:00", '@'));
    }
}
