//! `GET /containers/{id}/logs`.

use std::sync::Arc;

use chrono::{DateTime, SecondsFormat, Utc};
use futures_util::StreamExt;
use pintle_api::time;
use pintle_engine::containers::LogOptions;
use serde_json::{Value, json};

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

/// Not Docker's: a regular expression that lines have to match.
pub(crate) fn grep(query: &Query) -> Result<Option<regex::bytes::Regex>, Failure> {
    let pattern = |text| regex::bytes::RegexBuilder::new(text).size_limit(LARGEST_PATTERN).build();
    let failure = |error| Failure::invalid(format!("invalid value for \"grep\": {error}"));
    query.some("grep").map(pattern).transpose().map_err(failure)
}

/// What a pattern may grow to in memory, in bytes.
const LARGEST_PATTERN: usize = 1 << 20;

/// Not Docker's: how far each driver is with each container's lines.
pub(crate) async fn deliveries(app: Arc<App>, _: Call) -> Outcome {
    let time = |at: DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::Nanos, true);
    let streams = app.containers().await.log_deliveries().await?;
    let shown: Vec<Value> = streams
        .into_iter()
        .map(|stream| {
            let (failed, error) = stream.last_error.unzip();
            json!({
                "Container": stream.container,
                "Name": stream.name,
                "Destination": stream.destination,
                "Driver": stream.driver,
                "Open": stream.open,
                "Lag": stream.lag,
                "Delivered": stream.delivered,
                "Rate": stream.rate,
                "Dropped": stream.dropped,
                "Errors": stream.errors,
                "LastError": error,
                "LastErrorAt": failed.map(time),
                "Acknowledged": stream.acknowledged.map(time),
            })
        })
        .collect();
    Ok(reply::ok(&shown))
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
        grep: grep(query)?,
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
