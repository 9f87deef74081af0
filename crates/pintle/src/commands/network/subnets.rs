//! Which range, gateway and address that `network create` was given belongs to which subnet.

use std::net::IpAddr;

use anyhow::{Result, anyhow, bail};
use ipnet::IpNet;
use serde_json::{Map, Value, json};

struct Subnet<'a> {
    text: &'a str,
    net: IpNet,
    range: Option<IpNet>,
    gateway: Option<IpAddr>,
    aux: Map<String, Value>,
}

/// `IPAM.Config`, in the order of the subnets.
pub fn config(subnets: &[String], ranges: &[IpNet], gateways: &[IpAddr], aux: &[String]) -> Result<Value> {
    if subnets.len() < ranges.len() || subnets.len() < gateways.len() {
        bail!("every ip-range or gateway must have a corresponding subnet");
    }
    let mut all: Vec<Subnet<'_>> = Vec::new();
    for text in subnets {
        let net: IpNet = text.parse().map_err(|_| anyhow!("invalid subnet: invalid CIDR address: {text}"))?;
        if all.iter().any(|other| other.net.contains(&net.addr()) || net.contains(&other.net.addr())) {
            bail!("multiple overlapping subnet configuration is not supported");
        }
        all.push(Subnet { text, net, range: None, gateway: None, aux: Map::new() });
    }
    for range in ranges {
        let subnet =
            of(&mut all, range.addr()).ok_or_else(|| anyhow!("no matching subnet for range {range}"))?;
        if let Some(other) = subnet.range.replace(*range) {
            bail!("cannot configure multiple ranges ({range}, {other}) on the same subnet ({})", subnet.text);
        }
    }
    for gateway in gateways {
        let subnet =
            of(&mut all, *gateway).ok_or_else(|| anyhow!("no matching subnet for gateway {gateway}"))?;
        if let Some(other) = subnet.gateway.replace(*gateway) {
            bail!(
                "cannot configure multiple gateways ({gateway}, {other}) for the same subnet ({})",
                subnet.text
            );
        }
    }
    for text in aux {
        let (name, address) = text.split_once('=').unwrap_or((text, ""));
        if address.is_empty() {
            continue;
        }
        let ip: IpAddr =
            address.parse().map_err(|_| anyhow!("ParseAddr({address:?}): unable to parse IP"))?;
        let subnet =
            of(&mut all, ip).ok_or_else(|| anyhow!("no matching subnet for aux-address {address}"))?;
        subnet.aux.insert(name.to_owned(), ip.to_string().into());
    }
    Ok(all.into_iter().map(Subnet::into_value).collect())
}

fn of<'s, 'a>(all: &'s mut [Subnet<'a>], address: IpAddr) -> Option<&'s mut Subnet<'a>> {
    all.iter_mut().find(|subnet| subnet.net.contains(&address))
}

impl Subnet<'_> {
    fn into_value(self) -> Value {
        let mut value = Map::from_iter([("Subnet".to_owned(), json!(self.text))]);
        if let Some(range) = self.range {
            value.insert("IPRange".to_owned(), range.to_string().into());
        }
        if let Some(gateway) = self.gateway {
            value.insert("Gateway".to_owned(), gateway.to_string().into());
        }
        if !self.aux.is_empty() {
            value.insert("AuxiliaryAddresses".to_owned(), self.aux.into());
        }
        value.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(subnets: &[&str], ranges: &[&str], gateways: &[&str], aux: &[&str]) -> Result<Value> {
        let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let ranges: Vec<IpNet> = ranges.iter().map(|text| text.parse().unwrap()).collect();
        let gateways: Vec<IpAddr> = gateways.iter().map(|text| text.parse().unwrap()).collect();
        config(&texts(subnets), &ranges, &gateways, &texts(aux))
    }

    #[test]
    fn each_goes_to_the_subnet_that_has_it() {
        let read = read(
            &["10.1.0.0/16", "10.2.0.0/16"],
            &["10.2.1.0/24"],
            &["10.2.0.1", "10.1.0.1"],
            &["a=10.1.0.9", "b="],
        );
        assert_eq!(
            read.unwrap(),
            json!([{"Subnet": "10.1.0.0/16", "Gateway": "10.1.0.1", "AuxiliaryAddresses": {"a": "10.1.0.9"}},
                {"Subnet": "10.2.0.0/16", "IPRange": "10.2.1.0/24", "Gateway": "10.2.0.1"}])
        );
    }

    #[test]
    fn what_fits_nowhere_is_refused() {
        let net: &[&str] = &["10.1.0.0/16"];
        let two: &[&str] = &["10.1.0.0/16", "10.2.0.0/16"];
        for (result, said) in [
            (read(&[], &["10.1.1.0/24"], &[], &[]), "must have a corresponding subnet"),
            (read(&["10.1.0.0/16", "10.1.2.0/24"], &[], &[], &[]), "overlapping"),
            (read(&["x"], &[], &[], &[]), "invalid subnet: invalid CIDR address: x"),
            (read(net, &["10.9.0.0/24"], &[], &[]), "no matching subnet for range 10.9.0.0/24"),
            (read(net, &[], &["10.9.0.1"], &[]), "no matching subnet for gateway 10.9.0.1"),
            (read(two, &[], &["10.1.0.1", "10.1.0.2"], &[]), "cannot configure multiple gateways"),
            (read(two, &["10.1.1.0/24", "10.1.2.0/24"], &[], &[]), "cannot configure multiple ranges"),
            (read(net, &[], &[], &["a=10.9.0.1"]), "no matching subnet for aux-address 10.9.0.1"),
            (read(net, &[], &[], &["a=x"]), "unable to parse IP"),
        ] {
            assert!(result.unwrap_err().to_string().contains(said), "{said}");
        }
    }
}
