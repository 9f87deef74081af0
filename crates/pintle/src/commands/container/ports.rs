//! `-p` and `--expose`.

use anyhow::{Result, anyhow, bail};
use serde_json::{Map, Value, json};

use crate::json::Fields;

type Ports = Map<String, Value>;

/// Exposed ports and port bindings.
pub fn parse(publish: &[String], expose: &[String]) -> Result<(Ports, Ports)> {
    let mut exposed = Map::new();
    let mut bindings = Map::new();
    for text in expose {
        let (ports, protocol) = protocol(text)?;
        let (from, to) = range(ports)?;
        for port in from..=to {
            exposed.insert(format!("{port}/{protocol}"), json!({}));
        }
    }
    for text in publish {
        let long = long_form(text)?;
        let text = long.as_deref().unwrap_or(text);
        let (address, protocol) = protocol(text)?;
        let (front, container) = address.rsplit_once(':').unwrap_or(("", address));
        let (ip, host) = match front.rsplit_once(':') {
            Some((ip, host)) => (ip.trim_matches(['[', ']']), host),
            // `127.0.0.1::80` has an empty host port; a lone front is a host port.
            None => ("", front),
        };
        if !ip.is_empty() && ip.parse::<std::net::IpAddr>().is_err() {
            bail!("invalid IP address: {ip}");
        }
        let (from, to) = range(container)?;
        let hosts = if host.is_empty() { None } else { Some(range(host)?) };
        if hosts.is_some_and(|(first, last)| last - first != to - from && from != to) {
            bail!("invalid ranges specified for container and host Ports: {container} and {host}");
        }
        for (offset, port) in (from..=to).enumerate() {
            let host_port = match hosts {
                None => String::new(),
                // One container port may take any of a range.
                Some((first, last)) if from == to && first != last => format!("{first}-{last}"),
                Some((first, _)) => (usize::from(first) + offset).to_string(),
            };
            let key = format!("{port}/{protocol}");
            exposed.insert(key.clone(), json!({}));
            let slot = bindings.entry(key).or_insert_with(|| json!([]));
            if let Some(list) = slot.as_array_mut() {
                list.push(json!({"HostIp": ip, "HostPort": host_port}));
            }
        }
    }
    Ok((exposed, bindings))
}

/// `published=8080,target=80,protocol=tcp` as `8080:80/tcp`.
fn long_form(text: &str) -> Result<Option<String>> {
    if !text.contains('=') {
        return Ok(None);
    }
    let (mut published, mut target, mut protocol) = ("", "", "tcp");
    for field in text.split(',') {
        match field.split_once('=') {
            Some(("published", value)) => published = value,
            Some(("target", value)) => target = value,
            Some(("protocol", value)) => protocol = value,
            Some((key, _)) if !key.is_empty() => {}
            _ => bail!("invalid publish opts format (should be name=value but got '{field}')"),
        }
    }
    Ok(Some(format!("{published}:{target}/{protocol}")))
}

/// `Ports` of a container in a list: `0.0.0.0:80->80/tcp, 81-83/tcp`. Ports that follow each other, and are the same on
/// both sides, are one range, as in Docker.
pub fn displayed(ports: &[Value]) -> String {
    let mut ports: Vec<_> = ports
        .iter()
        .map(|port| {
            (port.number("PrivatePort"), port.text("IP"), port.number("PublicPort"), port.text("Type"))
        })
        .collect();
    ports.sort_unstable();
    let joined = |ip: &str, port: &str| {
        if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
    };
    let range = |(ip, kind): (&str, &str), (first, last): (i64, i64)| {
        let ports = if first == last { first.to_string() } else { format!("{first}-{last}") };
        match ip {
            "" => format!("{ports}/{kind}"),
            ip => format!("{}->{ports}/{kind}", joined(ip, &ports)),
        }
    };
    let (mut shown, mut elsewhere) = (Vec::new(), Vec::new());
    // By address and protocol, the first and the last of the range that may still grow.
    let mut open: Vec<((&str, &str), _)> = Vec::new();
    for (inside, ip, outside, kind) in ports {
        if !ip.is_empty() && outside != inside {
            elsewhere.push(format!("{}->{inside}/{kind}", joined(ip, &outside.to_string())));
            continue;
        }
        match open.iter_mut().find(|(key, _)| *key == (ip, kind)) {
            None => open.push(((ip, kind), (inside, inside))),
            Some((_, (_, last))) if inside == *last + 1 => *last = inside,
            Some((key, ends)) => {
                shown.push(range(*key, *ends));
                *ends = (inside, inside);
            }
        }
    }
    shown.extend(open.into_iter().map(|(key, ends)| range(key, ends)));
    shown.extend(elsewhere);
    shown.join(", ")
}

