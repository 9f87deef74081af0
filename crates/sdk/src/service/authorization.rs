use pintle_contract::Authorizer;
use pintle_wire::authorization::{Call, Method, encode_verdict};

use super::Answer;

pub(super) async fn call(authorizer: &dyn Authorizer, method: Method, body: &[u8]) -> Answer {
    let verdict = match Call::decode(method, body) {
        Ok(Call::Request(request)) => authorizer.authorize_request(&request).await,
        Ok(Call::Answer(request, answer)) => authorizer.authorize_answer(&request, &answer).await,
        Err(error) => return Answer::unreadable(&error),
    };
    Answer::of(verdict, encode_verdict)
}
