//! Reading containers: list and inspect. Answers come from snapshots; nothing waits for a container.

use std::{collections::HashMap, sync::Arc};

use chrono::Utc;
use pintle_api::container::{Descriptor, Summary};
use pintle_engine::containers::{Container, ListOptions, Size};
use pintle_image::Images;
use pintle_runtime::cgroup::Setup;

use crate::{
    app::App,
    convert::{self, container::Surroundings},
    http::{Call, reply, router::Outcome},
    status::Failure,
};

pub(crate) async fn list(app: Arc<App>, call: Call) -> Outcome {
    let limit: i64 = call.query.number("limit")?.unwrap_or(0);
    let options = ListOptions {
        all: call.query.truth("all"),
        limit: usize::try_from(limit).unwrap_or(0),
        size: call.query.truth("size"),
        filters: convert::filters(&call.query.filters()?),
    };
    let containers = app.containers().await;
    let all = containers.list(options).await?;
    Ok(reply::ok(&summaries(&app, &all, call.since(48))))
}

/// What clients are told of each container of a list, with or without their images' manifests.
pub(crate) fn summaries(
    app: &App,
    all: &[(Arc<Container>, Option<Size>)],
    with_manifests: bool,
) -> Vec<Summary> {
    let mut names = ImageNames::new(&app.images);
    let now = Utc::now();
    let link_names = app.containers.link_names();
    all.iter()
        .map(|(container, size)| {
            let networks = app.containers.networks(container);
            let health = app.containers.health(&container.id);
            convert::container::summary(
                container,
                link_names.get(&container.id).map_or(&[][..], Vec::as_slice),
                &networks,
                health.as_ref(),
                *size,
                (names.of(container), with_manifests.then(|| names.manifest(container)).flatten()),
                now,
            )
        })
        .collect()
}

/// What a container's image is called now.
struct ImageNames<'a> {
    images: &'a Images,
    known: HashMap<String, Option<String>>,
    manifests: HashMap<String, Option<Descriptor>>,
}

impl<'a> ImageNames<'a> {
    fn new(images: &'a Images) -> Self {
        Self { images, known: HashMap::new(), manifests: HashMap::new() }
    }

    /// The manifest that its image came with.
    fn manifest(&mut self, container: &Container) -> Option<Descriptor> {
        if let Some(known) = self.manifests.get(&container.image_id) {
            return known.clone();
        }
        let image = self.images.get(&container.image_id).ok();
        let manifest = image.as_ref().and_then(convert::image::manifest);
        self.manifests.entry(container.image_id.clone()).or_insert(manifest).clone()
    }

    /// The name that the container was made by, or the id where that name means another image by now.
    fn of(&mut self, container: &Container) -> String {
        let name = &container.spec.image;
        let current = match self.known.get(name) {
            Some(known) => known,
            None => {
                let current = self.images.get(name).ok().map(|image| image.id.to_string());
                self.known.entry(name.clone()).or_insert(current)
            }
        };
        match current {
            Some(id) if *id != container.image_id => container.image_id.clone(),
            _ => name.clone(),
        }
    }
}

pub(crate) async fn inspect(app: Arc<App>, call: Call) -> Outcome {
    let containers = app.containers().await;
    let container = containers.inspect(&call.name)?;
    let size = if call.query.truth("size") { Some(containers.size(&container.id).await?) } else { None };
    let image = app.images.get(&container.image_id).ok();
    let around = Surroundings {
        lower: image.as_ref().map(|image| convert::image::stacked(&image.layer_dirs)).unwrap_or_default(),
        manifest: image.as_ref().filter(|_| call.since(48)).and_then(convert::image::manifest),
        dir: containers.dir(&container.id),
        log_path: containers.log_path(&container.id),
        exec_ids: containers.exec_ids(&container.id),
        health: containers.health(&container.id),
        size,
        networks: containers.networks(&container),
        links: containers.links(&container),
        version: call.version,
        cgroupns_mode: if Setup::detect() == Setup::Unified { "private" } else { "host" },
        default_shm_size: app.config.load().default_shm_size,
    };
    let inspected = convert::container::inspect(&container, around);
    if call.since(44) {
        return Ok(reply::ok(&inspected));
    }
    // Old clients know fields that newer versions dropped.
    let mut old = serde_json::to_value(&inspected).map_err(|error| Failure::internal(error.to_string()))?;
    if let Some(host) = old.get_mut("HostConfig").and_then(serde_json::Value::as_object_mut) {
        host.insert("KernelMemory".to_owned(), 0.into());
        host.insert("KernelMemoryTCP".to_owned(), 0.into());
    }
    Ok(reply::ok(&old))
}
