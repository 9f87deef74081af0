use std::{sync::Arc, time::Duration};

use pintle_contract::{
    Authorizer, DriverError,
    authorization::{Answer, Request, Verdict},
};
use pintle_wire::authorization::{Fields, Method, decode_verdict, encode};

use super::{Budget, Client};

/// Somebody waits for every one of these calls with every request, so they are short.
const BUDGET: Budget = Budget { total: Duration::from_secs(10), connect: Duration::from_secs(2) };

/// The authorization contract, kept by a plugin. The inverse of `pintle_sdk`'s serving end.
#[derive(Debug)]
pub struct Authorization {
    client: Arc<Client>,
    fields: Fields,
}

impl Authorization {
    /// The authorizer behind `client`; `extended` if it asked for more than Docker's fields.
    pub fn new(client: Arc<Client>, extended: bool) -> Self {
        Self { client, fields: if extended { Fields::Extended } else { Fields::Docker } }
    }

    async fn call(&self, method: Method, body: Vec<u8>) -> Result<Verdict, DriverError> {
        let (status, body) = self.client.call(method.path(), Some(body), BUDGET).await?;
        decode_verdict(method, status, &body, self.fields)
            .inspect_err(|error| self.client.note_failure(method.name(), &error.message))
    }
}

#[async_trait::async_trait]
impl Authorizer for Authorization {
    fn is_extended(&self) -> bool {
        self.fields == Fields::Extended
    }

    async fn authorize_request(&self, request: &Request) -> Result<Verdict, DriverError> {
        self.call(Method::Request, encode(request, None, self.fields)).await
    }

    async fn authorize_answer(&self, request: &Request, answer: &Answer) -> Result<Verdict, DriverError> {
        self.call(Method::Answer, encode(request, Some(answer), self.fields)).await
    }
}
