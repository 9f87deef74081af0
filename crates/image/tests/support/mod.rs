//! What the tests of this crate share: a store in a scratch directory, archives made by hand, a registry.
#![allow(dead_code, unused_imports, reason = "each test binary uses its own part of this")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::{
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use pintle_image::{Images, Options, Progress, ProgressEvent};
use pintle_store::Store;

pub struct Scratch {
    pub dir: tempfile::TempDir,
}

impl Scratch {
    pub fn new() -> Self {
        Self { dir: tempfile::Builder::new().prefix("image-").tempdir_in("/tmp").unwrap() }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn images(&self) -> Images {
        self.images_with(Options::default())
    }

    pub fn images_with(&self, options: Options) -> Images {
        std::fs::create_dir_all(self.path().join("root")).unwrap();
        let store = Store::open(&self.path().join("root/pintle.redb")).unwrap();
        Images::open(&self.path().join("root"), store, options).unwrap()
    }
}

/// A tar by hand: (name, type, link, mode, content).
pub struct Tar(pub tar::Builder<Vec<u8>>);

impl Tar {
    pub fn new() -> Self {
        Self(tar::Builder::new(Vec::new()))
    }

    fn header(kind: tar::EntryType, mode: u32, size: u64) -> tar::Header {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(size);
        header.set_mtime(1_600_000_000);
        header.set_uid(0);
        header.set_gid(0);
        header
    }

    /// Writes the name as it is, whatever the tar crate thinks of it.
    pub fn raw(mut self, name: &str, kind: tar::EntryType, link: &str, mode: u32, content: &[u8]) -> Self {
        let mut header = Self::header(kind, mode, content.len() as u64);
        let old = header.as_old_mut();
        old.name[..name.len()].copy_from_slice(name.as_bytes());
        old.linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_cksum();
        self.0.append(&header, content).unwrap();
        self
    }

    pub fn file(self, name: &str, content: &[u8]) -> Self {
        self.raw(name, tar::EntryType::Regular, "", 0o644, content)
    }

    pub fn exe(self, name: &str, content: &[u8]) -> Self {
        self.raw(name, tar::EntryType::Regular, "", 0o755, content)
    }

    pub fn dir(self, name: &str) -> Self {
        self.raw(name, tar::EntryType::Directory, "", 0o755, b"")
    }

    pub fn symlink(self, name: &str, target: &str) -> Self {
        self.raw(name, tar::EntryType::Symlink, target, 0o777, b"")
    }

    pub fn hard_link(self, name: &str, target: &str) -> Self {
        self.raw(name, tar::EntryType::Link, target, 0o644, b"")
    }

    pub fn device(mut self, name: &str, major: u32, minor: u32) -> Self {
        let mut header = Self::header(tar::EntryType::Char, 0o600, 0);
        header.set_path(name).unwrap();
        header.set_device_major(major).unwrap();
        header.set_device_minor(minor).unwrap();
        header.set_cksum();
        self.0.append(&header, &b""[..]).unwrap();
        self
    }

    pub fn pax(mut self, records: &[(&str, &[u8])]) -> Self {
        self.0.append_pax_extensions(records.iter().copied()).unwrap();
        self
    }

