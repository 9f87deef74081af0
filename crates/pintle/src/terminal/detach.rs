//! The keys that leave a container running.

/// A key sequence, `ctrl-p,ctrl-q` unless told otherwise.
#[derive(Debug, Clone)]
pub struct DetachKeys {
    keys: Vec<u8>,
    matched: usize,
}

impl DetachKeys {
    /// Reads `ctrl-p,ctrl-q`: each key is a character or `ctrl-` with a letter or one of `@[\]^_`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut keys = Vec::new();
        for key in text.split(',').filter(|_| !text.is_empty()) {
            let byte = match (key.strip_prefix("ctrl-"), key.as_bytes()) {
                (Some(letter), _) => match letter.as_bytes() {
                    [c @ b'a'..=b'z'] => c - b'a' + 1,
                    [c @ (b'@' | b'[' | b'\\' | b']' | b'^' | b'_')] => c - b'@',
                    _ => return Err(format!("unknown character: '{key}'")),
                },
                (None, [c]) => *c,
                _ => return Err(format!("unknown character: '{key}'")),
            };
            keys.push(byte);
        }
        Ok(Self { keys, matched: 0 })
    }

    /// Takes what was typed and returns what the container gets, or `None` once the sequence is complete. A begun
    /// sequence is held back until it is clear that it is none.
    pub fn filter(&mut self, typed: &[u8]) -> Option<Vec<u8>> {
        let mut out = Vec::with_capacity(typed.len());
        for &byte in typed {
            if self.keys.get(self.matched) == Some(&byte) {
                self.matched += 1;
                if self.matched == self.keys.len() {
                    return None;
                }
                continue;
            }
            out.extend(self.keys.get(..self.matched).unwrap_or_default());
            self.matched = 0;
            if self.keys.first() == Some(&byte) {
                self.matched = 1;
                if self.keys.len() == 1 {
                    return None;
                }
            } else {
                out.push(byte);
            }
        }
        Some(out)
    }
}

impl Default for DetachKeys {
    fn default() -> Self {
        Self { keys: vec![16, 17], matched: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences() {
        let mut keys = DetachKeys::default();
        assert_eq!(keys.filter(b"ab").unwrap(), b"ab");
        assert_eq!(keys.filter(b"a\x10").unwrap(), b"a", "held back");
        assert_eq!(keys.filter(b"b").unwrap(), b"\x10b", "given back");
        assert_eq!(keys.filter(b"\x10\x10").unwrap(), b"\x10");
        assert!(keys.filter(b"\x11").is_none());
        assert!(DetachKeys::parse("ctrl-a,x").unwrap().filter(b"\x01x").is_none());
        assert!(DetachKeys::parse("").unwrap().filter(b"\x10\x11").is_some(), "no keys, no detaching");
        assert!(DetachKeys::parse("ctrl-").is_err() && DetachKeys::parse("ab").is_err());
    }
}
