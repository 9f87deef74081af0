use std::path::PathBuf;

use async_trait::async_trait;
use pintle_contract::{CreateVolume, DriverError, MountId, Volume, VolumeCapabilities, VolumeDriver};
use pintle_wire::volume::{Reply, Request as Call};

use super::{PluginClient, mismatch};

impl PluginClient {
    async fn volume(&self, call: Call) -> Result<Reply, DriverError> {
        let method = call.method();
        let (status, body) = self.post(method.path(), call.encode()).await?;
        Reply::decode(method, status, &body)
    }
}

#[async_trait]
impl VolumeDriver for PluginClient {
    async fn capabilities(&self) -> Result<VolumeCapabilities, DriverError> {
        match self.volume(Call::Capabilities).await? {
            Reply::Capabilities(capabilities) => Ok(capabilities),
            other => Err(mismatch(&other)),
        }
    }

    async fn create(&self, request: CreateVolume) -> Result<(), DriverError> {
        self.volume(Call::Create(request)).await.map(drop)
    }

    async fn remove(&self, name: &str) -> Result<(), DriverError> {
        self.volume(Call::Remove { name: name.to_owned() }).await.map(drop)
    }

    async fn mount(&self, name: &str, id: &MountId) -> Result<PathBuf, DriverError> {
        match self.volume(Call::Mount { name: name.to_owned(), id: id.clone() }).await? {
            Reply::Mountpoint(Some(path)) => Ok(path),
            other => Err(mismatch(&other)),
        }
    }

    async fn unmount(&self, name: &str, id: &MountId) -> Result<(), DriverError> {
        self.volume(Call::Unmount { name: name.to_owned(), id: id.clone() }).await.map(drop)
    }

    async fn path(&self, name: &str) -> Result<Option<PathBuf>, DriverError> {
        match self.volume(Call::Path { name: name.to_owned() }).await? {
            Reply::Mountpoint(path) => Ok(path),
            other => Err(mismatch(&other)),
        }
    }

    async fn get(&self, name: &str) -> Result<Volume, DriverError> {
        match self.volume(Call::Get { name: name.to_owned() }).await? {
            Reply::Volume(volume) => Ok(volume),
            other => Err(mismatch(&other)),
        }
    }

    async fn list(&self) -> Result<Vec<Volume>, DriverError> {
        match self.volume(Call::List).await? {
            Reply::Volumes(volumes) => Ok(volumes),
            other => Err(mismatch(&other)),
        }
    }
}
