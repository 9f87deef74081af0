//! Pull and push against Debian's registry, and against servers that misbehave.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod support;

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    process::Command,
    sync::{Arc, Mutex},
};

use pintle_image::{
    Auth, Descriptor, Digest, ErrorKind, ImageId, Images, Options, Platform, Progress, Reference, Scope,
};
use support::{RegistryServer, Scratch, busybox, docker_archive, drain, load, upper};

fn basic(user: &str, pass: &str) -> Auth {
    Auth::Basic { user: user.to_owned(), pass: pass.to_owned() }
}

fn nobody(_: &ImageId) -> Vec<String> {
    Vec::new()
}

fn reference(text: String) -> Reference {
    text.parse().unwrap()
}

async fn tagged(images: &Images, name: &Reference) {
    load(images, docker_archive(Some(&name.familiar()), &[busybox(), upper()], <[u8]>::to_vec))
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_pushed_comes_back_the_same() {
    let server = RegistryServer::start(None, None);
    let name = reference(format!("127.0.0.1:{}/team/box:v1", server.port));
    let (one, two) = (Scratch::new(), Scratch::new());
    let images = one.images();
    tagged(&images, &name).await;
    let (progress, mut events) = Progress::channel();
    let pushed = images.push(&name, &Auth::None, &progress).await.unwrap();
    let events_of_push = drain(&mut events);
    let aux = events_of_push.iter().find_map(|event| event.aux.clone()).unwrap();
    assert_eq!((aux["Tag"].as_str(), aux["Digest"].as_str()), (Some("v1"), Some(pushed.digest.as_str())));
    assert_eq!(
        events_of_push[0].status,
        format!("The push refers to repository [127.0.0.1:{}/team/box]", server.port)
    );
    assert!(events_of_push.iter().any(|event| event.status == "Pushed"));
    let again = images.push(&name, &Auth::None, &progress).await.unwrap();
    assert_eq!(again, pushed, "packing is not deterministic");
    assert!(drain(&mut events).iter().any(|event| event.status == "Layer already exists"));

    let other = two.images();
    let pulled = other.pull(&name, None, &Auth::None, &progress).await.unwrap();
    assert_eq!((pulled.digest.clone(), pulled.newer), (pushed.digest.clone(), true));
    let texts: Vec<String> = drain(&mut events).into_iter().map(|event| event.status).collect();
    for text in [
        "Pulling from team/box",
        "Pulling fs layer",
        "Downloading",
        "Verifying Checksum",
        "Download complete",
        "Extracting",
        "Pull complete",
    ] {
        assert!(texts.iter().any(|status| status == text), "{text}: {texts:?}");
    }
    assert_eq!(texts[texts.len() - 2], format!("Digest: {}", pushed.digest));
    assert_eq!(texts[texts.len() - 1], format!("Status: Downloaded newer image for {name}"));
    let (before, after) = (images.get(&name.familiar()).unwrap(), other.get(&name.familiar()).unwrap());
    assert_eq!((before.id, before.layers, before.size), (after.id.clone(), after.layers, after.size));
    assert_eq!(after.repo_digests, [format!("127.0.0.1:{}/team/box@{}", server.port, pushed.digest)]);

    assert!(!other.pull(&name, None, &Auth::None, &progress).await.unwrap().newer);
    let texts: Vec<String> = drain(&mut events).into_iter().map(|event| event.status).collect();
    assert_eq!(texts.last().unwrap(), &format!("Status: Image is up to date for {name}"));
    assert!(texts.iter().any(|status| status == "Already exists"));

    // Another tag of what was pulled goes out with the same manifest.
    let copy = reference(format!("127.0.0.1:{}/copy:v2", server.port));
    other.tag(&name.familiar(), &copy).unwrap();
    assert_eq!(other.push(&copy, &Auth::None, &progress).await.unwrap().digest, pushed.digest);
    let by_digest = name.with_digest(pushed.digest.clone());
    other.remove(&name.familiar(), true, true, &nobody).await.unwrap();
    other.remove(&copy.familiar(), true, true, &nobody).await.unwrap();
    assert_eq!(other.blobs().list().unwrap(), []);
    other.pull(&by_digest, None, &Auth::None, &progress).await.unwrap();
    assert_eq!(other.get(&by_digest.familiar()).unwrap().repo_tags, Vec::<String>::new());

    other.remove(&by_digest.familiar(), true, true, &nobody).await.unwrap();
    // Two at once share the work, and leave nothing behind that the image does not need.
    let (one_pull, two_pull) = tokio::join!(
        other.pull(&name, None, &Auth::None, &progress),
        other.pull(&name, None, &Auth::None, &progress)
    );
    assert_eq!(one_pull.unwrap().id, two_pull.unwrap().id);
    drain(&mut events);
    // A pull that is given up half way leaves what it has to the next one, and to prune.
    other.remove(&name.familiar(), true, true, &nobody).await.unwrap();
    assert_eq!(other.blobs().list().unwrap(), []);
    let given_up = tokio::time::timeout(
        std::time::Duration::from_millis(5),
        other.pull(&name, None, &Auth::None, &progress),
    );
    drop(given_up.await);
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    other.prune(false, &|_| false).await.unwrap();
    assert_eq!(other.blobs().list().unwrap(), []);
    other.pull(&name, None, &Auth::None, &progress).await.unwrap();
    drain(&mut events);

    let missing = reference(format!("127.0.0.1:{}/team/box:nope", server.port));
    let error = other.pull(&missing, None, &Auth::None, &progress).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("manifest for {missing} not found: manifest unknown: manifest unknown")
    );

    let output = Command::new("skopeo")
        .args(["inspect", "--tls-verify=false", &format!("docker://{copy}")])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn passwords_are_asked_for_and_checked() {
    let server = RegistryServer::start(Some(("user", "right")), None);
    let name = reference(format!("localhost:{}/box:v1", server.port));
    let scratch = Scratch::new();
    let images = scratch.images();
    tagged(&images, &name).await;
    let none = Progress::none();
    let error = images.push(&name, &Auth::None, &none).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthorized);
    assert!(error.to_string().ends_with("no basic auth credentials"), "{error}");
    let error = images.push(&name, &basic("user", "wrong"), &none).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthorized);
    assert!(error.to_string().contains("unauthorized: authentication required"), "{error}");
    images.push(&name, &basic("user", "right"), &none).await.unwrap();
    let error = images.pull(&name, None, &basic("user", "wrong"), &none).await.unwrap_err();
    assert!(error.to_string().contains("unauthorized: authentication required"), "{error}");
    images.pull(&name, None, &basic("user", "right"), &none).await.unwrap();

    let login = |auth| {
        let registry = images.registry().clone();
        async move { registry.login(&format!("http://localhost:{}/v2/", server.port), &auth).await }
    };
    assert_eq!(login(basic("user", "right")).await.unwrap().status, "Login Succeeded");
    let error = login(basic("user", "wrong")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthorized);
    assert_eq!(
        error.to_string(),
        format!("login attempt to http://localhost:{}/v2/ failed with status: 401 Unauthorized", server.port)
    );
}

