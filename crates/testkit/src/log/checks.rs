//! Every promise, in the words of [`Suite`].

use futures_util::future::join_all;
use pintle_contract::{
    LogEntry,
    log::{LogInfo, Piece, Source},
};

use super::suite::{Suite, line};
use crate::check::{Result, Verdict as Check, checks, said, skip};

checks! {
    Suite:
    capabilities: "it says what it can do",
    nothing: "a stream without a line begins and ends",
    lines: "lines of both outputs are taken",
    one_by_one: "lines that come one by one are taken",
    bytes: "any bytes are a line: none, zeros, no UTF-8, control characters",
    long: "a line of 1 MiB comes in pieces",
    many: "20,000 lines are taken within the budget",
    together: "streams at once do not wait for each other",
    again: "a container that runs again has another stream",
    dropped: "a stream that its engine forgot hinders no other",
    sparse: "a container without environment, labels and arguments has a stream",
    odd_names: "names and labels that are no plain words",
    restart: "the driver's successor takes lines",
}

fn numbered(count: usize) -> Vec<LogEntry> {
    (0..count).map(|number| line(format!("line {number}"))).collect()
}

async fn capabilities(suite: &Suite<'_>) -> Result {
    said("the question what it can do", suite.driver.capabilities().await).map(drop)
}

async fn nothing(suite: &Suite<'_>) -> Result {
    suite.deliver("nothing", &[], 1).await
}

async fn lines(suite: &Suite<'_>) -> Result {
    let mut entries = numbered(100);
    for entry in entries.iter_mut().step_by(3) {
        entry.source = Source::Stderr;
    }
    suite.deliver("lines", &entries, 10).await
}

async fn one_by_one(suite: &Suite<'_>) -> Result {
    suite.deliver("one-by-one", &numbered(20), 1).await
}

async fn bytes(suite: &Suite<'_>) -> Result {
    let odd: [&[u8]; 6] =
        [b"", b"\0\0\0", b"\xff\xfe\xc3", b"\r\x1b[31m\x07", "\u{1f980} \u{202e}".as_bytes(), &[b' '; 16384]];
    let entries: Vec<LogEntry> = odd.into_iter().map(line).collect();
    suite.deliver("bytes", &entries, 3).await
}

async fn long(suite: &Suite<'_>) -> Result {
    let pieces = 64;
    let entries: Vec<LogEntry> = (1..=pieces)
        .map(|ordinal| LogEntry {
            piece: Some(Piece { id: "long".to_owned(), ordinal, last: ordinal == pieces }),
            ..line(vec![b'x'; 16 << 10])
        })
        .collect();
    suite.deliver("long", &entries, 8).await
}

async fn many(suite: &Suite<'_>) -> Result {
    suite.deliver("many", &numbered(20_000), 1000).await
}

async fn together(suite: &Suite<'_>) -> Result {
    let entries = numbered(200);
    let streams = (0..suite.options.crowd).map(|number| {
        let entries = &entries;
        async move { suite.deliver(&format!("together-{number}"), entries, 20).await }
    });
    join_all(streams).await.into_iter().collect()
}

async fn again(suite: &Suite<'_>) -> Result {
    for _ in 0..3 {
        suite.deliver("again", &numbered(3), 3).await?;
    }
    Ok(())
}

async fn dropped(suite: &Suite<'_>) -> Result {
    for _ in 0..3 {
        let mut stream = suite.begin("dropped").await?;
        said("a batch", stream.send(&numbered(5)).await)?;
        drop(stream);
    }
    suite.deliver("dropped", &numbered(5), 5).await
}

async fn sparse(suite: &Suite<'_>) -> Result {
    let full = suite.info("sparse");
    let info = LogInfo { id: full.id, name: full.name, options: full.options, ..LogInfo::default() };
    let mut stream = said("the beginning of a stream", suite.driver.start(info).await)?;
    said("a batch", stream.send(&numbered(1)).await)?;
    said("the end of the stream", stream.stop().await)
}

async fn odd_names(suite: &Suite<'_>) -> Result {
    let mut info = suite.info("odd");
    info.labels.insert("a.b/c=d".to_owned(), "\"quoted\"\n\u{1f980}".to_owned());
    info.env.push("NO_VALUE".to_owned());
    info.args.push("\0\u{ff}".to_owned());
    let mut stream = said("the beginning of a stream", suite.driver.start(info).await)?;
    said("a batch", stream.send(&numbered(1)).await)?;
    said("the end of the stream", stream.stop().await)
}

async fn restart(suite: &Suite<'_>) -> Result {
    let Some(restart) = suite.options.restart else { return skip("nobody said how to restart it") };
    let mut stream = suite.begin("restart").await?;
    said("a batch", stream.send(&numbered(5)).await)?;
    let successor = restart().await.map_err(|why| Check::Fail(format!("it did not come back: {why}")))?;
    let mut stream = said("a stream after the restart", successor.start(suite.info("restart")).await)?;
    said("a batch", stream.send(&numbered(5)).await)?;
    said("the end of the stream", stream.stop().await)
}
