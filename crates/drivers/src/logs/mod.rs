//! Log drivers: what takes containers' lines to somewhere else.
//!
//! | module | what it holds |
//! |---|---|
//! | `options`, `identity` | options in Docker's words; tags, labels and variables |
//! | `connection`, `datagram`, `window`, `tls` | byte streams, datagrams, and acknowledgement where a protocol has none |
//! | `batch`, `web`, `document` | batches with halving of what is refused, HTTP, lines as JSON |
//! | the rest | one driver each |
//!
//! Lines are on this host's disk before a driver hears of them, and whoever calls begins again behind the last
//! acknowledged line after any error. So no driver keeps a queue, and none retries but where its options say how.

mod aws;
mod awslogs;
mod batch;
mod connection;
mod datagram;
mod document;
mod elasticsearch;
mod file;
mod fluentd;
mod gcplogs;
mod gelf;
mod http;
mod identity;
mod journald;
mod loki;
mod msgpack;
mod options;
mod otlp;
mod splunk;
mod syslog;
mod tls;
mod web;
mod window;

use std::{path::Path, sync::Arc};

use pintle_contract::LogDriver;

pub use self::{
    awslogs::Awslogs, elasticsearch::Elasticsearch, file::Files, fluentd::Fluentd, gcplogs::Gcplogs,
    gelf::Gelf, http::Http, journald::Journald, loki::Loki, otlp::Otlp, splunk::Splunk, syslog::Syslog,
};

/// The names of all of them.
pub const NAMES: &[&str] = &[
    "awslogs",
    "elasticsearch",
    "file",
    "fluentd",
    "gcplogs",
    "gelf",
    "http",
    "journald",
    "loki",
    "opensearch",
    "otlp",
    "splunk",
    "syslog",
];

/// All of them, by name. `folder` is where the driver `file` writes.
pub fn drivers(folder: &Path) -> Vec<(&'static str, Arc<dyn LogDriver>)> {
    vec![
        ("awslogs", Arc::new(Awslogs)),
        ("elasticsearch", Arc::new(Elasticsearch::named("elasticsearch"))),
        ("file", Arc::new(Files::below(folder))),
        ("fluentd", Arc::new(Fluentd)),
        ("gcplogs", Arc::new(Gcplogs)),
        ("gelf", Arc::new(Gelf)),
        ("http", Arc::new(Http)),
        ("journald", Arc::new(Journald)),
        ("loki", Arc::new(Loki)),
        ("opensearch", Arc::new(Elasticsearch::named("opensearch"))),
        ("otlp", Arc::new(Otlp)),
        ("splunk", Arc::new(Splunk)),
        ("syslog", Arc::new(Syslog)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_are_those_of_the_drivers() {
        let names: Vec<&str> = drivers(Path::new("/")).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, NAMES);
    }
}
