//! `start`, with or without attaching.

use std::cell::RefCell;

use clap::Args;
use clap_complete::engine::ArgValueCompleter;

use super::run::{detach_keys, start_failure};
use super::wait;
use crate::commands::Done;
use crate::commands::completion::names;
use crate::commands::each::each;
use crate::context::Context;
use crate::failure::{Failure, exit_code};
use crate::json::Fields;
use crate::terminal::{Ended, Session, Target};

/// Start one or more stopped containers.
#[derive(Debug, Args)]
pub struct Start {
    /// Attach STDOUT/STDERR and forward signals
    #[arg(short = 'a', long)]
    pub attach: bool,
    /// Attach container's STDIN
    #[arg(short = 'i', long)]
    pub interactive: bool,
    /// Override the key sequence for detaching a container
    #[arg(long = "detach-keys", value_name = "KEYS")]
    pub detach_keys: Option<String>,
    /// The containers
    #[arg(required = true, value_name = "CONTAINER", add = ArgValueCompleter::new(names::stopped))]
    pub containers: Vec<String>,
}

impl Start {
    /// Runs it.
    pub async fn run(self, context: &Context) -> Done {
        let client = context.client().await?;
        if !self.attach && !self.interactive {
            let failed = RefCell::new(Vec::new());
            let started = each(&self.containers, async |name| {
                let started = client.post(format!("/containers/{name}/start")).done().await;
                started.map(|()| name.to_owned()).inspect_err(|_| failed.borrow_mut().push(name.to_owned()))
            })
            .await;
            if !failed.borrow().is_empty() {
                eprintln!("Error: failed to start containers: {}", failed.borrow().join(", "));
            }
            return started;
        }
        let [name] = self.containers.as_slice() else {
            anyhow::bail!("you cannot start and attach multiple containers at once");
        };
        let document = client.get(format!("/containers/{name}/json")).value().await?;
        let id = document.text("Id").to_owned();
        let (tty, open) = (document.at("Config").flag("Tty"), document.at("Config").flag("OpenStdin"));
        let removed = document.at("HostConfig").flag("AutoRemove");
        let stdin = self.interactive && open;
        let connection = client
            .post(format!("/containers/{id}/attach"))
            .query("stream", "1")
            .switch("stdin", stdin)
            .query("stdout", "1")
            .query("stderr", "1")
            .query_some("detachKeys", self.detach_keys.as_deref())
            .hijack()
            .await?;
        let exit = wait::ask(client, &id, if removed { "removed" } else { "next-exit" }).await?;
        let keys = detach_keys(context, self.detach_keys.as_deref())?;
        let session =
            Session { client, target: Target::Container(id.clone()), tty, stdin, proxy: true, keys };
        let started = session.run(connection, client.post(format!("/containers/{id}/start")).done()).await;
        match started {
            Err(error) => {
                return Err(Failure::new(start_failure(&error.to_string()), error.to_string()).into());
            }
            Ok(Ended::Detached) => return Ok(()),
            Ok(Ended::Signalled(number)) => {
                return Err(Failure::silent(exit_code(128 + i64::from(number))).into());
            }
            Ok(Ended::Closed) => {}
        }
        match wait::answer(exit).await? {
            0 => Ok(()),
            code => Err(Failure::silent(exit_code(code)).into()),
        }
    }
}
