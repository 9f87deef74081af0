//! The first-party authorizer: policies in Rego, evaluated in this process.
//!
//! A policy is a package (`docker.authz` if not said otherwise) with a rule `deny`, whose values say why a request is refused, a rule
//! `allow`, which has to be true, or both; and `deny_response`, which is asked about answers. What it sees is called as by
//! Open Policy Agent's plugin for Docker, so that policies for that one run here ([`input`]).
//!
//! Files are looked at every other second. What cannot be read or makes no sense is not taken: the policy that was in force
//! stays so. A decision that takes longer than its limit, fails or is not there is a refusal.
//!
//! | module | job |
//! |---|---|
//! | [`files`] | policies and data from files, and those that come with pintle |
//! | [`input`] | what a policy sees of a request |
//! | [`decide`] | from a policy and an input to a verdict, and why |

pub mod decide;
pub mod files;
pub mod input;

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use pintle_contract::{
    Authorizer, DriverError, ErrorKind,
    authorization::{Answer, Request, Verdict},
};

pub use self::{
    decide::{Decision, Explained, Outcome, Rules},
    files::{READY, Ready, Sources},
};

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
}

impl Default for Settings {
    fn default() -> Self {
        Self { sources: Vec::new(), package: "docker.authz".to_owned(), timeout: Duration::from_millis(100) }
    }
}

/// A policy in force, which follows its files. Cheap to clone.
#[derive(Clone)]
pub struct Policy {
    settings: Settings,
    rules: Arc<ArcSwap<Rules>>,
    /// What the files were when they were last read, well or not.
    seen: Arc<std::sync::Mutex<files::Stamp>>,
}

impl std::fmt::Debug for Policy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Policy").field(&self.settings).finish()
    }
}

impl Policy {
    /// Reads the policy.
    ///
    /// # Errors
    /// What cannot be read, or makes no sense, with file and line.
    pub fn open(settings: Settings) -> Result<Self, String> {
        let stamp = files::stamp(&settings.sources);
        let rules = Rules::load(&Sources::read(&settings.sources)?, &settings)?;
        Ok(Self {
            settings,
            rules: Arc::new(ArcSwap::from_pointee(rules)),
            seen: Arc::new(std::sync::Mutex::new(stamp)),
        })
    }

    /// Follows the files until the last clone of this is gone, or the runtime ends.
    pub fn follow(&self) {
        let policy = self.clone();
        tokio::spawn(async move {
            // This clone and the caller's.
            while Arc::strong_count(&policy.rules) > 1 {
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
        let stamp = files::stamp(&self.settings.sources);
        {
            let mut seen = self.seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            if *seen == stamp {
                return Ok(false);
            }
            *seen = stamp;
        }
        let rules = Rules::load(&Sources::read(&self.settings.sources)?, &self.settings)?;
        self.rules.store(Arc::new(rules));
        Ok(true)
    }

    /// The rules in force.
    pub fn rules(&self) -> Arc<Rules> {
        self.rules.load_full()
    }

    async fn ask(&self, input: serde_json::Value, outcome: Outcome) -> Result<Verdict, DriverError> {
        let rules = self.rules();
        let decided = tokio::task::spawn_blocking(move || rules.decide(&input, outcome)).await;
        let decided =
            decided.map_err(|error| DriverError::internal(format!("the policy failed: {error}")))?;
        let decision = decided.map_err(|why| DriverError::new(ErrorKind::Internal, why))?;
        Ok(Verdict { allow: decision.allow, message: decision.message })
    }
}

#[async_trait]
impl Authorizer for Policy {
    async fn authorize_request(&self, request: &Request) -> Result<Verdict, DriverError> {
        self.ask(input::of_request(request), Outcome::Request).await
    }

    async fn authorize_answer(&self, request: &Request, answer: &Answer) -> Result<Verdict, DriverError> {
        if !self.rules().judges_answers() {
            return Ok(Verdict::allow());
        }
        self.ask(input::of_answer(request, answer), Outcome::Answer).await
    }
}
