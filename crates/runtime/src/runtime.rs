//! Creating tasks and finding them again.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;

use libcontainer::oci_spec::runtime::{LinuxNamespaceType, PosixRlimitType, Process};

use crate::bundle::{Manifest, TaskDir};
use crate::cgroup::{Group, Setup};
use crate::client;
use crate::control::Reply;
use crate::error::{IoContext, RuntimeError};
use crate::seccomp;
use crate::spec;
use crate::task::{Inner, Seccomp, Task, TaskConfig};

/// How a [`Runtime`] works.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where task directories live: `<exec-root>/tasks`.
    pub root: PathBuf,
    /// The executable run as `<shim> shim <task dir>`, and bound as init for `--init`: `/proc/self/exe`.
    pub shim: PathBuf,
}

/// Creates tasks and finds them again. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Runtime {
    options: Arc<Options>,
    /// The shim's executable as a path that can be bound into a container.
    init: Arc<PathBuf>,
}

/// Where `--init` puts pintle's init in a container, as Docker does.
const INIT_PATH: &str = "/sbin/docker-init";

impl Runtime {
    /// Opens (and makes) the directory of tasks.
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub fn new(options: Options) -> Result<Self, RuntimeError> {
        use std::os::unix::fs::DirBuilderExt;
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&options.root)
            .context(|| format!("making {}", options.root.display()))?;
        let init = std::fs::canonicalize(&options.shim).unwrap_or_else(|_| options.shim.clone());
        Ok(Self { options: Arc::new(options), init: Arc::new(init) })
    }

    fn dir(&self, id: &str) -> Result<TaskDir, RuntimeError> {
        let fine = !id.is_empty()
            && id.len() <= 128
            && !id.starts_with('.')
            && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"_+-.".contains(&b));
        if !fine {
            return Err(RuntimeError::InvalidArgument(format!("invalid task id: {id:?}")));
        }
        Ok(TaskDir::new(self.options.root.join(id)))
    }

    /// Creates the container; its process waits for [`Task::start`]. Once begun, creation runs to its end even when the
    /// future is dropped.
    ///
    /// # Errors
    /// [`RuntimeError::Command`] when the command cannot be run; `Conflict` when the id is taken. Nothing is left.
    pub async fn create(&self, task: TaskConfig) -> Result<Task, RuntimeError> {
        let dir = self.dir(&task.id)?;
        let this = self.clone();
        client::blocking(move || this.create_blocking(task, &dir)).await
    }

    fn create_blocking(&self, task: TaskConfig, dir: &TaskDir) -> Result<Task, RuntimeError> {
        let id = task.id.clone();
        let (manifest, config, filter) = self.plan(task)?;
        let (cgroup, labels) = (manifest.cgroup.clone(), manifest.labels.clone());
        dir.create(&id)?;
        let started = (|| {
            dir.write_json("config.json", &config)?;
            dir.write_json("task.json", &manifest)?;
            if let Some(filter) = filter {
                dir.write("seccomp.bpf", &filter.to_bytes())?;
            }
            self.spawn(dir)
        })();
        match started {
            Ok(pid) => {
                Ok(Task { inner: Arc::new(Inner { id, dir: dir.clone(), pid: Some(pid), cgroup, labels }) })
            }
            Err(error) => {
                let group = Group::new(&cgroup);
                let _ = group.kill_all().and_then(|()| group.remove());
                let _ = dir.remove();
                Err(error)
            }
        }
    }

    /// Decides everything that can be decided before anything exists.
    fn plan(
        &self,
        task: TaskConfig,
    ) -> Result<(Manifest, libcontainer::oci_spec::runtime::Spec, Option<seccomp::Program>), RuntimeError>
    {
        let mut config = task.spec;
        spec::harden(&mut config, Setup::detect());
        let mut root = config.root().clone().unwrap_or_default();
        root.set_path(task.rootfs.clone());
        config.set_root(Some(root));
        if task.init {
            self.add_init(&mut config);
        }
        let missing = |what: &str| RuntimeError::InvalidArgument(format!("the spec has no {what}"));
        let process = config.process_mut().as_mut().ok_or_else(|| missing("process"))?;
        process.set_terminal(Some(task.terminal)).set_console_size(None);
        let oom_score_adj = task.oom_score_adj.or(process.oom_score_adj());
        process.set_oom_score_adj(None);
        crate::shim::ensure_home(process, &task.rootfs);
        check_rlimits(process)?;
        let masks = spec::masks(process.capabilities().as_ref()).unwrap_or_default();
        check_capabilities(masks.bounding | masks.permitted | masks.effective)?;
        let names: Vec<String> = spec::from_mask(masks.bounding).iter().map(|c| format!("CAP_{c}")).collect();
        let profile = match &task.seccomp {
            Seccomp::Unconfined => None,
            Seccomp::Default => Some(seccomp::Profile::docker_default(&names)),
            Seccomp::Profile(json) => Some(
                seccomp::Profile::parse(json, &names)
                    .map_err(|e| RuntimeError::InvalidArgument(e.to_string()))?,
            ),
        };
        let filter = profile
            .map(|profile| seccomp::compile(&profile))
            .transpose()
            .map_err(|e| RuntimeError::InvalidArgument(e.to_string()))?;
        let no_new_privileges = process.no_new_privileges() == Some(true);
        spec::widen(process, masks, filter.is_some());
        let linux = config.linux_mut().as_mut().ok_or_else(|| missing("linux section"))?;
        if !task.cgroup.starts_with('/')
            || task.cgroup.split('/').any(|part| part == "..")
            || task.cgroup.len() < 2
        {
            return Err(RuntimeError::InvalidArgument(format!("invalid cgroup path: {:?}", task.cgroup)));
        }
        linux.set_cgroups_path(Some(PathBuf::from(&task.cgroup)));
        let private_pids = linux
            .namespaces()
            .iter()
            .flatten()
            .any(|n| n.typ() == LinuxNamespaceType::Pid && n.path().is_none());
        let manifest = Manifest {
            id: task.id,
            terminal: task.terminal,
            stdin_open: task.stdin_open,
            stdin_once: task.stdin_once,
            console_size: task.console_size,
            log: task.log,
            oom_score_adj,
            cgroup: task.cgroup,
            capabilities: masks,
            no_new_privileges,
            private_pids,
            labels: task.labels,
        };
        Ok((manifest, config, filter))
    }

    fn add_init(&self, config: &mut libcontainer::oci_spec::runtime::Spec) {
        let mut mounts = config.mounts().clone().unwrap_or_default();
        mounts.push(spec::mount(INIT_PATH, "bind", &self.init.to_string_lossy(), &["bind", "ro"]));
        config.set_mounts(Some(mounts));
        if let Some(process) = config.process_mut() {
            let mut args = vec![INIT_PATH.to_owned(), "--".to_owned()];
            args.extend(process.args().clone().unwrap_or_default());
            process.set_args(Some(args));
        }
    }

    /// Starts the shim and waits until it has created the container.
    fn spawn(&self, dir: &TaskDir) -> Result<u32, RuntimeError> {
        let log = File::create(dir.file("shim.log")).context(|| "making shim.log".into())?;
        let mut child = Command::new(&self.options.shim)
            .arg("shim")
            .arg(dir.path())
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .context(|| format!("starting the shim {}", self.options.shim.display()))?;
        let mut answer = Vec::new();
        let read = child
            .stdout
            .take()
            .map_or(Ok(0), |stdout| stdout.take(crate::control::MAX_LINE as u64).read_to_end(&mut answer));
        let _ = child.wait();
        read.context(|| "reading the shim's answer".into())?;
        match serde_json::from_slice(&answer) {
            Ok(Reply::Started { pid }) => Ok(pid),
            Ok(Reply::Failed(failure)) => Err(failure.into()),
            _ => {
                let words = std::fs::read_to_string(dir.file("shim.log")).unwrap_or_default();
                let words: String = words.chars().take(2000).collect();
                Err(RuntimeError::Internal(format!("the shim died: {}", words.trim())))
            }
        }
    }

    /// Finds a task again after the engine was restarted: with a live shim, or ended with its status on disk. A task
    /// whose shim died is settled first (see [`Task::state`]). `None` when nothing is known of it.
    ///
    /// # Errors
    /// When its records cannot be read.
    pub async fn attach_existing(&self, id: &str) -> Result<Option<Task>, RuntimeError> {
        let dir = self.dir(id)?;
        if !dir.path().exists() {
            return Ok(None);
        }
        let Ok(manifest) = dir.manifest() else {
            // The engine died before anything was started.
            self.cleanup_orphan(id).await?;
            return Ok(None);
        };
        let found = |pid| Task {
            inner: Arc::new(Inner {
                id: id.to_owned(),
                dir: dir.clone(),
                pid,
                cgroup: manifest.cgroup.clone(),
                labels: manifest.labels.clone(),
            }),
        };
        let task = found(None);
        match task.state().await {
            Ok(state) => Ok(Some(found(state.pid))),
            Err(RuntimeError::NotFound(_)) => Ok(None),
            Err(other) => Err(other),
        }
    }

    /// Every id that has a task directory.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub async fn list(&self) -> Result<Vec<String>, RuntimeError> {
        let root = self.options.root.clone();
        client::blocking(move || {
            let entries = std::fs::read_dir(&root).context(|| format!("reading {}", root.display()))?;
            let mut ids: Vec<String> = entries
                .flatten()
                .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
                .filter_map(|entry| entry.file_name().into_string().ok())
                .collect();
            ids.sort();
            Ok(ids)
        })
        .await
    }

    /// Removes all that a task may have left, whatever state it is in: processes, cgroup, shim, directory.
    ///
    /// # Errors
    /// When something is left that cannot be removed.
    pub async fn cleanup_orphan(&self, id: &str) -> Result<(), RuntimeError> {
        let dir = self.dir(id)?;
        let cgroup = dir.manifest().map_or_else(|_| format!("/pintle/{id}"), |manifest| manifest.cgroup);
        let task = Task {
            inner: Arc::new(Inner { id: id.to_owned(), dir, pid: None, cgroup, labels: Default::default() }),
        };
        task.delete().await.map(drop)
    }
}

