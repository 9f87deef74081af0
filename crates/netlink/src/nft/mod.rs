//! Packet filters, by way of the program `nft`: one script is one transaction, all of it or nothing.
//!
//! Nothing here quotes. A script is put together from values whose types say that they are harmless: addresses,
//! ports, [`LinkName`](crate::LinkName)s and [`Ident`]s.

mod batch;
mod elements;
mod kernel;
mod listing;
mod rewrite;
mod table;

use std::{
    env,
    fmt::{self, Write as _},
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    str::FromStr,
    sync::{Arc, OnceLock},
};

pub use kernel::{ChainInfo, Policy};
pub use listing::Rule;
pub use rewrite::PortRewrite;
pub use table::{Change, Table};

use crate::{Error, ErrorKind, Handle, Namespace};

/// The name of a table, a chain, a set or a map: a letter, then letters, digits, `_` and `-`; at most 64. Words of
/// nft's own language (`missing`, `fwd`, …) are no names either, and only nft knows them all.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ident(String);

impl Ident {
    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Ident {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let first = text.chars().next().is_some_and(|c| c.is_ascii_alphabetic());
        let fine = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if first && text.len() <= 64 && text.chars().all(fine) {
            return Ok(Self(text.to_owned()));
        }
        Err(Error::of(
            ErrorKind::Invalid,
            "read",
            format!("name in a packet filter {text:.80?}"),
            "it has to be a word",
        ))
    }
}

impl fmt::Display for Ident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which packets a table sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    /// IPv4.
    Ip,
    /// IPv6.
    Ip6,
    /// Both.
    Inet,
    /// Frames in a bridge.
    Bridge,
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ip => "ip",
            Self::Ip6 => "ip6",
            Self::Inet => "inet",
            Self::Bridge => "bridge",
        })
    }
}

/// Commands in nft's language, one a line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Script {
    text: String,
}

impl Script {
    /// One without commands.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a line: `script.line(format_args!("add table inet {table}"))`. Only values whose types say that they are
    /// harmless may be formatted into it.
    pub fn line(&mut self, line: fmt::Arguments<'_>) {
        let _ = self.text.write_fmt(line);
        self.text.push('\n');
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Adds the lines of another one.
    pub fn append(&mut self, other: &Self) {
        self.text.push_str(&other.text);
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// The packet filters of one network namespace.
#[derive(Debug, Clone)]
pub struct Nft {
    program: PathBuf,
    namespace: Option<Namespace>,
    handle: Arc<OnceLock<Handle>>,
}

impl Nft {
    /// Those of `namespace`, or of the namespace of whoever calls.
    pub fn new(namespace: Option<Namespace>) -> Self {
        Self { program: "nft".into(), namespace, handle: Arc::default() }
    }

    /// The same with another program in the place of `nft`.
    pub fn with_program(mut self, program: &Path) -> Self {
        program.clone_into(&mut self.program);
        self
    }

    /// Carries out all of a script, or nothing of it.
    pub fn apply(&self, script: &Script) -> Result<(), Error> {
        if script.is_empty() {
            return Ok(());
        }
        let output = self.start(&["-f", "-"], script.as_str())?;
        if output.status.success() { Ok(()) } else { Err(refused("change", "packet filters", &output)) }
    }

    /// A table as text; `None` if there is none.
    pub fn table(&self, family: Family, name: &Ident) -> Result<Option<String>, Error> {
        self.list(&["list", "table", &family.to_string(), &name.to_string()])
    }

    /// A table as JSON, with numbers for names; `None` if there is none.
    pub fn table_as_json(&self, family: Family, name: &Ident) -> Result<Option<String>, Error> {
        self.list(&["-nj", "list", "table", &family.to_string(), &name.to_string()])
    }

    /// The rules of a chain in their order; `None` if there is no such chain.
    pub fn rules(&self, family: Family, table: &Ident, chain: &Ident) -> Result<Option<Vec<Rule>>, Error> {
        let text = self.list(&[
            "-nj",
            "list",
            "chain",
            &family.to_string(),
            &table.to_string(),
            &chain.to_string(),
        ])?;
        Ok(text.map(|text| listing::rules(&text)))
    }

    /// The names of all tables of a family.
    pub fn tables(&self, family: Family) -> Result<Vec<String>, Error> {
        let text = self.list(&["list", "tables", &family.to_string()])?.unwrap_or_default();
        Ok(text.lines().filter_map(|line| line.split(' ').nth(2)).map(str::to_owned).collect())
    }

    /// Deletes a table with all that is in it. None there is fine.
    pub fn delete_table(&self, family: Family, name: &Ident) -> Result<(), Error> {
        let mut script = Script::new();
        // Older versions have no `destroy`; what is added just before can be deleted.
        script.line(format_args!("add table {family} {name}"));
        script.line(format_args!("delete table {family} {name}"));
        self.apply(&script)
    }

    fn list(&self, arguments: &[&str]) -> Result<Option<String>, Error> {
        let output = self.start(arguments, "")?;
        if output.status.success() {
            return Ok(Some(String::from_utf8_lossy(&output.stdout).into_owned()));
        }
        // nft says with words alone that something is not there.
        match complaint(&output) {
            text if text.contains("No such file or directory") => Ok(None),
            _ => Err(refused("list", "packet filters", &output)),
        }
    }

    fn start(&self, arguments: &[&str], input: &str) -> Result<Output, Error> {
        let run = || run(&self.program, arguments, input);
        let outcome = match &self.namespace {
            Some(namespace) => namespace.run(run)?,
            None => run(),
        };
        outcome.map_err(|error| {
            if error.kind() != io::ErrorKind::NotFound {
                return Error::io("run", self.program.display(), error);
            }
            let hint = "it is not installed: packet filters and published ports need it; install the package nftables";
            Error::of(ErrorKind::ToolMissing, "run", self.program.display(), hint)
        })
    }
}

fn run(program: &Path, arguments: &[&str], input: &str) -> io::Result<Output> {
    // A service manager's PATH may lack the directories of the administrator's programs.
    let path = env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    let mut child = Command::new(program)
        .args(arguments)
        .env("PATH", path)
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that stopped reading says why on its way out.
        let _ = stdin.write_all(input.as_bytes());
    }
    child.wait_with_output()
}

fn complaint(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn refused(operation: &'static str, subject: &str, output: &Output) -> Error {
    let text = complaint(output);
    // What nft says spans lines; the first has the point, the rest repeats the script.
    let first = text.lines().find(|line| line.contains("rror")).unwrap_or(text.trim());
    let kind = if first.contains("Operation not permitted") { ErrorKind::Denied } else { ErrorKind::Other };
    Error::of(kind, operation, subject, format!("nft: {first:.512}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_words_are_names() {
        for good in ["pintle", "pintle-0123abcd", "n_1"] {
            assert_eq!(good.parse::<Ident>().unwrap().to_string(), good);
        }
        for bad in ["", "1a", "-a", "a b", "a;b", "a\n", "a{", "\"a\"", "ä"] {
            assert!(bad.parse::<Ident>().is_err(), "{bad:?}");
        }
    }
}
