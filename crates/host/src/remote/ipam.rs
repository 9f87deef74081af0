use std::{collections::BTreeSet, net::IpAddr, sync::Arc, time::Duration};

use ipnet::IpNet;
use pintle_contract::{
    DriverError, ErrorKind, IpamDriver,
    ipam::{Address, AddressRequest, AddressSpaces, IpamCapabilities, Pool, PoolRequest},
};
use pintle_wire::ipam::{Method, Reply, Request};
use tokio::sync::OnceCell;

use super::{Budget, Client};

/// For calls that give and take: a driver may have to ask others.
const LONG: Duration = Duration::from_secs(60);
/// For calls that ask.
const SHORT: Duration = Duration::from_secs(10);
/// How long a call waits for a plugin that is just being started again.
const PATIENCE: Duration = Duration::from_secs(2);
/// How many pools that do not fit are held while another is asked for. More than that is a driver that does not look
/// at what it has given.
const MOST_TRIES: usize = 64;

/// The IPAM contract, kept by a plugin. The inverse of `pintle_sdk`'s serving end.
#[derive(Debug)]
pub struct Ipam {
    client: Arc<Client>,
    /// Asked once for each life of a plugin.
    capabilities: OnceCell<IpamCapabilities>,
}

impl Ipam {
    /// The driver behind `client`.
    pub fn new(client: Arc<Client>) -> Self {
        Self { client, capabilities: OnceCell::new() }
    }

    async fn call(&self, request: Request) -> Result<Reply, DriverError> {
        let method = request.method();
        let total = match method {
            Method::GetCapabilities | Method::GetDefaultAddressSpaces => SHORT,
            _ => LONG,
        };
        let budget = Budget { total, connect: PATIENCE };
        let (status, body) = self.client.call(method.path(), request.encode(), budget).await?;
        Reply::decode(method, status, &body)
            .inspect_err(|error| self.client.note_failure(method.name(), &error.message))
    }

    async fn pool(&self, request: PoolRequest) -> Result<Pool, DriverError> {
        match self.call(Request::RequestPool(request)).await? {
            Reply::Pool(pool) => Ok(pool),
            _ => Err(misfit(Method::RequestPool)),
        }
    }

    /// Asks until a pool lies clear of `avoid`. What does not is kept in `held`, so that it is not given again.
    async fn clear_pool(
        &self,
        request: &PoolRequest,
        avoid: &[IpNet],
        held: &mut BTreeSet<String>,
    ) -> Result<Pool, DriverError> {
        loop {
            let pool = self.pool(request.clone()).await?;
            // "Everything" is no subnet: a driver that gives it leaves addresses to others.
            let is_clear = pool.pool.prefix_len() == 0 || !avoid.iter().any(|used| overlap(used, &pool.pool));
            if is_clear {
                return Ok(pool);
            }
            let is_new = held.insert(pool.id);
            if !is_new || held.len() >= MOST_TRIES {
                let text =
                    format!("every pool that was offered is in use on this host, the last was {}", pool.pool);
                return Err(DriverError::new(ErrorKind::Unavailable, text));
            }
        }
    }
}

/// [`Reply::decode`] answers in the shape of the method, so this is never seen; yet it is no panic.
fn misfit(method: Method) -> DriverError {
    DriverError::internal(format!("{}: the answer belongs to another method", method.name()))
}

fn overlap(one: &IpNet, other: &IpNet) -> bool {
    one.contains(other) || other.contains(one)
}

#[async_trait::async_trait]
impl IpamDriver for Ipam {
    async fn capabilities(&self) -> Result<IpamCapabilities, DriverError> {
        let asked = self.capabilities.get_or_try_init(|| async {
            match self.call(Request::Capabilities).await {
                Ok(Reply::Capabilities(capabilities)) => Ok(capabilities),
                Ok(_) => Err(misfit(Method::GetCapabilities)),
                Err(error) if matches!(error.kind, ErrorKind::Unavailable | ErrorKind::Timeout) => Err(error),
                // Plugins older than the call answer with an error of some kind; they need nothing.
                Err(_) => Ok(IpamCapabilities::default()),
            }
        });
        asked.await.copied()
    }

    async fn default_address_spaces(&self) -> Result<AddressSpaces, DriverError> {
        match self.call(Request::AddressSpaces).await? {
            Reply::AddressSpaces(spaces) => Ok(spaces),
            _ => Err(misfit(Method::GetDefaultAddressSpaces)),
        }
    }

    async fn request_pool(&self, mut request: PoolRequest) -> Result<Pool, DriverError> {
        let avoid = std::mem::take(&mut request.avoid);
        if request.pool.is_some() {
            return self.pool(request).await;
        }
        let mut held = BTreeSet::new();
        let outcome = self.clear_pool(&request, &avoid, &mut held).await;
        for pool in held {
            if let Err(error) = self.release_pool(&pool).await {
                tracing::warn!(pool, %error, "a pool that is not used cannot be given back");
            }
        }
        outcome
    }

    async fn release_pool(&self, pool: &str) -> Result<(), DriverError> {
        self.call(Request::ReleasePool(pool.to_owned())).await.map(drop)
    }

    async fn request_address(&self, request: AddressRequest) -> Result<Address, DriverError> {
        match self.call(Request::RequestAddress(request)).await? {
            Reply::Address(address) => Ok(address),
            _ => Err(misfit(Method::RequestAddress)),
        }
    }

    async fn release_address(&self, pool: &str, address: IpAddr) -> Result<(), DriverError> {
        self.call(Request::ReleaseAddress { pool: pool.to_owned(), address }).await.map(drop)
    }
}
