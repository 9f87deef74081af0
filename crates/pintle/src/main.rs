//! The one binary: engine, client, workbench, shim.
//!
//! `shim` and `init` come first, before any thread, runtime or parser exists: the shim clones and must be
//! single-threaded, and both live as long as what they watch, so every page counts.

mod applet;
mod archive;
mod cli;
mod client;
mod cni;
mod commands;
mod context;
mod credentials;
mod docker_plugin;
mod failure;
mod grammar;
mod json;
mod man;
mod quickstart;
#[cfg(test)]
mod reference;
mod render;
mod terminal;
mod workbench;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::FromArgMatches;
use pintle_template as template;

use crate::cli::{Cli, Command};
use crate::client::ClientError;
use crate::context::Context;
use crate::failure::Failure;

fn main() -> ExitCode {
    let mut args = std::env::args_os();
    let program = args.next().unwrap_or_default();
    let program =
        Path::new(&program).file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let args: Vec<OsString> = args.collect();
    let word = |at: usize| args.get(at).and_then(|a| a.to_str());
    if program == "docker-init" {
        return pintle_runtime::init::main(args);
    }
    if program == cni::NAME {
        return cni::main();
    }
    match (word(0), word(1)) {
        (Some("shim"), _) => return pintle_runtime::shim::main(args.into_iter().skip(1)),
        (Some("init"), _) => return pintle_runtime::init::main(args.into_iter().skip(1)),
        (Some(pintle_runtime::check::inside::WORD), _) => {
            return pintle_runtime::check::inside::main(args.into_iter().skip(1));
        }
        (Some("applet"), _) => {
            let words: Vec<String> = args.iter().skip(1).map(|a| a.to_string_lossy().into_owned()).collect();
            return applet::main(&words);
        }
        (Some("plugin"), Some("serve")) if args.len() <= 3 => {
            let kind = workbench::scaffold::Kind::named(word(2).unwrap_or("volume"));
            if let Some(kind) = kind {
                return workbench::starter::serve(kind);
            }
        }
        (Some("docker-cli-plugin-metadata"), _) => {
            println!("{}", docker_plugin::metadata());
            return ExitCode::SUCCESS;
        }
        _ => {}
    }
    let result = run(docker_plugin::is_called(&program), args);
    report(result)
}

fn run(as_plugin: bool, args: Vec<OsString>) -> anyhow::Result<()> {
    if let Some((words, describe)) = docker_plugin::completion(&args, as_plugin) {
        return commands::completion::answer(words, describe);
    }
    let root = cli::command();
    let own_name = as_plugin.then_some(docker_plugin::NAME);
    let mut line = vec![OsString::from("pintle")];
    line.extend(grammar::normalise(&root, args, own_name));
    let cli = match root.try_get_matches_from(line).and_then(|m| Cli::from_arg_matches(&m)) {
        Ok(cli) => cli,
        Err(error) => return Err(usage(error)),
    };
    if let Command::Daemon(options) = cli.command {
        return pintle_daemon::run(*options);
    }
    if let Command::Oci(oci) = cli.command {
        return oci.run();
    }
    terminal::restore_on_panic();
    if as_plugin {
        docker_plugin::end_with_client();
    }
    start_log(cli.globals.debug);
    let context = Context::new(cli.globals.selection());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(cli.command.run(&context));
    // A thread that reads standard input, and a helper's leftovers, must not hold up the end.
    runtime.shutdown_background();
    result
}

/// `-D` shows what the client does; otherwise it has no log.
fn start_log(debug: bool) {
    if debug {
        let _ = tracing_subscriber::fmt()
            .with_writer(std::io::stderr)
            .with_max_level(tracing::Level::DEBUG)
            .try_init();
    }
}

/// Clap's refusals with Docker's exit codes: 0 for help, 1 for too few or too many arguments, 125 for unknown options.
fn usage(mut error: clap::Error) -> anyhow::Error {
    use clap::error::{ContextKind, ContextValue, ErrorKind};
    let surplus = matches!(error.get(ContextKind::InvalidArg), Some(ContextValue::String(arg)) if !arg.starts_with('-'));
    // Clap's tip, to put `--` before an unknown option, would send it to the container.
    error.remove(ContextKind::Suggested);
    let code = match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => 0,
        ErrorKind::MissingRequiredArgument
        | ErrorKind::TooFewValues
        | ErrorKind::WrongNumberOfValues
        | ErrorKind::MissingSubcommand
        | ErrorKind::InvalidSubcommand
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => 1,
        ErrorKind::UnknownArgument if surplus => 1,
        _ => 125,
    };
    let _ = error.print();
    Failure::silent(code).into()
}

fn report(result: anyhow::Result<()>) -> ExitCode {
    let Err(error) = result else { return ExitCode::SUCCESS };
    // Whoever read our output has had enough: not worth a word.
    let pipe = error.chain().any(|cause| {
        cause.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
    });
    if let Some(failure) = error.downcast_ref::<Failure>() {
        if !failure.message.is_empty() {
            eprintln!("{failure}");
        }
        return ExitCode::from(failure.code);
    }
    if pipe {
        return ExitCode::from(141);
    }
    match error.downcast_ref::<ClientError>() {
        // Their texts stand alone.
        Some(known) => eprintln!("{known}"),
        None => eprintln!("{error:#}"),
    }
    ExitCode::FAILURE
}
