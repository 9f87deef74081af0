use async_trait::async_trait;
use pintle_contract::{
    Authorizer, DriverError,
    authorization::{Request, Verdict},
};

/// An authorizer that lets everybody look and nobody touch.
#[derive(Debug, Clone, Copy, Default)]
pub struct ReferenceAuthorizer;

#[async_trait]
impl Authorizer for ReferenceAuthorizer {
    async fn authorize_request(&self, request: &Request) -> Result<Verdict, DriverError> {
        Ok(match request.method.as_str() {
            "GET" | "HEAD" => Verdict::allow(),
            method => Verdict::deny(format!("{method} is not for looking")),
        })
    }
}
