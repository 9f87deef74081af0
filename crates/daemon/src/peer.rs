//! Who is at the other end of a connection.

use std::net::SocketAddr;

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

/// A user's name, as this host's file has it.
pub(crate) fn user_name(uid: u32) -> Option<String> {
    let file = std::fs::read_to_string("/etc/passwd").ok()?;
    let wanted = uid.to_string();
    file.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == wanted).then(|| name.to_owned())
    })
}

/// A client.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Peer {
    /// It came in by the way that nobody guards; see [`crate::authorization::recovery`].
    pub(crate) recovers: bool,
    /// On unix sockets.
    pub(crate) process: Option<Process>,
    /// On TCP.
    pub(crate) address: Option<SocketAddr>,
    /// The certificates that it showed and that were verified, its own first, each as DER.
    pub(crate) certificates: Vec<Vec<u8>>,
    /// The name in the first of them; empty if there is none.
    pub(crate) common_name: String,
}

impl Peer {
    /// A client that showed these certificates.
    pub(crate) fn of_certificates(certificates: &[CertificateDer<'_>]) -> Self {
        Self {
            common_name: certificates.first().and_then(common_name).unwrap_or_default(),
            certificates: certificates.iter().map(|certificate| certificate.to_vec()).collect(),
            ..Self::default()
        }
    }
}

impl Peer {
    /// The host names and addresses of a client's certificate, as far as they are names.
    pub(crate) fn other_names(&self) -> Vec<String> {
        let Some(first) = self.certificates.first() else { return Vec::new() };
        let first = CertificateDer::from(first.as_slice());
        let parsed = webpki::EndEntityCert::try_from(&first).ok();
        parsed.iter().flat_map(|parsed| parsed.valid_dns_names()).map(str::to_owned).collect()
    }
}

/// `CN` of the certificate's subject; the last, as Go reads it.
fn common_name(certificate: &CertificateDer<'_>) -> Option<String> {
    let parsed = webpki::EndEntityCert::try_from(certificate).ok()?;
    name_in(parsed.subject())
}

/// The object identifier 2.5.4.3 as DER.
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
const SET: u8 = 0x31;
const SEQUENCE: u8 = 0x30;
const OBJECT_IDENTIFIER: u8 = 0x06;
/// UTF8String, PrintableString, TeletexString, IA5String.
const TEXTS: [u8; 4] = [0x0c, 0x13, 0x14, 0x16];

/// The common name among the relative names that a subject consists of.
fn name_in(mut subject: &[u8]) -> Option<String> {
    let mut found = None;
    while !subject.is_empty() {
        let (mut relative, rest) = content(subject, SET)?;
        subject = rest;
        while !relative.is_empty() {
            let (attribute, rest) = content(relative, SEQUENCE)?;
            relative = rest;
            let (kind, value) = content(attribute, OBJECT_IDENTIFIER)?;
            let (tag, text, _) = element(value)?;
            if kind == COMMON_NAME && TEXTS.contains(&tag) {
                found = Some(String::from_utf8_lossy(text).into_owned());
            }
        }
    }
    found
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
        assert_eq!(name_in(&subject.concat()).as_deref(), Some("Zoë"));
        let two = [relative(3, 0x13, "first"), relative(3, 0x16, "second")];
        assert_eq!(name_in(&two.concat()).as_deref(), Some("second"));
        let long = "x".repeat(300);
        assert_eq!(name_in(&relative(3, 0x0c, &long)), Some(long));
        assert_eq!(name_in(&relative(10, 0x0c, "nobody")), None);
        assert_eq!(name_in(&[]), None);
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = name_in(&bytes);
        }
    }
}
