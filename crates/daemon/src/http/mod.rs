//! HTTP, apart from what the routes mean: one request in, one answer out.

pub(crate) mod call;
pub(crate) mod input;
pub(crate) mod query;
pub(crate) mod reply;
pub(crate) mod router;

pub(crate) use call::Call;
pub(crate) use query::Query;
pub(crate) use reply::Answer;
