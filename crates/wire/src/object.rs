//! Reading JSON objects as Go's `encoding/json` does: keys in any case, `null` as absent.

use std::{borrow::Cow, collections::BTreeMap, fmt, str::FromStr, sync::LazyLock};

use serde_json::{Map, Value};

/// One step from a value into the value inside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Segment {
    /// Into an object, by the key as it was written.
    Key(String),
    /// Into a list.
    Index(usize),
}

/// A value of the wrong shape, and where it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct DecodeError {
    /// From the outermost value inwards; empty for the outermost itself.
    pub path: Vec<Segment>,
    /// What is wrong with it.
    pub message: String,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", show_path(&self.path))?;
        }
        f.write_str(&self.message)
    }
}

fn show_path(path: &[Segment]) -> String {
    let mut text = String::new();
    for segment in path {
        match segment {
            Segment::Key(key) if text.is_empty() => text.push_str(key),
            Segment::Key(key) => text.extend([".", key]),
            Segment::Index(index) => text.push_str(&format!("[{index}]")),
        }
    }
    text
}

/// Folds a key's case as Go does: ASCII case, and the two other letters that fold into ASCII.
pub fn fold(key: &str) -> Cow<'_, str> {
    if key.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase()) {
        return Cow::Borrowed(key);
    }
    let fold = |letter| match letter {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        other => char::to_ascii_lowercase(&other),
    };
    Cow::Owned(key.chars().map(fold).collect())
}

static NOTHING: LazyLock<Map<String, Value>> = LazyLock::new(Map::new);

/// A JSON object under reading; it knows where it is, for the error texts.
#[derive(Debug, Clone)]
pub struct Object<'a> {
    map: &'a Map<String, Value>,
    path: Vec<Segment>,
}

impl<'a> Object<'a> {
    /// The outermost value, which must be an object. `null` is an object without anything, as in Go: that is what a
    /// plugin answers that has nothing to say.
    pub fn root(value: &'a Value) -> Result<Self, DecodeError> {
        Self::new(value, Vec::new())
    }

    fn new(value: &'a Value, path: Vec<Segment>) -> Result<Self, DecodeError> {
        match value {
            Value::Object(map) => Ok(Self { map, path }),
            Value::Null => Ok(Self { map: &NOTHING, path }),
            other => Err(wrong(path, "an object", other)),
        }
    }

    /// The value of `name` and the key it was written with; the last one counts, `null` counts as absent.
    fn entry(&self, name: &str) -> Option<(&'a String, &'a Value)> {
        let name = fold(name);
        self.map.iter().rfind(|(key, _)| fold(key) == name).filter(|(_, value)| !value.is_null())
    }

    fn at(&self, key: &str) -> Vec<Segment> {
        let mut path = self.path.clone();
        path.push(Segment::Key(key.to_owned()));
        path
    }

    /// A complaint about the value of `name`.
    pub fn error(&self, name: &str, message: impl Into<String>) -> DecodeError {
        let key = self.entry(name).map_or(name, |(key, _)| key);
        DecodeError { path: self.at(key), message: message.into() }
    }

