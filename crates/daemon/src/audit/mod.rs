//! The audit trail: who asked for what, what was decided, and what came of it.
//!
//! Each request is a line before anything is done about it, and another one with its status. One thread writes them, many at
//! a time, and syncs; a request waits for that only where the configuration says that nothing may be done that is not written
//! (`required`), and not for longer than [`BUDGET`]. Otherwise lines that cannot be written are counted, and the count is the
//! next line that can.

mod forward;
mod redact;
mod trail;
mod verify;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use chrono::{SecondsFormat, Utc};
use http::{Method, StatusCode};
use pintle_contract::authorization::Body;
use pintle_engine::{authorization::Refusal, containers::LogDrivers};
use serde_json::{Map, Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use self::{
    forward::Destination,
    verify::{Broken, Sound, verify},
};
use self::{forward::Forward, redact::Redaction, trail::Trail};
use crate::{
    authorization::Judged,
    http::{Call, router::Route},
    identity::Client,
    peer::Peer,
    status::Failure,
};

/// What a request may wait for its line.
const BUDGET: Duration = Duration::from_secs(5);
/// Lines that wait for the writer.
const QUEUE: usize = 8192;
/// Lines that are written and synced at once.
const BATCH: usize = 512;

/// What the configuration says of the trail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The file that is written.
    pub file: PathBuf,
    /// Bytes after which another file is begun.
    pub max_size: u64,
    /// Full files that are kept.
    pub max_files: u32,
    /// Nothing is done that is not written.
    pub required: bool,
    /// Whether bodies are written.
    pub bodies: bool,
    /// Keys whose values are secrets, besides the usual ones.
    pub redact: Vec<String>,
    /// Requests that are not written: `METHOD ROUTE`.
    pub exclude: Vec<String>,
    /// Where lines go besides, by name.
    pub destinations: BTreeMap<String, Destination>,
}

type Fields = Map<String, Value>;

/// A line, and whom to tell what became of it.
struct Line(Fields, Option<oneshot::Sender<Result<(), String>>>);

/// The trail of an engine.
pub(crate) struct Audit {
    settings: Settings,
    redaction: Redaction,
    queue: mpsc::Sender<Line>,
    counts: Arc<Counts>,
    ends: CancellationToken,
    forwards: TaskTracker,
}

/// What became of lines.
#[derive(Debug, Default)]
struct Counts {
    written: AtomicU64,
    lost: AtomicU64,
    /// Lost and not told yet.
    untold: AtomicU64,
}

impl Counts {
    fn lose(&self, lines: u64) {
        self.lost.fetch_add(lines, Ordering::Relaxed);
        self.untold.fetch_add(lines, Ordering::Relaxed);
    }
}

