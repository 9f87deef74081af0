//! The tree of commands. What each does is in `commands`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::client::{Selection, TlsFiles};
use crate::commands::{
    Done, audit, completion, container, image, inspect, network, oci, plugin, policy, runtime, system, volume,
};
use crate::context::Context;
use crate::credentials::ConfigFile;
use crate::{man, quickstart};

/// A container engine whose every extension point is a plugin.
#[derive(Debug, Parser)]
#[command(
    name = "pintle",
    version,
    disable_help_subcommand = false,
    subcommand_required = true,
    arg_required_else_help = true,
    disable_version_flag = true,
    max_term_width = 120
)]
pub struct Cli {
    #[command(flatten)]
    pub globals: Globals,
    #[command(subcommand)]
    pub command: Command,
}

/// Options before the command, as Docker's.
#[derive(Debug, Clone, Args)]
pub struct Globals {
    /// Location of client config files
    #[arg(long, value_name = "DIR")]
    pub config: Option<PathBuf>,
    /// Name of the context to use to connect to the engine
    #[arg(short = 'c', long, value_name = "NAME")]
    pub context: Option<String>,
    /// Enable debug mode
    #[arg(short = 'D', long)]
    pub debug: bool,
    /// Engine to connect to: unix://PATH, tcp://HOST:PORT or ssh://HOST
    #[arg(short = 'H', long, value_name = "ADDRESS")]
    pub host: Option<String>,
    /// Set the logging level (debug, info, warn, error, fatal)
    #[arg(short = 'l', long = "log-level", value_name = "LEVEL")]
    pub log_level: Option<String>,
    /// Use TLS
    #[arg(long)]
    pub tls: bool,
    /// Trust certs signed only by this CA
    #[arg(long, value_name = "FILE")]
    pub tlscacert: Option<PathBuf>,
    /// Path to TLS certificate file
    #[arg(long, value_name = "FILE")]
    pub tlscert: Option<PathBuf>,
    /// Path to TLS key file
    #[arg(long, value_name = "FILE")]
    pub tlskey: Option<PathBuf>,
    /// Use TLS and verify the remote
    #[arg(long)]
    pub tlsverify: bool,
    /// Print version information and quit
    #[arg(short = 'v', long, action = clap::ArgAction::Version)]
    pub version: Option<bool>,
}

/// The commands that come first in the help, by their kind.
const GROUPS: [(&str, &[&str]); 2] = [
    (
        "Common commands",
        &[
            "run",
            "exec",
            "ps",
            "logs",
            "build",
            "images",
            "pull",
            "push",
            "login",
            "logout",
            "info",
            "version",
            "quickstart",
        ],
    ),
    (
        "Management commands",
        &["container", "image", "network", "plugin", "runtime", "system", "volume", "daemon"],
    ),
];

/// The tree of commands, with a help that a reader finds something in.
pub fn command() -> clap::Command {
    let command = <Cli as clap::CommandFactory>::command();
    let line = |name: &str| {
        let sub = command.find_subcommand(name)?;
        Some(format!("  {name:11} {}\n", sub.get_about()?))
    };
    let mut text = String::new();
    for (title, names) in GROUPS {
        text += &format!(
            "\x1b[1;4m{title}:\x1b[0m\n{}\n",
            names.iter().filter_map(|name| line(name)).collect::<String>()
        );
    }
    let known = |name: &str| GROUPS.iter().any(|(_, names)| names.contains(&name));
    let rest = command.get_subcommands().map(clap::Command::get_name).filter(|name| !known(name));
    text += &format!("\x1b[1;4mCommands:\x1b[0m\n{}", rest.filter_map(line).collect::<String>());
    let template = format!(
        "{{about}}\n\n{{usage-heading}} {{usage}}\n\n{text}\n\x1b[1;4mOptions:\x1b[0m\n{{options}}\n\nRun 'pintle COMMAND --help' for more information on a command.\n"
    );
    command.help_template(template)
}

impl Globals {
    /// What they say about the engine to use.
    pub fn selection(&self) -> Selection {
        let config_dir = ConfigFile::directory(self.config.as_deref());
        let variable = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty());
        let verify = self.tlsverify || variable("DOCKER_TLS_VERIFY").is_some();
        let wanted = verify || self.tls || variable("DOCKER_TLS").is_some();
        let tls = wanted.then(|| {
            let dir = variable("DOCKER_CERT_PATH").map_or_else(|| config_dir.clone(), PathBuf::from);
            let usual = TlsFiles::in_dir(&dir);
            TlsFiles {
                ca: self.tlscacert.clone().unwrap_or(usual.ca),
                cert: self.tlscert.clone().unwrap_or(usual.cert),
                key: self.tlskey.clone().unwrap_or(usual.key),
                verify,
            }
        });
        Selection {
            host: self.host.clone(),
            context: self.context.clone(),
            config_dir,
            current_context: None,
            tls,
        }
    }
}

