//! Networks, and containers' places in them, in the API's shapes.

use std::collections::BTreeMap;

use pintle_api::{
    container::Port,
    host_config::PortBinding,
    network::{
        CreateRequest, EndpointIpamConfig, EndpointResource, EndpointSettings, Ipam, IpamConfig, Network,
    },
    time,
};
use pintle_contract::Scope;
use pintle_engine::networks::{
    self, ContainerNetworks, Endpoint, EndpointSpec, IpamSpec, Member, NetworkSpec, PublishSpec, Subnet,
    SubnetSpec,
};

/// `POST /networks/create`. Clients from before 1.48 do not know that IPv4 can be left out.
pub(crate) fn create(request: CreateRequest, knows_ipv4: bool) -> NetworkSpec {
    let ipam = request.ipam.unwrap_or_default();
    NetworkSpec {
        name: request.name,
        driver: request.driver,
        enable_ipv4: request.enable_ipv4.filter(|_| knows_ipv4),
        enable_ipv6: request.enable_ipv6,
        internal: request.internal,
        attachable: request.attachable,
        ingress: request.ingress,
        config_only: request.config_only,
        config_from: request.config_from.unwrap_or_default().network,
        scope: request.scope,
        options: request.options.unwrap_or_default(),
        labels: request.labels.unwrap_or_default(),
        ipam: IpamSpec {
            driver: ipam.driver,
            options: ipam.options.unwrap_or_default(),
            config: ipam.config.unwrap_or_default().into_iter().map(subnet_spec).collect(),
        },
    }
}

fn subnet_spec(config: IpamConfig) -> SubnetSpec {
    SubnetSpec {
        subnet: config.subnet,
        ip_range: config.ip_range,
        gateway: config.gateway,
        aux_addresses: config.auxiliary_addresses.unwrap_or_default(),
    }
}

/// A network; who is in it only where that was asked for.
pub(crate) fn network(network: &networks::Network, with_members: bool) -> Network {
    let members = network.endpoints.iter().filter(|_| with_members);
    let subnets: Vec<_> = network.subnets.iter().map(subnet).collect();
    Network {
        name: network.name.clone(),
        id: network.id.clone(),
        created: time::rfc3339_nano(network.created),
        scope: match network.scope {
            Scope::Local => "local",
            Scope::Global => "global",
        }
        .to_owned(),
        driver: network.driver.clone(),
        enable_ipv4: network.enable_ipv4,
        enable_ipv6: network.enable_ipv6,
        ipam: Ipam {
            driver: network.ipam_driver.clone(),
            options: (!network.ipam_options.is_empty()).then(|| network.ipam_options.clone()),
            config: (!subnets.is_empty()).then_some(subnets),
        },
        internal: network.internal,
        attachable: network.attachable,
        ingress: network.ingress,
        config_from: pintle_api::network::ConfigFrom { network: network.config_from.clone() },
        config_only: network.config_only,
        containers: members.map(|(container, member)| (container.clone(), resource(member))).collect(),
        options: network.options.clone(),
        labels: network.labels.clone(),
    }
}

