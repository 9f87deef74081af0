//! The example is put to the IPAM suite as what it is: a program behind a socket, killed and started again.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    collections::BTreeMap,
    fs,
    net::IpAddr,
    path::Path,
    process::{Child, Command},
    sync::{Arc, Mutex},
};

use pintle_contract::{
    ErrorKind, IpamDriver,
    ipam::{AddressRequest, PoolRequest, label},
};
use pintle_testkit::{
    client::PluginClient,
    ipam::{Options, Restarted, conformance},
    report::Outcome,
};
use pintle_wire::config;

/// The program under way, ended with the test.
struct Plugin {
    dir: tempfile::TempDir,
    child: Arc<Mutex<Child>>,
}

const RANGES: &str = "# what the suite asks for
198.19.200.0/24  198.19.200.10  198.19.200.250   198.19.200.1
198.19.202.0/24  198.19.202.10  198.19.202.250   # no gateway
198.19.204.0/29  198.19.204.1   198.19.204.6

fd50:494e::/64   fd50:494e::10  fd50:494e::ffff
";

fn spawn(dir: &Path) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ipam-ranges"));
    command.env("PLUGIN_NAME", dir.join("i.sock")).env("STATE", dir.join("state"));
    command.env("RANGES", dir.join("ranges")).spawn().unwrap()
}

async fn listening(dir: &Path) -> PluginClient {
    PluginClient::unix(dir.join("i.sock")).awake().await.unwrap()
}

impl Plugin {
    fn start(ranges: &str) -> Self {
        let dir = tempfile::Builder::new().prefix("ipam-ranges-").tempdir().unwrap();
        fs::write(dir.path().join("ranges"), ranges).unwrap();
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

fn subnet(text: &str) -> PoolRequest {
    PoolRequest { pool: text.parse().ok(), ..PoolRequest::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_keeps_every_promise() {
    let plugin = Plugin::start(RANGES);
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
            Ok(Arc::new(listening(&dir).await) as Arc<dyn IpamDriver>)
        })
    };
    let options = Options {
        pools: ["198.19.200.0/24", "198.19.202.0/24"].map(|text| text.parse().unwrap()),
        small: "198.19.204.0/29".parse().ok(),
        v6: "fd50:494e::/64".parse().ok(),
        restart: Some(&restart),
        ..Options::default()
    };
    let report = conformance(&client, &options).await;
    assert!(report.passed(), "{report}");
    let skipped = report.checks.iter().filter(|check| matches!(check.outcome, Outcome::Skipped(_)));
    assert_eq!(skipped.map(|check| check.name).collect::<Vec<_>>(), ["sub_pool"], "{report}");
}

#[tokio::test]
async fn a_container_that_comes_back_has_its_address_again() {
    let plugin = Plugin::start(RANGES);
    let client = listening(plugin.dir.path()).await;
    let pool = client.request_pool(subnet("198.19.200.0/24")).await.unwrap();
    assert_eq!(pool.data.get(label::GATEWAY).unwrap(), "198.19.200.1/24");
    let ask = async |name: &str| -> IpAddr {
        let options = BTreeMap::from([(label::ENDPOINT_NAME.to_owned(), name.to_owned())]);
        let request = AddressRequest { pool: pool.id.clone(), address: None, options };
        client.request_address(request).await.unwrap().address.addr()
    };
    let (shop, db) = (ask("shop").await, ask("db").await);
    client.release_address(&pool.id, shop).await.unwrap();
    let other = ask("other").await;
    assert!(other != shop && other != db, "what somebody left is kept while there is something else");
    client.release_address(&pool.id, db).await.unwrap();
    assert_eq!((ask("db").await, ask("shop").await), (db, shop));
}

#[tokio::test]
async fn the_file_is_the_law_and_is_read_anew() {
    let plugin = Plugin::start("10.80.0.0/24 10.80.0.9 10.80.0.9\n");
    let client = listening(plugin.dir.path()).await;
    let error = client.request_pool(subnet("10.81.0.0/24")).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotFound, "{error}");
    fs::write(plugin.dir.path().join("ranges"), "10.81.0.0/24 10.81.0.5 10.81.0.5 10.81.0.1").unwrap();
    let pool = client.request_pool(PoolRequest::default()).await.unwrap();
    let request = AddressRequest { pool: pool.id, ..AddressRequest::default() };
    let address = client.request_address(request.clone()).await.unwrap().address;
    assert_eq!(address, "10.81.0.5/24".parse().unwrap());
    let error = client.request_address(request).await.unwrap_err();
    assert_eq!((error.kind, error.message.contains("is full")), (ErrorKind::Unavailable, true), "{error}");
    fs::write(plugin.dir.path().join("ranges"), "10.81.0.0/24 10.81.0.5 to the end").unwrap();
    let error = client.request_pool(PoolRequest::default()).await.unwrap_err();
    assert!(error.message.contains("is not SUBNET FIRST LAST [GATEWAY]"), "{error}");
}

#[test]
fn its_config_is_valid_and_asks_for_one_file() {
    let text = fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/config.json")).unwrap();
    let (config, findings) = config::validate_text(&text).unwrap();
    assert_eq!(findings, []);
    let privileges: Vec<_> =
        config::privileges(&config).into_iter().map(|one| (one.name, one.value)).collect();
    assert_eq!(privileges, [("mount".to_owned(), vec!["/etc/ipam-ranges".to_owned()])]);
}

#[test]
fn it_fits_on_three_pages() {
    let lines = include_str!("../src/main.rs").lines().count();
    assert!(lines < 150, "the example has {lines} lines; it is promised to have fewer than 150");
}
