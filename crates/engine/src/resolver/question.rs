//! What a client asks: one DNS message, read no further than it must be.

use hickory_proto::{
    op::{Edns, Header, Message, MessageType, OpCode, Query, ResponseCode},
    rr::{DNSClass, Name, RecordType},
    serialize::binary::{BinDecodable, BinDecoder},
};

/// The smallest answer that every client can take over UDP (RFC 1035).
const SMALLEST_LIMIT: u16 = 512;

/// A query that can be answered.
#[derive(Debug)]
pub(super) struct Question {
    /// The header as it came.
    pub(super) header: Header,
    /// The one thing that is asked.
    pub(super) query: Query,
    /// What the client says of itself beyond RFC 1035.
    pub(super) edns: Option<Edns>,
}

/// Why a packet cannot be answered with records.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unanswerable {
    /// Not a query at all. An answer could start a loop.
    Drop,
    /// A query of this id and operation that deserves this code and nothing more.
    Fail { id: u16, op_code: OpCode, code: ResponseCode },
}

impl Question {
    /// Reads a packet.
    pub(super) fn read(packet: &[u8]) -> Result<Self, Unanswerable> {
        let mut decoder = BinDecoder::new(packet);
        let header = Header::read(&mut decoder).map_err(|_| Unanswerable::Drop)?;
        if header.message_type == MessageType::Response {
            return Err(Unanswerable::Drop);
        }
        let fail = |code| Unanswerable::Fail { id: header.id, op_code: header.op_code, code };
        if header.op_code != OpCode::Query {
            return Err(fail(ResponseCode::NotImp));
        }
        if header.counts.queries != 1 {
            return Err(fail(ResponseCode::FormErr));
        }
        let query = Query::read(&mut decoder).map_err(|_| fail(ResponseCode::FormErr))?;
        // Records of other sections are not for us; the options stand where they are looked for, or nowhere.
        let plain = header.counts.answers == 0 && header.counts.authorities == 0;
        let edns = match header.counts.additionals {
            0 => None,
            _ if !plain => None,
            count => {
                let records = Message::read_records(&mut decoder, count.into(), true, header.op_code);
                records.map_err(|_| fail(ResponseCode::FormErr))?.1
            }
        };
        Ok(Self { header, query, edns })
    }

    /// The name, as views know names: lower case, no dot at the end. `None` if no container could be called so.
    pub(super) fn name<'n>(&self, buffer: &'n mut String) -> Option<&'n str> {
        buffer.clear();
        for label in &self.query.name {
            if !buffer.is_empty() {
                buffer.push('.');
            }
            for byte in label {
                if !byte.is_ascii_graphic() || *byte == b'.' {
                    return None;
                }
                buffer.push(char::from(byte.to_ascii_lowercase()));
            }
        }
        (!buffer.is_empty()).then_some(buffer)
    }

    /// Whether the addresses of a name without a dot are asked for.
    pub(super) fn is_dotless_name(&self) -> bool {
        wants_addresses(self.query.query_type) && self.query.name.iter().len() == 1
    }

    /// How many bytes of answer the client takes over UDP.
    pub(super) fn limit(&self) -> u16 {
        self.edns.as_ref().map_or(SMALLEST_LIMIT, |edns| edns.max_payload().max(SMALLEST_LIMIT))
    }

    /// Whether the question is about the Internet's own class, the only one that containers have names in.
    pub(super) fn internet(&self) -> bool {
        matches!(self.query.query_class, DNSClass::IN | DNSClass::ANY)
    }
}

/// Whether a packet is an answer to this query: the same id, the same question. Servers may leave the question
/// out of a refusal.
pub(super) fn answers(packet: &[u8], id: u16, query: &Query) -> Option<ResponseCode> {
    let mut decoder = BinDecoder::new(packet);
    let header = Header::read(&mut decoder).ok()?;
    if header.id != id || header.message_type != MessageType::Response || header.op_code != OpCode::Query {
        return None;
    }
    match header.counts.queries {
        0 => (header.response_code != ResponseCode::NoError).then_some(header.response_code),
        1 => {
            let asked = Query::read(&mut decoder).ok()?;
            let same = asked.query_type == query.query_type
                && asked.query_class == query.query_class
                && asked.name == query.name;
            same.then_some(header.response_code)
        }
        _ => None,
    }
}

/// The service and protocol of a name such as `_http._tcp.web`, and the name behind them.
pub(super) fn service(name: &str) -> Option<(&str, &str, &str)> {
    let (service, rest) = name.strip_prefix('_')?.split_once('.')?;
    let (protocol, host) = rest.strip_prefix('_')?.split_once('.')?;
    (!service.is_empty() && !host.is_empty()).then_some((service, protocol, host))
}

/// The address that a name below `in-addr.arpa` or `ip6.arpa` stands for.
pub(super) fn address(name: &Name) -> Option<std::net::IpAddr> {
    let net = name.parse_arpa_name().ok()?;
    (net.prefix_len() == net.max_prefix_len()).then(|| net.addr())
}

