//! From a policy and an input to a verdict, and why.

use std::{
    collections::BTreeSet,
    num::NonZeroU32,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use regorus::{Engine, Value as Rego, utils::limits::ExecutionTimerConfig};
use serde_json::Value;

use crate::{Settings, files::Sources, shape};

/// What a client is told where the policy does not say more; the words of Open Policy Agent's plugin.
const REJECTED: &str = "request rejected by administrative policy";
/// Engines that are kept for decisions to come.
const IDLE: usize = 16;
/// How often the time is looked at, in steps of the evaluation.
const STEPS: NonZeroU32 = NonZeroU32::new(64).expect("it is not zero");

/// What is decided about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Whether a request is carried out.
    Request,
    /// Whether its answer is sent.
    Answer,
}

/// A verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Whether it goes on.
    pub allow: bool,
    /// What the client is told if it does not.
    pub message: String,
    /// The rule that decided: `deny`, `allow`, or none that refused.
    pub rule: &'static str,
    /// The body that it goes on with, where a rule changes it.
    pub body: Option<Vec<u8>>,
}

impl Decision {
    fn deny(rule: &'static str, message: impl Into<String>) -> Self {
        Self { allow: false, message: message.into(), rule, body: None }
    }
}

/// The rules that decide, by their names in a policy's package.
pub const RULES: [&str; 6] =
    ["allow", "deny", "merge_request", "deny_response", "redact_response", "hide_response"];

/// Rules about answers.
const OF_ANSWERS: [&str; 3] = ["deny_response", "redact_response", "hide_response"];

/// Whether answers are looked at by a policy with these rules.
pub(crate) fn judges_answers(there: &BTreeSet<&'static str>) -> bool {
    OF_ANSWERS.iter().any(|rule| there.contains(rule))
}

