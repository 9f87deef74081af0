//! The files of a container's own that say who it is and whom it can ask: `hostname`, `hosts`, `resolv.conf`.

use std::{
    fmt::Write as _,
    io::{self, Seek, SeekFrom, Write as _},
    net::IpAddr,
    path::Path,
};

use super::{Container, ContainerSpec, MountKind, MountPoint, oci::Source};
use crate::{EngineError, networks::RESOLVER};

/// A host's file bigger than this is not copied.
const LARGEST: u64 = 1 << 20;
/// Who is asked from the default bridge where the host names nobody who could be reached, as Docker does.
const LAST_RESORT: [&str; 2] = ["8.8.8.8", "8.8.4.4"];

/// The three files.
const FILES: [&str; 3] = ["hostname", "hosts", "resolv.conf"];

/// What a container's networks mean for its files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Surroundings {
    /// It is in the host's network.
    pub host_network: bool,
    /// It has no network but loopback.
    pub alone: bool,
    /// Its own addresses.
    pub addresses: Vec<IpAddr>,
    /// Names are answered inside.
    pub resolver: bool,
    /// Name servers that a network knows of.
    pub name_servers: Vec<IpAddr>,
    /// What it calls others: names, and whose address that is.
    pub links: Vec<(IpAddr, String)>,
    /// What `host-gateway` means.
    pub host_gateways: Vec<IpAddr>,
    /// What the engine's configuration says for containers that say nothing.
    pub dns: Vec<String>,
    pub dns_options: Vec<String>,
    pub dns_search: Vec<String>,
}

/// Writes the three files into the container's directory.
pub(crate) fn write(container: &Container, dir: &Path, around: &Surroundings) -> Result<(), EngineError> {
    let spec = &container.spec;
    let name = if spec.uts_mode == "host" { host_name() } else { container.hostname().to_owned() };
    std::fs::write(dir.join("hostname"), format!("{name}\n"))?;
    let base = (around.host_network && spec.extra_hosts.is_empty()).then(|| read("/etc/hosts"));
    std::fs::write(dir.join("hosts"), hosts(spec, &name, base, around)?)?;
    std::fs::write(dir.join("resolv.conf"), resolv_conf(spec, &read("/etc/resolv.conf"), around))?;
    Ok(())
}

/// How to mount the files of `dir`, leaving out those that the client mounts something of its own over. `dir` is the
/// container's own, or that of the one whose network it shares.
pub(super) fn sources(container: &Container, dir: &Path) -> Vec<Source> {
    let own = |destination: &str| container.mounts.iter().any(|mount| mount.destination == destination);
    let mount = |file: &str| {
        let (path, destination) = (dir.join(file), format!("/etc/{file}"));
        let point = MountPoint {
            kind: MountKind::Bind,
            source: path.clone(),
            rw: !container.spec.read_only,
            propagation: "rprivate".to_owned(),
            destination,
            ..MountPoint::default()
        };
        Source { path, point }
    };
    FILES.iter().map(|file| mount(file)).filter(|source| !own(&source.point.destination)).collect()
}

/// Brings the files of a running container up to date after its networks changed. What somebody wrote into them stays.
pub(super) fn update(
    container: &Container,
    dir: &Path,
    before: &Surroundings,
    now: &Surroundings,
) -> io::Result<()> {
    let name = container.hostname();
    let path = dir.join("hosts");
    let text = std::fs::read_to_string(&path)?;
    let lines = |around: &Surroundings| {
        let mut lines = link_lines(around);
        lines.extend(own_lines(&container.spec, name, around));
        lines
    };
    let (old, new) = (lines(before), lines(now));
    let mut kept: String = text
        .split_inclusive('\n')
        .filter(|line| {
            let gone = old.iter().any(|old| old == line) && !new.iter().any(|new| new == line);
            !gone
        })
        .collect();
    for line in new.iter().filter(|line| !text.split_inclusive('\n').any(|there| there == *line)) {
        if !kept.is_empty() && !kept.ends_with('\n') {
            kept.push('\n');
        }
        kept.push_str(line);
    }
    if kept != text {
        overwrite(&path, &kept)?;
    }
    let path = dir.join("resolv.conf");
    let host = read("/etc/resolv.conf");
    let new = resolv_conf(&container.spec, &host, now);
    let text = std::fs::read_to_string(&path)?;
    if text != new && text == resolv_conf(&container.spec, &host, before) {
        overwrite(&path, &new)?;
    }
    Ok(())
}

