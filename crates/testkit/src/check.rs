//! What the suites have in common: one check, its verdict, and running it within a budget.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use pintle_contract::DriverError;
use tokio::time::timeout;

use crate::report::{Check, Outcome};

/// Why a check did not pass.
pub(crate) enum Verdict {
    Fail(String),
    Skip(String),
}

pub(crate) type Result<T = ()> = std::result::Result<T, Verdict>;

pub(crate) fn fail<T>(why: impl Into<String>) -> Result<T> {
    Err(Verdict::Fail(why.into()))
}

pub(crate) fn skip<T>(why: impl Into<String>) -> Result<T> {
    Err(Verdict::Skip(why.into()))
}

/// A call that must not fail.
pub(crate) fn said<T>(call: impl Into<String>, result: std::result::Result<T, DriverError>) -> Result<T> {
    result.or_else(|error| fail(format!("{} fails: {error} ({:?})", call.into(), error.kind)))
}

/// Runs one check. A driver that hangs fails the check that it hangs in and cannot hang the suite.
pub(crate) async fn judge(
    name: &'static str,
    promise: &'static str,
    budget: Duration,
    check: impl Future<Output = Result>,
) -> Check {
    let start = Instant::now();
    let outcome = match timeout(budget, check).await {
        Ok(Ok(())) => Outcome::Passed,
        Ok(Err(Verdict::Fail(why))) => Outcome::Failed(why),
        Ok(Err(Verdict::Skip(why))) => Outcome::Skipped(why),
        Err(_) => Outcome::Failed(format!("the driver did not finish within {budget:?}")),
    };
    Check { name, promise, outcome, took: start.elapsed() }
}

/// A table of checks: name, promise, and how to find out.
macro_rules! checks {
    ($suite:ident: $($check:ident: $promise:literal,)*) => {
        type Run =
            for<'a> fn(&'a $suite<'_>) -> std::pin::Pin<Box<dyn Future<Output = Result> + Send + 'a>>;

        /// Name, promise, and how to find out.
        pub(super) const CHECKS: &[(&str, &str, Run)] =
            &[$((stringify!($check), $promise, |suite| Box::pin($check(suite)))),*];
    };
}
pub(crate) use checks;

/// Words that no other run uses.
pub(crate) fn run_id() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    format!("{:x}-{:x}", std::process::id(), now.as_millis() & 0xff_ffff)
}
