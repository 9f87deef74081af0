//! A runtime that is a program, as the shim calls it: containerd's ways with runc.
//!
//! `create` leaves a process that waits. Its parent, the runtime, ends, and so it becomes a child of the shim, the
//! nearest subreaper; the same happens to what a detached `exec` starts. The shim reaps both, whatever the program:
//! where the container's processes are not the kernel's, as in gVisor, a stand-in ends with their status.
//!
//! `create` is waited for, since nothing can be served before. Everything later is a [`Call`], which the loop goes on
//! beside.

use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use libcontainer::oci_spec::runtime::Spec;

use super::console;
use super::embedded::complete;
use super::stage::{OomScore, Stage, Streams};
use crate::bundle::{Manifest, TaskDir};
use crate::control::ExecRequest;
use crate::error::{IoContext, RuntimeError};
use crate::external::binary::{self, Binary, CALL, CREATE, within};
use crate::external::words::{self, Said};
use crate::spec::rectangle;
use crate::task::Attach;

const CREATE_FAILED: &str =
    "failed to create task for container: failed to create shim task: OCI runtime create failed";
const EXEC_FAILED: &str = "OCI runtime exec failed";

/// A container that a program has made.
pub(super) struct Program {
    binary: Binary,
    dir: TaskDir,
    id: String,
    calls: u64,
}

/// A call that goes on.
pub(super) struct Call {
    pub pid: u32,
    /// When it is killed.
    pub deadline: Instant,
    /// It was killed for its time.
    pub late: bool,
    said: Said,
    prefix: &'static str,
}

/// An exec that goes on.
pub(super) struct Beginning {
    pub request: ExecRequest,
    stage: Stage,
    pid_file: PathBuf,
    process_file: PathBuf,
}

impl Program {
    /// Makes the container; its process then waits.
    pub(super) fn create(
        dir: &TaskDir,
        manifest: &Manifest,
        binary: &Binary,
    ) -> Result<(Self, u32, Streams), RuntimeError> {
        let spec = load(dir)?;
        let uid = spec.process().as_ref().map_or(0, |p| p.user().uid());
        let state = binary::state(dir);
        std::fs::create_dir_all(&state).context(|| format!("making {}", state.display()))?;
        let attach = Attach { stdin: manifest.stdin_open, stdout: true, stderr: true };
        let stage = Stage::new(dir.path(), manifest.terminal, attach, uid)?;
        let mut program =
            Self { binary: binary.clone(), dir: dir.clone(), id: manifest.id.clone(), calls: 0 };
        match program.try_create(manifest, stage) {
            Ok((pid, streams)) => Ok((program, pid, streams)),
            Err(error) => {
                // It may have got anywhere. What it left is also looked for by who asked for the container.
                let _ = binary.delete(dir, &manifest.id);
                Err(error)
            }
        }
    }

    fn try_create(&mut self, manifest: &Manifest, mut stage: Stage) -> Result<(u32, Streams), RuntimeError> {
        let pid_file = self.dir.file("init.pid");
        let said = self.said();
        let mut command = self.binary.about(&self.dir, said.log());
        command.arg("create").arg("--bundle").arg(self.dir.path()).arg("--pid-file").arg(&pid_file);
        let what = format!("calling {}", self.binary.path.display());
        let spawned = self.spawn(command, &mut stage, &said, manifest, &what)?;
        match spawned.and_then(|mut child| within(&mut child, CREATE)) {
            Ok(status) if status.success() => {}
            Ok(status) => {
                said.keep(&printed(&stage.ours));
                let why = said.why(&self.binary, binary::code(status));
                return Err(words::failure(CREATE_FAILED, &why));
            }
            Err(error) => return Err(words::failure(CREATE_FAILED, &words::never(&self.binary, &error))),
        }
        let pid = read_pid(&pid_file)?;
        let streams = stage.streams()?;
        if let (true, Some(master), Some((height, width))) =
            (manifest.terminal, &streams.stdout, manifest.console_size)
        {
            let _ = console::set_size(master, height, width);
        }
        Ok((pid, streams))
    }

    /// Calls the runtime for a process that gets its streams and its score for when memory ends. Its ends of the pipes
    /// go with the command.
    fn spawn(
        &self,
        mut command: Command,
        stage: &mut Stage,
        said: &Said,
        manifest: &Manifest,
        what: &str,
    ) -> Result<std::io::Result<Child>, RuntimeError> {
        if let Some(console) = &stage.console {
            command.arg("--console-socket").arg(console.address());
            said.capture(&mut command).context(|| what.to_owned())?;
        }
        if let Some([stdin, stdout, stderr]) = stage.theirs.take() {
            command.stdin(Stdio::from(stdin)).stdout(Stdio::from(stdout)).stderr(Stdio::from(stderr));
        }
        command.arg(&self.id);
        let score = OomScore::set(manifest.oom_score_adj)?;
        let spawned = command.spawn();
        score.restore();
        Ok(spawned)
    }

