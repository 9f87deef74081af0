//! A container's standard streams: attaching to them, and reading back what was kept.

use pintle_runtime::Attach;

use super::{
    AttachOptions, Attached, Connection, Containers, LogOptions, Logs, State, cell::Snapshot, log_options,
    logs, service::refused,
};
use crate::{EngineError, ErrorKind};

impl Containers {
    /// Connects to its standard streams, now or when it starts.
    pub async fn attach(&self, name: &str, options: AttachOptions) -> Result<Attached, EngineError> {
        let cell = self.shared.find(name)?;
        let container = cell.container();
        let id = &container.id;
        match container.life.state {
            State::Paused(_) => {
                return Err(EngineError::conflict(format!(
                    "container {id} is paused, unpause the container before attach"
                )));
            }
            State::Restarting(_) => {
                return Err(EngineError::conflict(format!(
                    "container {id} is restarting, wait until the container is running before attach"
                )));
            }
            State::Removing | State::Dead => {
                return Err(refused(&container, super::Refusal::BeingRemoved));
            }
            _ => {}
        }
        let attach = Attach {
            stdin: options.stdin && container.spec.open_stdin,
            stdout: options.stdout,
            stderr: options.stderr,
        };
        let connection = if options.stream {
            let mut coming = cell.promise(attach);
            // A start may have given out its connections just before: then there is a task by now.
            if let Some(task) = cell.task() {
                self.shared.connect(&cell, &task).await;
            }
            Some(match coming.try_recv() {
                Ok(stream) => Connection::Ready(stream),
                Err(_) => Connection::Pending(coming),
            })
        } else {
            None
        };
        let backlog = if options.logs {
            let wanted =
                LogOptions { stdout: options.stdout, stderr: options.stderr, ..LogOptions::default() };
            Some(self.logs(name, wanted).await?)
        } else {
            None
        };
        if options.stream {
            self.shared.announce(&container, "attach", &[]);
        }
        Ok(Attached { tty: container.spec.tty, backlog, connection })
    }

    /// Is over when its present run is: what it held is given back, and its exit code is known.
    pub fn run_ended(&self, name: &str) -> impl Future<Output = ()> + Send + use<> {
        let seen = self.shared.find(name).map(|cell| cell.watch());
        async move {
            if let Ok(mut seen) = seen {
                // An error means that nobody will ever say more of it.
                let over = |now: &Snapshot| {
                    !now.has_process() && !matches!(now.container.life.state, State::Starting(_))
                };
                let _ = seen.wait_for(over).await;
            }
        }
    }

    /// Reads its output.
    pub async fn logs(&self, name: &str, options: LogOptions) -> Result<Logs, EngineError> {
        let cell = self.shared.find(name)?;
        if !(options.stdout || options.stderr) {
            return Err(EngineError::invalid("Bad parameters: you must choose at least one stream"));
        }
        let container = cell.container();
        let readable = !log_options::hides(&container.spec);
        let Some((path, format)) = self.shared.log(&container).filter(|_| readable) else {
            return Err(EngineError::new(
                ErrorKind::NotImplemented,
                "configured logging driver does not support reading",
            ));
        };
        logs::open(&path, format, options, container.spec.tty, logs::Writer::Container(cell.watch())).await
    }
}
