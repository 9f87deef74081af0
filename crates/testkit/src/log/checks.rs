//! Every promise, in the words of [`Suite`].

use futures_util::future::join_all;
use pintle_contract::{
    LogEntry,
    log::{LogInfo, LogQuery, Piece, Source},
};

use super::suite::{Suite, line};
use crate::check::{Result, Verdict as Check, checks, fail, said, skip};

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
    read_back: "what was taken is given back, whole and in order, and nothing of others",
    part_of_it: "of what was taken, the last so many lines and those of a time are given back",
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

/// Lets the driver take `entries` as those of a container that has no others, if it can give them back.
async fn taken(suite: &Suite<'_>, name: &str, number: u8, entries: &[LogEntry]) -> Result<LogInfo> {
    if !said("the question what it can do", suite.driver.capabilities().await)?.read {
        return skip("it does not give lines back");
    }
    let mut info = suite.info(name);
    info.id.replace_range(56.., &format!("{number:08x}"));
    let mut stream = said("the beginning of a stream", suite.driver.start(info.clone()).await)?;
    for batch in entries.chunks(10) {
        said("a batch", stream.send(batch).await)?;
    }
    said("the end of the stream", stream.stop().await)?;
    Ok(info)
}

async fn expect(suite: &Suite<'_>, info: &LogInfo, query: LogQuery, wanted: &[LogEntry]) -> Result {
    let mut lines = said("reading back", suite.driver.read(info.clone(), query).await)?;
    let mut found = Vec::new();
    loop {
        let more = said("reading on", lines.next().await)?;
        if more.is_empty() {
            break;
        }
        found.extend(more);
        if found.len() > wanted.len() {
            return fail(format!("{query:?} gives more than the {} entries that it is to", wanted.len()));
        }
    }
    let same = |(found, wanted): (&LogEntry, &LogEntry)| {
        (found.source, found.time, &found.line, &found.piece)
            == (wanted.source, wanted.time, &wanted.line, &wanted.piece)
    };
    match found.iter().zip(wanted).position(|pair| !same(pair)) {
        Some(at) => fail(format!("{query:?}: entry {at} is {:.300?}", found.get(at))),
        None if found.len() < wanted.len() => {
            fail(format!("{query:?} gives {} entries, and {} were taken", found.len(), wanted.len()))
        }
        None => Ok(()),
    }
}

/// A line in each second.
fn timed(count: usize) -> Vec<LogEntry> {
    let mut entries = numbered(count);
    for (second, entry) in (0..).zip(&mut entries) {
        entry.time += second * SECOND;
    }
    entries
}

const SECOND: i64 = 1_000_000_000;

async fn read_back(suite: &Suite<'_>) -> Result {
    let mut entries = timed(150);
    for entry in entries.iter_mut().step_by(3) {
        entry.source = Source::Stderr;
    }
    let piece = |ordinal, last| Some(Piece { id: "long".to_owned(), ordinal, last });
    entries.extend([
        LogEntry { piece: piece(1, false), ..line(vec![b'x'; 16 << 10]) },
        LogEntry { piece: piece(2, true), ..line(b"\0\xff\r".to_vec()) },
    ]);
    let info = taken(suite, "read-back", 1, &entries).await?;
    expect(suite, &info, LogQuery::default(), &entries).await
}

async fn part_of_it(suite: &Suite<'_>) -> Result {
    let entries = timed(20);
    let info = taken(suite, "part", 2, &entries).await?;
    let part = |from: usize, to: usize| entries.get(from..to).unwrap_or_default();
    // In the middle between two lines.
    let before = |number: i64| entries.first().map(|first| first.time + number * SECOND - SECOND / 2);
    let tail = LogQuery { tail: Some(7), ..LogQuery::default() };
    expect(suite, &info, tail, part(13, 20)).await?;
    expect(suite, &info, LogQuery { tail: Some(100), ..tail }, part(0, 20)).await?;
    expect(suite, &info, LogQuery { since: before(5), ..LogQuery::default() }, part(5, 20)).await?;
    expect(suite, &info, LogQuery { until: before(5), ..LogQuery::default() }, part(0, 5)).await?;
    let between = LogQuery { since: before(3), until: before(9), ..LogQuery::default() };
    expect(suite, &info, between, part(3, 9)).await
}
