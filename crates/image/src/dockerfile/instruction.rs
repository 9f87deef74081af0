//! One line as an instruction.

use super::{SyntaxError, words};

/// What is to be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// A program and its arguments.
    Exec(Vec<String>),
    /// A line for the shell.
    Shell(String),
}

/// What `COPY` and `ADD` say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Transfer {
    /// Paths or patterns, for `ADD` also URLs.
    pub sources: Vec<String>,
    /// Where to.
    pub destination: String,
    /// A stage or an image to take them from.
    pub from: Option<String>,
    /// Whose they are then: `user[:group]`.
    pub chown: Option<String>,
}

/// An instruction, its words as written: variables are not put in yet.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "the names are those of the Dockerfile reference")]
pub enum Instruction {
    From {
        base: String,
        alias: Option<String>,
        platform: Option<String>,
    },
    Arg(Vec<(String, Option<String>)>),
    Env(Vec<(String, String)>),
    Label(Vec<(String, String)>),
    Maintainer(String),
    Run(Command),
    Cmd(Command),
    Entrypoint(Command),
    Shell(Vec<String>),
    Copy(Transfer),
    Add(Transfer),
    Expose(Vec<String>),
    Volume(Vec<String>),
    User(String),
    Workdir(String),
    StopSignal(String),
    /// As Docker writes it into a configuration.
    Healthcheck(serde_json::Value),
    Onbuild(String),
}

/// An instruction's words, before they are understood.
struct Words<'a> {
    /// In capitals.
    name: String,
    flags: Vec<String>,
    rest: &'a str,
    escape: char,
}

