//! Up, and down again.

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use tokio::{
    signal::unix::{SignalKind, signal},
    task::{JoinHandle, JoinSet},
};

use crate::{
    app::App,
    boot,
    claim::Claim,
    config::{Config, Options},
    http::router::Router,
    listen,
    logging::Log,
    metrics, notify, reload, rights, routes, serve,
};

/// Runs the engine until it is told to end. This is all of `pintle daemon`.
///
/// # Errors
/// When the configuration is refused, rights are missing, another engine uses the data root, or a part cannot
/// be opened. Once it serves, it ends well.
pub fn run(options: Options) -> anyhow::Result<()> {
    let config = Config::load(&options).map_err(anyhow::Error::msg)?;
    if options.validate {
        boot::check_files(&config)?;
        println!("configuration OK");
        return Ok(());
    }
    let log = Log::start(config.log_level);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting threads")?;
    let result = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut hangup = signal(SignalKind::hangup())?;
        let daemon = start(config).await?;
        notify::ready();
        loop {
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                _ = hangup.recv() => reload::reload(&daemon.app, &log).await,
            }
        }
        notify::stopping();
        tracing::info!("going down; containers and plugins stay up");
        tokio::select! {
            () = daemon.stop() => {}
            // Whoever asks twice does not want to wait.
            _ = terminate.recv() => tracing::warn!("told to end again: not waiting"),
            _ = interrupt.recv() => tracing::warn!("told to end again: not waiting"),
        }
        Ok(())
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

/// A running engine.
pub struct Daemon {
    app: Arc<App>,
    servers: JoinSet<()>,
    restoring: JoinHandle<()>,
    addresses: Vec<String>,
    claim: Claim,
}

/// Starts an engine in this process. When it returns the API answers; what was running before is still being
/// found ([`Daemon::ready`]).
///
/// # Errors
/// As [`run`].
pub async fn start(config: Config) -> anyhow::Result<Daemon> {
    rights::check().map_err(anyhow::Error::msg)?;
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    boot::directories(&config)?;
    if let Some(score) = config.oom_score_adjust {
        let set = std::fs::write("/proc/self/oom_score_adj", score.to_string());
        set.with_context(|| format!("setting oom-score-adjust to {score}"))?;
    }
    let claim = Claim::take(&config.data_root, config.pidfile.as_deref()).map_err(anyhow::Error::msg)?;
    let listeners = listen::open(&config).await.map_err(anyhow::Error::msg)?;
    let sockets = metrics::open(&config).await.map_err(anyhow::Error::msg)?;
    let (app, restored) = boot::open(config, boot::shim()).await?;
    // Before anybody is served: a chain that cannot be asked must not be found out one refusal at a time.
    if let Err(why) = app.authorization.check(&app.authorization.configured().names).await {
        app.draining.cancel();
        app.host.shutdown(false).await;
        anyhow::bail!("{why}");
    }
    let router = Arc::new(Router::new(routes::table()));
    let mut servers = JoinSet::new();
    let mut addresses = Vec::new();
    for listener in listeners {
        tracing::info!("the API listens on {}", listener.address);
        addresses.push(listener.address.clone());
        servers.spawn(serve::serve(Arc::clone(&app), Arc::clone(&router), listener));
    }
    servers.spawn(metrics::serve(Arc::clone(&app), sockets));
    servers.spawn(metrics::watch(Arc::clone(&app)));
    let restoring = tokio::spawn(boot::restore(Arc::clone(&app), restored));
    Ok(Daemon { app, servers, restoring, addresses, claim })
}

impl Daemon {
    /// Where the API listens, with the ports that were given out.
    pub fn addresses(&self) -> &[String] {
        &self.addresses
    }

    /// Returns when everything that was wanted has had its first chance to start.
    pub async fn ready(&mut self) {
        if !self.restoring.is_finished() {
            // It fails only if it was aborted, which `stop` alone does.
            let _ = (&mut self.restoring).await;
        }
    }

    /// Takes no more clients, finishes what is being done, within the configured time, and lets go of
    /// everything. Containers and plugins stay up; the next engine finds them.
    pub async fn stop(mut self) {
        let limit = self.app.config.load().shutdown_timeout;
        let limit = u64::try_from(limit).map_or(Duration::from_secs(3600), Duration::from_secs);
        self.app.draining.cancel();
        self.app.tasks.close();
        self.restoring.abort();
        let drained = tokio::time::timeout(limit, async {
            // Streams and pulls end by themselves when the engine drains; what changes something is finished. Half
            // of the time is theirs, the rest belongs to the parts below.
            let served = async {
                while self.servers.join_next().await.is_some() {}
                self.app.tasks.wait().await;
            };
            if tokio::time::timeout(limit / 2, served).await.is_err() {
                tracing::warn!("some requests were not finished in time");
            }
            self.servers.shutdown().await;
            metrics::stop(&self.app).await;
            self.app.builder.shutdown().await;
            self.app.containers.shutdown().await;
            self.app.volumes.shutdown().await;
            self.app.networks.shutdown().await;
            if let Some(overlay) = &self.app.overlay {
                overlay.shutdown().await;
            }
            self.app.host.shutdown(false).await;
            if let Some(audit) = &self.app.audit {
                audit.close().await;
            }
        });
        if drained.await.is_err() {
            tracing::warn!("not everything ended within {} s", limit.as_secs());
        }
        drop(self.claim);
    }
}
