//! Several contracts from one program, looked at over bare sockets.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::{net::IpAddr, path::Path};

use pintle_sdk::{
    DriverError, ErrorKind, IpamDriver, Listen, NetworkDriver, Scope, Server, async_trait,
    ipam::{Address, AddressRequest, AddressSpaces, Pool, PoolRequest},
    network::{
        CreateEndpoint, CreateNetwork, EndpointId, Interface, InterfaceName, Join, Joined,
        NetworkCapabilities,
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};

/// Makes nothing and says yes.
#[derive(Default)]
struct Both;

#[async_trait]
impl NetworkDriver for Both {
    async fn capabilities(&self) -> Result<NetworkCapabilities, DriverError> {
        Ok(NetworkCapabilities { connectivity_scope: Scope::Global, ..NetworkCapabilities::default() })
    }
    async fn create_network(&self, request: CreateNetwork) -> Result<(), DriverError> {
        if request.ipv4.is_empty() { Err(DriverError::invalid("IPv4 is needed")) } else { Ok(()) }
    }
    async fn delete_network(&self, _: &str) -> Result<(), DriverError> {
        Ok(())
    }
    async fn create_endpoint(&self, _: CreateEndpoint) -> Result<Interface, DriverError> {
        Ok(Interface::default())
    }
    async fn delete_endpoint(&self, _: &EndpointId) -> Result<(), DriverError> {
        Ok(())
    }
    async fn join(&self, _: Join) -> Result<Joined, DriverError> {
        let interface = InterfaceName { source: "tap7".into(), prefix: "eth".into(), ..Default::default() };
        Ok(Joined { interface: Some(interface), ..Joined::default() })
    }
    async fn leave(&self, _: &EndpointId) -> Result<(), DriverError> {
        Ok(())
    }
}

#[async_trait]
impl IpamDriver for Both {
    async fn default_address_spaces(&self) -> Result<AddressSpaces, DriverError> {
        Ok(AddressSpaces { local: "here".into(), global: "there".into() })
    }
    async fn request_pool(&self, _: PoolRequest) -> Result<Pool, DriverError> {
        Err(DriverError::new(ErrorKind::Unavailable, "there are none"))
    }
    async fn release_pool(&self, _: &str) -> Result<(), DriverError> {
        Ok(())
    }
    async fn request_address(&self, request: AddressRequest) -> Result<Address, DriverError> {
        let address = "10.0.0.2/24".parse().map_err(|_| DriverError::internal(request.pool))?;
        Ok(Address { address, data: Default::default() })
    }
    async fn release_address(&self, _: &str, _: IpAddr) -> Result<(), DriverError> {
        Ok(())
    }
}

async fn post(socket: &Path, path: &str, body: &str) -> (u16, String) {
    let mut stream = UnixStream::connect(socket).await.unwrap();
    let length = body.len();
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

#[tokio::test]
async fn one_socket_serves_both_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("s.sock");
    let running = Server::network_and_ipam(Both).start(Listen::unix(&socket)).unwrap();
    let expect = async |path: &str, body: &str, status: u16, answer: &str| {
        assert_eq!(post(&socket, path, body).await, (status, format!("{answer}\n")), "{path}");
    };
    expect("/Plugin.Activate", "", 200, r#"{"Implements":["NetworkDriver","IpamDriver"]}"#).await;
    expect(
        "/NetworkDriver.GetCapabilities",
        "",
        200,
        r#"{"Scope":"local","ConnectivityScope":"global","GwAllocChecker":false}"#,
    )
    .await;
    let network =
        |pools| format!("{{\"NetworkID\":\"n\",\"Options\":null,\"IPv4Data\":{pools},\"IPv6Data\":[]}}");
    expect("/NetworkDriver.CreateNetwork", &network(r#"[{"AddressSpace":"a"}]"#), 200, "{}").await;
    expect(
        "/NetworkDriver.CreateNetwork",
        &network("null"),
        500,
        r#"{"Err":"IPv4 is needed","Kind":"invalid-argument"}"#,
    )
    .await;
    let ids = r#"{"NetworkID":"n","EndpointID":"e"}"#;
    expect(
        "/NetworkDriver.Join",
        ids,
        200,
        "{\"InterfaceName\":{\"SrcName\":\"tap7\",\"DstName\":\"\",\"DstPrefix\":\"eth\"},\"Gateway\":\"\",\
         \"GatewayIPv6\":\"\",\"StaticRoutes\":[],\"DisableGatewayService\":false}",
    )
    .await;
    for quiet in ["CreateEndpoint", "ProgramExternalConnectivity", "RevokeExternalConnectivity", "Leave"] {
        expect(&format!("/NetworkDriver.{quiet}"), ids, 200, "{}").await;
    }
    expect("/NetworkDriver.EndpointOperInfo", ids, 200, r#"{"Value":{}}"#).await;
    expect("/NetworkDriver.AllocateNetwork", &network("[]"), 200, r#"{"Options":{}}"#).await;
    expect("/NetworkDriver.DiscoverNew", r#"{"DiscoveryType":2,"DiscoveryData":[]}"#, 200, "{}").await;
    expect(
        "/IpamDriver.GetDefaultAddressSpaces",
        "",
        200,
        r#"{"LocalDefaultAddressSpace":"here","GlobalDefaultAddressSpace":"there"}"#,
    )
    .await;
    expect("/IpamDriver.RequestPool", "{}", 500, r#"{"Err":"there are none","Kind":"unavailable"}"#).await;
    expect("/IpamDriver.RequestAddress", r#"{"PoolID":"p"}"#, 200, r#"{"Address":"10.0.0.2/24","Data":{}}"#)
        .await;
    expect(
        "/VolumeDriver.List",
        "",
        404,
        r#"{"Err":"this plugin has no /VolumeDriver.List","Kind":"unsupported"}"#,
    )
    .await;
    assert_eq!(post(&socket, "/NetworkDriver.Join", "{}").await.0, 400);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn contracts_are_added_one_by_one() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("s.sock");
    let running = Server::ipam(Both).start(Listen::unix(&socket)).unwrap();
    assert_eq!(post(&socket, "/NetworkDriver.Join", "{}").await.0, 404);
    running.stop().await.unwrap();
    let running = Server::ipam(Both).and_network(Both).start(Listen::unix(&socket)).unwrap();
    let (_, answer) = post(&socket, "/Plugin.Activate", "").await;
    assert_eq!(answer, "{\"Implements\":[\"NetworkDriver\",\"IpamDriver\"]}\n");
    running.stop().await.unwrap();
}
