//! What a client wants of networks, in whichever of the API's ways it says so.
//!
//! Settings of the whole container that belong to one network came first, and old clients still send them: they are
//! moved to the network that they mean, in Docker's words where that cannot be told.

use std::collections::BTreeMap;

use pintle_api::{StringMap, container::NetworkingConfig, network::EndpointSettings, version::ApiVersion};
use pintle_contract::network::label;
use pintle_engine::networks::EndpointSpec;

use super::network::endpoint_spec;
use crate::status::Failure;

/// What the request says of the container as a whole.
pub(crate) struct Whole<'a> {
    /// `HostConfig.NetworkMode`.
    pub(crate) mode: &'a str,
    /// `Config.MacAddress`.
    pub(crate) mac_address: &'a str,
    /// `HostConfig.Sysctls`; those of one interface are taken out of it.
    pub(crate) sysctls: &'a mut StringMap,
}

type Settings = BTreeMap<String, EndpointSettings>;

/// What is wanted of each network, by the name or id that the client gave. Adds what it should know to `warnings`.
pub(crate) fn endpoints(
    networking: NetworkingConfig,
    whole: Whole<'_>,
    version: ApiVersion,
    warnings: &mut Vec<String>,
) -> Result<BTreeMap<String, EndpointSpec>, Failure> {
    let before = |minor| version < ApiVersion::minor(minor);
    let mut settings: Settings = networking
        .endpoints_config
        .unwrap_or_default()
        .into_iter()
        .map(|(name, settings)| (name, settings.unwrap_or_default()))
        .collect();
    if let Some(default) = settings.remove("default") {
        settings.entry("bridge".to_owned()).or_insert(default);
    }
    if before(44) && settings.len() > 1 {
        let names: Vec<_> = settings.into_keys().collect();
        return Err(Failure::invalid(format!(
            "Container cannot be connected to network endpoints: {}",
            names.join(", ")
        )));
    }
    mac_address(&mut settings, &whole, version, warnings)?;
    interface_sysctls(&mut settings, whole, version, warnings)?;
    if before(48) {
        settings.values_mut().for_each(|settings| settings.gw_priority = 0);
    }
    Ok(settings.into_iter().map(|(name, settings)| (name, endpoint_spec(settings))).collect())
}

fn network_of(mode: &str) -> &str {
    match mode {
        "" | "default" => "bridge",
        mode => mode,
    }
}

fn has_endpoint_of_its_own(mode: &str) -> bool {
    !matches!(mode, "host" | "none") && !mode.starts_with("container:")
}

/// The settings of the network that the container's mode means.
fn main_network<'s>(
    settings: &'s mut Settings,
    mode: &str,
    version: ApiVersion,
) -> Result<&'s mut EndpointSettings, Failure> {
    let name = network_of(mode);
    if settings.is_empty() {
        return Ok(settings.entry(name.to_owned()).or_default());
    }
    // Older clients can name one network only.
    if version < ApiVersion::minor(44)
        && let Some(only) = settings.keys().next().cloned()
    {
        return Ok(settings.entry(only).or_default());
    }
    settings.get_mut(name).ok_or_else(|| {
        Failure::invalid(
            "HostConfig.NetworkMode must match the identity of a network in NetworkSettings.Networks",
        )
    })
}

fn mac_address(
    settings: &mut Settings,
    whole: &Whole<'_>,
    version: ApiVersion,
    warnings: &mut Vec<String>,
) -> Result<(), Failure> {
    let (wanted, mode) = (whole.mac_address, whole.mode);
    if version < ApiVersion::minor(44) {
        // What such a client says of one network is not something that it can know of.
        settings.values_mut().for_each(|settings| settings.mac_address.clear());
        if wanted.is_empty() {
            return Ok(());
        }
        if !has_endpoint_of_its_own(mode) {
            return Err(Failure::invalid("conflicting options: mac-address and the network mode"));
        }
        wanted.clone_into(&mut main_network(settings, mode, version)?.mac_address);
        return Ok(());
    }
    if wanted.is_empty() {
        return Ok(());
    }
    if has_endpoint_of_its_own(mode) {
        let main = main_network(settings, mode, version).map_err(|error| {
            error.context("unable to migrate container-wide MAC address to a specific network")
        })?;
        if main.mac_address.is_empty() {
            wanted.clone_into(&mut main.mac_address);
        } else if !main.mac_address.eq_ignore_ascii_case(wanted) {
            return Err(Failure::invalid(
                "the container-wide MAC address must match the endpoint-specific MAC address for the main network, or \
                 be left empty",
            ));
        }
    }
    warnings.push(
        "The container-wide MacAddress field is now deprecated. It should be specified in EndpointsConfig instead."
            .to_owned(),
    );
    Ok(())
}

