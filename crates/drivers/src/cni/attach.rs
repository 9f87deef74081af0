//! Attaching and detaching, and what a crash leaves between the two.

use std::{collections::BTreeSet, path::Path};

use pintle_contract::{
    DriverError, ErrorKind,
    network::{CreateEndpoint, EndpointId, Join, Joined, PortBinding, label, port_map},
};
use pintle_wire::cni::{self, Attachment, CacheRecord, Home, NetworkConfig, Success, Version};

use crate::blocking;

use super::{
    Cni,
    chain::Chain,
    network::Network,
    no_network,
    options::{self, Said, Words},
    records, settle,
};

impl Cni {
    /// Brings an endpoint into its sandbox; for one that is in it, says what is there and whether it is in order.
    pub(super) async fn attach(&self, request: Join) -> Result<Joined, DriverError> {
        let (network, endpoint) = self.told(&request.id)?;
        let _turn = self.turns.attachment(&network.config, &request.sandbox_key).await;
        if let Some(record) = self.record(&request.id).await? {
            if Path::new(&record.namespace) == request.sandbox_key
                && let Some(joined) = self.again(&network, &record).await
            {
                return Ok(joined);
            }
            // An attempt that a crash cut short, or one in another sandbox.
            self.undo(&record).await?;
        }
        let config = self.config(&network.config).await?;
        let chain = self.chain(&config).await?;
        chain.status().await?;
        let wanted = port_map(&request.options);
        let ports = match config.takes("portMappings") {
            true => self.ports.take(&request.id.endpoint, &wanted)?,
            false => Vec::new(),
        };
        if ports.len() < wanted.len() {
            tracing::warn!(
                config = %config.name,
                "ports are not published: no plugin of the CNI configuration declares the capability portMappings"
            );
        }
        let attached = self.add(&chain, &network, &endpoint, &request, &ports).await;
        if attached.is_err() {
            self.ports.give_back(&request.id.endpoint);
        }
        Ok(Joined { published: ports, ..attached? })
    }

    fn told(&self, id: &EndpointId) -> Result<(Network, CreateEndpoint), DriverError> {
        let known = self.known();
        let network = known.networks.get(&id.network).ok_or_else(|| no_network(id))?;
        let endpoint = known
            .endpoints
            .get(id)
            .ok_or_else(|| DriverError::not_found(format!("endpoint {} does not exist", id.endpoint)))?;
        Ok((network.clone(), endpoint.clone()))
    }

    async fn add(
        &self,
        chain: &Chain<'_>,
        network: &Network,
        endpoint: &CreateEndpoint,
        request: &Join,
        ports: &[PortBinding],
    ) -> Result<Joined, DriverError> {
        let mut record = record(chain.config, network, endpoint, request, ports)?;
        self.save(&record).await?;
        let added = match chain.add(&record).await {
            Ok(result) => {
                record.result = Some(result);
                accept(&record, network, endpoint, chain.version)
            }
            Err(error) => Err(error),
        };
        let joined = match added {
            Ok(joined) => self.save(&record).await.map(|()| joined),
            Err(error) => Err(error),
        };
        if let Err(error) = &joined {
            // What was made in part must go too; if it does not, the record stays, and it is tried again at boot.
            match chain.del(&record).await {
                Ok(()) => self.forget(record).await?,
                Err(left) => tracing::warn!(%error, %left, "a failed CNI attachment could not be undone yet"),
            }
        }
        joined
    }

    /// What an attachment of before gave, after a look at whether it is still so. `None` if it never came about.
    async fn again(&self, network: &Network, record: &CacheRecord) -> Option<Joined> {
        let result = record.result.as_ref()?;
        let config = NetworkConfig::parse_list(&record.config).ok()?;
        let version = spoken(record, &config);
        let mut joined = settle::joined(&Success::decode(result, version).ok()?, &record.interface);
        let chain = Chain { programs: &self.programs, config: &config, version };
        let trouble = match chain.check(record).await {
            Ok(()) => String::new(),
            Err(error) => {
                tracing::warn!(network = %record.network, endpoint = %record.container, %error, "CNI CHECK failed");
                error.message
            }
        };
        if let Some(home) = record.home.clone().filter(|home| home.trouble != trouble) {
            let home = Some(Home { trouble, ..home });
            if let Err(error) = self.save(&CacheRecord { home, ..record.clone() }).await {
                tracing::warn!(%error, "a CNI record could not be written");
            }
        }
        if network.internal
            && let Some(settled) = &mut joined.settled
        {
            settled.dns = Default::default();
        }
        joined.published = published(record);
        if let Err(error) = self.ports.take(&record.container, &joined.published) {
            tracing::warn!(%error, "a published port of a container that runs is in other hands");
        }
        Some(joined)
    }

    /// Takes an endpoint out of its sandbox, if it is in one.
    pub(super) async fn detach(&self, id: &EndpointId) -> Result<(), DriverError> {
        // Looked up twice: whoever had the turn before may have done it.
        let Some(record) = self.record(id).await? else { return Ok(()) };
        let _turn = self.turns.attachment(&record.network, Path::new(&record.namespace)).await;
        match self.record(id).await? {
            Some(record) => self.undo(&record).await,
            None => Ok(()),
        }
    }

    /// DEL with everything as it was at ADD, whatever the configuration says by now.
    async fn undo(&self, record: &CacheRecord) -> Result<(), DriverError> {
        let config = NetworkConfig::parse_list(&record.config)
            .map_err(|error| DriverError::internal(format!("CNI record of {}: {error}", record.container)))?;
        let version = match record.result {
            Some(_) => spoken(record, &config),
            None => self.versions.agree(&self.programs, &config).await?,
        };
        Chain { programs: &self.programs, config: &config, version }.del(record).await?;
        self.ports.give_back(&record.container);
        self.forget(record.clone()).await
    }