fn protocol(text: &str) -> Result<(&str, String)> {
    let (ports, protocol) = text.rsplit_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_lowercase();
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        bail!("invalid proto: {protocol}");
    }
    Ok((ports, protocol))
}

fn range(text: &str) -> Result<(u16, u16)> {
    let bad = || anyhow!("invalid port: {text:?}");
    let (from, to) = text.split_once('-').unwrap_or((text, text));
    let (from, to) = (from.parse().map_err(|_| bad())?, to.parse().map_err(|_| bad())?);
    if to < from { Err(bad()) } else { Ok((from, to)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_ports() {
        let bindings = |text: &str| parse(&[text.to_owned()], &[]).map(|(_, b)| Value::Object(b).to_string());
        for (text, expected) in [
            ("80", r#"{"80/tcp":[{"HostIp":"","HostPort":""}]}"#),
            ("8080:80/udp", r#"{"80/udp":[{"HostIp":"","HostPort":"8080"}]}"#),
            ("127.0.0.1:8080:80", r#"{"80/tcp":[{"HostIp":"127.0.0.1","HostPort":"8080"}]}"#),
            ("127.0.0.1::80", r#"{"80/tcp":[{"HostIp":"127.0.0.1","HostPort":""}]}"#),
            ("[::1]:8080:80", r#"{"80/tcp":[{"HostIp":"::1","HostPort":"8080"}]}"#),
            ("published=8080,target=80,protocol=udp", r#"{"80/udp":[{"HostIp":"","HostPort":"8080"}]}"#),
            ("8000-8001:80", r#"{"80/tcp":[{"HostIp":"","HostPort":"8000-8001"}]}"#),
            (
                "90-91:80-81",
                r#"{"80/tcp":[{"HostIp":"","HostPort":"90"}],"81/tcp":[{"HostIp":"","HostPort":"91"}]}"#,
            ),
        ] {
            assert_eq!(bindings(text).unwrap(), expected, "{text}");
        }
        for text in ["", "x", "80/foo", "90-92:80-81", "70000", "5-4", "published=80,x", "a.b:80:80"] {
            assert!(bindings(text).is_err(), "{text}");
        }
    }

    #[test]
    fn ports_in_lists() {
        let port = |ip: &str, inside: u16, outside: u16| json!({"IP": ip, "PrivatePort": inside, "PublicPort": outside, "Type": "tcp"});
        let list = [
            port("0.0.0.0", 80, 8080),
            port("::", 80, 8080),
            port("0.0.0.0", 90, 90),
            port("0.0.0.0", 91, 91),
            port("0.0.0.0", 95, 95),
            json!({"PrivatePort": 7, "Type": "udp"}),
            json!({"PrivatePort": 8, "Type": "udp"}),
        ];
        assert_eq!(
            displayed(&list),
            "0.0.0.0:90-91->90-91/tcp, 7-8/udp, 0.0.0.0:95->95/tcp, 0.0.0.0:8080->80/tcp, [::]:8080->80/tcp"
        );
        assert_eq!(displayed(&[]), "");
    }
}
