//! One container's group: who is in it, freezing, killing, removing.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::detect::{Hierarchies, Setup};
use crate::error::{IoContext, RuntimeError};

/// Killing and removing give up after this long: a process stuck in the kernel must not hang the engine.
const PATIENCE: Duration = Duration::from_secs(10);

/// One container's place in every hierarchy. The methods block briefly; removal may take seconds.
#[derive(Debug, Clone)]
pub struct Group {
    path: PathBuf,
    hierarchies: &'static Hierarchies,
}

impl Group {
    /// The group at an absolute path below each hierarchy's root. Nothing is made.
    #[must_use]
    pub fn new(path: &str) -> Self {
        let mut relative = PathBuf::new();
        for part in Path::new(path).components() {
            // `..` would lead out of the hierarchy.
            if let std::path::Component::Normal(name) = part {
                relative.push(name);
            }
        }
        Self { path: relative, hierarchies: Hierarchies::detect() }
    }

    pub(super) fn setup(&self) -> Setup {
        self.hierarchies.setup
    }

    /// The directory in a v1 controller's hierarchy, or in v2's.
    pub(super) fn dir(&self, controller: &str) -> Option<PathBuf> {
        // An empty path would be the machine's root group.
        if self.path.as_os_str().is_empty() {
            return None;
        }
        let root = if self.setup() == Setup::Unified {
            self.hierarchies.v2.as_deref()
        } else {
            self.hierarchies.v1_mount(controller)
        };
        root.map(|root| root.join(&self.path))
    }

    fn dirs(&self) -> Vec<PathBuf> {
        if self.path.as_os_str().is_empty() {
            return Vec::new();
        }
        self.hierarchies.roots().into_iter().map(|root| root.join(&self.path)).collect()
    }

    /// Whether it exists in any hierarchy.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.dirs().iter().any(|dir| dir.exists())
    }

    /// Every process in it and in groups below it, ascending. None when it does not exist.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn processes(&self) -> Result<Vec<u32>, RuntimeError> {
        let mut found = Vec::new();
        for controller in ["devices", "pids", "memory", "cpu"] {
            if let Some(dir) = self.dir(controller) {
                collect(&dir, &mut found).context(|| format!("reading {}", dir.display()))?;
                break;
            }
        }
        found.sort_unstable();
        found.dedup();
        Ok(found)
    }

    /// Kills every process and waits until none is left.
    ///
    /// # Errors
    /// When some survive: they are stuck in the kernel.
    pub fn kill_all(&self) -> Result<(), RuntimeError> {
        let deadline = Instant::now() + PATIENCE;
        let mut pause = Duration::from_micros(500);
        loop {
            let mut left = Vec::new();
            for dir in self.dirs() {
                collect(&dir, &mut left).context(|| format!("reading {}", dir.display()))?;
            }
            if left.is_empty() {
                return Ok(());
            }
            if self.setup() == Setup::Unified
                && let Some(dir) = self.dir("")
            {
                let _ = fs::write(dir.join("cgroup.kill"), "1");
            }
            for pid in &left {
                if let Some(pid) = i32::try_from(*pid).ok().and_then(Pid::from_raw) {
                    let _ = kill_process(pid, Signal::KILL);
                }
            }
            // A frozen v1 process does not die before it is thawed.
            let _ = self.freeze(false);
            if Instant::now() > deadline {
                return Err(RuntimeError::Internal(format!(
                    "{} processes of {} do not die",
                    left.len(),
                    self.path.display()
                )));
            }
            sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(50));
        }
    }

    /// Removes it from every hierarchy; what does not exist is fine. Processes must be gone.
    ///
    /// # Errors
    /// When it stays busy.
    pub fn remove(&self) -> Result<(), RuntimeError> {
        let deadline = Instant::now() + PATIENCE;
        for dir in self.dirs() {
            let mut pause = Duration::from_micros(500);
            loop {
                match remove_tree(&dir) {
                    Ok(()) => break,
                    Err(error) if Instant::now() > deadline => {
                        return Err(RuntimeError::io(format!("removing {}", dir.display()), error));
                    }
                    Err(_) => {
                        sleep(pause);
                        pause = (pause * 2).min(Duration::from_millis(50));
                    }
                }
            }
        }
        Ok(())
    }

    /// Freezes or thaws every process; returns once the kernel says so.
    ///
    /// # Errors
    /// When the kernel has no freezer, or the processes do not freeze in time (they are thawed again then).
    pub fn freeze(&self, frozen: bool) -> Result<(), RuntimeError> {
        let Some(dir) = self.dir("freezer") else {
            return Err(RuntimeError::Unsupported("this kernel has no freezer control group".into()));
        };
        let (file, on, off) = match self.setup() {
            Setup::Unified => ("cgroup.freeze", "1", "0"),
            _ => ("freezer.state", "FROZEN", "THAWED"),
        };
        let path = dir.join(file);
        let context = || format!("writing {}", path.display());
        let deadline = Instant::now() + PATIENCE;
        loop {
            fs::write(&path, if frozen { on } else { off }).context(context)?;
            if self.is_frozen().unwrap_or(!frozen) == frozen {
                return Ok(());
            }
            if Instant::now() > deadline {
                let _ = fs::write(&path, off);
                return Err(RuntimeError::Internal("the processes do not freeze".into()));
            }
            sleep(Duration::from_millis(1));
        }
    }

    /// Whether every process is frozen.
    #[must_use]
    pub fn is_frozen(&self) -> Option<bool> {
        let dir = self.dir("freezer")?;
        if self.setup() == Setup::Unified {
            let events = fs::read_to_string(dir.join("cgroup.events")).ok()?;
            return Some(events.lines().any(|line| line == "frozen 1"));
        }
        Some(fs::read_to_string(dir.join("freezer.state")).ok()?.trim() == "FROZEN")
    }

    /// How many processes the OOM killer took.
    #[must_use]
    pub fn oom_kills(&self) -> u64 {
        let file = if self.setup() == Setup::Unified { "memory.events" } else { "memory.oom_control" };
        let Some(dir) = self.dir("memory") else { return 0 };
        fs::read_to_string(dir.join(file))
            .unwrap_or_default()
            .lines()
            .find_map(|line| line.strip_prefix("oom_kill "))
            .and_then(|count| count.trim().parse().ok())
            .unwrap_or(0)
    }
}

fn collect(dir: &Path, found: &mut Vec<u32>) -> io::Result<()> {
    match fs::read_to_string(dir.join("cgroup.procs")) {
        Ok(text) => found.extend(text.lines().filter_map(|line| line.parse::<u32>().ok())),
        // Gone, or just going.
        Err(e) if gone(&e) => return Ok(()),
        Err(e) => return Err(e),
    }
    for child in children(dir)? {
        collect(&child, found)?;
    }
    Ok(())
}

fn gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
        || error.raw_os_error() == Some(rustix::io::Errno::NODEV.raw_os_error())
}

fn children(dir: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(dir) {
        Ok(entries) => Ok(entries
            .flatten()
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .map(|entry| entry.path())
            .collect()),
        Err(e) if gone(&e) => Ok(Vec::new()),
        Err(e) => Err(e),
    }
}

fn remove_tree(dir: &Path) -> io::Result<()> {
    match fs::remove_dir(dir) {
        Ok(()) => return Ok(()),
        Err(e) if gone(&e) => return Ok(()),
        Err(_) => {}
    }
    for child in children(dir)? {
        remove_tree(&child)?;
    }
    match fs::remove_dir(dir) {
        Err(e) if !gone(&e) => Err(e),
        _ => Ok(()),
    }
}
