//! What a scrape gets.

use std::sync::atomic::AtomicU64;

use pintle_host::{Plugin, PluginFilters, PluginState};
use prometheus_client::{
    encoding::prometheus_text,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use crate::{
    app::App,
    convert,
    routes::{info, system::VERSION},
    status::Failure,
};

pub(crate) use prometheus_text::CONTENT_TYPE;

type Labels = Vec<(&'static str, String)>;

/// Numbers as they are now.
struct Now(Registry);

impl Now {
    fn gauges(&mut self, name: &str, help: &str, samples: impl IntoIterator<Item = (Labels, f64)>) {
        let family = Family::<Labels, Gauge<f64, AtomicU64>>::default();
        for (labels, value) in samples {
            family.get_or_create(&labels).set(value);
        }
        self.0.register(name, help, family);
    }

    fn gauge(&mut self, name: &str, help: &str, value: f64) {
        let gauge = Gauge::<f64, AtomicU64>::default();
        gauge.set(value);
        self.0.register(name, help, gauge);
    }

    /// `name` without `_total`.
    fn counters(&mut self, name: &str, help: &str, samples: impl IntoIterator<Item = (Labels, f64)>) {
        let family = Family::<Labels, Counter<f64, AtomicU64>>::default();
        for (labels, value) in samples {
            family.get_or_create(&labels).inc_by(value);
        }
        self.0.register(name, help, family);
    }

    fn counter(&mut self, name: &str, help: &str, value: f64) {
        let counter = Counter::<f64, AtomicU64>::default();
        counter.inc_by(value);
        self.0.register(name, help, counter);
    }
}

#[expect(clippy::cast_precision_loss, reason = "numbers above 2^53 are shown to their nearest neighbour")]
fn number(count: u64) -> f64 {
    count as f64
}

fn count(count: usize) -> f64 {
    u64::try_from(count).map_or(f64::INFINITY, number)
}

/// Every number, as text.
pub(crate) async fn page(app: &App) -> Result<String, Failure> {
    let mut now = Now(Registry::default());
    docker(app, &mut now);
    plugins(&app.host.list(&PluginFilters::default()), &mut now);
    logs(app, &mut now).await?;
    audit(app, &mut now);
    process(&mut now);
    let measured = &app.metrics;
    let registry = &mut now.0;
    registry.register(
        "engine_daemon_container_actions_seconds",
        "The number of seconds it takes to process each container action",
        measured.containers.clone(),
    );
    registry.register(
        "engine_daemon_network_actions_seconds",
        "The number of seconds it takes to process each network action",
        measured.networks.clone(),
    );
    registry.register(
        "pintle_api_request_duration_seconds",
        "The time from a request's head to its answer's, by route",
        measured.requests.clone(),
    );
    let mut text = String::new();
    prometheus_text::encode(&mut text, &now.0)
        .map_err(|_| Failure::internal("the metrics cannot be written"))?;
    Ok(text)
}

/// Docker's, which dashboards for Docker read.
fn docker(app: &App, now: &mut Now) {
    let counts = app.containers.counts();
    let states = [("paused", counts.paused), ("running", counts.running), ("stopped", counts.stopped)];
    now.gauges(
        "engine_daemon_container_states_containers",
        "The count of containers in various states",
        states.map(|(state, many)| (vec![("state", state.to_owned())], count(many))),
    );
    now.gauge(
        "engine_daemon_engine_cpus_cpus",
        "The number of cpus that the host system of the engine has",
        std::thread::available_parallelism().map_or(0.0, |cpus| count(cpus.get())),
    );
    now.gauge(
        "engine_daemon_engine_memory_bytes",
        "The number of bytes of memory that the host system of the engine has",
        convert::stats::machine_memory() as f64,
    );
    let uname = rustix::system::uname();
    let os = info::os_release();
    let of = |key: &str| os.get(key).cloned().unwrap_or_default();
    let labels = vec![
        ("architecture", uname.machine().to_string_lossy().into_owned()),
        ("commit", String::new()),
        ("daemon_id", app.id.clone()),
        ("graphdriver", "overlay2".to_owned()),
        ("kernel", uname.release().to_string_lossy().into_owned()),
        ("os", of("PRETTY_NAME")),
        ("os_type", "linux".to_owned()),
        ("os_version", of("VERSION_ID")),
        ("version", VERSION.to_owned()),
    ];
    now.gauges(
        "engine_daemon_engine_info",
        "The information related to the engine and the OS it is running on",
        [(labels, 1.0)],
    );
    now.counter("engine_daemon_events", "The number of events logged", number(app.events.published()));
    now.gauge(
        "engine_daemon_events_subscribers_total",
        "The number of current subscribers to events",
        count(app.events.subscribers()),
    );
    let (made, failed) = app.containers.health_checks();
    now.counter("engine_daemon_health_checks", "The total number of health checks", number(made));
    now.counter(
        "engine_daemon_health_checks_failed",
        "The total number of failed health checks",
        number(failed),
    );
}

/// How managed plugins are, and how their calls go.
fn plugins(plugins: &[Plugin], now: &mut Now) {
    let named = |plugin: &Plugin| vec![("plugin", plugin.name.clone())];
    now.gauges(
        "pintle_plugin_enabled",
        "Whether somebody wants the plugin to run",
        plugins.iter().map(|plugin| (named(plugin), f64::from(u8::from(plugin.enabled)))),
    );
    now.gauges(
        "pintle_plugin_up",
        "Whether the plugin runs and answers",
        plugins.iter().map(|plugin| (named(plugin), f64::from(u8::from(plugin.state == PluginState::Ready)))),
    );
    now.counters(
        "pintle_plugin_restarts",
        "How often the plugin was started again by itself, since it was enabled",
        plugins.iter().map(|plugin| (named(plugin), f64::from(plugin.restarts))),
    );
    now.gauges(
        "pintle_plugin_leases",
        "How many volumes, networks, containers and streams use the plugin",
        plugins.iter().map(|plugin| (named(plugin), count(plugin.leases.len()))),
    );
    let calls = || {
        plugins.iter().flat_map(|plugin| {
            plugin.calls.iter().map(|(call, stats)| {
                let labels = vec![("plugin", plugin.name.clone()), ("call", call.clone())];
                (labels, stats)
            })
        })
    };
    now.counters(
        "pintle_plugin_calls",
        "Calls to the plugin",
        calls().map(|(labels, stats)| (labels, number(stats.calls))),
    );
    now.counters(
        "pintle_plugin_call_failures",
        "Calls to the plugin that failed",
        calls().map(|(labels, stats)| (labels, number(stats.failures))),
    );
    now.counters(
        "pintle_plugin_call_seconds",
        "The time that calls to the plugin took",
        calls().map(|(labels, stats)| (labels, stats.total_duration.as_secs_f64())),
    );
}

/// How far log drivers are.
async fn logs(app: &App, now: &mut Now) -> Result<(), Failure> {
    let streams = app.containers.log_deliveries().await?;
    let labels = |stream: &pintle_engine::containers::LogDelivery| {
        vec![
            ("container", stream.name.clone()),
            ("driver", stream.driver.clone()),
            ("destination", stream.destination.clone()),
        ]
    };
    let all = |value: fn(&pintle_engine::containers::LogDelivery) -> f64| {
        streams.iter().map(move |stream| (labels(stream), value(stream))).collect::<Vec<_>>()
    };
    now.gauges(
        "pintle_log_open",
        "Whether the log driver has the stream open",
        all(|stream| f64::from(u8::from(stream.open))),
    );
    now.gauges(
        "pintle_log_lag_bytes",
        "Bytes of the container's journal that the log driver has not acknowledged",
        all(|stream| number(stream.lag)),
    );
    now.counters(
        "pintle_log_lines_delivered",
        "Lines that the log driver acknowledged",
        all(|stream| number(stream.delivered)),
    );
    now.counters(
        "pintle_log_lines_dropped",
        "Lines that were rotated away before the log driver could have them",
        all(|stream| number(stream.dropped)),
    );
    now.counters(
        "pintle_log_errors",
        "Streams to the log driver that ended by an error",
        all(|stream| number(stream.errors)),
    );
    Ok(())
}

/// How the audit trail is.
fn audit(app: &App, now: &mut Now) {
    let Some((written, lost)) = app.audit.as_ref().map(|audit| audit.counts()) else { return };
    now.counter("pintle_audit_lines", "Lines of the audit trail that were written", number(written));
    now.counter(
        "pintle_audit_lines_lost",
        "Lines of the audit trail that could not be written",
        number(lost),
    );
}

/// What every program with metrics says of itself.
fn process(now: &mut Now) {
    let Ok(status) = std::fs::read_to_string("/proc/self/statm") else { return };
    let page = number(u64::try_from(rustix::param::page_size()).unwrap_or_default());
    let pages = |at: usize| status.split(' ').nth(at).and_then(|pages| pages.parse::<u64>().ok()).map(number);
    if let Some(pages) = pages(1) {
        now.gauge("process_resident_memory_bytes", "Resident memory size in bytes", pages * page);
    }
    if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
        now.gauge("process_open_fds", "Number of open file descriptors", count(open.count()));
    }
    // Behind the name, which may hold anything: the twelfth and the thirteenth field are ticks of CPU time.
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit_once(") ").map(|(_, fields)| fields.split(' ').skip(11).take(2));
    let ticks: u64 = fields.into_iter().flatten().filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    let seconds = number(ticks) / number(rustix::param::clock_ticks_per_second());
    now.counter("process_cpu_seconds", "Total user and system CPU time spent in seconds", seconds);
}
