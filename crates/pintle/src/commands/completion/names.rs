//! Names that the engine knows, for completion. Completion must never be slow or noisy: an engine that does not answer
//! within a second, or at all, has no names.

use std::ffi::OsStr;
use std::time::Duration;

use clap_complete::CompletionCandidate;
use serde_json::Value;

use crate::client::{Client, Selection};
use crate::credentials::ConfigFile;
use crate::json::Fields;

const LIMIT: Duration = Duration::from_secs(1);

/// Containers, running or not.
pub fn containers(current: &OsStr) -> Vec<CompletionCandidate> {
    named(current, "/containers/json?all=1", |list| objects(list).flat_map(container_names).collect())
}

/// Running containers.
pub fn running(current: &OsStr) -> Vec<CompletionCandidate> {
    named(current, "/containers/json", |list| objects(list).flat_map(container_names).collect())
}

/// Containers that do not run.
pub fn stopped(current: &OsStr) -> Vec<CompletionCandidate> {
    named(current, "/containers/json?all=1", |list| {
        objects(list).filter(|c| c.text("State") != "running").flat_map(container_names).collect()
    })
}

/// Images.
pub fn images(current: &OsStr) -> Vec<CompletionCandidate> {
    named(current, "/images/json", |list| {
        objects(list).flat_map(|i| i.texts("RepoTags")).filter(|t| !t.contains("<none>")).collect()
    })
}

/// Volumes.
pub fn volumes(current: &OsStr) -> Vec<CompletionCandidate> {
    named(current, "/volumes", |answer| {
        answer.list("Volumes").iter().map(|v| v.text("Name").to_owned()).collect()
    })
}

/// Networks.
pub fn networks(current: &OsStr) -> Vec<CompletionCandidate> {
    named(current, "/networks", |list| objects(list).map(|n| n.text("Name").to_owned()).collect())
}

/// Network drivers.
pub fn network_drivers(current: &OsStr) -> Vec<CompletionCandidate> {
    named(current, "/info", |info| info.at("Plugins").texts("Network"))
}

/// Plugins.
pub fn plugins(current: &OsStr) -> Vec<CompletionCandidate> {
    named(current, "/plugins", |list| objects(list).map(|p| p.text("Name").to_owned()).collect())
}

/// Volume drivers.
pub fn volume_drivers(current: &OsStr) -> Vec<CompletionCandidate> {
    let mut found = named(current, "/info", |info| info.at("Plugins").texts("Volume"));
    found.extend(plugins(current));
    found
}

/// Whatever `inspect` takes.
pub fn anything(current: &OsStr) -> Vec<CompletionCandidate> {
    [containers, images, networks, volumes, plugins].into_iter().flat_map(|names| names(current)).collect()
}

fn objects(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

fn container_names(container: &Value) -> Vec<String> {
    container.texts("Names").iter().map(|n| n.trim_start_matches('/').to_owned()).collect()
}

fn named(current: &OsStr, path: &str, names: impl FnOnce(&Value) -> Vec<String>) -> Vec<CompletionCandidate> {
    let Some(current) = current.to_str() else { return Vec::new() };
    let Some(answer) = ask(path) else { return Vec::new() };
    names(&answer).into_iter().filter(|n| n.starts_with(current)).map(CompletionCandidate::new).collect()
}

fn ask(path: &str) -> Option<Value> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    let (path, all) = path.split_once('?').map_or((path, false), |(path, _)| (path, true));
    runtime.block_on(async {
        let ask = async {
            let config_dir = ConfigFile::directory(None);
            let current_context =
                ConfigFile::load(&config_dir).ok()?.setting("currentContext").map(str::to_owned);
            let endpoint =
                Selection { config_dir, current_context, ..Selection::default() }.resolve().ok()?;
            let client = Client::connect(endpoint, Vec::new()).await.ok()?;
            client.get(path).switch("all", all).value().await.ok()
        };
        tokio::time::timeout(LIMIT, ask).await.ok()?
    })
}
