//! `policy`.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read},
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context as _, anyhow, bail};
use clap::{Args, Subcommand};
use pintle_contract::authorization::{Body, Context, Peer, Request};
use pintle_policy::{
    Learner, OpaSettings, Outcome, Policy, READY, Recent, Rules, Settings, Sources, decide, input,
};
use serde_json::{Value, json};

use super::Done;
use crate::failure::Failure;
use crate::json::Fields;
use crate::render::coloured;
use crate::render::format::{Columns, Row, Style, row};

/// `pintle policy …`.
#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// Check that a policy makes sense, and say what it decides by
    Check(Check),
    /// Say what a policy decides about a request, and why
    Explain(Explain),
    /// List the policies that come with pintle
    #[command(visible_alias = "list")]
    Ls(List),
    /// Learn from an audit trail who does what, for the policy 'learned'
    Record(Record),
    /// Put the requests of an audit trail to a policy, and say what it would have refused
    Replay(Replay),
    /// Serve a policy as an authorization plugin, for this engine or dockerd
    Serve(Serve),
    /// Print a policy that comes with pintle
    Show(Show),
    /// Run a policy's own tests
    Test(Test),
}

/// What a policy is made of.
#[derive(Debug, Clone, Args)]
pub struct Which {
    /// The package that decides
    #[arg(long, default_value = "docker.authz", value_name = "PACKAGE")]
    pub package: String,
    /// Policies (.rego) and data (.json), folders of these, or names of policies that come with pintle
    #[arg(required = true, value_name = "SOURCE")]
    pub sources: Vec<String>,
}

/// Check that a policy makes sense, and say what it decides by.
#[derive(Debug, Args)]
pub struct Check {
    #[command(flatten)]
    pub which: Which,
}

/// Say what a policy decides about a request, and why.
///
/// The request is the input of a decision as JSON, from FILE or standard input: what the policy sees as 'input'. Shows what
/// each rule was and, of each file, which lines were reached (marked with a bar). Exits with 1 if it is refused.
#[derive(Debug, Args)]
pub struct Explain {
    /// The input, '-' for standard input
    #[arg(short = 'i', long, default_value = "-", value_name = "FILE")]
    pub input: PathBuf,
    /// It is about the answer to a request: the input has a 'Response'
    #[arg(long)]
    pub answer: bool,
    #[command(flatten)]
    pub which: Which,
}

/// List the policies that come with pintle.
#[derive(Debug, Args)]
pub struct List {
    /// Format output: 'table', 'table TEMPLATE', 'json' or a Go template
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Only display names
    #[arg(short = 'q', long)]
    pub quiet: bool,
}

/// Learn from an audit trail who does what, for the policy 'learned'.
///
/// An engine with an audit trail and without a policy is a dry run: nothing is refused, and everything is written down. What was
/// allowed there becomes data, user by user: put the file beside the policy 'learned', and nobody does anything new. Read it first.
#[derive(Debug, Args)]
pub struct Record {
    /// The trail
    #[arg(long, default_value = "/var/lib/pintle/audit/audit.jsonl", value_name = "FILE")]
    pub trail: PathBuf,
    /// Go on with what comes, until interrupted; the output is written anew with each thing that is learned
    #[arg(short = 'f', long, requires = "output")]
    pub follow: bool,
    /// Write here what was learned, and keep what is there already; standard output if not given
    #[arg(short = 'o', long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// Put the requests of an audit trail to a policy, and say what it would have refused.
///
/// An engine with an audit trail and without the policy is how a policy is tried before it counts: nothing is refused, and
/// everything is written down. What a trail does not have the policy does not see: secrets, headers, and bodies beyond 16 KiB.
/// Exits with 1 if a verdict differs.
#[derive(Debug, Args)]
pub struct Replay {
    /// The trail
    #[arg(long, default_value = "/var/lib/pintle/audit/audit.jsonl", value_name = "FILE")]
    pub trail: PathBuf,
    /// Also count what both would have let through, by route
    #[arg(long)]
    pub all: bool,
    #[command(flatten)]
    pub which: Which,
}

/// Serve a policy as an authorization plugin, for this engine or dockerd.
///
/// Listens where plugins do: on the socket of a managed plugin when it is one, else on /run/docker/plugins/NAME.sock. Files are
/// followed. Name it in 'authorization-plugins' of the engine.
#[derive(Debug, Args)]
pub struct Serve {
    /// The plugin's name
    #[arg(long, env = "PLUGIN_NAME", default_value = "policy", value_name = "NAME")]
    pub name: String,
    /// What a decision may take, in milliseconds
    #[arg(long, default_value_t = 100, value_name = "MS")]
    pub timeout_ms: u64,
    /// Append each decision to this file
    #[arg(long, env = "AUTH_LOG_PATH", value_name = "FILE")]
    pub log: Option<PathBuf>,
    /// Ask the Open Policy Agent server at this address, and not sources
    #[arg(long, value_name = "URL", conflicts_with = "sources")]
    pub opa: Option<String>,
    /// How long an answer of OPA is remembered for the same question, in milliseconds
    #[arg(long, default_value_t = 1000, value_name = "MS", requires = "opa")]
    pub opa_cache_ms: u64,
    /// The package that decides
    #[arg(long, default_value = "docker.authz", value_name = "PACKAGE")]
    pub package: String,
    /// Policies (.rego) and data (.json), folders of these, or names of policies that come with pintle
    #[arg(required_unless_present = "opa", value_name = "SOURCE")]
    pub sources: Vec<String>,
}

/// Print a policy that comes with pintle.
#[derive(Debug, Args)]
pub struct Show {
    /// With its tests
    #[arg(long)]
    pub tests: bool,
    /// The policy
    #[arg(value_parser = clap::builder::PossibleValuesParser::new(READY.iter().map(|ready| ready.name)))]
    pub name: String,
}

/// Run a policy's own tests.
///
/// Rules whose names begin with 'test_', in files that end in _test.rego and in the policies. Exits with 1 if one is not true.
#[derive(Debug, Args)]
pub struct Test {
    /// Also show tests that passed
    #[arg(short = 'v', long)]
    pub verbose: bool,
    /// Policies, data and tests
    #[arg(required = true, value_name = "SOURCE")]
    pub sources: Vec<String>,
}

impl Which {
    fn settings(&self) -> Settings {
        Settings { sources: self.sources.clone(), package: self.package.clone(), ..Settings::default() }
    }

