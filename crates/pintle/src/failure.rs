//! Failures with an exit code of their own.

/// Ends the command with `code`; a non-empty message is printed.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// The process's exit code.
    pub code: u8,
    /// What the user reads.
    pub message: String,
}

impl Failure {
    /// A failure with something to say.
    pub fn new(code: u8, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// An exit code that needs no words, such as a container's own.
    pub fn silent(code: u8) -> Self {
        Self::new(code, "")
    }
}

/// A container's exit code as this process's.
pub fn exit_code(code: i64) -> u8 {
    u8::try_from(code & 0xff).unwrap_or(255)
}
