//! A connection that can be taken over without having been asked for it.
//!
//! Docker's old clients post to `attach` and `exec/start` without an `Upgrade` header and expect `200 OK`
//! followed by the raw stream. An HTTP server gives its connection away only after an upgrade. So the head of
//! such a request gets the header that it lacks, on its way in, and the status line of the answer is put right
//! on its way out. Only the request heads that begin where a request may begin are looked at: bodies and
//! hijacked bytes pass untouched.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The status line that [`super::offer`] answers with.
const UPGRADED: &[u8] = b"HTTP/1.1 101 UPGRADED\r\n";
/// What old clients want to see instead.
const OK: &[u8] = b"HTTP/1.1 200 OK\r\n";
const ADDED: &[u8] = b"Upgrade: tcp\r\n";
/// A head that is longer is passed on; HTTP refuses it for itself.
const MAX_HEAD: usize = 64 << 10;

/// What the connection and the requests on it tell each other.
#[derive(Debug, Default)]
pub(crate) struct Signals {
    /// The next byte is the first of a request.
    between: AtomicBool,
    /// The current request had the header added.
    added: AtomicBool,
}

impl Signals {
    fn new() -> Self {
        Self { between: AtomicBool::new(true), added: AtomicBool::new(false) }
    }

    /// The current request's body is complete.
    pub(crate) fn request_is_over(&self) {
        self.between.store(true, Ordering::Release);
    }

    /// Whether the current request did not ask for the upgrade that it got.
    pub(crate) fn was_added(&self) -> bool {
        self.added.load(Ordering::Acquire)
    }
}

/// The connection.
pub(crate) struct Sniffed<IO> {
    io: IO,
    signals: Arc<Signals>,
    head: BytesMut,
    ready: Bytes,
    out: Bytes,
}

impl<IO> Sniffed<IO> {
    pub(crate) fn new(io: IO) -> (Self, Arc<Signals>) {
        let signals = Arc::new(Signals::new());
        let sniffed = Self {
            io,
            signals: Arc::clone(&signals),
            head: BytesMut::new(),
            ready: Bytes::new(),
            out: Bytes::new(),
        };
        (sniffed, signals)
    }

    fn deliver(&mut self, buf: &mut ReadBuf<'_>) {
        let amount = self.ready.len().min(buf.remaining());
        buf.put_slice(&self.ready[..amount]);
        self.ready.advance(amount);
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Sniffed<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        while this.ready.is_empty() {
            if this.head.is_empty() && !this.signals.between.load(Ordering::Acquire) {
                return Pin::new(&mut this.io).poll_read(cx, buf);
            }
            let mut piece = [0; 4096];
            let mut piece = ReadBuf::new(&mut piece);
            ready!(Pin::new(&mut this.io).poll_read(cx, &mut piece))?;
            let over = piece.filled().is_empty();
            this.head.extend_from_slice(piece.filled());
            match judge(&this.head) {
                Verdict::More if !over && this.head.len() < MAX_HEAD => continue,
                Verdict::Add(at) => {
                    let rest = this.head.split_off(at);
                    this.head.extend_from_slice(ADDED);
                    this.head.unsplit(rest);
                    this.signals.added.store(true, Ordering::Release);
                }
                Verdict::More | Verdict::Pass => this.signals.added.store(false, Ordering::Release),
            }
            this.signals.between.store(false, Ordering::Release);
            this.ready = this.head.split().freeze();
            if over {
                break;
            }
        }
        this.deliver(buf);
        Poll::Ready(Ok(()))
    }
}

enum Verdict {
    More,
    Pass,
    /// Add the header at this offset.
    Add(usize),
}

fn judge(head: &[u8]) -> Verdict {
    const POST: &[u8] = b"POST ";
    if !head.starts_with(&POST[..POST.len().min(head.len())]) {
        return Verdict::Pass;
    }
    let Some(line_end) = head.windows(2).position(|pair| pair == b"\r\n") else { return Verdict::More };
    if !takes_over(&head[..line_end]) {
        return Verdict::Pass;
    }
    let Some(end) = head.windows(4).position(|four| four == b"\r\n\r\n") else { return Verdict::More };
    let asked = head[..end]
        .split(|byte| *byte == b'\n')
        .any(|line| line.get(..8).is_some_and(|name| name.eq_ignore_ascii_case(b"upgrade:")));
    if asked { Verdict::Pass } else { Verdict::Add(line_end + 2) }
}

