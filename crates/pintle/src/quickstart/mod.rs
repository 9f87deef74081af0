//! `pintle quickstart`: the main job on this machine alone, in a private engine, without a network, a registry, or a
//! compiler. Each step is a command as a user would type it, run by this very program.

mod cleanup;
mod engine;
mod step;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use crate::archive;
use crate::commands::Done;
use crate::failure::Failure;
use crate::workbench::scaffold::copy_self;
use engine::Engine;
use step::Steps;

const PLUGIN: &str = "my-volumes";
const VOLUME: &str = "notes";
const IMAGE: &str = "tools";
const TEXT: &str = "hello from the first container";

/// See pintle work: a private engine, a plugin from scaffold to a container's data.
///
/// Starts an engine of its own in a new directory, scaffolds a volume plugin, checks, packages, installs and enables
/// it, creates a volume, writes to it from one container and reads it from another, and cleans up. Needs root.
#[derive(Debug, Args)]
pub struct Quickstart {
    /// Leave the engine running at the end, and say how to use it
    #[arg(long)]
    pub keep: bool,
    /// Where to work; a new directory in the temporary one if not given
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

impl Quickstart {
    /// Runs it. Whatever happens, what was started is ended and what was made is removed, unless `--keep` was given and
    /// all went well.
    pub async fn run(self) -> Done {
        if !rustix::process::geteuid().is_root() {
            bail!("the quickstart starts an engine, and that needs root: sudo pintle quickstart");
        }
        let started = Instant::now();
        let dir = self.directory()?;
        let engine = Engine::new(&dir);
        let mut steps = Steps::new(&engine);
        let outcome = tokio::select! {
            result = tour(&engine, &mut steps, !self.keep) => result,
            name = interrupted() => Err(anyhow::anyhow!("interrupted by {name}")),
        };
        let failed_step = steps.current().to_owned();
        let keep = self.keep && outcome.is_ok();
        if keep {
            println!(
                "\nThe engine is still running. To use it:\n\n  export DOCKER_HOST={}\n  pintle plugin ls --wide\n",
                engine.host()
            );
            println!(
                "It keeps everything in {}. To end it and remove that:\n\n  {}\n",
                dir.display(),
                engine.how_to_end()
            );
            engine.release();
            return Ok(());
        }
        let leftovers = cleanup::run(&engine).await;
        match outcome {
            Ok(()) if leftovers.is_empty() => {
                println!("\nDone in {:.1} s. Nothing of it is left.", started.elapsed().as_secs_f64());
                Ok(())
            }
            Ok(()) => Err(Failure::new(
                1,
                format!("all steps worked, but this could not be cleaned up:\n{}", leftovers.join("\n")),
            )
            .into()),
            Err(error) => {
                let mut message = format!("\nThe quickstart failed at: {failed_step}\n{error:#}");
                if !leftovers.is_empty() {
                    message += &format!("\nThis could not be cleaned up:\n{}", leftovers.join("\n"));
                }
                Err(Failure::new(1, message).into())
            }
        }
    }

    /// A new directory with a short path: sockets below it must fit into 108 bytes.
    fn directory(&self) -> Result<PathBuf> {
        let dir = match &self.dir {
            Some(dir) => std::path::absolute(dir)?,
            None => {
                let base = std::env::temp_dir();
                let number = std::process::id();
                base.join(format!("pintle-{number}"))
            }
        };
        if dir.exists() {
            bail!("{} exists already; give another directory with --dir", dir.display());
        }
        let mut builder = std::fs::DirBuilder::new();
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        Ok(dir)
    }
}

/// The first signal that asks for an end.
async fn interrupted() -> &'static str {
    let arrives = async |kind| match signal(kind) {
        Ok(mut stream) => stream.recv().await,
        Err(_) => std::future::pending().await,
    };
    tokio::select! {
        _ = arrives(SignalKind::interrupt()) => "SIGINT",
        _ = arrives(SignalKind::terminate()) => "SIGTERM",
        _ = arrives(SignalKind::hangup()) => "SIGHUP",
    }
}

async fn tour(engine: &Engine, steps: &mut Steps<'_>, tidy: bool) -> Result<()> {
    steps.title("A private engine");
    steps.start_engine().await?;
    steps.title("A container image, made from pintle itself");
    pack_image(engine)?;
    steps
        .run(&["import", "--change", "ENTRYPOINT [\"/bin/pintle\", \"applet\"]", "tools.tar", IMAGE])
        .await?;
    steps.title("A volume plugin, from scaffold to running");
    steps.run(&["plugin", "new", "--kind", "volume", "--builtin", PLUGIN]).await?;
    steps.run(&["plugin", "validate", PLUGIN]).await?;
    steps.run(&["plugin", "build", PLUGIN]).await?;
    steps.run(&["plugin", "enable", PLUGIN]).await?;
    steps.run(&["plugin", "ls", "--format", "{{.Name}}: {{.State}}, {{.Size}}"]).await?;
    steps.title("A volume of that plugin, in two containers");
    steps.run(&["volume", "create", "--driver", PLUGIN, VOLUME]).await?;
    let mount = format!("{VOLUME}:/data");
    steps
        .run(&["run", "--rm", "--network", "none", "-v", &mount, IMAGE, "write", "/data/greeting", TEXT])
        .await?;
    let read = steps
        .run(&["run", "--rm", "--network", "none", "-v", &mount, IMAGE, "cat", "/data/greeting"])
        .await?;
    if read.trim() != TEXT {
        bail!("the second container read {read:?}, not what the first one wrote");
    }
    if tidy {
        steps.title("And away with it");
        steps.run(&["volume", "rm", VOLUME]).await?;
        steps.run(&["plugin", "disable", PLUGIN]).await?;
        steps.run(&["plugin", "rm", PLUGIN]).await?;
        steps.run(&["rmi", IMAGE]).await?;
    }
    Ok(())
}

/// The image's only file is this program.
fn pack_image(engine: &Engine) -> Result<()> {
    let work = engine.work_dir();
    let root = work.join("image");
    std::fs::create_dir_all(root.join("bin"))?;
    copy_self(&root.join("bin/pintle"))?;
    let mut file = std::fs::File::create(work.join("tools.tar"))?;
    archive::pack_as(&root, "", true, false, &mut file).context("cannot pack the image")?;
    std::fs::remove_dir_all(&root)?;
    Ok(())
}
