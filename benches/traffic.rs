//! What goes through networks: questions for names, and bytes.

use std::{
    collections::HashMap,
    io::{Read, Write},
    net::{TcpListener, TcpStream, UdpSocket},
    thread,
    time::{Duration, Instant},
};

use pintle_netlink::Namespace;

use crate::harness::eventually;

/// How long one measurement takes.
const WHILE: Duration = Duration::from_secs(2);

/// What came of asking.
pub struct Answers {
    /// How many in a second.
    pub rate: f64,
    /// What ninety-nine of a hundred took at most.
    pub p99: Duration,
    pub lost: usize,
}

fn question(id: u16, name: &str) -> Vec<u8> {
    let mut packet = Vec::from(id.to_be_bytes());
    packet.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        packet.push(label.len().try_into().unwrap());
        packet.extend(label.as_bytes());
    }
    packet.extend([0, 0, 1, 0, 1]);
    packet
}

/// Asks the resolver in a container's namespace for an address, again and again, with that many questions under way.
pub fn questions(inside: &Namespace, name: &str, window: usize) -> Answers {
    let socket = inside.run(|| UdpSocket::bind("0.0.0.0:0")).unwrap().unwrap();
    socket.connect("127.0.0.11:53").unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let (mut asked, mut next) = (HashMap::new(), 0_u16);
    let mut ask = |asked: &mut HashMap<u16, Instant>| {
        next = next.wrapping_add(1);
        asked.insert(next, Instant::now());
        socket.send(&question(next, name)).unwrap();
    };
    let (mut took, mut lost, mut packet) = (Vec::new(), 0, [0; 512]);
    let begun = Instant::now();
    for _ in 0..window {
        ask(&mut asked);
    }
    while begun.elapsed() < WHILE {
        match socket.recv(&mut packet) {
            Ok(length) => {
                assert!(length > 12 && packet[3] & 15 == 0 && packet[7] == 1, "{:?}", &packet[..length]);
                if let Some(at) = asked.remove(&u16::from_be_bytes([packet[0], packet[1]])) {
                    took.push(at.elapsed());
                    ask(&mut asked);
                }
            }
            Err(_) => {
                lost += asked.len();
                asked.clear();
                for _ in 0..window {
                    ask(&mut asked);
                }
            }
        }
    }
    let rate = took.len() as f64 / begun.elapsed().as_secs_f64();
    took.sort();
    Answers { rate, p99: took[took.len() * 99 / 100], lost }
}

/// GiB in a second, from one namespace to an address that leads to port 80 in the other.
pub fn bytes(to: &Namespace, from: &Namespace, address: &str) -> f64 {
    let listener = to.run(|| TcpListener::bind("0.0.0.0:80")).unwrap().unwrap();
    let mut source = None;
    eventually(address, Duration::from_secs(10), || {
        source = from.run(|| TcpStream::connect(address)).unwrap().ok();
        source.is_some()
    });
    let mut source = source.unwrap();
    let (mut sink, _) = listener.accept().unwrap();
    let begun = Instant::now();
    let received = thread::spawn(move || {
        let (mut total, mut buffer) = (0, vec![0; 1 << 18]);
        while let Ok(length @ 1..) = sink.read(&mut buffer) {
            total += length;
        }
        total
    });
    let buffer = vec![7; 1 << 18];
    while begun.elapsed() < WHILE {
        source.write_all(&buffer).unwrap();
    }
    drop(source);
    let total = received.join().unwrap();
    total as f64 / begun.elapsed().as_secs_f64() / f64::from(1 << 30)
}
