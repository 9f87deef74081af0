use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use pintle_sdk::Server;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
    task::JoinSet,
    time::sleep,
};
use tokio_util::sync::CancellationToken;

use super::{Call, Fault, Script, lie::lie};

/// The largest request that is read: whole answers of an engine are judged.
const MAX_REQUEST: usize = 64 << 20;

/// A faulty plugin under way. Dropping it ends it as a kill would: connections break, the socket's file stays.
pub struct Faulty {
    socket: PathBuf,
    shared: Arc<Shared>,
}

struct Shared {
    drivers: Server,
    script: Mutex<Script>,
    file: Option<PathBuf>,
    journal: Mutex<Vec<Call>>,
    end: CancellationToken,
}

impl Faulty {
    /// Listens on `socket`, replacing what is there, and serves `drivers` as `script` says, in the background
    /// of the current tokio runtime. The drivers themselves are honest: a clone of one can be looked at.
    pub fn start(socket: impl Into<PathBuf>, drivers: Server, script: Script) -> io::Result<Self> {
        Self::start_with(socket.into(), drivers, script, None)
    }

    /// The same; at every call the script is read anew from `file`, if that exists.
    pub fn start_with(
        socket: PathBuf,
        drivers: Server,
        script: Script,
        file: Option<PathBuf>,
    ) -> io::Result<Self> {
        match std::fs::remove_file(&socket) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&socket)?;
        let shared = Arc::new(Shared {
            drivers,
            script: Mutex::new(script),
            file,
            journal: Mutex::default(),
            end: CancellationToken::new(),
        });
        tokio::spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self { socket, shared })
    }

    /// Where it listens.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Changes what misbehaves from now on.
    pub fn script(&self, script: Script) {
        *lock(&self.shared.script) = script;
    }

    /// Every call so far, those that misbehaved included.
    pub fn calls(&self) -> Vec<Call> {
        lock(&self.shared.journal).clone()
    }

    /// Waits until a fault ends the plugin.
    pub async fn ended(&self) {
        self.shared.end.cancelled().await;
    }
}

impl Drop for Faulty {
    fn drop(&mut self) {
        self.shared.end.cancel();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept(listener: UnixListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = shared.end.cancelled() => break,
            Some(_) = connections.join_next() => {}
            Ok((stream, _)) = listener.accept() => {
                let shared = Arc::clone(&shared);
                connections.spawn(async move { serve(stream, &shared).await });
            }
        }
    }
    connections.shutdown().await;
}

/// Answers requests on one connection until it closes or a fault closes it.
async fn serve(mut stream: UnixStream, shared: &Shared) -> io::Result<()> {
    let mut buffer = Vec::new();
    while let Some((path, body)) = read_request(&mut stream, &mut buffer).await? {
        let Some(call) = Call::from_path(&path) else {
            write(&mut stream, 404, "text/plain", b"no such call\n").await?;
            continue;
        };
        lock(&shared.journal).push(call);
        match shared.fault(call) {
            None => {
                let (status, answer) = shared.answer(call, &body).await;
                write(&mut stream, status, pintle_wire::CONTENT_TYPE, &answer).await?;
            }
            Some(fault) => misbehave(&mut stream, shared, call, &body, fault).await?,
        }
    }
    Ok(())
}

async fn misbehave(
    stream: &mut UnixStream,
    shared: &Shared,
    call: Call,
    body: &[u8],
    fault: Fault,
) -> io::Result<()> {
    let json = pintle_wire::CONTENT_TYPE;
    let over = || io::Error::from(io::ErrorKind::ConnectionAborted);
    match fault {
        Fault::Hang => std::future::pending().await,
        Fault::HangAfter => {
            shared.answer(call, body).await;
            std::future::pending().await
        }
        Fault::Slow(time) => {
            sleep(time).await;
            let (status, answer) = shared.answer(call, body).await;
            write(stream, status, json, &answer).await
        }
        Fault::HalfBody | Fault::HalfBodyHang => {
            let (status, answer) = shared.answer(call, body).await;
            let length = answer.len().max(2);
            let head = head(status, json, length as u64);
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(answer.get(..length / 2).unwrap_or_default()).await?;
            if fault == Fault::HalfBodyHang {
                std::future::pending::<()>().await;
            }
            Err(over())
        }
        Fault::WrongJson => write(stream, 200, json, b"{\"Mountpoint\": \"/mnt\", \"Volume\"").await,
        Fault::WrongShape => {
            // `Err` stands for every call: it must not be an object in any of them.
            let answer = br#"{"Mountpoint":7,"Volume":["x"],"Volumes":{"Name":1},"Capabilities":"global","Scope":1,"Interface":[],"InterfaceName":"eth0","Value":3,"PoolID":[],"Pool":4,"Err":{}}"#;
            write(stream, 200, json, answer).await
        }
        Fault::Lie => write(stream, 200, json, lie(call).as_bytes()).await,
        Fault::WrongContent => {
            write(stream, 200, "text/html", b"<!doctype html><title>Welcome to nginx!</title>\n").await
        }
        Fault::Garbage => {
            stream.write_all(b"\x00\x01\x02 220 smtp.example.org ESMTP\r\n\r\n").await?;
            Err(over())
        }
        Fault::Empty => write(stream, 200, json, b"").await,
        Fault::Err500(text) => write(stream, 500, json, &error_body(&text)).await,
        Fault::Err200(text) => write(stream, 200, json, &error_body(&text)).await,
        Fault::Status(status) => write(stream, status, "text/plain", b"not today\n").await,
        Fault::Close => Err(over()),
        Fault::Die => {
            shared.end.cancel();
            Err(over())
        }
        Fault::DieAfter => {
            let (status, answer) = shared.answer(call, body).await;
            write(stream, status, json, &answer).await?;
            // The answer is to arrive before the connection breaks.
            sleep(Duration::from_millis(20)).await;
            shared.end.cancel();
            Err(over())
        }
        Fault::Huge(bytes) => huge(stream, bytes).await,
    }
}

