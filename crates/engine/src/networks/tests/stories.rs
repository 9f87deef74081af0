//! What drivers are asked, in which order, and what happens when they do not do it.

use std::{collections::HashSet, sync::Arc, time::Duration};

use pintle_contract::{
    Value,
    ipam::IpamCapabilities,
    network::{NetworkCapabilities, label},
};
use pintle_store::Store;
use tokio_util::sync::CancellationToken;

use super::fake::{Fault, Shared, open};
use crate::{
    EngineError, ErrorKind,
    containers::{Container, ContainerSpec},
    events::{Event, Events},
    networks::{
        Answer, EndpointSpec, Filters, NetworkSpec, Networks, PruneFilters, PublishSpec, SubnetSpec,
        record::NetworkRecord, sandbox::Sandbox,
    },
};

struct House {
    shared: Shared,
    store: Store,
    networks: Networks,
    events: Events,
}

impl House {
    async fn new() -> Self {
        let (shared, store) = (Shared::default(), Store::in_memory().unwrap());
        let (networks, events) = open(&shared, &store);
        networks.prepare().await;
        networks.reconcile();
        Self { shared, store, networks, events }
    }

    /// The next engine.
    async fn restarted(self) -> Self {
        self.networks.shutdown().await;
        let (networks, events) = open(&self.shared, &self.store);
        networks.prepare().await;
        Self { networks, events, ..self }
    }

    fn told(&self) -> Vec<Event> {
        self.events.subscribe(Some(0), None).0
    }

    async fn plug(&self, name: &str) -> String {
        self.networks.create(spec(name)).await.unwrap().id
    }
}

fn spec(name: &str) -> NetworkSpec {
    let mut spec = NetworkSpec { name: name.into(), driver: "plug".into(), ..NetworkSpec::default() };
    spec.ipam.driver = "plug".into();
    spec
}

fn container(name: &str, networks: &[&str]) -> Arc<Container> {
    let named = Container::named(name);
    let spec = ContainerSpec {
        network_mode: networks.first().copied().unwrap_or("none").to_owned(),
        networks: networks.iter().map(|name| ((*name).to_owned(), EndpointSpec::default())).collect(),
        ..(*named.spec).clone()
    };
    Arc::new(Container { spec: Arc::new(spec), ..named })
}

fn with(container: &Arc<Container>, change: impl FnOnce(&mut ContainerSpec)) -> Arc<Container> {
    let mut spec = (*container.spec).clone();
    change(&mut spec);
    Arc::new(Container { spec: Arc::new(spec), ..(**container).clone() })
}

async fn start(networks: &Networks, container: &Arc<Container>) -> Result<Sandbox, EngineError> {
    let plan = networks.plan(container)?;
    let sandbox = networks.open_sandbox(plan, &CancellationToken::new()).await?;
    Ok(sandbox)
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..2000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("never: {what}");
}

#[tokio::test]
async fn calls_in_dockers_order() {
    let house = House::new().await;
    house.shared.world().can = NetworkCapabilities { gateway_check: true, ..NetworkCapabilities::default() };
    let mut wanted = spec("net");
    wanted.ipam.config = vec![SubnetSpec {
        subnet: "10.9.0.0/16".into(),
        aux_addresses: [("router".to_owned(), "10.9.0.9".to_owned())].into(),
        ..SubnetSpec::default()
    }];
    house.networks.create(wanted).await.unwrap();
    assert_eq!(
        house.shared.calls(),
        ["GwAllocCheck", "RequestPool here", "RequestAddress gateway", "RequestAddress", "CreateNetwork"]
    );
    let web = container("web", &["net"]);
    start(&house.networks, &web).await.unwrap();
    assert_eq!(house.shared.calls(), ["RequestAddress", "CreateEndpoint", "Join", "place", "Program"]);
    house.networks.close_sandbox(&web.id).await;
    assert_eq!(house.shared.calls(), ["Revoke", "Leave", "withdraw", "DeleteEndpoint", "ReleaseAddress"]);
    house.networks.remove("net").await.unwrap();
    assert_eq!(house.shared.calls(), ["ReleaseAddress", "ReleaseAddress", "ReleasePool", "DeleteNetwork"]);
    assert!(house.shared.world().addresses.is_empty() && house.shared.world().pools.is_empty());
    let told: Vec<String> = house.told().iter().map(|event| event.action.clone()).collect();
    assert_eq!(told, ["create", "connect", "disconnect", "destroy"]);
    let connect = &house.told()[1];
    assert_eq!(connect.attributes["container"], web.id);
    assert_eq!((connect.attributes["name"].as_str(), connect.attributes["type"].as_str()), ("net", "plug"));
}

