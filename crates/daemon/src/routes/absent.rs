//! What this engine does not have, said in words that clients and people understand.

use std::sync::Arc;

use crate::{
    app::App,
    http::{Call, router::Outcome},
    status::Failure,
};

pub(crate) async fn swarm(_: Arc<App>, _: Call) -> Outcome {
    Err(Failure::unavailable(
        "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node to \
         swarm and try again.",
    ))
}

pub(crate) async fn no_swarm(_: Arc<App>, _: Call) -> Outcome {
    Err(Failure::not_implemented("pintle has no swarm mode"))
}

pub(crate) async fn build(_: Arc<App>, _: Call) -> Outcome {
    Err(Failure::not_implemented(
        "pintle does not build images in this version: build elsewhere and `docker load`, `docker import` or `docker \
         pull` the result",
    ))
}

pub(crate) async fn commit(_: Arc<App>, _: Call) -> Outcome {
    Err(Failure::not_implemented(
        "pintle does not commit containers in this version: `docker export` and `docker import` keep the files",
    ))
}

pub(crate) async fn search(_: Arc<App>, _: Call) -> Outcome {
    Err(Failure::not_implemented("pintle does not search Docker Hub: use https://hub.docker.com"))
}
