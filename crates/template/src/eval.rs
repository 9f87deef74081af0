//! Running a parsed template over a JSON document.

use serde_json::Value;

use super::TemplateError;
use super::ast::{Node, Operand, Pipe};
use super::functions;
use super::print;

/// What `{{.Name}}` does when the document has no `Name`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MissingKey {
    /// An error, as for Docker's `inspect`.
    Error,
    /// Prints `<no value>`.
    NoValue,
}

struct Machine {
    out: String,
    variables: Vec<(String, Value)>,
    missing: MissingKey,
}

/// Why a list of nodes stopped early.
#[derive(PartialEq)]
enum Flow {
    Next,
    Break,
    Continue,
}

pub fn render(nodes: &[Node], data: &Value, missing: MissingKey) -> Result<String, TemplateError> {
    let mut machine = Machine { out: String::new(), variables: vec![(String::new(), data.clone())], missing };
    machine.list(nodes, data)?;
    Ok(machine.out)
}

fn bad(line: usize, reason: impl Into<String>) -> TemplateError {
    TemplateError::Execute { line, reason: reason.into() }
}

impl Machine {
    fn list(&mut self, nodes: &[Node], dot: &Value) -> Result<Flow, TemplateError> {
        for node in nodes {
            let flow = match node {
                Node::Text(text) => {
                    self.out.push_str(text);
                    Flow::Next
                }
                Node::Print { line, pipe } => {
                    let value = self.pipe(pipe, dot, *line)?;
                    if pipe.variables.is_empty() {
                        print::append(&mut self.out, &value);
                    }
                    Flow::Next
                }
                Node::If { line, pipe, then, otherwise } => {
                    let scope = self.variables.len();
                    let value = self.pipe(pipe, dot, *line)?;
                    let flow = self.list(if truth(&value) { then } else { otherwise }, dot)?;
                    self.variables.truncate(scope);
                    flow
                }
                Node::With { line, pipe, then, otherwise } => {
                    let scope = self.variables.len();
                    let value = self.pipe(pipe, dot, *line)?;
                    let flow =
                        if truth(&value) { self.list(then, &value)? } else { self.list(otherwise, dot)? };
                    self.variables.truncate(scope);
                    flow
                }
                Node::Range { line, pipe, body, otherwise } => {
                    self.range(*line, pipe, body, otherwise, dot)?
                }
                Node::Break => Flow::Break,
                Node::Continue => Flow::Continue,
            };
            if flow != Flow::Next {
                return Ok(flow);
            }
        }
        Ok(Flow::Next)
    }

    fn range(
        &mut self,
        line: usize,
        pipe: &Pipe,
        body: &[Node],
        otherwise: &[Node],
        dot: &Value,
    ) -> Result<Flow, TemplateError> {
        let scope = self.variables.len();
        let items: Vec<(Value, Value)> = match self.commands(pipe, dot, line)? {
            Value::Null => Vec::new(),
            Value::Array(items) => items.into_iter().enumerate().map(|(i, v)| (Value::from(i), v)).collect(),
            Value::Object(map) => {
                let mut entries: Vec<_> = map.into_iter().collect();
                entries.sort_by(|a, b| a.0.cmp(&b.0));
                entries.into_iter().map(|(k, v)| (Value::String(k), v)).collect()
            }
            Value::Number(n) if n.as_u64().is_some_and(|n| n <= 1_000_000) => {
                (0..n.as_u64().unwrap_or(0)).map(|i| (Value::from(i), Value::from(i))).collect()
            }
            other => return Err(bad(line, format!("range can't iterate over {}", print::display(&other)))),
        };
        if items.is_empty() {
            return self.list(otherwise, dot);
        }
        for (key, item) in items {
            match pipe.variables.as_slice() {
                [] => {}
                [one] => self.variables.push((one.clone(), item.clone())),
                [first, second, ..] => {
                    self.variables.push((first.clone(), key));
                    self.variables.push((second.clone(), item.clone()));
                }
            }
            let flow = self.list(body, &item)?;
            self.variables.truncate(scope);
            if flow == Flow::Break {
                break;
            }
        }
        Ok(Flow::Next)
    }

    fn pipe(&mut self, pipe: &Pipe, dot: &Value, line: usize) -> Result<Value, TemplateError> {
        let value = self.commands(pipe, dot, line)?;
        for name in &pipe.variables {
            if pipe.declares {
                self.variables.push((name.clone(), value.clone()));
            } else {
                let slot = self.variables.iter_mut().rev().find(|(known, _)| known == name);
                match slot {
                    Some((_, slot)) => *slot = value.clone(),
                    None => return Err(bad(line, format!("undefined variable \"${name}\""))),
                }
            }
        }
        Ok(value)
    }

