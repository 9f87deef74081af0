//! How port 53 of the resolver's address leads to the port that the resolver really has, so that the container may
//! use port 53 itself.
//!
//! The port is rewritten as packets arrive and, in answers, before they leave. No connection tracking is involved:
//! a flood of questions fills no table, and rules of the container's own see port 53 alone.

use std::path::PathBuf;

use pintle_contract::network::Protocol;
use pintle_netlink::{
    Error, Namespace,
    nft::{Nft, PortRewrite},
};

use super::{ADDRESS, Ports};

/// The table in a sandbox.
const TABLE: &str = "pintle-dns";
/// The port that every client asks.
const PORT: u16 = 53;

/// Puts the redirect into the namespace at `path`, in place of one that may be there.
pub(super) async fn install(path: PathBuf, ports: Ports) -> std::io::Result<()> {
    let put = move || -> Result<(), Error> {
        let rewrite = |protocol, to| PortRewrite { address: ADDRESS, protocol, from: PORT, to };
        let rewrites = [rewrite(Protocol::Udp, ports.udp), rewrite(Protocol::Tcp, ports.tcp)];
        Nft::new(Some(Namespace::open(&path)?)).rewrite_ports(&TABLE.parse()?, &rewrites)
    };
    tokio::task::spawn_blocking(put).await?.map_err(std::io::Error::other)
}
