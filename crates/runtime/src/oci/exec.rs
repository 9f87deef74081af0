//! `exec`: a further process in a container that runs.

use std::path::PathBuf;
use std::rc::Rc;

use libcontainer::container::ContainerStatus;
use libcontainer::container::builder::ContainerBuilder;
use libcontainer::oci_spec::runtime::{Process, Spec};
use libcontainer::syscall::syscall::SyscallType;
use rustix::process::{Pid, WaitOptions, waitpid};

use super::{Containers, failed};
use crate::error::{IoContext, RuntimeError};
use crate::seccomp::Program;
use crate::shim::{Launch, Listening, OomScore, Report, Within, complete};
use crate::spec::widen;

/// How to run a further process.
#[derive(Debug, Default)]
pub struct ExecOptions {
    /// What to run.
    pub process: Process,
    /// Where its terminal is sent, if it has one.
    pub console_socket: Option<PathBuf>,
    /// Where its number is written.
    pub pid_file: Option<PathBuf>,
    /// Leave it to the caller; otherwise its end is waited for.
    pub detach: bool,
}

impl Containers {
    /// The process of a container, as a base for further ones.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn process(&self, id: &str) -> Result<Process, RuntimeError> {
        let found = self.find(id)?;
        let spec = Spec::load(found.dir.file("config.json")).map_err(|error| failed(&error))?;
        Ok(spec.process().clone().unwrap_or_default())
    }

    /// Runs it; its exit code, if that was waited for. It has the caller's standard streams.
    ///
    /// # Errors
    /// `Command` when it cannot be run; `Conflict` when the container does not run.
    pub fn exec(&self, id: &str, options: ExecOptions) -> Result<Option<i32>, RuntimeError> {
        let found = self.find(id)?;
        match found.inner.status() {
            ContainerStatus::Running | ContainerStatus::Created => {}
            ContainerStatus::Paused => {
                return Err(RuntimeError::Conflict("cannot exec in a paused container".into()));
            }
            _ => return Err(RuntimeError::Conflict("cannot exec in a stopped container".into())),
        }
        let spec = Spec::load(found.dir.file("config.json")).map_err(|error| failed(&error))?;
        let filter = match std::fs::read(found.dir.file("seccomp.bpf")) {
            Ok(bytes) => {
                let damaged = || RuntimeError::Internal("seccomp.bpf is damaged".into());
                Some(Rc::new(Program::from_bytes(&bytes).ok_or_else(damaged)?))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            // A filter that cannot be read must not mean no filter.
            Err(error) => return Err(RuntimeError::io("reading seccomp.bpf", error)),
        };
        let mut process = options.process;
        let terminal = process.terminal().unwrap_or(false);
        let size = process
            .console_size()
            .and_then(|size| Some((u16::try_from(size.height()).ok()?, u16::try_from(size.width()).ok()?)));
        let capabilities = complete(&mut process, terminal, &spec, &found.manifest);
        let init =
            found.inner.pid().ok_or_else(|| RuntimeError::Conflict("the container has no process".into()))?;
        let within = Within::take(init.as_raw(), &mut process)?;
        widen(&mut process, capabilities, filter.is_some(), within.is_some());
        let name = format!("exec.{}.json", std::process::id());
        found.dir.write_json(&name, &process)?;
        let path = found.dir.file(&name);
        let report = Report::new()?;
        let launch = Launch {
            capabilities,
            filter,
            report: report.writer(),
            close: Vec::new(),
            terminal: terminal.then_some(size),
            init: false,
            within,
        };
        if !options.detach {
            // Its parent ends at once; this is who it comes to.
            rustix::process::set_child_subreaper(Some(Pid::INIT))
                .context(|| "becoming a subreaper".into())?;
        }
        rustix::thread::set_thread_groups(&[]).context(|| "dropping supplementary groups".into())?;
        let score = OomScore::set(found.manifest.oom_score_adj)?;
        let listening = Listening::on(report.writer());
        let built = ContainerBuilder::new(id.to_owned(), SyscallType::default())
            .with_root_path(found.dir.file("state"))
            .map_err(|error| failed(&error))?
            .with_pid_file(options.pid_file.as_ref())
            .map_err(|error| failed(&error))?
            .with_console_socket(options.console_socket.as_ref())
            .with_executor(launch)
            .as_tenant()
            .with_process(Some(&path))
            .with_detach(true)
            .build();
        drop(listening);
        score.restore();
        let _ = std::fs::remove_file(&path);
        let pid = match built {
            Ok(pid) => pid,
            Err(error) => {
                return Err(report.refused(&error, "exec failed: unable to start container process"));
            }
        };
        if options.detach {
            return Ok(None);
        }
        let pid = Pid::from_raw(pid.as_raw());
        loop {
            match waitpid(pid, WaitOptions::empty()) {
                Ok(Some((_, status))) => {
                    let code =
                        status.exit_status().or(status.terminating_signal().map(|signal| 128 + signal));
                    if let Some(code) = code {
                        return Ok(Some(code));
                    }
                }
                Ok(None) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(RuntimeError::io("waiting for the process", error.into())),
            }
        }
    }
}
