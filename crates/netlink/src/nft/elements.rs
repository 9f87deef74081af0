//! Elements of sets and maps, put and taken by netlink: a container's start must not wait for a program. Source: the
//! kernel's `include/uapi/linux/netfilter/{nfnetlink,nf_tables}.h`.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::batch::{self, SUBSYSTEM};
use crate::message::Message;

const NEW_ELEMENT: u16 = (SUBSYSTEM << 8) | 12;
const DELETE_ELEMENT: u16 = (SUBSYSTEM << 8) | 14;

const LIST_TABLE: u16 = 1;
const LIST_SET: u16 = 2;
const LIST_ELEMENTS: u16 = 3;
const LIST_ITEM: u16 = 1;
const ELEMENT_KEY: u16 = 1;
const ELEMENT_DATA: u16 = 2;
const DATA_VALUE: u16 = 1;
const DATA_VERDICT: u16 = 2;
const VERDICT_CODE: u16 = 1;
const VERDICT_CHAIN: u16 = 2;
/// `NFT_JUMP`.
const JUMP: i32 = -3;
/// `NFPROTO_INET`.
const INET: u8 = 1;

/// What a part of a key, or of a value, is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    Ipv4,
    Ipv6,
    Protocol,
    Port,
    Name,
    Verdict,
}

/// What a set's elements are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shape {
    key: Vec<Type>,
    value: Vec<Type>,
}

impl Shape {
    /// Reads the declaration of a set or a map. `None` if there is something in it that is not known here.
    pub(super) fn read(declaration: &str) -> Option<(&str, Self)> {
        let rest = declaration.strip_prefix("set ").or_else(|| declaration.strip_prefix("map "))?;
        let (name, body) = rest.split_once(" { type ")?;
        // Anything else, such as intervals, makes elements something else.
        let types = body.strip_suffix("; }").filter(|types| !types.contains(';'))?;
        let (key, value) = types.split_once(" : ").unwrap_or((types, ""));
        let value = if value.is_empty() { Vec::new() } else { types_of(value)? };
        Some((name, Self { key: types_of(key)?, value }))
    }
}

fn types_of(text: &str) -> Option<Vec<Type>> {
    let one = |name: &str| match name {
        "ipv4_addr" => Some(Type::Ipv4),
        "ipv6_addr" => Some(Type::Ipv6),
        "inet_proto" => Some(Type::Protocol),
        "inet_service" => Some(Type::Port),
        "ifname" => Some(Type::Name),
        "verdict" => Some(Type::Verdict),
        _ => None,
    };
    text.split(" . ").map(one).collect()
}

/// An element that comes or goes.
pub(super) struct Element<'a> {
    pub(super) shape: &'a Shape,
    pub(super) set: &'a str,
    pub(super) key: &'a str,
    /// What it leads to, if it comes.
    pub(super) value: Option<&'a str>,
    pub(super) comes: bool,
}

