//! Standard input, read on a thread of its own.
//!
//! A plain thread, because making the descriptor non-blocking would do so for the shell that shares it, and a read
//! that never returns must not hold up the end of the process.

use std::io::Read;

use tokio::sync::mpsc;

/// What was typed, piece by piece; the channel closes at the end of input.
pub fn read() -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel(4);
    std::thread::spawn(move || {
        let mut stdin = std::io::stdin().lock();
        let mut buffer = vec![0; 32 << 10];
        loop {
            match stdin.read(&mut buffer) {
                Ok(0) => return,
                Ok(n) => {
                    let piece = buffer.get(..n).unwrap_or_default().to_vec();
                    if sender.blocking_send(piece).is_err() {
                        return;
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    });
    receiver
}
