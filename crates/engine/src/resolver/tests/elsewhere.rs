//! Names that are not ours: who is asked, from where, and what of it comes back.

use std::{
    net::SocketAddr,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use hickory_proto::{
    op::{Message, MessageType, ResponseCode},
    rr::{RData, Record, RecordType, rdata::A},
};

use super::house::{Names, Net, ask, data, question, serve, server, with_edns};
use crate::resolver::{ADDRESS, EmbeddedDns, upstream::Origin};

fn reply(question: &Message, address: [u8; 4]) -> Message {
    let mut message = question.clone();
    message.metadata.message_type = MessageType::Response;
    let name = question.queries[0].name.clone();
    message.add_answer(Record::from_rdata(name, 30, RData::A(A(address.into()))));
    message
}

fn failure(question: &Message, code: ResponseCode) -> Vec<u8> {
    let mut message = question.clone();
    message.metadata.message_type = MessageType::Response;
    message.metadata.response_code = code;
    message.to_vec().unwrap()
}

/// Debian's dnsmasq in a namespace.
struct Dnsmasq(Child);

impl Dnsmasq {
    fn start(net: &Net, at: &str) -> Self {
        let long = "x".repeat(200);
        let mut child = Command::new("nsenter")
            .args([&format!("--net={}", net.path().display()), "dnsmasq", "--keep-in-foreground"])
            .args(["--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--bind-interfaces", "--user=root"])
            .args(["--pid-file=", "--edns-packet-max=4096", &format!("--listen-address={at}")])
            .args([
                "--host-record=far.example,192.0.2.7,2001:db8::7",
                "--mx-host=far.example,mail.example,10",
            ])
            .args((0..6).map(|n| format!("--txt-record=long.example,{n}{long}")))
            .stdout(Stdio::null())
            .spawn()
            .expect("dnsmasq is needed: apt-get install dnsmasq-base");
        let server: SocketAddr = format!("{at}:53").parse().unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        while net.run(|| std::net::TcpStream::connect(server)).is_err() {
            assert!(
                Instant::now() < deadline && child.try_wait().unwrap().is_none(),
                "dnsmasq did not come up"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        Self(child)
    }
}

impl Drop for Dnsmasq {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_server_is_asked_from_the_containers_namespace() {
    let (dns, net, far) = (EmbeddedDns::new(), Net::new(), Net::new());
    net.cable("10.9.0.2/24", &far, "10.9.0.1/24");
    let _dnsmasq = Dnsmasq::start(&far, "10.9.0.1");
    let upstream = [("10.9.0.1:53".parse().unwrap(), Origin::Sandbox)];
    let names = Names::new(&[("web", &["10.0.0.2"])], &upstream);
    serve(&dns, &net, &names).await;
    assert_eq!(data(&net.dig("far.example.", RecordType::A)), ["192.0.2.7"]);
    assert_eq!(data(&net.dig("far.example.", RecordType::AAAA)), ["2001:db8::7"]);
    assert_eq!(data(&net.dig("far.example.", RecordType::MX)), ["10 mail.example."]);
    assert_eq!(data(&net.dig_tcp("far.example.", RecordType::A)), ["192.0.2.7"]);
    assert_eq!(data(&net.dig("web.", RecordType::A)), ["10.0.0.2"]);
    let nobody = net.dig("nobody.example.", RecordType::A);
    assert!(matches!(nobody.metadata.response_code, ResponseCode::NXDomain | ResponseCode::Refused));
    // More than fits: the server says so, and the client comes again by TCP, as far as the server.
    let short = net.dig("long.example.", RecordType::TXT);
    assert!(short.metadata.truncation);
    assert_eq!(net.dig_tcp("long.example.", RecordType::TXT).answers.len(), 6);
    let large = with_edns(question("long.example.", RecordType::TXT), 4096);
    let large = net.run(|| ask(&large, (ADDRESS, 53).into())).unwrap();
    assert!(!large.metadata.truncation && large.answers.len() == 6, "the client's own limit went along");
    // From an internal network, a neighbour may be asked.
    names.settings.lock().unwrap().internal = true;
    assert_eq!(data(&net.dig("far.example.", RecordType::A)), ["192.0.2.7"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_leaves_an_internal_network() {
    let (dns, net, router, far) = (EmbeddedDns::new(), Net::new(), Net::new(), Net::new());
    net.cable("10.9.0.2/24", &router, "10.9.0.1/24");
    router.cable("10.9.1.1/24", &far, "10.9.1.2/24");
    net.sh("ip route add default via 10.9.0.1");
    far.sh("ip route add default via 10.9.1.1");
    router.sh("sysctl -qw net.ipv4.ip_forward=1");
    let _dnsmasq = Dnsmasq::start(&far, "10.9.1.2");
    let on_host = server(|question| vec![reply(question, [192, 0, 2, 8]).to_vec().unwrap()]);
    let upstreams = [("10.9.1.2:53".parse().unwrap(), Origin::Sandbox), (on_host, Origin::Host)];
    let names = Names::new(&[("web", &["10.0.0.2"])], &upstreams);
    serve(&dns, &net, &names).await;
    assert_eq!(data(&net.dig("far.example.", RecordType::A)), ["192.0.2.7"]);
    assert_eq!(data(&net.dig_tcp("far.example.", RecordType::A)), ["192.0.2.7"]);
    names.settings.lock().unwrap().internal = true;
    // The driver let a way out stand; the questions do not take it.
    assert_eq!(net.dig("far.example.", RecordType::A).metadata.response_code, ResponseCode::ServFail);
    assert_eq!(data(&net.dig("web.", RecordType::A)), ["10.0.0.2"]);
    names.settings.lock().unwrap().internal = false;
    assert_eq!(data(&net.dig("far.example.", RecordType::A)), ["192.0.2.7"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hosts_own_servers_are_asked_from_the_host() {
    let (dns, net) = (EmbeddedDns::new(), Net::new());
    let on_host = server(|question| vec![reply(question, [192, 0, 2, 8]).to_vec().unwrap()]);
    // The same address inside the sandbox is somebody else, who is not there.
    let names = Names::new(&[], &[(on_host, Origin::Host)]);
    serve(&dns, &net, &names).await;
    assert_eq!(data(&net.dig("far.example.", RecordType::A)), ["192.0.2.8"]);
    let names = Names::new(&[], &[(on_host, Origin::Sandbox)]);
    serve(&dns, &net, &names).await;
    assert_eq!(net.dig("far.example.", RecordType::A).metadata.response_code, ResponseCode::ServFail);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_fails_is_followed_by_the_next() {
    let (dns, net) = (EmbeddedDns::new(), Net::new());
    let fails = server(|question| vec![failure(question, ResponseCode::ServFail)]);
    let refuses = server(|question| vec![failure(question, ResponseCode::Refused)]);
    let answers = server(|question| vec![reply(question, [192, 0, 2, 9]).to_vec().unwrap()]);
    // Nobody listens on the first.
    let dead = server(|_| Vec::new());
    let closed = SocketAddr::from(([127, 0, 0, 1], 1));
    let host =
        |servers: &[SocketAddr]| servers.iter().map(|server| (*server, Origin::Host)).collect::<Vec<_>>();
    let start = Instant::now();
    serve(&dns, &net, &Names::new(&[], &host(&[closed, fails, answers]))).await;
    assert_eq!(data(&net.dig("far.example.", RecordType::A)), ["192.0.2.9"]);
    serve(&dns, &net, &Names::new(&[], &host(&[refuses, answers]))).await;
    assert_eq!(data(&net.dig("far.example.", RecordType::A)), ["192.0.2.9"]);
    // All refuse: the last one's own word is passed on.
    serve(&dns, &net, &Names::new(&[], &host(&[fails, refuses]))).await;
    assert_eq!(net.dig("far.example.", RecordType::A).metadata.response_code, ResponseCode::Refused);
    assert!(start.elapsed() < Duration::from_secs(3), "none of these had to be waited for");
    // One that says nothing does not keep the next from being asked, all in the client's own patience.
    serve(&dns, &net, &Names::new(&[], &host(&[dead, dead, answers]))).await;
    assert_eq!(data(&net.dig("far.example.", RecordType::A)), ["192.0.2.9"]);
    serve(&dns, &net, &Names::new(&[], &host(&[dead]))).await;
    let start = Instant::now();
    assert_eq!(net.dig("far.example.", RecordType::A).metadata.response_code, ResponseCode::ServFail);
    assert!(start.elapsed() < Duration::from_secs(8));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_was_lost_is_asked_for_again() {
    let (dns, net) = (EmbeddedDns::new(), Net::new());
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let forgetful = server(move |question| match count.fetch_add(1, Ordering::SeqCst) {
        0 => Vec::new(),
        _ => vec![reply(question, [192, 0, 2, 10]).to_vec().unwrap()],
    });
    serve(&dns, &net, &Names::new(&[], &[(forgetful, Origin::Host)])).await;
    assert_eq!(data(&net.dig("far.example.", RecordType::A)), ["192.0.2.10"]);
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_of_search_domains_has_them_tried() {
    let (dns, net) = (EmbeddedDns::new(), Net::new());
    let answers = server(|question| vec![reply(question, [192, 0, 2, 14]).to_vec().unwrap()]);
    let names = Names::new(&[], &[(answers, Origin::Host)]);
    serve(&dns, &net, &names).await;
    assert_eq!(data(&net.dig("far.", RecordType::A)), ["192.0.2.14"]);
    names.settings.lock().unwrap().dotless_stay = true;
    let stays = net.dig("far.", RecordType::A);
    assert!(stays.answers.is_empty() && stays.metadata.response_code == ResponseCode::NoError);
    assert_eq!(data(&net.dig("far.example.", RecordType::A)), ["192.0.2.14"]);
}
