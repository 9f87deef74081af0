//! The embedded runtime, fenced in: creating the container and running processes in it.

use std::io;
use std::os::fd::RawFd;
use std::path::Path;
use std::rc::Rc;

use libcontainer::container::Container as Inner;
use libcontainer::container::builder::ContainerBuilder;
use libcontainer::error::LibcontainerError;
use libcontainer::oci_spec::runtime::{Process, Spec};
use libcontainer::syscall::syscall::SyscallType;

use super::late;
use super::launch::Launch;
use super::propagation::{self, Outside};
use super::report::{Report, chain};
use super::stage::{OomScore, Stage, Streams};
use super::within::Within;
use super::witness::Listening;
use crate::bundle::{CapabilityMasks, Manifest, TaskDir};
use crate::cgroup::Group;
use crate::control::ExecRequest;
use crate::error::{IoContext, RuntimeError};
use crate::seccomp::Program;
use crate::spec::{home_of, widen};
use crate::task::Attach;

/// A container that the embedded runtime made.
pub(super) struct Embedded {
    inner: Inner,
    dir: TaskDir,
    filter: Option<Rc<Program>>,
    execs: u64,
}

impl Embedded {
    /// Sets up everything up to the last step; the process then waits for [`Embedded::start`].
    /// The waiting process lets go of `close`.
    pub(super) fn create(
        dir: &TaskDir,
        manifest: &Manifest,
        close: Vec<RawFd>,
    ) -> Result<(Self, u32, Streams), RuntimeError> {
        let filter = match std::fs::read(dir.file("seccomp.bpf")) {
            Ok(bytes) => Some(Rc::new(
                Program::from_bytes(&bytes)
                    .ok_or_else(|| RuntimeError::Internal("seccomp.bpf is damaged".into()))?,
            )),
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            // A filter that cannot be read must not mean no filter.
            Err(e) => return Err(RuntimeError::io("reading seccomp.bpf", e)),
        };
        let mut spec = Spec::load(dir.file("config.json"))
            .map_err(|e| RuntimeError::Internal(format!("config.json is damaged: {e}")))?;
        late::divide(dir, &mut spec, &late::own_words())?;
        let uid = spec.process().as_ref().map_or(0, |p| p.user().uid());

        let state = dir.file("state");
        std::fs::create_dir_all(&state).context(|| format!("making {}", state.display()))?;
        let attach = Attach { stdin: manifest.stdin_open, stdout: true, stderr: true };
        let stage = Making::new(dir.path(), manifest.terminal, attach, uid)?;
        let launch = Launch {
            capabilities: manifest.capabilities,
            filter: filter.clone(),
            report: stage.report.writer(),
            close,
            terminal: manifest.terminal.then_some(manifest.console_size),
            init: true,
            within: None,
        };
        let score = OomScore::set(manifest.oom_score_adj)?;
        let (builder, shim_side) = stage.builder(&manifest.id, &state, launch)?;
        let outside = Outside::enter(&spec)?;
        let listening = Listening::on(shim_side.report.writer());
        let built = builder.as_init(dir.path()).with_systemd(false).with_detach(true).build();
        drop(listening);
        drop(outside);
        score.restore();
        let inner = match built {
            Ok(inner) => inner,
            Err(error) => {
                return Err(shim_side.refused(
                    &error,
                    "failed to create task for container: failed to create shim task: OCI runtime create failed: \
                     unable to start container process",
                ));
            }
        };
        let pid = inner.pid().and_then(|p| u32::try_from(p.as_raw()).ok());
        let pid = pid.ok_or_else(|| RuntimeError::Internal("the container has no process".into()))?;
        let group = Group::new(&manifest.cgroup);
        let resources = spec.linux().as_ref().and_then(|linux| linux.resources().as_ref());
        let rules = resources.and_then(|r| r.devices().as_deref()).unwrap_or_default();
        let streams = propagation::settle(&spec, pid)
            .and_then(|()| group.filter_devices(rules))
            .and_then(|()| shim_side.streams());
        let streams = match streams {
            Ok(streams) => streams,
            Err(error) => {
                // The process waits, and must not stay.
                let _ = group.kill_all();
                return Err(error);
            }
        };
        Ok((Self { inner, dir: dir.clone(), filter, execs: 0 }, pid, streams))
    }

    /// Lets the process run.
    pub(super) fn start(&mut self) -> Result<(), RuntimeError> {
        self.inner
            .start()
            .map_err(|e| RuntimeError::Conflict(format!("cannot start the container: {}", chain(&e))))
    }

