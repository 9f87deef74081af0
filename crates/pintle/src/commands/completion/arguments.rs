//! What completes which argument, told by the names of its values. Those that say so themselves are left alone.

use std::ffi::OsStr;

use clap::{Arg, Command};
use clap_complete::{ArgValueCompleter, CompletionCandidate};

use super::names;

/// The tree of commands, each argument with its completer.
pub fn with_completers(command: Command) -> Command {
    let name = command.get_name().to_owned();
    let command = command.mut_args(|arg| match completer(&name, &arg) {
        Some(completer) => arg.add(completer),
        None => arg,
    });
    let subcommands: Vec<String> = command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
    subcommands.into_iter().fold(command, |command, sub| {
        let parent = name.clone();
        command.mut_subcommand(sub, move |sub| {
            // `plugin ls` and `volume ls` have different filters.
            let own = sub.get_name().to_owned();
            let told = if own == "ls" || own == "prune" { format!("{parent} {own}") } else { own.clone() };
            let mut sub = with_completers(sub.name(told));
            sub = sub.name(own);
            sub
        })
    })
}

fn completer(command: &str, arg: &Arg) -> Option<ArgValueCompleter> {
    let value = arg.get_value_names()?.first()?.as_str();
    let id = arg.get_id().as_str();
    Some(match (value, id) {
        ("FILTER", _) => {
            let keys = filters(command)?;
            ArgValueCompleter::new(move |current: &OsStr| keyed(current, keys))
        }
        ("FORMAT", _) => fixed(&["json", "table"]),
        ("SIGNAL", _) => fixed(SIGNALS),
        ("POLICY", _) => fixed(&["always", "no", "on-failure", "unless-stopped"]),
        ("CAP", _) => fixed(CAPABILITIES),
        ("OS/ARCH", _) => fixed(&["linux/amd64", "linux/arm64", "linux/arm/v7", "linux/riscv64"]),
        ("LEVEL", _) => fixed(&["debug", "error", "fatal", "info", "warn"]),
        ("STREAM", _) => fixed(&["stderr", "stdin", "stdout"]),
        ("NAME[=VALUE]", _) => ArgValueCompleter::new(names::environment),
        ("NETWORK", _) => ArgValueCompleter::new(names::networks),
        ("CONTAINER[:MODE]" | "NAME[:ALIAS]", _) => ArgValueCompleter::new(names::containers),
        ("SPEC", "volume") => ArgValueCompleter::new(names::mounts),
        ("DRIVER", "volume_driver") => ArgValueCompleter::new(names::volume_drivers),
        ("DRIVER", "log_driver") => ArgValueCompleter::new(names::log_drivers),
        ("NAME", "runtime") => ArgValueCompleter::new(names::runtimes),
        ("NAME", "context") => ArgValueCompleter::new(names::contexts),
        ("MODE", "cgroupns") => fixed(&["host", "private"]),
        ("MODE", "pid" | "uts" | "userns") => fixed(&["host"]),
        ("MODE", "ipc") => fixed(&["host", "none", "private", "shareable"]),
        ("SERVER", _) => ArgValueCompleter::new(names::registries),
        ("KEY=VALUE", "settings") if command == "set" => ArgValueCompleter::new(names::settings),
        ("[CONTAINER:]SRC_PATH" | "[CONTAINER:]DEST_PATH", _) => ArgValueCompleter::new(names::copied),
        _ => return None,
    })
}

fn fixed(values: &'static [&'static str]) -> ArgValueCompleter {
    ArgValueCompleter::new(move |current: &OsStr| {
        offer(current, values.iter().map(|value| (*value).to_owned()))
    })
}

fn offer(current: &OsStr, values: impl Iterator<Item = String>) -> Vec<CompletionCandidate> {
    let current = current.to_string_lossy();
    values.filter(|value| value.starts_with(&*current)).map(CompletionCandidate::new).collect()
}

/// The values of a filter's key.
#[derive(Clone, Copy)]
enum Values {
    Any,
    Of(&'static [&'static str]),
    Named(fn(&OsStr) -> Vec<CompletionCandidate>),
}

