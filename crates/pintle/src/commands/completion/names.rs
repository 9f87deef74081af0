//! Names that the engine knows, for completion. Completion must never be slow or noisy: an engine that does not answer
//! within a second, or at all, has no names.

use std::cell::Cell;
use std::ffi::{OsStr, OsString};
use std::time::Duration;

use clap::{Args as _, CommandFactory, FromArgMatches};
use clap_complete::CompletionCandidate;
use serde_json::Value;

use crate::cli::{Cli, Globals};
use crate::client::{Client, Selection};
use crate::credentials::ConfigFile;
use crate::grammar;
use crate::json::Fields;

const LIMIT: Duration = Duration::from_secs(1);

thread_local! {
    /// Whether names were wanted: where there are none, files would be wrong.
    static WANTED: Cell<bool> = const { Cell::new(false) };
}

/// Whether one of these completers was asked since the last time, found or not.
pub fn were_wanted() -> bool {
    WANTED.take()
}

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

/// Plugins that are enabled.
pub fn enabled_plugins(current: &OsStr) -> Vec<CompletionCandidate> {
    plugins_that(current, true)
}

/// Plugins that are disabled.
pub fn disabled_plugins(current: &OsStr) -> Vec<CompletionCandidate> {
    plugins_that(current, false)
}

fn plugins_that(current: &OsStr, enabled: bool) -> Vec<CompletionCandidate> {
    named(current, "/plugins", |list| {
        objects(list).filter(|p| p.flag("Enabled") == enabled).map(|p| p.text("Name").to_owned()).collect()
    })
}

/// What `plugin set` may set in the plugin that stands before it.
pub fn settings(current: &OsStr) -> Vec<CompletionCandidate> {
    let words = words();
    let mut behind = words.iter().skip_while(|word| *word != "set").skip(1);
    let Some(plugin) = behind.find(|word| !word.to_string_lossy().starts_with('-')) else {
        return Vec::new();
    };
    named(current, &format!("/plugins/{}/json", plugin.to_string_lossy()), |plugin| {
        let config = plugin.at("Config");
        let mut found = Vec::new();
        for (list, field) in [(config.list("Env"), "value"), (config.list("Mounts"), "source")] {
            let settable =
                list.iter().filter(|item| item.texts("Settable").iter().any(|known| known == field));
            found.extend(settable.map(|item| match field {
                "value" => format!("{}=", item.text("Name")),
                field => format!("{}.{field}=", item.text("Name")),
            }));
        }
        let devices = config.at("Linux").list("Devices").iter();
        found.extend(
            devices.filter(|d| !d.texts("Settable").is_empty()).map(|d| format!("{}.path=", d.text("Name"))),
        );
        let args = config.at("Args");
        if !args.texts("Settable").is_empty() {
            found.push(format!("{}=", args.text("Name")));
        }
        found
    })
}

/// Volume drivers.
pub fn volume_drivers(current: &OsStr) -> Vec<CompletionCandidate> {
    let mut found = named(current, "/info", |info| info.at("Plugins").texts("Volume"));
    let plugins = named(current, "/plugins", |list| {
        let volume = |p: &&Value| {
            p.at("Config")
                .at("Interface")
                .texts("Types")
                .iter()
                .any(|t| t.starts_with("docker.volumedriver/"))
        };
        objects(list).filter(volume).map(|p| p.text("Name").to_owned()).collect()
    });
    for plugin in plugins {
        if !found.iter().any(|known| known.get_value() == plugin.get_value()) {
            found.push(plugin);
        }
    }
    found
}

/// Log drivers.
pub fn log_drivers(current: &OsStr) -> Vec<CompletionCandidate> {
    named(current, "/info", |info| info.at("Plugins").texts("Log"))
}

/// Runtimes.
pub fn runtimes(current: &OsStr) -> Vec<CompletionCandidate> {
    named(current, "/info", |info| {
        info.at("Runtimes").as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect()
    })
}

/// What comes before the first colon of `-v`: a volume; a path is the shell's to complete.
pub fn mounts(current: &OsStr) -> Vec<CompletionCandidate> {
    if current.to_string_lossy().starts_with(['/', '.', '~']) {
        return Vec::new();
    }
    volumes(current).into_iter().map(with_colon).collect()
}

