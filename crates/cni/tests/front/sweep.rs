//! Failures and kills at every call of a driver.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;
use pintle_contract::{
    DriverError, IpamDriver, NetworkDriver,
    ipam::{Address, AddressRequest, AddressSpaces, IpamCapabilities, Pool, PoolRequest},
    network::{
        CreateEndpoint, CreateNetwork, EndpointId, GatewayCheck, Interface, Join, Joined,
        NetworkCapabilities, Options, PortBinding,
    },
};
use serde_json::json;
use tokio::sync::Notify;

use crate::house::{House, Sandbox};

/// What is to go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fault {
    #[default]
    None,
    /// The driver refuses; nothing was done.
    Refusal,
    /// The process is killed after the driver did it, and before the next step.
    KilledAfter,
}

/// Counts calls, and lets one of them go wrong.
#[derive(Debug, Clone, Default)]
pub struct Switch {
    pub at: usize,
    pub fault: Fault,
    calls: Arc<AtomicUsize>,
    stop: Arc<Notify>,
}

impl Switch {
    pub fn at(at: usize, fault: Fault) -> Self {
        Self { at, fault, ..Self::default() }
    }

    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    /// Ends when the process is to be killed.
    pub async fn stopped(&self) {
        self.stop.notified().await;
    }

    async fn pass<T>(&self, act: impl Future<Output = Result<T, DriverError>>) -> Result<T, DriverError> {
        let number = self.calls.fetch_add(1, Ordering::SeqCst);
        let fault = if number == self.at { self.fault } else { Fault::None };
        match fault {
            Fault::None => act.await,
            Fault::Refusal => Err(DriverError::internal("the switch is off")),
            Fault::KilledAfter => {
                let _ = act.await;
                self.stop.notify_one();
                std::future::pending().await
            }
        }
    }
}

/// A driver behind a switch.
pub struct Watched<D> {
    pub inner: D,
    pub switch: Switch,
}

#[async_trait]
impl<D: NetworkDriver> NetworkDriver for Watched<D> {
    async fn capabilities(&self) -> Result<NetworkCapabilities, DriverError> {
        self.switch.pass(self.inner.capabilities()).await
    }

    async fn gateway_check(&self, options: &Options) -> Result<GatewayCheck, DriverError> {
        self.switch.pass(self.inner.gateway_check(options)).await
    }

    async fn create_network(&self, request: CreateNetwork) -> Result<(), DriverError> {
        self.switch.pass(self.inner.create_network(request)).await
    }

    async fn delete_network(&self, network: &str) -> Result<(), DriverError> {
        self.switch.pass(self.inner.delete_network(network)).await
    }

    async fn create_endpoint(&self, request: CreateEndpoint) -> Result<Interface, DriverError> {
        self.switch.pass(self.inner.create_endpoint(request)).await
    }

    async fn delete_endpoint(&self, id: &EndpointId) -> Result<(), DriverError> {
        self.switch.pass(self.inner.delete_endpoint(id)).await
    }

    async fn join(&self, request: Join) -> Result<Joined, DriverError> {
        self.switch.pass(self.inner.join(request)).await
    }

    async fn leave(&self, id: &EndpointId) -> Result<(), DriverError> {
        self.switch.pass(self.inner.leave(id)).await
    }

    async fn program_external_connectivity(
        &self,
        id: &EndpointId,
        options: &Options,
    ) -> Result<Vec<PortBinding>, DriverError> {
        self.switch.pass(self.inner.program_external_connectivity(id, options)).await
    }

    async fn revoke_external_connectivity(&self, id: &EndpointId) -> Result<(), DriverError> {
        self.switch.pass(self.inner.revoke_external_connectivity(id)).await
    }

    async fn retain(&self, networks: &[String], endpoints: &[EndpointId]) -> Result<(), DriverError> {
        self.switch.pass(self.inner.retain(networks, endpoints)).await
    }
}

#[async_trait]
impl<D: IpamDriver> IpamDriver for Watched<D> {
    async fn capabilities(&self) -> Result<IpamCapabilities, DriverError> {
        self.switch.pass(self.inner.capabilities()).await
    }

