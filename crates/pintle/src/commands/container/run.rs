//! `run`: create, attach, start, wait.

use clap::Args;
use clap_complete::engine::ArgValueCompleter;

use super::create::create;
use super::options::ContainerOptions;
use super::spec::Attached;
use super::wait;
use crate::commands::Done;
use crate::commands::completion::names;
use crate::context::Context;
use crate::failure::{Failure, exit_code};
use crate::terminal::{DetachKeys, Ended, Session, Target, is_terminal};

/// Create and run a new container from an image.
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub struct Run {
    /// Run container in background and print container ID
    #[arg(short = 'd', long)]
    pub detach: bool,
    /// Override the key sequence for detaching a container
    #[arg(long = "detach-keys", value_name = "KEYS")]
    pub detach_keys: Option<String>,
    /// Proxy received signals to the process
    #[arg(long = "sig-proxy", default_value = "true", value_name = "BOOL", num_args = 0..=1,
          default_missing_value = "true", require_equals = true)]
    pub sig_proxy: String,
    #[command(flatten)]
    pub options: ContainerOptions,
    /// The image to run
    #[arg(add = ArgValueCompleter::new(names::images))]
    pub image: String,
    /// The command to run in place of the image's
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    pub command_line: Vec<String>,
}

impl Run {
    /// Runs it. Failures before the process started end with 125, 126 or 127, as Docker's do.
    pub async fn run(self, context: &Context) -> Done {
        let result = self.run_inner(context).await;
        result.map_err(|error| match error.downcast::<Failure>() {
            Ok(failure) => failure.into(),
            Err(error) => {
                let text = format!("{error:#}");
                eprintln!("pintle: {text}\n\nRun 'pintle run --help' for more information");
                Failure::silent(start_failure(&text)).into()
            }
        })
    }

    async fn run_inner(&self, context: &Context) -> Done {
        let options = &self.options;
        if options.tty && options.interactive && !self.detach && !is_terminal() {
            return Err(Failure::new(1, "the input device is not a TTY").into());
        }
        if self.detach && options.rm && options.restart.as_deref().is_some_and(|r| !matches!(r, "" | "no")) {
            return Err(
                Failure::new(125, "conflicting options: cannot specify both --restart and --rm").into()
            );
        }
        let attached = self.attached();
        let id = create(context, options, &self.image, &self.command_line, attached).await?;
        let client = context.client().await?;
        let start = || client.post(format!("/containers/{id}/start")).done();
        if self.detach {
            start().await?;
            println!("{id}");
            return Ok(());
        }
        let keys = detach_keys(context, self.detach_keys.as_deref())?;
        let connection = client
            .post(format!("/containers/{id}/attach"))
            .query("stream", "1")
            .switch("stdin", attached.stdin)
            .switch("stdout", attached.stdout)
            .switch("stderr", attached.stderr)
            .query_some("detachKeys", self.detach_keys.as_deref())
            .hijack()
            .await?;
        // Asked before the start: a short process would be gone, and with `--rm` forgotten, by the time of the answer.
        let exit = wait::ask(client, &id, if options.rm { "removed" } else { "next-exit" }).await?;
        let session = Session {
            client,
            target: Target::Container(id.clone()),
            tty: options.tty,
            stdin: attached.stdin,
            proxy: self.sig_proxy != "false",
            keys,
        };
        match session.run(connection, start()).await? {
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

    fn attached(&self) -> Attached {
        if self.detach {
            return Attached::default();
        }
        let chosen = &self.options.attach;
        if chosen.is_empty() {
            return Attached { stdin: self.options.interactive, stdout: true, stderr: true };
        }
        let has = |name: &str| chosen.iter().any(|stream| stream.eq_ignore_ascii_case(name));
        Attached { stdin: has("stdin"), stdout: has("stdout"), stderr: has("stderr") }
    }
}

/// The keys from the flag, config.json, or Docker's default.
pub fn detach_keys(context: &Context, flag: Option<&str>) -> anyhow::Result<DetachKeys> {
    let configured = context.config().ok().and_then(|c| c.setting("detachKeys").map(str::to_owned));
    match flag.map(str::to_owned).or(configured) {
        None => Ok(DetachKeys::default()),
        Some(text) => {
            DetachKeys::parse(&text).map_err(|e| anyhow::anyhow!("invalid detach keys ({text}): {e}"))
        }
    }
}

/// 127: no such command. 126: a command that cannot be run. 125: anything else.
///
/// The engine reports all three alike; the texts are the runtime's, and they are what Docker's client goes by, too.
pub fn start_failure(text: &str) -> u8 {
    let starts =
        text.contains("exec: ") || text.contains("failed to create task") || text.contains("runtime create");
    let has = |part: &str| text.contains(part);
    match () {
        () if has("executable file not found") => 127,
        () if starts && has("no such file or directory") => 127,
        () if starts && (has("permission denied") || has("is a directory")) => 126,
        () => 125,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_of_failed_starts() {
        for (text, code) in [
            (
                "failed to create task for container: exec: \"nope\": executable file not found in $PATH: unknown",
                127,
            ),
            ("failed to create task: exec: \"/nope\": stat /nope: no such file or directory: unknown", 127),
            ("failed to create task: exec: \"/etc/passwd\": permission denied: unknown", 126),
            ("failed to create task: exec: \"/etc\": is a directory: unknown", 126),
            ("Conflict. The container name \"/x\" is already in use", 125),
            ("Cannot connect to the engine at unix:///x: No such file or directory", 125),
        ] {
            assert_eq!(start_failure(text), code, "{text}");
        }
    }
}
