//! `docs/reference`: every command, flag and key, written from the definitions that the program itself runs by. The
//! tests fail when the files are behind; `UPDATE=1 cargo test -p pintle reference` writes them.

use std::fmt::Write;
use std::path::Path;

use clap::{Arg, Command, CommandFactory};
use pintle_daemon::config::reference::{Effect, keys};

use crate::cli::Cli;

fn in_step(file: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference").join(file);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == text, "docs/reference/{file} is behind: UPDATE=1 cargo test -p pintle reference");
}

#[test]
fn the_reference_of_commands_is_in_step() {
    let mut root = Cli::command().disable_help_subcommand(true);
    root.build();
    let mut out = String::from(
        "# Commands\n\nWritten from the program's own definitions; [the guide](../guide/cli.md) says what they are for.\n",
    );
    let _ = write!(out, "\n## `pintle [OPTIONS] COMMAND`\n\n{}", options(&root));
    for command in root.get_subcommands().filter(|command| !command.is_hide_set()) {
        describe(&mut out, "pintle", command);
    }
    in_step("cli.md", &out);
}

fn describe(out: &mut String, parent: &str, command: &Command) {
    let path = format!("{parent} {}", command.get_name());
    let mut below = command.get_subcommands().filter(|sub| !sub.is_hide_set()).peekable();
    if below.peek().is_none() {
        let positionals: String = command.get_positionals().map(|arg| format!(" {}", spelt(arg))).collect();
        let _ = write!(out, "\n## `{path} [OPTIONS]{positionals}`\n\n");
        let about = command.get_long_about().or(command.get_about());
        let _ = writeln!(out, "{}", one_line(&about.map(ToString::to_string).unwrap_or_default()));
        let names: Vec<&str> = command.get_visible_aliases().collect();
        if !names.is_empty() {
            let _ = write!(
                out,
                "\nAlso: {}.\n",
                names.iter().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ")
            );
        }
        if command.get_name() == "daemon" {
            out.push_str("\nIts options are in [daemon.md](daemon.md).\n");
        } else {
            let table = options(command);
            if !table.is_empty() {
                let _ = write!(out, "\n{table}");
            }
        }
    }
    for sub in below {
        describe(out, &path, sub);
    }
}

fn spelt(arg: &Arg) -> String {
    let name = arg
        .get_value_names()
        .and_then(|names| names.first())
        .map_or_else(|| arg.get_id().to_string(), ToString::to_string);
    let many = arg.get_num_args().is_some_and(|range| range.max_values() > 1);
    let name = if many { format!("{name}...") } else { name };
    if arg.is_required_set() { name } else { format!("[{name}]") }
}

/// A table of what a command takes, positional arguments first.
fn options(command: &Command) -> String {
    let row = |arg: &Arg| {
        let value = arg
            .get_num_args()
            .filter(|range| range.takes_values())
            .map(|range| {
                let name = arg
                    .get_value_names()
                    .and_then(|names| names.first())
                    .map(ToString::to_string)
                    .unwrap_or_default();
                if range.min_values() == 0 { format!("[={name}]") } else { format!(" {name}") }
            })
            .unwrap_or_default();
        let names: Vec<String> =
            [arg.get_short().map(|c| format!("-{c}")), arg.get_long().map(|long| format!("--{long}"))]
                .into_iter()
                .flatten()
                .collect();
        let shown = if names.is_empty() { spelt(arg) } else { names.join(", ") + &value };
        let mut help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        let defaults: Vec<_> =
            arg.get_default_values().iter().map(|value| value.to_string_lossy().into_owned()).collect();
        if !defaults.is_empty()
            && !defaults.concat().is_empty()
            && arg.get_num_args().is_some_and(|range| range.takes_values())
        {
            let _ = write!(help, " (default {})", defaults.join(", "));
        }
        let possible: Vec<String> = match arg.get_num_args().is_some_and(|range| range.takes_values()) {
            true => arg.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect(),
            false => Vec::new(),
        };
        if !possible.is_empty() && possible != ["true", "false"] {
            let _ = write!(help, ": {}", possible.join(", "));
        }
        format!("| `{}` | {} |\n", shown.replace('|', "\\|"), one_line(&help).replace('|', "\\|"))
    };
    let shown = |arg: &&Arg| !arg.is_hide_set() && arg.get_id() != "help";
    let (places, flags): (Vec<&Arg>, Vec<&Arg>) =
        command.get_arguments().filter(shown).partition(|arg| arg.is_positional());
    let rows: String = places.into_iter().chain(flags).map(row).collect();
    if rows.is_empty() { rows } else { format!("| option | is |\n|---|---|\n{rows}") }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn the_reference_of_the_daemon_is_in_step() {
    let root = Cli::command();
    let daemon = root.find_subcommand("daemon").unwrap();
    let mut out = String::from(
        "# The engine's flags and keys\n\nWritten from the program's own definitions; [the guide](../guide/operators.md) says what they are for.\n\
         A setting is given as a flag or in the file, not as both. Switches take `=true` and `=false`.\n\n## Flags of `pintle daemon`\n\n",
    );
    out += &options(daemon);
    out += "\n## Keys of `daemon.json`\n\n| key | flag | is | a change counts |\n|---|---|---|---|\n";
    for key in keys() {
        let flag = key.flag.map_or_else(String::new, |flag| format!("`--{flag}`"));
        let effect = match key.effect {
            Effect::Reload => "on SIGHUP",
            Effect::Restart => "at the next start",
            Effect::Never => "never",
        };
        let _ = writeln!(
            out,
            "| `{}` | {flag} | {} | {effect} |",
            key.name,
            one_line(&key.about).replace('|', "\\|")
        );
    }
    in_step("daemon.md", &out);
}
