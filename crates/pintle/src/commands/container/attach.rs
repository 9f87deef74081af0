//! `attach`.

use anyhow::bail;
use clap::Args;
use clap_complete::engine::ArgValueCompleter;

use super::run::detach_keys;
use super::wait;
use crate::commands::Done;
use crate::commands::completion::names;
use crate::context::Context;
use crate::failure::{Failure, exit_code};
use crate::json::Fields;
use crate::terminal::{Ended, Session, Target, is_terminal};

/// Attach local standard input, output, and error streams to a running container.
#[derive(Debug, Args)]
pub struct Attach {
    /// Override the key sequence for detaching a container
    #[arg(long = "detach-keys", value_name = "KEYS")]
    pub detach_keys: Option<String>,
    /// Do not attach STDIN
    #[arg(long = "no-stdin")]
    pub no_stdin: bool,
    /// Proxy all received signals to the process
    #[arg(long = "sig-proxy", default_value = "true", value_name = "BOOL", num_args = 0..=1,
          default_missing_value = "true", require_equals = true)]
    pub sig_proxy: String,
    /// The container
    #[arg(add = ArgValueCompleter::new(names::running))]
    pub container: String,
}

impl Attach {
    /// Runs it.
    pub async fn run(self, context: &Context) -> Done {
        let client = context.client().await?;
        let document = client.get(format!("/containers/{}/json", self.container)).value().await?;
        let state = document.at("State");
        if !state.flag("Running") {
            bail!("cannot attach to a stopped container, start it first");
        }
        if state.flag("Paused") {
            bail!("cannot attach to a paused container, unpause it first");
        }
        if state.flag("Restarting") {
            bail!("cannot attach to a restarting container, wait until it is running");
        }
        let id = document.text("Id").to_owned();
        let tty = document.at("Config").flag("Tty");
        let stdin = !self.no_stdin && document.at("Config").flag("OpenStdin");
        if stdin && tty && !is_terminal() {
            bail!("the input device is not a TTY");
        }
        let exit = wait::ask(client, &id, "not-running").await?;
        let connection = client
            .post(format!("/containers/{id}/attach"))
            .query("stream", "1")
            .switch("stdin", stdin)
            .query("stdout", "1")
            .query("stderr", "1")
            .query_some("detachKeys", self.detach_keys.as_deref())
            .hijack()
            .await?;
        let keys = detach_keys(context, self.detach_keys.as_deref())?;
        let proxy = self.sig_proxy != "false";
        let session = Session { client, target: Target::Container(id), tty, stdin, proxy, keys };
        match session.run(connection, async { Ok(()) }).await? {
            Ended::Detached => {
                eprintln!("read escape sequence");
                return Ok(());
            }
            Ended::Signalled(number) => {
                return Err(Failure::silent(exit_code(128 + i64::from(number))).into());
            }
            Ended::Closed => {}
        }
        match wait::answer(exit).await? {
            0 => Ok(()),
            code => Err(Failure::silent(exit_code(code)).into()),
        }
    }
}
