//! `plugin build`.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;

use super::create::create;
use crate::commands::Done;
use crate::context::Context;
use crate::workbench::compile;
use crate::workbench::package::Package;
use crate::workbench::validate::{Level, check};

/// Package a plugin's directory and create it in the engine, or write it to a file.
///
/// With a Cargo.toml in the directory, the program is first compiled and put into rootfs.
#[derive(Debug, Args)]
pub struct Build {
    /// Write the package to a file, or '-', instead of creating the plugin
    #[arg(short = 'o', long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// The plugin's name; that of the directory if not given
    #[arg(short = 't', long = "tag", value_name = "NAME")]
    pub name: Option<String>,
    /// Use rootfs as it is, without compiling
    #[arg(long = "no-compile")]
    pub no_compile: bool,
    /// Replace the plugin if there is one of that name that is disabled
    #[arg(long)]
    pub replace: bool,
    /// The directory with config.json, and rootfs or Cargo.toml
    #[arg(default_value = ".")]
    pub dir: PathBuf,
}

impl Build {
    /// Runs it.
    pub async fn run(self, context: &Context) -> Done {
        if self.dir.join("Cargo.toml").exists() && !self.no_compile {
            compile::compile(&self.dir).await?;
        }
        let report = check(&self.dir);
        if report.count(Level::Error) > 0 {
            bail!("{report}{} cannot be packaged", self.dir.display());
        }
        eprint!("{report}");
        let package = Package::open(&self.dir)?;
        match self.output.as_deref() {
            Some(path) if path.as_os_str() == "-" => Ok(package.write(false, &mut std::io::stdout().lock())?),
            Some(path) => {
                let mut scratch = path.as_os_str().to_owned();
                scratch.push(".part");
                let write = || {
                    let mut file = std::fs::File::create(&scratch)?;
                    package.write(false, &mut file)?;
                    file.sync_all()?;
                    std::fs::rename(&scratch, path)
                };
                write().with_context(|| format!("cannot write {}", path.display()))?;
                println!("{}", path.display());
                Ok(())
            }
            None => {
                let name = match self.name {
                    Some(name) => name,
                    None => name_of(&self.dir)?,
                };
                if self.replace {
                    match context.client().await?.delete(format!("/plugins/{name}")).done().await {
                        Err(error) if error.is_not_found() => {}
                        other => other?,
                    }
                }
                create(context, package, &name).await?;
                println!("{name}");
                Ok(())
            }
        }
    }
}

/// The plugin's name if none is given: that of its directory.
fn name_of(dir: &Path) -> anyhow::Result<String> {
    let full = dir.canonicalize().with_context(|| format!("cannot open {}", dir.display()))?;
    let name = full.file_name().map(|n| n.to_string_lossy().to_lowercase()).unwrap_or_default();
    anyhow::ensure!(!name.is_empty(), "{} has no name; give one with -t", full.display());
    Ok(name)
}
