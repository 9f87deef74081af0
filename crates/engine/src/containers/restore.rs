//! Recovery: making the world agree with the records, and the records with the world, when the engine starts.

use std::{collections::HashSet, path::Path, sync::Arc};

use chrono::Utc;
use futures_util::{StreamExt, stream};
use pintle_contract::MountId;
use pintle_runtime::{Status, TaskState};

use super::{
    Containers, Event, MountKind, RestartMode, Run, State,
    cell::Cell,
    logs::Opened,
    service::{Shared, blocking},
    supervise::unknown_end,
};
use crate::{EngineError, volumes::Reference};

/// Containers that are looked at side by side.
const AT_ONCE: usize = 16;

impl Containers {
    /// Makes the world agree with the records after a start of the engine: re-attaches what runs, records
    /// what ended meanwhile, cleans up what was half done. Returns when that is done; starts by policy go on in
    /// the background, those of containers that need a plugin after [`Containers::start_wanted`].
    pub async fn restore(&self) -> Result<(), EngineError> {
        let shared = &self.shared;
        let cells = shared.cells();
        shared.volumes.restore(cells.iter().flat_map(references).collect());
        let root = shared.config.data_root.join("containers");
        let mounted = blocking(move || Ok(mounted_roots(&root))).await?;
        stream::iter(cells)
            .for_each_concurrent(AT_ONCE, |cell| {
                let mounted = mounted.contains(&cell.id);
                async move {
                    let _turn = cell.turn.lock().await;
                    if let Err(error) = shared.settle(&cell, mounted).await {
                        tracing::error!(container = %cell.id, %error, "could not be put in order");
                    }
                }
            })
            .await;
        shared.sweep().await;
        shared.networks.sweep(&shared.cells().iter().map(|cell| cell.id.clone()).collect()).await;
        for cell in shared.cells() {
            shared.deliver(&cell, Opened::default());
            if wanted_at_boot(&cell) {
                shared.start_at_boot(&cell);
            }
        }
        Ok(())
    }

    /// Says that plugins had their first chance: containers that wait for one are started now.
    pub fn start_wanted(&self) {
        self.shared.plugins_ready.send_replace(true);
    }
}

/// Whether its policy wants it running now that the engine starts.
fn wanted_at_boot(cell: &Cell) -> bool {
    let container = cell.container();
    match container.life.state {
        State::Restarting(_) => true,
        State::Exited(_) => match container.spec.restart.mode {
            RestartMode::Always => true,
            RestartMode::UnlessStopped => !container.life.stopped_by_user,
            RestartMode::No | RestartMode::OnFailure => false,
        },
        _ => false,
    }
}

fn references(cell: &Arc<Cell>) -> Vec<Reference> {
    let container = cell.container();
    let holds = container.life.may_hold();
    container
        .mounts
        .iter()
        .filter(|mount| mount.kind == MountKind::Volume)
        .filter_map(|mount| {
            Some(Reference {
                volume: mount.name.clone()?,
                container: container.id.clone(),
                mounts: if holds { vec![MountId(mount.mount_id.clone())] } else { Vec::new() },
            })
        })
        .collect()
}

impl Shared {
    /// Puts one container in order. The caller has its turn.
    async fn settle(self: &Arc<Self>, cell: &Arc<Cell>, mounted: bool) -> Result<(), EngineError> {
        let container = cell.container();
        if container.spec.passing {
            // Whoever waited for it is gone.
            self.runtime.cleanup_orphan(&cell.id).await?;
            self.release(cell, if mounted { &container.mounts } else { &[] }).await;
            return self.forget(cell).await;
        }
        match &container.life.state {
            State::Creating => self.forget(cell).await,
            State::Removing => {
                self.release(cell, if mounted { &container.mounts } else { &[] }).await;
                self.delete(cell).await
            }
            State::Starting(_) | State::Running(_) | State::Paused(_) => {
                self.settle_run(cell).await?;
                self.settle_update(cell).await
            }
            State::Created(_) | State::Exited(_) | State::Restarting(_) | State::Dead => {
                if mounted || self.networks.holds(&cell.id) {
                    // The end of its last run was recorded but not finished.
                    self.release(cell, &container.mounts).await;
                }
                if container.spec.auto_remove && matches!(container.life.state, State::Exited(_)) {
                    return self.remove_held(cell, true, true).await;
                }
                self.settle_update(cell).await
            }
        }
    }

    /// Takes back a container that nobody was ever told of.
    async fn forget(&self, cell: &Arc<Cell>) -> Result<(), EngineError> {
        let container = cell.container();
        let volumes: Vec<String> = container
            .mounts
            .iter()
            .filter(|mount| mount.kind == MountKind::Volume && mount.anonymous)
            .filter_map(|mount| mount.name.clone())
            .filter(|name| self.volumes.references(name).iter().all(|user| *user == container.id))
            .collect();
        self.undo_create(&container, &volumes).await;
        self.records.delete(&cell.id).await?;
        self.index().remove(&cell.id);
        cell.show_gone();
        Ok(())
    }