impl Shared {
    fn fault(&self, call: Call) -> Option<Fault> {
        if let Some(text) = self.file.as_ref().and_then(|file| std::fs::read_to_string(file).ok()) {
            let script: Script = text.trim().parse().ok()?;
            return script.0.get(&call).map(|(fault, _)| fault.clone());
        }
        let mut script = lock(&self.script);
        let (fault, times) = script.0.get_mut(&call)?;
        match times {
            Some(0) => None,
            Some(left) => {
                *left -= 1;
                Some(fault.clone())
            }
            None => Some(fault.clone()),
        }
    }

    /// The honest answer.
    async fn answer(&self, call: Call, body: &[u8]) -> (u16, Vec<u8>) {
        self.drivers.answer(&format!("/{}", call.name()), body).await
    }
}

/// As plugins in other languages report errors: without pintle's kinds.
fn error_body(text: &str) -> Vec<u8> {
    let mut text = text.replace('\\', "\\\\").replace('"', "\\\"");
    text.retain(|letter| !letter.is_control());
    format!("{{\"Err\":\"{text}\"}}\n").into_bytes()
}

fn head(status: u16, content_type: &str, length: u64) -> String {
    format!("HTTP/1.1 {status} Whatever\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n\r\n")
}

async fn write(stream: &mut UnixStream, status: u16, content_type: &str, body: &[u8]) -> io::Result<()> {
    stream.write_all(head(status, content_type, body.len() as u64).as_bytes()).await?;
    stream.write_all(body).await
}

/// One long volume name, so that the answer is well-formed to the end.
async fn huge(stream: &mut UnixStream, bytes: u64) -> io::Result<()> {
    let (open, close) = (br#"{"Err":"","Mountpoint":"/x","Volumes":[{"Name":""#, br#""}]}"#);
    let filler = bytes.saturating_sub((open.len() + close.len()) as u64);
    let length = filler + (open.len() + close.len()) as u64;
    stream.write_all(head(200, pintle_wire::CONTENT_TYPE, length).as_bytes()).await?;
    stream.write_all(open).await?;
    let block = [b'x'; 1 << 16];
    let mut left = filler;
    while left > 0 {
        let now = left.min(block.len() as u64);
        let part = usize::try_from(now).unwrap_or(block.len());
        stream.write_all(block.get(..part).unwrap_or(&block)).await?;
        left -= now;
    }
    stream.write_all(close).await
}

/// The path and the body of the next request, `None` at the end of the connection.
async fn read_request(
    stream: &mut UnixStream,
    buffer: &mut Vec<u8>,
) -> io::Result<Option<(String, Vec<u8>)>> {
    let bad = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why.to_owned());
    loop {
        if let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(buffer.get(..end).unwrap_or_default()).into_owned();
            let mut lines = head.split("\r\n");
            let path = lines.next().and_then(|line| line.split(' ').nth(1)).unwrap_or_default().to_owned();
            let mut length = 0_usize;
            for (key, value) in lines.filter_map(|line| line.split_once(':')) {
                if key.eq_ignore_ascii_case("content-length") {
                    length = value.trim().parse().map_err(|_| bad("no content length"))?;
                }
            }
            let whole = end + 4 + length;
            if length > MAX_REQUEST {
                return Err(bad("the request is too large"));
            }
            if buffer.len() >= whole {
                let rest = buffer.split_off(whole);
                let request = std::mem::replace(buffer, rest);
                return Ok(Some((path, request.get(end + 4..).unwrap_or_default().to_vec())));
            }
        } else if buffer.len() > MAX_REQUEST {
            return Err(bad("the request's head is too large"));
        }
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
}
