//! An Open Policy Agent server in the embedded engine's place: the same rules, the same input, the same verdicts.
//!
//! It is asked for the whole package at once (`POST /v1/data/PACKAGE`), and now and then which rules the package has
//! (`GET /v1/policies`), since a rule that is undefined is left out of its answers, and `allow` that is undefined refuses. Whatever goes
//! wrong is a refusal. Answers may be remembered for a moment.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use reqwest::{Client, RequestBuilder, Url};
use serde_json::{Value, json};

use crate::{
    Decision, Outcome,
    decide::{self, RULES},
};

/// How long it is believed which rules there are.
const RULES_FRESH: Duration = Duration::from_secs(5);
/// Answers that are remembered.
const REMEMBERED: usize = 4096;
/// No honest answer is longer.
const LONGEST: usize = 32 << 20;

/// Where the server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpaSettings {
    /// Its address: `http://127.0.0.1:8181`.
    pub url: String,
    /// How long an answer is remembered for the same question; zero: not at all. Of a question its time, the process's number and
    /// the counts in `Recent` are not looked at.
    pub cache: Duration,
    /// What a request of the engine has in `Authorization: Bearer`.
    pub token: Option<String>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Opa {
    client: Client,
    base: Url,
    settings: OpaSettings,
    package: String,
    timeout: Duration,
    there: Mutex<Option<(Instant, BTreeSet<&'static str>)>>,
    remembered: Mutex<HashMap<String, (Instant, Value)>>,
}

impl Opa {
    pub(crate) fn new(settings: OpaSettings, package: &str, timeout: Duration) -> Result<Self, String> {
        let base = Url::parse(&settings.url).map_err(|error| format!("{}: {error}", settings.url))?;
        if !matches!(base.scheme(), "http" | "https") || base.cannot_be_a_base() {
            return Err(format!("{}: it must be http://HOST:PORT or https://HOST:PORT", settings.url));
        }
        // Somebody may have done it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| format!("an HTTP client for OPA: {error}"))?;
        Ok(Self {
            client,
            base,
            settings,
            package: package.to_owned(),
            timeout,
            there: Mutex::default(),
            remembered: Mutex::default(),
        })
    }

    /// Decides, or says why nobody could: nothing is allowed then.
    pub(crate) async fn decide(
        &self,
        body: &Value,
        input: &Value,
        outcome: Outcome,
    ) -> Result<Decision, String> {
        let decided = tokio::time::timeout(self.timeout, self.asked(body, input, outcome)).await;
        decided
            .unwrap_or_else(|_| Err(format!("OPA at {} did not answer within {:?}", self.base, self.timeout)))
    }

    /// Whether answers are to be judged; they are if that cannot be told, and what cannot be asked refuses.
    pub(crate) async fn judges_answers(&self) -> bool {
        let there = tokio::time::timeout(self.timeout, self.rules()).await;
        there.ok().and_then(Result::ok).is_none_or(|there| decide::judges_answers(&there))
    }

    async fn asked(&self, body: &Value, input: &Value, outcome: Outcome) -> Result<Decision, String> {
        let there = self.rules().await?;
        let result = self.result(input).await?;
        decide::settle(body, outcome, &there, &mut |rule| Ok(result[rule].clone()))
    }

    /// What the package says of an input.
    async fn result(&self, input: &Value) -> Result<Value, String> {
        let key = question(input);
        if !self.settings.cache.is_zero() {
            let remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((when, result)) = remembered.get(&key)
                && when.elapsed() < self.settings.cache
            {
                return Ok(result.clone());
            }
        }
        let path = format!("v1/data/{}", self.package.replace('.', "/"));
        let answer = self.ask(self.client.post(self.at(&path)?).json(&json!({ "input": input }))).await?;
        let Some(result) = answer.get("result").filter(|result| result.is_object()) else {
            return Err(format!("OPA at {} has no package {}", self.base, self.package));
        };
        if !self.settings.cache.is_zero() {
            let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
            if remembered.len() >= REMEMBERED {
                remembered.retain(|_, (when, _)| when.elapsed() < self.settings.cache);
            }
            if remembered.len() < REMEMBERED {
                remembered.insert(key, (Instant::now(), result.clone()));
            }
        }
        Ok(result.clone())
    }

    /// Which of the rules the package has.
    async fn rules(&self) -> Result<BTreeSet<&'static str>, String> {
        let known = self.there.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((when, there)) = known
            && when.elapsed() < RULES_FRESH
        {
            return Ok(there);
        }
        let answer = self.ask(self.client.get(self.at("v1/policies")?)).await?;
        let policies = answer["result"].as_array().ok_or("OPA's list of policies is none")?;
        let there: BTreeSet<_> = policies
            .iter()
            .filter(|policy| package(&policy["ast"]["package"]) == self.package)
            .flat_map(|policy| policy["ast"]["rules"].as_array().into_iter().flatten())
            .filter_map(|rule| name(&rule["head"]))
            .filter_map(|name| RULES.into_iter().find(|rule| *rule == name))
            .collect();
        if !decide::decides(&there) {
            return Err(format!("OPA at {}: {}", self.base, decide::nothing_decides(&self.package)));
        }
        *self.there.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), there.clone()));
        Ok(there)
    }

    fn at(&self, path: &str) -> Result<Url, String> {
        let base = self.base.as_str().trim_end_matches('/');
        Url::parse(&format!("{base}/{path}")).map_err(|error| format!("{base}: {error}"))
    }

    async fn ask(&self, request: RequestBuilder) -> Result<Value, String> {
        let failed = |error: reqwest::Error| {
            // What it was about is in the causes.
            let cause =
                std::iter::successors(std::error::Error::source(&error), |error| error.source()).last();
            let why = cause.map_or_else(|| error.to_string(), ToString::to_string);
            format!("OPA at {} cannot be asked: {why}", self.base)
        };
        let request = match &self.settings.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        let mut answer = request.send().await.map_err(failed)?;
        let status = answer.status();
        let mut bytes = Vec::new();
        while let Some(piece) = answer.chunk().await.map_err(failed)? {
            bytes.extend_from_slice(&piece);
            if bytes.len() > LONGEST {
                return Err(format!("OPA at {} answered more than {LONGEST} bytes", self.base));
            }
        }
        if !status.is_success() {
            let text = String::from_utf8_lossy(&bytes);
            return Err(format!("OPA at {} answered {status}: {:.300}", self.base, text.trim()));
        }
        serde_json::from_slice(&bytes)
            .map_err(|error| format!("OPA at {} answered nonsense: {error}", self.base))
    }
}

