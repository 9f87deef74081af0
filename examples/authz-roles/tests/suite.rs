//! The example is put to the authorization suite as what it is: a program behind a socket, killed and started again.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    fs,
    path::Path,
    process::{Child, Command},
    sync::{Arc, Mutex},
};

use pintle_contract::{Authorizer, authorization::Request};
use pintle_testkit::{
    authorization::{Options, Restarted, conformance},
    client::PluginClient,
    report::Outcome,
};
use pintle_wire::config;

const ROLES: &str = "# who method path
alice * *
ci    *   /containers/*/start # and nothing else of containers
*     GET *
";

struct Plugin {
    dir: tempfile::TempDir,
    child: Arc<Mutex<Child>>,
}

fn spawn(dir: &Path) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_authz-roles"));
    command.env("PLUGIN_NAME", dir.join("a.sock")).env("ROLES", dir.join("roles")).spawn().unwrap()
}

async fn listening(dir: &Path) -> PluginClient {
    PluginClient::unix(dir.join("a.sock")).awake().await.unwrap()
}

impl Plugin {
    fn start() -> Self {
        let dir = tempfile::Builder::new().prefix("authz-roles-").tempdir().unwrap();
        fs::write(dir.path().join("roles"), ROLES).unwrap();
        let child = Arc::new(Mutex::new(spawn(dir.path())));
        Self { dir, child }
    }
}

impl Drop for Plugin {
    fn drop(&mut self) {
        let mut child = self.child.lock().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

fn request(user: &str, method: &str, uri: &str) -> Request {
    Request { user: user.into(), method: method.into(), uri: uri.into(), ..Request::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_keeps_every_promise() {
    let plugin = Plugin::start();
    let client = listening(plugin.dir.path()).await;
    let (child, dir) = (Arc::clone(&plugin.child), plugin.dir.path().to_owned());
    let restart = move || -> Restarted {
        let (child, dir) = (Arc::clone(&child), dir.clone());
        Box::pin(async move {
            {
                let mut child = child.lock().unwrap();
                child.kill().unwrap();
                child.wait().unwrap();
                *child = spawn(&dir);
            }
            Ok(Arc::new(listening(&dir).await) as Arc<dyn Authorizer>)
        })
    };
    let options = Options {
        allowed: vec![
            request("alice", "DELETE", "/v1.41/volumes/v?force=1"),
            request("ci", "POST", "/v1.41/containers/web/start"),
            request("ci", "POST", "/containers/web/start?detachKeys=x"),
            request("", "GET", "/info"),
        ],
        denied: vec![
            request("ci", "POST", "/v1.41/containers/create?x=/containers/web/start"),
            request("ci", "POST", "/v1.41/containers/web/starting"),
            request("", "POST", "/v1.41/containers/web/start"),
            request("alicea", "POST", "/volumes/create"),
        ],
        restart: Some(&restart),
        ..Options::default()
    };
    let report = conformance(&client, &options).await;
    assert!(report.checks.iter().all(|check| check.outcome == Outcome::Passed), "{report}");
}

#[tokio::test]
async fn the_file_is_the_law_and_is_read_anew() {
    let plugin = Plugin::start();
    let client = listening(plugin.dir.path()).await;
    let wanted = request("bob", "POST", "/volumes/create");
    let verdict = client.authorize_request(&wanted).await.unwrap();
    assert_eq!((verdict.allow, verdict.message.as_str()), (false, "no role lets bob POST /volumes/create"));
    fs::write(plugin.dir.path().join("roles"), "bob POST /volumes/create").unwrap();
    assert!(client.authorize_request(&wanted).await.unwrap().allow);
    fs::write(plugin.dir.path().join("roles"), "bob may do everything").unwrap();
    let error = client.authorize_request(&wanted).await.unwrap_err();
    assert!(error.message.contains("is not WHO METHOD PATH"), "{error}");
    fs::remove_file(plugin.dir.path().join("roles")).unwrap();
    client.authorize_request(&wanted).await.unwrap_err();
}

#[test]
fn its_config_is_valid_and_asks_for_one_file() {
    let text = fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/config.json")).unwrap();
    let (config, findings) = config::validate_text(&text).unwrap();
    assert_eq!(findings, []);
    let privileges: Vec<_> =
        config::privileges(&config).into_iter().map(|one| (one.name, one.value)).collect();
    assert_eq!(privileges, [("mount".to_owned(), vec!["/etc/authz-roles".to_owned()])]);
}

#[test]
fn it_fits_on_two_pages() {
    let lines = include_str!("../src/main.rs").lines().count();
    assert!(lines < 80, "the example has {lines} lines; it is promised to have fewer than 80");
}
