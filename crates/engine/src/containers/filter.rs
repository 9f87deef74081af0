//! Docker's filters over containers.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::{DateTime, Utc};
use regex::Regex;

use super::{Container, mounts::clean};
use crate::EngineError;

const STATUSES: [&str; 7] = ["created", "running", "paused", "restarting", "removing", "exited", "dead"];

/// Filters, understood. Values of one key are alternatives; all keys must agree, and all labels must be there.
#[derive(Debug, Default)]
pub(super) struct Filter {
    ids: Vec<String>,
    names: Vec<(String, Option<Regex>)>,
    pub labels: Vec<String>,
    pub without_labels: Vec<String>,
    statuses: Vec<String>,
    exited: Vec<i64>,
    ancestors: Vec<String>,
    volumes: Vec<String>,
    networks: Vec<String>,
    is_task: Option<bool>,
    health: Vec<String>,
    /// `port/proto`, any of the two lists.
    published: Option<BTreeSet<String>>,
    exposed: Option<BTreeSet<String>>,
    pub before: Vec<String>,
    pub since: Vec<String>,
}

/// What a filter needs to know of the world beyond the container.
pub(super) struct World<'a> {
    /// Image ids that a name stands for, layers included.
    pub is_ancestor: &'a dyn Fn(&str, &Container) -> bool,
    /// What linked containers are called besides, by id.
    pub link_names: &'a HashMap<String, Vec<String>>,
    /// Not older than.
    pub since: Option<DateTime<Utc>>,
    /// Not newer than.
    pub before: Option<DateTime<Utc>>,
}

impl Filter {
    pub fn new(filters: &BTreeMap<String, Vec<String>>) -> Result<Self, EngineError> {
        let mut filter = Self::default();
        for (key, values) in filters {
            let values = values.clone();
            match key.as_str() {
                "id" => filter.ids = values,
                "name" => {
                    filter.names = values
                        .into_iter()
                        .map(|name| {
                            // What is no expression is taken as it is.
                            let expression = Regex::new(&name).ok();
                            (name, expression)
                        })
                        .collect();
                }
                "label" => filter.labels = values,
                "label!" => filter.without_labels = values,
                "status" => {
                    if let Some(bad) = values.iter().find(|value| !STATUSES.contains(&value.as_str())) {
                        return Err(EngineError::invalid(format!(
                            "invalid filter 'status={bad}': must be one of {}",
                            STATUSES.join(", ")
                        )));
                    }
                    filter.statuses = values;
                }
                "exited" => {
                    for value in &values {
                        filter.exited.push(
                            value.parse().map_err(|_| {
                                EngineError::invalid(format!("invalid filter 'exited={value}'"))
                            })?,
                        );
                    }
                }
                "ancestor" => filter.ancestors = values,
                "volume" => filter.volumes = values,
                "network" => filter.networks = values,
                "is-task" => filter.is_task = truth(key, &values)?,
                "health" => {
                    if let Some(bad) = values
                        .iter()
                        .find(|value| !["starting", "healthy", "unhealthy", "none"].contains(&value.as_str()))
                    {
                        return Err(EngineError::invalid(format!("invalid filter 'health={bad}'")));
                    }
                    filter.health = values;
                }
                "before" => filter.before = values,
                "since" => filter.since = values,
                "publish" => filter.published = Some(ports(key, &values)?),
                "expose" => filter.exposed = Some(ports(key, &values)?),
                // Linux has one kind.
                "isolation" => {}
                _ => return Err(EngineError::invalid(format!("invalid filter '{key}'"))),
            }
        }
        Ok(filter)
    }

    /// Whether the filter itself asks for containers that do not run.
    pub fn wants_all(&self) -> bool {
        !self.statuses.is_empty() || !self.exited.is_empty()
    }

    /// Whether it asks for names.
    pub fn wants_names(&self) -> bool {
        !self.names.is_empty()
    }

    /// Whether a container's health (`none` where nobody asks) is one of those wanted.
    pub fn is_as_well_as(&self, word: &str) -> bool {
        any(&self.health, |health| health == word)
    }