/// Every command.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the engine
    Daemon(Box<pintle_daemon::Options>),
    /// See pintle work: a private engine, a plugin from scaffold to a container's data
    Quickstart(quickstart::Quickstart),
    /// Manage plugins, and develop them
    #[command(subcommand)]
    Plugin(Box<plugin::PluginCommand>),
    /// Manage volumes
    #[command(subcommand)]
    Volume(volume::VolumeCommand),
    /// Manage networks
    #[command(subcommand)]
    Network(network::NetworkCommand),
    /// Manage images
    #[command(subcommand)]
    Image(Box<image::ImageCommand>),
    /// Manage containers
    #[command(subcommand)]
    Container(Box<container::ContainerCommand>),
    /// Manage OCI runtimes
    #[command(subcommand)]
    Runtime(runtime::RuntimeCommand),
    /// Be an OCI runtime for another engine, by runc's command line
    Oci(Box<oci::Oci>),
    /// Try and serve policies of authorization
    #[command(subcommand)]
    Policy(Box<policy::PolicyCommand>),
    /// Check audit trails
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// Manage the engine
    #[command(subcommand)]
    System(system::SystemCommand),
    /// Create and run a new container from an image
    Run(Box<container::run::Run>),
    /// Create a new container
    Create(Box<container::create::Create>),
    /// Start one or more stopped containers
    Start(container::start::Start),
    /// Stop one or more running containers
    Stop(container::stop::Stop),
    /// Kill one or more running containers
    Kill(container::kill::Kill),
    /// Restart one or more containers
    Restart(container::stop::Restart),
    /// Rename a container
    Rename(container::rename::Rename),
    /// Remove one or more containers
    Rm(container::remove::Remove),
    /// List containers
    Ps(container::list::List),
    /// Fetch the logs of one or more containers
    Logs(container::logs::Logs),
    /// Show how far each log driver is with each container's lines
    LogDrivers(container::log_drivers::LogDrivers),
    /// Execute a command in a running container
    Exec(container::exec::Exec),
    /// Attach local standard input, output, and error streams to a running container
    Attach(container::attach::Attach),
    /// Create a new image from a container's changes
    Commit(container::commit::Commit),
    /// Copy files/folders between a container and the local filesystem
    Cp(container::copy::Copy),
    /// Inspect changes to files or directories on a container's filesystem
    Diff(container::diff::Diff),
    /// Export a container's filesystem as a tar archive
    Export(container::export::Export),
    /// Display the running processes of a container
    Top(container::top::Top),
    /// Block until one or more containers stop, then print their exit codes
    Wait(container::wait::Wait),
    /// Pause all processes within one or more containers
    Pause(container::pause::Pause),
    /// Unpause all processes within one or more containers
    Unpause(container::pause::Unpause),
    /// Display a live stream of container(s) resource usage statistics
    Stats(container::stats::Stats),
    /// Update configuration of one or more containers
    Update(container::update::Update),
    /// List port mappings or a specific mapping for the container
    Port(container::port::Port),
    /// List images
    Images(image::list::List),
    /// Build an image from a Dockerfile
    Build(Box<image::build::Build>),
    /// Download an image from a registry
    Pull(image::pull::Pull),
    /// Upload an image to a registry
    Push(image::push::Push),
    /// Load an image from a tar archive or STDIN
    Load(image::load::Load),
    /// Save one or more images to a tar archive (streamed to STDOUT by default)
    Save(image::save::Save),
    /// Import the contents from a tarball to create a filesystem image
    Import(image::import::Import),
    /// Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE
    Tag(image::tag::Tag),
    /// Remove one or more images
    Rmi(image::remove::Remove),
    /// Show the history of an image
    History(image::history::History),
    /// Return low-level information on objects
    Inspect(inspect::Inspect),
    /// Show the version information of client and engine
    Version(system::version::Version),
    /// Display system-wide information
    Info(system::info::Info),
    /// Get real time events from the server
    Events(system::events::Events),
    /// Authenticate to a registry
    Login(system::login::Login),
    /// Log out from a registry
    Logout(system::login::Logout),
    /// Print the completion script of a shell
    Completion(completion::Completion),
    /// Write manual pages into a directory
    Man(man::Man),
}

