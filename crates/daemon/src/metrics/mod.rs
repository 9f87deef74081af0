//! The engine's numbers: Docker's, under Docker's names, and those of plugins and log drivers, in Prometheus' text format.
//!
//! Served on `metrics-addr`, on `<exec-root>/metrics/metrics.sock` for plugins that collect them, and, like everything that the API
//! has, behind authorization as `GET /metrics`.

mod collectors;
mod page;
mod serve;

use std::time::Duration;

use http::{Method, StatusCode};
use prometheus_client::metrics::{family::Family, histogram::Histogram};

pub(crate) use self::{
    collectors::{stop, watch},
    page::{CONTENT_TYPE, page},
    serve::{open, serve},
};

/// What is measured while it happens. The rest is looked up when somebody asks.
pub(crate) struct Metrics {
    requests: Family<[(&'static str, String); 3], Histogram>,
    containers: Family<[(&'static str, &'static str); 1], Histogram>,
    networks: Family<[(&'static str, &'static str); 1], Histogram>,
}

/// Prometheus' usual limits, in seconds.
fn seconds() -> Histogram {
    Histogram::new([0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0])
}

impl Metrics {
    pub(crate) fn new() -> Self {
        Self {
            requests: Family::new_with_constructor(seconds),
            containers: Family::new_with_constructor(seconds),
            networks: Family::new_with_constructor(seconds),
        }
    }

    /// A request was answered: of a stream, its head.
    pub(crate) fn observe(&self, method: &Method, route: &str, status: StatusCode, took: Duration) {
        let took = took.as_secs_f64();
        let code = status.as_str().to_owned();
        let labels = [("method", method.as_str().to_owned()), ("route", route.to_owned()), ("code", code)];
        self.requests.get_or_create(&labels).observe(took);
        if status.is_client_error() || status.is_server_error() {
            return;
        }
        if let Some(action) = container_action(method, route) {
            self.containers.get_or_create(&[("action", action)]).observe(took);
        } else if let Some(action) = network_action(method, route) {
            self.networks.get_or_create(&[("action", action)]).observe(took);
        }
    }
}

/// What Docker counts as an action on a container.
fn container_action(method: &Method, route: &str) -> Option<&'static str> {
    match (method.as_str(), route) {
        ("POST", "/containers/create") => Some("create"),
        ("POST", "/containers/{}/start") => Some("start"),
        ("DELETE", "/containers/{}") => Some("delete"),
        ("GET", "/containers/{}/changes") => Some("changes"),
        ("POST", "/commit") => Some("commit"),
        _ => None,
    }
}

fn network_action(method: &Method, route: &str) -> Option<&'static str> {
    match (method.as_str(), route) {
        ("POST", "/networks/create") => Some("create"),
        ("POST", "/networks/{}/connect") => Some("connect"),
        ("POST", "/networks/{}/disconnect") => Some("disconnect"),
        ("DELETE", "/networks/{}") => Some("delete"),
        _ => None,
    }
}
