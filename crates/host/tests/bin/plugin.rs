//! A volume plugin for this crate's tests: directories below `/mnt/volumes`, and every bad habit on demand.
//!
//! `MODE` chooses: `exit`, `silent`, `wrong-socket`, `crash-once`, `stubborn`, `mute`; `DELAY` is how many seconds it
//! takes to listen.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test plugin that cannot go on should stop, and this one is to fail as badly as others do"
)]

use std::{
    env, fs,
    io::{BufRead, BufReader, Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::Path,
    process, thread,
    time::Duration,
};

use serde_json::{Value, json};

const ROOT: &str = "/mnt/volumes";

fn main() {
    let mode = env::var("MODE").unwrap_or_default();
    println!("args {:?}", env::args().skip(1).collect::<Vec<_>>());
    match mode.as_str() {
        "exit" => {
            eprintln!("reading the licence");
            eprintln!("the licence has expired");
            process::exit(3);
        }
        "silent" => loop {
            thread::park();
        },
        _ => {}
    }
    if let Ok(delay) = env::var("DELAY") {
        thread::sleep(Duration::from_secs_f64(delay.parse().unwrap()));
    }
    let name = if mode == "wrong-socket" { "other.sock" } else { "v.sock" };
    let listener = UnixListener::bind(Path::new("/run/docker/plugins").join(name)).unwrap();
    fs::create_dir_all(ROOT).unwrap();
    if mode == "crash-once" && !Path::new("/crashed").exists() {
        fs::write("/crashed", "").unwrap();
        thread::spawn(|| {
            thread::sleep(Duration::from_millis(300));
            eprintln!("out of luck");
            process::exit(9);
        });
    }
    // Accepts, and answers nothing until somebody leaves it word.
    while mode == "mute" && !Path::new("/speak").exists() {
        thread::sleep(Duration::from_millis(20));
    }
    for stream in listener.incoming() {
        thread::spawn(|| serve(stream.unwrap()));
    }
}

fn serve(stream: UnixStream) {
    let mut reader = BufReader::new(stream);
    loop {
        let (mut path, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            let line = line.trim_end();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("Content-Length: ") {
                length = value.parse().unwrap();
            } else if line.starts_with("POST ") {
                path = line.split(' ').nth(1).unwrap().to_owned();
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let request: Value = serde_json::from_slice(&body).unwrap_or_default();
        let reply = answer(&path, &request).to_string();
        let text = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{reply}", reply.len());
        if reader.get_mut().write_all(text.as_bytes()).is_err() {
            return;
        }
    }
}

fn answer(path: &str, request: &Value) -> Value {
    let name = request["Name"].as_str().unwrap_or_default();
    let dir = Path::new(ROOT).join(name);
    let volume = |name: &str| json!({ "Name": name, "Mountpoint": Path::new(ROOT).join(name) });
    match path {
        "/Plugin.Activate" => json!({ "Err": "a managed plugin is never activated" }),
        "/VolumeDriver.Create" => {
            fs::create_dir_all(&dir).unwrap();
            json!({})
        }
        "/VolumeDriver.Remove" => {
            fs::remove_dir_all(&dir).unwrap();
            json!({})
        }
        "/VolumeDriver.Get" if dir.exists() => json!({ "Volume": volume(name) }),
        "/VolumeDriver.Mount" | "/VolumeDriver.Path" if dir.exists() => json!({ "Mountpoint": dir }),
        "/VolumeDriver.Unmount" => json!({}),
        "/VolumeDriver.List" => {
            let names = fs::read_dir(ROOT).unwrap().flatten();
            let volumes: Vec<Value> =
                names.map(|entry| volume(&entry.file_name().to_string_lossy())).collect();
            json!({ "Volumes": volumes })
        }
        "/VolumeDriver.Capabilities" => json!({ "Capabilities": { "Scope": "local" } }),
        _ => json!({ "Err": "no such volume" }),
    }
}
