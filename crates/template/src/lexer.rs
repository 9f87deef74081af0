//! Cuts a template into text and actions, and an action into tokens.

use serde_json::{Number, Value};

use super::TemplateError;

/// Text or the inside of `{{…}}`.
#[derive(Debug, Clone, PartialEq)]
pub enum Chunk {
    Text(String),
    Action { line: usize, tokens: Vec<Token> },
}

#[derive(Debug, Clone, PartialEq)]
pub enum Token {
    /// `if`, `json`, `$x` comes as `Variable`.
    Word(String),
    /// `.`, `.A.B` (names without dots).
    Field(Vec<String>),
    Variable(String, Vec<String>),
    Literal(Value),
    Pipe,
    Open,
    /// `)` with the fields that follow it.
    Close(Vec<String>),
    Declare,
    Assign,
    Comma,
}

fn bad(line: usize, reason: impl Into<String>) -> TemplateError {
    TemplateError::Parse { line, reason: reason.into() }
}

pub fn chunks(text: &str) -> Result<Vec<Chunk>, TemplateError> {
    let mut out = Vec::new();
    let mut rest = text;
    let mut line = 1;
    let mut trim_next = false;
    loop {
        let (before, after) = match rest.find("{{") {
            Some(at) => (rest.get(..at).unwrap_or(""), rest.get(at + 2..)),
            None => (rest, None),
        };
        let mut plain = before;
        if trim_next {
            plain = plain.trim_start_matches([' ', '\t', '\r', '\n']);
        }
        line += before.matches('\n').count();
        let Some(after) = after else {
            push_text(&mut out, plain);
            return Ok(out);
        };
        let trims = after.starts_with('-') && after.chars().nth(1).is_some_and(char::is_whitespace);
        if trims {
            plain = plain.trim_end_matches([' ', '\t', '\r', '\n']);
        }
        push_text(&mut out, plain);
        let body = if trims { after.get(1..).unwrap_or("") } else { after };
        let start = line;
        let (inside, remainder, trim) = match body.trim_start().strip_prefix("/*") {
            Some(comment) => end_of_comment(comment, start)?,
            None => end_of_action(body, start)?,
        };
        trim_next = trim;
        if let Some(inside) = inside {
            line += inside.matches('\n').count();
            out.push(Chunk::Action { line: start, tokens: tokens(inside, start)? });
        }
        rest = remainder;
    }
}

fn push_text(out: &mut Vec<Chunk>, text: &str) {
    if !text.is_empty() {
        out.push(Chunk::Text(text.to_owned()));
    }
}

type Cut<'a> = (Option<&'a str>, &'a str, bool);

fn end_of_comment(comment: &str, line: usize) -> Result<Cut<'_>, TemplateError> {
    let (_, after) = comment.split_once("*/").ok_or_else(|| bad(line, "unclosed comment"))?;
    let trimmed = after.trim_start();
    if let Some(rest) = trimmed.strip_prefix("-}}") {
        return Ok((None, rest, true));
    }
    trimmed
        .strip_prefix("}}")
        .map(|rest| (None, rest, false))
        .ok_or_else(|| bad(line, "comment ends before closing delimiter"))
}

/// Finds the `}}` that ends an action; quotes hide it.
fn end_of_action(body: &str, line: usize) -> Result<Cut<'_>, TemplateError> {
    let bytes = body.as_bytes();
    let mut at = 0;
    let mut quote = None;
    while let Some(&byte) = bytes.get(at) {
        match quote {
            Some(open) => {
                if byte == b'\\' && open != b'`' {
                    at += 1;
                } else if byte == open {
                    quote = None;
                }
            }
            None if matches!(byte, b'"' | b'\'' | b'`') => quote = Some(byte),
            None if byte == b'}' && bytes.get(at + 1) == Some(&b'}') => {
                let inside = body.get(..at).unwrap_or("");
                let rest = body.get(at + 2..).unwrap_or("");
                let trims = inside.ends_with(" -") || inside.ends_with("\t-") || inside.ends_with("\n-");
                let inside = if trims { inside.get(..inside.len() - 1).unwrap_or("") } else { inside };
                return Ok((Some(inside), rest, trims));
            }
            None => {}
        }
        at += 1;
    }
    Err(bad(line, "unclosed action"))
}

