//! A plugin for networks and addresses that writes down what it is asked: `recorder SOCKET JOURNAL`. Its networks are
//! nothing, its addresses are really given.

use std::{env, path::PathBuf, process::ExitCode};

use pintle_sdk::{Listen, Server};
use pintle_testkit::{
    ipam,
    recorder::{Journal, Nothing, Recorder},
};

fn main() -> ExitCode {
    let mut words = env::args_os().skip(1).map(PathBuf::from);
    let (Some(socket), Some(journal)) = (words.next(), words.next()) else {
        eprintln!("recorder SOCKET JOURNAL");
        return ExitCode::FAILURE;
    };
    pintle_sdk::run(async move {
        let journal = Journal::file(&journal)?;
        let network = Recorder::new(Nothing, journal.clone());
        let addresses = Recorder::new(ipam::ReferenceDriver::default(), journal);
        Ok(Server::network(network).and_ipam(addresses).serve(Listen::unix(socket)).await?)
    })
}
