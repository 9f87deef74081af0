//! Variables in words, with the quoting of moby's `shell` package.

use super::{SyntaxError, pattern::matches};

/// A shell's deepest nesting of `${a:-${b:-…}}` that makes sense.
const MAX_DEPTH: usize = 100;
/// Words that double line by line must end somewhere.
const MAX_WORD: usize = 1 << 20;
/// What patterns in `${a#b}` and its kin are tried on.
const MAX_TRIMMED: usize = 4 << 10;

/// Puts variables into words.
pub struct Expander<'a> {
    /// What takes away the meaning of the next character.
    pub escape: char,
    /// What a variable is, if it is set.
    pub lookup: &'a (dyn Fn(&str) -> Option<String> + Sync),
}

impl Expander<'_> {
    /// One word: variables put in, quotes and escapes taken away.
    pub fn word(&self, text: &str) -> Result<String, SyntaxError> {
        self.run(text).map(|(word, _)| word)
    }

    /// The same, taken apart at white space that is not quoted, wherever it came from.
    pub fn words(&self, text: &str) -> Result<Vec<String>, SyntaxError> {
        self.run(text).map(|(_, words)| words)
    }

    fn run(&self, text: &str) -> Result<(String, Vec<String>), SyntaxError> {
        let mut scan = Scan { expander: self, rest: text.chars().collect(), at: 0, words: Words::default() };
        let word = scan
            .until(None, false, 0)
            .map_err(|error| SyntaxError::new(format!("failed to process {text:?}: {error}")))?;
        Ok((word, scan.words.finish()))
    }
}

#[derive(Default)]
struct Words {
    done: Vec<String>,
    word: String,
    inside: bool,
}

impl Words {
    fn loose(&mut self, text: &str) {
        for char in text.chars() {
            if char.is_whitespace() {
                if self.inside {
                    self.done.push(std::mem::take(&mut self.word));
                    self.inside = false;
                }
            } else {
                self.tight(char.encode_utf8(&mut [0; 4]));
            }
        }
    }

    fn tight(&mut self, text: &str) {
        self.inside = true;
        self.word.push_str(text);
    }

    fn finish(mut self) -> Vec<String> {
        if self.inside {
            self.done.push(self.word);
        }
        self.done
    }
}

struct Scan<'a> {
    expander: &'a Expander<'a>,
    rest: Vec<char>,
    at: usize,
    words: Words,
}

