//! The same request for each of several names.

use futures_util::StreamExt;

use crate::client::ClientError;
use crate::failure::Failure;

/// As many requests are under way at once.
const AT_ONCE: usize = 50;

/// Does `act` for each name, side by side, and prints what it returns, in order. Failures are printed and do not stop
/// the others; the command then ends with 1.
pub async fn each(names: &[String], act: impl AsyncFn(&str) -> Result<String, ClientError>) -> super::Done {
    let mut results =
        futures_util::stream::iter(names.iter().map(|name| act(name.as_str()))).buffered(AT_ONCE);
    let mut failed = false;
    while let Some(result) = results.next().await {
        match result {
            Ok(text) if text.is_empty() => {}
            Ok(text) => println!("{text}"),
            Err(error @ ClientError::Connect { .. }) => return Err(error.into()),
            Err(error) => {
                eprintln!("{error}");
                failed = true;
            }
        }
    }
    if failed { Err(Failure::silent(1).into()) } else { Ok(()) }
}
