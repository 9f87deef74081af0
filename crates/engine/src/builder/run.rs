//! `RUN`: a command in a container that lasts as long as the step.

use pintle_image::{Commit, dockerfile::Command};
use pintle_store::failpoint;
use tokio::io::AsyncReadExt;

use super::{Builder, Failed, stage::Build};
use crate::{
    EngineError,
    containers::{AttachOptions, ContainerSpec, HealthSpec, LogConfig, RemoveOptions, WaitCondition},
};

/// The largest piece of output that is passed on at once.
const PIECE: usize = 64 << 10;

/// A container of a step. Dropped, it is ended and removed.
struct Passing {
    builder: Builder,
    id: Option<String>,
}

impl Passing {
    /// Removes it, and waits for that.
    async fn remove(mut self) -> Result<(), EngineError> {
        let Some(id) = self.id.take() else { return Ok(()) };
        self.builder.0.containers.remove(&id, RemoveOptions { force: true, volumes: true }).await
    }

    /// Leaves it to the user.
    async fn keep(mut self) -> Result<(), EngineError> {
        let Some(id) = self.id.take() else { return Ok(()) };
        self.builder.0.containers.keep(&id).await
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        let Some(id) = self.id.take() else { return };
        let containers = self.builder.0.containers.clone();
        self.builder.0.tracker.spawn(async move {
            if let Err(error) = containers.remove(&id, RemoveOptions { force: true, volumes: true }).await {
                tracing::warn!(container = %id, %error, "a container of a build stays until the next start");
            }
        });
    }
}

impl Build<'_> {
    pub(super) async fn run(&mut self, command: &Command) -> Result<(), Failed> {
        let words = match command {
            Command::Exec(words) => words.clone(),
            Command::Shell(line) => self.shell_words(line),
        };
        let identity = self.arguments.identity(&self.state.config.env);
        let told = match identity.as_slice() {
            [] => words.join(" "),
            seen => format!("|{} {} {}", seen.len(), seen.join(" "), words.join(" ")),
        };
        if self.cached(&told).await? {
            return Ok(());
        }
        let Some(image) = &self.state.image else {
            return Err(EngineError::invalid("a stage from scratch has nothing to run yet").into());
        };
        let spec = ContainerSpec {
            image: image.to_string(),
            entrypoint: Some(vec![String::new()]),
            cmd: Some(words.clone()),
            env: self.arguments.environment(&self.state.config.env),
            network_mode: self.request.network_mode.clone(),
            extra_hosts: self.request.extra_hosts.clone(),
            resources: self.request.resources.clone(),
            shm_size: self.request.shm_size,
            ulimits: self.request.ulimits.clone(),
            cgroup_parent: self.request.cgroup_parent.clone(),
            security_opt: self.request.security_opt.clone(),
            log: LogConfig { driver: "none".to_owned(), ..LogConfig::default() },
            passing: true,
            healthcheck: Some(HealthSpec { test: vec!["NONE".to_owned()], ..HealthSpec::default() }),
            ..ContainerSpec::default()
        };
        let containers = &self.builder.0.containers;
        let id = containers.create(None, spec).await?.id;
        let passing = Passing { builder: self.builder.clone(), id: Some(id.clone()) };
        let short = id.get(..12).unwrap_or(&id).to_owned();
        self.out.output(format!(" ---> Running in {short}\n"));
        let code = match self.follow(&id).await {
            Ok(code) => code,
            Err(error) => {
                self.give_up(passing).await;
                return Err(error.into());
            }
        };
        if code != 0 {
            self.give_up(passing).await;
            let error = EngineError::invalid(format!(
                "The command '{}' returned a non-zero code: {code}",
                words.join(" ")
            ));
            return Err(Failed { error, code: Some(code) });
        }
        failpoint!("engine.build.ran");
        let commit = Commit { created_by: told.clone(), ..self.commit_of(&told) };
        let made = self.builder.0.images.commit_rootfs(&id, &containers.dir(&id), commit).await?;
        failpoint!("engine.build.committed");
        if self.request.remove {
            passing.remove().await?;
            self.out.output(format!("Removing intermediate container {short}\n"));
        } else {
            passing.keep().await?;
        }
        self.arrive(made);
        Ok(())
    }

    async fn give_up(&self, passing: Passing) {
        let done = match self.request.force_remove {
            true => passing.remove().await,
            false => passing.keep().await,
        };
        if let Err(error) = done {
            tracing::debug!(%error, "the container of a failed step");
        }
    }

    /// Runs it to its end and passes its output on; its exit code.
    async fn follow(&self, id: &str) -> Result<i64, EngineError> {
        let containers = &self.builder.0.containers;
        let options = AttachOptions { stream: true, stdout: true, stderr: true, ..AttachOptions::default() };
        let attached = containers.attach(id, options).await?;
        let ended = containers.wait(id, WaitCondition::NextExit)?;
        containers.start(id).await?;
        if let Some(connection) = attached.connection
            && let Some(mut stream) = connection.ready().await
        {
            let mut head = [0; 8];
            while stream.read_exact(&mut head).await.is_ok() {
                let [kind, _, _, _, length @ ..] = head;
                let mut left = u32::from_be_bytes(length) as usize;
                while left > 0 {
                    let mut piece = vec![0; left.min(PIECE)];
                    if stream.read_exact(&mut piece).await.is_err() {
                        break;
                    }
                    left -= piece.len();
                    let text = String::from_utf8_lossy(&piece);
                    // Standard error is red, as in Docker.
                    let text = match kind {
                        2 => format!("\u{1b}[91m{text}\u{1b}[0m"),
                        _ => text.into_owned(),
                    };
                    self.out.output_in_turn(text).await;
                }
            }
        }
        let ended = ended.await;
        match ended.error {
            Some(error) => Err(EngineError::internal(error)),
            None => Ok(ended.code),
        }
    }
}
