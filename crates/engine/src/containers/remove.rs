//! Removing containers.

use std::sync::Arc;

use super::{
    Container, Effect, Event, MountKind, Refusal, RemoveOptions, State,
    cell::Cell,
    failpoint,
    service::{Shared, blocking},
};
use crate::EngineError;

impl Shared {
    pub async fn remove(
        self: &Arc<Self>,
        cell: &Arc<Cell>,
        options: RemoveOptions,
    ) -> Result<(), EngineError> {
        let container = cell.container();
        let runs = |container: &Container| {
            matches!(
                container.life.state,
                State::Running(_) | State::Paused(_) | State::Starting(_) | State::Restarting(_)
            )
        };
        if runs(&container) {
            if !options.force {
                return Err(still_runs(&container));
            }
            self.kill_for_removal(cell).await?;
        }
        let _turn = cell.turn.lock().await;
        if cell.snapshot().gone {
            // With `--rm` its end removed it; to whoever forces it, that is what was wanted.
            return if options.force {
                Ok(())
            } else {
                Err(EngineError::not_found(format!("No such container: {}", container.id)))
            };
        }
        self.remove_held(cell, options.force, options.volumes).await
    }

    /// Removes a container that does not run and whose turn the caller has.
    pub async fn remove_held(
        self: &Arc<Self>,
        cell: &Arc<Cell>,
        force: bool,
        volumes: bool,
    ) -> Result<(), EngineError> {
        match self.advance(cell, Event::Remove { volumes }).await? {
            Ok(effects) => debug_assert!(effects.contains(&Effect::Delete), "removal must delete"),
            Err(Refusal::BeingRemoved) => {
                return Err(EngineError::conflict(format!(
                    "removal of container {} is already in progress",
                    cell.id
                )));
            }
            Err(_) => return Err(still_runs(&cell.container())),
        }
        failpoint!("engine.remove.after_intent");
        match self.delete(cell).await {
            Ok(()) => Ok(()),
            Err(error) => {
                cell.show_remove_error(error.message.clone());
                if let Err(error) = self.advance(cell, Event::RemoveFailed).await {
                    tracing::error!(container = %cell.id, %error, "its failed removal could not be recorded");
                }
                tracing::warn!(container = %cell.id, %error, force, "could not be removed completely");
                Err(error.context(format!("unable to remove filesystem for {}", cell.id)))
            }
        }
    }

    /// Deletes everything that there is of a container, its record last.
    pub async fn delete(self: &Arc<Self>, cell: &Arc<Cell>) -> Result<(), EngineError> {
        let container = cell.container();
        let dir = self.dir(&container.id);
        // Nothing is left of a run but with `--rm`, where its end leads here at once.
        if cell.task().is_some() {
            self.release(cell, &container.mounts).await;
        }
        self.remove_images(&container.id).await?;
        if container.spec.storage_size > 0 {
            self.release_size(&container.id).await;
        }
        self.images.remove_rootfs(&container.id, &dir).await?;
        failpoint!("engine.remove.after_rootfs");
        blocking(move || match std::fs::remove_dir_all(&dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        })
        .await?;
        self.drop_volumes(&container, container.life.volumes_go).await;
        failpoint!("engine.remove.after_volumes");
        self.records.delete(&container.id).await?;
        self.index().remove(&container.id);
        drop(cell.take_promises());
        self.announce(&container, "destroy", &[]);
        cell.show_gone();
        Ok(())
    }

    /// Ends the references to volumes, and removes the anonymous ones if wanted. Volumes that others use, or
    /// whose driver fails, stay.
    async fn drop_volumes(&self, container: &Container, remove: bool) {
        for mount in container.mounts.iter().filter(|mount| mount.kind == MountKind::Volume) {
            let Some(name) = &mount.name else { continue };
            self.volumes.unreference(name, &container.id);
            let unused = remove && mount.anonymous && self.volumes.references(name).is_empty();
            if !unused {
                continue;
            }
            if let Err(error) = self.volumes.remove(name, false).await {
                tracing::warn!(container = %container.id, volume = %name, %error, "an anonymous volume stays");
            }
        }
    }
}

fn still_runs(container: &Container) -> EngineError {
    let (state, advice) = match container.life.state {
        State::Paused(_) => ("paused", "unpause and stop the container before removing or force remove"),
        State::Restarting(_) => ("restarting", "stop the container before removing or force remove"),
        _ => ("running", "stop the container before removing or force remove"),
    };
    EngineError::conflict(format!(
        "cannot remove container \"/{}\": container is {state}: {advice}",
        container.name
    ))
}
