//! The parsed form of a template.

use serde_json::Value;

/// One piece of a template.
#[derive(Debug, Clone)]
pub enum Node {
    Text(String),
    Print { line: usize, pipe: Pipe },
    If { line: usize, pipe: Pipe, then: Vec<Node>, otherwise: Vec<Node> },
    With { line: usize, pipe: Pipe, then: Vec<Node>, otherwise: Vec<Node> },
    Range { line: usize, pipe: Pipe, body: Vec<Node>, otherwise: Vec<Node> },
    Break,
    Continue,
}

/// `$a, $b := cmd | cmd`.
#[derive(Debug, Clone)]
pub struct Pipe {
    /// Variables set by the pipe, without the `$`.
    pub variables: Vec<String>,
    /// True for `:=`, false for `=`.
    pub declares: bool,
    pub commands: Vec<Vec<Operand>>,
}

/// One word of a command.
#[derive(Debug, Clone)]
pub enum Operand {
    /// `.` and `.A.B`.
    Field(Vec<String>),
    /// `$` (empty name), `$x`, `$x.A`.
    Variable(String, Vec<String>),
    Function(String),
    Literal(Value),
    /// `(pipe).A`.
    Group(Box<Pipe>, Vec<String>),
}

pub fn mentions(nodes: &[Node], name: &str) -> bool {
    nodes.iter().any(|node| match node {
        Node::Text(_) | Node::Break | Node::Continue => false,
        Node::Print { pipe, .. } => in_pipe(pipe, name),
        Node::If { pipe, then, otherwise, .. } | Node::With { pipe, then, otherwise, .. } => {
            in_pipe(pipe, name) || mentions(then, name) || mentions(otherwise, name)
        }
        Node::Range { pipe, body, otherwise, .. } => {
            in_pipe(pipe, name) || mentions(body, name) || mentions(otherwise, name)
        }
    })
}

fn in_pipe(pipe: &Pipe, name: &str) -> bool {
    pipe.commands.iter().flatten().any(|operand| match operand {
        Operand::Field(path) | Operand::Variable(_, path) => path.iter().any(|part| part == name),
        Operand::Group(inner, path) => path.iter().any(|part| part == name) || in_pipe(inner, name),
        Operand::Function(_) | Operand::Literal(_) => false,
    })
}
