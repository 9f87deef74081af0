//! `POST /build`: Docker's classic builder.

use std::{collections::BTreeMap, sync::Arc};

use base64::Engine as _;
use pintle_api::stream::Message;
use pintle_engine::{
    builder::{Context, Failed, Request},
    containers::{Resources, Ulimit},
    events::Kind,
};
use pintle_image::{Auth, ProgressEvent, Reference};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::json;

use super::{
    images::tell,
    progress::{self, Gone, usual},
};
use crate::{
    app::App,
    http::{Call, Query, reply, router::Outcome},
    status::Failure,
};

pub(crate) async fn build(app: Arc<App>, call: Call) -> Outcome {
    if call.query.text("version") == "2" {
        return Err(Failure::invalid(
            "pintle has no BuildKit: build with DOCKER_BUILDKIT=0, or load what BuildKit made elsewhere",
        ));
    }
    let quiet = call.query.truth("q");
    let (query, credentials) = (call.query.clone(), credentials(call.header("x-registry-config")));
    let context = match query.some("remote") {
        Some(address) if address != "client-session" => Context::Remote(address.to_owned()),
        _ => Context::Tar(Box::pin(call.into_reader())),
    };
    let request = request(&query, credentials)?;
    // Builds of a starting engine wait for its containers like everything that is about them.
    app.containers().await;
    let engine = Arc::clone(&app);
    let wording = if quiet { silent } else { usual };
    progress::answer(&app, Gone::Cancel, wording, move |progress| async move {
        let built = match engine.builder.build(context, request, &progress).await {
            Ok(built) => built,
            Err(Failed { error, code: None }) => return Err(error.into()),
            Err(Failed { error, code }) => {
                let mut message = Message::failure(error.message);
                if let Some(detail) = &mut message.error_detail {
                    detail.code = code;
                }
                return Ok(vec![message]);
            }
        };
        for tag in &built.tags {
            tell(&engine, "tag", built.image.as_str(), &tag.familiar());
        }
        tracing::info!(image = %built.image, "built");
        let id = Message { stream: Some(format!("{}\n", built.image)), ..Message::default() };
        Ok(if quiet { vec![id] } else { Vec::new() })
    })
    .await
}

/// Only what clients read themselves, and failures.
fn silent(event: ProgressEvent) -> Message {
    Message { aux: event.aux, ..Message::default() }
}

