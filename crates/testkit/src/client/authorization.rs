use async_trait::async_trait;
use pintle_contract::{
    Authorizer, DriverError,
    authorization::{Answer, Request, Verdict},
};
use pintle_wire::authorization::{Fields, Method, decode_verdict, encode};

use super::PluginClient;

impl PluginClient {
    async fn authorize(&self, method: Method, body: Vec<u8>) -> Result<Verdict, DriverError> {
        let (status, body) = self.post(method.path(), body).await?;
        decode_verdict(method, status, &body, Fields::Docker)
    }
}

#[async_trait]
impl Authorizer for PluginClient {
    async fn authorize_request(&self, request: &Request) -> Result<Verdict, DriverError> {
        self.authorize(Method::Request, encode(request, None, Fields::Docker)).await
    }

    async fn authorize_answer(&self, request: &Request, answer: &Answer) -> Result<Verdict, DriverError> {
        self.authorize(Method::Answer, encode(request, Some(answer), Fields::Docker)).await
    }
}