type Keys = &'static [(&'static str, Values)];

const TRUTH: Values = Values::Of(&["false", "true"]);

fn filters(command: &str) -> Option<Keys> {
    use Values::{Any, Named, Of};
    Some(match command {
        "ps" | "container ls" => &[
            ("ancestor", Named(names::images)),
            ("before", Named(names::containers)),
            ("exited", Any),
            ("expose", Any),
            ("health", Of(&["healthy", "none", "starting", "unhealthy"])),
            ("id", Any),
            ("is-task", TRUTH),
            ("label", Any),
            ("name", Named(names::containers)),
            ("network", Named(names::networks)),
            ("publish", Any),
            ("since", Named(names::containers)),
            ("status", Of(&["created", "dead", "exited", "paused", "removing", "restarting", "running"])),
            ("volume", Named(names::volumes)),
        ],
        "images" | "image ls" => &[
            ("before", Named(names::images)),
            ("dangling", TRUTH),
            ("label", Any),
            ("reference", Named(names::images)),
            ("since", Named(names::images)),
        ],
        "volume ls" => &[
            ("dangling", TRUTH),
            ("driver", Named(names::volume_drivers)),
            ("label", Any),
            ("name", Named(names::volumes)),
        ],
        "plugin ls" => &[
            (
                "capability",
                Of(&[
                    "authz",
                    "ipamdriver",
                    "logdriver",
                    "metricscollector",
                    "networkdriver",
                    "volumedriver",
                ]),
            ),
            ("enabled", TRUTH),
        ],
        "volume prune" => &[("all", TRUTH), ("label", Any), ("label!", Any)],
        "image prune" => &[("dangling", TRUTH), ("label", Any), ("label!", Any), ("until", Any)],
        "container prune" | "system prune" => &[("label", Any), ("label!", Any), ("until", Any)],
        "events" => &[
            ("container", Named(names::containers)),
            ("event", Any),
            ("image", Named(names::images)),
            ("label", Any),
            ("plugin", Named(names::plugins)),
            ("type", Of(&["container", "daemon", "image", "network", "plugin", "volume"])),
            ("volume", Named(names::volumes)),
        ],
        _ => return None,
    })
}

/// `key=`, and after it what the key may be.
fn keyed(current: &OsStr, keys: Keys) -> Vec<CompletionCandidate> {
    let text = current.to_string_lossy();
    let Some((key, value)) = text.split_once('=') else {
        return offer(current, keys.iter().map(|(key, _)| format!("{key}=")));
    };
    let Some((_, values)) = keys.iter().find(|(known, _)| *known == key) else { return Vec::new() };
    let found = match values {
        Values::Any => Vec::new(),
        Values::Of(fixed) => offer(OsStr::new(value), fixed.iter().map(|value| (*value).to_owned())),
        Values::Named(names) => names(OsStr::new(value)),
    };
    found.into_iter().map(|candidate| candidate.add_prefix(format!("{key}="))).collect()
}

const SIGNALS: &[&str] =
    &["ABRT", "CONT", "HUP", "INT", "KILL", "QUIT", "STOP", "TERM", "TSTP", "USR1", "USR2", "WINCH"];

const CAPABILITIES: &[&str] = &[
    "ALL",
    "AUDIT_CONTROL",
    "AUDIT_READ",
    "AUDIT_WRITE",
    "BLOCK_SUSPEND",
    "BPF",
    "CHECKPOINT_RESTORE",
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "IPC_LOCK",
    "IPC_OWNER",
    "KILL",
    "LEASE",
    "LINUX_IMMUTABLE",
    "MAC_ADMIN",
    "MAC_OVERRIDE",
    "MKNOD",
    "NET_ADMIN",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_RAW",
    "PERFMON",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYSLOG",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_CHROOT",
    "SYS_MODULE",
    "SYS_NICE",
    "SYS_PACCT",
    "SYS_PTRACE",
    "SYS_RAWIO",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "WAKE_ALARM",
];