#[tokio::test]
async fn a_plugin_is_told_what_the_bridge_is_told() {
    let house = House::new().await;
    let (plug, mut bridge) = (spec("plug"), spec("own"));
    bridge.driver = "bridge".into();
    bridge.ipam.driver = "default".into();
    house.networks.create(plug).await.unwrap();
    house.networks.create(bridge).await.unwrap();
    for network in ["plug", "own"] {
        let web = with(&container(&format!("web-{network}"), &[network]), |spec| {
            spec.publish = vec![PublishSpec {
                port: "80/tcp".into(),
                host_port: "8080".into(),
                ..PublishSpec::default()
            }];
            spec.exposed_ports = vec!["90/udp".into()];
            spec.dns = vec!["9.9.9.9".into()];
            let wish = spec.networks.get_mut(network).unwrap();
            wish.mac_address = "02:42:00:00:00:09".into();
            wish.aliases = vec!["www".into()];
            wish.driver_opts =
                [("speed".to_owned(), "10".to_owned()), (label::IFNAME.to_owned(), "lan0".to_owned())].into();
        });
        start(&house.networks, &web).await.unwrap();
        assert_eq!(house.networks.inner.working(&web.id)[0].0.interface, "lan0");
    }
    let told = house.shared.world().told.clone();
    let mut first = told[0].options.clone();
    let mut second = told[1].options.clone();
    first.remove(label::ENDPOINT_NAME);
    second.remove(label::ENDPOINT_NAME);
    assert_eq!(first, second);
    assert_eq!(first["speed"], Value::from("10"));
    for key in [label::PORT_MAP, label::EXPOSED_PORTS, label::MAC_ADDRESS, label::DNS_SERVERS, label::ALIASES]
    {
        assert!(first.contains_key(key), "{key}");
    }
    assert_eq!(told[0].interface.mac.unwrap().to_string(), "02:42:00:00:00:09");
}

#[tokio::test]
async fn a_step_that_fails_undoes_those_before_it() {
    let house = House::new().await;
    let net = house.plug("net").await;
    let before = house.shared.world().addresses.clone();
    for (step, undone) in [
        ("RequestAddress", &[][..]),
        ("CreateEndpoint", &["ReleaseAddress"]),
        ("Join", &["DeleteEndpoint", "ReleaseAddress"]),
        ("place", &["Leave", "DeleteEndpoint", "ReleaseAddress"]),
        ("Program", &["Leave", "withdraw", "DeleteEndpoint", "ReleaseAddress"]),
    ] {
        house.shared.calls();
        house.shared.fail(step, Fault::Refuse);
        let web = container("web", &["net"]);
        let error = start(&house.networks, &web).await.map(drop).unwrap_err();
        assert!(error.message.contains("refused"), "{step}: {error}");
        let calls = house.shared.calls();
        let at = calls.iter().position(|call| call == step).unwrap();
        assert_eq!(calls[at + 1..], *undone, "{step}");
        let world = house.shared.world();
        assert_eq!(world.addresses, before, "{step}");
        assert!(world.endpoints.is_empty() && world.namespaces.is_empty(), "{step}");
    }
    assert!(house.networks.get(&net).unwrap().endpoints.is_empty());
    for step in ["RequestPool", "CreateNetwork"] {
        house.shared.fail(step, Fault::Refuse);
        house.networks.create(spec("other")).await.unwrap_err();
        assert_eq!(house.shared.world().pools.len(), 1, "{step}");
        assert_eq!(house.networks.list(&Filters::default()).len(), 3, "{step}: host, none and net");
    }
    house.plug("other").await;
}

#[tokio::test]
async fn what_a_plugin_does_not_answer_is_owed_to_it() {
    let house = House::new().await;
    house.plug("net").await;
    let gateway = house.shared.world().addresses.clone();
    let web = container("web", &["net"]);
    start(&house.networks, &web).await.unwrap();
    house.shared.world().away = true;
    house.networks.close_sandbox(&web.id).await;
    assert_eq!(house.shared.world().endpoints.len(), 1, "still there");
    // Nobody sees it any more, and it hinders nobody.
    assert!(house.networks.get("net").unwrap().endpoints.is_empty());
    // It outlives the engine.
    let house = house.restarted().await;
    house.networks.reconcile();
    assert_eq!(house.shared.world().endpoints.len(), 1);
    house.shared.heal();
    let shared = house.shared.clone();
    until("it is given back", || shared.world().endpoints.is_empty()).await;
    until("the address, too", || shared.world().addresses == gateway).await;
    let networks = house.networks.clone();
    until("and forgotten", || networks.inner.book.read().endpoints().next().is_none()).await;
}

