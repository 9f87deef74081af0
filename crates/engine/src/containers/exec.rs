//! Further processes in a running container.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pintle_runtime::{
    Attach, Exec, ExecConfig,
    spec::{ResolvedUser, resolve_user},
};
use tokio_util::sync::CancellationToken;

use super::{
    Container, Containers, ExecSpec, ExecStart, ExecStarted, ExecView, State,
    cell::Cell,
    failpoint, names, oci,
    service::{Shared, blocking},
};
use crate::EngineError;

/// Ended execs that are remembered for each container.
const REMEMBERED: usize = 256;

/// One exec: prepared, running or ended. Not kept over a restart of the engine.
pub(super) struct ExecCell {
    pub id: String,
    spec: ExecSpec,
    life: Mutex<Life>,
    /// Cancelled when it has ended.
    ended: CancellationToken,
}

enum Life {
    Prepared,
    Starting,
    Running { pid: u32, exec: Exec },
    Ended { code: Option<i64> },
}

impl ExecCell {
    fn life(&self) -> MutexGuard<'_, Life> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn has_ended(&self) -> bool {
        matches!(*self.life(), Life::Ended { .. })
    }

    /// Takes the right to start it.
    fn begin(&self) -> Result<(), EngineError> {
        let mut life = self.life();
        match *life {
            Life::Prepared => {
                *life = Life::Starting;
                Ok(())
            }
            Life::Starting | Life::Running { .. } => {
                Err(EngineError::conflict(format!("exec command {} is already running", self.id)))
            }
            Life::Ended { .. } => {
                Err(EngineError::conflict(format!("exec command {} has already run", self.id)))
            }
        }
    }

    fn end(&self, code: Option<i64>) {
        *self.life() = Life::Ended { code };
        self.ended.cancel();
    }
}

impl Containers {
    /// Prepares a further process; answers its id.
    pub async fn exec_create(&self, name: &str, spec: ExecSpec) -> Result<String, EngineError> {
        let cell = self.shared.find(name)?;
        let container = cell.container();
        must_run(&container)?;
        if spec.cmd.is_empty() {
            return Err(EngineError::invalid("No exec command specified"));
        }
        if !spec.working_dir.is_empty() && !spec.working_dir.starts_with('/') {
            return Err(EngineError::invalid(format!("Cwd must be an absolute path: {}", spec.working_dir)));
        }
        if !spec.user.is_empty() {
            // A client reads the refusal here; later its connection is a stream.
            user(&self.shared, &container, &spec).await?;
        }
        pintle_runtime::cgroup::expect_move();
        let exec = Arc::new(ExecCell {
            id: names::new_id(),
            spec,
            life: Mutex::new(Life::Prepared),
            ended: CancellationToken::new(),
        });
        let id = exec.id.clone();
        let action = format!("exec_create: {}", exec.spec.cmd.join(" "));
        cell.add_exec(exec, REMEMBERED);
        self.shared.announce(&container, action, &[("execID", id.clone())]);
        Ok(id)
    }

    /// Starts it. If it cannot be run, its exit code is recorded (126, 127) and the error says why.
    pub async fn exec_start(&self, exec: &str, start: ExecStart) -> Result<ExecStarted, EngineError> {
        let shared = Arc::clone(&self.shared);
        let (cell, exec) = shared.find_exec(exec)?;
        must_run(&cell.container())?;
        exec.begin()?;
        self.run(async move {
            let started = start_exec(&shared, &cell, &exec, start).await;
            if started.is_err() && !exec.has_ended() {
                exec.end(Some(126));
            }
            started
        })
        .await
    }

    /// Waits until an exec has ended and its exit code can be inspected. One that is not known has.
    pub fn exec_ended(&self, exec: &str) -> impl Future<Output = ()> + Send + use<> {
        let ended = self.shared.find_exec(exec).map(|(_, exec)| exec.ended.clone());
        async move {
            if let Ok(ended) = ended {
                ended.cancelled().await;
            }
        }
    }

    /// Ends it, if it runs.
    pub(super) async fn exec_kill(&self, exec: &str) {
        let Ok((_, cell)) = self.shared.find_exec(exec) else { return };
        let running = match &*cell.life() {
            Life::Running { exec, .. } => Some(exec.clone()),
            _ => None,
        };
        if let Some(running) = running
            && let Err(error) = running.kill(super::signal::KILL).await
        {
            tracing::debug!(exec = %cell.id, %error, "could not be killed");
        }
    }

    /// One exec.
    pub fn exec_inspect(&self, exec: &str) -> Result<ExecView, EngineError> {
        let (cell, exec) = self.shared.find_exec(exec)?;
        let (running, exit_code, pid) = match *exec.life() {
            Life::Prepared | Life::Starting => (false, None, 0),
            Life::Running { pid, .. } => (true, None, pid),
            Life::Ended { code } => (false, code, 0),
        };
        let container = cell.id.clone();
        Ok(ExecView { id: exec.id.clone(), container, spec: exec.spec.clone(), running, exit_code, pid })
    }

