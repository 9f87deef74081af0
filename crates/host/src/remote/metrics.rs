use std::{sync::Arc, time::Duration};

use pintle_contract::{DriverError, MetricsCollector};
use pintle_wire::metrics::{Method, accept};

use super::{Budget, Client};

const BUDGET: Budget = Budget { total: Duration::from_secs(10), connect: Duration::from_secs(2) };

/// The metrics contract, kept by a plugin.
#[derive(Debug)]
pub struct Metrics {
    client: Arc<Client>,
}

impl Metrics {
    /// The collector behind `client`.
    pub fn new(client: Arc<Client>) -> Self {
        Self { client }
    }

    async fn call(&self, method: Method) -> Result<(), DriverError> {
        let (status, body) = self.client.call(method.path(), None, BUDGET).await?;
        accept(method, status, &body)
            .inspect_err(|error| self.client.note_failure(method.name(), &error.message))
    }
}

#[async_trait::async_trait]
impl MetricsCollector for Metrics {
    async fn start(&self) -> Result<(), DriverError> {
        self.call(Method::Start).await
    }

    async fn stop(&self) -> Result<(), DriverError> {
        self.call(Method::Stop).await
    }
}
