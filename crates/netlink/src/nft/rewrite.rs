//! Ports that are led to others inside one namespace, without a program and without connection tracking. Sources: the
//! kernel's `include/uapi/linux/netfilter/{nfnetlink,nf_tables}.h`, and what `nft --debug=netlink` says of such rules.

use std::net::Ipv4Addr;

use pintle_contract::network::Protocol;

use super::{
    Family, Ident, Nft,
    batch::{self, SUBSYSTEM},
};
use crate::{
    Error,
    message::{ACK, APPEND, CREATE, Message},
};

/// Packets to `address` on the port `from` reach the port `to` of the same address, and answers look as if they came
/// from `from`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortRewrite {
    /// The address, one of the namespace's own.
    pub address: Ipv4Addr,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The port that everybody else sees.
    pub from: u16,
    /// The port that somebody listens on.
    pub to: u16,
}

const NEW_TABLE: u16 = SUBSYSTEM << 8;
const DELETE_TABLE: u16 = (SUBSYSTEM << 8) | 2;
const NEW_CHAIN: u16 = (SUBSYSTEM << 8) | 3;
const NEW_RULE: u16 = (SUBSYSTEM << 8) | 6;

const IPV4: u8 = 2;
const HOOK_INPUT: u32 = 1;
const HOOK_OUTPUT: u32 = 3;
/// Before everything else that looks at packets, connection tracking included.
const PRIORITY_RAW: i32 = -300;
const REGISTER: u32 = 1;
const NETWORK_HEADER: u32 = 1;
const TRANSPORT_HEADER: u32 = 2;
const META_L4PROTO: u32 = 16;
const ACCEPT: u32 = 1;

/// Where in a header a value is.
#[derive(Clone, Copy)]
struct Place {
    header: u32,
    offset: u32,
    length: u32,
}

const SOURCE_ADDRESS: Place = Place { header: NETWORK_HEADER, offset: 12, length: 4 };
const DESTINATION_ADDRESS: Place = Place { header: NETWORK_HEADER, offset: 16, length: 4 };
const SOURCE_PORT: Place = Place { header: TRANSPORT_HEADER, offset: 0, length: 2 };
const DESTINATION_PORT: Place = Place { header: TRANSPORT_HEADER, offset: 2, length: 2 };

impl Nft {
    /// Makes the IPv4 table `name` hold these rewrites and nothing else, in one transaction; takes microseconds.
    ///
    /// Questions are rewritten as they arrive and answers before they leave, so that all else in the namespace, rules
    /// and connection tracking included, sees `from` alone, and no entry is kept for anybody.
    pub fn rewrite_ports(&self, name: &Ident, rewrites: &[PortRewrite]) -> Result<(), Error> {
        let table = name.to_string();
        let (questions, answers) = ("questions", "answers");
        let mut batch = vec![
            of_table(NEW_TABLE, CREATE, &table),
            of_table(DELETE_TABLE, 0, &table),
            of_table(NEW_TABLE, CREATE, &table),
            chain(&table, questions, HOOK_INPUT),
            chain(&table, answers, HOOK_OUTPUT),
        ];
        for rewrite in rewrites {
            let PortRewrite { from, to, .. } = *rewrite;
            batch.push(rule(&table, questions, rewrite, DESTINATION_ADDRESS, DESTINATION_PORT, from, to));
            batch.push(rule(&table, answers, rewrite, SOURCE_ADDRESS, SOURCE_PORT, to, from));
        }
        // Nothing is asked for by this that is not there already: it is there to be acknowledged.
        batch.push(of_table(NEW_TABLE, CREATE | ACK, &table));
        let told = self.handle()?.tell_all(|first| Some(transaction(batch, first)));
        told.unwrap_or(Ok(()))
            .map_err(|refusal| refusal.of("rewrite ports in table", format_args!("{} {name}", Family::Ip)))
    }
}

/// All of the messages, of which the last is answered.
fn transaction(messages: Vec<Message>, first: u32) -> (Vec<u8>, Vec<u32>) {
    let mut sequence = first;
    let mut bytes = batch::begin(sequence);
    for message in messages {
        sequence = sequence.wrapping_add(1);
        bytes.extend(message.finish(sequence));
    }
    bytes.extend(batch::end(sequence.wrapping_add(1)));
    (bytes, vec![sequence])
}

fn of_table(kind: u16, flags: u16, table: &str) -> Message {
    let mut message = Message::new(kind, flags, &[IPV4, 0, 0, 0]);
    message.text(1, table);
    message
}

fn chain(table: &str, name: &str, hook: u32) -> Message {
    let mut message = Message::new(NEW_CHAIN, CREATE, &[IPV4, 0, 0, 0]);
    message.text(1, table);
    message.text(3, name);
    message.nest(4, |nest| {
        nest.bytes(1, &hook.to_be_bytes());
        nest.bytes(2, &PRIORITY_RAW.to_be_bytes());
    });
    message.bytes(5, &ACCEPT.to_be_bytes());
    message.text(7, "filter");
    message
}

