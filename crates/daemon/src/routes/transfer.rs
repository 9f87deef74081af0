//! Images that come and go: pull, push, load, save, import.

use std::sync::Arc;

use pintle_api::stream::Message;
use pintle_image::{Platform, ProgressEvent, Reference};
use tokio::io::AsyncRead;

use super::{
    images::{self, tell},
    progress::{self, Gone, usual},
};
use crate::{
    app::App,
    http::{Call, reply, router::Outcome},
    status::Failure,
};

fn platform(call: &Call) -> Result<Option<Platform>, Failure> {
    Ok(call.query.some("platform").map(str::parse).transpose()?)
}

/// A repository and what is given beside it: a tag, or a digest in the tag's place.
fn reference(name: &str, tag: &str) -> Result<Reference, Failure> {
    if tag.is_empty() {
        return Ok(name.parse()?);
    }
    if tag.contains(':') {
        return Ok(format!("{name}@{tag}").parse()?);
    }
    let repository: Reference = name.parse()?;
    Ok(repository.with_tag(tag)?)
}

/// `POST /images/create`: a pull, or an import with `fromSrc`.
pub(crate) async fn create(app: Arc<App>, call: Call) -> Outcome {
    if call.query.some("fromImage").is_some() { pull(app, call).await } else { import(app, call).await }
}

async fn pull(app: Arc<App>, call: Call) -> Outcome {
    let reference = reference(call.query.text("fromImage"), call.query.text("tag"))?.or_latest();
    let (platform, auth) = (platform(&call)?, call.auth());
    let engine = Arc::clone(&app);
    progress::answer(&app, Gone::Cancel, usual, move |progress| async move {
        let pulled = engine.images.pull(&reference, platform.as_ref(), &auth, &progress).await?;
        tell(&engine, "pull", &reference.familiar(), &reference.familiar_name());
        tracing::info!(image = %reference.familiar(), id = %pulled.id, "pulled");
        Ok(Vec::new())
    })
    .await
}

async fn import(app: Arc<App>, call: Call) -> Outcome {
    let query = &call.query;
    let source = query.text("fromSrc").to_owned();
    if source.is_empty() {
        return Err(Failure::invalid("one of fromImage and fromSrc must be given"));
    }
    let target = match query.some("repo") {
        None => None,
        Some(name) => Some(reference(name, query.text("tag"))?.or_latest()),
    };
    let (platform, changes) = (platform(&call)?, query.all("changes"));
    let message = match query.text("message") {
        "" => format!("Imported from {source}"),
        message => message.to_owned(),
    };
    let body = call.into_reader();
    let engine = Arc::clone(&app);
    progress::answer(&app, Gone::GoOn, usual, move |progress| async move {
        let tar: Box<dyn AsyncRead + Send + Unpin> = match source.as_str() {
            "-" => Box::new(body),
            url => Box::new(engine.images.registry().download(url, &progress).await?),
        };
        let id = engine
            .images
            .import(tar, target.as_ref(), &changes, &message, platform.as_ref(), &progress)
            .await
            .map_err(Failure::of_archive)?;
        let name = target.map_or_else(|| id.to_string(), |target| target.familiar());
        tell(&engine, "import", id.as_str(), &name);
        // The store has told the id, as the last message.
        Ok(Vec::new())
    })
    .await
}

pub(crate) async fn load(app: Arc<App>, call: Call) -> Outcome {
    let quiet = call.query.truth_or("quiet", true);
    let platform = if call.since(48) { images::platform(&call)? } else { None };
    let tar: Box<dyn AsyncRead + Send + Unpin> = Box::new(call.into_reader());
    let engine = Arc::clone(&app);
    let wording = if quiet { quiet_load } else { loud_load };
    progress::answer(&app, Gone::GoOn, wording, move |progress| async move {
        let loaded = match engine.images.load(tar, platform, &progress).await {
            Ok(loaded) => loaded,
            // Docker says so in the stream, whatever it is.
            Err(error) => return Ok(vec![Message::failure(error.to_string())]),
        };
        for loaded in loaded {
            let name = loaded.tags.first().cloned().unwrap_or_else(|| loaded.id.to_string());
            tell(&engine, "load", loaded.id.as_str(), &name);
        }
        Ok(Vec::new())
    })
    .await
}