    async fn default_address_spaces(&self) -> Result<AddressSpaces, DriverError> {
        self.switch.pass(self.inner.default_address_spaces()).await
    }

    async fn request_pool(&self, request: PoolRequest) -> Result<Pool, DriverError> {
        self.switch.pass(self.inner.request_pool(request)).await
    }

    async fn release_pool(&self, pool: &str) -> Result<(), DriverError> {
        self.switch.pass(self.inner.release_pool(pool)).await
    }

    async fn request_address(&self, request: AddressRequest) -> Result<Address, DriverError> {
        self.switch.pass(self.inner.request_address(request)).await
    }

    async fn release_address(&self, pool: &str, address: std::net::IpAddr) -> Result<(), DriverError> {
        self.switch.pass(self.inner.release_address(pool, address)).await
    }
}

/// Each call of ADD's goes wrong in each way; DEL then leaves nothing, whether or not the runtime tries again first.
#[test]
fn an_add_that_goes_wrong_anywhere_leaves_nothing() {
    let house = House::new();
    let mut config = house.config(&json!({
        "driver": "bridge", "options": {"com.docker.network.bridge.name": "pcni0"},
        "ipam": {"pools": [{"subnet": "10.36.0.0/24"}, {"subnet": "fd36::/64"}]},
    }));
    config["runtimeConfig"] = json!({"portMappings": [{"hostPort": 18080, "containerPort": 80}]});
    let sandbox = Sandbox::new();
    let counter = Switch::at(usize::MAX, Fault::None);
    let (fine, answer) = house.call_switched("ADD", "c", &sandbox, &config, &counter);
    assert!(fine, "{answer}");
    house.ok("DEL", "c", &sandbox, &config);
    house.assert_empty();
    let calls = counter.calls();
    assert!(calls > 15, "{calls}");
    for fault in [Fault::Refusal, Fault::KilledAfter] {
        for at in 0..calls {
            let switch = Switch::at(at, fault);
            let (fine, answer) = house.call_switched("ADD", "c", &sandbox, &config, &switch);
            if fine {
                // Something that is told again before it is needed may fail unnoticed, as long as what is needed works.
                assert_eq!(fault, Fault::Refusal, "{at}: {answer}");
            } else if fault == Fault::Refusal {
                assert!(answer["msg"].as_str().unwrap().contains("the switch is off"), "{at}: {answer}");
                house.assert_empty();
            }
            let trace = format!("{fault:?} at {at}");
            if at % 2 == 0 && !fine {
                let (fine, answer) = house.call("ADD", "c", &sandbox, &config);
                assert!(fine, "{trace}: {answer}");
                assert_eq!(answer["ips"][0]["address"], "10.36.0.2/24", "{trace}");
            }
            let (fine, answer) = house.call("DEL", "c", &sandbox, &config);
            assert!(fine, "{trace}: {answer}");
            assert_eq!(sandbox.sh("ip -br link | grep -v ^lo || true"), "", "{trace}");
            house.assert_empty();
        }
    }
}

/// The same for DEL: the runtime repeats it until it succeeds.
#[test]
fn a_del_that_goes_wrong_anywhere_can_be_repeated() {
    let house = House::new();
    let mut config = house.config(&json!({"ipam": {"subnet": "10.37.0.0/24"}}));
    config["runtimeConfig"] = json!({"portMappings": [{"hostPort": 18080, "containerPort": 80}]});
    let sandbox = Sandbox::new();
    let mut at = 0;
    loop {
        let mut reached = false;
        for fault in [Fault::Refusal, Fault::KilledAfter] {
            house.ok("ADD", "c", &sandbox, &config);
            let switch = Switch::at(at, fault);
            house.call_switched("DEL", "c", &sandbox, &config, &switch);
            reached |= switch.calls() > at;
            let (fine, answer) = house.call("DEL", "c", &sandbox, &config);
            assert!(fine, "{fault:?} at {at}: {answer}");
            house.assert_empty();
        }
        if !reached {
            break;
        }
        at += 1;
    }
    assert!(at > 8, "{at}");
}
