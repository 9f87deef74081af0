//! Images that are here: list, inspect, tag, remove. [`super::transfer`] brings and takes them.

use std::{collections::BTreeMap, sync::Arc};

use chrono::{DateTime, Utc};
use http::StatusCode;
use pintle_api::{Filters, image::Pruned, time};
use pintle_engine::events::Kind;
use pintle_image::{Image, ImageId, Platform, Reference, Removed};
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
    // Steps of builds on the way to others are no images that anybody made.
    if !call.query.truth("all") {
        let steps: std::collections::HashSet<ImageId> = all_parents(&app)?;
        all.retain(|image| {
            !image.repo_tags.is_empty() || !image.repo_digests.is_empty() || !steps.contains(&image.id)
        });
    }
    let shared = if call.since(42) && call.query.truth("shared-size") {
        let images = app.images.clone();
        blocking(move || images.disk_usage()).await?.shared.into_iter().collect::<Vec<_>>()
    } else {
        Vec::new()
    };
    let size = |image: &Image| shared.iter().find(|(id, _)| *id == image.id).map(|(_, size)| *size);
    // How many containers an image has is known from their records: this does not wait for their restoration.
    let users = |image: &Image| call.since(51).then(|| app.containers.using_image(image.id.as_str()).len());
    let summary = |image: &Image| {
        let mut summary = convert::image::summary(image, users(image), size(image), !call.since(44));
        if !call.since(43) {
            convert::legacy::unnamed(&mut summary);
        }
        summary
    };
    Ok(reply::ok(&all.iter().map(summary).collect::<Vec<_>>()))
}

fn all_parents(app: &App) -> Result<std::collections::HashSet<ImageId>, Failure> {
    Ok(app.images.list()?.into_iter().filter_map(|image| image.parent).collect())
}

fn select(app: &App, filters: &Filters, all: &mut Vec<Image>) -> Result<(), Failure> {
    if let Some(dangling) = filters.truth("dangling")? {
        all.retain(|image| image.repo_tags.is_empty() == dangling);
    }
    all.retain(|image| filters.admits_labels("label", &image.config.config.labels));
    for name in filters.get("before") {
        let created = made(&app.images.get(name)?);
        all.retain(|image| made(image) < created);
    }
    for name in filters.get("since") {
        let created = made(&app.images.get(name)?);
        all.retain(|image| made(image) > created);
    }
    for text in filters.get("until") {
        let until = time::parse(text, Utc::now())
            .ok_or_else(|| Failure::invalid(format!("invalid filter 'until=[{text}]'")))?;
        all.retain(|image| made(image) < until);
    }
    if filters.has("reference") {
        let patterns: Vec<_> = filters.get("reference").collect();
        if !patterns.iter().all(|pattern| is_pattern(pattern)) {
            return Err(Failure::invalid("syntax error in pattern"));
        }
        for image in all.iter_mut() {
            image.repo_tags.retain(|tag| patterns.iter().any(|pattern| names(pattern, tag, ':')));
            image.repo_digests.retain(|digest| patterns.iter().any(|pattern| names(pattern, digest, '@')));
        }
        all.retain(|image| !image.repo_tags.is_empty() || !image.repo_digests.is_empty());
    }
    Ok(())
}

/// When an image was made, as exactly as it says.
fn made(image: &Image) -> DateTime<Utc> {
    let said = image.config.created.as_deref().and_then(|text| DateTime::parse_from_rfc3339(text).ok());
    said.map(|said| said.to_utc()).unwrap_or_default()
}

/// Whether a pattern names a reference, with its tag or without; the whole name of one on Docker Hub does, too.
fn names(pattern: &str, reference: &str, separator: char) -> bool {
    let pattern = pattern
        .strip_prefix("docker.io/")
        .map_or(pattern, |path| path.strip_prefix("library/").unwrap_or(path));
    let bare = reference.rsplit_once(separator).map_or(reference, |(bare, _)| bare);
    glob(pattern, reference) || glob(pattern, bare)
}

