//! What a decision takes, with a thousand bindings of users to what they may do: `cargo bench -p pintle-policy`.

#![expect(clippy::unwrap_used, reason = "a measurement that cannot go on should stop")]

use std::time::{Duration, Instant};

use pintle_contract::authorization::{Body, Peer, Request};
use pintle_policy::{Outcome, Recent, Rules, Settings, Sources, input};
use serde_json::json;

const BINDINGS: usize = 1000;
const DECISIONS: usize = 20_000;

const BOUND: &str = "package docker.authz
allow if {
  some role in data.bindings[input.Peer.Name]
  some grant in data.roles[role]
  grant.method == input.Method
  startswith(input.Route, grant.route)
}
";

fn main() {
    let bindings: serde_json::Map<String, serde_json::Value> = (0..BINDINGS)
        .map(|user| (format!("user-{user}"), json!(["look", format!("role-{}", user % 20)])))
        .collect();
    let mut roles: serde_json::Map<String, serde_json::Value> = (0..20)
        .map(|role| (format!("role-{role}"), json!([{"method": "POST", "route": "/containers/"}, {"method": "DELETE", "route": "/containers/"}])))
        .collect();
    roles.insert("look".to_owned(), json!([{"method": "GET", "route": "/"}]));
    let bound = Sources {
        policies: vec![("bound.rego".to_owned(), BOUND.to_owned())],
        data: vec![("data.json".to_owned(), json!({"bindings": bindings, "roles": roles}))],
        ..Sources::default()
    };
    let ready = ["no-privileges", "mounts", "limits"].map(str::to_owned);
    for (name, sources) in
        [("1000 bindings", bound), ("three ready policies", Sources::read(&ready).unwrap())]
    {
        let settings = Settings { timeout: Duration::from_secs(1), ..Settings::default() };
        let rules = Rules::load(&sources, &settings).unwrap();
        let body = json!({"Image": "nginx", "Cmd": ["true"], "Env": ["A=b"], "HostConfig": {"NetworkMode": "bridge", "Binds": null}});
        let mut took: Vec<Duration> = (0..DECISIONS)
            .map(|at| {
                let request = Request {
                    method: "POST".to_owned(),
                    uri: "/v1.51/containers/create?name=web".to_owned(),
                    body: Body::Shown(body.to_string().into_bytes()),
                    peer: Some(Peer { name: format!("user-{}", at % BINDINGS), ..Peer::default() }),
                    ..Request::default()
                };
                let begun = Instant::now();
                assert!(
                    rules
                        .decide(&input::of_request(&request, Recent::default()), Outcome::Request)
                        .unwrap()
                        .allow
                );
                begun.elapsed()
            })
            .collect();
        took.sort_unstable();
        let at = |share: usize| took[DECISIONS * share / 1000].as_secs_f64() * 1e6;
        println!("{name:24} p50 {:7.1} µs   p99 {:7.1} µs   budget 100 µs", at(500), at(990));
    }
}