/// The transaction, and the numbers of the messages that are answered. `None` if it cannot be said here.
pub(super) fn transaction(table: &str, elements: &[Element<'_>], first: u32) -> Option<(Vec<u8>, Vec<u32>)> {
    let mut numbers = first..;
    let mut bytes = batch::begin(numbers.next()?);
    let mut answered = Vec::with_capacity(elements.len());
    for element in elements {
        let sequence = numbers.next()?;
        bytes.extend(write(table, element)?.finish(sequence));
        answered.push(sequence);
    }
    bytes.extend(batch::end(numbers.next()?));
    Some((bytes, answered))
}

fn write(table: &str, element: &Element<'_>) -> Option<Message> {
    use crate::message::{ACK, CREATE};
    let key = bytes_of(&element.shape.key, element.key)?;
    let value = match element.value {
        Some(text) if element.comes => Some(value_of(&element.shape.value, text)?),
        _ => None,
    };
    let (kind, flags) = if element.comes { (NEW_ELEMENT, CREATE | ACK) } else { (DELETE_ELEMENT, ACK) };
    let mut message = Message::new(kind, flags, &[INET, 0, 0, 0]);
    message.text(LIST_TABLE, table);
    message.text(LIST_SET, element.set);
    message.nest(LIST_ELEMENTS, |list| {
        list.nest(LIST_ITEM, |item| {
            item.nest(ELEMENT_KEY, |data| data.bytes(DATA_VALUE, &key));
            match value {
                Some(Data::Value(bytes)) => item.nest(ELEMENT_DATA, |data| data.bytes(DATA_VALUE, &bytes)),
                Some(Data::Jump(chain)) => item.nest(ELEMENT_DATA, |data| {
                    data.nest(DATA_VERDICT, |verdict| {
                        verdict.bytes(VERDICT_CODE, &JUMP.to_be_bytes());
                        verdict.text(VERDICT_CHAIN, chain);
                    });
                }),
                None => {}
            }
        });
    });
    Some(message)
}

enum Data<'a> {
    Value(Vec<u8>),
    Jump(&'a str),
}

fn value_of<'a>(types: &[Type], text: &'a str) -> Option<Data<'a>> {
    if types == [Type::Verdict] {
        return text.strip_prefix("jump ").map(Data::Jump);
    }
    bytes_of(types, text).map(Data::Value)
}

/// A key or a value as the kernel compares it: each of several parts fills a multiple of four bytes.
fn bytes_of(types: &[Type], text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(24);
    let parts: Vec<&str> = text.split(" . ").collect();
    if parts.len() != types.len() {
        return None;
    }
    for (kind, part) in types.iter().zip(parts) {
        match kind {
            Type::Ipv4 => bytes.extend(part.parse::<Ipv4Addr>().ok()?.octets()),
            Type::Ipv6 => bytes.extend(part.parse::<Ipv6Addr>().ok()?.octets()),
            Type::Protocol => bytes.push(part.parse().ok()?),
            Type::Port => bytes.extend(part.parse::<u16>().ok()?.to_be_bytes()),
            Type::Name => {
                let mut name = [0; 16];
                name.get_mut(..part.len()).filter(|_| part.len() < 16)?.copy_from_slice(part.as_bytes());
                bytes.extend(name);
            }
            Type::Verdict => return None,
        }
        if types.len() > 1 {
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declarations_are_read() {
        let (name, shape) = Shape::read(
            "map ports { type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; }",
        )
        .unwrap();
        assert_eq!(name, "ports");
        let expected =
            Shape { key: vec![Type::Ipv4, Type::Protocol, Type::Port], value: vec![Type::Ipv4, Type::Port] };
        assert_eq!(shape, expected);
        assert!(Shape::read("set bridges { type ifname; }").is_some());
        assert!(Shape::read("set nets { type ipv4_addr; flags interval; }").is_none());
        assert!(Shape::read("set marks { type mark; }").is_none());
        assert!(Shape::read("chain c { }").is_none());
    }

    #[test]
    fn keys_are_what_the_kernel_compares() {
        let key = bytes_of(&[Type::Ipv4, Type::Protocol, Type::Port], "10.0.0.1 . 6 . 80").unwrap();
        assert_eq!(key, [10, 0, 0, 1, 6, 0, 0, 0, 0, 80, 0, 0]);
        assert_eq!(bytes_of(&[Type::Port], "443").unwrap(), [1, 187]);
        assert_eq!(bytes_of(&[Type::Name], "br0").unwrap()[..4], [b'b', b'r', b'0', 0]);
        for (kind, wrong) in
            [(Type::Port, "x"), (Type::Port, "1 . 2"), (Type::Ipv4, "::1"), (Type::Name, "0123456789abcdef")]
        {
            assert!(bytes_of(&[kind], wrong).is_none(), "{wrong}");
        }
    }
}
