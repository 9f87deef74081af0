//! Whatever drivers do and whenever the engine ends: in the end what is held is what is used.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use pintle_store::Store;
use proptest::prelude::*;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use super::fake::{Fault, Shared, open};
use crate::{
    containers::{Container, ContainerSpec},
    networks::{
        EndpointSpec, NetworkSpec, Networks,
        life::{Mark, Thing},
        record::EndpointRecord,
    },
};

#[derive(Debug, Clone)]
enum Step {
    Create(u8),
    Remove(u8),
    Start(u8, u8),
    Join(u8, u8),
    Part(u8, u8),
    Stop(u8),
    /// The call so many calls from now goes wrong.
    Fault(u8, Fault),
    /// The engine ends, and another one starts.
    Restart,
    /// The engine dies in the call so many calls from now, which was done or not, during the next step.
    Crash(u8, bool),
}

fn step() -> impl Strategy<Value = Step> {
    let fault = prop_oneof![Just(Fault::Refuse), Just(Fault::Lose), Just(Fault::Swallow)];
    prop_oneof![
        2 => (0..3u8).prop_map(Step::Create),
        1 => (0..3u8).prop_map(Step::Remove),
        4 => (0..3u8, 0..3u8).prop_map(|(container, network)| Step::Start(container, network)),
        2 => (0..3u8, 0..3u8).prop_map(|(container, network)| Step::Join(container, network)),
        2 => (0..3u8, 0..3u8).prop_map(|(container, network)| Step::Part(container, network)),
        3 => (0..3u8).prop_map(Step::Stop),
        5 => (1..8u8, fault).prop_map(|(calls, fault)| Step::Fault(calls, fault)),
        1 => Just(Step::Restart),
        4 => (1..8u8, any::<bool>()).prop_map(|(calls, done)| Step::Crash(calls, done)),
    ]
}

/// An engine, and the runtime that it lives and dies with.
struct Engine {
    runtime: Arc<Runtime>,
    shared: Shared,
    store: Store,
    networks: Networks,
    running: BTreeMap<u8, Arc<Container>>,
    doomed: bool,
}

impl Engine {
    async fn act(&mut self, step: Step) {
        let name = |number: u8| format!("net{number}");
        match step {
            Step::Create(number) => {
                let mut spec =
                    NetworkSpec { name: name(number), driver: "plug".into(), ..NetworkSpec::default() };
                spec.ipam.driver = "plug".into();
                let _ = self.networks.create(spec).await;
            }
            Step::Remove(number) => {
                let _ = self.networks.remove(&name(number)).await;
            }
            Step::Start(number, network) if !self.running.contains_key(&number) => {
                let named = Container::named(&format!("c{number}"));
                let spec = ContainerSpec {
                    network_mode: name(network),
                    networks: [(name(network), EndpointSpec::default())].into(),
                    networks_settled: true,
                    ..(*named.spec).clone()
                };
                let container = Arc::new(Container { spec: Arc::new(spec), ..named });
                let Ok(plan) = self.networks.plan(&container) else { return };
                if let Ok(sandbox) = self.networks.open_sandbox(plan, &CancellationToken::new()).await {
                    sandbox.written.durable().await.unwrap();
                    self.running.insert(number, container);
                }
            }
            Step::Join(number, network) => {
                if let Some(container) = self.running.get(&number) {
                    let name = name(network);
                    if self.networks.join(container, &name, EndpointSpec::default()).await.is_ok() {
                        self.wish(number, |spec| {
                            spec.networks.insert(name, EndpointSpec::default());
                        });
                    }
                }
            }
            Step::Part(number, network) => {
                if let Some(container) = self.running.get(&number) {
                    let _ = self.networks.part(container, &name(network)).await;
                    self.wish(number, |spec| {
                        spec.networks.remove(&name(network));
                    });
                }
            }
            Step::Stop(number) => {
                if let Some(container) = self.running.remove(&number) {
                    self.networks.close_sandbox(&container.id).await;
                }
            }
            Step::Fault(calls, fault) => {
                let mut world = self.shared.world();
                let number = world.calls.len() + usize::from(calls);
                world.numbered.insert(number, fault);
            }
            Step::Crash(calls, done) => {
                let mut world = self.shared.world();
                let number = world.calls.len() + usize::from(calls);
                world.numbered.clear();
                world.numbered.insert(number, if done { Fault::DieAfter } else { Fault::Hang });
                self.doomed = true;
            }
            Step::Start(..) | Step::Restart => {}
        }
    }

