//! Being a CLI plugin of the stock client: `docker pintle …`, installed as `docker-pintle`.

use std::ffi::OsString;

use serde_json::json;

/// The name of the command that this program is below `docker`.
pub const NAME: &str = "pintle";

/// Whether this program was called as the plugin.
pub fn is_called(program: &str) -> bool {
    program == "docker-pintle"
}

/// What the stock client asks each plugin; no engine is contacted.
pub fn metadata() -> String {
    json!({
        "SchemaVersion": "0.1.0",
        "Vendor": "pintle",
        "Version": env!("CARGO_PKG_VERSION"),
        "ShortDescription": "Plugins for containers: build, check, test and run them",
        "URL": env!("CARGO_PKG_REPOSITORY"),
    })
    .to_string()
}

/// Ends this process when the stock client does: it holds a socket open for as long as it lives.
pub fn end_with_client() {
    let Some(address) = std::env::var("DOCKER_CLI_PLUGIN_SOCKET").ok().filter(|a| !a.is_empty()) else {
        return;
    };
    std::thread::spawn(move || {
        use std::io::Read;
        use std::os::linux::net::SocketAddrExt;
        use std::os::unix::net::{SocketAddr, UnixStream};
        let stream = match address.strip_prefix('@') {
            Some(name) => SocketAddr::from_abstract_name(name).and_then(|a| UnixStream::connect_addr(&a)),
            None => UnixStream::connect(&address),
        };
        if let Ok(mut stream) = stream {
            let _ = stream.read(&mut [0]);
            // The client closes the socket when the user interrupts it: treat it as the interrupt.
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::TERM);
        }
    });
}

/// The words of a completion request, if this is one, and whether with descriptions. The stock client says our own
/// name first.
pub fn completion(args: &[OsString], as_plugin: bool) -> Option<(&[OsString], bool)> {
    let describe = match args.first()?.to_str()? {
        "__complete" => true,
        "__completeNoDesc" => false,
        _ => return None,
    };
    let words = args.get(1..)?;
    match words.split_first() {
        Some((first, rest)) if as_plugin && first == NAME => Some((rest, describe)),
        _ => Some((words, describe)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_has_what_the_client_insists_on() {
        let value: serde_json::Value = serde_json::from_str(&metadata()).unwrap();
        assert_eq!(value["SchemaVersion"], "0.1.0");
        assert!(!value["Vendor"].as_str().unwrap().is_empty());
    }

    #[test]
    fn completion_requests_are_told_from_arguments() {
        let words = |line: &str| line.split(' ').map(OsString::from).collect::<Vec<_>>();
        let asked = words("__complete pintle vol");
        assert_eq!(completion(&asked, true).unwrap(), (&asked[2..], true));
        // An image may be called as we are.
        assert_eq!(completion(&asked, false).unwrap(), (&asked[1..], true));
        assert!(!completion(&words("__completeNoDesc x"), false).unwrap().1);
        assert!(completion(&words("run alpine __complete"), false).is_none());
    }
}