fn tokens(text: &str, line: usize) -> Result<Vec<Token>, TemplateError> {
    let mut out = Vec::new();
    let chars: Vec<char> = text.chars().collect();
    let mut at = 0;
    while let Some(&c) = chars.get(at) {
        match c {
            _ if c.is_whitespace() => at += 1,
            '|' => {
                out.push(Token::Pipe);
                at += 1;
            }
            '(' => {
                out.push(Token::Open);
                at += 1;
            }
            ')' => {
                at += 1;
                out.push(Token::Close(path(&chars, &mut at)));
            }
            ',' => {
                out.push(Token::Comma);
                at += 1;
            }
            ':' if chars.get(at + 1) == Some(&'=') => {
                out.push(Token::Declare);
                at += 2;
            }
            '=' => {
                out.push(Token::Assign);
                at += 1;
            }
            '"' | '`' | '\'' => out.push(Token::Literal(quoted(&chars, &mut at, line)?)),
            '.' if !chars.get(at + 1).is_some_and(char::is_ascii_digit) => {
                let found = path(&chars, &mut at);
                if found.is_empty() {
                    at += 1;
                }
                out.push(Token::Field(found));
            }
            '$' => {
                at += 1;
                let name = word(&chars, &mut at);
                out.push(Token::Variable(name, path(&chars, &mut at)));
            }
            _ if c.is_ascii_digit() || (matches!(c, '-' | '+' | '.') && next_is_digit(&chars, at)) => {
                out.push(Token::Literal(number(&chars, &mut at, line)?));
            }
            _ if is_name(c) => {
                let name = word(&chars, &mut at);
                out.push(match name.as_str() {
                    "true" => Token::Literal(Value::Bool(true)),
                    "false" => Token::Literal(Value::Bool(false)),
                    "nil" => Token::Literal(Value::Null),
                    _ => Token::Word(name),
                });
            }
            _ => return Err(bad(line, format!("unexpected {c:?} in command"))),
        }
    }
    Ok(out)
}

fn next_is_digit(chars: &[char], at: usize) -> bool {
    chars.get(at + 1).is_some_and(char::is_ascii_digit)
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn word(chars: &[char], at: &mut usize) -> String {
    let from = *at;
    while chars.get(*at).copied().is_some_and(is_name) {
        *at += 1;
    }
    chars.get(from..*at).unwrap_or_default().iter().collect()
}

/// Reads `.A.B`, starting at a dot; nothing if no name follows the dot.
fn path(chars: &[char], at: &mut usize) -> Vec<String> {
    let mut out = Vec::new();
    while chars.get(*at) == Some(&'.') && chars.get(*at + 1).copied().is_some_and(is_name) {
        *at += 1;
        out.push(word(chars, at));
    }
    out
}

fn number(chars: &[char], at: &mut usize, line: usize) -> Result<Value, TemplateError> {
    let from = *at;
    *at += 1;
    while chars.get(*at).is_some_and(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_')) {
        *at += 1;
    }
    let text: String = chars.get(from..*at).unwrap_or_default().iter().collect();
    let digits = text.replace('_', "");
    if let Ok(whole) = digits.parse::<i64>() {
        return Ok(Value::from(whole));
    }
    if let Some(hex) = digits.strip_prefix("0x")
        && let Ok(whole) = i64::from_str_radix(hex, 16)
    {
        return Ok(Value::from(whole));
    }
    digits
        .parse::<f64>()
        .ok()
        .and_then(Number::from_f64)
        .map(Value::Number)
        .ok_or_else(|| bad(line, format!("bad number syntax: {text:?}")))
}

fn quoted(chars: &[char], at: &mut usize, line: usize) -> Result<Value, TemplateError> {
    let open = chars.get(*at).copied().unwrap_or('"');
    *at += 1;
    let mut out = String::new();
    while let Some(&c) = chars.get(*at) {
        *at += 1;
        if c == open {
            return Ok(if open == '\'' {
                Value::from(out.chars().next().map_or(0, u32::from))
            } else {
                Value::String(out)
            });
        }
        if c != '\\' || open == '`' {
            out.push(c);
            continue;
        }
        let escape = chars.get(*at).copied().ok_or_else(|| bad(line, "unterminated quoted string"))?;
        *at += 1;
        out.push(match escape {
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            '0' => '\0',
            'a' => '\u{7}',
            'b' => '\u{8}',
            'f' => '\u{c}',
            'v' => '\u{b}',
            'x' => code(chars, at, 2, line)?,
            'u' => code(chars, at, 4, line)?,
            'U' => code(chars, at, 8, line)?,
            '\\' | '"' | '\'' => escape,
            _ => return Err(bad(line, "invalid syntax in quoted string")),
        });
    }
    Err(bad(line, "unterminated quoted string"))
}

fn code(chars: &[char], at: &mut usize, digits: usize, line: usize) -> Result<char, TemplateError> {
    let text: String = chars.get(*at..*at + digits).unwrap_or_default().iter().collect();
    *at += digits;
    u32::from_str_radix(&text, 16)
        .ok()
        .and_then(char::from_u32)
        .ok_or_else(|| bad(line, "invalid escape in quoted string"))
}
