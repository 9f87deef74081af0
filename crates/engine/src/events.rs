//! What happened, for whoever wants to know: one bus, a short memory, filters.
//!
//! Publishing never blocks and never fails: a subscriber that cannot keep up loses the oldest events, is told
//! so in the log, and costs nobody else anything.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::sync::broadcast;

use crate::{EngineError, ErrorKind};

/// How many past events are kept for `since`, and how far a subscriber may fall behind.
const KEPT: usize = 1024;

/// What kind of object an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A container.
    Container,
    /// An image.
    Image,
    /// A volume.
    Volume,
    /// A managed plugin.
    Plugin,
    /// A network.
    Network,
    /// The builder's cache.
    Builder,
    /// The engine itself.
    Daemon,
}

impl Kind {
    /// Docker's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Image => "image",
            Self::Volume => "volume",
            Self::Plugin => "plugin",
            Self::Network => "network",
            Self::Builder => "builder",
            Self::Daemon => "daemon",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where an event is visible.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Scope {
    /// On this host.
    #[default]
    Local,
    /// In the whole swarm. This engine makes none of these.
    Swarm,
}

impl Scope {
    /// Docker's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Swarm => "swarm",
        }
    }
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// What kind of object it happened to.
    pub kind: Kind,
    /// What happened, such as `start` or `exec_create: /bin/sh`.
    pub action: String,
    /// Which object: a container's or plugin's id, a volume's or image's name.
    pub actor_id: String,
    /// More about the object: its `name`, `image`, labels, and what the action adds.
    pub attributes: BTreeMap<String, String>,
    /// Where it is visible.
    pub scope: Scope,
    /// When, in nanoseconds since 1970.
    pub time_nano: i64,
}

impl Event {
    /// An event of this moment on this host.
    pub fn new(
        kind: Kind,
        action: impl Into<String>,
        actor_id: impl Into<String>,
        attributes: BTreeMap<String, String>,
    ) -> Self {
        Self {
            kind,
            action: action.into(),
            actor_id: actor_id.into(),
            attributes,
            scope: Scope::Local,
            time_nano: now_nano(),
        }
    }

    /// When, in seconds since 1970.
    pub fn time(&self) -> i64 {
        self.time_nano.div_euclid(1_000_000_000)
    }
}

/// This moment in nanoseconds since 1970.
pub fn now_nano() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// The bus. Cheap to clone; all clones are one bus.
#[derive(Clone)]
pub struct Events {
    inner: Arc<Inner>,
}

struct Inner {
    /// Locked for the moment of a push or a copy, so that a subscriber sees each event exactly once: in the
    /// backlog or on the channel.
    past: Mutex<VecDeque<Event>>,
    live: broadcast::Sender<Event>,
    published: AtomicU64,
}

impl Default for Events {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").field("subscribers", &self.inner.live.receiver_count()).finish()
    }
}

impl Events {
    /// An empty bus.
    pub fn new() -> Self {
        let (live, _) = broadcast::channel(KEPT);
        let past = Mutex::new(VecDeque::with_capacity(KEPT));
        Self { inner: Arc::new(Inner { past, live, published: AtomicU64::new(0) }) }
    }

    /// How many there were.
    pub fn published(&self) -> u64 {
        self.inner.published.load(Ordering::Relaxed)
    }

    /// How many listen.
    pub fn subscribers(&self) -> usize {
        self.inner.live.receiver_count()
    }

    /// Tells everybody. Never blocks on a subscriber.
    pub fn publish(&self, event: Event) {
        let mut past = self.inner.past.lock().unwrap_or_else(PoisonError::into_inner);
        if past.len() == KEPT {
            past.pop_front();
        }
        past.push_back(event.clone());
        self.inner.published.fetch_add(1, Ordering::Relaxed);
        // Nobody listening is no failure.
        let _ = self.inner.live.send(event);
    }

    /// What happened from `since` to `until` (nanoseconds since 1970, both inclusive) as far as it is
    /// remembered, and what happens from now on. Without `since` and `until` there is no backlog; the end of
    /// the live part at `until` is the caller's to watch ([`Events::follow`] does).
    pub fn subscribe(
        &self,
        since: Option<i64>,
        until: Option<i64>,
    ) -> (Vec<Event>, broadcast::Receiver<Event>) {
        let past = self.inner.past.lock().unwrap_or_else(PoisonError::into_inner);
        let live = self.inner.live.subscribe();
        if since.is_none() && until.is_none() {
            return (Vec::new(), live);
        }
        let from = since.unwrap_or(i64::MIN);
        let to = until.unwrap_or(i64::MAX);
        (past.iter().filter(|event| (from..=to).contains(&event.time_nano)).cloned().collect(), live)
    }

    /// The same as one stream that `filter` passes, which ends at `until`.
    pub fn follow(&self, since: Option<i64>, until: Option<i64>, filter: Filter) -> Follow {
        let (backlog, live) = self.subscribe(since, until);
        Follow { backlog: backlog.into(), live, until, filter }
    }
}

/// Events as they come, made by [`Events::follow`].
#[derive(Debug)]
pub struct Follow {
    backlog: VecDeque<Event>,
    live: broadcast::Receiver<Event>,
    until: Option<i64>,
    filter: Filter,
}

