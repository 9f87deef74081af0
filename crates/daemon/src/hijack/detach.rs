use crate::status::Failure;

/// The keys that leave a terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DetachKeys(Vec<u8>);

impl Default for DetachKeys {
    /// `ctrl-p,ctrl-q`.
    fn default() -> Self {
        Self(vec![16, 17])
    }
}

impl DetachKeys {
    /// Reads `ctrl-p,ctrl-q`, `a,b`; nothing is the default.
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let key = |part: &str| match part.as_bytes() {
            [key] if key.is_ascii() => Some(*key),
            [b'c', b't', b'r', b'l', b'-', key] => match key {
                b'a'..=b'z' => Some(key - b'a' + 1),
                b'@' => Some(0),
                b'[' => Some(27),
                b'\\' => Some(28),
                b']' => Some(29),
                b'^' => Some(30),
                b'_' => Some(31),
                _ => None,
            },
            _ => None,
        };
        let keys: Option<Vec<u8>> = text.split(',').map(key).collect();
        keys.map(Self).ok_or_else(|| Failure::invalid(format!("Invalid detach keys ({text}) provided")))
    }
}

/// Watches input for the keys.
#[derive(Debug)]
pub(crate) struct Watch {
    keys: Vec<u8>,
    seen: usize,
}

impl Watch {
    pub(crate) fn new(keys: DetachKeys) -> Self {
        Self { keys: keys.0, seen: 0 }
    }

    /// Takes input and puts what may pass into `out`. True when the keys are complete; the rest is not for the
    /// terminal. Keys of a sequence that is not finished are held back until it is clear that it is none.
    pub(crate) fn pass(&mut self, input: &[u8], out: &mut Vec<u8>) -> bool {
        for byte in input {
            while self.seen > 0 && self.keys.get(self.seen) != Some(byte) {
                // The longest beginning of the keys that what was seen still ends with.
                let shorter = (0..self.seen)
                    .rev()
                    .find(|len| self.keys[self.seen - len..self.seen] == self.keys[..*len]);
                let shorter = shorter.unwrap_or(0);
                out.extend_from_slice(&self.keys[..self.seen - shorter]);
                self.seen = shorter;
            }
            if self.keys.get(self.seen) == Some(byte) {
                self.seen += 1;
                if self.seen == self.keys.len() {
                    return true;
                }
            } else {
                out.push(*byte);
            }
        }
        false
    }

    /// What is held back when input ends.
    pub(crate) fn held(&self) -> &[u8] {
        &self.keys[..self.seen]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn keys_are_read() {
        assert_eq!(DetachKeys::parse("").unwrap(), DetachKeys(vec![16, 17]));
        assert_eq!(DetachKeys::parse("ctrl-a,b,ctrl-_").unwrap(), DetachKeys(vec![1, b'b', 31]));
        for bad in ["ctrl-", "ctrl-A", "ab", ",", "é"] {
            assert_eq!(
                DetachKeys::parse(bad).unwrap_err().message,
                format!("Invalid detach keys ({bad}) provided")
            );
        }
    }

    fn run(keys: &str, pieces: &[&[u8]]) -> (Vec<u8>, bool) {
        let mut watch = Watch::new(DetachKeys::parse(keys).unwrap());
        let mut out = Vec::new();
        for piece in pieces {
            if watch.pass(piece, &mut out) {
                return (out, true);
            }
        }
        out.extend_from_slice(watch.held());
        (out, false)
    }

    #[test]
    fn only_the_whole_sequence_detaches() {
        assert_eq!(run("", &[b"a\x10b\x10", b"\x11c"]), (b"a\x10b".to_vec(), true));
        assert_eq!(run("", &[b"\x10\x10\x11"]), (b"\x10".to_vec(), true));
        assert_eq!(run("a,a,b", &[b"aaab"]), (b"a".to_vec(), true));
        assert_eq!(run("", &[b"\x10"]), (b"\x10".to_vec(), false));
    }

    proptest! {
        #[test]
        fn without_the_keys_nothing_is_lost(input in proptest::collection::vec(97u8..100, 0..60), cut in 0usize..60) {
            let (head, tail) = input.split_at(cut.min(input.len()));
            let (out, detached) = run("a,b,a,c", &[head, tail]);
            match input.windows(4).position(|four| four == b"abac") {
                Some(at) => prop_assert_eq!((out.as_slice(), detached), (&input[..at], true)),
                None => prop_assert_eq!((out, detached), (input, false)),
            }
        }
    }
}
