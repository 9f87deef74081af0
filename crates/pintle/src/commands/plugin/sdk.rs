//! `plugin sdk`.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use crate::commands::Done;
use crate::workbench::sdk;

/// Write the source of pintle's SDK into a directory.
///
/// It is the SDK that this pintle was built with. An older one in the directory is replaced, anything else is left
/// alone. Depend on it with 'pintle-sdk = { path = "sdk/pintle-sdk" }'.
#[derive(Debug, Args)]
pub struct Sdk {
    /// The directory
    #[arg(default_value = "sdk", value_hint = ValueHint::DirPath)]
    pub dir: PathBuf,
}

impl Sdk {
    /// Runs it.
    pub fn run(self) -> Done {
        sdk::write(&self.dir)?;
        println!("{}", self.dir.join(sdk::CRATE).display());
        Ok(())
    }
}
