//! Answers from what is known here.

use std::{collections::BTreeSet, net::IpAddr};

use hickory_proto::{
    ProtoError,
    op::{Edns, Header, HeaderCounts, Message, MessageType, Metadata, OpCode, ResponseCode},
    rr::{
        Name, RData, Record, RecordType,
        rdata::{A, AAAA, PTR, SRV},
    },
    serialize::binary::{BinEncodable, BinEncoder},
};
use pintle_contract::network::Protocol;
use rand::seq::SliceRandom;

use super::{
    question::{self, Question},
    view::{View, port_of},
};

/// Seconds for which an answer may be kept, as Docker's resolver says it.
const TTL: u32 = 600;
/// What this resolver takes over UDP.
const OWN_LIMIT: u16 = 4096;

/// What is to be said about a question.
#[derive(Debug, PartialEq)]
pub(super) enum Verdict {
    /// The name is ours; these are its records of the type that was asked for, and records that help.
    Records { answers: Vec<RData>, extra: Vec<Record> },
    /// The name is ours, and so are these addresses (in [`Scratch::found`]) of the family that was asked for.
    Addresses,
    /// It is not ours: others are asked.
    Elsewhere,
    /// It is nobody's to answer.
    Failure(ResponseCode),
}

/// Buffers that a resolver's thread uses for one query after the other.
#[derive(Default)]
pub(super) struct Scratch {
    pub(super) name: String,
    pub(super) found: Vec<IpAddr>,
    pub(super) reply: Vec<u8>,
}

/// Looks the question up.
pub(super) fn look_up(question: &Question, view: &dyn View, scratch: &mut Scratch) -> Verdict {
    scratch.found.clear();
    if question.edns.as_ref().is_some_and(|edns| edns.version() > 0) {
        return Verdict::Failure(ResponseCode::BADVERS);
    }
    let Some(name) = question.name(&mut scratch.name).filter(|_| question.internet()) else {
        return Verdict::Elsewhere;
    };
    let records = |answers, extra| Verdict::Records { answers, extra };
    match question.query.query_type {
        RecordType::PTR => match question::address(&question.query.name).and_then(|ip| view.name_of(ip)) {
            Some(name) => match absolute(&name) {
                Some(name) => records(vec![RData::PTR(PTR(name))], Vec::new()),
                None => Verdict::Failure(ResponseCode::ServFail),
            },
            None => Verdict::Elsewhere,
        },
        RecordType::SRV => match question::service(name) {
            Some((service, protocol, host)) => services(view, service, protocol, host),
            None if view.addresses(name, &mut scratch.found) => records(Vec::new(), Vec::new()),
            None => Verdict::Elsewhere,
        },
        kind => {
            if !view.addresses(name, &mut scratch.found) {
                return Verdict::Elsewhere;
            }
            // The name exists: whatever else is asked of it, the answer is that there is none, not that nobody
            // is called so. Mail clients, and those who ask for both families, go on from that.
            if !question::wants_addresses(kind) {
                return records(Vec::new(), Vec::new());
            }
            scratch.found.retain(|ip| ip.is_ipv4() == (kind == RecordType::A));
            if scratch.found.len() > 1 {
                scratch.found.shuffle(&mut rand::rng());
            }
            Verdict::Addresses
        }
    }
}

/// Where a service is: at every address of the name, on the port that the service is known to have.
fn services(view: &dyn View, service: &str, protocol: &str, host: &str) -> Verdict {
    let mut found = Vec::new();
    if !view.addresses(host, &mut found) {
        return Verdict::Elsewhere;
    }
    let (mut answers, mut extra) = (Vec::new(), Vec::new());
    let port = port_of(service).filter(|_| protocol.parse::<Protocol>().is_ok());
    let mut targets = BTreeSet::new();
    for (address, port) in found.into_iter().zip(std::iter::repeat(port)) {
        let (Some(port), Some(target)) = (port, view.name_of(address).as_deref().and_then(absolute)) else {
            continue;
        };
        let data = match address {
            IpAddr::V4(address) => RData::A(A(address)),
            IpAddr::V6(address) => RData::AAAA(AAAA(address)),
        };
        extra.push(Record::from_rdata(target.clone(), TTL, data));
        if targets.insert(target.clone()) {
            answers.push(RData::SRV(SRV::new(0, 0, port, target)));
        }
    }
    Verdict::Records { answers, extra }
}