    /// The value of `name`, whatever it is.
    pub fn get(&self, name: &str) -> Option<&'a Value> {
        self.entry(name).map(|(_, value)| value)
    }

    /// Text, if there is any.
    pub fn optional_string(&self, name: &str) -> Result<Option<String>, DecodeError> {
        match self.entry(name) {
            None => Ok(None),
            Some((_, Value::String(text))) => Ok(Some(text.clone())),
            Some((key, other)) => Err(wrong(self.at(key), "a string", other)),
        }
    }

    /// Text, empty if there is none.
    pub fn string(&self, name: &str) -> Result<String, DecodeError> {
        Ok(self.optional_string(name)?.unwrap_or_default())
    }

    /// Text that means something, such as an address. None if there is none, or an empty one.
    pub fn parsed<T: FromStr>(&self, name: &str) -> Result<Option<T>, DecodeError> {
        let Some(text) = self.optional_string(name)?.filter(|text| !text.is_empty()) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| self.error(name, format!("{text:.64?} cannot be understood")))
    }

    /// True or false, if it says.
    pub fn optional_bool(&self, name: &str) -> Result<Option<bool>, DecodeError> {
        match self.entry(name) {
            None => Ok(None),
            Some((_, Value::Bool(truth))) => Ok(Some(*truth)),
            Some((key, other)) => Err(wrong(self.at(key), "true or false", other)),
        }
    }

    /// True or false, false if it does not say.
    pub fn bool(&self, name: &str) -> Result<bool, DecodeError> {
        Ok(self.optional_bool(name)?.unwrap_or_default())
    }

    /// A small whole number, 0 if there is none.
    pub fn u32(&self, name: &str) -> Result<u32, DecodeError> {
        let Some((key, value)) = self.entry(name) else { return Ok(0) };
        let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
        number.ok_or_else(|| wrong(self.at(key), "a whole number from 0 to 4294967295", value))
    }

    /// A list of texts, empty if there is none.
    pub fn strings(&self, name: &str) -> Result<Vec<String>, DecodeError> {
        self.list(name, |value, path| match value {
            Value::String(text) => Ok(Some(text.clone())),
            Value::Null => Ok(Some(String::new())),
            other => Err(wrong(path, "a string", other)),
        })
    }

    /// Named texts, none if there are none.
    pub fn string_map(&self, name: &str) -> Result<BTreeMap<String, String>, DecodeError> {
        let Some(object) = self.object(name)? else { return Ok(BTreeMap::new()) };
        let texts = object.map.iter().map(|(key, value)| match value {
            Value::String(text) => Ok((key.clone(), text.clone())),
            Value::Null => Ok((key.clone(), String::new())),
            other => Err(wrong(object.at(key), "a string", other)),
        });
        texts.collect()
    }

    /// An object inside this one, if there is one.
    pub fn object(&self, name: &str) -> Result<Option<Object<'a>>, DecodeError> {
        self.entry(name).map(|(key, value)| Self::new(value, self.at(key))).transpose()
    }

    /// A list of objects, empty if there is none; `null` entries are left out.
    pub fn objects(&self, name: &str) -> Result<Vec<Object<'a>>, DecodeError> {
        self.list(name, |value, path| match value {
            Value::Null => Ok(None),
            value => Self::new(value, path).map(Some),
        })
    }

    fn list<T>(
        &self,
        name: &str,
        read: impl Fn(&'a Value, Vec<Segment>) -> Result<Option<T>, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        let Some((key, value)) = self.entry(name) else { return Ok(Vec::new()) };
        let Value::Array(items) = value else { return Err(wrong(self.at(key), "a list", value)) };
        let items = items.iter().enumerate().filter_map(|(index, item)| {
            let mut path = self.at(key);
            path.push(Segment::Index(index));
            read(item, path).transpose()
        });
        items.collect()
    }

    /// All of it, as written.
    pub fn fields(&self) -> &'a Map<String, Value> {
        self.map
    }

    /// Each key as written, with its place, in order of appearance.
    pub fn keys(&self) -> impl Iterator<Item = (&'a str, String)> + '_ {
        self.map.keys().map(|key| (key.as_str(), show_path(&self.at(key))))
    }
}

fn wrong(path: Vec<Segment>, expected: &str, found: &Value) -> DecodeError {
    let found = match found {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    };
    DecodeError { path, message: format!("expected {expected}, found {found}") }
}

/// The first JSON value of a message as Go's decoder reads it: bad UTF-8 is replaced, what follows is ignored.
/// No bytes at all are an empty object.
pub fn message(bytes: &[u8]) -> Result<Value, DecodeError> {
    let text = String::from_utf8_lossy(bytes);
    match serde_json::Deserializer::from_str(&text).into_iter::<Value>().next() {
        None => Ok(Value::Object(Map::new())),
        Some(Ok(value)) => Ok(value),
        Some(Err(error)) => Err(DecodeError { path: Vec::new(), message: format!("invalid JSON: {error}") }),
    }
}
