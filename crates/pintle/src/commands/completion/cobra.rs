//! Completion as the stock client asks its plugins for it.

use std::ffi::OsString;

use clap::CommandFactory;

use super::super::Done;
use crate::cli::Cli;

/// Cobra's "do not complete file names": our completers know better, and where they know nothing files are wanted.
const NO_FILES: u8 = 4;

/// Prints a candidate on each line, with a description behind a tab, and the directive at the end.
pub fn answer(words: &[OsString], describe: bool) -> Done {
    print!("{}", candidates(words, describe)?);
    Ok(())
}

fn candidates(words: &[OsString], describe: bool) -> anyhow::Result<String> {
    let mut args = vec![OsString::from("pintle")];
    // The client passes its own globals and our name: `docker pintle vol<TAB>`.
    args.extend(words.iter().skip_while(|word| *word != "pintle").skip(1).cloned());
    if args.len() == 1 {
        args.extend(words.iter().cloned());
    }
    let last = args.len() - 1;
    let mut command = Cli::command();
    let found =
        clap_complete::engine::complete(&mut command, args, last, std::env::current_dir().ok().as_deref())?;
    let mut out = String::new();
    for candidate in found.iter().filter(|c| !c.is_hide_set()) {
        out += &candidate.get_value().to_string_lossy();
        if let (true, Some(help)) = (describe, candidate.get_help()) {
            out += &format!("\t{}", help.to_string().lines().next().unwrap_or_default());
        }
        out.push('\n');
    }
    let directive = if found.is_empty() { 0 } else { NO_FILES };
    Ok(out + &format!(":{directive}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_offered_with_and_without_descriptions() {
        let words = ["--context", "x", "pintle", "plugin", "val"].map(OsString::from);
        assert_eq!(candidates(&words, false).unwrap(), "validate\n:4\n");
        assert!(candidates(&words, true).unwrap().starts_with("validate\tCheck a plugin's directory"));
    }
}
