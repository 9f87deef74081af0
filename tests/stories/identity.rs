//! Who asks: tokens, certificates and sockets; and what policies do with it.

use std::{fs, path::Path, process::Command, time::Duration};

use serde_json::{Value, json};

use crate::harness::{Client, Engine, Kind, eventually};

/// An issuer of tokens: keys by openssl, and a server of its key set over TLS.
const ISSUER: &str = r"set -e
base64url() { openssl base64 -A | tr '+/' '-_' | tr -d '='; }
openssl genrsa -out $1.pem 2048 2>/dev/null
n=$(openssl rsa -in $1.pem -noout -modulus | cut -d= -f2 | python3 -c 'import sys; sys.stdout.buffer.write(bytes.fromhex(sys.stdin.read().strip()))' | base64url)
printf '{\042kty\042:\042RSA\042,\042kid\042:\042%s\042,\042n\042:\042%s\042,\042e\042:\042AQAB\042}' $1 $n >$1.jwk";

const TOKEN: &str = r#"set -e
base64url() { openssl base64 -A | tr '+/' '-_' | tr -d '='; }
head=$(printf '{"alg":"RS256","kid":"%s"}' $1 | base64url)
body=$(printf '%s' "$2" | base64url)
printf '%s.%s.%s' $head $body $(printf '%s.%s' $head $body | openssl dgst -sha256 -sign $1.pem | base64url)"#;

const SERVER: &str = "
import http.server, ssl, sys
server = http.server.HTTPServer(('127.0.0.1', 0), http.server.SimpleHTTPRequestHandler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain('server.pem', 'server-key.pem')
server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_port, flush=True)
server.serve_forever()";

