//! `plugin new`.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use crate::commands::Done;
use crate::workbench::scaffold::{Kind, Language, Scaffold};

/// Start a new plugin from a working example.
#[derive(Debug, Args)]
pub struct New {
    /// What it is
    #[arg(long, value_enum, default_value_t = Kind::Volume)]
    pub kind: Kind,
    /// What it is written in
    #[arg(long, value_enum, default_value_t = Language::Rust)]
    pub lang: Language,
    /// No source: the root file system gets this program, which carries the compiled example. Needs no compiler
    #[arg(long)]
    pub builtin: bool,
    /// Depend on this checkout of pintle's SDK, instead of on a copy of the SDK that pintle carries
    #[arg(long = "sdk-path", value_name = "DIR", env = "PINTLE_SDK_PATH", hide_env = true, value_hint = ValueHint::DirPath)]
    pub sdk_path: Option<PathBuf>,
    /// Where; a directory of the plugin's name if not given
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub dir: Option<PathBuf>,
    /// The plugin's name
    pub name: String,
}

impl New {
    /// Runs it.
    pub fn run(self) -> Done {
        let dir = self.dir.clone().unwrap_or_else(|| PathBuf::from(&self.name));
        let scaffold = Scaffold {
            kind: self.kind,
            language: self.lang,
            builtin: self.builtin,
            sdk_path: self.sdk_path.clone(),
            name: self.name.clone(),
        };
        let files = scaffold.write(&dir)?;
        for file in files {
            println!("{}", dir.join(file).display());
        }
        // `build` names a plugin as its directory is called.
        let tag = if dir.file_name().is_some_and(|last| *last == *self.name) {
            ""
        } else {
            &format!("-t {} ", self.name)
        };
        let (name, dir) = (&self.name, dir.display());
        println!(
            "\nNext:\n  pintle plugin validate {dir}\n  pintle plugin build {tag}{dir}\n  pintle plugin enable {name}\n  pintle plugin test {name}"
        );
        Ok(())
    }
}
