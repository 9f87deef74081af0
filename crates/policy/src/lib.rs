//! The first-party authorizer: policies in Rego, evaluated in this process.
//!
//! A policy is a package (`docker.authz` if not said otherwise) with a rule `deny`, whose values say why a request is refused, a rule
//! `allow`, which has to be true, or both; and `deny_response`, which is asked about answers. `merge_request` changes what is asked
//! for; `redact_response` and `hide_response` change what is answered. What a policy sees is called as by
//! Open Policy Agent's plugin for Docker, so that policies for that one run here ([`input`]).
//!
//! Files are looked at every other second. What cannot be read or makes no sense is not taken: the policy that was in force
//! stays so. A decision that takes longer than its limit, fails or is not there is a refusal.
//!
//! | module | job |
//! |---|---|
//! | [`files`] | policies and data from files, and those that come with pintle |
//! | [`input`] | what a policy sees of a request |
//! | [`recent`] | how much each user asked lately |
//! | [`decide`] | from a policy and an input to a verdict, and why |
//! | [`shape`] | bodies changed by what a policy says |
//! | [`opa`] | a server of Open Policy Agent in this engine's place |

pub mod decide;
pub mod files;
pub mod input;
mod opa;
pub mod recent;
mod shape;

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use pintle_contract::{
    Authorizer, DriverError, ErrorKind,
    authorization::{Answer, Body, Request, Verdict},
};
use serde_json::Value;

pub use self::{
    decide::{Decision, Explained, Learner, Outcome, Rules},
    files::{READY, Ready, Sources},
    opa::OpaSettings,
    recent::Recent,
};
use self::{opa::Opa, recent::Counts};

/// How often files are looked at.
const LOOK: Duration = Duration::from_secs(2);

/// What a policy is made of, and what it may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Files, folders, and names of ready policies.
    pub sources: Vec<String>,
    /// The package that decides.
    pub package: String,
    /// What a decision may take.
    pub timeout: Duration,
    /// A server that decides, and not the sources.
    pub opa: Option<OpaSettings>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            sources: Vec::new(),
            package: "docker.authz".to_owned(),
            timeout: Duration::from_millis(100),
            opa: None,
        }
    }
}

/// A policy in force, which follows its files. Cheap to clone.
#[derive(Clone)]
pub struct Policy {
    settings: Settings,
    decider: Decider,
    counts: Arc<Counts>,
    /// What the files were when they were last read, well or not.
    seen: Arc<std::sync::Mutex<files::Stamp>>,
}

/// Who decides.
#[derive(Clone)]
enum Decider {
    Embedded(Arc<ArcSwap<Rules>>),
    Server(Arc<Opa>),
}

impl std::fmt::Debug for Policy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Policy").field(&self.settings).finish()
    }
}

impl Policy {
    /// Reads the policy, or makes ready to ask the server that has it.
    ///
    /// # Errors
    /// What cannot be read, or makes no sense, with file and line.
    pub fn open(settings: Settings) -> Result<Self, String> {
        let stamp = files::stamp(&settings.sources);
        let decider = match &settings.opa {
            Some(opa) => {
                Decider::Server(Arc::new(Opa::new(opa.clone(), &settings.package, settings.timeout)?))
            }
            None => {
                let rules = Rules::load(&Sources::read(&settings.sources)?, &settings)?;
                Decider::Embedded(Arc::new(ArcSwap::from_pointee(rules)))
            }
        };
        Ok(Self {
            settings,
            decider,
            counts: Arc::new(Counts::new()),
            seen: Arc::new(std::sync::Mutex::new(stamp)),
        })
    }

    /// Follows the files until the last clone of this is gone, or the runtime ends.
    pub fn follow(&self) {
        if matches!(self.decider, Decider::Server(_)) {
            return;
        }
        let policy = self.clone();
        tokio::spawn(async move {
            // This clone and the caller's.
            while Arc::strong_count(&policy.seen) > 1 {
                tokio::time::sleep(LOOK).await;
                let again = policy.clone();
                match tokio::task::spawn_blocking(move || again.refresh()).await {
                    Ok(Ok(true)) => {
                        tracing::info!(sources = ?policy.settings.sources, "the policy was read again")
                    }
                    Ok(Err(why)) => tracing::error!("the policy that was in force stays in force: {why}"),
                    _ => {}
                }
            }
        });
    }

    /// Reads the files again if they changed. Whether there is another policy now.
    ///
    /// # Errors
    /// As [`Policy::open`]; the policy that was in force stays so, and the same files are not complained of twice.
    pub fn refresh(&self) -> Result<bool, String> {
        let Decider::Embedded(rules) = &self.decider else { return Ok(false) };
        let stamp = files::stamp(&self.settings.sources);
        {
            let mut seen = self.seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            if *seen == stamp {
                return Ok(false);
            }
            *seen = stamp;
        }
        rules.store(Arc::new(Rules::load(&Sources::read(&self.settings.sources)?, &self.settings)?));
        Ok(true)
    }

    async fn ask(&self, body: &Body, input: Value, outcome: Outcome) -> Result<Verdict, DriverError> {
        let body = input::parsed(body);
        let decided = match &self.decider {
            Decider::Server(opa) => opa.decide(&body, &input, outcome).await,
            Decider::Embedded(rules) => {
                let rules = rules.load_full();
                let decided =
                    tokio::task::spawn_blocking(move || rules.decide_on(&body, &input, outcome)).await;
                decided.unwrap_or_else(|error| Err(format!("the policy failed: {error}")))
            }
        };
        let decision = decided.map_err(|why| DriverError::new(ErrorKind::Internal, why))?;
        Ok(Verdict { allow: decision.allow, message: decision.message, body: decision.body })
    }
}

#[async_trait]
impl Authorizer for Policy {
    fn is_extended(&self) -> bool {
        true
    }

    async fn authorize_request(&self, request: &Request) -> Result<Verdict, DriverError> {
        self.ask(&request.body, input::of_request(request, self.counts.take(request)), Outcome::Request).await
    }

    async fn authorize_answer(&self, request: &Request, answer: &Answer) -> Result<Verdict, DriverError> {
        let judges = match &self.decider {
            Decider::Server(opa) => opa.judges_answers().await,
            Decider::Embedded(rules) => rules.load().judges_answers(),
        };
        if !judges {
            return Ok(Verdict::allow());
        }
        self.ask(&answer.body, input::of_answer(request, answer), Outcome::Answer).await
    }
}
