//! Answers that tell how far they are: one JSON object for each message, each ended by CR LF.
//!
//! What fails before there is anything to tell is an ordinary refusal; what fails later ends the stream with an
//! error message, since the status has been sent.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use futures_util::stream;
use pintle_api::stream::{Message, ProgressDetail};
use pintle_image::{Progress, ProgressEvent};
use tokio::{sync::mpsc::UnboundedReceiver, task::JoinHandle};

use crate::{
    app::App,
    http::{Answer, reply},
    status::Failure,
};

/// What happens to the work when the client goes away, or the engine goes down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gone {
    /// It ends too.
    Cancel,
    /// It goes on to its end.
    GoOn,
}

/// How messages read.
pub(crate) type Wording = fn(ProgressEvent) -> Message;

/// Docker's usual wording.
pub(crate) fn usual(event: ProgressEvent) -> Message {
    if event.output {
        return Message { stream: Some(event.status), ..Message::default() };
    }
    let detail = (event.id.is_some() || event.current.is_some())
        .then_some(ProgressDetail { current: event.current, total: event.total });
    Message {
        status: (!event.status.is_empty()).then_some(event.status),
        progress_detail: detail,
        id: event.id,
        aux: event.aux,
        ..Message::default()
    }
}

/// Runs `work` and answers with what it tells, then with the messages that it ends with.
pub(crate) async fn answer<F>(
    app: &Arc<App>,
    gone: Gone,
    wording: Wording,
    work: impl FnOnce(Progress) -> F,
) -> Result<Answer, Failure>
where
    F: Future<Output = Result<Vec<Message>, Failure>> + Send + 'static,
{
    let (progress, mut events) = Progress::channel();
    let work = work(progress);
    let draining = app.draining.clone();
    let work = async move {
        match gone {
            Gone::GoOn => work.await,
            Gone::Cancel => tokio::select! {
                result = work => result,
                () = draining.cancelled() => Err(Failure::unavailable("the engine is going down")),
            },
        }
    };
    let task = Task { handle: app.tasks.spawn(work), gone };
    let state = match events.recv().await {
        Some(event) => State { first: [wording(event)].into(), events, task: Some(task), wording },
        None => State { first: task.result().await?.into(), events, task: None, wording },
    };
    let pieces = stream::unfold(state, |mut state| async move {
        let message = state.next().await?;
        let mut line = serde_json::to_vec(&message).unwrap_or_default();
        line.extend_from_slice(b"\r\n");
        Some((Ok(Bytes::from(line)), state))
    });
    Ok(reply::stream("application/json", pieces))
}

struct State {
    first: VecDeque<Message>,
    events: UnboundedReceiver<ProgressEvent>,
    task: Option<Task>,
    wording: Wording,
}

impl State {
    async fn next(&mut self) -> Option<Message> {
        if let Some(message) = self.first.pop_front() {
            return Some(message);
        }
        if let Some(event) = self.events.recv().await {
            return Some((self.wording)(event));
        }
        match self.task.take()?.result().await {
            Ok(last) => self.first.extend(last),
            Err(failure) => self.first.push_back(Message::failure(failure.message)),
        }
        self.first.pop_front()
    }
}

/// Work that somebody waits for.
struct Task {
    handle: JoinHandle<Result<Vec<Message>, Failure>>,
    gone: Gone,
}

impl Task {
    /// Its result, or nothing if it was taken before.
    async fn result(mut self) -> Result<Vec<Message>, Failure> {
        match (&mut self.handle).await {
            Ok(result) => result,
            Err(error) => Err(Failure::internal(format!("the request was broken off: {error}"))),
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        if self.gone == Gone::Cancel {
            self.handle.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_read_as_dockers() {
        let text = |event| serde_json::to_string(&usual(event)).unwrap();
        let status = |id: Option<&str>, status: &str| ProgressEvent {
            id: id.map(str::to_owned),
            status: status.to_owned(),
            ..ProgressEvent::default()
        };
        assert_eq!(text(status(None, "Digest: sha256:x")), r#"{"status":"Digest: sha256:x"}"#);
        assert_eq!(
            text(status(Some("abc"), "Pulling fs layer")),
            r#"{"status":"Pulling fs layer","progressDetail":{},"id":"abc"}"#
        );
        let event = ProgressEvent { current: Some(1), total: Some(2), ..status(Some("abc"), "Downloading") };
        assert_eq!(
            text(event),
            r#"{"status":"Downloading","progressDetail":{"current":1,"total":2},"id":"abc"}"#
        );
        assert_eq!(
            serde_json::to_string(&Message::failure("no")).unwrap(),
            r#"{"errorDetail":{"message":"no"},"error":"no"}"#
        );
    }
}
