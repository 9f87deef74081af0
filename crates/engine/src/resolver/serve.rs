//! One sandbox's server: what is known here is answered on the spot, for the rest a task asks others.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use hickory_proto::op::ResponseCode;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UdpSocket},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    answer::{self, Scratch, Verdict},
    budget::{Budget, Key},
    forward::{self, Places, Transport, framed},
    question::{Question, Unanswerable},
    upstream::PATIENCE,
    view::View,
};

/// Packets that one sandbox may have answered before others get their turn.
const BURST: usize = 32;
/// The largest question. They have no business being as large as answers.
const LARGEST_QUESTION: usize = 4096;
/// Questions of one sandbox that may wait for others' answers, or for a place to ask.
const MOST_WAITING: usize = 2048;
/// TCP connections of one sandbox.
const MOST_CONNECTIONS: usize = 64;
/// How long a TCP connection may say nothing.
const IDLE: Duration = Duration::from_secs(10);

/// What a sandbox's answers come from.
pub(super) struct Context {
    pub(super) id: String,
    pub(super) view: Arc<dyn View>,
    pub(super) places: Places,
    pub(super) budget: Arc<Budget>,
    pub(super) key: Key,
}

/// What becomes of a question.
enum Next {
    /// Nothing is said.
    Silence,
    /// This is said; it is in the scratch buffer.
    Reply,
    /// Others are asked.
    Ask(Question),
}

impl Context {
    /// Answers what can be answered here.
    fn consider(&self, packet: &[u8], transport: Transport, scratch: &mut Scratch) -> Next {
        let question = match Question::read(packet) {
            Ok(question) => question,
            Err(Unanswerable::Drop) => return Next::Silence,
            Err(Unanswerable::Fail { id, op_code, code }) => {
                scratch.reply = answer::failure(id, op_code, code);
                return Next::Reply;
            }
        };
        let verdict = answer::look_up(&question, &*self.view, scratch);
        if verdict == Verdict::Elsewhere {
            return Next::Ask(question);
        }
        self.say(&question, &verdict, transport, scratch)
    }

    fn say(
        &self,
        question: &Question,
        verdict: &Verdict,
        transport: Transport,
        scratch: &mut Scratch,
    ) -> Next {
        let limit = match transport {
            Transport::Udp => question.limit(),
            Transport::Tcp => u16::MAX,
        };
        match answer::write(question, verdict, limit, scratch) {
            Ok(()) => Next::Reply,
            Err(error) => {
                tracing::warn!(sandbox = %self.id, %error, "an answer could not be written");
                Next::Silence
            }
        }
    }

    /// What others say to the question, or what is to be said if they say nothing.
    async fn ask(&self, question: &Question, packet: &[u8], transport: Transport) -> Option<Vec<u8>> {
        let settings = self.view.settings();
        let servers = settings.servers();
        let code = if settings.dotless_stay && question.is_dotless_name() {
            ResponseCode::NoError
        } else if servers.is_empty() {
            ResponseCode::ServFail
        } else if let Ok(Some(_place)) = timeout(PATIENCE, self.budget.place(self.key)).await {
            match forward::ask(&self.places, transport, packet, &question.query, &servers).await {
                Some(answer) => return Some(answer),
                None => ResponseCode::ServFail,
            }
        } else {
            ResponseCode::Refused
        };
        let mut scratch = Scratch::default();
        match self.say(question, &Verdict::Failure(code), transport, &mut scratch) {
            Next::Reply => Some(scratch.reply),
            _ => None,
        }
    }
}

/// Serves until it is cancelled. All that it began ends with it.
pub(super) async fn serve(
    context: Context,
    datagrams: UdpSocket,
    connections: TcpListener,
    cancel: CancellationToken,
) {
    let (context, datagrams) = (Arc::new(context), Arc::new(datagrams));
    let (mut asking, mut connected) = (JoinSet::new(), JoinSet::new());
    let mut scratch = Scratch::default();
    let mut packet = vec![0; LARGEST_QUESTION];
    loop {
        tokio::select! {
            () = cancel.cancelled() => return,
            Some(_) = asking.join_next() => {}
            Some(_) = connected.join_next() => {}
            ready = datagrams.readable() => match ready {
                Ok(()) => {
                    burst(&context, &datagrams, &mut asking, &mut packet, &mut scratch);
                    tokio::task::yield_now().await;
                }
                Err(error) => {
                    tracing::warn!(sandbox = %context.id, %error, "the resolver's socket failed");
                    sleep(Duration::from_millis(100)).await;
                }
            },
            accepted = connections.accept(), if connected.len() < MOST_CONNECTIONS => match accepted {
                Ok((stream, _)) => {
                    connected.spawn(converse(Arc::clone(&context), stream));
                }
                // Out of descriptors, say: pause rather than spin.
                Err(_) => sleep(Duration::from_millis(100)).await,
            },
        }
    }
}

/// Answers what has come, up to a limit.
fn burst(
    context: &Arc<Context>,
    datagrams: &Arc<UdpSocket>,
    asking: &mut JoinSet<()>,
    packet: &mut [u8],
    scratch: &mut Scratch,
) {
    for _ in 0..BURST {
        let Ok((length, from)) = datagrams.try_recv_from(packet) else { return };
        let packet = packet.get(..length).unwrap_or_default();
        match context.consider(packet, Transport::Udp, scratch) {
            Next::Silence => {}
            Next::Reply => reply(datagrams, &scratch.reply, from),
            Next::Ask(question) if asking.len() >= MOST_WAITING => {
                context.say(&question, &Verdict::Failure(ResponseCode::Refused), Transport::Udp, scratch);
                reply(datagrams, &scratch.reply, from);
            }
            Next::Ask(question) => {
                let (context, datagrams) = (Arc::clone(context), Arc::clone(datagrams));
                let packet = packet.to_vec();
                asking.spawn(async move {
                    if let Some(answer) = context.ask(&question, &packet, Transport::Udp).await {
                        reply(&datagrams, &answer, from);
                    }
                });
            }
        }
    }
}

/// A client that is not taking its answers loses them: it will ask again.
fn reply(datagrams: &UdpSocket, answer: &[u8], to: SocketAddr) {
    let _ = datagrams.try_send_to(answer, to);
}

/// Answers one question after the other on a TCP connection, until it falls silent or makes no sense.
async fn converse(context: Arc<Context>, mut stream: TcpStream) {
    let mut scratch = Scratch::default();
    let mut packet = Vec::new();
    while let Ok(Ok(())) = timeout(IDLE, receive(&mut stream, &mut packet)).await {
        let answer = match context.consider(&packet, Transport::Tcp, &mut scratch) {
            Next::Silence => return,
            Next::Reply => std::mem::take(&mut scratch.reply),
            Next::Ask(question) => match context.ask(&question, &packet, Transport::Tcp).await {
                Some(answer) => answer,
                None => return,
            },
        };
        let Ok(answer) = framed(&answer) else { return };
        if !matches!(timeout(IDLE, stream.write_all(&answer)).await, Ok(Ok(()))) {
            return;
        }
    }
}

async fn receive(stream: &mut TcpStream, packet: &mut Vec<u8>) -> io::Result<()> {
    let length = stream.read_u16().await?;
    packet.clear();
    packet.resize(length.into(), 0);
    stream.read_exact(packet).await.map(drop)
}
