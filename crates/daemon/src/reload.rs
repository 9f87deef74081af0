//! SIGHUP: read again, check everything, then change what can be changed while running.

use std::{collections::BTreeMap, sync::Arc};

use pintle_engine::events::Kind;

use crate::{app::App, boot, config::Config, logging::Log, notify};

/// Reads the configuration again. A refused one changes nothing.
pub(crate) async fn reload(app: &Arc<App>, log: &Log) {
    notify::reloading();
    let old = app.config.load_full();
    match old.reread() {
        Err(why) => tracing::error!("the configuration was not reloaded: {why}"),
        Ok(new) => apply(app, log, &old, new).await,
    }
    notify::ready();
}

async fn apply(app: &Arc<App>, log: &Log, old: &Config, new: Config) {
    // The chain in force stays in force unless the whole new one can be asked.
    if let Err(why) = app.authorization.check(&new.authorization_plugins).await {
        tracing::error!("the configuration was not reloaded: {why}");
        return;
    }
    if let Err(error) = app.images.reload(boot::image_options(&new)) {
        tracing::error!(%error, "the configuration was not reloaded");
        return;
    }
    log.set(new.log_level);
    let (effective, kept) = new.after_reload(old);
    for key in kept {
        tracing::warn!("{key} was changed in the file; that takes effect when the engine is restarted");
    }
    let mut attributes = attributes(&effective);
    tracing::info!(?attributes, "the configuration was reloaded");
    app.host.restart_unhealthy(effective.restart_unhealthy_plugins.clone());
    app.runtime.set_known(effective.known.clone());
    let configured = effective.authorization();
    if *app.authorization.configured() != configured {
        let (before, after) = (&old.authorization_plugins, &effective.authorization_plugins);
        tracing::warn!(?before, ?after, "requests are authorized by others from now on");
        if let Some(audit) = &app.audit {
            audit.chain(before, after);
        }
        app.authorization.replace(configured);
    }
    app.containers.set_defaults(boot::container_defaults(&effective));
    app.config.store(Arc::new(effective));
    attributes.insert("name".to_owned(), crate::routes::info::host_name());
    app.publish(Kind::Daemon, "reload", &app.id, attributes);
}

/// The values in force, under Docker's names.
fn attributes(config: &Config) -> BTreeMap<String, String> {
    let list = |items: &[String]| serde_json::to_string(items).unwrap_or_default();
    [
        ("authorization-plugins", list(&config.authorization_plugins)),
        ("debug", config.debug.to_string()),
        ("default-runtime", config.default_runtime.clone()),
        ("default-cgroupns-mode", config.default_cgroupns_mode.clone()),
        ("default-ipc-mode", config.default_ipc_mode.clone()),
        ("default-stop-timeout", config.default_stop_timeout.to_string()),
        ("default-shm-size", config.default_shm_size.to_string()),
        ("insecure-registries", list(&config.insecure_registries)),
        ("labels", list(&config.labels)),
        ("live-restore", "true".to_owned()),
        ("max-concurrent-downloads", config.max_concurrent_downloads.to_string()),
        ("max-concurrent-uploads", config.max_concurrent_uploads.to_string()),
        ("registry-mirrors", list(&config.registry_mirrors)),
        ("restart-unhealthy-plugins", list(&config.restart_unhealthy_plugins)),
        ("runtimes", config.runtimes.keys().cloned().collect::<Vec<_>>().join(" ")),
        ("shutdown-timeout", config.shutdown_timeout.to_string()),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value))
    .collect()
}
