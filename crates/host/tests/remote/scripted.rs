//! A plugin that does what a script says, byte by byte.

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use pintle_host::remote::Client;
use pintle_wire::spec::Address;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
};

/// What the plugin does with a request.
#[derive(Clone)]
pub enum Act {
    /// Answer this status and body.
    Answer(u16, &'static str),
    /// Never answer.
    Hang,
    /// Promise a body and send half of it, then hang.
    HalfBody,
    /// One byte of the body at a time, for ever.
    Drip,
    /// Hang up without a word.
    Close,
    /// Something that is not HTTP.
    Garbage,
    /// A body without end.
    Endless,
    /// Announce a body of a terabyte.
    Huge,
}

type Script = Arc<dyn Fn(&str) -> Act + Send + Sync>;

pub struct Plugin {
    socket: PathBuf,
    _dir: tempfile::TempDir,
    requests: Arc<Mutex<Vec<String>>>,
    pub connections: Arc<AtomicUsize>,
    _tasks: tokio::task::JoinSet<()>,
}

impl Plugin {
    pub fn new(script: impl Fn(&str) -> Act + Send + Sync + 'static) -> Self {
        let dir = tempfile::Builder::new().prefix("host-").tempdir().unwrap();
        let socket = dir.path().join("p.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let (requests, connections) = (Arc::<Mutex<Vec<String>>>::default(), Arc::<AtomicUsize>::default());
        let (seen, opened, script): (_, _, Script) =
            (requests.clone(), connections.clone(), Arc::new(script));
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(async move {
            let mut serving = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                opened.fetch_add(1, Ordering::SeqCst);
                serving.spawn(serve(stream, script.clone(), seen.clone()));
            }
        });
        Self { socket, _dir: dir, requests, connections, _tasks: tasks }
    }

    pub fn client(&self) -> Arc<Client> {
        Arc::new(Client::new("p", Address::Unix(self.socket.clone())))
    }

    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

async fn serve(mut stream: UnixStream, script: Script, seen: Arc<Mutex<Vec<String>>>) {
    let mut buffer = Vec::new();
    loop {
        let request = loop {
            if let Some(request) = whole(&buffer) {
                break request;
            }
            let mut chunk = [0; 4096];
            match stream.read(&mut chunk).await {
                Ok(0) | Err(_) => return,
                Ok(count) => buffer.extend_from_slice(&chunk[..count]),
            }
        };
        buffer.clear();
        let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
        seen.lock().unwrap().push(request);
        let head = |length: u64| format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
        let sent = match script(&path) {
            Act::Answer(status, body) => {
                let text = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n{body}", body.len());
                stream.write_all(text.as_bytes()).await
            }
            Act::Hang => std::future::pending().await,
            Act::HalfBody => {
                stream.write_all((head(100) + "{\"Err\":\"\",").as_bytes()).await.unwrap();
                std::future::pending().await
            }
            Act::Drip => {
                stream.write_all(head(1000).as_bytes()).await.unwrap();
                loop {
                    if stream.write_all(b" ").await.is_err() {
                        return;
                    }
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
            Act::Close => return,
            Act::Garbage => stream.write_all(b"lies\r\n\r\n").await,
            Act::Endless => {
                stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n").await.unwrap();
                while stream.write_all(&[b' '; 65536]).await.is_ok() {}
                return;
            }
            Act::Huge => stream.write_all(head(1 << 40).as_bytes()).await,
        };
        if sent.is_err() {
            return;
        }
    }
}

/// A request with its body, once all of it is there.
fn whole(buffer: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(buffer).into_owned();
    let (head, body) = text.split_once("\r\n\r\n")?;
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "))?;
    (body.len() >= length.trim().parse().ok()?).then_some(text)
}