/// Raising a hard limit needs a capability that not every engine has; the kernel's bare EPERM says too little.
fn check_rlimits(process: &Process) -> Result<(), RuntimeError> {
    for limit in process.rlimits().iter().flatten() {
        if limit.soft() > limit.hard() {
            return Err(RuntimeError::InvalidArgument(format!(
                "ulimit {}: soft limit {} is above hard limit {}",
                name(limit.typ()),
                limit.soft(),
                limit.hard()
            )));
        }
        let Ok(resource) = nix::libc::c_int::try_from(limit.typ() as u32) else { continue };
        let Some(own) = own_hard_limit(resource) else { continue };
        if limit.hard() > own && !has_capability(24) {
            return Err(RuntimeError::Unsupported(format!(
                "ulimit {}: cannot raise the hard limit from {own} to {}: the engine lacks CAP_SYS_RESOURCE",
                name(limit.typ()),
                limit.hard()
            )));
        }
    }
    Ok(())
}

fn name(kind: PosixRlimitType) -> String {
    format!("{kind:?}").trim_start_matches("Rlimit").to_ascii_lowercase()
}

#[expect(unsafe_code, reason = "the resource is a number here, the safe wrapper takes names")]
fn own_hard_limit(resource: nix::libc::c_int) -> Option<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid place for the answer; unknown resources are refused.
    (unsafe { libc::getrlimit(resource.unsigned_abs(), &raw mut limit) } == 0).then_some(limit.rlim_max)
}

fn has_capability(bit: u32) -> bool {
    rustix::thread::capabilities(None).is_ok_and(|sets| sets.effective.bits() & (1 << bit) != 0)
}

fn check_capabilities(wanted: u64) -> Result<(), RuntimeError> {
    let own = rustix::thread::capabilities(None).map_or(u64::MAX, |sets| sets.permitted.bits());
    let lacking = wanted & !own;
    if lacking == 0 {
        return Ok(());
    }
    let mut names: Vec<String> = spec::from_mask(lacking).iter().map(|c| format!("CAP_{c}")).collect();
    names.sort();
    Err(RuntimeError::Unsupported(format!("the engine does not have {} to give", names.join(", "))))
}