/// What `cp` takes: a path here, or a container and a path in it.
pub fn copied(current: &OsStr) -> Vec<CompletionCandidate> {
    if current.to_string_lossy().starts_with(['/', '.', '~']) {
        return Vec::new();
    }
    containers(current).into_iter().map(with_colon).collect()
}

fn with_colon(candidate: CompletionCandidate) -> CompletionCandidate {
    let mut value = candidate.get_value().to_owned();
    value.push(":");
    CompletionCandidate::new(value)
}

/// Contexts of the client.
pub fn contexts(current: &OsStr) -> Vec<CompletionCandidate> {
    let dir = ConfigFile::directory(None).join("contexts/meta");
    let metas = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let named = metas.filter_map(|entry| {
        let text = std::fs::read(entry.path().join("meta.json")).ok()?;
        let meta: Value = serde_json::from_slice(&text).ok()?;
        Some(meta.text("Name").to_owned())
    });
    beginning_with(current, ["default".to_owned()].into_iter().chain(named))
}

/// Registries that there are credentials for.
pub fn registries(current: &OsStr) -> Vec<CompletionCandidate> {
    let config = ConfigFile::load(&ConfigFile::directory(None)).ok();
    let known: Vec<String> =
        config.iter().flat_map(ConfigFile::auths).map(|(server, _)| server.clone()).collect();
    beginning_with(current, known.into_iter())
}

/// Variables of this process.
pub fn environment(current: &OsStr) -> Vec<CompletionCandidate> {
    beginning_with(current, std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()))
}

/// Whatever `inspect` takes.
pub fn anything(current: &OsStr) -> Vec<CompletionCandidate> {
    [containers, images, volumes, networks, plugins].into_iter().flat_map(|names| names(current)).collect()
}

fn objects(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

fn container_names(container: &Value) -> Vec<String> {
    container.texts("Names").iter().map(|n| n.trim_start_matches('/').to_owned()).collect()
}

fn named(current: &OsStr, path: &str, names: impl FnMut(&Value) -> Vec<String>) -> Vec<CompletionCandidate> {
    let answer = ask(path);
    beginning_with(current, answer.iter().flat_map(names))
}

fn beginning_with(current: &OsStr, names: impl Iterator<Item = String>) -> Vec<CompletionCandidate> {
    WANTED.set(true);
    let Some(current) = current.to_str() else { return Vec::new() };
    names.filter(|name| name.starts_with(current)).map(CompletionCandidate::new).collect()
}

/// The words that are being completed.
fn words() -> Vec<OsString> {
    let args = std::env::args_os().skip_while(|arg| arg != "__complete" && arg != "__completeNoDesc");
    args.skip(1).collect()
}

/// The engine that those words are for.
fn selection(words: Vec<OsString>) -> Option<Selection> {
    // With their values behind an equals sign, options are what begins with a dash.
    let line = grammar::normalise(&Cli::command(), words, None);
    let globals = line.into_iter().take_while(|word| word.to_string_lossy().starts_with('-'));
    let parser = Globals::augment_args(
        clap::Command::new("pintle").version("").disable_version_flag(true).no_binary_name(true),
    );
    let globals = Globals::from_arg_matches(&parser.try_get_matches_from(globals).ok()?).ok()?;
    let selection = globals.selection();
    let current_context =
        ConfigFile::load(&selection.config_dir).ok()?.setting("currentContext").map(str::to_owned);
    Some(Selection { current_context, ..selection })
}

fn ask(path: &str) -> Option<Value> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    let (path, all) = path.split_once('?').map_or((path, false), |(path, _)| (path, true));
    let endpoint = selection(words())?.resolve().ok()?;
    runtime.block_on(async {
        let ask = async {
            let client = Client::connect(endpoint, Vec::new()).await.ok()?;
            client.get(path).switch("all", all).value().await.ok()
        };
        tokio::time::timeout(LIMIT, ask).await.ok()?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engine_that_is_asked_is_the_one_of_the_line() {
        let line = ["-D", "-H", "unix:///x/y.sock", "plugin", "rm", "-H"].map(OsString::from);
        assert_eq!(selection(line.to_vec()).unwrap().host.as_deref(), Some("unix:///x/y.sock"));
        let line = ["--host=tcp://127.0.0.1:1", "ps"].map(OsString::from);
        assert_eq!(selection(line.to_vec()).unwrap().host.as_deref(), Some("tcp://127.0.0.1:1"));
        assert_eq!(selection(vec!["ps".into(), "-H".into()]).unwrap().host, None);
    }
}
