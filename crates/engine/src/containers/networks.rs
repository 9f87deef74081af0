//! A container's place in networks: at its start and end, and joining and leaving while it runs or not.

use std::{net::IpAddr, path::PathBuf, sync::Arc};

use tokio_util::sync::CancellationToken;

use super::{
    Container, ContainerSpec, Containers, State,
    cell::Cell,
    hosts,
    oci::Source,
    service::{Shared, blocking},
};
use crate::{
    EngineError, Pending,
    networks::{ContainerNetworks, EndpointSpec, Place, Reach, network_of_mode},
};

impl Containers {
    /// Puts a container into a network, at once if it runs. Both by id, name or unambiguous prefix of the id.
    pub async fn connect(
        &self,
        name: &str,
        network: &str,
        endpoint: EndpointSpec,
    ) -> Result<(), EngineError> {
        let (shared, cell) = (Arc::clone(&self.shared), self.shared.find(name)?);
        let network = network.to_owned();
        self.run(async move { shared.connect_network(&cell, &network, endpoint).await }).await
    }

    /// Takes a container out of a network. With `force` also one that the engine knows of no more.
    pub async fn disconnect(&self, name: &str, network: &str, force: bool) -> Result<(), EngineError> {
        let shared = Arc::clone(&self.shared);
        let (name, network) = (name.to_owned(), network.to_owned());
        self.run(async move {
            match shared.find(&name) {
                Ok(cell) => shared.disconnect_network(&cell, &network, force).await,
                Err(error) if !force => Err(error),
                Err(_) => shared.networks.forget_member(&network, &name).await,
            }
        })
        .await
    }

    /// What it wants of networks, and what it has.
    pub fn networks(&self, container: &Container) -> ContainerNetworks {
        self.shared.networks.of(container)
    }
}

/// What a start found out about the network.
pub(super) struct Network {
    /// Where its processes find it.
    pub place: Place,
    /// The files to mount.
    pub files: Vec<Source>,
    /// Records that must be on the disk before its process runs.
    pub written: Pending,
}

impl Shared {
    /// Makes a container's sandbox and the files that depend on it; or finds those that it shares.
    pub async fn open_network(
        &self,
        cell: &Arc<Cell>,
        cancel: &CancellationToken,
    ) -> Result<Network, EngineError> {
        let container = cell.container();
        if network_of_mode(&container.spec.network_mode).is_none() {
            return self.share_network(cell, &container);
        }
        let opened = async {
            let plan = self.networks.plan(&container)?;
            self.networks.open_sandbox(plan, cancel).await
        };
        let sandbox = opened.await.map_err(|error| error.context("failed to set up container networking"))?;
        if sandbox.place == Place::Host && container.spec.hostname.is_empty() {
            // As Docker: it is the host, to whoever asks.
            let spec = ContainerSpec { hostname: hosts::host_name(), ..(*container.spec).clone() };
            cell.show(Arc::new(Container { spec: Arc::new(spec), ..(*container).clone() }));
        }
        let container = cell.container();
        let around = self.surroundings(&container, &sandbox.reach)?;
        let (dir, owned) = (self.dir(&container.id), Arc::clone(&container));
        blocking(move || hosts::write(&owned, &dir, &around)).await?;
        let files = hosts::sources(&container, &self.dir(&container.id));
        Ok(Network { place: sandbox.place, files, written: sandbox.written })
    }

    /// The sandbox, the files and the name of the container whose network this one shares.
    fn share_network(&self, cell: &Cell, container: &Arc<Container>) -> Result<Network, EngineError> {
        let donor = self.network_donor(container)?;
        let spec = ContainerSpec {
            hostname: donor.hostname().to_owned(),
            domainname: donor.spec.domainname.clone(),
            ..(*container.spec).clone()
        };
        cell.show(Arc::new(Container { spec: Arc::new(spec), ..(**container).clone() }));
        let place = match donor.spec.network_mode.as_str() {
            "host" => Place::Host,
            _ => Place::Namespace(self.networks.namespace(&donor.id)),
        };
        let files = hosts::sources(container, &self.dir(&donor.id));
        Ok(Network { place, files, written: Pending::nothing() })
    }

