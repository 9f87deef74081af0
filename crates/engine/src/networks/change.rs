//! Joining and leaving networks while a container runs, and the way out that the engine gives when drivers do not.

use std::{path::Path, sync::Arc};

use tokio_util::sync::CancellationToken;

use super::{
    EndpointSpec, Inner, NetworkSpec, Networks,
    attach::About,
    check,
    detach::Home,
    gateway,
    kernel::namespace_path,
    plan::{dns_names, planned, wishes},
    record::{EndpointRecord, NetworkRecord},
};
use crate::{
    EngineError, ErrorKind,
    containers::{Container, new_id},
};

/// The network by which containers get out whose drivers lead nowhere, as Docker calls it.
const GATEWAY_NETWORK: &str = "docker_gwbridge";
/// Its bridge. Docker's own may be on the same host.
const GATEWAY_BRIDGE: &str = "pintle_gwbridge";

impl Networks {
    /// What a container wants of one more network, by the name that the network has. Refuses what cannot be.
    pub(crate) fn wish(
        &self,
        container: &Container,
        network: &str,
        mut wish: EndpointSpec,
    ) -> Result<(String, EndpointSpec), EngineError> {
        let inner = &self.inner;
        let spec = &container.spec;
        if super::plan::network_of_mode(&spec.network_mode).is_none() {
            return Err(EngineError::invalid(
                "container sharing network namespace with another container or host cannot be connected to any \
                 other network",
            ));
        }
        let record = inner.book.find(network)?;
        check::endpoint(&wish, &record.name, Some(&record))?;
        if spec.network_mode != "host" && record.driver == "host" {
            return Err(EngineError::invalid(
                "cannot connect container to host network - container must be created in host network mode",
            ));
        }
        let mut all = vec![(Arc::clone(&record), wish.clone())];
        for (name, other) in wishes(spec) {
            if let Ok(other_record) = inner.network_for(&name, &other)
                && other_record.id != record.id
            {
                all.push((other_record, other));
            }
        }
        super::plan::alone(&all)?;
        wish.network_id.clone_from(&record.id);
        Ok((record.name.clone(), wish))
    }

    /// The name by which a container knows a network.
    pub(crate) fn known_as(&self, container: &Container, network: &str) -> Result<String, EngineError> {
        let found = self.inner.book.find(network);
        let name = found.as_ref().map_or(network, |record| record.name.as_str()).to_owned();
        if container.spec.network_mode == "host" && found.as_ref().is_ok_and(|record| record.driver == "host")
        {
            return Err(EngineError::invalid(
                "cannot disconnect container from host network - container was created in host network mode",
            ));
        }
        if wishes(&container.spec).contains_key(&name) {
            return Ok(name);
        }
        found?;
        Err(EngineError::internal(format!(
            "container {} is not connected to the network {name}",
            container.id
        )))
    }

    /// Brings a running container into a network.
    pub(crate) async fn join(
        &self,
        container: &Container,
        name: &str,
        wish: EndpointSpec,
    ) -> Result<(), EngineError> {
        let inner = &self.inner;
        let network = inner.network_for(name, &wish)?;
        if inner
            .book
            .of_container(&container.id)
            .iter()
            .any(|other| other.network == network.id && !other.life.leaving)
        {
            return Err(EngineError::new(
                ErrorKind::Forbidden,
                format!("endpoint with name {} already exists in network {}", container.name, network.name),
            ));
        }
        let about = About::of(&container.spec, &inner.config.dns)?;
        let path = namespace_path(&inner.namespaces, &container.id);
        let mut endpoint = inner.endpoint_for(container, &network, wish);
        inner.book.add_endpoints(vec![planned(&endpoint)])?.durable().await?;
        let joined = async {
            let never = CancellationToken::new();
            inner.bring_up(&mut endpoint, &path, &about, &never).await?;
            inner.lead_out(&container.id, &path, &about).await?;
            inner.settle_way_out(&container.id, &path, &about, &never).await?;
            inner.serve_names(container, &path).await?;
            let working = inner.working(&container.id).into_iter().map(|(endpoint, _)| endpoint).collect();
            inner.book.put_endpoints(working).durable().await
        }
        .await;
        match joined {
            Ok(()) => {
                inner.publish("connect", &network, &[("container", &container.id)]);
                Ok(())
            }
            Err(error) => {
                self.give_up(container, &endpoint.id, &path, &about).await;
                Err(error)
            }
        }
    }

    /// Takes a running container out of a network.
    pub(crate) async fn part(&self, container: &Container, name: &str) -> Result<(), EngineError> {
        let inner = &self.inner;
        let network = inner.book.find(name)?;
        let endpoint = inner
            .book
            .of_container(&container.id)
            .into_iter()
            .find(|endpoint| endpoint.network == network.id && !endpoint.life.leaving)
            .ok_or_else(|| {
                EngineError::internal(format!(
                    "container {} is not connected to network {}",
                    container.id, network.name
                ))
            })?;
        let about = About::of(&container.spec, &inner.config.dns)?;
        let path = namespace_path(&inner.namespaces, &container.id);
        self.give_up(container, &endpoint.id, &path, &about).await;
        inner.publish("disconnect", &network, &[("container", &container.id)]);
        Ok(())
    }

