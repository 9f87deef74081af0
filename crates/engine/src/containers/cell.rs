//! One container as the service holds it in memory.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use pintle_runtime::{Attach, Task};
use tokio::{
    net::UnixStream,
    sync::{oneshot, watch},
};
use tokio_util::sync::CancellationToken;

use super::{Container, Exit, Health, exec::ExecCell};

/// What there is to see of a container, replaced whole.
#[derive(Debug, Clone)]
pub(super) struct Snapshot {
    pub container: Arc<Container>,
    /// How often its process ended since the engine started.
    pub exits: u64,
    /// How it ended last.
    pub last_exit: Option<Exit>,
    /// How it is, if anybody asks.
    pub health: Option<Health>,
    /// It is removed.
    pub gone: bool,
    /// Why it could not be removed.
    pub remove_error: Option<String>,
}

impl Snapshot {
    pub fn has_process(&self) -> bool {
        !self.gone && self.container.life.run().is_some()
    }
}

/// One container. Readers take snapshots; whoever changes it holds `turn`.
pub(super) struct Cell {
    pub id: String,
    /// Held over a whole transition, so never waited for by `list` and `inspect`.
    pub turn: tokio::sync::Mutex<()>,
    seen: watch::Sender<Snapshot>,
    task: Mutex<Option<Task>>,
    /// Clients that attached before there was a process.
    pending: Mutex<Vec<(Attach, oneshot::Sender<UnixStream>)>>,
    execs: Mutex<Vec<Arc<ExecCell>>>,
    /// Cancels the start that is going on.
    starting: Mutex<CancellationToken>,
    /// A restart is under way: its end does not remove it.
    kept: AtomicUsize,
    /// How many look at its mounted files while it does not run.
    pub views: tokio::sync::Mutex<usize>,
}

/// While this lives, the container's end does not remove it.
pub(super) struct Kept(Arc<Cell>);

impl Drop for Kept {
    fn drop(&mut self) {
        self.0.kept.fetch_sub(1, Ordering::SeqCst);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Cell {
    pub fn new(container: Container) -> Self {
        let last_exit = container.life.exit().filter(|exit| exit.finished_at.is_some()).cloned();
        let snapshot = Snapshot {
            container: Arc::new(container),
            exits: 0,
            last_exit,
            health: None,
            gone: false,
            remove_error: None,
        };
        Self {
            id: snapshot.container.id.clone(),
            turn: tokio::sync::Mutex::new(()),
            seen: watch::Sender::new(snapshot),
            task: Mutex::new(None),
            pending: Mutex::new(Vec::new()),
            execs: Mutex::new(Vec::new()),
            starting: Mutex::new(CancellationToken::new()),
            kept: AtomicUsize::new(0),
            views: tokio::sync::Mutex::new(0),
        }
    }

    pub fn keep(self: &Arc<Self>) -> Kept {
        self.kept.fetch_add(1, Ordering::SeqCst);
        Kept(Arc::clone(self))
    }

    pub fn is_kept(&self) -> bool {
        self.kept.load(Ordering::SeqCst) > 0
    }

    /// The container as it is now.
    pub fn container(&self) -> Arc<Container> {
        Arc::clone(&self.seen.borrow().container)
    }

    pub fn snapshot(&self) -> Snapshot {
        self.seen.borrow().clone()
    }

    /// Sees every later snapshot.
    pub fn watch(&self) -> watch::Receiver<Snapshot> {
        self.seen.subscribe()
    }

    /// Shows a new state to everybody.
    pub fn show(&self, container: Arc<Container>) {
        self.seen.send_modify(|snapshot| snapshot.container = container);
    }

    /// Shows the end of a run.
    pub fn show_exit(&self, container: Arc<Container>) {
        self.seen.send_modify(|snapshot| {
            snapshot.exits += 1;
            snapshot.last_exit = container.life.exit().cloned();
            snapshot.container = container;
        });
    }

    /// How it is.
    pub fn health(&self) -> Option<Health> {
        self.seen.borrow().health.clone()
    }

    /// Changes what is known of its health; who changes its state does not get in the way.
    pub fn change_health(&self, change: impl FnOnce(&mut Option<Health>)) {
        self.seen.send_modify(|snapshot| change(&mut snapshot.health));
    }

    pub fn show_gone(&self) {
        self.seen.send_modify(|snapshot| snapshot.gone = true);
    }

    pub fn show_remove_error(&self, error: String) {
        self.seen.send_modify(|snapshot| snapshot.remove_error = Some(error));
    }

    pub fn task(&self) -> Option<Task> {
        lock(&self.task).clone()
    }

    pub fn set_task(&self, task: Option<Task>) {
        *lock(&self.task) = task;
    }

    /// Promises a connection when there is a process.
    pub fn promise(&self, attach: Attach) -> oneshot::Receiver<UnixStream> {
        let (promise, coming) = oneshot::channel();
        lock(&self.pending).push((attach, promise));
        coming
    }

    /// Whoever still waits for a connection.
    pub fn take_promises(&self) -> Vec<(Attach, oneshot::Sender<UnixStream>)> {
        let mut promises = std::mem::take(&mut *lock(&self.pending));
        promises.retain(|(_, promise)| !promise.is_closed());
        promises
    }

    /// A fresh token for a start that begins.
    pub fn begin_start(&self) -> CancellationToken {
        let token = CancellationToken::new();
        *lock(&self.starting) = token.clone();
        token
    }

    /// Ends a start that is going on, if one is.
    pub fn cancel_start(&self) {
        lock(&self.starting).cancel();
    }

    /// Adds an exec; of those that ended, the oldest beyond `remembered` are forgotten.
    pub fn add_exec(&self, exec: Arc<ExecCell>, remembered: usize) {
        let mut execs = lock(&self.execs);
        let ended: Vec<String> =
            execs.iter().filter(|old| old.has_ended()).map(|old| old.id.clone()).collect();
        for id in ended.iter().take(ended.len().saturating_sub(remembered)) {
            execs.retain(|old| old.id != *id);
        }
        execs.push(exec);
    }

    pub fn exec(&self, id: &str) -> Option<Arc<ExecCell>> {
        lock(&self.execs).iter().find(|exec| exec.id == id).cloned()
    }

    pub fn forget_prepared_execs(&self) {
        lock(&self.execs).retain(|exec| !exec.is_prepared());
    }

    pub fn exec_ids(&self) -> Vec<String> {
        lock(&self.execs).iter().filter(|exec| !exec.has_ended()).map(|exec| exec.id.clone()).collect()
    }
}