/// A JSON document in the query; nothing, `null` and an empty text are none.
fn document<T: DeserializeOwned + Default>(query: &Query, key: &str) -> Result<T, Failure> {
    match query.some(key) {
        None => Ok(T::default()),
        Some(text) => serde_json::from_str::<Option<T>>(text)
            .map(Option::unwrap_or_default)
            .map_err(|error| Failure::invalid(format!("error reading {key}: {error}"))),
    }
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct GivenUlimit {
    name: String,
    hard: i64,
    soft: i64,
}

fn request(query: &Query, credentials: BTreeMap<String, Auth>) -> Result<Request, Failure> {
    if query.truth("squash") {
        return Err(Failure::invalid("squash is only supported with experimental mode"));
    }
    if query.some("outputs").is_some_and(|outputs| outputs != "[]" && outputs != "null") {
        return Err(Failure::invalid("build outputs require BuildKit"));
    }
    if !matches!(query.text("isolation"), "" | "default") {
        return Err(Failure::invalid("Unsupported isolation: linux has the default one alone"));
    }
    let mut tags: Vec<Reference> = Vec::new();
    for text in query.all("t").iter().filter(|text| !text.is_empty()) {
        let tag: Reference =
            text.parse().map_err(|error| Failure::from(error).context("invalid reference format"))?;
        if tag.digest().is_some() {
            return Err(Failure::invalid("build tag cannot contain a digest"));
        }
        let tag = tag.or_latest();
        if !tags.contains(&tag) {
            tags.push(tag);
        }
    }
    let number = |key: &str| query.number::<i64>(key).map(Option::unwrap_or_default);
    let ulimits: Vec<GivenUlimit> = document(query, "ulimits")?;
    Ok(Request {
        dockerfile: query.text("dockerfile").to_owned(),
        tags,
        use_cache: !query.truth("nocache"),
        cache_from: document(query, "cachefrom")?,
        pull: query.truth("pull"),
        remove: query.truth_or("rm", true),
        force_remove: query.truth("forcerm"),
        arguments: document::<BTreeMap<String, Option<String>>>(query, "buildargs")?,
        labels: document(query, "labels")?,
        target: query.text("target").to_owned(),
        platform: query.some("platform").map(str::parse).transpose()?,
        network_mode: query.text("networkmode").to_owned(),
        extra_hosts: query
            .all("extrahosts")
            .iter()
            .flat_map(|hosts| hosts.split(',').map(str::to_owned))
            .filter(|host| !host.is_empty())
            .collect(),
        resources: Resources {
            memory: number("memory")?,
            memory_swap: number("memswap")?,
            cpu_shares: number("cpushares")?,
            cpu_period: number("cpuperiod")?,
            cpu_quota: number("cpuquota")?,
            cpuset_cpus: query.text("cpusetcpus").to_owned(),
            cpuset_mems: query.text("cpusetmems").to_owned(),
            ..Resources::default()
        },
        shm_size: number("shmsize")?,
        ulimits: ulimits
            .into_iter()
            .map(|limit| Ulimit { name: limit.name, soft: limit.soft, hard: limit.hard })
            .collect(),
        cgroup_parent: query.text("cgroupparent").to_owned(),
        security_opt: document(query, "securityopt")?,
        credentials,
    })
}

/// `X-Registry-Config`: who the client is to which registry. As in Docker a value that cannot be read is none.
fn credentials(header: &str) -> BTreeMap<String, Auth> {
    let url = base64::engine::general_purpose::URL_SAFE;
    let standard = base64::engine::general_purpose::STANDARD;
    let Ok(bytes) = url.decode(header).or_else(|_| standard.decode(header)) else { return BTreeMap::new() };
    let all: BTreeMap<String, serde_json::Value> = serde_json::from_slice(&bytes).unwrap_or_default();
    all.into_iter()
        .filter_map(|(registry, document)| {
            Some((registry, Auth::from_json(document.to_string().as_bytes()).ok()?))
        })
        .collect()
}

/// `POST /build/prune`: the cache is made of images, and goes with them.
pub(crate) async fn prune(app: Arc<App>, _: Call) -> Outcome {
    app.publish(Kind::Builder, "prune", "", BTreeMap::from([("reclaimed".to_owned(), "0".to_owned())]));
    Ok(reply::ok(&json!({ "CachesDeleted": null, "SpaceReclaimed": 0 })))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str) -> Result<Request, Failure> {
        request(&Query::parse(query), BTreeMap::new())
    }

    #[test]
    fn what_the_client_sends_is_understood() {
        let request = read(
            "t=a&t=a:latest&t=b:1&dockerfile=D&nocache=1&rm=0&buildargs=%7B%22A%22%3A%22b%22%2C%22N%22%3Anull%7D&\
             labels=%7B%22l%22%3A%22m%22%7D&memory=10&ulimits=%5B%7B%22Name%22%3A%22nofile%22%2C%22Hard%22%3A2%2C%22Soft%22%3A1%7D%5D\
             &cachefrom=%5B%5D&networkmode=default&shmsize=0&securityopt=null",
        )
        .unwrap();
        let tags: Vec<String> = request.tags.iter().map(Reference::familiar).collect();
        assert_eq!(tags, ["a:latest", "b:1"]);
        assert!(!request.use_cache && !request.remove && !request.pull);
        assert_eq!((request.arguments["A"].as_deref(), request.arguments["N"].as_deref()), (Some("b"), None));
        assert_eq!((request.labels["l"].as_str(), request.resources.memory), ("m", 10));
        assert_eq!((request.ulimits[0].hard, request.ulimits[0].soft), (2, 1));
        for refused in ["squash=1", "t=UPPER", "memory=x", "buildargs=x", "isolation=hyperv"] {
            assert!(read(refused).is_err(), "{refused}");
        }
    }

    #[test]
    fn credentials_are_by_registry() {
        let json = r#"{"https://index.docker.io/v1/":{"username":"u","password":"p"},"bad":3}"#;
        let read = credentials(&base64::engine::general_purpose::URL_SAFE.encode(json));
        assert_eq!(read["https://index.docker.io/v1/"], Auth::Basic { user: "u".into(), pass: "p".into() });
        assert!(credentials("?").is_empty());
    }
}