#[tokio::test]
async fn an_unanswered_call_is_undone_later() {
    let house = House::new().await;
    house.plug("net").await;
    for fault in [Fault::Swallow, Fault::Lose] {
        for step in ["CreateEndpoint", "Join", "Program"] {
            let before = house.shared.world().addresses.clone();
            house.shared.fail(step, fault);
            start(&house.networks, &container("web", &["net"])).await.map(drop).unwrap_err();
            let shared = house.shared.clone();
            until("nothing is held", || {
                let world = shared.world();
                world.endpoints.is_empty()
                    && world.joined.is_empty()
                    && world.outside.is_empty()
                    && world.addresses == before
            })
            .await;
        }
    }
}

#[tokio::test]
async fn a_network_of_a_plugin_that_is_away_can_be_removed() {
    let house = House::new().await;
    house.plug("net").await;
    house.shared.world().away = true;
    house.networks.remove("net").await.unwrap();
    assert_eq!(house.networks.get("net").unwrap_err().kind, ErrorKind::NotFound);
    let house = house.restarted().await;
    house.networks.reconcile();
    house.shared.heal();
    // Its name is free at once.
    house.plug("net").await;
    let shared = house.shared.clone();
    until("the old one is gone", || shared.world().networks.len() == 1 && shared.world().pools.len() == 1)
        .await;
}

#[tokio::test]
async fn a_start_that_is_cancelled_leaves_nothing() {
    let house = House::new().await;
    house.plug("net").await;
    let before = house.shared.world().addresses.clone();
    house.shared.fail("Join", Fault::Hang);
    let web = container("web", &["net"]);
    let plan = house.networks.plan(&web).unwrap();
    let cancel = CancellationToken::new();
    let opening = house.networks.open_sandbox(plan, &cancel);
    let shared = house.shared.clone();
    let (opened, ()) = tokio::join!(opening, async {
        until("it hangs", || shared.world().calls.iter().any(|call| call == "Join")).await;
        cancel.cancel();
    });
    assert!(opened.map(drop).unwrap_err().message.contains("cancelled"));
    // It can start again at once, with the same name.
    start(&house.networks, &web).await.unwrap();
    house.networks.close_sandbox(&web.id).await;
    until("nothing is held", || {
        let world = shared.world();
        world.endpoints.is_empty() && world.joined.is_empty() && world.addresses == before
    })
    .await;
}

#[tokio::test]
async fn removal_is_refused_where_docker_refuses() {
    let house = House::new().await;
    house.plug("net").await;
    let web = container("web", &["net"]);
    start(&house.networks, &web).await.unwrap();
    let error = house.networks.remove("net").await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Forbidden);
    assert!(
        error.message.starts_with(
            "error while removing network: network net has active endpoints (name:\"web\" id:\""
        ),
        "{error}"
    );
    assert_eq!(
        house.networks.remove("host").await.unwrap_err().message,
        "host is a pre-defined network and cannot be removed"
    );
    assert_eq!(house.networks.remove("nothing").await.unwrap_err().message, "network nothing not found");
    let double = house.networks.create(spec("net")).await.unwrap_err();
    assert_eq!(
        (double.kind, double.message.as_str()),
        (ErrorKind::Conflict, "network with name net already exists")
    );
    let error = house
        .networks
        .create(NetworkSpec { name: "bridge".into(), ..NetworkSpec::default() })
        .await
        .unwrap_err();
    assert_eq!(error.message, "operation is not permitted on predefined bridge network ");
    let error =
        house.networks.create(NetworkSpec { driver: "nosuch".into(), ..spec("x") }).await.unwrap_err();
    assert_eq!((error.kind, error.message.as_str()), (ErrorKind::NotFound, "plugin \"nosuch\" not found"));
}

#[tokio::test]
async fn prune_takes_what_nobody_is_in() {
    let house = House::new().await;
    house.plug("used").await;
    house.plug("free").await;
    let mut labelled = spec("labelled");
    labelled.labels.insert("keep".into(), String::new());
    house.networks.create(labelled).await.unwrap();
    start(&house.networks, &container("web", &["used"])).await.unwrap();
    let filters = PruneFilters { without_labels: vec!["keep".into()], ..PruneFilters::default() };
    assert_eq!(house.networks.prune(&filters).await.unwrap(), ["free"]);
    assert_eq!(house.networks.prune(&PruneFilters::default()).await.unwrap(), ["labelled"]);
    assert_eq!(house.told().last().unwrap().action, "prune");
}