/// Whether the request line is one of the two that hijack.
fn takes_over(line: &[u8]) -> bool {
    let Some(line) = std::str::from_utf8(line).ok().and_then(|line| line.strip_suffix(" HTTP/1.1")) else {
        return false;
    };
    let target = line.trim_start_matches("POST ");
    let path = target.split('?').next().unwrap_or("");
    (path.contains("/containers/") && path.ends_with("/attach"))
        || (path.contains("/exec/") && path.ends_with("/start"))
}

impl<IO: AsyncWrite + Unpin> Sniffed<IO> {
    fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.out.is_empty() {
            let written = ready!(Pin::new(&mut self.io).poll_write(cx, &self.out))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.out.advance(written);
        }
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Sniffed<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        ready!(this.poll_out(cx))?;
        if this.signals.was_added() && bytes.starts_with(UPGRADED) {
            this.signals.added.store(false, Ordering::Release);
            this.out = Bytes::from_static(OK);
            return Poll::Ready(Ok(UPGRADED.len()));
        }
        Pin::new(&mut this.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_out(cx))?;
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_out(cx))?;
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn through(pieces: &[&[u8]]) -> (Vec<u8>, bool) {
        let (mut client, server) = tokio::io::duplex(1 << 16);
        let (mut sniffed, signals) = Sniffed::new(server);
        for piece in pieces {
            client.write_all(piece).await.unwrap();
        }
        drop(client);
        let mut seen = Vec::new();
        sniffed.read_to_end(&mut seen).await.unwrap();
        (seen, signals.was_added())
    }

    #[tokio::test]
    async fn an_old_client_gets_the_header_and_its_bytes_stay() {
        let (seen, added) =
            through(&[b"POST /v1.24/containers/x/attach?a=b HTTP/1.1\r\nHost: d\r\n\r\nPOST early"]).await;
        assert!(added);
        assert_eq!(
            seen,
            b"POST /v1.24/containers/x/attach?a=b HTTP/1.1\r\nUpgrade: tcp\r\nHost: d\r\n\r\nPOST early"
        );
    }

    #[tokio::test]
    async fn whoever_asks_or_wants_something_else_is_left_alone() {
        for text in [
            &b"POST /exec/x/start HTTP/1.1\r\nupgrade: tcp\r\n\r\n{}"[..],
            b"POST /containers/create HTTP/1.1\r\nHost: d\r\n\r\n",
            b"GET /containers/x/attach HTTP/1.1\r\n\r\n",
            b"POST /exec/x/start HTTP/1.0\r\n\r\n",
            b"PO",
            b"",
        ] {
            assert_eq!(through(&[text]).await, (text.to_vec(), false));
        }
    }

    #[tokio::test]
    async fn the_old_clients_status_line_is_200() {
        let (mut client, server) = tokio::io::duplex(1 << 16);
        let (mut sniffed, _signals) = Sniffed::new(server);
        client.write_all(b"POST /exec/x/start HTTP/1.1\r\n\r\n").await.unwrap();
        let _ = sniffed.read(&mut [0; 100]).await.unwrap();
        sniffed.write_all(b"HTTP/1.1 101 UPGRADED\r\nx: y\r\n\r\nHTTP/1.1 101 UPGRADED\r\n").await.unwrap();
        sniffed.flush().await.unwrap();
        drop(sniffed);
        let mut seen = String::new();
        client.read_to_string(&mut seen).await.unwrap();
        assert_eq!(seen, "HTTP/1.1 200 OK\r\nx: y\r\n\r\nHTTP/1.1 101 UPGRADED\r\n");
    }

    proptest! {
        #[test]
        fn bytes_arrive_whole_however_they_are_cut(
            bytes in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..200),
                "POST /(exec/x/start|x) HTTP/1.1\r\n(Host: x\r\n){0,3}\r\n[a-z]{0,20}".prop_map(String::into_bytes),
            ],
            cut in 0usize..200,
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let (head, tail) = bytes.split_at(cut.min(bytes.len()));
            let (seen, added) = runtime.block_on(through(&[head, tail]));
            let seen = String::from_utf8_lossy(&seen).into_owned();
            let expected = String::from_utf8_lossy(&bytes).into_owned();
            prop_assert_eq!(if added { seen.replacen("Upgrade: tcp\r\n", "", 1) } else { seen }, expected);
        }
    }
}
