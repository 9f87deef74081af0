//! The log suite over the reference, in both homes, and over drivers that break one promise each.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use pintle_contract::{
    DriverError, LogDriver, LogEntry, LogLines, LogStream,
    log::{LogCapabilities, LogInfo, LogQuery},
};
use pintle_host::remote::{Client, Log, PathMap};
use pintle_sdk::{Listen, Server};
use pintle_testkit::{
    log::{Options, ReferenceLog, Restarted, conformance},
    report::{Outcome, Report},
};
use pintle_wire::spec::Address;

fn again() -> Restarted {
    Box::pin(async { Ok(Arc::new(ReferenceLog::default()) as Arc<dyn LogDriver>) })
}

fn options() -> Options<'static> {
    Options { budget: Duration::from_secs(20), crowd: 8, restart: Some(&again), ..Options::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reference_keeps_every_promise_in_both_homes() {
    let report = conformance(&ReferenceLog::default(), &options()).await;
    assert!(report.checks.iter().all(|check| check.outcome == Outcome::Passed), "{report}");

    let dir = tempfile::tempdir().unwrap();
    let (socket, reference) = (dir.path().join("l.sock"), ReferenceLog::default());
    let running = Server::log(reference.clone()).start(Listen::unix(&socket)).unwrap();
    let remote = Log::new(Arc::new(Client::new("l", Address::Unix(socket))), &PathMap::default());
    let report = conformance(&remote, &options()).await;
    assert!(report.checks.iter().all(|check| check.outcome == Outcome::Passed), "{report}");
    // What went through pipes is what came.
    let taken = reference.taken().clone();
    let many = taken.iter().map(|(_, entries)| entries).find(|entries| entries.len() == 20_000).unwrap();
    assert!(many.iter().enumerate().all(|(at, entry)| entry.line == format!("line {at}").into_bytes()));
    let long = taken.iter().map(|(_, entries)| entries).find(|entries| entries.len() == 64).unwrap();
    assert!(long.iter().map(|entry| entry.line.len()).sum::<usize>() == 1 << 20 && long[63].ends_line());
    running.stop().await.unwrap();
}

/// A driver whose streams are what a closure makes of the reference's.
struct Odd<S>(S);

#[async_trait]
impl<S: Fn() -> Box<dyn LogStream> + Send + Sync + 'static> LogDriver for Odd<S> {
    async fn start(&self, _: LogInfo) -> Result<Box<dyn LogStream>, DriverError> {
        Ok((self.0)())
    }
}

struct Careless {
    reference: ReferenceLog,
    keeps: bool,
}

#[async_trait]
impl LogDriver for Careless {
    async fn capabilities(&self) -> Result<LogCapabilities, DriverError> {
        self.reference.capabilities().await
    }

    async fn start(&self, info: LogInfo) -> Result<Box<dyn LogStream>, DriverError> {
        self.reference.start(info).await
    }

    async fn read(&self, info: LogInfo, _: LogQuery) -> Result<Box<dyn LogLines>, DriverError> {
        let info = if self.keeps { info } else { LogInfo::default() };
        self.reference.read(info, LogQuery::default()).await
    }
}

struct Counts<F>(F, AtomicU64);

#[async_trait]
impl<F: Fn(u64) -> Result<u64, DriverError> + Send + Sync + 'static> LogStream for Counts<F> {
    async fn send(&mut self, batch: &[LogEntry]) -> Result<u64, DriverError> {
        let sent = self.1.fetch_add(batch.len() as u64, Ordering::Relaxed) + batch.len() as u64;
        (self.0)(sent)
    }

    async fn stop(&mut self) -> Result<(), DriverError> {
        Ok(())
    }
}

fn failed(report: &Report, name: &str) -> String {
    let outcome = report.checks.iter().find(|check| check.name == name).map(|check| &check.outcome);
    match outcome {
        Some(Outcome::Failed(why)) => why.clone(),
        other => format!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_promises_are_found() {
    let options = Options { budget: Duration::from_secs(2), crowd: 2, ..Options::default() };
    let eager = Odd(|| Box::new(Counts(|sent: u64| Ok(sent + 1), AtomicU64::new(0))) as Box<dyn LogStream>);
    let report = conformance(&eager, &options).await;
    assert!(failed(&report, "lines").contains("11 entries are acknowledged, and 10 were sent"), "{report}");

    let forgetful = Odd(|| {
        Box::new(Counts(|sent: u64| Ok(100_u64.saturating_sub(sent)), AtomicU64::new(0)))
            as Box<dyn LogStream>
    });
    let report = conformance(&forgetful, &options).await;
    assert!(failed(&report, "lines").contains("acknowledged"), "{report}");

    let full = |sent: u64| if sent > 50 { Err(DriverError::internal("full")) } else { Ok(sent) };
    let full = Odd(move || Box::new(Counts(full, AtomicU64::new(0))) as Box<dyn LogStream>);
    let report = conformance(&full, &options).await;
    assert!(failed(&report, "lines").contains("full"), "{report}");

    // Gives back everything, whatever was asked for; and nothing at all.
    for (keeps, found) in [(true, "part_of_it"), (false, "read_back")] {
        let careless = Careless { reference: ReferenceLog::default(), keeps };
        let report = conformance(&careless, &options).await;
        let why = failed(&report, found);
        assert!(why.contains(if keeps { "gives more than" } else { "gives 0 entries" }), "{report}");
    }

    struct Deaf;
    #[async_trait]
    impl LogDriver for Deaf {
        async fn start(&self, _: LogInfo) -> Result<Box<dyn LogStream>, DriverError> {
            std::future::pending().await
        }
    }
    let options = Options { budget: Duration::from_millis(50), ..options };
    let report = conformance(&Deaf, &options).await;
    assert!(failed(&report, "nothing").contains("did not finish within"), "{report}");
}