    async fn forget(&self, record: CacheRecord) -> Result<(), DriverError> {
        let records = std::sync::Arc::clone(&self.records);
        blocking(move || {
            records.remove(&record);
            Ok(())
        })
        .await
    }

    /// Undoes every attachment that is none of `endpoints`', then lets plugins do the same with what they keep.
    pub(super) async fn collect(&self, endpoints: &[EndpointId]) -> Result<(), DriverError> {
        let mut configs: BTreeSet<String> =
            self.known().networks.values().map(|network| network.config.clone()).collect();
        let mut first = Ok(());
        for record in self.records().await? {
            if endpoints.iter().any(|id| records::is(&record, id)) {
                continue;
            }
            configs.insert(record.network.clone());
            let _turn = self.turns.attachment(&record.network, Path::new(&record.namespace)).await;
            first = first.and(self.undo(&record).await);
        }
        for name in configs {
            first = first.and(self.collect_one(&name).await);
        }
        first
    }

    async fn collect_one(&self, name: &str) -> Result<(), DriverError> {
        let config = match self.config(name).await {
            Ok(config) => config,
            // It is gone, and with it whoever could be asked.
            Err(error) if error.kind == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        let chain = self.chain(&config).await?;
        let _alone = self.turns.network(name).await;
        let mut valid: Vec<Attachment> = self
            .records()
            .await?
            .into_iter()
            .filter(|record| record.network == name)
            .map(|record| Attachment { container: record.container, interface: record.interface })
            .collect();
        valid.extend(records::foreign(&self.foreign, name));
        chain.gc(&valid).await
    }

    async fn records(&self) -> Result<Vec<CacheRecord>, DriverError> {
        let records = std::sync::Arc::clone(&self.records);
        blocking(move || records.all()).await
    }
}

/// What is known of an attachment before it is made.
fn record(
    config: &NetworkConfig,
    network: &Network,
    endpoint: &CreateEndpoint,
    request: &Join,
    ports: &[PortBinding],
) -> Result<CacheRecord, DriverError> {
    let own = Words::parse(&options::texts(&endpoint.options))?;
    let mut words = network.words.with(&own);
    let wanted = &endpoint.interface;
    Said {
        ports,
        mac: wanted.mac.map(|mac| mac.to_string()),
        addresses: [wanted.address, wanted.address_v6].into_iter().flatten().collect(),
        pools: network.pools.iter().collect(),
        aliases: options::list(&endpoint.options, label::ALIASES),
        dns_servers: options::list(&endpoint.options, label::DNS_SERVERS),
    }
    .join(&mut words, config);
    let interface = options::interface_name(&endpoint.options)
        .or_else(|| Some(request.name.clone()).filter(|name| !name.is_empty()))
        .unwrap_or_else(|| "eth0".to_owned());
    cni::interface_name(&interface).map_err(|error| DriverError::invalid(error.to_string()))?;
    Ok(CacheRecord {
        container: request.id.endpoint.clone(),
        interface,
        network: config.name.clone(),
        config: config.to_list().to_string().into_bytes(),
        namespace: request.sandbox_key.to_string_lossy().into_owned(),
        args: words.args,
        capabilities: words.capabilities,
        result: None,
        home: Some(Home {
            network: request.id.network.clone(),
            endpoint: request.id.endpoint.clone(),
            trouble: String::new(),
        }),
    })
}

/// Looks at what came of ADD, before anybody relies on it.
fn accept(
    record: &CacheRecord,
    network: &Network,
    endpoint: &CreateEndpoint,
    version: Version,
) -> Result<Joined, DriverError> {
    let result = record.result.as_ref().unwrap_or_default();
    let result =
        Success::decode(result, version).map_err(|error| DriverError::internal(error.to_string()))?;
    settle::obeys(&result, &endpoint.interface, &record.interface)?;
    let mut joined = settle::joined(&result, &record.interface);
    if network.internal {
        if settle::leads_out(&result) {
            return Err(DriverError::invalid(format!(
                "the network is internal, but the CNI configuration {} gives containers a default route",
                record.network
            )));
        }
        // Names are a way out too.
        if let Some(settled) = &mut joined.settled {
            settled.dns = Default::default();
        }
    }
    Ok(joined)
}

/// The version in which ADD was answered.
fn spoken(record: &CacheRecord, config: &NetworkConfig) -> Version {
    let said = record.result.as_ref().and_then(|result| result.get("cniVersion")?.as_str()?.parse().ok());
    said.or_else(|| config.versions.iter().rfind(|version| version.is_supported()).copied())
        .unwrap_or(Version::V0_1_0)
}

/// The ports that were published at ADD.
fn published(record: &CacheRecord) -> Vec<PortBinding> {
    let mappings = record.capabilities.get("portMappings").and_then(|list| list.as_array());
    let one = |mapping: &serde_json::Value| {
        let port = |key: &str| u16::try_from(mapping.get(key)?.as_u64()?).ok();
        let text = |key: &str| mapping.get(key).and_then(|text| text.as_str());
        let host_port = port("hostPort")?;
        Some(PortBinding {
            protocol: text("protocol")?.parse().ok()?,
            port: port("containerPort")?,
            host_ip: text("hostIP").and_then(|ip| ip.parse().ok()),
            host_port,
            host_port_end: host_port,
        })
    };
    mappings.into_iter().flatten().filter_map(one).collect()
}