    pub fn done(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(bytes).unwrap();
    packer.finish().unwrap()
}

/// The root filesystem of a small image: busybox and a little more.
pub fn busybox() -> Vec<u8> {
    Tar::new()
        .dir("bin/")
        .exe("bin/busybox", &std::fs::read("/bin/busybox").unwrap())
        .symlink("bin/sh", "busybox")
        .dir("etc/")
        .file("etc/passwd", b"root:x:0:0::/:/bin/sh\n")
        .dir("var/")
        .dir("var/lib/")
        .file("var/lib/a", b"a")
        .file("var/lib/b", b"b")
        .done()
}

/// A second layer, with a whiteout and an opaque directory.
pub fn upper() -> Vec<u8> {
    Tar::new()
        .dir("etc/")
        .file("etc/.wh.passwd", b"")
        .file("etc/motd", b"hello\n")
        .dir("var/")
        .dir("var/lib/")
        .file("var/lib/.wh..wh..opq", b"")
        .file("var/lib/c", b"c")
        .done()
}

/// A docker-archive of an image of `layers`, plain tars.
pub fn docker_archive(tag: Option<&str>, layers: &[Vec<u8>], pack: impl Fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let diff_ids: Vec<String> =
        layers.iter().map(|layer| pintle_image::Digest::of(layer).to_string()).collect();
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux", "created": "2024-01-02T03:04:05Z",
        "config": {"Cmd": ["/bin/sh"], "Env": ["A=b"], "Labels": null},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": layers.iter().map(|_| serde_json::json!({"created_by": "test"})).collect::<Vec<_>>(),
    });
    let config = serde_json::to_vec(&config).unwrap();
    let config_name = format!("{}.json", pintle_image::Digest::of(&config).hex());
    let names: Vec<String> = (0..layers.len()).map(|at| format!("{at}/layer.tar")).collect();
    let manifest =
        serde_json::json!([{"Config": config_name, "RepoTags": tag.map(|tag| vec![tag]), "Layers": names}]);
    let mut tar = Tar::new();
    for (name, layer) in names.iter().zip(layers) {
        tar = tar.file(name, &pack(layer));
    }
    tar.file("manifest.json", &serde_json::to_vec(&manifest).unwrap()).file(&config_name, &config).done()
}

pub async fn load(
    images: &Images,
    archive: Vec<u8>,
) -> Result<Vec<pintle_image::Loaded>, pintle_image::ImageError> {
    images.load(std::io::Cursor::new(archive), None, &Progress::none()).await
}

pub fn drain(receiver: &mut tokio::sync::mpsc::UnboundedReceiver<ProgressEvent>) -> Vec<ProgressEvent> {
    let mut events = Vec::new();
    while let Ok(event) = receiver.try_recv() {
        events.push(event);
    }
    events
}

/// Debian's registry on a free port.
pub struct RegistryServer {
    child: Child,
    pub port: u16,
    _dir: tempfile::TempDir,
}

impl RegistryServer {
    pub fn start(password: Option<(&str, &str)>, tls: Option<(&Path, &Path)>) -> Self {
        Self::start_at("127.0.0.1", password, tls)
    }

    pub fn start_at(ip: &str, password: Option<(&str, &str)>, tls: Option<(&Path, &Path)>) -> Self {
        let dir = tempfile::Builder::new().prefix("image-registry-").tempdir_in("/tmp").unwrap();
        let port = std::net::TcpListener::bind((ip, 0)).unwrap().local_addr().unwrap().port();
        let mut config = format!(
            "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\n  delete:\n    enabled: true\nhttp:\n  addr: {ip}:{port}\n",
            dir.path().join("data").display()
        );
        if let Some((certificate, key)) = tls {
            config +=
                &format!("  tls:\n    certificate: {}\n    key: {}\n", certificate.display(), key.display());
        }
        if let Some((user, pass)) = password {
            let out = Command::new("htpasswd").args(["-Bbn", user, pass]).output().unwrap();
            let file = dir.path().join("htpasswd");
            std::fs::write(&file, out.stdout).unwrap();
            config += &format!("auth:\n  htpasswd:\n    realm: test\n    path: {}\n", file.display());
        }
        let file = dir.path().join("config.yml");
        std::fs::write(&file, config).unwrap();
        let child = Command::new("/usr/bin/docker-registry")
            .arg("serve")
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let until = Instant::now() + Duration::from_secs(20);
        while std::net::TcpStream::connect((ip, port)).is_err() {
            assert!(Instant::now() < until, "the registry does not come up");
            std::thread::sleep(Duration::from_millis(50));
        }
        Self { child, port, _dir: dir }
    }
}

impl Drop for RegistryServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