/// Writes into the file that is there: the container has that very file mounted.
fn overwrite(path: &Path, text: &str) -> io::Result<()> {
    let mut file = std::fs::OpenOptions::new().write(true).open(path)?;
    file.seek(SeekFrom::Start(0))?;
    file.write_all(text.as_bytes())?;
    file.set_len(text.len() as u64)
}

fn read(path: &str) -> String {
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.len() <= LARGEST => std::fs::read_to_string(path).unwrap_or_default(),
        _ => String::new(),
    }
}

/// The host's name.
pub(super) fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// The lines for the container's own addresses.
fn own_lines(spec: &ContainerSpec, name: &str, around: &Surroundings) -> Vec<String> {
    let mut names = name.to_owned();
    if !spec.domainname.is_empty() {
        names = format!("{name}.{}", spec.domainname);
    }
    if let Some((short, _)) = names.clone().split_once('.') {
        names = format!("{names} {short}");
    }
    let loopback = [IpAddr::from([127, 0, 0, 1])];
    let addresses = if around.alone { &loopback } else { around.addresses.as_slice() };
    addresses.iter().map(|address| format!("{address}\t{names}\n")).collect()
}

/// The lines for those whom it is linked to.
fn link_lines(around: &Surroundings) -> Vec<String> {
    around.links.iter().map(|(address, names)| format!("{address}\t{names}\n")).collect()
}

fn hosts(
    spec: &ContainerSpec,
    name: &str,
    base: Option<String>,
    around: &Surroundings,
) -> Result<String, EngineError> {
    let mut text = match base {
        Some(base) => base,
        None if spec.sysctls.get("net.ipv6.conf.all.disable_ipv6").is_some_and(|value| value == "1") => {
            "127.0.0.1\tlocalhost\n".to_owned()
        }
        None => "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\n\
                 ff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n"
            .to_owned(),
    };
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    for extra in &spec.extra_hosts {
        // `name:address`, where the address may hold colons, or `name=address`.
        let Some((name, address)) = extra.split_once('=').or_else(|| extra.split_once(':')) else { continue };
        if address != "host-gateway" {
            let address = address.trim_start_matches('[').trim_end_matches(']');
            let _ = writeln!(text, "{address}\t{name}");
            continue;
        }
        if around.host_gateways.is_empty() {
            return Err(EngineError::internal("unable to derive the IP value for host-gateway"));
        }
        for gateway in &around.host_gateways {
            let _ = writeln!(text, "{gateway}\t{name}");
        }
    }
    text.extend(link_lines(around));
    if !around.host_network {
        text.extend(own_lines(spec, name, around));
    }
    Ok(text)
}

