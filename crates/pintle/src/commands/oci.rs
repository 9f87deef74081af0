//! `pintle oci …`: the linked-in runtime for other engines, by runc's command line.

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, Subcommand, ValueEnum};
use pintle_runtime::RuntimeError;
use pintle_runtime::oci::{Containers, CreateOptions, ExecOptions, features, signal_number};
use pintle_runtime::oci_spec::runtime::{LinuxResources, Process, UserBuilder};
use serde_json::{Value, json};

use super::Done;
use crate::failure::Failure;

/// `pintle oci …`.
#[derive(Debug, Args)]
pub struct Oci {
    /// Directory of the containers' state
    #[arg(long, value_name = "DIR", default_value = "/run/pintle-oci")]
    root: PathBuf,
    /// File that failures are written to
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// How they are written
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    log_format: LogFormat,
    /// Accepted, without effect
    #[arg(long)]
    debug: bool,
    /// Refused: control groups are made in the file system
    #[arg(long)]
    systemd_cgroup: bool,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Create a container from a bundle; its process waits for `start`
    Create(Create),
    /// Let the process of a created container run
    Start { id: String },
    /// Print a container's state
    State { id: String },
    /// Send a signal to a container's first process
    Kill(Kill),
    /// Remove what is left of a container
    Delete(Delete),
    /// Run a further process in a container
    Exec(Exec),
    /// Freeze a container's processes
    Pause { id: String },
    /// Thaw a container's processes
    Resume { id: String },
    /// List a container's processes
    Ps(Ps),
    /// List containers
    List(List),
    /// Change a container's limits
    Update(Update),
    /// Print what this runtime can do
    Features,
}

#[derive(Debug, Args)]
struct Create {
    /// Directory of the bundle
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    bundle: PathBuf,
    /// Socket that the container's terminal is sent to
    #[arg(long, value_name = "SOCKET")]
    console_socket: Option<PathBuf>,
    /// File that the process's number is written to
    #[arg(long, value_name = "FILE")]
    pid_file: Option<PathBuf>,
    /// How many more descriptors the process keeps
    #[arg(long, value_name = "N", default_value_t = 0)]
    preserve_fds: i32,
    /// Do not use pivot_root
    #[arg(long)]
    no_pivot: bool,
    /// Accepted, without effect
    #[arg(long)]
    no_new_keyring: bool,
    id: String,
}

#[derive(Debug, Args)]
struct Kill {
    /// Send it to all of its processes
    #[arg(short, long)]
    all: bool,
    id: String,
    #[arg(default_value = "SIGTERM")]
    signal: String,
}

#[derive(Debug, Args)]
struct Delete {
    /// End it first; one that is not there is no error
    #[arg(short, long)]
    force: bool,
    id: String,
}

#[derive(Debug, Args)]
struct Exec {
    /// File that describes the process, as config.json does
    #[arg(short, long, value_name = "FILE")]
    process: Option<PathBuf>,
    /// Socket that the process's terminal is sent to
    #[arg(long, value_name = "SOCKET")]
    console_socket: Option<PathBuf>,
    /// File that the process's number is written to
    #[arg(long, value_name = "FILE")]
    pid_file: Option<PathBuf>,
    /// Do not wait for its end
    #[arg(short, long)]
    detach: bool,
    /// Give it a terminal
    #[arg(short, long)]
    tty: bool,
    /// Working directory
    #[arg(long, value_name = "DIR")]
    cwd: Option<PathBuf>,
    /// Environment variable
    #[arg(short, long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// User and group, as numbers
    #[arg(short, long, value_name = "UID[:GID]")]
    user: Option<String>,
    id: String,
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

#[derive(Debug, Args)]
struct Ps {
    /// How to print them
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    format: Format,
    id: String,
}

#[derive(Debug, Args)]
struct List {
    /// How to print them
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    format: Format,
    /// Print the names only
    #[arg(short, long)]
    quiet: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Json,
}

#[derive(Debug, Args)]
struct Update {
    /// File with the limits, as `linux.resources` of config.json; `-` is standard input
    #[arg(short, long, value_name = "FILE")]
    resources: PathBuf,
    id: String,
}

impl Oci {
    /// Runs it. No thread may exist.
    pub fn run(self) -> Done {
        let (log, format) = (self.log.clone(), self.log_format);
        self.carry_out().inspect_err(|error| {
            let silent = error.downcast_ref::<Failure>().is_some_and(|failure| failure.message.is_empty());
            if let Some(path) = log.filter(|_| !silent) {
                write(&path, format, &format!("{error:#}"));
            }
        })
    }