fn text(value: Option<impl ToString>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

fn subnet(subnet: &Subnet) -> IpamConfig {
    let aux: BTreeMap<_, _> =
        subnet.aux_addresses.iter().map(|(name, ip)| (name.clone(), ip.to_string())).collect();
    IpamConfig {
        subnet: text(subnet.subnet),
        ip_range: text(subnet.ip_range),
        gateway: text(subnet.gateway),
        auxiliary_addresses: (!aux.is_empty()).then_some(aux),
    }
}

fn resource(member: &Member) -> EndpointResource {
    EndpointResource {
        name: member.name.clone(),
        endpoint_id: member.endpoint_id.clone(),
        mac_address: member.mac_address.clone(),
        ipv4_address: text(member.address),
        ipv6_address: text(member.address_v6),
    }
}

/// What a client wants of one network.
pub(crate) fn endpoint_spec(settings: EndpointSettings) -> EndpointSpec {
    let addresses = settings.ipam_config.unwrap_or_default();
    EndpointSpec {
        network_id: settings.network_id,
        ipv4_address: addresses.ipv4_address,
        ipv6_address: addresses.ipv6_address,
        link_local_ips: addresses.link_local_ips.unwrap_or_default(),
        mac_address: settings.mac_address,
        aliases: settings.aliases.unwrap_or_default(),
        links: settings.links.unwrap_or_default(),
        driver_opts: settings.driver_opts.unwrap_or_default(),
        gw_priority: settings.gw_priority,
    }
}

/// A container's places, by network name.
pub(crate) fn endpoints(networks: &ContainerNetworks) -> BTreeMap<String, EndpointSettings> {
    networks.networks.iter().map(|(name, endpoint)| (name.clone(), endpoint_settings(endpoint))).collect()
}

fn endpoint_settings(endpoint: &Endpoint) -> EndpointSettings {
    let spec = &endpoint.spec;
    let list = |list: &[String]| (!list.is_empty()).then(|| list.to_vec());
    let addresses = EndpointIpamConfig {
        ipv4_address: spec.ipv4_address.clone(),
        ipv6_address: spec.ipv6_address.clone(),
        link_local_ips: list(&spec.link_local_ips),
    };
    EndpointSettings {
        ipam_config: (addresses != EndpointIpamConfig::default()).then_some(addresses),
        links: list(&spec.links),
        aliases: list(&spec.aliases),
        mac_address: if endpoint.endpoint_id.is_empty() { &spec.mac_address } else { &endpoint.mac_address }
            .clone(),
        driver_opts: (!spec.driver_opts.is_empty()).then(|| spec.driver_opts.clone()),
        gw_priority: spec.gw_priority,
        network_id: endpoint.network_id.clone(),
        endpoint_id: endpoint.endpoint_id.clone(),
        gateway: text(endpoint.gateway),
        ip_address: text(endpoint.address.map(|net| net.addr())),
        ip_prefix_len: endpoint.address.map_or(0, |net| net.prefix_len()),
        ipv6_gateway: text(endpoint.gateway_v6),
        global_ipv6_address: text(endpoint.address_v6.map(|net| net.addr())),
        global_ipv6_prefix_len: endpoint.address_v6.map_or(0, |net| net.prefix_len()),
        dns_names: list(&endpoint.dns_names),
    }
}

/// `Ports` of an inspection: what is published where, and `null` for what is only exposed.
pub(crate) fn port_map(networks: &ContainerNetworks) -> BTreeMap<String, Option<Vec<PortBinding>>> {
    let bindings = |ports: &Vec<networks::HostPort>| {
        let binding = |at: &networks::HostPort| PortBinding {
            host_ip: at.ip.to_string(),
            // Reached by the container's own address there is no port of the host's.
            host_port: if at.port == 0 { String::new() } else { at.port.to_string() },
        };
        (!ports.is_empty()).then(|| ports.iter().map(binding).collect())
    };
    networks.ports.iter().map(|(port, ports)| (port.to_string(), bindings(ports))).collect()
}

/// `Ports` of a list.
pub(crate) fn ports(networks: &ContainerNetworks) -> Vec<Port> {
    let mut all = Vec::new();
    for (port, places) in &networks.ports {
        let exposed =
            Port { private_port: port.port, kind: port.protocol.name().to_owned(), ..Port::default() };
        if places.is_empty() {
            all.push(exposed.clone());
        }
        all.extend(places.iter().map(|at| Port {
            ip: at.ip.to_string(),
            public_port: Some(at.port),
            ..exposed.clone()
        }));
    }
    all
}

/// `HostConfig.PortBindings`. A port without a binding is published somewhere, as Docker does.
pub(crate) fn publish(bindings: &BTreeMap<String, Option<Vec<PortBinding>>>) -> Vec<PublishSpec> {
    let mut all = Vec::new();
    for (port, bindings) in bindings {
        let one = |host_ip: &str, host_port: &str| PublishSpec {
            port: port.clone(),
            host_ip: host_ip.to_owned(),
            host_port: host_port.to_owned(),
        };
        match bindings.as_deref() {
            None | Some([]) => all.push(one("", "")),
            Some(bindings) => {
                all.extend(bindings.iter().map(|binding| one(&binding.host_ip, &binding.host_port)));
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use pintle_api::decode;
    use pintle_contract::network::Protocol;
    use pintle_engine::networks::HostPort;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_the_cli_sends_is_understood() {
        let request: CreateRequest = decode(
            br#"{"CheckDuplicate":true,"Name":"n","Driver":"bridge","EnableIPv4":false,"EnableIPv6":true,
            "IPAM":{"Driver":"default","Options":{"o":"1"},"Config":[{"Subnet":"10.1.0.0/16","IPRange":"10.1.1.0/24",
            "Gateway":"10.1.0.1","AuxiliaryAddresses":{"router":"10.1.0.2"}},{"Subnet":"fd00::/64"}]},"Internal":true,
            "ConfigFrom":{"Network":"base"},"Options":{"com.docker.network.bridge.name":"x"},"Labels":{"a":"b"}}"#,
        )
        .unwrap();
        let spec = create(request.clone(), true);
        assert_eq!((spec.enable_ipv4, spec.enable_ipv6, spec.internal), (Some(false), Some(true), true));
        assert_eq!(spec.config_from, "base");
        assert_eq!(spec.ipam.config.len(), 2);
        assert_eq!(spec.ipam.config[0].aux_addresses["router"], "10.1.0.2");
        assert_eq!(spec.ipam.options["o"], "1");
        assert_eq!(create(request, false).enable_ipv4, None);
        assert_eq!(
            create(decode(b"{\"IPAM\":null,\"Options\":null}").unwrap(), true),
            NetworkSpec::default()
        );
    }

    #[test]
    fn a_network_is_shown_with_dockers_nulls() {
        let made = networks::Network {
            id: "i".repeat(64),
            name: "n".to_owned(),
            created: chrono::DateTime::UNIX_EPOCH,
            scope: Scope::Local,
            driver: "bridge".to_owned(),
            enable_ipv4: true,
            enable_ipv6: false,
            internal: false,
            attachable: false,
            ingress: false,
            config_only: false,
            config_from: String::new(),
            ipam_driver: "default".to_owned(),
            ipam_options: BTreeMap::new(),
            subnets: vec![Subnet {
                subnet: Some("10.1.0.0/16".parse().unwrap()),
                gateway: Some("10.1.0.1".parse().unwrap()),
                ..Subnet::default()
            }],
            options: BTreeMap::new(),
            labels: BTreeMap::new(),
            predefined: false,
            trouble: None,
            endpoints: BTreeMap::from([(
                "c".repeat(64),
                Member {
                    name: "web".to_owned(),
                    endpoint_id: "e".to_owned(),
                    mac_address: "02:00:00:00:00:01".to_owned(),
                    address: Some("10.1.0.2/16".parse().unwrap()),
                    address_v6: None,
                },
            )]),
        };
        let shown = serde_json::to_value(network(&made, true)).unwrap();
        assert_eq!(
            shown,
            json!({
                "Name": "n", "Id": "i".repeat(64), "Created": "1970-01-01T00:00:00Z", "Scope": "local",
                "Driver": "bridge", "EnableIPv4": true, "EnableIPv6": false,
                "IPAM": {"Driver": "default", "Options": null,
                    "Config": [{"Subnet": "10.1.0.0/16", "Gateway": "10.1.0.1"}]},
                "Internal": false, "Attachable": false, "Ingress": false, "ConfigFrom": {"Network": ""},
                "ConfigOnly": false,
                "Containers": {"c".repeat(64): {"Name": "web", "EndpointID": "e", "MacAddress": "02:00:00:00:00:01",
                    "IPv4Address": "10.1.0.2/16", "IPv6Address": ""}},
                "Options": {}, "Labels": {},
            })
        );
        assert!(network(&made, false).containers.is_empty());
    }

    #[test]
    fn ports_are_shown_where_they_are() {
        let port = |port| networks::Port { port, protocol: Protocol::Tcp };
        let at = |ip: &str, port| HostPort { ip: ip.parse().unwrap(), port };
        let networks = ContainerNetworks {
            ports: BTreeMap::from([
                (port(80), vec![at("0.0.0.0", 8080), at("::", 8080)]),
                (port(443), Vec::new()),
            ]),
            ..ContainerNetworks::default()
        };
        assert_eq!(
            serde_json::to_value(port_map(&networks)).unwrap(),
            json!({"443/tcp": null, "80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"},
                {"HostIp": "::", "HostPort": "8080"}]})
        );
        assert_eq!(
            serde_json::to_value(ports(&networks)).unwrap(),
            json!([{"IP": "0.0.0.0", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"},
                {"IP": "::", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"},
                {"PrivatePort": 443, "Type": "tcp"}])
        );
    }

    #[test]
    fn a_port_without_a_binding_is_published_somewhere() {
        let bindings = decode(
            br#"{"80/tcp":null,"81/tcp":[],"82/udp":[{"HostIp":"127.0.0.1","HostPort":"8000-8010"},{"HostPort":""}]}"#,
        )
        .unwrap();
        let all: Vec<_> = publish(&bindings)
            .into_iter()
            .map(|one| format!("{} {:?} {:?}", one.port, one.host_ip, one.host_port))
            .collect();
        assert_eq!(
            all,
            [r#"80/tcp "" """#, r#"81/tcp "" """#, r#"82/udp "127.0.0.1" "8000-8010""#, r#"82/udp "" """#]
        );
    }
}