#[tokio::test]
async fn names_are_found_in_shared_networks_only() {
    let house = House::new().await;
    house.plug("front").await;
    house.plug("back").await;
    let web = with(&container("web", &["front", "back"]), |spec| {
        spec.networks.get_mut("front").unwrap().links = vec!["db:data".into()];
    });
    let db = with(&container("db", &["back"]), |spec| {
        spec.networks.get_mut("back").unwrap().aliases = vec!["Sql".into()];
    });
    let other = container("other", &["front"]);
    for one in [&web, &db, &other] {
        start(&house.networks, one).await.unwrap();
    }
    let names = house.networks.names(&web);
    let address = house.networks.inner.working(&db.id)[0].0.address.unwrap().addr();
    for name in ["db", "DB.", "sql", db.short_id(), "db.back"] {
        assert_eq!(names.resolve(name), Answer::Known(vec![address]), "{name}");
    }
    assert_eq!(names.resolve("db.front"), Answer::Unknown);
    assert_eq!(names.resolve("data"), Answer::Unknown, "a link holds in its own network");
    assert_eq!(house.networks.names(&other).resolve("db"), Answer::Unknown);
    assert_eq!(names.reverse(address).as_deref(), Some("db.back"));
    assert!(names.upstream().allowed);
    house.networks.rename(&Container { name: "sqlite".into(), ..(*db).clone() }).await.unwrap();
    assert_eq!(names.resolve("sqlite"), Answer::Known(vec![address]));
    assert_eq!(names.resolve("db"), Answer::Known(vec![address]), "its host name is still that");
    house.networks.close_sandbox(&db.id).await;
    assert_eq!(names.resolve("sqlite"), Answer::Unknown);
    assert_eq!(names.reverse(address), None);
}

#[tokio::test]
async fn the_engine_gives_a_way_out_where_no_driver_does() {
    let house = House::new().await;
    house.shared.world().no_gateway = true;
    house.plug("net").await;
    let web = container("web", &["net"]);
    start(&house.networks, &web).await.unwrap();
    let working = house.networks.inner.working(&web.id);
    let own = working.iter().find(|(endpoint, _)| endpoint.gateway_service).unwrap();
    assert_eq!(own.1.name, "docker_gwbridge");
    assert_eq!(own.0.name, format!("gateway_{}", &web.id[..12]));
    let gateways = house.networks.get("docker_gwbridge").unwrap();
    assert_eq!(gateways.options["com.docker.network.bridge.enable_icc"], "false");
    house.networks.close_sandbox(&web.id).await;
    assert!(house.shared.world().endpoints.is_empty());
}

#[tokio::test]
async fn another_network_leads_out_when_the_first_is_left() {
    let house = House::new().await;
    house.plug("a").await;
    house.plug("b").await;
    let web = with(&container("web", &["a", "b"]), |spec| {
        spec.networks.get_mut("b").unwrap().gw_priority = 1;
    });
    start(&house.networks, &web).await.unwrap();
    let leads = |networks: &Networks| {
        let working = networks.inner.working(&web.id);
        let led: Vec<_> = working.iter().filter(|(endpoint, _)| endpoint.is_gateway).collect();
        assert_eq!(led.len(), 1);
        led[0].1.name.clone()
    };
    assert_eq!(leads(&house.networks), "b");
    assert_eq!(house.shared.world().outside.len(), 1);
    house.networks.part(&web, "b").await.unwrap();
    assert_eq!(leads(&house.networks), "a");
    house.networks.join(&web, "b", EndpointSpec { gw_priority: 2, ..EndpointSpec::default() }).await.unwrap();
    assert_eq!(leads(&house.networks), "b");
    assert_eq!(house.shared.world().outside.len(), 1, "only one of them is open to the outside");
    let twice = house.networks.join(&web, "b", EndpointSpec::default()).await.unwrap_err();
    assert_eq!(twice.message, "endpoint with name web already exists in network b");
}