impl Follow {
    /// The next event, or `None` when `until` has come or the bus is gone. Safe to cancel.
    pub async fn next(&mut self) -> Option<Event> {
        while let Some(event) = self.backlog.pop_front() {
            if self.filter.matches(&event) {
                return Some(event);
            }
        }
        loop {
            let event = match self.until {
                None => self.live.recv().await,
                Some(until) => {
                    let left = u64::try_from(until.saturating_sub(now_nano())).unwrap_or(0);
                    match tokio::time::timeout(Duration::from_nanos(left), self.live.recv()).await {
                        Ok(event) => event,
                        Err(_elapsed) => return None,
                    }
                }
            };
            match event {
                Ok(event) if self.until.is_some_and(|until| event.time_nano > until) => return None,
                Ok(event) if self.filter.matches(&event) => return Some(event),
                Ok(_) => {}
                Err(broadcast::error::RecvError::Lagged(missed)) => {
                    tracing::warn!(missed, "a client that follows events was too slow and missed some");
                }
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}

/// Which events a client wants. Values of one key are alternatives; all keys must agree. The empty filter
/// passes everything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filter {
    types: Vec<String>,
    actions: Vec<String>,
    scopes: Vec<String>,
    images: Vec<String>,
    labels: Vec<String>,
    /// `container`, `volume`, `plugin`, …: alternatives for the beginning of the object's id or name.
    objects: BTreeMap<String, Vec<String>>,
}

impl Filter {
    /// Builds a filter from Docker's `filters` query. An unknown key is refused rather than ignored.
    pub fn new(filters: &BTreeMap<String, Vec<String>>) -> Result<Self, EngineError> {
        let mut filter = Self::default();
        for (key, values) in filters {
            let values = values.clone();
            match key.as_str() {
                "type" => filter.types = values,
                "event" => filter.actions = values,
                "scope" => filter.scopes = values,
                "image" => filter.images = values,
                "label" => filter.labels = values,
                "container" | "volume" | "plugin" | "network" | "daemon" | "service" | "node" | "secret"
                | "config" => {
                    filter.objects.insert(key.clone(), values);
                }
                _ => {
                    return Err(EngineError::new(
                        ErrorKind::InvalidArgument,
                        format!("invalid filter '{key}'"),
                    ));
                }
            }
        }
        Ok(filter)
    }

    /// Whether the client wants this event.
    pub fn matches(&self, event: &Event) -> bool {
        any(&self.types, |wanted| wanted == event.kind.as_str())
            && any(&self.actions, |wanted| action_matches(wanted, &event.action))
            && any(&self.scopes, |wanted| wanted == event.scope.as_str())
            && any(&self.images, |wanted| image_matches(wanted, event))
            && self.labels.iter().all(|wanted| label_matches(wanted, &event.attributes))
            && self.objects.values().all(|values| any(values, |wanted| object_matches(wanted, event)))
    }
}

/// Whether one of the alternatives holds; no alternatives ask for nothing.
fn any(wanted: &[String], holds: impl FnMut(&String) -> bool) -> bool {
    wanted.is_empty() || wanted.iter().any(holds)
}

/// `exec_create` asks for every `exec_create: …`; with a detail it asks for exactly that.
fn action_matches(wanted: &str, action: &str) -> bool {
    action == wanted || action.strip_prefix(wanted).is_some_and(|detail| detail.starts_with(':'))
}

/// As Docker does, any object whose id or name begins so, whatever its type.
fn object_matches(wanted: &str, event: &Event) -> bool {
    event.actor_id.starts_with(wanted)
        || event.attributes.get("name").is_some_and(|name| name.starts_with(wanted))
}

/// An image event by its id or name, another by the image it names; either with or without the tag.
fn image_matches(wanted: &str, event: &Event) -> bool {
    let attribute = if event.kind == Kind::Image { "name" } else { "image" };
    let named = event.attributes.get(attribute).map_or("", String::as_str);
    [event.actor_id.as_str(), named].iter().any(|name| *name == wanted || without_tag(name) == wanted)
}

fn without_tag(reference: &str) -> &str {
    let name = reference.split('@').next().unwrap_or(reference);
    match name.rfind(':') {
        // A colon before a slash is a registry's port.
        Some(at) if !name[at..].contains('/') => &name[..at],
        _ => name,
    }
}

fn label_matches(wanted: &str, attributes: &BTreeMap<String, String>) -> bool {
    match wanted.split_once('=') {
        Some((key, value)) => attributes.get(key).is_some_and(|actual| actual == value),
        None => attributes.contains_key(wanted),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: Kind, action: &str, id: &str, attributes: &[(&str, &str)]) -> Event {
        let attributes = attributes.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Event::new(kind, action, id, attributes)
    }

    fn filter(pairs: &[(&str, &[&str])]) -> Filter {
        let map = pairs
            .iter()
            .map(|(key, values)| {
                ((*key).to_owned(), values.iter().map(|value| (*value).to_owned()).collect())
            })
            .collect();
        Filter::new(&map).unwrap()
    }

    #[test]
    fn an_action_matches_whole_or_up_to_its_detail() {
        let exec = event(Kind::Container, "exec_create: /bin/sh", "c1", &[]);
        assert!(filter(&[("event", &["exec_create"])]).matches(&exec));
        assert!(filter(&[("event", &["exec_create: /bin/sh"])]).matches(&exec));
        assert!(!filter(&[("event", &["exec_c"])]).matches(&exec));
        assert!(!filter(&[("event", &["exec_create: /bin/bash"])]).matches(&exec));
        assert!(!filter(&[("event", &["start"])]).matches(&event(Kind::Container, "restart", "c1", &[])));
        assert!(filter(&[("event", &["stop", "start"])]).matches(&event(
            Kind::Container,
            "start",
            "c1",
            &[]
        )));
    }

    #[test]
    fn objects_match_by_the_beginning_of_id_or_name() {
        let start = event(Kind::Container, "start", "0123abcd", &[("name", "web"), ("image", "nginx:1.27")]);
        assert!(filter(&[("container", &["0123"])]).matches(&start));
        assert!(filter(&[("container", &["web"])]).matches(&start));
        assert!(filter(&[("container", &["nosuch", "we"])]).matches(&start));
        assert!(!filter(&[("container", &["23ab"])]).matches(&start));
        assert!(!filter(&[("container", &["web"]), ("type", &["volume"])]).matches(&start));
        assert!(filter(&[("container", &["web"]), ("type", &["container"])]).matches(&start));
    }

    #[test]
    fn images_match_with_and_without_their_tag() {
        let start = event(Kind::Container, "start", "c1", &[("image", "localhost:5000/nginx:1.27")]);
        assert!(filter(&[("image", &["localhost:5000/nginx:1.27"])]).matches(&start));
        assert!(filter(&[("image", &["localhost:5000/nginx"])]).matches(&start));
        assert!(!filter(&[("image", &["localhost"])]).matches(&start));
        let tag = event(Kind::Image, "tag", "sha256:abc", &[("name", "nginx:latest"), ("image", "no")]);
        assert!(filter(&[("image", &["sha256:abc"])]).matches(&tag));
        assert!(filter(&[("image", &["nginx"])]).matches(&tag));
        assert!(!filter(&[("image", &["no"])]).matches(&tag));
    }

    #[test]
    fn every_wanted_label_must_be_there() {
        let start = event(Kind::Container, "start", "c1", &[("a", "1"), ("b", "")]);
        assert!(filter(&[("label", &["a"])]).matches(&start));
        assert!(filter(&[("label", &["a=1", "b="])]).matches(&start));
        assert!(!filter(&[("label", &["a=1", "c"])]).matches(&start));
        assert!(!filter(&[("label", &["a=2"])]).matches(&start));
    }

    #[test]
    fn scope_type_and_unknown_keys() {
        let create = event(Kind::Volume, "create", "v", &[("driver", "local")]);
        assert!(filter(&[("scope", &["local"]), ("volume", &["v"])]).matches(&create));
        assert!(!filter(&[("scope", &["swarm"])]).matches(&create));
        assert!(Filter::default().matches(&create));
        assert!(filter(&[("type", &[])]).matches(&create));
        let unknown = BTreeMap::from([("colour".to_owned(), vec!["red".to_owned()])]);
        assert_eq!(Filter::new(&unknown).unwrap_err().kind(), ErrorKind::InvalidArgument);
    }

    #[tokio::test]
    async fn each_event_is_seen_once_across_the_seam_of_past_and_present() {
        let bus = Events::new();
        let mut first = event(Kind::Volume, "create", "a", &[]);
        first.time_nano = 10;
        bus.publish(first);
        let mut follow = bus.follow(Some(5), None, Filter::default());
        bus.publish(event(Kind::Volume, "create", "b", &[]));
        assert_eq!(follow.next().await.unwrap().actor_id, "a");
        assert_eq!(follow.next().await.unwrap().actor_id, "b");
        let (backlog, _live) = bus.subscribe(None, None);
        assert!(backlog.is_empty());
        let (backlog, _live) = bus.subscribe(Some(11), None);
        assert_eq!(backlog.len(), 1);
    }

    #[tokio::test]
    async fn until_ends_the_stream() {
        let bus = Events::new();
        let mut follow = bus.follow(None, Some(now_nano() + 30_000_000), Filter::default());
        assert!(follow.next().await.is_none());
        let mut past = bus.follow(Some(0), Some(1), Filter::default());
        assert!(past.next().await.is_none());
    }

    #[tokio::test]
    async fn a_slow_subscriber_loses_the_oldest_and_goes_on() {
        let bus = Events::new();
        let mut follow = bus.follow(None, None, Filter::default());
        for number in 0..KEPT + 10 {
            bus.publish(event(Kind::Volume, "create", &number.to_string(), &[]));
        }
        assert_eq!(follow.next().await.unwrap().actor_id, "10");
        let (backlog, _live) = bus.subscribe(Some(0), None);
        assert_eq!(backlog.len(), KEPT);
        assert_eq!(backlog[0].actor_id, "10");
    }
}