/// The host's resolver, with what the client says in place of it, else what the engine's configuration says. A name
/// server on the host's loopback is of no use in another network; where names are answered inside, that is who is
/// asked.
fn resolv_conf(spec: &ContainerSpec, host: &str, around: &Surroundings) -> String {
    let or =
        |own: &[String], fallback: &[String]| if own.is_empty() { fallback.to_vec() } else { own.to_vec() };
    let mut servers = or(&spec.dns, &around.dns);
    let mut search = or(&spec.dns_search, &around.dns_search);
    let mut options = or(&spec.dns_options, &around.dns_options);
    let own = (!servers.is_empty(), !search.is_empty(), !options.is_empty());
    if !own.0 {
        servers = around.name_servers.iter().map(IpAddr::to_string).collect();
    }
    let by_network = !servers.is_empty();
    for line in host.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let Some((key, rest)) = words.split_first() else { continue };
        let rest = rest.iter().map(|word| (*word).to_owned());
        match *key {
            "nameserver" if !by_network => {
                let usable = |server: &String| {
                    around.host_network || !(server.starts_with("127.") || *server == "::1")
                };
                servers.extend(rest.take(1).filter(usable));
            }
            "search" | "domain" if !own.1 => search = rest.collect(),
            "options" if !own.2 => options.extend(rest),
            _ => {}
        }
    }
    if around.resolver {
        servers = vec![RESOLVER.to_owned()];
        if !options.iter().any(|option| option.starts_with("ndots:")) {
            options.push("ndots:0".to_owned());
        }
    } else if servers.is_empty() && !around.host_network && !around.alone {
        servers = LAST_RESORT.map(str::to_owned).to_vec();
    }
    let mut text = String::new();
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

    const HOST: &str = "# x\nnameserver 127.0.0.53\nnameserver 10.0.0.1\nsearch a b\noptions ndots:2\n";

    #[test]
    fn the_resolver() {
        let (plain, bridge) = (ContainerSpec::default(), Surroundings::default());
        assert_eq!(resolv_conf(&plain, HOST, &bridge), "nameserver 10.0.0.1\nsearch a b\noptions ndots:2\n");
        let host = Surroundings { host_network: true, ..Surroundings::default() };
        assert!(resolv_conf(&plain, HOST, &host).starts_with("nameserver 127.0.0.53\n"));
        let own =
            ContainerSpec { dns: vec!["9.9.9.9".into()], dns_search: vec![".".into()], ..plain.clone() };
        assert_eq!(resolv_conf(&own, HOST, &bridge), "nameserver 9.9.9.9\noptions ndots:2\n");
        assert_eq!(resolv_conf(&plain, "", &bridge), "nameserver 8.8.8.8\nnameserver 8.8.4.4\n");
        let alone = Surroundings { alone: true, ..Surroundings::default() };
        assert_eq!(resolv_conf(&plain, "", &alone), "");
    }

    #[test]
    fn names_answered_inside() {
        let user = Surroundings { resolver: true, ..Surroundings::default() };
        let plain = ContainerSpec::default();
        assert_eq!(resolv_conf(&plain, "", &user), "nameserver 127.0.0.11\noptions ndots:0\n");
        assert_eq!(resolv_conf(&plain, HOST, &user), "nameserver 127.0.0.11\nsearch a b\noptions ndots:2\n");
        let own = ContainerSpec {
            dns: vec!["9.9.9.9".into()],
            dns_options: vec!["timeout:1".into()],
            ..ContainerSpec::default()
        };
        assert_eq!(
            resolv_conf(&own, HOST, &user),
            "nameserver 127.0.0.11\nsearch a b\noptions timeout:1 ndots:0\n"
        );
    }

    #[test]
    fn the_hosts_file() {
        let spec = ContainerSpec {
            extra_hosts: vec![
                "db:10.0.0.2".into(),
                "six:fd00::1".into(),
                "eq=[fd00::2]".into(),
                "out:host-gateway".into(),
            ],
            domainname: "example.org".into(),
            ..ContainerSpec::default()
        };
        let around = Surroundings {
            addresses: vec!["10.1.0.2".parse().unwrap(), "fd01::2".parse().unwrap()],
            host_gateways: vec!["10.1.0.1".parse().unwrap()],
            links: vec![("10.1.0.9".parse().unwrap(), "data db9".into())],
            ..Surroundings::default()
        };
        let text = hosts(&spec, "web", None, &around).unwrap();
        assert!(
            text.ends_with(
                "10.0.0.2\tdb\nfd00::1\tsix\nfd00::2\teq\n10.1.0.1\tout\n10.1.0.9\tdata db9\n\
                 10.1.0.2\tweb.example.org web\nfd01::2\tweb.example.org web\n"
            ),
            "{text}"
        );
        let host = Surroundings { host_network: true, ..Surroundings::default() };
        let plain = ContainerSpec::default();
        assert_eq!(hosts(&plain, "x", Some("1.2.3.4 a".into()), &host).unwrap(), "1.2.3.4 a\n");
        let alone = Surroundings { alone: true, ..Surroundings::default() };
        assert!(hosts(&plain, "x", None, &alone).unwrap().ends_with("127.0.0.1\tx\n"));
        assert!(hosts(&spec, "x", None, &alone).is_err(), "there is no gateway");
    }

    #[test]
    fn a_running_containers_files_keep_what_was_written_into_them() {
        let dir = tempfile::tempdir().unwrap();
        let container = Container::named("web");
        let one = Surroundings { addresses: vec!["10.1.0.2".parse().unwrap()], ..Surroundings::default() };
        let two = Surroundings {
            addresses: vec!["10.2.0.2".parse().unwrap()],
            resolver: true,
            ..Surroundings::default()
        };
        write(&container, dir.path(), &one).unwrap();
        let path = dir.path().join("hosts");
        let mut text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains("10.1.0.2\tweb\n"), "{text}");
        text.push_str("1.1.1.1\tmine");
        std::fs::write(&path, &text).unwrap();
        update(&container, dir.path(), &one, &two).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.ends_with("1.1.1.1\tmine\n10.2.0.2\tweb\n") && !text.contains("10.1.0.2"), "{text}");
        let resolv = std::fs::read_to_string(dir.path().join("resolv.conf")).unwrap();
        assert!(resolv.starts_with("nameserver 127.0.0.11\n"), "{resolv}");
        std::fs::write(dir.path().join("resolv.conf"), "nameserver 1.2.3.4\n").unwrap();
        update(&container, dir.path(), &two, &one).unwrap();
        assert_eq!(
            std::fs::read_to_string(dir.path().join("resolv.conf")).unwrap(),
            "nameserver 1.2.3.4\n",
            "somebody else wrote that"
        );
    }
}
