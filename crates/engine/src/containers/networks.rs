//! Joining networks and leaving them, running or not.

use std::sync::Arc;

use super::{Container, Containers};
use crate::{
    EngineError, ErrorKind,
    networks::{ContainerNetworks, EndpointSpec},
};

impl Containers {
    /// Puts a container into a network, at once if it runs. Both by id, name or unambiguous prefix of the id.
    pub async fn connect(
        &self,
        name: &str,
        _network: &str,
        _endpoint: EndpointSpec,
    ) -> Result<(), EngineError> {
        let (shared, cell) = (Arc::clone(&self.shared), self.shared.find(name)?);
        self.run(async move {
            let _turn = cell.turn.lock().await;
            let _ = &shared.networks;
            Err(EngineError::new(ErrorKind::NotImplemented, "networks are being built"))
        })
        .await
    }

    /// Takes a container out of a network. With `force` also one that the engine knows of no more.
    pub async fn disconnect(&self, name: &str, _network: &str, _force: bool) -> Result<(), EngineError> {
        self.shared.find(name)?;
        Err(EngineError::new(ErrorKind::NotImplemented, "networks are being built"))
    }

    /// What it wants of networks, and what it has.
    pub fn networks(&self, container: &Container) -> ContainerNetworks {
        self.shared.networks.of(container)
    }
}