    fn carry_out(self) -> Done {
        if self.systemd_cgroup {
            anyhow::bail!("--systemd-cgroup is not supported: use the cgroupfs driver");
        }
        if let Verb::Features = self.verb {
            println!("{:#}", features());
            return Ok(());
        }
        let containers = Containers::open(&self.root)?;
        match self.verb {
            Verb::Create(create) => {
                let options = CreateOptions {
                    bundle: create.bundle,
                    console_socket: create.console_socket,
                    pid_file: create.pid_file,
                    preserve_fds: create.preserve_fds,
                    no_pivot: create.no_pivot,
                };
                containers.create(&create.id, &options)?;
            }
            Verb::Start { id } => containers.start(&id)?,
            Verb::State { id } => println!("{:#}", containers.state(&id)?),
            Verb::Kill(kill) => containers.kill(&kill.id, signal_number(&kill.signal)?, kill.all)?,
            Verb::Delete(delete) => containers.delete(&delete.id, delete.force)?,
            Verb::Exec(exec) => return exec.run(&containers),
            Verb::Pause { id } => containers.freeze(&id, true)?,
            Verb::Resume { id } => containers.freeze(&id, false)?,
            Verb::Ps(ps) => {
                let pids = containers.processes(&ps.id)?;
                match ps.format {
                    Format::Json => println!("{}", json!(pids)),
                    Format::Table => pids.iter().for_each(|pid| println!("{pid}")),
                }
            }
            Verb::List(list) => list.print(&containers.list()?),
            Verb::Update(update) => {
                let text = match update.resources.to_str() {
                    Some("-") => {
                        let mut text = String::new();
                        std::io::stdin().read_to_string(&mut text)?;
                        text
                    }
                    _ => std::fs::read_to_string(&update.resources)
                        .with_context(|| format!("reading {}", update.resources.display()))?,
                };
                containers.update(&update.id, &limits(&text)?)?;
            }
            Verb::Features => {}
        }
        Ok(())
    }
}

impl Exec {
    fn run(self, containers: &Containers) -> Done {
        let process = match &self.process {
            Some(path) => {
                let text = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
                serde_json::from_slice(&text).with_context(|| format!("reading {}", path.display()))?
            }
            None => self.described(containers.process(&self.id)?)?,
        };
        let options = ExecOptions {
            process,
            console_socket: self.console_socket,
            pid_file: self.pid_file,
            detach: self.detach,
        };
        match containers.exec(&self.id, options) {
            Ok(None | Some(0)) => Ok(()),
            Ok(Some(code)) => Err(Failure::silent(crate::failure::exit_code(i64::from(code))).into()),
            Err(error @ RuntimeError::Command { code, .. }) => {
                Err(Failure::new(crate::failure::exit_code(i64::from(code)), error.to_string()).into())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The container's own process, with what the options change.
    fn described(&self, mut process: Process) -> anyhow::Result<Process> {
        if self.command.is_empty() {
            anyhow::bail!("exec needs a command, or a process with --process");
        }
        process.set_args(Some(self.command.clone())).set_terminal(Some(self.tty));
        if let Some(cwd) = &self.cwd {
            process.set_cwd(cwd.clone());
        }
        let mut env = process.env().clone().unwrap_or_default();
        env.extend(self.env.iter().cloned());
        process.set_env(Some(env));
        if let Some(user) = &self.user {
            let (uid, gid) = user.split_once(':').unwrap_or((user, "0"));
            let number = |text: &str| text.parse::<u32>().with_context(|| format!("--user {user}"));
            process.set_user(UserBuilder::default().uid(number(uid)?).gid(number(gid)?).build()?);
        }
        Ok(process)
    }
}

impl List {
    fn print(&self, states: &[Value]) {
        let word = |state: &Value, key: &str| match &state[key] {
            Value::String(text) => text.clone(),
            Value::Null => "0".to_owned(),
            other => other.to_string(),
        };
        if self.quiet {
            states.iter().for_each(|state| println!("{}", word(state, "id")));
        } else if self.format == Format::Json {
            println!("{}", Value::from(states.to_vec()));
        } else {
            println!("{:<40} {:>8} {:<9} BUNDLE", "ID", "PID", "STATUS");
            for state in states {
                let [id, pid, status, bundle] = ["id", "pid", "status", "bundle"].map(|key| word(state, key));
                println!("{id:<40} {pid:>8} {status:<9} {bundle}");
            }
        }
    }
}

/// What is to be changed. Docker writes zeros and empty words for the rest, as runc reads them.
fn limits(text: &str) -> anyhow::Result<LinuxResources> {
    let mut all: Value = serde_json::from_str(text).context("reading the limits")?;
    for part in ["memory", "cpu", "blockIO"] {
        if let Some(part) = all.get_mut(part).and_then(Value::as_object_mut) {
            part.retain(|_, value| *value != json!(0) && *value != json!(""));
        }
    }
    serde_json::from_value(all).context("reading the limits")
}

/// A failure as runc logs it, for those who read that.
fn write(path: &std::path::Path, format: LogFormat, message: &str) {
    let time = chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
    let line = match format {
        LogFormat::Json => json!({"level": "error", "msg": message, "time": time}).to_string(),
        LogFormat::Text => format!("time={time:?} level=error msg={message:?}"),
    };
    // Standard error says it too.
    if let Ok(mut file) = OpenOptions::new().create(true).append(true).open(path) {
        let _ = writeln!(file, "{line}");
    }
}
