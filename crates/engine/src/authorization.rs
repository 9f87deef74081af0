//! Authorization: the chain of authorizers that judges every request and every answer.
//!
//! One chain, the configured names in their order, is in force at a time. A request takes it as it is and keeps it to
//! its end ([`Authorization::frozen`]), so that a change in between judges no answer by other rules than its request.
//! Names are looked up with every question: an authorizer that is not there, does not answer in time or answers
//! nonsense has refused.

use std::{collections::BTreeMap, fmt, future::Future, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use pintle_contract::{
    Authorizer, DriverError,
    authorization::{Answer, Request, Verdict},
};
use pintle_host::{Host, HostError};
use tokio::time::{Instant, sleep, timeout_at};

/// How long one authorizer may take for one verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Whatever it takes to reach it.
    pub budget: Duration,
    /// How much of it goes on asking again one that is down, since it may be starting.
    pub patience: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { budget: Duration::from_secs(15), patience: Duration::from_secs(5) }
    }
}

/// Where the chain finds its authorizers.
#[async_trait]
pub trait Authorizers: Send + Sync + 'static {
    /// The authorizer called `name`, as it is now.
    async fn find(&self, name: &str) -> Result<Arc<dyn Authorizer>, HostError>;

    /// Whether there is one called `name`, or will be once everything that is wanted has started.
    async fn expect(&self, name: &str) -> Result<(), HostError>;
}

/// Those that are linked in, and plugins.
pub struct HostAuthorizers {
    host: Host,
    builtins: BTreeMap<String, Arc<dyn Authorizer>>,
}

impl HostAuthorizers {
    /// `builtins` go before plugins of the same name.
    pub fn new(host: Host, builtins: BTreeMap<String, Arc<dyn Authorizer>>) -> Self {
        Self { host, builtins }
    }
}

#[async_trait]
impl Authorizers for HostAuthorizers {
    async fn find(&self, name: &str) -> Result<Arc<dyn Authorizer>, HostError> {
        match self.builtins.get(name) {
            Some(builtin) => Ok(Arc::clone(builtin)),
            None => Ok(self.host.authorizer(name).await?.driver),
        }
    }

    async fn expect(&self, name: &str) -> Result<(), HostError> {
        if self.builtins.contains_key(name) { Ok(()) } else { self.host.expect_authorizer(name).await }
    }
}

/// Why something does not go on. The texts are Docker's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// An authorizer said no.
    #[error("authorization denied by plugin {plugin}: {message}")]
    Denied {
        /// The authorizer.
        plugin: String,
        /// What it has to say to the client.
        message: String,
    },
    /// An authorizer could not be asked, or said nothing that could be understood.
    #[error("plugin {plugin} failed with error: {why}")]
    Failed {
        /// The authorizer.
        plugin: String,
        /// What went wrong.
        why: String,
    },
}

/// The body that an authorizer wants in the place of the one that it was shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The authorizer.
    pub plugin: String,
    /// The body.
    pub body: Vec<u8>,
}

/// Who is asked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Configured {
    /// The authorizers, in this order.
    pub names: Vec<String>,
    /// Those that may change requests and answers.
    pub changers: Vec<String>,
}

/// The chain in force. Cheap to clone.
#[derive(Clone)]
pub struct Authorization {
    authorizers: Arc<dyn Authorizers>,
    configured: Arc<ArcSwap<Configured>>,
    limits: Limits,
}

impl Authorization {
    /// The chain of `configured`.
    pub fn new(authorizers: Arc<dyn Authorizers>, configured: Configured, limits: Limits) -> Self {
        Self { authorizers, configured: Arc::new(ArcSwap::from_pointee(configured)), limits }
    }

    /// What is in force.
    pub fn configured(&self) -> Arc<Configured> {
        self.configured.load_full()
    }

