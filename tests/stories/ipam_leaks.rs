//! `kill -9` between the request for an address and the endpoint that it is for, five hundred times, with a plugin of
//! another process keeping the books: what was requested and not released is what is used.

use std::{
    collections::BTreeSet,
    fs::File,
    io::Read,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    harness::{Kind, raw_http},
    host::Hosted,
    package::built,
    remote_networks::Plugin,
};

/// `PINTLE_KILLS` says another number.
const ROUNDS: usize = 500;

/// Where an engine dies by itself. In between it is killed from outside, as soon as the plugin has given an address.
const POINTS: [&str; 3] = [
    "engine.network.connect.after_address",
    "engine.network.connect.after_address_noted",
    "engine.network.connect.after_endpoint",
];

/// What the plugin wrote down, read as it grows.
struct Books {
    file: File,
    unread: String,
    requested: usize,
    released: usize,
    held: BTreeSet<String>,
}

impl Books {
    fn open(path: &std::path::Path) -> Self {
        let file = File::open(path).unwrap();
        Self { file, unread: String::new(), requested: 0, released: 0, held: BTreeSet::new() }
    }

    fn read(&mut self) {
        self.file.read_to_string(&mut self.unread).unwrap();
        while let Some((line, rest)) = self.unread.split_once('\n') {
            let mut parts = line.split('\t');
            let name = parts.next().unwrap().to_owned();
            let [asked, answer] =
                [(); 2].map(|()| serde_json::from_str::<Value>(parts.next().unwrap()).unwrap());
            self.unread = rest.to_owned();
            if answer.get("Err").is_some() {
                continue;
            }
            let bare = |address: &Value| address.as_str().unwrap().split('/').next().unwrap().to_owned();
            match name.as_str() {
                // Asked for once more, an endpoint's address is the same one.
                "IpamDriver.RequestAddress" => {
                    self.requested += usize::from(self.held.insert(bare(&answer["Address"])));
                }
                "IpamDriver.ReleaseAddress" => {
                    let held = self.held.remove(&bare(&asked["Address"]));
                    assert!(held, "released, but not held: {asked}");
                    self.released += 1;
                }
                "IpamDriver.ReleasePool" => {
                    self.released += self.held.len();
                    self.held.clear();
                }
                _ => {}
            }
        }
    }
}

/// Every address that the engine says is used.
fn used(engine: &Hosted) -> BTreeSet<String> {
    let (status, network) = engine.http("GET", "/networks/lan", None);
    assert_eq!(status, 200, "{network}");
    let bare = |address: &Value| address.as_str().unwrap().split('/').next().unwrap().to_owned();
    let members = network["Containers"].as_object().unwrap().values();
    members
        .map(|member| bare(&member["IPv4Address"]))
        .chain([bare(&network["IPAM"]["Config"][0]["Gateway"])])
        .collect()
}

#[track_caller]
fn agree(engine: &Hosted, books: &mut Books, when: &str) {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let used = used(engine);
        books.read();
        assert_eq!(books.requested - books.released, books.held.len());
        if used == books.held {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "{when}: {} requested, {} released, held {:?}, used {used:?}",
            books.requested,
            books.released,
            books.held
        );
        std::thread::sleep(Duration::from_millis(3));
    }
}

#[test]
fn five_hundred_kills_between_an_address_and_its_endpoint_leak_none() {
    let rounds = std::env::var("PINTLE_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(ROUNDS);
    let mut engine = Hosted::start(Kind::Pintle, &[]);
    let journal = engine.dir.join("books.journal");
    let socket = engine.dir.join("plugins/books.sock");
    let plugin = Plugin::start(&engine, "books", Command::new(built("recorder")).args([&socket, &journal]));
    let mut books = Books::open(&journal);
    engine.busybox("alpine");
    let before = engine.world_at_rest();
    engine.sh("docker network create --ipam-driver books lan").ok();
    agree(&engine, &mut books, "a network and its gateway");
    assert_eq!((books.requested, books.held.len()), (1, 1));

    let begun = Instant::now();
    let mut random = 0x9e37_79b9_7f4a_7c15_u64 ^ u64::from(std::process::id());
    println!("seed {random:#x}");
    let (mut died, mut after_success) = (0, 0);
    for round in 0..rounds {
        engine.kill();
        let point = POINTS.get(round % 4).copied();
        let armed: Vec<_> = point.iter().map(|point| ("PINTLE_FAILPOINT", *point)).collect();
        engine.boot(&armed);
        let when = format!("round {round}, at {}", point.unwrap_or("random"));
        agree(&engine, &mut books, &when);
        if round > 0 {
            let (status, reply) = engine.http("DELETE", &format!("/containers/c{}?force=1", round - 1), None);
            assert_eq!(status, 204, "{when}: {reply}");
        }
        agree(&engine, &mut books, &when);
        let body = json!({"Image": "alpine", "Cmd": ["sleep", "1000"], "HostConfig": {"NetworkMode": "lan"}});
        let (status, reply) = engine.http("POST", &format!("/containers/create?name=c{round}"), Some(&body));
        assert_eq!(status, 201, "{when}: {reply}");
        let started = Arc::new(AtomicBool::new(false));
        let starting = {
            let (socket, started) = (engine.socket(), Arc::clone(&started));
            std::thread::spawn(move || {
                match raw_http(&socket, "POST", &format!("/containers/c{round}/start"), "", b"") {
                    Ok((204, _)) => started.store(true, Ordering::SeqCst),
                    Ok((status, reply)) => panic!("{status} {}", String::from_utf8_lossy(&reply)),
                    Err(_) => {}
                }
            })
        };
        let so_far = books.requested;
        if point.is_none() {
            let deadline = Instant::now() + Duration::from_secs(30);
            while books.requested == so_far {
                assert!(
                    Instant::now() < deadline,
                    "{when}: no address is asked for\n{}",
                    engine.daemon_log()
                );
                books.read();
            }
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            std::thread::sleep(Duration::from_micros(random % 4000));
            engine.kill();
        }
        starting.join().unwrap();
        if started.load(Ordering::SeqCst) {
            assert!(point.is_none(), "{when}: it was never reached");
            after_success += 1;
        } else {
            died += 1;
        }
        books.read();
        assert_eq!(books.requested, so_far + 1, "{when}");
    }
    println!("{died} kills before the start was answered, {after_success} after, in {:?}", begun.elapsed());
    engine.kill();
    engine.boot(&[]);
    engine.http("DELETE", &format!("/containers/c{}?force=1", rounds - 1), None);
    agree(&engine, &mut books, "in the end");
    assert_eq!(books.held.len(), 1, "the gateway's");
    engine.sh("docker network rm lan").ok();
    books.read();
    assert_eq!(books.requested, books.released);
    assert_eq!(books.requested, rounds + 1);
    drop(plugin);
    let _ = std::fs::remove_file(&socket);
    assert_eq!(engine.leftovers(), [""; 0]);
    assert_eq!(engine.world(), before);
}
