//! An engine on a host of its own: a network namespace with an uplink to a neighbour. Whatever is in it is the
//! engine's doing, so that nothing left behind can hide.

use std::{collections::BTreeMap, ops::Deref, time::Duration};

use pintle_netlink::{
    IpNet, LinkKind, Namespace, NewLink, Route,
    nft::{Family, Nft},
};

use crate::harness::{Client, Engine, Kind, eventually};

/// The host's address on its uplink, by which its neighbour reaches it.
pub const HOST: &str = "192.0.2.1";
const NEIGHBOUR: &str = "192.0.2.2";

/// The engine is what this derefs to.
pub struct Hosted {
    engine: Option<Engine>,
    pub host: Namespace,
    pub neighbour: Namespace,
}

impl Hosted {
    /// Boots an engine on a new host.
    pub fn start(kind: Kind, flags: &[&str]) -> Self {
        let mut hosted = Self::prepared(kind, flags);
        hosted.boot(&[]);
        hosted
    }

    /// The same, to be booted.
    pub fn prepared(kind: Kind, flags: &[&str]) -> Self {
        let (host, neighbour) = (Namespace::create().unwrap(), Namespace::create().unwrap());
        let uplink = || "uplink".parse().unwrap();
        let end = || NewLink::new(uplink(), LinkKind::Peer).up();
        let (here, there) = (host.handle().unwrap(), neighbour.handle().unwrap());
        here.add_veth(&end(), &end(), &neighbour).unwrap();
        let on_it = |address: &str| IpNet::new(address.parse().unwrap(), 24).unwrap();
        here.add_address(&uplink(), on_it(HOST)).unwrap();
        there.add_address(&uplink(), on_it(NEIGHBOUR)).unwrap();
        here.set_route(&uplink(), &Route::default_by(NEIGHBOUR.parse().unwrap())).unwrap();
        Self { engine: Some(Engine::prepared(kind, Client::Docker, flags)), host, neighbour }
    }

    /// Starts the daemon on this host and waits until it answers.
    pub fn boot(&mut self, env: &[(&str, &str)]) {
        let engine = self.engine.as_mut().expect("it is there");
        self.host.run(|| engine.boot(env)).unwrap();
    }

    /// See [`Engine::also`].
    pub fn also(&mut self, flags: &[&str]) {
        self.engine.as_mut().expect("it is there").also(flags);
    }

    /// See [`Engine::go_by`].
    pub fn go_by(&mut self, words: &[&str]) {
        self.engine.as_mut().expect("it is there").go_by(words);
    }

    pub fn kill(&mut self) {
        self.engine.as_mut().expect("it is there").kill();
    }

    pub fn stop(&mut self) -> Option<i32> {
        self.engine.as_mut().expect("it is there").stop()
    }

    /// Everything in the host's kernel that networks are made of: links with their kind, and tables of the packet filter.
    pub fn world(&self) -> BTreeMap<String, String> {
        let links = self.host.handle().unwrap().links().unwrap();
        let mut world: BTreeMap<_, _> = links.into_iter().map(|link| (link.name, link.kind)).collect();
        for table in Nft::new(Some(self.host.clone())).tables(Family::Inet).unwrap() {
            world.insert(format!("table {table}"), String::new());
        }
        world
    }

    /// The same with no container on a network: the kernel takes a moment to remove the links of one that has ended.
    pub fn world_at_rest(&self) -> BTreeMap<String, String> {
        eventually("links of containers to go", Duration::from_secs(10), || {
            !self.world().keys().any(|name| name.starts_with("veth"))
        });
        self.world()
    }
}

impl Deref for Hosted {
    type Target = Engine;

    fn deref(&self) -> &Engine {
        self.engine.as_ref().expect("it is there")
    }
}

impl Drop for Hosted {
    fn drop(&mut self) {
        let engine = self.engine.take();
        // What is swept is in that namespace.
        if self.host.run(|| drop(engine)).is_err() {
            eprintln!("the engine's namespace could not be swept");
        }
    }
}
