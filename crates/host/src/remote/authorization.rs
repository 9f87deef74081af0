use std::{sync::Arc, time::Duration};

use pintle_contract::{
    Authorizer, DriverError,
    authorization::{Answer, Request, Verdict},
};
use pintle_wire::authorization::{Method, decode_verdict, encode};

use super::{Budget, Client};

/// Somebody waits for every one of these calls with every request, so they are short.
const BUDGET: Budget = Budget { total: Duration::from_secs(10), connect: Duration::from_secs(2) };

/// The authorization contract, kept by a plugin. The inverse of `pintle_sdk`'s serving end.
#[derive(Debug)]
pub struct Authorization {
    client: Arc<Client>,
}

impl Authorization {
    /// The authorizer behind `client`.
    pub fn new(client: Arc<Client>) -> Self {
        Self { client }
    }

    async fn call(&self, method: Method, body: Vec<u8>) -> Result<Verdict, DriverError> {
        let (status, body) = self.client.call(method.path(), Some(body), BUDGET).await?;
        decode_verdict(method, status, &body)
            .inspect_err(|error| self.client.note_failure(method.name(), &error.message))
    }
}

#[async_trait::async_trait]
impl Authorizer for Authorization {
    async fn authorize_request(&self, request: &Request) -> Result<Verdict, DriverError> {
        self.call(Method::Request, encode(request, None)).await
    }

    async fn authorize_answer(&self, request: &Request, answer: &Answer) -> Result<Verdict, DriverError> {
        self.call(Method::Answer, encode(request, Some(answer))).await
    }
}
