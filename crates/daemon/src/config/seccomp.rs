//! `seccomp-profile`.

use pintle_runtime::Seccomp;

/// A system call filter, and what the administrator calls it.
#[derive(Debug, Clone, PartialEq)]
pub struct SeccompProfile {
    /// `builtin`, `unconfined`, or the file's path.
    pub name: String,
    /// What it comes to.
    pub filter: Seccomp,
}

impl SeccompProfile {
    pub(super) fn read(wanted: Option<String>) -> Result<Self, String> {
        let name = wanted.filter(|name| !name.is_empty()).unwrap_or_else(|| "builtin".to_owned());
        let filter = match name.as_str() {
            "builtin" => Seccomp::Default,
            "unconfined" => Seccomp::Unconfined,
            path => {
                let text = std::fs::read_to_string(path)
                    .map_err(|error| format!("opening seccomp profile ({path}) failed: {error}"))?;
                Seccomp::parse(&text)
                    .map_err(|error| format!("reading seccomp profile ({path}) failed: {error}"))?
            }
        };
        Ok(Self { name, filter })
    }
}
