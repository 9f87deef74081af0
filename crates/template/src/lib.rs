//! Go's text templates, as far as `--format` and the tags of log drivers need them.
//!
//! Own engine because the one crate for this (`gtmpl`) converts documents into a value type of its own, loses the
//! order of keys in `{{json .}}`, and reports a missing key as an empty string where Docker reports an error.
//!
//! Supported: fields, variables, pipelines, `if`/`else if`/`else`, `range` (with `else`, `break`, `continue`), `with`,
//! comments, white-space trimming, Go's built-in functions, and those that Docker adds (`json`, `join`, `split`,
//! `lower`, `upper`, `title`, `pad`, `truncate`, `println`). Not supported: `define`, `template`, `block`.

mod ast;
mod eval;
mod functions;
mod lexer;
pub mod log;
mod parser;
mod print;
mod printf;

pub use eval::MissingKey;
pub use print::display;
pub use printf::significant;

use serde_json::Value;

/// Why a template cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// The text is not a template.
    #[error("template parsing error: template: :{line}: {reason}")]
    Parse {
        /// 1-based line.
        line: usize,
        /// What was wrong there.
        reason: String,
    },
    /// The template does not fit the document.
    #[error("template: :{line}: {reason}")]
    Execute {
        /// 1-based line.
        line: usize,
        /// What was wrong there.
        reason: String,
    },
}

/// A parsed template.
#[derive(Debug, Clone)]
pub struct Template {
    nodes: Vec<ast::Node>,
}

impl Template {
    /// Parses `text`. Nesting deeper than 64 is refused.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        parser::parse(text).map(|nodes| Self { nodes })
    }

    /// Fills the template from `data`. What a missing key does is the caller's choice.
    pub fn render(&self, data: &Value, missing: MissingKey) -> Result<String, TemplateError> {
        eval::render(&self.nodes, data, missing)
    }

    /// Whether `.name` is mentioned anywhere: lets a list ask the engine only for what will be shown.
    pub fn mentions(&self, name: &str) -> bool {
        ast::mentions(&self.nodes, name)
    }
}

#[cfg(test)]
mod tests;
