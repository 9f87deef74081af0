//! Health checks: what is asked, what was answered, and what follows from that.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;

use super::{
    Containers, ExecSpec, ExecStart, State,
    cell::{Cell, Snapshot},
    service::Shared,
};
use crate::EngineError;

const DEFAULT_INTERVAL: Duration = Duration::from_secs(30);
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
const DEFAULT_START_INTERVAL: Duration = Duration::from_secs(5);
const DEFAULT_RETRIES: u32 = 3;
const SHORTEST: Duration = Duration::from_millis(1);
/// Answers that are kept.
const REMEMBERED: usize = 5;
/// Bytes of an answer that are kept.
const MAX_OUTPUT: usize = 4096;
/// How long the end of a probe that was killed is waited for.
const AFTER_KILL: Duration = Duration::from_secs(5);

/// How to ask whether a container is well. What is zero or empty is the image's, else Docker's default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HealthSpec {
    /// `NONE`, `CMD` and words, or `CMD-SHELL` and a line.
    pub test: Vec<String>,
    /// Between the end of one probe and the next; 0: 30 s.
    pub interval: Duration,
    /// What one probe may take; 0: 30 s.
    pub timeout: Duration,
    /// While a failure does not count; 0: none.
    pub start_period: Duration,
    /// Between probes in that time; 0: 5 s.
    pub start_interval: Duration,
    /// Failures in a row that mean that it is not well; 0: 3.
    pub retries: u32,
    /// What runs the line of `CMD-SHELL`; empty: `/bin/sh -c`.
    pub shell: Vec<String>,
}

impl HealthSpec {
    /// What an image says, in Docker's JSON.
    fn of_image(value: &Value) -> Self {
        let time = |key: &str| Duration::from_nanos(value[key].as_u64().unwrap_or(0));
        let words = value["Test"].as_array().into_iter().flatten();
        Self {
            test: words.filter_map(|word| word.as_str().map(str::to_owned)).collect(),
            interval: time("Interval"),
            timeout: time("Timeout"),
            start_period: time("StartPeriod"),
            start_interval: time("StartInterval"),
            retries: value["Retries"].as_u64().and_then(|count| u32::try_from(count).ok()).unwrap_or(0),
            shell: Vec::new(),
        }
    }

    /// Docker's JSON, for an image.
    pub fn to_json(&self) -> Value {
        let mut all = json!({ "Test": self.test });
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        for (key, number) in [
            ("Interval", nanos(self.interval)),
            ("Timeout", nanos(self.timeout)),
            ("StartPeriod", nanos(self.start_period)),
            ("StartInterval", nanos(self.start_interval)),
            ("Retries", u64::from(self.retries)),
        ] {
            if number != 0 {
                all[key] = number.into();
            }
        }
        all
    }

    /// Refuses times that nobody can keep.
    pub(super) fn check(&self) -> Result<(), EngineError> {
        for (name, time) in [
            ("Interval", self.interval),
            ("Timeout", self.timeout),
            ("StartPeriod", self.start_period),
            ("StartInterval", self.start_interval),
        ] {
            if !time.is_zero() && time < SHORTEST {
                return Err(EngineError::invalid(format!("{name} in Healthcheck cannot be less than 1ms")));
            }
        }
        Ok(())
    }
}

/// The client's wish, with the image's where it is silent.
pub(super) fn settle(given: Option<HealthSpec>, image: Option<&Value>) -> Option<HealthSpec> {
    let image = image.map(HealthSpec::of_image);
    let Some(mut given) = given else { return image };
    if let Some(image) = image {
        if given.test.is_empty() {
            given.test = image.test;
        }
        for (own, other) in [
            (&mut given.interval, image.interval),
            (&mut given.timeout, image.timeout),
            (&mut given.start_period, image.start_period),
            (&mut given.start_interval, image.start_interval),
        ] {
            if own.is_zero() {
                *own = other;
            }
        }
        if given.retries == 0 {
            given.retries = image.retries;
        }
    }
    Some(given)
}

