//! Clients and servers that mean harm.

use std::{
    net::{SocketAddr, UdpSocket},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use hickory_proto::{
    op::{Message, MessageType, ResponseCode},
    rr::{RData, Record, RecordType, rdata::A},
};
use rand::{RngExt, SeedableRng};

use super::house::{Names, Net, data, question, serve, server};
use crate::resolver::{ADDRESS, EmbeddedDns, upstream::Origin};

fn reply(question: &Message, address: [u8; 4]) -> Message {
    let mut message = question.clone();
    message.metadata.message_type = MessageType::Response;
    let name = question.queries[0].name.clone();
    message.add_answer(Record::from_rdata(name, 30, RData::A(A(address.into()))));
    message
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_to_another_question_is_not_believed() {
    let (dns, net) = (EmbeddedDns::new(), Net::new());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let notes = Arc::clone(&seen);
    let liar = server(move |asked| {
        notes.lock().unwrap().push(asked.metadata.id);
        let mut wrong_id = reply(asked, [6, 6, 6, 1]);
        wrong_id.metadata.id = asked.metadata.id.wrapping_add(1);
        let mut wrong_name = reply(&question("evil.example.", RecordType::A), [6, 6, 6, 2]);
        wrong_name.metadata.id = asked.metadata.id;
        let mut wrong_type = reply(&question("far.example.", RecordType::AAAA), [6, 6, 6, 3]);
        wrong_type.metadata.id = asked.metadata.id;
        let mut no_question = reply(asked, [6, 6, 6, 4]);
        no_question.queries.clear();
        let mut a_query = reply(asked, [6, 6, 6, 5]);
        a_query.metadata.message_type = MessageType::Query;
        let right = reply(asked, [192, 0, 2, 11]);
        let mut packets: Vec<_> = [wrong_id, wrong_name, wrong_type, no_question, a_query, right]
            .iter()
            .map(|message| message.to_vec().unwrap())
            .collect();
        packets.insert(0, vec![0xff; 40]);
        packets.insert(0, Vec::new());
        packets
    });
    serve(&dns, &net, &Names::new(&[], &[(liar, Origin::Host)])).await;
    let asked = question("far.example.", RecordType::A);
    for _ in 0..20 {
        let answer = net.run(|| super::house::ask(&asked, (ADDRESS, 53).into())).unwrap();
        assert_eq!(data(&answer), ["192.0.2.11"]);
    }
    // What the client calls its question says nothing about what we call ours.
    let mut ids = seen.lock().unwrap().clone();
    ids.sort_unstable();
    ids.dedup();
    assert!(ids.len() > 15, "{ids:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_cannot_answer_for_a_server() {
    let (dns, net) = (EmbeddedDns::new(), Net::new());
    let real = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
    let upstream = real.local_addr().unwrap();
    let thread = std::thread::spawn(move || {
        let stranger = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
        let mut packet = [0; 512];
        let (length, from) = real.recv_from(&mut packet).unwrap();
        let asked = Message::from_vec(&packet[..length]).unwrap();
        stranger.send_to(&reply(&asked, [6, 6, 6, 6]).to_vec().unwrap(), from).unwrap();
        std::thread::sleep(Duration::from_millis(100));
        real.send_to(&reply(&asked, [192, 0, 2, 12]).to_vec().unwrap(), from).unwrap();
    });
    serve(&dns, &net, &Names::new(&[], &[(upstream, Origin::Host)])).await;
    assert_eq!(data(&net.dig("far.example.", RecordType::A)), ["192.0.2.12"]);
    thread.join().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn noise_is_harmless() {
    let (dns, net) = (EmbeddedDns::new(), Net::new());
    serve(&dns, &net, &Names::new(&[("web", &["10.0.0.2"])], &[])).await;
    let valid = question("web.", RecordType::A).to_vec().unwrap();
    net.run(|| {
        let mut rng = rand::rngs::SmallRng::seed_from_u64(53);
        let socket = UdpSocket::bind(("0.0.0.0", 0)).unwrap();
        socket.connect((ADDRESS, 53)).unwrap();
        for round in 0..20_000u32 {
            let mut packet = valid.clone();
            if round % 2 == 0 {
                packet = (0..rng.random_range(0..600)).map(|_| rng.random()).collect();
            } else {
                let at = rng.random_range(0..packet.len());
                packet[at] = rng.random();
            }
            let _ = socket.send(&packet);
        }
        // Streams that make no sense, or stop in the middle.
        for garbage in
            [&[0u8, 0][..], &[0, 5, 1, 2], &[0xff; 3000], &[0, 12, 0, 0, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0]]
        {
            use std::io::Write;
            let mut stream = std::net::TcpStream::connect((ADDRESS, 53)).unwrap();
            let _ = stream.write_all(garbage);
        }
    });
    assert_eq!(data(&net.dig("web.", RecordType::A)), ["10.0.0.2"]);
    assert_eq!(data(&net.dig_tcp("web.", RecordType::A)), ["10.0.0.2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_container_cannot_use_up_what_all_need() {
    let dns = EmbeddedDns::new();
    let (greedy, modest) = (Net::new(), Net::new());
    let silent = server(|_| Vec::new());
    let answers = server(|question| vec![reply(question, [192, 0, 2, 13]).to_vec().unwrap()]);
    serve(&dns, &greedy, &Names::new(&[("web", &["10.0.0.2"])], &[(silent, Origin::Host)])).await;
    serve(&dns, &modest, &Names::new(&[], &[(answers, Origin::Host)])).await;
    let refused = greedy.run(|| {
        let socket = UdpSocket::bind(("0.0.0.0", 0)).unwrap();
        socket.connect(SocketAddr::from((ADDRESS, 53))).unwrap();
        for n in 0..6000u32 {
            let packet = question(&format!("n{n}.example."), RecordType::A).to_vec().unwrap();
            let _ = socket.send(&packet);
            if n % 64 == 0 {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        socket
    });
    let start = Instant::now();
    assert_eq!(data(&modest.dig("far.example.", RecordType::A)), ["192.0.2.13"]);
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    // The greedy one's own names are answered as well.
    assert_eq!(data(&greedy.dig("web.", RecordType::A)), ["10.0.0.2"]);
    // And it is told what became of its questions: more than can wait are refused at once.
    let mut packet = [0; 512];
    refused.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let length = refused.recv(&mut packet).unwrap();
    let answer = Message::from_vec(&packet[..length]).unwrap();
    assert_eq!(answer.metadata.response_code, ResponseCode::Refused);
}