    /// The container in whose sandbox this one is to run: that which its mode names, or whose network that one shares.
    fn network_donor(&self, container: &Container) -> Result<Arc<Container>, EngineError> {
        let mut donor: Option<Arc<Container>> = None;
        let mut seen = vec![container.id.clone()];
        loop {
            let mode = donor.as_ref().map_or(&container.spec.network_mode, |donor| &donor.spec.network_mode);
            let Some(name) = mode.strip_prefix("container:") else {
                return donor.ok_or_else(|| EngineError::internal("joins no container's network"));
            };
            let found = self.find(name).map_err(|error| {
                EngineError::internal(error.message).context("joining network namespace of container")
            })?;
            let next = found.container();
            if seen.contains(&next.id) {
                return Err(EngineError::internal("cannot join own network namespace"));
            }
            if matches!(next.life.state, State::Restarting(_)) {
                return Err(EngineError::conflict(format!(
                    "cannot join network namespace of container: Container {name} is restarting, wait until the \
                     container is running"
                )));
            }
            if !next.life.is_running() {
                return Err(EngineError::conflict(format!(
                    "cannot join network namespace of a non running container: container {} is {}",
                    next.name,
                    next.life.status()
                )));
            }
            seen.push(next.id.clone());
            donor = Some(next);
        }
    }

    /// Gives back what a container had of networks.
    pub async fn close_network(&self, container: &Container) {
        if network_of_mode(&container.spec.network_mode).is_some() {
            self.networks.close_sandbox(&container.id).await;
        }
    }

    /// What its networks mean for its files.
    fn surroundings(&self, container: &Container, reach: &Reach) -> Result<hosts::Surroundings, EngineError> {
        let spec = &container.spec;
        let config = self.networks.config();
        let host_network = spec.network_mode == "host";
        Ok(hosts::Surroundings {
            host_network,
            alone: !host_network && reach.addresses.is_empty(),
            addresses: reach.addresses.clone(),
            resolver: reach.resolver,
            name_servers: reach.name_servers.clone(),
            links: self.links(container)?,
            host_gateways: self.networks.host_gateways(),
            dns: config.dns.clone(),
            dns_options: config.dns_options.clone(),
            dns_search: config.dns_search.clone(),
        })
    }

    /// What a container on the default bridge calls others there: names and addresses.
    fn links(&self, container: &Container) -> Result<Vec<(IpAddr, String)>, EngineError> {
        let mut all = Vec::new();
        if !matches!(container.spec.network_mode.as_str(), "" | "default" | "bridge") {
            return Ok(all);
        }
        for link in &container.spec.links {
            let (name, alias) = crate::networks::link(link)?;
            // With the container the link to it is gone.
            let Ok(other) = self.find(&name).map(|cell| cell.container()) else { continue };
            if !other.life.is_running() {
                return Err(EngineError::internal(format!(
                    "Cannot link to a non running container: /{} AS /{}/{alias}",
                    other.name, container.name
                )));
            }
            let networks = self.networks.of(&other);
            let Some(endpoint) = networks.networks.get("bridge") else {
                return Err(EngineError::internal(format!(
                    "Cannot link to /{}, as it does not belong to the default network",
                    other.name
                )));
            };
            let mut names = format!("{alias} {}", other.hostname());
            if alias != other.name {
                names = format!("{names} {}", other.name);
            }
            let v4 = endpoint.address.map(|net| IpAddr::V4(net.addr()));
            let v6 = endpoint.address_v6.map(|net| IpAddr::V6(net.addr()));
            all.extend(v4.into_iter().chain(v6).map(|address| (address, names.clone())));
        }
        Ok(all)
    }