    fn rules(&self) -> anyhow::Result<Rules> {
        let sources = Sources::read(&self.sources).map_err(|why| anyhow!(why))?;
        // Nobody waits for these decisions.
        let settings = Settings { timeout: Duration::from_secs(10), ..self.settings() };
        Rules::load(&sources, &settings).map_err(|why| anyhow!(why))
    }
}

impl PolicyCommand {
    /// Runs it.
    pub async fn run(self) -> Done {
        match self {
            Self::Check(c) => c.run(),
            Self::Explain(c) => c.run(),
            Self::Ls(c) => c.run(),
            Self::Record(c) => c.run().await,
            Self::Replay(c) => c.run(),
            Self::Serve(c) => c.run().await,
            Self::Show(c) => c.run(),
            Self::Test(c) => c.run(),
        }
    }
}

impl Check {
    fn run(self) -> Done {
        let rules = self.which.rules()?;
        println!("OK: decides by {}", rules.paths().join(", "));
        Ok(())
    }
}

impl List {
    fn run(self) -> Done {
        const COLUMNS: Columns =
            Columns { shown: &[("Name", "NAME"), ("About", "ABOUT")], hidden: &[], quiet: "Name" };
        let ready = READY.iter();
        let rows: Vec<Row> =
            ready.map(|ready| row([("About", ready.about().into()), ("Name", ready.name.into())])).collect();
        print!("{}", Style { format: self.format, quiet: self.quiet }.render(&COLUMNS, &rows)?);
        Ok(())
    }
}

impl Show {
    fn run(self) -> Done {
        let Some(ready) = READY.iter().find(|ready| ready.name == self.name) else { bail!("no such policy") };
        print!("{}", if self.tests { ready.tests } else { ready.text });
        Ok(())
    }
}

impl Test {
    fn run(self) -> Done {
        let sources = Sources::read(&self.sources).map_err(|why| anyhow!(why))?;
        let tested = decide::test(&sources).map_err(|why| anyhow!(why))?;
        if tested.is_empty() {
            bail!("there are no tests: rules whose names begin with 'test_'");
        }
        let failed = tested.iter().filter(|one| one.failure.is_some()).count();
        for one in &tested {
            match &one.failure {
                Some(why) => println!("FAIL {} ({why})", one.name),
                None if self.verbose => println!("PASS {} ({:.1?})", one.name, one.took),
                None => {}
            }
        }
        println!("{} passed, {failed} failed", tested.len() - failed);
        if failed == 0 { Ok(()) } else { Err(Failure::silent(1).into()) }
    }
}

impl Explain {
    fn run(self) -> Done {
        let mut text = String::new();
        if self.input.as_os_str() == "-" {
            std::io::stdin().read_to_string(&mut text)?;
        } else {
            text = std::fs::read_to_string(&self.input).with_context(|| self.input.display().to_string())?;
        }
        let input: Value = serde_json::from_str(&text).context("the input")?;
        let outcome = if self.answer { Outcome::Answer } else { Outcome::Request };
        let explained = self.which.rules()?.explain(&input, outcome).map_err(|why| anyhow!(why))?;
        let decision = &explained.decision;
        let verdict = if decision.allow { "allow" } else { "deny" };
        let by = if decision.rule.is_empty() { String::new() } else { format!(" by {}", decision.rule) };
        println!("{verdict}{by} ({:.1?})", explained.took);
        if !decision.allow {
            println!("  {}", decision.message);
        }
        for (rule, value) in &explained.values {
            println!("{rule} = {value}");
        }
        let (on, off) = if coloured() { ("\x1b[32m", "\x1b[0m") } else { ("", "") };
        for (name, text, lines) in &explained.reached {
            if lines.is_empty() {
                continue;
            }
            println!("\n{name}");
            for (at, line) in text.lines().enumerate() {
                match lines.contains(&(at + 1)) {
                    true => println!("{on}│ {line}{off}"),
                    false => println!("  {line}"),
                }
            }
        }
        if decision.allow { Ok(()) } else { Err(Failure::silent(1).into()) }
    }
}

fn strings(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// The request that a line of a trail is about.
fn recorded(line: &Value) -> Request {
    let who = line.at("who");
    let number = |key: &str| u32::try_from(who.number(key)).unwrap_or_default();
    let peer = who.at("uid").is_number().then(|| Peer {
        uid: number("uid"),
        gid: number("gid"),
        pid: number("pid"),
        name: who.text("name").to_owned(),
        executable: who.text("exe").to_owned(),
    });
    let body = match line.at("body") {
        Value::Null => Body::Empty,
        body => Body::Shown(body.to_string().into_bytes()),
    };
    let parsed = serde_json::from_slice(body.shown()).unwrap_or_default();
    let context = Context {
        time: line.text("time").to_owned(),
        route: line.text("route").to_owned(),
        object: line.text("object").to_owned(),
        groups: strings(who.at("groups")),
        names: strings(who.at("names")),
        binds: input::binds(&parsed),
        ..Context::default()
    };
    Request {
        user: who.text("user").to_owned(),
        authentication: who.text("auth").to_owned(),
        method: line.text("method").to_owned(),
        uri: line.text("uri").to_owned(),
        body,
        peer,
        context: Some(Box::new(context)),
        ..Request::default()
    }
}

/// What each user does.
type Learned = BTreeMap<String, std::collections::BTreeSet<String>>;

impl Record {
    async fn run(self) -> Done {
        let mut learned = self.known()?;
        let mut learner = Learner::new().map_err(|why| anyhow!(why))?;
        let (mut lines, mut news) = (0u64, 0u64);
        let mut file = BufReader::new(
            std::fs::File::open(&self.trail).with_context(|| self.trail.display().to_string())?,
        );
        loop {
            let mut line = String::new();
            let mut changed = false;
            // A line that is being written has no end yet.
            while file.read_line(&mut line)? > 0 && line.ends_with('\n') {
                let fields: Value = serde_json::from_str(&line).unwrap_or_default();
                line.clear();
                if fields.text("event") != "request" || fields.text("verdict") != "allow" {
                    continue;
                }
                lines += 1;
                let input = input::of_request(&recorded(&fields), Recent::default());
                let (who, facts) = learner.facts(&input).map_err(|why| anyhow!(why))?;
                let known = learned.entry(who.clone()).or_default();
                for fact in facts.into_iter().filter(|fact| !known.contains(fact)).collect::<Vec<_>>() {
                    eprintln!("{}: {fact}", if who.is_empty() { "-" } else { &who });
                    (changed, news) = (true, news + 1);
                    known.insert(fact);
                }
            }
            if let (true, Some(output)) = (changed, &self.output) {
                let new = output.with_extension("new");
                std::fs::write(&new, format!("{:#}\n", json!({ "learned": learned })))
                    .and_then(|()| std::fs::rename(&new, output))
                    .with_context(|| output.display().to_string())?;
            }
            if !self.follow {
                break;
            }
            if !line.is_empty() {
                file.seek_relative(-i64::try_from(line.len())?)?;
            }
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(300)) => {}
                _ = tokio::signal::ctrl_c() => break,
            }
            if self.was_rotated(file.get_ref())? && file.fill_buf()?.is_empty() {
                file = BufReader::new(std::fs::File::open(&self.trail)?);
            }
        }
        if self.output.is_none() {
            println!("{:#}", json!({ "learned": learned }));
        }
        eprintln!("{lines} requests of {} users, {news} things that are new", learned.len());
        Ok(())
    }