fn bash(dir: &Path, script: &str, args: &[&str]) -> String {
    let output =
        Command::new("bash").args(["-c", script, "issuer"]).args(args).current_dir(dir).output().unwrap();
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The issuer's keys that are to be had.
fn publish(dir: &Path, names: &[&str]) {
    let keys: Vec<Value> = names
        .iter()
        .map(|name| serde_json::from_slice(&fs::read(dir.join(format!("{name}.jwk"))).unwrap()).unwrap())
        .collect();
    fs::write(dir.join("jwks.json"), json!({ "keys": keys }).to_string()).unwrap();
}

fn token(dir: &Path, key: &str, user: &str, groups: &[&str]) -> String {
    let soon = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() + 600;
    let claims =
        json!({"iss": "https://issuer.test", "aud": "pintle", "exp": soon, "sub": user, "groups": groups});
    bash(dir, TOKEN, &[key, &claims.to_string()])
}

/// A configuration of the stock client that sends this token.
fn logged_in(dir: &Path, user: &str, token: &str) -> String {
    let config = dir.join(format!("client-{user}"));
    fs::create_dir_all(&config).unwrap();
    let headers = json!({"HttpHeaders": {"Authorization": format!("Bearer {token}")}});
    fs::write(config.join("config.json"), headers.to_string()).unwrap();
    format!("docker --config {}", config.display())
}

struct Served(std::process::Child, u16);

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn serve(dir: &Path) -> Served {
    bash(
        dir,
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -keyout server-key.pem -out server.pem \
         -subj /CN=issuer -addext subjectAltName=IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE",
        &[],
    );
    let mut child = Command::new("python3")
        .args(["-c", SERVER])
        .current_dir(dir)
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut out = std::io::BufReader::new(child.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut out, &mut line).unwrap();
    Served(child, line.trim().parse().unwrap())
}

/// Users with tokens share an engine: each team has its own, quotas are kept, secrets are masked.
#[test]
fn teams_share_an_engine_by_their_tokens() {
    let mut engine = Engine::prepared(Kind::Pintle, Client::Docker, &["-H", "tcp://127.0.0.1:0"]);
    let dir = engine.dir.join("issuer");
    fs::create_dir(&dir).unwrap();
    bash(&dir, ISSUER, &["first"]);
    bash(&dir, ISSUER, &["second"]);
    publish(&dir, &["first"]);
    let server = serve(&dir);
    let data = json!({
        "admins": ["root"],
        "teams": {"web": {"users": ["ann"]}, "science": {"groups": ["lab"]}},
        "quotas": {"ann": {"containers": 2, "memory": 100 << 20}},
        "rates": {"bob": {"minute": 40}},
    });
    fs::write(engine.dir.join("data.json"), data.to_string()).unwrap();
    let settings = json!({
        "authorization-plugins": ["policy"],
        "policy": {"decision-timeout-ms": 10000, "sources": ["teams", "quotas", "rates", "secrets", engine.dir.join("data.json")]},
        "audit": {},
        "identity": {"jwt": {
            "issuer": "https://issuer.test", "audience": "pintle", "required": true,
            "jwks": format!("https://127.0.0.1:{}/jwks.json", server.1), "jwks-ca": dir.join("server.pem"),
        }},
    });
    let config = engine.dir.join("daemon.json");
    fs::write(&config, settings.to_string()).unwrap();
    engine.also(&["--config-file", &config.display().to_string()]);
    engine.boot(&[]);
    engine.busybox("bb");
    let at = || Some(engine.daemon_log().split_once("listens on tcp://")?.1.split_once('\n')?.0.to_owned());
    eventually("the second socket", Duration::from_secs(20), || at().is_some());
    let at = format!("-H tcp://{}", at().unwrap());

    // Nobody, and somebody whom nobody vouches for.
    let said = engine.sh(&format!("DOCKER_HOST= docker {at} ps")).fails();
    assert!(said.contains("this engine wants a token on TCP"), "{said}");
    bash(&dir, ISSUER, &["other"]);
    let forged = logged_in(&dir, "forged", &token(&dir, "other", "root", &[]));
    let said = engine.sh(&format!("DOCKER_HOST= {forged} {at} ps")).fails();
    assert!(said.contains("is not accepted: its key \"other\" is none of the issuer's"), "{said}");
    let status = engine.sh(&format!("curl -si http://{}/info", at.trim_start_matches("-H tcp://"))).ok();
    assert!(
        status.contains("401 Unauthorized") && status.to_lowercase().contains("www-authenticate: bearer"),
        "{status}"
    );

    // Two users and the administrator, who is root on the engine's own socket.
    let ann = format!("DOCKER_HOST= {} {at}", logged_in(&dir, "ann", &token(&dir, "first", "ann", &[])));
    let eve = format!("DOCKER_HOST= {} {at}", logged_in(&dir, "eve", &token(&dir, "first", "eve", &["lab"])));
    engine
        .sh(&format!("{ann} volume create hers && {eve} volume create his && docker volume create plain"))
        .ok();
    assert_eq!(engine.sh(&format!("{ann} volume ls -q")).ok(), "hers");
    assert_eq!(engine.sh(&format!("{eve} volume ls -q")).ok(), "his");
    assert_eq!(engine.sh("docker volume ls -q").ok(), "hers\nhis\nplain");
    let labels = engine.sh("docker volume inspect -f '{{json .Labels}}' hers").ok();
    assert_eq!(
        serde_json::from_str::<Value>(&labels).unwrap(),
        json!({"pintle.owner": "ann", "pintle.team": "web"})
    );
    for (what, why) in [
        ("volume rm his", "the volume his is not your team's"),
        ("run --rm -m 8m -v his:/v --network none bb true", "the volume his is not your team's"),
        ("run --rm -m 8m -v new:/v --network none bb true", "make the volume new first"),
        (
            "run --rm -m 8m --label pintle.team=science --network none bb true",
            "you are not of the team science",
        ),
        (
            "run --rm -m 8m --label pintle.owner=eve --network none bb true",
            "the label pintle.owner is ann for you",
        ),
        ("run --rm --network none bb true", "give the container a limit"),
        ("volume prune -f", "only administrators may do that"),
    ] {
        let said = engine.sh(&format!("{ann} {what}")).fails();
        assert!(said.contains(why), "{what}: {said}");
    }
    let ran = engine.sh(&format!(
        "{ann} run --name web -m 60m -v hers:/v --network none -e DB_PASSWORD=x -e A=b bb echo it runs"
    ));
    assert_eq!(ran.ok(), "it runs");
    let said = engine.sh(&format!("{ann} create --name more -m 60m --network none bb true")).fails();
    assert!(said.contains("ann may have 104857600 bytes of memory, and has 62914560"), "{said}");
    engine.sh(&format!("{ann} create --name more -m 30m --network none bb true")).ok();
    let said = engine.sh(&format!("{ann} create --name third -m 6m --network none bb true")).fails();
    assert!(said.contains("ann may have 2 containers"), "{said}");
    assert_eq!(engine.sh(&format!("{eve} ps -aq")).ok(), "");
    engine.sh(&format!("{eve} rm -f web")).fails();
    engine.sh(&format!("{eve} exec web true")).fails();
    let env = "inspect -f '{{join .Config.Env \" \"}}' web";
    let said = engine.sh(&format!("{ann} {env}")).ok();
    assert!(said.starts_with("DB_PASSWORD=[redacted] A=b"), "{said}");
    assert!(engine.sh(&format!("docker {env}")).ok().starts_with("DB_PASSWORD=x A=b"));

    // A user in a hurry, whom no team knows either.
    let bob = format!("DOCKER_HOST= {} {at}", logged_in(&dir, "bob", &token(&dir, "first", "bob", &["lab"])));
    let hurry = engine.sh(&format!("for i in $(seq 60); do {bob} volume ls -q 2>&1; done")).stdout;
    assert!(hurry.contains("bob may ask 40 times a minute"), "{hurry}");
    engine.sh(&format!("{eve} volume ls")).ok();

    // The issuer takes another key: a token that names it is known as soon as it may be looked for again.
    publish(&dir, &["second"]);
    let rotated =
        format!("DOCKER_HOST= {} {at}", logged_in(&dir, "rotated", &token(&dir, "second", "ann", &[])));
    eventually("the new key", Duration::from_secs(30), || {
        engine.sh(&format!("{rotated} volume ls -q")).code == 0
    });
    engine.sh(&format!("{ann} volume ls")).fails();

    // Who it was, what changed, and no token.
    let trail = fs::read_to_string(engine.dir.join("data/audit/audit.jsonl")).unwrap();
    let lines: Vec<Value> = trail.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let made = lines.iter().find(|line| line["route"] == "/volumes/create").unwrap();
    assert_eq!((&made["who"]["user"], &made["who"]["auth"]), (&json!("ann"), &json!("JWT")));
    assert_eq!((&made["changed"], &made["verdict"]), (&json!(["policy"]), &json!("allow")));
    assert!(lines.iter().any(|line| line["event"] == "answer" && line["changed"] == json!(["policy"])));
    assert!(
        lines
            .iter()
            .any(|line| line["verdict"] == "invalid" && line["why"].to_string().contains("is not accepted"))
    );
    assert!(!trail.contains("eyJ"), "a token is in the trail");
    engine.sh("docker rm -f web more").ok();
}

/// Whose process it is counts on a unix socket, if the configuration says so; and the name in a certificate that is asked for.
#[test]
fn sockets_and_certificates_say_who_asks() {
    let mut engine = Engine::prepared(Kind::Pintle, Client::Docker, &[]);
    let config = engine.dir.join("daemon.json");
    let settings = json!({"audit": {}, "identity": {"unix": true}, "group": "nogroup"});
    fs::write(&config, settings.to_string()).unwrap();
    engine.also(&["--config-file", &config.display().to_string()]);
    engine.boot(&[]);
    engine.sh("docker ps").ok();
    let socket = engine.socket();
    bash(
        &engine.dir,
        "chmod o+rx . && setpriv --reuid nobody --regid nogroup --clear-groups curl -sf --unix-socket $1 http://d/info >/dev/null",
        &[socket.to_str().unwrap()],
    );
    let trail = fs::read_to_string(engine.dir.join("data/audit/audit.jsonl")).unwrap();
    let lines: Vec<Value> = trail.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |route: &str| lines.iter().rfind(|line| line["route"] == route).unwrap()["who"].clone();
    assert_eq!(
        (&of("/containers/json")["user"], &of("/containers/json")["auth"]),
        (&json!("root"), &json!("unix"))
    );
    assert_eq!((&of("/info")["user"], &of("/info")["groups"]), (&json!("nobody"), &json!(["nogroup"])));
    assert!(of("/info")["exe"].as_str().unwrap().ends_with("/curl"), "{}", of("/info"));
    let address = json!({"issuer": "i", "audience": "a", "jwks": "https://127.0.0.1:9/k"});
    let opa = json!({"identity": {"jwt": address}, "policy": {"opa": {"url": "https://127.0.0.1:9"}}});
    fs::write(&config, opa.to_string()).unwrap();
    let validate = format!("pintle daemon --validate --config-file {}", config.display());
    assert_eq!(engine.sh(&validate).ok(), "configuration OK");
    for (identity, why) in [
        (json!({"certificate": "dn"}), "it must be cn or san"),
        (json!({"jwt": {"issuer": "i", "audience": "a"}}), "identity.jwt.jwks: it must be there"),
        (
            json!({"jwt": {"issuer": "i", "audience": "a", "jwks": "http://far.example/k"}}),
            "an https:// address",
        ),
        (
            json!({"jwt": {"issuer": "i", "audience": "a", "jwks": "http://127.0.0.1.evil.example/k"}}),
            "an https:// address",
        ),
    ] {
        fs::write(&config, json!({ "identity": identity }).to_string()).unwrap();
        let said = engine.sh(&validate).fails();
        assert!(said.contains(why), "{identity}: {said}");
    }
}