/// The verdict that comes of the values of rules, whoever evaluates them. Rules that are not there are not asked for.
///
/// `before` is the body that is changed, as it was sent.
pub(crate) fn settle(
    before: &Value,
    outcome: Outcome,
    there: &BTreeSet<&'static str>,
    value: &mut dyn FnMut(&'static str) -> Result<Value, String>,
) -> Result<Decision, String> {
    let mut of = |rule: &'static str| if there.contains(rule) { value(rule) } else { Ok(Value::Null) };
    let denies = match outcome {
        Outcome::Request => "deny",
        Outcome::Answer => "deny_response",
    };
    let messages = messages(&of(denies)?);
    if !messages.is_empty() {
        return Ok(Decision::deny(denies, messages.join("; ")));
    }
    let mut decision = Decision { allow: true, message: String::new(), rule: "", body: None };
    let mut after = before.clone();
    match outcome {
        Outcome::Request => {
            if there.contains("allow") {
                if of("allow")? != Value::Bool(true) {
                    return Ok(Decision::deny("allow", REJECTED));
                }
                decision.rule = "allow";
            }
            let patches = match of("merge_request")? {
                Value::Null => Vec::new(),
                Value::Array(patches) => patches,
                patch => vec![patch],
            };
            for patch in patches {
                if !patch.is_object() {
                    return Err(format!("merge_request: {patch} is no object"));
                }
                if !before.is_object() {
                    return Err("merge_request: the request has no body to merge something into".to_owned());
                }
                shape::merge(&mut after, &patch);
            }
        }
        Outcome::Answer => {
            let named = |rule: &str, why: String| format!("{rule}: {why}");
            let redacted = of("redact_response")?;
            shape::redact(&mut after, &redacted).map_err(|why| named("redact_response", why))?;
            let hidden = of("hide_response")?;
            shape::hide(&mut after, &hidden).map_err(|why| named("hide_response", why))?;
        }
    }
    if after != *before {
        decision.body = Some(serde_json::to_vec(&after).map_err(said)?);
    }
    Ok(decision)
}

/// A decision, and what it came of.
#[derive(Debug, Clone)]
pub struct Explained {
    /// The decision.
    pub decision: Decision,
    /// What each rule was that was asked for.
    pub values: Vec<(&'static str, Value)>,
    /// Each file, with the lines that were true or reached, from 1.
    pub reached: Vec<(String, String, Vec<usize>)>,
    /// How long it took.
    pub took: Duration,
}

/// What became of a test.
#[derive(Debug, Clone, PartialEq)]
pub struct Tested {
    /// `data.docker.authz_test.test_x`.
    pub name: String,
    /// Why it failed, if it did.
    pub failure: Option<String>,
    /// How long it took.
    pub took: Duration,
}

/// A policy that was understood.
pub struct Rules {
    prototype: Mutex<Engine>,
    idle: Mutex<Vec<Engine>>,
    package: String,
    there: BTreeSet<&'static str>,
    timeout: Duration,
}

impl std::fmt::Debug for Rules {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rules").field("there", &self.there).finish_non_exhaustive()
    }
}

fn said(error: impl std::fmt::Display) -> String {
    error.to_string().trim().to_owned()
}

/// Reads policies in today's Rego, or else in that of before version 1.
fn add(engine: &mut Engine, policies: &[(String, String)]) -> Result<Vec<String>, String> {
    let mut packages = Vec::new();
    for (name, text) in policies {
        engine.set_rego_v0(false);
        let added = engine.add_policy(name.clone(), text.clone()).or_else(|error| {
            engine.set_rego_v0(true);
            engine.add_policy(name.clone(), text.clone()).map_err(|_| error)
        });
        packages.push(added.map_err(said)?);
    }
    engine.set_rego_v0(false);
    Ok(packages)
}

fn engine(sources: &Sources) -> Result<Engine, String> {
    let mut engine = Engine::new();
    // A built-in function that fails makes its rule undefined, as everywhere else.
    engine.set_strict_builtin_errors(false);
    add(&mut engine, &sources.policies)?;
    for (name, document) in &sources.data {
        let failed = |error| format!("{name}: {}", said(error));
        let document = Rego::from_json_str(&document.to_string()).map_err(failed)?;
        engine.add_data(document).map_err(failed)?;
    }
    Ok(engine)
}

impl Rules {
    /// Understands policies.
    ///
    /// # Errors
    /// Where they make no sense, or do not say what is decided by.
    pub fn load(sources: &Sources, settings: &Settings) -> Result<Self, String> {
        let mut engine = engine(sources)?;
        engine.set_execution_timer_config(ExecutionTimerConfig {
            limit: settings.timeout,
            check_interval: STEPS,
        });
        engine.set_input(Rego::new_object());
        // What is wrong with any rule is found by asking them all once; a rule that is not there is not one of these.
        let mut there = BTreeSet::new();
        for rule in RULES {
            match engine.eval_rule(format!("data.{}.{rule}", settings.package)) {
                Err(error) if said(&error).contains("not a valid rule path") => {}
                Err(error) if !said(&error).contains("time") => return Err(said(error)),
                _ => drop(there.insert(rule)),
            }
        }
        if !decides(&there) {
            return Err(nothing_decides(&settings.package));
        }
        Ok(Self {
            prototype: Mutex::new(engine),
            idle: Mutex::default(),
            package: settings.package.clone(),
            there,
            timeout: settings.timeout,
        })
    }

    /// Whether answers are judged at all.
    pub fn judges_answers(&self) -> bool {
        judges_answers(&self.there)
    }

    /// The rules that decide, by their paths.
    pub fn paths(&self) -> Vec<String> {
        self.there.iter().map(|rule| format!("data.{}.{rule}", self.package)).collect()
    }

    fn take(&self) -> Engine {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        idle.unwrap_or_else(|| self.prototype.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    /// Decides.
    ///
    /// # Errors
    /// When the policy cannot be evaluated within its time: nobody allowed anything then.
    pub fn decide(&self, input: &Value, outcome: Outcome) -> Result<Decision, String> {
        self.decide_on(body_of(input, outcome), input, outcome)
    }

    /// Decides about what has this body, whatever the input says of it.
    pub(crate) fn decide_on(
        &self,
        body: &Value,
        input: &Value,
        outcome: Outcome,
    ) -> Result<Decision, String> {
        let mut engine = self.take();
        engine.set_input(Rego::from_json_str(&input.to_string()).map_err(said)?);
        let decision = self.evaluate(&mut engine, body, outcome, &mut |_, _| {});
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if decision.is_ok() && idle.len() < IDLE {
            idle.push(engine);
        }
        decision
    }

    fn evaluate(
        &self,
        engine: &mut Engine,
        before: &Value,
        outcome: Outcome,
        note: &mut dyn FnMut(&'static str, &Value),
    ) -> Result<Decision, String> {
        settle(before, outcome, &self.there, &mut |rule| {
            let begun = Instant::now();
            let value = engine.eval_rule(format!("data.{}.{rule}", self.package)).map_err(said)?;
            // The engine takes an error in a function for an undefined value, that it ran out of time too: a rule that refuses
            // would be one that does not.
            if begun.elapsed() >= self.timeout {
                return Err(format!("the rule {rule} took longer than its time of {:?}", self.timeout));
            }
            let value = if value == Rego::Undefined {
                Value::Null
            } else {
                serde_json::to_value(&value).map_err(said)?
            };
            note(rule, &value);
            Ok(value)
        })
    }

    /// Decides, and says what came of each rule and which lines were reached.
    ///
    /// # Errors
    /// As [`Rules::decide`].
    pub fn explain(&self, input: &Value, outcome: Outcome) -> Result<Explained, String> {
        let mut engine = self.prototype.lock().unwrap_or_else(PoisonError::into_inner).clone();
        engine.set_enable_coverage(true);
        engine.clear_coverage_data();
        engine.set_input(Rego::from_json_str(&input.to_string()).map_err(said)?);
        let begun = Instant::now();
        let mut values = Vec::new();
        let decision = self
            .evaluate(&mut engine, input, outcome, &mut |rule, value| values.push((rule, value.clone())))?;
        let took = begun.elapsed();
        let report = engine.get_coverage_report().map_err(said)?;
        let reached = report
            .files
            .into_iter()
            .map(|file| (file.path, file.code, file.covered.into_iter().map(|line| line as usize).collect()));
        Ok(Explained { decision, values, reached: reached.collect(), took })
    }

    /// What a decision may take.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }
}

/// The body that an input is about.
fn body_of(input: &Value, outcome: Outcome) -> &Value {
    match outcome {
        Outcome::Request => &input["Body"],
        Outcome::Answer => &input["Response"]["Body"],
    }
}

/// Whether rules with these names decide anything.
pub(crate) fn decides(there: &BTreeSet<&'static str>) -> bool {
    there.contains("deny") || there.contains("allow")
}

pub(crate) fn nothing_decides(package: &str) -> String {
    format!("the package {package} has no rule `deny` and no rule `allow`, so nothing decides")
}

/// Why a rule refuses: its texts, or the usual one where it only says that it does.
fn messages(value: &Value) -> Vec<String> {
    match value {
        Value::Null | Value::Bool(false) => Vec::new(),
        Value::Bool(true) => vec![REJECTED.to_owned()],
        Value::String(text) => vec![text.clone()],
        Value::Array(list) => list.iter().flat_map(messages).collect(),
        Value::Object(map) => match map.get("msg").or_else(|| map.get("message")) {
            Some(Value::String(text)) => vec![text.clone()],
            // A rule with keys: `deny["why"] { … }`.
            _ => map.keys().cloned().collect(),
        },
        Value::Number(number) => vec![number.to_string()],
    }
}

/// What a request is, in the words of the ready policy `learned`: what it will be recognized by.
pub struct Learner(Engine);

impl std::fmt::Debug for Learner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Learner")
    }
}

impl Learner {
    /// With the policy that comes with pintle.
    ///
    /// # Errors
    /// None, unless that policy makes no sense.
    pub fn new() -> Result<Self, String> {
        Ok(Self(engine(&Sources::read(&["learned".to_owned()])?)?))
    }

    /// Who asks, and what.
    ///
    /// # Errors
    /// When the input is too odd for the policy.
    pub fn facts(&mut self, input: &Value) -> Result<(String, Vec<String>), String> {
        self.0.set_input(Rego::from_json_str(&input.to_string()).map_err(said)?);
        let mut value = |rule: &str| {
            let value = self.0.eval_rule(format!("data.docker.authz.{rule}")).map_err(said)?;
            serde_json::to_value(&value).map_err(said)
        };
        let who = value("who")?.as_str().unwrap_or_default().to_owned();
        let facts = value("facts")?;
        let facts = facts.as_array().into_iter().flatten().filter_map(Value::as_str);
        Ok((who, facts.map(str::to_owned).collect()))
    }
}

/// Runs every rule whose name begins with `test_`, in policies and in files of tests. One that is true has passed.
///
/// # Errors
/// When they cannot be understood.
pub fn test(sources: &Sources) -> Result<Vec<Tested>, String> {
    let mut engine = engine(sources)?;
    let mut packages = add(&mut engine, &sources.tests)?;
    packages.extend(engine.get_packages().map_err(said)?);
    packages.sort();
    packages.dedup();
    let mut names = Vec::new();
    for (_, text) in sources.tests.iter().chain(&sources.policies) {
        let package = text.lines().find_map(|line| line.trim().strip_prefix("package "));
        let Some(package) = package.map(str::trim) else { continue };
        for line in text.lines().filter(|line| line.starts_with("test_")) {
            let end = line.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(line.len());
            let name = format!("data.{package}.{}", line.get(..end).unwrap_or_default());
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    let run = |name: String| {
        let begun = Instant::now();
        engine.set_input(Rego::new_object());
        let failure = match engine.eval_rule(name.clone()) {
            Ok(value) if value == Rego::from(true) => None,
            Ok(Rego::Undefined) => Some("it is not true".to_owned()),
            Ok(value) => Some(format!("it is {value}")),
            Err(error) => Some(said(error)),
        };
        Tested { name, failure, took: begun.elapsed() }
    };
    Ok(names.into_iter().map(run).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::READY;

    fn rules(text: &str) -> Result<Rules, String> {
        let sources =
            Sources { policies: vec![("p.rego".to_owned(), text.to_owned())], ..Sources::default() };
        Rules::load(&sources, &Settings::default())
    }

    fn verdict(text: &str, input: Value) -> (bool, String) {
        let decision = rules(text).unwrap().decide(&input, Outcome::Request).unwrap();
        (decision.allow, decision.message)
    }

    #[test]
    fn deny_goes_before_allow_and_silence_allows_nothing() {
        let both = "package docker.authz\nallow if input.a\ndeny contains \"no b\" if input.b\ndeny contains \"no c\" if input.c";
        assert_eq!(verdict(both, json!({"a": true})), (true, String::new()));
        assert_eq!(verdict(both, json!({})), (false, REJECTED.to_owned()));
        assert_eq!(verdict(both, json!({"a": true, "b": 1, "c": 1})), (false, "no b; no c".to_owned()));
        let only_deny = "package docker.authz\ndeny := \"it is late\" if input.late";
        assert!(verdict(only_deny, json!({})).0);
        assert_eq!(verdict(only_deny, json!({"late": true})), (false, "it is late".to_owned()));
    }

    #[test]
    fn policies_of_before_version_1_and_opas_plugin_run() {
        let old = "package docker.authz\ndefault allow = false\nallow { not deny }\n\
                   deny { input.Body.HostConfig.SecurityOpt[_] == \"seccomp:unconfined\" }";
        assert!(verdict(old, json!({"Body": {}})).0);
        let refused = verdict(old, json!({"Body": {"HostConfig": {"SecurityOpt": ["seccomp:unconfined"]}}}));
        assert_eq!(refused, (false, REJECTED.to_owned()));
    }

    #[test]
    fn what_makes_no_sense_is_said_with_its_place() {
        let broken = rules("package docker.authz\nallow if {\n  input.x ==\n}\n").unwrap_err();
        assert!(broken.contains("p.rego:4"), "{broken}");
        assert!(rules("package docker.other\nallow := true").unwrap_err().contains("nothing decides"));
    }

    #[test]
    fn a_decision_has_a_time() {
        let slow = rules(
            "package docker.authz\ndeny contains \"found\" if {\n some a in numbers.range(1, 3000)\n some b in numbers.range(1, 3000)\n a * b == 0 - 1\n}",
        );
        let begun = Instant::now();
        let said = match slow {
            Ok(rules) => rules.decide(&json!({}), Outcome::Request).unwrap_err(),
            Err(said) => said,
        };
        assert!(said.contains("time") && begun.elapsed() < Duration::from_secs(5), "{said}");
    }

    #[test]
    fn a_function_that_runs_out_of_time_refuses_too() {
        let text = "package docker.authz\ndeny contains \"found\" if slow(input.many)\n\
                    slow(many) if {\n some a in numbers.range(1, many)\n a == many\n}\n";
        let sources =
            Sources { policies: vec![("p.rego".to_owned(), text.to_owned())], ..Sources::default() };
        let settings = Settings { timeout: Duration::from_secs(1), ..Settings::default() };
        let rules = Rules::load(&sources, &settings).unwrap();
        assert!(!rules.decide(&json!({"many": 3}), Outcome::Request).unwrap().allow);
        let said = rules.decide(&json!({"many": 2_000_000}), Outcome::Request).unwrap_err();
        assert!(said.contains("time"), "{said}");
    }

    #[test]
    fn it_is_explained_by_lines() {
        let rules =
            rules("package docker.authz\ndeny contains \"no\" if {\n input.a\n input.b\n}\n").unwrap();
        let explained = rules.explain(&json!({"a": true}), Outcome::Request).unwrap();
        assert!(explained.decision.allow);
        let (_, _, lines) = &explained.reached[0];
        assert!(lines.contains(&3), "{lines:?}");
    }

    #[test]
    fn ready_policies_pass_their_tests() {
        for ready in READY {
            let sources = Sources::read(&[ready.name.to_owned()]).unwrap();
            let tested = test(&sources).unwrap();
            assert!(tested.len() >= 3, "{} has {} tests", ready.name, tested.len());
            for one in tested {
                assert_eq!(one.failure, None, "{}", one.name);
            }
            assert!(!ready.about().is_empty());
        }
        // All of them together.
        let all: Vec<String> = READY.iter().map(|ready| ready.name.to_owned()).collect();
        Rules::load(&Sources::read(&all).unwrap(), &Settings::default()).unwrap();
    }
}