    /// What was learned before.
    fn known(&self) -> anyhow::Result<Learned> {
        let Some(text) = self.output.as_ref().and_then(|file| std::fs::read_to_string(file).ok()) else {
            return Ok(Learned::new());
        };
        let mut document: Value = serde_json::from_str(&text).context("what was learned before")?;
        serde_json::from_value(document["learned"].take()).context("what was learned before")
    }

    fn was_rotated(&self, file: &std::fs::File) -> std::io::Result<bool> {
        use std::os::unix::fs::MetadataExt;
        Ok(std::fs::metadata(&self.trail)?.ino() != file.metadata()?.ino())
    }
}

impl Replay {
    fn run(self) -> Done {
        let rules = self.which.rules()?;
        let file = std::fs::File::open(&self.trail).with_context(|| self.trail.display().to_string())?;
        let mut same: BTreeMap<String, u64> = BTreeMap::new();
        let (mut differ, mut count) = (0u64, 0u64);
        for (at, line) in BufReader::new(file).lines().enumerate() {
            let line: Value = serde_json::from_str(&line?)
                .with_context(|| format!("{}, line {}", self.trail.display(), at + 1))?;
            let (was, is_request) = (line.text("verdict"), line.text("event") == "request");
            if !is_request || !matches!(was, "allow" | "deny") {
                continue;
            }
            count += 1;
            let decided =
                rules.decide(&input::of_request(&recorded(&line), Recent::default()), Outcome::Request);
            let (is, why) = match decided {
                Ok(decision) if decision.allow => ("allow", String::new()),
                Ok(decision) => ("deny", decision.message),
                Err(why) => ("error", why),
            };
            if is == was {
                *same.entry(format!("{} {}", line.text("method"), line.text("route"))).or_default() += 1;
                continue;
            }
            differ += 1;
            let who = line.at("who");
            let who = [who.text("user"), who.text("name"), "-"].into_iter().find(|name| !name.is_empty());
            let (time, method, uri) = (line.text("time"), line.text("method"), line.text("uri"));
            let why = if why.is_empty() { why } else { format!(": {why}") };
            println!("{time} {} {method} {uri}: {was} → {is}{why}", who.unwrap_or_default());
        }
        if self.all {
            for (route, count) in &same {
                println!("{count:>8} {route}: the same");
            }
        }
        println!("{count} requests, {differ} with another verdict");
        if differ == 0 { Ok(()) } else { Err(Failure::silent(1).into()) }
    }
}

