//! A volume plugin that misbehaves as its environment says.
//!
//! | variable | meaning | default |
//! |---|---|---|
//! | `FAULTY` | a script, such as `mount=hang,list=slow:2s,get=err500:no*3` | nothing misbehaves |
//! | `FAULTY_FILE` | a file whose script, while the file exists, counts instead, read at every call | none |
//! | `FAULTY_START` | `exit:3` (say why on standard error and exit), `delay:5s`, `never` (listen nowhere), `wrong-socket` | listen at once |
//! | `FAULTY_STOP` | `ignore` SIGTERM | exit 0 |
//! | `FAULTY_SOCKET` | where to listen | `/run/docker/plugins/faulty.sock` |
//! | `FAULTY_ROOT` | where the volumes are | `/mnt/volumes` |

use std::{env, path::PathBuf, process::ExitCode};

use pintle_testkit::{
    faulty::{Faulty, Script, duration},
    volume::ReferenceDriver,
};
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run().await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("faulty-volume: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<ExitCode, Box<dyn std::error::Error>> {
    let read = |name: &str, default: &str| env::var(name).unwrap_or_else(|_| default.to_owned());
    let mut terminate = signal(SignalKind::terminate())?;
    let mut socket = PathBuf::from(read("FAULTY_SOCKET", "/run/docker/plugins/faulty.sock"));
    let start = read("FAULTY_START", "");
    match start.split_once(':').unwrap_or((&start, "")) {
        ("", _) => {}
        ("exit", code) => {
            eprintln!("faulty-volume: told to exit with code {code}");
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
    let driver = ReferenceDriver::open(read("FAULTY_ROOT", "/mnt/volumes"))?;
    let script: Script = read("FAULTY", "").parse()?;
    let file = env::var_os("FAULTY_FILE").map(PathBuf::from);
    let plugin = Faulty::start_with(socket, driver, script, file)?;
    let ignore = read("FAULTY_STOP", "") == "ignore";
    loop {
        tokio::select! {
            () = plugin.ended() => {
                eprintln!("faulty-volume: told to die");
                return Ok(ExitCode::from(70));
            }
            _ = terminate.recv() => if !ignore { return Ok(ExitCode::SUCCESS) },
        }
    }
}
