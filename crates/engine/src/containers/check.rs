//! What a specification may not ask for, with Docker's words.

use super::{ContainerSpec, RestartMode, signal};
use crate::EngineError;

/// Refuses what could never run. Returns warnings about what will not be as asked.
pub(super) fn check(spec: &ContainerSpec) -> Result<Vec<String>, EngineError> {
    let mut warnings = Vec::new();
    if !spec.working_dir.is_empty() && !spec.working_dir.starts_with('/') {
        return Err(EngineError::invalid(format!(
            "the working directory '{}' is invalid, it needs to be an absolute path",
            spec.working_dir
        )));
    }
    if let Some(signal) = &spec.stop_signal {
        signal::parse(signal)?;
    }
    if let Some(health) = &spec.healthcheck {
        health.check()?;
    }
    for variable in &spec.env {
        if variable.is_empty() || variable.starts_with('=') || variable.contains('\0') {
            return Err(EngineError::invalid(format!("invalid environment variable: {variable}")));
        }
    }
    if spec.auto_remove && spec.restart.mode != RestartMode::No {
        return Err(EngineError::invalid("can't create 'AutoRemove' container with restart policy"));
    }
    check_restart(spec.restart)?;
    if !(-1000..=1000).contains(&spec.oom_score_adj) {
        return Err(EngineError::invalid(format!(
            "Invalid value {}, range for oom score adj is [-1000, 1000]",
            spec.oom_score_adj
        )));
    }
    for host in &spec.extra_hosts {
        extra_host(host)?;
    }
    words(spec)?;
    if spec.shm_size < 0 {
        return Err(EngineError::invalid("SHM size can not be less than 0"));
    }
    match spec.network_mode.as_str() {
        "" | "default" | "bridge" if !spec.links.is_empty() => warnings.push(
            "Links on the default bridge network are deprecated and will be removed in a future release. Use a \
             custom network instead."
                .to_owned(),
        ),
        _ => {}
    }
    mode("IPC", &spec.ipc_mode, &["", "none", "private", "shareable", "host"])?;
    mode("PID", &spec.pid_mode, &["", "host"])?;
    mode("UTS", &spec.uts_mode, &["", "host"])?;
    mode("cgroup namespace", &spec.cgroupns_mode, &["", "private", "host"])?;
    mode("user namespace", &spec.userns_mode, &["", "host"])?;
    super::log_options::log_file(spec, None, "/".into())?;
    super::oci::check(spec)?;
    Ok(warnings)
}

/// What ends up as a word in a line of the container's files must be one: a line could be slipped in otherwise.
fn words(spec: &ContainerSpec) -> Result<(), EngineError> {
    let own = [
        ("hostname", std::slice::from_ref(&spec.hostname)),
        ("domainname", std::slice::from_ref(&spec.domainname)),
    ];
    let lists = [
        ("DNS server", &spec.dns),
        ("DNS search domain", &spec.dns_search),
        ("DNS option", &spec.dns_options),
        ("link", &spec.links),
    ];
    let all = own.into_iter().chain(lists.map(|(what, words)| (what, words.as_slice())));
    for (what, words) in all {
        let breaks = |word: &&String| word.chars().any(|c| c.is_whitespace() || c.is_control());
        if let Some(word) = words.iter().find(breaks) {
            return Err(EngineError::invalid(format!("invalid {what}: {word:.64?} is not one word")));
        }
    }
    Ok(())
}

/// What cannot go together with a network mode. Asked before the image has its say.
pub(super) fn network_mode(spec: &ContainerSpec) -> Result<(), EngineError> {
    let mode = spec.network_mode.as_str();
    let shared = mode.strip_prefix("container:").or((mode == "container").then_some(""));
    let conflict = |what: &str| Err(EngineError::invalid(format!("conflicting options: {what}")));
    if shared == Some("") {
        return Err(EngineError::invalid(
            "Invalid network mode: invalid container format container:<name|id>",
        ));
    }
    let linked = "can't be used with links. This would result in undefined behavior";
    if mode == "host" && !spec.links.is_empty() {
        return conflict(&format!("host type networking {linked}"));
    }
    if (shared.is_some() || mode == "host") && !spec.mac_address.is_empty() {
        return conflict("mac-address and the network mode");
    }
    if shared.is_none() {
        return Ok(());
    }
    if !spec.hostname.is_empty() {
        return conflict("hostname and the network mode");
    }
    if !spec.links.is_empty() {
        return conflict(&format!("container type network {linked}"));
    }
    if !spec.dns.is_empty() {
        return conflict("dns and the network mode");
    }
    if !spec.extra_hosts.is_empty() {
        return conflict("custom host-to-IP mapping and the network mode");
    }
    if !spec.publish.is_empty() || spec.publish_all {
        return conflict("port publishing and the container type network mode");
    }
    if !spec.exposed_ports.is_empty() {
        return conflict("port exposing and the container type network mode");
    }
    Ok(())
}