    /// Takes an endpoint away from a running container, and lets another lead out.
    async fn give_up(&self, container: &Container, endpoint: &str, path: &Path, about: &About) {
        let inner = &self.inner;
        let found = inner.book.read().endpoint(endpoint).cloned();
        if let Some(endpoint) = found {
            inner.take_away(endpoint, Home::Stays(path)).await;
        }
        let never = CancellationToken::new();
        let others = async {
            inner.lead_out(&container.id, path, about).await?;
            inner.settle_way_out(&container.id, path, about, &never).await
        };
        if let Err(error) = others.await {
            tracing::warn!(container = %container.id, %error, "no other network leads it out now");
        }
        let working = inner.working(&container.id).into_iter().map(|(endpoint, _)| endpoint).collect();
        drop(inner.book.put_endpoints(working));
    }

    /// Takes away what a network has of a container that the engine does not know any more.
    pub(crate) async fn forget_member(&self, network: &str, name: &str) -> Result<(), EngineError> {
        let inner = &self.inner;
        let record = inner.book.find(network)?;
        let found = inner
            .book
            .read()
            .in_network(&record.id)
            .find(|endpoint| (endpoint.name == name || endpoint.container == name) && !endpoint.life.leaving)
            .cloned();
        let endpoint = found.ok_or_else(|| EngineError::not_found(format!("endpoint {name} not found")))?;
        inner.take_away(endpoint, Home::Gone).await;
        inner.publish("disconnect", &record, &[("container", name)]);
        Ok(())
    }

    /// Has a container's endpoints know its new name.
    pub(crate) async fn rename(&self, container: &Container) -> Result<(), EngineError> {
        let mut written = None;
        for endpoint in self.inner.book.of_container(&container.id) {
            let Some(network) = self.inner.book.network(&endpoint.network) else { continue };
            if endpoint.life.leaving || endpoint.gateway_service {
                continue;
            }
            let names = dns_names(container, &network, &endpoint.spec.aliases);
            written = Some(self.inner.book.change_endpoint(&endpoint.id, |endpoint| {
                endpoint.name.clone_from(&container.name);
                endpoint.dns_names = names;
            }));
        }
        match written {
            Some(written) => written.durable().await,
            None => Ok(()),
        }
    }
}

impl Inner {
    /// Gives a container the engine's own way out if it needs one, and takes it if it does not any more.
    pub(super) async fn settle_way_out(
        self: &Arc<Self>,
        container: &str,
        path: &Path,
        about: &About,
        cancel: &CancellationToken,
    ) -> Result<(), EngineError> {
        let working = self.working(container);
        let own = working.iter().find(|(endpoint, _)| endpoint.gateway_service);
        match (own, gateway::needs_gateway_service(&working)) {
            (None, true) => {
                let network = self.gateway_network().await?;
                let mut endpoint = EndpointRecord {
                    id: new_id(),
                    network: network.id.clone(),
                    container: container.to_owned(),
                    name: format!("gateway_{}", container.get(..12).unwrap_or(container)),
                    gateway_service: true,
                    ..EndpointRecord::default()
                };
                self.book.add_endpoints(vec![planned(&endpoint)])?.durable().await?;
                self.bring_up(&mut endpoint, path, about, cancel).await?;
                self.lead_out(container, path, about).await
            }
            (Some((endpoint, _)), false) => {
                let found = self.book.read().endpoint(&endpoint.id).cloned();
                if let Some(endpoint) = found {
                    self.take_away(endpoint, Home::Stays(path)).await;
                }
                self.lead_out(container, path, about).await
            }
            _ => Ok(()),
        }
    }

    async fn gateway_network(self: &Arc<Self>) -> Result<Arc<NetworkRecord>, EngineError> {
        if let Ok(network) = self.book.find(GATEWAY_NETWORK) {
            return Ok(network);
        }
        let bridge = match self.config.gateway_bridge.as_str() {
            "" => GATEWAY_BRIDGE,
            named => named,
        };
        let options = [
            ("com.docker.network.bridge.name", bridge),
            ("com.docker.network.bridge.enable_icc", "false"),
            ("com.docker.network.bridge.enable_ip_masquerade", "true"),
        ];
        let spec = NetworkSpec {
            name: GATEWAY_NETWORK.to_owned(),
            enable_ipv4: Some(true),
            enable_ipv6: Some(false),
            options: options.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
            ..NetworkSpec::default()
        };
        let record = check::network(&spec, new_id(), None)?;
        match self.create(record, true).await {
            // Somebody else needed it at the same moment.
            Err(error) if error.kind == ErrorKind::Conflict => {}
            made => drop(made?),
        }
        self.book.find(GATEWAY_NETWORK)
    }
}
