//! `printf`, with the verbs that make sense for JSON values.

use serde_json::Value;

use super::print;

const MAX_WIDTH: usize = 4096;

#[derive(Default)]
struct Flags {
    left: bool,
    zero: bool,
    plus: bool,
    sharp: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

pub fn printf(format: &str, args: &[Value]) -> String {
    let mut out = String::new();
    let mut chars = format.chars().peekable();
    let mut next = args.iter();
    let mut used = 0;
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut flags = Flags::default();
        while let Some(&flag) = chars.peek() {
            match flag {
                '-' => flags.left = true,
                '0' => flags.zero = true,
                '+' => flags.plus = true,
                '#' => flags.sharp = true,
                ' ' => {}
                _ => break,
            }
            chars.next();
        }
        flags.width = digits(&mut chars);
        if chars.next_if_eq(&'.').is_some() {
            flags.precision = Some(digits(&mut chars).unwrap_or(0));
        }
        match chars.next() {
            None => out.push_str("%!(NOVERB)"),
            Some('%') => out.push('%'),
            Some(verb) => match next.next() {
                None => out.push_str(&format!("%!{verb}(MISSING)")),
                Some(value) => {
                    used += 1;
                    out.push_str(&pad(one(verb, value, &flags), &flags));
                }
            },
        }
    }
    if used < args.len() {
        let extra: Vec<String> = args
            .iter()
            .skip(used)
            .map(|v| format!("{}={}", print::type_name(v), print::display(v)))
            .collect();
        out.push_str(&format!("%!(EXTRA {})", extra.join(", ")));
    }
    out
}

fn digits(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<usize> {
    let mut number = None;
    while let Some(digit) = chars.peek().and_then(|c| c.to_digit(10)) {
        number = Some((number.unwrap_or(0) * 10 + digit as usize).min(MAX_WIDTH));
        chars.next();
    }
    number
}

fn one(verb: char, value: &Value, flags: &Flags) -> String {
    let sign = |text: String| if flags.plus && !text.starts_with('-') { format!("+{text}") } else { text };
    match (verb, value) {
        ('v', _) => print::display(value),
        ('s', Value::String(text)) => cut(text, flags.precision),
        ('s', Value::Array(_) | Value::Object(_)) => print::display(value),
        ('q', Value::String(text)) => format!("{text:?}"),
        ('x', Value::String(text)) => hex::encode(text),
        ('X', Value::String(text)) => hex::encode_upper(text),
        ('T', _) => print::type_name(value).to_owned(),
        ('t', Value::Bool(b)) => b.to_string(),
        ('d', Value::Number(n)) if !n.is_f64() => sign(n.to_string()),
        ('c', Value::Number(n)) => n
            .as_u64()
            .and_then(|n| u32::try_from(n).ok())
            .and_then(char::from_u32)
            .unwrap_or('\u{fffd}')
            .to_string(),
        ('x' | 'X' | 'o' | 'b', Value::Number(n)) if n.as_i64().is_some() => {
            let n = n.as_i64().unwrap_or(0);
            match verb {
                'x' if flags.sharp => format!("{n:#x}"),
                'x' => format!("{n:x}"),
                'X' => format!("{n:X}"),
                'o' => format!("{n:o}"),
                _ => format!("{n:b}"),
            }
        }
        ('f' | 'F', Value::Number(n)) => {
            sign(format!("{:.*}", flags.precision.unwrap_or(6), n.as_f64().unwrap_or(0.0)))
        }
        ('g' | 'e', Value::Number(n)) => match flags.precision {
            Some(digits) => significant(n.as_f64().unwrap_or(0.0), digits),
            None => n.to_string(),
        },
        _ => format!("%!{verb}({}={})", print::type_name(value), print::display(value)),
    }
}

fn cut(text: &str, precision: Option<usize>) -> String {
    match precision {
        Some(most) => text.chars().take(most).collect(),
        None => text.to_owned(),
    }
}

fn pad(text: String, flags: &Flags) -> String {
    let Some(missing) = flags.width.and_then(|w| w.checked_sub(text.chars().count())) else { return text };
    if flags.left {
        return text + &" ".repeat(missing);
    }
    if flags.zero {
        let (sign, digits) = match text.strip_prefix(['-', '+']) {
            Some(digits) => (text.get(..1).unwrap_or(""), digits),
            None => ("", text.as_str()),
        };
        return format!("{sign}{}{digits}", "0".repeat(missing));
    }
    " ".repeat(missing) + &text
}

/// C's `%.<digits>g`: significant digits, no trailing zeros, an exponent when the number does not fit.
pub fn significant(value: f64, digits: usize) -> String {
    let digits = digits.max(1);
    if value == 0.0 || !value.is_finite() {
        return if value.is_finite() { "0".to_owned() } else { value.to_string() };
    }
    let scientific = format!("{value:.*e}", digits - 1);
    let Some((mantissa, exponent)) = scientific.split_once('e') else { return scientific };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if exponent < -4 || exponent >= i32::try_from(digits).unwrap_or(i32::MAX) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{}e{sign}{:02}", trimmed(mantissa), exponent.abs());
    }
    let decimals = usize::try_from(i32::try_from(digits).unwrap_or(1) - 1 - exponent).unwrap_or(0);
    trimmed(&format!("{value:.decimals$}")).to_owned()
}

fn trimmed(number: &str) -> &str {
    if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.') } else { number }
}
