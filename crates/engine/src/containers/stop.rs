//! Ending, freezing and waiting for containers.

use std::{future::Future, sync::Arc, time::Duration};

use super::{
    Container, Containers, Effect, Event, Refusal, RemoveOptions, State, StopOptions, WaitCondition, Waited,
    cell::{Cell, Snapshot},
    service::{Shared, refused},
    signal,
};
use crate::{EngineError, ErrorKind};

/// How long the kernel may take to end a process that got SIGKILL.
const AFTER_KILL: Duration = Duration::from_secs(10);

impl Containers {
    /// Ends it: a signal, then SIGKILL. `NotModified` if it does not run.
    pub async fn stop(&self, name: &str, options: StopOptions) -> Result<(), EngineError> {
        let (shared, cell) = (Arc::clone(&self.shared), self.shared.find(name)?);
        self.run(async move {
            shared.stop(&cell, &options).await?;
            shared.announce(&cell.container(), "stop", &[]);
            Ok(())
        })
        .await
    }

    /// Stops it if it runs, and starts it.
    pub async fn restart(&self, name: &str, options: StopOptions) -> Result<(), EngineError> {
        let (shared, cell) = (Arc::clone(&self.shared), self.shared.find(name)?);
        self.run(async move {
            let _kept = cell.keep();
            match shared.stop(&cell, &options).await {
                Ok(()) => shared.announce(&cell.container(), "stop", &[]),
                Err(error) if error.kind == ErrorKind::NotModified => {}
                Err(error) => return Err(error),
            }
            {
                let _turn = cell.turn.lock().await;
                match shared.start_held(&cell, Event::Start).await {
                    Err(error) if error.kind == ErrorKind::NotModified => {}
                    result => result?,
                }
            }
            shared.announce(&cell.container(), "restart", &[]);
            Ok(())
        })
        .await
    }

    /// Sends a signal (name or number; empty: SIGKILL) to its PID 1. SIGKILL returns when it has ended.
    pub async fn kill(&self, name: &str, signal: &str) -> Result<(), EngineError> {
        let context = format!("cannot kill container: {name}");
        let number = if signal.is_empty() { signal::KILL } else { signal::parse(signal)? };
        let cell = self.shared.find(name).map_err(|error| error.context(&context))?;
        let shared = Arc::clone(&self.shared);
        self.run(async move { shared.kill(&cell, number).await.map_err(|error| error.context(context)) })
            .await
    }

    /// Freezes it.
    pub async fn pause(&self, name: &str) -> Result<(), EngineError> {
        let (shared, cell) = (Arc::clone(&self.shared), self.shared.find(name)?);
        self.run(async move { shared.freeze(&cell, true).await }).await
    }

    /// Thaws it.
    pub async fn unpause(&self, name: &str) -> Result<(), EngineError> {
        let (shared, cell) = (Arc::clone(&self.shared), self.shared.find(name)?);
        self.run(async move { shared.freeze(&cell, false).await }).await
    }