#[tokio::test]
async fn boot_keeps_what_runs_and_takes_away_the_rest() {
    let house = House::new().await;
    house.shared.world().needs =
        IpamCapabilities { requires_request_replay: true, requires_mac_address: false };
    let mut own = spec("own");
    own.driver = "bridge".into();
    own.ipam.driver = "default".into();
    house.networks.create(own).await.unwrap();
    let (runs, died) = (container("runs", &["own"]), container("died", &["own"]));
    start(&house.networks, &runs).await.unwrap();
    start(&house.networks, &died).await.unwrap();
    let address = house.networks.inner.working(&runs.id)[0].0.address;
    // What is linked in forgets everything.
    {
        let mut world = house.shared.world();
        world.addresses.clear();
        world.pools.clear();
        world.networks.clear();
        world.endpoints.clear();
        world.joined.clear();
        world.outside.clear();
        world.namespaces.insert("00ff00ff00ff".to_owned());
    }
    let house = house.restarted().await;
    house.networks.keep(&runs).await;
    house.networks.close_sandbox(&died.id).await;
    house.networks.sweep(&HashSet::from([runs.id.clone(), died.id.clone()])).await;
    house.networks.reconcile();
    let world = house.shared.world();
    assert_eq!((world.networks.len(), world.endpoints.len(), world.joined.len()), (1, 1, 1));
    assert_eq!(world.outside.len(), 1);
    assert_eq!(world.addresses.len(), 2, "its own and the gateway's");
    assert!(world.addresses.iter().any(|(_, ip)| Some(*ip) == address.map(|net| net.addr())));
    assert_eq!(world.namespaces.iter().collect::<Vec<_>>(), [&runs.id[..12]]);
    drop(world);
    assert_eq!(house.networks.get("own").unwrap().endpoints.keys().collect::<Vec<_>>(), [&runs.id]);
}

#[tokio::test]
async fn pools_of_a_plugins_choice_are_clear_of_the_host() {
    let house = House::new().await;
    house.shared.world().busy = vec!["10.0.0.0/15".parse().unwrap()];
    house.plug("net").await;
    let network = house.networks.get("net").unwrap();
    assert_eq!(network.subnets[0].subnet.unwrap().to_string(), "10.2.0.0/16");
    assert_eq!(house.shared.world().pools.len(), 1, "those that were refused went back");
}

#[tokio::test]
async fn a_driver_that_changes_what_was_settled_is_refused() {
    let house = House::new().await;
    house.plug("net").await;
    house.shared.world().answer.address = Some("10.9.9.9/16".parse().unwrap());
    let error = start(&house.networks, &container("web", &["net"])).await.map(drop).unwrap_err();
    assert!(
        error.message.contains("driver modified interface address")
            && error.message.ends_with("; rolled back")
    );
    assert!(house.shared.world().endpoints.is_empty());
}

#[tokio::test]
async fn settings_are_taken_from_a_network_that_is_only_that() {
    let house = House::new().await;
    let mut settings = spec("settings");
    settings.config_only = true;
    settings.options.insert("a".into(), "b".into());
    settings.ipam.config = vec![SubnetSpec { subnet: "10.8.0.0/16".into(), ..SubnetSpec::default() }];
    house.networks.create(settings).await.unwrap();
    assert_eq!(house.shared.calls(), [""; 0], "no driver hears of it");
    let taker = NetworkSpec {
        name: "taker".into(),
        driver: "plug".into(),
        config_from: "settings".into(),
        ..NetworkSpec::default()
    };
    house.networks.create(taker).await.unwrap();
    let made = house.networks.get("taker").unwrap();
    assert_eq!(made.options["a"], "b");
    assert_eq!(made.subnets[0].subnet.unwrap().to_string(), "10.8.0.0/16");
    assert!(
        house
            .networks
            .remove("settings")
            .await
            .unwrap_err()
            .message
            .ends_with("configuration network \"settings\" is in use")
    );
    start(&house.networks, &container("web", &["settings"])).await.map(drop).unwrap_err();
    house.networks.remove("taker").await.unwrap();
    house.networks.remove("settings").await.unwrap();
}

#[tokio::test]
async fn host_and_none_go_with_no_other() {
    let house = House::new().await;
    house.plug("net").await;
    let both = |other: &str| house.networks.plan(&container("web", &["net", other])).map(drop).unwrap_err();
    assert!(both("none").message.contains("private (none) mode"));
    assert!(both("host").message.contains("sharing network namespace"));
    let web = container("web", &["none"]);
    start(&house.networks, &web).await.unwrap();
    assert_eq!(house.networks.get("none").unwrap().endpoints[&web.id].name, "web");
    let refused = house.networks.wish(&web, "host", EndpointSpec::default()).map(drop).unwrap_err();
    assert!(refused.message.contains("cannot connect container to host network"), "{refused}");
    house.networks.close_sandbox(&web.id).await;
    assert!(house.networks.get("none").unwrap().endpoints.is_empty());
    assert_eq!(house.shared.calls().len(), 3, "only of the network itself");
    let record = NetworkRecord::default();
    assert!(!record.special());
}