    fn said(&mut self) -> Said {
        self.calls += 1;
        Said::new(&self.dir, &format!("call.{}", self.calls))
    }

    /// Begins a call about the container as a whole: a verb, its options, the id, and what comes after it.
    pub(super) fn begin(
        &mut self,
        verb: &'static str,
        options: &[&str],
        after: &[&str],
        prefix: &'static str,
    ) -> Result<Call, RuntimeError> {
        let said = self.said();
        let mut command = self.binary.about(&self.dir, said.log());
        command.arg(verb).args(options).arg(&self.id).args(after);
        let spawned = said.capture(&mut command).and_then(|()| command.spawn());
        self.called(spawned, said, prefix)
    }

    /// Begins to run a process inside.
    pub(super) fn begin_exec(
        &mut self,
        manifest: &Manifest,
        request: ExecRequest,
    ) -> Result<(Call, Beginning), RuntimeError> {
        let spec = load(&self.dir)?;
        let mut process = request.process.clone();
        let _ = complete(&mut process, request.terminal, &spec, manifest);
        if process.capabilities().is_none() {
            process.set_capabilities(spec.process().as_ref().and_then(|p| p.capabilities().clone()));
        }
        process.set_console_size(request.console_size.filter(|_| request.terminal).and_then(rectangle));
        let said = self.said();
        let name = format!("exec.{}.json", self.calls);
        self.dir.write_json(&name, &process)?;
        let mut stage = Stage::new(self.dir.path(), request.terminal, request.attach, process.user().uid())?;
        let pid_file = self.dir.file(&format!("exec.{}.pid", self.calls));
        let process_file = self.dir.file(&name);
        let mut command = self.binary.about(&self.dir, said.log());
        command.args(["exec", "--detach", "--pid-file"]).arg(&pid_file);
        command.arg("--process").arg(&process_file);
        let spawned = self.spawn(command, &mut stage, &said, manifest, "keeping a runtime's words")?;
        let call = self.called(spawned, said, EXEC_FAILED)?;
        Ok((call, Beginning { request, stage, pid_file, process_file }))
    }

    fn called(
        &self,
        spawned: std::io::Result<Child>,
        said: Said,
        prefix: &'static str,
    ) -> Result<Call, RuntimeError> {
        match spawned {
            Ok(child) => {
                Ok(Call { pid: child.id(), deadline: Instant::now() + CALL, late: false, said, prefix })
            }
            Err(error) => Err(words::failure(prefix, &words::never(&self.binary, &error))),
        }
    }

    /// What an ended call came to.
    pub(super) fn verdict(&self, call: &Call, code: i32) -> Result<(), RuntimeError> {
        let why = match (code, call.late) {
            (0, _) => return Ok(()),
            (_, true) => words::never(&self.binary, &std::io::ErrorKind::TimedOut.into()),
            (code, false) => call.said.why(&self.binary, code),
        };
        Err(words::failure(call.prefix, &why))
    }
}

impl Call {
    /// A call that must be over sooner.
    pub(super) fn within(mut self, budget: Duration) -> Self {
        self.deadline = Instant::now() + budget;
        self
    }

    /// What it printed, where its output was the process's own.
    pub(super) fn keep(&self, beginning: &Beginning) {
        self.said.keep(&printed(&beginning.stage.ours));
    }
}

impl Beginning {
    /// The process that runs now, and its streams.
    pub(super) fn finish(self) -> Result<(ExecRequest, u32, Streams), RuntimeError> {
        let pid = read_pid(&self.pid_file)?;
        let streams = self.stage.streams()?;
        if let (true, Some(master), Some((height, width))) =
            (self.request.terminal, &streams.stdout, self.request.console_size)
        {
            let _ = console::set_size(master, height, width);
        }
        let _ = std::fs::remove_file(&self.pid_file);
        let _ = std::fs::remove_file(&self.process_file);
        Ok((self.request, pid, streams))
    }

    /// Nothing came of it.
    pub(super) fn abandon(self) {
        let _ = std::fs::remove_file(&self.pid_file);
        let _ = std::fs::remove_file(&self.process_file);
    }
}

fn load(dir: &TaskDir) -> Result<Spec, RuntimeError> {
    Spec::load(dir.file("config.json"))
        .map_err(|e| RuntimeError::Internal(format!("config.json is damaged: {e}")))
}

fn read_pid(path: &std::path::Path) -> Result<u32, RuntimeError> {
    let text = std::fs::read_to_string(path).context(|| format!("reading {}", path.display()))?;
    text.trim().parse().map_err(|_| RuntimeError::Internal(format!("the runtime wrote no pid but {text:?}")))
}

/// What a runtime that failed has written where the process would have.
fn printed(ours: &Streams) -> Vec<u8> {
    let mut all = Vec::new();
    if let Some(fd) = ours.stderr.as_ref().and_then(|fd| fd.try_clone().ok()) {
        let _ = rustix::io::ioctl_fionbio(&fd, true);
        let _ = std::fs::File::from(fd).take(16 << 10).read_to_end(&mut all);
    }
    all
}
