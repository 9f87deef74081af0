//! What the engine knows about a request beyond Docker's fields: from what is in memory, so that it never waits for a plugin.

use std::collections::BTreeMap;

use chrono::{SecondsFormat, Utc};
use pintle_contract::authorization::{Body, Context, Image, OWNER, Touched, Usage};
use serde_json::Value;

use crate::{
    app::App,
    http::{Query, call::Head, router::Route},
    identity::Client,
};

/// Requests that would make more of something.
const GROWING: [&str; 5] = [
    "/containers/create",
    "/containers/{}/start",
    "/containers/{}/update",
    "/networks/create",
    "/volumes/create",
];

/// The parts of a request that are looked at.
pub(super) struct Asked<'a> {
    pub(super) route: &'a Route,
    /// The variable part of the path.
    pub(super) name: &'a str,
    pub(super) query: &'a Query,
    pub(super) head: &'a Head,
    pub(super) body: &'a Body,
    pub(super) client: &'a Client,
}

/// The context of a request.
pub(super) async fn of(app: &App, asked: Asked<'_>) -> Context {
    let Asked { route, name, query, head, body, client } = asked;
    let pattern = route.pattern();
    let peer = &head.peer;
    let body: Value = serde_json::from_slice(body.shown()).unwrap_or_default();
    let creates = pattern == "/containers/create";
    let image = body["Image"].as_str().filter(|_| creates);
    Context {
        time: Utc::now().to_rfc3339_opts(SecondsFormat::Micros, true),
        object: name.to_owned(),
        parameters: query.to_map(),
        groups: client.groups.clone(),
        names: client.names.clone(),
        address: peer.address,
        binds: if creates { pintle_policy::input::binds(&body) } else { Vec::new() },
        touches: touches(app, &pattern, (name, query), &body).await,
        image: image.and_then(|name| app.images.get(name).ok()).map(|image| Image {
            id: image.id.to_string(),
            labels: image.config.config.labels.clone(),
            digests: image.repo_digests,
        }),
        usage: match GROWING.contains(&pattern.as_str()) {
            true => Some(usage(app, client.who()).await),
            false => None,
        },
        route: pattern,
    }
}

/// Names of objects, by their kind.
#[derive(Default)]
struct Names<'a> {
    containers: Vec<&'a str>,
    volumes: Vec<&'a str>,
    networks: Vec<&'a str>,
    images: Vec<&'a str>,
}

/// What exists of what a request names.
async fn touches(app: &App, pattern: &str, (name, query): (&str, &Query), body: &Value) -> Vec<Touched> {
    let mut names = Names::default();
    let of_exec;
    match pattern.split('/').nth(1).unwrap_or_default() {
        "containers" if pattern == "/containers/create" => joined(body, &mut names),
        "containers" if !name.is_empty() => names.containers.push(name),
        "exec" => {
            of_exec = app.containers().await.exec_inspect(name).map(|exec| exec.container).ok();
            names.containers.extend(of_exec.as_deref());
        }
        "commit" => names.containers.extend(query.some("container")),
        "volumes" if !name.is_empty() => names.volumes.push(name),
        "networks" if !name.is_empty() => {
            names.networks.push(name);
            names.containers.extend(body["Container"].as_str());
        }
        "images" if !name.is_empty() => names.images.push(name),
        _ => {}
    }
    found(app, &names).await
}

/// What a container that is created is given of others.
fn joined<'a>(body: &'a Value, names: &mut Names<'a>) {
    let host = &body["HostConfig"];
    let texts = |list: &'a Value| list.as_array().into_iter().flatten().filter_map(Value::as_str);
    for key in ["NetworkMode", "PidMode", "IpcMode"] {
        let mode = host[key].as_str().unwrap_or_default();
        match mode.strip_prefix("container:") {
            Some(container) => names.containers.push(container),
            None if key == "NetworkMode" && !mode.is_empty() => names.networks.push(mode),
            None => {}
        }
    }
    for from in texts(&host["VolumesFrom"]) {
        names.containers.push(from.split(':').next().unwrap_or_default());
    }
    for link in texts(&host["Links"]) {
        names.containers.push(link.split(':').next().unwrap_or_default());
    }
    let endpoints = body["NetworkingConfig"]["EndpointsConfig"].as_object();
    names.networks.extend(endpoints.into_iter().flatten().map(|(name, _)| name.as_str()));
    for bind in texts(&host["Binds"]) {
        let source = bind.split(':').next().unwrap_or_default();
        names.volumes.extend(Some(source).filter(|source| !source.starts_with('/')));
    }
    for mount in host["Mounts"].as_array().into_iter().flatten() {
        names.volumes.extend(mount["Source"].as_str().filter(|_| mount["Type"] == "volume"));
    }
    names.images.extend(body["Image"].as_str());
}

async fn found(app: &App, names: &Names<'_>) -> Vec<Touched> {
    let touched = |kind: &str, id: &str, name: &str, labels: &BTreeMap<String, String>| Touched {
        kind: kind.to_owned(),
        id: id.to_owned(),
        name: name.to_owned(),
        labels: labels.clone(),
    };
    let mut all = Vec::new();
    if !names.containers.is_empty() {
        let containers = app.containers().await;
        for container in names.containers.iter().filter_map(|name| containers.inspect(name).ok()) {
            all.push(touched("container", &container.id, &container.name, &container.spec.labels));
        }
    }
    for name in &names.volumes {
        all.extend(app.volumes.labels(name).map(|labels| touched("volume", name, name, &labels)));
    }
    for network in names.networks.iter().filter_map(|name| app.networks.get(name).ok()) {
        all.push(touched("network", &network.id, &network.name, &network.labels));
    }
    for name in &names.images {
        let Ok(image) = app.images.get(name) else { continue };
        all.push(touched("image", &image.id.to_string(), name, &image.config.config.labels));
    }
    all
}

/// How much carries this name.
async fn usage(app: &App, who: &str) -> Usage {
    let mut usage = Usage::default();
    let owns = |labels: &BTreeMap<String, String>| labels.get(OWNER).is_some_and(|owner| owner == who);
    for container in app.containers().await.all() {
        if !owns(&container.spec.labels) {
            continue;
        }
        let resources = &container.spec.resources;
        let limit = |value: i64| u64::try_from(value).unwrap_or_default();
        let of_quota = match (resources.cpu_quota, resources.cpu_period) {
            (quota, period) if quota > 0 => {
                quota.saturating_mul(1_000_000_000) / if period > 0 { period } else { 100_000 }
            }
            _ => 0,
        };
        usage.containers += 1;
        usage.running += u64::from(container.life.is_running());
        usage.memory = usage.memory.saturating_add(limit(resources.memory));
        usage.nano_cpus = usage.nano_cpus.saturating_add(limit(resources.nano_cpus.max(of_quota)));
    }
    usage.volumes = app.volumes.count(owns);
    let networks = app.networks.list(&pintle_engine::networks::Filters::default());
    usage.networks = networks.iter().filter(|network| owns(&network.labels)).count() as u64;
    usage
}