/// The parts of `net.FAMILY.KIND.INTERFACE.NAME`, if the interface is one that a network would be.
fn of_interface(key: &str) -> Option<[&str; 4]> {
    let mut parts = key.splitn(5, '.');
    let (net, family, kind) = (parts.next()?, parts.next()?, parts.next()?);
    let (interface, name) = (parts.next()?, parts.next()?);
    (net == "net" && interface.starts_with("eth")).then_some([family, kind, interface, name])
}

fn interface_sysctls(
    settings: &mut Settings,
    whole: Whole<'_>,
    version: ApiVersion,
    warnings: &mut Vec<String>,
) -> Result<(), Failure> {
    if whole.mode == "host" || whole.mode.starts_with("container:") {
        return Ok(());
    }
    let keys: Vec<_> = whole.sysctls.keys().filter(|key| of_interface(key).is_some()).cloned().collect();
    let Some(first) = keys.first() else { return Ok(()) };
    if version > ApiVersion::minor(47) {
        return Err(Failure::invalid(format!(
            "interface specific sysctl setting {first:?} must be supplied using driver option '{}'",
            label::SYSCTLS
        )));
    }
    let main = main_network(settings, whole.mode, version)
        .map_err(|error| error.context(format!("unable to find a network for sysctl {first}")))?;
    let mut moved = Vec::new();
    for key in &keys {
        let Some([family, kind, interface, name]) = of_interface(key) else { continue };
        if interface != "eth0" {
            return Err(Failure::invalid(format!(
                "unable to determine network endpoint for sysctl {key}, use driver option '{}' to set per-interface \
                 sysctls",
                label::SYSCTLS
            )));
        }
        let value = whole.sysctls.remove(key).unwrap_or_default();
        moved.push(format!("net.{family}.{kind}.IFNAME.{name}={value}"));
    }
    let mut option = moved.join(",");
    warnings.push(format!(
        "Migrated sysctl {:?} to DriverOpts{{{:?}:{option:?}}}.",
        keys.join(","),
        label::SYSCTLS
    ));
    let options = main.driver_opts.get_or_insert_default();
    // What was said of the network itself comes last, and so counts.
    if let Some(own) = options.get(label::SYSCTLS) {
        option = format!("{option},{own}");
    }
    options.insert(label::SYSCTLS.to_owned(), option);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Asked {
        networks: BTreeMap<String, EndpointSpec>,
        sysctls: StringMap,
        warnings: Vec<String>,
    }

    fn ask(
        mode: &str,
        mac: &str,
        sysctls: &[(&str, &str)],
        config: &str,
        minor: u16,
    ) -> Result<Asked, String> {
        let networking =
            NetworkingConfig { endpoints_config: Some(pintle_api::decode(config.as_bytes()).unwrap()) };
        let mut sysctls: StringMap =
            sysctls.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let mut warnings = Vec::new();
        let whole = Whole { mode, mac_address: mac, sysctls: &mut sysctls };
        let networks = endpoints(networking, whole, ApiVersion::minor(minor), &mut warnings)
            .map_err(|failure| failure.message)?;
        Ok(Asked { networks, sysctls, warnings })
    }

    const MAC: &str = "02:42:00:00:00:01";

    #[test]
    fn what_the_cli_sends_is_understood() {
        let asked = ask(
            "n1",
            "",
            &[],
            r#"{"n1":{"IPAMConfig":{"IPv4Address":"10.1.0.9","LinkLocalIPs":["169.254.1.1"]},"Links":["db:x"],
                "Aliases":["a"],"MacAddress":"02:42:00:00:00:01","DriverOpts":{"k":"v"},"GwPriority":5},"n2":null}"#,
            51,
        )
        .unwrap();
        let one = &asked.networks["n1"];
        assert_eq!(
            (one.ipv4_address.as_str(), one.mac_address.as_str(), one.gw_priority),
            ("10.1.0.9", MAC, 5)
        );
        assert_eq!(one.link_local_ips, ["169.254.1.1"]);
        assert_eq!((&one.links[0][..], &one.aliases[0][..], &one.driver_opts["k"][..]), ("db:x", "a", "v"));
        assert_eq!(asked.networks["n2"], EndpointSpec::default());
        let old =
            ask("n1", "", &[], r#"{"n1":{"GwPriority":5,"MacAddress":"02:42:00:00:00:01"}}"#, 43).unwrap();
        assert_eq!(old.networks["n1"], EndpointSpec::default(), "such a client does not know of either");
        let renamed = ask("default", "", &[], r#"{"default":{"Aliases":["a"]}}"#, 51).unwrap();
        assert_eq!(renamed.networks["bridge"].aliases, ["a"]);
        assert!(
            ask("a", "", &[], r#"{"a":{},"b":{}}"#, 43).err().unwrap().ends_with("network endpoints: a, b")
        );
    }

    #[test]
    fn the_containers_mac_address_becomes_the_main_networks() {
        let old = ask("default", MAC, &[], "{}", 43).unwrap();
        assert_eq!((old.networks["bridge"].mac_address.as_str(), old.warnings.len()), (MAC, 0));
        let new = ask("n1", MAC, &[], r#"{"n1":{"Aliases":["a"]}}"#, 44).unwrap();
        assert_eq!((new.networks["n1"].mac_address.as_str(), new.warnings.len()), (MAC, 1));
        let same = ask("n1", MAC, &[], r#"{"n1":{"MacAddress":"02:42:00:00:00:01"}}"#, 44).unwrap();
        assert_eq!(same.networks["n1"].mac_address, MAC);
        let said = |mode, config, minor| ask(mode, MAC, &[], config, minor).err().unwrap();
        assert_eq!(said("host", "{}", 43), "conflicting options: mac-address and the network mode");
        assert!(
            said("n1", r#"{"n1":{"MacAddress":"02:42:00:00:00:02"}}"#, 44)
                .contains("must match the endpoint")
        );
        assert_eq!(
            said("n1", r#"{"n2":{}}"#, 44),
            "unable to migrate container-wide MAC address to a specific network: HostConfig.NetworkMode must match the \
             identity of a network in NetworkSettings.Networks"
        );
    }

    #[test]
    fn sysctls_of_an_interface_become_the_networks() {
        let sysctls = [("net.ipv4.conf.eth0.log_martians", "1"), ("net.ipv4.ip_forward", "1")];
        let asked = ask("n1", "", &sysctls, "{}", 47).unwrap();
        assert_eq!(asked.networks["n1"].driver_opts[label::SYSCTLS], "net.ipv4.conf.IFNAME.log_martians=1");
        assert_eq!(asked.sysctls.len(), 1);
        assert!(asked.warnings[0].starts_with("Migrated sysctl"), "{:?}", asked.warnings);
        let own = format!(r#"{{"n1":{{"DriverOpts":{{"{}":"x=2"}}}}}}"#, label::SYSCTLS);
        let asked = ask("n1", "", &sysctls, &own, 47).unwrap();
        assert!(asked.networks["n1"].driver_opts[label::SYSCTLS].ends_with(",x=2"));
        assert!(
            ask("n1", "", &sysctls, "{}", 48).err().unwrap().starts_with("interface specific sysctl setting")
        );
        assert_eq!(ask("host", "", &sysctls, "{}", 48).unwrap().sysctls.len(), 2);
        let second = [("net.ipv4.conf.eth1.log_martians", "1")];
        assert!(ask("n1", "", &second, "{}", 47).err().unwrap().starts_with("unable to determine"));
    }
}
