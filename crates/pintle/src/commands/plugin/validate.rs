//! `plugin validate`.

use std::path::PathBuf;

use clap::Args;

use crate::commands::Done;
use crate::failure::Failure;
use crate::workbench::validate::{Level, check};

/// Check a plugin's directory before it is packaged.
///
/// Reports mistakes in config.json with line and column, the privileges that a user will be asked for, what is wrong
/// with the root file system, and what could be left out. Exits with 1 if the plugin cannot work.
#[derive(Debug, Args)]
pub struct Validate {
    /// Treat warnings as errors
    #[arg(long)]
    pub strict: bool,
    /// The directory with config.json and rootfs
    #[arg(default_value = ".")]
    pub dir: PathBuf,
}

impl Validate {
    /// Runs it.
    pub fn run(self) -> Done {
        let report = check(&self.dir);
        print!("{report}");
        let bad = report.count(Level::Error) > 0 || (self.strict && report.count(Level::Warning) > 0);
        if bad { Err(Failure::silent(1).into()) } else { Ok(()) }
    }
}
