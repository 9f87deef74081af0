//! `POST /commit`.

use std::sync::Arc;

use http::StatusCode;
use pintle_api::container::Config;
use pintle_engine::containers::CommitOptions;
use pintle_image::{ContainerConfig, Reference, config::Empty};
use serde_json::json;

use super::images::tell;
use crate::{
    app::App,
    http::{Call, reply, router::Outcome},
    status::Failure,
};

pub(crate) async fn commit(app: Arc<App>, mut call: Call) -> Outcome {
    let body: Option<Config> = call.json()?;
    let query = &call.query;
    let name = match query.some("repo") {
        None => None,
        Some(repo) => {
            let repository: Reference = repo.parse()?;
            if repository.digest().is_some() {
                return Err(Failure::invalid("cannot commit to digest reference"));
            }
            Some(match query.some("tag") {
                Some(tag) => repository.with_tag(tag)?,
                None => repository.or_latest(),
            })
        }
    };
    let options = CommitOptions {
        name: name.clone(),
        author: query.text("author").to_owned(),
        comment: query.text("comment").to_owned(),
        changes: query.all("changes"),
        config: body.filter(|config| *config != Config::default()).map(of_client),
        pause: query.truth_or("pause", true),
    };
    let container = query.text("container").to_owned();
    let id = app.containers().await.commit(&container, options).await?;
    if let Some(name) = name {
        tell(&app, "tag", id.as_str(), &name.familiar());
    }
    Ok(reply::json(StatusCode::CREATED, &json!({ "Id": id.as_str() })))
}

/// What of a client's configuration an image can say.
fn of_client(config: Config) -> ContainerConfig {
    ContainerConfig {
        user: config.user,
        exposed_ports: config.exposed_ports.into_keys().map(|port| (port, Empty {})).collect(),
        env: config.env.unwrap_or_default(),
        entrypoint: config.entrypoint.0,
        cmd: config.cmd.0,
        volumes: config.volumes.unwrap_or_default().into_keys().map(|path| (path, Empty {})).collect(),
        working_dir: config.working_dir,
        labels: config.labels.unwrap_or_default(),
        stop_signal: config.stop_signal,
        shell: config.shell.0,
        on_build: config.on_build.unwrap_or_default(),
        healthcheck: config.healthcheck.and_then(|check| serde_json::to_value(check).ok()),
    }
}
