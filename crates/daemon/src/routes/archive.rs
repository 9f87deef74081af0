//! Files into and out of containers, as tar streams.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::StatusCode;
use pintle_engine::containers::{CopyIn, PathStat};

use crate::{
    app::App,
    convert,
    http::{Answer, Call, reply, router::Outcome},
    status::Failure,
};

const TAR: &str = "application/x-tar";

fn path(call: &Call) -> Result<String, Failure> {
    match call.query.some("path") {
        Some(path) => Ok(path.to_owned()),
        None => Err(Failure::invalid("bad parameter: path cannot be empty")),
    }
}

fn with_stat(answer: Answer, stat: &PathStat) -> Result<Answer, Failure> {
    let json = serde_json::to_vec(&convert::container::path_stat(stat))
        .map_err(|error| Failure::internal(error.to_string()))?;
    Ok(reply::header(answer, "x-docker-container-path-stat", &STANDARD.encode(json)))
}

pub(crate) async fn stat(app: Arc<App>, call: Call) -> Outcome {
    let stat = app.containers().await.stat_path(&call.name, &path(&call)?).await?;
    with_stat(reply::empty(StatusCode::OK), &stat)
}

pub(crate) async fn copy_out(app: Arc<App>, call: Call) -> Outcome {
    let (stat, archive) = app.containers().await.copy_out(&call.name, &path(&call)?).await?;
    with_stat(reply::reader(TAR, archive.tar), &stat)
}

pub(crate) async fn copy_in(app: Arc<App>, call: Call) -> Outcome {
    let path = path(&call)?;
    let options = CopyIn {
        no_overwrite_dir_non_dir: call.query.truth("noOverwriteDirNonDir"),
        copy_uid_gid: call.query.truth("copyUIDGID"),
    };
    let name = call.name.clone();
    app.containers().await.copy_in(&name, &path, call.into_reader(), options).await?;
    Ok(reply::empty(StatusCode::OK))
}

pub(crate) async fn export(app: Arc<App>, call: Call) -> Outcome {
    let archive = app.containers().await.export(&call.name).await?;
    Ok(reply::reader("application/octet-stream", archive.tar))
}
