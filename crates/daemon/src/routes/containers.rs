//! What changes containers.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use http::StatusCode;
use pintle_api::container::{
    CreateRequest, Created, FilesystemChange, Pruned, Top, UpdateRequest, Updated, WaitError, WaitResponse,
};
use pintle_engine::{
    containers::{RemoveOptions, StopOptions, WaitCondition},
    events::Kind,
};
use pintle_image::ChangeKind;

use crate::{
    app::App,
    convert,
    http::{Call, reply, router::Outcome},
    status::Failure,
};

pub(crate) async fn create(app: Arc<App>, mut call: Call) -> Outcome {
    let request: CreateRequest = call.json()?;
    let (config, mut host, networking) = request.into_parts();
    if config == pintle_api::container::Config::default() {
        return Err(Failure::invalid("config cannot be empty in order to create a container"));
    }
    convert::legacy::mounts(&mut host, call.version)?;
    let platform = call.query.some("platform").map(str::to_owned);
    let (mut spec, mut warnings) =
        convert::spec::spec(config, host, networking, platform, call.version, &app.config.load())?;
    spec.read_only_shallow = !call.since(44);
    spec.judged = call.judged.iter().map(|bind| (bind.source.clone(), bind.resolved.clone())).collect();
    let created = app.containers().await.create(call.query.some("name"), spec).await?;
    warnings.extend(created.warnings);
    Ok(reply::json(StatusCode::CREATED, &Created { id: created.id, warnings }))
}

pub(crate) async fn start(app: Arc<App>, call: Call) -> Outcome {
    app.containers().await.start(&call.name).await?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}

fn stop_options(call: &Call) -> Result<StopOptions, Failure> {
    Ok(StopOptions { signal: call.query.some("signal").map(str::to_owned), timeout: call.query.number("t")? })
}

pub(crate) async fn stop(app: Arc<App>, call: Call) -> Outcome {
    app.containers().await.stop(&call.name, stop_options(&call)?).await?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}

pub(crate) async fn restart(app: Arc<App>, call: Call) -> Outcome {
    app.containers().await.restart(&call.name, stop_options(&call)?).await?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}

pub(crate) async fn kill(app: Arc<App>, call: Call) -> Outcome {
    app.containers().await.kill(&call.name, call.query.text("signal")).await?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}

pub(crate) async fn pause(app: Arc<App>, call: Call) -> Outcome {
    app.containers().await.pause(&call.name).await?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}

pub(crate) async fn unpause(app: Arc<App>, call: Call) -> Outcome {
    app.containers().await.unpause(&call.name).await?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}

pub(crate) async fn rename(app: Arc<App>, call: Call) -> Outcome {
    app.containers().await.rename(&call.name, call.query.text("name")).await?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}

/// Height and width.
pub(crate) fn size(call: &Call) -> Result<(u16, u16), Failure> {
    let side = |key, name| {
        let text = call.query.text(key);
        text.parse::<u32>().map(|side| u16::try_from(side).unwrap_or(u16::MAX)).map_err(|_| {
            let number = text.strip_prefix('-').unwrap_or(text);
            let is_number = !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit());
            let why = if is_number { "value out of range" } else { "invalid syntax" };
            Failure::invalid(format!("invalid resize {name} {text:?}: {why}"))
        })
    };
    Ok((side("h", "height")?, side("w", "width")?))
}

pub(crate) async fn resize(app: Arc<App>, call: Call) -> Outcome {
    let (height, width) = size(&call)?;
    app.containers().await.resize(&call.name, height, width).await?;
    Ok(reply::empty(StatusCode::OK))
}

pub(crate) async fn update(app: Arc<App>, mut call: Call) -> Outcome {
    let request: UpdateRequest = call.json()?;
    let warnings = app.containers().await.update(&call.name, convert::spec::update(request)?).await?;
    Ok(reply::ok(&Updated { warnings: (!warnings.is_empty()).then_some(warnings) }))
}

/// The headers go out at once: clients start the container when they know that they are waiting for it.
pub(crate) async fn wait(app: Arc<App>, call: Call) -> Outcome {
    let condition = match call.query.text("condition") {
        "" | "not-running" => WaitCondition::NotRunning,
        "next-exit" => WaitCondition::NextExit,
        "removed" => WaitCondition::Removed,
        other => return Err(Failure::invalid(format!("invalid condition: {other:?}"))),
    };
    let waiting = app.containers().await.wait(&call.name, condition)?;
    let draining = app.draining.clone();
    let answer = async move {
        let waited = tokio::select! {
            waited = waiting => waited,
            () = draining.cancelled() => return Err(std::io::Error::other("the engine is going down")),
        };
        let error = waited.error.map(|message| WaitError { message });
        let mut line = serde_json::to_vec(&WaitResponse { status_code: waited.code, error })?;
        line.push(b'\n');
        Ok(Bytes::from(line))
    };
    Ok(reply::stream("application/json", stream::once(answer)))
}

pub(crate) async fn remove(app: Arc<App>, call: Call) -> Outcome {
    if call.query.truth("link") {
        app.containers().await.unlink(&call.name).await?;
        return Ok(reply::empty(StatusCode::NO_CONTENT));
    }
    let options = RemoveOptions { force: call.query.truth("force"), volumes: call.query.truth("v") };
    app.containers().await.remove(&call.name, options).await?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}

pub(crate) async fn top(app: Arc<App>, call: Call) -> Outcome {
    let top = app.containers().await.top(&call.name, call.query.text("ps_args")).await?;
    Ok(reply::ok(&Top { processes: top.processes, titles: top.titles }))
}

pub(crate) async fn changes(app: Arc<App>, call: Call) -> Outcome {
    let changes = app.containers().await.changes(&call.name).await?;
    let change = |change: pintle_image::Change| FilesystemChange {
        path: change.path,
        kind: match change.kind {
            ChangeKind::Modified => 0,
            ChangeKind::Added => 1,
            ChangeKind::Deleted => 2,
        },
    };
    let changes: Vec<_> = changes.into_iter().map(change).collect();
    // As in Docker, nothing changed is null.
    Ok(reply::ok(&(!changes.is_empty()).then_some(changes)))
}

pub(crate) fn already_running() -> Failure {
    Failure::new(StatusCode::CONFLICT, "a prune operation is already running")
}

pub(crate) async fn prune(app: Arc<App>, call: Call) -> Outcome {
    let filters = call.query.filters()?;
    filters.only(&["label", "label!", "until"])?;
    let _one = app.prunes.containers.try_lock().map_err(|_| already_running())?;
    let pruned = app.containers().await.prune(&convert::filters(&filters)).await?;
    let attributes = [("reclaimed".to_owned(), pruned.space_reclaimed.to_string())].into();
    app.publish(Kind::Container, "prune", "", attributes);
    Ok(reply::ok(&Pruned {
        containers_deleted: (!pruned.deleted.is_empty()).then_some(pruned.deleted),
        space_reclaimed: pruned.space_reclaimed,
    }))
}