/// Understands one logical line.
pub(super) fn read(line: &str, escape: char) -> Result<Instruction, SyntaxError> {
    let (name, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let (flags, rest) = words::flags(rest);
    let words = Words { name: name.to_ascii_uppercase(), flags, rest, escape };
    words.read()
}

impl Words<'_> {
    fn read(self) -> Result<Instruction, SyntaxError> {
        let known = [
            "FROM",
            "ARG",
            "ENV",
            "LABEL",
            "MAINTAINER",
            "RUN",
            "CMD",
            "ENTRYPOINT",
            "SHELL",
            "COPY",
            "ADD",
            "EXPOSE",
            "VOLUME",
            "USER",
            "WORKDIR",
            "STOPSIGNAL",
            "HEALTHCHECK",
            "ONBUILD",
        ];
        if !known.contains(&self.name.as_str()) {
            return Err(SyntaxError::new(format!("unknown instruction: {:.50}", self.name)));
        }
        match self.name.as_str() {
            "FROM" => self.from(),
            "COPY" | "ADD" => self.transfer(),
            "HEALTHCHECK" => self.healthcheck(),
            _ => {
                self.no_flags()?;
                self.plain()
            }
        }
    }

    fn plain(self) -> Result<Instruction, SyntaxError> {
        let (name, rest) = (self.name.as_str(), self.rest);
        Ok(match name {
            "ARG" => Instruction::Arg(self.arguments()?),
            "ENV" => Instruction::Env(self.pairs()?),
            "LABEL" => Instruction::Label(self.pairs()?),
            "MAINTAINER" => Instruction::Maintainer(self.one()?),
            "RUN" if rest.is_empty() => return Err(self.wrong("requires at least one argument")),
            "RUN" if here_document(rest) => {
                return Err(SyntaxError::new("here-documents require BuildKit; use a shell line"));
            }
            "RUN" => Instruction::Run(command(rest)?),
            "CMD" => Instruction::Cmd(command(rest)?),
            "ENTRYPOINT" if rest.is_empty() => return Err(self.wrong("requires at least one argument")),
            "ENTRYPOINT" => Instruction::Entrypoint(command(rest)?),
            "SHELL" => match words::json(rest)? {
                Some(words) if words.is_empty() => return Err(self.wrong("requires at least one argument")),
                Some(words) => Instruction::Shell(words),
                None => return Err(self.wrong("requires the arguments to be in JSON form")),
            },
            "EXPOSE" => Instruction::Expose(self.some(rest.split_whitespace().map(str::to_owned).collect())?),
            "VOLUME" => {
                let paths = self.some(words::list(rest)?)?;
                if paths.iter().any(|path| path.trim().is_empty()) {
                    return Err(SyntaxError::new("VOLUME specified can not be an empty string"));
                }
                Instruction::Volume(paths)
            }
            "USER" => Instruction::User(self.one()?),
            "WORKDIR" => Instruction::Workdir(self.one()?),
            "STOPSIGNAL" => Instruction::StopSignal(self.one()?),
            _ => Instruction::Onbuild(self.trigger()?),
        })
    }

    fn wrong(&self, what: &str) -> SyntaxError {
        SyntaxError::new(format!("{} {what}", self.name))
    }

    fn no_flags(&self) -> Result<(), SyntaxError> {
        match self.flags.first() {
            None => Ok(()),
            Some(flag) => Err(self.flag_unknown(flag)),
        }
    }

    /// A flag that BuildKit alone knows is told from a mistake.
    fn flag_unknown(&self, flag: &str) -> SyntaxError {
        let name = flag.trim_start_matches('-').split('=').next().unwrap_or_default();
        let modern = match self.name.as_str() {
            "RUN" => matches!(name, "mount" | "network" | "security" | "device"),
            "COPY" | "ADD" => {
                matches!(name, "link" | "chmod" | "parents" | "exclude" | "checksum" | "keep-git-dir")
            }
            _ => false,
        };
        if modern {
            return SyntaxError::new(format!("the --{name} option requires BuildKit, which pintle is not"));
        }
        SyntaxError::new(format!("unknown flag: --{name:.50}"))
    }

    fn some(&self, words: Vec<String>) -> Result<Vec<String>, SyntaxError> {
        if words.is_empty() { Err(self.wrong("requires at least one argument")) } else { Ok(words) }
    }

    fn one(&self) -> Result<String, SyntaxError> {
        if self.rest.is_empty() {
            return Err(self.wrong("requires exactly one argument"));
        }
        Ok(self.rest.to_owned())
    }

    fn pairs(&self) -> Result<Vec<(String, String)>, SyntaxError> {
        let pairs = words::pairs(&self.name, self.rest, self.escape)?;
        if pairs.is_empty() { Err(self.wrong("requires at least one argument")) } else { Ok(pairs) }
    }

    fn arguments(&self) -> Result<Vec<(String, Option<String>)>, SyntaxError> {
        let words = self.some(words::quoted(self.rest, self.escape))?;
        words
            .into_iter()
            .map(|word| match word.split_once('=') {
                Some(("", _)) => Err(SyntaxError::new("ARG names can not be blank")),
                Some((name, value)) => Ok((name.to_owned(), Some(value.to_owned()))),
                None => Ok((word, None)),
            })
            .collect()
    }

    fn from(&self) -> Result<Instruction, SyntaxError> {
        let mut platform = None;
        for flag in &self.flags {
            match flag.strip_prefix("--platform=") {
                Some(value) => platform = Some(value.to_owned()),
                None => return Err(self.flag_unknown(flag)),
            }
        }
        let words: Vec<&str> = self.rest.split_whitespace().collect();
        let (base, alias) = match words.as_slice() {
            [base] => (*base, None),
            [base, with, alias] if with.eq_ignore_ascii_case("as") => (*base, Some(alias.to_lowercase())),
            _ => return Err(self.wrong("requires either one argument, or three: FROM <source> [AS <name>]")),
        };
        if let Some(alias) = &alias {
            let proper = alias.starts_with(|first: char| first.is_ascii_lowercase())
                && alias.chars().all(|char| {
                    char.is_ascii_lowercase() || char.is_ascii_digit() || matches!(char, '-' | '_' | '.')
                });
            if !proper {
                return Err(SyntaxError::new(format!(
                    "invalid name for build stage: {alias:?}, name can't start with a number or contain symbols"
                )));
            }
        }
        Ok(Instruction::From { base: base.to_owned(), alias, platform })
    }

    fn transfer(&self) -> Result<Instruction, SyntaxError> {
        let copy = self.name == "COPY";
        let mut transfer = Transfer::default();
        for flag in &self.flags {
            if let Some(value) = flag.strip_prefix("--chown=") {
                transfer.chown = Some(value.to_owned());
            } else if let Some(value) = flag.strip_prefix("--from=").filter(|_| copy) {
                transfer.from = Some(value.to_owned());
            } else {
                return Err(self.flag_unknown(flag));
            }
        }
        if here_document(self.rest) {
            return Err(SyntaxError::new("here-documents require BuildKit; copy a file"));
        }
        let mut words = words::list(self.rest)?;
        let destination = words.pop().ok_or_else(|| self.wrong("requires at least two arguments"))?;
        if words.is_empty() {
            return Err(self.wrong(
                "requires at least two arguments, but only one was provided. Destination could not be determined",
            ));
        }
        transfer.destination = destination;
        transfer.sources = words;
        Ok(if copy { Instruction::Copy(transfer) } else { Instruction::Add(transfer) })
    }

    fn trigger(&self) -> Result<String, SyntaxError> {
        let first = self.rest.split_whitespace().next().map(str::to_ascii_uppercase);
        match first.as_deref() {
            None => Err(self.wrong("requires at least one argument")),
            Some("ONBUILD") => Err(SyntaxError::new("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")),
            Some(name @ ("MAINTAINER" | "FROM")) => {
                Err(SyntaxError::new(format!("{name} isn't allowed as an ONBUILD trigger")))
            }
            Some(_) => {
                read(self.rest, self.escape)?;
                Ok(self.rest.to_owned())
            }
        }
    }

    fn healthcheck(&self) -> Result<Instruction, SyntaxError> {
        let (kind, rest) = self.rest.split_once(char::is_whitespace).unwrap_or((self.rest, ""));
        let (kind, rest) = (kind.to_ascii_uppercase(), rest.trim());
        match kind.as_str() {
            "" => return Err(self.wrong("requires at least one argument")),
            "NONE" if !rest.is_empty() || !self.flags.is_empty() => {
                return Err(SyntaxError::new("HEALTHCHECK NONE takes no arguments"));
            }
            "NONE" => return Ok(Instruction::Healthcheck(serde_json::json!({ "Test": ["NONE"] }))),
            "CMD" => {}
            _ => return Err(SyntaxError::new(format!("unknown type {kind:?} in HEALTHCHECK (try CMD)"))),
        }
        if rest.is_empty() {
            return Err(SyntaxError::new("missing command after HEALTHCHECK CMD"));
        }
        let test: Vec<String> = match command(rest)? {
            Command::Exec(words) => std::iter::once("CMD".to_owned()).chain(words).collect(),
            Command::Shell(line) => vec!["CMD-SHELL".to_owned(), line],
        };
        let mut check = serde_json::Map::new();
        check.insert("Test".to_owned(), test.into());
        for flag in &self.flags {
            let (name, value) = flag.trim_start_matches('-').split_once('=').unwrap_or((flag, ""));
            let key = match name {
                "interval" => "Interval",
                "timeout" => "Timeout",
                "start-period" => "StartPeriod",
                "start-interval" => "StartInterval",
                "retries" => "Retries",
                _ => return Err(self.flag_unknown(flag)),
            };
            let bad = || SyntaxError::new(format!("HEALTHCHECK: invalid value {value:.50} for --{name}"));
            let number: u64 = if key == "Retries" {
                value.parse::<u32>().map(u64::from).map_err(|_| bad())?
            } else {
                let nanoseconds = duration(value).ok_or_else(bad)?;
                if nanoseconds != 0 && nanoseconds < 1_000_000 {
                    return Err(SyntaxError::new(format!("Interval {name:?} cannot be less than 1ms")));
                }
                nanoseconds
            };
            if number != 0 {
                check.insert(key.to_owned(), number.into());
            }
        }
        Ok(Instruction::Healthcheck(check.into()))
    }
}

