//! A plugin for networks and addresses that misbehaves as its environment says: the variables are those of
//! `faulty-volume`, except for `FAULTY_ROOT`. A method that both interfaces have is called by its whole name, such as
//! `IpamDriver.GetCapabilities=hang`. It makes links in the namespace that it runs in.

use std::{io, process::ExitCode};

use pintle_netlink::Namespace;
use pintle_sdk::Server;
use pintle_testkit::{faulty::program, ipam, network};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let open = || {
        let host = Namespace::current().map_err(|error| io::Error::other(error.to_string()))?;
        Ok(Server::network(network::ReferenceDriver::new(host)).and_ipam(ipam::ReferenceDriver::default()))
    };
    program("faulty-network", open).await
}
