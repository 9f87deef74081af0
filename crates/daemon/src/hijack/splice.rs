//! Bytes between a client and a shim.

use std::{io, time::Duration};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::detach::{DetachKeys, Watch};

const BUFFER: usize = 64 << 10;
/// How long a client may take to close after the end of its output.
const LINGER: Duration = Duration::from_secs(1);

/// How the two ends are joined.
#[derive(Debug, Clone, Default)]
pub(crate) struct Joint {
    /// The client's bytes go to the process.
    pub(crate) stdin: bool,
    /// With a terminal: the keys that end this and nothing else.
    pub(crate) detach: Option<DetachKeys>,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The process closed its output.
    Output,
    /// The client typed the keys.
    Detached,
}

/// Joins them until the process's output ends, the client types the detach keys or the client is gone. A client
/// that ends its input goes on getting output. Between the end of the output and the end of the client's stream
/// lies `settled`.
pub(crate) async fn splice<C, S>(
    client: C,
    shim: S,
    joint: Joint,
    settled: impl Future<Output = ()>,
) -> io::Result<End>
where
    C: AsyncRead + AsyncWrite,
    S: AsyncRead + AsyncWrite,
{
    let (mut from_client, mut to_client) = tokio::io::split(client);
    let (mut from_shim, mut to_shim) = tokio::io::split(shim);
    let input = async {
        let detached = forward_input(&mut from_client, &mut to_shim, &joint).await;
        match detached {
            Ok(true) => {}
            // Input is over, or the process reads no more: its output still counts.
            Ok(false) | Err(_) => {
                if joint.stdin {
                    let _ = to_shim.shutdown().await;
                }
                std::future::pending::<()>().await;
            }
        }
    };
    let output = forward_output(&mut from_shim, &mut to_client);
    let end = tokio::select! {
        () = input => Ok(End::Detached),
        done = output => done.map(|()| End::Output),
    };
    if matches!(end, Ok(End::Output)) {
        settled.await;
    }
    let _ = to_client.shutdown().await;
    linger(&mut from_client).await;
    end
}

/// A connection that is closed with input unread is reset, and its other end loses what it has not read yet: a terminal
/// may have typed on. So the input is thrown away until the client, who sees the end of its output, closes too.
async fn linger(client: &mut (impl AsyncRead + Unpin)) {
    let mut buffer = [0; 1024];
    let closing = async { while matches!(client.read(&mut buffer).await, Ok(1..)) {} };
    let _ = tokio::time::timeout(LINGER, closing).await;
}

/// True if the client typed the detach keys.
async fn forward_input(
    client: &mut (impl AsyncRead + Unpin),
    shim: &mut (impl AsyncWrite + Unpin),
    joint: &Joint,
) -> io::Result<bool> {
    let mut buffer = vec![0; BUFFER];
    let mut watch = joint.detach.clone().map(Watch::new);
    let mut passed = Vec::new();
    loop {
        let amount = client.read(&mut buffer).await?;
        let input = buffer.get(..amount).unwrap_or_default();
        if input.is_empty() {
            if let Some(watch) = &watch
                && joint.stdin
            {
                shim.write_all(watch.held()).await?;
                shim.flush().await?;
            }
            return Ok(false);
        }
        if !joint.stdin {
            continue;
        }
        let mut detached = false;
        let input = match &mut watch {
            None => input,
            Some(watch) => {
                passed.clear();
                detached = watch.pass(input, &mut passed);
                &passed
            }
        };
        shim.write_all(input).await?;
        shim.flush().await?;
        if detached {
            return Ok(true);
        }
    }
}