fn absolute(name: &str) -> Option<Name> {
    let mut name = Name::from_labels(name.split('.').map(str::as_bytes)).ok()?;
    name.set_fqdn(true);
    Some(name)
}

/// Writes the answer to `question`, of at most `limit` bytes, into [`Scratch::reply`]. What does not fit is left
/// out, and the answer says so.
pub(super) fn write(
    question: &Question,
    verdict: &Verdict,
    limit: u16,
    scratch: &mut Scratch,
) -> Result<(), ProtoError> {
    let Scratch { found, reply, .. } = scratch;
    reply.clear();
    let mut encoder = BinEncoder::new(reply);
    let header = encoder.place::<Header>()?;
    question.query.emit(&mut encoder)?;
    let edns = question.edns.as_ref().map(|asked| {
        let mut edns = Edns::new();
        edns.set_max_payload(OWN_LIMIT).set_dnssec_ok(asked.flags().dnssec_ok);
        edns
    });
    // Without options, an OPT record has eleven bytes.
    encoder.set_max_size(limit.saturating_sub(if edns.is_some() { 11 } else { 0 }));

    let mut counts = HeaderCounts { queries: 1, ..HeaderCounts::default() };
    let mut code = ResponseCode::NoError;
    let mut complete = true;
    let mut put =
        |encoder: &mut BinEncoder<'_>, records: &mut dyn Iterator<Item = Record>, count: &mut u16| {
            for record in records {
                match encoder.emit_all(std::iter::once(&record)) {
                    Ok(_) => *count = count.saturating_add(1),
                    Err(ProtoError::NotAllRecordsWritten { .. }) => {
                        complete = false;
                        return Ok(());
                    }
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        };
    let own = |data| Record::from_rdata(question.query.name.clone(), TTL, data);
    match verdict {
        Verdict::Addresses => {
            let mut records = found.iter().map(|ip| match ip {
                IpAddr::V4(ip) => own(RData::A(A(*ip))),
                IpAddr::V6(ip) => own(RData::AAAA(AAAA(*ip))),
            });
            put(&mut encoder, &mut records, &mut counts.answers)?;
        }
        Verdict::Records { answers, extra } => {
            put(&mut encoder, &mut answers.iter().cloned().map(own), &mut counts.answers)?;
            if usize::from(counts.answers) == answers.len() {
                // Records that only help may be left out without a word (RFC 2181, section 9).
                let _ = put(&mut encoder, &mut extra.iter().cloned(), &mut counts.additionals);
                complete = true;
            }
        }
        Verdict::Elsewhere => code = ResponseCode::ServFail,
        Verdict::Failure(failure) => code = *failure,
    }
    encoder.set_max_size(limit);
    if let Some(mut edns) = edns {
        edns.set_rcode_high(code.high());
        edns.emit(&mut encoder)?;
        counts.additionals = counts.additionals.saturating_add(1);
    }
    let mut metadata = Metadata::response_from_request(&question.header.metadata);
    metadata.recursion_available = true;
    metadata.truncation = !complete;
    metadata.response_code = code;
    encoder.emit_at(header, Header { metadata, counts })
}

/// The answer to a packet that cannot be read: its id and a code.
pub(super) fn failure(id: u16, op_code: OpCode, code: ResponseCode) -> Vec<u8> {
    let mut message = Message::new(id, MessageType::Response, op_code);
    message.metadata.response_code = code;
    message.to_vec().unwrap_or_default()
}
