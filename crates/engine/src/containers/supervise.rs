//! Watching what runs: its end, what follows from that, and starting again.

use std::{sync::Arc, time::Duration};

use chrono::Utc;
use pintle_runtime::{ExitStatus, Task};

use super::{Container, Effect, Event, State, cell::Cell, failpoint, service::Shared};
use crate::volumes::DEFAULT;

/// How long to wait before something that could not be recorded is tried again.
const UNRECORDED: Duration = Duration::from_secs(1);

impl Shared {
    /// Sees a task to its end.
    pub fn watch_task(self: &Arc<Self>, cell: &Arc<Cell>, task: Task) {
        self.watch_health(cell);
        let (shared, cell) = (Arc::clone(self), Arc::clone(cell));
        self.spawn(async move {
            let ended = tokio::select! {
                ended = task.wait() => ended,
                () = shared.closing.cancelled() => return,
            };
            let status = ended.unwrap_or_else(|error| {
                tracing::warn!(container = %cell.id, %error, "how it ended is not known");
                unknown_end(error.to_string())
            });
            let _turn = cell.turn.lock().await;
            shared.ended(&cell, &status).await;
        });
    }

    /// Records the end of a run and does what follows. The caller has the turn.
    pub async fn ended(self: &Arc<Self>, cell: &Arc<Cell>, status: &ExitStatus) {
        let started_at = cell.container().life.run().map(|run| run.started_at);
        let event = Event::Ended {
            code: i64::from(status.code),
            oom_killed: status.oom_killed,
            at: status.finished_at,
        };
        // Somebody else saw it first.
        let Ok((container, mut effects)) = self.decide(cell, event) else { return };
        if cell.is_kept() {
            effects.retain(|effect| *effect != Effect::AutoRemove);
        }
        // A removal that follows commits itself; until then the shim's record of the exit is there.
        if !effects.contains(&Effect::AutoRemove) {
            match self.records.put(Arc::clone(&container)).await {
                Ok(()) => {
                    failpoint!("engine.exit.after_record");
                    self.release(cell, &container.mounts).await;
                }
                Err(error) => {
                    tracing::error!(container = %cell.id, %error, "its end could not be recorded yet");
                    self.record_later(cell, Arc::clone(&container));
                }
            }
        }
        self.end_execs(cell);
        if status.oom_killed {
            self.announce(&container, "oom", &[]);
        }
        let lasted = started_at.map_or(0, |since| (status.finished_at - since).num_seconds().max(0));
        let attributes = [("exitCode", status.code.to_string()), ("execDuration", lasted.to_string())];
        self.announce(&container, "die", &attributes);
        cell.show_exit(container);
        self.follow_up(cell, &effects).await;
    }

    /// Records an end that found the disk full as soon as it can be; until then the shim's record of it stays.
    fn record_later(self: &Arc<Self>, cell: &Arc<Cell>, ended: Arc<Container>) {
        let (shared, cell) = (Arc::clone(self), Arc::clone(cell));
        self.spawn(async move {
            loop {
                tokio::select! {
                    () = tokio::time::sleep(UNRECORDED) => {}
                    () = shared.closing.cancelled() => return,
                }
                let _turn = cell.turn.lock().await;
                let now = cell.snapshot();
                if now.gone || now.has_process() {
                    return;
                }
                // What was recorded since says it too.
                if !Arc::ptr_eq(&now.container, &ended)
                    || shared.records.put(Arc::clone(&ended)).await.is_ok()
                {
                    shared.release(&cell, &ended.mounts).await;
                    return;
                }
            }
        });
    }

    /// Starts a container again after a delay, unless its life took another turn meanwhile.
    pub fn restart_after(self: &Arc<Self>, cell: &Arc<Cell>, delay: Duration) {
        let count = cell.container().life.restart_count;
        let (shared, cell) = (Arc::clone(self), Arc::clone(cell));
        let mut seen = cell.watch();
        self.spawn(async move {
            let mut delay = delay;
            loop {
                let other_life = seen.wait_for(|now| now.gone || now.container.life.restart_count != count);
                tokio::select! {
                    () = tokio::time::sleep(delay) => {}
                    _ = other_life => return,
                    () = shared.closing.cancelled() => return,
                }
                let _turn = cell.turn.lock().await;
                let waits = || {
                    let now = cell.container();
                    now.life.restart_count == count && matches!(now.life.state, State::Restarting(_))
                };
                if !waits() {
                    return;
                }
                shared.restart_due(&cell).await;
                // A start leads on, well or not, unless it could not even be recorded.
                if !waits() {
                    return;
                }
                delay = delay.max(UNRECORDED);
            }
        });
    }

    async fn restart_due(self: &Arc<Self>, cell: &Arc<Cell>) {
        if let Err(error) = Box::pin(self.start_held(cell, Event::RestartDue)).await {
            tracing::info!(container = %cell.id, %error, "not started again");
        }
    }

    /// Starts a container that its policy wants running when the engine starts. One that needs a plugin waits
    /// until plugins had their first chance; the others do not.
    pub fn start_at_boot(self: &Arc<Self>, cell: &Arc<Cell>) {
        let (shared, cell) = (Arc::clone(self), Arc::clone(cell));
        let needs_plugin =
            cell.container().mounts.iter().any(|mount| mount.name.is_some() && mount.driver != DEFAULT)
                || self.networks.needs_plugin(&cell.container());
        self.spawn(async move {
            if needs_plugin {
                let mut ready = shared.plugins_ready.subscribe();
                tokio::select! {
                    _ = ready.wait_for(|ready| *ready) => {}
                    () = shared.closing.cancelled() => return,
                }
            }
            let _turn = cell.turn.lock().await;
            let event = match cell.container().life.state {
                State::Restarting(_) => Event::RestartDue,
                _ => Event::Start,
            };
            if let Err(error) = shared.start_held(&cell, event).await {
                tracing::warn!(container = %cell.id, %error, "could not be started with the engine");
            }
        });
    }
}

/// What is recorded when nobody saw the end.
pub(super) fn unknown_end(error: String) -> ExitStatus {
    ExitStatus { code: 255, oom_killed: false, finished_at: Utc::now(), error: Some(error) }
}