/// How a container is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum HealthStatus {
    /// Not known yet.
    #[default]
    Starting,
    /// The last probe said so.
    Healthy,
    /// Too many probes in a row failed.
    Unhealthy,
}

impl HealthStatus {
    /// Docker's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// One probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// When it began.
    pub start: DateTime<Utc>,
    /// When it was over.
    pub end: DateTime<Utc>,
    /// What it ended with; -1 if it did not.
    pub exit_code: i64,
    /// What it said.
    pub output: String,
}

/// What is known of a container's health.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Health {
    /// How it is.
    pub status: HealthStatus,
    /// Failures since the last success.
    pub failing_streak: u32,
    /// The last probes, the oldest first.
    pub log: Vec<Probe>,
}

impl Health {
    /// What follows from a probe. `patient`: a container that starts may still fail. Whether the status changed.
    fn observe(&mut self, probe: Probe, retries: u32, patient: bool) -> bool {
        let before = self.status;
        if probe.exit_code == 0 {
            self.failing_streak = 0;
            self.status = HealthStatus::Healthy;
        } else if !(patient && self.status == HealthStatus::Starting) {
            self.failing_streak = self.failing_streak.saturating_add(1);
            if self.failing_streak >= retries {
                self.status = HealthStatus::Unhealthy;
            }
        }
        if self.log.len() >= REMEMBERED {
            self.log.remove(0);
        }
        self.log.push(probe);
        self.status != before
    }
}

/// A check with its defaults.
struct Check {
    cmd: Vec<String>,
    interval: Duration,
    timeout: Duration,
    start_period: Duration,
    start_interval: Duration,
    retries: u32,
}

impl Check {
    fn new(spec: &HealthSpec) -> Option<Self> {
        let or = |time: Duration, default: Duration| if time.is_zero() { default } else { time };
        let (kind, words) = spec.test.split_first()?;
        let cmd = match kind.as_str() {
            "CMD" => words.to_vec(),
            "CMD-SHELL" if spec.shell.is_empty() => {
                ["/bin/sh", "-c"].into_iter().map(str::to_owned).chain(words.iter().cloned()).collect()
            }
            "CMD-SHELL" => spec.shell.iter().chain(words).cloned().collect(),
            "NONE" => return None,
            other => {
                tracing::warn!("unknown healthcheck type '{other}' (expected 'CMD')");
                return None;
            }
        };
        (!cmd.is_empty()).then(|| Self {
            cmd,
            interval: or(spec.interval, DEFAULT_INTERVAL),
            timeout: or(spec.timeout, DEFAULT_TIMEOUT),
            start_period: spec.start_period,
            start_interval: or(spec.start_interval, DEFAULT_START_INTERVAL),
            retries: if spec.retries == 0 { DEFAULT_RETRIES } else { spec.retries },
        })
    }

    /// How long to wait for the next probe.
    fn pause(&self, status: HealthStatus, age: Duration) -> Duration {
        let starting = status == HealthStatus::Starting && age < self.start_period;
        if starting { self.start_interval } else { self.interval }
    }
}

impl Containers {
    /// How many checks were made since the engine was started, and how many of these failed.
    pub fn health_checks(&self) -> (u64, u64) {
        let [made, failed] = &self.shared.probes;
        (made.load(Ordering::Relaxed), failed.load(Ordering::Relaxed))
    }

    /// How a container is, if it has a health check and ran since the engine started.
    pub fn health(&self, id: &str) -> Option<Health> {
        self.shared.find(id).ok().and_then(|cell| cell.health())
    }
}

