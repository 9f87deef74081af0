//! The quickstart's private engine: a child with its own sockets and directories.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use tokio::process::{Child, Command};

use crate::client::{Client, Selection};

/// How long the engine may take to answer.
const START_LIMIT: Duration = Duration::from_secs(30);

/// How long it may take to end.
const STOP_LIMIT: Duration = Duration::from_secs(20);

/// The engine and its directory.
pub struct Engine {
    dir: PathBuf,
    child: Mutex<Option<Child>>,
}

impl Engine {
    /// An engine that will live in `dir`.
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), child: Mutex::new(None) }
    }

    /// All that the engine has is below this.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where the steps' commands run.
    pub fn work_dir(&self) -> PathBuf {
        self.dir.join("work")
    }

    /// For `DOCKER_HOST`.
    pub fn host(&self) -> String {
        format!("unix://{}", self.dir.join("pintle.sock").display())
    }

    /// Where the engine keeps what runs.
    pub fn exec_root(&self) -> PathBuf {
        self.dir.join("run")
    }

    /// The options of `pintle daemon`.
    pub fn options(&self) -> Vec<String> {
        let path = |name: &str| self.dir.join(name).display().to_string();
        [
            ("--host", self.host()),
            ("--data-root", path("data")),
            ("--exec-root", path("run")),
            ("--plugin-sockets", path("plugins")),
            ("--pidfile", path("pid")),
            ("--config-file", path("daemon.json")),
        ]
        .into_iter()
        .flat_map(|(flag, value)| [flag.to_owned(), value])
        .collect()
    }

    /// Starts the engine and waits until it answers.
    pub async fn start(&self) -> Result<()> {
        std::fs::create_dir_all(self.work_dir())?;
        std::fs::create_dir_all(self.dir.join("docker"))?;
        std::fs::write(self.dir.join("daemon.json"), "{}\n")?;
        let log = std::fs::File::create(self.log())?;
        let child = Command::new("/proc/self/exe")
            .arg0("pintle")
            .arg("daemon")
            .args(self.options())
            .stdin(std::process::Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // Ctrl-C is for the quickstart, which then tidies up with the engine's help.
            .process_group(0)
            .spawn()
            .context("cannot start the engine")?;
        *self.lock() = Some(child);
        let started = Instant::now();
        loop {
            let selection = Selection { host: Some(self.host()), ..Selection::default() };
            if let Ok(endpoint) = selection.resolve()
                && Client::connect(endpoint, Vec::new()).await.is_ok()
            {
                return Ok(());
            }
            if let Some(status) = self.ended() {
                bail!("the engine ended ({status}); its last words:\n{}", self.last_words());
            }
            if started.elapsed() > START_LIMIT {
                bail!(
                    "the engine did not answer within {START_LIMIT:?}; its last words:\n{}",
                    self.last_words()
                );
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Ends the engine, gently and then not.
    pub async fn stop(&self) {
        let Some(mut child) = self.lock().take() else { return };
        let pid = child.id().and_then(|id| rustix::process::Pid::from_raw(id.cast_signed()));
        if let Some(pid) = pid {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        if tokio::time::timeout(STOP_LIMIT, child.wait()).await.is_err() {
            let _ = child.kill().await;
        }
    }

    /// Whether it was started.
    pub fn is_started(&self) -> bool {
        self.lock().is_some()
    }

    /// Leaves the engine to itself.
    pub fn release(&self) {
        // Dropping a child does not end it.
        drop(self.lock().take());
    }

    /// The last lines of its log.
    pub fn last_words(&self) -> String {
        let text = std::fs::read(self.log()).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        let from = lines.len().saturating_sub(12);
        lines.get(from..).unwrap_or_default().join("\n")
    }

    /// The command that ends a kept engine.
    pub fn how_to_end(&self) -> String {
        let dir = self.dir.display();
        format!(
            "pintle plugin rm -f $(pintle plugin ls -q); kill $(cat {dir}/pid); while [ -e {dir}/pid ]; do sleep 0.1; done; rm -r {dir}"
        )
    }

    fn log(&self) -> PathBuf {
        self.dir.join("engine.log")
    }

    fn ended(&self) -> Option<std::process::ExitStatus> {
        self.lock().as_mut().and_then(|child| child.try_wait().ok().flatten())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
