//! Trying a runtime out: a small container of our own, and what works in it.
//!
//! The container's only program is this one (see [`inside`]), bound read-only into an empty root beside the host's
//! libraries, so that no image is needed. Everything goes the way that users' containers go: shim, streams, control
//! groups.

pub mod inside;
mod steps;

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::cgroup::Setup;
use crate::error::{IoContext, RuntimeError};
use crate::spec;
use crate::task::TaskConfig;
use crate::{Runtime, client};

/// What was tried and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// In a word or two: `exec`, `pause`.
    pub check: &'static str,
    /// What was seen, or why it does not work.
    pub outcome: Result<String, String>,
}

/// Where the program is inside.
const PROGRAM: &str = "/check";
/// What a dynamically linked program needs of the host, as far as it is there.
const LIBRARIES: [&str; 4] = ["/lib", "/lib64", "/usr/lib", "/usr/lib64"];
/// Limits that are set and looked for.
const MEMORY: i64 = 256 << 20;
const PIDS: i64 = 200;

impl Runtime {
    /// Runs a short self-test on a runtime: each check by name, in order. What comes after a check without which
    /// nothing goes is not tried.
    ///
    /// # Errors
    /// `InvalidArgument` for an unknown name, or when the container's root cannot be made.
    pub async fn check(&self, name: &str) -> Result<Vec<Finding>, RuntimeError> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let chosen = self.resolve(name)?;
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let id = format!("check-{}-{number}", std::process::id());
        let root = self.place(&format!(".{id}"));
        let dir = root.clone();
        client::blocking(move || make_root(&dir)).await?;
        let findings = steps::Steps { runtime: self, name, chosen, id, root: &root }.run().await;
        let _ =
            client::blocking(move || std::fs::remove_dir_all(&root).context(|| "removing the root".into()))
                .await;
        Ok(findings)
    }
}

fn make_root(root: &Path) -> Result<(), RuntimeError> {
    for dir in ["proc", "sys", "dev", "tmp", "usr"] {
        std::fs::create_dir_all(root.join(dir)).context(|| format!("making {}", root.display()))?;
    }
    std::fs::write(root.join(PROGRAM.trim_start_matches('/')), "")
        .context(|| "making the program's place".into())?;
    for dir in LIBRARIES.iter().filter(|dir| Path::new(dir).is_dir()) {
        let inside = root.join(dir.trim_start_matches('/'));
        std::fs::create_dir_all(&inside).context(|| format!("making {}", inside.display()))?;
    }
    Ok(())
}

/// The container: `words` for the program inside, and limits to look for.
fn container(id: &str, name: &str, root: &Path, program: &Path, words: &[&str]) -> TaskConfig {
    use libcontainer::oci_spec::runtime::{LinuxMemory, LinuxPids};
    let mut config = spec::default_spec(Setup::detect());
    if let Some(process) = config.process_mut() {
        let args = [PROGRAM].iter().chain(words).map(|word| (*word).to_owned()).collect();
        process.set_args(Some(args));
    }
    let mut mounts = config.mounts().clone().unwrap_or_default();
    let bind = |at: &str, from: &str| spec::mount(at, "bind", from, &["rbind", "ro", "rprivate"]);
    mounts.extend(LIBRARIES.iter().filter(|dir| Path::new(dir).is_dir()).map(|dir| bind(dir, dir)));
    mounts.push(bind(PROGRAM, &program.to_string_lossy()));
    config.set_mounts(Some(mounts));
    if let Some(resources) = config.linux_mut().as_mut().and_then(|linux| linux.resources_mut().as_mut()) {
        let (mut memory, mut pids) = (LinuxMemory::default(), LinuxPids::default());
        memory.set_limit(Some(MEMORY));
        pids.set_limit(PIDS);
        resources.set_memory(Some(memory)).set_pids(Some(pids));
    }
    let mut task = TaskConfig::new(id, root, config);
    task.runtime = name.to_owned();
    task
}