/// Whether the type asks for addresses.
pub(super) fn wants_addresses(kind: RecordType) -> bool {
    matches!(kind, RecordType::A | RecordType::AAAA)
}

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use proptest::prelude::*;

    use super::*;

    fn message(name: &str, kind: RecordType) -> Message {
        let mut message = Message::query();
        message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
        message
    }

    #[test]
    fn names_are_read_as_views_know_them() {
        let mut buffer = String::new();
        let read = |name| Question::read(&message(name, RecordType::A).to_vec().unwrap()).unwrap();
        assert_eq!(read("WEB.Net.").name(&mut buffer), Some("web.net"));
        assert_eq!(read(".").name(&mut buffer), None);
        for strange in [&b"a b"[..], b"a.b", b"a\0", "ä".as_bytes()] {
            let mut odd = message("x.", RecordType::A);
            odd.queries[0].name = Name::from_labels([strange]).unwrap();
            let packet = odd.to_vec().unwrap();
            assert_eq!(Question::read(&packet).unwrap().name(&mut buffer), None, "{strange:?}");
        }
    }

    #[test]
    fn what_is_no_query_is_dropped_and_what_is_a_bad_one_is_told_so() {
        assert_eq!(Question::read(&[]).unwrap_err(), Unanswerable::Drop);
        assert_eq!(Question::read(&[0; 11]).unwrap_err(), Unanswerable::Drop);
        let mut packet = message("a.", RecordType::A).to_vec().unwrap();
        packet[2] |= 0x80;
        assert_eq!(Question::read(&packet).unwrap_err(), Unanswerable::Drop);
        packet[2] = 0x28; // UPDATE
        let Unanswerable::Fail { code, .. } = Question::read(&packet).unwrap_err() else { panic!() };
        assert_eq!(code, ResponseCode::NotImp);
        packet[2] = 0;
        packet[5] = 2;
        let Unanswerable::Fail { code, .. } = Question::read(&packet).unwrap_err() else { panic!() };
        assert_eq!(code, ResponseCode::FormErr);
    }

    #[test]
    fn an_answer_is_one_to_this_very_question() {
        let mut reply = message("web.example.", RecordType::A);
        let query = reply.queries[0].clone();
        reply.metadata.id = 7;
        assert_eq!(answers(&reply.to_vec().unwrap(), 7, &query), None, "a query is no answer");
        reply.metadata.message_type = MessageType::Response;
        let packet = reply.to_vec().unwrap();
        assert_eq!(answers(&packet, 7, &query), Some(ResponseCode::NoError));
        assert_eq!(answers(&packet, 8, &query), None, "another id");
        let other = Query::query(Name::from_str("web.example.org.").unwrap(), RecordType::A);
        assert_eq!(answers(&packet, 7, &other), None, "another name");
        let other = Query::query(query.name.clone(), RecordType::AAAA);
        assert_eq!(answers(&packet, 7, &other), None, "another type");
        let shouted = Query::query(Name::from_str("WEB.example.").unwrap(), RecordType::A);
        assert_eq!(answers(&packet, 7, &shouted), Some(ResponseCode::NoError));
        reply.queries.clear();
        assert_eq!(answers(&reply.to_vec().unwrap(), 7, &query), None, "success without a question");
        reply.metadata.response_code = ResponseCode::Refused;
        assert_eq!(answers(&reply.to_vec().unwrap(), 7, &query), Some(ResponseCode::Refused));
    }

    #[test]
    fn services_and_addresses_are_read_from_names() {
        assert_eq!(service("_http._tcp.web.net"), Some(("http", "tcp", "web.net")));
        for not in ["http._tcp.web", "_http.tcp.web", "_http._tcp", "_._tcp.web", "_http._tcp."] {
            assert_eq!(service(not), None, "{not}");
        }
        let of = |name: &str| address(&Name::from_str(name).unwrap());
        assert_eq!(of("4.3.2.1.in-addr.arpa."), Some([1, 2, 3, 4].into()));
        assert_eq!(of("3.2.1.in-addr.arpa."), None);
        assert_eq!(of("web."), None);
        assert_eq!(
            of(&Name::from("fd00::1".parse::<std::net::Ipv6Addr>().unwrap()).to_string()),
            Some("fd00::1".parse().unwrap())
        );
    }

    proptest! {
        #[test]
        fn hostile_packets_are_harmless(packet in proptest::collection::vec(any::<u8>(), 0..600)) {
            let mut buffer = String::new();
            if let Ok(question) = Question::read(&packet) {
                question.name(&mut buffer);
                let _ = (question.limit(), address(&question.query.name));
                answers(&packet, question.header.id, &question.query);
            }
        }

        #[test]
        fn packets_with_flipped_bytes_are_harmless(at in 0usize..60, value: u8, second in 0usize..60, other: u8) {
            let mut message = message("web.network.example.", RecordType::SRV);
            message.set_edns(Edns::new());
            let mut packet = message.to_vec().unwrap();
            for (at, value) in [(at, value), (second, other)] {
                let length = packet.len();
                packet[at % length] = value;
            }
            let _ = Question::read(&packet);
        }
    }
}
