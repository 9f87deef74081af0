//! `pintle man DIR`.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, CommandFactory};

use crate::commands::Done;

/// Write manual pages into a directory.
#[derive(Debug, Args)]
pub struct Man {
    /// The directory
    pub dir: PathBuf,
}

impl Man {
    /// Runs it.
    pub fn run(self) -> Done {
        std::fs::create_dir_all(&self.dir).with_context(|| format!("cannot make {}", self.dir.display()))?;
        let mut root = crate::cli::Cli::command().disable_help_subcommand(true);
        root.build();
        clap_mangen::generate_to(root, &self.dir)
            .with_context(|| format!("cannot write to {}", self.dir.display()))?;
        println!("{}", self.dir.join("pintle.1").display());
        Ok(())
    }
}
