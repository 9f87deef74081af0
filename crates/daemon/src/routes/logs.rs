//! `GET /containers/{id}/logs`.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use futures_util::StreamExt;
use pintle_api::time;
use pintle_engine::containers::LogOptions;

use super::attach::content_type;
use crate::{
    app::App,
    http::{Call, Query, reply, router::Outcome},
    status::Failure,
};

/// A time in the query; none if it is absent or zero.
pub(crate) fn at(query: &Query, key: &str) -> Result<Option<DateTime<Utc>>, Failure> {
    match query.some(key) {
        None | Some("0") => Ok(None),
        Some(text) => time::parse(text, Utc::now())
            .map(Some)
            .ok_or_else(|| Failure::invalid(format!("invalid value for {key:?}: {text:?} is no time"))),
    }
}

/// `all`, and whatever is no number, is everything.
pub(crate) fn tail(query: &Query) -> Option<usize> {
    query.text("tail").parse().ok()
}

pub(crate) async fn logs(app: Arc<App>, call: Call) -> Outcome {
    let query = &call.query;
    let options = LogOptions {
        stdout: query.truth("stdout"),
        stderr: query.truth("stderr"),
        follow: query.truth("follow"),
        since: at(query, "since")?,
        until: at(query, "until")?,
        tail: tail(query),
        timestamps: query.truth("timestamps"),
        details: query.truth("details"),
    };
    if !options.stdout && !options.stderr {
        return Err(Failure::invalid("Bad parameters: you must choose at least one stream"));
    }
    let logs = app.containers().await.logs(&call.name, options).await?;
    let draining = app.draining.clone();
    let pieces = logs
        .stream
        .map(|piece| piece.map_err(std::io::Error::other))
        .take_until(async move { draining.cancelled().await });
    Ok(reply::stream(content_type(&call, logs.tty), pieces))
}
