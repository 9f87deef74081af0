//! Completion as cobra's programs answer it: a candidate on each line, with a description behind a tab, and a last
//! line that says what the shell is to make of them. The stock client asks its plugins so, and so do our own scripts.

use std::ffi::{OsStr, OsString};

use clap::CommandFactory;
use clap_complete::CompletionCandidate;

use super::{super::Done, arguments, names};
use crate::cli::Cli;

/// What cobra calls directives.
const NO_SPACE: u8 = 2;
const NO_FILES: u8 = 4;

/// Prints the candidates for the last of `words`.
pub fn answer(words: &[OsString], describe: bool) -> Done {
    print!("{}", candidates(words, describe)?);
    Ok(())
}

fn candidates(words: &[OsString], describe: bool) -> anyhow::Result<String> {
    let mut command = arguments::with_completers(Cli::command());
    let mut args = vec![OsString::from("pintle")];
    args.extend(words.iter().cloned());
    if args.len() == 1 {
        args.push(OsString::new());
    }
    let last = args.len() - 1;
    let current = args.last().cloned().unwrap_or_default();
    let mut found =
        clap_complete::engine::complete(&mut command, args, last, std::env::current_dir().ok().as_deref())?;
    // Options only for those who ask for one, or they stand between the user and the names.
    if !starts(&current, "-") {
        found.retain(|candidate| !starts(candidate.get_value(), "-"));
    }
    let mut out = String::new();
    for candidate in found.iter().filter(|candidate| !candidate.is_hide_set()) {
        out += &proper_name(candidate, &current);
        if let (true, Some(help)) = (describe, candidate.get_help()) {
            out += &format!("\t{}", help.to_string().lines().next().unwrap_or_default());
        }
        out.push('\n');
    }
    let goes_on = |candidate: &CompletionCandidate| {
        let value = candidate.get_value().to_string_lossy();
        value.ends_with(['=', ':', '/'])
    };
    let names_only = names::were_wanted();
    let mut directive = if found.is_empty() && !names_only { 0 } else { NO_FILES };
    if !found.is_empty() && found.iter().all(goes_on) {
        directive |= NO_SPACE;
    }
    Ok(out + &format!(":{directive}\n"))
}

fn starts(word: &OsStr, with: &str) -> bool {
    word.to_string_lossy().starts_with(with)
}

/// Commands by their first name, not by the alias that comes first in the alphabet.
fn proper_name(candidate: &CompletionCandidate, current: &OsStr) -> String {
    let value = candidate.get_value().to_string_lossy();
    match candidate.get_id().and_then(|id| id.strip_prefix("command::")) {
        Some(name) if name.starts_with(&*current.to_string_lossy()) => name.to_owned(),
        _ => value.into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(line: &str) -> String {
        let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        candidates(&words, false).unwrap()
    }

    #[test]
    fn commands_are_offered_with_and_without_descriptions() {
        assert_eq!(ask("--context x plugin val"), "validate\n:4\n");
        let words = ["plugin", "val"].map(OsString::from);
        assert!(candidates(&words, true).unwrap().starts_with("validate\tCheck a plugin's directory"));
    }

    #[test]
    fn names_come_before_aliases_and_options_wait_to_be_asked_for() {
        let all = ask("volume ");
        assert!(all.contains("ls\n") && all.contains("rm\n"), "{all}");
        assert!(!all.contains("list\n") && !all.contains("--help"), "{all}");
        assert_eq!(ask("volume lis"), "list\n:4\n");
        assert!(ask("volume ls --f").contains("--filter\n"));
    }

    #[test]
    fn values_are_offered_for_what_has_known_ones() {
        assert_eq!(ask("run --restart un"), "unless-stopped\n:4\n");
        assert_eq!(ask("ps --filter sta"), "status=\n:6\n");
        assert!(ask("ps --filter status=").contains("status=exited\n"));
        assert_eq!(ask("plugin ls --filter=enabled=t"), "--filter=enabled=true\n:4\n");
        assert_eq!(ask("run --cap-add SYS_ADM"), "SYS_ADMIN\n:4\n");
        assert_eq!(ask("kill --signal HU"), "HUP\n:4\n");
        assert_eq!(ask("plugin new --kind v"), "volume\n:4\n");
        // Nothing known: files are as good as anything.
        assert_eq!(ask("run --entrypoint x"), ":0\n");
    }
}
