//! `GET /containers/{id}/stats`.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::stream;
use pintle_api::stats::Stats;
use pintle_engine::containers::Container;

use crate::{
    app::App,
    convert,
    http::{Call, reply, router::Outcome},
    status::Failure,
};

const INTERVAL: Duration = Duration::from_secs(1);

pub(crate) async fn stats(app: Arc<App>, call: Call) -> Outcome {
    let container = app.containers().await.inspect(&call.name)?;
    let first = sample(&app, &container).await?;
    if !call.query.truth_or("stream", true) {
        if call.query.truth("one-shot") {
            return Ok(reply::ok(&first));
        }
        tokio::time::sleep(INTERVAL).await;
        let second = sample(&app, &container).await?;
        return Ok(reply::ok(&convert::stats::after(second, &first)));
    }
    let draining = app.draining.clone();
    let pieces =
        stream::unfold((app, container, Some(first), None), move |(app, container, ready, before)| {
            let draining = draining.clone();
            async move {
                let now = match ready {
                    Some(first) => first,
                    None => {
                        tokio::select! {
                            () = tokio::time::sleep(INTERVAL) => {}
                            () = draining.cancelled() => return None,
                        }
                        sample(&app, &container).await.ok()?
                    }
                };
                let now = match &before {
                    Some(before) => convert::stats::after(now, before),
                    None => now,
                };
                let mut line = serde_json::to_vec(&now).ok()?;
                line.push(b'\n');
                Some((Ok(Bytes::from(line)), (app, container, None, Some(now))))
            }
        });
    Ok(reply::stream("application/json", pieces))
}

async fn sample(app: &App, container: &Container) -> Result<Stats, Failure> {
    let name = format!("/{}", container.name);
    Ok(match app.containers().await.stats(&container.id).await? {
        Some(stats) => convert::stats::sample(&container.id, &name, &stats),
        // A container that does not run uses nothing.
        None => convert::stats::nothing(&container.id, &name),
    })
}