    /// Sets the size of its terminal.
    pub async fn exec_resize(&self, exec: &str, height: u16, width: u16) -> Result<(), EngineError> {
        let (_, cell) = self.shared.find_exec(exec)?;
        let running = match &*cell.life() {
            Life::Running { exec, .. } => Some(exec.clone()),
            _ => None,
        };
        match running {
            Some(exec) => Ok(exec.resize(height, width).await?),
            None => Err(EngineError::conflict(format!("exec {} is not running", cell.id))),
        }
    }
}

async fn start_exec(
    shared: &Arc<Shared>,
    cell: &Arc<Cell>,
    exec: &Arc<ExecCell>,
    start: ExecStart,
) -> Result<ExecStarted, EngineError> {
    let container = cell.container();
    let spec = &exec.spec;
    let Some(task) = cell.task() else { return Err(not_running(&container)) };
    let user = user(shared, &container, spec).await?;
    let attach = if start.detach {
        Attach::default()
    } else {
        Attach { stdin: spec.stdin, stdout: spec.stdout || spec.tty, stderr: spec.stderr && !spec.tty }
    };
    let config = ExecConfig {
        exec_id: exec.id.clone(),
        process: oci::exec_process(&container, spec, &user)?,
        terminal: spec.tty,
        attach,
        console_size: start.console_size.or(spec.console_size),
    };
    let handle = task.exec(config).await?;
    failpoint!("engine.exec.after_create");
    shared.announce(
        &container,
        format!("exec_start: {}", spec.cmd.join(" ")),
        &[("execID", exec.id.clone())],
    );
    match handle.start().await {
        Ok((pid, stream)) => {
            *exec.life() = Life::Running { pid, exec: handle.clone() };
            watch_exec(shared, cell, exec, handle);
            Ok(ExecStarted { tty: spec.tty, stream: (!start.detach).then_some(stream) })
        }
        Err(error) => {
            exec.end(Some(i64::from(error.exit_code().clamp(126, 127))));
            Err(EngineError::from(error))
        }
    }
}

/// Who it runs as, by the account files that the container has now.
async fn user(shared: &Shared, container: &Container, spec: &ExecSpec) -> Result<ResolvedUser, EngineError> {
    let root = shared.dir(&container.id).join("merged");
    let user = if spec.user.is_empty() { &container.spec.user } else { &spec.user }.clone();
    let groups = container.spec.group_add.clone();
    blocking(move || {
        resolve_user(&root, &user, &groups).map_err(|error| EngineError::invalid(error.to_string()))
    })
    .await
}

fn watch_exec(shared: &Arc<Shared>, cell: &Arc<Cell>, exec: &Arc<ExecCell>, handle: Exec) {
    let (weak, cell, exec) = (Arc::clone(shared), Arc::clone(cell), Arc::clone(exec));
    shared.spawn(async move {
        let ended = tokio::select! {
            ended = handle.wait() => ended,
            () = weak.closing.cancelled() => return,
        };
        // Without an answer the container is gone, and its processes with it.
        let code = ended.map_or(137, |status| i64::from(status.code));
        exec.end(Some(code));
        let attributes = [("execID", exec.id.clone()), ("exitCode", code.to_string())];
        weak.announce(&cell.container(), "exec_die", &attributes);
    });
}

fn not_running(container: &Container) -> EngineError {
    EngineError::conflict(format!("container {} is not running", container.id))
}

fn must_run(container: &Container) -> Result<(), EngineError> {
    let id = &container.id;
    match container.life.state {
        State::Running(_) => Ok(()),
        State::Paused(_) => {
            Err(EngineError::conflict(format!("Container {id} is paused, unpause the container before exec")))
        }
        State::Restarting(_) => Err(EngineError::conflict(format!(
            "Container {id} is restarting, wait until the container is running"
        ))),
        _ => Err(not_running(container)),
    }
}

impl Shared {
    fn find_exec(&self, id: &str) -> Result<(Arc<Cell>, Arc<ExecCell>), EngineError> {
        self.cells()
            .into_iter()
            .find_map(|cell| cell.exec(id).map(|exec| (cell, exec)))
            .ok_or_else(|| EngineError::not_found(format!("No such exec instance: {id}")))
    }

    /// The container's processes are gone: execs that never ran never will.
    #[expect(clippy::unused_self, reason = "an operation of the service")]
    pub fn end_execs(&self, cell: &Cell) {
        cell.forget_prepared_execs();
    }
}

impl ExecCell {
    /// Whether it waits to be started.
    pub fn is_prepared(&self) -> bool {
        matches!(*self.life(), Life::Prepared)
    }
}
