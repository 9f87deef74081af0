use std::{path::PathBuf, time::Duration};

/// Why a plugin did not come up. Each cause has its own text, for the reply and for `inspect`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StartFailure {
    #[error(
        "mount source is not specified: mount {name:?}, which the plugin sees at {destination}, needs one \
         (`plugin set PLUGIN {name}.source=PATH`, if its configuration lets it be set)"
    )]
    MountUnset { name: String, destination: String },
    #[error("mount source {path:?} of mount {name:?} does not exist on this host")]
    MountMissing { name: String, path: String },
    #[error("device {path}: {why}")]
    DeviceMissing { path: String, why: String },
    #[error("{0}")]
    Setting(String),
    #[error("wrong architecture: {binary} is built for {found}, this host is {host}")]
    Architecture { binary: String, found: String, host: String },
    #[error(
        "{binary} needs {interpreter}, which the plugin does not have (a program that is linked statically needs \
         none)"
    )]
    Interpreter { binary: String, interpreter: String },
    #[error("the entrypoint cannot be run: {0}")]
    Command(String),
    #[error("{}{}", exit_text(*code, *oom), quoted(last_words))]
    Exited { code: i32, oom: bool, last_words: Vec<String> },
    #[error(
        "wrong socket: its configuration says {expected:?}, but it listens on {}{}",
        found.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", "),
        quoted(last_words)
    )]
    WrongSocket { expected: String, found: Vec<String>, last_words: Vec<String> },
    #[error("still not listening on {} after {waited:?}{}", socket.display(), quoted(last_words))]
    Silent { socket: PathBuf, waited: Duration, last_words: Vec<String> },
    #[error("its networks: {0}")]
    Network(String),
    #[error("it was disabled while it was starting")]
    Cancelled,
    #[error("{0}")]
    Internal(String),
}

impl StartFailure {
    /// Whether the user's settings are at fault, rather than the plugin.
    pub(crate) fn is_for_the_user(&self) -> bool {
        matches!(
            self,
            Self::MountUnset { .. }
                | Self::MountMissing { .. }
                | Self::DeviceMissing { .. }
                | Self::Setting(_)
        )
    }

    /// How the process ended, if that is what happened.
    pub(crate) fn exit_code(&self) -> Option<i32> {
        match self {
            Self::Exited { code, .. } => Some(*code),
            _ => None,
        }
    }
}

/// How a process ended, in words.
pub(crate) fn exit_text(code: i32, oom: bool) -> String {
    let killed = match code {
        129..=192 => format!(" (signal {})", code - 128),
        _ => String::new(),
    };
    let memory = if oom { ", killed for using too much memory" } else { "" };
    format!("its process exited with code {code}{killed}{memory}")
}

/// The last lines of output, if any, in words.
pub(crate) fn quoted(last_words: &[String]) -> String {
    if last_words.is_empty() {
        String::new()
    } else {
        format!("; its last output: {}", last_words.join(" | "))
    }
}