/// Where `address` and protocol are the rewrite's and `port` is `from`, it becomes `to`.
fn rule(
    table: &str,
    chain: &str,
    rewrite: &PortRewrite,
    address: Place,
    port: Place,
    from: u16,
    to: u16,
) -> Message {
    let mut message = Message::new(NEW_RULE, CREATE | APPEND, &[IPV4, 0, 0, 0]);
    message.text(1, table);
    message.text(2, chain);
    message.nest(4, |list| {
        load(list, address);
        compare(list, &rewrite.address.octets());
        expression(list, "meta", |data| {
            data.bytes(1, &REGISTER.to_be_bytes());
            data.bytes(2, &META_L4PROTO.to_be_bytes());
        });
        compare(list, &[rewrite.protocol.number()]);
        load(list, port);
        compare(list, &from.to_be_bytes());
        expression(list, "immediate", |data| {
            data.bytes(1, &REGISTER.to_be_bytes());
            data.nest(2, |value| value.bytes(1, &to.to_be_bytes()));
        });
        store(list, port, rewrite.protocol);
    });
    message
}

fn expression(list: &mut Message, name: &str, fill: impl FnOnce(&mut Message)) {
    list.nest(1, |element| {
        element.text(1, name);
        element.nest(2, fill);
    });
}

fn load(list: &mut Message, place: Place) {
    expression(list, "payload", |data| {
        data.bytes(1, &REGISTER.to_be_bytes());
        put_place(data, place);
    });
}

fn store(list: &mut Message, place: Place, protocol: Protocol) {
    let checksum: u32 = if protocol == Protocol::Udp { 6 } else { 16 };
    expression(list, "payload", |data| {
        data.bytes(5, &REGISTER.to_be_bytes());
        put_place(data, place);
        // The Internet's checksum, at that place of the same header.
        data.bytes(6, &1u32.to_be_bytes());
        data.bytes(7, &checksum.to_be_bytes());
        data.bytes(8, &0u32.to_be_bytes());
    });
}

fn put_place(data: &mut Message, place: Place) {
    data.bytes(2, &place.header.to_be_bytes());
    data.bytes(3, &place.offset.to_be_bytes());
    data.bytes(4, &place.length.to_be_bytes());
}

fn compare(list: &mut Message, value: &[u8]) {
    expression(list, "cmp", |data| {
        data.bytes(1, &REGISTER.to_be_bytes());
        data.bytes(2, &0u32.to_be_bytes());
        data.nest(3, |nest| nest.bytes(1, value));
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Namespace;

    #[test]
    fn the_program_reads_what_was_written_without_it() {
        let nft = Nft::new(Some(Namespace::create().unwrap()));
        let table: Ident = "t".parse().unwrap();
        let rewrite = |protocol, to| PortRewrite { address: [127, 0, 0, 11].into(), protocol, from: 53, to };
        // Twice: the second replaces the first.
        nft.rewrite_ports(&table, &[rewrite(Protocol::Udp, 1)]).unwrap();
        nft.rewrite_ports(&table, &[rewrite(Protocol::Udp, 61_053), rewrite(Protocol::Tcp, 61_054)]).unwrap();
        let text = nft.table(Family::Ip, &table).unwrap().unwrap();
        let lines: Vec<_> = text.lines().map(str::trim).collect();
        for line in [
            "type filter hook input priority raw; policy accept;",
            "type filter hook output priority raw; policy accept;",
            "ip daddr 127.0.0.11 udp dport 53 udp dport set 61053",
            "ip daddr 127.0.0.11 tcp dport 53 tcp dport set 61054",
            "ip saddr 127.0.0.11 udp sport 61053 udp sport set 53",
            "ip saddr 127.0.0.11 tcp sport 61054 tcp sport set 53",
        ] {
            assert!(lines.contains(&line), "{line} in\n{text}");
        }
        assert_eq!(lines.iter().filter(|line| line.contains(" set ")).count(), 4, "{text}");
    }

    #[test]
    fn all_or_nothing() {
        let nft = Nft::new(Some(Namespace::create().unwrap()));
        let table: Ident = "t".parse().unwrap();
        let good = PortRewrite { address: [127, 0, 0, 11].into(), protocol: Protocol::Udp, from: 53, to: 1 };
        nft.rewrite_ports(&table, &[good]).unwrap();
        let handle = nft.handle().unwrap();
        let tell = |rules: Vec<Message>| {
            let mut all = vec![of_table(DELETE_TABLE, 0, "t")];
            all.extend(rules);
            all.push(of_table(NEW_TABLE, CREATE | ACK, "t"));
            handle.tell_all(|first| Some(transaction(all, first))).unwrap()
        };
        // A rule for a chain that is not there, in the midst.
        assert!(tell(vec![rule("t", "nowhere", &good, SOURCE_ADDRESS, SOURCE_PORT, 1, 2)]).is_err());
        assert!(nft.table(Family::Ip, &table).unwrap().is_some_and(|text| text.contains("udp dport set 1")));
        tell(Vec::new()).map_err(|refusal| refusal.of("a", "b")).unwrap();
        assert!(!nft.table(Family::Ip, &table).unwrap().unwrap_or_default().contains("dport"));
    }
}