/// `docker.authz` of a package's path, which begins with `data`.
fn package(ast: &Value) -> String {
    let steps = ast["path"].as_array().into_iter().flatten().skip(1);
    steps.filter_map(|step| step["value"].as_str()).collect::<Vec<_>>().join(".")
}

/// A rule's name: the first of its reference, or as it was written before there were references.
fn name(head: &Value) -> Option<&str> {
    head["ref"][0]["value"].as_str().or_else(|| head["name"].as_str())
}

/// A question, without what makes another one of each.
fn question(input: &Value) -> String {
    let mut input = input.clone();
    for (key, inner) in
        [("Context", Some("Time")), ("Context", Some("Peer")), ("Peer", Some("Pid")), ("Recent", None)]
    {
        let Some(found) = input.get_mut(key) else { continue };
        match inner {
            None => *found = Value::Null,
            Some(inner) => {
                if let Some(map) = found.as_object_mut() {
                    map.remove(inner);
                }
            }
        }
    }
    input.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_found_in_what_opa_lists() {
        let path = json!([{"type": "var", "value": "data"}, {"type": "string", "value": "docker"}, {"type": "string", "value": "authz"}]);
        assert_eq!(package(&json!({ "path": path })), "docker.authz");
        assert_eq!(name(&json!({"name": "deny", "ref": [{"type": "var", "value": "deny"}]})), Some("deny"));
        assert_eq!(name(&json!({"name": "allow"})), Some("allow"));
    }

    #[test]
    fn questions_that_differ_in_nothing_that_counts_are_the_same() {
        let ask = |time: &str, pid: u32, uid: u32| {
            question(
                &json!({"Method": "GET", "Context": {"Time": time}, "Peer": {"Pid": pid, "Uid": uid}, "Recent": {"Minute": pid}}),
            )
        };
        assert_eq!(ask("a", 1, 0), ask("b", 2, 0));
        assert_ne!(ask("a", 1, 0), ask("a", 1, 1));
    }
}
