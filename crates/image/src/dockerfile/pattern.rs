//! Which paths a pattern names.

/// Whether a source is a pattern and not a path.
pub fn has_wildcards(text: &str) -> bool {
    let mut chars = text.chars();
    while let Some(next) = chars.next() {
        match next {
            '\\' => drop(chars.next()),
            '*' | '?' | '[' => return true,
            _ => {}
        }
    }
    false
}

/// Go's `filepath.Match`: `*` and `?` stop at slashes. A pattern that is none matches nothing.
pub fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    glob(&pattern, &text)
}

/// Backtracks to the last star alone, so that no pattern takes longer than its length times the text's.
fn glob(pattern: &[char], text: &[char]) -> bool {
    let (mut at, mut pos) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    loop {
        if pos == text.len() {
            return pattern[at..].iter().all(|char| *char == '*');
        }
        let step = match pattern.get(at) {
            Some('*') => {
                star = Some((at, pos));
                at += 1;
                continue;
            }
            Some(_) => one(&pattern[at..], text[pos]),
            None => None,
        };
        if let Some(length) = step {
            at += length;
            pos += 1;
            continue;
        }
        match star {
            Some((star_at, taken)) if text[taken] != '/' => {
                star = Some((star_at, taken + 1));
                at = star_at + 1;
                pos = taken + 1;
            }
            _ => return false,
        }
    }
}

/// Whether the first piece of a pattern matches a character; how long the piece is.
fn one(pattern: &[char], char: char) -> Option<usize> {
    match pattern.first()? {
        '?' => (char != '/').then_some(1),
        '\\' => (*pattern.get(1)? == char).then_some(2),
        '[' => {
            let mut at = 1;
            let negated = pattern.get(at) == Some(&'^');
            at += usize::from(negated);
            let mut found = false;
            let mut first = true;
            loop {
                let mut next = || {
                    let escaped = pattern.get(at) == Some(&'\\');
                    at += usize::from(escaped);
                    let char = *pattern.get(at)?;
                    at += 1;
                    Some((char, escaped))
                };
                let (low, escaped) = next()?;
                if low == ']' && !escaped {
                    if first {
                        return None;
                    }
                    break;
                }
                first = false;
                let high = if pattern.get(at) == Some(&'-') {
                    at += 1;
                    let escaped = pattern.get(at) == Some(&'\\');
                    at += usize::from(escaped);
                    let high = *pattern.get(at)?;
                    at += 1;
                    high
                } else {
                    low
                };
                found |= (low..=high).contains(&char);
            }
            (found != negated && char != '/').then_some(at)
        }
        literal => (*literal == char).then_some(1),
    }
}

/// The lines of a `.dockerignore`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ignore(Vec<(bool, Vec<String>)>);

impl Ignore {
    /// Reads the file.
    pub fn parse(text: &str) -> Self {
        let lines =
            text.strip_prefix('\u{feff}').unwrap_or(text).lines().filter(|line| !line.starts_with('#'));
        let rules = lines.map(str::trim).filter(|line| !line.is_empty()).filter_map(|line| {
            let (again, pattern) = match line.strip_prefix('!') {
                Some(rest) => (true, rest.trim()),
                None => (false, line),
            };
            let mut parts: Vec<String> = Vec::new();
            for part in pattern.split('/') {
                match part {
                    "" | "." => {}
                    ".." => drop(parts.pop()),
                    part => parts.push(part.to_owned()),
                }
            }
            (!parts.is_empty()).then_some((again, parts))
        });
        Self(rules.collect())
    }

    /// Whether a path is left out of the context: it or a directory that it is in matches, the last line wins.
    pub fn hides(&self, path: &str) -> bool {
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
        let mut hidden = false;
        for (again, pattern) in &self.0 {
            let named = (1..=parts.len()).any(|length| components(pattern, &parts[..length]));
            if named {
                hidden = !again;
            }
        }
        hidden
    }
}

/// `**` stands for any number of directories.
fn components(pattern: &[String], path: &[&str]) -> bool {
    // One row of a table instead of recursion: hostile patterns stay cheap.
    let mut reached = vec![false; path.len() + 1];
    reached[0] = true;
    for part in pattern {
        let mut next = vec![false; path.len() + 1];
        if part == "**" {
            let mut any = false;
            for (at, here) in reached.iter().enumerate() {
                any |= *here;
                next[at] = any;
            }
        } else {
            for at in 0..path.len() {
                next[at + 1] = reached[at] && matches(part, path[at]);
            }
        }
        reached = next;
    }
    reached[path.len()]
}