    /// Runs a process inside; it runs when this returns.
    pub(super) fn exec(
        &mut self,
        manifest: &Manifest,
        request: &ExecRequest,
    ) -> Result<(u32, Streams), RuntimeError> {
        let spec = Spec::load(self.dir.file("config.json"))
            .map_err(|e| RuntimeError::Internal(format!("config.json is damaged: {e}")))?;
        let mut process = request.process.clone();
        let capabilities = complete(&mut process, request.terminal, &spec, manifest);
        let init =
            self.inner.pid().ok_or_else(|| RuntimeError::Conflict("the container has no process".into()))?;
        let uid = process.user().uid();
        let within = Within::take(init.as_raw(), &mut process)?;
        // One that is nobody outside gets what is root's there.
        let uid = within.as_ref().map_or(uid, |within| within.outside().unwrap_or(0));
        widen(&mut process, capabilities, self.filter.is_some(), within.is_some());

        self.execs += 1;
        let name = format!("exec.{}.json", self.execs);
        self.dir.write_json(&name, &process)?;
        let path = self.dir.file(&name);
        let stage = Making::new(self.dir.path(), request.terminal, request.attach, uid)?;
        let launch = Launch {
            capabilities,
            filter: self.filter.clone(),
            report: stage.report.writer(),
            close: Vec::new(),
            terminal: request.terminal.then_some(request.console_size),
            init: false,
            within,
        };
        let score = OomScore::set(manifest.oom_score_adj)?;
        let built =
            stage.builder(&manifest.id, &self.dir.file("state"), launch).map(|(builder, shim_side)| {
                let _listening = Listening::on(shim_side.report.writer());
                (builder.as_tenant().with_process(Some(&path)).with_detach(true).build(), shim_side)
            });
        score.restore();
        let _ = std::fs::remove_file(&path);
        let (built, shim_side) = built?;
        let pid = match built {
            Ok(pid) => pid,
            Err(error) => {
                let prefix = "OCI runtime exec failed: exec failed: unable to start container process";
                let refused = shim_side.refused(&error, prefix);
                return Err(match (&refused, self.no_directory(process.cwd())) {
                    (RuntimeError::Internal(_), Some(why)) => {
                        let message = format!("{prefix}: {why}: unknown");
                        RuntimeError::Command { code: 126, message }
                    }
                    _ => refused,
                });
            }
        };
        let pid = u32::try_from(pid.as_raw())
            .map_err(|_| RuntimeError::Internal("the process has no pid".into()))?;
        let streams = shim_side.streams()?;
        Ok((pid, streams))
    }
}

impl Embedded {
    /// What keeps a process from having this working directory, in runc's words. The embedded runtime does not say.
    fn no_directory(&self, cwd: &Path) -> Option<String> {
        use rustix::fs::{Mode, OFlags, ResolveFlags, open, openat2};
        let root = format!("/proc/{}/root", self.inner.pid()?.as_raw());
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = open(root, flags, Mode::empty()).ok()?;
        let inside = cwd.strip_prefix("/").unwrap_or(cwd);
        let inside = if inside.as_os_str().is_empty() { Path::new(".") } else { inside };
        let error = openat2(root, inside, flags, Mode::empty(), ResolveFlags::IN_ROOT).err()?;
        let why = super::launch::reason(&error.into());
        Some(format!("chdir to cwd ({cwd:?}) set in config.json failed: {why}"))
    }
}

/// Fills in what an exec takes from its container, and the guards of [`crate::spec::harden`] for a process. Returns
/// the capabilities it really gets.
pub(crate) fn complete(
    process: &mut Process,
    terminal: bool,
    spec: &Spec,
    manifest: &Manifest,
) -> CapabilityMasks {
    process.set_terminal(Some(terminal)).set_oom_score_adj(None).set_console_size(None);
    if process.cwd().as_os_str().is_empty() {
        process.set_cwd("/".into());
    }
    let init = spec.process().as_ref();
    if process.rlimits().is_none() {
        process.set_rlimits(init.and_then(|p| p.rlimits().clone()));
    }
    if manifest.no_new_privileges {
        process.set_no_new_privileges(Some(true));
    } else if process.no_new_privileges() != Some(true) {
        process.set_no_new_privileges(None);
    }
    process.set_apparmor_profile(init.and_then(|p| p.apparmor_profile().clone()));
    let rootfs = spec.root().as_ref().map(|r| r.path().clone()).unwrap_or_default();
    ensure_home(process, &rootfs);
    crate::spec::masks(process.capabilities().as_ref()).unwrap_or(manifest.capabilities)
}

/// Sets `HOME` when the environment has none. Without it the embedded runtime asks the C library, which loads name
/// service modules from the *container's* file system into a process that still has our capabilities.
pub(crate) fn ensure_home(process: &mut Process, rootfs: &Path) {
    let mut env = process.env().clone().unwrap_or_default();
    if env.iter().any(|entry| entry.strip_prefix("HOME=").is_some_and(|home| !home.is_empty())) {
        return;
    }
    env.retain(|entry| !entry.starts_with("HOME="));
    let home = home_of(rootfs, process.user().uid()).filter(|home| !home.is_empty());
    env.push(format!("HOME={}", home.unwrap_or_else(|| "/".into())));
    process.set_env(Some(env));
}

/// A process while it is being made, or what of it stays with the shim.
struct Making {
    stage: Stage,
    report: Report,
}

impl Making {
    fn new(dir: &Path, terminal: bool, attach: Attach, uid: u32) -> Result<Self, RuntimeError> {
        Ok(Self { report: Report::new()?, stage: Stage::new(dir, terminal, attach, uid)? })
    }

    fn builder(
        mut self,
        id: &str,
        state: &Path,
        launch: Launch,
    ) -> Result<(ContainerBuilder, Self), RuntimeError> {
        let mut builder = ContainerBuilder::new(id.to_owned(), SyscallType::default())
            .with_root_path(state)
            .map_err(|e| RuntimeError::Internal(chain(&e)))?
            .with_console_socket(self.stage.console.as_ref().map(|c| c.path().to_owned()))
            .with_executor(launch);
        if let Some([stdin, stdout, stderr]) = self.stage.theirs.take() {
            builder = builder.with_stdin(stdin).with_stdout(stdout).with_stderr(stderr);
        }
        Ok((builder, self))
    }

    /// Why it did not work.
    fn refused(self, error: &LibcontainerError, prefix: &str) -> RuntimeError {
        self.report.refused(error, prefix)
    }

    fn streams(self) -> Result<Streams, RuntimeError> {
        self.stage.streams()
    }
}
