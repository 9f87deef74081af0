//! `/events`.

use std::sync::Arc;

use bytes::Bytes;
use chrono::Utc;
use futures_util::stream;
use pintle_api::time;
use pintle_engine::events::Filter;

use crate::{
    app::App,
    convert,
    http::{Call, reply, router::Outcome},
    status::Failure,
};

pub(crate) async fn events(app: Arc<App>, call: Call) -> Outcome {
    let at = |key: &str| match call.query.some(key) {
        None => Ok(None),
        Some(text) => match time::parse(text, Utc::now()).and_then(|time| time.timestamp_nanos_opt()) {
            Some(nanos) => Ok(Some(nanos)),
            None => Err(Failure::invalid(format!("invalid value for '{key}': {text:?} is no time"))),
        },
    };
    let (since, until) = (at("since")?, at("until")?);
    if let (Some(since), Some(until)) = (since, until)
        && since > until
    {
        let (since, until) = (call.query.text("since"), call.query.text("until"));
        return Err(Failure::invalid(format!(
            "`since` time ({since}) cannot be after `until` time ({until})"
        )));
    }
    let filter = Filter::new(&convert::filters(&call.query.filters()?))?;
    let follow = app.events.follow(since, until, filter);
    let draining = app.draining.clone();
    let pieces = stream::unfold((follow, draining), |(mut follow, draining)| async move {
        let event = tokio::select! {
            event = follow.next() => event?,
            () = draining.cancelled() => return None,
        };
        let mut line = serde_json::to_vec(&convert::event::event(&event)).unwrap_or_default();
        line.push(b'\n');
        Some((Ok(Bytes::from(line)), (follow, draining)))
    });
    Ok(reply::stream("application/json", pieces))
}