impl Scan<'_> {
    fn peek(&self) -> Option<char> {
        self.rest.get(self.at).copied()
    }

    fn next(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.at += 1;
        Some(next)
    }

    /// Up to `stop`, which is consumed, or to the end. `raw`: escapes stay, for patterns.
    fn until(&mut self, stop: Option<char>, raw: bool, depth: usize) -> Result<String, SyntaxError> {
        if depth > MAX_DEPTH {
            return Err(SyntaxError::new("nested too deeply"));
        }
        let top = depth == 0;
        let mut result = String::new();
        while let Some(char) = self.next() {
            if result.len() > MAX_WORD {
                return Err(too_long());
            }
            if Some(char) == stop {
                return Ok(result);
            }
            match char {
                '\'' => {
                    let text = self.single()?;
                    if top {
                        self.words.tight(&text);
                    }
                    result.push_str(&text);
                }
                '"' => {
                    let text = self.double(depth)?;
                    if top {
                        self.words.tight(&text);
                    }
                    result.push_str(&text);
                }
                '$' => {
                    let text = self.dollar(depth)?;
                    if top {
                        self.words.loose(&text);
                    }
                    result.push_str(&text);
                }
                char if char == self.expander.escape => {
                    if raw {
                        result.push(char);
                    }
                    let Some(char) = self.next() else { break };
                    if top {
                        self.words.tight(char.encode_utf8(&mut [0; 4]));
                    }
                    result.push(char);
                }
                char => {
                    if top {
                        self.words.loose(char.encode_utf8(&mut [0; 4]));
                    }
                    result.push(char);
                }
            }
        }
        match stop {
            None => Ok(result),
            Some('}') => Err(SyntaxError::new("syntax error: missing '}'")),
            Some(stop) => Err(SyntaxError::new(format!(
                "unexpected end of statement while looking for matching {stop}"
            ))),
        }
    }

    fn single(&mut self) -> Result<String, SyntaxError> {
        let mut text = String::new();
        while let Some(char) = self.next() {
            if char == '\'' {
                return Ok(text);
            }
            text.push(char);
        }
        Err(SyntaxError::new("unexpected end of statement while looking for matching single-quote"))
    }

    fn double(&mut self, depth: usize) -> Result<String, SyntaxError> {
        let mut text = String::new();
        while let Some(char) = self.next() {
            if text.len() > MAX_WORD {
                return Err(too_long());
            }
            match char {
                '"' => return Ok(text),
                '$' => text.push_str(&self.dollar(depth)?),
                char if char == self.expander.escape => match self.peek() {
                    None => {}
                    Some(next) if matches!(next, '"' | '$') || next == self.expander.escape => {
                        self.at += 1;
                        text.push(next);
                    }
                    Some(_) => text.push(char),
                },
                char => text.push(char),
            }
        }
        Err(SyntaxError::new("unexpected end of statement while looking for matching double-quote"))
    }

    fn name(&mut self) -> String {
        let mut name = String::new();
        let digits = self.peek().is_some_and(|first| first.is_ascii_digit());
        while let Some(char) = self.peek() {
            let fits = if digits { char.is_ascii_digit() } else { char == '_' || char.is_alphanumeric() };
            let special = name.is_empty() && matches!(char, '@' | '*' | '#' | '?' | '-' | '$' | '!');
            if !fits && !special {
                break;
            }
            name.push(char);
            self.at += 1;
            if special {
                break;
            }
        }
        name
    }

    /// What a dollar sign, already consumed, begins.
    fn dollar(&mut self, depth: usize) -> Result<String, SyntaxError> {
        if self.peek() != Some('{') {
            let name = self.name();
            if name.is_empty() {
                return Ok("$".to_owned());
            }
            return Ok((self.expander.lookup)(&name).unwrap_or_default());
        }
        self.at += 1;
        match self.peek() {
            None => return Err(SyntaxError::new("syntax error: missing '}'")),
            Some('{' | '}' | ':') => return Err(SyntaxError::new("syntax error: bad substitution")),
            Some(_) => {}
        }
        let name = self.name();
        let value = (self.expander.lookup)(&name);
        let Some(modifier) = self.next() else { return Err(SyntaxError::new("syntax error: missing '}'")) };
        if modifier == '}' {
            return Ok(value.unwrap_or_default());
        }
        let colon = modifier == ':';
        let kind = if colon {
            self.next().ok_or_else(|| SyntaxError::new("syntax error: missing '}'"))?
        } else {
            modifier
        };
        let unsupported = || {
            let colon = if colon { ":" } else { "" };
            Err(SyntaxError::new(format!("unsupported modifier ({colon}{kind}) in substitution")))
        };
        let trimmed = matches!(kind, '#' | '%' | '/');
        if trimmed && value.as_ref().is_some_and(|value| value.len() > MAX_TRIMMED) {
            return Err(too_long());
        }
        let empty = value.as_ref().is_none_or(|value| colon && value.is_empty());
        match kind {
            '-' | '+' | '?' => {
                let word = self.until(Some('}'), false, depth + 1)?;
                match kind {
                    '-' => Ok(if empty { word } else { value.unwrap_or_default() }),
                    '+' => Ok(if empty { String::new() } else { word }),
                    _ if empty => {
                        let why = match (word.is_empty(), value.is_some()) {
                            (false, _) => word,
                            (true, true) => "parameter null or not set".to_owned(),
                            (true, false) => "parameter not set".to_owned(),
                        };
                        Err(SyntaxError::new(format!("{name}: {why}")))
                    }
                    _ => Ok(value.unwrap_or_default()),
                }
            }
            '#' | '%' if !colon => {
                let longest = self.peek() == Some(kind);
                self.at += usize::from(longest);
                let pattern = self.until(Some('}'), true, depth + 1)?;
                Ok(trim(&value.unwrap_or_default(), &pattern, kind == '#', longest))
            }
            '/' if !colon => {
                let all = self.peek() == Some('/');
                self.at += usize::from(all);
                let pattern = self.until(Some('/'), true, depth + 1)?;
                let replacement = self.until(Some('}'), true, depth + 1)?;
                Ok(replace(&value.unwrap_or_default(), &pattern, &replacement, all))
            }
            _ => unsupported(),
        }
    }
}

fn too_long() -> SyntaxError {
    SyntaxError::new("a value is too long")
}

/// A pattern's star goes over slashes here, which `matches` does not let it.
fn fits(pattern: &str, text: &str) -> bool {
    matches(&pattern.replace('/', "\u{1}"), &text.replace('/', "\u{1}"))
}

fn ends(value: &str) -> Vec<usize> {
    value.char_indices().map(|(at, _)| at).chain([value.len()]).collect()
}

fn trim(value: &str, pattern: &str, front: bool, longest: bool) -> String {
    let mut cuts = ends(value);
    // The first cut that fits is taken.
    if front == longest {
        cuts.reverse();
    }
    for cut in cuts {
        let (head, tail) = value.split_at(cut);
        let (gone, left) = if front { (head, tail) } else { (tail, head) };
        if fits(pattern, gone) {
            return left.to_owned();
        }
    }
    value.to_owned()
}

fn replace(value: &str, pattern: &str, replacement: &str, all: bool) -> String {
    let mut result = String::new();
    let mut rest = value;
    'outer: while !rest.is_empty() {
        for end in ends(rest).into_iter().skip(1).rev() {
            if fits(pattern, &rest[..end]) {
                result.push_str(replacement);
                rest = &rest[end..];
                if all {
                    continue 'outer;
                }
                break 'outer;
            }
        }
        let first = rest.chars().next().map_or(rest.len(), char::len_utf8);
        result.push_str(&rest[..first]);
        rest = &rest[first..];
    }
    result.push_str(rest);
    result
}
