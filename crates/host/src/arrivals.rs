use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use pintle_wire::Interface;
use tokio::sync::watch;

/// A plugin that came up, or was found up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival {
    /// Its name as users know it.
    pub name: String,
    /// The managed plugin's id, `None` for a legacy one.
    pub plugin_id: Option<String>,
    /// See [`DriverRef::life`](crate::DriverRef::life).
    pub life: u64,
    /// Whether it offers volumes.
    pub volumes: bool,
    /// Whether it offers networks.
    pub networks: bool,
    /// Whether it offers addresses.
    pub addresses: bool,
    /// Whether it collects metrics.
    pub metrics: bool,
}

impl Arrival {
    pub(crate) fn new(
        name: &str,
        plugin_id: Option<&str>,
        life: u64,
        offers: impl Fn(&Interface) -> bool,
    ) -> Self {
        Self {
            name: name.to_owned(),
            plugin_id: plugin_id.map(str::to_owned),
            life,
            volumes: offers(&Interface::Volume),
            networks: offers(&Interface::Network),
            addresses: offers(&Interface::Ipam),
            metrics: offers(&Interface::Metrics),
        }
    }
}

type Present = BTreeMap<String, Arrival>;

/// Tells of plugins that come up, so that what waits for them can go on. Nothing is missed by who listens late or
/// seldom, except lives that were over by then.
#[derive(Debug)]
pub struct Arrivals {
    present: watch::Receiver<Present>,
    seen: BTreeMap<String, u64>,
}

impl Arrivals {
    /// Waits for plugins that came up since the last call; the first call answers those that are up already.
    /// `None` when the host has ended.
    pub async fn next(&mut self) -> Option<Vec<Arrival>> {
        loop {
            let news = {
                let present = self.present.borrow_and_update();
                let is_new = |arrival: &&Arrival| self.seen.get(&arrival.name) != Some(&arrival.life);
                let news: Vec<Arrival> = present.values().filter(is_new).cloned().collect();
                self.seen = present.values().map(|arrival| (arrival.name.clone(), arrival.life)).collect();
                news
            };
            if !news.is_empty() {
                return Some(news);
            }
            self.present.changed().await.ok()?;
        }
    }
}

/// Which plugins are up, by name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Roster {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    present: watch::Sender<Present>,
    lives: AtomicU64,
}

impl Roster {
    /// The number of a life that begins.
    pub(crate) fn new_life(&self) -> u64 {
        self.inner.lives.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(crate) fn up(&self, arrival: Arrival) {
        self.inner.present.send_if_modified(|present| {
            let known = present.get(&arrival.name) == Some(&arrival);
            if !known {
                present.insert(arrival.name.clone(), arrival);
            }
            !known
        });
    }

    /// Notes that nobody of this name is up.
    pub(crate) fn down(&self, name: &str) {
        self.inner.present.send_if_modified(|present| present.remove(name).is_some());
    }

    pub(crate) fn watch(&self) -> Arrivals {
        Arrivals { present: self.inner.present.subscribe(), seen: BTreeMap::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrival(roster: &Roster, name: &str) -> Arrival {
        Arrival::new(name, None, roster.new_life(), |interface| *interface == Interface::Network)
    }

    #[tokio::test]
    async fn who_listens_late_hears_of_those_that_are_up_and_of_each_life_once() {
        let roster = Roster::default();
        let (first, second) = (arrival(&roster, "a"), arrival(&roster, "b"));
        roster.up(first.clone());
        roster.up(second.clone());
        let mut arrivals = roster.watch();
        assert_eq!(arrivals.next().await, Some(vec![first.clone(), second.clone()]));

        roster.up(first.clone());
        let again = arrival(&roster, "a");
        roster.up(again.clone());
        assert_eq!(arrivals.next().await, Some(vec![again]));

        roster.down("a");
        roster.down("b");
        let back = arrival(&roster, "b");
        let waited = async {
            tokio::task::yield_now().await;
            roster.up(back.clone());
        };
        assert_eq!(tokio::join!(arrivals.next(), waited).0, Some(vec![back]));
        drop(roster);
        assert_eq!(arrivals.next().await, None);
    }
}
