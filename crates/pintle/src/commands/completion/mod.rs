//! Completion: scripts for shells, and the answers that the scripts ask for.
//!
//! The shells' scripts ask this program (`__complete`), and so does the stock client when this is its plugin. Names
//! come from the engine, within a second or not at all.

mod answer;
mod arguments;
pub mod names;

use std::io::Write;

use clap::{Args, ValueEnum};

use super::Done;

pub use answer::answer;

/// Print the completion script of a shell.
///
/// bash: pintle completion bash > /etc/bash_completion.d/pintle, or in ~/.bashrc: . <(pintle completion bash).
/// zsh: pintle completion zsh > /usr/share/zsh/site-functions/_pintle.
/// fish: pintle completion fish > /etc/fish/completions/pintle.fish.
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
        let script = match self.shell {
            Shell::Bash => include_str!("pintle.bash"),
            Shell::Fish => include_str!("pintle.fish"),
            Shell::Zsh => include_str!("pintle.zsh"),
        };
        Ok(std::io::stdout().write_all(script.as_bytes())?)
    }
}
