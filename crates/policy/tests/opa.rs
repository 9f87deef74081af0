//! The embedded engine and a real Open Policy Agent agree: on ready policies and on random ones, about random requests.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use pintle_contract::{
    Authorizer, DriverError,
    authorization::{Answer, Body, Context, Peer, Request, Touched, Usage, Verdict},
};
use pintle_policy::{OpaSettings, Policy, READY, Settings};
use proptest::{
    prelude::*,
    sample::select,
    strategy::ValueTree as _,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use serde_json::{Value, json};

/// A server that ends with the test.
struct Server {
    process: Child,
    url: String,
    client: reqwest::Client,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Server {
    async fn start() -> Self {
        let opa = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/tools/opa");
        assert!(opa.exists(), "{} is missing: tests/run builds it", opa.display());
        let at = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let process = Command::new(opa)
            .args([
                "run",
                "--server",
                "--skip-version-check",
                "--log-level",
                "error",
                "--addr",
                &at.to_string(),
            ])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let server = Self { process, url: format!("http://{at}"), client };
        let deadline = Instant::now() + Duration::from_secs(30);
        while server.client.get(format!("{}/health", server.url)).send().await.is_err() {
            assert!(Instant::now() < deadline, "OPA does not listen");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        server
    }

    async fn put(&self, path: &str, body: String) {
        let sent = self.client.put(format!("{}/v1/{path}", self.url)).body(body).send().await.unwrap();
        let status = sent.status();
        assert!(status.is_success(), "{path}: {status}: {}", sent.text().await.unwrap());
    }

    /// A policy that asks this server, each time anew.
    fn policy(&self) -> Policy {
        let opa = OpaSettings { url: self.url.clone(), cache: Duration::ZERO, token: None };
        Policy::open(Settings { opa: Some(opa), ..slow() }).unwrap()
    }
}

fn slow() -> Settings {
    Settings { timeout: Duration::from_secs(20), ..Settings::default() }
}

const ROUTES: [&str; 9] = [
    "/containers/create",
    "/containers/x/start",
    "/containers/json",
    "/containers/x/update",
    "/volumes/create",
    "/volumes",
    "/images/create?fromImage=nginx&tag=1",
    "/build",
    "/exec/x/start",
];

fn body() -> impl Strategy<Value = Value> {
    let image = select(vec!["nginx", "evil/x:1", "registry.example/team/app@sha256:aa", ""]);
    let bind = select(vec!["/srv/data:/d", "/etc:/e:ro", "v:/v", "/srv/../etc:/x"]);
    let mode = select(vec!["", "host", "bridge", "container:x"]);
    let parts = (image, proptest::option::of(bind), any::<bool>(), 0i64..3000, mode);
    parts.prop_map(|(image, bind, privileged, memory, mode)| {
        json!({
            "Image": image, "Labels": {"pintle.team": "web"}, "Name": "n",
            "HostConfig": {
                "Binds": bind.map(|bind| vec![bind]), "Privileged": privileged,
                "Memory": memory, "NanoCpus": memory * 1_000_000, "PidMode": mode, "NetworkMode": mode,
                "CapAdd": if privileged { vec!["SYS_ADMIN"] } else { vec![] },
            },
        })
    })
}

fn touched() -> impl Strategy<Value = Touched> {
    let parts = (select(vec!["web", "data", ""]), select(vec!["container", "volume", "network"]));
    parts.prop_map(|(team, kind)| Touched {
        kind: kind.to_owned(),
        id: "0123".to_owned(),
        name: "x".to_owned(),
        labels: std::iter::once(("pintle.team".to_owned(), team.to_owned())).collect(),
    })
}

fn request() -> impl Strategy<Value = Request> {
    let method = select(vec!["GET", "POST", "DELETE"]);
    let user = select(vec!["ann", "bob", "root", ""]);
    let parts = (method, select(ROUTES.to_vec()), user, body(), proptest::option::of(touched()), 0u64..4);
    parts.prop_map(|(method, route, user, body, touched, have)| Request {
        user: user.to_owned(),
        method: method.to_owned(),
        uri: format!("/v1.51{route}"),
        body: if method == "POST" { Body::Shown(body.to_string().into_bytes()) } else { Body::Empty },
        peer: Some(Peer { uid: 1000, name: "eve".to_owned(), ..Peer::default() }),
        context: Some(Box::new(Context {
            time: "2026-11-27T00:00:00Z".to_owned(),
            route: route.to_owned(),
            groups: vec!["dev".to_owned()],
            binds: pintle_policy::input::binds(&if method == "POST" { body } else { Value::Null }),
            touches: touched.into_iter().collect(),
            usage: Some(Usage { containers: have, running: have, memory: have * 400, ..Usage::default() }),
            ..Context::default()
        })),
        ..Request::default()
    })
}

fn answer() -> Answer {
    let body = json!([
        {"Id": "1", "Labels": {"pintle.team": "web", "api-token": "t"}, "Env": ["A=1", "DB_PASSWORD=x"]},
        {"Id": "2", "Labels": {"pintle.team": "data"}, "Config": {"Env": ["TOKEN=y"]}},
        {"Id": "3", "Labels": null},
    ]);
    Answer { status: 200, body: Body::Shown(body.to_string().into_bytes()), ..Answer::default() }
}

type Said = Result<(bool, Vec<String>, Option<Value>), ()>;

/// A verdict, without what an error says; the order of a set's messages is each engine's own.
fn said(verdict: Result<Verdict, DriverError>) -> Said {
    let verdict = verdict.map_err(drop)?;
    let mut messages: Vec<_> = verdict.message.split("; ").map(str::to_owned).collect();
    messages.sort();
    Ok((verdict.allow, messages, verdict.body.map(|body| serde_json::from_slice(&body).unwrap())))
}

/// Asks both about a request and its answer; whether the request was allowed.
async fn both(embedded: &Policy, server: &Policy, request: &Request, what: &str) -> bool {
    let ours = said(embedded.authorize_request(request).await);
    let theirs = said(server.authorize_request(request).await);
    assert_eq!(ours, theirs, "{what}\n{request:?}");
    let shown = answer();
    let of_answer = said(embedded.authorize_answer(request, &shown).await);
    let of_theirs = said(server.authorize_answer(request, &shown).await);
    assert_eq!(of_answer, of_theirs, "the answer: {what}\n{request:?}");
    ours.is_ok_and(|(allow, ..)| allow)
}

fn data() -> Value {
    json!({
        "admins": ["root"], "mounts": ["/srv"], "registries": ["docker.io/library/"],
        "limits": {"memory": 2000, "cpus": 2},
        "teams": {"web": {"users": ["ann"]}, "data": {"groups": ["science"]}},
        "learned": {"ann": ["GET /volumes", "POST /volumes/create", "GET /containers/json", "DELETE /build"]},
        "quotas": {"*": {"containers": 1, "running": 1, "memory": 1500}}, "rates": {"*": {"minute": 1_000_000}},
    })
}

#[tokio::test]
async fn ready_policies_decide_as_under_opa() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("data.json");
    std::fs::write(&file, data().to_string()).unwrap();
    let random = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(Config::default(), random);
    let requests = request();
    let server = Server::start().await;
    for (key, value) in data().as_object().unwrap() {
        server.put(&format!("data/{key}"), value.to_string()).await;
    }
    // The hour is another each time.
    for ready in READY.iter().filter(|ready| ready.name != "hours") {
        server.put("policies/ready", ready.text.to_owned()).await;
        let sources = vec![ready.name.to_owned(), file.display().to_string()];
        let embedded = Policy::open(Settings { sources, ..slow() }).unwrap();
        let theirs = server.policy();
        let (mut allowed, count) = (0, 200);
        for _ in 0..count {
            let request = requests.new_tree(&mut runner).unwrap().current();
            allowed += usize::from(both(&embedded, &theirs, &request, ready.name).await);
        }
        // These refuse nothing here; of the others each lets some through and some not.
        let trivial = matches!(ready.name, "commands" | "rates" | "secrets");
        assert!(allowed > 0 && (trivial || allowed < count), "{}: {allowed} of {count}", ready.name);
    }
}

/// Conditions as people write them.
fn condition() -> impl Strategy<Value = String> {
    let text = |path: &'static str, values: Vec<&'static str>| {
        let parts = (select(vec!["==", "!="]), select(values));
        parts.prop_map(move |(how, value)| format!("{path} {how} \"{value}\""))
    };
    let memory = (select(vec!["<", ">=", "=="]), 0i64..3000);
    let fixed = select(vec![
        "not input.Body.HostConfig.Privileged",
        "input.Body.HostConfig.Privileged",
        "some bind in input.Body.HostConfig.Binds\n\tcontains(bind, \"etc\")",
        "count(input.Context.Touches) > 0",
        "every one in input.Context.Touches { one.Labels[\"pintle.team\"] == \"web\" }",
        "object.get(input, [\"Body\", \"Image\"], \"none\") in {\"nginx\", \"none\"}",
        "regex.match(`^/containers/[a-z]+$`, input.Route)",
        "x := split(input.Route, \"/\")\n\tx[count(x) - 1] == \"create\"",
        "helper",
        "not helper",
    ]);
    prop_oneof![
        2 => text("input.Method", vec!["GET", "POST"]),
        2 => text("input.User", vec!["ann", "root", ""]),
        2 => select(vec!["/containers", "/volumes", "/b"])
            .prop_map(|route| format!("startswith(input.Route, \"{route}\")")),
        1 => memory.prop_map(|(how, most)| format!("input.Body.HostConfig.Memory {how} {most}")),
        1 => (1u64..4).prop_map(|most| format!("input.Context.Usage.Containers + 1 > {most}")),
        8 => fixed.prop_map(str::to_owned),
    ]
}

fn rules(head: &'static str, most: usize) -> impl Strategy<Value = String> {
    let conditions = proptest::collection::vec(condition(), 1..3).prop_map(|all| all.join("\n\t"));
    proptest::collection::vec(conditions, 0..most).prop_map(move |all| {
        let rule = |(at, body): (usize, &String)| {
            format!("{} if {{\n\t{body}\n}}\n\n", head.replace("AT", &at.to_string()))
        };
        all.iter().enumerate().map(rule).collect::<String>()
    })
}

fn policy() -> impl Strategy<Value = String> {
    let parts = (
        rules("deny contains \"because AT\"", 4),
        rules("allow", 3),
        condition().prop_filter("recursive", |text| !text.contains("helper")),
        rules("merge_request contains {\"Labels\": {\"lAT\": input.User}}", 2),
        rules("redact_response contains \"AT.Labels\"", 2),
    );
    let parts =
        parts.prop_filter("nothing decides", |(deny, allow, ..)| !deny.is_empty() || !allow.is_empty());
    let text = parts.prop_map(|(deny, allow, helper, merged, redacted)| {
        let head = "package docker.authz\n\nimport rego.v1\n\n";
        format!("{head}helper if {{\n\t{helper}\n}}\n\n{deny}{allow}{merged}{redacted}")
    });
    // One rule declares a name once.
    text.prop_filter("twice", |text| {
        text.split("\n}\n")
            .all(|rule| ["x :=", "some bind"].iter().all(|name| rule.matches(name).count() < 2))
    })
}

#[tokio::test]
async fn random_policies_decide_as_under_opa() {
    let server = Server::start().await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("p.rego");
    let mut runner = TestRunner::default();
    let (policies, requests) = (policy(), request());
    let mut verdicts = [0usize; 2];
    for _ in 0..100 {
        let text = policies.new_tree(&mut runner).unwrap().current();
        std::fs::write(&file, &text).unwrap();
        let sources = vec![file.display().to_string()];
        let embedded = Policy::open(Settings { sources, ..slow() });
        let embedded = embedded.unwrap_or_else(|why| panic!("{why}\n{text}"));
        server.put("policies/random", text.clone()).await;
        // Which rules there are is looked at by a new one.
        let theirs = server.policy();
        for _ in 0..12 {
            let request = requests.new_tree(&mut runner).unwrap().current();
            let allowed = both(&embedded, &theirs, &request, &text).await;
            *verdicts.get_mut(usize::from(allowed)).unwrap() += 1;
        }
    }
    assert!(verdicts.iter().all(|count| *count > 100), "both happen: {verdicts:?}");
}

#[tokio::test]
async fn a_server_that_does_not_answer_allows_nothing() {
    let server = Server::start().await;
    let remembers = OpaSettings { url: server.url.clone(), cache: Duration::from_secs(60), token: None };
    let remembers = Policy::open(Settings { opa: Some(remembers), ..slow() }).unwrap();
    let forgets = server.policy();
    let request = Request { method: "GET".to_owned(), uri: "/info".to_owned(), ..Request::default() };
    let refused = async |policy: &Policy| policy.authorize_request(&request).await.unwrap_err().message;
    assert!(refused(&forgets).await.contains("nothing decides"));
    server.put("policies/p", "package docker.authz\nallow := true\n".to_owned()).await;
    assert!(forgets.authorize_request(&request).await.unwrap().allow);
    assert!(remembers.authorize_request(&request).await.unwrap().allow);
    drop(server);
    assert!(refused(&forgets).await.contains("cannot be asked"));
    // What it said of this question is remembered, while it is known which rules there are; of others nothing is.
    assert!(remembers.authorize_request(&request).await.unwrap().allow);
    let other = Request { uri: "/version".to_owned(), ..request.clone() };
    remembers.authorize_request(&other).await.unwrap_err();
}
