//! A log driver behind pipes: nothing is read that was not acknowledged, and what fails is handed over again.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::{
    fs::File,
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use pintle_contract::{
    DriverError, ErrorKind, LogDriver, LogEntry, LogLines, LogStream,
    log::{LogCapabilities, LogInfo, LogQuery, Source},
};
use pintle_sdk::{Listen, Server};
use pintle_wire::log::{Record, push_frame};

#[derive(Clone, Default)]
struct Sink {
    lines: Arc<Mutex<Vec<String>>>,
    /// So many batches fail.
    failures: Arc<AtomicU32>,
    /// Nothing is acknowledged.
    holds: Arc<AtomicBool>,
    starts: Arc<AtomicU32>,
    stops: Arc<AtomicU32>,
}

struct Stream(Sink, u64);

#[async_trait]
impl LogDriver for Sink {
    async fn start(&self, info: LogInfo) -> Result<Box<dyn LogStream>, DriverError> {
        if info.options.contains_key("nonsense") {
            return Err(DriverError::new(ErrorKind::InvalidArgument, "unknown log opt 'nonsense'"));
        }
        self.starts.fetch_add(1, Ordering::SeqCst);
        Ok(Box::new(Stream(self.clone(), 0)))
    }
}

#[async_trait]
impl LogStream for Stream {
    async fn send(&mut self, batch: &[LogEntry]) -> Result<u64, DriverError> {
        let fails = |left: u32| left.checked_sub(1);
        if !batch.is_empty() && self.0.failures.try_update(Ordering::SeqCst, Ordering::SeqCst, fails).is_ok()
        {
            return Err(DriverError::new(ErrorKind::Unavailable, "not now"));
        }
        let lines = batch.iter().map(|entry| String::from_utf8_lossy(&entry.line).into_owned());
        self.0.lines.lock().unwrap().extend(lines);
        self.1 += batch.len() as u64;
        Ok(if self.0.holds.load(Ordering::SeqCst) { 0 } else { self.1 })
    }

