//! Building the parts in the order in which they depend on each other, and bringing up what was wanted.

use std::{
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use anyhow::Context;
use arc_swap::ArcSwap;
use pintle_engine::{
    Journal,
    authorization::{Authorization, HostAuthorizers, Limits},
    builder::Builder,
    containers::{self, Containers},
    events::{Event, Events, Kind},
    networks::{HostDrivers, Networks, PluginRooms},
    resolver::EmbeddedDns,
    volumes::Volumes,
};
use pintle_host::{Guest, Host, HostConfig, PluginEvent, PluginFilters, PluginNetworks};
use pintle_image::Images;
use pintle_runtime::Runtime;
use pintle_store::Store;
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    app::{App, Prunes},
    audit::Audit,
    builtins,
    config::Config,
    identity::Identity,
    metrics::Metrics,
    networking,
};

/// The options of the image store that the configuration asks for.
pub(crate) fn image_options(config: &Config) -> pintle_image::Options {
    pintle_image::Options {
        insecure_registries: config.insecure_registries.clone(),
        mirrors: config.registry_mirrors.clone(),
        max_concurrent_downloads: config.max_concurrent_downloads as usize,
        max_concurrent_uploads: config.max_concurrent_uploads as usize,
        max_download_attempts: config.max_download_attempts,
        proxies: config.proxies.clone(),
        ..pintle_image::Options::default()
    }
}

/// Makes the two roots.
pub(crate) fn directories(config: &Config) -> anyhow::Result<()> {
    for dir in [&config.data_root, &config.exec_root] {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o710)
            .create(dir)
            .with_context(|| format!("making {}", dir.display()))?;
    }
    if config.storage_size > 0 && !pintle_runtime::quota::is_enforced(&config.data_root).unwrap_or(false) {
        anyhow::bail!(
            "Storage Option overlay2.size not supported. Filesystem does not support Project Quota: {} needs xfs mounted \
             with prjquota, or ext4 with the features quota and project, mounted with prjquota",
            config.data_root.display()
        );
    }
    let tmp = config.data_root.join("tmp");
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&tmp);
    made.with_context(|| format!("making {}", tmp.display()))?;
    pintle_image::emptied(&tmp).with_context(|| format!("clearing {}", tmp.display()))
}

/// Opens every part. Reads records, starts nothing, calls no plugin.
pub(crate) async fn open(config: Config, shim: PathBuf) -> anyhow::Result<(Arc<App>, watch::Sender<bool>)> {
    let root = config.data_root.as_path();
    let store = Store::open(&root.join("pintle.redb")).context("opening the engine's store")?;
    let id = engine_id(&store)?;
    let events = Events::new();
    let images =
        Images::open(root, store.clone(), image_options(&config)).context("opening the image store")?;
    let runtime = Runtime::new(pintle_runtime::Options { root: config.exec_root.join("tasks"), shim })
        .context("opening the runtime")?;
    runtime.set_known(config.known.clone());
    let host = Host::open(
        HostConfig {
            socket_dir: config.plugin_sockets.clone(),
            spec_dirs: config.plugin_spec_dirs.clone(),
            restart_unhealthy: config.restart_unhealthy_plugins.clone(),
            runtimes: config.plugin_runtimes.clone(),
            ..HostConfig::new(root, &config.exec_root)
        },
        store.clone(),
        images.clone(),
        runtime.clone(),
        plugin_events(events.clone()),
    )
    .await
    .context("opening the plugin host")?;
    let local = builtins::local_volumes(root).context("opening the local volume driver")?;
    let volumes = Volumes::open(root, store.clone(), host.clone(), local, events.clone())
        .context("opening the volumes")?;
    let journal = Journal::open(store).context("opening the journal")?;
    let names = networking::Names::of(&config.exec_root);
    let builtin =
        builtins::networking(&config.network, &names, root, &id).context("opening the network drivers")?;
    let drivers = HostDrivers::new(host.clone(), builtin.networks, builtin.ipams);
    let networks = Networks::open(
        networking::network_config(&config, &names).context("configuring the default network")?,
        journal.clone(),
        Arc::new(drivers),
        Arc::new(EmbeddedDns::new()),
        events.clone(),
    )
    .context("opening the networks")?;
    // Before any request could ask for it.
    let rooms = Arc::new(PluginRooms::new(&networks, &config.exec_root));
    host.join_networks(Arc::clone(&rooms) as Arc<dyn PluginNetworks>);
    let container_config = container_config(&config, &host);
    let log_drivers = container_config.log_drivers.clone();
    let containers = Containers::open(
        container_config,
        journal,
        images.clone(),
        runtime.clone(),
        volumes.clone(),
        networks.clone(),
        events.clone(),
    )
    .context("opening the containers")?;
    let builder = Builder::new(containers.clone(), images.clone(), &config.data_root.join("tmp"));
    // Before any request could release one: what exists is what holds plugins.
    host.replace_leases([volumes.holders(), networks.holders()].concat());
    let authorization = Authorization::new(
        Arc::new(HostAuthorizers::new(host.clone(), builtins::authorizers(config.policy.as_ref())?)),
        config.authorization(),
        Limits::default(),
    );
    let identity = Identity::open(&config.identity).map_err(anyhow::Error::msg).context("identity")?;
    let audit = config.audit.as_ref().map(|settings| Audit::open(settings, &config.authorization_plugins));
    let audit = audit.transpose().map_err(anyhow::Error::msg)?.map(Arc::new);
    if let Some(audit) = &audit {
        audit.forward(&id, &log_drivers).map_err(anyhow::Error::msg)?;
    }
    let (restored_sender, restored) = watch::channel(false);
    let app = App {
        config: ArcSwap::from_pointee(config),
        id,
        images,
        runtime,
        host,
        authorization,
        identity,
        audit,
        volumes,
        networks,
        rooms,
        overlay: builtin.overlay,
        events,
        builder,
        containers,
        restored,
        draining: CancellationToken::new(),
        tasks: TaskTracker::new(),
        prunes: Prunes::default(),
        metrics: Metrics::new(),
        collectors: Mutex::default(),
    };
    Ok((Arc::new(app), restored_sender))
}