/// What was loaded is output, not progress.
fn loud_load(event: ProgressEvent) -> Message {
    if event.id.is_none() && event.status.starts_with("Loaded image") {
        return Message { stream: Some(format!("{}\n", event.status)), ..Message::default() };
    }
    usual(event)
}

/// Without progress. An empty message is nothing that clients show.
fn quiet_load(event: ProgressEvent) -> Message {
    let message = loud_load(event);
    if message.stream.is_some() { message } else { Message::default() }
}

pub(crate) async fn push(app: Arc<App>, call: Call) -> Outcome {
    let reference = reference(&call.name, call.query.text("tag"))?;
    if reference.digest().is_some() {
        return Err(Failure::invalid("cannot push a digest reference"));
    }
    if call.since(46)
        && let Some(platform) = images::platform(&call)?
    {
        let name = reference.familiar();
        images::must_be_for(&name, &app.images.get(&name)?, Some(&platform))?;
    }
    let auth = call.auth();
    let engine = Arc::clone(&app);
    progress::answer(&app, Gone::Cancel, usual, move |progress| async move {
        let pushed = engine.images.push(&reference, &auth, &progress).await?;
        tell(&engine, "push", &reference.familiar(), &reference.familiar_name());
        tracing::info!(image = %reference.familiar(), digest = %pushed.digest, "pushed");
        Ok(Vec::new())
    })
    .await
}

pub(crate) async fn save_one(app: Arc<App>, call: Call) -> Outcome {
    let names = vec![call.name.clone()];
    let platform = if call.since(48) { images::platform(&call)? } else { None };
    save(app, names, platform).await
}

pub(crate) async fn save_many(app: Arc<App>, call: Call) -> Outcome {
    let names: Vec<_> = call.query.all("names").into_iter().filter(|name| !name.is_empty()).collect();
    if names.is_empty() {
        return Err(Failure::invalid("no image was named"));
    }
    let platform = if call.since(48) { images::platform(&call)? } else { None };
    save(app, names, platform).await
}

async fn save(app: Arc<App>, names: Vec<String>, platform: Option<Platform>) -> Outcome {
    let mut found = Vec::new();
    for name in &names {
        // Before the first byte, so that a mistake is a status and not a broken archive.
        let image = app.images.get(name)?;
        if let Some(wanted) =
            platform.as_ref().filter(|wanted| wanted.accepts(&image.config.platform()).is_none())
        {
            return Err(Failure::not_found(format!("no suitable export target found for platform {wanted}")));
        }
        found.push(image);
    }
    let (reader, writer) = tokio::io::duplex(256 << 10);
    let engine = Arc::clone(&app);
    let task = app.tasks.spawn(async move {
        let saved = engine.images.save(&names, writer).await;
        for (name, image) in names.iter().zip(&found) {
            if saved.is_ok() {
                tell(&engine, "save", image.id.as_str(), name);
            }
        }
        saved
    });
    Ok(reply::stream("application/x-tar", whole(reader, task)))
}

/// The reader's bytes, and the writer's failure at their end: a broken archive must not look complete.
fn whole(
    reader: impl AsyncRead + Send + 'static,
    writer: tokio::task::JoinHandle<Result<(), pintle_image::ImageError>>,
) -> impl futures_util::Stream<Item = std::io::Result<bytes::Bytes>> + Send + 'static {
    use futures_util::{StreamExt, stream};
    let end = stream::once(async move {
        match writer.await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(Err(std::io::Error::other(error))),
            Err(error) => Some(Err(std::io::Error::other(error))),
        }
    });
    tokio_util::io::ReaderStream::with_capacity(reader, 64 << 10).chain(end.filter_map(std::future::ready))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_may_stand_in_the_tags_place() {
        let digest = format!("sha256:{}", "0".repeat(64));
        assert_eq!(reference("a/b", &digest).unwrap().familiar(), format!("a/b@{digest}"));
        assert_eq!(reference("a/b", "1").unwrap().familiar(), "a/b:1");
        assert_eq!(reference("a/b:2", "").unwrap().familiar(), "a/b:2");
        reference("a/B", "1").unwrap_err();
    }
}
