//! The example is put to the network suite as what it is: a program behind a socket, killed and started again, on a host
//! of the test's own.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Child, Command},
    sync::{Arc, Mutex},
    time::Duration,
};

use pintle_contract::{
    ErrorKind, NetworkDriver, Value,
    network::{CreateNetwork, label},
};
use pintle_netlink::{LinkKind, Namespace, NewLink};
use pintle_testkit::{
    client::PluginClient,
    network::{Options, Restarted, conformance},
    report::Outcome,
};
use pintle_wire::config;

/// The program under way, ended with the test.
struct Plugin {
    dir: tempfile::TempDir,
    host: Namespace,
    child: Arc<Mutex<Child>>,
}

fn spawn(host: &Namespace, dir: &Path) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_network-lan"));
    command.env("PLUGIN_NAME", dir.join("n.sock")).env("STATE", dir.join("state"));
    host.run(|| command.spawn()).unwrap().unwrap()
}

async fn listening(dir: &Path) -> PluginClient {
    PluginClient::unix(dir.join("n.sock")).awake().await.unwrap()
}

impl Plugin {
    fn start() -> Self {
        let dir = tempfile::Builder::new().prefix("network-lan-").tempdir().unwrap();
        let host = Namespace::create().unwrap();
        let bridge = NewLink::new("br0".parse().unwrap(), LinkKind::Bridge).up();
        host.handle().unwrap().add_link(&bridge).unwrap();
        let child = Arc::new(Mutex::new(spawn(&host, dir.path())));
        Self { dir, host, child }
    }

    fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }
}

impl Drop for Plugin {
    fn drop(&mut self) {
        let mut child = self.child.lock().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

fn options(create: &[(&str, &str)]) -> BTreeMap<String, String> {
    create.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn it_keeps_every_promise() {
    let plugin = Plugin::start();
    let client = listening(plugin.dir.path()).await;
    let (child, host, dir) = (Arc::clone(&plugin.child), plugin.host.clone(), plugin.dir.path().to_owned());
    let restart = move || -> Restarted {
        let (child, host, dir) = (Arc::clone(&child), host.clone(), dir.clone());
        Box::pin(async move {
            {
                let mut child = child.lock().unwrap();
                child.kill().unwrap();
                child.wait().unwrap();
                *child = spawn(&host, &dir);
            }
            Ok(Arc::new(listening(&dir).await) as Arc<dyn NetworkDriver>)
        })
    };
    let options = Options {
        host: Some(plugin.host.clone()),
        alone: true,
        create: options(&[("bridge", "br0")]),
        restart: Some(&restart),
        ..Options::default()
    };
    let report = conformance(&client, &options).await;
    assert!(report.passed(), "{report}");
    assert!(
        report.checks.iter().all(|check| check.outcome == Outcome::Passed),
        "nothing is skipped:\n{report}"
    );
    assert_eq!(std::fs::read_dir(plugin.state()).unwrap().count(), 0, "no network is remembered");
}

#[tokio::test]
async fn isolated_containers_do_not_reach_each_other() {
    let plugin = Plugin::start();
    let client = listening(plugin.dir.path()).await;
    let create = options(&[("bridge", "br0"), ("isolate", "true")]);
    let only = ["reach"];
    let options = Options {
        host: Some(plugin.host.clone()),
        create,
        only: &only,
        budget: Duration::from_secs(4),
        ..Options::default()
    };
    let report = conformance(&client, &options).await;
    let Some(Outcome::Failed(why)) = report.outcome("reach") else { unreachable!("{report}") };
    assert!(why.contains("no packet gets from"), "{why}");
}

#[tokio::test]
async fn what_cannot_be_kept_is_refused() {
    let plugin = Plugin::start();
    let client = listening(plugin.dir.path()).await;
    let request = |id: &str, create: &[(&str, &str)], internal: bool| {
        let generic = create.iter().map(|(key, value)| ((*key).to_owned(), Value::from(*value))).collect();
        let options = BTreeMap::from([
            (label::GENERIC.to_owned(), Value::Map(generic)),
            (label::INTERNAL.to_owned(), Value::Bool(internal)),
        ]);
        CreateNetwork { network: id.to_owned(), options, ..CreateNetwork::default() }
    };
    let refused = async |request: CreateNetwork| client.create_network(request).await.unwrap_err();
    for (create, words) in [
        (&[][..], "give -o bridge=NAME"),
        (&[("bridge", "br7")], "no bridge called br7"),
        (&[("bridge", "lo")], "no bridge called lo"),
        (&[("bridge", "../br0")], "is no name of a link"),
        (&[("bridge", "br0"), ("vlan", "7")], "there is no option \"vlan\""),
    ] {
        let error = refused(request("ab12", create, false)).await;
        assert!(error.kind == ErrorKind::InvalidArgument && error.message.contains(words), "{error}");
    }
    let error = refused(request("ab12", &[("bridge", "br0")], true)).await;
    assert_eq!(error.kind, ErrorKind::Unsupported, "{error}");
    let error = refused(request("../../etc/passwd", &[("bridge", "br0")], false)).await;
    assert_eq!(error.kind, ErrorKind::NotFound, "{error}");

    client.create_network(request("ab12", &[("bridge", "br0")], false)).await.unwrap();
    let error = refused(request("ab12", &[("bridge", "br0"), ("isolate", "true")], false)).await;
    assert_eq!(error.kind, ErrorKind::Conflict, "{error}");
    client.delete_network("ab12").await.unwrap();
}

#[test]
fn its_config_is_valid_and_asks_for_what_it_needs() {
    let text = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/config.json")).unwrap();
    let (config, findings) = config::validate_text(&text).unwrap();
    assert_eq!(findings, []);
    let privileges: Vec<_> =
        config::privileges(&config).into_iter().map(|one| (one.name, one.value)).collect();
    let expected = [("network", "host"), ("capabilities", "CAP_NET_ADMIN")];
    assert_eq!(privileges, expected.map(|(name, value)| (name.to_owned(), vec![value.to_owned()])));
}

#[test]
fn it_fits_on_three_pages() {
    let lines = include_str!("../src/main.rs").lines().count();
    assert!(lines < 150, "the example has {lines} lines; it is promised to have fewer than 150");
}