    /// Whether every one of `names` is an authorizer, or why not.
    pub async fn check(&self, names: &[String]) -> Result<(), String> {
        for name in names {
            let expected = self.authorizers.expect(name).await;
            expected.map_err(|error| format!("failed to validate authorization plugin: {name}: {error}"))?;
        }
        Ok(())
    }

    /// Puts another chain in force, for requests that begin from now on.
    pub fn replace(&self, configured: Configured) {
        self.configured.store(Arc::new(configured));
    }

    /// The chain as it is now, for one request and its answer. `None`: nobody needs to be asked.
    pub fn frozen(&self) -> Option<Chain> {
        let configured = self.configured.load_full();
        let authorizers = Arc::clone(&self.authorizers);
        (!configured.names.is_empty()).then_some(Chain { authorizers, configured, limits: self.limits })
    }
}

impl fmt::Debug for Authorization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Authorization").field(&self.configured.load()).finish()
    }
}

/// The chain that one request is judged by.
pub struct Chain {
    authorizers: Arc<dyn Authorizers>,
    configured: Arc<Configured>,
    limits: Limits,
}

impl Chain {
    /// The authorizers that it consists of.
    pub fn names(&self) -> &[String] {
        &self.configured.names
    }

    /// Whether anybody in it wants to know more than Docker tells. One that is not there now is told no more than that.
    pub async fn is_extended(&self) -> bool {
        let Limits { patience, .. } = self.limits;
        for name in self.names() {
            let found = tokio::time::timeout(patience, self.authorizers.find(name)).await;
            if let Ok(Ok(authorizer)) = found
                && authorizer.is_extended()
            {
                return true;
            }
        }
        false
    }

    /// Asks each in turn whether the request may be carried out; the first that does not say yes ends it, and so does the first
    /// that changes the body: everybody is to be asked again then.
    pub async fn request(&self, request: &Request) -> Result<Option<Change>, Refusal> {
        let ask = |authorizer: Arc<dyn Authorizer>| async move {
            informed(authorizer.as_ref(), request)?;
            authorizer.authorize_request(request).await
        };
        self.each(request.body.shown(), ask).await
    }

    /// Asks each in turn whether the answer may be sent, as [`Chain::request`] does.
    pub async fn answer(&self, request: &Request, answer: &Answer) -> Result<Option<Change>, Refusal> {
        let ask = |authorizer: Arc<dyn Authorizer>| async move {
            informed(authorizer.as_ref(), request)?;
            authorizer.authorize_answer(request, answer).await
        };
        self.each(answer.body.shown(), ask).await
    }

    async fn each<F>(
        &self,
        shown: &[u8],
        question: impl Fn(Arc<dyn Authorizer>) -> F,
    ) -> Result<Option<Change>, Refusal>
    where
        F: Future<Output = Result<Verdict, DriverError>>,
    {
        for name in self.names() {
            let plugin = name.clone();
            match self.ask(name, &question).await {
                Ok(Verdict { allow: true, body: Some(body), .. }) if body != shown => {
                    if self.configured.changers.contains(name) {
                        return Ok(Some(Change { plugin, body }));
                    }
                    let why = "it changes a request or an answer, which it may not: \
                               name it in authorization-changers if it shall";
                    return Err(Refusal::Failed { plugin, why: why.to_owned() });
                }
                Ok(Verdict { allow: true, .. }) => {}
                Ok(Verdict { message, .. }) => return Err(Refusal::Denied { plugin, message }),
                Err(why) => return Err(Refusal::Failed { plugin, why }),
            }
        }
        Ok(None)
    }

