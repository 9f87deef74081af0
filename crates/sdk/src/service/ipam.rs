use pintle_contract::IpamDriver;
use pintle_wire::ipam::{Method, Reply, Request};

use super::Answer;

pub(super) async fn call(driver: &dyn IpamDriver, method: Method, body: &[u8]) -> Answer {
    let request = match Request::decode(method, body) {
        Ok(request) => request,
        Err(error) => return Answer::unreadable(&error),
    };
    let reply = match request {
        Request::Capabilities => driver.capabilities().await.map(Reply::Capabilities),
        Request::AddressSpaces => driver.default_address_spaces().await.map(Reply::AddressSpaces),
        Request::RequestPool(request) => driver.request_pool(request).await.map(Reply::Pool),
        Request::ReleasePool(pool) => driver.release_pool(&pool).await.map(|()| Reply::Done),
        Request::RequestAddress(request) => driver.request_address(request).await.map(Reply::Address),
        Request::ReleaseAddress { pool, address } => {
            driver.release_address(&pool, address).await.map(|()| Reply::Done)
        }
    };
    Answer::of(reply, Reply::encode)
}
