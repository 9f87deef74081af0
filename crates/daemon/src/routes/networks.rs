//! Networks.

use std::sync::Arc;

use http::StatusCode;
use pintle_api::network::{Connect, CreateRequest, Created, Disconnect, Pruned};
use pintle_engine::networks::{Filters, PruneFilters};

use crate::{
    app::App,
    convert,
    http::{Call, reply, router::Outcome},
    status::Failure,
};

/// Since 1.28 lists do not say who is in a network.
const LISTS_WITHOUT_MEMBERS: u16 = 28;
/// Since 1.48 IPv4 can be left out.
const IPV4_CAN_BE_LEFT_OUT: u16 = 48;

pub(crate) async fn list(app: Arc<App>, call: Call) -> Outcome {
    let filters = Filters::new(&convert::filters(&call.query.filters()?))?;
    // Who is in a network is known when the containers are.
    app.containers().await;
    let with_members = !call.since(LISTS_WITHOUT_MEMBERS);
    let all = app.networks.list(&filters);
    let all: Vec<_> = all.iter().map(|network| convert::network::network(network, with_members)).collect();
    Ok(reply::ok(&all))
}

pub(crate) async fn inspect(app: Arc<App>, call: Call) -> Outcome {
    // There is nothing more to say of a network's services: there are none. It is checked all the same.
    if let Some(verbose) = call.query.some("verbose").filter(|verbose| truth(verbose).is_none()) {
        return Err(Failure::invalid(format!(
            "invalid value for verbose: {verbose}: strconv.ParseBool: parsing {verbose:?}: invalid syntax"
        )));
    }
    app.containers().await;
    let network = convert::network::network(&app.networks.get(&call.name)?, true);
    match call.query.some("scope") {
        Some(scope) if scope != network.scope => {
            Err(Failure::not_found(format!("network {} not found", call.name)))
        }
        _ => Ok(reply::ok(&network)),
    }
}

/// As Go's `strconv.ParseBool` reads it.
fn truth(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

pub(crate) async fn create(app: Arc<App>, mut call: Call) -> Outcome {
    let request: CreateRequest = call.json()?;
    let spec = convert::network::create(request, call.since(IPV4_CAN_BE_LEFT_OUT));
    // At boot drivers remove what nobody knows of; what is made meanwhile must not be among it.
    app.containers().await;
    let created = app.networks.create(spec).await?;
    Ok(reply::json(StatusCode::CREATED, &Created { id: created.id, warning: created.warning }))
}

pub(crate) async fn connect(app: Arc<App>, mut call: Call) -> Outcome {
    let request: Connect = call.json()?;
    // A MAC address among them is heeded whatever the version: who sends one means it.
    let endpoint = convert::network::endpoint_spec(request.endpoint_config.unwrap_or_default());
    app.containers().await.connect(&request.container, &call.name, endpoint).await?;
    Ok(reply::empty(StatusCode::OK))
}

pub(crate) async fn disconnect(app: Arc<App>, mut call: Call) -> Outcome {
    let request: Disconnect = call.json()?;
    app.containers().await.disconnect(&request.container, &call.name, request.force).await?;
    Ok(reply::empty(StatusCode::OK))
}

pub(crate) async fn remove(app: Arc<App>, call: Call) -> Outcome {
    app.containers().await;
    app.networks.remove(&call.name).await?;
    Ok(reply::empty(StatusCode::NO_CONTENT))
}

pub(crate) async fn prune(app: Arc<App>, call: Call) -> Outcome {
    let filters = PruneFilters::new(&convert::filters(&call.query.filters()?))?;
    app.containers().await;
    let pruned = app.networks.prune(&filters).await?;
    Ok(reply::ok(&Pruned { networks_deleted: (!pruned.is_empty()).then_some(pruned) }))
}