/// A key and a certificate for `ip`: its own authority, or from one.
fn certificate(dir: &std::path::Path, name: &str, ip: &str, authority: Option<&str>) {
    let file = |name: &str, end: &str| dir.join(format!("{name}.{end}")).display().to_string();
    let mut arguments: Vec<String> = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2"
        .split(' ')
        .map(str::to_owned)
        .collect();
    arguments.extend(["-subj".to_owned(), format!("/CN={name}"), "-keyout".to_owned(), file(name, "key")]);
    arguments.extend([
        "-out".to_owned(),
        file(name, "pem"),
        "-addext".to_owned(),
        format!("subjectAltName=IP:{ip}"),
    ]);
    if let Some(authority) = authority {
        arguments.extend([
            "-CA".to_owned(),
            file(authority, "pem"),
            "-CAkey".to_owned(),
            file(authority, "key"),
        ]);
        arguments.extend(["-addext".to_owned(), "basicConstraints=CA:FALSE".to_owned()]);
    }
    let made = Command::new("openssl").args(&arguments).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

/// Loopback takes any certificate, so another address is needed, which a machine may not have: the test runs itself
/// again in a network of its own that has one.
#[test]
fn tls_wants_a_certificate_from_somebody_trusted() {
    const IP: &str = "192.0.2.1";
    const INSIDE: &str = "PINTLE_TEST_INSIDE";
    if std::env::var_os(INSIDE).is_some() {
        tokio::runtime::Runtime::new().unwrap().block_on(certificates(IP));
        return;
    }
    let network = format!("ip link set lo up && ip address add {IP}/32 dev lo && exec \"$0\" \"$@\"");
    let test = std::env::current_exe().unwrap();
    let name = "tls_wants_a_certificate_from_somebody_trusted";
    let output = Command::new("unshare")
        .args(["--net", "sh", "-c", &network])
        .arg(test)
        .args(["--exact", name, "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

async fn certificates(ip: &str) {
    let scratch = Scratch::new();
    certificate(scratch.path(), "ca", "192.0.2.99", None);
    certificate(scratch.path(), "leaf", ip, Some("ca"));
    certificate(scratch.path(), "own", ip, None);
    certificate(scratch.path(), "other", "192.0.2.99", None);
    let pem = |name: &str| scratch.path().join(format!("{name}.pem"));
    let key = |name: &str| scratch.path().join(format!("{name}.key"));
    let images = scratch.images();
    let none = Progress::none();
    for (serves, trusted) in [("leaf", "ca"), ("own", "own")] {
        let server = RegistryServer::start_at(ip, None, Some((&pem(serves), &key(serves))));
        let host = format!("{ip}:{}", server.port);
        let name = reference(format!("{host}/box:v1"));
        tagged(&images, &name).await;
        let certs = scratch.path().join(format!("certs-{serves}"));
        std::fs::create_dir_all(certs.join(&host)).unwrap();
        let reload = |insecure: Option<String>| {
            let insecure_registries = insecure.into_iter().collect();
            images
                .reload(Options { certs_dir: certs.clone(), insecure_registries, ..Options::default() })
                .unwrap();
        };
        reload(None);
        let error = images.push(&name, &Auth::None, &none).await.unwrap_err();
        assert!(error.to_string().contains("certificate"), "{serves}: {error}");
        std::fs::copy(pem("other"), certs.join(&host).join("other.crt")).unwrap();
        reload(None);
        let error = images.push(&name, &Auth::None, &none).await.unwrap_err();
        assert!(error.to_string().contains("certificate"), "{serves}: {error}");
        std::fs::copy(pem(trusted), certs.join(&host).join("ca.crt")).unwrap();
        reload(None);
        images.push(&name, &Auth::None, &none).await.map_err(|error| format!("{serves}: {error}")).unwrap();
        std::fs::write(certs.join(&host).join("client.cert"), "no key").unwrap();
        reload(None);
        let error = images.pull(&name, None, &Auth::None, &none).await.unwrap_err();
        assert!(error.to_string().contains("missing key"), "{error}");
        std::fs::remove_dir_all(certs.join(&host)).unwrap();
        reload(Some(format!("{ip}/32")));
        images.pull(&name, None, &Auth::None, &none).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_there_is_said_so() {
    let scratch = Scratch::new();
    let images = scratch.images();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let name = reference(format!("127.0.0.1:{port}/box"));
    let error = images.pull(&name, None, &Auth::None, &Progress::none()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("onnection refused"), "{error}");
}

/// A small HTTP server: `answer` gets the request's head and writes the whole answer.
fn server(answer: impl Fn(&str, &mut TcpStream) + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let answer = Arc::new(answer);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (Ok(mut stream), answer) = (stream, answer.clone()) else { continue };
            std::thread::spawn(move || {
                let mut head = Vec::new();
                let mut byte = [0];
                while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|count| count == 1) {
                    head.push(byte[0]);
                    // A TLS greeting is not a request.
                    if head[0] == 0x16 {
                        return;
                    }
                }
                answer(&String::from_utf8_lossy(&head), &mut stream);
            });
        }
    });
    port
}

fn reply(stream: &mut TcpStream, status: &str, headers: &str, body: &[u8]) {
    let _ = write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n{headers}\r\n",
        body.len()
    );
    let _ = stream.write_all(body);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_download_goes_on_where_it_stopped() {
    let content: Arc<Vec<u8>> = Arc::new((0..3_000_000u32).map(|at| (at % 251) as u8).collect());
    let ranges: Arc<Mutex<Vec<String>>> = Arc::default();
    let (seen, served) = (ranges.clone(), content.clone());
    let port = server(move |head, stream| {
        let from = head
            .lines()
            .find_map(|line| line.to_lowercase().strip_prefix("range: bytes=").map(str::to_owned))
            .and_then(|range| range.trim_end_matches('-').parse::<usize>().ok());
        seen.lock().unwrap().push(format!("{from:?}"));
        let start = from.unwrap_or(0);
        let status = if from.is_some() {
            format!(
                "206 Partial Content\r\nContent-Range: bytes {start}-{}/{}",
                served.len() - 1,
                served.len()
            )
        } else {
            "200 OK".to_owned()
        };
        let _ = write!(
            stream,
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            served.len() - start
        );
        // Each connection dies after a megabyte.
        let _ = stream.write_all(&served[start..served.len().min(start + (1 << 20))]);
    });
    let scratch = Scratch::new();
    let images = scratch.images();
    let name = reference(format!("127.0.0.1:{port}/x"));
    let descriptor = Descriptor::new("x", Digest::of(&content), content.len() as u64);
    let none = Progress::none();
    let fetch = || images.registry().fetch(&name, &Auth::None, Scope::Plugin, &descriptor, &none);
    // Two at once share the work.
    let (one, two) = tokio::join!(fetch(), fetch());
    one.unwrap();
    two.unwrap();
    assert_eq!(images.blobs().read(&descriptor.digest, 1 << 30).unwrap(), *content);
    let ranges = ranges.lock().unwrap().clone();
    assert!(ranges.len() == 3 && ranges[0] == "None" && ranges[1].starts_with("Some("), "{ranges:?}");

    // What another process downloaded is checked, and thrown away if it is wrong.
    images.blobs().delete(&descriptor.digest).unwrap();
    let mut partial = images.blobs().resume(&descriptor.digest).unwrap();
    partial.write_all(&vec![1; content.len()]).unwrap();
    drop(partial);
    fetch().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_content_is_refused() {
    let port = server(|_, stream| reply(stream, "200 OK", "", b"evil"));
    let scratch = Scratch::new();
    let images = scratch.images();
    let name = reference(format!("127.0.0.1:{port}/x"));
    for descriptor in
        [Descriptor::new("x", Digest::of(b"good"), 4), Descriptor::new("x", Digest::of(b"go"), 2)]
    {
        let fetched = images
            .registry()
            .fetch(&name, &Auth::None, Scope::Repository, &descriptor, &Progress::none())
            .await;
        assert_eq!(fetched.unwrap_err().kind(), ErrorKind::Corrupt);
        assert!(!images.blobs().exists(&descriptor.digest));
    }
    let mut foreign = Descriptor::new("x", Digest::of(b"good"), 4);
    foreign.urls = vec!["http://example.com/x".to_owned()];
    let fetched =
        images.registry().fetch(&name, &Auth::None, Scope::Repository, &foreign, &Progress::none()).await;
    assert_eq!(fetched.unwrap_err().kind(), ErrorKind::Unsupported);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_fetched_and_credentials_stay_where_they_belong() {
    let content = b"layer".to_vec();
    let foreign: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen = foreign.clone();
    let blob = content.clone();
    let elsewhere = server(move |head, stream| {
        seen.lock().unwrap().push(head.to_owned());
        reply(stream, "200 OK", "", &blob);
    });
    let tokens: Arc<Mutex<Vec<String>>> = Arc::default();
    let asked = tokens.clone();
    let realm = server(move |head, stream| {
        let mut body = String::new();
        if head.starts_with("POST") {
            let length = head
                .lines()
                .find_map(|line| line.to_lowercase().strip_prefix("content-length: ").map(str::to_owned));
            let mut bytes = vec![0; length.unwrap().parse().unwrap()];
            stream.read_exact(&mut bytes).unwrap();
            body = String::from_utf8(bytes).unwrap();
        }
        asked.lock().unwrap().push(format!("{head}{body}"));
        reply(stream, "200 OK", "", br#"{"access_token":"T0KEN","expires_in":300,"refresh_token":"R"}"#);
    });
    let port = server(move |head, stream| {
        if !head.to_lowercase().contains("authorization: bearer t0ken") {
            let challenge = format!(
                "WWW-Authenticate: Bearer realm=\"http://127.0.0.1:{realm}/token\",service=\"reg\"\r\n"
            );
            reply(stream, "401 Unauthorized", &challenge, b"{}");
        } else if head.contains("/blobs/") {
            reply(
                stream,
                "307 Temporary Redirect",
                &format!("Location: http://127.0.0.1:{elsewhere}/x\r\n"),
                b"",
            );
        } else {
            reply(stream, "200 OK", "", b"{}");
        }
    });
    let scratch = Scratch::new();
    let images = scratch.images();
    let name = reference(format!("127.0.0.1:{port}/a/b"));
    for (scope, auth) in
        [(Scope::Plugin, basic("me", "secret")), (Scope::Repository, Auth::IdentityToken("IDENT".to_owned()))]
    {
        let descriptor = Descriptor::new("x", Digest::of(&content), content.len() as u64);
        images.registry().fetch(&name, &auth, scope, &descriptor, &Progress::none()).await.unwrap();
        images.blobs().delete(&descriptor.digest).unwrap();
    }
    let asked = tokens.lock().unwrap().clone();
    assert!(asked[0].contains("scope=repository%28plugin%29%3Aa%2Fb%3Apull"), "{asked:?}");
    assert!(
        asked[0].contains("account=me")
            && asked[0].to_lowercase().contains("authorization: basic bwu6c2vjcmv0")
    );
    assert!(
        asked[1].starts_with("POST")
            && asked[1].contains("grant_type=refresh_token")
            && asked[1].contains("refresh_token=IDENT")
    );
    for head in foreign.lock().unwrap().iter() {
        assert!(!head.to_lowercase().contains("authorization"), "credentials went to another host: {head}");
    }
    let login = images.registry().login(&format!("127.0.0.1:{port}"), &basic("me", "secret")).await.unwrap();
    assert_eq!(login.identity_token, "R");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_offers_its_platforms_before_anything_is_downloaded() {
    let server = RegistryServer::start(None, None);
    let scratch = Scratch::new();
    let images = scratch.images();
    let name = reference(format!("127.0.0.1:{}/multi:1", server.port));
    tagged(&images, &name).await;
    let pushed = images.push(&name, &Auth::None, &Progress::none()).await.unwrap();
    let index = serde_json::json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [
            {"mediaType": "application/vnd.docker.distribution.manifest.v2+json", "digest": pushed.digest, "size": pushed.size,
             "platform": {"os": "linux", "architecture": "amd64"}},
        ],
    });
    let index = serde_json::to_vec(&index).unwrap();
    let registry = images.registry();
    let list = reference(format!("127.0.0.1:{}/multi:list", server.port));
    let digest = registry
        .push_manifest(
            &list,
            &Auth::None,
            Scope::Repository,
            "application/vnd.oci.image.index.v1+json",
            &index,
        )
        .await
        .unwrap();
    let pulled = images.pull(&list, None, &Auth::None, &Progress::none()).await.unwrap();
    assert_eq!(pulled.digest, digest);
    let riscv: Platform = "linux/riscv64".parse().unwrap();
    let error = images.pull(&list, Some(&riscv), &Auth::None, &Progress::none()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(
        error.to_string().contains("linux/riscv64") && error.to_string().contains("it has linux/amd64"),
        "{error}"
    );
    let resolved = registry.resolve(&list, &Auth::None, Scope::Repository, None).await.unwrap();
    assert_eq!((&resolved.manifest_digest, &resolved.digest), (&pushed.digest, &digest));
    // What is on offer is the index; of a single image, itself, with what its configuration says.
    let offer = registry.offer(&list, &Auth::None).await.unwrap();
    assert_eq!((&offer.descriptor.digest, offer.descriptor.size), (&digest, index.len() as u64));
    assert_eq!(offer.platforms, ["linux/amd64".parse().unwrap()]);
    let offer = registry.offer(&name, &Auth::None).await.unwrap();
    assert_eq!((&offer.descriptor.digest, offer.platforms.len()), (&pushed.digest, 1));
    let missing = reference(format!("127.0.0.1:{}/multi:none", server.port));
    assert_eq!(registry.offer(&missing, &Auth::None).await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_serves_the_hubs_names_and_sees_no_password() {
    let upstream = RegistryServer::start(None, None);
    let scratch = Scratch::new();
    let images = scratch.images();
    let name = reference(format!("127.0.0.1:{}/library/mirrored:1", upstream.port));
    tagged(&images, &name).await;
    images.push(&name, &Auth::None, &Progress::none()).await.unwrap();
    let heads: Arc<Mutex<Vec<String>>> = Arc::default();
    let (seen, port) = (heads.clone(), upstream.port);
    let mirror = server(move |head, stream| {
        seen.lock().unwrap().push(head.to_owned());
        let path = head.split(' ').nth(1).unwrap_or_default();
        reply(stream, "307 Temporary Redirect", &format!("Location: http://127.0.0.1:{port}{path}\r\n"), b"");
    });
    let other = Scratch::new();
    let mirrored = other
        .images_with(Options { mirrors: vec![format!("http://127.0.0.1:{mirror}")], ..Options::default() });
    mirrored
        .pull(&"mirrored:1".parse().unwrap(), None, &basic("hub", "secret"), &Progress::none())
        .await
        .unwrap();
    assert_eq!(mirrored.get("mirrored:1").unwrap().id, images.get(&name.familiar()).unwrap().id);
    let heads = heads.lock().unwrap().clone();
    assert!(
        !heads.is_empty() && heads.iter().all(|head| !head.to_lowercase().contains("authorization")),
        "{heads:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_manifests_are_refused() {
    for (body, kind) in [
        (vec![b'x'; 5 << 20], ErrorKind::Corrupt),
        (b"{".to_vec(), ErrorKind::Corrupt),
        (br#"{"schemaVersion":1}"#.to_vec(), ErrorKind::Unsupported),
        (br#"{"schemaVersion":2,"manifests":[],"config":{},"layers":[]}"#.to_vec(), ErrorKind::Corrupt),
        (
            br#"{"schemaVersion":2,"config":{"digest":"sha256:../../x","size":1},"layers":[]}"#.to_vec(),
            ErrorKind::Corrupt,
        ),
    ] {
        let port = server(move |_, stream| reply(stream, "200 OK", "", &body));
        let scratch = Scratch::new();
        let images = scratch.images();
        let name = reference(format!("127.0.0.1:{port}/x"));
        let error = images.pull(&name, None, &Auth::None, &Progress::none()).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert_eq!(images.blobs().list().unwrap(), []);
    }
}
