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

pub(crate) async fn buildkit(_: Arc<App>, _: Call) -> Outcome {
    Err(Failure::not_implemented("pintle has no BuildKit: build with DOCKER_BUILDKIT=0"))
}

pub(crate) async fn search(_: Arc<App>, _: Call) -> Outcome {
    Err(Failure::not_implemented("pintle does not search Docker Hub: use https://hub.docker.com"))
}
