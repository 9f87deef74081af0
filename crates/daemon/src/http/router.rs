//! Which handler answers which request.
//!
//! Docker's names may contain slashes and stand in the middle of a path (`/plugins/{name}/json`), so a pattern
//! is what comes before the one variable part and what comes after it. The first pattern that fits wins.

use std::{future::Future, pin::Pin, sync::Arc};

use http::Method;

use super::{Answer, Call, input::Input};
use crate::{app::App, status::Failure};

/// What a handler promises.
pub(crate) type Outcome = Result<Answer, Failure>;
type Handler = fn(Arc<App>, Call) -> Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// One route.
#[derive(Clone)]
pub(crate) struct Route {
    method: Method,
    prefix: &'static str,
    /// `None`: the path is `prefix` and nothing else.
    suffix: Option<&'static str>,
    handler: Handler,
    /// What is done with the body.
    pub(crate) input: Input,
    /// Whether bodies hold what nobody else should see: they are not shown to whoever judges requests.
    pub(crate) is_secret: bool,
}

impl Route {
    /// `pattern` has at most one `{}`, which stands for anything, slashes included.
    pub(crate) fn new(method: Method, pattern: &'static str, handler: Handler) -> Self {
        let (prefix, suffix) = match pattern.split_once("{}") {
            Some((prefix, suffix)) => (prefix, Some(suffix)),
            None => (pattern, None),
        };
        Self { method, prefix, suffix, handler, input: Input::Ignored, is_secret: false }
    }

    /// The same, with what is done with the body.
    pub(crate) fn takes(self, input: Input) -> Self {
        Self { input, ..self }
    }

    /// The same, with bodies that hold secrets.
    pub(crate) fn secret(self) -> Self {
        Self { is_secret: true, ..self }
    }

    /// Its name: the pattern, such as `/containers/{}/json`.
    pub(crate) fn pattern(&self) -> String {
        self.suffix.map_or_else(|| self.prefix.to_owned(), |suffix| format!("{}{{}}{suffix}", self.prefix))
    }

    /// Whether a path that is not decoded, and has no version, spells the fixed parts of the pattern as they are.
    pub(crate) fn is_spelled_by(&self, raw: &str) -> bool {
        match (raw.strip_prefix(self.prefix), self.suffix) {
            (None, _) => false,
            (Some(rest), None) => rest.is_empty(),
            (Some(rest), Some(suffix)) => rest.ends_with(suffix),
        }
    }

    fn matches<'p>(&self, method: &Method, path: &'p str) -> Option<&'p str> {
        if self.method != *method {
            return None;
        }
        let rest = path.strip_prefix(self.prefix)?;
        match self.suffix {
            None => rest.is_empty().then_some(""),
            Some(suffix) => rest.strip_suffix(suffix).filter(|name| !name.is_empty()),
        }
    }
}

/// Every route, in the order in which they are tried.
pub(crate) struct Router(Vec<Route>);

impl Router {
    pub(crate) fn new(routes: Vec<Route>) -> Self {
        Self(routes)
    }

    /// The route of a decoded path without its version, and the path's variable part.
    pub(crate) fn find(&self, method: &Method, path: &str) -> Option<(&Route, String)> {
        self.0.iter().find_map(|route| route.matches(method, path).map(|name| (route, name.to_owned())))
    }
}

impl Route {
    pub(crate) fn call(&self, app: Arc<App>, call: Call) -> Pin<Box<dyn Future<Output = Outcome> + Send>> {
        (self.handler)(app, call)
    }
}

/// The path without empty and dotted steps, if it has any: Docker sends clients there. `None`: it is clean.
pub(crate) fn clean(path: &str) -> Option<String> {
    if !path.contains("//") && !path.contains("/.") {
        return None;
    }
    let mut steps = Vec::new();
    for step in path.split('/') {
        match step {
            "" | "." => {}
            ".." => drop(steps.pop()),
            step => steps.push(step),
        }
    }
    let mut clean = format!("/{}", steps.join("/"));
    if path.ends_with('/') && clean != "/" {
        clean.push('/');
    }
    (clean != path).then_some(clean)
}

/// Shorthands for tables: `get("/x", handler)`.
macro_rules! verbs {
    ($($name:ident $method:ident)*) => {$(
        pub(crate) fn $name(pattern: &'static str, handler: Handler) -> Route {
            Route::new(Method::$method, pattern, handler)
        }
    )*};
}

verbs! { get GET head HEAD post POST put PUT delete DELETE }

/// A function as a [`Handler`].
macro_rules! handler {
    ($function:path) => {
        |app, call| Box::pin($function(app, call))
    };
}
pub(crate) use handler;

#[cfg(test)]
mod tests {
    use super::*;

    async fn nothing(_: Arc<App>, _: Call) -> Outcome {
        Err(Failure::not_found(""))
    }

    #[test]
    fn odd_paths_have_a_clean_form() {
        for (path, expected) in [
            ("/v1.41//version", "/v1.41/version"),
            ("/containers/../version", "/version"),
            ("/../..", "/"),
            ("/./info/", "/info/"),
            ("//", "/"),
        ] {
            assert_eq!(clean(path).as_deref(), Some(expected), "{path}");
        }
        for path in ["/", "/info", "/info/", "/images/.hidden/json", "/v1.41/containers/a..b/json", "x"] {
            assert_eq!(clean(path), None, "{path}");
        }
    }

    #[test]
    fn names_may_contain_slashes_and_the_first_pattern_wins() {
        let router = Router::new(vec![
            get("/plugins/privileges", handler!(nothing)),
            get("/plugins/{}/json", handler!(nothing)),
            delete("/plugins/{}", handler!(nothing)),
        ]);
        let name = |method, path| router.find(&method, path).map(|(_, name)| name);
        assert_eq!(name(Method::GET, "/plugins/privileges"), Some(String::new()));
        assert_eq!(name(Method::GET, "/plugins/a/b:c/json"), Some("a/b:c".into()));
        assert_eq!(name(Method::DELETE, "/plugins/a/b"), Some("a/b".into()));
        assert_eq!(name(Method::GET, "/plugins//json"), None);
        assert_eq!(name(Method::POST, "/plugins/x/json"), None);
        assert_eq!(name(Method::GET, "/plugins/json"), None);
    }
}
