//! Physical lines into logical ones.

use super::SyntaxError;

/// One instruction's text, continuation lines joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    /// Where it starts, from 1.
    pub number: usize,
    pub text: String,
}

/// The lines of a file and what its directives say about them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lines {
    pub lines: Vec<Line>,
    /// What takes away the meaning of the next character.
    pub escape: char,
    pub warnings: Vec<String>,
}

/// Takes a file apart.
pub(super) fn split(text: &str) -> Result<Lines, SyntaxError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut physical =
        text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line)).enumerate().peekable();
    let mut directives = Directives::default();
    let mut lines = Vec::new();
    let mut warnings = Vec::new();
    while let Some((at, raw)) = physical.next() {
        let start = raw.trim_start();
        directives.look_at(start).map_err(|error| error.on_line(at + 1))?;
        let start = if is_comment(start) { "" } else { start };
        let (mut whole, mut ends) = continuation(start, directives.escape);
        if ends && whole.trim().is_empty() {
            continue;
        }
        let mut gap = false;
        while !ends {
            let Some((_, raw)) = physical.next() else { break };
            if is_comment(raw.trim_start()) {
                continue;
            }
            // The last line of a file is empty when the file ends as files do.
            if raw.trim().is_empty() {
                gap |= physical.peek().is_some();
                continue;
            }
            let (more, last) = continuation(raw, directives.escape);
            whole.push_str(&more);
            ends = last;
        }
        if gap {
            warnings.push(format!("[WARNING]: Empty continuation line found in:\n    {}", whole.trim()));
        }
        if !whole.trim().is_empty() {
            lines.push(Line { number: at + 1, text: whole.trim().to_owned() });
        }
    }
    if !warnings.is_empty() {
        warnings
            .push("[WARNING]: Empty continuation lines will become errors in a future release.".to_owned());
    }
    Ok(Lines { lines, escape: directives.escape, warnings })
}

fn is_comment(line: &str) -> bool {
    line.starts_with('#')
}

/// A line without its continuation mark, and whether the instruction ends with it.
fn continuation(line: &str, escape: char) -> (String, bool) {
    let trimmed = line.trim_end_matches([' ', '\t']);
    match trimmed.strip_suffix(escape) {
        // Two in a row are one that means itself.
        Some(rest) if !rest.ends_with(escape) => (rest.to_owned(), false),
        _ => (line.to_owned(), true),
    }
}

/// `# name=value` at the very top.
struct Directives {
    escape: char,
    escape_seen: bool,
    over: bool,
}

impl Default for Directives {
    fn default() -> Self {
        Self { escape: '\\', escape_seen: false, over: false }
    }
}

impl Directives {
    fn look_at(&mut self, line: &str) -> Result<(), SyntaxError> {
        if self.over {
            return Ok(());
        }
        let Some((name, value)) = directive(line) else {
            self.over = true;
            return Ok(());
        };
        match name.to_ascii_lowercase().as_str() {
            "escape" if self.escape_seen => {
                Err(SyntaxError::new("only one escape parser directive can be used"))
            }
            "escape" => {
                self.escape_seen = true;
                self.escape = match value {
                    "`" => '`',
                    "\\" => '\\',
                    _ => {
                        return Err(SyntaxError::new(format!(
                            "invalid ESCAPE '{value:.50}'. Must be ` or \\"
                        )));
                    }
                };
                Ok(())
            }
            // They speak to BuildKit.
            "syntax" | "check" => Ok(()),
            _ => {
                self.over = true;
                Ok(())
            }
        }
    }
}

fn directive(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.strip_prefix('#')?.split_once('=')?;
    let (name, value) = (name.trim(), value.trim());
    let named = name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.chars().all(|char| char.is_ascii_alphanumeric());
    (named && !value.is_empty()).then_some((name, value))
}
