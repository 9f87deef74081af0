//! A whole Dockerfile.

use super::{
    SyntaxError,
    instruction::{Instruction, read},
    lines,
};

/// One instruction and how it was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Where it starts, from 1.
    pub line: usize,
    /// As written, continuation lines joined.
    pub text: String,
    /// What it says.
    pub instruction: Instruction,
}

/// What one `FROM` begins.
#[derive(Debug, Clone, PartialEq)]
pub struct Stage {
    /// The image or stage that it builds on, as written.
    pub base: String,
    /// What later stages call it.
    pub name: Option<String>,
    /// What it is built for, as written.
    pub platform: Option<String>,
    /// The `FROM` as written.
    pub text: String,
    /// What follows.
    pub steps: Vec<Step>,
}

/// A Dockerfile.
#[derive(Debug, Clone, PartialEq)]
pub struct Dockerfile {
    /// `ARG`s before the first stage.
    pub arguments: Vec<Step>,
    /// The stages; at least one.
    pub stages: Vec<Stage>,
    /// What takes away the meaning of the next character.
    pub escape: char,
    /// What the author should know.
    pub warnings: Vec<String>,
}

/// Reads a Dockerfile.
pub fn parse(text: &str) -> Result<Dockerfile, SyntaxError> {
    let lines = lines::split(text)?;
    let mut file = Dockerfile {
        arguments: Vec::new(),
        stages: Vec::new(),
        escape: lines.escape,
        warnings: lines.warnings,
    };
    if lines.lines.is_empty() {
        return Err(SyntaxError::new("file with no instructions"));
    }
    for line in lines.lines {
        let instruction = read(&line.text, lines.escape).map_err(|error| error.on_line(line.number))?;
        let (number, text) = (line.number, line.text);
        match (instruction, file.stages.last_mut()) {
            (Instruction::From { base, alias, platform }, _) => {
                file.stages.push(Stage { base, name: alias, platform, text, steps: Vec::new() });
            }
            (instruction, Some(stage)) => stage.steps.push(Step { line: number, text, instruction }),
            (instruction @ Instruction::Arg(_), None) => {
                file.arguments.push(Step { line: number, text, instruction });
            }
            (_, None) => return Err(SyntaxError::new("no build stage in current context").on_line(number)),
        }
    }
    if file.stages.is_empty() {
        return Err(SyntaxError::new("no build stage in current context"));
    }
    Ok(file)
}

/// Reads instructions without a stage: an `ONBUILD` trigger, or the changes of a commit.
pub fn parse_steps(text: &str) -> Result<Vec<Step>, SyntaxError> {
    let lines = lines::split(text)?;
    let step = |line: lines::Line| -> Result<Step, SyntaxError> {
        Ok(Step { line: line.number, instruction: read(&line.text, lines.escape)?, text: line.text })
    };
    lines.lines.into_iter().map(step).collect()
}