impl Shared {
    /// Asks a container that runs, from now on to the end of its run.
    pub fn watch_health(self: &Arc<Self>, cell: &Arc<Cell>) {
        let container = cell.container();
        let check = container.spec.healthcheck.as_ref().and_then(Check::new);
        let (Some(check), Some(run)) = (check, container.life.run().cloned()) else {
            cell.change_health(|health| *health = None);
            return;
        };
        cell.change_health(|health| *health = Some(Health::default()));
        let (shared, cell) = (Arc::clone(self), Arc::clone(cell));
        self.spawn(async move {
            let started_at = run.started_at;
            let over = move |now: &Snapshot| {
                now.gone || now.container.life.run().is_none_or(|run| run.started_at != started_at)
            };
            let mut seen = cell.watch();
            let work = async {
                loop {
                    let age = || (Utc::now() - started_at).to_std().unwrap_or_default();
                    let status = cell.health().unwrap_or_default().status;
                    tokio::time::sleep(check.pause(status, age())).await;
                    // One that is frozen cannot answer, and is not asked.
                    let mut thawed = cell.watch();
                    let frozen = |now: &Snapshot| matches!(now.container.life.state, State::Paused(_));
                    if thawed.wait_for(|now| !frozen(now)).await.is_err() {
                        return;
                    }
                    let probe = shared.probe(&cell, &check).await;
                    let [made, failed] = &shared.probes;
                    made.fetch_add(1, Ordering::Relaxed);
                    failed.fetch_add(u64::from(probe.exit_code != 0), Ordering::Relaxed);
                    let patient =
                        (probe.start - started_at).to_std().unwrap_or_default() < check.start_period;
                    let mut told = None;
                    cell.change_health(|health| {
                        let health = health.get_or_insert_default();
                        told = health.observe(probe, check.retries, patient).then_some(health.status);
                    });
                    if let Some(status) = told {
                        let action = format!("health_status: {}", status.as_str());
                        shared.announce(&cell.container(), action, &[]);
                    }
                }
            };
            tokio::select! {
                () = work => {}
                _ = seen.wait_for(over) => {}
                () = shared.closing.cancelled() => {}
            }
        });
    }

    async fn probe(self: &Arc<Self>, cell: &Arc<Cell>, check: &Check) -> Probe {
        let start = Utc::now();
        let containers = Containers { shared: Arc::clone(self) };
        let mut output = Vec::new();
        let mut exec = None;
        let asked =
            tokio::time::timeout(check.timeout, ask(&containers, &cell.id, check, &mut exec, &mut output))
                .await;
        let (exit_code, mut text) = match asked {
            Ok(Ok(code)) => (code, said(&output)),
            Ok(Err(error)) => (-1, error.message),
            Err(_) => {
                if let Some(exec) = &exec {
                    containers.exec_kill(exec).await;
                    let _ = tokio::time::timeout(AFTER_KILL, containers.exec_ended(exec)).await;
                }
                let said = said(&output);
                let said = if said.is_empty() { said } else { format!(": {said}") };
                (-1, format!("Health check exceeded timeout ({}){said}", shown(check.timeout)))
            }
        };
        text.truncate(text.floor_char_boundary(MAX_OUTPUT + 100));
        Probe { start, end: Utc::now(), exit_code, output: text }
    }
}

/// Runs one probe to its end; its exit code.
async fn ask(
    containers: &Containers,
    id: &str,
    check: &Check,
    exec: &mut Option<String>,
    output: &mut Vec<u8>,
) -> Result<i64, EngineError> {
    let spec = ExecSpec { cmd: check.cmd.clone(), stdout: true, stderr: true, ..ExecSpec::default() };
    let made = containers.exec_create(id, spec).await?;
    *exec = Some(made.clone());
    let started = containers.exec_start(&made, ExecStart::default()).await?;
    if let Some(mut stream) = started.stream {
        let mut left = 0;
        let mut head = [0; 8];
        loop {
            if left == 0 && !started.tty {
                if stream.read_exact(&mut head).await.is_err() {
                    break;
                }
                let [_, _, _, _, length @ ..] = head;
                left = u32::from_be_bytes(length) as usize;
                continue;
            }
            let mut piece = vec![0; if started.tty { 4096 } else { left.min(4096) }];
            let count = stream.read(&mut piece).await?;
            if count == 0 {
                break;
            }
            left = left.saturating_sub(count);
            // What is too much is read all the same: a probe must not hang in a write.
            if output.len() <= MAX_OUTPUT {
                output.extend_from_slice(&piece[..count]);
            }
        }
    }
    containers.exec_ended(&made).await;
    Ok(containers.exec_inspect(&made)?.exit_code.unwrap_or(-1))
}