/// Go's `path.Match`: `*` and `?` stop at slashes, `[a-z]` and `[^a-z]` are classes, a backslash takes the next
/// character as it is.
fn glob(pattern: &str, text: &str) -> bool {
    let mut pattern_chars = pattern.chars();
    let mut text_chars = text.chars();
    match pattern_chars.next() {
        None => text.is_empty(),
        Some('*') => {
            let rest = pattern_chars.as_str();
            let end = text.find('/').unwrap_or(text.len());
            let mut starts = text[..end].char_indices().map(|(at, _)| at).chain([end]);
            starts.any(|at| glob(rest, &text[at..]))
        }
        Some('?') => {
            text_chars.next().is_some_and(|found| found != '/')
                && glob(pattern_chars.as_str(), text_chars.as_str())
        }
        Some('[') => {
            let Some(found) = text_chars.next().filter(|found| *found != '/') else { return false };
            match class(pattern_chars.as_str(), found) {
                Some((true, rest)) => glob(rest, text_chars.as_str()),
                _ => false,
            }
        }
        Some('\\') => match pattern_chars.next() {
            Some(wanted) => {
                text_chars.next() == Some(wanted) && glob(pattern_chars.as_str(), text_chars.as_str())
            }
            None => false,
        },
        Some(wanted) => {
            text_chars.next() == Some(wanted) && glob(pattern_chars.as_str(), text_chars.as_str())
        }
    }
}

/// Whether a class, given without its opening bracket, has a character, and what follows the class. `None`: it is
/// not well formed.
fn class(pattern: &str, found: char) -> Option<(bool, &str)> {
    let (negated, rest) = match pattern.strip_prefix('^') {
        Some(rest) => (true, rest),
        None => (false, pattern),
    };
    let mut chars = rest.chars();
    let mut has = false;
    let mut ranges = 0;
    loop {
        let low = match chars.next()? {
            ']' if ranges > 0 => return Some((has != negated, chars.as_str())),
            '\\' => chars.next()?,
            ']' | '-' => return None,
            low => low,
        };
        let mut high = low;
        if let Some(rest) = chars.as_str().strip_prefix('-') {
            chars = rest.chars();
            high = match chars.next()? {
                '\\' => chars.next()?,
                ']' | '-' => return None,
                high => high,
            };
        }
        has |= (low..=high).contains(&found);
        ranges += 1;
    }
}

/// Whether Go would take it for a pattern.
fn is_pattern(pattern: &str) -> bool {
    let mut rest = pattern;
    loop {
        let mut chars = rest.chars();
        match chars.next() {
            None => return true,
            Some('\\') if chars.next().is_none() => return false,
            Some('[') => match class(chars.as_str(), '/') {
                Some((_, after)) => rest = after,
                None => return false,
            },
            Some(_) => rest = chars.as_str(),
        }
    }
}

pub(crate) async fn inspect(app: Arc<App>, call: Call) -> Outcome {
    let image = app.images.get(&call.name)?;
    let platform = if call.since(49) { platform(&call)? } else { None };
    if platform.is_some() && call.since(48) && call.query.truth("manifests") {
        return Err(Failure::invalid(
            "conflicting options: manifests and platform options cannot both be set",
        ));
    }
    must_be_for(&call.name, &image, platform.as_ref())?;
    Ok(reply::ok(&convert::legacy::image(convert::image::inspect(&image, !call.since(44)), call.version)?))
}

