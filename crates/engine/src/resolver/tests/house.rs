//! What the resolver's tests stand on: network namespaces, questions of our own writing, servers that answer as
//! they are told.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpStream, UdpSocket},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use hickory_proto::{
    op::{Edns, Message, MessageType, Query},
    rr::{Name, RecordType},
};

use super::super::{
    ADDRESS, EmbeddedDns, Ports,
    upstream::{Origin, Settings, Upstream},
    view::View,
};
use crate::networks::ResolverPlace;

/// A network namespace, kept by a process that does nothing; it ends with this.
pub(super) struct Net(Child);

impl Net {
    pub(super) fn new() -> Self {
        let mut child = Command::new("unshare")
            .args(["--net", "--kill-child", "sh", "-c", "ip link set lo up && echo up && exec sleep 600"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare (util-linux) and ip (iproute2) are needed, and root");
        let mut word = [0; 3];
        child.stdout.take().unwrap().read_exact(&mut word).expect("a namespace");
        Self(child)
    }

    pub(super) fn path(&self) -> PathBuf {
        format!("/proc/{}/ns/net", self.0.id()).into()
    }

    /// Runs a command in it, which must succeed.
    #[track_caller]
    pub(super) fn sh(&self, script: &str) -> String {
        let net = format!("--net={}", self.path().display());
        let output = Command::new("nsenter").args([&net, "sh", "-c", script]).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{script}: {error}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Joins it to another by a cable with an address at each end.
    pub(super) fn cable(&self, own: &str, other: &Self, others: &str) {
        let (a, b) = (self.0.id(), other.0.id());
        self.sh(&format!("ip link add c{b} type veth peer name c{a} netns {b}"));
        self.sh(&format!("ip addr add {own} dev c{b} && ip link set c{b} up"));
        other.sh(&format!("ip addr add {others} dev c{a} && ip link set c{a} up"));
    }

    /// Does something on a thread that is in it.
    pub(super) fn run<T: Send>(&self, what: impl FnOnce() -> T + Send) -> T {
        let file = std::fs::File::open(self.path()).unwrap();
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                rustix::thread::move_into_link_name_space(std::os::fd::AsFd::as_fd(&file), None).unwrap();
                what()
            });
            inside.join().unwrap()
        })
    }

    /// Asks the resolver over UDP, as a container does.
    #[track_caller]
    pub(super) fn dig(&self, name: &str, kind: RecordType) -> Message {
        let question = question(name, kind);
        self.run(|| ask(&question, SocketAddr::from((ADDRESS, 53)))).expect("an answer")
    }

    /// The same over TCP.
    #[track_caller]
    pub(super) fn dig_tcp(&self, name: &str, kind: RecordType) -> Message {
        let question = question(name, kind);
        self.run(|| {
            let mut stream = TcpStream::connect((ADDRESS, 53)).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            ask_over(&mut stream, &question)
        })
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(super) fn question(name: &str, kind: RecordType) -> Message {
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message
}

pub(super) fn with_edns(mut message: Message, limit: u16) -> Message {
    let mut edns = Edns::new();
    edns.set_max_payload(limit);
    message.set_edns(edns);
    message
}

/// One question to one server, from the namespace of this thread.
pub(super) fn ask(question: &Message, server: SocketAddr) -> std::io::Result<Message> {
    let socket = UdpSocket::bind(("0.0.0.0", 0))?;
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    socket.connect(server)?;
    let mut packet = vec![0; 65_535];
    // As resolvers do: a datagram may be lost where there is a flood of them.
    let mut asked = (0..3).map(|_| {
        socket.send(&question.to_vec().unwrap())?;
        socket.recv(&mut packet)
    });
    let length = loop {
        match asked.next() {
            Some(Ok(length)) => break length,
            Some(Err(error)) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Some(Err(error)) => return Err(error),
            None => return Err(std::io::ErrorKind::TimedOut.into()),
        }
    };
    drop(asked);
    let answer = Message::from_vec(&packet[..length]).unwrap();
    assert_eq!(answer.metadata.id, question.metadata.id);
    assert_eq!(answer.metadata.message_type, MessageType::Response);
    Ok(answer)
}

pub(super) fn ask_over(stream: &mut TcpStream, question: &Message) -> Message {
    let packet = question.to_vec().unwrap();
    stream.write_all(&u16::try_from(packet.len()).unwrap().to_be_bytes()).unwrap();
    stream.write_all(&packet).unwrap();
    let mut length = [0; 2];
    stream.read_exact(&mut length).unwrap();
    let mut answer = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut answer).unwrap();
    Message::from_vec(&answer).unwrap()
}

/// The data of the answers, as text, in order of the text.
pub(super) fn data(message: &Message) -> Vec<String> {
    let mut data: Vec<_> = message.answers.iter().map(|record| record.data.to_string()).collect();
    data.sort();
    data
}

/// Names as a test wants them.
#[derive(Default)]
pub(super) struct Names {
    pub(super) names: BTreeMap<&'static str, Vec<IpAddr>>,
    pub(super) settings: Mutex<Settings>,
}

impl View for Names {
    fn addresses(&self, name: &str, found: &mut Vec<IpAddr>) -> bool {
        let known = self.names.get(name);
        found.extend(known.into_iter().flatten());
        known.is_some()
    }

    fn name_of(&self, address: IpAddr) -> Option<String> {
        let (name, _) = self.names.iter().find(|(_, addresses)| addresses.contains(&address))?;
        Some(format!("{name}.net"))
    }

    fn settings(&self) -> Settings {
        self.settings.lock().unwrap().clone()
    }
}

impl Names {
    pub(super) fn new(names: &[(&'static str, &[&str])], upstreams: &[(SocketAddr, Origin)]) -> Arc<Self> {
        let parse = |texts: &&[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        let names = names.iter().map(|(name, texts)| (*name, parse(texts))).collect();
        let upstreams =
            upstreams.iter().map(|(server, origin)| Upstream { server: *server, origin: *origin }).collect();
        Arc::new(Self { names, settings: Mutex::new(Settings { upstreams, ..Settings::default() }) })
    }
}

/// Serves a namespace.
pub(super) async fn serve(dns: &EmbeddedDns, net: &Net, names: &Arc<Names>) -> Ports {
    let place = ResolverPlace { container: format!("{}", net.0.id()), namespace: net.path() };
    dns.serve(place, Arc::clone(names) as Arc<dyn View>).await.unwrap()
}

/// What a server of ours does with a question: the packets that it sends back.
pub(super) type Script = dyn Fn(&Message) -> Vec<Vec<u8>> + Send + Sync;

/// A name server on the host's loopback that does what a script says. It ends with the test's process.
pub(super) fn server(script: impl Fn(&Message) -> Vec<Vec<u8>> + Send + Sync + 'static) -> SocketAddr {
    let socket = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
    let address = socket.local_addr().unwrap();
    let script: Box<Script> = Box::new(script);
    std::thread::spawn(move || {
        let mut packet = vec![0; 65_535];
        while let Ok((length, from)) = socket.recv_from(&mut packet) {
            let Ok(question) = Message::from_vec(&packet[..length]) else { continue };
            for answer in script(&question) {
                let _ = socket.send_to(&answer, from);
            }
        }
    });
    address
}
