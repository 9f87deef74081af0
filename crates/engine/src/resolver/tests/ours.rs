//! Names of containers, port 53, and engines that come and go.

use std::{
    net::{SocketAddr, TcpListener, UdpSocket},
    time::Duration,
};

use hickory_proto::{
    op::ResponseCode,
    rr::{Name, RData, RecordType},
};

use super::house::{Names, Net, ask, ask_over, data, question, serve, with_edns};
use crate::{
    networks::Resolver,
    resolver::{ADDRESS, EmbeddedDns},
};

const WEB: (&str, &[&str]) = ("web", &["10.0.0.2", "fd00::2"]);
const DB: (&str, &[&str]) = ("db", &["10.0.0.3"]);

#[tokio::test(flavor = "multi_thread")]
async fn names_have_addresses_of_each_family_or_none() {
    let (dns, net) = (EmbeddedDns::new(), Net::new());
    serve(&dns, &net, &Names::new(&[WEB, DB], &[])).await;
    let answer = net.dig("WeB.", RecordType::A);
    assert_eq!(data(&answer), ["10.0.0.2"]);
    assert_eq!(answer.answers[0].ttl, 600);
    assert_eq!(answer.queries[0].name.to_string(), "WeB.", "the name as it was asked");
    assert!(answer.metadata.recursion_available && answer.metadata.recursion_desired);
    assert_eq!(data(&net.dig("web.", RecordType::AAAA)), ["fd00::2"]);
    // The name is there, whatever else is asked of it.
    for kind in [RecordType::AAAA, RecordType::MX, RecordType::TXT, RecordType::HTTPS, RecordType::SRV] {
        let answer = net.dig("db.", kind);
        assert_eq!(answer.metadata.response_code, ResponseCode::NoError, "{kind}");
        assert!(answer.answers.is_empty(), "{kind}");
    }
    // Nobody's, and nobody else to ask.
    assert_eq!(net.dig("nobody.", RecordType::A).metadata.response_code, ResponseCode::ServFail);
    assert_eq!(data(&net.dig_tcp("web.", RecordType::A)), ["10.0.0.2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_have_names_and_services_have_places() {
    let (dns, net) = (EmbeddedDns::new(), Net::new());
    serve(&dns, &net, &Names::new(&[WEB, DB], &[])).await;
    for address in ["10.0.0.2", "fd00::2"] {
        let name = Name::from(address.parse::<std::net::IpAddr>().unwrap()).to_string();
        assert_eq!(data(&net.dig(&name, RecordType::PTR)), ["web.net."]);
    }
    let answer = net.dig("_https._tcp.web.", RecordType::SRV);
    assert_eq!(data(&answer), ["0 0 443 web.net."]);
    let helpful: Vec<_> = answer.additionals.iter().map(|record| record.data.to_string()).collect();
    assert_eq!(helpful, ["10.0.0.2", "fd00::2"]);
    assert_eq!(data(&net.dig("_8443._udp.db.", RecordType::SRV)), ["0 0 8443 db.net."]);
    assert!(net.dig("_nonsense._tcp.db.", RecordType::SRV).answers.is_empty());
    let elsewhere = net.dig("_https._tcp.nobody.", RecordType::SRV);
    assert_eq!(elsewhere.metadata.response_code, ResponseCode::ServFail);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_are_shuffled_and_what_does_not_fit_goes_by_tcp() {
    let (dns, net) = (EmbeddedDns::new(), Net::new());
    let many: Vec<String> = (0..100).map(|n| format!("10.0.1.{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    serve(&dns, &net, &Names::new(&[("few", &["10.0.0.1", "10.0.0.2", "10.0.0.3"]), ("many", &many)], &[]))
        .await;
    let mut first = std::collections::BTreeSet::new();
    for _ in 0..64 {
        let answer = net.dig("few.", RecordType::A);
        assert_eq!(data(&answer).len(), 3);
        first.insert(answer.answers[0].data.to_string());
    }
    assert_eq!(first.len(), 3, "each comes first now and then");

    let short = net.dig("many.", RecordType::A);
    assert!(short.metadata.truncation);
    assert!(short.to_vec().unwrap().len() <= 512 && short.answers.len() > 20, "{}", short.answers.len());
    let whole = net.dig_tcp("many.", RecordType::A);
    assert!(!whole.metadata.truncation && whole.answers.len() == 100);
    let large = with_edns(question("many.", RecordType::A), 4096);
    let large = net.run(|| ask(&large, (ADDRESS, 53).into())).unwrap();
    assert!(!large.metadata.truncation && large.answers.len() == 100);
    assert!(large.edns.is_some(), "who says what he takes is told what we take");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_carries_many_questions() {
    let (dns, net) = (EmbeddedDns::new(), Net::new());
    serve(&dns, &net, &Names::new(&[WEB, DB], &[])).await;
    net.run(|| {
        let mut stream = std::net::TcpStream::connect((ADDRESS, 53)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        for _ in 0..50 {
            assert_eq!(data(&ask_over(&mut stream, &question("db.", RecordType::A))), ["10.0.0.3"]);
        }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_may_have_port_53_for_itself() {
    let (dns, net) = (EmbeddedDns::new(), Net::new());
    serve(&dns, &net, &Names::new(&[WEB], &[])).await;
    let (own, listener) =
        net.run(|| (UdpSocket::bind(("0.0.0.0", 53)).unwrap(), TcpListener::bind(("0.0.0.0", 53)).unwrap()));
    assert_eq!(data(&net.dig("web.", RecordType::A)), ["10.0.0.2"]);
    assert_eq!(data(&net.dig_tcp("web.", RecordType::A)), ["10.0.0.2"]);
    // Its own server hears what is meant for it, and nothing of ours.
    net.run(|| {
        let socket = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
        socket.send_to(b"hello", ("127.0.0.1", 53)).unwrap();
        let mut packet = [0; 16];
        own.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let (length, from) = own.recv_from(&mut packet).unwrap();
        assert_eq!(&packet[..length], b"hello");
        own.send_to(b"world", from).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        assert_eq!(socket.recv_from(&mut packet).unwrap(), (5, SocketAddr::from(([127, 0, 0, 1], 53))));
        drop(std::net::TcpStream::connect(("127.0.0.1", 53)).unwrap());
    });
    drop(listener);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_engine_takes_up_where_the_old_one_was() {
    let net = Net::new();
    let names = Names::new(&[WEB], &[]);
    let dns = EmbeddedDns::new();
    let ports = serve(&dns, &net, &names).await;
    drop(dns);
    // Nothing listens, so the name is not known; but nothing hangs about in the namespace either.
    let dns = EmbeddedDns::new();
    let again = serve(&dns, &net, &names).await;
    assert_eq!(again, ports);
    assert_eq!(data(&net.dig("web.", RecordType::A)), ["10.0.0.2"]);
    // Twice is as good as once.
    assert_eq!(serve(&dns, &net, &names).await, ports);
    dns.close(&net_id(&net)).await;
    // Somebody in the container takes the ports meanwhile.
    let taken = net.run(|| {
        (UdpSocket::bind((ADDRESS, ports.udp)).unwrap(), TcpListener::bind((ADDRESS, ports.tcp)).unwrap())
    });
    let other = serve(&dns, &net, &names).await;
    assert!(other.udp != ports.udp && other.tcp != ports.tcp);
    assert_eq!(data(&net.dig("web.", RecordType::A)), ["10.0.0.2"]);
    assert_eq!(data(&net.dig_tcp("web.", RecordType::A)), ["10.0.0.2"]);
    drop(taken);
}

fn net_id(net: &Net) -> String {
    net.path().iter().nth(2).unwrap().to_string_lossy().into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_leaves_nothing_in_the_namespace() {
    let net = Net::new();
    let dns = EmbeddedDns::new();
    let names = Names::new(&[WEB], &[]);
    serve(&dns, &net, &names).await;
    // A conversation that is still going on.
    let talking = net.run(|| std::net::TcpStream::connect((ADDRESS, 53)).unwrap());
    assert_eq!(data(&net.dig("web.", RecordType::A)), ["10.0.0.2"]);
    dns.close(&net_id(&net)).await;
    let listeners = net.sh("ss -Hlun; ss -Hltn");
    assert_eq!(listeners.trim(), "");
    drop(talking);
    let own = std::fs::read_link(net.path()).unwrap();
    let held = std::fs::read_dir("/proc/self/fd")
        .unwrap()
        .flatten()
        .filter(|entry| std::fs::read_link(entry.path()).is_ok_and(|target| target == own));
    assert_eq!(held.count(), 0);
    // Unknown sandboxes are no mistake.
    dns.close("nobody").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_that_is_not_there_is_said_to_be_so() {
    let dns = EmbeddedDns::new();
    let place =
        crate::networks::ResolverPlace { container: "x".to_owned(), namespace: "/nonexistent/netns".into() };
    let error = dns.serve(place, Names::new(&[], &[])).await.unwrap_err();
    assert!(error.message.contains("cannot listen"), "{error}");
    // The thread goes on.
    let net = Net::new();
    serve(&dns, &net, &Names::new(&[WEB], &[])).await;
    assert!(matches!(net.dig("web.", RecordType::A).answers[0].data, RData::A(_)));
}