    async fn settle_run(self: &Arc<Self>, cell: &Arc<Cell>) -> Result<(), EngineError> {
        let container = cell.container();
        let task = self.runtime.attach_existing(&cell.id).await?;
        let state = match &task {
            Some(task) => Some(task.state().await?),
            None => None,
        };
        cell.set_task(task.clone());
        let started_at = container.life.run().map_or_else(Utc::now, |run| run.started_at);
        let launched = |pid: Option<u32>| Event::Launched(Run { pid: pid.unwrap_or_default(), started_at });
        match (task, state) {
            (Some(task), Some(state)) if matches!(state.status, Status::Running | Status::Paused) => {
                if matches!(container.life.state, State::Starting(_)) {
                    let _ = self.advance(cell, launched(state.pid)).await?;
                } else if let Some(run) = container.life.run() {
                    // The record may be older than the run that it is about: the shim knows better.
                    let mut now = (*cell.container()).clone();
                    let run = Run { pid: state.pid.unwrap_or(run.pid), ..run.clone() };
                    now.life.state = State::Running(run);
                    cell.show(Arc::new(now));
                }
                if state.status == Status::Paused && !self.thaw_after_commit(&cell.id, &task).await {
                    let _ = self.advance(cell, Event::Pause).await?;
                }
                self.networks.keep(&cell.container()).await;
                self.watch_task(cell, task);
                Ok(())
            }
            (Some(_), Some(state)) if ended_by_itself(&state, &container.life.state) => {
                // It ran, and ended while nobody looked. A refusal only says that it was known to run.
                let _ = self.advance(cell, launched(None)).await?;
                let status =
                    state.exit.unwrap_or_else(|| unknown_end("its exit was not recorded".to_owned()));
                self.ended(cell, &status).await;
                Ok(())
            }
            (_, state) if never_ran(state.as_ref(), &container.life.state) => {
                self.release(cell, &container.mounts).await;
                let mut before = (*cell.container()).clone();
                before.life.state = State::Starting(before.life.exit().cloned());
                cell.show(Arc::new(before));
                let event = Event::LaunchFailed {
                    code: 128,
                    error: "the engine ended while the container was being started".to_owned(),
                    at: Utc::now(),
                };
                let effects = self.advance(cell, event).await?.unwrap_or_default();
                self.follow_up(cell, &effects).await;
                Ok(())
            }
            (_, _) => {
                // The machine went down, or somebody removed what we knew of it.
                self.ended(cell, &unknown_end("lost with its machine".to_owned())).await;
                Ok(())
            }
        }
    }

    /// Removes directories of containers that have no record: creations and removals that were cut short.
    async fn sweep(&self) {
        let root = self.config.data_root.join("containers");
        let entries = blocking(move || {
            let Ok(entries) = std::fs::read_dir(root) else { return Ok(Vec::new()) };
            Ok(entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect::<Vec<_>>())
        })
        .await
        .unwrap_or_default();
        for id in entries {
            if self.index().holds(&id) {
                continue;
            }
            let dir = self.dir(&id);
            if let Err(error) = self.runtime.cleanup_orphan(&id).await {
                tracing::warn!(container = %id, %error, "processes without a record could not be removed");
            }
            self.drop_shm(&id).await;
            self.release_size(&id).await;
            let removed = match self.remove_images(&id).await {
                Ok(()) => self.images.remove_rootfs(&id, &dir).await.map_err(Into::into),
                Err(error) => Err(error),
            };
            match removed {
                Ok(()) => {
                    let _ = blocking(move || Ok(std::fs::remove_dir_all(dir)?)).await;
                    tracing::info!(container = %id, "removed what a creation or removal left");
                }
                Err(error) => tracing::warn!(container = %id, %error, "files without a record stay"),
            }
        }
    }
}

/// Whether there is an end to record. Of a start that was cut short, only an end that the process itself had.
fn ended_by_itself(task: &TaskState, recorded: &State) -> bool {
    let own = task.exit.as_ref().is_none_or(|exit| exit.error.is_none());
    task.status == Status::Stopped && (own || !matches!(recorded, State::Starting(_)))
}

/// Whether the start was cut short before its process ran: then it never happened.
fn never_ran(task: Option<&TaskState>, recorded: &State) -> bool {
    matches!(recorded, State::Starting(_)) || task.is_some_and(|task| task.status == Status::Created)
}

/// Ids of containers whose root file system is mounted.
fn mounted_roots(root: &Path) -> HashSet<String> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    table
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .filter_map(|target| Path::new(target).strip_prefix(root).ok())
        .filter(|inside| inside.ends_with("merged"))
        .filter_map(|inside| Some(inside.iter().next()?.to_str()?.to_owned()))
        .collect()
}