async fn forward_output(
    shim: &mut (impl AsyncRead + Unpin),
    client: &mut (impl AsyncWrite + Unpin),
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let amount = shim.read(&mut buffer).await?;
        let Some(output) = buffer.get(..amount).filter(|output| !output.is_empty()) else { return Ok(()) };
        client.write_all(output).await?;
        client.flush().await?;
    }
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use super::*;

    fn joint(stdin: bool, keys: Option<&str>) -> Joint {
        Joint { stdin, detach: keys.map(|keys| DetachKeys::parse(keys).unwrap()) }
    }

    #[tokio::test]
    async fn the_end_of_input_is_not_the_end_of_output() {
        let (mut client, here) = tokio::io::duplex(100);
        let (there, mut shim) = tokio::io::duplex(100);
        let task = tokio::spawn(splice(here, there, joint(true, None), ready(())));
        client.write_all(b"in").await.unwrap();
        client.shutdown().await.unwrap();
        let mut seen = Vec::new();
        shim.read_to_end(&mut seen).await.unwrap();
        assert_eq!(seen, b"in");
        shim.write_all(b"out").await.unwrap();
        drop(shim);
        let mut seen = Vec::new();
        client.read_to_end(&mut seen).await.unwrap();
        assert_eq!(seen, b"out");
        assert_eq!(task.await.unwrap().unwrap(), End::Output);
    }

    #[tokio::test]
    async fn the_keys_end_it_for_the_client_alone() {
        let (mut client, here) = tokio::io::duplex(100);
        let (there, mut shim) = tokio::io::duplex(100);
        let task = tokio::spawn(splice(here, there, joint(true, Some("")), ready(())));
        client.write_all(b"a\x10\x11b").await.unwrap();
        assert_eq!(task.await.unwrap().unwrap(), End::Detached);
        let mut seen = Vec::new();
        shim.read_to_end(&mut seen).await.unwrap();
        assert_eq!(seen, b"a");
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"");
    }

    #[tokio::test]
    async fn the_client_sees_the_end_after_what_it_will_ask_for_is_known() {
        let (mut client, here) = tokio::io::duplex(100);
        let (there, shim) = tokio::io::duplex(100);
        let (known, settled) = tokio::sync::oneshot::channel::<()>();
        let task = tokio::spawn(splice(here, there, joint(false, None), async { drop(settled.await) }));
        drop(shim);
        let mut seen = Vec::new();
        let early = tokio::time::timeout(Duration::from_millis(30), client.read_to_end(&mut seen));
        assert!(early.await.is_err());
        known.send(()).unwrap();
        client.read_to_end(&mut seen).await.unwrap();
        assert_eq!(task.await.unwrap().unwrap(), End::Output);
    }

    #[tokio::test]
    async fn what_is_typed_too_late_costs_no_output() {
        let (client, here) = tokio::net::UnixStream::pair().unwrap();
        let (there, mut shim) = tokio::io::duplex(100);
        let task = tokio::spawn(splice(here, there, joint(false, None), async {
            tokio::time::sleep(Duration::from_millis(30)).await;
        }));
        let (mut from, mut to) = client.into_split();
        shim.write_all(b"out").await.unwrap();
        drop(shim);
        to.write_all(b"\x04").await.unwrap();
        tokio::time::sleep(Duration::from_millis(60)).await;
        to.write_all(b"more").await.unwrap();
        let mut seen = Vec::new();
        from.read_to_end(&mut seen).await.unwrap();
        assert_eq!(seen, b"out");
        drop((from, to));
        assert_eq!(task.await.unwrap().unwrap(), End::Output);
    }

    #[tokio::test]
    async fn without_stdin_nothing_goes_in() {
        let (mut client, here) = tokio::io::duplex(100);
        let (there, mut shim) = tokio::io::duplex(100);
        let task = tokio::spawn(splice(here, there, joint(false, None), ready(())));
        client.write_all(b"ignored").await.unwrap();
        shim.write_all(b"out").await.unwrap();
        shim.shutdown().await.unwrap();
        assert_eq!(task.await.unwrap().unwrap(), End::Output);
        let mut seen = Vec::new();
        shim.read_to_end(&mut seen).await.unwrap();
        assert_eq!(seen, b"");
    }
}