/// Reads what the configuration names of policies and keys, as a start would.
pub(crate) fn check_files(config: &Config) -> anyhow::Result<()> {
    if let Some(settings) = &config.policy {
        pintle_policy::Policy::open(settings.clone()).map_err(|why| anyhow::anyhow!("the policy: {why}"))?;
    }
    Identity::open(&config.identity).map(drop).map_err(anyhow::Error::msg).context("identity")
}

/// Makes the world agree with the records: containers and plugins side by side, then what needs both. Nothing
/// that is asked of the API meanwhile waits for more than it needs.
pub(crate) async fn restore(app: Arc<App>, restored: watch::Sender<bool>) {
    let containers = async {
        app.networks.prepare().await;
        let plugins = app.host.list(&PluginFilters::default()).into_iter();
        let guest = |plugin: pintle_host::Plugin| Guest {
            id: plugin.id,
            name: plugin.name,
            networks: plugin.networks,
        };
        app.rooms.keep(plugins.map(guest).collect()).await;
        if let Err(error) = app.containers.restore().await {
            tracing::error!(%error, "not every container could be restored");
        }
        app.rooms.begin();
        let _ = restored.send(true);
    };
    tokio::join!(containers, app.host.reconcile());
    app.networks.reconcile();
    ask_runtimes(&app).await;
    app.volumes.reconcile().await;
    app.containers.start_wanted();
    tracing::info!("everything that was wanted has had its first chance to start");
}

/// Asks the runtimes what they can do, for show; a container's start asks by itself.
pub(crate) async fn ask_runtimes(app: &App) {
    let config = app.config.load_full();
    for (name, _) in config.known.entries() {
        if let Err(error) = app.runtime.features(name).await {
            tracing::warn!(runtime = name, %error, "a runtime was not asked what it can do");
        }
    }
}

fn container_config(config: &Config, host: &Host) -> containers::Config {
    containers::Config {
        cgroup_parent: config.cgroup_parent.clone(),
        cdi_dirs: config.cdi_spec_dirs.clone(),
        defaults: container_defaults(config),
        log_drivers: containers::LogDrivers::new(host.clone(), builtins::log_drivers(&config.data_root)),
        ..containers::Config::new(&config.data_root, &config.exec_root)
    }
}

/// Where the lines of containers go that do not say.
pub(crate) fn default_log(config: &Config) -> containers::LogConfig {
    containers::LogConfig { driver: config.log_driver.clone(), options: config.log_opts.clone() }
}

/// What containers get that do not say.
pub(crate) fn container_defaults(config: &Config) -> containers::Defaults {
    containers::Defaults {
        stop_timeout: config.default_stop_timeout,
        log: default_log(config),
        more_logs: config.more_logs.clone(),
        shm_size: config.default_shm_size,
        ulimits: config
            .default_ulimits
            .iter()
            .map(|(name, (soft, hard))| containers::Ulimit { name: name.clone(), soft: *soft, hard: *hard })
            .collect(),
        storage_size: config.storage_size,
        seccomp: config.seccomp.filter.clone(),
    }
}

fn plugin_events(events: Events) -> pintle_host::EventSink {
    Arc::new(move |event: PluginEvent| {
        let mut attributes = event.attributes;
        attributes.entry("name".to_owned()).or_insert(event.name);
        events.publish(Event::new(Kind::Plugin, event.action.as_str(), event.id, attributes));
    })
}

/// The engine's id: random, made once.
fn engine_id(store: &Store) -> anyhow::Result<String> {
    let table = store.table::<String>("engine");
    if let Some(id) = table.get("id")? {
        return Ok(id);
    }
    let random: u128 = rand::random();
    let hex = format!("{random:032x}");
    let id = format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]);
    table.put("id", &id)?;
    Ok(id)
}

/// The program that is started as a shim: this one, by the path under which the kernel knows it.
pub(crate) fn shim() -> PathBuf {
    Path::new("/proc/self/exe").to_owned()
}
