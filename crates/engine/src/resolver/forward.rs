//! Asking others: one question, several servers, one patience.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use futures_util::{StreamExt, stream::FuturesUnordered};
use hickory_proto::op::{Query, ResponseCode};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UdpSocket,
    time::{Instant, sleep_until, timeout_at},
};

use super::{
    namespace::{Namespace, datagrams_to, stream_to},
    question,
    upstream::{Origin, PATIENCE, Upstream, pause, turns},
};

/// The largest DNS message.
const LARGEST: usize = 65_535;

/// How a question came, and so how it goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transport {
    Udp,
    Tcp,
}

/// From where servers are asked.
#[derive(Debug)]
pub(super) struct Places {
    pub(super) host: Arc<Namespace>,
    pub(super) sandbox: Namespace,
}

impl Places {
    fn within<T>(&self, origin: Origin, what: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        match origin {
            Origin::Host => self.host.within(&self.host, what),
            Origin::Sandbox | Origin::Nearby => self.sandbox.within(&self.host, what),
        }
    }
}

/// Asks the servers in turn until one answers, and gives back its answer as it came, under the id of the packet.
/// A server that refuses or fails makes the next one's turn come at once; if all do, the last refusal is the
/// answer. `None`: nobody answered in time.
///
/// The packet must hold a whole header.
pub(super) async fn ask(
    places: &Places,
    transport: Transport,
    packet: &[u8],
    query: &Query,
    servers: &[Upstream],
) -> Option<Vec<u8>> {
    let start = Instant::now();
    let (end, pause) = (start + PATIENCE, pause(servers.len()));
    let mut turns = turns(servers).into_iter();
    let mut under_way = FuturesUnordered::new();
    let mut next_turn = start;
    let mut refusal = None;
    loop {
        // Whose turn it is: by time, or because everybody before has failed.
        if under_way.is_empty() || Instant::now() >= next_turn {
            match turns.next() {
                Some(upstream) => {
                    under_way.push(attempt(places, transport, packet, query, upstream, end));
                    next_turn = Instant::now() + pause;
                }
                None if under_way.is_empty() => return refusal,
                None => next_turn = end + Duration::from_secs(1),
            }
        }
        let answered = tokio::select! {
            answered = under_way.next() => answered,
            () = sleep_until(next_turn.min(end)) => {
                if Instant::now() >= end {
                    return refusal;
                }
                continue;
            }
        };
        match answered {
            Some(Ok((ResponseCode::ServFail | ResponseCode::Refused, answer))) => {
                refusal = Some(with_id_of(packet, answer));
                next_turn = Instant::now();
            }
            Some(Ok((_, answer))) => return Some(with_id_of(packet, answer)),
            Some(Err(_)) => next_turn = Instant::now(),
            None => {}
        }
    }
}

fn with_id_of(packet: &[u8], mut answer: Vec<u8>) -> Vec<u8> {
    if let (Some(own), Some(asked)) = (answer.get_mut(..2), packet.get(..2)) {
        own.copy_from_slice(asked);
    }
    answer
}

/// One question to one server, from a fresh port and under a fresh id, so that nobody who does not see the
/// question can answer it.
async fn attempt(
    places: &Places,
    transport: Transport,
    packet: &[u8],
    query: &Query,
    upstream: Upstream,
    end: Instant,
) -> io::Result<(ResponseCode, Vec<u8>)> {
    let id: u16 = rand::random();
    let mut packet = packet.to_vec();
    if let Some(place) = packet.get_mut(..2) {
        place.copy_from_slice(&id.to_be_bytes());
    }
    let near = upstream.origin == Origin::Nearby;
    let exchanged = async {
        match transport {
            Transport::Udp => {
                let socket = places.within(upstream.origin, || datagrams_to(upstream.server, near))?;
                over_udp(UdpSocket::from_std(socket)?, &packet, id, query).await
            }
            Transport::Tcp => {
                let socket = places.within(upstream.origin, || stream_to(upstream.server, near))?;
                over_tcp(socket, upstream.server, &packet, id, query).await
            }
        }
    };
    timeout_at(end, exchanged).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

async fn over_udp(
    socket: UdpSocket,
    packet: &[u8],
    id: u16,
    query: &Query,
) -> io::Result<(ResponseCode, Vec<u8>)> {
    socket.send(packet).await?;
    let mut answer = Vec::with_capacity(LARGEST);
    loop {
        answer.clear();
        socket.recv_buf(&mut answer).await?;
        // What is no answer to this question came from somebody else; the real one may still come.
        if let Some(code) = question::answers(&answer, id, query) {
            answer.shrink_to_fit();
            return Ok((code, answer));
        }
    }
}

async fn over_tcp(
    socket: tokio::net::TcpSocket,
    server: SocketAddr,
    packet: &[u8],
    id: u16,
    query: &Query,
) -> io::Result<(ResponseCode, Vec<u8>)> {
    let mut stream = socket.connect(server).await?;
    stream.write_all(&framed(packet)?).await?;
    let length = stream.read_u16().await?;
    let mut answer = vec![0; length.into()];
    stream.read_exact(&mut answer).await?;
    let code = question::answers(&answer, id, query)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "an answer to another question"))?;
    Ok((code, answer))
}

/// A message as it travels over TCP: its length first.
pub(super) fn framed(message: &[u8]) -> io::Result<Vec<u8>> {
    let length = u16::try_from(message.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut framed = Vec::with_capacity(message.len() + 2);
    framed.extend_from_slice(&length.to_be_bytes());
    framed.extend_from_slice(message);
    Ok(framed)
}
