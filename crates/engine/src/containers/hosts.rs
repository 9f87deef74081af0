//! The files of a container's own that say who it is and whom it can ask: `hostname`, `hosts`, `resolv.conf`.

use std::{fmt::Write as _, io, path::Path};

use super::{Container, ContainerSpec, MountKind, MountPoint, oci::Source};

/// A host's file bigger than this is not copied.
const LARGEST: u64 = 1 << 20;

/// Writes the three files into the container's directory. Returns how to mount them, leaving out those that
/// the client mounts something of its own over.
pub(super) fn write(container: &Container, dir: &Path) -> io::Result<Vec<Source>> {
    let spec = &container.spec;
    let host_network = spec.network_mode == "host";
    let name = if spec.uts_mode == "host" || (host_network && spec.hostname.is_empty()) {
        host_name()
    } else {
        container.hostname().to_owned()
    };
    let resolv = resolv_conf(spec, &read("/etc/resolv.conf"), host_network);
    let base = host_network.then(|| read("/etc/hosts"));
    let mut sources = Vec::new();
    for (file, text) in
        [("hostname", format!("{name}\n")), ("hosts", hosts(spec, &name, base)), ("resolv.conf", resolv)]
    {
        let path = dir.join(file);
        std::fs::write(&path, text)?;
        let destination = format!("/etc/{file}");
        if container.mounts.iter().any(|mount| mount.destination == destination) {
            continue;
        }
        let point = MountPoint {
            kind: MountKind::Bind,
            source: path.clone(),
            destination,
            rw: !spec.read_only,
            propagation: "rprivate".to_owned(),
            ..MountPoint::default()
        };
        sources.push(Source { path, point });
    }
    Ok(sources)
}

fn read(path: &str) -> String {
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.len() <= LARGEST => std::fs::read_to_string(path).unwrap_or_default(),
        _ => String::new(),
    }
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

fn hosts(spec: &ContainerSpec, name: &str, base: Option<String>) -> String {
    let mut text = base.unwrap_or_else(|| {
        let full = if spec.domainname.is_empty() {
            name.to_owned()
        } else {
            format!("{name}.{} {name}", spec.domainname)
        };
        format!(
            "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\n\
             ff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n127.0.0.1\t{full}\n"
        )
    });
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    for extra in &spec.extra_hosts {
        // `name:address`, where the address may hold colons, or `name=address`.
        if let Some((name, address)) = extra.split_once('=').or_else(|| extra.split_once(':')) {
            let address = address.trim_start_matches('[').trim_end_matches(']');
            let address = if address == "host-gateway" { "127.0.0.1" } else { address };
            let _ = writeln!(text, "{address}\t{name}");
        }
    }
    text
}

/// The host's resolver, with what the client says in place of it. A name server on the host's loopback is of
/// no use in another network.
fn resolv_conf(spec: &ContainerSpec, host: &str, host_network: bool) -> String {
    let mut text = String::new();
    let fields = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let mut servers = spec.dns.clone();
    let mut search = spec.dns_search.clone();
    let mut options = spec.dns_options.clone();
    for line in host.lines() {
        let words = fields(line);
        match words.split_first() {
            Some((key, rest)) if key == "nameserver" && spec.dns.is_empty() => {
                let usable =
                    |server: &&String| host_network || !(server.starts_with("127.") || *server == "::1");
                servers.extend(rest.first().filter(usable).cloned());
            }
            Some((key, rest)) if (key == "search" || key == "domain") && spec.dns_search.is_empty() => {
                search = rest.to_vec();
            }
            Some((key, rest)) if key == "options" && spec.dns_options.is_empty() => {
                options.extend_from_slice(rest)
            }
            _ => {}
        }
    }
    for server in servers {
        let _ = writeln!(text, "nameserver {server}");
    }
    if !search.is_empty() && search != ["."] {
        let _ = writeln!(text, "search {}", search.join(" "));
    }
    if !options.is_empty() {
        let _ = writeln!(text, "options {}", options.join(" "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_resolver() {
        let host = "# x\nnameserver 127.0.0.53\nnameserver 10.0.0.1\nsearch a b\noptions ndots:2\n";
        let plain = ContainerSpec::default();
        assert_eq!(resolv_conf(&plain, host, false), "nameserver 10.0.0.1\nsearch a b\noptions ndots:2\n");
        assert!(resolv_conf(&plain, host, true).starts_with("nameserver 127.0.0.53\n"));
        let own = ContainerSpec { dns: vec!["9.9.9.9".into()], dns_search: vec![".".into()], ..plain };
        assert_eq!(resolv_conf(&own, host, false), "nameserver 9.9.9.9\noptions ndots:2\n");
    }

    #[test]
    fn the_hosts_file() {
        let spec = ContainerSpec {
            extra_hosts: vec!["db:10.0.0.2".into(), "six:fd00::1".into(), "eq=[fd00::2]".into()],
            domainname: "example.org".into(),
            ..ContainerSpec::default()
        };
        let text = hosts(&spec, "web", None);
        assert!(text.contains("127.0.0.1\tweb.example.org web\n"), "{text}");
        assert!(text.ends_with("10.0.0.2\tdb\nfd00::1\tsix\nfd00::2\teq\n"), "{text}");
        assert_eq!(hosts(&ContainerSpec::default(), "x", Some("1.2.3.4 a".into())), "1.2.3.4 a\n");
    }
}
