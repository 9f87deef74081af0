//! `docker commit`: an image from a container.

use std::{collections::BTreeMap, sync::Arc};

use pintle_image::{Commit, ContainerConfig, ImageId, Reference, config::Empty, images::apply_instructions};

use super::{Container, Containers, State, cell::Cell, failpoint, service::Shared};
use crate::EngineError;

/// How to commit a container.
#[derive(Debug, Clone, Default)]
pub struct CommitOptions {
    /// The new image's name.
    pub name: Option<Reference>,
    /// Who made it.
    pub author: String,
    /// A remark.
    pub comment: String,
    /// Dockerfile instructions that change its configuration.
    pub changes: Vec<String>,
    /// A configuration in place of the container's.
    pub config: Option<ContainerConfig>,
    /// Freeze the container while its files are read.
    pub pause: bool,
}

impl Containers {
    /// Makes an image of a container's files and configuration.
    pub async fn commit(&self, name: &str, options: CommitOptions) -> Result<ImageId, EngineError> {
        let (shared, cell) = (Arc::clone(&self.shared), self.shared.find(name)?);
        self.run(async move { shared.commit(&cell, options).await }).await
    }
}

impl Containers {
    /// Keeps a container that was to go with its request.
    pub(crate) async fn keep(&self, name: &str) -> Result<(), EngineError> {
        let (shared, cell) = (Arc::clone(&self.shared), self.shared.find(name)?);
        self.run(async move {
            let _turn = cell.turn.lock().await;
            let mut container = (*cell.container()).clone();
            Arc::make_mut(&mut container.spec).passing = false;
            let container = Arc::new(container);
            shared.records.put(Arc::clone(&container)).await?;
            cell.show(container);
            Ok(())
        })
        .await
    }
}

impl Shared {
    async fn commit(
        self: &Arc<Self>,
        cell: &Arc<Cell>,
        options: CommitOptions,
    ) -> Result<ImageId, EngineError> {
        let container = cell.container();
        must_be_whole(&container)?;
        let own = config_of(&container);
        let mut config = match options.config {
            Some(given) => over(given, &own),
            None => own,
        };
        apply_instructions(&mut config, &options.changes)?;
        let name = options.name.map(Reference::or_latest);
        let commit = Commit {
            name: name.clone(),
            config,
            author: options.author,
            comment: options.comment.clone(),
            created_by: container.spec.cmd.as_ref().map(|words| words.join(" ")).unwrap_or_default(),
            ..Commit::default()
        };
        let made = self.commit_files(cell, &container, options.pause, commit).await;
        // Files that went away while they were read are not in the image.
        if cell.snapshot().gone || matches!(cell.container().life.state, State::Removing | State::Dead) {
            return Err(EngineError::conflict(format!(
                "container {} was removed while it was being committed",
                cell.id
            )));
        }
        let id = made?;
        let mut attributes = vec![("comment", options.comment), ("imageID", id.to_string())];
        attributes.extend(name.map(|name| ("imageRef", name.familiar())));
        self.announce(&container, "commit", &attributes);
        Ok(id)
    }
}

/// A container that is frozen for a commit says so here: the next engine must thaw it.
const FROZEN: &str = "frozen-for-commit";

impl Shared {
    /// Reads its files, frozen if wanted. One that is frozen already stays so.
    async fn commit_files(
        self: &Arc<Self>,
        cell: &Arc<Cell>,
        container: &Container,
        pause: bool,
        commit: Commit,
    ) -> Result<ImageId, pintle_image::ImageError> {
        let dir = self.dir(&cell.id);
        let mark = dir.join(FROZEN);
        let freeze = pause && matches!(container.life.state, State::Running(_));
        let froze =
            freeze && tokio::fs::write(&mark, "").await.is_ok() && self.freeze(cell, true).await.is_ok();
        failpoint!("engine.commit.frozen");
        let made = self.images.commit_rootfs(&cell.id, &dir, commit).await;
        if froze && let Err(error) = self.freeze(cell, false).await {
            tracing::warn!(container = %cell.id, %error, "was not thawed after its commit");
        }
        if freeze {
            let _ = tokio::fs::remove_file(&mark).await;
        }
        made
    }

    /// Thaws a container that an engine froze for a commit that it did not live to finish.
    pub async fn thaw_after_commit(&self, id: &str, task: &pintle_runtime::Task) -> bool {
        let mark = self.dir(id).join(FROZEN);
        if tokio::fs::metadata(&mark).await.is_err() {
            return false;
        }
        match task.resume().await {
            Ok(()) => {
                let _ = tokio::fs::remove_file(&mark).await;
                true
            }
            Err(error) => {
                tracing::warn!(container = %id, %error, "was not thawed after a commit that was cut short");
                false
            }
        }
    }
}

fn must_be_whole(container: &Container) -> Result<(), EngineError> {
    let what = match container.life.state {
        State::Dead => "Dead",
        State::Removing => "being removed",
        _ => return Ok(()),
    };
    Err(EngineError::conflict(format!("You cannot commit container {} which is {what}", container.id)))
}

fn keys(names: &[String]) -> BTreeMap<String, Empty> {
    names.iter().map(|name| (name.clone(), Empty {})).collect()
}

/// What of a container an image can say.
fn config_of(container: &Container) -> ContainerConfig {
    let spec = &container.spec;
    ContainerConfig {
        user: spec.user.clone(),
        exposed_ports: keys(&spec.exposed_ports),
        env: spec.env.clone(),
        entrypoint: spec.entrypoint.clone(),
        cmd: spec.cmd.clone(),
        volumes: keys(&spec.volumes),
        working_dir: spec.working_dir.clone(),
        labels: spec.labels.clone(),
        stop_signal: spec.stop_signal.clone().unwrap_or_default(),
        healthcheck: spec.healthcheck.as_ref().map(super::HealthSpec::to_json),
        ..ContainerConfig::default()
    }
}

/// The client's configuration, with the container's where it says nothing.
fn over(mut given: ContainerConfig, own: &ContainerConfig) -> ContainerConfig {
    fn fill<T: Clone + Default + PartialEq>(given: &mut T, own: &T) {
        if *given == T::default() {
            given.clone_from(own);
        }
    }
    fill(&mut given.user, &own.user);
    for variable in &own.env {
        let key = variable.split('=').next();
        if !given.env.iter().any(|mine| mine.split('=').next() == key) {
            given.env.push(variable.clone());
        }
    }
    for (port, empty) in &own.exposed_ports {
        given.exposed_ports.insert(port.clone(), *empty);
    }
    for (path, empty) in &own.volumes {
        given.volumes.insert(path.clone(), *empty);
    }
    for (key, value) in &own.labels {
        given.labels.entry(key.clone()).or_insert_with(|| value.clone());
    }
    if given.entrypoint.as_ref().is_none_or(Vec::is_empty) {
        if given.cmd.as_ref().is_none_or(Vec::is_empty) {
            given.cmd.clone_from(&own.cmd);
        }
        given.entrypoint.clone_from(&own.entrypoint);
    }
    fill(&mut given.working_dir, &own.working_dir);
    fill(&mut given.stop_signal, &own.stop_signal);
    fill(&mut given.healthcheck, &own.healthcheck);
    given
}
