use std::collections::BTreeMap;

use pintle_api::Filters;

use crate::status::Failure;

/// The query of a request.
#[derive(Debug, Clone, Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    pub(crate) fn parse(text: &str) -> Self {
        let pairs = text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(key, true), decode(value, true))
        });
        Self(pairs.collect())
    }

    /// The first value of `key`, empty if there is none.
    pub(crate) fn text(&self, key: &str) -> &str {
        self.given(key).unwrap_or("")
    }

    /// The first value of `key` if there is one that is not empty.
    pub(crate) fn some(&self, key: &str) -> Option<&str> {
        self.given(key).filter(|value| !value.is_empty())
    }

    fn given(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// Every value of `key`.
    pub(crate) fn all(&self, key: &str) -> Vec<String> {
        self.0.iter().filter(|(name, _)| name == key).map(|(_, value)| value.clone()).collect()
    }

    /// Every key with its values, in their order.
    pub(crate) fn to_map(&self) -> BTreeMap<String, Vec<String>> {
        let mut map = BTreeMap::<_, Vec<_>>::new();
        for (key, value) in &self.0 {
            map.entry(key.clone()).or_default().push(value.clone());
        }
        map
    }

    /// Docker's idea of truth: anything but nothing, `0`, `no`, `false` and `none`.
    pub(crate) fn truth(&self, key: &str) -> bool {
        !matches!(self.text(key).trim().to_ascii_lowercase().as_str(), "" | "0" | "no" | "false" | "none")
    }

    /// The same, `default` where the key is not there at all.
    pub(crate) fn truth_or(&self, key: &str, default: bool) -> bool {
        if self.given(key).is_some() { self.truth(key) } else { default }
    }

    /// A number, `None` where the key is absent or empty. The error is Go's, which clients have seen before.
    pub(crate) fn number<T: std::str::FromStr>(&self, key: &str) -> Result<Option<T>, Failure> {
        self.some(key).map(|text| number(text)).transpose()
    }

    /// A number that must be there.
    pub(crate) fn required_number<T: std::str::FromStr>(&self, key: &str) -> Result<T, Failure> {
        number(self.text(key))
    }

    pub(crate) fn filters(&self) -> Result<Filters, Failure> {
        Ok(Filters::parse(self.text("filters"))?)
    }
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, Failure> {
    text.parse().map_err(|_| Failure::invalid(format!("strconv.Atoi: parsing {text:?}: invalid syntax")))
}

/// Undoes percent-encoding. What is not valid stays as it is; what is not UTF-8 is replaced.
pub(crate) fn decode(text: &str, plus_is_space: bool) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let hex = |offset: usize| bytes.get(at + offset).and_then(|digit| char::from(*digit).to_digit(16));
        match (byte, hex(1), hex(2)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                at += 3;
                continue;
            }
            (b'+', ..) if plus_is_space => out.push(b' '),
            _ => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8(out).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn truth_is_dockers() {
        let query = Query::parse("a=1&b=true&c=0&d=no&e=False&f=none&g=&h=x&i");
        let truths = "abcdefghij".chars().map(|key| query.truth(&key.to_string())).collect::<Vec<_>>();
        assert_eq!(truths, [true, true, false, false, false, false, false, true, false, false]);
        assert!(query.truth_or("zz", true) && !query.truth_or("c", true));
    }

    #[test]
    fn a_missing_number_reads_as_in_go() {
        let error = Query::default().required_number::<i64>("timeout").unwrap_err();
        assert_eq!(error.message, r#"strconv.Atoi: parsing "": invalid syntax"#);
        assert_eq!(Query::parse("n=5").number::<i64>("n").unwrap(), Some(5));
        Query::parse("n=x").number::<i64>("n").unwrap_err();
    }

    #[test]
    fn escapes_are_undone() {
        let query = Query::parse("a%3Db=c%20d+e&x=%zz%4");
        assert_eq!(query.text("a=b"), "c d e");
        assert_eq!(query.text("x"), "%zz%4");
        assert_eq!(decode("a+b%2fc", false), "a+b/c");
    }

    proptest! {
        #[test]
        fn hostile_text_never_panics(text in ".{0,80}") {
            let query = Query::parse(&text);
            let _ = (query.truth("a"), query.filters(), query.number::<u16>("a"));
        }
    }
}
