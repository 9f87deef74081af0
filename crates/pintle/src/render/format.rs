//! Lists: one row per thing, shown as a table, through a template, as JSON lines, or as bare names.

use anyhow::{Result, bail};
use serde_json::{Map, Value};

use super::table;
use crate::template::{MissingKey, Template};

/// A list's columns: `(field, header)`, in the order of the default table, then those that are only for `--format`.
#[derive(Debug, Clone, Copy)]
pub struct Columns {
    /// Shown without `--format`.
    pub shown: &'static [(&'static str, &'static str)],
    /// Only for `--format`.
    pub hidden: &'static [(&'static str, &'static str)],
    /// What `-q` prints.
    pub quiet: &'static str,
}

/// One row: field name to text.
pub type Row = Map<String, Value>;

/// How to print a list.
#[derive(Debug, Clone, Default)]
pub struct Style {
    /// `--format`.
    pub format: Option<String>,
    /// `-q`.
    pub quiet: bool,
}

impl Style {
    /// The text of the list.
    pub fn render(&self, columns: &Columns, rows: &[Row]) -> Result<String> {
        let format = self.format.as_deref().unwrap_or("table");
        if self.quiet && (self.format.is_none() || format == "table") {
            return Ok(rows.iter().map(|row| cell(row, columns.quiet) + "\n").collect());
        }
        match format {
            "json" => {
                let mut out = String::new();
                for row in rows {
                    out += &serde_json::to_string(row)?;
                    out.push('\n');
                }
                Ok(out)
            }
            "table" | "table " => {
                let mut lines = vec![headers(columns.shown)];
                lines.extend(rows.iter().map(|row| {
                    columns.shown.iter().map(|(field, _)| cell(row, field)).collect::<Vec<_>>().join("\t")
                }));
                Ok(table::align(&lines))
            }
            other => templated(columns, rows, other),
        }
    }
}

fn cell(row: &Row, field: &str) -> String {
    row.get(field).map(crate::template::display).unwrap_or_default()
}

fn headers(columns: &[(&str, &str)]) -> String {
    columns.iter().map(|(_, header)| *header).collect::<Vec<_>>().join("\t")
}

fn templated(columns: &Columns, rows: &[Row], format: &str) -> Result<String> {
    let (aligned, body) = match format.strip_prefix("table") {
        Some(body) if body.starts_with([' ', '\\', '\t', '{']) => (true, body.trim_start_matches(' ')),
        _ => (false, format),
    };
    let body = body.replace("\\t", "\t").replace("\\n", "\n");
    let template = Template::parse(&body)?;
    let mut lines = Vec::new();
    if aligned {
        // The header row is the same template over the headers, whatever functions it applies.
        let plain = Template::parse(&without_functions(&body))?;
        let header: Row = columns
            .shown
            .iter()
            .chain(columns.hidden)
            .map(|(field, header)| ((*field).to_owned(), Value::from(*header)))
            .collect();
        lines.push(plain.render(&Value::Object(header), MissingKey::NoValue)?);
    }
    for row in rows {
        let known = |name: &str| columns.shown.iter().chain(columns.hidden).any(|(field, _)| *field == name);
        match template.render(&Value::Object(row.clone()), MissingKey::Error) {
            Ok(line) => lines.push(line),
            Err(error) => {
                let names: Vec<&str> = columns.shown.iter().chain(columns.hidden).map(|(f, _)| *f).collect();
                if names.iter().any(|n| known(n) && !row.contains_key(*n)) {
                    // A known column that this engine did not send is empty, not a mistake of the user's.
                    let mut full = row.clone();
                    for name in &names {
                        full.entry((*name).to_owned()).or_insert_with(|| Value::String(String::new()));
                    }
                    if let Ok(line) = template.render(&Value::Object(full), MissingKey::Error) {
                        lines.push(line);
                        continue;
                    }
                }
                bail!("{error}; the fields here are: {}", names.join(", "));
            }
        }
    }
    if aligned {
        return Ok(table::align(&lines));
    }
    Ok(lines.into_iter().map(|line| line + "\n").collect())
}

/// Leaves only `{{.Field}}` of each action, so that headers are not truncated, split or turned to JSON.
fn without_functions(body: &str) -> String {
    let mut out = String::new();
    let mut rest = body;
    while let Some((before, after)) = rest.split_once("{{") {
        out += before;
        let (action, tail) = after.split_once("}}").unwrap_or((after, ""));
        let field = action
            .split(|c: char| c.is_whitespace() || matches!(c, '(' | ')' | '|'))
            .find(|w| w.starts_with('.'));
        if let Some(field) = field {
            // `{{.Label "x"}}` and the like: the header is that of the field.
            out += &format!("{{{{{field}}}}}");
        }
        rest = tail;
    }
    out + rest
}

/// Renders one document, for `inspect --format` and friends.
pub fn document(format: &str, document: &Value) -> Result<String> {
    if format == "json" {
        return Ok(serde_json::to_string(document)?);
    }
    Ok(Template::parse(format)?.render(document, MissingKey::Error)?)
}

/// A row from pairs.
pub fn row<const N: usize>(cells: [(&str, Value); N]) -> Row {
    cells.into_iter().map(|(field, value)| (field.to_owned(), value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: Columns =
        Columns { shown: &[("ID", "ID"), ("Name", "NAME")], hidden: &[("Size", "SIZE")], quiet: "ID" };

    fn rows() -> Vec<Row> {
        vec![row([("ID", "abc".into()), ("Name", "one".into()), ("Size", "5kB".into())])]
    }

    fn show(format: Option<&str>, quiet: bool) -> String {
        Style { format: format.map(str::to_owned), quiet }.render(&COLUMNS, &rows()).unwrap()
    }

    #[test]
    fn every_style() {
        assert_eq!(show(None, false), "ID        NAME\nabc       one\n");
        assert_eq!(show(None, true), "abc\n");
        assert_eq!(show(Some("table"), true), "abc\n");
        assert_eq!(show(Some("json"), false), "{\"ID\":\"abc\",\"Name\":\"one\",\"Size\":\"5kB\"}\n");
        assert_eq!(show(Some("{{.Name}}: {{.Size}}"), false), "one: 5kB\n");
        assert_eq!(show(Some("{{.Name}}: {{.Size}}"), true), "one: 5kB\n");
        assert_eq!(show(Some("table {{.Name}}\\t{{.Size}}"), false), "NAME      SIZE\none       5kB\n");
        assert_eq!(
            show(Some("table {{upper .Name}}\\t{{json .Size}}"), false),
            "NAME      SIZE\nONE       \"5kB\"\n"
        );
    }

    #[test]
    fn an_unknown_field_lists_the_known_ones() {
        let style = Style { format: Some("{{.Nope}}".to_owned()), quiet: false };
        let error = style.render(&COLUMNS, &rows()).unwrap_err().to_string();
        assert!(error.contains("Nope") && error.ends_with("ID, Name, Size"), "{error}");
    }

    #[test]
    fn a_known_field_that_the_engine_left_out_is_empty() {
        let style = Style { format: Some("{{.Name}}:{{.Size}}".to_owned()), quiet: false };
        assert_eq!(style.render(&COLUMNS, &[row([("Name", "n".into())])]).unwrap(), "n:\n");
    }
}