impl Serve {
    async fn run(self) -> Done {
        let opa = self.opa.map(|url| OpaSettings {
            url,
            cache: Duration::from_millis(self.opa_cache_ms),
            token: std::env::var("OPA_TOKEN").ok(),
        });
        let settings = Settings {
            sources: self.sources,
            package: self.package,
            timeout: Duration::from_millis(self.timeout_ms.max(1)),
            opa,
        };
        let policy = Policy::open(settings).map_err(|why| anyhow!(why))?;
        policy.follow();
        let log = match &self.log {
            None => None,
            Some(path) => {
                let file = std::fs::File::options().create(true).append(true).open(path);
                Some(file.with_context(|| path.display().to_string())?)
            }
        };
        Ok(pintle_sdk::serve_authorization(&self.name, Logged { policy, log }).await?)
    }
}

/// A policy whose decisions are written down.
struct Logged {
    policy: Policy,
    log: Option<std::fs::File>,
}

#[pintle_sdk::async_trait]
impl pintle_contract::Authorizer for Logged {
    fn is_extended(&self) -> bool {
        self.policy.is_extended()
    }

    async fn authorize_request(
        &self,
        request: &Request,
    ) -> Result<pintle_contract::authorization::Verdict, pintle_contract::DriverError> {
        let begun = std::time::Instant::now();
        let decided = self.policy.authorize_request(request).await;
        if let Some(mut log) = self.log.as_ref() {
            let (allowed, message) = match &decided {
                Ok(verdict) => (verdict.allow, verdict.message.clone()),
                Err(error) => (false, error.message.clone()),
            };
            let line = json!({
                "time": chrono::Utc::now().to_rfc3339(), "user": request.user, "method": request.method,
                "uri": request.uri, "allowed": allowed, "message": message,
                "took_us": u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX),
            });
            // A decision that cannot be written down is none.
            std::io::Write::write_all(&mut log, format!("{line}\n").as_bytes())?;
        }
        decided
    }

    async fn authorize_answer(
        &self,
        request: &Request,
        answer: &pintle_contract::authorization::Answer,
    ) -> Result<pintle_contract::authorization::Verdict, pintle_contract::DriverError> {
        self.policy.authorize_answer(request, answer).await
    }
}