impl Command {
    /// Runs any command but those that need a process without threads.
    pub async fn run(self, context: &Context) -> Done {
        match self {
            Self::Daemon(_) | Self::Oci(_) => Ok(()),
            Self::Quickstart(c) => c.run().await,
            Self::Plugin(c) => Box::pin(c.run(context)).await,
            Self::Volume(c) => Box::pin(c.run(context)).await,
            Self::Network(c) => Box::pin(c.run(context)).await,
            Self::Image(c) => Box::pin(c.run(context)).await,
            Self::Container(c) => Box::pin(c.run(context)).await,
            Self::Runtime(c) => Box::pin(c.run(context)).await,
            Self::Policy(c) => Box::pin(c.run()).await,
            Self::Audit(c) => c.run(),
            Self::System(c) => Box::pin(c.run(context)).await,
            Self::Run(c) => Box::pin(c.run(context)).await,
            Self::Create(c) => Box::pin(c.run(context)).await,
            Self::Start(c) => Box::pin(c.run(context)).await,
            Self::Stop(c) => c.run(context).await,
            Self::Kill(c) => c.run(context).await,
            Self::Restart(c) => c.run(context).await,
            Self::Rename(c) => c.run(context).await,
            Self::Rm(c) => c.run(context).await,
            Self::Ps(c) => c.run(context).await,
            Self::Logs(c) => Box::pin(c.run(context)).await,
            Self::LogDrivers(c) => c.run(context).await,
            Self::Exec(c) => Box::pin(c.run(context)).await,
            Self::Attach(c) => Box::pin(c.run(context)).await,
            Self::Commit(c) => c.run(context).await,
            Self::Cp(c) => Box::pin(c.run(context)).await,
            Self::Diff(c) => c.run(context).await,
            Self::Export(c) => c.run(context).await,
            Self::Top(c) => c.run(context).await,
            Self::Wait(c) => c.run(context).await,
            Self::Pause(c) => c.run(context).await,
            Self::Unpause(c) => c.run(context).await,
            Self::Stats(c) => c.run(context).await,
            Self::Update(c) => c.run(context).await,
            Self::Port(c) => c.run(context).await,
            Self::Images(c) => c.run(context).await,
            Self::Build(c) => Box::pin(c.run(context)).await,
            Self::Pull(c) => c.run(context).await,
            Self::Push(c) => c.run(context).await,
            Self::Load(c) => c.run(context).await,
            Self::Save(c) => c.run(context).await,
            Self::Import(c) => c.run(context).await,
            Self::Tag(c) => c.run(context).await,
            Self::Rmi(c) => c.run(context).await,
            Self::History(c) => c.run(context).await,
            Self::Inspect(c) => c.run(context).await,
            Self::Version(c) => c.run(context).await,
            Self::Info(c) => c.run(context).await,
            Self::Events(c) => c.run(context).await,
            Self::Login(c) => c.run(context).await,
            Self::Logout(c) => c.run(context).await,
            Self::Completion(c) => c.run(),
            Self::Man(c) => c.run(),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_tree_is_sound() {
        Cli::command().debug_assert();
    }

    /// Docker's own verbs, each with its top-level alias where Docker has one.
    #[test]
    fn dockers_verbs_exist() {
        let root = Cli::command();
        let has = |path: &str| {
            let mut at = &root;
            path.split(' ').all(|word| {
                match at
                    .get_subcommands()
                    .find(|s| s.get_name() == word || s.get_all_aliases().any(|a| a == word))
                {
                    Some(next) => {
                        at = next;
                        true
                    }
                    None => false,
                }
            })
        };
        for verb in "plugin create,plugin disable,plugin enable,plugin inspect,plugin install,plugin ls,plugin list,\
            plugin push,plugin rm,plugin remove,plugin set,plugin upgrade,plugin new,plugin validate,plugin build,\
            plugin test,plugin logs,plugin stats,plugin top,volume create,volume ls,volume inspect,volume rm,\
            volume prune,network create,network ls,network list,network inspect,network rm,network remove,\
            network prune,network connect,network disconnect,image ls,image pull,image push,image load,image save,image import,image tag,image rm,\
            image inspect,image history,image prune,image build,build,commit,container commit,images,pull,push,load,save,import,tag,rmi,history,run,create,\
            start,stop,kill,restart,rename,rm,ps,container ls,container ps,container list,inspect,logs,log-drivers,exec,attach,\
            cp,export,top,wait,runtime ls,runtime list,runtime inspect,runtime check,audit verify,policy check,policy explain,policy ls,policy list,policy replay,policy serve,policy show,policy test,container prune,pause,unpause,stats,update,port,system info,system df,system events,\
            version,info,events,login,logout,completion,man,quickstart,daemon"
            .split(',')
        {
            assert!(has(verb.trim()), "{verb}");
        }
    }
}