    /// A question changes nothing, so it is put again where the authorizer went away over it.
    async fn ask<F>(
        &self,
        name: &str,
        question: &impl Fn(Arc<dyn Authorizer>) -> F,
    ) -> Result<Verdict, String>
    where
        F: Future<Output = Result<Verdict, DriverError>>,
    {
        let Limits { budget, patience } = self.limits;
        let begun = Instant::now();
        let mut pause = Duration::from_millis(20);
        loop {
            let attempt = async {
                let authorizer = self.authorizers.find(name).await?;
                Ok::<_, HostError>(question(authorizer).await?)
            };
            let error = match timeout_at(begun + budget, attempt).await {
                Ok(Ok(verdict)) => return Ok(verdict),
                Ok(Err(error)) => error,
                Err(_) => return Err(format!("no verdict within {budget:?}")),
            };
            let may_come = match &error {
                HostError::Unavailable(_) => true,
                HostError::Driver(error) => error.kind == pintle_contract::ErrorKind::Unavailable,
                _ => false,
            };
            if !may_come || begun.elapsed() + pause > patience {
                return Err(error.to_string());
            }
            sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(250));
        }
    }
}

/// Who wants to know more than Docker tells does not judge without: it may have come up since the request was looked at.
fn informed(authorizer: &dyn Authorizer, request: &Request) -> Result<(), DriverError> {
    if authorizer.is_extended() && request.context.is_none() {
        return Err(DriverError::internal("it was not there when the request came: send the request again"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use pintle_contract::ErrorKind;

    use super::*;

    #[derive(Clone)]
    enum Act {
        Allow,
        Change(&'static str),
        Deny,
        Fail(ErrorKind),
        Hang,
        Missing,
        Disabled,
    }

    /// Says what its act is, and who asked for what.
    struct Scripted {
        acts: BTreeMap<String, Act>,
        asked: Arc<Mutex<Vec<String>>>,
    }

    struct One {
        name: String,
        act: Act,
        asked: Arc<Mutex<Vec<String>>>,
    }

    impl One {
        async fn decide(&self, what: &str) -> Result<Verdict, DriverError> {
            self.asked.lock().unwrap().push(format!("{} {what}", self.name));
            match &self.act {
                Act::Allow => Ok(Verdict::allow()),
                Act::Change(body) => Ok(Verdict::change(*body)),
                Act::Deny => Ok(Verdict::deny("because")),
                Act::Fail(kind) => Err(DriverError::new(*kind, "AuthZPlugin.AuthZReq: boom")),
                _ => std::future::pending().await,
            }
        }
    }

    #[async_trait]
    impl Authorizer for One {
        async fn authorize_request(&self, _: &Request) -> Result<Verdict, DriverError> {
            self.decide("request").await
        }

        async fn authorize_answer(&self, _: &Request, _: &Answer) -> Result<Verdict, DriverError> {
            self.decide("answer").await
        }
    }

    #[async_trait]
    impl Authorizers for Scripted {
        async fn find(&self, name: &str) -> Result<Arc<dyn Authorizer>, HostError> {
            let act = self.acts.get(name).cloned().unwrap_or(Act::Missing);
            match act {
                Act::Missing => Err(HostError::NotFound(name.to_owned())),
                Act::Disabled => Err(HostError::Disabled(name.to_owned())),
                act => Ok(Arc::new(One { name: name.to_owned(), act, asked: Arc::clone(&self.asked) })),
            }
        }

        async fn expect(&self, name: &str) -> Result<(), HostError> {
            self.find(name).await.map(drop)
        }
    }

    fn scripted(acts: &[(&str, Act)]) -> (Authorization, Arc<Mutex<Vec<String>>>) {
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let names = acts.iter().map(|(name, _)| (*name).to_owned()).collect();
        let acts = acts.iter().map(|(name, act)| ((*name).to_owned(), act.clone())).collect();
        let limits = Limits { budget: Duration::from_millis(300), patience: Duration::from_millis(100) };
        let configured = Configured { names, changers: vec!["c".to_owned()] };
        (
            Authorization::new(Arc::new(Scripted { acts, asked: Arc::clone(&asked) }), configured, limits),
            asked,
        )
    }

    async fn outcome(acts: &[(&str, Act)]) -> (Result<(), String>, Vec<String>) {
        let (authorization, asked) = scripted(acts);
        let chain = authorization.frozen().unwrap();
        let said = chain.request(&Request::default()).await;
        let said = said.map(drop).map_err(|refusal| refusal.to_string());
        let asked = asked.lock().unwrap().clone();
        (said, asked)
    }

    #[tokio::test]
    async fn the_first_that_does_not_say_yes_ends_it() {
        let (said, asked) = outcome(&[("a", Act::Allow), ("b", Act::Deny), ("c", Act::Allow)]).await;
        assert_eq!(said.unwrap_err(), "authorization denied by plugin b: because");
        assert_eq!(asked, ["a request", "b request"]);
        let (said, asked) = outcome(&[("a", Act::Allow), ("b", Act::Allow)]).await;
        assert_eq!((said, asked.len()), (Ok(()), 2));
        assert!(scripted(&[]).0.frozen().is_none());
    }

    #[tokio::test]
    async fn whatever_goes_wrong_is_a_refusal_within_the_budget() {
        for (act, why) in [
            (Act::Missing, "plugin a failed with error: plugin \"a\" not found"),
            (Act::Disabled, "plugin a failed with error: plugin a found but disabled"),
            (Act::Fail(ErrorKind::Internal), "plugin a failed with error: AuthZPlugin.AuthZReq: boom"),
            (Act::Fail(ErrorKind::Unavailable), "plugin a failed with error: AuthZPlugin.AuthZReq: boom"),
            (Act::Hang, "plugin a failed with error: no verdict within 300ms"),
        ] {
            let (said, asked) = outcome(&[("a", act), ("b", Act::Allow)]).await;
            assert_eq!(said.unwrap_err(), why);
            assert!(!asked.contains(&"b request".to_owned()), "{why}");
        }
        // Only who may come back is asked again.
        assert_eq!(outcome(&[("a", Act::Fail(ErrorKind::Timeout))]).await.1.len(), 1);
        assert!(outcome(&[("a", Act::Fail(ErrorKind::Unavailable))]).await.1.len() > 1);
    }

    #[tokio::test]
    async fn a_request_keeps_the_chain_that_it_began_with() {
        let (authorization, asked) = scripted(&[("a", Act::Allow), ("b", Act::Allow)]);
        let chain = authorization.frozen().unwrap();
        chain.request(&Request::default()).await.unwrap();
        authorization.replace(Configured::default());
        chain.answer(&Request::default(), &Answer::default()).await.unwrap();
        assert_eq!(*asked.lock().unwrap(), ["a request", "b request", "a answer", "b answer"]);
        assert!(authorization.frozen().is_none() && authorization.configured().names.is_empty());
    }

    #[tokio::test]
    async fn a_body_is_changed_by_who_may_and_by_nobody_else() {
        let acts = [("a", Act::Allow), ("c", Act::Change("[1]")), ("b", Act::Deny)];
        let (authorization, asked) = scripted(&acts);
        let chain = authorization.frozen().unwrap();
        let change = chain.request(&Request::default()).await.unwrap();
        assert_eq!(change, Some(Change { plugin: "c".to_owned(), body: b"[1]".to_vec() }));
        assert_eq!(*asked.lock().unwrap(), ["a request", "c request"]);
        // What is as it wants it is no change.
        let shown = pintle_contract::authorization::Body::Shown(b"[1]".to_vec());
        let request = Request { body: shown, ..Request::default() };
        let refused = chain.request(&request).await.unwrap_err();
        assert_eq!(refused.to_string(), "authorization denied by plugin b: because");
        let (said, _) = outcome(&[("a", Act::Change("[]"))]).await;
        assert!(said.unwrap_err().contains("authorization-changers"));
    }

    #[tokio::test]
    async fn a_chain_is_checked_before_it_counts() {
        let (authorization, _) = scripted(&[("a", Act::Allow)]);
        authorization.check(&["a".into()]).await.unwrap();
        assert_eq!(
            authorization.check(&["a".into(), "x".into()]).await.unwrap_err(),
            "failed to validate authorization plugin: x: plugin \"x\" not found"
        );
    }
}