fn command(rest: &str) -> Result<Command, SyntaxError> {
    Ok(match words::json(rest)? {
        Some(words) => Command::Exec(words),
        None => Command::Shell(rest.to_owned()),
    })
}

/// `<<WORD` begins a here-document where BuildKit reads the file.
fn here_document(rest: &str) -> bool {
    rest.split_whitespace().any(|word| {
        word.trim_start_matches(|char: char| char.is_ascii_digit())
            .strip_prefix("<<")
            .map(|name| name.trim_start_matches('-'))
            .is_some_and(|name| {
                name.starts_with(|first: char| first.is_alphabetic() || matches!(first, '"' | '\'' | '_'))
            })
    })
}

/// Go's durations, in nanoseconds: `1h30m`, `1.5s`, `500ms`.
pub(super) fn duration(text: &str) -> Option<u64> {
    let mut total = 0u64;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
        let letters =
            rest[digits..].chars().take_while(|char| char.is_alphabetic()).map(char::len_utf8).sum::<usize>();
        let (whole, fraction) = rest[..digits].split_once('.').unwrap_or((&rest[..digits], ""));
        let unit: u64 = match &rest[digits..digits + letters] {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        total = total.checked_add(whole.checked_mul(unit)?)?;
        let mut part = unit;
        for digit in fraction.bytes() {
            part /= 10;
            total =
                total.checked_add(u64::from(digit.checked_sub(b'0').filter(|digit| *digit < 10)?) * part)?;
        }
        rest = &rest[digits + letters..];
    }
    (!text.is_empty() && total <= i64::MAX.unsigned_abs()).then_some(total)
}
