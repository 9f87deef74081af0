use pintle_contract::VolumeDriver;
use pintle_wire::volume::{Method, Reply, Request};

use super::Answer;

pub(super) async fn call(driver: &dyn VolumeDriver, method: Method, body: &[u8]) -> Answer {
    let request = match Request::decode(method, body) {
        Ok(request) => request,
        Err(error) => return Answer::unreadable(&error),
    };
    let reply = match request {
        Request::Create(request) => driver.create(request).await.map(|()| Reply::Done),
        Request::Remove { name } => driver.remove(&name).await.map(|()| Reply::Done),
        Request::Mount { name, id } => {
            driver.mount(&name, &id).await.map(|path| Reply::Mountpoint(Some(path)))
        }
        Request::Unmount { name, id } => driver.unmount(&name, &id).await.map(|()| Reply::Done),
        Request::Path { name } => driver.path(&name).await.map(Reply::Mountpoint),
        Request::Get { name } => driver.get(&name).await.map(Reply::Volume),
        Request::List => driver.list().await.map(Reply::Volumes),
        Request::Capabilities => driver.capabilities().await.map(Reply::Capabilities),
    };
    Answer::of(reply, Reply::encode)
}
