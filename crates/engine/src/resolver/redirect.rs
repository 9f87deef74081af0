//! How port 53 of the resolver's address leads to the port that the resolver really has, so that the container may
//! use port 53 itself.
//!
//! The port is rewritten as packets arrive and, in answers, before they leave. No connection tracking is involved:
//! a flood of questions fills no table, and rules of the container's own see port 53 alone.

use std::{
    io::{self, Write as _},
    path::PathBuf,
    process::{Command, Stdio},
};

use super::{ADDRESS, Ports, namespace::Namespace};

/// The table in a sandbox.
const TABLE: &str = "pintle-dns";

/// The commands that make the redirect, in place of one that may be there, in one transaction.
pub(super) fn rules(ports: Ports) -> String {
    let Ports { udp, tcp } = ports;
    format!(
        "table ip {TABLE}\n\
         delete table ip {TABLE}\n\
         table ip {TABLE} {{\n\
         \tchain questions {{\n\
         \t\ttype filter hook input priority raw; policy accept;\n\
         \t\tip daddr {ADDRESS} udp dport 53 udp dport set {udp}\n\
         \t\tip daddr {ADDRESS} tcp dport 53 tcp dport set {tcp}\n\
         \t}}\n\
         \tchain answers {{\n\
         \t\ttype filter hook output priority raw; policy accept;\n\
         \t\tip saddr {ADDRESS} udp sport {udp} udp sport set 53\n\
         \t\tip saddr {ADDRESS} tcp sport {tcp} tcp sport set 53\n\
         \t}}\n\
         }}\n"
    )
}

/// Puts the redirect into the namespace at `path`.
pub(super) async fn install(path: PathBuf, ports: Ports) -> io::Result<()> {
    let (done, waiting) = tokio::sync::oneshot::channel();
    // A thread of its own: it moves into the namespace, and so does what it starts.
    std::thread::Builder::new().name("netns".to_owned()).spawn(move || {
        let _ = done.send(run(&path, &rules(ports)));
    })?;
    waiting.await.map_err(io::Error::other)?
}

fn run(path: &std::path::Path, rules: &str) -> io::Result<()> {
    let sandbox = Namespace::open(path)?;
    sandbox.within(&sandbox, || {
        let mut child = Command::new("nft")
            .args(["-f", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(rules.as_bytes())?;
        }
        let output = child.wait_with_output()?;
        if output.status.success() {
            return Ok(());
        }
        Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
    })
}
