//! The process that outlives the engine: one for each task.
//!
//! `pintle shim <task dir>` detaches from the engine (session and process group of its own, a child of the
//! machine's init), creates the container, answers on its standard output, and then serves `shim.sock` until it is
//! told to delete the task. It has one thread and one epoll loop:
//!
//! ```text
//! container stdout/stderr ──► log (json-file, local) ──► disk
//!                        └──► attached clients (stdcopy frames, or raw from a terminal)
//! attached client ──► stdin pipe or terminal
//! SIGCHLD ──► reap ──► drain output ──► exit.json ──► answer waiters ──► end attached streams
//!           └──► calls of a runtime that is a program: answer who asked
//! ```
//!
//! Nobody needs to be connected, and a client that stops reading is dropped: the log never waits.

mod calls;
mod connection;
mod console;
mod container;
mod embedded;
mod ending;
mod journal;
mod jsonlog;
mod late;
mod launch;
mod locallog;
mod packing;
mod poller;
mod process;
mod program;
mod propagation;
mod report;
mod requests;
mod server;
mod setup;
mod stage;
mod stdin;
mod within;
mod witness;

use std::ffi::OsString;
use std::process::ExitCode;

use crate::bundle::TaskDir;
use crate::control::{Failure, Reply};

/// Runs the shim for the task directory that is the one argument. Must be called before any thread exists. Returns in
/// the starting process at once, and in the shim itself when the task is deleted.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    let dir = match args.as_slice() {
        [dir] => TaskDir::new(dir),
        [word, dir] if word == late::WORD => {
            return match late::carry_out(&TaskDir::new(dir)) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    eprintln!("{error}");
                    ExitCode::FAILURE
                }
            };
        }
        _ => return ExitCode::from(2),
    };
    let _ = tracing::subscriber::set_global_default(witness::Witness);
    match setup::detach() {
        Ok(setup::Side::Starter) => return ExitCode::SUCCESS,
        Ok(setup::Side::Shim) => {}
        Err(_) => return ExitCode::FAILURE,
    }
    let outcome = setup::prepare(&dir).and_then(|prepared| server::Server::create(dir.clone(), prepared));
    match outcome {
        Ok(mut server) => {
            setup::report(&Reply::Started { pid: server.init_pid() });
            setup::quiet(&dir);
            server.run();
            ExitCode::SUCCESS
        }
        Err(error) => {
            setup::report(&Reply::Failed(Failure::from(error)));
            ExitCode::FAILURE
        }
    }
}

pub(crate) use embedded::{complete, ensure_home};
pub(crate) use late::divide;
pub(crate) use launch::{Launch, reason};
pub(crate) use propagation::{Outside, settle};
pub(crate) use report::{Report, chain};
pub(crate) use requests::signal;
pub(crate) use stage::OomScore;
pub(crate) use within::Within;
pub(crate) use witness::{Listening, Witness};
