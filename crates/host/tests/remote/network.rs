//! Networks and addresses from plugins that leave calls out, lie and die.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use pintle_contract::{
    DriverError, ErrorKind, IpamDriver, NetworkDriver, Scope,
    ipam::{IpamCapabilities, PoolRequest},
    network::{
        CreateEndpoint, CreateNetwork, EndpointId, GatewayCheck, Interface, Join, Joined, MacAddress, Node,
        Options,
    },
};
use pintle_host::remote::{Ipam, Network};

use crate::scripted::{Act, Plugin};

fn id() -> EndpointId {
    EndpointId { network: "n".into(), endpoint: "e".into() }
}

fn endpoint(interface: Interface) -> CreateEndpoint {
    CreateEndpoint { id: id(), interface, options: Options::new() }
}

/// The calls that a plugin got, without the way they were sent.
fn calls(plugin: &Plugin) -> Vec<String> {
    let call = |request: String| request.split(' ').nth(1).unwrap_or_default().replace("/NetworkDriver.", "");
    plugin.requests().into_iter().map(call).collect()
}

#[tokio::test]
async fn what_a_plugin_may_do_without_does_nothing() {
    for missing in
        [Act::Answer(404, "404 page not found\n"), Act::Answer(500, r#"{"Err":"not implemented"}"#)]
    {
        let plugin = Plugin::new(move |_| missing.clone());
        let network = Network::new(plugin.client());
        let (id, options) = (id(), Options::new());
        assert_eq!(network.gateway_check(&options).await.unwrap(), GatewayCheck::default());
        assert_eq!(network.endpoint_info(&id).await.unwrap(), BTreeMap::new());
        assert_eq!(network.program_external_connectivity(&id, &options).await.unwrap(), []);
        network.revoke_external_connectivity(&id).await.unwrap();
        network.discover_new(&Node::default()).await.unwrap();
        network.discover_delete(&Node::default()).await.unwrap();
        assert_eq!(plugin.requests().len(), 6, "each was asked");

        let refused = |error: DriverError| assert_eq!(error.kind, ErrorKind::Unsupported, "{error}");
        refused(network.capabilities().await.unwrap_err());
        refused(network.create_network(CreateNetwork::default()).await.unwrap_err());
        refused(network.delete_network("n").await.unwrap_err());
        refused(network.create_endpoint(endpoint(Interface::default())).await.unwrap_err());
        refused(network.delete_endpoint(&id).await.unwrap_err());
        refused(network.join(Join::default()).await.unwrap_err());
        refused(network.leave(&id).await.unwrap_err());
        let ipam = Ipam::new(plugin.client());
        assert_eq!(ipam.capabilities().await.unwrap(), IpamCapabilities::default());
    }
}

#[tokio::test]
async fn a_refusal_is_no_missing_call() {
    for (status, body, expected) in [
        (500, r#"{"Err":"no such port"}"#, "NetworkDriver.ProgramExternalConnectivity: no such port"),
        (200, r#"{"Err":"no such port"}"#, "remote: no such port"),
        (
            500,
            r#"{"Err":"not implemented","Kind":"unsupported"}"#,
            "NetworkDriver.ProgramExternalConnectivity: not implemented",
        ),
    ] {
        let plugin = Plugin::new(move |_| Act::Answer(status, body));
        let network = Network::new(plugin.client());
        let error = network.program_external_connectivity(&id(), &Options::new()).await.unwrap_err();
        assert_eq!(error.message, expected);
    }
}

#[tokio::test]
async fn what_was_given_may_be_said_again_and_what_was_left_open_is_the_drivers() {
    let answer =
        r#"{"Interface":{"Address":"10.0.0.2/24","AddressIPv6":"","MacAddress":"02:00:00:00:00:01"}}"#;
    let plugin = Plugin::new(move |_| Act::Answer(200, answer));
    let network = Network::new(plugin.client());
    let given = Interface { address: Some("10.0.0.2/24".parse().unwrap()), ..Interface::default() };
    let settled = network.create_endpoint(endpoint(given)).await.unwrap();
    let mac = Some(MacAddress([2, 0, 0, 0, 0, 1]));
    assert_eq!(settled, Interface { mac, ..Interface::default() });
    assert_eq!(calls(&plugin), ["CreateEndpoint"]);
}

#[tokio::test]
async fn an_endpoint_that_is_not_what_was_asked_for_is_rolled_back() {
    for (answer, delete, expected) in [
        (
            r#"{"Interface":{"Address":"10.0.0.9/24"}}"#,
            Act::Answer(200, "{}"),
            "driver modified interface address: 10.0.0.2/24 was given, 10.0.0.9/24 was answered; rolled back",
        ),
        (
            r#"{"Interface":{"Address":"10.0.0.9/24"}}"#,
            Act::Answer(500, r#"{"Err":"no"}"#),
            "driver modified interface address: 10.0.0.2/24 was given, 10.0.0.9/24 was answered; failed to roll \
             back: NetworkDriver.DeleteEndpoint: no",
        ),
        (
            r#"{"Interface":{"AddressIPv6":"10.0.0.9/24"}}"#,
            Act::Answer(200, "{}"),
            "10.0.0.9/24 is not of the family that it stands for; rolled back",
        ),
        (
            r#"{"Interface":{"Address":"nonsense"}}"#,
            Act::Answer(200, "{}"),
            "NetworkDriver.CreateEndpoint: the plugin's answer cannot be read: Interface.Address: \"nonsense\" \
             cannot be understood; rolled back",
        ),
    ] {
        let plugin = Plugin::new(move |path| match path {
            "/NetworkDriver.CreateEndpoint" => Act::Answer(200, answer),
            _ => delete.clone(),
        });
        let network = Network::new(plugin.client());
        let given = Interface { address: Some("10.0.0.2/24".parse().unwrap()), ..Interface::default() };
        let error = network.create_endpoint(endpoint(given)).await.unwrap_err();
        assert_eq!((error.kind, error.message.as_str()), (ErrorKind::Internal, expected));
        assert_eq!(calls(&plugin), ["CreateEndpoint", "DeleteEndpoint"]);
    }
}

#[tokio::test]
async fn a_join_that_cannot_be_understood_is_left_and_one_that_failed_is_not() {
    let plugin = Plugin::new(|path| match path {
        "/NetworkDriver.Join" => Act::Answer(200, r#"{"Gateway":"10.0.0.1/24"}"#),
        _ => Act::Answer(200, "{}"),
    });
    let network = Network::new(plugin.client());
    let error = network.join(Join { id: id(), ..Join::default() }).await.unwrap_err();
    assert!(error.message.ends_with("; rolled back"), "{error}");
    assert_eq!(calls(&plugin), ["Join", "Leave"]);

    let plugin = Plugin::new(|_| Act::Answer(200, r#"{"Err":"no"}"#));
    let network = Network::new(plugin.client());
    let error = network.join(Join { id: id(), ..Join::default() }).await.unwrap_err();
    assert_eq!(error.message, "remote: no");
    assert_eq!(calls(&plugin), ["Join"]);

    let plugin = Plugin::new(|_| Act::Close);
    let network = Network::new(plugin.client());
    let error = network.join(Join { id: id(), ..Join::default() }).await.unwrap_err();
    assert_eq!(
        error.kind,
        ErrorKind::Unavailable,
        "it may have happened, and the caller knows that from the kind"
    );
    assert_eq!(calls(&plugin), ["Join"]);
}

#[tokio::test]
async fn capabilities_are_asked_once_and_nonsense_is_refused() {
    let plugin = Plugin::new(|_| Act::Answer(200, r#"{"Scope":"local","ConnectivityScope":"global"}"#));
    let network = Network::new(plugin.client());
    for _ in 0..3 {
        let capabilities = network.capabilities().await.unwrap();
        assert_eq!((capabilities.scope, capabilities.connectivity_scope), (Scope::Local, Scope::Global));
    }
    assert_eq!(calls(&plugin), ["GetCapabilities"]);
    assert!(plugin.requests()[0].ends_with("Content-Length: 0\r\n\r\n"), "an empty body, as Docker sends it");

    let plugin = Plugin::new(|_| Act::Answer(200, r#"{"Scope":"galaxy"}"#));
    let error = Network::new(plugin.client()).capabilities().await.unwrap_err();
    assert!(error.message.contains("expecting 'local' or 'global', got galaxy"), "{error}");

    // Nothing to be learnt from a plugin that is gone.
    let plugin = Plugin::new(|_| Act::Close);
    let error = Ipam::new(plugin.client()).capabilities().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable);
    let plugin = Plugin::new(|_| Act::Answer(200, r#"{"RequiresMACAddress":true}"#));
    let capabilities = Ipam::new(plugin.client()).capabilities().await.unwrap();
    assert!(capabilities.requires_mac_address && !capabilities.requires_request_replay);
}

#[tokio::test]
async fn a_sandbox_without_an_interface_is_no_error() {
    let plugin = Plugin::new(|_| Act::Answer(200, r#"{"InterfaceName":{"SrcName":"","DstPrefix":""}}"#));
    assert_eq!(Network::new(plugin.client()).join(Join::default()).await.unwrap(), Joined::default());
}

/// Offers these pools one after the other, the last one again and again.
fn offering(pools: &'static [&'static str]) -> Plugin {
    let next = Arc::new(AtomicUsize::new(0));
    Plugin::new(move |path| match path {
        "/IpamDriver.RequestPool" => {
            Act::Answer(200, pools[next.fetch_add(1, Ordering::SeqCst).min(pools.len() - 1)])
        }
        _ => Act::Answer(200, "{}"),
    })
}

#[tokio::test]
async fn pools_that_the_host_uses_are_held_until_one_fits_and_then_given_back() {
    let plugin = offering(&[
        r#"{"PoolID":"a","Pool":"10.0.0.0/16"}"#,
        r#"{"PoolID":"b","Pool":"10.1.2.0/24"}"#,
        r#"{"PoolID":"c","Pool":"10.2.0.0/16"}"#,
    ]);
    let avoid = vec!["10.0.3.0/24".parse().unwrap(), "10.1.0.0/16".parse().unwrap()];
    let request = PoolRequest { address_space: "s".into(), avoid: avoid.clone(), ..PoolRequest::default() };
    let pool = Ipam::new(plugin.client()).request_pool(request.clone()).await.unwrap();
    assert_eq!(pool.id, "c");
    let bodies: Vec<String> = plugin
        .requests()
        .iter()
        .filter_map(|request| request.split_once("\r\n\r\n").map(|(_, body)| body.trim().to_owned()))
        .collect();
    let ask = r#"{"AddressSpace":"s","Pool":"","SubPool":"","Options":{},"V6":false}"#;
    assert_eq!(bodies, [ask, ask, ask, r#"{"PoolID":"a"}"#, r#"{"PoolID":"b"}"#]);

    // What the user asked for is the user's business, and "everything" is no subnet.
    let asked = PoolRequest { pool: Some("10.0.0.0/16".parse().unwrap()), ..request.clone() };
    let plugin = offering(&[r#"{"PoolID":"a","Pool":"10.0.0.0/16"}"#]);
    assert_eq!(Ipam::new(plugin.client()).request_pool(asked).await.unwrap().id, "a");
    let plugin = offering(&[r#"{"PoolID":"null","Pool":"0.0.0.0/0"}"#]);
    assert_eq!(Ipam::new(plugin.client()).request_pool(request.clone()).await.unwrap().id, "null");

    // A driver that forgets what it gave is not asked for ever.
    let plugin = offering(&[r#"{"PoolID":"a","Pool":"10.0.0.0/16"}"#]);
    let error = Ipam::new(plugin.client()).request_pool(request).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable, "{error}");
    assert_eq!(plugin.requests().len(), 3, "two offers and one release");
}