fn said(output: &[u8]) -> String {
    let kept = &output[..output.len().min(MAX_OUTPUT)];
    let dots = if output.len() > MAX_OUTPUT { "..." } else { "" };
    format!("{}{dots}", String::from_utf8_lossy(kept))
}

/// A time as Go writes it.
fn shown(time: Duration) -> String {
    let (hours, minutes) = (time.as_secs() / 3600, time.as_secs() / 60 % 60);
    let seconds = time.as_secs_f64() - (hours * 3600 + minutes * 60) as f64;
    match (hours, minutes) {
        (0, 0) if time < Duration::from_secs(1) => format!("{}ms", time.as_secs_f64() * 1000.0),
        (0, 0) => format!("{seconds}s"),
        (0, minutes) => format!("{minutes}m{seconds}s"),
        (hours, minutes) => format!("{hours}h{minutes}m{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn probe(exit_code: i64) -> Probe {
        Probe { start: Utc::now(), end: Utc::now(), exit_code, output: String::new() }
    }

    #[test]
    fn failures_count_and_one_success_ends_them() {
        let mut health = Health::default();
        // As long as it starts, a failure says nothing.
        assert!(!health.observe(probe(1), 2, true));
        assert_eq!((health.status, health.failing_streak), (HealthStatus::Starting, 0));
        assert!(!health.observe(probe(1), 2, false));
        assert!(health.observe(probe(-1), 2, false));
        assert_eq!((health.status, health.failing_streak), (HealthStatus::Unhealthy, 2));
        assert!(health.observe(probe(0), 2, false));
        assert_eq!((health.status, health.failing_streak), (HealthStatus::Healthy, 0));
        // Once it was well, patience is over.
        assert!(!health.observe(probe(1), 2, true));
        assert_eq!(health.failing_streak, 1);
    }

    #[test]
    fn what_the_client_leaves_open_is_the_images() {
        let image = json!({ "Test": ["CMD", "a"], "Interval": 5_000_000_000u64, "Retries": 7 });
        let given = HealthSpec { retries: 1, ..HealthSpec::default() };
        let settled = settle(Some(given), Some(&image)).unwrap();
        assert_eq!((settled.test.len(), settled.interval.as_secs(), settled.retries), (2, 5, 1));
        assert_eq!(
            settled.to_json(),
            json!({ "Test": ["CMD", "a"], "Interval": 5_000_000_000u64, "Retries": 1 })
        );
        let none = HealthSpec { test: vec!["NONE".into()], ..HealthSpec::default() };
        assert!(Check::new(&settle(Some(none), Some(&image)).unwrap()).is_none());
        assert!(settle(None, None).is_none());
    }

    #[test]
    fn times_read_as_gos() {
        for (millis, text) in [(30_000, "30s"), (500, "500ms"), (90_500, "1m30.5s"), (3_600_000, "1h0m0s")] {
            assert_eq!(shown(Duration::from_millis(millis)), text);
        }
    }

    proptest! {
        #[test]
        fn the_log_is_short_and_the_streak_is_what_it_says(codes in proptest::collection::vec(-1i64..3, 0..40)) {
            let mut health = Health::default();
            for code in &codes {
                health.observe(probe(*code), 3, false);
            }
            let streak = codes.iter().rev().take_while(|code| **code != 0).count();
            prop_assert_eq!(health.failing_streak as usize, streak);
            prop_assert!(health.log.len() <= REMEMBERED);
            let expected = match (codes.is_empty(), streak >= 3) {
                (true, _) => HealthStatus::Starting,
                (false, true) => HealthStatus::Unhealthy,
                // Fewer failures than count leave what was before them.
                (false, false) if codes.contains(&0) => health.status,
                (false, false) => HealthStatus::Starting,
            };
            prop_assert_eq!(health.status, expected);
        }
    }
}