    async fn connect_network(
        &self,
        cell: &Arc<Cell>,
        network: &str,
        endpoint: EndpointSpec,
    ) -> Result<(), EngineError> {
        let _turn = cell.turn.lock().await;
        let container = self.changeable(cell)?;
        let (name, wish) = self.networks.wish(&container, network, endpoint)?;
        if container.life.run().is_none() {
            if container.spec.networks.contains_key(&name) {
                // As Docker: what it wants of that network stays as it was.
                return Ok(());
            }
            return self
                .want_networks(cell, &container, |spec| {
                    spec.networks.insert(name, wish);
                })
                .await;
        }
        let before = self.surroundings(&container, &self.networks.reach(&container));
        self.networks.join(&container, &name, wish.clone()).await?;
        let wanted = self.want_networks(cell, &container, |spec| {
            spec.networks.insert(name.clone(), wish);
        });
        if let Err(error) = wanted.await {
            let _ = self.networks.part(&container, &name).await;
            return Err(error);
        }
        self.refresh_files(&cell.container(), before).await;
        Ok(())
    }

    async fn disconnect_network(
        &self,
        cell: &Arc<Cell>,
        network: &str,
        force: bool,
    ) -> Result<(), EngineError> {
        let _turn = cell.turn.lock().await;
        let container = self.changeable(cell)?;
        let name = match self.networks.known_as(&container, network) {
            // Its name is all that is left of it.
            Err(error) if force && container.spec.networks.contains_key(network) => {
                tracing::debug!(container = %cell.id, %error, "forgetting a network that is gone");
                network.to_owned()
            }
            known => known?,
        };
        let before = self.surroundings(&container, &self.networks.reach(&container));
        // First what is wanted: were the engine to die in between, the next one would see to the rest.
        self.want_networks(cell, &container, |spec| {
            spec.networks.remove(&name);
        })
        .await?;
        if container.life.run().is_some() {
            match self.networks.part(&container, &name).await {
                Err(error) if force => tracing::debug!(container = %cell.id, %error, "was not there"),
                parted => parted?,
            }
            self.refresh_files(&cell.container(), before).await;
        }
        Ok(())
    }

    fn changeable(&self, cell: &Cell) -> Result<Arc<Container>, EngineError> {
        let container = cell.container();
        if cell.snapshot().gone || matches!(container.life.state, State::Removing | State::Dead) {
            return Err(EngineError::conflict(format!(
                "Container {} is marked for removal and cannot be connected or disconnected to the network",
                cell.id
            )));
        }
        Ok(container)
    }

    /// Keeps only some of a container's links.
    pub async fn change_links(
        &self,
        cell: &Arc<Cell>,
        keep: impl Fn(&str) -> bool,
    ) -> Result<(), EngineError> {
        let container = self.changeable(cell)?;
        let before = self.surroundings(&container, &self.networks.reach(&container));
        self.want_networks(cell, &container, |spec| spec.links.retain(|link| keep(link))).await?;
        if container.life.run().is_some() {
            self.refresh_files(&cell.container(), before).await;
        }
        Ok(())
    }

    async fn want_networks(
        &self,
        cell: &Cell,
        container: &Container,
        change: impl FnOnce(&mut ContainerSpec),
    ) -> Result<(), EngineError> {
        let mut spec = (*container.spec).clone();
        change(&mut spec);
        let changed = Arc::new(Container { spec: Arc::new(spec), ..container.clone() });
        self.records.put(Arc::clone(&changed)).await?;
        cell.show(changed);
        Ok(())
    }

    /// Brings the files of a running container up to date.
    async fn refresh_files(
        &self,
        container: &Arc<Container>,
        before: Result<hosts::Surroundings, EngineError>,
    ) {
        let refreshed = async {
            let (before, now) = (before?, self.surroundings(container, &self.networks.reach(container))?);
            let (dir, container): (PathBuf, _) = (self.dir(&container.id), Arc::clone(container));
            blocking(move || Ok(hosts::update(&container, &dir, &before, &now)?)).await
        };
        if let Err(error) = refreshed.await {
            tracing::warn!(container = %container.id, %error, "its hosts file is not up to date");
        }
    }
}