/// `name:address`, or `name=address`.
fn extra_host(text: &str) -> Result<(), EngineError> {
    let bad = || EngineError::invalid(format!("bad format for add-host: {text:?}"));
    let (name, address) = text.split_once('=').or_else(|| text.split_once(':')).ok_or_else(bad)?;
    if name.is_empty() || name.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(bad());
    }
    let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
    if address == "host-gateway" || bare.parse::<std::net::IpAddr>().is_ok() {
        return Ok(());
    }
    Err(EngineError::invalid(format!("invalid IP address in add-host: {address:?}")))
}

fn mode(what: &str, given: &str, known: &[&str]) -> Result<(), EngineError> {
    if known.contains(&given) {
        return Ok(());
    }
    let joins = given.strip_prefix("container:").is_some_and(|name| !name.is_empty());
    if joins && matches!(what, "IPC" | "PID") {
        return Ok(());
    }
    Err(EngineError::invalid(format!("invalid {what} mode: {given}")))
}

/// A restart policy that means something.
pub(super) fn check_restart(policy: super::RestartPolicy) -> Result<(), EngineError> {
    if policy.max_retries > 0 && !matches!(policy.mode, RestartMode::OnFailure) {
        return Err(EngineError::invalid(
            "invalid restart policy: maximum retry count can only be used with 'on-failure'",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contradictions_and_unknown_modes() {
        let refused = |change: fn(&mut ContainerSpec)| {
            let mut spec = ContainerSpec::default();
            change(&mut spec);
            check(&spec).unwrap_err()
        };
        let error = refused(|spec| {
            spec.auto_remove = true;
            spec.restart.mode = RestartMode::Always;
        });
        assert_eq!(error.message, "can't create 'AutoRemove' container with restart policy");
        refused(|spec| spec.pid_mode = "container:".into());
        refused(|spec| spec.uts_mode = "container:x".into());
        for host in ["bad", ":1.2.3.4", "a:notip", "a b:1.2.3.4", "a\nb=1.2.3.4", "a:[::1"] {
            let mut spec = ContainerSpec { extra_hosts: vec![host.to_owned()], ..ContainerSpec::default() };
            check(&spec).expect_err(host);
            spec.extra_hosts =
                vec!["a:host-gateway".into(), "b:::1".into(), "c=[::1]".into(), "d:1.2.3.4".into()];
            check(&spec).unwrap();
        }
        refused(|spec| spec.ipc_mode = "nonsense".into());
        refused(|spec| spec.env = vec!["=x".into()]);
        refused(|spec| spec.working_dir = "relative".into());
        assert!(check(&ContainerSpec::default()).unwrap().is_empty());
    }

    #[test]
    fn a_shared_network_is_nobodys_own() {
        let with = |mode: &str, change: fn(&mut ContainerSpec)| {
            let mut spec = ContainerSpec { network_mode: mode.into(), ..ContainerSpec::default() };
            change(&mut spec);
            network_mode(&spec).map_err(|error| error.message)
        };
        with("container:x", |_| ()).unwrap();
        with("bridge", |spec| spec.hostname = "x".into()).unwrap();
        for (mode, message) in [
            ("container:", "Invalid network mode: invalid container format container:<name|id>"),
            ("container:x", "conflicting options: hostname and the network mode"),
        ] {
            assert_eq!(with(mode, |spec| spec.hostname = "x".into()).unwrap_err(), message);
        }
        with("container:x", |spec| spec.publish_all = true).unwrap_err();
        with("host", |spec| spec.mac_address = "02:00:00:00:00:01".into()).unwrap_err();
        with("host", |spec| spec.links = vec!["x".into()]).unwrap_err();
    }
}
