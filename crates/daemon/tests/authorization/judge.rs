//! The plugin: writes down what it is shown and says what a test told it to say.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use pintle_sdk::{
    Authorizer, DriverError, async_trait,
    authorization::{Answer, Request, Verdict},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};

type Rule = Arc<dyn Fn(&Request, Option<&Answer>) -> Result<Verdict, DriverError> + Send + Sync>;

/// A question that was put.
#[derive(Debug, Clone)]
pub struct Seen {
    pub request: Request,
    pub answer: Option<Answer>,
}

/// See the module.
#[derive(Clone, Default)]
pub struct Judge(Arc<Mutex<State>>, bool);

#[derive(Default)]
struct State {
    seen: Vec<Seen>,
    rule: Option<Rule>,
    calls_back: Option<PathBuf>,
}

impl Judge {
    /// One that wants to know more than Docker tells.
    pub fn extended() -> Self {
        Self(Arc::default(), true)
    }

    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Forgets everything and says yes to everything.
    pub fn allow(&self) {
        self.with(|state| *state = State::default());
    }

    /// Forgets what was seen and decides by this.
    pub fn rule(
        &self,
        rule: impl Fn(&Request, Option<&Answer>) -> Result<Verdict, DriverError> + Send + Sync + 'static,
    ) {
        self.with(|state| *state = State { rule: Some(Arc::new(rule)), ..State::default() });
    }

    /// Says no to requests whose body holds this text.
    pub fn deny(&self, text: &str) {
        let text = text.as_bytes().to_vec();
        self.rule(move |request, answer| {
            let body = request.body.shown();
            let found = body.windows(text.len()).any(|window| window == text);
            Ok(if answer.is_none() && found { Verdict::deny("not that") } else { Verdict::allow() })
        });
    }

    /// From now on, asks this engine something before it says yes to `/info`.
    pub fn call_back(&self, socket: PathBuf) {
        self.with(|state| state.calls_back = Some(socket));
    }

    /// Every request that was asked about, oldest first.
    pub fn requests(&self) -> Vec<Request> {
        let seen = self.with(|state| state.seen.clone());
        seen.into_iter().filter(|seen| seen.answer.is_none()).map(|seen| seen.request).collect()
    }

    /// Every answer that was asked about, oldest first.
    pub fn answers(&self) -> Vec<Answer> {
        self.with(|state| state.seen.clone()).into_iter().filter_map(|seen| seen.answer).collect()
    }

    async fn decide(&self, request: &Request, answer: Option<&Answer>) -> Result<Verdict, DriverError> {
        let (rule, calls_back) = self.with(|state| {
            state.seen.push(Seen { request: request.clone(), answer: answer.cloned() });
            (state.rule.clone(), state.calls_back.clone())
        });
        if let Some(socket) = calls_back.filter(|_| request.uri == "/info" && answer.is_none()) {
            let mut stream = UnixStream::connect(socket).await?;
            stream.write_all(b"GET /version HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n").await?;
            let mut text = String::new();
            stream.read_to_string(&mut text).await?;
            if !text.starts_with("HTTP/1.1 200") {
                return Err(DriverError::internal(text));
            }
        }
        rule.map_or_else(|| Ok(Verdict::allow()), |rule| rule(request, answer))
    }
}

#[async_trait]
impl Authorizer for Judge {
    fn is_extended(&self) -> bool {
        self.1
    }

    async fn authorize_request(&self, request: &Request) -> Result<Verdict, DriverError> {
        self.decide(request, None).await
    }

    async fn authorize_answer(&self, request: &Request, answer: &Answer) -> Result<Verdict, DriverError> {
        self.decide(request, Some(answer)).await
    }
}