    fn commands(&mut self, pipe: &Pipe, dot: &Value, line: usize) -> Result<Value, TemplateError> {
        let mut previous = None;
        for command in &pipe.commands {
            previous = Some(self.command(command, previous, dot, line)?);
        }
        Ok(previous.unwrap_or(Value::Null))
    }

    fn command(
        &mut self,
        words: &[Operand],
        piped: Option<Value>,
        dot: &Value,
        line: usize,
    ) -> Result<Value, TemplateError> {
        let Some((first, rest)) = words.split_first() else { return Ok(Value::Null) };
        let Operand::Function(name) = first else {
            if !rest.is_empty() || piped.is_some() {
                return Err(bad(line, "can't give argument to non-function"));
            }
            return self.operand(first, dot, line);
        };
        if matches!(name.as_str(), "and" | "or") {
            return self.short_circuit(name == "and", rest, piped, dot, line);
        }
        let mut args = Vec::with_capacity(rest.len() + 1);
        for word in rest {
            args.push(match word {
                Operand::Function(inner) => functions::call(inner, Vec::new()).map_err(|e| bad(line, e))?,
                _ => self.operand(word, dot, line)?,
            });
        }
        args.extend(piped);
        functions::call(name, args).map_err(|reason| {
            bad(line, format!("executing \"\" at <{name}>: error calling {name}: {reason}"))
        })
    }

    fn short_circuit(
        &mut self,
        all: bool,
        words: &[Operand],
        piped: Option<Value>,
        dot: &Value,
        line: usize,
    ) -> Result<Value, TemplateError> {
        let mut last = None;
        for word in words {
            let value = self.operand(word, dot, line)?;
            if truth(&value) != all {
                return Ok(value);
            }
            last = Some(value);
        }
        piped.or(last).ok_or_else(|| bad(line, "wrong number of args: want at least 1 got 0"))
    }

    fn operand(&mut self, operand: &Operand, dot: &Value, line: usize) -> Result<Value, TemplateError> {
        match operand {
            Operand::Field(path) => self.walk(dot, path, line),
            Operand::Variable(name, path) => {
                let value =
                    self.variables.iter().rev().find(|(known, _)| known == name).map(|(_, v)| v.clone());
                match value {
                    Some(value) => self.walk(&value, path, line),
                    None => Err(bad(line, format!("undefined variable \"${name}\""))),
                }
            }
            Operand::Literal(value) => Ok(value.clone()),
            Operand::Group(pipe, path) => {
                let value = self.pipe(pipe, dot, line)?;
                self.walk(&value, path, line)
            }
            Operand::Function(name) => functions::call(name, Vec::new()).map_err(|e| bad(line, e)),
        }
    }

    fn walk(&self, from: &Value, path: &[String], line: usize) -> Result<Value, TemplateError> {
        let mut at = from;
        for (depth, key) in path.iter().enumerate() {
            let shown = || path.get(..=depth).unwrap_or_default().join(".");
            at = match at {
                Value::Object(map) => match map.get(key).or_else(|| {
                    // Go's typed documents say `.ID` where the JSON says `Id`.
                    map.iter().find(|(known, _)| known.eq_ignore_ascii_case(key)).map(|(_, value)| value)
                }) {
                    Some(value) => value,
                    None if self.missing == MissingKey::NoValue => return Ok(Value::Null),
                    None => {
                        return Err(bad(
                            line,
                            format!("executing \"\" at <.{}>: map has no entry for key {key:?}", shown()),
                        ));
                    }
                },
                Value::Null if self.missing == MissingKey::NoValue => return Ok(Value::Null),
                Value::Null => {
                    return Err(bad(
                        line,
                        format!("executing \"\" at <.{}>: nil data; no entry for key {key:?}", shown()),
                    ));
                }
                other => {
                    return Err(bad(
                        line,
                        format!(
                            "executing \"\" at <.{}>: can't evaluate field {key} in type {}",
                            shown(),
                            print::type_name(other)
                        ),
                    ));
                }
            };
        }
        Ok(at.clone())
    }
}

/// Go's idea of truth: not the zero value.
pub fn truth(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(b) => *b,
        Value::Number(n) => n.as_f64().is_none_or(|n| n != 0.0),
        Value::String(s) => !s.is_empty(),
        Value::Array(a) => !a.is_empty(),
        Value::Object(o) => !o.is_empty(),
    }
}
