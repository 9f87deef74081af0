//! Networks: the three that every engine has. Making others comes with the network drivers.

use std::sync::Arc;

use http::StatusCode;
use pintle_api::network::{Ipam, Network, Pruned};

use crate::{
    app::App,
    http::{Call, reply, router::Outcome},
    status::Failure,
};

const NOTE: &str = "This version has no bridge: containers on it have a private namespace with loopback only";

/// Name, driver, id.
const PREDEFINED: &[(&str, &str, &str)] = &[
    ("bridge", "bridge", "7142c2c0fa97a1d3e58864ccf4fb4d0b851f4a2af45f49b4bea081f2e9a60cda"),
    ("host", "host", "47b866e1b5c3bc1a1e0b91cfdf4af7a064848637abbf58ee823351cc750d719a"),
    ("none", "null", "b3cfcdf1eb7fbc4c91b55c705bd0bb3f6162824186a85dc2c5d60a829923efa1"),
];

/// The id of a network by its name.
pub(crate) fn id_of(name: &str) -> Option<String> {
    PREDEFINED.iter().find(|(known, ..)| *known == name).map(|(_, _, id)| (*id).to_owned())
}

fn network((name, driver, id): &(&str, &str, &str)) -> Network {
    let mut network = Network {
        name: (*name).to_owned(),
        id: (*id).to_owned(),
        created: pintle_api::time::NEVER.to_owned(),
        scope: "local".to_owned(),
        driver: (*driver).to_owned(),
        enable_ipv4: true,
        ipam: Ipam { driver: "default".to_owned(), options: None, config: None },
        ..Network::default()
    };
    if *name == "bridge" {
        network.labels.insert("pintle.note".to_owned(), NOTE.to_owned());
    }
    network
}

fn find(name: &str) -> Result<&'static (&'static str, &'static str, &'static str), Failure> {
    let exact = PREDEFINED.iter().find(|(known, _, id)| *known == name || *id == name);
    exact
        .or_else(|| PREDEFINED.iter().find(|(_, _, id)| id.starts_with(name)))
        .ok_or_else(|| Failure::not_found(format!("network {name} not found")))
}

pub(crate) async fn list(_: Arc<App>, call: Call) -> Outcome {
    let filters = call.query.filters()?;
    filters.only(&["dangling", "driver", "id", "label", "name", "scope", "type"])?;
    let dangling = filters.truth("dangling")?;
    let wanted = |(name, driver, id): &&(&str, &str, &str)| {
        let any = |key: &str, holds: &dyn Fn(&str) -> bool| !filters.has(key) || filters.get(key).any(holds);
        any("name", &|wanted| name.contains(wanted))
            && any("id", &|wanted| id.contains(wanted))
            && any("driver", &|wanted| *driver == wanted)
            && any("scope", &|wanted| wanted == "local")
            && any("type", &|wanted| wanted == "builtin")
            && !filters.has("label")
            && dangling != Some(true)
    };
    let all: Vec<_> = PREDEFINED.iter().filter(wanted).map(network).collect();
    Ok(reply::ok(&all))
}

pub(crate) async fn inspect(_: Arc<App>, call: Call) -> Outcome {
    Ok(reply::ok(&network(find(&call.name)?)))
}

pub(crate) async fn create(_: Arc<App>, _: Call) -> Outcome {
    Err(Failure::not_implemented(
        "pintle has no network drivers in this version: use the networks none and host",
    ))
}

pub(crate) async fn connect(_: Arc<App>, call: Call) -> Outcome {
    find(&call.name)?;
    Err(Failure::not_implemented("pintle does not change a container's networks in this version"))
}

pub(crate) async fn remove(_: Arc<App>, call: Call) -> Outcome {
    let (name, ..) = find(&call.name)?;
    Err(Failure::new(StatusCode::FORBIDDEN, format!("{name} is a pre-defined network and cannot be removed")))
}

pub(crate) async fn prune(_: Arc<App>, call: Call) -> Outcome {
    call.query.filters()?.only(&["label", "label!", "until"])?;
    Ok(reply::ok(&Pruned::default()))
}
