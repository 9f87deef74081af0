use std::{collections::BTreeMap, future::Future, pin::Pin, sync::Arc, time::Duration};

use pintle_contract::{
    LogDriver, LogEntry, LogStream,
    log::{LogInfo, Source},
};

use super::checks::CHECKS;
use crate::{
    check::{Result, fail, judge, run_id, said},
    report::Report,
};

/// The driver after a restart, or why there is none.
pub type Restarted = Pin<Box<dyn Future<Output = std::result::Result<Arc<dyn LogDriver>, String>> + Send>>;

/// Ends the driver as a crash would and returns its successor.
pub type Restart<'a> = &'a (dyn Fn() -> Restarted + Send + Sync);

/// How to run the suite.
#[derive(Clone)]
pub struct Options<'a> {
    /// Options of every stream.
    pub options: BTreeMap<String, String>,
    /// How long each check may take.
    pub budget: Duration,
    /// How many streams run at once where a check wants many.
    pub crowd: usize,
    /// How to restart the driver, where that can be done.
    pub restart: Option<Restart<'a>>,
}

impl Default for Options<'_> {
    fn default() -> Self {
        Self { options: BTreeMap::new(), budget: Duration::from_secs(30), crowd: 16, restart: None }
    }
}

/// Puts every promise of the log contract to a driver. Its lines are of containers whose names begin with `pintle-suite`.
pub async fn conformance(driver: &dyn LogDriver, options: &Options<'_>) -> Report {
    let mut report = Report::default();
    let run = run_id();
    for (name, promise, check) in CHECKS {
        let suite = Suite { driver, options, run: &run };
        report.checks.push(judge(name, promise, options.budget, check(&suite)).await);
    }
    report
}

/// A driver under test, with the words that checks are written in.
pub(super) struct Suite<'a> {
    pub driver: &'a dyn LogDriver,
    pub options: &'a Options<'a>,
    run: &'a str,
}

/// A line.
pub(super) fn line(text: impl Into<Vec<u8>>) -> LogEntry {
    LogEntry {
        source: Source::Stdout,
        time: 1_700_000_000_000_000_000,
        line: text.into(),
        ..LogEntry::default()
    }
}

impl Suite<'_> {
    /// The facts of a container.
    pub fn info(&self, name: &str) -> LogInfo {
        LogInfo {
            options: self.options.options.clone(),
            id: format!("{:0<64}", self.run.replace('-', "")),
            name: format!("/pintle-suite-{}-{name}", self.run),
            entrypoint: "sh".to_owned(),
            args: vec!["-c".to_owned(), "echo".to_owned()],
            image_id: format!("sha256:{:0<64}", "a"),
            image_name: "alpine:latest".to_owned(),
            created: "2026-01-02T03:04:05.000000006Z".to_owned(),
            env: vec!["PATH=/bin".to_owned(), "EMPTY=".to_owned()],
            labels: [("team".to_owned(), "suite".to_owned())].into_iter().collect(),
        }
    }

    /// A stream of a container.
    pub async fn begin(&self, name: &str) -> Result<Box<dyn LogStream>> {
        said(format!("the beginning of a stream of {name}"), self.driver.start(self.info(name)).await)
    }

    /// Hands lines over in batches and ends the stream: all of them are acknowledged then.
    pub async fn deliver(&self, name: &str, entries: &[LogEntry], batch: usize) -> Result {
        let mut stream = self.begin(name).await?;
        let (mut sent, mut before) = (0, 0);
        for batch in entries.chunks(batch.max(1)) {
            let acknowledged = said(format!("a batch of {name}"), stream.send(batch).await)?;
            sent += batch.len() as u64;
            if acknowledged > sent {
                return fail(format!("{acknowledged} entries are acknowledged, and {sent} were sent"));
            }
            if acknowledged < before {
                return fail(format!("{acknowledged} entries are acknowledged, and {before} were before"));
            }
            before = acknowledged;
        }
        said(format!("the end of the stream of {name}"), stream.stop().await)
    }
}
