//! The faulty plugin as a program.

use std::{env, io, path::PathBuf, process::ExitCode};

use pintle_sdk::Server;
use tokio::signal::unix::{SignalKind, signal};

use super::{Faulty, Script, duration};

/// A `main` that serves these drivers as the environment says; `faulty-volume` documents the variables.
pub async fn program(name: &str, open: impl FnOnce() -> io::Result<Server>) -> ExitCode {
    match run(name, open).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{name}: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(
    name: &str,
    open: impl FnOnce() -> io::Result<Server>,
) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let read = |variable: &str, default: &str| env::var(variable).unwrap_or_else(|_| default.to_owned());
    let mut terminate = signal(SignalKind::terminate())?;
    let mut socket = PathBuf::from(read("FAULTY_SOCKET", "/run/docker/plugins/faulty.sock"));
    let start = read("FAULTY_START", "");
    match start.split_once(':').unwrap_or((&start, "")) {
        ("", _) => {}
        ("exit", code) => {
            eprintln!("{name}: told to exit with code {code}");
            return Ok(ExitCode::from(code.parse::<u8>()?));
        }
        ("delay", time) => tokio::time::sleep(duration(time)?).await,
        ("never", _) => {
            terminate.recv().await;
            return Ok(ExitCode::SUCCESS);
        }
        ("wrong-socket", _) => socket.set_file_name("another.sock"),
        (other, _) => return Err(format!("FAULTY_START={other:?} is unknown").into()),
    }
    let script: Script = read("FAULTY", "").parse()?;
    let file = env::var_os("FAULTY_FILE").map(PathBuf::from);
    let plugin = Faulty::start_with(socket, open()?, script, file)?;
    let ignore = read("FAULTY_STOP", "") == "ignore";
    loop {
        tokio::select! {
            () = plugin.ended() => {
                eprintln!("{name}: told to die");
                return Ok(ExitCode::from(70));
            }
            _ = terminate.recv() => if !ignore { return Ok(ExitCode::SUCCESS) },
        }
    }
}