    pub fn matches(&self, container: &Container, world: &World<'_>) -> bool {
        let spec = &container.spec;
        let life = &container.life;
        any(&self.ids, |id| container.id.starts_with(id.as_str()))
            && any(&self.names, |(name, expression)| {
                let own = format!("/{}", container.name);
                let linked = world.link_names.get(&container.id).into_iter().flatten();
                linked.chain([&own]).any(|slashed| match expression {
                    // Docker matches with and without the slash, so that both `^/x$` and `^x$` work.
                    Some(expression) => {
                        expression.is_match(slashed) || expression.is_match(slashed.trim_start_matches('/'))
                    }
                    None => slashed.contains(name.as_str()),
                })
            })
            && self.labels.iter().all(|label| has_label(&spec.labels, label))
            && !self.without_labels.iter().any(|label| has_label(&spec.labels, label))
            && any(&self.statuses, |status| status == life.status())
            && any(&self.exited, |code| {
                !life.is_running()
                    && life.exit().is_some_and(|exit| exit.finished_at.is_some() && exit.code == *code)
            })
            && any(&self.ancestors, |name| (world.is_ancestor)(name, container))
            && any(&self.volumes, |volume| {
                container
                    .mounts
                    .iter()
                    .any(|mount| mount.name.as_ref() == Some(volume) || mount.destination == clean(volume))
            })
            && any(&self.networks, |network| {
                let own = crate::networks::network_of_mode(&spec.network_mode);
                (spec.networks.is_empty() && !spec.networks_settled && own == Some(network))
                    || spec.networks.iter().any(|(name, own)| name == network || own.network_id == *network)
            })
            && self.has_port(container)
            && self.is_task.is_none_or(|task| !task)
            && world.since.is_none_or(|since| container.created > since)
            && world.before.is_none_or(|before| container.created < before)
    }
}

impl Filter {
    /// As in Docker, what does not run has no ports.
    fn has_port(&self, container: &Container) -> bool {
        if self.published.is_none() && self.exposed.is_none() {
            return true;
        }
        let exposed = self.exposed.iter().flatten().any(|port| container.spec.exposed_ports.contains(port));
        container.life.run().is_some() && exposed
    }
}

/// `port[/proto]` or `first-last[/proto]`.
fn ports(key: &str, values: &[String]) -> Result<BTreeSet<String>, EngineError> {
    let mut all = BTreeSet::new();
    for value in values {
        let invalid = || EngineError::invalid(format!("invalid filter '{key}={value:.100}'"));
        let (range, protocol) = value.split_once('/').unwrap_or((value, "tcp"));
        let protocol = protocol.to_ascii_lowercase();
        if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
            return Err(invalid());
        }
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u16, u16) =
            (first.parse().map_err(|_| invalid())?, last.parse().map_err(|_| invalid())?);
        if first > last {
            return Err(invalid());
        }
        all.extend((first..=last).map(|port| format!("{port}/{protocol}")));
    }
    Ok(all)
}

fn any<T>(wanted: &[T], holds: impl FnMut(&T) -> bool) -> bool {
    wanted.is_empty() || wanted.iter().any(holds)
}

fn has_label(labels: &BTreeMap<String, String>, wanted: &str) -> bool {
    match wanted.split_once('=') {
        Some((key, value)) => labels.get(key).is_some_and(|actual| actual == value),
        None => labels.contains_key(wanted),
    }
}

fn truth(key: &str, values: &[String]) -> Result<Option<bool>, EngineError> {
    values
        .first()
        .map(|value| match value.as_str() {
            "1" | "true" | "True" | "TRUE" => Ok(true),
            "0" | "false" | "False" | "FALSE" => Ok(false),
            _ => Err(EngineError::invalid(format!("invalid filter '{key}={value}'"))),
        })
        .transpose()
}

