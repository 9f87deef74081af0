//! Pintle's own: what a plugin wrote, from the rotated file that its shim keeps.

use std::sync::Arc;

use futures_util::StreamExt;
use pintle_engine::containers::{LogOptions, read_log};

use super::logs::{at, grep, tail};
use crate::{
    app::App,
    hijack::offer::MULTIPLEXED,
    http::{Call, reply, router::Outcome},
};

pub(crate) async fn logs(app: Arc<App>, call: Call) -> Outcome {
    let query = &call.query;
    let options = LogOptions {
        stdout: true,
        stderr: true,
        follow: query.truth("follow"),
        since: at(query, "since")?,
        until: at(query, "until")?,
        tail: tail(query),
        timestamps: query.truth("timestamps"),
        details: false,
        grep: grep(query)?,
    };
    let path = app.host.log_path(&call.name)?;
    // A plugin that was removed writes no more; one that is disabled may be enabled again.
    let (host, name) = (app.host.clone(), call.name.clone());
    let logs = read_log(&path, options, move || host.get(&name).is_ok()).await?;
    let draining = app.draining.clone();
    let pieces = logs
        .stream
        .map(|piece| piece.map_err(std::io::Error::other))
        .take_until(async move { draining.cancelled().await });
    Ok(reply::stream(MULTIPLEXED, pieces))
}
