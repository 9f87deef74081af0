//! Docker's routes, one file for each resource. The table below is all there is; Docker answers everything else
//! with `page not found`.

mod absent;
mod archive;
mod attach;
mod build;
mod commit;
mod container_list;
mod containers;
mod events;
mod exec;
mod images;
pub(crate) mod info;
mod logs;
pub(crate) mod networks;
mod plugin_log;
mod plugins;
mod progress;
mod runtimes;
mod stats;
pub(crate) mod system;
mod transfer;
mod volumes;
mod websocket;

use pintle_api::{
    container::{Config, CreateRequest, UpdateRequest},
    exec::{ExecCreate, ExecStart},
    image::AuthConfig,
    network,
    plugin::Privilege,
    volume,
};

use crate::http::{
    input::{Input, json, json_or_default},
    router::{Route, delete, get, handler, head, post, put},
};

/// Every route, in the order in which they are tried.
pub(crate) fn table() -> Vec<Route> {
    vec![
        get("/_ping", handler!(system::ping)),
        head("/_ping", handler!(system::ping)),
        get("/version", handler!(system::version)),
        get("/info", handler!(info::info)),
        get("/events", handler!(events::events)),
        get("/metrics", handler!(system::numbers)),
        get("/system/df", handler!(system::disk_usage)),
        post("/auth", handler!(system::auth)).takes(json::<AuthConfig>()).secret(),
        // Containers
        get("/containers/json", handler!(container_list::list)),
        post("/containers/create", handler!(containers::create)).takes(json::<CreateRequest>()),
        post("/containers/prune", handler!(containers::prune)),
        get("/containers/{}/json", handler!(container_list::inspect)),
        get("/containers/{}/logs", handler!(logs::logs)),
        get("/containers/{}/stats", handler!(stats::stats)),
        get("/containers/{}/top", handler!(containers::top)),
        get("/containers/{}/changes", handler!(containers::changes)),
        get("/containers/{}/export", handler!(archive::export)),
        head("/containers/{}/archive", handler!(archive::stat)),
        get("/containers/{}/archive", handler!(archive::copy_out)),
        put("/containers/{}/archive", handler!(archive::copy_in)).takes(Input::Stream),
        post("/containers/{}/start", handler!(containers::start)),
        post("/containers/{}/stop", handler!(containers::stop)),
        post("/containers/{}/restart", handler!(containers::restart)),
        post("/containers/{}/kill", handler!(containers::kill)),
        post("/containers/{}/pause", handler!(containers::pause)),
        post("/containers/{}/unpause", handler!(containers::unpause)),
        post("/containers/{}/rename", handler!(containers::rename)),
        post("/containers/{}/resize", handler!(containers::resize)),
        post("/containers/{}/update", handler!(containers::update)).takes(json::<UpdateRequest>()),
        post("/containers/{}/wait", handler!(containers::wait)),
        get("/containers/{}/attach/ws", handler!(websocket::attach)).takes(Input::Stream),
        post("/containers/{}/attach", handler!(attach::attach)).takes(Input::Stream),
        post("/containers/{}/exec", handler!(exec::create)).takes(json::<ExecCreate>()),
        delete("/containers/{}", handler!(containers::remove)),
        post("/exec/{}/start", handler!(attach::exec)).takes(json_or_default::<ExecStart>()),
        post("/exec/{}/resize", handler!(exec::resize)),
        get("/exec/{}/json", handler!(exec::inspect)),
        // Images
        get("/images/json", handler!(images::list)),
        get("/images/search", handler!(absent::search)),
        get("/images/get", handler!(transfer::save_many)),
        post("/images/create", handler!(transfer::create)).takes(Input::Stream),
        post("/images/load", handler!(transfer::load)).takes(Input::Stream),
        post("/images/prune", handler!(images::prune)),
        get("/images/{}/json", handler!(images::inspect)),
        get("/images/{}/history", handler!(images::history)),
        get("/images/{}/get", handler!(transfer::save_one)),
        post("/images/{}/push", handler!(transfer::push)),
        post("/images/{}/tag", handler!(images::tag)),
        delete("/images/{}", handler!(images::remove)),
        get("/distribution/{}/json", handler!(images::distribution)),
        post("/commit", handler!(commit::commit)).takes(json_or_default::<Option<Config>>()),
        post("/build", handler!(build::build)).takes(Input::Stream),
        post("/build/prune", handler!(build::prune)),
        // Volumes
        get("/volumes", handler!(volumes::list)),
        post("/volumes/create", handler!(volumes::create)).takes(json_or_default::<volume::CreateRequest>()),
        post("/volumes/prune", handler!(volumes::prune)),
        get("/volumes/{}", handler!(volumes::inspect)),
        put("/volumes/{}", handler!(volumes::update)),
        delete("/volumes/{}", handler!(volumes::remove)),
        // Plugins
        get("/plugins", handler!(plugins::list)),
        get("/plugins/privileges", handler!(plugins::privileges)),
        post("/plugins/pull", handler!(plugins::pull)).takes(json_or_default::<Vec<Privilege>>()),
        post("/plugins/create", handler!(plugins::create)).takes(Input::Stream),
        get("/plugins/{}/json", handler!(plugins::inspect)),
        get("/plugins/{}/top", handler!(plugins::top)),
        get("/plugins/{}/stats", handler!(plugins::stats)),
        get("/plugins/{}/logs", handler!(plugin_log::logs)),
        post("/plugins/{}/enable", handler!(plugins::enable)),
        post("/plugins/{}/disable", handler!(plugins::disable)),
        post("/plugins/{}/upgrade", handler!(plugins::upgrade)).takes(json_or_default::<Vec<Privilege>>()),
        post("/plugins/{}/push", handler!(plugins::push)),
        post("/plugins/{}/set", handler!(plugins::set)).takes(json_or_default::<Vec<String>>()),
        delete("/plugins/{}", handler!(plugins::remove)),
        // Networks
        get("/networks", handler!(networks::list)),
        get("/networks/", handler!(networks::list)),
        post("/networks/create", handler!(networks::create)).takes(json::<network::CreateRequest>()),
        post("/networks/prune", handler!(networks::prune)),
        post("/networks/{}/connect", handler!(networks::connect)).takes(json::<network::Connect>()),
        post("/networks/{}/disconnect", handler!(networks::disconnect)).takes(json::<network::Disconnect>()),
        get("/networks/{}", handler!(networks::inspect)),
        delete("/networks/{}", handler!(networks::remove)),
        // Runtimes
        get("/runtimes", handler!(runtimes::list)),
        get("/runtimes/{}/json", handler!(runtimes::inspect)),
        post("/runtimes/{}/check", handler!(runtimes::check)),
        // Log drivers
        get("/log-drivers", handler!(logs::deliveries)),
        // What this engine does not have
        post("/build/cancel", handler!(absent::buildkit)),
        post("/session", handler!(absent::buildkit)),
        post("/grpc", handler!(absent::buildkit)),
        get("/swarm", handler!(absent::swarm)),
        get("/swarm/unlockkey", handler!(absent::swarm)),
        post("/swarm/init", handler!(absent::no_swarm)),
        post("/swarm/join", handler!(absent::no_swarm)),
        post("/swarm/leave", handler!(absent::swarm)),
        post("/swarm/update", handler!(absent::swarm)),
        post("/swarm/unlock", handler!(absent::swarm)),
        get("/nodes", handler!(absent::swarm)),
        get("/nodes/{}", handler!(absent::swarm)),
        post("/nodes/{}", handler!(absent::swarm)),
        delete("/nodes/{}", handler!(absent::swarm)),
        get("/services", handler!(absent::swarm)),
        get("/services/{}", handler!(absent::swarm)),
        post("/services/{}", handler!(absent::swarm)),
        delete("/services/{}", handler!(absent::swarm)),
        get("/tasks", handler!(absent::swarm)),
        get("/tasks/{}", handler!(absent::swarm)),
        get("/secrets", handler!(absent::swarm)),
        get("/secrets/{}", handler!(absent::swarm)),
        post("/secrets/{}", handler!(absent::swarm)),
        delete("/secrets/{}", handler!(absent::swarm)),
        get("/configs", handler!(absent::swarm)),
        get("/configs/{}", handler!(absent::swarm)),
        post("/configs/{}", handler!(absent::swarm)),
        delete("/configs/{}", handler!(absent::swarm)),
    ]
}
