//! `-p` and `--expose`.

use anyhow::{Result, anyhow, bail};
use serde_json::{Map, Value, json};

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
        let (address, protocol) = protocol(text)?;
        let (front, container) = address.rsplit_once(':').unwrap_or(("", address));
        let (ip, host) = match front.rsplit_once(':') {
            Some((ip, host)) => (ip.trim_matches(['[', ']']), host),
            // `127.0.0.1::80` has an empty host port; a lone front is a host port.
            None => ("", front),
        };
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
            ("8000-8001:80", r#"{"80/tcp":[{"HostIp":"","HostPort":"8000-8001"}]}"#),
            (
                "90-91:80-81",
                r#"{"80/tcp":[{"HostIp":"","HostPort":"90"}],"81/tcp":[{"HostIp":"","HostPort":"91"}]}"#,
            ),
        ] {
            assert_eq!(bindings(text).unwrap(), expected, "{text}");
        }
        for text in ["", "x", "80/foo", "90-92:80-81", "70000", "5-4"] {
            assert!(bindings(text).is_err(), "{text}");
        }
    }
}
