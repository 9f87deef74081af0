//! Dockerfiles: text in, instructions out. Pure; nothing here reads a file or runs anything.
//!
//! The grammar is that of moby's classic builder, its error texts included. What only BuildKit knows (`RUN --mount`,
//! here-documents, `COPY --link` …) is refused by name, never left out.
//!
//! | module | job |
//! |---|---|
//! | `lines` | parser directives, comments, continuation lines |
//! | `words` | flags, quoted words, `name=value`, JSON lists |
//! | `instruction` | one line as an [`Instruction`] |
//! | `file` | a whole [`Dockerfile`]: stages and the arguments before them |
//! | `expand` | `$variables` in words |
//! | `apply` | what an instruction changes about an image's configuration |
//! | `pattern` | which paths a pattern names, and what `.dockerignore` hides |

mod apply;
mod expand;
mod file;
mod instruction;
mod lines;
mod pattern;
mod words;

#[cfg(test)]
mod tests;

pub use apply::{apply, default_shell, variable};
pub use expand::Expander;
pub use file::{Dockerfile, Stage, Step, parse, parse_steps};
pub use instruction::{Command, Instruction, Transfer};
pub use pattern::{Ignore, has_wildcards, matches};

/// What is wrong with a Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SyntaxError(pub(crate) String);

impl SyntaxError {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The same, with the line that it is about.
    pub(crate) fn on_line(self, line: usize) -> Self {
        Self(format!("dockerfile parse error on line {line}: {}", self.0))
    }
}

impl From<SyntaxError> for crate::ImageError {
    fn from(error: SyntaxError) -> Self {
        Self::invalid(error.0)
    }
}