impl Audit {
    /// Opens the trail and writes that the engine was started.
    pub(crate) fn open(settings: &Settings, chain: &[String]) -> Result<Self, String> {
        let (trail, found) = Trail::open(&settings.file, settings.max_size, settings.max_files)
            .map_err(|error| format!("the audit trail {}: {error}", settings.file.display()))?;
        let (queue, lines) = mpsc::channel(QUEUE);
        let counts = Arc::<Counts>::default();
        let counting = Arc::clone(&counts);
        std::thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || write(trail, lines, &counting))
            .map_err(|error| format!("the audit trail's writer: {error}"))?;
        let audit = Self {
            settings: settings.clone(),
            redaction: Redaction::new(&settings.redact),
            queue,
            counts,
            ends: CancellationToken::new(),
            forwards: TaskTracker::new(),
        };
        let mut start = event("start");
        start.insert("version".into(), env!("CARGO_PKG_VERSION").into());
        start.insert("chain".into(), chain.into());
        if found.torn > 0 {
            start.insert("torn".into(), found.torn.into());
        }
        if let Some(had) = found.had {
            tracing::error!("the end of the audit trail is gone: it once had {had} lines");
            start.insert("had".into(), had.into());
        }
        audit.note(start);
        Ok(audit)
    }

    /// Begins to send lines where else they are to go. An error if a driver that is linked in refuses its options.
    pub(crate) fn forward(&self, engine: &str, drivers: &LogDrivers) -> Result<(), String> {
        for (name, destination) in &self.settings.destinations {
            let Destination { driver, options } = destination;
            drivers
                .check_builtin(driver, options)
                .map_err(|error| format!("audit.log-drivers: {name:?}: {error}"))?;
            let forward = Forward {
                name: name.clone(),
                destination: destination.clone(),
                trail: self.settings.file.clone(),
                max_files: self.settings.max_files,
                engine: engine.to_owned(),
                drivers: drivers.clone(),
                ends: self.ends.clone(),
            };
            self.forwards.spawn(forward.run());
        }
        Ok(())
    }

    /// The chain was changed.
    pub(crate) fn chain(&self, before: &[String], after: &[String]) {
        let mut line = event("chain");
        line.insert("before".into(), before.into());
        line.insert("after".into(), after.into());
        self.note(line);
    }

    /// The engine goes down: what waits is written.
    pub(crate) async fn close(&self) {
        let (done, told) = oneshot::channel();
        if self.queue.try_send(Line(event("stop"), Some(done))).is_ok() {
            let _ = tokio::time::timeout(BUDGET, told).await;
        }
        self.ends.cancel();
        self.forwards.close();
        let _ = tokio::time::timeout(BUDGET, self.forwards.wait()).await;
    }

    /// Lines that were written, and that were lost, since the engine was started.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.counts.written.load(Ordering::Relaxed), self.counts.lost.load(Ordering::Relaxed))
    }

    /// Whether a request is written.
    pub(crate) fn wants(&self, method: &Method, route: &Route) -> bool {
        let excluded = &self.settings.exclude;
        excluded.is_empty() || !excluded.contains(&format!("{method} {}", route.pattern()))
    }

    /// A request that comes in, from somebody who said who it is, or from whoever that may be.
    pub(crate) fn begin(&self, route: &Route, call: &Call, client: Option<&Client>) -> Entry {
        let id = format!("{:016x}", rand::random::<u64>());
        let mut fields = event("request");
        fields.insert("id".into(), id.clone().into());
        fields.insert("who".into(), Self::who(&call.head.peer, client));
        fields.insert("method".into(), call.head.method.as_str().into());
        fields.insert("uri".into(), self.redaction.target(&call.head.uri.to_string()).into());
        fields.insert("route".into(), route.pattern().into());
        if !call.name.is_empty() {
            fields.insert("object".into(), call.name.clone().into());
        }
        Entry { id, begun: Instant::now(), fields }
    }

    /// What was decided about it. An error if nothing may be done since that cannot be written.
    pub(crate) async fn decided(
        &self,
        entry: &mut Entry,
        asked: &[String],
        judged: &Judged,
        decision: Decision<'_>,
    ) -> Result<(), Failure> {
        let mut fields = std::mem::take(&mut entry.fields);
        let body = &judged.request.body;
        if self.settings.bodies && *body != Body::Empty {
            fields.insert("body".into(), self.redaction.body(body));
        }
        if !judged.changed.is_empty() {
            fields.insert("changed".into(), judged.changed.clone().into());
        }
        fields.insert("asked".into(), asked.into());
        decision.fill(&mut fields);
        fields.insert("took_us".into(), micros(entry.begun));
        if !self.settings.required {
            self.note(fields);
            return Ok(());
        }
        let (done, told) = oneshot::channel();
        let written = async {
            self.queue
                .try_send(Line(fields, Some(done)))
                .map_err(|_| "too many lines wait for the disk".to_owned())?;
            told.await.unwrap_or_else(|_| Err("the engine goes down".to_owned()))
        };
        let written = tokio::time::timeout(BUDGET, written).await;
        written.unwrap_or_else(|_| Err(format!("the disk did not take it within {BUDGET:?}"))).map_err(
            |why| {
                Failure::unavailable(format!(
                    "nothing was done, since the audit trail {} cannot be written: {why}",
                    self.settings.file.display()
                ))
            },
        )
    }

    /// What came of it.
    pub(crate) fn answered(
        &self,
        entry: &Entry,
        status: StatusCode,
        refused: Option<&Refusal>,
        changed: &[String],
    ) {
        let mut fields = event("answer");
        fields.insert("id".into(), entry.id.clone().into());
        fields.insert("status".into(), status.as_u16().into());
        if let Some(refusal) = refused {
            Decision::Refused(refusal).fill(&mut fields);
        }
        if !changed.is_empty() {
            fields.insert("changed".into(), changed.into());
        }
        fields.insert("took_us".into(), micros(entry.begun));
        self.note(fields);
    }

    /// A line that nobody waits for.
    fn note(&self, fields: Fields) {
        if self.queue.try_send(Line(fields, None)).is_err() {
            self.counts.lose(1);
        }
    }

    fn who(peer: &Peer, client: Option<&Client>) -> Value {
        let mut who = Map::new();
        let mut put = |key: &str, value: Value| drop(who.insert(key.to_owned(), value));
        let known = client.filter(|client| !client.authentication.is_empty());
        if let Some(client) = known {
            if !client.user.is_empty() {
                put("user", client.user.clone().into());
            }
            put("auth", client.authentication.into());
        }
        if let Some(client) = client.filter(|client| !client.groups.is_empty()) {
            put("groups", client.groups.clone().into());
        }
        if !peer.certificates.is_empty() {
            put("names", peer.host_names.clone().into());
        }
        if let Some((process, account)) = peer.process.zip(peer.account()) {
            if !account.name.is_empty() {
                put("name", account.name.clone().into());
            }
            put("uid", process.uid.into());
            put("gid", process.gid.into());
            put("pid", process.pid.into());
            if !account.executable.is_empty() {
                put("exe", account.executable.clone().into());
            }
        }
        if let Some(address) = peer.address {
            put("address", address.to_string().into());
        }
        if peer.recovers {
            put("recovery", true.into());
        }
        Value::Object(who)
    }
}

