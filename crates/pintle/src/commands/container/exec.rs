//! `exec`.

use clap::Args;
use clap_complete::engine::ArgValueCompleter;
use serde_json::{Value, json};

use super::run::{detach_keys, start_failure};
use super::spec::environment;
use crate::commands::Done;
use crate::commands::completion::names;
use crate::context::Context;
use crate::failure::{Failure, exit_code};
use crate::json::Fields;
use crate::terminal::{Ended, Session, Target, is_terminal, size};

/// Execute a command in a running container.
#[derive(Debug, Args)]
pub struct Exec {
    /// Detached mode: run command in the background
    #[arg(short = 'd', long)]
    pub detach: bool,
    /// Override the key sequence for detaching a container
    #[arg(long = "detach-keys", value_name = "KEYS")]
    pub detach_keys: Option<String>,
    /// Set environment variables
    #[arg(short = 'e', long, value_name = "NAME[=VALUE]")]
    pub env: Vec<String>,
    /// Read in a file of environment variables
    #[arg(long = "env-file", value_name = "FILE")]
    pub env_file: Vec<std::path::PathBuf>,
    /// Keep STDIN open even if not attached
    #[arg(short = 'i', long)]
    pub interactive: bool,
    /// Give extended privileges to the command
    #[arg(long)]
    pub privileged: bool,
    /// Allocate a pseudo-TTY
    #[arg(short = 't', long)]
    pub tty: bool,
    /// Username or UID (format: "<name|uid>[:<group|gid>]")
    #[arg(short = 'u', long, value_name = "USER")]
    pub user: Option<String>,
    /// Working directory inside the container
    #[arg(short = 'w', long, value_name = "PATH")]
    pub workdir: Option<String>,
    /// The container
    #[arg(add = ArgValueCompleter::new(names::running))]
    pub container: String,
    /// The command
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    pub command_line: Vec<String>,
}

impl Exec {
    /// Runs it.
    pub async fn run(self, context: &Context) -> Done {
        if self.tty && self.interactive && !self.detach && !is_terminal() {
            return Err(Failure::new(1, "the input device is not a TTY").into());
        }
        let client = context.client().await?;
        let mut body = json!({
            "User": self.user.clone().unwrap_or_default(),
            "Privileged": self.privileged,
            "Tty": self.tty,
            "AttachStdin": self.interactive && !self.detach,
            "AttachStdout": !self.detach,
            "AttachStderr": !self.detach,
            "Detach": self.detach,
            "Env": environment(&self.env_file, &self.env)?,
            "WorkingDir": self.workdir.clone().unwrap_or_default(),
            "Cmd": self.command_line,
        });
        if let Some(keys) = &self.detach_keys {
            body["DetachKeys"] = Value::from(keys.as_str());
        }
        if let (true, Some((height, width))) = (self.tty, size()) {
            body["ConsoleSize"] = json!([height, width]);
        }
        let created = client.post(format!("/containers/{}/exec", self.container)).json(&body).value().await?;
        let id = created.text("Id").to_owned();
        let mut start = json!({"Detach": self.detach, "Tty": self.tty});
        if let Some(console) = body.get("ConsoleSize") {
            start["ConsoleSize"] = console.clone();
        }
        let request = client.post(format!("/exec/{id}/start")).json(&start);
        if self.detach {
            return Ok(request.done().await?);
        }
        let connection = request.hijack().await.map_err(|error| {
            let text = error.to_string();
            let code = match start_failure(&text) {
                125 => 1,
                code => code,
            };
            Failure::new(code, text)
        })?;
        let keys = detach_keys(context, self.detach_keys.as_deref())?;
        let target = Target::Exec(id.clone());
        let session = Session { client, target, tty: self.tty, stdin: self.interactive, proxy: false, keys };
        match session.run(connection, async { Ok(()) }).await? {
            Ended::Detached => return Ok(()),
            Ended::Signalled(number) => {
                return Err(Failure::silent(exit_code(128 + i64::from(number))).into());
            }
            Ended::Closed => {}
        }
        let document = client.get(format!("/exec/{id}/json")).value().await?;
        match document.number("ExitCode") {
            0 => Ok(()),
            code => Err(Failure::silent(exit_code(code)).into()),
        }
    }
}
