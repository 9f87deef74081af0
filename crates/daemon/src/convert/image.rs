//! Images in the API's shapes.

use chrono::DateTime;
use pintle_api::{
    container::{Config, Descriptor, DescriptorPlatform, Words},
    image::{Deleted, HistoryEntry, Inspect, Metadata, RootFs, Summary},
    inspect::GraphDriver,
    time,
};
use pintle_image::{Image, Removed};

fn signed(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

/// One entry of `GET /images/json`. Sizes that are not asked for are -1, as are counts.
pub(crate) fn summary(
    image: &Image,
    containers: Option<usize>,
    shared: Option<u64>,
    with_virtual_size: bool,
) -> Summary {
    Summary {
        containers: containers.map_or(-1, |count| i64::try_from(count).unwrap_or(i64::MAX)),
        created: image.created,
        id: image.id.to_string(),
        labels: (!image.config.config.labels.is_empty()).then(|| image.config.config.labels.clone()),
        parent_id: image.parent.as_ref().map(ToString::to_string).unwrap_or_default(),
        repo_digests: Some(image.repo_digests.clone()),
        repo_tags: Some(image.repo_tags.clone()),
        shared_size: shared.map_or(-1, signed),
        size: signed(image.size),
        virtual_size: with_virtual_size.then(|| signed(image.size)),
    }
}

/// The manifest that an image came with, as its containers show it.
pub(crate) fn manifest(image: &Image) -> Option<Descriptor> {
    let manifest = image.manifest.as_ref()?;
    let platform = image.config.platform();
    Some(Descriptor {
        media_type: manifest.media_type.clone(),
        digest: manifest.digest.to_string(),
        size: manifest.size,
        platform: DescriptorPlatform {
            architecture: platform.architecture,
            os: platform.os,
            variant: platform.variant.unwrap_or_default(),
        },
    })
}

/// Directories as overlayfs takes them, the topmost first.
pub(crate) fn stacked(dirs: &[std::path::PathBuf]) -> String {
    let dirs: Vec<_> = dirs.iter().rev().map(|dir| dir.to_string_lossy().into_owned()).collect();
    dirs.join(":")
}

/// `GET /images/{name}/json`.
pub(crate) fn inspect(image: &Image, with_virtual_size: bool) -> Inspect {
    let config = &image.config;
    let run = &config.config;
    let data = match image.layer_dirs.split_last() {
        None => None,
        Some((top, lower)) => {
            let mut data = pintle_api::StringMap::new();
            data.insert("UpperDir".to_owned(), top.to_string_lossy().into_owned());
            if !lower.is_empty() {
                data.insert("LowerDir".to_owned(), stacked(lower));
            }
            Some(data)
        }
    };
    Inspect {
        id: image.id.to_string(),
        repo_tags: image.repo_tags.clone(),
        repo_digests: image.repo_digests.clone(),
        parent: image.parent.as_ref().map(ToString::to_string).unwrap_or_default(),
        comment: config.comment.clone(),
        created: config.created.clone(),
        docker_version: config.docker_version.clone(),
        author: config.author.clone(),
        config: Some(Config {
            user: run.user.clone(),
            exposed_ports: run
                .exposed_ports
                .keys()
                .map(|port| (port.clone(), pintle_api::Empty {}))
                .collect(),
            env: (!run.env.is_empty()).then(|| run.env.clone()),
            cmd: Words(run.cmd.clone()),
            healthcheck: run
                .healthcheck
                .clone()
                .and_then(|check| pintle_api::decode::decode_value(check).ok()),
            volumes: (!run.volumes.is_empty())
                .then(|| run.volumes.keys().map(|path| (path.clone(), pintle_api::Empty {})).collect()),
            working_dir: run.working_dir.clone(),
            entrypoint: Words(run.entrypoint.clone()),
            on_build: (!run.on_build.is_empty()).then(|| run.on_build.clone()),
            labels: (!run.labels.is_empty()).then(|| run.labels.clone()),
            stop_signal: run.stop_signal.clone(),
            shell: Words(run.shell.clone()),
            ..Config::default()
        }),
        architecture: config.architecture.clone(),
        variant: config.variant.clone().unwrap_or_default(),
        os: config.os.clone(),
        os_version: config.os_version.clone().unwrap_or_default(),
        size: signed(image.size),
        virtual_size: with_virtual_size.then(|| signed(image.size)),
        graph_driver: GraphDriver { name: "overlay2".to_owned(), data },
        root_fs: RootFs {
            kind: "layers".to_owned(),
            layers: image.layers.iter().map(ToString::to_string).collect(),
        },
        metadata: Metadata {
            last_tag_time: time::or_never(image.last_tagged.and_then(|at| DateTime::from_timestamp(at, 0))),
        },
    }
}

/// One row of a history.
pub(crate) fn history(entry: pintle_image::HistoryEntry) -> HistoryEntry {
    HistoryEntry {
        comment: entry.comment,
        created: entry.created,
        created_by: entry.created_by,
        id: entry.id,
        size: signed(entry.size),
        tags: (!entry.tags.is_empty()).then_some(entry.tags),
    }
}

/// What a removal did.
pub(crate) fn deleted(removed: &Removed) -> Deleted {
    match removed {
        Removed::Untagged(name) => Deleted { untagged: name.clone(), ..Deleted::default() },
        Removed::Deleted(id) | Removed::Layer(id) => Deleted { deleted: id.clone(), ..Deleted::default() },
    }
}