/// The platform that newer clients may ask for, as JSON.
pub(super) fn platform(call: &Call) -> Result<Option<Platform>, Failure> {
    #[derive(serde::Deserialize, Default)]
    #[serde(default)]
    struct Wanted {
        os: String,
        architecture: String,
        variant: String,
    }
    let texts: Vec<_> = call.query.all("platform").into_iter().filter(|text| !text.is_empty()).collect();
    let text = match texts.as_slice() {
        [] => return Ok(None),
        [one] => one,
        _ => {
            return Err(Failure::invalid(
                "multiple platform parameters are not supported in this API version; use API version 1.52 or later",
            ));
        }
    };
    let wanted: Wanted = serde_json::from_str(text)
        .map_err(|error| Failure::invalid(format!("failed to parse platform: {error}")))?;
    if wanted.os.is_empty() || wanted.architecture.is_empty() {
        return Err(Failure::invalid("both OS and Architecture must be provided"));
    }
    let variant = Some(wanted.variant).filter(|variant| !variant.is_empty());
    Ok(Some(Platform { os: wanted.os, architecture: wanted.architecture, variant }))
}

/// An image is of one platform here.
pub(super) fn must_be_for(name: &str, image: &Image, wanted: Option<&Platform>) -> Result<(), Failure> {
    let own = image.config.platform();
    match wanted {
        Some(wanted) if wanted.accepts(&own).is_none() => Err(Failure::not_found(format!(
            "image with reference {name} was found but its platform ({own}) does not match the specified platform \
             ({wanted})"
        ))),
        _ => Ok(()),
    }
}

pub(crate) async fn history(app: Arc<App>, call: Call) -> Outcome {
    if call.since(48)
        && let Some(platform) = platform(&call)?
    {
        must_be_for(&call.name, &app.images.get(&call.name)?, Some(&platform))?;
    }
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
    if target.familiar_name() == "sha256" {
        return Err(Failure::invalid("refusing to create an ambiguous tag using digest algorithm as name"));
    }
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
            // Docker names the image here, not the name that went.
            Removed::Untagged(_) => tell(app, "untag", id, id),
            Removed::Deleted(id) => tell(app, "delete", id, id),
            Removed::Layer(_) => {}
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
                .ok_or_else(|| Failure::invalid(format!("invalid filter 'until=[{text}]'")))?,
        ),
    };
    let containers = app.containers().await.clone();
    let _one = app.prunes.images.try_lock().map_err(|_| already_running())?;
    let (images, builder) = (app.images.clone(), app.builder.clone());
    let keep = move |id: &ImageId| {
        if !containers.using_image(id.as_str()).is_empty() || builder.holds(id) {
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
            || until.is_some_and(|until| made(&image) >= until)
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
    let offer = app.images.registry().offer(&reference, &call.auth()).await?;
    let platform = |platform: &Platform| {
        let mut shown = json!({ "architecture": platform.architecture, "os": platform.os });
        if let Some(variant) = &platform.variant {
            shown["variant"] = variant.as_str().into();
        }
        shown
    };
    Ok(reply::ok(&json!({
        "Descriptor": {
            "mediaType": offer.descriptor.media_type,
            "digest": offer.descriptor.digest.to_string(),
            "size": offer.descriptor.size,
        },
        "Platforms": offer.platforms.iter().map(platform).collect::<Vec<_>>(),
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
        assert!(names("[a-c]usy[^x]ox", "busybox:latest", ':'));
        assert!(!names("[^b]usybox", "busybox:latest", ':'));
        assert!(names("bus\\ybox", "busybox:latest", ':'));
        assert!(!names("a[/]b", "a/b", ':'));
        assert!(names("docker.io/library/busybox:*", "busybox:latest", ':'));
        assert!(names("docker.io/me/app", "me/app:1", ':'));
        assert!(!names("docker.io/busybox", "me/busybox:1", ':'));
    }

    #[test]
    fn broken_patterns_are_told_from_others() {
        for pattern in
            ["", "*", "a[b-d]e", "[^]-]x", "[]", "[a", "a[", "[a-]", "[-a]", "x\\", "[\\]]", "[a-b-c]"]
        {
            let good = matches!(pattern, "" | "*" | "a[b-d]e" | "[\\]]");
            assert_eq!(is_pattern(pattern), good, "{pattern}");
        }
    }
}
