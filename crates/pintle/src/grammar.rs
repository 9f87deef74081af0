//! Docker's command line is parsed by Go's `pflag`, ours by clap. This rewrites the first into the second:
//!
//! - `--flag=true` and `--flag=false` for switches, short ones too;
//! - a value may begin with a dash (`--tail -1`);
//! - `run`, `create`, `exec` and `top` take no options after the first argument, so that those go to the container.
//!
//! Anything unknown is left for clap to complain about.

use std::ffi::OsString;

use clap::{Arg, ArgAction, Command};

/// Rewrites `args` (without the program's name). `own_name` is dropped if it is the first word that is no option: the
/// stock client calls `docker-pintle <globals> pintle …`.
pub fn normalise(root: &Command, args: Vec<OsString>, own_name: Option<&str>) -> Vec<OsString> {
    let mut out = Vec::with_capacity(args.len() + 1);
    let mut command = root;
    let mut own_name = own_name;
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        let Some(text) = arg.to_str() else {
            out.push(arg);
            continue;
        };
        if text == "--" {
            out.push(arg);
            break;
        }
        if let Some(long) = text.strip_prefix("--") {
            match long_option(command, long, &mut args) {
                Some(rewritten) => out.extend(rewritten),
                None => out.push(arg),
            }
        } else if text.len() > 1 && text.starts_with('-') {
            match short_options(command, text.get(1..).unwrap_or(""), &mut args) {
                Some(rewritten) => out.extend(rewritten),
                None => out.push(arg),
            }
        } else if own_name == Some(text) {
            own_name = None;
        } else if let Some(next) = subcommand(command, text) {
            command = next;
            own_name = None;
            out.push(arg);
            if takes_everything(command) {
                break;
            }
        } else {
            if command.get_arguments().any(Arg::is_trailing_var_arg_set) {
                out.push("--".into());
                out.push(arg);
                break;
            }
            out.push(arg);
        }
    }
    out.extend(args);
    out
}

/// Commands that parse their own words.
fn takes_everything(command: &Command) -> bool {
    matches!(command.get_name(), "daemon" | "help" | "__complete" | "__completeNoDesc")
}

fn subcommand<'a>(command: &'a Command, name: &str) -> Option<&'a Command> {
    command
        .get_subcommands()
        .find(|sub| sub.get_name() == name || sub.get_all_aliases().any(|alias| alias == name))
}

/// Whether the word after the option is its value. One that may stand alone takes its value after `=` only.
fn takes_value(arg: &Arg) -> bool {
    let optional = arg.get_num_args().is_some_and(|range| range.min_values() == 0);
    matches!(arg.get_action(), ArgAction::Set | ArgAction::Append) && !optional
}

/// Whether the option takes `=VALUE` if the user likes.
fn may_take_value(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::Set | ArgAction::Append)
}

fn long_option(
    command: &Command,
    long: &str,
    args: &mut impl Iterator<Item = OsString>,
) -> Option<Vec<OsString>> {
    let (name, value) = match long.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (long, None),
    };
    let arg = command.get_arguments().find(|arg| {
        arg.get_long() == Some(name) || arg.get_all_aliases().into_iter().flatten().any(|alias| alias == name)
    })?;
    let spelt = format!("--{name}");
    match (takes_value(arg), value) {
        (true, Some(_)) | (false, None) => None,
        (false, Some(_)) if may_take_value(arg) => None,
        (true, None) => Some(match args.next() {
            Some(value) => vec![joined(&spelt, "=", &value)],
            None => vec![spelt.into()],
        }),
        (false, Some(value)) => switch(value).map(|on| if on { vec![spelt.into()] } else { Vec::new() }),
    }
}

fn short_options(
    command: &Command,
    cluster: &str,
    args: &mut impl Iterator<Item = OsString>,
) -> Option<Vec<OsString>> {
    let mut out = Vec::new();
    for (at, c) in cluster.char_indices() {
        let arg = command.get_arguments().find(|arg| {
            arg.get_short() == Some(c)
                || arg.get_all_short_aliases().into_iter().flatten().any(|alias| alias == c)
        })?;
        let rest = cluster.get(at + c.len_utf8()..).unwrap_or("");
        let spelt = format!("-{c}");
        if takes_value(arg) {
            let value: OsString = match rest.strip_prefix('=').unwrap_or(rest) {
                "" if !rest.starts_with('=') => match args.next() {
                    Some(value) => value,
                    None => {
                        out.push(spelt.into());
                        return Some(out);
                    }
                },
                value => value.into(),
            };
            out.push(joined(&spelt, "=", &value));
            return Some(out);
        }
        if may_take_value(arg) {
            out.push(format!("-{c}{rest}").into());
            return Some(out);
        }
        if let Some(value) = rest.strip_prefix('=') {
            if switch(value)? {
                out.push(spelt.into());
            }
            return Some(out);
        }
        out.push(spelt.into());
    }
    Some(out)
}

fn joined(name: &str, between: &str, value: &OsString) -> OsString {
    let mut out = OsString::from(name);
    out.push(between);
    out.push(value);
    out
}

/// What Go's `strconv.ParseBool` accepts.
fn switch(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn rewrite(line: &str) -> String {
        let root = crate::cli::Cli::command();
        let args = line.split(' ').map(OsString::from).collect();
        let out = normalise(&root, args, Some("pintle"));
        out.iter().map(|a| a.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn docker_lines_become_clap_lines() {
        for (docker, clap) in [
            ("run alpine sh -c ls", "run -- alpine sh -c ls"),
            ("run --rm -it alpine --rm", "run --rm -i -t -- alpine --rm"),
            ("run -v /a:/b -e X alpine", "run -v=/a:/b -e=X -- alpine"),
            ("run -e=A=1 -eB=2 --name x alpine", "run -e=A=1 -e=B=2 --name=x -- alpine"),
            ("run -h box alpine -h", "run -h=box -- alpine -h"),
            ("container exec -it c sh -l", "container exec -i -t -- c sh -l"),
            ("plugin disable --force=false p", "plugin disable p"),
            ("plugin disable --force=true p", "plugin disable --force p"),
            ("plugin rm -f=true p", "plugin rm -f p"),
            ("logs --tail -1 c", "logs --tail=-1 c"),
            ("-H tcp://x:1 ps -a", "-H=tcp://x:1 ps -a"),
            ("-H unix:///x pintle plugin ls", "-H=unix:///x plugin ls"),
            ("pintle plugin ls", "plugin ls"),
            ("stop --time=60 c", "stop --time=60 c"),
            ("daemon -H unix:///x --debug=false", "daemon -H unix:///x --debug=false"),
            ("plugin install --alias a p K=V", "plugin install --alias=a p K=V"),
            ("ps --nosuch=1", "ps --nosuch=1"),
        ] {
            assert_eq!(rewrite(docker), clap, "{docker}");
        }
    }
}
