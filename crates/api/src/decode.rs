//! Reading a JSON body as Go's `encoding/json` does, since that is what Docker's clients are written against.
//!
//! * A key names a field if it equals it, or else if it equals it in any mix of upper and lower case.
//! * A key that comes twice, in whatever case, sets the same field twice: the later one wins, objects merge.
//! * `null` leaves a field as it was; unknown keys are ignored.
//!
//! Where somebody else judges the same bytes, [`Reading::Exact`] refuses what Go and another reader could understand
//! differently: a key that comes twice, and one that names a field in another case.
//!
//! It is a serde deserialiser, so the field names come from the types themselves. `#[serde(flatten)]` hides
//! them: do not use it on request types.

use std::{collections::HashSet, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{
        DeserializeOwned, DeserializeSeed, Error as _, IntoDeserializer, MapAccess, SeqAccess, Unexpected,
        Visitor,
    },
};

use crate::syntax;

/// Why a body could not be read. The texts are Docker's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DecodeError {
    /// There was nothing to read. Most routes take that for "all defaults".
    Empty,
    /// It is not JSON, or not of the shape that is wanted.
    Invalid(String),
    /// Something follows the JSON value.
    Trailing,
}

/// Which bodies are understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reading {
    /// All that Go understands.
    #[default]
    Lenient,
    /// Only those that mean the same to everybody.
    Exact,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("invalid JSON: EOF"),
            Self::Invalid(why) => write!(f, "invalid JSON: {why}"),
            Self::Trailing => f.write_str("unexpected content after JSON"),
        }
    }
}

impl std::error::Error for DecodeError {}

/// Reads one JSON value that fills `bytes`. Never panics; nesting is bounded at 128 levels.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    decode_as(bytes, Reading::Lenient)
}

/// The same, for bodies of the kind that `reading` says.
pub fn decode_as<T: DeserializeOwned>(bytes: &[u8], reading: Reading) -> Result<T, DecodeError> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(DecodeError::Empty);
    }
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let mut node = Node::deserialize(&mut reader).map_err(|error| {
        DecodeError::Invalid(syntax::complaint(bytes).unwrap_or_else(|| error.to_string()))
    })?;
    reader.end().map_err(|_| DecodeError::Trailing)?;
    if reading == Reading::Exact {
        node.make_exact().map_err(DecodeError::Invalid)?;
    }
    T::deserialize(node).map_err(|error| DecodeError::Invalid(error.to_string()))
}

/// The same for a value that is already parsed.
pub fn decode_value<T: DeserializeOwned>(value: serde_json::Value) -> Result<T, DecodeError> {
    let node = Node::deserialize(value).map_err(|error| DecodeError::Invalid(error.to_string()))?;
    T::deserialize(node).map_err(|error| DecodeError::Invalid(error.to_string()))
}

type Error = serde_json::Error;

/// A JSON value that keeps every key in the order in which it came.
enum Node {
    Null,
    Bool(bool),
    Number(serde_json::Number),
    String(String),
    Array(Vec<Node>),
    Object(Vec<(String, Node)>, Reading),
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }
    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }
    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Bool(value))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Number(value.into()))
    }
    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Number(value.into()))
    }
    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Node, E> {
        serde_json::Number::from_f64(value)
            .map(Node::Number)
            .ok_or_else(|| E::custom("a number that is not finite"))
    }
    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::String(value.to_owned()))
    }
    fn visit_string<E>(self, value: String) -> Result<Node, E> {
        Ok(Node::String(value))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut array = Vec::new();
        while let Some(item) = items.next_element()? {
            array.push(item);
        }
        Ok(Node::Array(array))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
        let mut object = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            object.push(entry);
        }
        Ok(Node::Object(object, Reading::Lenient))
    }
}

impl Node {
    /// Marks every object as one that is read exactly. The error names a key that comes twice.
    fn make_exact(&mut self) -> Result<(), String> {
        match self {
            Self::Object(entries, reading) => {
                *reading = Reading::Exact;
                let mut seen = HashSet::new();
                for (key, value) in entries {
                    value.make_exact()?;
                    if !seen.insert(key.as_str()) {
                        return Err(format!(
                            "the key {key:?} comes twice in one object: leave one of them out"
                        ));
                    }
                }
                Ok(())
            }
            Self::Array(items) => items.iter_mut().try_for_each(Self::make_exact),
            _ => Ok(()),
        }
    }

