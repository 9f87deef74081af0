//! This host as a member of one network: it keeps its lease alive, follows the others, and tells the kernel.
//!
//! While etcd is away nothing is taken from the kernel: what forwarded goes on forwarding. When it is back, the whole
//! truth is read first.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use ipnet::Ipv4Net;
use pintle_contract::{DriverError, ErrorKind};
use tokio::time::{sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::{
    etcd::{Change, Etcd, Made, Snapshot, Watch},
    fabric::Fabric,
    ledger::{Held, Ledger},
    model::{Keys, Peer, subnet_of},
};

/// Pauses between attempts to reach etcd.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A watch that says nothing for so long is asked anew: the connection may be dead without anybody knowing.
const SILENCE: Duration = Duration::from_secs(60);

/// What people are shown.
#[derive(Debug, Clone, Default)]
pub(super) struct Condition {
    /// How many other hosts are known.
    pub(super) peers: usize,
    /// Why etcd cannot be asked, if it cannot.
    pub(super) away: Option<String>,
    /// Who has our subnet, if we lost it.
    pub(super) lost_to: Option<String>,
}

/// The member.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) etcd: Etcd,
    pub(super) keys: Keys,
    pub(super) own: Peer,
    pub(super) ttl: Duration,
    pub(super) fabric: Fabric,
    pub(super) ledger: Arc<Ledger>,
    pub(super) held: Mutex<Held>,
    pub(super) condition: Mutex<Condition>,
    pub(super) stop: CancellationToken,
}

impl Member {
    pub(super) fn held(&self) -> Held {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn condition(&self) -> Condition {
        self.condition.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, change: impl FnOnce(&mut Condition)) {
        change(&mut self.condition.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Until it is told to stop.
    pub(super) async fn run(&self) {
        let mut pause = FIRST_PAUSE;
        while !self.stop.is_cancelled() {
            let begun = Instant::now();
            let ended = tokio::select! {
                () = self.stop.cancelled() => return,
                ended = self.follow() => ended,
            };
            match ended {
                Ok(()) => pause = FIRST_PAUSE,
                Err(error) => {
                    tracing::warn!(pool = %self.held().settings.pool, %error, "an overlay network is on its own for now");
                    self.note(|condition| condition.away = Some(error.message));
                    // After a long good time the first attempts may be quick again.
                    if begun.elapsed() > LONGEST_PAUSE {
                        pause = FIRST_PAUSE;
                    }
                    tokio::select! {
                        () = self.stop.cancelled() => return,
                        () = sleep(pause) => {}
                    }
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    /// Reads the whole truth, then follows it, until etcd fails or its stream ends.
    async fn follow(&self) -> Result<(), DriverError> {
        self.keep().await?;
        let prefix = self.keys.subnets(self.held().settings.pool);
        let Snapshot { pairs, revision } = self.etcd.list(&prefix).await?;
        let mut peers = BTreeMap::new();
        for pair in pairs {
            apply(&mut peers, Change::Put(pair));
        }
        self.tell(&peers).await;
        let mut watch = self.etcd.watch(&prefix, revision).await?;
        self.note(|condition| condition.away = None);
        let mut renewal = tokio::time::Instant::now() + self.ttl / 3;
        loop {
            tokio::select! {
                () = sleep_until(renewal) => {
                    self.keep().await?;
                    renewal = tokio::time::Instant::now() + self.ttl / 3;
                }
                changes = next(&mut watch) => match changes? {
                    None => return Ok(()),
                    Some(changes) => {
                        let before = peers.clone();
                        changes.into_iter().for_each(|change| apply(&mut peers, change));
                        if peers != before {
                            self.tell(&peers).await;
                        }
                    }
                },
            }
        }
    }

    /// Renews the lease. If it ended meanwhile, the subnet is taken again, unless somebody else has it.
    async fn keep(&self) -> Result<(), DriverError> {
        let held = self.held();
        if self.etcd.renew(held.lease).await? {
            return Ok(());
        }
        let value =
            serde_json::to_vec(&self.own).map_err(|error| DriverError::internal(error.to_string()))?;
        let lease = self.etcd.grant(self.ttl).await?;
        let key = self.keys.subnet(held.settings.pool, held.subnet);
        match self.etcd.make(&key, &value, Some(lease)).await? {
            Made::Ours => {
                let held = Held { lease, ..held };
                tracing::warn!(subnet = %held.subnet, "the lease on an overlay subnet had ended; it is ours again");
                let (ledger, noted) = (Arc::clone(&self.ledger), held.clone());
                let put = tokio::task::spawn_blocking(move || ledger.put(noted)).await;
                put.map_err(|error| DriverError::internal(error.to_string()))??;
                *self.held.lock().unwrap_or_else(PoisonError::into_inner) = held;
                self.note(|condition| condition.lost_to = None);
                Ok(())
            }
            Made::Theirs(value) => {
                let _ = self.etcd.revoke(lease).await;
                let who = serde_json::from_slice::<Peer>(&value)
                    .map_or_else(|_| "another host".to_owned(), |p| p.host);
                let text = format!(
                    "the lease on {} ended while etcd was away, and {who} has the subnet now: containers here keep their \
                     addresses but cannot be reached from other hosts; make the network anew",
                    held.subnet
                );
                self.note(|condition| condition.lost_to = Some(who));
                Err(DriverError::new(ErrorKind::Conflict, text))
            }
        }
    }

    async fn tell(&self, peers: &BTreeMap<Ipv4Net, Peer>) {
        let fabric = self.fabric.clone();
        let known: BTreeMap<Ipv4Net, Peer> = peers
            .iter()
            .filter(|(_, peer)| peer.host != self.own.host)
            .map(|(n, p)| (*n, p.clone()))
            .collect();
        self.note(|condition| condition.peers = known.len());
        match tokio::task::spawn_blocking(move || fabric.know(&known)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "an overlay network does not know every host"),
            Err(error) => tracing::error!(%error, "an overlay network could not be set up"),
        }
    }
}

/// The next changes; silence for too long ends the watch.
async fn next(watch: &mut Watch) -> Result<Option<Vec<Change>>, DriverError> {
    match timeout(SILENCE, watch.next()).await {
        Ok(changes) => changes,
        Err(_) => Ok(None),
    }
}

fn apply(peers: &mut BTreeMap<Ipv4Net, Peer>, change: Change) {
    match change {
        Change::Put(pair) => match (subnet_of(&pair.key), serde_json::from_slice(&pair.value)) {
            (Some(subnet), Ok(peer)) => drop(peers.insert(subnet, peer)),
            // Whatever somebody else wrote there is not for us.
            _ => tracing::warn!(key = %pair.key, "etcd holds something that is no overlay subnet"),
        },
        Change::Delete(key) => {
            if let Some(subnet) = subnet_of(&key) {
                peers.remove(&subnet);
            }
        }
    }
}
