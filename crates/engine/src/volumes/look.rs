//! Listing and inspecting, which never wait for a dead driver.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs,
    os::unix::fs::MetadataExt,
    path::PathBuf,
};

use pintle_contract::Value;

use super::{
    Answer, DEFAULT, Filters, Usage, Volume, Volumes,
    create::no_such_volume,
    ledger::Facts,
    model::has_label,
    record::{Record, State},
    survey::Said,
};
use crate::{EngineError, ErrorKind};

impl Volumes {
    /// Every volume that `filters` pass, by name, and a warning for each driver that could not be asked: its
    /// volumes are listed as they were last known. Answers within half a second.
    pub async fn list(&self, filters: &Filters) -> (Vec<Volume>, Vec<String>) {
        let said = self.inner.survey.ask().await;
        let mut warnings = BTreeSet::new();
        let mut volumes: BTreeMap<String, Volume> = BTreeMap::new();
        let all = self.inner.ledger.all();
        let recorded: HashMap<&str, &Record> =
            all.iter().map(|(name, record, _)| (name.as_str(), record)).collect();

        for said in &said {
            let used = all.iter().any(|(_, record, _)| record.driver == said.driver);
            if let Some(failure) = &said.failure
                // A disabled plugin that nobody uses is not worth a warning on every list.
                && (used || failure.kind() != ErrorKind::Conflict)
            {
                warnings.insert(format!("list {}: {failure}", said.driver));
            }
            let Some(asked) = said.known.asked else { continue };
            for listed in &said.known.volumes {
                let name = &listed.name;
                if self.inner.ledger.removed_since(name, asked) {
                    continue;
                }
                let volume = match recorded.get(name.as_str()) {
                    // Its record's driver lists it, or nobody does.
                    Some(record) if record.driver != said.driver => continue,
                    Some(record) => record.described(name, listed.clone()),
                    None => Volume {
                        name: name.clone(),
                        driver: said.driver.clone(),
                        mountpoint: listed.mountpoint.clone(),
                        created_at: listed.created_at.clone(),
                        scope: said.known.scope,
                        ..Volume::default()
                    },
                };
                volumes.entry(name.clone()).or_insert(Volume { status: BTreeMap::new(), ..volume });
            }
        }
        for (name, record, facts) in &all {
            if record.state == State::Creating {
                volumes.remove(name);
                continue;
            }
            let of_driver = said.iter().find(|said| said.driver == record.driver);
            if of_driver.is_none() {
                warnings.insert(format!(
                    "list {driver}: error looking up volume plugin {driver}: plugin \"{driver}\" not found",
                    driver = record.driver
                ));
            }
            if !volumes.contains_key(name) && !missing(of_driver, facts) {
                volumes.insert(
                    name.clone(),
                    Volume { mountpoint: facts.mountpoint.clone(), ..record.volume(name) },
                );
            }
        }
        let names = patterns(&filters.names);
        let passed = volumes.into_values().filter(|volume| {
            filters.dangling.is_none_or(|dangling| self.references(&volume.name).is_empty() == dangling)
                && (filters.drivers.is_empty() || filters.drivers.contains(&volume.driver))
                && filters.labels.iter().all(|wanted| has_label(&volume.labels, wanted))
                && (names.is_empty() || names.iter().any(|pattern| pattern.is_match(&volume.name)))
        });
        (passed.collect(), warnings.into_iter().collect())
    }