    fn unexpected(&self) -> Unexpected<'_> {
        match self {
            Self::Null => Unexpected::Unit,
            Self::Bool(value) => Unexpected::Bool(*value),
            Self::Number(_) => Unexpected::Other("number"),
            Self::String(value) => Unexpected::Str(value),
            Self::Array(_) => Unexpected::Seq,
            Self::Object(..) => Unexpected::Map,
        }
    }

    fn mismatch<'de, V: Visitor<'de>>(&self, visitor: &V) -> Error {
        Error::invalid_type(self.unexpected(), visitor)
    }
}

macro_rules! numbers {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            match self {
                Node::Null => visitor.visit_u64(0),
                Node::Number(number) => number.deserialize_any(visitor),
                other => Err(other.mismatch(&visitor)),
            }
        }
    )*};
}

impl<'de> Deserializer<'de> for Node {
    type Error = Error;

    numbers! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_u8 deserialize_u16
        deserialize_u32 deserialize_u64 deserialize_f32 deserialize_f64
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self {
            Node::Null => visitor.visit_unit(),
            Node::Bool(value) => visitor.visit_bool(value),
            Node::Number(number) => number.deserialize_any(visitor),
            Node::String(value) => visitor.visit_string(value),
            Node::Array(items) => visitor.visit_seq(Items(items.into_iter())),
            Node::Object(entries, _) => visitor.visit_map(Entries::of_map(entries)),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self {
            Node::Null => visitor.visit_bool(false),
            Node::Bool(value) => visitor.visit_bool(value),
            other => Err(other.mismatch(&visitor)),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_string(visitor)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self {
            Node::Null => visitor.visit_string(String::new()),
            Node::String(value) => visitor.visit_string(value),
            other => Err(other.mismatch(&visitor)),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self {
            Node::Null => visitor.visit_none(),
            some => visitor.visit_some(some),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self {
            Node::Null => visitor.visit_seq(Items(Vec::new().into_iter())),
            Node::Array(items) => visitor.visit_seq(Items(items.into_iter())),
            other => Err(other.mismatch(&visitor)),
        }
    }

    // Go's arrays have a fixed length: what is missing is zero, what is too much is dropped.
    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Error> {
        let mut items = match self {
            Node::Null => Vec::new(),
            Node::Array(items) => items,
            other => return Err(other.mismatch(&visitor)),
        };
        items.resize_with(len, || Node::Null);
        visitor.visit_seq(Items(items.into_iter()))
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self {
            Node::Null => visitor.visit_map(Entries::of_map(Vec::new())),
            Node::Object(entries, _) => visitor.visit_map(Entries::of_map(entries)),
            other => Err(other.mismatch(&visitor)),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self {
            Node::Null => visitor.visit_map(Entries::of_map(Vec::new())),
            Node::Object(entries, Reading::Lenient) => visitor.visit_map(Entries::of_struct(entries, fields)),
            Node::Object(entries, Reading::Exact) => visitor.visit_map(Entries::of_exact(entries, fields)?),
            other => Err(other.mismatch(&visitor)),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self {
            Node::String(name) => visitor.visit_enum(name.into_deserializer()),
            other => Err(other.mismatch(&visitor)),
        }
    }

    serde::forward_to_deserialize_any! {
        i128 u128 char bytes byte_buf unit unit_struct tuple_struct identifier ignored_any
    }
}

struct Items(std::vec::IntoIter<Node>);

impl<'de> SeqAccess<'de> for Items {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        self.0.next().map(|item| seed.deserialize(item)).transpose()
    }
}

struct Entries {
    entries: std::vec::IntoIter<(String, Node)>,
    current: Option<(String, Node)>,
}

impl Entries {
    fn of_map(entries: Vec<(String, Node)>) -> Self {
        Self { entries: entries.into_iter(), current: None }
    }

    fn of_struct(entries: Vec<(String, Node)>, fields: &'static [&'static str]) -> Self {
        let mut known: Vec<(String, Node)> = Vec::new();
        for (key, value) in entries {
            let Some(field) = field_of(&key, fields) else { continue };
            match known.iter_mut().find(|(name, _)| name == field) {
                None => known.push((field.to_owned(), value)),
                Some((_, Node::Object(earlier, _))) if matches!(value, Node::Object(..)) => {
                    if let Node::Object(later, _) = value {
                        earlier.extend(later);
                    }
                }
                Some((_, earlier)) => *earlier = value,
            }
        }
        known.retain(|(_, value)| !matches!(value, Node::Null));
        Self::of_map(known)
    }
}

impl Entries {
    /// The fields among `entries`, none of which comes twice.
    fn of_exact(entries: Vec<(String, Node)>, fields: &'static [&'static str]) -> Result<Self, Error> {
        for (key, _) in &entries {
            if let Some(field) = field_of(key, fields).filter(|field| field != key) {
                return Err(Error::custom(format_args!("the key {key:?} must be spelled {field:?}")));
            }
        }
        Ok(Self::of_struct(entries, fields))
    }
}

impl<'de> MapAccess<'de> for Entries {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        self.current = self.entries.next();
        match &self.current {
            None => Ok(None),
            Some((key, _)) => seed.deserialize(key.as_str().into_deserializer()).map(Some),
        }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let Some((key, value)) = self.current.take() else {
            return Err(Error::custom("a value was asked for before its key"));
        };
        seed.deserialize(value).map_err(|error| Error::custom(format_args!("{key}: {error}")))
    }
}

fn field_of(key: &str, fields: &'static [&'static str]) -> Option<&'static str> {
    let exact = fields.iter().find(|field| **field == key);
    exact.or_else(|| fields.iter().find(|field| same_but_for_case(field, key))).copied()
}

