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

use std::{env, process::ExitCode};

use pintle_sdk::Server;
use pintle_testkit::{faulty::program, volume::ReferenceDriver};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let root = env::var_os("FAULTY_ROOT").unwrap_or_else(|| "/mnt/volumes".into());
    program("faulty-volume", || Ok(Server::volume(ReferenceDriver::open(root)?))).await
}