    /// Registers a wait at once, and waits in the future that it returns. An exit that happens between the
    /// two is not missed.
    pub fn wait(
        &self,
        name: &str,
        condition: WaitCondition,
    ) -> Result<impl Future<Output = Waited> + Send + 'static, EngineError> {
        let cell = self.shared.find(name)?;
        let mut seen = cell.watch();
        let before = seen.borrow().exits;
        Ok(async move {
            let done = |now: &Snapshot| match condition {
                _ if now.gone => true,
                WaitCondition::NotRunning => {
                    !now.container.life.is_running() && !now.container.life.may_hold()
                }
                WaitCondition::NextExit => now.exits != before,
                WaitCondition::Removed => now.remove_error.is_some(),
            };
            match seen.wait_for(done).await {
                Ok(now) => Waited {
                    code: now.container.life.exit().or(now.last_exit.as_ref()).map_or(0, |exit| exit.code),
                    // A start that failed is an end with a reason.
                    error: now.remove_error.clone().filter(|_| condition == WaitCondition::Removed).or_else(
                        || {
                            now.container
                                .life
                                .exit()
                                .or(now.last_exit.as_ref())
                                .and_then(|exit| exit.error.clone())
                        },
                    ),
                },
                // The cell is only dropped after it was shown to be gone.
                Err(_) => Waited { code: 0, error: None },
            }
        })
    }

    /// Sets the size of its terminal.
    pub async fn resize(&self, name: &str, height: u16, width: u16) -> Result<(), EngineError> {
        let cell = self.shared.find(name)?;
        let container = cell.container();
        let Some(task) = cell.task().filter(|_| container.life.run().is_some()) else {
            return Err(refused(&container, Refusal::NotRunning));
        };
        // As in Docker: without a terminal there is nothing to do, which is no error.
        if container.spec.tty {
            task.resize(height, width).await?;
        }
        let attributes = [("height", height.to_string()), ("width", width.to_string())];
        self.shared.announce(&container, "resize", &attributes);
        Ok(())
    }
}

impl Shared {
    /// Notes that somebody wants the end, so that no policy undoes it. Does not wait for a turn that somebody
    /// holds while the container ends by itself.
    async fn want_end(self: &Arc<Self>, cell: &Arc<Cell>) -> Result<(), Refusal> {
        let mut seen = cell.watch();
        let _turn = tokio::select! {
            turn = cell.turn.lock() => turn,
            _ = seen.wait_for(|now| now.gone || matches!(now.container.life.state, State::Exited(_))) => {
                return Err(Refusal::NotModified);
            }
        };
        match self.advance(cell, Event::Stop).await {
            Ok(Ok(effects)) => {
                if effects.contains(&Effect::AutoRemove) {
                    self.follow_up(cell, &[Effect::AutoRemove]).await;
                }
                Ok(())
            }
            Ok(Err(refusal)) => Err(refusal),
            Err(error) => {
                // The wish is not lost: the container is ended all the same.
                tracing::error!(container = %cell.id, %error, "could not record that it shall end");
                Ok(())
            }
        }
    }

    async fn stop(self: &Arc<Self>, cell: &Arc<Cell>, options: &StopOptions) -> Result<(), EngineError> {
        let container = cell.container();
        let spec = &container.spec;
        let first = match options.signal.as_deref().filter(|signal| !signal.is_empty()) {
            Some(signal) => signal::parse(signal)?,
            None => spec.stop_signal.as_deref().map_or(Ok(signal::TERM), signal::parse)?,
        };
        let seconds =
            options.timeout.or(spec.stop_timeout).unwrap_or_else(|| self.defaults.load().stop_timeout);
        // A start that hangs in a plugin must not keep its container from being stopped.
        cell.cancel_start();
        if let Err(refusal) = self.want_end(cell).await {
            return Err(match refusal {
                Refusal::BeingRemoved => refused(&container, refusal),
                _ => {
                    EngineError::new(ErrorKind::NotModified, format!("container {} is not running", cell.id))
                }
            });
        }
        self.signal(cell, first).await;
        let patience = u64::try_from(seconds).ok().map(Duration::from_secs);
        if self.has_ended(cell, patience).await {
            return Ok(());
        }
        self.signal(cell, signal::KILL).await;
        if self.has_ended(cell, Some(AFTER_KILL)).await {
            return Ok(());
        }
        Err(EngineError::internal(format!(
            "cannot stop container: {}: tried to kill container, but did not receive an exit event",
            cell.id
        )))
    }

