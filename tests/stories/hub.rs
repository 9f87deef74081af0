//! Docker Hub, as far as an engine can tell that knows it by way of a proxy: Debian's docker-registry with a
//! certificate for Docker Hub's name, from an authority that the engine is told to trust.

use std::{
    fs,
    io::{self, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    thread,
};

use crate::registry::Registry;

const NAME: &str = "registry-1.docker.io";

/// The stand-in, and the proxy to it.
pub struct Hub {
    _registry: Registry,
    pub proxy: String,
    pub authority: PathBuf,
}

impl Hub {
    /// Opens it, with its files in `dir`.
    pub fn open(dir: &Path) -> Self {
        certificate(dir);
        let registry = Registry::secured(dir, &dir.join("hub.pem"), &dir.join("hub.key"));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = format!("http://{}", listener.local_addr().unwrap());
        let address = registry.address.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let address = address.clone();
                thread::spawn(move || carry(client, &address));
            }
        });
        Self { _registry: registry, proxy, authority: dir.join("authority.pem") }
    }

    /// What the engine's environment says of it.
    pub fn env(&self) -> [(&str, &str); 2] {
        [("HTTPS_PROXY", &self.proxy), ("SSL_CERT_FILE", self.authority.to_str().unwrap())]
    }
}

fn certificate(dir: &Path) {
    let script = format!(
        r#"
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj "/CN=authority" \
            -keyout authority.key -out authority.pem
        openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=hub" -keyout hub.key -out hub.csr
        echo "subjectAltName=DNS:{NAME}" >hub.ext
        openssl x509 -req -in hub.csr -CA authority.pem -CAkey authority.key -CAcreateserial -days 2 -extfile hub.ext -out hub.pem
        "#
    );
    fs::create_dir_all(dir).unwrap();
    let made = Command::new("bash").args(["-ec", &script]).current_dir(dir).output();
    let made = made.expect("apt-get install openssl");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

/// One tunnel, if it is wanted to Docker Hub.
fn carry(mut client: TcpStream, registry: &str) -> io::Result<()> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && client.read(&mut byte)? == 1 {
        head.push(byte[0]);
    }
    if !head.starts_with(format!("CONNECT {NAME}:443 ").as_bytes()) {
        return client.write_all(b"HTTP/1.1 403 Only Docker Hub is here\r\n\r\n");
    }
    let mut server = TcpStream::connect(registry)?;
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
    let (mut from_client, mut to_server) = (client.try_clone()?, server.try_clone()?);
    thread::spawn(move || {
        let _ = io::copy(&mut from_client, &mut to_server);
        to_server.shutdown(Shutdown::Write)
    });
    let _ = io::copy(&mut server, &mut client);
    client.shutdown(Shutdown::Write)
}