    /// One volume as its driver describes it now. A driver that hangs is not waited for: what is known is
    /// returned, and `Status` has an `error` that says so.
    pub async fn inspect(&self, name: &str) -> Result<Volume, EngineError> {
        let inner = &self.inner;
        let Some(record) = inner.ledger.record(name).filter(|record| record.state != State::Creating) else {
            let (driver, said) = inner.probe(name).await.ok_or_else(|| no_such_volume(name))?;
            let scope = driver.driver.capabilities();
            let scope = tokio::time::timeout(inner.budgets.probe, scope).await.ok().and_then(Result::ok);
            return Ok(Volume {
                name: name.to_owned(),
                driver: driver.name,
                mountpoint: said.mountpoint,
                created_at: said.created_at,
                scope: scope.unwrap_or_default().scope,
                status: said.status,
                ..Volume::default()
            });
        };
        let answer = inner.check(&record.driver, name, inner.budgets.inspect).await;
        match answer.map_err(|error| error.context(format!("get {name}")))? {
            Answer::Found(said) => {
                let mut volume = record.described(name, said);
                if volume.mountpoint.is_none()
                    && let Ok(driver) = inner.driver(&record.driver).await
                {
                    let path = tokio::time::timeout(inner.budgets.inspect, driver.driver.path(name)).await;
                    volume.mountpoint = path.ok().and_then(Result::ok).flatten();
                }
                Ok(volume)
            }
            Answer::Denied => Err(no_such_volume(name)),
            Answer::Unreachable(error) if error.kind == pintle_contract::ErrorKind::Timeout => {
                inner.survey.shun(&record.driver);
                let last = inner.survey.last(&record.driver, name).unwrap_or_default();
                let mut volume = record.described(name, last);
                volume.mountpoint = volume.mountpoint.or(inner.ledger.get(name).mountpoint);
                volume.status.insert("error".to_owned(), Value::String(error.message));
                Ok(volume)
            }
            Answer::Unreachable(error) => Err(EngineError::from(error)
                .context(format!(
                    "error while checking if volume \"{name}\" exists in driver \"{}\"",
                    record.driver
                ))
                .context(format!("get {name}"))),
        }
    }

    /// A volume's labels, as they were given when it was made here. Asks nobody.
    pub fn labels(&self, name: &str) -> Option<BTreeMap<String, String>> {
        self.inner.ledger.record(name).map(|record| record.labels)
    }

    /// How many volumes that were made here have labels such as these. Asks nobody.
    pub fn count(&self, wanted: impl Fn(&BTreeMap<String, String>) -> bool) -> u64 {
        self.inner.ledger.all().iter().filter(|(_, record, _)| wanted(&record.labels)).count() as u64
    }

    /// What disk the volumes take. Only `local` ones are measured: walking a remote volume could take for ever.
    pub async fn usage(&self) -> Vec<Usage> {
        let (volumes, _) = self.list(&Filters::default()).await;
        let mut usage = Vec::with_capacity(volumes.len());
        for volume in volumes {
            let measured = volume.driver == DEFAULT && volume.options.is_empty();
            let size = match volume.mountpoint.clone().filter(|_| measured) {
                Some(path) => size_of(path).await,
                None => None,
            };
            usage.push(Usage { references: self.references(&volume.name).len(), size, volume });
        }
        usage
    }
}

/// Whether a recorded volume that its driver did not list is really not there: the driver has answered, and
/// the record is older than the question.
fn missing(said: Option<&Said>, facts: &Facts) -> bool {
    let Some(Said { known, failure: None, .. }) = said else { return false };
    known.asked.is_some_and(|asked| facts.changed.is_none_or(|changed| changed < asked))
}

/// The name filter's patterns; what is no pattern is taken as it is written.
fn patterns(names: &[String]) -> Vec<regex::Regex> {
    let compile = |pattern: &str| regex::RegexBuilder::new(pattern).size_limit(1 << 20).build();
    names.iter().filter_map(|name| compile(name).or_else(|_| compile(&regex::escape(name))).ok()).collect()
}

/// The bytes that the files below `path` take on disk, hard links once. Does not follow links out.
pub(super) async fn size_of(path: PathBuf) -> Option<u64> {
    let size = tokio::task::spawn_blocking(move || {
        let device = fs::symlink_metadata(&path).ok()?.dev();
        let (mut size, mut linked, mut dirs) = (0_u64, BTreeSet::new(), vec![path]);
        while let Some(dir) = dirs.pop() {
            // What vanishes while we look takes no space.
            let Ok(entries) = fs::read_dir(&dir) else { continue };
            for entry in entries.flatten() {
                let Ok(meta) = entry.metadata() else { continue };
                if meta.dev() != device || (meta.nlink() > 1 && !meta.is_dir() && !linked.insert(meta.ino()))
                {
                    continue;
                }
                size += meta.len();
                if meta.is_dir() {
                    dirs.push(entry.path());
                }
            }
        }
        Some(size)
    });
    size.await.ok().flatten()
}
