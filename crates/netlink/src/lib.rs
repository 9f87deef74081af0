//! Links, addresses, routes and packet filters in network namespaces: what the engine's sandboxes, the network
//! drivers and their conformance suite ask of the kernel.
//!
//! | item | what it is |
//! |---|---|
//! | [`Namespace`] | a network namespace: make one, bind it to a path, open it, run something in it |
//! | [`Handle`] | the kernel's routing tables of one namespace: links, addresses, routes, neighbours |
//! | [`NewLink`], [`LinkChange`], [`LinkKind`], [`Link`], [`PortOptions`] | links to make, to change, and as they are |
//! | [`LinkName`] | a name that is safe wherever names of links go |
//! | [`Route`], [`Neighbour`] | rows of those tables |
//! | [`Flow`] | a connection in the kernel's table |
//! | [`Sysctl`] | a kernel setting below `net/` |
//! | [`nft`] | packet filters, changed in transactions |
//!
//! Everything here blocks, mostly for microseconds; the kernel's one lock over all links can make it tens of
//! milliseconds when many namespaces go away at once, and `nft` is a program that has to be started. Asynchronous
//! callers use their blocking threads.
//!
//! ```no_run
//! use pintle_netlink::{LinkChange, LinkKind, NewLink, Namespace};
//! # fn main() -> Result<(), pintle_netlink::Error> {
//! let host = Namespace::current()?.handle()?;
//! let sandbox = Namespace::create()?;
//! host.add_link(&NewLink::new("br0".parse()?, LinkKind::Bridge).up())?;
//! let peer = NewLink::new("eth0".parse()?, LinkKind::Peer).up();
//! host.add_veth(&NewLink::new("veth0".parse()?, LinkKind::Peer).master("br0".parse()?).up(), &peer, &sandbox)?;
//! sandbox.handle()?.add_address(&"eth0".parse()?, "10.0.0.2/24".parse().expect("an address"))?;
//! # Ok(())
//! # }
//! ```

mod address;
mod conntrack;
mod error;
mod handle;
mod link;
mod message;
mod name;
mod namespace;
mod neighbour;
pub mod nft;
mod port;
mod route;
mod sysctl;

pub use conntrack::Flow;
pub use error::{Error, ErrorKind};
pub use handle::Handle;
pub use ipnet::IpNet;
pub use link::{IpvlanFlag, IpvlanMode, Link, LinkChange, LinkKind, MacvlanMode, NewLink, Vxlan};
pub use name::LinkName;
pub use namespace::Namespace;
pub use neighbour::Neighbour;
pub use pintle_contract::network::MacAddress;
pub use port::PortOptions;
pub use route::{Route, RouteScope};
pub use sysctl::Sysctl;