    async fn stop(&mut self) -> Result<(), DriverError> {
        self.0.stops.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

fn post(socket: &Path, path: &str, body: &str) -> String {
    let mut stream = UnixStream::connect(socket).unwrap();
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn frame(text: &str) -> Vec<u8> {
    let entry =
        LogEntry { source: Source::Stdout, time: 1, line: text.as_bytes().to_vec(), ..LogEntry::default() };
    let mut bytes = Vec::new();
    push_frame(&Record::from(&entry), &mut bytes);
    bytes
}

fn eventually(what: &str, mut is: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !is() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A pipe in `dir`, and its end for writing.
fn pipe(dir: &Path, name: &str) -> (String, File) {
    let path = dir.join(name);
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    let writer = File::options().read(true).write(true).open(&path).unwrap();
    (path.display().to_string(), writer)
}

/// Gives back three lines, one by one, and then fails, ends, or goes on until it is not wanted any more.
struct Back(Arc<AtomicBool>);

struct Lines(u32, Ending, Arc<AtomicBool>);

#[derive(Clone, Copy)]
enum Ending {
    Fails,
    Follows,
    Ends,
}

impl Drop for Lines {
    fn drop(&mut self) {
        self.2.store(true, Ordering::SeqCst);
    }
}

#[async_trait]
impl LogDriver for Back {
    async fn capabilities(&self) -> Result<LogCapabilities, DriverError> {
        Ok(LogCapabilities { read: true })
    }

    async fn start(&self, _: LogInfo) -> Result<Box<dyn LogStream>, DriverError> {
        Err(DriverError::internal("it only gives back"))
    }

    async fn read(&self, info: LogInfo, query: LogQuery) -> Result<Box<dyn LogLines>, DriverError> {
        if info.name == "/nobody" {
            return Err(DriverError::new(ErrorKind::NotFound, "nobody is not known"));
        }
        let ending = match (query.follow, query.tail) {
            (true, _) => Ending::Follows,
            (false, Some(_)) => Ending::Fails,
            _ => Ending::Ends,
        };
        Ok(Box::new(Lines(0, ending, Arc::clone(&self.0))))
    }
}

#[async_trait]
impl LogLines for Lines {
    async fn next(&mut self) -> Result<Vec<LogEntry>, DriverError> {
        self.0 += 1;
        match (self.0 > 3, self.1) {
            (false, _) => {
                Ok(vec![LogEntry { line: format!("line {}", self.0).into_bytes(), ..LogEntry::default() }])
            }
            (true, Ending::Ends) => Ok(Vec::new()),
            (true, Ending::Fails) => Err(DriverError::internal("torn")),
            (true, Ending::Follows) => std::future::pending().await,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_are_given_back_as_they_come_and_a_failure_is_no_end() {
    let dir = tempfile::tempdir().unwrap();
    let (socket, dropped) = (dir.path().join("l.sock"), Arc::new(AtomicBool::new(false)));
    let running = Server::log(Back(Arc::clone(&dropped))).start(Listen::unix(&socket)).unwrap();
    assert!(post(&socket, "/LogDriver.Capabilities", "{}").contains("\"ReadLogs\":true"));
    let read = |text: &str| {
        let mut stream = UnixStream::connect(&socket).unwrap();
        let length = text.len();
        write!(
            stream,
            "POST /LogDriver.ReadLogs HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{text}"
        )
        .unwrap();
        stream
    };
    let whole = |text: &str| {
        let mut answer = Vec::new();
        read(text).read_to_end(&mut answer).unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    };
    let refused = whole("{\"Info\":{\"ContainerName\":\"/nobody\"}}");
    assert!(refused.starts_with("HTTP/1.1 500") && refused.contains("nobody is not known"), "{refused}");
    let last_chunk = "0\r\n\r\n";
    let all = whole("{\"Info\":{},\"Config\":{\"Tail\":-1}}");
    assert!(all.starts_with("HTTP/1.1 200") && all.contains("line 3") && all.ends_with(last_chunk), "{all}");
    // Whoever reads sees that it is not the end.
    let torn = whole("{\"Info\":{},\"Config\":{\"Tail\":9}}");
    assert!(torn.contains("line 3") && !torn.ends_with(last_chunk), "{torn}");

    dropped.store(false, Ordering::SeqCst);
    let mut stream = read("{\"Info\":{},\"Config\":{\"Tail\":-1,\"Follow\":true}}");
    let (mut seen, mut piece) = (Vec::new(), [0; 4096]);
    while !seen.windows(6).any(|window| window == b"line 3") {
        let count = stream.read(&mut piece).unwrap();
        assert!(count > 0, "it ended");
        seen.extend_from_slice(&piece[..count]);
    }
    assert!(!dropped.load(Ordering::SeqCst));
    drop(stream);
    eventually("the driver to be told that nobody reads", || dropped.load(Ordering::SeqCst));
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_driver_has_not_taken_is_not_lost() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("l.sock");
    let sink = Sink::default();
    let running = Server::log(sink.clone()).start(Listen::unix(&socket)).unwrap();
    assert!(post(&socket, "/Plugin.Activate", "").contains("LogDriver"));
    assert!(post(&socket, "/LogDriver.Capabilities", "{}").contains("\"ReadLogs\":false"));

    let (file, mut writer) = pipe(dir.path(), "one");
    let start = format!("{{\"File\":\"{file}\",\"Info\":{{\"ContainerName\":\"/c\",\"Config\":{{}}}}}}");
    sink.failures.store(2, Ordering::SeqCst);
    assert!(post(&socket, "/LogDriver.StartLogging", &start).ends_with("{\"Err\":\"\"}\n"));
    assert!(post(&socket, "/LogDriver.StartLogging", &start).contains("is being read already"));
    // A frame in two halves, and one whose message makes no sense.
    let first = frame("first");
    writer.write_all(&first[..3]).unwrap();
    std::thread::sleep(Duration::from_millis(50));
    writer.write_all(&first[3..]).unwrap();
    writer.write_all(&[0, 0, 0, 2, 0xff, 0xff]).unwrap();
    writer.write_all(&frame("second")).unwrap();
    eventually("both lines", || *sink.lines.lock().unwrap() == ["first", "second"]);
    // Two failures are two more streams.
    assert_eq!(sink.starts.load(Ordering::SeqCst), 3);

    // Without an acknowledgement nothing more is read.
    sink.holds.store(true, Ordering::SeqCst);
    writer.write_all(&frame("third")).unwrap();
    eventually("the third", || sink.lines.lock().unwrap().len() == 3);
    writer.write_all(&frame("fourth")).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(sink.lines.lock().unwrap().len(), 3);
    sink.holds.store(false, Ordering::SeqCst);
    let stop = format!("{{\"File\":\"{file}\"}}");
    writer.write_all(&frame("fifth")).unwrap();
    assert!(post(&socket, "/LogDriver.StopLogging", &stop).ends_with("{\"Err\":\"\"}\n"));
    assert_eq!(*sink.lines.lock().unwrap(), ["first", "second", "third", "fourth", "fifth"]);
    assert_eq!(sink.stops.load(Ordering::SeqCst), 1);
    assert!(post(&socket, "/LogDriver.StopLogging", &stop).ends_with("{\"Err\":\"\"}\n"), "twice");

    // Whoever writes goes away without a word.
    let (file, mut writer) = pipe(dir.path(), "two");
    let start = format!("{{\"File\":\"{file}\",\"Info\":{{}}}}");
    post(&socket, "/LogDriver.StartLogging", &start);
    writer.write_all(&frame("last")).unwrap();
    drop(writer);
    eventually("the end", || sink.stops.load(Ordering::SeqCst) == 2);
    assert_eq!(sink.lines.lock().unwrap().last().unwrap(), "last");

    for (body, said) in [
        ("{\"File\":\"/nowhere\",\"Info\":{}}", "No such file"),
        ("{\"Info\":{}}", "the pipe's path is missing"),
        ("nonsense", "400"),
    ] {
        let answer = post(&socket, "/LogDriver.StartLogging", body);
        assert!(answer.contains(said), "{body}: {answer}");
    }
    let (file, _writer) = pipe(dir.path(), "three");
    let start = format!("{{\"File\":\"{file}\",\"Info\":{{\"Config\":{{\"nonsense\":\"1\"}}}}}}");
    assert!(post(&socket, "/LogDriver.StartLogging", &start).contains("unknown log opt"));
    running.stop().await.unwrap();
}