/// A request between its two lines.
pub(crate) struct Entry {
    id: String,
    begun: Instant,
    fields: Fields,
}

/// What was decided about a request.
pub(crate) enum Decision<'a> {
    /// It is carried out.
    Allowed,
    /// An authorizer refused it, or could not be asked.
    Refused(&'a Refusal),
    /// It cannot be carried out, whoever asks.
    Invalid(&'a str),
}

impl Decision<'_> {
    fn fill(&self, fields: &mut Fields) {
        let (verdict, by, why) = match self {
            Self::Allowed => ("allow", None, None),
            Self::Refused(Refusal::Denied { plugin, message }) => {
                ("deny", Some(plugin), Some(message.as_str()))
            }
            Self::Refused(Refusal::Failed { plugin, why }) => ("error", Some(plugin), Some(why.as_str())),
            Self::Invalid(why) => ("invalid", None, Some(*why)),
        };
        fields.insert("verdict".into(), verdict.into());
        if let Some(by) = by {
            fields.insert("by".into(), by.clone().into());
        }
        if let Some(why) = why {
            fields.insert("why".into(), why.into());
        }
    }
}

fn event(kind: &str) -> Fields {
    let time = Utc::now().to_rfc3339_opts(SecondsFormat::Micros, true);
    match json!({ "time": time, "event": kind }) {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

fn micros(begun: Instant) -> Value {
    u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX).into()
}

/// Writes what comes until nobody can send any more.
fn write(mut trail: Trail, mut lines: mpsc::Receiver<Line>, counts: &Counts) {
    let mut fails = false;
    while let Some(first) = lines.blocking_recv() {
        let mut batch = vec![first];
        while batch.len() < BATCH
            && let Ok(next) = lines.try_recv()
        {
            batch.push(next);
        }
        let untold = counts.untold.swap(0, Ordering::Relaxed);
        let mut fields = Vec::new();
        if untold > 0 {
            let mut lost = event("lost");
            lost.insert("lines".into(), untold.into());
            fields.push(lost);
        }
        let (more, told): (Vec<Fields>, Vec<_>) =
            batch.into_iter().map(|Line(fields, told)| (fields, told)).unzip();
        fields.extend(more);
        let many = told.len() as u64;
        let written = trail.append(fields).map_err(|error| error.to_string());
        match &written {
            Ok(()) => {
                counts.written.fetch_add(many, Ordering::Relaxed);
                if std::mem::take(&mut fails) {
                    tracing::info!("the audit trail is written again");
                }
            }
            Err(error) => {
                counts.untold.fetch_add(untold, Ordering::Relaxed);
                counts.lose(many);
                if !std::mem::replace(&mut fails, true) {
                    tracing::error!(%error, "the audit trail cannot be written");
                }
            }
        }
        for told in told.into_iter().flatten() {
            // Whoever stopped waiting has refused already.
            let _ = told.send(written.clone());
        }
    }
}