    pub async fn kill(self: &Arc<Self>, cell: &Arc<Cell>, number: i32) -> Result<(), EngineError> {
        let container = cell.container();
        match container.life.state {
            State::Running(_) | State::Paused(_) => {}
            State::Restarting(_) => {
                let _ = self.want_end(cell).await;
                return Ok(());
            }
            State::Starting(_) if number == signal::KILL => {
                cell.cancel_start();
                let _ = self.want_end(cell).await;
                self.signal(cell, number).await;
                return Ok(());
            }
            _ => return Err(refused(&container, Refusal::NotRunning)),
        }
        let own = container.spec.stop_signal.as_deref().and_then(|text| signal::parse(text).ok());
        if number == signal::KILL || number == own.unwrap_or(signal::TERM) {
            let _ = self.want_end(cell).await;
        }
        self.signal(cell, number).await;
        if number == signal::KILL && !self.has_ended(cell, Some(AFTER_KILL)).await {
            return Err(EngineError::internal("tried to kill container, but did not receive an exit event"));
        }
        Ok(())
    }

    /// Sends a signal; a frozen container is thawed so that it can act on it.
    async fn signal(self: &Arc<Self>, cell: &Arc<Cell>, number: i32) {
        let container = cell.container();
        let Some(task) = cell.task() else { return };
        match task.kill(number, false).await {
            Ok(()) => self.announce(&container, "kill", &[("signal", number.to_string())]),
            // It ended by itself meanwhile.
            Err(error) if error.kind() == pintle_runtime::ErrorKind::NotFound => return,
            Err(error) => tracing::warn!(container = %cell.id, %error, "cannot be sent a signal"),
        }
        if matches!(container.life.state, State::Paused(_))
            && let Err(error) = self.freeze(cell, false).await
        {
            tracing::debug!(container = %cell.id, %error, "was not thawed");
        }
    }

    /// Waits for the end of the run, at most so long.
    async fn has_ended(&self, cell: &Cell, patience: Option<Duration>) -> bool {
        let mut seen = cell.watch();
        let ended = seen.wait_for(|now| !now.has_process());
        match patience {
            Some(patience) => tokio::time::timeout(patience, ended).await.is_ok(),
            None => ended.await.is_ok(),
        }
    }

    pub async fn freeze(self: &Arc<Self>, cell: &Arc<Cell>, frozen: bool) -> Result<(), EngineError> {
        let _turn = cell.turn.lock().await;
        let event = if frozen { Event::Pause } else { Event::Unpause };
        let container = cell.container();
        let (next, _) =
            self.decide(cell, event).map_err(|refusal| freeze_refused(&container, refusal, frozen))?;
        let Some(task) = cell.task() else { return Err(refused(&container, Refusal::NotRunning)) };
        if frozen {
            task.pause().await?
        } else {
            task.resume().await?
        }
        cell.show(next);
        self.announce(&container, if frozen { "pause" } else { "unpause" }, &[]);
        Ok(())
    }

    /// Ends it without ceremony and waits for that, before it is removed.
    pub async fn kill_for_removal(self: &Arc<Self>, cell: &Arc<Cell>) -> Result<(), EngineError> {
        cell.cancel_start();
        let _ = self.want_end(cell).await;
        if !cell.snapshot().has_process() {
            return Ok(());
        }
        self.signal(cell, signal::KILL).await;
        if self.has_ended(cell, Some(AFTER_KILL)).await {
            return Ok(());
        }
        Err(EngineError::internal(format!(
            "could not kill container {}: tried to kill container, but did not receive an exit event",
            cell.id
        )))
    }
}

fn freeze_refused(container: &Container, refusal: Refusal, frozen: bool) -> EngineError {
    match refusal {
        Refusal::Paused if frozen => {
            EngineError::conflict(format!("container {} is already paused", container.id))
        }
        Refusal::BeingRemoved => refused(container, refusal),
        _ if !frozen => EngineError::conflict(format!("Container {} is not paused", container.id)),
        refusal => refused(container, refusal),
    }
}

/// Removal by a client.
impl Containers {
    /// Removes it.
    pub async fn remove(&self, name: &str, options: RemoveOptions) -> Result<(), EngineError> {
        let (shared, cell) = (Arc::clone(&self.shared), self.shared.find(name)?);
        self.run(async move { shared.remove(&cell, options).await }).await
    }
}
