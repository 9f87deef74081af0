//! Plugins that collect metrics: each is told when it may begin.

use std::{sync::Arc, time::Duration};

use crate::app::App;

/// How long all of them may take to hear that the engine goes down.
const FAREWELL: Duration = Duration::from_secs(2);

/// Tells each that comes up, until the engine drains. What they answer concerns nobody but the log, as in Docker.
pub(crate) async fn watch(app: Arc<App>) {
    let mut arrivals = app.host.arrivals();
    loop {
        let news = tokio::select! {
            () = app.draining.cancelled() => return,
            news = arrivals.next() => news,
        };
        let Some(news) = news else { return };
        for arrival in news.into_iter().filter(|arrival| arrival.metrics) {
            let app = Arc::clone(&app);
            // One that hangs keeps no other waiting.
            app.tasks.clone().spawn(async move {
                let told = async {
                    app.host.metrics_collector(&arrival.name).await?.driver.start().await.map_err(Into::into)
                };
                let draining = app.draining.clone();
                let told: Result<(), pintle_host::HostError> = tokio::select! {
                    told = told => told,
                    () = draining.cancelled() => return,
                };
                match told {
                    Ok(()) => app.collectors().push(arrival.name),
                    Err(error) => {
                        tracing::warn!(plugin = arrival.name, %error, "a collector of metrics did not start");
                    }
                }
            });
        }
    }
}

/// Tells each that was started, all at once.
pub(crate) async fn stop(app: &App) {
    let names = std::mem::take(&mut *app.collectors());
    let told = names.iter().map(|name| async move {
        // One that is not up by now is not waited for.
        if let Ok(collector) = app.host.metrics_collector(name).await
            && let Err(error) = collector.driver.stop().await
        {
            tracing::warn!(plugin = name, %error, "a collector of metrics was not stopped");
        }
    });
    if tokio::time::timeout(FAREWELL, futures_util::future::join_all(told)).await.is_err() {
        tracing::warn!("collectors of metrics did not answer in time");
    }
}