fn same_but_for_case(field: &str, key: &str) -> bool {
    let mut folded = key.chars().map(|c| match c {
        // The two letters outside ASCII that Unicode folds into it.
        '\u{212a}' => 'k',
        '\u{17f}' => 's',
        c => c.to_ascii_lowercase(),
    });
    field.chars().all(|c| folded.next() == Some(c.to_ascii_lowercase())) && folded.next().is_none()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, PartialEq, Default, Deserialize)]
    #[serde(rename_all = "PascalCase", default)]
    struct Inner {
        memory: i64,
        privileged: bool,
        binds: Option<Vec<String>>,
        size: [u32; 2],
    }

    #[derive(Debug, PartialEq, Default, Deserialize)]
    #[serde(rename_all = "PascalCase", default)]
    struct Outer {
        image: String,
        host_config: Inner,
        labels: BTreeMap<String, String>,
        raw: serde_json::Value,
    }

    fn read(text: &str) -> Outer {
        decode(text.as_bytes()).unwrap()
    }

    #[test]
    fn keys_match_in_any_case_and_exact_ones_first() {
        let read = read(r#"{"IMAGE":"a","hostconfig":{"memory":5,"Binds":["x"]},"labels":{"Kept":"A"}}"#);
        assert_eq!(read.image, "a");
        assert_eq!(read.host_config.memory, 5);
        assert_eq!(read.host_config.binds.as_deref(), Some(&["x".to_owned()][..]));
        assert_eq!(read.labels["Kept"], "A");
    }

    #[test]
    fn keys_that_fold_outside_ascii_match_as_in_go() {
        assert_eq!(read("{\"LABEL\u{17f}\":{\"a\":\"b\"}}").labels["a"], "b");
    }

    #[test]
    fn the_later_duplicate_wins_and_objects_merge() {
        let read = read(
            r#"{"image":"a","Image":"b","IMAGE":"c",
                "HostConfig":{"Privileged":true,"memory":1},"hostconfig":{"Memory":2}}"#,
        );
        assert_eq!(read.image, "c");
        assert_eq!(read.host_config, Inner { memory: 2, privileged: true, ..Inner::default() });
    }

    #[test]
    fn what_others_could_read_otherwise_is_not_exact() {
        let exact = |text: &str| decode_as::<Outer>(text.as_bytes(), Reading::Exact);
        let plain =
            r#"{"Image":"a","HostConfig":{"Memory":1,"Binds":["x"]},"Labels":{"a":"1","A":"2"},"raw2":[{}]}"#;
        assert_eq!(exact(plain).unwrap(), decode::<Outer>(plain.as_bytes()).unwrap());
        for (text, why) in [
            (r#"{"Image":"a","Image":"a"}"#, "\"Image\" comes twice"),
            (r#"{"Image":"a","\u0049mage":"b"}"#, "\"Image\" comes twice"),
            (r#"{"image":"a"}"#, "\"image\" must be spelled \"Image\""),
            (r#"{"HostConfig":{"PRIVILEGED":true}}"#, "\"PRIVILEGED\" must be spelled \"Privileged\""),
            ("{\"HostConfig\":{\"Bind\u{17f}\":[]}}", "must be spelled \"Binds\""),
            (r#"{"HostConfig":{},"hostconfig":{"Privileged":true}}"#, "must be spelled \"HostConfig\""),
            (r#"{"Labels":{"a":"1","a":"2"}}"#, "\"a\" comes twice"),
            (r#"{"Unknown":[{"x":{"a":1,"a":2}}]}"#, "\"a\" comes twice"),
        ] {
            let error = exact(text).unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
            decode::<Outer>(text.as_bytes()).unwrap();
        }
        assert_eq!(exact("{} {}"), Err(DecodeError::Trailing));
        assert_eq!(exact(""), Err(DecodeError::Empty));
    }

    #[test]
    fn null_is_the_default_anywhere() {
        let read = read(r#"{"Image":null,"HostConfig":null,"Labels":{"a":null},"Raw":{"any":null}}"#);
        assert_eq!(read.image, "");
        assert_eq!(read.labels["a"], "");
        assert_eq!(read.raw, serde_json::json!({"any": null}));
        assert_eq!(decode::<Outer>(b"null").unwrap(), Outer::default());
    }

    #[test]
    fn fixed_arrays_are_padded_and_cut() {
        assert_eq!(decode::<Inner>(br#"{"Size":[1]}"#).unwrap().size, [1, 0]);
        assert_eq!(decode::<Inner>(br#"{"Size":[1,2,3]}"#).unwrap().size, [1, 2]);
    }

    #[test]
    fn what_is_wrong_is_said() {
        assert_eq!(decode::<Outer>(b" \n"), Err(DecodeError::Empty));
        assert_eq!(decode::<Outer>(b"{} x"), Err(DecodeError::Trailing));
        let text = decode::<Outer>(br#"{"HostConfig":{"Memory":"lots"}}"#).unwrap_err().to_string();
        assert!(text.starts_with("invalid JSON: ") && text.contains("HostConfig: Memory: "), "{text}");
        decode::<Outer>(b"[]").unwrap_err();
    }

    #[test]
    fn deep_nesting_is_refused_and_does_not_overflow() {
        decode::<Outer>(&b"[".repeat(1_000_000)).unwrap_err();
    }

    proptest! {
        #[test]
        fn what_is_exact_is_what_is_lenient(text in r#"\{("(Image|image|Labels|HostConfig|x)":("a"|null|\{\}),)?"(Image|Raw|x|IMAGE)":(1|"b"|\[\])\}"#) {
            if let Ok(exact) = decode_as::<Outer>(text.as_bytes(), Reading::Exact) {
                prop_assert_eq!(decode::<Outer>(text.as_bytes()).unwrap(), exact);
            }
        }

        #[test]
        fn hostile_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
            let _ = decode::<Outer>(&bytes);
            let _ = decode::<crate::container::CreateRequest>(&bytes);
        }

        #[test]
        fn case_never_matters(upper in proptest::collection::vec(any::<bool>(), 5)) {
            let key: String = "image".chars().zip(upper)
                .map(|(c, up)| if up { c.to_ascii_uppercase() } else { c }).collect();
            prop_assert_eq!(read(&format!(r#"{{"{key}":"x"}}"#)).image, "x");
        }
    }
}
