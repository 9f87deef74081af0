//! What an instruction changes about an image's configuration.

use super::{Command, Expander, Instruction, SyntaxError};
use crate::{ContainerConfig, config::Empty};

/// What runs shell lines where no `SHELL` says otherwise.
pub fn default_shell() -> Vec<String> {
    vec!["/bin/sh".to_owned(), "-c".to_owned()]
}

/// Applies an instruction that needs no files. `cmd_set` remembers whether a `CMD` was given since the stage began:
/// an `ENTRYPOINT` takes away the base's. Returns the instruction as the history tells it.
///
/// # Errors
/// If a word cannot be understood, or the instruction is one that needs files (`FROM`, `RUN`, `COPY`, `ADD`, `ARG`).
pub fn apply(
    config: &mut ContainerConfig,
    instruction: &Instruction,
    expander: &Expander<'_>,
    cmd_set: &mut bool,
) -> Result<String, SyntaxError> {
    let word = |text: &String| expander.word(text);
    Ok(match instruction {
        Instruction::Env(pairs) => {
            let mut told = "ENV".to_owned();
            for (name, value) in pairs {
                let (name, value) = (word(name)?, word(value)?);
                if name.is_empty() {
                    return Err(SyntaxError::new("ENV names can not be blank"));
                }
                told.push_str(&format!(" {name}={value}"));
                set(&mut config.env, &name, &value);
            }
            told
        }
        Instruction::Label(pairs) => {
            let mut told = "LABEL".to_owned();
            for (name, value) in pairs {
                let (name, value) = (word(name)?, word(value)?);
                told.push_str(&format!(" {name}={value}"));
                config.labels.insert(name, value);
            }
            told
        }
        Instruction::Cmd(command) => {
            let words = resolved(command, config);
            *cmd_set = true;
            let told = format!("CMD {}", quoted(&words));
            config.cmd = Some(words);
            told
        }
        Instruction::Entrypoint(command) => {
            let words = resolved(command, config);
            if !*cmd_set {
                config.cmd = None;
            }
            let told = format!("ENTRYPOINT {}", quoted(&words));
            config.entrypoint = Some(words);
            told
        }
        Instruction::Shell(words) => {
            config.shell = Some(words.clone());
            format!("SHELL [{}]", words.join(" "))
        }
        Instruction::Expose(given) => {
            let mut told = std::collections::BTreeSet::new();
            for text in given {
                for word in expander.words(text)? {
                    let ports = ports(&word)
                        .ok_or_else(|| SyntaxError::new(format!("invalid containerPort: {word:.50}")))?;
                    config.exposed_ports.extend(ports.into_iter().map(|port| (port, Empty {})));
                    told.insert(word);
                }
            }
            format!("EXPOSE {}", told.into_iter().collect::<Vec<_>>().join(" "))
        }
        Instruction::Volume(paths) => {
            let paths: Vec<String> = paths.iter().map(word).collect::<Result<_, _>>()?;
            if paths.iter().any(|path| path.trim().is_empty()) {
                return Err(SyntaxError::new("VOLUME specified can not be an empty string"));
            }
            let told = format!("VOLUME [{}]", paths.join(" "));
            config.volumes.extend(paths.into_iter().map(|path| (path.trim().to_owned(), Empty {})));
            told
        }
        Instruction::User(user) => {
            config.user = word(user)?;
            format!("USER {}", config.user)
        }
        Instruction::Workdir(path) => {
            let path = word(path)?;
            let path = if path.starts_with('/') { path } else { format!("{}/{path}", config.working_dir) };
            config.working_dir = clean(&path);
            format!("WORKDIR {}", config.working_dir)
        }
        Instruction::StopSignal(signal) => {
            config.stop_signal = word(signal)?;
            format!("STOPSIGNAL {}", config.stop_signal)
        }
        Instruction::Healthcheck(check) => {
            config.healthcheck = Some(check.clone());
            format!("HEALTHCHECK {check}")
        }
        Instruction::Onbuild(trigger) => {
            config.on_build.push(trigger.clone());
            format!("ONBUILD {trigger}")
        }
        Instruction::Maintainer(name) => format!("MAINTAINER {name}"),
        Instruction::From { .. }
        | Instruction::Arg(_)
        | Instruction::Run(_)
        | Instruction::Copy(_)
        | Instruction::Add(_) => return Err(SyntaxError::new("the instruction needs files")),
    })
}

/// What a variable is in a list of `NAME=value`.
pub fn variable(env: &[String], name: &str) -> Option<String> {
    env.iter()
        .filter_map(|entry| entry.split_once('='))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value.to_owned())
}

/// Sets a variable where it is, or at the end.
fn set(env: &mut Vec<String>, name: &str, value: &str) {
    let entry = format!("{name}={value}");
    match env.iter_mut().find(|entry| entry.split('=').next() == Some(name)) {
        Some(there) => *there = entry,
        None => env.push(entry),
    }
}

/// A command as words: a shell line is given to the image's shell.
fn resolved(command: &Command, config: &ContainerConfig) -> Vec<String> {
    match command {
        Command::Exec(words) => words.clone(),
        Command::Shell(line) if line.is_empty() => Vec::new(),
        Command::Shell(line) => {
            let mut words = config.shell.clone().unwrap_or_else(default_shell);
            words.push(line.clone());
            words
        }
    }
}

/// Go's `%q` of a list.
fn quoted(words: &[String]) -> String {
    let words: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
    format!("[{}]", words.join(" "))
}

fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// `80`, `80/udp`, `8000-8010/tcp`.
fn ports(word: &str) -> Option<Vec<String>> {
    let (range, protocol) = word.split_once('/').unwrap_or((word, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return None;
    }
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let (first, last): (u16, u16) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last).then(|| (first..=last).map(|port| format!("{port}/{protocol}")).collect())
}
