//! Creating tasks and finding them again.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, PoisonError, RwLock};

use crate::bundle::TaskDir;
use crate::cgroup::Group;
use crate::client;
use crate::control::Reply;
use crate::error::{IoContext, RuntimeError};
use crate::external::features::Asked;
use crate::external::{Chosen, Features, Known};
use crate::plan::{Plan, plan};
use crate::task::{Inner, Task, TaskConfig};

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
    known: Arc<RwLock<Known>>,
    asked: Arc<Asked>,
}

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
        Ok(Self {
            options: Arc::new(options),
            init: Arc::new(init),
            known: Arc::default(),
            asked: Arc::default(),
        })
    }

    /// Sets the runtimes that tasks may ask for by name. Tasks that are there keep theirs.
    pub fn set_known(&self, known: Known) {
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = known;
    }

    /// What a runtime's name stands for; empty: the default.
    ///
    /// # Errors
    /// `InvalidArgument` when it stands for nothing.
    pub fn resolve(&self, name: &str) -> Result<Chosen, RuntimeError> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).resolve(name)
    }

    /// What a runtime that is a program says that it can do; `None` when it does not say, or is the embedded one. Asks
    /// each file once.
    ///
    /// # Errors
    /// `InvalidArgument` for an unknown name.
    pub async fn features(&self, name: &str) -> Result<Option<Arc<Features>>, RuntimeError> {
        match self.resolve(name)? {
            Chosen::Embedded => Ok(None),
            Chosen::Binary(binary) => {
                let asked = Arc::clone(&self.asked);
                client::blocking(move || Ok(asked.features(&binary))).await
            }
        }
    }

    /// As [`Runtime::features`], of what was asked before.
    #[must_use]
    pub fn features_remembered(&self, name: &str) -> Option<Arc<Features>> {
        self.asked.remembered(name)
    }

    /// The program that is bound into containers of ours.
    pub(crate) fn program(&self) -> &std::path::Path {
        &self.init
    }

    /// A place of ours beside the tasks; no task's name begins with a dot.
    pub(crate) fn place(&self, name: &str) -> PathBuf {
        self.options.root.join(name)
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
        let chosen = self.resolve(&task.runtime)?;
        let Plan { manifest, config, filter } = plan(task, chosen, &self.asked, &self.init)?;
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
                crate::external::sweep(dir);
                let group = Group::new(&cgroup);
                let _ = group.kill_all().and_then(|()| group.remove());
                let _ = dir.remove();
                Err(error)
            }
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
                .filter(|name| !name.starts_with('.'))
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
