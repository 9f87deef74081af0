//! Volumes.

use std::sync::Arc;

use http::StatusCode;
use pintle_api::volume::{CreateRequest, List, Pruned};
use pintle_engine::volumes::{Filters, PruneFilters};

use super::containers::already_running;
use crate::{
    app::App,
    convert,
    http::{Call, reply, router::Outcome},
    status::Failure,
};

const NO_SWARM: &str = "volume update only valid for cluster volumes, but swarm is unavailable";

pub(crate) async fn list(app: Arc<App>, call: Call) -> Outcome {
    let filters = Filters::new(&convert::filters(&call.query.filters()?))?;
    let (volumes, warnings) = app.volumes.list(&filters).await;
    Ok(reply::ok(&List {
        volumes: volumes.into_iter().map(|volume| convert::volume::volume(volume, false)).collect(),
        warnings: (!warnings.is_empty()).then_some(warnings),
    }))
}

pub(crate) async fn create(app: Arc<App>, mut call: Call) -> Outcome {
    let request: CreateRequest = call.json()?;
    if request.cluster_volume_spec.is_some() {
        return super::absent::swarm(app, call).await;
    }
    let name = Some(request.name.as_str()).filter(|name| !name.is_empty());
    let volume = app
        .volumes
        .create(
            name,
            &request.driver,
            request.driver_opts.unwrap_or_default(),
            request.labels.unwrap_or_default(),
        )
        .await?;
    Ok(reply::json(StatusCode::CREATED, &convert::volume::volume(volume, false)))
}

pub(crate) async fn inspect(app: Arc<App>, call: Call) -> Outcome {
    let volume = app.volumes.inspect(&call.name).await?;
    Ok(reply::ok(&convert::volume::volume(volume, true)))
}

pub(crate) async fn update(_: Arc<App>, _: Call) -> Outcome {
    Err(Failure::unavailable(NO_SWARM))
}

pub(crate) async fn remove(app: Arc<App>, call: Call) -> Outcome {
    app.volumes.remove(&call.name, call.query.truth("force")).await?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}

pub(crate) async fn prune(app: Arc<App>, call: Call) -> Outcome {
    let filters = PruneFilters::new(&convert::filters(&call.query.filters()?), call.since(42))?;
    // Which volumes are used is known when the containers are.
    app.containers().await;
    let _one = app.prunes.volumes.try_lock().map_err(|_| already_running())?;
    let pruned = app.volumes.prune(&filters).await?;
    Ok(reply::ok(&Pruned { volumes_deleted: pruned.volumes, space_reclaimed: pruned.reclaimed }))
}
