//! Leaving nothing behind, after any step and any failure.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use super::engine::Engine;
use super::{PLUGIN, VOLUME};
use crate::client::{Client, Selection};
use crate::json::Fields;

/// How long the engine may take to remove one thing.
const LIMIT: Duration = Duration::from_secs(20);

/// Ends and removes everything; returns what resisted.
pub async fn run(engine: &Engine) -> Vec<String> {
    if engine.is_started() {
        for name in containers(engine).await {
            ask(engine, &["rm", "-f", "-v", &name]).await;
        }
        ask(engine, &["volume", "rm", "-f", VOLUME]).await;
        ask(engine, &["plugin", "rm", "-f", PLUGIN]).await;
        engine.stop().await;
    }
    let mut leftovers = Vec::new();
    // Shims outlive an engine by design; those of this one have no more use.
    for (pid, command) in processes(engine.dir()) {
        let ended = rustix::process::Pid::from_raw(pid)
            .is_none_or(|pid| rustix::process::kill_process(pid, rustix::process::Signal::KILL).is_ok());
        if !ended {
            leftovers.push(format!("process {pid}: {command}"));
        }
    }
    if let Err(error) = pintle_daemon::clear_networks(&engine.exec_root()).await {
        leftovers.push(format!("networks: {error:#}"));
    }
    for mount in mounts(engine.dir()) {
        if let Err(error) = rustix::mount::unmount(&mount, rustix::mount::UnmountFlags::DETACH) {
            leftovers.push(format!("mount {}: {error}", mount.display()));
        }
    }
    // Never look into a file system that is still mounted here: it could be somebody's data.
    if mounts(engine.dir()).is_empty()
        && let Err(error) = std::fs::remove_dir_all(engine.dir())
    {
        leftovers.push(format!("directory {}: {error}", engine.dir().display()));
    }
    leftovers
}

async fn containers(engine: &Engine) -> Vec<String> {
    let ask = async {
        let endpoint = Selection { host: Some(engine.host()), ..Selection::default() }.resolve().ok()?;
        let client = Client::connect(endpoint, Vec::new()).await.ok()?;
        let list = client.get("/containers/json").query("all", "1").value().await.ok()?;
        Some(list.as_array()?.iter().map(|c| c.text("Id").to_owned()).collect::<Vec<_>>())
    };
    tokio::time::timeout(LIMIT, ask).await.ok().flatten().unwrap_or_default()
}

/// Asks the engine to remove something that may not exist.
async fn ask(engine: &Engine, args: &[&str]) {
    let child = Command::new("/proc/self/exe")
        .arg0("pintle")
        .args(args)
        .env("DOCKER_HOST", engine.host())
        .env("DOCKER_CONFIG", engine.dir().join("docker"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .process_group(0)
        .status();
    let _ = tokio::time::timeout(LIMIT, child).await;
}

/// Processes one of whose arguments is below `dir`. The directory is this quickstart's own and new, so they are, too.
fn processes(dir: &Path) -> Vec<(i32, String)> {
    let own = std::process::id().cast_signed();
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| *pid != own)
        .filter_map(|pid| {
            let command = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
            let words: Vec<String> =
                command.split(|b| *b == 0).map(|w| String::from_utf8_lossy(w).into_owned()).collect();
            let is_shim = words.iter().any(|w| w == "shim");
            (is_shim && words.iter().any(|w| Path::new(w).starts_with(dir))).then(|| (pid, words.join(" ")))
        })
        .collect()
}

/// Mount points below `dir`, innermost first.
fn mounts(dir: &Path) -> Vec<PathBuf> {
    let Ok(table) = std::fs::read_to_string("/proc/self/mountinfo") else { return Vec::new() };
    let mut found: Vec<PathBuf> = table
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(|path| PathBuf::from(path.replace("\\040", " ").replace("\\134", "\\")))
        .filter(|path| path.starts_with(dir))
        .collect();
    found.reverse();
    found
}
