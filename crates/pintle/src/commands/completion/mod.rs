//! Completion: scripts for shells, and the answers that the scripts ask for.
//!
//! The shells' scripts ask this program (`clap_complete`'s dynamic engine), and so does the stock client when this is
//! its plugin (`__complete`). Names come from the engine, within a second or not at all.

mod cobra;
pub mod names;

use std::ffi::OsString;
use std::io::Write;

use clap::{Args, CommandFactory, ValueEnum};
use clap_complete::env::{Bash, EnvCompleter, Fish, Zsh};

use super::Done;
use crate::cli::Cli;

/// The variable by which a shell's script asks.
pub const VARIABLE: &str = "PINTLE_COMPLETE";

/// Print the completion script of a shell.
#[derive(Debug, Args)]
pub struct Completion {
    /// The shell
    pub shell: Shell,
}

/// Shells with a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// bash
    Bash,
    /// fish
    Fish,
    /// zsh
    Zsh,
}

impl Completion {
    /// Runs it.
    pub fn run(self) -> Done {
        let mut out = Vec::new();
        let shell: &dyn EnvCompleter = match self.shell {
            Shell::Bash => &Bash,
            Shell::Fish => &Fish,
            Shell::Zsh => &Zsh,
        };
        shell.write_registration(VARIABLE, "pintle", "pintle", "pintle", &mut out)?;
        Ok(std::io::stdout().write_all(&out)?)
    }
}

/// Answers a shell's script, if that is why this program runs.
pub fn answer_shell() {
    clap_complete::CompleteEnv::with_factory(Cli::command).var(VARIABLE).complete();
}

/// Answers the stock client: `__complete` and `__completeNoDesc`.
pub fn answer_cobra(words: &[OsString], describe: bool) -> Done {
    cobra::answer(words, describe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_has_a_script_that_asks_this_program() {
        for shell in [&Bash as &dyn EnvCompleter, &Fish, &Zsh] {
            let mut out = Vec::new();
            shell.write_registration(VARIABLE, "pintle", "pintle", "pintle", &mut out).unwrap();
            let text = String::from_utf8(out).unwrap();
            assert!(text.contains(VARIABLE) && text.contains("pintle"), "{text}");
        }
    }
}
