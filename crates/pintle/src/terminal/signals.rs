//! Signals that this process gets on behalf of a container.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// What is passed on: name and number.
const PASSED: [(&str, i32); 7] =
    [("HUP", 1), ("INT", 2), ("QUIT", 3), ("USR1", 10), ("USR2", 12), ("ALRM", 14), ("TERM", 15)];

/// The signals of `PASSED` as they arrive. They no longer end this process.
pub fn arriving() -> mpsc::UnboundedReceiver<(&'static str, i32)> {
    let (sender, receiver) = mpsc::unbounded_channel();
    for (name, number) in PASSED {
        let Ok(mut stream) = signal(SignalKind::from_raw(number)) else { continue };
        let sender = sender.clone();
        // Ends when the receiver is gone, with the command that asked.
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    got = stream.recv() => if got.is_none() || sender.send((name, number)).is_err() { return },
                    () = sender.closed() => return,
                }
            }
        });
    }
    receiver
}

/// Changes of the window's size.
pub fn window_changes() -> Option<tokio::signal::unix::Signal> {
    signal(SignalKind::window_change()).ok()
}