    /// One step, in which the engine may die.
    fn live(&mut self, step: Step) {
        if matches!(step, Step::Restart) {
            return self.restart();
        }
        if !std::mem::take(&mut self.doomed) {
            let runtime = Arc::clone(&self.runtime);
            return runtime.block_on(self.act(step));
        }
        let gone = match &step {
            // What a container wants is written down before it is done, that it runs no more, too.
            Step::Part(number, network) => {
                let network = format!("net{network}");
                self.wish(*number, |spec| {
                    spec.networks.remove(&network);
                });
                None
            }
            Step::Stop(number) => Some(*number),
            _ => None,
        };
        let (shared, runtime) = (self.shared.clone(), Arc::clone(&self.runtime));
        let died = runtime.block_on(async {
            tokio::select! {
                () = self.act(step) => false,
                () = shared.death() => true,
            }
        });
        drop(runtime);
        if let Some(number) = gone {
            self.running.remove(&number);
        }
        if died {
            self.take_over();
        }
        self.shared.heal();
    }

    fn wish(&mut self, number: u8, change: impl FnOnce(&mut ContainerSpec)) {
        if let Some(container) = self.running.get_mut(&number) {
            let mut spec = (*container.spec).clone();
            change(&mut spec);
            *container = Arc::new(Container { spec: Arc::new(spec), ..(**container).clone() });
        }
    }

    fn restart(&mut self) {
        self.runtime.block_on(self.networks.shutdown());
        self.take_over();
    }

    /// The next engine. The one before is dead, and all that it was doing.
    fn take_over(&mut self) {
        self.runtime = runtime();
        // What was handed in gets to the disk in its order; after this, so has all before it.
        let book = &self.networks.inner.book;
        let mark = book.put_network((*book.find("none").unwrap()).clone());
        let runtime = Arc::clone(&self.runtime);
        runtime.block_on(async {
            mark.durable().await.unwrap();
            self.shared.world().dead = false;
            self.networks = open(&self.shared, &self.store).0;
            self.networks.prepare().await;
            for container in self.running.values() {
                self.networks.keep(container).await;
            }
            let known = self.running.values().map(|container| container.id.clone()).collect();
            self.networks.sweep(&known).await;
            self.networks.reconcile();
        });
    }

    /// Until nothing is owed any more.
    fn settle(&self) {
        for _ in 0..4000 {
            let owes = {
                let facts = self.networks.inner.book.read();
                let settled = |endpoint: &EndpointRecord| {
                    endpoint.life.works() && endpoint.life.mark(Thing::Outside) != Mark::Maybe
                };
                facts.endpoints().any(|endpoint| !settled(endpoint))
                    || facts.networks().any(|network| network.state != super::super::record::State::Ready)
            };
            if !owes {
                return;
            }
            self.runtime.block_on(async { tokio::time::sleep(Duration::from_millis(2)).await });
        }
        panic!("something is owed for ever");
    }

    fn check(&self) {
        let facts = self.networks.inner.book.read();
        let world = self.shared.world();
        let running: std::collections::BTreeSet<_> =
            self.running.values().map(|container| container.id.clone()).collect();
        let mut addresses = std::collections::BTreeSet::new();
        for network in facts.networks().filter(|network| !network.special()) {
            assert!(world.networks.contains(&network.id), "the driver lost {}", network.name);
            for pool in &network.pools {
                addresses.extend(pool.held().into_iter().map(|ip| (pool.id.clone(), ip)));
            }
        }
        let mut endpoints = std::collections::BTreeSet::new();
        for endpoint in facts.endpoints() {
            if facts.network(&endpoint.network).is_some_and(|network| network.special()) {
                continue;
            }
            assert!(running.contains(&endpoint.container), "an endpoint of nobody's");
            endpoints.insert(endpoint.id.clone());
            addresses.extend(endpoint.address.map(|net| (endpoint.pool.clone(), net.addr())));
        }
        assert_eq!(world.addresses, addresses, "held, and used");
        assert_eq!(world.endpoints, endpoints);
        assert_eq!(world.joined, endpoints);
        assert!(world.outside.is_subset(&endpoints));
        assert!(world.networks.len() >= facts.networks().filter(|one| !one.special()).count());
        assert_eq!(world.namespaces.len(), self.running.len());
        assert_eq!(world.requested - world.released, world.addresses.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]
    #[test]
    fn what_is_held_is_what_is_used(steps in prop::collection::vec(step(), 1..24)) {
        let (shared, store) = (Shared::default(), Store::in_memory().unwrap());
        let runtime = runtime();
        let networks = runtime.block_on(async {
            let networks = open(&shared, &store).0;
            networks.prepare().await;
            networks.reconcile();
            networks
        });
        let mut engine = Engine { runtime, shared, store, networks, running: BTreeMap::new(), doomed: false };
        for step in steps {
            engine.live(step);
        }
        engine.doomed = false;
        engine.shared.heal();
        engine.settle();
        engine.check();
        engine.restart();
        engine.settle();
        engine.check();
        for number in 0..3 {
            engine.live(Step::Stop(number));
        }
        for number in 0..3 {
            engine.live(Step::Remove(number));
        }
        engine.settle();
        engine.check();
        let world = engine.shared.world();
        prop_assert!(world.endpoints.is_empty() && world.namespaces.is_empty());
    }
}

fn runtime() -> Arc<Runtime> {
    Arc::new(tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap())
}
