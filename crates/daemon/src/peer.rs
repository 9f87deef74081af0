//! Who is at the other end of a connection.

use std::{net::SocketAddr, sync::OnceLock};

use rustls_pki_types::CertificateDer;
use tokio::net::unix::UCred;

/// A process at the other end of a unix socket, as the kernel knew it when it connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// As this engine sees it; 0 where it is in a PID name space that this one cannot see.
    pub(crate) pid: u32,
}

impl From<UCred> for Process {
    fn from(cred: UCred) -> Self {
        let pid = cred.pid().and_then(|pid| u32::try_from(pid).ok()).unwrap_or(0);
        Self { uid: cred.uid(), gid: cred.gid(), pid }
    }
}

/// Whose a process is, as this host's files have it, and what it runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Account {
    /// Empty if the user has no name here.
    pub(crate) name: String,
    /// Names of its groups.
    pub(crate) groups: Vec<String>,
    /// The file of its program; empty if it cannot be seen.
    pub(crate) executable: String,
}

impl Account {
    fn of(process: Process) -> Self {
        let read = |file: &str| std::fs::read_to_string(file).unwrap_or_default();
        let executable = std::fs::read_link(format!("/proc/{}/exe", process.pid));
        let name = user_name(&read("/etc/passwd"), process.uid).unwrap_or_default();
        Self {
            groups: group_names(&read("/etc/group"), process.gid, &name),
            name,
            executable: executable.map(|file| file.to_string_lossy().into_owned()).unwrap_or_default(),
        }
    }
}

fn user_name(passwd: &str, uid: u32) -> Option<String> {
    let wanted = uid.to_string();
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == wanted).then(|| name.to_owned())
    })
}

/// Groups that a user is in: by the process's own, and by the file.
fn group_names(group: &str, gid: u32, user: &str) -> Vec<String> {
    let own = gid.to_string();
    let found = group.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let (name, number, members) = (fields.next()?, fields.nth(1)?, fields.next()?);
        let is_member = !user.is_empty() && members.split(',').any(|member| member == user);
        (number == own || is_member).then(|| name.to_owned())
    });
    found.collect()
}

/// A client.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Peer {
    /// It came in by the way that nobody guards; see [`crate::authorization::recovery`].
    pub(crate) recovers: bool,
    /// On unix sockets.
    pub(crate) process: Option<Process>,
    /// Whose that process is, once somebody asked.
    pub(crate) account: OnceLock<Account>,
    /// On TCP.
    pub(crate) address: Option<SocketAddr>,
    /// The certificates that it showed and that were verified, its own first, each as DER.
    pub(crate) certificates: Vec<Vec<u8>>,
    /// The name in the first of them, of several the last, as Go reads it; empty if there is none.
    pub(crate) common_name: String,
    /// The host names in it.
    pub(crate) host_names: Vec<String>,
    /// The organisations in it: its groups, as Kubernetes has it.
    pub(crate) organisations: Vec<String>,
}