/// The instant of Docker's `until`: a duration ago (`10m`, `1h30m`), seconds since 1970, or RFC 3339.
pub(crate) fn until(text: &str, now: DateTime<Utc>) -> Result<DateTime<Utc>, EngineError> {
    let invalid = || EngineError::invalid(format!("invalid filter 'until={text}'"));
    if let Ok(at) = DateTime::parse_from_rfc3339(text) {
        return Ok(at.with_timezone(&Utc));
    }
    if let Some((seconds, fraction)) = text.split_once('.').or(Some((text, "0")))
        && let (Ok(seconds), Ok(_)) = (seconds.parse::<i64>(), fraction.parse::<u64>())
    {
        return DateTime::from_timestamp(seconds, 0).ok_or_else(invalid);
    }
    for format in ["%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M"] {
        if let Ok(at) = chrono::NaiveDateTime::parse_from_str(text, format) {
            return Ok(at.and_utc());
        }
    }
    if let Ok(day) = chrono::NaiveDate::parse_from_str(text, "%Y-%m-%d") {
        return day.and_hms_opt(0, 0, 0).map(|at| at.and_utc()).ok_or_else(invalid);
    }
    let mut nanoseconds: f64 = 0.0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !(c.is_ascii_digit() || c == '.')).ok_or_else(invalid)?;
        let (number, tail) = rest.split_at(digits);
        let unit = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit);
        let factor = match unit {
            "h" => 3600e9,
            "m" => 60e9,
            "s" => 1e9,
            "ms" => 1e6,
            "us" | "µs" => 1e3,
            "ns" => 1.0,
            _ => return Err(invalid()),
        };
        nanoseconds += number.parse::<f64>().map_err(|_| invalid())? * factor;
        rest = tail;
    }
    if text.is_empty() || !nanoseconds.is_finite() || nanoseconds > 9e18 {
        return Err(invalid());
    }
    #[expect(clippy::cast_possible_truncation, reason = "bounded above")]
    let ago = chrono::TimeDelta::nanoseconds(nanoseconds as i64);
    now.checked_sub_signed(ago).ok_or_else(invalid)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::containers::{ContainerSpec, Exit, Lifecycle, MountPoint, State};

    fn container() -> Container {
        let mut life = Lifecycle::new();
        life.state = State::Exited(Exit {
            code: 3,
            oom_killed: false,
            error: None,
            started_at: Some(Utc::now()),
            finished_at: Some(Utc::now()),
        });
        let spec = ContainerSpec {
            labels: [("a".to_owned(), "1".to_owned())].into(),
            network_mode: "default".into(),
            ..ContainerSpec::default()
        };
        let mount = MountPoint {
            name: Some("data".into()),
            destination: "/srv/data".into(),
            ..MountPoint::default()
        };
        Container {
            id: "0123456789abcdef".into(),
            name: "web".into(),
            created: Utc::now(),
            image_id: "sha256:x".into(),
            os: "linux".into(),
            spec: Arc::new(spec),
            path: "sh".into(),
            args: vec![],
            mounts: Arc::new(vec![mount]),
            life,
            updating: None,
        }
    }

    fn matches(pairs: &[(&str, &str)]) -> bool {
        let mut map: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (key, value) in pairs {
            map.entry((*key).to_owned()).or_default().push((*value).to_owned());
        }
        let link_names = [("0123456789abcdef".to_owned(), vec!["/app/db".to_owned()])].into();
        let world = World {
            is_ancestor: &|name, _| name == "busybox",
            link_names: &link_names,
            since: None,
            before: None,
        };
        Filter::new(&map).unwrap().matches(&container(), &world)
    }

    #[test]
    fn each_key() {
        assert!(matches(&[]));
        for (key, yes, no) in [
            ("id", "0123", "123"),
            ("name", "we", "wx"),
            ("name", "^/web$", "^/we$"),
            ("name", "^web$", "^eb"),
            ("name", "^/app/db$", "^/app$"),
            ("label", "a", "b"),
            ("label", "a=1", "a=2"),
            ("status", "exited", "running"),
            ("exited", "3", "0"),
            ("ancestor", "busybox", "debian"),
            ("volume", "data", "dat"),
            ("volume", "/srv/data", "/srv"),
            ("volume", "/srv/data/", "/srv/data/x"),
            ("network", "bridge", "host"),
            ("is-task", "false", "true"),
        ] {
            assert!(matches(&[(key, yes)]), "{key}={yes}");
            assert!(!matches(&[(key, no)]), "{key}={no}");
        }
        assert!(!matches(&[("label!", "a")]));
        assert!(matches(&[("label!", "a=2")]));
    }

    #[test]
    fn alternatives_and_conjunctions() {
        assert!(matches(&[("name", "x"), ("name", "web")]));
        assert!(!matches(&[("name", "web"), ("status", "running")]));
        assert!(!matches(&[("label", "a"), ("label", "b")]));
    }

    #[test]
    fn nonsense_is_refused() {
        for (key, value) in
            [("status", "ok"), ("exited", "x"), ("bogus", "1"), ("is-task", "q"), ("health", "q")]
        {
            Filter::new(&[(key.to_owned(), vec![value.to_owned()])].into()).unwrap_err();
        }
    }

    #[test]
    fn instants() {
        let now = DateTime::from_timestamp(10_000, 0).unwrap();
        for (text, at) in [
            ("100", 100),
            ("100.5", 100),
            ("1h", 6_400),
            ("1h30m", 4_600),
            ("1970-01-01T00:01:00Z", 60),
            ("1970-01-02", 86_400),
            ("1970-01-01T00:02", 120),
        ] {
            assert_eq!(until(text, now).unwrap().timestamp(), at, "{text}");
        }
        for text in ["", "h", "10", "1x", "1.2.3h", "1e400h", "10m5"] {
            if text != "10" {
                until(text, now).unwrap_err();
            }
        }
    }
}
