//! A client that sends exactly what it is told to.

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    time::{Duration, timeout},
};

use crate::House;

const PATIENCE: Duration = Duration::from_secs(30);

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The message of a refusal.
    pub fn message(&self) -> String {
        self.json()["message"].as_str().unwrap_or_default().to_owned()
    }
}

/// Sends bytes on a new connection and reads until the engine closes it.
pub async fn raw(house: &House, bytes: &[u8]) -> Answer {
    let mut stream = UnixStream::connect(&house.socket).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    timeout(PATIENCE, read(&mut stream)).await.expect("an answer in time")
}

/// Reads an answer to its end.
pub async fn read(stream: &mut UnixStream) -> Answer {
    let mut all = Vec::new();
    stream.read_to_end(&mut all).await.unwrap();
    parse(&all)
}

pub fn parse(all: &[u8]) -> Answer {
    let end = all.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or(all.len());
    let head = String::from_utf8_lossy(&all[..end]).into_owned();
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    let body = all.get(end + 4..).unwrap_or_default();
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    Answer { status, body: if chunked { unchunk(body) } else { body.to_vec() }, head }
}

fn unchunk(mut body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    while let Some(end) = body.windows(2).position(|pair| pair == b"\r\n") {
        let size = usize::from_str_radix(&String::from_utf8_lossy(&body[..end]), 16).unwrap_or(0);
        let Some(chunk) = body.get(end + 2..end + 2 + size).filter(|chunk| !chunk.is_empty()) else { break };
        out.extend_from_slice(chunk);
        body = body.get(end + 4 + size..).unwrap_or_default();
    }
    out
}

/// A request with a JSON body, or without.
pub async fn call(house: &House, method: &str, path: &str, body: Option<Value>) -> Answer {
    let body = body.map(|body| body.to_string());
    let kind = if body.is_some() { "Content-Type: application/json\r\n" } else { "" };
    send(house, method, path, kind, body.unwrap_or_default().as_bytes()).await
}

/// A request with these headers and this body.
pub async fn send(house: &House, method: &str, path: &str, headers: &str, body: &[u8]) -> Answer {
    let mut bytes = format!(
        "{method} {path} HTTP/1.1\r\nHost: d\r\nConnection: close\r\n{headers}Content-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    bytes.extend_from_slice(body);
    raw(house, &bytes).await
}

/// The image `box`: a static busybox and nothing else.
pub async fn import_busybox(house: &House) {
    let mut tar = vec![];
    entry(&mut tar, "bin/busybox", &std::fs::read("/bin/busybox").expect("a static busybox"), 0o755);
    tar.extend_from_slice(&[0; 1024]);
    let path = "/images/create?fromSrc=-&repo=box&tag=latest";
    let answer = send(house, "POST", path, "Content-Type: application/x-tar\r\n", &tar).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(!answer.text().contains("errorDetail"), "{}", answer.text());
}

/// One file in a tar stream.
pub fn entry(tar: &mut Vec<u8>, name: &str, data: &[u8], mode: u32) {
    let mut header = [0_u8; 512];
    let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, name);
    put(100, &format!("{mode:07o}"));
    put(108, "0000000");
    put(116, "0000000");
    put(124, &format!("{:011o}", data.len()));
    put(136, "00000000000");
    put(148, "        ");
    put(156, "0");
    put(257, "ustar");
    put(263, "00");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    tar.extend_from_slice(&header);
    tar.extend_from_slice(data);
    tar.resize(tar.len().next_multiple_of(512), 0);
}

/// Removes every container and volume.
pub async fn clear(house: &House) {
    let all = call(house, "GET", "/containers/json?all=1", None).await.json();
    for container in all.as_array().into_iter().flatten() {
        let id = container["Id"].as_str().unwrap_or_default();
        call(house, "DELETE", &format!("/containers/{id}?force=1&v=1"), None).await;
    }
}

/// Makes a container that runs `sh -c script`, and starts it.
pub async fn run(house: &House, name: &str, script: &str, more: Value) -> String {
    let mut body = serde_json::json!({
        "Image": "box", "Cmd": ["/bin/busybox", "sh", "-c", script], "Env": ["PATH=/bin"],
    });
    if let (Some(body), Value::Object(more)) = (body.as_object_mut(), more) {
        body.extend(more);
    }
    let made = call(house, "POST", &format!("/containers/create?name={name}"), Some(body)).await;
    assert_eq!(made.status, 201, "{}", made.text());
    let id = made.json()["Id"].as_str().unwrap_or_default().to_owned();
    let started = call(house, "POST", &format!("/containers/{id}/start"), None).await;
    assert_eq!(started.status, 204, "{}", started.text());
    id
}
