//! Tokens to tree.

use std::iter::Peekable;
use std::slice::Iter;
use std::vec::IntoIter;

use super::TemplateError;
use super::ast::{Node, Operand, Pipe};
use super::functions;
use super::lexer::{self, Chunk, Token};

const MAX_DEPTH: usize = 64;

struct Parser {
    chunks: Peekable<IntoIter<Chunk>>,
    depth: usize,
    loops: usize,
}

/// How a list of nodes ended.
enum End {
    Input,
    Closed,
    Else { line: usize, tokens: Vec<Token> },
}

fn bad(line: usize, reason: impl Into<String>) -> TemplateError {
    TemplateError::Parse { line, reason: reason.into() }
}

pub fn parse(text: &str) -> Result<Vec<Node>, TemplateError> {
    let mut parser = Parser { chunks: lexer::chunks(text)?.into_iter().peekable(), depth: 0, loops: 0 };
    let (nodes, end) = parser.list()?;
    match end {
        End::Input => Ok(nodes),
        End::Closed => Err(bad(1, "unexpected {{end}}")),
        End::Else { line, .. } => Err(bad(line, "unexpected {{else}}")),
    }
}

impl Parser {
    fn list(&mut self) -> Result<(Vec<Node>, End), TemplateError> {
        let mut nodes = Vec::new();
        while let Some(chunk) = self.chunks.next() {
            let (line, tokens) = match chunk {
                Chunk::Text(text) => {
                    nodes.push(Node::Text(text));
                    continue;
                }
                Chunk::Action { line, tokens } => (line, tokens),
            };
            let keyword = match tokens.first() {
                None => return Err(bad(line, "missing value for command")),
                Some(Token::Word(word)) => word.clone(),
                Some(_) => String::new(),
            };
            let rest = tokens.get(1..).unwrap_or_default();
            match keyword.as_str() {
                "end" => return Ok((nodes, End::Closed)),
                "else" => return Ok((nodes, End::Else { line, tokens: rest.to_vec() })),
                "if" | "with" | "range" => nodes.push(self.control(&keyword, line, rest)?),
                "break" | "continue" if rest.is_empty() => {
                    if self.loops == 0 {
                        return Err(bad(line, format!("{{{{{keyword}}}}} outside {{{{range}}}}")));
                    }
                    nodes.push(if keyword == "break" { Node::Break } else { Node::Continue });
                }
                "define" | "template" | "block" => {
                    return Err(bad(line, format!("{{{{{keyword}}}}} is not supported by --format")));
                }
                _ => nodes.push(Node::Print { line, pipe: pipe(&tokens, line, 0)? }),
            }
        }
        Ok((nodes, End::Input))
    }

    fn control(&mut self, keyword: &str, line: usize, tokens: &[Token]) -> Result<Node, TemplateError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(bad(line, "template is nested too deeply"));
        }
        let pipe = pipe(tokens, line, 0)?;
        let is_range = keyword == "range";
        self.loops += usize::from(is_range);
        let (then, end) = self.list()?;
        self.loops -= usize::from(is_range);
        let otherwise = match end {
            End::Input => return Err(bad(line, "unexpected EOF")),
            End::Closed => Vec::new(),
            End::Else { line, tokens } => match tokens.first() {
                None => match self.list()? {
                    (nodes, End::Closed) => nodes,
                    (_, End::Else { line, .. }) => return Err(bad(line, "expected end; found {{else}}")),
                    (_, End::Input) => return Err(bad(line, "unexpected EOF")),
                },
                // `{{else if}}` shares the one `{{end}}`.
                Some(Token::Word(word)) if (word == "if" || word == "with") && word == keyword => {
                    vec![self.control(keyword, line, tokens.get(1..).unwrap_or_default())?]
                }
                Some(_) => return Err(bad(line, "unexpected token in {{else}}")),
            },
        };
        self.depth -= 1;
        Ok(match keyword {
            "if" => Node::If { line, pipe, then, otherwise },
            "with" => Node::With { line, pipe, then, otherwise },
            _ => Node::Range { line, pipe, body: then, otherwise },
        })
    }
}

fn pipe(tokens: &[Token], line: usize, depth: usize) -> Result<Pipe, TemplateError> {
    let mut iter = tokens.iter().peekable();
    let pipe = pipe_until(&mut iter, line, depth, false)?.0;
    Ok(pipe)
}

fn pipe_until(
    tokens: &mut Peekable<Iter<'_, Token>>,
    line: usize,
    depth: usize,
    grouped: bool,
) -> Result<(Pipe, Vec<String>), TemplateError> {
    if depth > MAX_DEPTH {
        return Err(bad(line, "template is nested too deeply"));
    }
    let (variables, declares) = declaration(tokens);
    let mut commands = Vec::new();
    let mut command: Vec<Operand> = Vec::new();
    let mut tail = Vec::new();
    let mut closed = false;
    for_each(tokens, |tokens, token| {
        match token {
            Token::Pipe => {
                if command.is_empty() {
                    return Err(bad(line, "missing value for command"));
                }
                commands.push(std::mem::take(&mut command));
            }
            Token::Open => {
                let (inner, fields) = pipe_until(tokens, line, depth + 1, true)?;
                command.push(Operand::Group(Box::new(inner), fields));
            }
            Token::Close(fields) => {
                if !grouped {
                    return Err(bad(line, "unexpected right paren"));
                }
                tail = fields.clone();
                closed = true;
                return Ok(false);
            }
            Token::Word(word) => {
                if !functions::known(word) {
                    return Err(bad(line, format!("function {word:?} not defined")));
                }
                command.push(Operand::Function(word.clone()));
            }
            Token::Field(path) => command.push(Operand::Field(path.clone())),
            Token::Variable(name, path) => command.push(Operand::Variable(name.clone(), path.clone())),
            Token::Literal(value) => command.push(Operand::Literal(value.clone())),
            Token::Comma => return Err(bad(line, "unexpected \",\" in operand")),
            Token::Declare | Token::Assign => return Err(bad(line, "unexpected \":=\" in operand")),
        }
        Ok(true)
    })?;
    if grouped && !closed {
        return Err(bad(line, "unclosed left paren"));
    }
    if command.is_empty() {
        return Err(bad(line, "missing value for command"));
    }
    commands.push(command);
    Ok((Pipe { variables, declares, commands }, tail))
}

fn for_each<'a>(
    tokens: &mut Peekable<Iter<'a, Token>>,
    mut each: impl FnMut(&mut Peekable<Iter<'a, Token>>, &'a Token) -> Result<bool, TemplateError>,
) -> Result<(), TemplateError> {
    while let Some(token) = tokens.next() {
        if !each(tokens, token)? {
            break;
        }
    }
    Ok(())
}

/// Takes `$a :=`, `$a =`, `$i, $e :=` off the front, or nothing.
fn declaration(tokens: &mut Peekable<Iter<'_, Token>>) -> (Vec<String>, bool) {
    let mut ahead = tokens.clone();
    let mut names = Vec::new();
    loop {
        match ahead.next() {
            Some(Token::Variable(name, path)) if path.is_empty() && names.len() < 2 => {
                names.push(name.clone())
            }
            _ => return (Vec::new(), false),
        }
        match ahead.next() {
            Some(Token::Comma) => {}
            Some(token @ (Token::Declare | Token::Assign)) => {
                let declares = *token == Token::Declare;
                *tokens = ahead;
                return (names, declares);
            }
            _ => return (Vec::new(), false),
        }
    }
}