impl Peer {
    /// A client that showed these certificates.
    pub(crate) fn of_certificates(certificates: &[CertificateDer<'_>]) -> Self {
        let own = certificates.first().and_then(|own| webpki::EndEntityCert::try_from(own).ok());
        let names =
            |attribute| own.as_ref().map(|own| names_in(own.subject(), attribute)).unwrap_or_default();
        Self {
            common_name: names(COMMON_NAME).pop().unwrap_or_default(),
            host_names: own.iter().flat_map(|own| own.valid_dns_names()).map(str::to_owned).collect(),
            organisations: names(ORGANISATION),
            certificates: certificates.iter().map(|certificate| certificate.to_vec()).collect(),
            ..Self::default()
        }
    }
}

impl Peer {
    /// Whose the process at the other end is. Looked up once for each connection.
    pub(crate) fn account(&self) -> Option<&Account> {
        let process = self.process?;
        Some(self.account.get_or_init(|| Account::of(process)))
    }
}

/// The object identifiers 2.5.4.3 and 2.5.4.10 as DER.
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
const ORGANISATION: &[u8] = &[0x55, 0x04, 0x0a];
const SET: u8 = 0x31;
const SEQUENCE: u8 = 0x30;
const OBJECT_IDENTIFIER: u8 = 0x06;
/// UTF8String, PrintableString, TeletexString, IA5String.
const TEXTS: [u8; 4] = [0x0c, 0x13, 0x14, 0x16];

/// The texts of one attribute among the relative names that a subject consists of; none if it is no subject.
fn names_in(subject: &[u8], attribute: &[u8]) -> Vec<String> {
    walk(subject, attribute).unwrap_or_default()
}

fn walk(mut subject: &[u8], wanted: &[u8]) -> Option<Vec<String>> {
    let mut found = Vec::new();
    while !subject.is_empty() {
        let (mut relative, rest) = content(subject, SET)?;
        subject = rest;
        while !relative.is_empty() {
            let (attribute, rest) = content(relative, SEQUENCE)?;
            relative = rest;
            let (kind, value) = content(attribute, OBJECT_IDENTIFIER)?;
            let (tag, text, _) = element(value)?;
            if kind == wanted && TEXTS.contains(&tag) {
                found.push(String::from_utf8_lossy(text).into_owned());
            }
        }
    }
    Some(found)
}

/// What an element of this kind holds, and what follows it.
fn content(bytes: &[u8], kind: u8) -> Option<(&[u8], &[u8])> {
    let (tag, content, rest) = element(bytes)?;
    (tag == kind).then_some((content, rest))
}

/// The first DER element: its tag, what it holds, and what follows it.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, first], rest) = bytes.split_first_chunk::<2>()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81 => rest.split_first().map(|(length, rest)| (usize::from(*length), rest))?,
        0x82 => {
            let (length, rest) = rest.split_first_chunk::<2>()?;
            (usize::from(u16::from_be_bytes(*length)), rest)
        }
        // No honest name is longer.
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tagged(tag: u8, content: &[u8]) -> Vec<u8> {
        let mut out = vec![tag];
        match content.len() {
            short @ 0..=0x7f => out.push(short as u8),
            long => out.extend([&[0x82][..], &(long as u16).to_be_bytes()].concat()),
        }
        out.extend_from_slice(content);
        out
    }

    fn relative(attribute: u8, tag: u8, text: &str) -> Vec<u8> {
        let kind = tagged(OBJECT_IDENTIFIER, &[0x55, 0x04, attribute]);
        tagged(SET, &tagged(SEQUENCE, &[kind, tagged(tag, text.as_bytes())].concat()))
    }

    #[test]
    fn the_last_common_name_counts() {
        let subject =
            [relative(10, 0x13, "an organisation"), relative(3, 0x0c, "Zoë"), relative(6, 0x13, "CH")];
        let name_in = |subject: &[u8]| names_in(subject, COMMON_NAME).pop();
        assert_eq!(name_in(&subject.concat()).as_deref(), Some("Zoë"));
        assert_eq!(names_in(&subject.concat(), ORGANISATION), ["an organisation"]);
        let two = [relative(3, 0x13, "first"), relative(3, 0x16, "second")];
        assert_eq!(name_in(&two.concat()).as_deref(), Some("second"));
        let long = "x".repeat(300);
        assert_eq!(name_in(&relative(3, 0x0c, &long)), Some(long));
        assert_eq!(name_in(&relative(10, 0x0c, "nobody")), None);
        assert_eq!(name_in(&[]), None);
    }

    #[test]
    fn accounts_are_as_the_hosts_files_have_them() {
        let passwd = "root:x:0:0::/root:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\nbroken\n";
        assert_eq!(user_name(passwd, 1000).as_deref(), Some("ann"));
        assert_eq!(user_name(passwd, 7), None);
        let group = "root:x:0:\nstaff:x:50:bob,ann\nann:x:1000:\nothers:x:60:anna\nbroken\n";
        assert_eq!(group_names(group, 1000, "ann"), ["staff", "ann"]);
        assert_eq!(group_names(group, 60, ""), ["others"]);
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = names_in(&bytes, COMMON_NAME);
        }
    }
}
